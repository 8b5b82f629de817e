"""Learned positions at other lengths and sizes than they were trained at.

Time is resampled linearly, space bicubically, both on the centres of frames and patches; where nothing
changes the very same tensor comes back.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resize_time(positions_TD: Tensor, frames: int) -> Tensor:
    """Positions [T, D] of another number of frames: [frames, D]."""
    if len(positions_TD) == frames:
        return positions_TD
    return F.interpolate(positions_TD.T[None], size=frames, mode="linear", align_corners=False)[0].T


def resize_space(positions_PD: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positions [rows x columns, D] of a patch grid `old` (rows, columns) for a grid `new`."""
    if old == new:
        return positions_PD
    grid = positions_PD.T.unflatten(1, old)[None]
    return F.interpolate(grid, size=new, mode="bicubic", align_corners=False)[0].flatten(1).T
