"""Neck, trunk and clothes as shapes. Metres around the point between the shoulders, y down."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from mudra.datasets.puppets.body import Camera, Performance
from mudra.datasets.puppets.people import Person
from mudra.datasets.puppets.shapes import Drawing, Pen, Shape, ellipse, light, shade, smooth, symmetric

Half = list[tuple[float, float]]
"""The right half of the trunk's outline, from the neck down."""


def torso(person: Person, body: Performance, camera: Camera, lit: float, finest: float) -> list[Shape]:
    """Trunk, clothes and neck."""
    depth = camera.distance + body.chest[:, 2]
    return _design(person, lit).place(body.trunk_frame(camera), depth, finest)


@lru_cache(maxsize=256)
def _design(person: Person, lit: float) -> Drawing:
    pen = Pen()
    half = _half(person)
    outline = smooth(symmetric(half), 3)
    if person.garment == "hoodie":
        hood = [(-0.125, 0.0), (-0.098, -0.080), (0, -0.098), (0.098, -0.080), (0.125, 0.0), (0, 0.06)]
        pen.solid(smooth(hood), shade(person.cloth, 0.4), -0.02)
    pen.solid(outline, person.cloth)
    for share, nearer in ((0.78, 0.035), (0.52, 0.06)):  # depth alone sees that the trunk is round
        pen.solid(outline * [share, 1.0] + [0, 0.02], None, nearer)
    _PATTERNS.get(person.garment, _nothing)(pen, half, person)
    _shadow_side(pen, half, person, lit)
    _neck(pen, person, lit)
    _COLLARS.get(person.garment, _round)(pen, half, person)
    return pen.drawing()


def _half(person: Person) -> Half:
    wide, girth = person.shoulders, person.girth
    return [
        *(
            (0.050, -0.052),
            (0.080, -0.040),
            (wide * 0.74, -0.018),
            (wide * 0.98, 0.010),
            (wide + 0.022, 0.060),
        ),
        *(
            (wide + 0.008, 0.19),
            (0.160 * girth, 0.36),
            (0.162 * girth, 0.52),
            (0.19 * girth, 0.72),
            (0.19 * girth, 1.1),
        ),
    ]


def _width(half: Half, y: float) -> float:
    """Half the trunk's width at a height below the shoulders."""
    xs, ys = zip(*half[3:], strict=True)
    return float(np.interp(y, ys, xs))


def _shadow_side(pen: Pen, half: Half, person: Person, lit: float) -> None:
    """A shadow down the side that the light does not reach."""
    heights = np.linspace(0.02, 1.0, 8)
    outer = np.array([_width(half, y) for y in heights])
    inner = outer * np.interp(heights, [0.0, 0.15, 0.4, 1.0], [0.92, 0.74, 0.56, 0.5])
    edge = np.stack([-lit * outer, heights], axis=1)
    pen.mark(np.concatenate([edge, np.stack([-lit * inner, heights], axis=1)[::-1]]), (40, 18, 62, 46))


def _neck(pen: Pen, person: Person, lit: float) -> None:
    thick, length = 0.046 * person.girth, person.neck + 0.05
    throat = [(-thick, -length), (thick, -length), (thick * 1.05, -0.035), (0.064, -0.006), (0, 0.026)]
    pen.solid(smooth([*throat, (-0.064, -0.006), (-thick * 1.05, -0.035)]), person.skin, 0.02)
    chin = [
        (-thick, -length),
        (thick, -length),
        (thick * 1.02, -0.048),
        (-0.012 * lit, -0.016),
        (-thick * 1.02, -0.048),
    ]
    pen.mark(smooth(chin), shade(person.skin, 0.25))


# --- patterns and collars -------------------------------------------------------------------------


def _nothing(pen: Pen, half: Half, person: Person) -> None:
    """Plain cloth."""


def _stripes(pen: Pen, half: Half, person: Person) -> None:
    for top in np.arange(0.09, 0.85, 0.085):
        low = top + 0.036
        upper, lower = _width(half, top) * 0.99, _width(half, low) * 0.99
        band = [(-upper, top), (0, top + 0.012), (upper, top), (lower, low), (0, low + 0.012), (-lower, low)]
        pen.mark(band, person.second)


def _buttons(pen: Pen, half: Half, person: Person) -> None:
    pen.mark([(-0.011, 0.0), (0.011, 0.0), (0.011, 0.9), (-0.011, 0.9)], light(person.cloth, 0.14))
    for y in np.arange(0.09, 0.85, 0.10):
        pen.mark(ellipse(0.0055, 0.0055, 0.0, y, 8), light(person.second, 0.6))


