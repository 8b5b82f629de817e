"""What the data doctor finds by comparing files: copies, byte by byte, by content and by looks."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mudra.clips import likeness
from mudra.clips.check.inspection import Window
from mudra.clips.check.stream_files import File, StreamFiles
from mudra.types import SPLITS, UNLABELLED

LEAK = "keep one of them: what was trained on must not be tested on"


def same_size(stream: StreamFiles) -> list[File]:
    """Files that share their size, and so might share their bytes."""
    sizes = Counter(file.seen.sizes for file in stream.readable())
    return [file for file in stream.readable() if not file.content and sizes[file.seen.sizes] > 1]


def same_content(stream: StreamFiles) -> None:
    """Copies: across splits a leak, within one a waste."""
    groups: dict[str, list[File]] = {}
    for file in stream.readable():
        for content in {file.content, file.whole} - {""}:
            groups.setdefault(content, []).append(file)
    twins: dict[int, set[int]] = {}
    for files in groups.values():
        rows = sorted(row for file in files for row in file.rows)
        for at, row in enumerate(rows):
            twins.setdefault(row, set()).update(other for other in rows[:at] if _copies(stream, row, other))
    for row, others in sorted(twins.items()):
        across = next((other for other in sorted(others) if stream.splits[other] != stream.splits[row]), None)
        if across is not None:
            stream.problem("same content in two splits", row, _twin(stream, row, across), LEAK)
        elif others:
            stream.warn("copy in a split", row, _twin(stream, row, min(others)), "keep one of them")


def may_look_alike(stream: StreamFiles) -> tuple[list[int], list[Window]]:
    """Clips for which another split has one of about their length: all that need be looked at."""
    rows = np.array(sorted(row for file in stream.readable() for row in file.rows), np.int64)
    seconds = np.array([stream.seconds(int(row)) for row in rows])
    codes = stream.manifest.splits[rows]
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
        clip = stream.manifest[row]
        job = stream.files[stream.file_of[row]].job
        windows.append(Window(job.path, job.fps, clip.start, clip.stop, stream.seconds(row)))
    return chosen, windows


def same_looks(stream: StreamFiles, looks: dict[int, likeness.Look]) -> None:
    """Copies that were encoded again."""
    rows = list(looks)
    sides = [int(stream.manifest.splits[row]) for row in rows]
    for one, other, score in likeness.alike(list(looks.values()), sides):
        here, there = max(rows[one], rows[other]), min(rows[one], rows[other])
        files = [stream.files[stream.file_of[row]] for row in (here, there)]
        if files[0] is files[1] or (files[0].content and files[0].content == files[1].content):
            continue
        found = f"{_twin(stream, here, there, 'looks the same as')} (likeness {score:.2f})"
        stream.warn(
            "looks the same in two splits", here, found, "look at both (mudra data show); if so, " + LEAK
        )


def _copies(stream: StreamFiles, row: int, other: int) -> bool:
    """Whether two clips hold the same: they are cut from different files of one content, at moments that overlap,
    or their windows are of one content."""
    one, two = stream.files[stream.file_of[row]], stream.files[stream.file_of[other]]
    if one is two:
        return False
    if one.content == two.content and (one.whole or two.whole):
        return True
    if one.job.path == two.job.path:
        return False
    return bool(stream.begin[row] < stream.end[other] and stream.begin[other] < stream.end[row])


def _twin(stream: StreamFiles, row: int, other: int, how: str = "holds the same as") -> str:
    paths = [stream.files[stream.file_of[at]].job.path for at in (row, other)]
    names = [path.relative_to(stream.manifest.root).as_posix() for path in paths]
    split = f" of {stream.splits[other]}" if stream.splits[other] else ""
    text = f"{names[0]!r} {how} {names[1]!r}, clip {stream.ids[other]!r}{split}"
    for task, classes in stream.manifest.tasks.items():
        here, there = (int(stream.manifest.labels[task][at]) for at in (row, other))
        if here != there and UNLABELLED not in (here, there):
            text += f"; {task} {classes[here]!r} here and {classes[there]!r} there"
    return text
