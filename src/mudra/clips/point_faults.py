"""What detectors get wrong: points that jump, shake or are lost for a while, hands that are mixed up. numpy alone.

For training clips, whose points are in body units. Each kind draws from a generator of its own, so that none shifts
another's numbers. A point that was not seen stays so; a clip is never emptied by one of these.

Axes: T frames, K points, C coordinates.
"""

from __future__ import annotations

import numpy as np

from mudra.clips.layouts import PointLayout
from mudra.clips.points import Points, seen
from mudra.sections import PointAugment

BURST, OUTLIERS, HANDS, AXES, LOST, SPAN, POOR = range(11, 18)  # whose numbers come from which generator
STRETCH = 0.25  # share of the clip that a fault lasts, at most
JUMP = 0.2  # body units: half of the outliers jump by less along each axis
FARTHEST = 10.0  # body units, as far as evaluation lets a point be


def faulty(points_TKC: Points, seed: int, layout: PointLayout, how: PointAugment) -> Points:
    """Points as a detector might have given them; `points_TKC` itself where everything is off."""
    if how.burst and layout.parts:
        points_TKC = shaken(points_TKC, seed, layout, how)
    if how.outliers:
        points_TKC = with_outliers(points_TKC, seed, how)
    if how.swap_hands:
        points_TKC = with_hands_swapped(points_TKC, seed, layout, how)
    if how.drop_axes:
        points_TKC = with_still_axes(points_TKC, seed, how)
    if how.lose_parts or how.drop_span:
        points_TKC = with_gaps(points_TKC, seed, layout, how)
    if how.poor:
        points_TKC = poorly_tracked(points_TKC, seed, how)
    return points_TKC


def shaken(points_TKC: Points, seed: int, layout: PointLayout, how: PointAugment) -> Points:
    """One part trembles during one stretch of the clip."""
    rng = np.random.default_rng([seed, BURST])
    frames, _, dims = points_TKC.shape
    rows = list(layout.parts.values())[rng.integers(len(layout.parts))]
    when = stretch(rng, frames, STRETCH)
    deviation = rng.random() * how.burst
    shaken_TKC = points_TKC.copy()
    shaken_TKC[when, rows] += rng.normal(0, deviation, (when.stop - when.start, len(rows), dims))
    return shaken_TKC


def with_outliers(points_TKC: Points, seed: int, how: PointAugment) -> Points:
    """Some points jump away in single frames, most by a little, a few far (Cauchy)."""
    rng = np.random.default_rng([seed, OUTLIERS])
    jumps_TK = rng.random(points_TKC.shape[:2]) < how.outliers
    to = points_TKC[jumps_TK] + JUMP * rng.standard_cauchy((int(jumps_TK.sum()), points_TKC.shape[2]))
    jumped_TKC = points_TKC.copy()
    jumped_TKC[jumps_TK] = np.clip(to, -FARTHEST, FARTHEST)
    return jumped_TKC


def with_hands_swapped(points_TKC: Points, seed: int, layout: PointLayout, how: PointAugment) -> Points:
    """In some clips the left hand is taken for the right one, and the right one for the left, for a stretch."""
    rng = np.random.default_rng([seed, HANDS])
    swapped = rng.random() < how.swap_hands
    when = stretch(rng, len(points_TKC), STRETCH)
    if not swapped:
        return points_TKC
    left, right = list(layout.parts["left_hand"]), list(layout.parts["right_hand"])
    swapped_TKC = points_TKC.copy()
    swapped_TKC[when, left], swapped_TKC[when, right] = points_TKC[when, right], points_TKC[when, left]
    return swapped_TKC


def with_still_axes(points_TKC: Points, seed: int, how: PointAugment) -> Points:
    """Along some axes every point stays at its mean over the clip; along one axis at least it moves."""
    dims = points_TKC.shape[2]
    still = np.random.default_rng([seed, AXES]).random(3)[:dims] < how.drop_axes
    if still.all() or not still.any():
        return points_TKC
    there_TK = seen(points_TKC)
    sum_KC = np.where(there_TK[..., None], points_TKC, 0).sum(0, dtype=np.float64)
    mean_KC = (sum_KC / np.maximum(there_TK.sum(0), 1)[:, None]).astype(np.float32)
    return np.where(there_TK[..., None] & still, mean_KC, points_TKC)


def with_gaps(points_TKC: Points, seed: int, layout: PointLayout, how: PointAugment) -> Points:
    """Some parts are not seen for a stretch each, and nothing at all for another; where nothing is left, all is."""
    frames = len(points_TKC)
    lost_TK = np.zeros(points_TKC.shape[:2], bool)
    rng = np.random.default_rng([seed, LOST])
    for rows, chance in zip(layout.parts.values(), rng.random(len(layout.parts)), strict=True):
        when = stretch(rng, frames, STRETCH)
        if chance < how.lose_parts:
            lost_TK[when, list(rows)] = True
    lost_TK[stretch(np.random.default_rng([seed, SPAN]), frames, how.drop_span)] = True
    if not (seen(points_TKC) & ~lost_TK).any():
        return points_TKC
    return np.where(lost_TK[..., None], np.float32(np.nan), points_TKC)


def poorly_tracked(points_TKC: Points, seed: int, how: PointAugment) -> Points:
    """In some clips many points are not seen, each throughout or now and then, and all of them tremble."""
    rng = np.random.default_rng([seed, POOR])
    poor, lost, trembling, each_frame = rng.random(4)
    if poor >= how.poor:
        return points_TKC
    frames, points, _ = points_TKC.shape
    lost_TK = rng.random((frames if each_frame < 0.5 else 1, points)) < lost * how.poor_lost
    if not (seen(points_TKC) & ~lost_TK).any():
        return points_TKC
    deviation = np.float32(trembling * how.poor_noise)
    trembled_TKC = points_TKC + deviation * rng.standard_normal(points_TKC.shape, np.float32)
    return np.where(lost_TK[..., None], np.float32(np.nan), trembled_TKC)


def stretch(rng: np.random.Generator, frames: int, longest: float) -> slice:
    """Some frames one after the other, at most that share of them and never all; two numbers are drawn."""
    length, begin = rng.random(2)
    count = min(int(np.ceil(length * longest * frames)), frames - 1)
    first = int(begin * (frames - count + 1))
    return slice(first, first + count)
