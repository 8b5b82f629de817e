"""What each clip shows: its person, split and classes, and everything drawn by chance about it.

A clip depends on the seed and its own number alone, a person on the seed and the person's number, so
any process may draw any clip. Every chance is drawn whether or not it is used: turning one knob leaves
all else as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mudra.datasets.puppets.gestures import GESTURES, Gesture, Stroke, draw_stroke
from mudra.datasets.puppets.people import Person, draw_person
from mudra.datasets.puppets.settings import Puppets
from mudra.datasets.puppets.things import HUES, NOUNS
from mudra.types import SPLITS

_SYLLABLE = 0.38  # seconds

# Branches of the seed beside the clips' own: persons, the order of their gestures, their walls, the splits.
_PERSON, _ORDER, _WALL, _SPLIT = range(1, 5)


@dataclass(frozen=True)
class Sway:
    """Small movements that mean nothing; phases are uniform and independent, so they look alike backwards.

    Attributes:
        periods, phases: seconds and radians of the trunk's sway aside, its breath, the head and the mouth.
        blinks: when, as shares of the clip.
    """

    size: float
    periods: tuple[float, ...]
    phases: tuple[float, ...]
    smile: float
    talks: bool
    blinks: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """One clip before it is drawn.

    Attributes:
        shown: the gesture whose path is followed; it differs from `gesture` only in a clip held still.
        frozen: the progress at which a still clip stays; None in clips that move.
        held: the thing is in the acting hand; otherwise it stands on the desk at `thing_x` metres.
        wall: seed of the scenery. lit: -1 where the light comes from the picture's left, 1 from its right.
        occluder: (x, width, slant) of something in the way, shares of the picture; None where nothing is.
    """

    number: int
    group: int
    split: str
    gesture: Gesture
    noun: str
    person: Person
    frames: int
    stroke: Stroke
    shown: Gesture
    frozen: float | None
    held: bool
    desk: bool
    thing_x: float
    thing_hue: tuple[int, int, int]
    thing_scale: float
    rest_pose: int
    sway: Sway
    wall: tuple[int, ...]
    lit: int
    warmth: float
    dim: float
    occluder: tuple[float, float, float] | None

    @property
    def clip(self) -> str:
        return f"puppet-{self.number:05d}"

    @property
    def group_name(self) -> str:
        return f"person-{self.group:03d}"


def branch(seed: int, *key: int) -> np.random.Generator:
    """A generator of its own for a named part of the data."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def gestures_of(settings: Puppets) -> tuple[Gesture, ...]:
    """The classes of `label`, pair by pair."""
    return GESTURES[: settings.gestures]


def persons(settings: Puppets) -> int:
    """How many persons act: never more than there are clips."""
    return min(settings.groups, settings.clips)


@lru_cache(maxsize=8)
def splits_of_groups(settings: Puppets) -> tuple[str, ...]:
    """The split of every person. Each split that has a share gets a person."""
    count = persons(settings)
    _, val, test = settings.shares
    held_out = [max(1, round(share * count)) if share > 0 else 0 for share in (val, test)]
    sizes = (count - sum(held_out), *held_out)
    names = np.repeat(SPLITS, np.maximum(sizes, 0))[:count]
    order = branch(settings.seed, _SPLIT).permutation(count)
    return tuple(str(names[place]) for place in np.argsort(order))


@lru_cache(maxsize=256)
def person_of(settings: Puppets, group: int) -> Person:
    """The person of a group."""
    return draw_person(branch(settings.seed, _PERSON, group), settings.difficulty)


def gesture_of(settings: Puppets, number: int) -> Gesture:
    """The gesture of a clip: every person does all of them equally often, in an order of their own."""
    classes = gestures_of(settings)
    group, turn = number % persons(settings), number // persons(settings)
    order = branch(settings.seed, _ORDER, group, turn // len(classes)).permutation(len(classes))
    return classes[int(order[turn % len(classes)])]


def plan(settings: Puppets, number: int) -> Plan:
    """Draw what clip `number` shows."""
    rng = np.random.default_rng([settings.seed, number])
    group = number % persons(settings)
    person = person_of(settings, group)
    classes = gestures_of(settings)
    gesture = gesture_of(settings, number)
    leaks = bool(rng.random() < settings.leak)
    if leaks:
        gesture = classes[group % len(classes)]
    still, other, moment = bool(rng.random() < settings.still), int(rng.integers(len(classes))), rng.random()
    shown = classes[other] if still else gesture
    noun = _draw_noun(settings, rng, gesture)
    hues = HUES[noun]
    may_hold = bool(rng.random() < 0.5)
    held = may_hold and shown.verb not in ("grip", "spread")
    haste = person.speed * (0.5 if shown.verb == "circle" else 1.0)  # a long way: it takes most of the clip
    length = settings.seconds * settings.fps * rng.uniform(0.85, 1.15)
    wall = (settings.seed, _WALL, group) if leaks else (settings.seed, 0, number)
    sway = _draw_sway(rng, settings.difficulty)
    blocked = bool(rng.random() < settings.occlusion)
    in_the_way = (float(rng.uniform(0.15, 0.85)), float(rng.uniform(0.10, 0.20)), float(rng.normal(0, 0.06)))
    return Plan(
        number=number,
        group=group,
        split=splits_of_groups(settings)[group],
        gesture=gesture,
        noun=noun,
        person=person,
        frames=max(2, round(length)),
        stroke=draw_stroke(rng, haste, settings.difficulty, held),
        shown=shown,
        frozen=float(moment) if still else None,
        held=held,
        desk=not held or bool(rng.random() < 0.35),
        thing_x=float(rng.choice([-1, 1]) * rng.uniform(0.24, 0.36)),
        thing_hue=hues[int(rng.integers(len(hues)))],
        thing_scale=settings.thing_scale,
        rest_pose=int(rng.choice(3, p=[0.45, 0.35, 0.20])),
        sway=sway,
        wall=wall,
        lit=int(rng.choice([-1, 1])),
        warmth=float(rng.normal(0.0, 0.35)),
        dim=float(rng.uniform(0.0, 0.06 + 0.25 * settings.difficulty)),
        occluder=in_the_way if blocked else None,
    )


def _draw_noun(settings: Puppets, rng: np.random.Generator, gesture: Gesture) -> str:
    verbs = list(dict.fromkeys(each.verb for each in GESTURES))
    usual, any_noun = rng.random() < settings.verb_noun, int(rng.integers(len(NOUNS)))
    return NOUNS[verbs.index(gesture.verb) % len(NOUNS) if usual else any_noun]


def _draw_sway(rng: np.random.Generator, difficulty: float) -> Sway:
    periods, phases = rng.uniform(1.8, 4.5, 3), rng.uniform(0, 2 * np.pi, 4)
    blinks = rng.uniform(0, 1, int(rng.integers(0, 3)))
    return Sway(
        size=float(rng.uniform(0.5, 1.0) * (0.7 + 2.0 * difficulty)),
        periods=(*periods.tolist(), _SYLLABLE),
        phases=tuple(phases.tolist()),
        smile=float(rng.uniform(0.15, 1.0)),
        talks=bool(rng.random() < 0.3),
        blinks=tuple(float(moment) for moment in blinks),
    )
