"""Brightness, contrast, saturation, hue and grey as one 3 x 3 matrix, joined with normalisation.

Every one of these changes is linear in the colour, so all of them and normalisation cost one pass
over the pixels. Departs from torchvision's ColorJitter, whose ranges and meanings it keeps: the order
is fixed, hue turns about the grey axis at constant luma (YIQ) and not in HSV, contrast turns about the
mean grey of the whole clip, and values are brought back to 0..255 once, at the end.

Axes: T frames, H height, W width. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mudra.clips.pixels import normalise

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's grey
# The two chroma axes of NTSC's YIQ; both are 0 for grey. Turning from Q to I leads from red to green.
YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
SPARSE = 4  # contrast looks at every 4th row and column for the mean grey


@dataclass(frozen=True, slots=True)
class Colour:
    """A change of colour, in the order of its attributes: one for all frames of a clip.

    Attributes:
        brightness, contrast, saturation: factors; 1 changes nothing, saturation 0 is grey.
        hue: turns; a third leads from red to green.
        grey: whether colour is taken away altogether.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    grey: bool = False

    def matrix(self) -> NDArray[np.float64]:
        """[3,3], from RGB to RGB, without the part of contrast that depends on the pixels."""
        gain = np.eye(3) * (self.brightness * self.contrast)
        if self.grey:  # nothing else can be seen of the chroma
            return saturation_matrix(0.0) @ gain
        if self.saturation != 1:
            gain = saturation_matrix(self.saturation) @ gain
        return hue_matrix(self.hue) @ gain if self.hue else gain

    def offset(self, frames: NDArray[np.uint8]) -> float:
        """What contrast adds to every channel so that the clip's mean grey stays where it is, 0..255."""
        if self.contrast == 1:
            return 0.0
        mean = frames[:, ::SPARSE, ::SPARSE].reshape(-1, 3).mean(axis=0, dtype=np.float64)
        return float((1 - self.contrast) * self.brightness * (LUMA @ mean))


def saturation_matrix(factor: float) -> NDArray[np.float64]:
    """[3,3]: 0 leaves the luma alone, 1 changes nothing; grey stays as it is."""
    return factor * np.eye(3) + (1 - factor) * np.outer(np.ones(3), LUMA)


def hue_matrix(turns: float) -> NDArray[np.float64]:
    """[3,3]: a turn about the grey axis; luma and grey stay as they are."""
    cos, sin = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    turn = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    return np.linalg.solve(YIQ, turn @ YIQ)


def paint(
    frames: NDArray[np.uint8], colour: Colour, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Change the colours of a clip and normalise it.

    Args:
        frames: uint8 [T,H,W,3].
        mean, std: of each channel, on the scale 0..1.
    Returns:
        float32 [T,3,H,W]; where nothing changes, evaluation's `normalise` bit for bit.
    """
    if colour == Colour():
        return normalise(frames, mean, std)
    centre, spread = np.asarray(mean), np.asarray(std)
    gain = (colour.matrix() / (255 * spread[:, None])).astype(np.float32)
    offset = ((colour.offset(frames) / 255 - centre) / spread).astype(np.float32)
    low, high = (-centre / spread).astype(np.float32), ((1 - centre) / spread).astype(np.float32)

    count, height, width, _ = frames.shape
    out = np.empty((count, 3, height, width), np.float32)
    planes, part = np.empty(out.shape[1:], np.float32), np.empty(out.shape[2:], np.float32)
    for frame, painted in zip(frames, out, strict=True):  # one frame at a time stays in the cache
        planes[...] = frame.transpose(2, 0, 1)
        for channel, plane in enumerate(painted):
            plane.fill(offset[channel])
            for other in np.flatnonzero(gain[channel]):
                plane += np.multiply(planes[other], gain[channel, other], out=part)
            np.clip(plane, low[channel], high[channel], out=plane)
    return out
