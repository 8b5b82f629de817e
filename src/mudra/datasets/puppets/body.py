"""The puppet's body: joints over time, in metres and in the picture.

Axes: x to the right of the picture, y down, z away from the viewer; the origin lies between the
shoulders. Every function takes all frames at once: T frames, K points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mudra.datasets.puppets.gestures import Hand
from mudra.datasets.puppets.shapes import Frame

Floats = NDArray[np.float64]

# A hand of length 1: knuckles (along the hand, towards the thumb), phalanges and how fingers fan out.
_KNUCKLES = np.array([[0.13, 0.12], [0.47, 0.135], [0.50, 0.03], [0.475, -0.075], [0.42, -0.17]])
_PHALANGES = np.array(
    [[0.19, 0.16, 0.13], [0.22, 0.14, 0.11], [0.25, 0.155, 0.115], [0.225, 0.145, 0.11], [0.17, 0.105, 0.095]]
)
_FAN = np.radians([0.0, 15.0, 3.0, -10.0, -26.0])
_CLOSED_FAN = np.radians([0.0, -2.0, 0.0, 2.0, 4.0])
_BEND = np.radians([78.0, 102.0, 62.0])
_THUMB_OPEN = np.radians([58.0, 44.0, 34.0])
_THUMB_SHUT = np.radians([36.0, -22.0, -58.0])


@dataclass(frozen=True)
class Camera:
    """A pinhole in front of the puppet.

    Attributes:
        distance: metres to the chest. view: metres seen across the picture at that distance.
        centre: where the chest stands in the picture, shares of its width and height.
        tilt: radians that the picture is turned by.
    """

    distance: float
    view: float
    centre: tuple[float, float]
    tilt: float

    def project(self, points: Floats) -> Floats:
        """Metres [..., 3] to shares of the picture [..., 2]."""
        near = (self.distance / self.view) / np.maximum(self.distance + points[..., 2:], 0.2)
        flat = points[..., :2] * near
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        x, y = cos * flat[..., 0] - sin * flat[..., 1], sin * flat[..., 0] + cos * flat[..., 1]
        return np.stack([x, y], axis=-1) + np.array(self.centre)

    def scale(self, points: Floats) -> Floats:
        """How large a metre at [..., 3] is, in pictures: [...]."""
        return (self.distance / self.view) / np.maximum(self.distance + points[..., 2], 0.2)


@dataclass(frozen=True)
class Arm:
    """Joints of one arm, metres: shoulder, elbow, wrist [T, 3] and the hand's 21 points [T, 21, 3]."""

    shoulder: Floats
    elbow: Floats
    wrist: Floats
    hand: Floats
    palm_front: bool


def pose_arm(shoulder: Floats, want: Hand, side: int, upper: float, fore: float, hand_length: float) -> Arm:
    """Bend an arm so that its wrist is where it is wanted, or as near as it reaches.

    Args:
        shoulder: [T, 3]. side: -1 on the picture's left, 1 on its right.
    """
    to_wrist = want.wrist - shoulder
    far = np.linalg.norm(to_wrist, axis=1, keepdims=True)
    ahead = to_wrist / np.maximum(far, 1e-9)
    far = np.clip(far, abs(upper - fore) + 0.03, (upper + fore) * 0.985)
    wrist = shoulder + ahead * far
    along = (upper**2 - fore**2 + far**2) / (2 * far)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    pole = np.array([0.62 * side, 1.0, 0.25])
    pole = pole - ahead * (ahead @ pole)[:, None]
    pole = pole / np.maximum(np.linalg.norm(pole, axis=1, keepdims=True), 1e-9)
    elbow = shoulder + ahead * along + pole * aside
    return Arm(shoulder, elbow, wrist, _hand(wrist, want, side, hand_length), want.raised)


