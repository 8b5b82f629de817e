"""How bodies and cameras differ: proportions, parts, a smooth distortion, a slant, a near camera. numpy alone.

For training clips, whose points are centred and in body units. What is drawn is drawn once per clip, each kind from a
generator of its own, so that none shifts another's numbers. A point that was not seen stays so, and moves no other.

Axes: T frames, K points, C coordinates, P parts, W waves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mudra.clips.layouts import PointLayout
from mudra.clips.points import Points, about_middle, seen, together
from mudra.errors import RecipeError
from mudra.sections import PointAugment

BONES, PARTS, FIELD, CAMERA = 1, 2, 3, 4  # whose numbers come from which generator
WAVES = 4  # of the smooth field
TURNS = 2.0  # radians per body unit that a wave turns, about: an arm is displaced in one, a trunk in several
NEAREST = 0.5  # a near camera makes nothing more than twice as large


def reshaped(points_TKC: Points, seed: int, layout: PointLayout, how: PointAugment) -> Points:
    """Points of another body: other bones, other parts, a distortion; `points_TKC` itself where all are off."""
    if how.bones:
        points_TKC = with_bones(points_TKC, drawn_bones(seed, layout, how), layout)
    if how.part_scale or how.part_turn or how.part_shift:
        points_TKC = with_parts(points_TKC, seed, layout, how)
    if how.distort:
        points_TKC = distorted(points_TKC, seed, how)
    return points_TKC


def drawn_bones(seed: int, layout: PointLayout, how: PointAugment) -> NDArray[np.float64]:
    """By how much each bone is longer, a share of its length, by the row at its outer end: [K], alike on both sides."""
    change_K = np.random.default_rng([seed, BONES]).uniform(-1, 1, len(layout)) * how.bones
    for left, right in layout.pairs:
        change_K[right] = change_K[left]
    return change_K


def with_bones(points_TKC: Points, change_K: NDArray[np.float64], layout: PointLayout) -> Points:
    """Points of a body whose bones are longer or shorter; joints keep their angles, and the roots their place.

    A row that was not seen hands on what moved the row above it, so that a hand without an elbow still follows the
    shoulder, and the bone between is taken from the nearest row above that was seen.

    Args:
        change_K: by what share of its length the bone changes at whose outer end each row is.
    """
    there_KT1 = seen(points_TKC).T[..., None]
    above_KTC = points_TKC.transpose(1, 0, 2).copy(order="C")  # rows are gathered: each lies together
    moved_KTC = np.zeros_like(above_KTC)
    for rows, parents in layout.levels:
        anchor, own = above_KTC[parents], above_KTC[rows]
        bone = (own - anchor) * change_K[rows, None, None].astype(np.float32)
        moved_KTC[rows] = moved_KTC[parents] + np.nan_to_num(bone, copy=False)
        # what hangs from a row that was not seen hangs from the nearest one above it that was
        above_KTC[rows] = np.where(there_KT1[rows], own, anchor)
    return points_TKC + moved_KTC.transpose(1, 0, 2)


def with_parts(points_TKC: Points, seed: int, layout: PointLayout, how: PointAugment) -> Points:
    """Every part larger or smaller, turned and moved, about the middle of what is seen of it in each frame."""
    rng = np.random.default_rng([seed, PARTS])
    parts, dims = len(layout.parts), points_TKC.shape[2]
    size_P = 1 + rng.uniform(-1, 1, parts) * how.part_scale
    angle_P3 = rng.uniform(-1, 1, (parts, 3)) * (how.part_turn if dims == 3 else [how.part_turn, 0, 0])
    shift_PC = (rng.uniform(-1, 1, (parts, 3))[:, :dims] * how.part_shift).astype(np.float32)
    turn_PCC = np.array([rotation(*angles)[:dims, :dims] for angles in angle_P3]).reshape(parts, dims, dims)
    change_PCC = (turn_PCC * size_P[:, None, None] - np.eye(dims)).astype(np.float32)

    there_TK = seen(points_TKC)
    altered_TKC = points_TKC.copy()
    for row_numbers, change_CC, shift_C in zip(layout.parts.values(), change_PCC, shift_PC, strict=True):
        rows = together(row_numbers)
        there = there_TK[:, rows]
        about, _ = about_middle(np.where(there[..., None], points_TKC[:, rows], 0), there)
        altered_TKC[:, rows] += about @ change_CC.T + shift_C
    return altered_TKC


def distorted(points_TKC: Points, seed: int, how: PointAugment) -> Points:
    """Points displaced by a smooth field of a few waves, the same in every frame: neighbours move alike."""
    rng = np.random.default_rng([seed, FIELD])
    dims = points_TKC.shape[2]
    height = rng.random() * how.distort * np.sqrt(2 / WAVES)
    wave_3W = rng.normal(0, TURNS, (3, WAVES))
    phase_W = rng.uniform(0, 2 * np.pi, WAVES)
    push_W3 = rng.normal(0, height, (WAVES, 3))
    turn_TKW = points_TKC @ wave_3W[:dims].astype(np.float32) + phase_W.astype(np.float32)
    return points_TKC + np.sin(turn_TKW) @ push_W3[:, :dims].astype(np.float32)


def filmed(points_TKC: Points, seed: int, how: PointAugment) -> Points:
    """Points as another camera shows them: slanted, and larger where they are nearer; `points_TKC` itself where off."""
    if not (how.shear or how.perspective):
        return points_TKC
    across, down, near_x, near_y = np.random.default_rng([seed, CAMERA]).uniform(-1, 1, 4)
    x, y = points_TKC[..., 0].astype(np.float64), points_TKC[..., 1].astype(np.float64)
    x, y = x + across * how.shear * y, y + down * how.shear * x
    distance = np.maximum(1 + (near_x * x + near_y * y) * how.perspective, NEAREST)
    filmed_TKC = points_TKC.copy()
    filmed_TKC[..., 0], filmed_TKC[..., 1] = x / distance, y / distance
    return filmed_TKC


def rotation(roll: float, turn: float, tilt: float) -> NDArray[np.float64]:
    """Degrees in the picture, about the vertical axis (y) and about the one that runs across (x): [3,3]."""
    (a, b, c), (x, y, z) = np.cos(np.radians([roll, turn, tilt])), np.sin(np.radians([roll, turn, tilt]))
    about_z = np.array([[a, -x, 0], [x, a, 0], [0, 0, 1]])
    about_y = np.array([[b, 0, y], [0, 1, 0], [-y, 0, b]])
    about_x = np.array([[1, 0, 0], [0, c, -z], [0, z, c]])
    return np.asarray(about_z @ about_x @ about_y)


def require_shape(layout: PointLayout, how: PointAugment, place: str) -> None:
    """Raise RecipeError where a setting asks for what the layout does not have."""
    hands = [layout.parts.get(f"{side}_hand", ()) for side in ("left", "right")]
    if how.swap_hands and (not hands[0] or len(hands[0]) != len(hands[1])):
        raise RecipeError(
            f"augment.points.swap_hands: found {how.swap_hands:g}; the layout {layout.name} of {place} has no parts "
            "left_hand and right_hand of as many points. Set it to 0."
        )
    if how.bones and not layout.levels:
        raise RecipeError(
            f"augment.points.bones: found {how.bones:g}; the layout {layout.name} of {place} joins no points. Set it "
            "to 0."
        )
