"""The puppet as shapes: torso, head, arms and hands, from back to front."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mudra.datasets.puppets.body import Arm, Camera, Performance
from mudra.datasets.puppets.people import Person
from mudra.datasets.puppets.shapes import Colour, Frame, Shape, capsule, light, shade, smooth, symmetric

Floats = NDArray[np.float64]
RGB = tuple[int, int, int]

# How far the upper arm, elbow and wrist reach from their bone, in metres.
SLEEVE, ELBOW, WRIST = 0.052, 0.041, 0.029
FINGERS = ((13, 17), (9, 13), (5, 9))  # unused pairs are drawn by `hand`


class Pen:
    """Collects shapes of one rigid part, all at that part's depth."""

    def __init__(self, frame: Frame, depth: Floats, *, person: bool = True) -> None:
        self.frame, self.depth, self.person = frame, depth, person
        self.shapes: list[Shape] = []

    def add(self, corners: Floats, colour: Colour | None, *, nearer: float = 0.0, solid: bool = True) -> None:
        """Add a polygon of the part; `solid` parts show in depth and mask, markings on them do not."""
        depth = self.depth - nearer if solid else None
        self.shapes.append(Shape(self.frame.place(corners), colour, depth, self.person))


def limb(
    ends: tuple[Floats, Floats],
    radii: tuple[float, float],
    colour: RGB,
    camera: Camera,
    lit: float,
    *,
    rim: float = 0.0,
) -> list[Shape]:
    """A limb between two joints [T, 3]: its shadow side, its lit side, and what depth sees of it."""
    start, end = (camera.project(joint) for joint in ends)
    near, far = (camera.scale(joint) for joint in ends)
    wide, narrow = near * radii[0], far * radii[1]
    shapes = []
    if rim:
        shapes.append(Shape(capsule(start, end, wide * (1 + rim), narrow * (1 + rim)), shade(colour, 0.42)))
    shapes.append(Shape(capsule(start, end, wide, narrow), shade(colour, 0.24)))
    shift = np.array([0.24 * lit, -0.16])
    shapes.append(
        Shape(
            capsule(start + shift * wide[:, None], end + shift * narrow[:, None], wide * 0.74, narrow * 0.74), colour
        )
    )
    return shapes + limb_depth(ends, (wide, narrow), camera)


def limb_depth(ends: tuple[Floats, Floats], radii: tuple[Floats, Floats], camera: Camera, pieces: int = 4) -> list[Shape]:
    """The limb again for depth and mask alone, in pieces so that depth changes along it."""
    start, end = ends
    shapes = []
    for piece in range(pieces):
        one, other = piece / pieces, (piece + 1) / pieces
        a, b = start + (end - start) * one, start + (end - start) * other
        near, far = (radii[0] + (radii[1] - radii[0]) * share for share in (one, other))
        depth = camera.distance + (a[:, 2] + b[:, 2]) / 2 - 0.02
        shapes.append(Shape(capsule(camera.project(a), camera.project(b), near, far), None, depth))
    return shapes


def soft_shadow(ends: tuple[Floats, Floats], radii: tuple[float, float], camera: Camera, lit: float) -> Shape:
    """What a limb darkens behind it."""
    drop = np.array([-0.02 * lit, 0.022])
    start, end = (camera.project(joint) + drop * camera.scale(joint)[:, None] for joint in ends)
    near, far = (camera.scale(joint) for joint in ends)
    return Shape(capsule(start, end, near * radii[0] * 1.08, far * radii[1] * 1.08), (30, 16, 48, 52))


