"""What looks along the frames of a clip once each frame is a vector: [B, T, D] in, the same out.

    LSTM         from the first frame to the last, each frame knowing what came before; added to the frame
    Transformer  every frame looks at every other
    MultiScale   transformers side by side, each frame of which sees the window of so many frames about it

A frame's windows slide: that of frame t holds the frames nearest to t, and at the clip's ends it lies against the end,
so that every window is full and every frame of the clip is looked at by every scale.

Axes: B clips, T frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mudra.models.blocks import Block, start_quiet
from mudra.models.layers import Dropout, Phases, start_scaled
from mudra.models.positions import resize_time


class LSTM(nn.Module):
    """Layers of long short-term memory (Hochreiter & Schmidhuber 1997), added to what they look at.

    At the start an LSTM says little of its frames, so that what lies below it would hardly learn; the sum does not.
    """

    def __init__(self, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, depth, batch_first=True, dropout=dropout if depth > 1 else 0.0)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.lstm(x_BTD)[0]
        return x_BTD + self.dropout(y_BTD)


class Positions(nn.Module):
    """Where in the clip a frame stands, learned for each frame; interpolated for another number of them."""

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(frames, width))
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + resize_time(self.positions, x_BTD.shape[1])


class Transformer(nn.Module):
    """Pre-norm layers, all of which see the whole clip or a window of it.

    Args:
        drop_path: rate in the last layer; it rises linearly from 0 in the first.
        window: frames that each frame sees, itself among them; None is all of them.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        *,
        mlp_ratio: float,
        dropout: float,
        attention_dropout: float,
        drop_path: float,
        window: int | None = None,
    ) -> None:
        super().__init__()
        steps = max(depth - 1, 1)
        self.blocks = nn.ModuleList(
            Block(
                width,
                heads,
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                attention_dropout=attention_dropout,
                drop_path=drop_path * index / steps if depth > 1 else drop_path,
            )
            for index in range(depth)
        )
        self.window = window
        self.apply(start_scaled)
        self.apply(start_quiet)

    def forward(self, x_BTD: Tensor, phases: Phases | None = None) -> Tensor:
        bias = None
        if self.window is not None and self.window < x_BTD.shape[1]:
            bias = sliding(x_BTD.shape[1], self.window, x_BTD)[None, None]
        for block in self.blocks:
            x_BTD = block(x_BTD, phases, bias)
        return x_BTD


class MultiScale(nn.Module):
    """Transformers with windows of several lengths, side by side and joined by a linear layer."""

    def __init__(self, scales: list[Transformer], width: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(scales)
        self.fuse = nn.Linear(len(scales) * width, width)

    def forward(self, x_BTD: Tensor, phases: Phases | None = None) -> Tensor:
        return self.fuse(torch.cat([scale(x_BTD, phases) for scale in self.scales], -1))


def sliding(frames: int, window: int, like: Tensor) -> Tensor:
    """What is added to the scores of each frame: 0 within its window of `window` frames, -inf outside: [T, T].

    >>> (sliding(5, 3, torch.zeros(())) == 0).int().tolist()
    [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]
    """
    place_T = torch.arange(frames, device=like.device)
    first_T1 = (place_T - (window - 1) // 2).clamp(0, max(frames - window, 0))[:, None]
    outside_TT = (place_T < first_T1) | (place_T >= first_T1 + window)
    return torch.zeros(frames, frames, device=like.device, dtype=like.dtype).masked_fill(
        outside_TT, -torch.inf
    )
