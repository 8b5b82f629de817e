"""Evaluation's preparing of body points: brought to a length, centred and scaled by the body. Imports no torch.

A point that was not seen is NaN in and NaN out: it never becomes a coordinate, and it never moves another.

Axes: T frames of the source, N moments looked at, K points, C coordinates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mudra.clips.layouts import PointLayout
from mudra.errors import DataError
from mudra.sections import PointSettings

Points = NDArray[np.float32]
Times = NDArray[np.float64]

MOST_PER_MOMENT = 32  # frames that are averaged into one moment; of more, some are left out
LIMIT = 10.0  # body units; what a detector puts farther away is an outlier and is held there


def readable(times: Times, frames: int) -> NDArray[np.int64]:
    """Which frames of a source are read to look at `frames` moments: all of them, unless they are very many."""
    most = MOST_PER_MOMENT * frames
    if len(times) <= most:
        return np.arange(len(times), dtype=np.int64)
    return np.linspace(0, len(times) - 1, most).astype(np.int64)


def moments_of(
    times: Times, frames: int, short: str, shift: float = 0.0, part: tuple[float, float] = (0.0, 1.0)
) -> Times:
    """The moments that are looked at, spread evenly over a part of the clip: seconds [N], 1 <= N <= `frames`.

    Args:
        short: `stretch` takes `frames` moments of every clip, `pad` no more than the part has frames.
        shift: moves the moments, in steps between two of them; they stay inside the clip.
        part: from..to, as shares of the clip's duration.

    >>> moments_of(np.array([0.0, 0.5, 1.0]), 5, "stretch")
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    >>> moments_of(np.array([0.0, 0.5, 1.0]), 5, "pad")
    array([0. , 0.5, 1. ])
    """
    first, last = (times[0] + share * (times[-1] - times[0]) for share in part)
    count = frames
    if short == "pad":
        count = min(frames, max(1, round((len(times) - 1) * (part[1] - part[0])) + 1))
    moments = np.linspace(first, last, count)
    step = (last - first) / max(count - 1, 1)
    return np.clip(moments + shift * step, times[0], times[-1])


def resample(points_TKC: Points, times_T: Times, moments_N: Times) -> Points:
    """Points at other moments: interpolated between frames, averaged where moments are farther apart than frames.

    The filter is the triangle that an antialiased resize of pictures has. A point is there where frames
    that saw it have at least half of the weight; those alone are averaged.

    Returns:
        float32 [N,K,C].

    >>> resample(np.float32([[[0, 0]], [[2, 4]]]), np.array([0.0, 1.0]), np.array([0.0, 0.5])).tolist()
    [[[0.0, 0.0]], [[1.0, 2.0]]]
    """
    places_N = np.interp(moments_N, times_T, np.arange(len(times_T)))
    reach_N = np.maximum(np.abs(np.gradient(places_N)), 1.0) if len(places_N) > 1 else np.ones(1)
    distance_NT = np.abs(places_N[:, None] - np.arange(len(times_T)))
    weight_NT = np.maximum(1 - distance_NT / reach_N[:, None], 0.0)
    weight_NT /= weight_NT.sum(1, keepdims=True)
    seen_TK = seen(points_TKC)
    known_TKC = np.where(seen_TK[..., None], points_TKC, 0).astype(np.float64)
    seen_NK = weight_NT @ seen_TK
    sum_NKC = (weight_NT @ known_TKC.reshape(len(times_T), -1)).reshape(-1, *points_TKC.shape[1:])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_NKC = sum_NKC / seen_NK[..., None]
    return np.where(seen_NK[..., None] >= 0.5 - 1e-9, mean_NKC, np.nan).astype(np.float32)


def seen(points_TKC: Points) -> NDArray[np.bool_]:
    """Which points were seen, bool [T,K]: those of which every coordinate is known."""
    return np.asarray(~np.isnan(points_TKC).any(-1))


def normalise(points_TKC: Points, layout: PointLayout, settings: PointSettings) -> Points:
    """Points about the body's own centre, in body units.

    The layout names the centre and the unit of length. Where the clip never shows them, the mean of all
    points and their root mean square distance from the centre stand in.

    Returns:
        float32 [T,K,C], a new array.
    """
    there_TK = seen(points_TKC)
    if not there_TK.any():
        return np.full_like(points_TKC, np.nan)
    whole = np.where(there_TK[..., None], points_TKC, np.nan).astype(np.float64)
    origin_TC = _origin(whole, layout)
    known_T = np.asarray(~np.isnan(origin_TC).any(1))
    centre_C = origin_TC[known_T].mean(0) if known_T.any() else whole[there_TK].mean(0)
    unit = 1.0
    if settings.scale == "clip":
        unit = (
            _unit(whole, layout) or float(np.sqrt(((whole[there_TK] - centre_C) ** 2).sum(-1).mean())) or 1.0
        )
    if settings.centre == "clip":
        whole = whole - centre_C
    elif settings.centre == "frame":
        whole = whole - np.where(known_T[:, None], origin_TC, centre_C)[:, None]
    limit = LIMIT if settings.scale == "clip" and settings.centre != "none" else np.inf
    return np.clip(whole / unit, -limit, limit).astype(np.float32)


def _origin(whole_TKC: NDArray[np.float64], layout: PointLayout) -> NDArray[np.float64]:
    """The middle of the layout's origin in every frame, NaN where a point of it was not seen: [T,C]."""
    if not layout.origin:
        return np.full((len(whole_TKC), whole_TKC.shape[2]), np.nan)
    middle: NDArray[np.float64] = whole_TKC[:, list(layout.origin)].mean(1)
    return middle


def _unit(whole_TKC: NDArray[np.float64], layout: PointLayout) -> float:
    """The median length of the layout's unit; 0 where it is never seen."""
    lengths = [np.linalg.norm(whole_TKC[:, one] - whole_TKC[:, other], axis=-1) for one, other in layout.unit]
    known = [np.median(length[~np.isnan(length)]) for length in lengths if not np.isnan(length).all()]
    return float(np.mean(known)) if known else 0.0


def fill(points_NKC: Points, frames: int) -> Points:
    """The same points in `frames` frames; those after the clip's end show nothing."""
    out = np.full((frames, *points_NKC.shape[1:]), np.nan, np.float32)
    out[: len(points_NKC)] = points_NKC
    return out


def check(points_TKC: Points, layout: PointLayout, dims: int, place: str) -> Points:
    """The first `dims` coordinates of every point.

    Raises:
        DataError: another number of points than the layout has, or fewer coordinates than wanted.
    """
    _, points, found = points_TKC.shape
    if points != len(layout):
        raise DataError(
            f"{place}: it has {points} points; its layout {layout.name} has {len(layout)}. Name the right layout in "
            "dataset.json, or make the points anew."
        )
    if found < dims:
        raise DataError(
            f"{place}: its points have {found} coordinates; clip.points.dims asks for {dims}. "
            f"Set clip.points.dims={found}."
        )
    return points_TKC[..., :dims]
