"""Point layouts that a data set declares: they are checked, they travel, and no other is taken for them."""

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mudra import load
from mudra import recipe as recipes
from mudra.bundle import read_bundle
from mudra.clips.cache import cache
from mudra.clips.check import check
from mudra.clips.dataset_json import LayoutFacts
from mudra.clips.layouts import (
    LAYOUTS,
    PointLayout,
    declare,
    differences,
    find_layout,
    layout_of,
    mirror_points,
    plain,
)
from mudra.clips.manifest import Manifest, read_manifest, write_manifest
from mudra.clips.preprocessing import Preprocessing
from mudra.datasets.opening import open_data
from mudra.errors import DataError, ModelError, RecipeError, StoppedError
from mudra.recipe import Recipe
from mudra.sections import ClipSettings
from mudra.training.judging import evaluate
from tests.tiny import train_tiny

PEN = {
    "points": ["tip", "end", "left", "right"],
    "bones": [["tip", "end"], [2, 3]],
    "parts": {"pen": ["tip", 1], "sides": ["left", "right"]},
    "pairs": [["left", "right"]],
    "origin": ["end"],
    "unit": [["tip", "end"]],
    "roots": ["left"],
}

TURNED = {**PEN, "points": ["end", "tip", "left", "right"], "parts": {"pen": [0, 1], "sides": [2, 3]}}


def recordings(
    root: Path, points: int = 4, layout: str = "mine", own: object = PEN, dims: int = 3, **more: object
) -> Path:
    """Sixteen short clips of two classes, twelve to train with and four to test."""
    rng = np.random.default_rng(0)
    root.mkdir()
    rows = ["clip,split,label,points"]
    for number in range(16):
        split, label = ("train" if number < 12 else "test"), ("up", "down")[number % 2]
        walk = np.linspace(0, 1 if label == "up" else -1, 6)[:, None, None]
        np.savez(root / f"{number}.npz", points=(walk + rng.normal(size=(1, points, dims))).astype("f4"))
        rows.append(f"c{number},{split},{label},{number}.npz")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    description = {"streams": {"points": {"layout": layout, "fps": 10}}, **more}
    description |= {} if own is None else {"layouts": {"mine": own}}
    (root / "dataset.json").write_text(json.dumps(description), "utf-8")
    return root


def small_recipe(**train: object) -> Recipe:
    tree = {
        "clip": {"streams": ["points"], "frames": 4},
        "model": {"kind": "keypoint_transformer", "width": 16, "depth": 1, "heads": 2},
        "train": {"epochs": 1, "batch": 4, "workers": 0, "device": "cpu", **train},
    }
    return recipes.resolve(tree, "small", name="small")


def refused(root: Path) -> str:
    with pytest.raises(DataError) as told:
        read_manifest(root)
    assert "\n" not in str(told.value)
    return str(told.value)


def own_layout(manifest: Manifest) -> PointLayout:
    return layout_of(manifest.streams["points"], "here")


# --- declaring -------------------------------------------------------------------------------------


def test_a_layout_is_declared_by_names_and_numbers(tmp_path: Path) -> None:
    layout = own_layout(read_manifest(recordings(tmp_path / "data")))
    assert layout == PointLayout(
        name="mine",
        points=("tip", "end", "left", "right"),
        bones=((0, 1), (2, 3)),
        parts={"pen": (0, 1), "sides": (2, 3)},
        pairs=((2, 3),),
        origin=(1,),
        unit=((0, 1),),
        roots=(2,),
    )


def test_names_alone_are_enough(tmp_path: Path) -> None:
    root = recordings(tmp_path / "data", own={"points": ["нос", "b", "c", "d"]})
    assert own_layout(read_manifest(root)) == declare("mine", ["нос", "b", "c", "d"])


