"""Pixels brought to the size and scale that a model takes: one antialiased method everywhere.

Pillow's bilinear filter is the only resize in mudra, so that training, evaluation, an exported
model and the live page see the same picture (swscale and torch differ from each other by 3 to 11
grey levels). Imports no torch.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

P = TypeVar("P", np.uint8, np.float32)

Box = tuple[float, float, float, float]  # left, top, right, bottom in source pixels


def resize(frames: NDArray[P], height: int, width: int, box: Box | None = None) -> NDArray[P]:
    """Bring the part `box` of every frame (the whole frame by default) to one size.

    Args:
        frames: uint8 [T,H,W,3], or float32 [T,H,W].
    Returns:
        [T,height,width(,3)] of the same type; the very same array where nothing has to be done.
    """
    whole = (0.0, 0.0, float(frames.shape[2]), float(frames.shape[1]))
    box = whole if box is None else box
    if box == whole and frames.shape[1:3] == (height, width):
        return frames
    out = np.empty((len(frames), height, width, *frames.shape[3:]), frames.dtype)
    for small, frame in zip(out, frames, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(frame))
        small[...] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
    return out


def normalise(
    frames: NDArray[np.uint8],
    mean: Sequence[float],
    std: Sequence[float],
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Scale 0..255 to 0..1, take off the mean, divide by the deviation, channels first.

    Args:
        frames: uint8 [T,H,W,3].
        mean, std: of each channel, on the scale 0..1.
        out: where to put the result, float32 [T,3,H,W]; filling a larger array directly saves a copy.
    Returns:
        float32 [T,3,H,W]; `out` where it is given.
    """
    count, height, width, channels = frames.shape
    if out is None:
        out = np.empty((count, channels, height, width), np.float32)
    for channel, (centre, spread) in enumerate(zip(mean, std, strict=True)):
        plane = out[:, channel]
        np.multiply(frames[..., channel], np.float32(1 / (255 * spread)), out=plane)
        plane -= np.float32(centre / spread)
    return out


def view_box(
    height: int,
    width: int,
    mode: Literal["stretch", "crop"],
    shorter_side: float = 1.0,
    crop: int = 0,
    crops: int = 1,
) -> Box:
    """The part of a frame that evaluation looks at, as a box in source pixels.

    Args:
        mode: `stretch` is the whole frame; `crop` is a square of the shorter side / `shorter_side`.
        crop, crops: which of several squares spread evenly along the longer side; one is the centre.

    >>> view_box(240, 320, "crop")
    (40.0, 0.0, 280.0, 240.0)
    >>> view_box(240, 320, "crop", crop=2, crops=3)
    (80.0, 0.0, 320.0, 240.0)
    """
    if mode == "stretch":
        return (0.0, 0.0, float(width), float(height))
    side = min(height, width) / shorter_side
    place = 0.5 if crops == 1 else crop / (crops - 1)
    along = (max(height, width) - side) * place
    across = (min(height, width) - side) * 0.5
    left, top = (along, across) if width >= height else (across, along)
    return (left, top, left + side, top + side)
