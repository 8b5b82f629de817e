"""Flat shapes that move: outlines of polygons over time, in shares of the picture.

T frames, N corners. A shape that stands still has T = 1. Everything the puppet is made of comes down
to polygons, so one painter serves pixels, depth and mask, and they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Colour = tuple[int, int, int] | tuple[int, int, int, int]


@dataclass(frozen=True)
class Shape:
    """One polygon over time.

    Attributes:
        outline: [T or 1, N, 2] corners in shares of the picture.
        colour: RGB, or RGBA to let through what lies below; None paints no colour.
        depth: [T or 1] metres from the camera; None leaves depth and mask as they are.
        person: whether the mask marks it.
    """

    outline: Floats
    colour: Colour | None
    depth: Floats | None = None
    person: bool = True


def mix(one: Sequence[float], other: Sequence[float], share: float) -> tuple[int, int, int]:
    """A colour between two: `share` 0 is the first, 1 the second."""
    first, second = np.asarray(one[:3], dtype=float), np.asarray(other[:3], dtype=float)
    red, green, blue = np.clip(first + (second - first) * share, 0, 255).round().astype(int).tolist()
    return red, green, blue


def shade(colour: Sequence[float], share: float = 0.22) -> tuple[int, int, int]:
    """The colour in shadow: darker and a little towards violet, as shadows of warm light are."""
    return mix(colour, (42, 22, 66), share)


def light(colour: Sequence[float], share: float = 0.2) -> tuple[int, int, int]:
    """The colour in the light: brighter and a little warmer."""
    return mix(colour, (255, 246, 226), share)


@cache
def _circle(corners: int) -> Floats:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def capsule(start: Floats, end: Floats, start_radius: Floats, end_radius: Floats, round_by: int = 5) -> Floats:
    """A tapered limb with round ends: [T, 2 * round_by, 2].

    Args:
        start, end: [T, 2]. start_radius, end_radius: [T].
    """
    along = end - start
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
    arc = np.linspace(-np.pi / 2, np.pi / 2, round_by)[None]
    front, back = angle + arc, angle + np.pi + arc
    tip = np.stack([np.cos(front), np.sin(front)], axis=-1) * end_radius[:, None, None] + end[:, None]
    root = np.stack([np.cos(back), np.sin(back)], axis=-1) * start_radius[:, None, None] + start[:, None]
    return np.concatenate([tip, root], axis=1)


def ellipse(width: float, height: float, x: float = 0.0, y: float = 0.0, corners: int = 20, turn: float = 0.0) -> Floats:
    """An ellipse of half-axes `width` and `height` as corners [N, 2]."""
    corners_at = _circle(corners) * [width, height]
    cos, sin = np.cos(turn), np.sin(turn)
    return corners_at @ np.array([[cos, sin], [-sin, cos]]) + [x, y]


def box(left: float, top: float, right: float, bottom: float, corner: float = 0.0) -> Floats:
    """A rectangle, its corners rounded by `corner`: [N, 2]."""
    if corner <= 0:
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    arc = _circle(16) * corner
    centres = np.array(
        [[right - corner, bottom - corner], [left + corner, bottom - corner], [left + corner, top + corner], [right - corner, top + corner]]
    )
    return np.concatenate([centres[k] + arc[np.arange(4 * k, 4 * k + 5) % 16] for k in range(4)])


def smooth(corners: Sequence[Sequence[float]] | Floats, steps: int = 4) -> Floats:
    """A closed curve through all corners (Catmull-Rom): [N * steps, 2]."""
    knots = np.asarray(corners, dtype=float)
    before, after, beyond = np.roll(knots, 1, 0), np.roll(knots, -1, 0), np.roll(knots, -2, 0)
    share = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (each[:, None] for each in (before, knots, after, beyond))
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * share
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * share**2
        + (3 * p1 - p0 - 3 * p2 + p3) * share**3
    )
    return curve.reshape(-1, 2)


def symmetric(right_half: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """A closed outline from its right half, given from top to bottom."""
    half = [(float(x), float(y)) for x, y in right_half]
    return half + [(-x, y) for x, y in reversed(half) if x != 0.0]


@dataclass(frozen=True)
class Frame:
    """Where a rigid part is: its own metres become shares of the picture.

    Attributes:
        origin: [T, 2] shares of the picture. turn: [T] radians, clockwise as seen. scale: [T] shares per metre.
    """

    origin: Floats
    turn: Floats
    scale: Floats

    def place(self, corners: Floats) -> Floats:
        """Corners of the part [N, 2] in metres -> [T, N, 2] in shares of the picture."""
        cos, sin = np.cos(self.turn)[:, None], np.sin(self.turn)[:, None]
        x, y = corners[None, :, 0], corners[None, :, 1]
        turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
        return self.origin[:, None] + self.scale[:, None, None] * turned
