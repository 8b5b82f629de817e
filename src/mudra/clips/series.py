"""Series (the channels of a sensor) for evaluation: brought to a length, and to a common scale. Imports no torch.

A series is points without the coordinate axis: it is brought to moments by the very same filter, channel by channel.
A value that is not known is NaN in and NaN out.

Axes: T frames of the source, N moments looked at, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mudra.clips.points import Times, resample
from mudra.errors import DataError
from mudra.sections import SeriesSettings

Series = NDArray[np.float32]

FLAT = 1e-6  # of a channel's mean: what deviates less does so by rounding alone


@dataclass(frozen=True)
class Scale:
    """What a channel is like over the training clips: its mean and its deviation, [C] each, none of them 0 wide."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def check(series_TC: Series, channels: int | None, settings: SeriesSettings, place: str) -> Series:
    """The series with NaN wherever nothing is known.

    Raises:
        DataError: another number of channels than the data set's.
    """
    found = series_TC.shape[1]
    if channels is not None and found != channels:
        raise DataError(
            f"{place}: it has {found} channels; the data set's series has {channels}. Leave the clip out, or record "
            "all clips in one way."
        )
    if settings.absent is None:
        return series_TC
    return np.where(series_TC == np.float32(settings.absent), np.float32(np.nan), series_TC)


def at_moments(series_TC: Series, times_T: Times, moments_N: Times) -> Series:
    """A series at other moments, float32 [N,C]; see `points.resample`.

    >>> at_moments(np.float32([[0, 1], [2, np.nan]]), np.array([0.0, 1.0]), np.array([0.25])).tolist()
    [[0.5, 1.0]]
    """
    return resample(series_TC[..., None], times_T, moments_N)[..., 0]


def normalise(series_NC: Series, settings: SeriesSettings, scale: Scale | None = None) -> Series:
    """A series on the scale that the settings ask for: float32 [N,C].

    Args:
        scale: of the training clips, for `normalise: train`.
    """
    if settings.normalise == "none":
        return series_NC
    if settings.normalise == "clip":
        scale = measured([series_NC])
    if scale is None:
        raise ValueError("the scale of the training clips was not measured")
    with np.errstate(over="ignore"):
        even = (series_NC.astype(np.float64) - np.array(scale.mean)) / np.array(scale.deviation)
    return np.clip(even, -settings.limit, settings.limit).astype(np.float32)


def measured(clips: Iterable[Series]) -> Scale:
    """Mean and deviation of each channel over all frames of some clips [T,C], of what is known of them.

    A channel that never changes has the deviation 1, and one that is never known the mean 0. The clips' moments are
    joined one by one (Chan et al. 1979), so that a channel far from 0 is measured as well as one about it, and the same
    clips in the same order give the same numbers.

    >>> measured([np.float32([[1, 7], [3, 7]]), np.float32([[5, np.nan]])])
    Scale(mean=(3.0, 7.0), deviation=(1.632993161855452, 1.0))
    """
    count, mean, spread = np.zeros(1), np.zeros(1), np.zeros(1)
    for series_TC in clips:
        whole = series_TC.astype(np.float64)
        known = ~np.isnan(whole)
        more = known.sum(0).astype(np.float64)
        middle = np.where(known, whole, 0).sum(0) / np.maximum(more, 1)
        around = (np.where(known, whole - middle, 0) ** 2).sum(0)
        step = np.where(more > 0, middle - mean, 0)
        share = more / np.maximum(count + more, 1)
        spread = spread + around + step**2 * count * share
        mean = mean + step * share
        count = count + more
    deviation = np.sqrt(spread / np.maximum(count, 1))
    flat = deviation <= FLAT * np.abs(mean)
    return Scale(tuple(mean.tolist()), tuple(np.where(flat, 1.0, deviation).tolist()))
