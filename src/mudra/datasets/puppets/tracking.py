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
_LONGEST_LOSS = 6


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
    if scene.occluder is not None:
        hidden |= _inside(flat, scene.occluder)
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
    """Parts that the detector lost, for some frames on end: [T, 92]."""
    lost = np.zeros((frames, len(LAYOUT)), dtype=bool)
    for rows in LAYOUT.parts.values():
        chance, length = rng.random(frames), rng.integers(1, _LONGEST_LOSS + 1, frames)
        # A frame is lost when a loss began at it or shortly before; the rate is set so that the share is `missing`.
        mean = (_LONGEST_LOSS + 1) / 2
        starts = chance < (1.0 - (1.0 - missing) ** (1.0 / mean) if missing < 1 else 1.0)
        for start in np.flatnonzero(starts):
            lost[start : start + length[start], rows] = True
    return lost


def _inside(points: Floats, outline: Floats) -> NDArray[np.bool_]:
    """Whether points [..., 2] lie in a convex outline [N, 2] given clockwise as seen."""
    edges = np.roll(outline, -1, axis=0) - outline
    to_points = points[..., None, :] - outline
    return (edges[:, 0] * to_points[..., 1] - edges[:, 1] * to_points[..., 0] >= 0).all(axis=-1)
