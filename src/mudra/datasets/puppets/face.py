"""The puppet's head: hair behind it, the face, hair in front. Metres around the middle of the head, y down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mudra.datasets.puppets.body import Camera, Performance, lips
from mudra.datasets.puppets.figure import Pen
from mudra.datasets.puppets.people import Person
from mudra.datasets.puppets.shapes import Shape, ellipse, light, mix, shade, smooth

Floats = NDArray[np.float64]
RGB = tuple[int, int, int]


def hair_behind(person: Person, body: Performance, camera: Camera) -> list[Shape]:
    """What of the hair hangs behind the neck and shoulders."""
    pen = Pen(body.head_frame(camera), camera.distance + body.head[:, 2] + 0.05)
    wide, high = person.head
    dark = shade(person.hair, 0.25)
    if person.haircut == "long":
        pen.add(smooth([(0, -high * 1.15), (wide * 1.1, -high * 0.7), (wide * 1.28, 0.05), (wide * 1.42, 0.19), (wide * 0.7, 0.25), (-wide * 0.7, 0.25), (-wide * 1.42, 0.19), (-wide * 1.28, 0.05), (-wide * 1.1, -high * 0.7)]), dark)
    elif person.haircut == "bob":
        pen.add(smooth([(0, -high * 1.15), (wide * 1.18, -high * 0.6), (wide * 1.36, 0.06), (wide * 1.16, 0.115), (0, 0.12), (-wide * 1.16, 0.115), (-wide * 1.36, 0.06), (-wide * 1.18, -high * 0.6)]), dark)
    elif person.haircut == "afro":
        pen.add(_bumpy(wide * 1.62, high * 1.42, -0.035, 13), dark)
        pen.add(_bumpy(wide * 1.52, high * 1.33, -0.040, 13), person.hair, solid=False)
    elif person.haircut == "bun":
        pen.add(ellipse(0.046, 0.042, 0, -high * 1.30), dark)
        pen.add(ellipse(0.038, 0.033, -0.004, -high * 1.33), person.hair, solid=False)
    elif person.haircut == "pony":
        pen.add(smooth([(0.03, -high * 1.05), (wide * 1.25, -high * 0.85), (wide * 1.75, -0.02), (wide * 1.55, 0.13), (wide * 1.2, 0.02), (wide * 0.8, -high * 0.6)]), dark)
    elif person.haircut == "scarf":
        pen.add(smooth([(0, -high * 1.22), (wide * 1.24, -high * 0.55), (wide * 1.3, 0.06), (wide * 1.75, 0.20), (0, 0.235), (-wide * 1.75, 0.20), (-wide * 1.3, 0.06), (-wide * 1.24, -high * 0.55)]), shade(person.second, 0.2))
    return pen.shapes


def head(person: Person, body: Performance, camera: Camera, lit: float) -> list[Shape]:
    """The head with its face and the hair in front."""
    pen = Pen(body.head_frame(camera), camera.distance + body.head[:, 2])
    wide, high = person.head
    skin, dark = person.skin, shade(person.skin, 0.2)
    covered = person.haircut == "scarf"
    if not covered:
        for side in (-1, 1):
            pen.add(ellipse(0.016, 0.025, side * wide * 0.99, 0.008, 12), skin if side * lit > 0 else dark)
            pen.add(ellipse(0.008, 0.014, side * wide * 1.0, 0.010, 10), shade(skin, 0.3), solid=False)
            if person.earrings:
                pen.add(ellipse(0.006, 0.007, side * wide * 1.02, 0.038, 8), (246, 214, 120), solid=False)
    outline = _face(wide, high, person.jaw)
    pen.add(outline, dark)
    for share, nearer in ((0.8, 0.045), (0.55, 0.075)):
        pen.add(outline * share, None, nearer=nearer)
    pen.add(outline * [0.88, 0.95] + [0.085 * wide * lit, -0.006], skin, solid=False)
    pen.add(outline * [0.42, 0.3] + [0.30 * wide * lit, -0.42 * high], (*light(skin, 0.35), 70), solid=False)
    if person.beard:
        _beard(pen, person, outline)
    _cheeks(pen, person)
    _nose(pen, person, lit)
    _HAIR[person.haircut](pen, person, lit)
    _eyes(pen, person, body)
    pen.shapes += _mouth(person, body, camera)
    if person.glasses:
        _glasses(pen, lit)
    return pen.shapes


def _face(wide: float, high: float, jaw: float) -> Floats:
    """The outline of the face, narrower at the chin."""
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    down = np.clip(np.sin(angles), 0, None)
    x = wide * np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** 0.88 * (1 - jaw * down**1.6)
    return np.stack([x, high * np.sin(angles)], axis=1)


def _bumpy(wide: float, high: float, y: float, bumps: int) -> Floats:
    angles = np.linspace(0, 2 * np.pi, bumps * 4, endpoint=False)
    swell = 1 + 0.035 * np.abs(np.sin(angles * bumps / 2)) * 2
    return np.stack([wide * np.cos(angles) * swell, y + high * np.sin(angles) * swell], axis=1)


def _beard(pen: Pen, person: Person, outline: Floats) -> None:
    wide, high = person.head
    lower = outline[outline[:, 1] > 0.012]
    order = np.argsort(-np.arctan2(lower[:, 1], lower[:, 0]))
    inner = [(wide * 0.60, 0.020), (0.030, 0.036), (0, 0.033), (-0.030, 0.036), (-wide * 0.60, 0.020)]
    pen.add(np.concatenate([lower[order] * [1.0, 1.02], np.array(inner)]), mix(person.hair, person.skin, 0.15), solid=False)


def _cheeks(pen: Pen, person: Person) -> None:
    blush = (*mix(person.skin, (224, 78, 84), 0.5), 70)
    for side in (-1, 1):
        pen.add(ellipse(0.019, 0.013, side * person.head[0] * 0.60, 0.033, 12), blush, solid=False)


def _nose(pen: Pen, person: Person, lit: float) -> None:
    colour = shade(person.skin, 0.26)
    pen.add(smooth([(-0.006 * lit, -0.006), (-0.013 * lit, 0.024), (0.0, 0.030), (0.010 * lit, 0.027), (-0.001 * lit, 0.022)], 3), colour, solid=False)


def _eyes(pen: Pen, person: Person, body: Performance) -> None:
    """Eyes that blink: the lids grow over them."""
    dark = shade(person.hair, 0.35) if person.haircut != "bald" else (60, 44, 44)
    for side in (-1, 1):
        x, y = side * 0.035, -0.010
        pen.add(ellipse(0.0145, 0.0105, x, y, 14), (252, 250, 246), solid=False)
        pen.add(ellipse(0.0088, 0.0096, x, y, 12), person.eyes, solid=False)
        pen.add(ellipse(0.0050, 0.0056, x, y, 8), (24, 18, 24), solid=False)
        pen.add(ellipse(0.0028, 0.0030, x + 0.0034, y - 0.0036, 6), (255, 255, 255), solid=False)
        _lid(pen, person, body, x, y)
        lash = smooth([(x - 0.016, y - 0.003), (x, y - 0.013), (x + 0.016, y - 0.003), (x, y - 0.0095)], 3)
        pen.add(lash, (44, 30, 36), solid=False)
        thick = 0.0046 * person.brows
        brow = [(x - side * 0.014, y - 0.023), (x + side * 0.004, y - 0.029), (x + side * 0.020, y - 0.022), (x + side * 0.004, y - 0.029 + 2 * thick), (x - side * 0.014, y - 0.023 + 2 * thick)]
        pen.add(np.array(brow), dark, solid=False)


def _lid(pen: Pen, person: Person, body: Performance, x: float, y: float) -> None:
    shut = body.lids
    if not shut.any():
        return
    lid = ellipse(0.0155, 0.0115, x, y, 14)[None] * np.ones((len(shut), 1, 1))
    bottom = y - 0.012 + 0.023 * shut
    lid[..., 1] = np.minimum(lid[..., 1], bottom[:, None])
    placed = np.concatenate([_frame_at(pen, frame).place(lid[frame]) for frame in range(len(shut))])
    pen.shapes.append(Shape(placed, shade(person.skin, 0.16)))


def _frame_at(pen: Pen, frame: int):
    from mudra.datasets.puppets.shapes import Frame

    part = pen.frame
    return Frame(part.origin[frame : frame + 1], part.turn[frame : frame + 1], part.scale[frame : frame + 1])


def _mouth(person: Person, body: Performance, camera: Camera) -> list[Shape]:
    """Lips from the very points that the points stream holds."""
    at = place_lips(body, camera)
    outer = np.concatenate([at[:, :11], at[:, 19:10:-1]], axis=1)
    inner = np.concatenate([at[:, 20:30], at[:, :29:-1]], axis=1)
    colour = mix(person.lips, person.skin, 0.25)
    shapes = [Shape(outer, colour)]
    if float(body.mouth.max()) > 0.02:
        shapes.append(Shape(inner, (92, 28, 40)))
    else:
        shapes.append(Shape(inner, shade(colour, 0.5)))
    return shapes


def place_lips(body: Performance, camera: Camera) -> Floats:
    """The lips' 40 points in the picture [T, 40, 2], in the order of `layouts.LIPS`."""
    own, frame = lips(body), body.head_frame(camera)
    cos, sin = np.cos(frame.turn)[:, None], np.sin(frame.turn)[:, None]
    turned = np.stack([cos * own[..., 0] - sin * own[..., 1], sin * own[..., 0] + cos * own[..., 1]], axis=-1)
    return frame.origin[:, None] + frame.scale[:, None, None] * turned


