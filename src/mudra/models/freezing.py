"""Freezing: what of a network a training leaves as it is, and the statistics that a batch moves.

A frozen layer is one fixed function. Its weights do not train, and neither does anything else of it change: its
batch norms keep their statistics and its dropout draws nothing, in training too.

Batch norm that is not frozen trains as everywhere: in training it normalises by the mean and variance of the clips
that the network sees at a time, which are `train.batch` clips over all processes (`training/batch_norm.py`), and
keeps a running mean of both; in evaluation it normalises by what it kept. So a clip is judged without its
batch-mates, whatever stands beside it; and only such a network answers otherwise in training than in evaluation.
`moving_statistics` tells which layers of a network do this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mudra.errors import ModelError


class Freezing(nn.Module):
    """The base of networks of which a part may be frozen."""

    _still: tuple[str, ...] = ()

    def freeze(self, frozen: Callable[[str], bool]) -> None:
        """Freeze parameters, and with them every layer that has no others: it stays in evaluation from now on.

        Args:
            frozen: whether a parameter is, by its name in this network.
        """
        for name, weight in self.named_parameters():
            if frozen(name):
                weight.requires_grad_(False)
        still: list[str] = []
        for name, module in self.named_modules():
            inside = any(name.startswith(f"{outer}.") for outer in still)
            if name and not inside and _wholly_frozen(module):
                still.append(name)
        self._still = tuple(still)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As everywhere, but for what is frozen."""
        super().train(mode)
        for name in self._still:
            self.get_submodule(name).eval()
        return self


def moving_statistics(model: nn.Module) -> list[str]:
    """Names of the layers that, in training, look at the whole batch and keep statistics of it."""
    was_training = model.training
    model.train()
    moving = [name for name, part in model.named_modules() if isinstance(part, _BatchNorm) and part.training]
    model.train(was_training)
    return moving


def require_stages(wanted: int, stages: int, what: str) -> None:
    """Raise ModelError where more stages are to be frozen than a network has."""
    if wanted > stages:
        raise ModelError(
            f"model.frozen_stages: found {wanted}, but {what} has {stages} stages (its stem is the first); expected at "
            f"most {stages}"
        )


def _wholly_frozen(module: nn.Module) -> bool:
    weights = list(module.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)
