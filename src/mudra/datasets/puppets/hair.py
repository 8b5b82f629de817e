"""Haircuts and headgear: what hangs behind the head and what covers it.

Most corners are written in heads: 1 across is half the face's width, 1 down is half its height.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from mudra.datasets.puppets.people import Person
from mudra.datasets.puppets.shapes import Drawing, Floats, Pen, ellipse, light, shade, smooth, symmetric

Corners = Sequence[Sequence[float]]

_BEHIND: dict[str, Corners] = {  # right halves, from the crown down
    "long": [(0, -1.15), (1.1, -0.72), (1.28, 0.42), (1.40, 1.58), (0.70, 2.05)],
    "bob": [(0, -1.15), (1.18, -0.6), (1.36, 0.5), (1.14, 0.98), (0, 1.02)],
    "scarf": [(0, -1.22), (1.24, -0.55), (1.30, 0.5), (1.72, 1.62), (0, 1.95)],
}
_PONYTAIL: Corners = [(0.35, -1.05), (1.25, -0.85), (1.72, -0.15), (1.52, 1.1), (1.2, 0.15), (0.8, -0.6)]

_HAIRLINES: dict[
    str, tuple[float, Corners]
] = {  # how far the hair stands off; its lower edge, from right to left
    "short": (1.08, [(1.02, 0.0), (0.90, -0.12), (0.80, -0.46), (0.35, -0.60)]),
    "long": (1.12, [(1.12, 0.62), (0.90, 0.38), (0.84, -0.30), (0.05, -0.80)]),
    "bob": (1.12, [(1.16, 0.55), (0.90, 0.30), (0.84, -0.30), (0.40, -0.40), (0.0, -0.36)]),
    "bun": (1.05, [(1.0, -0.02), (0.86, -0.36), (0.50, -0.66), (0.0, -0.74)]),
    "pony": (1.05, [(1.0, -0.02), (0.86, -0.36), (0.50, -0.66), (0.0, -0.74)]),
    "afro": (1.10, [(1.04, -0.05), (0.86, -0.40), (0.45, -0.62)]),
}
_PARTED: Corners = [
    *((1.03, 0.06), (0.90, -0.10), (0.86, -0.40), (0.42, -0.70)),
    *((-0.30, -0.42), (-0.86, -0.24), (-0.92, -0.05), (-1.03, 0.06)),
]
_SPIKY_LINE: Corners = [
    *((0.92, -0.12), (0.78, -0.48), (0.40, -0.56), (0.10, -0.50)),
    *((-0.30, -0.60), (-0.78, -0.48), (-0.92, -0.12)),
]


@lru_cache(maxsize=256)
def behind(person: Person) -> Drawing:
    """What hangs behind neck and shoulders."""
    pen = Pen()
    wide, high = person.head
    cut, dark = person.haircut, shade(person.hair, 0.25)
    if cut in _BEHIND:
        outline = smooth(_heads(person, symmetric(_BEHIND[cut])))
        pen.solid(outline, shade(person.second, 0.2) if cut == "scarf" else dark)
    elif cut == "afro":
        pen.solid(_curls(wide * 1.60, high * 1.40, -0.035), dark)
        pen.mark(_curls(wide * 1.50, high * 1.31, -0.040), person.hair)
    elif cut == "bun":
        pen.solid(ellipse(0.046, 0.042, 0, -high * 1.28), dark)
        pen.mark(ellipse(0.038, 0.033, -0.004, -high * 1.31), person.hair)
    elif cut == "pony":
        pen.solid(smooth(_heads(person, _PONYTAIL)), dark)
    return pen.drawing()


@lru_cache(maxsize=256)
def front(person: Person, lit: float) -> Drawing:
    """What covers the head, before the face."""
    pen = Pen()
    _FRONT.get(person.haircut, _combed)(pen, person, lit)
    return pen.drawing()


def _heads(person: Person, corners: Corners | Floats) -> Floats:
    """Corners in heads to metres."""
    return np.asarray(corners, dtype=float) * person.head


def _curls(wide: float, high: float, y: float, count: int = 13) -> Floats:
    """A round mass of curls."""
    angles = np.linspace(0, 2 * np.pi, count * 3, endpoint=False)
    swell = 1 + 0.07 * np.abs(np.sin(angles * count / 2))
    return np.stack([wide * np.cos(angles) * swell, y + high * np.sin(angles) * swell], axis=1)


def _cap(pen: Pen, person: Person, line: Corners, lit: float, stands: float) -> None:
    """Hair over the skull, down to a line given from the picture's right to its left."""
    angles = np.linspace(np.pi + 0.10, 2 * np.pi - 0.10, 13)
    skull = np.stack([stands * np.cos(angles), (stands + 0.03) * np.sin(angles) - 0.03], axis=1)
    pen.solid(_heads(person, np.concatenate([skull, np.array(line)])), shade(person.hair, 0.14))
    shine = [(0.25, -0.98), (0.62, -0.84), (0.74, -0.62), (0.52, -0.78)]
    pen.mark(smooth(_heads(person, [(x * lit, y) for x, y in shine]), 3), light(person.hair, 0.22))


