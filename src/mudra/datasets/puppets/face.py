"""The puppet's head as shapes. Metres around the middle of the head, y down."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mudra.datasets.puppets import hair
from mudra.datasets.puppets.body import Camera, Performance, lips
from mudra.datasets.puppets.people import Person
from mudra.datasets.puppets.shapes import Drawing, Floats, Pen, Shape, ellipse, light, mix, shade, smooth

EYE_X, EYE_Y = 0.036, -0.006
INK = (40, 30, 42)


def hair_behind(person: Person, body: Performance, camera: Camera, finest: float) -> list[Shape]:
    """What of the hair hangs behind the neck and shoulders."""
    depth = camera.distance + body.head[:, 2] + 0.05
    return hair.behind(person).place(body.head_frame(camera), depth, finest)


def head(person: Person, body: Performance, camera: Camera, lit: float, finest: float) -> list[Shape]:
    """The head with its face and the hair in front."""
    frame, depth = body.head_frame(camera), camera.distance + body.head[:, 2]
    return [
        *_skull(person, lit).place(frame, depth, finest),
        *hair.front(person, lit).place(frame, depth, finest),
        *_eyes(person).place(frame, depth, finest),
        *_lids(person, body, camera),
        *_above_eyes(person).place(frame, depth, finest),
        *_mouth(person, body, camera),
    ]


def place_lips(body: Performance, camera: Camera) -> Floats:
    """The lips' 40 points in the picture [T, 40, 2], in the order of `layouts.LIPS`."""
    return body.head_frame(camera).place(lips(body))


@lru_cache(maxsize=256)
def _skull(person: Person, lit: float) -> Drawing:
    """Ears, the face with its shadow side, beard, cheeks and nose."""
    pen = Pen()
    wide, high = person.head
    skin, dark = person.skin, shade(person.skin, 0.2)
    if person.haircut != "scarf":
        _ears(pen, person, lit)
    outline = _outline(person)
    pen.solid(outline, dark)
    for share, nearer in ((0.8, 0.045), (0.55, 0.075)):  # depth alone sees that the face is round
        pen.solid(outline * share, None, nearer)
    pen.mark(outline * [0.88, 0.95] + [0.085 * wide * lit, -0.006], skin)
    pen.mark(outline * [0.42, 0.3] + [0.30 * wide * lit, -0.42 * high], (*light(skin, 0.35), 70))
    if person.beard:
        _beard(pen, person, outline)
    for side in (-1, 1):
        blush = (*mix(skin, (224, 78, 84), 0.5), 70)
        pen.mark(ellipse(0.019, 0.013, side * wide * 0.60, 0.033, 12), blush)
    nose = [(-0.006, -0.006), (-0.013, 0.024), (0.0, 0.030), (0.010, 0.027), (-0.001, 0.022)]
    pen.mark(smooth([(x * lit, y) for x, y in nose], 3), shade(skin, 0.26))
    return pen.drawing()


def _outline(person: Person) -> Floats:
    """The outline of the face, narrower at the chin."""
    wide, high = person.head
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    cos, down = np.cos(angles), np.clip(np.sin(angles), 0, None)
    x = wide * np.sign(cos) * np.abs(cos) ** 0.88 * (1 - person.jaw * down**1.6)
    return np.stack([x, high * np.sin(angles)], axis=1)


def _ears(pen: Pen, person: Person, lit: float) -> None:
    wide = person.head[0]
    for side in (-1, 1):
        pen.solid(
            ellipse(0.016, 0.025, side * wide * 0.99, 0.008, 12),
            shade(person.skin, 0.0 if side * lit > 0 else 0.2),
        )
        pen.mark(ellipse(0.008, 0.014, side * wide, 0.010, 10), shade(person.skin, 0.3))
        if person.earrings:
            pen.mark(ellipse(0.006, 0.007, side * wide * 1.02, 0.038, 8), (246, 214, 120))


