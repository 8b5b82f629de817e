"""Retention: attention without a softmax, whose sums can be carried along time.

Source: Sun et al., "Retentive network: a successor to transformer for large language models", 2023,
arXiv:2307.08621. Position n sees position m <= n with weight gamma^(n - m), so the sum over the past is a
state S of one key by value matrix for each head,

    S_n = gamma S_(n-1) + k_n^T v_n,    o_n = q_n S_n,

and a stream costs the same at every frame. Three forms give one answer:

    parallel     all positions at once, cost quadratic in their number; the way to train on short clips
    chunkwise    parallel inside chunks, the state between them, cost linear; for long clips
    recurrent    one position at a time; for streams

Departs from it: a two-sided form (gamma^|n - m|) in place of attention that looked both ways, a decay for
clips of a few frames, and a normalisation over all heads that is calmer in float32.

Axes: G groups that never see each other (clips, or streams), L positions along time, P places that each look
along time for themselves, H heads, E width of a key, V width of a value, D width of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mudra.errors import ModelError
from mudra.models.layers import require_heads_divide, turned
from mudra.settings import Settings

EPS = 1e-6
PARALLEL_UP_TO = 64  # positions; longer clips go chunk by chunk


class RetentionSettings(Settings):
    """What a recipe may say of retention.

    causal: look at the past alone; only such a model can stream. False looks both ways.
    decay: `paper` is gamma = 1 - 2^(-5-h), memories of 32 positions and more, longer than most clips;
        `short` spreads the heads' memories from 2 to 32 positions; `learned` starts there and learns on.
    value_factor: width of the values as a multiple of the keys'; the paper's is 2.
    key_width: of each head; None is the model's width / heads. The state is heads x key x value numbers a place.
    normaliser: how the output is brought to one size before the gate: `per_head` as in the paper's code, or
        `joint` over all heads, which amplifies rounding less where one head says little.
    theta: base of the rotary phase.
    closed: start with a last projection of zero, so that the branch adds nothing at first.
    """

    causal: bool = True
    decay: Literal["paper", "short", "learned"] = "short"
    value_factor: Annotated[float, Field(gt=0, le=8)] = 1.0
    key_width: Annotated[int, Field(ge=2)] | None = None
    normaliser: Literal["per_head", "joint"] = "per_head"
    theta: Annotated[float, Field(gt=1)] = 10_000.0
    closed: bool = True


@dataclass
class RetentionState:
    """What retention remembers of the past of some sequences.

    Attributes:
        values: [G, P, H, E, V], the decayed sum of key by value.
        keys: [G, P, H, E], the decayed sum of keys, by which scores are scaled.
        seen: int64 [G], positions so far; each sequence has its own count, so one may begin anew.
    """

    values: Tensor
    keys: Tensor
    seen: Tensor

    def reset(self, groups: Tensor | slice = slice(None)) -> None:
        """Forget the past of some sequences, by default of all."""
        self.values[groups] = 0
        self.keys[groups] = 0
        self.seen[groups] = 0


class Retention(nn.Module):
    """Multi-head retention along the second axis of [G, L, D] or, at every place, [G, L, P, D].

    Raises:
        ModelError: heads do not divide the width, or keys of an odd width, which have no phase.
    """

    def __init__(self, settings: RetentionSettings, width: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.heads = heads
        self.causal = settings.causal
        self.normed = (-1,) if settings.normaliser == "per_head" else (2, -1)  # of [G, P, H, L, V]
        self.key = settings.key_width or width // heads
        self.value = max(1, round(width // heads * settings.value_factor))
        if self.key % 2:
            raise ModelError(
                f"model.retention.key_width: found keys of width {self.key}; expected an even number, because "
                "phases turn pairs; choose key_width, or other heads"
            )
        self.sizes = (self.key, self.key, self.value, self.value)
        self.inputs = nn.Linear(width, heads * sum(self.sizes), bias=bias)  # by head: q, k, v, gate
        self.projection = nn.Linear(heads * self.value, width, bias=bias)
        gamma = decays(settings.decay, heads)
        self.decay_logits = nn.Parameter(torch.logit(gamma).float()) if settings.decay == "learned" else None
        # float64 for good, so no buffers: those would follow the weights' precision
        self._fixed_decay = gamma.log()
        self._rates = settings.theta ** -torch.linspace(0, 1, self.key // 2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """All positions: in parallel where they are few or seen both ways, else chunk by chunk."""
        if not self.causal or x.shape[1] <= PARALLEL_UP_TO:
            return self.parallel(x)
        return self.chunkwise(x)

    def parallel(self, x: Tensor) -> Tensor:
        """[G, L, D] or [G, L, P, D] in, the same out."""
        parts = self.inputs(x)
        if torch.is_grad_enabled() and parts.requires_grad:
            # what lies between the two linear layers is cheap to compute and large to keep
            answer = checkpoint(self._retain, parts, use_reentrant=False, preserve_rng_state=False)
        else:
            answer = self._retain(parts)
        return self.projection(answer)

    def _retain(self, parts: Tensor) -> Tensor:
        """From q, k, v and gate side by side, [G, L, (P,) .], to what is projected."""
        length = parts.shape[1]
        q, k, v, gate = self._split(parts, torch.zeros(1, dtype=torch.int64, device=parts.device))
        place = torch.arange(length, device=parts.device, dtype=torch.float64)
        decay_HLL = ((place[:, None] - place).abs() * self._log_decay()[:, None, None]).exp()
        if self.causal:
            decay_HLL = decay_HLL.tril()
        decay_HLL = decay_HLL / decay_HLL.sum(-1, keepdim=True).sqrt()
        scores = (q @ k.mT) * decay_HLL.to(parts.dtype)
        scores = scores / scores.detach().sum(-1, keepdim=True).abs().clamp(min=1)
        return self._finish(scores @ v, gate, parts)

    def chunkwise(self, x: Tensor, chunk: int = PARALLEL_UP_TO) -> Tensor:
        """The same as `parallel`, `chunk` positions at a time."""
        state = self.initial_state(x)
        parts = []
        for start in range(0, x.shape[1], chunk):
            part, state = self.advance(x[:, start : start + chunk], state)
            parts.append(part)
        return torch.cat(parts, 1)

    def advance(self, x: Tensor, state: RetentionState) -> tuple[Tensor, RetentionState]:
        """Some more positions of sequences whose past is in `state`; the state after them is a new one."""
        self._require_causal()
        length = x.shape[1]
        q, k, v, gate = self._split(self.inputs(x), state.seen)
        log_decay = self._log_decay()
        place = torch.arange(length, device=x.device, dtype=torch.float64)
        within_HLL = ((place[:, None] - place) * log_decay[:, None, None]).exp().tril().to(x.dtype)
        since_HL1 = ((place + 1) * log_decay[:, None]).exp().to(x.dtype)[..., None]  # since the state
        until_HL1 = ((length - 1 - place) * log_decay[:, None]).exp().to(x.dtype)[..., None]  # until the end
        whole_H11 = (length * log_decay).exp().to(x.dtype)[:, None, None]

        scores = (q @ k.mT) * within_HLL
        sums = scores.sum(-1, keepdim=True) + (q @ state.keys[..., None]) * since_HL1
        seen = scores @ v + (q @ state.values) * since_HL1
        seen = self._scaled(seen, sums, state.seen[:, None] + place)
        aged = k * until_HL1
        after = RetentionState(
            state.values * whole_H11 + aged.mT @ v,
            state.keys * whole_H11[..., 0] + aged.sum(-2),
            state.seen + length,
        )
        return self.projection(self._finish(seen, gate, x)), after

    def step(self, x: Tensor, state: RetentionState) -> Tensor:
        """The next position, [G, D] or [G, P, D] in, the same out; `state` is moved on in place."""
        self._require_causal()
        x = x[:, None]
        q, k, v, gate = self._split(self.inputs(x), state.seen)
        gamma_H1 = self._log_decay().exp().to(x.dtype)[:, None]
        state.keys.mul_(gamma_H1).add_(k[..., 0, :])
        state.values.mul_(gamma_H1[..., None]).addcmul_(k.mT, v)
        sums = q @ state.keys[..., None]
        seen = self._scaled(q @ state.values, sums, state.seen[:, None].double())
        state.seen += 1
        return self.projection(self._finish(seen, gate, x))[:, 0]

    def initial_state(self, x: Tensor) -> RetentionState:
        """The state before the first position of sequences like x: [G, L, D] or [G, L, P, D]."""
        self._require_causal()
        groups, places = x.shape[0], x.shape[2] if x.ndim == 4 else 1
        size = (groups, places, self.heads, self.key)
        return RetentionState(
            values=x.new_zeros(*size, self.value),
            keys=x.new_zeros(size),
            seen=torch.zeros(groups, dtype=torch.int64, device=x.device),
        )

    # --- parts --------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Constants follow the weights to another device, in the precision that they have."""
        super()._apply(fn, recurse)
        device = self.inputs.weight.device
        self._fixed_decay, self._rates = self._fixed_decay.to(device), self._rates.to(device)
        return self

    def _log_decay(self) -> Tensor:
        """log gamma of each head: float64 [H]."""
        return self._fixed_decay if self.decay_logits is None else F.logsigmoid(self.decay_logits.double())

    def _split(self, parts: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys, values and gate [G, P, H, L, .], the first two turned to their positions.

        Args:
            parts: all four side by side by head, [G, L, (P,) .].
            seen: int64 [G] or [1], positions before the first.
        """
        length = parts.shape[1]
        by_head = parts.view(parts.shape[0], length, -1, self.heads, sum(self.sizes)).permute(0, 2, 3, 1, 4)
        q, k, v, gate = by_head.split(self.sizes, -1)
        # angles in float64: after hours of a stream float32 would no longer tell neighbours apart
        place = seen[:, None] + torch.arange(length, device=parts.device)
        angle_GLe = place[..., None] * self._rates
        cos, sin = (f(angle_GLe).to(parts.dtype)[:, None, None] for f in (torch.cos, torch.sin))
        return turned(q, cos, sin), turned(k * self.key**-0.5, cos, sin), v, gate

    def _scaled(self, seen: Tensor, sums: Tensor, place: Tensor) -> Tensor:
        """What `parallel` divides its scores by, done to their sums.

        Args:
            seen, sums: [G, P, H, L, V] and [G, P, H, L, 1], sums of decayed scores with and without values.
            place: float64 [G, L], each position in its sequence.
        """
        log_decay = self._log_decay()[:, None]
        total_GHL = torch.expm1((place[:, None] + 1) * log_decay) / torch.expm1(log_decay)
        scale = total_GHL.sqrt().to(seen.dtype)[:, None, ..., None]
        return seen / scale / (sums / scale).detach().abs().clamp(min=1)

    def _finish(self, seen: Tensor, gate: Tensor, like: Tensor) -> Tensor:
        """Normalise [G, P, H, L, V], gate and join the heads: [G, L, (P,) H x V], with the axes of `like`."""
        size = seen.square().mean(self.normed, keepdim=True)
        answer = F.silu(gate) * seen * torch.rsqrt(size + EPS)
        return answer.permute(0, 3, 1, 2, 4).flatten(3).view(*like.shape[:-1], -1)

    def _require_causal(self) -> None:
        if not self.causal:
            raise ModelError(
                "model.retention.causal: found false, a model that looks ahead; only a causal one can stream. "
                "Train with causal: true"
            )


def decays(kind: Literal["paper", "short", "learned"], heads: int) -> Tensor:
    """gamma of each head, float64 [H]: how much of the past is left after one position.

    >>> decays("paper", 3)
    tensor([0.9688, 0.9844, 0.9922], dtype=torch.float64)
    """
    if kind == "paper":
        return 1 - 2.0 ** (-5 - torch.arange(heads, dtype=torch.float64))
    return 1 - 2.0 ** -torch.linspace(1, 5, heads, dtype=torch.float64)
