"""What a loss is made of: each term summed over the clips it is given, so that parts of a step add up.

Every term weighs a clip as cross-entropy does, by the class weights of its target: an unlabelled clip, whose
row of shares is 0, has no part in any of them. Logits may be -inf, which rules a class out.

Axes: B clips, W windows of a clip, C classes, P ordered pairs of classes, H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cross_entropy(logits_BC: Tensor, share_BC: Tensor, weight_C: Tensor, gamma: float = 0.0) -> Tensor:
    """-sum_c w_c q_c (1 - p_c)^gamma log p_c, summed over the clips.

    Each class's share q_c is discounted by how sure the model is of that class. With one class a clip this is the
    focal loss of Lin et al. 2017 (arXiv:1708.02002), their alpha being the class weight; with gamma = 0 it is
    cross-entropy, whatever the shares.

    Args:
        share_BC: target distribution, smoothed already; its type is the one that is computed in.
    """
    log_p_BC = torch.log_softmax(logits_BC, dim=1, dtype=share_BC.dtype)
    # a class ruled out by -inf costs nothing, and has no slope, as long as nothing asks for it
    log_p_BC = torch.where(share_BC > 0, log_p_BC, 0)
    cost_BC = weight_C * share_BC * log_p_BC
    if gamma > 0:
        # the floor keeps the slope of x^gamma finite at 0, where gamma < 1 would make it infinite
        unsure_BC = -torch.expm1(log_p_BC)
        cost_BC = cost_BC * unsure_BC.clamp(min=torch.finfo(log_p_BC.dtype).eps) ** gamma
    return -cost_BC.sum()


def over_windows(logits_BWC: Tensor, share_BC: Tensor, weight_C: Tensor, gamma: float = 0.0) -> Tensor:
    """Cross-entropy at every window that a clip has, their mean, summed over the clips.

    Args:
        logits_BWC: NaN where a clip has no window, as behind its end.
    """
    there_BW = ~logits_BWC.isnan().any(-1)
    part_BW = there_BW.to(share_BC) / there_BW.sum(1, keepdim=True).clamp(min=1)
    known_BWC = torch.where(there_BW[..., None], logits_BWC, 0)
    share_BWC = share_BC[:, None] * part_BW[..., None]
    return cross_entropy(known_BWC.flatten(0, 1), share_BWC.flatten(0, 1), weight_C, gamma)


def hinge(
    logits_BC: Tensor, share_BC: Tensor, weight_C: Tensor, margin: float, pairs_2P: Tensor | None = None
) -> Tensor:
    """sum_c w_c q_c max(0, margin - (z_c - z_rival)), summed over the clips (Crammer & Singer 2001).

    Classes that a clip shows beside each other, as a mixture does, are no rivals of each other; where no rival is
    left, nothing is asked for.

    Args:
        share_BC: target distribution, not smoothed.
        pairs_2P: class numbers int64 [2, P] of (class, rival): every pair whose class the clip shows has its
            hinge, and they are added. None: the one rival is the strongest class that the clip does not show.
    """
    z_BC = logits_BC.to(share_BC.dtype)
    if pairs_2P is None:
        best_B1 = z_BC.masked_fill(share_BC > 0, -torch.inf).amax(1, keepdim=True)
        gap_BX, share_BX = z_BC - best_B1, weight_C * share_BC
    else:
        own_P, rival_P = pairs_2P
        gap_BX = z_BC[:, own_P] - z_BC[:, rival_P]
        share_BX = weight_C[own_P] * share_BC[:, own_P] * (share_BC[:, rival_P] == 0)
    return torch.where(share_BX > 0, share_BX * (margin - gap_BX).relu(), 0).sum()


def distillation(student_BC: Tensor, teacher_BC: Tensor, weight_B: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), summed over the clips by their weight.

    The teacher is detached: it is not drawn to its pupils. T^2 keeps the size of the gradient (Hinton et al. 2015,
    arXiv:1503.02531).
    """
    log_t_BC = _log_p(teacher_BC.detach() / temperature, weight_B.dtype)
    log_s_BC = _log_p(student_BC / temperature, weight_B.dtype)
    divergence_B = (log_t_BC.exp() * (log_t_BC - log_s_BC)).sum(1)
    return temperature**2 * (weight_B * divergence_B).sum()


def disagreement(logits_HBC: list[Tensor], weight_B: Tensor) -> Tensor:
    """Mean over the heads of KL(p_h || mean p), summed over the clips by their weight.

    That is the Jensen-Shannon divergence of the heads (Lin 1991): 0 where all say the same, at most log H.
    """
    log_p_HBC = torch.stack([_log_p(logits_BC, weight_B.dtype) for logits_BC in logits_HBC])
    log_mean_BC = log_p_HBC.logsumexp(0) - math.log(len(logits_HBC))
    divergence_HB = (log_p_HBC.exp() * (log_p_HBC - log_mean_BC)).sum(2)
    return (weight_B * divergence_HB.mean(0)).sum()


def _log_p(logits_BC: Tensor, dtype: torch.dtype) -> Tensor:
    """Logarithms of probabilities, finite where a class is ruled out: 0 x -inf would be no number."""
    return torch.log_softmax(logits_BC, dim=1, dtype=dtype).clamp(min=torch.finfo(dtype).min / 4)
