"""Where streams come from: bytes become frames, points or series. numpy, PyAV and Pillow alone."""

from __future__ import annotations

from pathlib import Path

from mudra.errors import DataError
from mudra.sources.arrays import ArraySource
from mudra.sources.facts import Facts
from mudra.sources.frames import FrameFolder
from mudra.sources.limits import DEFAULT_LIMITS, Limits, named
from mudra.sources.mat import MatSource
from mudra.sources.ts import TsSource
from mudra.sources.video import VideoSource
from mudra.types import StreamKind

__all__ = [
    "ArraySource",
    "Facts",
    "FrameFolder",
    "Limits",
    "VideoSource",
    "holds_arrays",
    "open_source",
    "verify",
]


def holds_arrays(path: Path) -> bool:
    """Whether points and series can lie in a file of this name; else it is a video or a folder of pictures."""
    return path.suffix.lower() in (".npy", ".npz", ".mat", ".ts")


def open_source(
    path: Path | str,
    kind: StreamKind,
    *,
    fps: float | None = None,
    start: float | None = None,
    stop: float | None = None,
    threads: int = 1,
    limits: Limits = DEFAULT_LIMITS,
) -> VideoSource | FrameFolder | ArraySource:
    """The reader for a path: a folder of pictures, arrays, or else a video. Reads nothing yet.

    Args:
        fps: moments per second, for what has no times of its own.
        start, stop: the part to look at: moments with start <= time < stop, in seconds.
        threads: decoding threads of a video.
    Raises:
        DataError: this kind of stream cannot lie in such a file.
    """
    path = Path(path)
    if path.suffix.lower() in (".npy", ".npz"):
        return ArraySource(path, kind, fps, start, stop, limits)
    if path.suffix.lower() == ".mat" and kind in ("points", "series", "depth"):
        return MatSource(path, kind, fps, start, stop, limits)
    if path.suffix.lower() == ".ts" and kind in ("points", "series"):  # video may be an MPEG transport stream
        return TsSource(path, kind, fps, start, stop, limits)
    if kind in ("points", "series"):
        raise DataError(f"{named(path)}: {kind} are read from .npy, .npz, .mat or .ts files; convert it.")
    if path.is_dir():
        return FrameFolder(path, kind, fps, start, stop, limits)
    if kind != "video":
        raise DataError(
            f"{named(path)}: {kind} is read from a folder of PNG pictures, .npy or .npz; convert it."
        )
    return VideoSource(path, fps, start, stop, threads, limits)


def verify(path: Path | str, kind: StreamKind, fps: float | None = None) -> Facts:
    """Decode all of a file and say what is in it.

    Raises:
        DataError: it is damaged, cut, or not such a stream.
    """
    return open_source(path, kind, fps=fps).facts()
