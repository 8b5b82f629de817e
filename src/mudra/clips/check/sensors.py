"""What the data doctor finds odd about series, and about the clocks of several streams. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from mudra.clips.check.findings import Finding
from mudra.clips.check.inspection import Seen

CLOCK_OFF = 1.15  # times as long as another stream of the same clips
ZEROS = 0.05  # share of a series' values from which on it is told
NAMED = 8  # channels that are listed


def odd_channels(stream: str, seen: Sequence[Seen]) -> list[Finding]:
    """Channels of a series that tell nothing, and zeros that may mean that nothing is known.

    Args:
        seen: what the clips hold.
    """
    usual = Counter(len(one.least) for one in seen).most_common(1)
    read = [one for one in seen if len(one.least) == usual[0][0] > 0]
    if len(read) < 2:
        return []
    place = f"stream {stream}"
    findings = []
    least, most = np.min([one.least for one in read], axis=0), np.max([one.most for one in read], axis=0)
    for still, how in ((least == most, "always the same"), (least > most, "never known")):
        if still.any():
            numbers = ", ".join(map(str, np.flatnonzero(still)[:NAMED]))
            found = f"{int(still.sum())} of {len(still)} channels are {how}: {numbers}"
            found += " ..." if still.sum() > NAMED else ""
            mend = "leave them out, or see whether the sensor failed"
            findings.append(Finding("silent channels", place, found, mend))
    zeros = float(np.mean([one.zeros for one in read]))
    if zeros > ZEROS:
        mend = "if that means that nothing is known there, say so with clip.series.absent=0"
        findings.append(Finding("many zeros", place, f"{zeros:.0%} of all values are exactly 0", mend))
    return findings


def odd_clocks(lengths: Mapping[str, Mapping[int, float]]) -> list[Finding]:
    """Streams of the same clips that last unlike: their seconds are not the same seconds.

    Args:
        lengths: by stream, how long each clip lasts, seconds by row.
    """
    findings = []
    for one, other in combinations([name for name, by_row in lengths.items() if by_row], 2):
        both = sorted(lengths[one].keys() & lengths[other].keys())
        ratios = [lengths[other][row] / lengths[one][row] for row in both if lengths[one][row] > 0]
        if not ratios or 1 / CLOCK_OFF <= float(np.median(ratios)) <= CLOCK_OFF:
            continue
        low, half, high = np.quantile(ratios, [0, 0.5, 1])
        found = f"{other} lasts {half:.2f} times as long as {one} (from {low:.2f} to {high:.2f})"
        mend = "mend a rate; if they began and ended together whatever their rates, set clip.align=ends"
        findings.append(Finding("unlike clocks", f"streams {one}, {other}", found, mend))
    return findings