def torso(person: Person, body: Performance, camera: Camera, lit: float) -> list[Shape]:
    """Neck, trunk and clothes."""
    pen = Pen(body.trunk_frame(camera), camera.distance + body.chest[:, 2])
    wide, girth = person.shoulders, person.girth
    half = [
        (0.052, -0.052), (0.085, -0.040), (wide * 0.80, -0.014), (wide + 0.012, 0.022), (wide + 0.034, 0.085),
        (wide + 0.012, 0.20), (0.150 * girth, 0.36), (0.152 * girth, 0.52), (0.18 * girth, 0.72), (0.18 * girth, 0.95),
    ]  # fmt: skip
    outline = smooth(symmetric(half), 4)
    cloth, second = person.cloth, person.second
    skin_shade = shade(person.skin, 0.24)
    if person.garment == "hoodie":
        pen.add(smooth([(-0.13, 0.0), (-0.10, -0.085), (0, -0.10), (0.10, -0.085), (0.13, 0.0), (0, 0.06)]), shade(cloth, 0.4))
    pen.add(outline, cloth)
    for share, depth in ((0.78, 0.035), (0.52, 0.06)):
        pen.add(outline * [share, 1.0] + [0, 0.02], None, nearer=depth)
    _trunk_shading(pen, half, cloth, lit)
    _GARMENTS[person.garment](pen, half, cloth, second, person)
    neck = 0.047 * girth
    length = person.neck + 0.05
    pen.add(smooth([(-neck, -length), (neck, -length), (neck * 1.05, -0.035), (0.066, -0.004), (0, 0.028), (-0.066, -0.004), (-neck * 1.05, -0.035)]), person.skin, nearer=0.02)
    pen.add(smooth([(-neck, -length), (neck, -length), (neck * 1.02, -0.050), (0.012 * -lit, -0.018), (-neck * 1.02, -0.050)]), skin_shade, solid=False)
    _COLLARS.get(person.garment, _no_collar)(pen, cloth, second, person)
    return pen.shapes


def _trunk_shading(pen: Pen, half: list[tuple[float, float]], cloth: RGB, lit: float) -> None:
    """A shadow down the side that the light does not reach, and under the arms."""
    side = -1.0 if lit > 0 else 1.0
    outer = [(side * x, y) for x, y in half[2:]]
    inner = [(side * x * share, y) for (x, y), share in zip(reversed(half[3:]), (0.5, 0.52, 0.58, 0.66, 0.76, 0.86, 0.95), strict=False)]
    pen.add(np.array(outer + inner), shade(cloth, 0.2), solid=False)


def _width(half: list[tuple[float, float]], y: float) -> float:
    xs, ys = zip(*half[3:], strict=True)
    return float(np.interp(y, ys, xs))


def _plain(pen: Pen, half: list[tuple[float, float]], cloth: RGB, second: RGB, person: Person) -> None:
    """Nothing on the cloth."""


def _stripes(pen: Pen, half: list[tuple[float, float]], cloth: RGB, second: RGB, person: Person) -> None:
    for top in np.arange(0.10, 0.85, 0.085):
        low = top + 0.034
        upper, lower = _width(half, top) * 0.995, _width(half, low) * 0.995
        band = np.array([(-upper, top), (0, top + 0.012), (upper, top), (lower, low), (0, low + 0.012), (-lower, low)])
        pen.add(band, second, solid=False)


def _buttons(pen: Pen, half: list[tuple[float, float]], cloth: RGB, second: RGB, person: Person) -> None:
    pen.add(np.array([(-0.010, 0.0), (0.010, 0.0), (0.010, 0.9), (-0.010, 0.9)]), shade(cloth, 0.14), solid=False)
    for y in np.arange(0.10, 0.85, 0.10):
        pen.add(np.array([(-0.006, y), (0, y - 0.006), (0.006, y), (0, y + 0.006)]), light(second, 0.5), solid=False)


def _jacket(pen: Pen, half: list[tuple[float, float]], cloth: RGB, second: RGB, person: Person) -> None:
    inner = [(-0.062, -0.05), (0.062, -0.05), (0.075, 0.25), (0.085, 0.9), (-0.085, 0.9), (-0.075, 0.25)]
    pen.add(np.array(inner), second, solid=False)
    for side in (-1, 1):
        lapel = [(side * 0.060, -0.05), (side * 0.125, -0.025), (side * 0.120, 0.12), (side * 0.066, 0.20)]
        pen.add(np.array(lapel), shade(cloth, 0.26), solid=False)


