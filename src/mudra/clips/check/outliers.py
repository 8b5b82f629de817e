"""What the data doctor finds odd about single files: windows, shapes, rates, lengths, sizes, and nothing to be seen."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mudra.clips.check.stream_files import StreamFiles, shown_shape

RATE_OFF, LENGTH_OFF, AREA_OFF = 1.2, 10.0, 16.0  # times the usual from which on it is told


def windows(stream: StreamFiles) -> None:
    """Clips that begin or end after their file does."""
    for file in stream.readable():
        for row in file.rows:
            start, stop, length = stream.begin[row], stream.end[row], file.seen.seconds
            if start >= length > 0:
                mend = "mend `start`, which is in seconds from the first frame"
                stream.problem(
                    "starts after its end", row, f"start {start:g}; the file lasts {length:.2f} s", mend
                )
            elif np.inf > stop > length + 0.5 and length > 0:
                found = f"stop {stop:g}; the file lasts {length:.2f} s"
                stream.warn(
                    "stops after its end", row, found, "mend `stop`, or leave it empty for the file's end"
                )


def shapes(stream: StreamFiles) -> None:
    """Points and series of unlike size cannot be put side by side."""
    usual = Counter(file.seen.shape[1:] for file in stream.readable() if file.seen.shape).most_common(1)
    for file in stream.readable():
        if file.seen.shape and file.seen.shape[1:] != usual[0][0]:
            found = f"{shown_shape(file.seen.shape[1:])} values a moment; most clips have {shown_shape(usual[0][0])}"
            stream.problem(
                "another shape", file.rows[0], found, "record all clips in one way, or split the data set"
            )


def unusual(stream: StreamFiles) -> None:
    """Rates, lengths and sizes far from the usual."""
    lengths = stream.lengths()
    usual = float(np.median(list(lengths.values()))) if lengths else 0.0
    for row, length in lengths.items():
        if usual and not usual / LENGTH_OFF <= length <= usual * LENGTH_OFF:
            mend = "see whether it was cut as the others were"
            stream.warn("unusual length", row, f"{length:.2f} s; half of the clips last {usual:.2f} s", mend)
    facts = [(file, file.seen.facts) for file in stream.readable() if file.seen.facts is not None]
    if not facts:
        return
    for file, fact in facts:
        if fact.frames == 1:
            stream.warn(
                "a single frame", file.rows[0], "one frame, in which nothing moves", "leave the clip out"
            )
    rate = float(np.median([fact.fps for _, fact in facts]))
    off = Counter(
        f"{fact.fps:.3g}"
        for _, fact in facts
        if fact.frames > 1 and not rate / RATE_OFF <= fact.fps <= rate * RATE_OFF
    )
    if off:
        found = (
            f"{off.total()} of {len(facts)} files are far from the usual {rate:.3g} frames/s: {_tally(off)}"
        )
        stream.warn_all(
            "unlike frame rates",
            found,
            "sampling by frame numbers would see other speeds; see clip.stride",
        )
    areas = [fact.width * fact.height for _, fact in facts]
    upright = sum(fact.height > fact.width for _, fact in facts)
    if 0 < upright < len(facts) or max(areas) > AREA_OFF * min(areas):
        found = f"{_tally(Counter(f'{fact.width}x{fact.height}' for _, fact in facts))}"
        stream.warn_all(
            "unlike pictures", found, "size and shape may tell the class: see that classes share them"
        )


def nothing_seen(stream: StreamFiles) -> None:
    """Clips in which no point, or no hand, was ever found, or nothing ever changes."""
    for file in stream.readable():
        unseen = file.seen.unseen
        hands = [share for part, share in unseen.items() if "hand" in part]
        if unseen.get("any point") == 1:
            stream.warn("no points", file.rows[0], "no point was seen in any moment", "find the points anew")
        elif hands and min(hands) == 1:
            stream.warn("no hands", file.rows[0], "no hand was seen in any moment", "find the points anew")
        elif unseen.get("any channel") == 1:
            stream.warn("nothing known", file.rows[0], "no channel has a value", "record the clip anew")
        elif file.seen.constant:
            found = "every moment holds the same values"
            stream.warn("nothing moves", file.rows[0], found, "see whether the recording failed")


def _tally(counts: Counter[str]) -> str:
    listed = ", ".join(f"{value} ({count})" for value, count in counts.most_common(5))
    return listed + (f" and {len(counts) - 5} more" if len(counts) > 5 else "")
