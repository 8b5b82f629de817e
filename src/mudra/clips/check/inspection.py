"""What the data doctor does with one file: read all of it, and say what is in it.

These functions run in processes of their own, so they take and return small plain values.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mudra.clips import likeness
from mudra.errors import DataError
from mudra.sources import Facts, open_source, verify
from mudra.sources.moments import window
from mudra.types import StreamKind


@dataclass(frozen=True, slots=True)
class Job:
    """A stream's file or frame folder, and what is known of the stream.

    Attributes:
        parts: rows of each part of the point layout, to count where none was seen.
        points: how many points the layout has; None where there is no layout.
        channels: how many channels the data set says that a series has; None where it does not.
        decode: read all of it; else only ask for its size.
        windows: start and stop in seconds of the clips that are cut from points or a series, where any are.
    """

    path: Path
    kind: StreamKind
    fps: float | None = None
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    points: int | None = None
    channels: int | None = None
    decode: bool = True
    windows: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a file holds.

    Attributes:
        sizes: bytes of the file, or of each frame of a folder; () where it is not there.
        facts: of a video, depth or mask stream.
        shape: of points or a series, moments first.
        digest: SHA-256 of the values of points or a series, however they were packed.
        unseen: by part, the share of moments in which none of its points was seen; of a series the share of moments of
            which no channel is known, and of values that are not.
        constant: whether several moments all hold the same values.
        least, most: of each channel of a series; inf and -inf where it is never known.
        zeros: share of a series' values that are exactly 0.
        parts: the same for each window of points or a series; `seconds` is when the window ends in the file.
    """

    sizes: tuple[int, ...]
    facts: Facts | None = None
    shape: tuple[int, ...] = ()
    seconds: float = 0.0
    digest: str = ""
    unseen: Mapping[str, float] = field(default_factory=dict)
    constant: bool = False
    least: tuple[float, ...] = ()
    most: tuple[float, ...] = ()
    zeros: float = 0.0
    parts: tuple[Seen, ...] = ()


def inspect(job: Job) -> Seen:
    """Read one file whole.

    Raises:
        DataError: it is damaged, or not what its stream should be.
    """
    sizes = file_sizes(job.path)
    if not sizes or not job.decode:
        return Seen(sizes)
    if job.kind not in ("points", "series"):
        facts = verify(job.path, job.kind, job.fps)
        return Seen(sizes, facts=facts, seconds=facts.duration)
    stream = open_source(job.path, job.kind, fps=job.fps).read(lambda times: np.arange(len(times)))
    values = np.ascontiguousarray(stream.values)
    if job.points is not None and values.shape[1] != job.points:
        raise DataError(
            f"{job.path}: it has {values.shape[1]} points; its layout has {job.points}. Name the right layout "
            "in dataset.json, or make the points anew."
        )
    if job.channels is not None and values.shape[1] != job.channels:
        raise DataError(
            f"{job.path}: it has {values.shape[1]} channels; the data set's series has {job.channels}. Name the right "
            "number in dataset.json, or record the clip anew."
        )
    step = float(np.median(np.diff(stream.times))) if len(stream.times) > 1 else 0.0
    whole = _seen(job, sizes, values, float(stream.times[-1] - stream.times[0]) + step)
    parts = []
    for start, stop in job.windows:
        try:
            part = window(stream.times, start, stop, str(job.path))
        except DataError:  # the window lies outside the file, which its seconds tell
            parts.append(Seen(sizes, seconds=whole.seconds))
            continue
        parts.append(_seen(job, sizes, values[part], float(stream.times[part][-1]) + step))
    return replace(whole, parts=tuple(parts))


def _seen(job: Job, sizes: tuple[int, ...], values: NDArray[np.float32], seconds: float) -> Seen:
    """What points [T,K,C] or a series [T,C] hold."""
    seen = Seen(
        sizes,
        shape=values.shape,
        seconds=seconds,
        digest=values_digest(values),
        constant=len(values) > 1 and np.array_equal(values[1:], values[:-1], equal_nan=True),
    )
    if job.kind == "points":
        return replace(seen, unseen=_unseen(values, job.parts))
    lost = np.isnan(values)
    return replace(
        seen,
        unseen={"any channel": float(lost.all(axis=1).mean()), "values": float(lost.mean())},
        least=tuple(np.where(lost, np.inf, values).min(axis=0).tolist()),
        most=tuple(np.where(lost, -np.inf, values).max(axis=0).tolist()),
        zeros=float((values == 0).mean()),
    )


def _unseen(values: NDArray[np.float32], parts: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """By part, the share of moments in which none of its points was seen; points [T,K,C]."""
    lost: NDArray[np.bool_] = np.asarray(np.isnan(values).all(axis=2))
    shares = {part: float(lost[:, list(rows)].all(axis=1).mean()) for part, rows in parts.items()}
    return shares | {"any point": float(lost.all(axis=1).mean())}


def file_sizes(path: Path) -> tuple[int, ...]:
    """Bytes of a file, or of the files of a folder in the order of their names; () if it is not there."""
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return (os.stat(path).st_size,)
        with os.scandir(path) as entries:
            files = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
    except FileNotFoundError:
        return ()
    except OSError as problem:
        raise DataError(
            f"{path}: cannot be read ({problem.strerror}); mend its rights or its link."
        ) from None
    return tuple(size for _, size in files) or (0,)


def values_digest(values: NDArray[np.float32]) -> str:
    """SHA-256 of numbers and shape, the same for every way to write NaN or zero."""
    plain = np.where(np.isnan(values), np.float32(np.nan), values) + np.float32(0)
    return hashlib.sha256(repr(values.shape).encode() + plain.tobytes()).hexdigest()


def bytes_digest(path: Path) -> str:
    """SHA-256 of a file, or of the files of a folder in the order of their names.

    Raises:
        DataError: it cannot be read.
    """
    try:
        files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
        digest = hashlib.sha256()
        for file in files:
            with open(file, "rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); try again.") from None
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a video that is a clip."""

    path: Path
    fps: float | None
    start: float | None
    stop: float | None
    seconds: float


def look_at(window: Window) -> likeness.Look:
    """What a clip looks like at a few moments.

    Raises:
        DataError: it cannot be decoded.
    """
    source = open_source(window.path, "video", fps=window.fps, start=window.start, stop=window.stop)
    return likeness.look(source.read(likeness.moments).values, window.seconds)
