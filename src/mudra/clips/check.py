"""The data doctor: reads a whole data set before training does, and says what should be mended.

Problems make results wrong or stop a training: what cannot be decoded, what stands on both sides of
a split, what is empty. Warnings are told and left to the user: outliers, imbalance, copies within a
split, a mirror table that seems to be missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mudra.clips import balance, likeness
from mudra.clips.findings import Finding, Report, render, to_json
from mudra.clips.inspection import Job, Seen, Window, bytes_digest, inspect, look_at
from mudra.clips.layouts import layout_of
from mudra.clips.manifest import Manifest
from mudra.clips.sensors import odd_channels, odd_clocks
from mudra.clips.workers import Crew, Failure
from mudra.errors import DataError
from mudra.progress import Progress
from mudra.types import SPLITS, TRACK_KINDS, UNLABELLED

__all__ = ["Finding", "Progress", "Report", "check", "render", "to_json"]

UNREAD = Seen(())
WHOLE = (0.0, np.inf)
MEND_FILE = "export or copy the file again, or take the clip out of the data set"
LEAK = "keep one of them: what was trained on must not be tested on"
RATE_OFF, LENGTH_OFF, AREA_OFF = 1.2, 10.0, 16.0  # times the usual from which on it is told


def check(
    manifest: Manifest,
    *,
    workers: int | None = None,
    decode: bool = True,
    limit: float = 60.0,
    progress: Progress | None = None,
) -> Report:
    """Examine a data set.

    Args:
        workers: processes that decode, by default one a core; 0 decodes in this one, without a time limit.
        decode: read every file whole; else only ask whether it is there, and how large it is.
        limit: seconds that one file may take.
        progress: told what is being done, how much of it is done, and how much there is.
    """
    report = Report(facts=_counts(manifest))
    report.problems += balance.problems(manifest)
    report.warnings += balance.warnings(manifest)
    lengths: dict[str, dict[int, float]] = {}
    with Crew(workers if decode else 0, limit, progress) as crew:  # asking for sizes is not worth a process
        for stream in manifest.files:
            lengths[stream] = _examine(_Patient(manifest, stream, report), crew, decode)
    report.warnings += odd_clocks(lengths)
    return report


def _examine(patient: _Patient, crew: Crew, decode: bool) -> dict[int, float]:
    """One stream: read its files, then compare them.

    Returns:
        how long each clip lasts in it, seconds by row.
    """
    stream = patient.stream
    for file, result in crew.each(f"reading {stream}", inspect, patient.jobs(decode)):
        patient.note(file, result)
    patient.unfold()
    patient.windows()
    patient.shapes()
    patient.outliers()
    patient.nothing_seen()
    series = [file.seen for file in patient.files if file.seen.least]
    patient.report.warnings += odd_channels(stream, series)
    twins = patient.same_size()
    for at, digest in crew.each(f"comparing {stream}", bytes_digest, [file.job.path for file in twins]):
        twins[at].content = digest if isinstance(digest, str) else ""
    patient.same_content()
    if decode and patient.manifest.streams[stream].kind == "video":
        rows, windows = patient.may_look_alike()
        looks = crew.each(f"looking at {stream}", look_at, windows)
        patient.same_looks({rows[at]: look for at, look in looks if not isinstance(look, Failure)})
    patient.report.facts.setdefault("streams", {})[stream] = patient.facts()
    return patient.lengths()


@dataclass(slots=True)
class _File:
    """One file, the clips that are cut from it, and what was found in it. Of points and series, one window of a file.

    Attributes:
        seen: without sizes until, and unless, the file was read.
        content: the same for files that hold the same; "" where there is no need to know.
        whole: of a window, the same for the files that hold the same.
    """

    job: Job
    rows: list[int]
    seen: Seen = UNREAD
    content: str = ""
    whole: str = ""


class _Patient:
    """One stream of a data set under examination; findings go into the report."""

    def __init__(self, manifest: Manifest, stream: str, report: Report) -> None:
        self.manifest = manifest
        self.stream = stream
        self.report = report
        self.ids = manifest.ids.to_pylist()
        self.splits = manifest.split_names()
        self.begin = np.nan_to_num(manifest.starts, nan=0.0)
        self.end = np.where(np.isnan(manifest.stops), np.inf, manifest.stops)
        self.files: list[_File] = []
        self.file_of: dict[int, int] = {}

    def jobs(self, decode: bool) -> list[Job]:
        """Every file once, however many clips are cut from it."""
        info = self.manifest.streams[self.stream]
        layout = layout_of(info, f"stream {self.stream!r}") if info.layout else None
        parts = dict(layout.parts) if layout else {}
        column = self.manifest.files[self.stream]
        codes = np.asarray(column.dictionary_encode().indices)
        there = np.flatnonzero(np.asarray(pc.binary_length(column)) > 0)
        order = there[np.argsort(codes[there], kind="stable")]
        for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            try:
                path = self.manifest.path(self.stream, int(rows[0]))
            except DataError as problem:
                self._problem(
                    "link out of the folder", int(rows[0]), str(problem), "copy the file into the folder"
                )
                continue
            if path is not None:
                self.file_of |= dict.fromkeys(rows.tolist(), len(self.files))
                rate = self.manifest.rate(self.stream, int(rows[0]))
                points = len(layout) if layout else None
                windows = self._windows_of(rows) if info.kind in TRACK_KINDS else ()
                job = Job(path, info.kind, rate, parts, points, info.channels, decode, windows)
                self.files.append(_File(job, rows.tolist()))
        return [file.job for file in self.files]

    def _windows_of(self, rows: NDArray[np.int64]) -> tuple[tuple[float, float], ...]:
        """The windows that clips are cut from one file by; none where they are the whole file."""
        windows = dict.fromkeys((float(self.begin[row]), float(self.end[row])) for row in rows)
        return () if set(windows) == {WHOLE} else tuple(windows)

    def unfold(self) -> None:
        """Of points and series each window is looked at by itself, as if it were a file."""
        files: list[_File] = []
        for file in self.files:
            if not file.seen.parts:
                files.append(file)
                continue
            for window, seen in zip(file.job.windows, file.seen.parts, strict=True):
                rows = [row for row in file.rows if (self.begin[row], self.end[row]) == window]
                files.append(_File(file.job, rows, seen, seen.digest, file.seen.digest))
        self.files = files
        self.file_of = {row: number for number, file in enumerate(files) for row in file.rows}

    def note(self, number: int, result: Seen | Failure) -> None:
        """What reading a file gave."""
        file = self.files[number]
        if isinstance(result, Failure):
            self._problem("cannot be read", file.rows[0], result.reason, MEND_FILE)
        elif not result.sizes:
            mend = "mend the path, or take the clip out of the data set"
            self._problem("missing file", file.rows[0], f"there is no {file.job.path}", mend)
        elif not any(result.sizes):
            self._problem("empty file", file.rows[0], f"{file.job.path} holds nothing", MEND_FILE)
        else:
            file.seen = result
            file.content = result.digest

    # What one file says

    def windows(self) -> None:
        """Clips that begin or end after their file does."""
        for file in self._read():
            for row in file.rows:
                start, stop, length = self.begin[row], self.end[row], file.seen.seconds
                if start >= length > 0:
                    mend = "mend `start`, which is in seconds from the first frame"
                    self._problem(
                        "starts after its end", row, f"start {start:g}; the file lasts {length:.2f} s", mend
                    )
                elif np.inf > stop > length + 0.5 and length > 0:
                    found = f"stop {stop:g}; the file lasts {length:.2f} s"
                    self._warn(
                        "stops after its end", row, found, "mend `stop`, or leave it empty for the file's end"
                    )

    def shapes(self) -> None:
        """Points and series of unlike size cannot be put side by side."""
        usual = Counter(file.seen.shape[1:] for file in self._read() if file.seen.shape).most_common(1)
        for file in self._read():
            if file.seen.shape and file.seen.shape[1:] != usual[0][0]:
                found = (
                    f"{_times(file.seen.shape[1:])} values a moment; most clips have {_times(usual[0][0])}"
                )
                self._problem(
                    "another shape", file.rows[0], found, "record all clips in one way, or split the data set"
                )

    def outliers(self) -> None:
        """Rates, lengths and sizes far from the usual."""
        lengths = self.lengths()
        usual = float(np.median(list(lengths.values()))) if lengths else 0.0
        for row, length in lengths.items():
            if usual and not usual / LENGTH_OFF <= length <= usual * LENGTH_OFF:
                mend = "see whether it was cut as the others were"
                self._warn(
                    "unusual length", row, f"{length:.2f} s; half of the clips last {usual:.2f} s", mend
                )
        facts = [(file, file.seen.facts) for file in self._read() if file.seen.facts is not None]
        if not facts:
            return
        for file, fact in facts:
            if fact.frames == 1:
                self._warn(
                    "a single frame", file.rows[0], "one frame, in which nothing moves", "leave the clip out"
                )
        rate = float(np.median([fact.fps for _, fact in facts]))
        off = Counter(
            f"{fact.fps:.3g}"
            for _, fact in facts
            if fact.frames > 1 and not rate / RATE_OFF <= fact.fps <= rate * RATE_OFF
        )
        if off:
            found = f"{off.total()} of {len(facts)} files are far from the usual {rate:.3g} frames/s: {_tally(off)}"
            self._warn_all(
                "unlike frame rates",
                found,
                "sampling by frame numbers would see other speeds; see clip.stride",
            )
        areas = [fact.width * fact.height for _, fact in facts]
        upright = sum(fact.height > fact.width for _, fact in facts)
        if 0 < upright < len(facts) or max(areas) > AREA_OFF * min(areas):
            found = f"{_tally(Counter(f'{fact.width}x{fact.height}' for _, fact in facts))}"
            self._warn_all(
                "unlike pictures", found, "size and shape may tell the class: see that classes share them"
            )

    def nothing_seen(self) -> None:
        """Clips in which no point, or no hand, was ever found, or nothing ever changes."""
        for file in self._read():
            unseen = file.seen.unseen
            hands = [share for part, share in unseen.items() if "hand" in part]
            if unseen.get("any point") == 1:
                self._warn(
                    "no points", file.rows[0], "no point was seen in any moment", "find the points anew"
                )
            elif hands and min(hands) == 1:
                self._warn("no hands", file.rows[0], "no hand was seen in any moment", "find the points anew")
            elif unseen.get("any channel") == 1:
                self._warn("nothing known", file.rows[0], "no channel has a value", "record the clip anew")
            elif file.seen.constant:
                found = "every moment holds the same values"
                self._warn("nothing moves", file.rows[0], found, "see whether the recording failed")

    # What several files say

    def same_size(self) -> list[_File]:
        """Files that share their size, and so might share their bytes."""
        sizes = Counter(file.seen.sizes for file in self._read())
        return [file for file in self._read() if not file.content and sizes[file.seen.sizes] > 1]

    def same_content(self) -> None:
        """Copies: across splits a leak, within one a waste."""
        groups: dict[str, list[_File]] = {}
        for file in self._read():
            for content in {file.content, file.whole} - {""}:
                groups.setdefault(content, []).append(file)
        twins: dict[int, set[int]] = {}
        for files in groups.values():
            rows = sorted(row for file in files for row in file.rows)
            for at, row in enumerate(rows):
                twins.setdefault(row, set()).update(other for other in rows[:at] if self._copies(row, other))
        for row, others in sorted(twins.items()):
            across = next((other for other in sorted(others) if self.splits[other] != self.splits[row]), None)
            if across is not None:
                self._problem("same content in two splits", row, self._twin(row, across), LEAK)
            elif others:
                self._warn("copy in a split", row, self._twin(row, min(others)), "keep one of them")

    def may_look_alike(self) -> tuple[list[int], list[Window]]:
        """Clips for which another split has one of about their length: all that need be looked at."""
        rows = np.array(sorted(row for file in self._read() for row in file.rows), np.int64)
        seconds = np.array([self._seconds(int(row)) for row in rows])
        codes = self.manifest.splits[rows]
        wanted = np.zeros(len(rows), bool)
        for split in range(len(SPLITS)):
            others = np.sort(seconds[codes != split])
            near = np.searchsorted(others, (seconds - 0.15) / 1.05) < np.searchsorted(
                others, seconds * 1.05 + 0.15, side="right"
            )
            wanted |= near & (codes == split)
        chosen = rows[wanted & (seconds > 0)].tolist()
        windows = []
        for row in chosen:
            clip = self.manifest[row]
            job = self.files[self.file_of[row]].job
            windows.append(Window(job.path, job.fps, clip.start, clip.stop, self._seconds(row)))
        return chosen, windows

    def same_looks(self, looks: dict[int, likeness.Look]) -> None:
        """Copies that were encoded again."""
        rows = list(looks)
        sides = [int(self.manifest.splits[row]) for row in rows]
        for one, other, score in likeness.alike(list(looks.values()), sides):
            here, there = max(rows[one], rows[other]), min(rows[one], rows[other])
            files = [self.files[self.file_of[row]] for row in (here, there)]
            if files[0] is files[1] or (files[0].content and files[0].content == files[1].content):
                continue
            found = f"{self._twin(here, there, 'looks the same as')} (likeness {score:.2f})"
            self._warn(
                "looks the same in two splits", here, found, "look at both (mudra data show); if so, " + LEAK
            )

    def facts(self) -> dict[str, Any]:
        """What is in the stream, in figures."""
        read = self._read()
        there = {file.job.path for file in self.files}
        unread = there - {file.job.path for file in read}
        facts: dict[str, Any] = {"files": len(there), "unreadable": len(unread)}
        lengths = [self._seconds(row) for file in read for row in file.rows if file.seen.seconds]
        if lengths:
            facts["hours"] = sum(lengths) / 3600
            low, half, high = np.quantile(lengths, [0, 0.5, 1])
            facts["seconds"] = {"shortest": float(low), "median": float(half), "longest": float(high)}
        videos = [file.seen.facts for file in read if file.seen.facts is not None]
        if videos:
            facts["frames"] = sum(fact.frames for fact in videos)
            facts["frames/s"] = dict(Counter(f"{fact.fps:.3g}" for fact in videos).most_common(5))
            facts["sizes"] = dict(Counter(f"{fact.width}x{fact.height}" for fact in videos).most_common(5))
        shapes = Counter(_times(file.seen.shape[1:]) for file in read if file.seen.shape)
        if shapes:
            facts["shapes"] = dict(shapes.most_common(5))
        parts = next((list(file.seen.unseen) for file in read if file.seen.unseen), [])
        if parts:
            facts["unseen"] = {
                part: float(np.mean([file.seen.unseen[part] for file in read if file.seen.unseen]))
                for part in parts
            }
        return facts

    # Small things

    def lengths(self) -> dict[int, float]:
        """How long each clip lasts, seconds by row, as far as files were read."""
        return {row: self._seconds(row) for file in self._read() for row in file.rows if file.seen.seconds}

    def _read(self) -> list[_File]:
        """Files that could be read."""
        return [file for file in self.files if file.seen.sizes]

    def _seconds(self, row: int) -> float:
        """How long a clip is: its window, as far as the file goes."""
        length = self.files[self.file_of[row]].seen.seconds
        return float(max(0.0, min(self.end[row], length) - self.begin[row]))

    def _copies(self, row: int, other: int) -> bool:
        """Whether two clips hold the same: they are cut from different files of one content, at moments that overlap,
        or their windows are of one content."""
        one, two = self.files[self.file_of[row]], self.files[self.file_of[other]]
        if one is two:
            return False
        if one.content == two.content and (one.whole or two.whole):
            return True
        if one.job.path == two.job.path:
            return False
        return bool(self.begin[row] < self.end[other] and self.begin[other] < self.end[row])

    def _twin(self, row: int, other: int, how: str = "holds the same as") -> str:
        paths = [self.files[self.file_of[at]].job.path for at in (row, other)]
        names = [path.relative_to(self.manifest.root).as_posix() for path in paths]
        split = f" of {self.splits[other]}" if self.splits[other] else ""
        text = f"{names[0]!r} {how} {names[1]!r}, clip {self.ids[other]!r}{split}"
        for task, classes in self.manifest.tasks.items():
            here, there = (int(self.manifest.labels[task][at]) for at in (row, other))
            if here != there and UNLABELLED not in (here, there):
                text += f"; {task} {classes[here]!r} here and {classes[there]!r} there"
        return text

    def _place(self, row: int) -> str:
        split = f" ({self.splits[row]})" if self.splits[row] else ""
        return f"clip {self.ids[row]!r}{split}"

    def _problem(self, kind: str, row: int, found: str, mend: str) -> None:
        self.report.problems.append(Finding(kind, self._place(row), found, mend))

    def _warn(self, kind: str, row: int, found: str, mend: str) -> None:
        self.report.warnings.append(Finding(kind, self._place(row), found, mend))

    def _warn_all(self, kind: str, found: str, mend: str) -> None:
        self.report.warnings.append(Finding(kind, f"stream {self.stream}", found, mend))


def _counts(manifest: Manifest) -> dict[str, Any]:
    facts: dict[str, Any] = {"clips": len(manifest)}
    if manifest.has_splits:
        facts["splits"] = dict(Counter(manifest.split_names()))
    facts["classes"] = {task: len(names) for task, names in manifest.tasks.items()}
    unlabelled = {task: int((numbers == UNLABELLED).sum()) for task, numbers in manifest.labels.items()}
    if any(unlabelled.values()):
        facts["unlabelled"] = unlabelled
    groups = {group for group in manifest.groups.to_pylist() if group}
    return facts | ({"groups": len(groups)} if groups else {})


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _tally(counts: Counter[str]) -> str:
    listed = ", ".join(f"{value} ({count})" for value, count in counts.most_common(5))
    return listed + (f" and {len(counts) - 5} more" if len(counts) > 5 else "")
