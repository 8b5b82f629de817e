"""Whether what a training saved is whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mudra.errors import ModelError
from mudra.training import checkpoints
from mudra.training.run_folder import RunFolder


@dataclass(frozen=True)
class Finding:
    """What was found of one checkpoint."""

    path: Path
    whole: bool
    line: str


def verify_run(run: RunFolder) -> list[Finding]:
    """Check all checkpoints of a run, those of its stages too, newest last.

    Raises:
        ModelError: there is no checkpoint at all.
    """
    folders = [run, *(RunFolder(path) for path in sorted(run.path.glob("stage-*")))]
    paths = [
        checkpoints.folder_of(folder.checkpoints, step)
        for folder in folders
        for step in checkpoints.steps(folder.checkpoints)
    ]
    if not paths:
        raise ModelError(
            f"{run.path}: no checkpoint is here; give the folder of a run that `mudra train` made."
        )
    return [_look(path) for path in paths]


def _look(path: Path) -> Finding:
    try:
        checkpoints.verify(path)
    except ModelError as problem:
        return Finding(path, False, f"damaged  {problem}")
    size = sum(file.stat().st_size for file in path.iterdir())
    return Finding(path, True, f"whole    {path}  {size / 2**20:,.1f} MiB")
