"""A shrunk copy of a data set that is fast to read: an ordinary data set in a folder of its own.

Every clip is decoded once, cut to its window and resized as evaluation would resize it. As `npz`
(uncompressed) a clip is read at the speed of memory and its frames are exactly the resized ones; as
`jpeg` it takes about a tenth of the room, and reading it costs a few milliseconds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from mudra.clips import pixels
from mudra.clips.copies import described, names_of, plain, refuse_broken
from mudra.clips.manifest import Manifest, read_manifest, write_manifest
from mudra.clips.workers import Crew, Failure
from mudra.errors import DataError, OutputError
from mudra.files import told_as_output_error
from mudra.progress import Progress
from mudra.sources import open_source
from mudra.sources.parts import in_parts
from mudra.types import Source, StreamInfo

Resize = Literal["keep", "crop", "stretch"]
Form = Literal["npz", "jpeg"]

QUALITY = 92  # of JPEG; its blocks begin to show in small pictures below about 90
ALIKE = 1.01  # rates of clips that differ less are one
LIMIT = 600.0  # seconds that one clip may take


def cache(
    manifest: Manifest,
    out: Path,
    *,
    size: int,
    resize: Resize = "keep",
    form: Form = "npz",
    skip_broken: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write the copy and read it back.

    Args:
        out: a folder that is not there yet. It appears when it is complete.
        size: pixels of the shorter side (`keep`, which never enlarges), or of both.
        resize: `keep` the whole picture and its shape, `crop` to the square in its centre, or `stretch`
            it to a square.
        form: `npz` or `jpeg`; a JPEG copy needs every clip to have an even rate.
        skip_broken: leave out clips that cannot be read; else they are an error.
        workers: processes that decode, by default one a core; 0 decodes in this one, without a time limit.
        progress: told what is being done, how much of it is done, and how much there is.
    Raises:
        DataError: `out` is there, a clip cannot be read, or has no even rate in a JPEG copy.
        OutputError: the copy cannot be written.
    """
    out = Path(out)
    if out.exists():
        raise DataError(f"{out}: is there already; name a new folder, or remove it.")
    if size < 8:
        raise DataError(f"{out}: a size of {size} pixels was asked for; expected 8 or more.")
    if "video" in manifest.streams and (beside := _left_behind(manifest, resize)):
        raise DataError(
            f"{manifest.name}: with --resize {resize} the video would no longer fit its {', '.join(beside)}, copied as "
            "they are; use --resize keep."
        )
    unfinished = out.parent / f".{out.name}.partial-{os.getpid()}"
    try:
        with told_as_output_error(out):
            unfinished.mkdir(parents=True)
            jobs = _jobs(manifest, _Shrink(size, resize, form), unfinished)
            with Crew(workers, LIMIT, progress) as crew:
                made = _make_all(manifest, jobs, crew, skip_broken)
            write_manifest(_described(manifest, made, unfinished, form), unfinished)
            unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return read_manifest(out)


def _left_behind(manifest: Manifest, resize: Resize) -> list[str]:
    """The streams that lie in the pictures of the video and would not move with them."""
    if resize == "keep":
        return []
    return [
        name
        for name, info in manifest.streams.items()
        if info.space == "height"  # and so depends on the pictures' shape
        or (resize == "crop" and (info.kind in ("depth", "mask") or info.space is not None))
    ]


@dataclass(frozen=True, slots=True)
class _Shrink:
    """How pictures are made smaller, and how they are kept."""

    size: int
    resize: Resize
    form: Form

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [T,H,W,3] in, the same smaller."""
        height, width = frames.shape[1:3]
        if self.resize != "keep":
            return pixels.resize(frames, self.size, self.size, pixels.view_box(height, width, self.resize))
        scale = min(1.0, self.size / min(height, width))
        return pixels.resize(frames, max(1, round(height * scale)), max(1, round(width * scale)))


@dataclass(frozen=True, slots=True)
class _Job:
    """One clip to copy: its streams' files, and the name that the copies get."""

    id: str
    name: str
    streams: Mapping[str, tuple[Path, StreamInfo]]
    start: float | None
    stop: float | None
    shrink: _Shrink
    out: Path


def _jobs(manifest: Manifest, shrink: _Shrink, out: Path) -> list[_Job]:
    jobs: list[_Job] = []
    for clip, name in zip(manifest, names_of(manifest), strict=True):
        streams = {
            stream: (path, replace(info, fps=clip.rate(info)))
            for stream, path in clip.streams.items()
            for info in [manifest.streams[stream]]
        }
        jobs.append(_Job(clip.id, name, streams, clip.start, clip.stop, shrink, out))
    return jobs


@dataclass(frozen=True, slots=True)
class _Made:
    """The copy of a clip: paths below the new data set by stream, and the rate of its pictures (0: unknown)."""

    files: Mapping[str, str]
    fps: float = 0.0


