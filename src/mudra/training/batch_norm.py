"""Batch norm over several processes: the statistics of all clips that they see at a time.

So the number of processes changes nothing. One that has no clip where others have some looks at a stand-in, which
must not count: see `uncounted`. (The number of clips at a time, `train.batch`, does change what batch norm does,
and so does reaching it by `train.accumulate`.)

torch's own synchronised batch norm knows neither CPUs nor stand-ins, and takes away the activations that timm's
batch norms carry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mudra.training.ranks import lost_is_told


class SharedBatchNorm(_BatchNorm):
    """A batch norm whose batch lies on several processes.

    Attributes:
        counts: whether what this process looks at is part of the batch.
        act, drop: what follows, where the layer in whose place it stands had them within (as timm's do).
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        # the very same tensors: an optimiser or an average may hold them already
        self._parameters.update(norm._parameters)
        self._buffers.update(norm._buffers)
        self.drop = getattr(norm, "drop", None)
        self.act = getattr(norm, "act", None)
        self.counts = True
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do: [N, C, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(x) if self.training else super().forward(x)
        for then in (self.drop, self.act):
            x = x if then is None else then(x)
        return x

    def shared(self, x: Tensor) -> Tensor:
        """Normalise by the statistics of all processes, and keep them."""
        wide = x.to(torch.promote_types(x.dtype, self._kept_type))
        y, mean_C, variance_C, count = _Normalise.apply(wide, self.eps, self.counts)
        if self.track_running_stats and count > 0:
            self._keep(mean_C, variance_C * count / (count - 1).clamp(min=1))
        if self.weight is not None:
            y = y * _per_channel(self.weight, y) + _per_channel(self.bias, y)
        return y.to(x.dtype)

    @property
    def _kept_type(self) -> torch.dtype:
        kept = self.running_mean if self.running_mean is not None else self.weight
        return kept.dtype if kept is not None else torch.float32

    @torch.no_grad()
    def _keep(self, mean_C: Tensor, variance_C: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance_C.to(self.running_var.dtype), share)


class _Normalise(torch.autograd.Function):
    """(x - mean) / deviation over the batch of all processes, whose slopes pass between them as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, counts: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        own = x if counts else x[:0]
        count = x.new_full((1,), own.numel() // x.shape[1])
        mean_C = own.sum(axes) / count.clamp(min=1)
        square_C = (own - _per_channel(mean_C, x)).square().sum(axes)
        told = torch.cat([mean_C, square_C, count])
        shares = [torch.empty_like(told) for _ in range(dist.get_world_size())]
        with lost_is_told():
            dist.all_gather(shares, told)
        means_RC, squares_RC, counts_R1 = torch.stack(shares).split([len(mean_C), len(mean_C), 1], 1)
        count = counts_R1.sum(0)
        some = count.clamp(min=1)
        mean_C = (means_RC * counts_R1).sum(0) / some
        square_C = (squares_RC + counts_R1 * (means_RC - mean_C).square()).sum(0)  # Chan et al. 1979
        variance_C = square_C / some
        scale_C = (variance_C + eps).rsqrt()
        y = (x - _per_channel(mean_C, x)) * _per_channel(scale_C, x)
        ctx.save_for_backward(y, scale_C, some)
        ctx.counts = counts
        ctx.mark_non_differentiable(mean_C, variance_C, count)
        return y, mean_C, variance_C, count

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Any) -> tuple[Tensor, None, None]:
        y, scale_C, some = ctx.saved_tensors
        axes = [axis for axis in range(y.ndim) if axis != 1]
        told = torch.cat([slope.sum(axes), (slope * y).sum(axes)])
        with lost_is_told():
            dist.all_reduce(told)
        plain_C, along_C = (told / some).split(len(scale_C))
        answer = slope
        if ctx.counts:  # what is not part of the batch does not move its statistics
            answer = slope - _per_channel(plain_C, y) - y * _per_channel(along_C, y)
        return answer * _per_channel(scale_C, y), None, None


def share_batch_norm(model: nn.Module) -> None:
    """Put a `SharedBatchNorm` in the place of every batch norm of a model; names and tensors stay."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and not isinstance(child, SharedBatchNorm):
                setattr(parent, name, SharedBatchNorm(child))


@contextmanager
def uncounted(model: nn.Module) -> Iterator[None]:
    """What the model looks at inside this block is part of no batch, though others' batches are normalised."""
    norms = [part for part in model.modules() if isinstance(part, SharedBatchNorm)]
    for norm in norms:
        norm.counts = False
    try:
        yield
    finally:
        for norm in norms:
            norm.counts = True


def _per_channel(x_C: Tensor, like: Tensor) -> Tensor:
    return x_C.view(1, -1, *(1,) * (like.ndim - 2))
