"""The points stream: what a detector would say of the puppet, in the layout `sign92`.

Coordinates are shares of the picture, x to the right and y down, as MediaPipe gives them: a point in
the middle of the picture is (0.5, 0.5). With three axes the third is depth in the same unit, smaller
towards the viewer, 0 at the chest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mudra.clips.layouts import LAYOUTS
from mudra.datasets.puppets.body import Arm
from mudra.datasets.puppets.face import place_lips
from mudra.datasets.puppets.settings import Puppets
from mudra.datasets.puppets.shapes import Floats
from mudra.datasets.puppets.staging import Scene

LAYOUT = LAYOUTS["sign92"]

# The arm's five points among the hand's: MediaPipe's pose names a knuckle of the little and of the index
# finger and the second one of the thumb.
_PINKY, _INDEX, _THUMB = 17, 5, 3
_LONGEST_LOSS = 6  # frames


def _rows_of(side: str) -> NDArray[np.bool_]:
    return np.array([f"{side}_" in name for name in LAYOUT.points])


# By side of the picture: the person's own left is on the picture's right.
_ARM_ROWS: dict[int | None, NDArray[np.bool_]] = {1: _rows_of("left"), -1: _rows_of("right")}


def track(
    scene: Scene, settings: Puppets, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points float32 [T, 92, 2 or 3] and their scores float32 [T, 92]; not seen is NaN and score 0."""
    exact = true_points(scene)
    frames, count = exact.shape[:2]
    jitter = rng.standard_normal((frames, count, 3))
    sure = rng.uniform(0.85, 1.0, (frames, count))
    lost = _losses(rng, frames, settings.missing)
    flat = exact[..., :2]
    hidden = ((flat < 0) | (flat >= 1)).any(axis=-1) | lost
    for barrier in scene.barriers:
        hidden |= _inside(flat, barrier.outline) & _ARM_ROWS.get(barrier.side, True)
    points = (exact + settings.jitter * jitter)[..., : settings.point_axes]
    points[hidden] = np.nan
    return points.astype(np.float32), np.where(hidden, 0.0, sure).astype(np.float32)


def true_points(scene: Scene) -> Floats:
    """Where all points are, seen or not: [T, 92, 3] (see the head of this module)."""
    body, camera = scene.performance, scene.camera
    head = body.head[:, 2] - 0.09
    mouth = place_lips(body, camera)
    lips = np.concatenate([mouth, np.broadcast_to(head[:, None, None], (*mouth.shape[:2], 1))], axis=-1)
    lips[..., 2] /= camera.view
    left, right = body.arms[1], body.arms[-1]  # the person's own left is on the picture's right
    metres = [left.hand, right.hand, _arm(left), _arm(right)]
    flat = [np.concatenate([camera.project(part), part[..., 2:] / camera.view], axis=-1) for part in metres]
    return np.concatenate([lips, *flat], axis=1)


def _arm(arm: Arm) -> Floats:
    joints = [arm.elbow, arm.wrist, arm.hand[:, _PINKY], arm.hand[:, _INDEX], arm.hand[:, _THUMB]]
    return np.stack(joints, axis=1)


def _losses(rng: np.random.Generator, frames: int, missing: float) -> NDArray[np.bool_]:
    """Parts that the detector lost, for some frames on end: [T, 92]. On average the share `missing`."""
    lost = np.zeros((frames, len(LAYOUT)), dtype=bool)
    mean = (1 + _LONGEST_LOSS) / 2
    begins = 1.0 - (1.0 - missing) ** (1.0 / mean)  # chance that a loss begins at a frame
    for rows in LAYOUT.parts.values():
        chance = rng.random(frames + _LONGEST_LOSS)  # losses may have begun before the clip
        length = rng.integers(1, _LONGEST_LOSS + 1, frames + _LONGEST_LOSS)
        for start in np.flatnonzero(chance < begins):
            first = start - _LONGEST_LOSS
            lost[max(first, 0) : max(first + length[start], 0), rows] = True
    return lost


def _inside(points: Floats, outline: Floats) -> NDArray[np.bool_]:
    """Whether points [..., 2] lie in a convex outline [N, 2] given clockwise as seen."""
    edges = np.roll(outline, -1, axis=0) - outline
    to_points = points[..., None, :] - outline
    turns = edges[:, 0] * to_points[..., 1] - edges[:, 1] * to_points[..., 0]
    return np.asarray(turns.min(axis=-1) >= 0)
