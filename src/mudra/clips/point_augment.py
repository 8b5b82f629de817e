"""How the points of a training clip are altered: drawn once per clip, carried out in two places.

`draw_points` makes the choice from a random generator alone. `moments` says when the clip is looked at, before the
points are brought to a length; `alter` moves and hides points that are centred and scaled already: another body
(point_shapes.py), seen by another camera, with the errors of another detector (point_faults.py). Where nothing is drawn
the result is evaluation's, bit for bit. numpy alone.

Axes: T frames, K points, C coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mudra.clips.layouts import PointLayout, mirror_points
from mudra.clips.point_faults import faulty
from mudra.clips.point_shapes import filmed, reshaped, rotation
from mudra.clips.points import Points, Times, moments_of
from mudra.sections import AugmentSettings, PointAugment, TimeAugment

KNOTS = 5  # between which a slow drift runs straight
SLOW = 21  # keeps the numbers of slowing apart from all others


@dataclass(frozen=True, slots=True)
class PointDraw:
    """What was drawn for one clip.

    Attributes:
        part: from..to, the part of the clip that is kept, as shares of its duration.
        speed: how many times quicker it runs, at least 1.
        bends: how its speed changes along the clip: weights of one and of two half waves, together below 1.
        matrix: float64 [3,3] that every point is multiplied by, for 2 coordinates its upper left part.
        unrolled: the same without the turn in the picture, for points that are turned with one.
        flip: whether left and right changed places; classes that have a side must change with them.
        noise, drift: deviation in body units, of this clip.
        seed: of everything that is drawn for single frames and points.
        slow: how many times as many moments are looked at, at least 1.
    """

    part: tuple[float, float]
    speed: float
    bends: tuple[float, float]
    matrix: NDArray[np.float64]
    unrolled: NDArray[np.float64]
    flip: bool
    noise: float
    drift: float
    seed: int
    slow: float = 1.0


def draw_points(
    settings: AugmentSettings, rng: np.random.Generator, flip: bool, time: TimeAugment | None = None
) -> PointDraw:
    """Draw how the points of one clip are altered.

    All numbers are drawn whatever the settings, so one setting never shifts the draws of another.

    Args:
        flip: whether the clip is mirrored, which all its streams must agree on.
        time: how the time of the clip is altered, as all its streams agree; by default as its points say.
    """
    how = settings.points
    time = how if time is None else time
    kept, begin, speed, noise, drift = rng.random(5)
    bend = rng.uniform(-0.5, 0.5, 2)
    size, *axes = rng.uniform(-1, 1, 4)
    roll, turn, tilt = rng.uniform(-1, 1, 3)
    seed = int(rng.integers(2**62))
    share = time.crop + kept * (1 - time.crop)
    first = begin * (1 - share)
    scale = (1 + size * how.scale) * np.diag([1 + number * how.stretch for number in axes])
    return PointDraw(
        part=(first, min(first + share, 1.0)),
        speed=1 + speed * time.speed,
        bends=(bend[0] * time.warp, bend[1] * time.warp),
        matrix=rotation(roll * settings.rotate, turn * how.turn, tilt * how.tilt) @ scale,
        unrolled=rotation(0.0, turn * how.turn, tilt * how.tilt) @ scale,
        flip=flip,
        noise=noise * how.noise,
        drift=drift * how.drift,
        seed=seed,
        slow=1 + np.random.default_rng([seed, SLOW]).random() * time.slow if time.slow else 1.0,
    )


def moments(times: Times, frames: int, short: str, draw: PointDraw) -> Times:
    """The moments at which a training clip is looked at: seconds [N], never falling, 1 <= N <= `frames`."""
    even = moments_of(times, frames, short, part=draw.part)
    count = min(frames, max(1, round(len(even) / draw.speed * draw.slow)))
    if count == len(even) and draw.bends == (0.0, 0.0):
        return even
    way = np.linspace(0, 1, count)
    one, two = draw.bends
    bent = way + one * np.sin(np.pi * way) / np.pi + two * np.sin(2 * np.pi * way) / (2 * np.pi)
    return even[0] + bent * (even[-1] - even[0])


def alter(points_TKC: Points, draw: PointDraw, layout: PointLayout, how: PointAugment) -> Points:
    """Move and hide points; those that were not seen stay so.

    Args:
        points_TKC: centred and in body units, NaN = not seen.
    """
    rng = np.random.default_rng(draw.seed)
    dims = points_TKC.shape[2]
    altered = points_TKC
    if draw.flip:
        altered = mirror_points(altered, layout, width=0.0)
    altered = reshaped(altered, draw.seed, layout, how)
    if not np.array_equal(draw.matrix, np.eye(3)):
        altered = (altered @ draw.matrix[:dims, :dims].T).astype(np.float32)
    altered = filmed(altered, draw.seed, how)
    if draw.noise or draw.drift:
        altered = altered + shaking(rng, draw.noise, draw.drift, altered.shape)
    altered = faulty(altered, draw.seed, layout, how)
    hidden = _hidden(rng, altered.shape[:2], layout, how)
    return np.where(hidden[..., None], np.float32(np.nan), altered) if hidden.any() else altered


def shaking(
    rng: np.random.Generator, noise: float, drift: float, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """What a detector or a sensor adds: a shiver in every frame, and errors that last; `shape` begins with frames."""
    frames, *rest = shape
    shiver = rng.standard_normal(shape, np.float32) * np.float32(noise)
    knots = rng.standard_normal((KNOTS, *rest)) * drift
    place = np.linspace(0, KNOTS - 1, frames)
    low = np.minimum(place.astype(int), KNOTS - 2)
    share = (place - low).reshape(-1, *(1 for _ in rest))
    return (shiver + (1 - share) * knots[low] + share * knots[low + 1]).astype(np.float32)


def _hidden(
    rng: np.random.Generator, shape: tuple[int, ...], layout: PointLayout, how: PointAugment
) -> NDArray[np.bool_]:
    """Which points are not shown, bool [T,K]; never all of them through parts or frames."""
    frames, points = shape
    lost = np.zeros((frames, points), bool)
    lost |= rng.random(points) < how.drop_points
    parts = rng.random(len(layout.parts)) < how.drop_parts
    if not parts.all():
        for rows, drop in zip(layout.parts.values(), parts, strict=True):
            lost[:, list(rows)] |= drop
    gone = rng.random(frames) < how.drop_frames
    if not gone.all():
        lost[gone] = True
    return lost
