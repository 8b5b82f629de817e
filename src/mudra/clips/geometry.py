"""Where the pixels of an altered clip come from: crop, flip and rotation as one affine map.

Coordinates are continuous: pixel 0 covers 0..1, so its centre is at 0.5. x runs right, y runs down.
Axes: T frames, H height, W width, K points, C channels. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mudra.clips.pixels import Box, P, resize

ATTEMPTS = 10  # tries to draw a box that fits, as torchvision has it


@dataclass(frozen=True, slots=True)
class Geometry:
    """The part of the frame that is looked at, and how it is turned: one for all frames of a clip.

    Attributes:
        height, width: of the source frames, pixels.
        out: side of the square picture made of it, pixels.
        box: left, top, right, bottom in source pixels, before turning.
        angle: degrees by which the box is turned about its own centre; the picture turns the other way.
        flip: whether left and right change places, after everything else.
    """

    height: int
    width: int
    out: int
    box: Box
    angle: float = 0.0
    flip: bool = False

    def to_source(self) -> NDArray[np.float64]:
        """The affine map [2,3] from (x, y, 1) in the picture to (x, y) in the source frame."""
        left, top, right, bottom = self.box
        across, down = (right - left) / self.out, (bottom - top) / self.out
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-across if self.flip else across, down])
        centre = np.array([left + right, top + bottom]) / 2
        return np.column_stack([turn, centre - turn @ np.full(2, self.out / 2)])


def draw_box(
    numbers: NDArray[np.float64],
    height: int,
    width: int,
    share: tuple[float, float],
    ratio: tuple[float, float],
) -> Box | None:
    """A random box inside a frame: its share of the area uniform, its ratio uniform in the logarithm.

    Args:
        numbers: float64 [tries,4] in [0, 1): share, ratio, place across, place down. The first try
            that fits is taken.
        share: least and largest share of the frame's area.
        ratio: least and largest width / height, in pixels.
    Returns:
        left, top, right, bottom, not rounded; None where no try fits.
    """
    area = (share[0] + numbers[:, 0] * (share[1] - share[0])) * height * width
    low, high = np.log(ratio)
    shape = np.exp(low + numbers[:, 1] * (high - low))
    across, down = np.sqrt(area * shape), np.sqrt(area / shape)
    fits = np.flatnonzero((across <= width) & (down <= height))
    if not len(fits):
        return None
    first = fits[0]
    left = numbers[first, 2] * (width - across[first])
    top = numbers[first, 3] * (height - down[first])
    # min: rounding must not lead a hair's breadth outside
    right, bottom = min(left + across[first], width), min(top + down[first], height)
    return float(left), float(top), float(right), float(bottom)


def central_box(height: int, width: int, ratio: tuple[float, float]) -> Box:
    """The largest box about the centre of a frame whose width / height is within `ratio`.

    >>> central_box(100, 300, (0.5, 2.0))
    (50.0, 0.0, 250.0, 100.0)
    """
    low, high = sorted(ratio)
    across, down = min(width, height * high), min(height, width / low)
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, left + across, top + down


def take(frames: NDArray[P], geometry: Geometry, fill: tuple[int, int, int] | float) -> NDArray[P]:
    """The picture that a geometry makes of every frame.

    Without rotation this is evaluation's antialiased resize. With it the frame is first brought to
    the picture's scale in the same way (where that makes it smaller), then sampled bilinearly once;
    Pillow rounds that down, so a turned picture is half a grey level darker on average.

    Args:
        frames: uint8 [T,H,W,3], or float32 [T,H,W]. They may be of another size than the geometry was drawn for,
            as those of a depth camera beside a video: a place is the same share of width and height in both.
        fill: what lies outside the frame, RGB or a number, which only a turned box reaches.
    Returns:
        [T,out,out(,3)] of the same type; a view of `frames` where nothing but a flip has to be done.
    """
    left, top, right, bottom = geometry.box
    if geometry.angle == 0:
        across, down = frames.shape[2] / geometry.width, frames.shape[1] / geometry.height
        box = (left * across, top * down, right * across, bottom * down)
        upright = resize(frames, geometry.out, geometry.out, box)
        return upright[:, :, ::-1] if geometry.flip else upright
    height = round(geometry.height * min(1, geometry.out / (bottom - top))) or 1
    width = round(geometry.width * min(1, geometry.out / (right - left))) or 1
    small = resize(frames, height, width)
    scale = np.array([[width / geometry.width], [height / geometry.height]])
    coefficients = (scale * geometry.to_source()).ravel().tolist()
    side = geometry.out
    out = np.empty((len(frames), side, side, *frames.shape[3:]), frames.dtype)
    for picture, frame in zip(out, small, strict=True):
        turned = Image.fromarray(np.ascontiguousarray(frame)).transform(
            (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=fill
        )
        picture[...] = np.asarray(turned)
    return out


def take_points(
    points: NDArray[np.float32], geometry: Geometry, pairs: Iterable[tuple[int, int]] = ()
) -> NDArray[np.float32]:
    """Points moved as the pixels under them are.

    Args:
        points: [T,K,C], x and y first, as shares of the source's width and height; NaN = not seen.
            A third is a length in the unit of x, and grows with the picture as x does.
        pairs: numbers of the left and right points that change places with a flip.
    Returns:
        float32 [T,K,C], x and y as shares of the picture; what was cropped away lies outside 0..1.
    """
    onto = np.linalg.inv(np.vstack([geometry.to_source(), [0, 0, 1]]))[:2]
    moved = points.copy()
    source = points[..., :2] * np.array([geometry.width, geometry.height])
    moved[..., :2] = (source @ onto[:, :2].T + onto[:, 2]) / geometry.out
    moved[..., 2:] *= geometry.width / (geometry.box[2] - geometry.box[0])
    if geometry.flip:
        for left, right in pairs:
            moved[:, [left, right]] = moved[:, [right, left]]
    return moved
