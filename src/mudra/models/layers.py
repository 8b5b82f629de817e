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

THETA = 100.0  # slowest turn: clips have tens to hundreds of frames, not thousands of words

AttentionMethod = Literal["auto", "plain", "fused"]
Phases = tuple[Tensor, Tensor]  # cosine and sine of each position's angles, [L, E / 2]

# Below so many positions the fused kernel's own cost exceeds what it saves by not writing the scores down. Time of
# plain / fused, forward and backward on one core (benchmarks/attention.py): in fp32 on a Xeon 0.9 at 8 positions, 1.1
# at 16, 1.0 at 37, 1.2 at 65, 1.1 at 197, 1.8 at 1,569. Where the kernel's many small products are slow, on an EPYC:
# in bf16 0.2 at 48 positions, 0.3 at 128, 0.5 at 600, 0.8 at 1,569; in fp32 with matmul: medium 0.1, 0.4, 1.0 and 1.5.
# On a GPU the fused kernel is always taken.
FUSED_FROM_ON_CPU = 16
FUSED_FROM_ON_CPU_WHERE_SLOW = 1024
GPU_GRID_LIMIT = 65_535  # CUDA starts no kernel with more groups or heads than this


def attend(
    q_GHLE: Tensor,
    k_GHLE: Tensor,
    v_GHLE: Tensor,
    dropout: float = 0.0,
    method: AttentionMethod = "auto",
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax attention by the method that is fastest here; all methods give the same answer.

    Args:
        q_GHLE: queries; there may be fewer of them than keys.
        dropout: the share of attention weights to drop; 0 outside training.
        method: `plain` writes the scores down, `fused` is torch's scaled_dot_product_attention.
        bias: what is added to the scores, [G, H, queries, keys] or 1 for each; -inf where a query must not look.
    Returns:
        [G, H, queries, E].
    """
    if method == "auto":
        method = _fastest(k_GHLE, dropout)
    if bias is not None:
        bias = bias.to(q_GHLE.dtype)
    if method == "fused":
        return F.scaled_dot_product_attention(q_GHLE, k_GHLE, v_GHLE, attn_mask=bias, dropout_p=dropout)
    scores = q_GHLE * q_GHLE.shape[-1] ** -0.5 @ k_GHLE.transpose(-2, -1)
    weights = (scores if bias is None else scores + bias).softmax(-1)
    return dropped(weights, dropout) @ v_GHLE


def _fastest(k_GHLE: Tensor, dropout: float) -> AttentionMethod:
    if k_GHLE.device.type == "cuda":
        return "fused" if max(k_GHLE.shape[:2]) <= GPU_GRID_LIMIT else "plain"
    if dropout:
        return "plain"
    slow = k_GHLE.dtype in (torch.bfloat16, torch.float16) or (
        eager_on_cpu(k_GHLE) and torch.get_float32_matmul_precision() == "medium"
    )
    start = FUSED_FROM_ON_CPU_WHERE_SLOW if slow else FUSED_FROM_ON_CPU
    return "plain" if k_GHLE.shape[2] < start else "fused"


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
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(width, width) if second_projection else None

    def forward(
        self, x: Tensor, keep: int | None = None, phases: Phases | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            x: [G, L, D] or [G, L, P, D].
            keep: compute the answers of the first `keep` positions only; all positions are still looked at.
            phases: by which queries and keys are turned, of each position, [L, E / 2]; not with `keep`.
            bias: as `attend` takes it.
        Returns:
            As x, with `keep` positions where that was given.
        """
        q, k, v = self._split(x, keep, phases)
        dropout = self.attention_dropout if self.training else 0.0
        answer = attend(q, k, v, dropout, self.method, bias).transpose(1, 2)  # [G, L, P x H, E]
        return self._project(answer.reshape(x.shape[0], -1, *x.shape[2:]))

    def _split(self, x: Tensor, keep: int | None, phases: Phases | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [G, P x H, L, E]; views, unless they are turned."""
        size = x.shape[-1] // self.heads
        if keep is None:
            parts = self.qkv(x).view(*x.shape[:2], -1, 3, size)
            if phases is None:
                q, k, v = parts.unbind(3)
            else:
                cos, sin = (part[:, None, None] for part in phases)
                both, last = parts.split((2, 1), 3)  # not by slices, whose gradients are filled up with zeros
                (q, k), v = turned(both, cos, sin).unbind(3), last[:, :, :, 0]
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
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden, rate = self.up(x), self.dropout.p if self.training else 0.0
        if not rate or not eager_on_cpu(hidden):
            return self.dropout(self.down(self.dropout(F.gelu(hidden))))
        return self.dropout(without(self.down, F.gelu(silenced(hidden, rate)), rate))


class RMSNorm(nn.RMSNorm):
    """torch's, computed in the precision of its weights whatever comes in: autocast does not know it.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        if not eager_on_cpu(x):
            return super().forward(x)
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)  # torch's norm takes twice as many passes
        return x * (size.square() / x.shape[-1] + (self.eps or 0.0)).rsqrt() * self.weight


class SwiGLU(nn.Module):
    """A linear layer whose one half gates the other, and one back: [..., D] in, the same out.

    Source: Shazeer 2020, arXiv:2002.05202.
    """

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        up, rate = self.up(x), self.dropout.p if self.training else 0.0
        middle = up.shape[-1] // 2
        gate, value = up[..., :middle], up[..., middle:]
        if not rate or not eager_on_cpu(gate):
            return self.dropout(self.down(self.dropout(F.silu(gate) * value)))
        return self.dropout(without(self.down, F.silu(silenced(gate, rate)) * value, rate))


# --- dropout ------------------------------------------------------------------------------------------

DRAWS = 2**16  # of a drawn number's 64 bits, four elements take 16 each
SILENT = -1e4  # GELU and SiLU and their slopes are 0 there, in half precision too


class Dropout(nn.Dropout):
    """torch's dropout; on a CPU, where each of torch's draws costs as much as nine GELUs, from cheaper draws.

    The rate is then rounded to a multiple of 1 / 65,536.
    """

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.p if self.training else 0.0)


