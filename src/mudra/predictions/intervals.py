"""Bootstrap intervals: how far a figure might have come out otherwise with other people (or clips).

Clips of one person succeed and fail together, so whole groups are drawn, not clips: an interval over
clips would be too narrow. Where there are no groups (or only one), clips are drawn, and the result says
so. The percentile bootstrap of Efron (1979), with a seed.

All figures are computed from sums over clips (`Sums`): a resample is then one weighted sum, not a new
pass over the scores, and the point estimate and its interval share one formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mudra.predictions.answers import Floats

RESAMPLES = 1_000
LEVEL = 0.95
UNKNOWN = -1  # the unit of a clip without a group, until it gets one of its own
Measure = Callable[[Floats], Mapping[str, Floats]]
"""Figures from sums: [R, columns] -> name -> [R]."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What is added up over clips: a sparse matrix [clips, columns], one entry per element here.

    Attributes:
        row, column: int64 [M], where an entry stands; several may stand in one place and are added.
        value: float64 [M].
        columns: the number of columns.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    value: Floats
    columns: int

    def total(self) -> Floats:
        """The sums over all clips, [1, columns]."""
        return _added(self.column, self.value, self.columns)[None]

    def by_unit(self, unit: NDArray[np.int64]) -> Sums:
        """The same with clips added up to units (int64 [clips], each clip's unit): [units, columns]."""
        place, inverse = np.unique(unit[self.row] * self.columns + self.column, return_inverse=True)
        value = _added(inverse, self.value, len(place))
        return Sums(place // self.columns, place % self.columns, value, self.columns)


def _added(place: NDArray[np.int64], value: Floats, length: int) -> Floats:
    """Values added up where they belong: [M] -> [length]."""
    return np.bincount(place, weights=value, minlength=length).astype(np.float64, copy=False)


def drawn_units(groups: Sequence[str]) -> tuple[NDArray[np.int64], int, Literal["groups", "clips"]]:
    """What a resample draws: each clip's unit (int64 [N]), the number of units, and what they are.

    Whole groups where at least two are known; a clip of unknown group is then a unit of its own.

    >>> drawn_units(["ann", "ben", "ann", ""])
    (array([0, 1, 0, 2]), 3, 'groups')
    >>> drawn_units(["ann", "ann"])
    (array([0, 1]), 2, 'clips')
    """
    named = {group: number for number, group in enumerate(sorted(set(groups) - {""}))}
    if len(named) < 2:
        return np.arange(len(groups), dtype=np.int64), len(groups), "clips"
    units = np.array([named.get(group, UNKNOWN) for group in groups], dtype=np.int64)
    alone = units == UNKNOWN
    units[alone] = len(named) + np.arange(np.count_nonzero(alone))
    return units, len(named) + int(np.count_nonzero(alone)), "groups"


def bootstrap(
    sums: Sums,
    unit: NDArray[np.int64],
    units: int,
    measure: Measure,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """The 95 % percentile interval of every figure that `measure` computes.

    Args:
        sums: of all clips. unit: int64 [clips], each clip's unit. units: their number.
    Returns:
        (low, high) by figure; nothing where fewer than two units could be drawn from, since one
        unit says nothing of how others would differ.
    """
    if units < 2 or resamples < 1:
        return {}
    rng = np.random.default_rng(seed)
    merged = sums.by_unit(unit)
    drawn = np.empty((resamples, sums.columns))
    for number in range(resamples):
        times = np.bincount(rng.integers(0, units, units), minlength=units)
        drawn[number] = _added(merged.column, merged.value * times[merged.row], sums.columns)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    intervals = {}
    for name, figures in measure(drawn).items():
        low, high = np.quantile(figures, tails)
        intervals[name] = (float(low), float(high))
    return intervals
