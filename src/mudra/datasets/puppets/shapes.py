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
RGB = tuple[int, int, int]
Colour = RGB | tuple[int, int, int, int]
Points = Sequence[Sequence[float]] | NDArray[np.float64]


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


def mix(one: Colour, other: Colour, share: float) -> RGB:
    """A colour between two: `share` 0 is the first, 1 the second."""
    red, green, blue = (
        min(max(round(first + (second - first) * share), 0), 255)
        for first, second in zip(one[:3], other[:3], strict=True)
    )
    return red, green, blue


def shade(colour: Colour, share: float = 0.22) -> RGB:
    """The colour in shadow: darker and a little towards violet, as shadows of warm light are."""
    return mix(colour, (42, 22, 66), share)


def light(colour: Colour, share: float = 0.2) -> RGB:
    """The colour in the light: brighter and a little warmer."""
    return mix(colour, (255, 246, 226), share)


@cache
def _circle(corners: int) -> Floats:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@cache
def _half_circle(corners: int) -> tuple[Floats, Floats]:
    """Cosines and sines [corners, 1] of directions ahead of a limb.

    They end a little short of the right angle to it: there an outline steps from one end of the limb to
    the other, and must take the corners of both.
    """
    angles = np.linspace(-np.pi / 2 + 0.03, np.pi / 2 - 0.03, corners)[:, None]
    return np.cos(angles), np.sin(angles)


def hull(points: Floats, radii: Floats, corners: int = 16) -> Floats:
    """What a rubber band around circles looks like: [..., corners, 2].

    Around two circles it is a tapered limb with round ends, around the joints of a finger the finger.

    Args:
        points: [..., J, 2] middles of J circles. radii: [..., J].
        corners: of the outline, even.
    """
    middles, reaches = band(points, radii, corners)
    return middles + reaches


def band(points: Floats, radii: Floats, corners: int) -> tuple[Floats, Floats]:
    """The corners of a `hull` as middles of circles and ways out of them, each [..., corners, 2].

    A little more or less of the second gives a wider or narrower band at no further cost.
    """
    along = points[..., -1, :] - points[..., 0, :]
    along = along / np.maximum(np.hypot(along[..., :1], along[..., 1:]), 1e-12)
    cos, sin = _half_circle(corners // 2)
    aside = along[..., ::-1] * np.array([-1.0, 1.0])
    ahead = cos * along[..., None, :] + sin * aside[..., None, :]
    ways = np.concatenate([ahead, -ahead], axis=-2)
    if points.shape[-2] == 2:  # each half belongs to one end
        return points[..., ::-1, :].repeat(corners // 2, axis=-2), radii[..., ::-1].repeat(
            corners // 2, axis=-1
        )[..., None] * ways
    outermost = (ways @ points.swapaxes(-1, -2) + radii[..., None, :]).argmax(axis=-1)
    rows = np.arange(outermost[..., 0].size)[:, None]
    joints, flat = points.shape[-2], outermost.reshape(-1, corners)
    middles = points.reshape(-1, joints, 2)[rows, flat].reshape(ways.shape)
    return middles, radii.reshape(-1, joints)[rows, flat].reshape(outermost.shape)[..., None] * ways


def ellipse(
    width: float, height: float, x: float = 0.0, y: float = 0.0, corners: int = 20, turn: float = 0.0
) -> Floats:
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
        [
            [right - corner, bottom - corner],
            [left + corner, bottom - corner],
            [left + corner, top + corner],
            [right - corner, top + corner],
        ]
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
        """Corners of the part [N, 2] or [T, N, 2] in metres -> [T, N, 2] in shares of the picture."""
        cos, sin = np.cos(self.turn)[:, None], np.sin(self.turn)[:, None]
        x, y = corners[..., 0], corners[..., 1]
        turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
        return self.origin[:, None] + self.scale[:, None, None] * turned


@dataclass(frozen=True)
class Drawing:
    """A rigid part as it was designed, in its own metres; a person's are designed once and placed often.

    Attributes:
        corners: [N, 2] of all polygons on end. ends: where each polygon ends.
        colours: of each polygon. nearer: metres before the part's middle; None is a mere marking.
        widths: the longer side of each polygon, metres.
    """

    corners: Floats
    ends: tuple[int, ...]
    colours: tuple[Colour | None, ...]
    nearer: tuple[float | None, ...]
    widths: tuple[float, ...]

    def place(self, frame: Frame, depth: Floats, finest: float = 0.0, *, person: bool = True) -> list[Shape]:
        """Its polygons in the picture. Markings smaller than `finest` (a share of the picture) are left out.

        Args:
            depth: [T or 1] metres from the camera to the part's middle.
        """
        parts = np.split(frame.place(self.corners), self.ends, axis=1)[:-1]
        smallest = finest / float(frame.scale.mean())
        return [
            Shape(part, colour, None if nearer is None else depth - nearer, person)
            for part, colour, nearer, width in zip(parts, self.colours, self.nearer, self.widths, strict=True)
            if nearer is not None or width >= smallest
        ]


class Pen:
    """Designs a rigid part, polygon by polygon, from back to front."""

    def __init__(self) -> None:
        self._drawn: list[tuple[Floats, Colour | None, float | None]] = []

    def solid(self, corners: Points, colour: Colour | None, nearer: float = 0.0) -> None:
        """Add a polygon that is there in depth too, `nearer` metres before the part's middle."""
        self._drawn.append((np.asarray(corners, dtype=float), colour, nearer))

    def mark(self, corners: Points, colour: Colour) -> None:
        """Add a polygon that only colours what lies below."""
        self._drawn.append((np.asarray(corners, dtype=float), colour, None))

    def drawing(self) -> Drawing:
        """All that was added."""
        outlines = [corners for corners, _, _ in self._drawn]
        return Drawing(
            corners=np.concatenate([*outlines, np.zeros((0, 2))]),
            ends=tuple(np.cumsum([len(corners) for corners in outlines], dtype=int).tolist()),
            colours=tuple(colour for _, colour, _ in self._drawn),
            nearer=tuple(nearer for _, _, nearer in self._drawn),
            widths=tuple(float(np.ptp(corners, axis=0).max()) for corners in outlines),
        )
