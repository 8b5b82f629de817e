"""Transformer layers along time that several families share: one that looks at itself, one that looks at others.

Axes: B clips, T frames, D width; G groups that never see each other, P and O positions of a group.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mudra.models.layers import (
    MLP,
    Dropout,
    DropPath,
    Phases,
    RMSNorm,
    SelfAttention,
    SwiGLU,
    attend,
    turned,
)


class Block(nn.Module):
    """One layer: attention along time, then the MLP; each is normalised before and added after.

    Args:
        mlp_ratio: hidden width of the MLP as a multiple of the width.
        dropout: after the projections and inside the MLP. attention_dropout: of attention weights.
        drop_path: rate at which a clip skips a branch. layer_drop: at which all clips of a step skip the layer.
        learned: weigh each branch by a number of its own.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        layer_drop: float = 0.0,
        norm: Literal["layer", "rms"] = "layer",
        mlp: Literal["gelu", "swiglu"] = "gelu",
        learned: bool = False,
    ) -> None:
        super().__init__()
        self.norm_time = normalisation(width, norm)
        self.time = SelfAttention(width, heads, dropout=dropout, attention_dropout=attention_dropout)
        self.norm_mlp = normalisation(width, norm)
        self.mlp = (MLP if mlp == "gelu" else SwiGLU)(width, round(width * mlp_ratio), dropout)
        self.drop_path = DropPath(drop_path)
        self.layer_drop = layer_drop
        self.weight_time = nn.Parameter(torch.ones(1)) if learned else None
        self.weight_mlp = nn.Parameter(torch.ones(1)) if learned else None

    def forward(self, x_BTD: Tensor, phases: Phases | None = None, bias: Tensor | None = None) -> Tensor:
        """[B, T, D] in, the same out; phases and bias as `SelfAttention` takes them."""
        y_BTD = x_BTD + self.branch(
            self.time(self.norm_time(x_BTD), phases=phases, bias=bias), self.weight_time
        )
        y_BTD = y_BTD + self.branch(self.mlp(self.norm_mlp(y_BTD)), self.weight_mlp)
        if not self.training or self.layer_drop == 0:
            return y_BTD
        stays = torch.rand((), device=x_BTD.device) >= self.layer_drop
        return torch.where(stays, y_BTD, x_BTD)  # the layer has a gradient of 0 where it is left out

    def branch(self, x_BTD: Tensor, weight: Tensor | None) -> Tensor:
        return self.drop_path(x_BTD if weight is None else x_BTD * weight)


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another (or to itself), over the positions that are seen."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_other = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.projection = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x_GPD: Tensor,
        other_GOD: Tensor,
        seen_GO: Tensor | None = None,
        phases: Phases | None = None,
    ) -> Tensor:
        """What is to be added to x.

        Args:
            seen_GO: which positions of the other may be looked at, bool; None is all. Where a group has none, 0 is
                the answer.
            phases: by which queries and keys are turned; the other may be several sequences of x's length, one
                after the other, each turned alike.
        """
        q = self.query(self.norm(x_GPD)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (
            self.key_value(self.norm_other(other_GOD))
            .unflatten(-1, (2, self.heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        if phases is not None:
            times = k.shape[2] // q.shape[2]
            q, k = turned(q, *phases), turned(k, *(part.repeat(times, 1) for part in phases))
        if seen_GO is None:
            return self.dropout(self.projection(attend(q, k, v).transpose(1, 2).flatten(2)))
        any_G11 = seen_GO.any(1)[:, None, None]
        looked_at = seen_GO | ~any_G11[:, 0]
        bias = torch.zeros_like(looked_at, dtype=q.dtype).masked_fill(~looked_at, -torch.inf)
        answer = attend(q, k, v, bias=bias[:, None, None]).transpose(1, 2).flatten(2)
        return self.dropout(self.projection(answer)) * any_G11


def start_quiet(module: nn.Module) -> None:
    """A layer's branches start at a tenth, so that the layers below are heard from the first step on.

    Source: mudra, after the branches that start at 0 (Bachlechner et al. 2020, arXiv:2003.04887); at a tenth, queries
    and keys have a gradient from the start.
    """
    lasts = {
        Block: ("time.projection", "mlp.down"),
        CrossAttention: ("projection",),
    }
    for name in lasts.get(type(module), ()):
        with torch.no_grad():
            module.get_parameter(f"{name}.weight").mul_(0.1)


def normalisation(width: int, kind: Literal["layer", "rms"]) -> nn.Module:
    """The norm before a branch."""
    return nn.LayerNorm(width) if kind == "layer" else RMSNorm(width, eps=1e-5)
