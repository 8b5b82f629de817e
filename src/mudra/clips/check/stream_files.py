"""The files of one stream that is examined: which clips are cut from each, what was found in it, what is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mudra.clips.check.findings import Finding, Report
from mudra.clips.check.inspection import Job, Seen
from mudra.clips.layouts import layout_of
from mudra.clips.manifest import Manifest
from mudra.clips.workers import Failure
from mudra.errors import DataError
from mudra.types import TRACK_KINDS

UNREAD = Seen(())
WHOLE = (0.0, np.inf)
MEND_FILE = "export or copy the file again, or take the clip out of the data set"


@dataclass(slots=True)
class File:
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


class StreamFiles:
    """One stream of a data set under examination; findings go into the report."""

    def __init__(self, manifest: Manifest, name: str, report: Report) -> None:
        self.manifest = manifest
        self.name = name
        self.report = report
        self.ids = manifest.ids.to_pylist()
        self.splits = manifest.split_names()
        self.begin = np.nan_to_num(manifest.starts, nan=0.0)
        self.end = np.where(np.isnan(manifest.stops), np.inf, manifest.stops)
        self.files: list[File] = []
        self.file_of: dict[int, int] = {}

    def jobs(self, decode: bool) -> list[Job]:
        """Every file once, however many clips are cut from it."""
        info = self.manifest.streams[self.name]
        layout = layout_of(info, f"stream {self.name!r}") if info.layout else None
        parts = dict(layout.parts) if layout else {}
        column = self.manifest.files[self.name]
        codes = np.asarray(column.dictionary_encode().indices)
        there = np.flatnonzero(np.asarray(pc.binary_length(column)) > 0)
        order = there[np.argsort(codes[there], kind="stable")]
        for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            try:
                path = self.manifest.path(self.name, int(rows[0]))
            except DataError as problem:
                self.problem(
                    "link out of the folder", int(rows[0]), str(problem), "copy the file into the folder"
                )
                continue
            if path is not None:
                self.file_of |= dict.fromkeys(rows.tolist(), len(self.files))
                rate = self.manifest.rate(self.name, int(rows[0]))
                points = len(layout) if layout else None
                windows = self._windows_of(rows) if info.kind in TRACK_KINDS else ()
                job = Job(path, info.kind, rate, parts, points, info.channels, decode, windows)
                self.files.append(File(job, rows.tolist()))
        return [file.job for file in self.files]

    def _windows_of(self, rows: NDArray[np.int64]) -> tuple[tuple[float, float], ...]:
        """The windows that clips are cut from one file by; none where they are the whole file."""
        windows = dict.fromkeys((float(self.begin[row]), float(self.end[row])) for row in rows)
        return () if set(windows) == {WHOLE} else tuple(windows)

    def unfold(self) -> None:
        """Of points and series each window is looked at by itself, as if it were a file."""
        files: list[File] = []
        for file in self.files:
            if not file.seen.parts:
                files.append(file)
                continue
            for window, seen in zip(file.job.windows, file.seen.parts, strict=True):
                rows = [row for row in file.rows if (self.begin[row], self.end[row]) == window]
                files.append(File(file.job, rows, seen, seen.digest, file.seen.digest))
        self.files = files
        self.file_of = {row: number for number, file in enumerate(files) for row in file.rows}

    def note(self, number: int, result: Seen | Failure) -> None:
        """What reading a file gave."""
        file = self.files[number]
        if isinstance(result, Failure):
            self.problem("cannot be read", file.rows[0], result.reason, MEND_FILE)
        elif not result.sizes:
            mend = "mend the path, or take the clip out of the data set"
            self.problem("missing file", file.rows[0], f"there is no {file.job.path}", mend)
        elif not any(result.sizes):
            self.problem("empty file", file.rows[0], f"{file.job.path} holds nothing", MEND_FILE)
        else:
            file.seen = result
            file.content = result.digest

    def readable(self) -> list[File]:
        """Files that could be read."""
        return [file for file in self.files if file.seen.sizes]

    def seconds(self, row: int) -> float:
        """How long a clip is: its window, as far as the file goes."""
        length = self.files[self.file_of[row]].seen.seconds
        return float(max(0.0, min(self.end[row], length) - self.begin[row]))

    def lengths(self) -> dict[int, float]:
        """How long each clip lasts, seconds by row, as far as files were read."""
        return {row: self.seconds(row) for file in self.readable() for row in file.rows if file.seen.seconds}

    def facts(self) -> dict[str, Any]:
        """What is in the stream, in figures."""
        read = self.readable()
        there = {file.job.path for file in self.files}
        unread = there - {file.job.path for file in read}
        facts: dict[str, Any] = {"files": len(there), "unreadable": len(unread)}
        lengths = [self.seconds(row) for file in read for row in file.rows if file.seen.seconds]
        if lengths:
            facts["hours"] = sum(lengths) / 3600
            low, half, high = np.quantile(lengths, [0, 0.5, 1])
            facts["seconds"] = {"shortest": float(low), "median": float(half), "longest": float(high)}
        videos = [file.seen.facts for file in read if file.seen.facts is not None]
        if videos:
            facts["frames"] = sum(fact.frames for fact in videos)
            facts["frames/s"] = dict(Counter(f"{fact.fps:.3g}" for fact in videos).most_common(5))
            facts["sizes"] = dict(Counter(f"{fact.width}x{fact.height}" for fact in videos).most_common(5))
        shapes = Counter(shown_shape(file.seen.shape[1:]) for file in read if file.seen.shape)
        if shapes:
            facts["shapes"] = dict(shapes.most_common(5))
        parts = next((list(file.seen.unseen) for file in read if file.seen.unseen), [])
        if parts:
            facts["unseen"] = {
                part: float(np.mean([file.seen.unseen[part] for file in read if file.seen.unseen]))
                for part in parts
            }
        return facts

    # What is told

    def problem(self, kind: str, row: int, found: str, mend: str) -> None:
        """Of a clip: it has to be mended."""
        self.report.problems.append(Finding(kind, self._place(row), found, mend))

    def warn(self, kind: str, row: int, found: str, mend: str) -> None:
        """Of a clip: it should be known."""
        self.report.warnings.append(Finding(kind, self._place(row), found, mend))

    def warn_all(self, kind: str, found: str, mend: str) -> None:
        """Of the stream as a whole."""
        self.report.warnings.append(Finding(kind, f"stream {self.name}", found, mend))

    def _place(self, row: int) -> str:
        split = f" ({self.splits[row]})" if self.splits[row] else ""
        return f"clip {self.ids[row]!r}{split}"


def shown_shape(shape: Sequence[int]) -> str:
    """Sizes as a person reads them: 20 x 3."""
    return " x ".join(map(str, shape))
