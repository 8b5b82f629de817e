"""What a complete read of a stream found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Facts:
    """What is in a stream, after all of it was decoded.

    Attributes:
        frames: number of moments.
        width, height: of the upright picture in pixels; 0 for points and series.
        fps: mean rate, (frames - 1) / (last time - first time); of a single moment the declared
            rate, 0 where there is none.
        duration: seconds from the first moment to the end of the last.
        rotation: degrees clockwise that stand the stored picture upright: 0, 90, 180 or 270.
        declared: frames that the file itself says it has; None where it says nothing.
    """

    frames: int
    width: int
    height: int
    fps: float
    duration: float
    rotation: int = 0
    declared: int | None = None


def mean_rate(times: NDArray[np.float64], otherwise: float) -> float:
    """Moments per second, or `otherwise` where the times do not tell.

    >>> mean_rate(np.array([0.0, 0.5, 1.0]), 0.0)
    2.0
    """
    span = float(times[-1] - times[0]) if len(times) > 1 else 0.0
    return (len(times) - 1) / span if span > 0 else otherwise


def duration(times: NDArray[np.float64], fps: float, last: float = 0.0) -> float:
    """Seconds from the first moment to the end of the last.

    Args:
        last: how long the last moment is shown, if that is known; else 1 / fps.
    """
    return float(times[-1] - times[0]) + (last or (1 / fps if fps else 0.0))