def _glasses(pen: Pen, lit: float) -> None:
    for side in (-1, 1):
        x = side * 0.036
        ring = ellipse(0.026, 0.022, x, -0.008, 18)
        hole = ellipse(0.0225, 0.0185, x, -0.008, 18)
        pen.add(np.concatenate([ring, ring[:1], hole[::-1][-1:], hole[::-1]]), (38, 32, 44), solid=False)
        pen.add(np.array([(x - 0.012, 0.002), (x - 0.004, -0.022), (x + 0.002, -0.022), (x - 0.006, 0.004)]), (255, 255, 255, 60), solid=False)
    pen.add(np.array([(-0.011, -0.013), (0.011, -0.013), (0.011, -0.0085), (-0.011, -0.0085)]), (38, 32, 44), solid=False)


# --- hair in front --------------------------------------------------------------------------------


def _cap(pen: Pen, person: Person, hairline: list[tuple[float, float]], lit: float, grow: float = 1.08) -> None:
    """Hair over the skull, down to a hairline given from the picture's right to its left."""
    wide, high = person.head
    angles = np.linspace(np.pi + 0.10, 2 * np.pi - 0.10, 15)
    skull = np.stack([wide * grow * np.cos(angles), high * (grow + 0.03) * np.sin(angles) - 0.004], axis=1)
    line = np.array(hairline) * [wide, high]
    pen.add(np.concatenate([skull, line]), shade(person.hair, 0.14))
    shine = smooth([(0.25 * lit * wide, -high * 0.98), (0.62 * lit * wide, -high * 0.84), (0.74 * lit * wide, -high * 0.62), (0.52 * lit * wide, -high * 0.78)], 3)
    pen.add(shine, light(person.hair, 0.22), solid=False)


