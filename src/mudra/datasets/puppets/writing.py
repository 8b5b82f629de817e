"""Puppets as ordinary files: mp4, png, npz, `manifest.csv` and `dataset.json`, as any data set has them.

    OUT/manifest.csv, dataset.json, puppets.json (the settings they were made with)
    OUT/video/puppet-00000.mp4    OUT/points/puppet-00000.npz
    OUT/depth/puppet-00000/00001.png (16 bit, millimetres)    OUT/mask/puppet-00000/00001.png

Several processes write, each a share of the clips. They are fresh interpreters that are told a folder and
a share: nothing is forked beside running threads, and a caller's script is not run a second time. The
folder appears under its name when all of it is there.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mudra.datasets.puppets.clip import DrawnClip, draw_clip
from mudra.datasets.puppets.plan import gestures_of, plan
from mudra.datasets.puppets.settings import Puppets
from mudra.datasets.puppets.things import NOUNS
from mudra.errors import OutputError, UsageError
from mudra.files import flush_folder, told_as_output_error

Progress = Callable[[int, int], None]
"""Called with how many clips are written and how many there will be."""

REVISION = 1
"""Raised when the same settings draw other clips than before, so that no cache of old ones is read."""

_ABANDONED = 3600.0  # seconds
_FEW = 48  # clips that one process writes sooner than several start


def write(
    folder: Path, settings: Puppets, workers: int | None = None, progress: Progress | None = None
) -> None:
    """Draw all clips and write them to `folder`, which must be new or empty.

    The same settings give the same files, whatever the number of workers.

    Args:
        workers: processes; None takes one per processor, or this process alone for a few clips.
    Raises:
        UsageError: the folder holds something already.
        OutputError: it cannot be written.
    """
    folder = Path(folder)
    _refuse_full(folder)
    count = _workers(settings, workers)
    with _appearing(folder) as beside:
        for stream in settings.streams:
            (beside / stream).mkdir()
        if count <= 1:
            for number in range(settings.clips):
                write_clip(beside, settings, number)
                if progress:
                    progress(number + 1, settings.clips)
        else:
            _write_with_workers(beside, settings, count, progress)
        _write_tables(beside, settings)


def cached(settings: Puppets, workers: int | None = None, progress: Progress | None = None) -> Path:
    """The folder in the user's cache that holds these puppets; they are drawn when it is not there.

    The cache is `$XDG_CACHE_HOME/mudra`, else `~/.cache/mudra`. What lies there may be removed at any time.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mudra"
    folder = home / f"puppets-{fingerprint(settings)}"
    if not folder.is_dir():
        try:
            write(folder, settings, workers, progress)
        except (OutputError, UsageError):
            if not folder.is_dir():  # else another process was quicker, and wrote the same
                raise
    return folder