def _beard(pen: Pen, person: Person, outline: Floats) -> None:
    wide = person.head[0]
    lower = outline[outline[:, 1] > 0.012]
    around = np.argsort(-np.arctan2(lower[:, 1], lower[:, 0]))  # from the picture's left, along the chin
    inner = [(wide * 0.72, 0.022), (0.042, 0.046), (0.022, 0.041), (0, 0.037)]
    mirrored = [(-x, y) for x, y in reversed(inner[:-1])]
    corners = np.concatenate([lower[around] * [1.0, 1.03], np.array([*inner, *mirrored])])
    pen.mark(corners, mix(person.hair, person.skin, 0.1))


@lru_cache(maxsize=256)
def _eyes(person: Person) -> Drawing:
    pen = Pen()
    for side in (-1, 1):
        x, y = side * EYE_X, EYE_Y
        pen.mark(ellipse(0.0155, 0.0120, x, y, 14), (253, 251, 247))
        pen.mark(ellipse(0.0098, 0.0108, x, y, 12), person.eyes)
        pen.mark(ellipse(0.0058, 0.0064, x, y, 10), (24, 18, 24))
        pen.mark(ellipse(0.0033, 0.0035, x + 0.0036, y - 0.0040, 8), (255, 255, 255))
    return pen.drawing()


def _lids(person: Person, body: Performance, camera: Camera) -> list[Shape]:
    """Lids that come down over the eyes in a blink."""
    shut = body.lids[:, None]
    if not shut.any():
        return []
    shapes = []
    for side in (-1, 1):
        lid = np.repeat(ellipse(0.0160, 0.0122, side * EYE_X, EYE_Y, 14)[None], len(shut), axis=0)
        lid[..., 1] = np.minimum(lid[..., 1], EYE_Y - 0.0125 + 0.0245 * shut)
        shapes.append(Shape(body.head_frame(camera).place(lid), shade(person.skin, 0.16)))
    return shapes


@lru_cache(maxsize=256)
def _above_eyes(person: Person) -> Drawing:
    """Lashes, brows and glasses."""
    pen = Pen()
    dark = shade(person.hair, 0.35) if person.haircut != "bald" else (60, 44, 44)
    thick = 0.0042 * person.brows
    for side in (-1, 1):
        x, y = side * EYE_X, EYE_Y
        pen.mark(
            smooth([(x - 0.017, y - 0.003), (x, y - 0.0150), (x + 0.017, y - 0.003), (x, y - 0.0108)], 3), INK
        )
        upper = [(-0.018, -0.0255), (0.002, -0.0325), (0.020, -0.0250)]
        lower = [(0.002, -0.0325 + 1.7 * thick), (-0.018, -0.0255 + thick)]
        pen.mark(smooth([(x + side * dx, y + dy) for dx, dy in (*upper, *lower)], 3), dark)
        if person.glasses:
            _lens(pen, x)
    if person.glasses:
        pen.mark([(-0.011, -0.013), (0.011, -0.013), (0.011, -0.0085), (-0.011, -0.0085)], INK)
    return pen.drawing()


def _lens(pen: Pen, x: float) -> None:
    ring, hole = ellipse(0.027, 0.023, x, EYE_Y, 18), ellipse(0.0235, 0.0195, x, EYE_Y, 18)
    pen.mark(np.concatenate([ring, ring[:1], hole[:1], hole[::-1]]), INK)
    glint = [(x - 0.012, 0.002), (x - 0.004, -0.022), (x + 0.002, -0.022), (x - 0.006, 0.004)]
    pen.mark(glint, (255, 255, 255, 60))


def _mouth(person: Person, body: Performance, camera: Camera) -> list[Shape]:
    """Lips from the very points that the points stream holds."""
    points = place_lips(body, camera)
    outer, inner = (
        points[:, [*range(11), *range(19, 10, -1)]],
        points[:, [*range(20, 30), *range(39, 29, -1)]],
    )
    colour = mix(person.lips, person.skin, 0.2)
    shapes = [Shape(outer, colour)]
    if float(body.mouth.max()) <= 0.05:
        return [*shapes, Shape(inner, shade(colour, 0.5))]
    edge = points[:, 22:28]
    drop = np.array([0.0, 0.0035]) * body.head_frame(camera).scale[:, None, None]
    teeth = np.concatenate([edge, edge[:, ::-1] + drop], axis=1)
    return [*shapes, Shape(inner, (92, 28, 40)), Shape(teeth, (250, 246, 240))]
