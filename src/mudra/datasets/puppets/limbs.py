"""Arms and hands as shapes, from back to front."""

from __future__ import annotations

import numpy as np

from mudra.datasets.puppets.body import Arm, Camera
from mudra.datasets.puppets.people import Person
from mudra.datasets.puppets.shapes import RGB, Floats, Shape, band, hull, light, shade

# How far skin reaches from the bones of an arm, metres: shoulder, elbow, wrist.
SHOULDER, ELBOW, WRIST = 0.046, 0.039, 0.028

# Half the thickness of fingers at their four joints, and of the palm at the wrist, the root of the thumb
# and the four knuckles, in lengths of the hand.
_THUMB = np.array([0.092, 0.078, 0.068, 0.055])
_FINGERS = np.array([[0.066, 0.060, 0.055, 0.046]] * 3 + [[0.058, 0.052, 0.047, 0.040]])
_PALM_AT = [0, 1, 5, 9, 13, 17]
_PALM = np.array([0.115, 0.085, 0.080, 0.082, 0.080, 0.074])
_FINGER_RIM = 1.33

# The dark rim of an arm, in its thickness; less where it grows out of the shoulder.
_RIM, _ROOT_RIM = 1.09, 0.98

_DEPTH_PIECES = 4


def _corners(finest: float) -> int:
    """Corners of an outline: few where a pixel, `finest`, is large."""
    return 14 if finest < 1 / 140 else 8


def arm(
    joints: Arm, person: Person, camera: Camera, lit: float, finest: float, *, shadow: bool, deep: bool
) -> list[Shape]:
    """Upper arm and forearm with their sleeves; the hand is drawn apart.

    Args:
        shadow: it darkens what lies behind it. deep: also what only depth and mask see.
    """
    girth = person.girth
    chain = np.stack([joints.shoulder, joints.elbow, joints.wrist], axis=1)
    radii = girth * np.array([SHOULDER, ELBOW, WRIST])
    shapes = _shadows(chain, radii, camera, lit) if shadow else []
    if person.long_sleeves:
        cuff = joints.wrist + (joints.elbow - joints.wrist) * 0.10
        sleeve, wide = np.stack([joints.shoulder, joints.elbow, cuff], axis=1), radii * [1.08, 1.10, 1.30]
        bare, narrow = chain[:, 1:], radii[1:] * 0.94
    else:
        hem = joints.shoulder + (joints.elbow - joints.shoulder) * 0.58
        sleeve, wide = np.stack([joints.shoulder, hem], axis=1), radii[:1] * [1.10, 1.16]
        bare, narrow = chain, radii * [0.9, 1.0, 1.0]
    shapes += _chain(bare, narrow, person.skin, camera, lit, _corners(finest)) + _chain(
        sleeve, wide, person.cloth, camera, lit, _corners(finest)
    )
    if deep:
        shapes += _seen_by_depth(bare, narrow, camera) + _seen_by_depth(sleeve, wide, camera)
    return shapes


def _chain(
    joints: Floats, radii: Floats, colour: RGB, camera: Camera, lit: float, corners: int
) -> list[Shape]:
    """Segments between joints [T, J, 3]: first all rims, then all shadow sides, then all lit sides.

    The first joint has neither rim nor shadow, so that a sleeve grows out of the shoulder.
    """
    at, scale = camera.project(joints), camera.scale(joints)
    thick = scale * radii
    shift = np.array([0.26 * lit, -0.14]) * thick[..., None]
    shift[:, 0] = 0.0
    rest = [1.0] * (joints.shape[1] - 1)
    grows = np.array(
        [[0.85, *(_RIM * each for each in rest)], [0.88, *rest], [_ROOT_RIM, *(0.72 * each for each in rest)]]
    )
    ends = at[:, None] + np.array([0.0, 0.0, 1.0])[:, None, None] * shift[:, None]  # [T, layer, J, 2]
    outlines = hull(_bones(ends, 2), _bones(thick[:, None] * grows, 2), corners)  # [T, layer, bone, N, 2]
    hues = (shade(colour, 0.40), shade(colour, 0.22), colour)
    return [
        Shape(outlines[:, layer, bone], hue) for layer, hue in enumerate(hues) for bone in range(len(rest))
    ]


def _bones(values: Floats, axis: int) -> Floats:
    """Neighbours side by side: J joints along `axis` become J - 1 bones of two ends."""
    first, last = (
        np.take(values, range(*cut), axis=axis)
        for cut in ((0, values.shape[axis] - 1), (1, values.shape[axis]))
    )
    return np.stack([first, last], axis=axis + 1)