def test_every_fact_of_a_layout_can_be_declared_and_travels() -> None:
    """A new attribute of PointLayout that `plain` or `dataset.json` forgot would be lost in every bundle."""
    facts = {each.name for each in fields(PointLayout)} - {"name"}
    assert set(LayoutFacts.model_fields) == facts
    assert set(plain(declare("mine", **PEN))) == facts


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_plain_values_make_the_layout_again(layout: PointLayout) -> None:
    again = declare(layout.name, **json.loads(json.dumps(plain(layout))))
    assert again == layout
    assert list(again.parts) == list(layout.parts)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"points": []}, "layout mine: found no points"),
        ({"bones": []}, "layouts.mine.points: this key is required"),
        ({"points": ["a", "a", "c", "d"]}, "layout mine, points: 'a' is row 0 and row 1"),
        ({**PEN, "bones": [["tip", "endd"]]}, "layout mine, bones: found 'endd'; expected the name of a point. Did"),
        ({**PEN, "bones": [["tip"]]}, "layout mine, bones: found ('tip',); expected two points"),
        ({**PEN, "pairs": [[0, 9]]}, "layout mine, pairs: found 9; expected a point's name or a row from 0 to 3"),
        ({**PEN, "pairs": [[0, True]]}, "layouts.mine.pairs.0.1"),
        ({**PEN, "pairs": [[0, 1], [1, 2]]}, "layout mine, pairs: 'end' stands there twice"),
        ({**PEN, "joints": []}, "layouts.mine.joints: unknown key"),
        ("kinect20", "layouts.mine: found 'kinect20'"),
    ],
)  # fmt: skip
def test_a_wrong_layout_is_told_with_its_file(tmp_path: Path, own: object, said: str) -> None:
    root = recordings(tmp_path / "data", own=own)
    assert refused(root).startswith(f"{root / 'dataset.json'}, ")
    assert said in refused(root)


def test_the_name_of_a_built_in_layout_is_taken(tmp_path: Path) -> None:
    root = recordings(
        tmp_path / "data", layout="coco17", own=None, layouts={"coco17": {"points": list("abcd")}}
    )
    assert "layout coco17: there is a built-in layout of this name" in refused(root)
    (root / "dataset.json").write_text('{"layouts": {"": {"points": ["a"]}}}', "utf-8")
    assert "found the name ''" in refused(root)


def test_a_misspelt_name_is_compared_with_ones_own_too(tmp_path: Path) -> None:
    root = recordings(tmp_path / "data", layout="minn")
    assert "expected one of mine, holistic543" in refused(root)
    assert "Did you mean 'mine'?" in refused(root)


def test_the_doctor_knows_a_declared_layout(tmp_path: Path) -> None:
    found = check(read_manifest(recordings(tmp_path / "data", points=3)))
    assert any("3 points" in finding.found or "3" in finding.found for finding in found.problems)
    report = check(read_manifest(recordings(tmp_path / "right")))
    assert not report.problems
    assert set(report.facts["streams"]["points"]["unseen"]) >= {"pen", "sides"}


def test_the_guide_declares_a_layout_and_counts_the_built_in_ones(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[1] / "docs" / "points.md").read_text("utf-8")
    blocks = re.findall(r"```json\n(.*?)```", guide, re.S)
    for number, block in enumerate(blocks):
        root = recordings(tmp_path / str(number), points=6, own=None)
        (root / "dataset.json").write_text(block, "utf-8")
        own_layout(read_manifest(root))
    assert any('"layouts"' in block for block in blocks)
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|.*\| (yes|no) \|$", guide, re.M)
    assert {name: (int(count), mirror == "yes") for name, count, mirror in rows} == {
        name: (len(layout), bool(layout.pairs)) for name, layout in LAYOUTS.items()
    }
    keys = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", guide, re.M)
    assert {"points", *keys} - {"times", "score"} >= set(LayoutFacts.model_fields)


# --- mirror ----------------------------------------------------------------------------------------