def dropped(x: Tensor, rate: float) -> Tensor:
    """x with a share `rate` of its elements set to 0 at random and the others scaled up."""
    if not rate or not eager_on_cpu(x):
        return F.dropout(x, rate) if rate else x
    scale = x.new_tensor(1 / (1 - _rounded(rate)))
    return x * torch.where(_drawn(x, rate), x.new_zeros(()), scale)


def silenced(x: Tensor, rate: float) -> Tensor:
    """Dropout of what GELU or SiLU will make of x, done in x itself: nothing more to multiply, in either direction.

    What is not dropped keeps its size; see `without`.
    """
    with torch.no_grad():  # the activation's own slope is 0 there, so nothing flows back
        return x.masked_fill_(_drawn(x, rate), SILENT)


def without(linear: nn.Linear, x: Tensor, rate: float) -> Tensor:
    """A linear layer after `silenced`: its weights are scaled up, which are fewer than what it looks at."""
    return F.linear(x, linear.weight / (1 - _rounded(rate)), linear.bias)


def eager_on_cpu(x: Tensor) -> bool:
    """Whether each operation is a pass of its own over memory: on a CPU, unless a compiler sees the whole."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _rounded(rate: float) -> float:
    return round(rate * DRAWS) / DRAWS


def _drawn(x: Tensor, rate: float) -> Tensor:
    """Which elements to drop: bool, of the shape of x."""
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    return (bits.view(torch.int16)[: x.numel()] < round(rate * DRAWS) - DRAWS // 2).view(x.shape)


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
            if not task or "." in task or "/" in task:
                raise ModelError(
                    f"model heads, task {task!r}: expected a name without dots and slashes; rename the task"
                )
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


def rotary_phases(positions: int, size: int, like: Tensor) -> Phases:
    """Cosine and sine [positions, size / 2] of the angles by which queries and keys are turned.

    Source: Su et al. 2021, arXiv:2104.09864.
    """
    place = torch.arange(positions, device=like.device, dtype=like.dtype)
    half = torch.arange(size // 2, device=like.device, dtype=like.dtype)
    angle = place[:, None] * THETA ** (-2 * half / size)
    return angle.cos(), angle.sin()


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary phases: turn the pairs of neighbours (0 and 1, 2 and 3, ...) of [..., E] by angles.

    Args:
        cos, sin: of the angles, [..., E / 2].
    """
    if eager_on_cpu(x):  # as complex numbers: one pass over memory in place of six
        wide = torch.promote_types(x.dtype, torch.float32)
        turns = torch.complex(cos.to(wide), sin.to(wide))
        pairs = torch.view_as_complex(x.to(wide).unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    one, two = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([one * cos - two * sin, one * sin + two * cos], -1).flatten(-2)
