"""What each trunk of a fusion model is given of a clip: its stream, cut into windows, as its kind takes it.

Numbers that are not known (NaN) are left to trunks of points and series, which know what that means. Trunks of pictures
do not: of a window that is there in part, the frames that are there are spread over all of it.

Axes: B clips, T frames, W windows of a clip, L frames of a window, N = B x W windows of all clips, K points,
C coordinates or channels, S side of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mudra.errors import ModelError
from mudra.settings import Settings

Bones = tuple[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], ...]
Shape = tuple[int, ...]

FORMS = {4: "video", 3: "points", 2: "series"}  # by the axes of a clip, how a trunk calls its stream


class Look(Settings):
    """What a trunk looks at.

    stream: whose; by default that of the trunk's name.
    times: a stream of pictures that it is multiplied by, such as depth by a mask. A clip without it is left as it is.
    drawn: points are drawn as a picture of so many pixels a side, each of the layout's bones in a colour of its own.
    reach: how far from the middle of that picture its edges are, in the points' units.
    bones: which points are joined; the data's layout fills them in.
    """

    stream: str | None = None
    times: str | None = None
    drawn: Annotated[int, Field(ge=8, le=1024)] | None = None
    reach: Annotated[float, Field(gt=0)] = 2.5
    bones: Bones | None = None


class Looking:
    """One trunk's look at a batch of clips.

    Args:
        name: of the trunk.
        inputs: the shape of one clip of every stream.
        window: frames of a window; None is the whole clip.
    Raises:
        ModelError: a stream that is not there, or not of the sort that is asked for.
    """

    def __init__(self, name: str, look: Look, inputs: Mapping[str, Shape], window: int | None) -> None:
        self.stream, self.times, self.drawn, self.reach = (
            look.stream or name,
            look.times,
            look.drawn,
            look.reach,
        )
        for stream in self.streams:
            if stream not in inputs:
                raise ModelError(
                    f"model.trunks.{name}: found the streams {', '.join(inputs) or 'nothing'}; expected {stream!r} "
                    f"among them. Add it to clip.streams, or say in model.looks.{name}.stream what the trunk looks at."
                )
        shape = inputs[self.stream]
        self.frames = window or shape[0]
        if self.times is not None and (len(shape) != 4 or inputs[self.times][2:] != shape[2:]):
            raise ModelError(
                f"model.looks.{name}.times: found {self.times} {inputs[self.times]} for {self.stream} {shape}; "
                "expected two streams of pictures. Leave it out."
            )
        self.tails: list[int] = []
        self.heads: list[int] = []
        if self.drawn is not None:
            bones = look.bones or ()
            if len(shape) != 3 or not bones or any(row >= shape[1] for bone in bones for row in bone):
                raise ModelError(
                    f"model.looks.{name}.drawn: found {self.stream} {shape} with {len(bones)} bones; expected points "
                    "whose layout names bones among them. Leave it out, and give the points a trunk that reads them."
                )
            self.tails, self.heads = [tail for tail, _ in bones], [head for _, head in bones]
            shape = (shape[0], 3, self.drawn, self.drawn)
        self.shape = (self.frames, *shape[1:])
        self.form = FORMS[len(shape)]

    @property
    def streams(self) -> list[str]:
        """What is looked at, the stream that must be there first."""
        return [self.stream] if self.times is None else [self.stream, self.times]

    def __call__(self, streams: Mapping[str, Tensor], window: int) -> tuple[Tensor, Tensor]:
        """Windows [N, L, ...] as the trunk takes them, and which frames of them are there, bool [B, W, L]."""
        x_BTX = streams[self.stream]
        seen_BT = seen(x_BTX)
        if self.times is not None:
            x_BTX = x_BTX * streams[self.times].nan_to_num(1.0)
        windows = cut(x_BTX, window)
        seen_BWL = cut(seen_BT, window)
        x_NLX = windows.flatten(0, 1)
        if self.drawn is not None:
            x_NLX = self.draw(x_NLX)
        if self.form == "video":
            x_NLX = spread(x_NLX.nan_to_num(0.0), seen_BWL.flatten(0, 1), self.frames)
        return x_NLX, seen_BWL

    @torch.no_grad()
    def draw(self, points_NLKC: Tensor) -> Tensor:
        """Points as pictures [N, L, 3, S, S]: bones as soft lines, on top of each other the brightest.

        Bones of which an end was not seen are left out. The first coordinate runs to the right, the second downwards.
        """
        assert self.drawn is not None
        side = self.drawn
        place_NLKC = (points_NLKC[..., :2] / self.reach + 1) * (side / 2) - 0.5
        tail_NLZC, head_NLZC = place_NLKC[..., self.tails, :], place_NLKC[..., self.heads, :]
        pixel_S = torch.arange(side, device=place_NLKC.device, dtype=place_NLKC.dtype)
        picture = place_NLKC.new_zeros(*place_NLKC.shape[:2], 3, side, side)
        for tail, head, colour in zip(
            tail_NLZC.unbind(2),
            head_NLZC.unbind(2),
            picture.new_tensor(colours(len(self.tails))),
            strict=True,
        ):
            along = head - tail
            x, y = pixel_S - tail[..., :1], pixel_S - tail[..., 1:]  # of each column and row, [N, L, S]
            long = along.square().sum(-1, keepdim=True).clamp(min=1e-6)
            dot = (y * along[..., 1:])[..., :, None] + (x * along[..., :1])[..., None, :]
            part = (dot / long[..., None]).clamp(0, 1)
            across = (x[..., None, :] - part * along[..., 0, None, None]).square()
            down = (y[..., :, None] - part * along[..., 1, None, None]).square()
            line = torch.exp(-(across + down)).nan_to_num(0.0)  # about two pixels wide
            picture = torch.maximum(picture, line[:, :, None] * colour[:, None, None])
        return picture


def seen(x_BTX: Tensor) -> Tensor:
    """Which frames of a stream are there, in any part of them: bool [B, T]."""
    return ~x_BTX.flatten(2).isnan().all(-1)


def cut(x_BTX: Tensor, window: int) -> Tensor:
    """Clips in windows [B, W, L, ...]; the last is filled up with what is not there (NaN, or False)."""
    frames = x_BTX.shape[1]
    windows = -(-frames // window)
    more = windows * window - frames
    if more:
        nothing = torch.nan if x_BTX.is_floating_point() else False
        x_BTX = torch.cat([x_BTX, x_BTX.new_full((x_BTX.shape[0], more, *x_BTX.shape[2:]), nothing)], 1)
    return x_BTX.unflatten(1, (windows, window))


def spread(x_NLX: Tensor, seen_NL: Tensor, frames: int) -> Tensor:
    """The frames that are there, in their order and spread evenly over `frames`: [N, frames, ...].

    So what a window shows does not depend on how it was filled up. A window without any frame shows what it holds.
    """
    order_NL = torch.argsort((~seen_NL).to(torch.uint8), dim=1, stable=True)
    count_N1 = seen_NL.sum(1, keepdim=True).clamp(min=1)
    step_F = torch.arange(frames, device=x_NLX.device)
    place_NF = torch.gather(order_NL, 1, step_F * count_N1 // frames)
    return x_NLX[torch.arange(len(x_NLX), device=x_NLX.device)[:, None], place_NF]


def colours(count: int) -> list[tuple[float, float, float]]:
    """So many colours around the wheel, in 0..1.

    >>> colours(3)
    [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    """
    found = []
    for number in range(count):
        turn = 6 * number / count
        red, green, blue = (min(max(abs((turn - middle) % 6 - 3) - 1, 0.0), 1.0) for middle in (0, 2, 4))
        found.append((red, green, blue))
    return found
