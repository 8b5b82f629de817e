"""Who may import whom: the table below is the architecture, and it has no circles."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "mudra"

GROUND = {"types", "errors", "settings", "sections", "kinds", "files", "progress", "calibration"}
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "errors": set(),
    "settings": {"errors"},
    "kinds": {"errors"},
    "calibration": {"settings"},
    "files": {"errors"},
    "progress": set(),
    "sources": GROUND,
    "sections": {"settings"},
    "recipe": GROUND,
    "clips": GROUND | {"recipe", "sources"},
    "datasets": GROUND | {"recipe", "sources", "clips"},
    "models": GROUND,
    "predictions": GROUND,
    "bundle": GROUND | {"recipe", "clips"},
    "training": GROUND | {"recipe", "datasets", "clips", "models", "predictions", "bundle"},
    "sweeps": GROUND | {"sections", "recipe", "datasets", "training", "predictions"},
    "slurm": GROUND | {"sections", "recipe", "training"},
    "streaming": GROUND | {"bundle", "models"},
    "recognizer": GROUND | {"recipe", "sources", "clips", "models", "bundle", "streaming"},
    "reports": GROUND
    | {
        "sections",
        "recipe",
        "sources",
        "datasets",
        "clips",
        "models",
        "predictions",
        "bundle",
        "training",
        "sweeps",
        "recognizer",
    },
    "demo": GROUND | {"recipe", "datasets", "clips", "training", "recognizer", "reports", "predictions"},
    "cli": GROUND
    | {
        "sections",
        "recipe",
        "datasets",
        "clips",
        "models",
        "predictions",
        "training",
        "sweeps",
        "slurm",
        "recognizer",
        "reports",
        "demo",
    },
    "__main__": {"cli"},
    "__init__": {"recognizer"},
}
# numpy, PyAV and Pillow alone: an exported model runs without torch through the very same code.
TORCH_FREE_CLIPS = {
    "__init__", "pixels", "preprocessing", "sampling", "manifest", "table", "columns", "class_folders",
    "dataset_json", "splits", "folds", "layouts", "check", "cache", "likeness", "workers", "cells", "points",
    "point_augment", "point_shapes", "point_faults", "kept", "series", "series_augment", "together", "pictures",
    "geometry", "copies", "landmarks", "seen",
}  # fmt: skip


def rooms() -> list[tuple[str, Path]]:
    return [
        (path.relative_to(SOURCE).parts[0].removesuffix(".py"), path) for path in sorted(SOURCE.rglob("*.py"))
    ]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions; relative imports are refused."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def rooms_imported(path: Path) -> set[str]:
    """The rooms of mudra that a file reaches into."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("mudra.")}
    return {name for name in names if (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file()}


@pytest.mark.parametrize(("room", "path"), rooms(), ids=lambda value: str(value).rpartition("mudra/")[2])
def test_a_file_imports_only_what_its_room_may(room: str, path: Path) -> None:
    assert room in MAY_IMPORT, f"{room} has no place in the table; give it one"
    assert rooms_imported(path) - {room} <= MAY_IMPORT[room]


def test_the_table_has_no_circles() -> None:
    done: set[str] = set()
    while left := MAY_IMPORT.keys() - done:
        free = {room for room in left if MAY_IMPORT[room] <= done}
        assert free, f"a circle among {sorted(left)}"
        done |= free


def clips_part(path: Path) -> str:
    """The module or package of `clips` that a file is, or lies in."""
    return path.relative_to(SOURCE).parts[1].removesuffix(".py")


@pytest.mark.parametrize(
    "path", [p for r, p in rooms() if r == "sources" or (r == "clips" and clips_part(p) in TORCH_FREE_CLIPS)]
)
def test_evaluation_never_imports_torch(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in ("torch", "torchvision")}


def test_every_kind_in_the_table_exists() -> None:
    from mudra.recipe import KINDS, kind_class

    for section, kinds in KINDS.items():
        for kind in kinds:
            settings = kind_class(section, kind, "test")
            settings = getattr(settings, "Settings", settings)
            assert settings.model_fields["kind"].default == kind
