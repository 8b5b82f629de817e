"""How a training clip is altered: drawn once per clip, the same for all its frames.

`draw` makes the choice from a random generator alone, `apply_video` carries it out. Where nothing
is drawn the result is evaluation's, bit for bit. numpy and Pillow only, so it does not depend on
threads. Another stream of the same clip uses the same choice: `geometry.take_points` for points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mudra.clips.colour import Colour, paint
from mudra.clips.geometry import ATTEMPTS, Geometry, central_box, draw_box, take
from mudra.clips.pixels import Box
from mudra.sections import AugmentSettings

# Random erasing (Zhong et al. 2020, arXiv:1708.04896): share of the picture and width / height.
ERASE_SHARE = (0.02, 1 / 3)
ERASE_RATIO = (0.3, 1 / 0.3)


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn for one clip.

    Attributes:
        geometry: which part of the frame is looked at, turned or flipped.
        colour: how the colours change.
        erase: left, top, right, bottom of what is blotted out, in pixels of the picture; None is nothing.
    """

    geometry: Geometry
    colour: Colour
    erase: tuple[int, int, int, int] | None

    @property
    def flip(self) -> bool:
        """Whether left and right changed places; classes that have a side must change with them."""
        return self.geometry.flip


def draw(
    settings: AugmentSettings,
    rng: np.random.Generator,
    height: int,
    width: int,
    out: int,
    may_flip: bool,
    view: Box | None = None,
    aspect: float = 1.0,
) -> Draw:
    """Draw how one clip is altered.

    All numbers are drawn whatever the settings, so one setting never shifts the draws of another.

    Args:
        height, width: of the source frames.
        out: side of the square picture that the model takes.
        may_flip: False where a flip would change what a clip means; then it is never drawn.
        view: what evaluation looks at, taken where `crop` is off; None is the whole frame.
        aspect: width / height of what evaluation shows as a square; `crop_ratio` is relative to it, so
            that crops are not squeezed in another way than evaluation's pictures.
    """
    crop = rng.random((ATTEMPTS, 4))
    flip, grey, erased, *signed = rng.random(8)
    angle, brightness, contrast, saturation, hue = (2 * number - 1 for number in signed)
    blot = rng.random((ATTEMPTS, 4))
    ratio = (settings.crop_ratio[0] * aspect, settings.crop_ratio[1] * aspect)
    box = view or (0.0, 0.0, float(width), float(height))
    if settings.crop is not None:
        box = draw_box(crop, height, width, settings.crop, ratio) or central_box(height, width, ratio)
    geometry = Geometry(
        height, width, out, box, angle * settings.rotate, bool(may_flip and flip < settings.flip)
    )
    colour = Colour(
        1 + brightness * settings.brightness,
        1 + contrast * settings.contrast,
        1 + saturation * settings.saturation,
        hue * settings.hue,
        bool(grey < settings.grey),
    )
    hole = draw_box(blot, out, out, ERASE_SHARE, ERASE_RATIO) if erased < settings.erase else None
    return Draw(geometry, colour, None if hole is None else _whole_pixels(hole))


def draw_flip(settings: AugmentSettings, rng: np.random.Generator, may_flip: bool) -> bool:
    """Whether a clip is mirrored, as `draw` decides it with a generator of the same seed."""
    rng.random((ATTEMPTS, 4))
    return bool(rng.random() < settings.flip and may_flip)


def apply_video(
    frames: NDArray[np.uint8], draw: Draw, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Alter all frames of a clip alike, and normalise them.

    What a rotation brings in from outside the frame, and what is erased, has the mean colour.

    Args:
        frames: uint8 [T,H,W,3], of the size that was given to `draw`.
        mean, std: of each channel, on the scale 0..1.
    Returns:
        float32 [T,3,out,out].
    """
    red, green, blue = (round(255 * min(max(centre, 0.0), 1.0)) for centre in mean)
    pictures = take(frames, draw.geometry, (red, green, blue))
    altered = paint(pictures, draw.colour, mean, std)
    if draw.erase is not None:
        left, top, right, bottom = draw.erase
        altered[:, :, top:bottom, left:right] = 0  # the mean, once normalised
    return altered


def _whole_pixels(box: Box) -> tuple[int, int, int, int]:
    """The box with its edges on pixel borders, at least one pixel wide and high."""
    left, top, right, bottom = (round(edge) for edge in box)
    return left, top, max(right, left + 1), max(bottom, top + 1)
