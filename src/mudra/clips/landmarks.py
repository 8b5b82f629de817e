"""`mudra data landmarks`: a data set of videos becomes one of body points, in a folder of its own.

    OUT/landmarks.json   what made the points; written first
    OUT/points/*.npz     one a clip, each whole or not there: points, score, times, seen, source
    OUT/landmarks.csv    how often face, hands and pose were found in each clip
    OUT/manifest.csv     labels, splits, groups and metadata as they were; written last, with dataset.json

So the folder is a data set once all clips are done, and whatever stops the work before, the same
command goes on where it stopped: a clip counts as done when its file is there and was made from the
very video, window and settings that are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mudra.clips import copies, sampling
from mudra.clips.layouts import LAYOUTS, PointLayout, find_layout
from mudra.clips.manifest import Manifest, read_manifest, write_manifest
from mudra.clips.seen import HOLISTIC, Seen, count, summary, table
from mudra.clips.workers import Crew, Failure, still_working
from mudra.errors import DataError, StoppedError, UsageError
from mudra.files import read_json, replace_file, sweep, told_as_output_error, write_json
from mudra.progress import Progress, Say
from mudra.sources import open_source
from mudra.sources.facts import mean_rate
from mudra.sources.landmarks import Finder, find, mediapipe
from mudra.sources.limits import DEFAULT_LIMITS
from mudra.sources.npy import arrays
from mudra.sources.parts import every
from mudra.types import Choose, StreamInfo

SETTINGS = "landmarks.json"
REPORT = "landmarks.csv"
FOLDER = "points"
SCHEMA = 1
LIMIT = 600.0  # seconds without a frame done, after which a process is given up
LISTED = 20  # broken clips that are told one by one; the report has all


@dataclass(frozen=True)
class Extraction:
    """What was made.

    Attributes:
        manifest: the new data set.
        clips: what was found, by the clips' ids.
    """

    manifest: Manifest
    clips: Mapping[str, Seen]

    @property
    def lines(self) -> list[str]:
        """For a person: how often each part was found, and where no hand was."""
        return summary(self.clips)


def rows_of(layout: PointLayout) -> NDArray[np.int64]:
    """The rows of holistic543 that a layout's points are, found by their names: int64 [K].

    Raises:
        DataError: a point of the layout is none of them.
    """
    strange = next((name for name in layout.points if name not in HOLISTIC.points), None)
    if strange is not None:
        able = [name for name, known in LAYOUTS.items() if set(known.points) <= set(HOLISTIC.points)]
        raise DataError(
            f"layout {layout.name}: its point {strange!r} is not one that is found in video; expected one of "
            f"{', '.join(able)}. Give points (.npz) that its own recorder made."
        )
    return HOLISTIC.rows(layout.points)


def extract(
    manifest: Manifest,
    out: Path,
    *,
    say: Say,
    layout: str = HOLISTIC.name,
    fps: float | None = None,
    skip_broken: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    finder: Finder | None = None,
) -> Extraction:
    """Find the points of every clip and write them as a data set, or go on with that.

    Args:
        out: a new folder, or one in which the same work was begun.
        layout: holistic543, or a part of it such as sign92.
        fps: frames a second that are looked at; every frame by default.
        skip_broken: leave out clips that cannot be read; else they are an error, when all others are done.
        workers: processes, by default one a core; 0 works in this one, without a time limit.
        finder: the detector; MediaPipe by default.
    Raises:
        UsageError: MediaPipe is not installed, or a setting makes no sense.
        DataError: `out` holds something else, a clip cannot be read, or the layout cannot be found in video.
        OutputError: the points cannot be written.
        StoppedError: Ctrl-C; the clips that are done stay.
    """
    out, finder = Path(out), finder or mediapipe()
    rows = rows_of(find_layout(layout, "--layout"))
    if fps is not None and not (np.isfinite(fps) and fps > 0):
        raise UsageError(f"--fps: found {fps:g}; expected frames a second above 0.")
    copies.check_outside(out, manifest)
    if "video" not in manifest.streams:
        raise DataError(f"{manifest.name}: points are found in video; it has {', '.join(manifest.streams)}.")
    _begin(out, {"schema": SCHEMA, "layout": layout, "fps": fps, "finder": finder.name})
    jobs = _jobs(manifest, out, rows, fps, finder)
    done = _done(jobs, out)
    if done:
        say(f"{out}: {len(done):,} of {len(jobs):,} clips are done already")
    try:
        with Crew(workers, LIMIT, progress) as crew:
            broken = _find_all(jobs, done, crew)
    except KeyboardInterrupt:
        raise StoppedError(
            f"{out}: stopped with {len(done):,} of {len(jobs):,} clips done; run the same command again to go on."
        ) from None
    done = dict(sorted(done.items()))
    _tell(manifest, out, done, broken, say)
    if not (skip_broken and done):
        copies.refuse_broken(
            manifest,
            broken,
            "All others are done: mend it and run the same command again, or add --skip-broken.",
        )
    info = StreamInfo("points", layout, _rate(done.values()), space="height")
    files = {
        row: {"points": f"{FOLDER}/{jobs[row].target.relative_to(out / FOLDER).as_posix()}"} for row in done
    }
    write_manifest(copies.described(manifest, out, files, {"points": info}), out)
    ids = manifest.ids.to_pylist()
    return Extraction(read_manifest(out), {ids[row]: clip for row, clip in done.items()})


# --- one clip -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    """A clip: its video, the part of it, how it is looked at, and the file that its points get."""

    id: str
    path: Path | None
    info: StreamInfo
    start: float | None
    stop: float | None
    choose: Choose
    rows: NDArray[np.int64]
    finder: Finder
    target: Path
    source: bytes


def _find_all(jobs: list[_Job], done: dict[int, Seen], crew: Crew) -> dict[int, str]:
    """Do what is not done, and add it there. Returns why clips cannot be read, by row."""
    todo = [row for row in range(len(jobs)) if row not in done]
    broken: dict[int, str] = {}
    for place, result in crew.each("finding points", _work, [jobs[row] for row in todo]):
        if isinstance(result, Failure):
            broken[todo[place]] = result.reason
        else:
            done[todo[place]] = result
    return broken


def _work(job: _Job) -> Seen:
    """Find the points of one clip and write them."""
    if job.path is None:
        raise DataError(f"clip {job.id!r}: it has no stream 'video'; add it, or leave the clip out.")
    video = open_source(job.path, "video", fps=job.info.fps, start=job.start, stop=job.stop)
    stream = find(video, job.finder, job.choose, still_working)
    assert stream.score is not None
    times = stream.times - (job.start or 0.0)
    seen = Seen(len(times), mean_rate(times, 0.0), count(stream.values))
    content = BytesIO()
    np.savez(
        content,
        points=stream.values[:, job.rows],
        score=stream.score[:, job.rows],
        times=times,
        seen=np.array(seen.parts, np.int64),
        source=np.frombuffer(job.source, np.uint8),
    )
    replace_file(job.target, content.getvalue())
    return seen


def _jobs(
    manifest: Manifest, out: Path, rows: NDArray[np.int64], fps: float | None, finder: Finder
) -> list[_Job]:
    video = manifest.streams["video"]
    choose: Choose = every if fps is None else partial(sampling.thinned, fps=fps)
    jobs: list[_Job] = []
    for clip, name in zip(manifest, copies.names_of(manifest), strict=True):
        path = clip.streams.get("video")
        info = replace(video, fps=clip.rate(video))
        below = None if path is None else path.relative_to(manifest.root).as_posix()
        made_of = [below, _extent(path), clip.start, clip.stop, info.fps, fps, finder.name, rows.tolist()]
        source = sha256(json.dumps(made_of).encode()).digest()
        target = out / FOLDER / f"{name}.npz"
        jobs.append(_Job(clip.id, path, info, clip.start, clip.stop, choose, rows, finder, target, source))
    return jobs


def _extent(path: Path | None) -> int:
    """Bytes of a file or entries of a folder, which tell a mended file from the broken one; -1 where there is none."""
    if path is None or not path.exists():
        return -1
    return sum(1 for _ in path.iterdir()) if path.is_dir() else path.stat().st_size


# --- what is there already ------------------------------------------------------------------------


def _begin(out: Path, settings: Mapping[str, object]) -> None:
    """Write down what makes the points, or see that it is what made those which are there.

    Raises:
        DataError: `out` holds something else, or points of other settings.
    """
    path = out / SETTINGS
    with told_as_output_error(out):
        if not path.exists():
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise DataError(f"{out}: is there already and holds no landmarks; name a new folder.")
            write_json(path, settings)
            return
        sweep(out)
    try:
        there = read_json(path)
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: cannot be read ({problem}); remove {out}, or name a new folder.") from None
    for key, wanted in settings.items():
        found = there.get(key) if isinstance(there, dict) else None
        if found != wanted:
            raise DataError(
                f"{out}: its points were made with {key} {json.dumps(found)}, and {json.dumps(wanted)} is asked for; "
                "ask for the same, or name a new folder."
            )


def _done(jobs: list[_Job], out: Path) -> dict[int, Seen]:
    """What was found in the clips that are done, by row. A file that is damaged is made anew.

    Raises:
        DataError: there are points of a clip that the data does not have, or of another video.
    """
    row_of = {job.target: row for row, job in enumerate(jobs)}
    done: dict[int, Seen] = {}
    for path in sorted((out / FOLDER).rglob("*.npz")):
        if path not in row_of:
            raise DataError(
                f"{path}: was made from a clip that the data does not have; name a new folder, or remove the file."
            )
        try:
            with arrays(path, DEFAULT_LIMITS) as found:
                source, seen, times = found["source"].tobytes(), found["seen"].tolist(), found["times"].copy()
        except (DataError, KeyError):
            continue
        job = jobs[row_of[path]]
        if source != job.source:
            raise DataError(
                f"{path}: was not made from clip {job.id!r} as it is now (its video, size, start or stop); name a new "
                "folder, or remove the file."
            )
        done[row_of[path]] = Seen(len(times), mean_rate(times, 0.0), tuple(seen))
    return done


# --- what is told ---------------------------------------------------------------------------------


def _tell(
    manifest: Manifest, out: Path, done: Mapping[int, Seen], broken: Mapping[int, str], say: Say
) -> None:
    """Write the report, and say which clips are broken."""
    ids = manifest.ids.to_pylist()
    replace_file(out / REPORT, table(ids, done, broken).encode(errors="surrogateescape"))
    for row in sorted(broken)[:LISTED]:
        say(f"clip {ids[row]!r}: {broken[row]}")
    if len(broken) > LISTED:
        say(f"and {len(broken) - LISTED:,} more; all are in {out / REPORT}")


def _rate(clips: Iterable[Seen]) -> float | None:
    """The usual rate of the clips, for those who have no times to go by; None where no clip tells."""
    rates = [clip.fps for clip in clips if clip.fps > 0]
    return round(float(np.median(rates)), 4) if rates else None