def fingerprint(settings: Puppets) -> str:
    """A short name for everything that the files depend on."""
    facts = {"revision": REVISION, "codec": _codec(), **_drawn_by(settings)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _drawn_by(settings: Puppets) -> dict[str, Any]:
    """The settings that change what is drawn."""
    return settings.model_dump(mode="json", exclude={"kind", "tasks", "holdout"})


def _refuse_full(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(
            f"{folder}: found a file or a link; expected a new or empty folder. Choose another name."
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            f"{folder}: the folder is not empty; expected a new or empty one. Choose another name."
        )


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes its name when the block has ended well, and goes when it has not.

    Thousands of small files: all are flushed to the disk at once, not one by one.
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
                folder.rmdir()  # empty, or it would have been refused; Windows renames to new names only
            os.rename(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        flush_folder(folder.parent)


def _sweep(folder: Path) -> None:
    """Remove what a killed process left beside `folder`: untouched for an hour, so no live one's."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        newest = max((path.stat().st_mtime for path in (left, *left.glob("*"))), default=time.time())
        if time.time() - newest > _ABANDONED:
            shutil.rmtree(left, ignore_errors=True)


def _workers(settings: Puppets, workers: int | None) -> int:
    if workers is not None:
        if workers < 1:
            raise UsageError(f"workers: found {workers}; expected at least 1.")
        return min(workers, settings.clips)
    if settings.clips < _FEW:
        return 1
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, settings.clips // (_FEW // 2))


# --- one clip -------------------------------------------------------------------------------------


def write_clip(folder: Path, settings: Puppets, number: int) -> None:
    """Draw clip `number` and write its streams under `folder`."""
    clip = draw_clip(settings, number)
    name = clip.plan.clip
    if clip.video is not None:
        write_mp4(folder / "video" / f"{name}.mp4", clip.video, settings.fps)
    if clip.points is not None:
        _write_points(folder / "points" / f"{name}.npz", clip)
    for stream, frames in (("depth", clip.depth), ("mask", clip.mask)):
        if frames is not None:
            _write_pictures(folder / stream / name, frames)


def write_mp4(path: Path, video: NDArray[np.uint8], fps: int) -> None:
    """H.264 where the encoder is built in, MPEG-4 elsewhere; the same pictures give the same bytes.

    Args:
        video: uint8 [T, H, W, 3], H and W even.
    """
    codec = _codec()
    with av.open(
        str(path), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}
    ) as file:
        stream = file.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = video.shape[2], video.shape[1], "yuv420p"
        stream.codec_context.thread_count = 1
        # No B-frames: every picture is shown when it is decoded. A key frame a second keeps seeking cheap.
        quality = {"preset": "superfast", "crf": "18", "bf": "0"} if codec == "libx264" else {"qscale": "2"}
        stream.codec_context.options = {**quality, "g": str(max(fps, 1))}
        for number, picture in enumerate(video):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def _codec() -> str:
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _write_points(path: Path, clip: DrawnClip) -> None:
    arrays = {"points": clip.points, "score": clip.score, "times": clip.times}
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})


def _write_pictures(folder: Path, frames: NDArray[Any]) -> None:
    """One PNG a frame, numbered from 1: 16 bit for depth, 8 bit for the mask."""
    folder.mkdir()
    for number, picture in enumerate(frames, start=1):
        Image.fromarray(picture).save(folder / f"{number:05d}.png", compress_level=4)


# --- the tables -----------------------------------------------------------------------------------


def _write_tables(folder: Path, settings: Puppets) -> None:
    (folder / "manifest.csv").write_text(_manifest(settings), encoding="utf-8", newline="")
    tables = {
        "dataset.json": _description(settings),
        "puppets.json": {"revision": REVISION, **_drawn_by(settings)},
    }
    for name, tree in tables.items():
        (folder / name).write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


def _manifest(settings: Puppets) -> str:
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["clip", "split", "group", "label", "verb", "noun", *settings.streams])
    for number in range(settings.clips):
        row = plan(settings, number)
        ends = {"video": ".mp4", "points": ".npz"}
        files = [f"{stream}/{row.clip}{ends.get(stream, '')}" for stream in settings.streams]
        gesture = row.gesture
        table.writerow([row.clip, row.split, row.group_name, gesture.name, gesture.verb, row.noun, *files])
    return text.getvalue()


def _description(settings: Puppets) -> dict[str, Any]:
    """`dataset.json`: classes, rates and what a mirror makes of each class."""
    gestures = gestures_of(settings)
    verbs = list(dict.fromkeys(gesture.verb for gesture in gestures))
    streams: dict[str, dict[str, Any]] = {stream: {"fps": settings.fps} for stream in settings.streams}
    if "points" in streams:
        streams["points"]["layout"] = "sign92"
    return {
        "tasks": {"label": [gesture.name for gesture in gestures], "verb": verbs, "noun": list(NOUNS)},
        "streams": streams,
        "mirror": {
            "label": {gesture.name: gesture.mirrored for gesture in gestures},
            "verb": {verb: verb for verb in verbs},
            "noun": {noun: noun for noun in NOUNS},
        },
    }


# --- several processes ----------------------------------------------------------------------------


def _write_with_workers(folder: Path, settings: Puppets, workers: int, progress: Progress | None) -> None:
    """Let each worker write every `workers`-th clip. They say on one shared pipe when a clip is done."""
    heard, said = os.pipe()
    try:
        with _started(folder, settings, workers, said) as processes:
            os.close(said)
            said = -1
            done, problem = 0, ""
            with open(heard, encoding="utf-8", closefd=False) as lines:
                for line in lines:
                    if line != ".\n":
                        problem = line.strip()
                        break
                    done += 1
                    if progress:
                        progress(done, settings.clips)
            failed = [process.wait() for process in processes if not problem]
    finally:
        for end in (heard, said):
            if end >= 0:
                os.close(end)
    if problem or any(failed) or done < settings.clips:
        reason = problem or f"a worker ended with exit code {next((code for code in failed if code), 0)}"
        raise OutputError(f"{folder.parent}: writing the clips failed: {reason}. Mend that and run it again.")


@contextmanager
def _started(
    folder: Path, settings: Puppets, workers: int, said: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Worker processes; those that still run at the end of the block are ended."""
    processes: list[subprocess.Popen[bytes]] = []
    values = settings.model_dump(mode="json")
    try:
        for worker in range(workers):
            job = {
                "folder": str(folder),
                "settings": values,
                "first": worker,
                "step": workers,
                "path": sys.path,
            }
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-c", _WORKER, json.dumps(job)],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                )
            )
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
            process.wait()


_WORKER = """
import json, sys
job = json.loads(sys.argv[1])
sys.path[:] = job["path"]
from mudra.datasets.puppets.writing import work
work(job)
"""


def work(job: dict[str, Any]) -> None:
    """What a worker process does: write its clips, and say a full stop for each or why it could not."""
    settings = Puppets.model_validate_json(json.dumps(job["settings"]))
    for number in range(job["first"], settings.clips, job["step"]):
        try:
            write_clip(Path(job["folder"]), settings, number)
        except (OSError, av.error.FFmpegError) as problem:
            _say(str(problem).replace("\n", " "))
            raise SystemExit(5) from None
        _say(".")


def _say(line: str) -> None:
    """One line to the parent in one write, which a pipe keeps whole among those of other workers."""
    os.write(1, f"{line}\n".encode()[:512])
