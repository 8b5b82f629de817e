"""Layers that several families share: attention, the MLP, stochastic depth, one head per task.

Axes: G groups that never see each other, L positions along which attention runs, P places that each
attend for themselves, H heads, E width of a head, D width of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.errors import ModelError

AttentionMethod = Literal["auto", "plain", "fused"]

# Below this many positions the fused kernel's own cost exceeds what it saves by not writing the scores down.
# Forward and backward on one Xeon core, time of plain / fused: 0.9 at 8 positions, 1.1 at 16, 1.0 at 37,
# 1.2 at 65, 1.1 at 197, 1.8 at 1,569 (benchmarks/attention.py). On a GPU the fused kernel is always taken.
FUSED_FROM_ON_CPU = 16
GPU_GRID_LIMIT = 65_535  # CUDA starts no kernel with more groups or heads than this


def attend(
    q_GHLE: Tensor, k_GHLE: Tensor, v_GHLE: Tensor, dropout: float = 0.0, method: AttentionMethod = "auto"
) -> Tensor:
    """Softmax attention by the method that is fastest here; all methods give the same answer.

    Args:
        q_GHLE: queries; there may be fewer of them than keys.
        dropout: the share of attention weights to drop; 0 outside training.
        method: `plain` writes the scores down, `fused` is torch's scaled_dot_product_attention.
    Returns:
        [G, H, queries, E].
    """
    if method == "auto":
        method = _fastest(k_GHLE, dropout)
    if method == "fused":
        return F.scaled_dot_product_attention(q_GHLE, k_GHLE, v_GHLE, dropout_p=dropout)
    weights = (q_GHLE * q_GHLE.shape[-1] ** -0.5 @ k_GHLE.transpose(-2, -1)).softmax(-1)
    if dropout:
        weights = F.dropout(weights, dropout)
    return weights @ v_GHLE


def _fastest(k_GHLE: Tensor, dropout: float) -> AttentionMethod:
    if k_GHLE.device.type == "cuda":
        return "fused" if max(k_GHLE.shape[:2]) <= GPU_GRID_LIMIT else "plain"
    return "plain" if dropout or k_GHLE.shape[2] < FUSED_FROM_ON_CPU else "fused"


class SelfAttention(nn.Module):
    """Multi-head self-attention along the second axis of [G, L, D] or, at every place, [G, L, P, D].

    The rows of `qkv` are grouped by head (H, then q/k/v, then E), not by q/k/v as elsewhere: so place and
    head merge into one axis of the result without a copy, whichever axis attention runs along.

    Args:
        second_projection: a further linear layer after the projection (TimeSformer's "temporal dense").
    Raises:
        ModelError: width is not a multiple of heads.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        second_projection: bool = False,
        method: AttentionMethod = "auto",
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.heads = heads
        self.attention_dropout = attention_dropout
        self.method: AttentionMethod = method
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.projection = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(width, width) if second_projection else None

    def forward(self, x: Tensor, keep: int | None = None) -> Tensor:
        """Attend.

        Args:
            x: [G, L, D] or [G, L, P, D].
            keep: compute the answers of the first `keep` positions only; all positions are still looked at.
        Returns:
            As x, with `keep` positions where that was given.
        """
        q, k, v = self._split(x, keep)
        dropout = self.attention_dropout if self.training else 0.0
        answer = attend(q, k, v, dropout, self.method).transpose(1, 2)  # [G, L, P x H, E]
        return self._project(answer.reshape(x.shape[0], -1, *x.shape[2:]))

    def _split(self, x: Tensor, keep: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each a view [G, P x H, L, E]."""
        size = x.shape[-1] // self.heads
        if keep is None:
            q, k, v = self.qkv(x).view(*x.shape[:2], -1, 3, size).unbind(3)
        else:
            (q,) = self._rows(x[:, :keep], slice(0, 1), size)
            k, v = self._rows(x, slice(1, 3), size)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def _rows(self, x: Tensor, part: slice, size: int) -> tuple[Tensor, ...]:
        """Some of q, k and v alone: the linear layer with only the rows that make them."""
        weight = self.qkv.weight.unflatten(0, (self.heads, 3, size))[:, part].flatten(0, 2)
        bias = self.qkv.bias
        if bias is not None:
            bias = bias.unflatten(0, (self.heads, 3, size))[:, part].flatten()
        y = F.linear(x, weight, bias)
        return y.view(*x.shape[:2], -1, part.stop - part.start, size).unbind(3)

    def _project(self, y: Tensor) -> Tensor:
        first, second = self.projection, self.dense
        if second is None:
            return self.dropout(first(y))
        if (self.training and self.dropout.p) or y.numel() // y.shape[-1] <= y.shape[-1]:
            return second(self.dropout(first(y)))
        # Nothing stands between the two: multiplying their weights first costs less than going through both.
        return F.linear(y, second.weight @ first.weight, F.linear(first.bias, second.weight, second.bias))


class MLP(nn.Module):
    """Two linear layers with an exact GELU between them: [..., D] in, the same out."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(self.dropout(F.gelu(self.up(x)))))


class DropPath(nn.Module):
    """Stochastic depth: a clip skips the whole branch with probability `rate`.

    Source: Huang et al., ECCV 2016, arXiv:1603.09382. The branches that stay are scaled up, so that
    nothing changes on average and evaluation uses the branch as it is.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x_B: Tensor) -> Tensor:
        """[B, ...] in, the same out."""
        if not self.training or self.rate == 0:
            return x_B
        stays = x_B.new_empty(x_B.shape[:1] + (1,) * (x_B.ndim - 1)).bernoulli_(1 - self.rate)
        return x_B * stays.div_(1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class TaskHeads(nn.Module):
    """One linear classifier per task: features [B, D] -> {task: logits [B, classes]}.

    Raises:
        ModelError: no task, a task without classes, or a name that cannot be part of a weight's name.
    """

    def __init__(self, width: int, classes: Mapping[str, int], dropout: float = 0.0) -> None:
        super().__init__()
        if not classes:
            raise ModelError("model heads: found no task; expected at least one; see `data.tasks`")
        self.tasks = tuple(classes)
        self.dropout = nn.Dropout(dropout)
        for task, count in classes.items():
            if not task or "." in task:
                raise ModelError(f"model heads, task {task!r}: expected a name without dots; rename the task")
            if count < 1:
                raise ModelError(f"model heads, task {task!r}: found {count} classes; expected at least 1")
            # With "to_" no task can be called like an attribute of a module ("type", "half").
            self.add_module(f"to_{task}", nn.Linear(width, count))

    def forward(self, x_BD: Tensor) -> dict[str, Tensor]:
        x_BD = self.dropout(x_BD)
        return {task: self.get_submodule(f"to_{task}")(x_BD) for task in self.tasks}


def require_heads_divide(width: int, heads: int) -> None:
    """Raise ModelError where `width` cannot be shared out evenly among `heads`."""
    if width % heads:
        near = max(1, round(width / heads)) * heads
        raise ModelError(
            f"model.width: found {width}, which {heads} heads cannot share evenly; "
            f"expected a multiple of model.heads; the nearest is {near}"
        )


def start_small(module: nn.Module) -> None:
    """The start of vision transformers: weights from a normal cut at 2 units, deviation 0.02; biases 0."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def start_scaled(module: nn.Module) -> None:
    """A start for narrow models: deviation 2 / sqrt(inputs of the layer), biases 0.

    0.02 fits a width of some hundreds; at a width of 96 it leaves the layers so weak that training stands
    still for many epochs.
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        deviation = 2 / module.weight[0].numel() ** 0.5
        nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary phases: turn the pairs (first half, second half) of [..., E] by angles.

    Args:
        cos, sin: of the angles, [..., E / 2].
    """
    one, two = x.chunk(2, -1)
    return torch.cat([one * cos - two * sin, one * sin + two * cos], -1)
