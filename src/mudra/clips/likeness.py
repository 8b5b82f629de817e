"""Clips that look the same although their bytes differ: copies that were encoded again.

A look is eight moments of a clip as 16 x 16 grey pictures, each brought to zero mean and unit
deviation, so that a change of brightness or a fade does not count. Two clips are alike where both
their mean picture and what moves in it correlate. The picture alone would not do: people in front of
one wall look alike; what moves tells them apart. Where little moves, the noise of encoding weighs
more, so less is asked of the motion and more of the picture.

The bounds were set on 284 real clips (160 of them of one signer in one room) and 240 drawn ones. Of
clips that are no copies, the most alike reach 0.78 in motion. Copies at a fifth of the bitrate, at
half the size or by another codec keep 0.92 and more, at half the frame rate 0.84; drawn clips of
96 pixels, encoded coarsely at 64, keep 0.56 where next to nothing moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOMENTS, SIDE = 8, 16
STILL = 0.03  # less motion than this is noise; then the picture decides alone
LIVELY = 0.15  # from here on motion is far above the noise
_FLAT = 4.0  # grey levels; keeps the noise of an even picture from being blown up
_BLOCK = 512  # clips compared with all others at a time


@dataclass(frozen=True, slots=True)
class Look:
    """What a clip looks like.

    Attributes:
        picture: the mean of its moments, unit length; float32 [SIDE x SIDE].
        motion: how each moment departs from that, unit length; float32 [MOMENTS x SIDE x SIDE].
        energy: how much moves, root mean square in deviations of the picture.
        seconds: how long the clip is.
    """

    picture: NDArray[np.float32]
    motion: NDArray[np.float32]
    energy: float
    seconds: float


def moments(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """The frames shown in the middle of each of `MOMENTS` equal parts of a clip.

    A third of a frame later, in truth: a middle is often the very moment at which a frame begins,
    and rounding would then choose one frame in a clip and its neighbour in a copy.
    """
    step = (times[-1] - times[0]) / max(len(times) - 1, 1)
    middle = times[0] + (np.arange(MOMENTS) + 0.5) / MOMENTS * (times[-1] - times[0] + step)
    return np.searchsorted(times, middle + step / 3, side="right") - 1


def look(frames: NDArray[np.uint8], seconds: float) -> Look:
    """The look of a clip.

    Args:
        frames: uint8 [MOMENTS,H,W,3].
    """
    size = (SIDE, SIDE)
    grey = [Image.fromarray(frame).convert("L").resize(size, Image.Resampling.BOX) for frame in frames]
    small = np.stack([np.asarray(picture, np.float32) for picture in grey]).reshape(len(frames), -1)
    small -= small.mean(axis=1, keepdims=True)
    small /= small.std(axis=1, keepdims=True) + _FLAT
    picture = small.mean(axis=0)
    motion = (small - picture).ravel()
    return Look(_unit(picture), _unit(motion), float(np.sqrt(np.mean(motion**2))), seconds)


def alike(looks: Sequence[Look], sides: Sequence[int]) -> Iterator[tuple[int, int, float]]:
    """Pairs of clips on different sides that look the same and last equally long.

    Args:
        sides: the split of each clip; clips of one split are not compared.
    Returns:
        The numbers of both clips and how alike their mean pictures are, 1 at most.
    """
    order = np.argsort([one.seconds for one in looks], kind="stable")
    seconds = np.array([looks[at].seconds for at in order])
    side = np.asarray(sides)[order]
    energy = np.array([looks[at].energy for at in order])
    pictures = np.stack([looks[at].picture for at in order]) if looks else np.empty((0, 1), np.float32)
    motions = np.stack([looks[at].motion for at in order]) if looks else np.empty((0, 1), np.float32)
    longest = seconds * 1.05 + 0.15
    for begin in range(0, len(order), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        end = int(np.searchsorted(seconds, longest[rows].max(), side="right"))
        columns = slice(begin, end)
        picture = pictures[rows] @ pictures[columns].T
        motion = motions[rows] @ motions[columns].T
        picture_bound, motion_bound = _bounds(np.minimum(energy[rows, None], energy[None, columns]))
        fits = (picture >= picture_bound) & (motion >= motion_bound)
        fits &= side[rows, None] != side[None, columns]
        fits &= seconds[None, columns] <= longest[rows, None]
        fits &= np.arange(begin, end)[None] > np.arange(begin, begin + len(picture))[:, None]
        for row, column in np.argwhere(fits).tolist():
            yield int(order[begin + row]), int(order[begin + column]), float(picture[row, column])


def _bounds(energy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What picture and motion must correlate by, given how much moves in the stiller of two clips."""
    lively = np.clip((energy - STILL) / (LIVELY - STILL), 0.0, 1.0)
    picture = np.where(energy < STILL, 0.995, np.where(lively < 1, 0.98, 0.95))
    return picture, np.where(energy < STILL, -1.0, 0.45 + 0.37 * lively)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return (values / (np.linalg.norm(values) + 1e-6)).astype(np.float32)
