"""Puppets as a data set on disk, as anybody would bring one.

    OUT/manifest.csv, dataset.json, puppets.json (the settings they were made with)
    OUT/video/puppet-00000.mp4                OUT/points/puppet-00000.npz
    OUT/depth/puppet-00000/00001.png (mm)     OUT/mask/puppet-00000/00001.png

The folder appears under its name when all of it is there; a part of it is never taken for the whole.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from mudra.datasets.puppets.files import ENDINGS, codec
from mudra.datasets.puppets.plan import gestures_of, plan
from mudra.datasets.puppets.settings import Puppets
from mudra.datasets.puppets.things import NOUNS
from mudra.datasets.puppets.workers import write_clips
from mudra.errors import OutputError, UsageError
from mudra.files import cache_folder, flush_folder, take_lock, told_as_output_error
from mudra.progress import Progress

REVISION = 2
"""Raised when the same settings draw other clips than before, or say other things of them, so that no cache of old ones
is read."""

_ABANDONED = 3600.0  # seconds
_FEW = 48  # clips that one process writes sooner than several start


def write(
    folder: Path, settings: Puppets, workers: int | None = None, progress: Progress | None = None
) -> None:
    """Draw all clips and write them to `folder`, which must be new or empty.

    The same settings give the same files, whatever the number of workers.

    Args:
        workers: processes; None takes one per processor, or this process alone for a few clips.
        progress: told how many clips are written.
    Raises:
        UsageError: the folder holds something already.
        OutputError: it cannot be written.
    """
    folder = Path(folder)
    _refuse_full(folder)
    count = _count_workers(settings, workers)
    with _appearing(folder) as beside:
        for stream in settings.streams:
            (beside / stream).mkdir()
        write_clips(beside, settings, count, progress)
        _write_tables(beside, settings)


def cached(settings: Puppets, workers: int | None = None, progress: Progress | None = None) -> Path:
    """The folder in the user's cache that holds these puppets; they are drawn when it is not there.

    Of several processes that want the same at once, one draws and the others wait.
    """
    folder = cache_folder() / f"puppets-{fingerprint(settings)}"
    if not folder.is_dir():
        try:
            with _alone(folder):
                if not folder.is_dir():
                    write(folder, settings, workers, progress)
        except (OutputError, UsageError):
            if not folder.is_dir():  # else another process, where the system has no locks, wrote the same
                raise
    return folder


def fingerprint(settings: Puppets) -> str:
    """A short name for everything that the files depend on."""
    facts = {"revision": REVISION, "codec": codec(), **_drawn_by(settings)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _drawn_by(settings: Puppets) -> dict[str, Any]:
    """The settings that change what is drawn."""
    return settings.model_dump(mode="json", exclude={"kind", "tasks", "holdout"})


def _refuse_full(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        found = "a link" if folder.is_symlink() else "a file"
        raise UsageError(f"{folder}: found {found}; expected a new or empty folder. Choose another name.")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            f"{folder}: found a folder with files in it; expected a new or empty one. Choose another name."
        )


def _count_workers(settings: Puppets, workers: int | None) -> int:
    if workers is not None:
        if workers < 1:
            raise UsageError(
                f"workers: found {workers}; expected at least 1. Leave it out to use all processors."
            )
        return min(workers, settings.clips)
    if settings.clips < _FEW:
        return 1
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, settings.clips // (_FEW // 2))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder."""
    place = folder.with_name(f".{folder.name}.lock")
    with told_as_output_error(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        take_lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes its name when the block has ended well, and goes when it has not.

    There may be thousands of small files, so all are flushed to the disk at once and not one by one.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    with told_as_output_error(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        try:
            yield beside
            if hasattr(os, "sync"):
                os.sync()
            if folder.is_dir():
                folder.rmdir()  # empty, or it would have been refused; not every system renames over a folder
            os.rename(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        flush_folder(folder.parent)


def _sweep(folder: Path) -> None:
    """Remove what a killed process left beside `folder`: untouched for an hour, so no living one's."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        newest = max(path.stat().st_mtime for path in (left, *left.glob("*")))
        if time.time() - newest > _ABANDONED:
            shutil.rmtree(left, ignore_errors=True)


def _write_tables(folder: Path, settings: Puppets) -> None:
    (folder / "manifest.csv").write_text(_manifest(settings), encoding="utf-8", newline="")
    tables = {
        "dataset.json": _description(settings),
        "puppets.json": {"revision": REVISION, **_drawn_by(settings)},
    }
    for name, tree in tables.items():
        (folder / name).write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


def _manifest(settings: Puppets) -> str:
    """`manifest.csv`: one row a clip."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["clip", "split", "group", "label", "verb", "noun", *settings.streams])
    for number in range(settings.clips):
        row = plan(settings, number)
        files = [f"{stream}/{row.clip}{ENDINGS[stream]}" for stream in settings.streams]
        names = [row.gesture.name, row.gesture.verb, row.noun]
        table.writerow([row.clip, row.split, row.group_name, *names, *files])
    return text.getvalue()


def _description(settings: Puppets) -> dict[str, Any]:
    """`dataset.json`: classes, rates and what a mirror makes of each class."""
    gestures = gestures_of(settings)
    verbs = list(dict.fromkeys(gesture.verb for gesture in gestures))
    streams: dict[str, dict[str, Any]] = {stream: {"fps": settings.fps} for stream in settings.streams}
    if "points" in streams:
        streams["points"] |= {"layout": "sign92", "space": "picture"}
    return {
        "tasks": {"label": [gesture.name for gesture in gestures], "verb": verbs, "noun": list(NOUNS)},
        "streams": streams,
        "mirror": {
            "label": {gesture.name: gesture.mirrored for gesture in gestures},
            "verb": {verb: verb for verb in verbs},
            "noun": {noun: noun for noun in NOUNS},
        },
    }
