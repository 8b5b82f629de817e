"""Which moments of a stream may be chosen, and which were."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.limits import Limits
from mudra.types import Choose

# Annotated bounds such as 0.1 s are rarely the exact double of a frame's time; a microsecond is far
# below the distance of two frames and far above rounding.
_SLACK = 1e-6


def check_bounds(start: float | None, stop: float | None, place: str) -> None:
    """Refuse a segment that cannot hold a moment.

    Raises:
        DataError: a bound that is not a number, is negative, or a stop at or before the start.
    """
    for name, bound in (("start", start), ("stop", stop)):
        if bound is not None and not (math.isfinite(bound) and bound >= 0):
            raise DataError(
                f"{place}: {name} is {bound}; expected seconds from the file's own start, 0 or more."
            )
    if stop is not None and stop <= (start or 0.0):
        raise DataError(
            f"{place}: stop ({stop} s) must come after start ({start or 0.0} s); mend the manifest."
        )


def window(times: NDArray[np.float64], start: float | None, stop: float | None, place: str) -> slice:
    """The frame numbers whose times lie inside [start, stop).

    Args:
        times: seconds [T], never falling.
    Raises:
        DataError: no moment lies inside.

    >>> window(np.array([0.0, 0.1, 0.2, 0.3]), 0.1, 0.3, "a clip")
    slice(1, 3, None)
    """
    low = 0 if start is None else int(np.searchsorted(times, start - _SLACK))
    high = len(times) if stop is None else int(np.searchsorted(times, stop - _SLACK))
    if low >= high:
        if not len(times):
            raise DataError(f"{place}: holds no frames; record it again, or leave this clip out.")
        until = "its end" if stop is None else f"{stop:g} s"
        nearest = times[np.argmin(np.abs(times - (start or 0.0)))]
        raise DataError(
            f"{place}: no frame lies between {start or 0.0:g} s and {until}; the nearest is at {nearest:.3f} s."
            " Mend the clip's start and stop."
        )
    return slice(low, high)


def check_count(count: int, limits: Limits, place: str) -> None:
    """Refuse a clip with more moments than the limit.

    Raises:
        DataError: naming the count and the limit.
    """
    if count > limits.frames:
        raise DataError(
            f"{place}: more than {limits.frames:,} frames in one clip; cut it, or give its start and stop."
        )


def picked(choose: Choose, times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ask `choose`, and check its answer.

    Raises:
        ValueError: `choose` broke its contract (no number, or a number outside the clip).
    """
    numbers = np.asarray(choose(times), dtype=np.int64)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"choose returned an array of shape {numbers.shape}; expected [n] with n >= 1")
    if numbers.min() < 0 or numbers.max() >= len(times):
        raise ValueError(f"choose returned {numbers.min()}..{numbers.max()} for {len(times)} frames")
    return numbers


def regular_times(count: int, fps: float | None, place: str, where: str) -> NDArray[np.float64]:
    """Times of `count` moments recorded at a fixed rate: 0, 1/fps, 2/fps, ...

    Args:
        where: what the user should do, if the rate is not known.
    Raises:
        DataError: the rate is not known or not a positive number.
    """
    if fps is None:
        raise DataError(f"{place}: has no times of its own and no frame rate was given; {where}")
    if not (math.isfinite(fps) and fps > 0):
        raise DataError(f"{place}: the frame rate is {fps}; expected frames per second above 0.")
    return np.arange(count, dtype=np.float64) / fps
