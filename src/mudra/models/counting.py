"""How large a model is and how much it computes, found out without weights and without computing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.func import functional_call
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
    weights = {name: weight.detach().to("meta") for name, weight in model.named_parameters()}
    buffers = {name: buffer.to("meta") for name, buffer in model.named_buffers()}
    streams = {name: torch.empty(1, *shape, device="meta") for name, shape in inputs.items()}
    was_training = model.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(model.eval(), {**weights, **buffers}, (streams,))
    finally:
        model.train(was_training)
    return counter.get_total_flops()