def _dungarees(pen: Pen, half: list[tuple[float, float]], cloth: RGB, second: RGB, person: Person) -> None:
    wide = person.shoulders
    for side in (-1, 1):
        strap = [(side * wide * 0.52, -0.035), (side * wide * 0.76, -0.020), (side * wide * 0.66, 0.22), (side * wide * 0.42, 0.22)]
        pen.add(np.array(strap), shade(second, 0.12), solid=False)
    low = _width(half, 0.6)
    bib = [(-wide * 0.72, 0.17), (wide * 0.72, 0.17), (wide * 0.76, 0.36), (low, 0.45), (low, 0.94), (-low, 0.94), (-low, 0.45), (-wide * 0.76, 0.36)]
    pen.add(np.array(bib), second, solid=False)
    pen.add(np.array([(-0.06, 0.25), (0.06, 0.25), (0.052, 0.34), (-0.052, 0.34)]), shade(second, 0.22), solid=False)
    for side in (-1, 1):
        pen.add(smooth([(side * wide * 0.56 - 0.012, 0.20), (side * wide * 0.56, 0.188), (side * wide * 0.56 + 0.012, 0.20), (side * wide * 0.56, 0.212)], 3), (244, 214, 120), solid=False)


_GARMENTS = {
    "tee": _plain,
    "stripes": _stripes,
    "shirt": _buttons,
    "hoodie": _plain,
    "jacket": _jacket,
    "dungarees": _dungarees,
    "vneck": _plain,
    "turtleneck": _plain,
}


def _no_collar(pen: Pen, cloth: RGB, second: RGB, person: Person) -> None:
    """A round neckline with its seam."""


def _shirt_collar(pen: Pen, cloth: RGB, second: RGB, person: Person) -> None:
    for side in (-1, 1):
        leaf = [(side * 0.048, -0.068), (side * 0.088, -0.030), (side * 0.058, 0.042), (side * 0.004, 0.018)]
        pen.add(np.array(leaf), light(cloth, 0.3) if side < 0 else light(cloth, 0.15), solid=False)


def _hood_strings(pen: Pen, cloth: RGB, second: RGB, person: Person) -> None:
    for side in (-1, 1):
        pen.add(smooth([(side * 0.030, -0.058), (side * 0.094, -0.046), (side * 0.100, 0.0), (side * 0.020, 0.045)]), light(cloth, 0.12), solid=False)
        string = [(side * 0.032, 0.025), (side * 0.042, 0.025), (side * 0.044, 0.135), (side * 0.034, 0.135)]
        pen.add(np.array(string), light(cloth, 0.6), solid=False)


def _vee(pen: Pen, cloth: RGB, second: RGB, person: Person) -> None:
    pen.add(np.array([(-0.058, -0.030), (0.058, -0.030), (0, 0.105)]), person.skin, solid=False)


def _roll(pen: Pen, cloth: RGB, second: RGB, person: Person) -> None:
    pen.add(smooth([(-0.056, -0.082), (0.056, -0.082), (0.066, -0.03), (0, 0.0), (-0.066, -0.03)]), light(cloth, 0.1), solid=False)
    pen.add(smooth([(-0.055, -0.060), (0.055, -0.060), (0.056, -0.050), (0, -0.040), (-0.056, -0.050)]), shade(cloth, 0.2), solid=False)


_COLLARS = {"shirt": _shirt_collar, "hoodie": _hood_strings, "vneck": _vee, "turtleneck": _roll}


def arm(joints: Arm, person: Person, camera: Camera, lit: float, *, shadow: bool) -> list[Shape]:
    """Upper arm and forearm with their sleeves; the hand is drawn apart."""
    girth = person.girth
    upper = (joints.shoulder, joints.elbow)
    lower = (joints.elbow, joints.wrist)
    shapes = []
    if shadow:
        shapes += [
            soft_shadow(upper, (SLEEVE * girth, ELBOW * girth), camera, lit),
            soft_shadow(lower, (ELBOW * girth, WRIST * girth), camera, lit),
        ]
    sleeve = person.second if person.garment == "dungarees" and False else person.cloth
    if person.long_sleeves:
        cuff = joints.wrist + (joints.elbow - joints.wrist) * 0.12
        shapes += limb((cuff, joints.wrist), (0.027 * girth, 0.026 * girth), person.skin, camera, lit)
        shapes += limb(upper, (SLEEVE * 1.06 * girth, ELBOW * 1.1 * girth), sleeve, camera, lit, rim=0.07)
        shapes += limb((joints.elbow, cuff), (ELBOW * 1.1 * girth, 0.037 * girth), sleeve, camera, lit, rim=0.05)
        return shapes
    half = joints.shoulder + (joints.elbow - joints.shoulder) * 0.62
    shapes += limb(upper, (SLEEVE * 0.85 * girth, ELBOW * girth), person.skin, camera, lit, rim=0.05)
    shapes += limb(lower, (ELBOW * girth, WRIST * girth), person.skin, camera, lit, rim=0.05)
    return shapes + limb((joints.shoulder, half), (SLEEVE * 1.1 * girth, SLEEVE * 1.08 * girth), sleeve, camera, lit, rim=0.05)