def _short(pen: Pen, person: Person, lit: float) -> None:
    _cap(pen, person, [(1.02, 0.0), (0.90, -0.12), (0.80, -0.46), (0.35, -0.60), (-0.35, -0.60), (-0.80, -0.46), (-0.90, -0.12), (-1.02, 0.0)], lit)


def _side(pen: Pen, person: Person, lit: float) -> None:
    _cap(pen, person, [(1.03, 0.06), (0.90, -0.10), (0.86, -0.40), (0.42, -0.70), (-0.30, -0.42), (-0.86, -0.24), (-0.92, -0.05), (-1.03, 0.06)], lit, 1.12)


def _long(pen: Pen, person: Person, lit: float) -> None:
    _cap(pen, person, [(1.12, 0.62), (0.90, 0.38), (0.84, -0.30), (0.05, -0.80), (-0.84, -0.30), (-0.90, 0.38), (-1.12, 0.62)], lit, 1.12)


def _fringe(pen: Pen, person: Person, lit: float) -> None:
    _cap(pen, person, [(1.16, 0.55), (0.90, 0.30), (0.84, -0.30), (0.40, -0.40), (0.0, -0.36), (-0.40, -0.40), (-0.84, -0.30), (-0.90, 0.30), (-1.16, 0.55)], lit, 1.12)


def _back(pen: Pen, person: Person, lit: float) -> None:
    _cap(pen, person, [(1.0, -0.02), (0.86, -0.36), (0.50, -0.66), (0.0, -0.74), (-0.50, -0.66), (-0.86, -0.36), (-1.0, -0.02)], lit, 1.05)


