"""The six things that are held or stand nearby: the classes of the task `noun`.

Each is drawn in metres around its foot: the middle of where it stands is (0, 0), y points down. Shape
and colour together tell them apart at 48 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from mudra.datasets.puppets.shapes import RGB, Drawing, Pen, box, ellipse, light, mix, shade, symmetric

HUES: dict[str, Sequence[RGB]] = {
    "cup": ((240, 240, 236), (226, 96, 84), (92, 150, 190), (244, 200, 96)),
    "ball": ((238, 120, 52), (224, 70, 70), (242, 196, 60), (96, 180, 96)),
    "book": ((168, 52, 66), (52, 84, 140), (56, 120, 90), (120, 70, 140)),
    "phone": ((120, 200, 240), (170, 140, 230), (110, 220, 180)),
    "bottle": ((48, 134, 96), (60, 116, 150), (128, 92, 54)),
    "box": ((214, 164, 110), (196, 144, 98), (128, 170, 196), (222, 150, 172)),
}
"""The things, and the colours that each comes in."""

NOUNS: tuple[str, ...] = tuple(HUES)

GRIPPED = {"cup": 0.0, "ball": -0.025, "book": 0.035, "phone": 0.03, "bottle": 0.03, "box": 0.005}
"""How far above its foot a thing is held, metres: what is small stands out of the hand, to be seen."""


@lru_cache(maxsize=64)
def thing(noun: str, hue: RGB) -> Drawing:
    """How a thing looks."""
    pen = Pen()
    _DRAWERS[noun](pen, hue)
    return pen.drawing()


def _cup(pen: Pen, hue: RGB) -> None:
    pen.solid(ellipse(0.034, 0.036, 0.055, -0.062), hue)  # the handle, and its hole
    pen.mark(ellipse(0.020, 0.022, 0.057, -0.062), shade(hue, 0.5))
    pen.solid(symmetric([(0.052, -0.115), (0.044, -0.008), (0.036, 0.0)]), hue)
    pen.mark([(0.018, -0.115), (0.052, -0.115), (0.044, -0.008), (0.036, 0.0), (0.014, 0.0)], shade(hue, 0.2))
    pen.mark(box(-0.049, -0.075, 0.049, -0.058), light(hue, 0.65))
    pen.solid(ellipse(0.052, 0.014, 0, -0.115), light(hue, 0.4))
    pen.mark(ellipse(0.042, 0.009, 0, -0.114), (92, 56, 40))


def _ball(pen: Pen, hue: RGB) -> None:
    radius = 0.074
    seam = shade(hue, 0.55)
    arc = np.linspace(-1.15, 1.15, 9)
    across = np.stack([np.sin(arc) * radius * 0.98, 0.030 * np.cos(arc) - 0.012 - radius], axis=1)
    pen.solid(ellipse(radius, radius, 0, -radius, 28), shade(hue, 0.3))
    pen.mark(ellipse(radius * 0.88, radius * 0.88, -0.008, -radius - 0.008, 24), hue)
    pen.mark(np.concatenate([across, across[::-1] + np.array([0.0, 0.010])]), seam)
    pen.mark(box(-0.006, -1.97 * radius, 0.004, -0.03 * radius, 0.004), seam)
    pen.mark(ellipse(0.022, 0.016, -0.030, -radius - 0.036, 14, -0.6), light(hue, 0.6))


def _book(pen: Pen, hue: RGB) -> None:
    pen.solid(box(-0.066, -0.18, 0.070, 0.0, 0.006), shade(hue, 0.35))
    pen.mark(box(-0.058, -0.176, 0.070, -0.004), (246, 240, 226))
    pen.mark(box(-0.066, -0.18, 0.060, -0.002, 0.006), hue)
    pen.mark(box(-0.066, -0.18, -0.048, -0.002, 0.005), shade(hue, 0.28))
    pen.mark(box(-0.034, -0.152, 0.044, -0.116, 0.006), light(hue, 0.75))
    pen.mark(box(-0.024, -0.141, 0.034, -0.128), shade(hue, 0.3))
    pen.mark(ellipse(0.022, 0.022, 0.005, -0.062, 16), light(hue, 0.5))


def _phone(pen: Pen, hue: RGB) -> None:
    pen.solid(box(-0.046, -0.175, 0.046, 0.0, 0.014), (34, 36, 46))
    pen.mark(box(-0.040, -0.167, 0.040, -0.008, 0.009), mix(hue, (120, 200, 240), 0.65))
    pen.mark(box(-0.040, -0.100, 0.040, -0.008, 0.009), mix(hue, (70, 110, 200), 0.7))
    pen.mark(ellipse(0.020, 0.020, 0, -0.125, 16), (255, 240, 190))
    pen.mark(box(-0.028, -0.085, 0.028, -0.068, 0.006), (250, 250, 252))
    pen.mark(box(-0.028, -0.060, 0.010, -0.048, 0.005), (230, 238, 250))
    pen.mark(box(-0.014, -0.173, 0.014, -0.168, 0.002), (18, 18, 24))


def _bottle(pen: Pen, hue: RGB) -> None:
    side = [(0.017, -0.235), (0.018, -0.175), (0.044, -0.140), (0.046, -0.010), (0.038, 0.0)]
    pen.solid(symmetric(side), hue)
    pen.mark([(0.004, -0.235), *side, (0.016, 0.0), (0.018, -0.135), (0.006, -0.170)], shade(hue, 0.3))
    pen.mark(box(-0.045, -0.115, 0.046, -0.045), (248, 240, 220))
    pen.mark(box(0.018, -0.115, 0.046, -0.045), (222, 210, 196))
    pen.mark(ellipse(0.020, 0.020, -0.002, -0.080, 14), (206, 92, 72))
    pen.solid(box(-0.020, -0.252, 0.020, -0.222, 0.004), (196, 72, 64))
    pen.mark(box(-0.032, -0.135, -0.024, -0.012, 0.003), light(hue, 0.55))


def _box(pen: Pen, hue: RGB) -> None:
    ribbon = (206, 62, 78) if hue[0] > hue[2] else (250, 236, 214)
    whole = [
        (-0.085, -0.105),
        (-0.045, -0.140),
        (0.105, -0.140),
        (0.105, -0.030),
        (0.072, 0.0),
        (-0.085, 0.0),
    ]
    pen.solid(whole, hue)
    pen.mark([*whole[:3], (0.072, -0.105)], light(hue, 0.35))
    pen.mark([(0.072, -0.105), *whole[2:5]], shade(hue, 0.3))
    pen.mark(box(-0.024, -0.105, 0.010, 0.0), ribbon)
    pen.mark([(-0.024, -0.105), (0.016, -0.140), (0.046, -0.140), (0.010, -0.105)], light(ribbon, 0.3))
    pen.solid(ellipse(0.026, 0.014, -0.006, -0.134, 12, 0.5), ribbon)
    pen.solid(ellipse(0.026, 0.014, 0.040, -0.134, 12, -0.5), ribbon)


_DRAWERS: dict[str, Callable[[Pen, RGB], None]] = {
    "cup": _cup,
    "ball": _ball,
    "book": _book,
    "phone": _phone,
    "bottle": _bottle,
    "box": _box,
}
