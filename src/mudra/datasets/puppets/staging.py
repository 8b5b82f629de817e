"""From a plan to shapes: the body moves, and everything in the picture is put in its order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mudra.datasets.puppets import face, limbs, torso
from mudra.datasets.puppets.body import Arm, Camera, Performance, pose_arm
from mudra.datasets.puppets.gestures import acting_hands, progress, resting_hand
from mudra.datasets.puppets.plan import Plan
from mudra.datasets.puppets.settings import Puppets
from mudra.datasets.puppets.shapes import Floats, Frame, Shape, light, shade
from mudra.datasets.puppets.things import GRIPPED, thing

DESK = (0.475, -0.12, -0.75)
"""How far below the shoulders the desk is, and where it begins and ends before them, metres."""

THING_Z = -0.30


@dataclass(frozen=True)
class Barrier:
    """Something before the person: a convex outline [N, 2] in shares of the picture, clockwise as seen.

    Attributes:
        side: of the one arm that it hides; None when it hides everything.
    """

    outline: Floats
    side: int | None = None


@dataclass(frozen=True)
class Scene:
    """One clip in shapes: back to front, over all its frames.

    Attributes:
        barriers: what stands before the person and hides points.
    """

    performance: Performance
    camera: Camera
    shapes: list[Shape]
    barriers: list[Barrier]


def stage(plan: Plan, settings: Puppets, *, deep: bool = True) -> Scene:
    """Let the person of a plan perform it.

    Args:
        deep: with the shapes that only depth and mask see.
    """
    finest = 0.9 / settings.size  # what is smaller than a pixel is not drawn
    person = plan.person
    camera = Camera(person.distance, person.view, person.centre, person.tilt)
    body = perform(plan, settings.fps)
    lit = float(plan.lit)
    acting, resting = body.arms[person.side], body.arms[-person.side]
    two = plan.shown.verb == "spread"
    shapes = face.hair_behind(person, body, camera, finest)
    behind = not two and plan.rest_pose != 1
    if behind:
        shapes += _whole_arm(resting, plan, camera, finest, shadow=False, deep=deep)
    shapes += torso.torso(person, body, camera, lit, finest)
    shapes += face.head(person, body, camera, lit, finest)
    if plan.desk:
        shapes += desk(plan, camera)
    if not plan.held:
        shapes += standing_thing(plan, camera, finest)
    if not behind:
        shapes += _whole_arm(resting, plan, camera, finest, shadow=True, deep=deep)
    shapes += limbs.arm(acting, person, camera, lit, finest, shadow=True, deep=deep)
    palm, fingers = limbs.hand(acting, person, camera, lit, finest)
    between = held_thing(plan, acting, camera, finest) if plan.held else []
    shapes += [*palm, *between, *fingers]
    barriers = []
    if plan.desk and behind:
        barriers.append(Barrier(desk_outline(camera), -person.side))
    if plan.occluder is not None:
        post = post_outline(*plan.occluder)
        barriers.append(Barrier(post))
        shapes += post_shapes(post, camera)
    return Scene(body, camera, shapes, barriers)


def perform(plan: Plan, fps: float) -> Performance:
    """The movement of the whole body over the clip's frames."""
    person, frames, sway = plan.person, plan.frames, plan.sway
    times = np.arange(frames) / fps
    first, second, third, speech = (
        np.sin(2 * np.pi * times / period + phase)
        for period, phase in zip(sway.periods, sway.phases, strict=True)
    )
    zero = np.zeros(frames)
    chest = sway.size * np.stack([0.011 * first, 0.004 * second, 0.006 * third], axis=1)
    lean = 0.012 * sway.size * first
    up = person.neck + 0.012 + person.head[1]
    head = chest + np.stack([up * np.sin(lean) + 0.004 * sway.size * third, zero - up, zero - 0.02], axis=1)

    share = progress(frames, plan.stroke, plan.shown.backwards)
    if plan.frozen is not None:
        share = np.full(frames, plan.frozen)
    acting, other = acting_hands(plan.shown.verb, share, plan.stroke, person.side)
    if other is None:
        other = resting_hand(frames, -person.side, plan.rest_pose, 0.3 * np.array(plan.stroke.centre))
    arms = {}
    for side, hand in ((person.side, acting), (-person.side, other)):
        shoulder = chest + np.array([side * person.shoulders, 0.028, 0.0])
        arms[side] = pose_arm(shoulder, hand, side, person.upper, person.fore, person.hand)
    mouth = (0.5 + 0.5 * speech) * float(sway.talks)
    lids = zero.copy()
    for moment in sway.blinks:
        lids = np.maximum(lids, np.clip(1.2 - np.abs(times - moment * times[-1]) * 11.0, 0, 1))
    return Performance(chest, lean, head, 0.05 * sway.size * second, arms, mouth, lids, sway.smile)