def _curly(pen: Pen, person: Person, lit: float) -> None:
    wide, high = person.head
    dark = shade(person.hair, 0.18)
    for turn in np.linspace(np.pi * 0.98, 2.02 * np.pi, 10):
        pen.add(ellipse(0.030, 0.030, wide * 1.02 * np.cos(turn), high * 1.02 * np.sin(turn), 12), dark)
    for turn in np.linspace(np.pi * 1.12, 1.88 * np.pi, 7):
        pen.add(ellipse(0.027, 0.025, wide * 0.74 * np.cos(turn), high * 0.80 * np.sin(turn), 12), person.hair, solid=False)
    for turn in np.linspace(np.pi * 1.3, 1.7 * np.pi, 4):
        pen.add(ellipse(0.014, 0.012, wide * 0.8 * np.cos(turn) + 0.01 * lit, high * 0.95 * np.sin(turn), 10), light(person.hair, 0.14), solid=False)


def _afro(pen: Pen, person: Person, lit: float) -> None:
    _cap(pen, person, [(1.04, -0.05), (0.86, -0.40), (0.45, -0.62), (-0.45, -0.62), (-0.86, -0.40), (-1.04, -0.05)], lit, 1.1)


def _bald(pen: Pen, person: Person, lit: float) -> None:
    pen.add(ellipse(0.022, 0.014, 0.035 * lit, -person.head[1] * 0.74, 12, 0.5 * lit), light(person.skin, 0.5), solid=False)


def _scarf(pen: Pen, person: Person, lit: float) -> None:
    wide, high = person.head
    colour = person.second
    angles = np.linspace(0, 2 * np.pi, 28)
    outer = np.stack([wide * 1.16 * np.cos(angles), high * 1.16 * np.sin(angles) - 0.002], axis=1)
    inner = np.stack([wide * 0.86 * np.cos(angles), high * 0.86 * np.sin(angles) + 0.012], axis=1)
    pen.add(np.concatenate([outer, inner[::-1]]), colour)
    drape = [(-wide * 1.0, high * 0.55), (0, high * 0.86), (wide * 1.0, high * 0.55), (wide * 1.45, 0.19), (0.02, 0.225), (-wide * 1.45, 0.19)]
    pen.add(smooth(drape), colour, nearer=0.03)
    pen.add(smooth([(-wide * 0.9, high * 0.72), (0, high * 1.12), (wide * 1.2, 0.165), (0.0, high * 1.28)], 3), shade(colour, 0.2), solid=False)


def _beanie(pen: Pen, person: Person, lit: float) -> None:
    wide, high = person.head
    for side in (-1, 1):
        pen.add(smooth([(side * wide * 0.86, -0.05), (side * wide * 1.06, -0.05), (side * wide * 1.04, 0.03), (side * wide * 0.92, 0.0)], 3), person.hair, solid=False)
    pen.add(smooth([(-wide * 1.1, -0.045), (-wide * 0.95, -high * 0.92), (0, -high * 1.32), (wide * 0.95, -high * 0.92), (wide * 1.1, -0.045)]), person.second)
    band = [(-wide * 1.14, -0.030), (-wide * 1.10, -0.066), (0, -0.078), (wide * 1.10, -0.066), (wide * 1.14, -0.030), (0, -0.044)]
    pen.add(smooth(band), shade(person.second, 0.22))
    pen.add(ellipse(0.020, 0.019, 0, -high * 1.36, 12), light(person.second, 0.4))


def _spiky(pen: Pen, person: Person, lit: float) -> None:
    wide, high = person.head
    crown = []
    for k, turn in enumerate(np.linspace(np.pi * 1.02, 1.98 * np.pi, 15)):
        out = 1.26 if k % 2 else 1.04
        crown.append((wide * out * np.cos(turn) * (1.0 if k % 2 else 1.02), high * out * np.sin(turn)))
    line = [(0.92, -0.12), (0.78, -0.48), (0.40, -0.56), (0.10, -0.50), (-0.30, -0.60), (-0.78, -0.48), (-0.92, -0.12)]
    pen.add(np.concatenate([np.array(crown), np.array(line) * [wide, high]]), shade(person.hair, 0.1))


_HAIR: dict[str, Callable[[Pen, Person, float], None]] = {
    "short": _short,
    "side": _side,
    "long": _long,
    "bob": _fringe,
    "bun": _back,
    "curly": _curly,
    "afro": _afro,
    "bald": _bald,
    "scarf": _scarf,
    "beanie": _beanie,
    "spiky": _spiky,
    "pony": _back,
}
