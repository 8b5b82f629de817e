"""Shapes become pixels, depth and mask.

Everything is drawn `OVER` times too large. Pixels are the mean over a cell of OVER x OVER samples;
depth and mask, which must not be averaged, take the sample in the middle of the same cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mudra.datasets.puppets.shapes import Shape

OVER = 3
"""Samples per pixel and axis; odd, so that one lies in the middle."""

PERSON = 255
"""Value of the mask where the person is."""


def paint_video(shapes: Sequence[Shape], backdrop: Image.Image, frames: int, size: int) -> NDArray[np.uint8]:
    """Paint all frames: uint8 [T, size, size, 3].

    Args:
        backdrop: what stands behind, OVER x size pixels wide and high.
    """
    coloured = [shape for shape in shapes if shape.colour is not None]
    corners = [_corners(shape, frames, size) for shape in coloured]
    video = np.empty((frames, size, size, 3), dtype=np.uint8)
    for frame in range(frames):
        image = backdrop.copy()
        opaque, glazed = ImageDraw.Draw(image), ImageDraw.Draw(image, "RGBA")
        for shape, outline in zip(coloured, corners, strict=True):
            draw = opaque if len(shape.colour or ()) == 3 else glazed
            draw.polygon(outline[frame], fill=shape.colour)
        video[frame] = np.asarray(image.reduce(OVER))
    return video


def paint_depth(
    shapes: Sequence[Shape], wall: NDArray[np.float64], frames: int, size: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Depth in millimetres, uint16 [T, size, size], and the mask of the person, uint8 [T, size, size].

    Args:
        wall: metres to what stands behind, [size, size].
    """
    solid = [shape for shape in shapes if shape.depth is not None]
    corners = [_corners(shape, frames, size) for shape in solid]
    codes = [_codes(shape, frames) for shape in solid]
    behind = np.repeat(np.repeat(np.round(wall * 1000).astype(np.int32) * 2, OVER, 0), OVER, 1)
    backdrop = Image.fromarray(behind, mode="I") if False else Image.fromarray(behind)
    depth = np.empty((frames, size, size), dtype=np.uint16)
    mask = np.empty((frames, size, size), dtype=np.uint8)
    for frame in range(frames):
        image = backdrop.copy()
        draw = ImageDraw.Draw(image)
        for outline, code in zip(corners, codes, strict=True):
            draw.polygon(outline[frame], fill=code[frame])
        seen = np.asarray(image)[OVER // 2 :: OVER, OVER // 2 :: OVER]
        depth[frame] = seen >> 1
        mask[frame] = (seen & 1) * PERSON
    return depth, mask


def _corners(shape: Shape, frames: int, size: int) -> list[list[float]]:
    """Corners as Pillow wants them, frame by frame: whole numbers of samples, x and y in turn."""
    outline = np.floor(shape.outline * (size * OVER))
    flat: list[list[float]] = outline.reshape(len(outline), -1).tolist()
    return flat * frames if len(flat) == 1 else flat


def _codes(shape: Shape, frames: int) -> list[int]:
    """Depth and mask in one whole number: twice the millimetres, plus one on the person."""
    millimetres = np.round(np.clip(np.atleast_1d(shape.depth), 0.001, 65.0) * 1000).astype(int)
    codes: list[int] = (2 * millimetres + int(shape.person)).tolist()
    return codes * frames if len(codes) == 1 else codes
