"""What a model of one stream of pictures asks of its clips: video, depth, a mask, a drawn skeleton."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mudra.errors import ModelError

Shape = tuple[int, int, int, int]  # (frames, channels, height, width)


def one_picture_stream(inputs: Mapping[str, tuple[int, ...]], model: str) -> tuple[str, Shape]:
    """The only stream of a model and the shape of one clip of it.

    Args:
        inputs: {stream: (frames, channels, height, width)}.
        model: its name, to begin an error with.
    Raises:
        ModelError: no stream, several, or one that is not of pictures.
    """
    if len(inputs) != 1 or any(len(shape) != 4 for shape in inputs.values()):
        found = ", ".join(f"{name} {tuple(shape)}" for name, shape in inputs.items()) or "nothing"
        raise ModelError(
            f"model {model}: found the streams {found}; expected one stream of pictures, (frames, channels, height, "
            "width); set `clip.streams: [video]`"
        )
    name, shape = next(iter(inputs.items()))
    if min(shape) < 1:
        raise ModelError(
            f"model {model}, {name}: found a clip of shape {tuple(shape)}; expected (frames, channels, height, width), "
            "each at least 1; see `clip.frames` and `clip.size`"
        )
    frames, channels, height, width = shape
    return name, (frames, channels, height, width)


def with_channels(weight: Tensor, channels: int) -> Tensor:
    """First weights [out, 3, ...] for pictures of other channels.

    One channel gets their sum: a grey picture is answered like the same picture in three equal channels. More than
    three repeat them, scaled so that equal channels are answered alike.
    """
    found = weight.shape[1]
    if channels == found:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    index = torch.arange(channels, device=weight.device) % found
    return weight[:, index] * (found / channels)


def require_pictures(x_BTCHW: Tensor, channels: int, model: str) -> None:
    """Raise ModelError where a batch is not [B, T, channels, H, W]."""
    shape = tuple(x_BTCHW.shape)
    if len(shape) != 5 or shape[2] != channels or 0 in shape:
        raise ModelError(
            f"model {model}: found a batch of shape {shape}; expected [clips, frames, {channels}, height, width]; put "
            "single clips in a batch of one and channels before height"
        )
