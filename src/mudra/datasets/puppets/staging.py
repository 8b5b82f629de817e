"""From a plan to shapes: the body moves, and everything in the picture is put in its order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mudra.datasets.puppets import face, figure
from mudra.datasets.puppets.body import Arm, Camera, Performance, pose_arm
from mudra.datasets.puppets.gestures import acting_hands, progress, resting_hand
from mudra.datasets.puppets.plan import Plan
from mudra.datasets.puppets.shapes import Floats, Frame, Shape, light, mix, shade
from mudra.datasets.puppets.things import draw_thing

DESK_Y, DESK_BACK, DESK_FRONT = 0.475, -0.12, -0.75
THING_Z = -0.30


@dataclass(frozen=True)
class Scene:
    """One clip in shapes: back to front, over all its frames."""

    performance: Performance
    camera: Camera
    shapes: list[Shape]
    occluder: Floats | None


def stage(plan: Plan, fps: float) -> Scene:
    """Let the person of a plan perform it."""
    person = plan.person
    camera = Camera(person.distance, person.view, person.centre, person.tilt)
    body = perform(plan, fps)
    lit = float(plan.lit)
    acting, resting = body.arms[person.side], body.arms[-person.side]
    two = plan.shown.verb == "spread"
    shapes = face.hair_behind(person, body, camera)
    behind = not two and plan.rest_pose != 1
    if behind:
        shapes += _whole_arm(resting, plan, camera, shadow=False)
    shapes += figure.torso(person, body, camera, lit)
    shapes += face.head(person, body, camera, lit)
    if plan.desk:
        shapes += desk(plan, camera)
    if not plan.held:
        shapes += standing_thing(plan, camera)
    if not behind:
        shapes += _whole_arm(resting, plan, camera, shadow=True)
    shapes += figure.arm(acting, person, camera, lit, shadow=True)
    palm, fingers = figure.hand(acting, person, camera, lit)
    between = held_thing(plan, acting, camera) if plan.held else []
    shapes += [*palm, *between, *fingers]
    barrier = occluder(plan)
    if barrier is not None:
        shapes += _barrier_shapes(barrier, camera)
    return Scene(body, camera, shapes, barrier)


def perform(plan: Plan, fps: float) -> Performance:
    """The movement of the whole body over the clip's frames."""
    person, frames, sway = plan.person, plan.frames, plan.sway
    times = np.arange(frames) / fps
    first, second, third = (
        np.sin(2 * np.pi * times / period + phase) for period, phase in zip(sway.periods, sway.phases, strict=True)
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
        other = resting_hand(frames, -person.side, plan.rest_pose, 0.3 * plan.stroke.centre)
    arms = {}
    for side, hand in ((person.side, acting), (-person.side, other)):
        shoulder = chest + np.array([side * person.shoulders, 0.028, 0.0])
        arms[side] = pose_arm(shoulder, hand, side, person.upper, person.fore, person.hand)
    mouth = np.clip(0.5 + 0.5 * np.sin(2 * np.pi * times * 2.6 + sway.phases[2]), 0, 1) * float(sway.talks)
    lids = zero.copy()
    for moment in sway.blinks:
        lids = np.maximum(lids, np.clip(1.2 - np.abs(times - moment * times[-1]) * 11.0, 0, 1))
    return Performance(chest, lean, head, 0.05 * sway.size * second, arms, mouth, lids, sway.smile)


def _whole_arm(arm: Arm, plan: Plan, camera: Camera, *, shadow: bool) -> list[Shape]:
    lit = float(plan.lit)
    palm, fingers = figure.hand(arm, plan.person, camera, lit)
    return [*figure.arm(arm, plan.person, camera, lit, shadow=shadow), *palm, *fingers]


def desk(plan: Plan, camera: Camera) -> list[Shape]:
    """The desk before the puppet: its top and its front edge."""
    wood = mix(((176, 124, 84), (222, 196, 164), (120, 88, 74))[plan.number % 3], (255, 255, 255), 0.08)
    left, right = -2.0, 2.0
    back = camera.project(np.array([[left, DESK_Y, DESK_BACK], [right, DESK_Y, DESK_BACK]]))
    front = camera.project(np.array([[right, DESK_Y, DESK_FRONT], [left, DESK_Y, DESK_FRONT]]))
    edge = np.array([[0, 0.010], [0, 0.010]])
    shapes = [
        Shape(np.concatenate([back, front])[None], wood, np.array([camera.distance - 0.35]), person=False),
        Shape(np.concatenate([back, back[::-1] + edge])[None], light(wood, 0.35)),
    ]
    return shapes


def standing_thing(plan: Plan, camera: Camera) -> list[Shape]:
    """The thing on the desk, with its shadow."""
    foot = np.array([[plan.thing_x, DESK_Y, THING_Z]])
    frame = Frame(camera.project(foot), np.array([camera.tilt]), camera.scale(foot) * 1.1)
    dark = Frame(frame.origin, frame.turn, frame.scale).place(np.array([[-0.075, -0.006], [0.075, -0.006], [0.075 - 0.05 * plan.lit, 0.018], [-0.075 - 0.05 * plan.lit, 0.018]]))
    return [Shape(dark, (40, 22, 40, 70)), *_thing(plan, frame, np.array([camera.distance + THING_Z]))]


def held_thing(plan: Plan, arm: Arm, camera: Camera) -> list[Shape]:
    """The thing in the acting hand, standing in its fingers."""
    palm = 0.45 * arm.hand[:, 0] + 0.55 * arm.hand[:, 9]
    ahead = camera.project(arm.hand[:, 9]) - camera.project(arm.hand[:, 0])
    turn = np.arctan2(ahead[:, 0], -ahead[:, 1])
    scale = camera.scale(palm) * 1.12
    grip = np.stack([-np.sin(turn), np.cos(turn)], axis=1) * (0.03 * scale)[:, None]
    return _thing(plan, Frame(camera.project(palm) + grip, turn, scale), camera.distance + palm[:, 2] - 0.03)


def _thing(plan: Plan, frame: Frame, depth: Floats) -> list[Shape]:
    """Polygons of the thing; the first few are its outline and stand in depth."""
    shapes = []
    for corners, colour in draw_thing(plan.noun, plan.thing_hue):
        shapes.append(Shape(frame.place(corners), colour, depth, person=False))
    return shapes


def occluder(plan: Plan) -> Floats | None:
    """A post in the way: its outline [N, 2] in shares of the picture."""
    if plan.occluder is None:
        return None
    x, width, slant = plan.occluder
    return np.array(
        [[x - width / 2 + slant, -0.05], [x + width / 2 + slant, -0.05], [x + width / 2 - slant, 1.05], [x - width / 2 - slant, 1.05]]
    )


def _barrier_shapes(outline: Floats, camera: Camera) -> list[Shape]:
    hue = (86, 92, 104)
    depth = np.array([camera.distance - 0.75])
    shadow = outline.copy()
    shadow[[1, 2], 0] -= 0.55 * (outline[1, 0] - outline[0, 0])
    return [Shape(outline[None], light(hue, 0.15), depth, person=False), Shape(shadow[None], shade(hue, 0.2))]