def _combed(pen: Pen, person: Person, lit: float) -> None:
    stands, right = _HAIRLINES[person.haircut]
    _cap(pen, person, symmetric(right), lit, stands)


def _parted(pen: Pen, person: Person, lit: float) -> None:
    _cap(pen, person, _PARTED, lit, 1.12)


def _curly(pen: Pen, person: Person, lit: float) -> None:
    for x, y in _round(person, 1.02, 1.02, 0.98, 2.02, 10):
        pen.solid(ellipse(0.030, 0.029, x, y, 10), shade(person.hair, 0.18))
    for x, y in _round(person, 0.74, 0.80, 1.12, 1.88, 7):
        pen.mark(ellipse(0.026, 0.025, x, y, 10), person.hair)
    for x, y in _round(person, 0.80, 0.95, 1.30, 1.70, 4):
        pen.mark(ellipse(0.013, 0.012, x + 0.008 * lit, y, 8), light(person.hair, 0.14))


def _round(
    person: Person, across: float, up: float, start: float, stop: float, count: int
) -> list[list[float]]:
    """Places around the head in metres, from one angle to another in half turns."""
    turns = np.linspace(start, stop, count) * np.pi
    places: list[list[float]] = _heads(
        person, np.stack([across * np.cos(turns), up * np.sin(turns)], axis=1)
    ).tolist()
    return places


def _bald(pen: Pen, person: Person, lit: float) -> None:
    shine = ellipse(0.022, 0.014, 0.035 * lit, -person.head[1] * 0.74, 12, 0.5 * lit)
    pen.mark(shine, light(person.skin, 0.5))


def _scarf(pen: Pen, person: Person, lit: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 24)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    hood = np.concatenate([circle * 1.16, (circle * 0.86 + [0.0, 0.10])[::-1]])
    pen.solid(_heads(person, hood), person.second)
    drape = [(-1.0, 0.55), (0, 0.86), (1.0, 0.55), (1.45, 1.60), (0.2, 1.92), (-1.45, 1.60)]
    pen.solid(smooth(_heads(person, drape)), person.second, 0.03)
    fold = [(-0.9, 0.72), (0, 1.12), (1.2, 1.42), (0.0, 1.28)]
    pen.mark(smooth(_heads(person, fold), 3), shade(person.second, 0.2))


def _beanie(pen: Pen, person: Person, lit: float) -> None:
    wool = person.second
    for side in (-1, 1):
        tuft = [(side * 0.86, -0.43), (side * 1.06, -0.43), (side * 1.04, 0.26), (side * 0.92, 0.0)]
        pen.solid(smooth(_heads(person, tuft), 3), person.hair)
    crown = [(-1.1, -0.38), (-0.95, -0.92), (0, -1.32), (0.95, -0.92), (1.1, -0.38)]
    pen.solid(smooth(_heads(person, crown)), wool)
    band = [(-1.14, -0.26), (-1.10, -0.56), (0, -0.67), (1.10, -0.56), (1.14, -0.26), (0, -0.38)]
    pen.solid(smooth(_heads(person, band)), shade(wool, 0.22))
    pen.solid(ellipse(0.020, 0.019, 0, -person.head[1] * 1.36, 12), light(wool, 0.4))


def _spiky(pen: Pen, person: Person, lit: float) -> None:
    turns = np.linspace(np.pi * 1.02, 1.98 * np.pi, 15)
    out = np.where(np.arange(15) % 2, 1.26, 1.05)
    crown = np.stack([out * np.cos(turns), out * np.sin(turns)], axis=1)
    pen.solid(_heads(person, np.concatenate([crown, np.array(_SPIKY_LINE)])), shade(person.hair, 0.1))


_FRONT: dict[str, Callable[[Pen, Person, float], None]] = {
    "side": _parted,
    "curly": _curly,
    "bald": _bald,
    "scarf": _scarf,
    "beanie": _beanie,
    "spiky": _spiky,
}
