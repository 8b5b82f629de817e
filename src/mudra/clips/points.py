"""Evaluation's preparing of body points: brought to a length, centred and scaled by the body. Imports no torch.

In this order: `clean` says what counts as seen and which frames are looked at; `resample` brings the clip to a length;
`normalise` centres and scales it by the body; `finish` does what is done by part and by clip, after training has
altered the body.

A point that was not seen is NaN in and NaN out: it never becomes a coordinate, and it never moves another.

Axes: T frames of the source, N moments looked at, K points, C coordinates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mudra.clips.layouts import PointLayout
from mudra.errors import DataError, RecipeError, did_you_mean
from mudra.sections import PointSettings
from mudra.types import Stream

F = TypeVar("F", np.float32, np.float64)
Points = NDArray[np.float32]
Times = NDArray[np.float64]

MOST_PER_MOMENT = 32  # frames that are averaged into one moment; of more, some are left out
STILL = 1e-6  # of a coordinate's size: what changes less is rounding
FAR = 1e6  # in any unit; no recorder means more, and a network could not multiply it


def require_parts(layout: PointLayout, settings: PointSettings, place: str, streams: int = 1) -> None:
    """Raise RecipeError where a setting names a part that the layout does not have, or would tear streams apart.

    Args:
        streams: how many are looked at together.
    """
    if settings.drop_frames_without and streams > 1:
        raise RecipeError(
            f"clip.points.drop_frames_without: found {list(settings.drop_frames_without)} beside {streams} streams; "
            "time would close up in one and not in the others. Set it to [], or look at the points alone."
        )
    for part in settings.drop_frames_without:
        if part not in layout.parts:
            has = ", ".join(layout.parts) or "none"
            raise RecipeError(
                f"clip.points.drop_frames_without: found {part!r}; the layout {layout.name} of {place} has the parts "
                f"{has}.{did_you_mean(part, layout.parts)} Name parts that it has, or none."
            )


def clean(stream: Stream, layout: PointLayout, settings: PointSettings) -> Stream:
    """The stream without points of which the detector was not sure, and without frames that show nothing of use.

    Args:
        stream: points of the layout; those without a score are as sure as NaN says.
    """
    values, score = stream.values, stream.score
    if settings.min_score and score is not None:
        stream = replace(
            stream, values=np.where(score[..., None] < settings.min_score, np.float32(np.nan), values)
        )
    if settings.drop_frames_without:
        rows = [row for part in settings.drop_frames_without for row in layout.parts[part]]
        stream = closed_up(stream, np.asarray(seen(stream.values[:, rows]).any(1)))
    return stream


def closed_up(stream: Stream, kept_T: NDArray[np.bool_]) -> Stream:
    """Some frames of a stream, as if nothing had been between them; the stream itself where all or none are kept.

    Each frame keeps its distance from the frame that came before it, kept or not.

    >>> times = np.array([0.0, 0.1, 0.2, 0.3])
    >>> whole = Stream("points", np.zeros((4, 1, 2), np.float32), times)
    >>> closed_up(whole, np.array([True, False, False, True])).times
    array([0. , 0.1])
    """
    if kept_T.all() or not kept_T.any():
        return stream
    steps = np.diff(stream.times, prepend=stream.times[0])[kept_T]
    steps[0] = 0.0
    times = stream.times[kept_T][0] + np.cumsum(steps)
    score = None if stream.score is None else stream.score[kept_T]
    return replace(stream, values=stream.values[kept_T], times=times, score=score)


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
    absent_TK = np.isnan(points_TKC[..., 0])
    for coordinate in range(1, points_TKC.shape[-1]):  # three times as quick as any() along a short axis
        absent_TK |= np.isnan(points_TKC[..., coordinate])
    return ~absent_TK


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
        unit = _unit(whole, layout) or _spread(whole[there_TK] - centre_C) or 1.0
    if settings.centre == "clip":
        whole = whole - centre_C
    elif settings.centre == "frame":
        whole = whole - np.where(known_T[:, None], origin_TC, centre_C)[:, None]
    limit = settings.limit if settings.scale == "clip" and settings.centre != "none" else FAR
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


def _spread(about_NC: NDArray[np.float64]) -> float:
    """The root mean square length."""
    square_N = about_NC[:, 0] ** 2
    for coordinate in range(1, about_NC.shape[1]):
        square_N += about_NC[:, coordinate] ** 2
    return float(np.sqrt(square_N.mean()))


def finish(points_TKC: Points, layout: PointLayout, settings: PointSettings) -> Points:
    """What is done last, by part and by clip: float32 [T,K,C], of `settings.coordinates` coordinates.

    Args:
        points_TKC: centred and scaled by the body, NaN = not seen.
    """
    finished = points_TKC
    if settings.by != "body":
        own = by_part(points_TKC, layout, settings)
        finished = own if settings.by == "part" else np.concatenate([points_TKC, own], axis=-1)
    return standardised(finished, settings.limit) if settings.standardise == "clip" else finished


def by_part(points_TKC: Points, layout: PointLayout, settings: PointSettings) -> Points:
    """Every point about the middle of what is seen of its part in the frame, in the part's size over the clip.

    The size is the median over the frames of the root mean square distance from the middle. A part of which no frame
    shows two points, or whose points all lie in one place, has no size: it is only moved. A point of no part stays.

    Returns:
        float32 [T,K,C], NaN where the point is NaN.
    """
    there_TK = seen(points_TKC)
    known_TKC = np.where(there_TK[..., None], points_TKC, 0).astype(np.float64)
    limit = settings.limit if settings.scale == "clip" else FAR
    for row_numbers in layout.parts.values():
        rows = together(row_numbers)
        known, there = known_TKC[:, rows], there_TK[:, rows]
        about, number_T = about_middle(known, there)
        size = 0.0
        if settings.scale == "clip" and (number_T > 1).any():
            size_T = np.sqrt(np.einsum("tkc,tkc->t", about, about)[number_T > 1] / number_T[number_T > 1])
            size = float(np.median(size_T))
        unit = size if size > STILL * np.abs(known).max() else 1.0
        known_TKC[:, rows] = about / unit
    return np.where(there_TK[..., None], np.clip(known_TKC, -limit, limit), np.nan).astype(np.float32)


def about_middle(known_TKC: NDArray[F], there_TK: NDArray[np.bool_]) -> tuple[NDArray[F], NDArray[np.int64]]:
    """Points about the middle of those of them that are there, frame by frame, and how many those are, int64 [T].

    Args:
        known_TKC: 0 where a point is not there; so is the result.
    """
    number_T = np.asarray(there_TK.sum(1))
    middle_TC = np.einsum("tkc->tc", known_TKC) / np.maximum(number_T, 1)[:, None].astype(known_TKC.dtype)
    return (known_TKC - middle_TC[:, None]) * there_TK[..., None], number_T


def together(rows: tuple[int, ...]) -> slice | list[int]:
    """Rows as a slice where they stand one after the other: that needs no copy."""
    return slice(rows[0], rows[-1] + 1) if rows == tuple(range(rows[0], rows[-1] + 1)) else list(rows)


def standardised(points_TKC: Points, limit: float) -> Points:
    """Every coordinate less its mean over the clip, by its deviation; one that does not change is 0.

    Returns:
        float32 [T,K,C], between -limit and limit, NaN where the point is NaN.
    """
    there_TK = seen(points_TKC)
    known_TKC = np.where(there_TK[..., None], points_TKC, 0).astype(np.float64)
    number_K1 = np.maximum(there_TK.sum(0), 1)[:, None]
    about_TKC = known_TKC - known_TKC.sum(0) / number_K1
    deviation_KC = np.sqrt(np.where(there_TK[..., None], about_TKC**2, 0).sum(0) / number_K1)
    still_KC = deviation_KC <= STILL * np.abs(known_TKC).max(0)
    shown_TKC = np.clip(about_TKC / np.where(still_KC, 1.0, deviation_KC), -limit, limit)
    shown_TKC[:, still_KC] = 0.0
    return np.where(there_TK[..., None], shown_TKC, np.nan).astype(np.float32)


def fill(looks: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """The same looks [N,...] in `frames` frames; those after the clip's end show nothing (NaN)."""
    if len(looks) == frames:
        return looks
    out = np.full((frames, *looks.shape[1:]), np.nan, np.float32)
    out[: len(looks)] = looks
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