@st.composite
def layouts(draw: st.DrawFn) -> PointLayout:
    """Any number of points, some of them in pairs."""
    count = draw(st.integers(2, 12))
    rows = draw(st.permutations(range(count)))
    pairs = draw(st.integers(1, count // 2))
    return declare(
        "any",
        [f"p{row}" for row in range(count)],
        pairs=[(rows[2 * at], rows[2 * at + 1]) for at in range(pairs)],
        bones=[(rows[0], rows[1])],
    )


@settings(deadline=None)
@given(
    layout=st.one_of(layouts(), st.sampled_from([each for each in LAYOUTS.values() if each.pairs])),
    data=st.data(),
)
def test_a_mirror_swaps_the_pairs_alone_and_is_its_own_inverse(
    layout: PointLayout, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    points = rng.integers(-64, 64, (2, len(layout), data.draw(st.integers(1, 3)))) / 64  # exact when mirrored
    points[0, rng.integers(len(layout))] = np.nan
    once = mirror_points(points, layout)
    np.testing.assert_array_equal(mirror_points(once, layout), points)
    partner = {one: other for pair in layout.pairs for one, other in (pair, pair[::-1])}
    for row in range(len(layout)):
        there = points[:, partner.get(row, row)]
        np.testing.assert_array_equal(once[..., row, 0], 1 - there[..., 0])
        np.testing.assert_array_equal(once[..., row, 1:], there[..., 1:])


def test_a_layout_of_ones_own_without_pairs_has_no_mirror(tmp_path: Path) -> None:
    clip = ClipSettings(streams=("points",), frames=4)
    for name, own, there in (("with", PEN, True), ("without", {**PEN, "pairs": []}, False)):
        manifest = read_manifest(recordings(tmp_path / name, own=own))
        assert Preprocessing(clip, manifest.streams).has_mirror is there
    with pytest.raises(DataError, match="names no left/right pairs"):
        mirror_points(np.zeros((1, 4, 3)), own_layout(manifest))


# --- travelling ------------------------------------------------------------------------------------


def test_a_layout_goes_with_every_copy_of_the_data(tmp_path: Path) -> None:
    manifest = read_manifest(recordings(tmp_path / "data"))
    before = own_layout(manifest)
    (tmp_path / "data" / "dataset.json").unlink()
    write_manifest(manifest.resplit(1), tmp_path / "data", "manifest-fold-01.csv")
    assert own_layout(read_manifest(tmp_path / "data", "manifest-fold-01.csv")) == before
    copy = cache(manifest, tmp_path / "copy", size=32, workers=0)
    assert own_layout(copy) == before
    assert copy.streams == manifest.streams


def test_a_bundle_predicts_where_nobody_knows_the_data(tmp_path: Path) -> None:
    root = recordings(tmp_path / "data")
    run = train_tiny(small_recipe(), root, tmp_path / "run")
    clip = np.load(root / "13.npz")["points"]
    config = json.loads((run.bundle / "config.json").read_text("utf-8"))
    assert config["streams"]["points"]["declared"]["parts"] == {
        "pen": ["tip", "end"],
        "sides": ["left", "right"],
    }
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    (root / "dataset.json").unlink()
    recogniser = load(tmp_path / "elsewhere")
    assert recogniser.bundle.preprocessing.layout("points") == declare("mine", **PEN)
    assert recogniser.predict(clip, fps=10).label in ("up", "down")
    assert recogniser.predict(root / "13.npz", fps=10).tasks == recogniser.predict(clip, fps=10).tasks
    with pytest.raises(DataError, match="it has 5 points; its layout mine has 4"):
        recogniser.predict(np.zeros((3, 5, 3), np.float32))


def test_the_bundle_of_a_built_in_layout_says_its_name_alone(tmp_path: Path) -> None:
    run = train_tiny(small_recipe(), recordings(tmp_path / "data", 8, "natops8", None), tmp_path / "run")
    config = json.loads((run.bundle / "config.json").read_text("utf-8"))
    assert config["streams"] == {"points": {"kind": "points", "layout": "natops8", "fps": 10.0}}


@pytest.mark.parametrize(
    ("layout", "change"),
    [("mine", {"pairs": [["left", "left"]]}), ("kinect20", {}), ("mine", {"points": ["a", "a"]}), ("", {})],
)
def test_a_garbled_layout_of_a_bundle_is_refused(tmp_path: Path, layout: str, change: dict) -> None:
    run = train_tiny(small_recipe(), recordings(tmp_path / "data"), tmp_path / "run")
    config = json.loads((run.bundle / "config.json").read_text("utf-8"))
    config["streams"]["points"]["layout"] = layout
    config["streams"]["points"]["declared"] |= change
    (run.bundle / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError) as told:
        read_bundle(run.bundle)
    assert "\n" not in str(told.value)


# --- other data ------------------------------------------------------------------------------------


def test_points_of_another_layout_are_never_given_to_a_trained_model(tmp_path: Path) -> None:
    run = train_tiny(small_recipe(), recordings(tmp_path / "data"), tmp_path / "run")
    others = {
        "coco17": recordings(tmp_path / "coco", 17, "coco17", None),
        "mine": recordings(tmp_path / "turned", own=TURNED),
    }
    for name, other in others.items():
        with pytest.raises(DataError) as told:
            evaluate(run, str(other), "test", say=lambda _line: None)
        assert str(told.value).startswith(
            f"stream 'points': the points of the data are of layout {name}, and the model was trained on mine (other "
        )
        assert "\n" not in str(told.value)
    nameless = recordings(tmp_path / "nameless")
    (nameless / "dataset.json").unlink()
    with pytest.raises(DataError, match="nobody says which point is which"):
        evaluate(run, str(nameless), "test", say=lambda _line: None)


def test_a_built_in_layout_is_not_taken_for_another(tmp_path: Path) -> None:
    run = train_tiny(small_recipe(), recordings(tmp_path / "data", 20, "kinect20", None), tmp_path / "run")
    with pytest.raises(DataError, match=r"of layout coco17, and the model was trained on kinect20"):
        evaluate(run, str(recordings(tmp_path / "coco", 17, "coco17", None)), "test", say=lambda _line: None)


def test_the_same_layout_under_another_name_or_rate_is_judged(tmp_path: Path) -> None:
    run = train_tiny(small_recipe(), recordings(tmp_path / "data"), tmp_path / "run")
    other = recordings(tmp_path / "other")
    text = (other / "dataset.json").read_text("utf-8")
    (other / "dataset.json").write_text(text.replace('"mine"', '"ours"').replace("10", "20"), "utf-8")
    table = evaluate(run, str(other), "test", say=lambda _line: None)
    assert len(table) == 4


def test_parts_in_another_order_are_another_layout() -> None:
    one, other = (declare("mine", **{**PEN, "parts": parts}) for parts in (
        {"pen": [0, 1], "sides": [2, 3]}, {"sides": [2, 3], "pen": [0, 1]},
    ))  # fmt: skip
    assert differences(one, other) == ["parts"]


def test_a_resumed_training_refuses_points_that_were_named_anew(tmp_path: Path) -> None:
    root = recordings(tmp_path / "data")
    with pytest.raises(StoppedError):
        train_tiny(small_recipe(epochs=2), root, tmp_path / "run", time_limit=0.0)
    description = json.loads((root / "dataset.json").read_text("utf-8"))
    (root / "dataset.json").write_text(json.dumps(description | {"layouts": {"mine": TURNED}}), "utf-8")
    with pytest.raises(RecipeError, match="the layout of points was mine"):
        train_tiny(small_recipe(epochs=2), root, tmp_path / "run", resume=True)


def test_data_may_bring_a_layout_other_than_the_recipes_own(tmp_path: Path) -> None:
    """The model, clip and training settings stay the recipe's; classes and layout come from the data."""
    recipe = recipes.load(
        "utd-mhad-skeleton", ["clip.frames=4", "model.width=12", "model.depth=1", "train.epochs=1"]
    )
    root = recordings(tmp_path / "data")
    changed, manifest = open_data(recipe, str(root))
    assert (changed.model, changed.clip, changed.augment) == (recipe.model, recipe.clip, recipe.augment)
    assert changed.data.kind == "folder"
    assert Preprocessing(changed.clip, manifest.streams).inputs == {"points": (4, 4, 3)}
    run = train_tiny(recipe, root, tmp_path / "run")
    bundle = read_bundle(run.bundle)
    assert bundle.tasks == {"label": ("down", "up")}
    assert bundle.preprocessing.layout("points") == declare("mine", **PEN)
    assert find_layout("kinect20") != bundle.preprocessing.layout("points")
