"""Depth and mask as a model takes them: one plane of numbers a frame. numpy and Pillow alone.

Both go through the very geometry that the video beside them goes through, so that a place is the same in all three.

Axes: T frames, H height, W width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mudra.clips.geometry import Geometry, take
from mudra.sections import DepthSettings

MOSTLY = 0.5 - 1e-4  # of a pixel's area, from which on it is taken for the whole (rounding must not decide)
OUTLIERS = 0.01  # share of a clip's depths, at each end, that its range leaves out


def depth_planes(
    frames: NDArray[np.uint16], geometry: Geometry, within: tuple[float, float]
) -> NDArray[np.float32]:
    """Depth as nearness: 1 at the near end of the range and before it, falling to 0 at the far end; 0 where unknown.

    A pixel is the mean of what is known under it, and unknown where that is less than half.

    Args:
        frames: millimetres [T,H,W], 0 = unknown.
        within: near and far end, millimetres.
    Returns:
        float32 [T,1,out,out], 0..1.
    """
    near, far = within
    known = (frames > 0).astype(np.float32)
    nearness = np.clip((far - frames.astype(np.float32)) / max(far - near, 1.0), 0, 1).astype(np.float32)
    weight = take(known, geometry, 0.0)
    total = take(nearness * known, geometry, 0.0)
    mean = np.divide(total, weight, out=np.zeros_like(total), where=weight >= MOSTLY)
    return np.clip(mean, 0, 1)[:, None]


def mask_planes(frames: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.float32]:
    """A mask as 0 and 1: 1 where at least half of a pixel's area is not 0; float32 [T,1,out,out]."""
    share = take((frames > 0).astype(np.float32), geometry, 0.0)
    return (share >= MOSTLY).astype(np.float32)[:, None]


def depth_range(frames: NDArray[np.uint16], settings: DepthSettings) -> tuple[float, float]:
    """Near and far end in millimetres: what the settings say, else nearly all that is known of these frames.

    >>> depth_range(np.array([[[0, 800, 2000]]], np.uint16), DepthSettings(far=1500))
    (800.0, 1500.0)
    """
    if settings.near is not None and settings.far is not None:
        return settings.near, settings.far
    known = frames[frames > 0]
    ends = np.quantile(known, [OUTLIERS, 1 - OUTLIERS], method="nearest") if known.size else (0.0, 1.0)
    near = float(ends[0]) if settings.near is None else settings.near
    far = float(ends[1]) if settings.far is None else settings.far
    return near, far