def _hand(wrist: Floats, want: Hand, side: int, length: float) -> Floats:
    """The 21 points of a hand [T, 21, 3]."""
    zero = np.zeros_like(want.lean)
    if want.raised:  # fingers up, palm to the viewer
        forward = np.stack([np.sin(want.lean), -np.cos(want.lean), zero - 0.10], axis=1)
        palm = np.stack([zero, zero - 0.10, zero - 1.0], axis=1)
    else:  # fingers down, back of the hand to the viewer
        forward = np.stack([np.sin(want.lean), np.cos(want.lean), zero - 0.25], axis=1)
        palm = np.stack([zero, zero, zero + 1.0], axis=1)
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    palm = palm - forward * np.sum(palm * forward, axis=1, keepdims=True)
    palm = palm / np.linalg.norm(palm, axis=1, keepdims=True)
    thumbward = -side * np.cross(forward, palm)

    points = np.empty((len(wrist), 21, 3))
    points[:, 0] = wrist
    for finger in range(5):
        angles, bends = _thumb(want) if finger == 0 else _finger(want, finger)
        base = _KNUCKLES[finger]
        here = wrist + length * (base[0] * forward + base[1] * thumbward)
        points[:, 1 + 4 * finger] = here
        for joint in range(3):
            flat = (
                np.cos(angles[:, joint : joint + 1]) * forward
                + np.sin(angles[:, joint : joint + 1]) * thumbward
            )
            bend = bends[:, joint : joint + 1]
            here = here + length * _PHALANGES[finger, joint] * (np.cos(bend) * flat + np.sin(bend) * palm)
            points[:, 2 + 4 * finger + joint] = here
    return points


def _finger(want: Hand, finger: int) -> tuple[Floats, Floats]:
    """Angles in the plane of the palm and out of it, of the three phalanges: [T, 3] each."""
    aside = _CLOSED_FAN[finger] + want.fan * (_FAN[finger] - _CLOSED_FAN[finger])
    bends = np.cumsum(want.curl[:, finger, None] * _BEND, axis=1)
    return np.repeat(aside[:, None], 3, axis=1), bends


def _thumb(want: Hand) -> tuple[Floats, Floats]:
    shut = want.curl[:, :1]
    angles = _THUMB_OPEN + shut * (_THUMB_SHUT - _THUMB_OPEN)
    return angles, np.concatenate([0.25 + 0.55 * shut, 0.2 + 0.45 * shut, 0.1 + 0.3 * shut], axis=1)


@dataclass(frozen=True)
class Performance:
    """One clip's movement of the whole body: T frames.

    Attributes:
        chest: [T, 3] metres; it sways. lean: [T] radians of the trunk.
        head: [T, 3] metres, its middle; nod: [T] radians that it leans aside.
        arms: by side, -1 on the picture's left (the person's right arm) and 1.
        mouth: [T] how far it is open, 0..1; lids: [T] how far the eyes are shut, 0..1.
        smile: -1..1.
    """

    chest: Floats
    lean: Floats
    head: Floats
    nod: Floats
    arms: dict[int, Arm]
    mouth: Floats
    lids: Floats
    smile: float

    def trunk_frame(self, camera: Camera) -> Frame:
        """Where the trunk is in the picture."""
        return Frame(camera.project(self.chest), self.lean + camera.tilt, camera.scale(self.chest))

    def head_frame(self, camera: Camera) -> Frame:
        """Where the head is in the picture."""
        return Frame(camera.project(self.head), self.nod + self.lean + camera.tilt, camera.scale(self.head))


def lips(performance: Performance) -> Floats:
    """The 40 points of the lips in the head's own metres [T, 40, 2], in the order of `layouts.LIPS`."""
    across = np.linspace(-1.0, 1.0, 11)
    bow = 1.0 - across**2
    opened = performance.mouth[:, None]
    lift = -0.015 * performance.smile * (across**2 - 0.4)
    upper = -0.0105 * bow * (1.0 - 0.22 * np.exp(-((across / 0.16) ** 2))) - 0.004 * opened * bow
    lower = 0.0135 * bow + 0.020 * opened * bow
    inner_upper = -0.0015 * bow - 0.003 * opened * bow
    inner_lower = 0.0015 * bow + 0.016 * opened * bow
    rows = [
        _lip(across, upper + lift, slice(None), 0.036),
        _lip(across, lower + lift, slice(1, -1), 0.036),
        _lip(across, inner_upper + lift, slice(None, -1), 0.028),
        _lip(across, inner_lower + lift, slice(1, None), 0.028),
    ]
    return np.concatenate(rows, axis=1) + np.array([0.0, MOUTH])


MOUTH = 0.057
"""Where the mouth is below the middle of the head, metres."""


def _lip(across: Floats, height: Floats, kept: slice, half_width: float) -> Floats:
    x = np.broadcast_to(across * half_width, height.shape)
    return np.stack([x, height], axis=-1)[:, kept]
