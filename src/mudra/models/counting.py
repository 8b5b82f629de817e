"""How large a model is and how much it computes, found out without weights and without computing."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module, trainable: bool = True) -> int:
    """Number of trainable parameters (of all of them with `trainable=False`).

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad or not trainable)


def flops(model: nn.Module, inputs: Mapping[str, tuple[int, ...]]) -> int:
    """Floating-point operations of one forward pass on one clip, in evaluation.

    Counts matrix products and convolutions, a multiplication and an addition as two; papers that speak
    of GFLOPs often count them as one. Runs on torch's meta device: nothing is computed.

    Args:
        model: as it is, on any device; built under `torch.device("meta")` it costs no memory either.
        inputs: shape of one clip of each stream, as the model was built with.
    """
    look = _without_numbers(model, inputs)
    with FlopCounterMode(display=False) as counter:
        look()
    return counter.get_total_flops()


def peak_memory(model: nn.Module, inputs: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes of all tensors alive at once, at most, during one forward pass on one clip: weights, clip and what lies
    between. Found as `flops` finds its number; a kernel's own scratch space is not in it.
    """
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    clip = sum(torch.Size(shape).numel() for shape in inputs.values()) * torch.float32.itemsize
    look = _without_numbers(model, inputs)
    with _Alive() as between:
        look()
    return held + clip + between.peak


class _Alive(TorchDispatchMode):
    """Adds up the storages that operations make, until each is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        taken = {
            id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
        }
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and id(leaf.untyped_storage()) not in taken:
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size


def _without_numbers(model: nn.Module, inputs: Mapping[str, tuple[int, ...]]) -> Callable[[], object]:
    """One forward pass on one clip, in evaluation, on torch's meta device."""
    weights = {name: weight.detach().to("meta") for name, weight in model.named_parameters()}
    buffers = {name: buffer.to("meta") for name, buffer in model.named_buffers()}
    streams = {name: torch.empty(1, *shape, device="meta") for name, shape in inputs.items()}

    def look() -> object:
        with torch.no_grad(), evaluating(model):
            return functional_call(model, {**weights, **buffers}, (streams,))

    return look


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation for a while, then as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