def _jacket(pen: Pen, half: Half, person: Person) -> None:
    shirt = [(-0.060, -0.05), (0.060, -0.05), (0.078, 0.25), (0.088, 0.95), (-0.088, 0.95), (-0.078, 0.25)]
    pen.mark(shirt, person.second)
    for side in (-1, 1):
        lapel = [(side * 0.058, -0.05), (side * 0.120, -0.025), (side * 0.118, 0.12), (side * 0.068, 0.20)]
        pen.mark(lapel, shade(person.cloth, 0.24))


def _dungarees(pen: Pen, half: Half, person: Person) -> None:
    wide, denim = person.shoulders, person.second
    low = 0.93 * _width(half, 0.5)
    for side in (-1, 1):
        strap = [(0.50, -0.030), (0.72, -0.018), (0.64, 0.20), (0.42, 0.20)]
        pen.mark([(side * wide * x, y) for x, y in strap], shade(denim, 0.12))
    bib = [(-0.72, 0.17), (0.72, 0.17), (0.76, 0.36)]
    right = [(wide * x, y) for x, y in bib[1:]] + [(low, 0.45), (low, 0.98)]
    pen.mark([(-x, y) for x, y in reversed(right)] + right, denim)
    pen.mark([(-0.06, 0.25), (0.06, 0.25), (0.052, 0.34), (-0.052, 0.34)], shade(denim, 0.22))
    for side in (-1, 1):
        pen.mark(ellipse(0.011, 0.011, side * wide * 0.55, 0.198, 10), (244, 214, 120))


def _round(pen: Pen, half: Half, person: Person) -> None:
    """A round neckline with its seam."""
    neck = [(0.060, -0.046), (0.074, -0.040), (0.050, 0.026), (0, 0.046), (-0.050, 0.026), (-0.074, -0.040)]
    inner = [(-0.060, -0.046), (-0.042, 0.010), (0, 0.029), (0.042, 0.010)]
    pen.mark([*neck, *inner], shade(person.cloth, 0.16))


def _shirt_collar(pen: Pen, half: Half, person: Person) -> None:
    for side in (-1, 1):
        leaf = [(side * 0.046, -0.066), (side * 0.084, -0.032), (side * 0.058, 0.044), (side * 0.004, 0.020)]
        pen.mark(leaf, light(person.cloth, 0.3 if side < 0 else 0.18))


def _hood(pen: Pen, half: Half, person: Person) -> None:
    for side in (-1, 1):
        fold = [(side * 0.030, -0.056), (side * 0.090, -0.046), (side * 0.098, 0.0), (side * 0.020, 0.046)]
        pen.mark(smooth(fold), light(person.cloth, 0.14))
        string = [(side * 0.033, 0.025), (side * 0.041, 0.025), (side * 0.043, 0.13), (side * 0.035, 0.13)]
        pen.mark(string, light(person.cloth, 0.7))
    pocket = [(-0.09, 0.40), (0.09, 0.40), (0.12, 0.53), (-0.12, 0.53)]
    pen.mark(pocket, shade(person.cloth, 0.14))


def _vee(pen: Pen, half: Half, person: Person) -> None:
    pen.mark([(-0.072, -0.040), (0.072, -0.040), (0.0, 0.125)], shade(person.cloth, 0.18))
    pen.mark([(-0.058, -0.040), (0.058, -0.040), (0.0, 0.102)], person.skin)


def _roll(pen: Pen, half: Half, person: Person) -> None:
    pen.mark(
        smooth([(-0.054, -0.080), (0.054, -0.080), (0.068, -0.02), (0, 0.045), (-0.068, -0.02)]),
        light(person.cloth, 0.1),
    )
    fold = [(-0.054, -0.058), (0.054, -0.058), (0.055, -0.049), (0, -0.038), (-0.055, -0.049)]
    pen.mark(smooth(fold), shade(person.cloth, 0.2))


_PATTERNS: dict[str, Callable[[Pen, Half, Person], None]] = {
    "stripes": _stripes,
    "shirt": _buttons,
    "jacket": _jacket,
    "dungarees": _dungarees,
}
_COLLARS: dict[str, Callable[[Pen, Half, Person], None]] = {
    "shirt": _shirt_collar,
    "hoodie": _hood,
    "vneck": _vee,
    "turtleneck": _roll,
    "jacket": _nothing,
}
