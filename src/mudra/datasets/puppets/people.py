"""The persons who act: what a group of clips has in common, drawn from the group's own seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RGB = tuple[int, int, int]

SKINS: tuple[RGB, ...] = (
    *((255, 221, 197), (247, 203, 172), (236, 184, 146), (217, 160, 118)),
    *((190, 129, 88), (158, 101, 66), (124, 78, 52), (92, 58, 42)),
)
HAIRS: tuple[RGB, ...] = (
    *((40, 30, 34), (62, 42, 36), (94, 60, 40), (134, 84, 46)),
    *((196, 146, 82), (226, 188, 122), (172, 78, 48), (168, 164, 170)),
)
BRIGHT_HAIRS: tuple[RGB, ...] = ((206, 92, 120), (74, 116, 168), (96, 74, 140))
CLOTHES: tuple[RGB, ...] = (
    *((226, 88, 78), (240, 150, 72), (244, 196, 86), (118, 176, 112), (58, 140, 132)),
    *((74, 146, 196), (66, 92, 158), (128, 96, 172), (206, 108, 148), (238, 232, 220)),
    *((92, 102, 116), (52, 58, 76), (160, 60, 70), (150, 186, 178)),
)
HAIRCUTS = (
    "short",
    "side",
    "long",
    "bob",
    "bun",
    "curly",
    "afro",
    "bald",
    "scarf",
    "beanie",
    "spiky",
    "pony",
)
GARMENTS = ("tee", "stripes", "shirt", "hoodie", "jacket", "dungarees", "vneck", "turtleneck")


@dataclass(frozen=True)
class Person:
    """One group. Lengths in metres.

    Attributes:
        side: -1 when the acting hand is the right one (on the picture's left), 1 when the left one.
        speed: 1 is usual; above is faster.
        view, centre, tilt: how the camera stands (see body.Camera). hand: length of a hand.
    """

    side: int
    speed: float
    view: float
    distance: float
    centre: tuple[float, float]
    tilt: float
    shoulders: float
    upper: float
    fore: float
    hand: float
    girth: float
    head: tuple[float, float]
    neck: float
    jaw: float
    skin: RGB
    hair: RGB
    haircut: str
    garment: str
    cloth: RGB
    second: RGB
    long_sleeves: bool
    glasses: bool
    beard: bool
    earrings: bool
    brows: float
    eyes: RGB
    lips: RGB


def draw_person(rng: np.random.Generator, difficulty: float) -> Person:
    """Draw a person. The order of the draws is part of the data: a new one goes to the end."""
    size = rng.uniform(0.94, 1.06)
    skin_at = int(rng.integers(len(SKINS)))
    hair = HAIRS[int(rng.integers(4 if skin_at > 5 else len(HAIRS)))]
    if rng.random() < 0.08:
        hair = BRIGHT_HAIRS[int(rng.integers(len(BRIGHT_HAIRS)))]
    first, second = rng.choice(len(CLOTHES), 2, replace=False).tolist()
    haircut = HAIRCUTS[int(rng.integers(len(HAIRCUTS)))]
    skin = SKINS[skin_at]
    wide = 1.0 + 1.2 * difficulty
    return Person(
        side=-1 if rng.random() < 0.7 else 1,
        speed=float(np.exp(rng.normal(0.0, 0.22))),
        view=float(1.16 * (1 + wide * rng.uniform(-0.07, 0.07))),
        distance=float(rng.uniform(1.35, 1.9)),
        centre=(0.5 + float(wide * rng.uniform(-0.03, 0.03)), 0.43 + float(wide * rng.uniform(-0.015, 0.02))),
        tilt=float(wide * rng.normal(0.0, 0.018)),
        shoulders=float(0.185 * size * rng.uniform(0.9, 1.12)),
        upper=float(0.285 * size * rng.uniform(0.95, 1.05)),
        fore=float(0.265 * size * rng.uniform(0.95, 1.05)),
        hand=float(0.225 * size * rng.uniform(0.94, 1.08)),
        girth=float(rng.uniform(0.9, 1.2)),
        head=(float(0.089 * rng.uniform(0.94, 1.08)), float(0.117 * rng.uniform(0.95, 1.06))),
        neck=float(rng.uniform(0.05, 0.075)),
        jaw=float(rng.uniform(0.1, 0.3)),
        skin=skin,
        hair=hair,
        haircut=haircut,
        garment=GARMENTS[int(rng.integers(len(GARMENTS)))],
        cloth=CLOTHES[first],
        second=CLOTHES[second],
        long_sleeves=bool(rng.random() < 0.55) or haircut == "scarf",
        glasses=bool(rng.random() < 0.28),
        beard=bool(rng.random() < 0.2) and haircut in ("short", "side", "bald", "beanie", "spiky", "curly"),
        earrings=bool(rng.random() < 0.25),
        brows=float(rng.uniform(0.7, 1.3)),
        eyes=((58, 42, 40), (70, 92, 110), (72, 96, 66), (96, 64, 38))[int(rng.integers(4))],
        lips=((196, 92, 92), (176, 78, 84), (214, 112, 108), (160, 62, 74))[int(rng.integers(4))],
    )
