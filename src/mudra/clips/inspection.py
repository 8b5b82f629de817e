"""What the data doctor does with one file: read all of it, and say what is in it.

These functions run in processes of their own, so they take and return small plain values.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mudra.clips import likeness
from mudra.errors import DataError
from mudra.sources import Facts, open_source, verify
from mudra.types import StreamKind


@dataclass(frozen=True, slots=True)
class Job:
    """A stream's file or frame folder, and what is known of the stream.

    Attributes:
        parts: rows of each part of the point layout, to count where none was seen.
        points: how many points the layout has; None where there is no layout.
        decode: read all of it; else only ask for its size.
    """

    path: Path
    kind: StreamKind
    fps: float | None = None
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    points: int | None = None
    decode: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """What a file holds.

    Attributes:
        sizes: bytes of the file, or of each frame of a folder; () where it is not there.
        facts: of a video, depth or mask stream.
        shape: of points or a series, moments first.
        digest: SHA-256 of the values of points or a series, however they were packed.
        unseen: by part, the share of moments in which none of its points was seen.
        constant: whether several moments all hold the same values.
    """

    sizes: tuple[int, ...]
    facts: Facts | None = None
    shape: tuple[int, ...] = ()
    seconds: float = 0.0
    digest: str = ""
    unseen: Mapping[str, float] = field(default_factory=dict)
    constant: bool = False


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
    step = float(np.median(np.diff(stream.times))) if len(stream.times) > 1 else 0.0
    return Seen(
        sizes,
        shape=values.shape,
        seconds=float(stream.times[-1] - stream.times[0]) + step,
        digest=values_digest(values),
        unseen=_unseen(values, job.parts) if job.kind == "points" else {},
        constant=len(values) > 1 and np.array_equal(values[1:], values[:-1], equal_nan=True),
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