def _whole_arm(
    arm: Arm, plan: Plan, camera: Camera, finest: float, *, shadow: bool, deep: bool
) -> list[Shape]:
    lit = float(plan.lit)
    shapes = limbs.arm(arm, plan.person, camera, lit, finest, shadow=shadow, deep=deep)
    if (camera.project(arm.hand)[..., 1] > 1.05).all():  # a hanging hand is often below the picture
        return shapes
    palm, fingers = limbs.hand(arm, plan.person, camera, lit, finest)
    return [*shapes, *palm, *fingers]


def desk_outline(camera: Camera) -> Floats:
    """The desk before the puppet, from its back edge down: [4, 2]."""
    y, back, front = DESK
    corners = [[-2.0, y, back], [2.0, y, back], [2.0, y, front], [-2.0, y, front]]
    return camera.project(np.array(corners))


def desk(plan: Plan, camera: Camera) -> list[Shape]:
    """The desk with its bright back edge."""
    wood = ((182, 132, 92), (224, 200, 170), (130, 98, 84))[plan.number % 3]
    top = desk_outline(camera)
    edge = np.concatenate([top[:2], top[1::-1] + np.array([0.0, 0.010])])
    depth = np.array([camera.distance - 0.35])
    return [Shape(top[None], wood, depth, person=False), Shape(edge[None], light(wood, 0.35))]


def standing_thing(plan: Plan, camera: Camera, finest: float) -> list[Shape]:
    """The thing on the desk, with its shadow."""
    foot = np.array([[plan.thing_x, DESK[0], THING_Z]])
    frame = Frame(camera.project(foot), np.array([camera.tilt]), camera.scale(foot) * 1.1 * plan.thing_scale)
    away = -0.05 * plan.lit
    shadow = np.array([[-0.075, -0.006], [0.075, -0.006], [0.075 + away, 0.018], [-0.075 + away, 0.018]])
    design, depth = thing(plan.noun, plan.thing_hue), np.array([camera.distance + THING_Z])
    return [Shape(frame.place(shadow), (40, 22, 40, 70)), *design.place(frame, depth, finest, person=False)]


def held_thing(plan: Plan, arm: Arm, camera: Camera, finest: float) -> list[Shape]:
    """The thing in the acting hand, standing in its fingers."""
    palm = 0.45 * arm.hand[:, 0] + 0.55 * arm.hand[:, 9]
    ahead = camera.project(arm.hand[:, 9]) - camera.project(arm.hand[:, 0])
    turn = np.arctan2(ahead[:, 0], -ahead[:, 1])
    scale = camera.scale(palm) * 1.12 * plan.thing_scale
    grip = np.stack([-np.sin(turn), np.cos(turn)], axis=1) * (GRIPPED[plan.noun] * scale)[:, None]
    frame = Frame(camera.project(palm) + grip, turn, scale)
    depth = camera.distance + palm[:, 2] - 0.03
    return thing(plan.noun, plan.thing_hue).place(frame, depth, finest, person=False)


def post_outline(x: float, width: float, slant: float) -> Floats:
    """A post in the way, from above the picture to below it: [4, 2]."""
    left, right = x - width / 2, x + width / 2
    return np.array(
        [[left + slant, -0.05], [right + slant, -0.05], [right - slant, 1.05], [left - slant, 1.05]]
    )


def post_shapes(outline: Floats, camera: Camera) -> list[Shape]:
    """The post and its shadow side."""
    hue = (96, 104, 118)
    dark = outline.copy()
    dark[[0, 3], 0] += 0.6 * (outline[1, 0] - outline[0, 0])
    depth = np.array([camera.distance - 0.75])
    return [Shape(outline[None], light(hue, 0.15), depth, person=False), Shape(dark[None], shade(hue, 0.2))]
