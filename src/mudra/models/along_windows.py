"""What looks along the windows of a clip: nothing, an LSTM both ways, or a transformer.

Windows that are not there are as if they had been cut out: nothing looks at them, and they change nothing.

Axes: B clips, W windows, D width, H hidden width of one direction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mudra.errors import ModelError
from mudra.models.blocks import Block
from mudra.models.keypoint_transformer import require_even, sight
from mudra.models.layers import Dropout, SelfAttention, require_heads_divide, rotary_phases, start_scaled


class BothWays(nn.Module):
    """An LSTM in each direction, then each window looks at those about it: [B, W, D] -> [B, W, 2H].

    Source: S4's network has 256 a direction and an attention window of 5. Departs from it: what attention finds is
    added to what the LSTM says, and the windows that are there alone are run through, from either end.

    Args:
        reach: how many windows attention sees, an odd number, the window itself in the middle; 1 is no attention.
    """

    def __init__(self, width: int, hidden: int, heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.width = 2 * hidden
        self.reach = reach
        self.forwards = nn.LSTM(width, hidden, batch_first=True)
        self.backwards = nn.LSTM(width, hidden, batch_first=True)
        self.norm = nn.LayerNorm(self.width)
        self.attention = SelfAttention(self.width, heads, dropout=dropout) if reach > 1 else None

    def forward(self, x_BWD: Tensor, there_BW: Tensor) -> Tensor:
        order_BW = torch.argsort((~there_BW).to(torch.uint8), dim=1, stable=True)
        count_B1 = there_BW.sum(1, keepdim=True)
        place_W = torch.arange(there_BW.shape[1], device=x_BWD.device)
        turned_BW = torch.where(place_W < count_B1, count_B1 - 1 - place_W, place_W)
        packed_BWD = picked(x_BWD, order_BW)
        ahead_BWH, _ = self.forwards(packed_BWD)
        behind_BWH, _ = self.backwards(picked(packed_BWD, turned_BW))
        both_BWD = torch.cat([ahead_BWH, picked(behind_BWH, turned_BW)], -1)
        y_BWD = self.norm(picked(both_BWD, torch.argsort(order_BW, dim=1)))
        if self.attention is None:
            return y_BWD
        return y_BWD + self.attention(y_BWD, bias=sight(there_BW, "local", self.reach, 1))


class WindowTransformer(nn.Module):
    """Blocks of attention over all windows of a clip: [B, W, D] in, the same out."""

    def __init__(self, width: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        require_even(width, heads, "model: the width of all streams together")
        self.width = width
        self.size = width // heads
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio=2.0, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.blocks.apply(start_scaled)

    def forward(self, x_BWD: Tensor, there_BW: Tensor) -> Tensor:
        phases = rotary_phases(x_BWD.shape[1], self.size, x_BWD)
        bias = sight(there_BW, "full", 1, 1)
        for block in self.blocks:
            x_BWD = block(x_BWD, phases, bias)
        return self.norm(x_BWD)


class OverStreams(nn.Module):
    """The streams of a window look at each other, and are weighed: [N, S, D] -> [N, D]; S streams.

    Streams that are not there are looked at too, as the learnt vectors that stand for them, but are not weighed.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout=dropout)
        self.weigh = nn.Linear(width, 1, bias=False)  # a bias would weigh all alike
        self.dropout = Dropout(dropout)

    def forward(self, x_NSD: Tensor, there_NS: Tensor) -> Tensor:
        x_NSD = x_NSD + self.attention(self.norm(x_NSD))
        none_N1 = ~there_NS.any(1, keepdim=True)
        score_NS = self.weigh(x_NSD)[..., 0].masked_fill(~(there_NS | none_N1), -torch.inf)
        return self.dropout((score_NS.softmax(1)[..., None] * x_NSD).sum(1))


def picked(x_BWD: Tensor, place_BW: Tensor) -> Tensor:
    """The windows of each clip in another order."""
    return torch.gather(x_BWD, 1, place_BW[..., None].expand_as(x_BWD))


def require_reach(reach: int) -> None:
    """Raise ModelError where there is no middle."""
    if reach % 2 == 0:
        raise ModelError(f"model.attention_window: found {reach}; expected an odd number of windows.")