def _shadows(joints: Floats, radii: Floats, camera: Camera, lit: float) -> list[Shape]:
    """What an arm darkens behind it."""
    scale = camera.scale(joints)
    at = camera.project(joints) + np.array([-0.020 * lit, 0.024]) * scale[..., None]
    outlines = hull(_bones(at, 1), _bones(scale * radii * 1.12, 1), 12)
    return [Shape(outlines[:, bone], (30, 16, 48, 44)) for bone in range(outlines.shape[1])]


def _seen_by_depth(joints: Floats, radii: Floats, camera: Camera) -> list[Shape]:
    """Segments for depth and mask alone, as wide as their rims, in pieces so that depth changes along them."""
    grows = np.array([_ROOT_RIM, *[_RIM] * (joints.shape[1] - 1)])
    at = np.linspace(0, joints.shape[1] - 1, _DEPTH_PIECES * (joints.shape[1] - 1) + 1)
    lower = np.minimum(at.astype(int), joints.shape[1] - 2)
    share = (at - lower)[:, None]
    points = joints[:, lower] * (1 - share) + joints[:, lower + 1] * share
    thick = np.interp(at, np.arange(joints.shape[1]), radii * grows) * camera.scale(points)
    outlines = hull(_bones(camera.project(points), 1), _bones(thick, 1), 12)
    depth = camera.distance + (points[:, 1:, 2] + points[:, :-1, 2]) / 2 - 0.02
    return [Shape(outlines[:, piece], None, depth[:, piece]) for piece in range(outlines.shape[1])]


def hand(
    joints: Arm, person: Person, camera: Camera, lit: float, finest: float
) -> tuple[list[Shape], list[Shape]]:
    """What lies behind a thing that is held, and what lies before it: the palm and the fingers."""
    points, scale = camera.project(joints.hand), camera.scale(joints.hand) * person.hand
    far = camera.distance + joints.hand[..., 2]
    shift = np.array([0.016 * lit, -0.010]) * scale[..., None]
    bones = np.array([[1, 2, 3], [2, 3, 4]])  # of the thumb, which bends too much for one outline
    palm = _layers(
        points[:, None, _PALM_AT],
        scale[:, None, _PALM_AT] * _PALM,
        2.2 * shift[:, None, _PALM_AT],
        0.62,
        finest,
    )
    fingers = _layers(_by_finger(points), _by_finger(scale) * _FINGERS, _by_finger(shift), 0.55, finest)
    thumb = _layers(points[:, bones], scale[:, bones] * _THUMB[bones - 1], shift[:, bones], 0.55, finest)

    hues = (shade(person.skin, 0.42), shade(person.skin, 0.07), light(person.skin, 0.14))
    palms, thumbs = far[:, _PALM_AT].mean(axis=1), far[:, 1:5].mean(axis=1) - 0.012
    front = [Shape(layer[:, 0], hue, palms) for layer, hue in zip(palm, hues, strict=False)]
    before: list[Shape] = []
    for finger in (3, 2, 1, 0):
        depth = far[:, 5 + 4 * finger : 9 + 4 * finger].mean(axis=1) - 0.01
        before += [Shape(layer[:, finger], hue, depth) for layer, hue in zip(fingers, hues, strict=False)]
    across = [
        Shape(layer[:, bone], hue, thumbs) for layer, hue in zip(thumb, hues, strict=False) for bone in (0, 1)
    ]
    if joints.palm_front:
        return front, before + across
    return across + before + front, []


def _by_finger(values: Floats) -> Floats:
    """The four joints of the four long fingers: [T, 21, ...] -> [T, 4, 4, ...]."""
    return values[:, 5:].reshape(len(values), 4, 4, *values.shape[2:])


def _layers(at: Floats, thick: Floats, shift: Floats, lit_share: float, width: float) -> list[Floats]:
    """Outlines of the dark rim that parts neighbours, of the skin and of its lit side: each [T, P, N, 2].

    Args:
        at: [T, P, J, 2] the joints of P parts. thick: [T, P, J] half their thickness.
        width: of a pixel; a lit side not much wider is left out.
    """
    middles, reaches = band(at, thick, _corners(width))
    layers = [middles + _FINGER_RIM * reaches, middles + reaches]
    if 2 * lit_share * float(thick.mean()) >= 1.6 * width:
        layers.append(hull(at + shift, thick * lit_share, _corners(width)))
    return layers
