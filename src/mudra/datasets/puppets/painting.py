"""Shapes become pixels, depth and mask.

Everything is drawn too large. A pixel of the video is the mean of its samples; depth and mask, which
must not be averaged, take the sample in the middle of the pixel.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mudra.datasets.puppets.shapes import Floats, Shape

SMOOTH = 2
"""Samples per pixel and axis of the video."""

EXACT = 3
"""Samples per pixel and axis of depth and mask; odd, so that one lies in the middle."""

PERSON = 255
"""Value of the mask where the person is."""


def paint_video(
    shapes: Sequence[Shape], backdrop: Image.Image, brightness: Floats, frames: int
) -> NDArray[np.uint8]:
    """Paint all frames: uint8 [T, size, size, 3].

    Args:
        backdrop: what stands behind, SMOOTH times as wide and high as the frames.
        brightness: 0 to 1 by pixel and colour, [size, size, 3]; everything is multiplied by it.
    """
    size = len(brightness)
    factor = np.round(brightness * 256).astype(np.uint16)  # 255 x 256 still is within 16 bit
    coloured = [shape for shape in shapes if shape.colour is not None]
    glazes = [shape.colour is not None and len(shape.colour) == 4 for shape in coloured]
    video = np.empty((frames, size, size, 3), dtype=np.uint8)
    for frame, corners in enumerate(_corners(coloured, frames, size * SMOOTH)):
        image = backdrop.copy()
        opaque, glazed = ImageDraw.Draw(image), ImageDraw.Draw(image, "RGBA")
        for shape, glaze, outline in zip(coloured, glazes, corners, strict=True):
            (glazed if glaze else opaque).polygon(outline, fill=shape.colour)
        video[frame] = (np.asarray(image.reduce(SMOOTH)) * factor) >> 8
    return video


def paint_depth(
    shapes: Sequence[Shape], wall: Floats, frames: int, size: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Depth in millimetres, uint16 [T, size, size], and the mask of the person, uint8 [T, size, size].

    Args:
        wall: metres to what stands behind, [size, size].
    """
    solid = [shape for shape in shapes if shape.depth is not None]
    codes = [_codes(shape.depth, shape.person, frames) for shape in solid if shape.depth is not None]
    behind = np.round(wall * 1000).astype(np.int32) * 2
    backdrop = Image.fromarray(behind.repeat(EXACT, axis=0).repeat(EXACT, axis=1))
    depth = np.empty((frames, size, size), dtype=np.uint16)
    mask = np.empty((frames, size, size), dtype=np.uint8)
    for frame, corners in enumerate(_corners(solid, frames, size * EXACT)):
        image = backdrop.copy()
        draw = ImageDraw.Draw(image)
        for outline, code in zip(corners, codes, strict=True):
            draw.polygon(outline, fill=code[frame])
        seen = np.asarray(image)[EXACT // 2 :: EXACT, EXACT // 2 :: EXACT]
        depth[frame] = seen >> 1
        mask[frame] = (seen & 1) * PERSON
    return depth, mask


def _corners(shapes: Sequence[Shape], frames: int, samples: int) -> Iterator[list[list[int]]]:
    """Corners of all shapes as Pillow wants them, frame by frame: whole numbers of samples, x and y in turn."""
    ends = np.cumsum([0, *(2 * shape.outline.shape[1] for shape in shapes)]).tolist()
    moving = [np.broadcast_to(shape.outline, (frames, *shape.outline.shape[1:])) for shape in shapes]
    whole = np.floor(np.concatenate(moving, axis=1) * samples).astype(np.int32).reshape(frames, -1)
    for row in whole:
        flat = row.tolist()
        yield [flat[start:end] for start, end in itertools.pairwise(ends)]


def _codes(depth: Floats, person: bool, frames: int) -> list[int]:
    """Depth and mask in one whole number: twice the millimetres, plus one on the person."""
    millimetres = np.round(np.clip(depth, 0.001, 65.0) * 1000).astype(int)
    codes: list[int] = (2 * millimetres + int(person)).tolist()
    return codes * frames if len(codes) == 1 else codes
