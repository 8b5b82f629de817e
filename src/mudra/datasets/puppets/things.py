"""The six things that are held or stand nearby: the classes of the task `noun`.

Each is a list of polygons in metres around the place where it is gripped or stands; y points down.
Shape and colour together tell them apart at 48 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mudra.datasets.puppets.shapes import box, ellipse, light, mix, shade

Floats = NDArray[np.float64]
Piece = tuple[Floats, tuple[int, int, int]]
RGB = tuple[int, int, int]


def draw_thing(noun: str, hue: RGB) -> list[Piece]:
    """Polygons of a thing, the first one its whole outline; its foot stands at y = 0, its middle at x = 0."""
    return _DRAWERS[noun](hue)


def _cup(hue: RGB) -> list[Piece]:
    body = mix(hue, (250, 244, 236), 0.1)
    inside = shade(body, 0.5)
    bowl = np.array([[-0.052, -0.115], [0.052, -0.115], [0.044, -0.008], [0.036, 0.0], [-0.036, 0.0], [-0.044, -0.008]])
    shadow = np.array([[0.018, -0.115], [0.052, -0.115], [0.044, -0.008], [0.036, 0.0], [0.014, 0.0]])
    return [
        (bowl, body),
        (ellipse(0.034, 0.036, 0.055, -0.062), body),
        (ellipse(0.020, 0.022, 0.057, -0.062), inside),
        (bowl, body),
        (shadow, shade(body, 0.2)),
        (box(-0.049, -0.075, 0.049, -0.058), light(body, 0.65)),
        (ellipse(0.052, 0.014, 0, -0.115), light(body, 0.4)),
        (ellipse(0.042, 0.009, 0, -0.114), (92, 56, 40)),
    ]


def _ball(hue: RGB) -> list[Piece]:
    radius = 0.074
    middle = -radius
    seam = shade(hue, 0.55)
    arc = np.linspace(-1.15, 1.15, 9)
    band = np.stack([np.sin(arc) * radius * 0.98, middle + 0.030 * np.cos(arc) - 0.012], axis=1)
    thick = np.concatenate([band, band[::-1] + [0, 0.010]])
    return [
        (ellipse(radius, radius, 0, middle, 28), shade(hue, 0.3)),
        (ellipse(radius * 0.88, radius * 0.88, -0.008, middle - 0.008, 24), hue),
        (thick, seam),
        (box(-0.006, middle - radius * 0.97, 0.004, middle + radius * 0.97, 0.004), seam),
        (ellipse(0.022, 0.016, -0.030, middle - 0.036, 14, -0.6), light(hue, 0.6)),
    ]


def _book(hue: RGB) -> list[Piece]:
    return [
        (box(-0.066, -0.18, 0.066, 0.0, 0.006), shade(hue, 0.35)),
        (box(-0.058, -0.176, 0.070, -0.004), (246, 240, 226)),
        (box(-0.066, -0.18, 0.060, -0.002, 0.006), hue),
        (box(-0.066, -0.18, -0.048, -0.002, 0.005), shade(hue, 0.28)),
        (box(-0.034, -0.152, 0.044, -0.116, 0.006), light(hue, 0.75)),
        (box(-0.024, -0.141, 0.034, -0.128), shade(hue, 0.3)),
        (ellipse(0.022, 0.022, 0.005, -0.062, 16), light(hue, 0.5)),
    ]


def _phone(hue: RGB) -> list[Piece]:
    return [
        (box(-0.046, -0.175, 0.046, 0.0, 0.014), (34, 36, 46)),
        (box(-0.040, -0.167, 0.040, -0.008, 0.009), mix(hue, (120, 200, 240), 0.65)),
        (box(-0.040, -0.100, 0.040, -0.008, 0.009), mix(hue, (70, 110, 200), 0.7)),
        (ellipse(0.020, 0.020, 0, -0.125, 16), (255, 240, 190)),
        (box(-0.028, -0.085, 0.028, -0.068, 0.006), (250, 250, 252)),
        (box(-0.028, -0.060, 0.010, -0.048, 0.005), (230, 238, 250)),
        (box(-0.014, -0.173, 0.014, -0.168, 0.002), (18, 18, 24)),
    ]


def _bottle(hue: RGB) -> list[Piece]:
    glass = mix(hue, (40, 130, 96), 0.55)
    outline = np.array(
        [[-0.017, -0.235], [0.017, -0.235], [0.018, -0.175], [0.044, -0.140], [0.046, -0.010], [0.038, 0.0]]
        + [[-0.038, 0.0], [-0.046, -0.010], [-0.044, -0.140], [-0.018, -0.175]]
    )
    dark = np.array([[0.004, -0.235], [0.017, -0.235], [0.018, -0.175], [0.044, -0.140], [0.046, -0.010], [0.038, 0.0], [0.016, 0.0], [0.018, -0.135], [0.006, -0.170]])
    return [
        (outline, glass),
        (dark, shade(glass, 0.3)),
        (box(-0.045, -0.115, 0.046, -0.045), (248, 240, 220)),
        (box(0.018, -0.115, 0.046, -0.045), (222, 210, 196)),
        (ellipse(0.020, 0.020, -0.002, -0.080, 14), mix(hue, (220, 90, 70), 0.4)),
        (box(-0.020, -0.252, 0.020, -0.222, 0.004), mix(hue, (200, 60, 60), 0.5)),
        (box(-0.032, -0.135, -0.024, -0.012, 0.003), light(glass, 0.55)),
    ]


def _box(hue: RGB) -> list[Piece]:
    paper = mix(hue, (206, 156, 104), 0.55)
    top = np.array([[-0.085, -0.105], [-0.045, -0.140], [0.105, -0.140], [0.072, -0.105]])
    side = np.array([[0.072, -0.105], [0.105, -0.140], [0.105, -0.030], [0.072, 0.0]])
    whole = np.array([[-0.085, -0.105], [-0.045, -0.140], [0.105, -0.140], [0.105, -0.030], [0.072, 0.0], [-0.085, 0.0]])
    ribbon = mix(hue, (226, 70, 86), 0.5)
    return [
        (whole, paper),
        (top, light(paper, 0.35)),
        (side, shade(paper, 0.3)),
        (box(-0.024, -0.105, 0.010, 0.0), ribbon),
        (np.array([[-0.024, -0.105], [0.016, -0.140], [0.046, -0.140], [0.010, -0.105]]), light(ribbon, 0.3)),
        (ellipse(0.026, 0.014, -0.006, -0.134, 12, 0.5), ribbon),
        (ellipse(0.026, 0.014, 0.040, -0.134, 12, -0.5), ribbon),
    ]


_DRAWERS: dict[str, Callable[[RGB], list[Piece]]] = {
    "cup": _cup,
    "ball": _ball,
    "book": _book,
    "phone": _phone,
    "bottle": _bottle,
    "box": _box,
}
NOUNS: tuple[str, ...] = tuple(_DRAWERS)

HUES: dict[str, Sequence[RGB]] = {
    "cup": ((240, 240, 236), (226, 96, 84), (92, 150, 190), (244, 200, 96)),
    "ball": ((238, 120, 52), (224, 70, 70), (242, 196, 60), (96, 180, 96)),
    "book": ((168, 52, 66), (52, 84, 140), (56, 120, 90), (120, 70, 140)),
    "phone": ((120, 200, 240), (170, 140, 230), (110, 220, 180)),
    "bottle": ((40, 130, 96), (60, 110, 160), (120, 84, 50)),
    "box": ((206, 156, 104), (190, 140, 96), (120, 160, 190), (214, 150, 170)),
}