def hand(joints: Arm, person: Person, camera: Camera, lit: float) -> tuple[list[Shape], list[Shape]]:
    """The palm, and the fingers that lie in front of it (where a held thing goes between the two)."""
    points, scale = camera.project(joints.hand), camera.scale(joints.hand) * person.hand
    rim, base, bright = shade(person.skin, 0.40), shade(person.skin, 0.06), light(person.skin, 0.12)
    palm = _palm(points, scale, joints, camera, rim, base, bright, lit)
    fingers: list[Shape] = []
    order = (4, 3, 2, 1, 0) if joints.palm_front else (0, 4, 3, 2, 1)
    for finger in order:
        fingers += _finger(points, scale, joints, finger, camera, rim, base, bright, lit)
    if joints.palm_front:
        return palm, fingers
    return fingers + palm, []


def _palm(
    points: Floats, scale: Floats, joints: Arm, camera: Camera, rim: RGB, base: RGB, bright: RGB, lit: float
) -> list[Shape]:
    depth = camera.distance + joints.hand[:, [0, 5, 17], 2].mean(axis=1)
    spokes = ((17, 0.088), (13, 0.09), (9, 0.092), (5, 0.09), (1, 0.095))
    shapes = []
    wrist = scale[:, 0]
    for grow, colour in ((0.022, rim), (0.0, base)):
        for knuckle, radius in spokes:
            outline = capsule(points[:, 0], points[:, knuckle], wrist * (0.118 + grow), scale[:, knuckle] * (radius + grow))
            shapes.append(Shape(outline, colour, depth))
    shift = np.array([0.03 * lit, -0.02])
    middle = points[:, [0, 9]].mean(axis=1) + shift * wrist[:, None]
    knuckles = points[:, [9, 13]].mean(axis=1) + shift * wrist[:, None]
    shapes.append(Shape(capsule(middle, knuckles, wrist * 0.12, wrist * 0.125, 6), bright))
    return shapes


def _finger(
    points: Floats, scale: Floats, joints: Arm, finger: int, camera: Camera, rim: RGB, base: RGB, bright: RGB, lit: float
) -> list[Shape]:
    """Three phalanges: a dark rim that parts neighbouring fingers, the skin, the lit side."""
    first = 1 + 4 * finger
    radii = np.array([0.088, 0.074, 0.066, 0.056] if finger == 0 else [0.066, 0.060, 0.055, 0.047])
    if finger == 4:
        radii = radii * 0.86
    depth = camera.distance + joints.hand[:, first : first + 4, 2].mean(axis=1) - 0.01
    shapes = []
    for grow, colour in ((0.020, rim), (0.0, base)):
        for joint in range(3):
            a, b = first + joint, first + joint + 1
            wide = scale[:, a] * (radii[joint] + grow)
            narrow = scale[:, b] * (radii[joint + 1] + grow)
            shapes.append(Shape(capsule(points[:, a], points[:, b], wide, narrow), colour, depth))
    shift = np.array([0.014 * lit, -0.010]) * scale[:, first, None]
    for joint in range(3):
        a, b = first + joint, first + joint + 1
        wide, narrow = scale[:, a] * radii[joint] * 0.55, scale[:, b] * radii[joint + 1] * 0.55
        shapes.append(Shape(capsule(points[:, a] + shift, points[:, b] + shift, wide, narrow, 4), bright))
    return shapes
