"""The gestures: which there are, and where the hands go during one, as functions of time.

They come in pairs that only the order of time tells apart. The first of a pair follows its path from
progress 0 to 1; the second follows the same path, drawn from the same distribution, from 1 to 0. All
that a hand does here depends on the progress alone, and the rests before and after are drawn alike,
so the reversed clip of one class is a clip of the other: without the order of time nobody beats a coin.

Directions are those that the viewer sees: "left" is the left of the picture, "clockwise" as on a dial.
Lengths in metres: x to the right of the picture, y down, z away from the viewer; the origin lies
between the shoulders. `side` is -1 where the acting hand is on the picture's left (the right hand).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gesture:
    """One class of the task `label`; its `verb` is the motion without its direction."""

    name: str
    verb: str
    backwards: bool
    mirrored: str


def _pair(verb: str, first: str, second: str, *, has_side: bool = False) -> tuple[Gesture, Gesture]:
    """Two gestures with one path; `has_side`: a mirror turns one into the other."""
    return (
        Gesture(first, verb, backwards=False, mirrored=second if has_side else first),
        Gesture(second, verb, backwards=True, mirrored=first if has_side else second),
    )


GESTURES: tuple[Gesture, ...] = (
    *_pair("swipe", "swipe left", "swipe right", has_side=True),
    *_pair("grip", "open hand", "close hand"),
    *_pair("circle", "circle clockwise", "circle anticlockwise", has_side=True),
    *_pair("lift", "raise hand", "lower hand"),
    *_pair("push", "push", "pull"),
    *_pair("spread", "hands apart", "hands together"),
)
"""All gestures, pair by pair; a data set uses the first `gestures` of them."""


@dataclass(frozen=True)
class Hand:
    """What one hand is to do.

    Attributes:
        wrist: [T, 3] where the wrist is wanted; the arm reaches as far as it can.
        lean: [T] radians that the fingers lean from upright towards the picture's right.
        curl: [T, 5] thumb to little finger, 0 straight to 1 in the palm.
        fan: [T] how far the fingers are spread, 0 to 1.
        raised: the palm faces the viewer, fingers up; otherwise the hand rests, fingers down.
    """

    wrist: Floats
    lean: Floats
    curl: Floats
    fan: Floats
    raised: bool = True


@dataclass(frozen=True)
class Stroke:
    """How a clip carries out its gesture: drawn once, the same for both classes of a pair.

    Attributes:
        rests: shares of the clip before and after the movement.
        skew: where the movement is faster; its distribution is symmetric around 0.
        reach: size of the movement, 1 is full.
        centre: offset of the whole movement.
        turns, phase: of a circle.
        lean: of the hand; shape: "open", "point" or "hold".
    """

    rests: tuple[float, float]
    skew: float
    reach: float
    centre: tuple[float, float, float]
    turns: float
    phase: float
    lean: float
    shape: str


def draw_stroke(rng: np.random.Generator, speed: float, difficulty: float, holds: bool) -> Stroke:
    """Draw how a gesture is done. `speed` near 1 is usual: faster movements leave longer rests."""
    rest = np.clip(0.16 * speed, 0.06, 0.28)
    before, after = rng.uniform(0.35 * rest, 1.2 * rest, 2)
    x, y, z = (rng.normal(0.0, [0.018, 0.02, 0.015]) * (1 + 2 * difficulty)).tolist()
    shape = "point" if rng.random() < 0.3 else "open"
    return Stroke(
        rests=(float(before), float(after)),
        skew=float(rng.uniform(-0.35, 0.35)),
        reach=float(rng.uniform(1.0 - 0.45 * difficulty - 0.1, 1.0)),
        centre=(x, y, z),
        turns=float(rng.uniform(0.85, 1.15)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        lean=float(rng.normal(0.0, 0.1)),
        shape="hold" if holds else shape,
    )


def progress(frames: int, stroke: Stroke, backwards: bool) -> Floats:
    """How far along its path a gesture is at each frame: [T] in 0..1, resting at both ends.

    It starts and stops softly, on a clock that `skew` bends.
    """
    before, after = stroke.rests
    clock = np.linspace(0.0, 1.0, frames) if frames > 1 else np.array([0.5])
    moved = np.clip((clock - before) / max(1.0 - before - after, 1e-6), 0.0, 1.0)
    moved = moved + stroke.skew * moved * (1.0 - moved)
    share = moved**2 * (3.0 - 2.0 * moved)
    # Playing backwards is a reversal of time, rests and skew included, so that pairs match exactly.
    return share[::-1].copy() if backwards else share


def acting_hands(verb: str, share: Floats, stroke: Stroke, side: int) -> tuple[Hand, Hand | None]:
    """The acting hand, and the other one where the gesture needs both.

    Args:
        share: [T] progress along the path.
    """
    path = _PATHS[verb]
    wrist, open_share = path(share, stroke, side)
    wrist = wrist + np.array(stroke.centre)
    curl = _curls(stroke.shape, len(share))
    if verb == "grip":
        curl = np.repeat(0.04 + 0.94 * (1.0 - open_share)[:, None], 5, axis=1)
    fan = np.clip(1.0 - curl[:, 1:].mean(axis=1) * 1.2, 0.0, 1.0)
    lean = stroke.lean - 0.12 * side + 0.55 * (wrist[:, 0] - 0.2 * side)
    acting = Hand(wrist, lean, curl, fan)
    if verb != "spread":
        return acting, None
    mirrored = wrist * [-1.0, 1.0, 1.0] + np.array([2 * stroke.centre[0], 0.0, 0.0])
    return acting, Hand(mirrored, -lean, curl, fan)


def resting_hand(frames: int, side: int, pose: int, shift: Floats) -> Hand:
    """The hand that has nothing to do: it hangs (0), lies in front of the belly (1) or on the hip (2)."""
    wrist = np.array([[0.27, 0.58, -0.04], [0.13, 0.40, -0.16], [0.25, 0.44, 0.02]][pose]) * [side, 1.0, 1.0]
    still = np.ones(frames)
    lean = np.array([0.0, -1.1, -0.6])[pose] * side
    return Hand(
        wrist=(wrist + shift) * still[:, None],
        lean=lean * still,
        curl=np.tile([0.35, 0.35, 0.4, 0.45, 0.5], (frames, 1)),
        fan=0.15 * still,
        raised=False,
    )


def _curls(shape: str, frames: int) -> Floats:
    fingers = {
        "open": [0.05, 0.06, 0.05, 0.06, 0.08],
        "point": [0.75, 0.02, 0.92, 0.95, 0.97],
        "hold": [0.45, 0.62, 0.64, 0.66, 0.68],
    }
    return np.tile(fingers[shape], (frames, 1))


def _swipe(share: Floats, stroke: Stroke, side: int) -> tuple[Floats, Floats]:
    """From the right of the picture to its left, on a shallow arc."""
    x = 0.10 * side + 0.29 * stroke.reach * (1.0 - 2.0 * share)
    y = 0.10 - 0.05 * (1.0 - (1.0 - 2.0 * share) ** 2)
    return np.stack([x, y, np.full_like(x, -0.24)], axis=1), share


def _grip(share: Floats, stroke: Stroke, side: int) -> tuple[Floats, Floats]:
    """The hand stays beside the chest and opens."""
    still = np.ones_like(share)
    return np.stack([0.24 * side * still, 0.10 * still, -0.26 * still], axis=1), share


def _circle(share: Floats, stroke: Stroke, side: int) -> tuple[Floats, Floats]:
    """Clockwise as seen: with y down, a growing angle turns like the hands of a clock."""
    angle = stroke.phase + 2 * np.pi * stroke.turns * share
    radius = 0.155 * stroke.reach
    x = 0.17 * side + radius * np.cos(angle)
    y = 0.07 + radius * np.sin(angle)
    return np.stack([x, y, np.full_like(x, -0.24)], axis=1), share


def _lift(share: Floats, stroke: Stroke, side: int) -> tuple[Floats, Floats]:
    y = 0.12 + 0.24 * stroke.reach * (1.0 - 2.0 * share)
    x = 0.24 * side + 0.03 * side * np.cos(np.pi * (share - 0.5))
    return np.stack([x, y, np.full_like(x, -0.22)], axis=1), share


def _push(share: Floats, stroke: Stroke, side: int) -> tuple[Floats, Floats]:
    """From the chest towards the viewer: the hand grows."""
    z = -0.13 - 0.33 * stroke.reach * share
    still = np.ones_like(share)
    return np.stack([(0.17 - 0.04 * share) * side, 0.14 * still - 0.04 * share, z], axis=1), share


def _spread(share: Floats, stroke: Stroke, side: int) -> tuple[Floats, Floats]:
    """Both hands from the middle outwards."""
    x = (0.08 + 0.25 * stroke.reach * share) * side
    still = np.ones_like(share)
    return np.stack([x, 0.12 * still, -0.24 * still], axis=1), share


_PATHS = {"swipe": _swipe, "grip": _grip, "circle": _circle, "lift": _lift, "push": _push, "spread": _spread}