def _make_all(manifest: Manifest, jobs: list[_Job], crew: Crew, skip_broken: bool) -> dict[int, _Made]:
    """The copies by row, in the order of the rows; broken clips are left out or are an error."""
    made: dict[int, _Made] = {}
    broken: dict[int, str] = {}
    order = manifest.reading_order().tolist()
    for place, result in crew.each("copying clips", _make, [jobs[row] for row in order]):
        row = order[place]
        if isinstance(result, Failure):
            broken[row] = result.reason
        else:
            made[row] = result
    if not (skip_broken and made):
        refuse_broken(
            manifest, broken, "See all with `mudra data check`, or leave them out with --skip-broken."
        )
    return dict(sorted(made.items()))


def _make(job: _Job) -> _Made:
    """Copy one clip."""
    files: dict[str, str] = {}
    fps = 0.0
    try:
        for stream, (path, info) in job.streams.items():
            below = f"{plain(stream.replace(':', '-'))}/{job.name}"
            if info.kind == "video":
                frames, times = _shrunk(_source(path, info, job), job.shrink)
                fps = _rate(times, info.fps, job)
                files[stream] = _write_video(frames, times, job, below)
            elif job.start is None and job.stop is None:
                files[stream] = _copy(path, job.out, below)
            else:
                files[stream] = _write_part(_source(path, info, job), info, job, below)
    except OSError as problem:  # reading raises DataError
        reason = problem.strerror or str(problem)
        raise OutputError(
            f"{job.out}: cannot be written ({reason}); make room, or name another folder."
        ) from None
    return _Made(files, fps)


def _source(path: Path, info: StreamInfo, job: _Job) -> Source:
    return open_source(path, info.kind, fps=info.fps, start=job.start, stop=job.stop)


def _shrunk(source: Source, shrink: _Shrink) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """All frames of a source made smaller, and their times, without ever holding many large ones."""
    frames, times = zip(*((shrink(part.values), part.times) for part in in_parts(source)), strict=True)
    return np.concatenate(frames), np.concatenate(times)


def _write_video(frames: NDArray[np.uint8], times: NDArray[np.float64], job: _Job, below: str) -> str:
    if job.shrink.form == "npz":
        path = _room(job.out, f"{below}.npz")
        np.savez(path, video=frames, times=times - (job.start or 0.0))
        return f"{below}.npz"
    folder = _room(job.out, below)
    folder.mkdir()
    for number, frame in enumerate(np.ascontiguousarray(frames), 1):
        (folder / f"{number:05d}.jpg").write_bytes(simplejpeg.encode_jpeg(frame, quality=QUALITY))
    return below


def _write_part(source: Source, info: StreamInfo, job: _Job, below: str) -> str:
    """The window of a stream that is no video, in an array file of its own."""
    stream = source.read(lambda times: np.arange(len(times)))
    arrays: dict[str, Any] = {info.kind: stream.values, "times": stream.times - (job.start or 0.0)}
    if stream.score is not None:
        arrays["score"] = stream.score
    np.savez(_room(job.out, f"{below}.npz"), **arrays)
    return f"{below}.npz"


def _copy(path: Path, out: Path, below: str) -> str:
    """A file or frame folder as it is."""
    if path.is_dir():
        shutil.copytree(path, _room(out, below))
        return below
    if not path.is_file():
        raise DataError(f"{path}: no such file; mend the path, or take the clip out.")
    below += path.suffix
    shutil.copyfile(path, _room(out, below))
    return below


def _rate(times: NDArray[np.float64], declared: float | None, job: _Job) -> float:
    """Frames per second of a clip; for JPEG, which keeps no times, it has to be even."""
    if len(times) < 2:
        return declared or 0.0
    rate = (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else 0.0
    even = times[0] + np.arange(len(times)) / rate if rate else times
    if job.shrink.form == "jpeg" and (not rate or np.abs(times - even).max() > 0.5 / rate):
        raise DataError(f"clip {job.id!r}: its frame rate varies, and JPEG files keep no times; copy as npz.")
    return float(rate)


def _described(manifest: Manifest, made: Mapping[int, _Made], root: Path, form: Form) -> Manifest:
    """The manifest of the copies."""
    streams = dict(manifest.streams)
    nowhere = np.full(len(made), np.nan)
    rates = nowhere.copy()
    for stream, info in manifest.streams.items():
        if info.kind == "video":
            usual, rates = _rates(manifest, made) if form == "jpeg" else (None, rates)
            streams[stream] = replace(info, fps=usual)
    return replace(
        described(manifest, root, {row: copy.files for row, copy in made.items()}, streams), rates=rates
    )


def _rates(manifest: Manifest, made: Mapping[int, _Made]) -> tuple[float, NDArray[np.float64]]:
    """The usual rate of the clips of a JPEG copy, and each clip's own where they differ: NaN where they do not."""
    own = np.array([copy.fps or np.nan for copy in made.values()])
    if np.isnan(own).all():
        raise DataError(
            f"{manifest.name}: no clip tells its frame rate, and JPEG files keep no times; copy as npz."
        )
    usual = round(float(np.nanmedian(own)), 4)
    alike = np.nanmax(own) <= np.nanmin(own) * ALIKE
    return usual, np.full(len(own), np.nan) if alike else own.round(4)


def _room(out: Path, below: str) -> Path:
    """The path of a new file, in a folder that is there."""
    path = out / below
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
