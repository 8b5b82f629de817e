"""From logits to the probabilities that are saved: the one softmax of evaluation.

Axes: B clips, V views of each, C classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.inference_mode()
def log_probabilities(model: nn.Module, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Score clips that are looked at V times each; the probabilities of the views are averaged.

    Args:
        model: in evaluation mode, {stream: [B,...]} -> {task: logits [B,C]}.
        streams: [B,V,...] by stream.
    Returns:
        float32 [B,C] on the CPU by task; exp of a row sums to 1.
    """
    views = next(iter(streams.values())).shape[1]
    logits = model({name: x.flatten(0, 1) for name, x in streams.items()})
    scores = {}
    for task, logits_NC in logits.items():
        log_BVC = logits_NC.float().log_softmax(-1).unflatten(0, (-1, views))
        mean_BC = torch.logsumexp(log_BVC, 1) - torch.log(torch.tensor(float(views), device=log_BVC.device))
        scores[task] = mean_BC.cpu()
    return scores
