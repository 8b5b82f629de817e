"""Cross-entropy over one or several tasks, exact over any partition of an optimiser step.

The loss of a task is a weighted mean over the clips of a step: a sum of losses over a sum of
weights. A step may be seen in parts (accumulation, ranks), and the mean of the parts' means is not
the mean of the whole where parts differ in weight: unlabelled clips, class weights, a short last
part. So the two sums are given apart:

    weights = {task: sum over the parts of loss.weights(part's targets)[task]}   before any forward
    for each part: loss(logits, targets).total(weights).backward()

The gradients add up to those of the whole step seen at once. The weights depend on targets alone,
so ranks can add theirs up (all-reduce) first; where gradients are averaged over ranks, as DDP does,
the total is multiplied by the number of ranks.

Axes: B clips, C classes. Models give logits; the one softmax of training is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mudra.errors import DataError, RecipeError, did_you_mean
from mudra.sections import LossSettings
from mudra.types import UNLABELLED


@dataclass(frozen=True)
class LossTerms:
    """The loss of some clips, before division.

    Attributes:
        sums: weighted sum of the clips' losses by task, scalars that carry the gradient.
        weights: sum of the clips' weights by task; without class weights, the number of labelled clips.
        task_weights: weight of each task in the total.
    """

    sums: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    task_weights: Mapping[str, float]

    def means(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Each task's sum over a weight: its own, or that of the whole step. 0 where nothing is labelled."""
        weights = self.weights if weights is None else weights
        return {
            task: total * torch.where(weights[task] > 0, 1 / weights[task], 0).to(total)
            for task, total in self.sums.items()
        }

    def total(self, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """The scalar to call `backward` on: the tasks' means, weighted and added."""
        means = self.means(weights)
        return torch.stack([self.task_weights[task] * mean for task, mean in means.items()]).sum()


class Loss:
    """Cross-entropy with label smoothing, class weights and task weights. Made by `build_loss`.

    For a clip with target distribution q (one-hot, or soft from mixing), class weights w and
    smoothing e, the loss is  -sum_c w_c q'_c log p_c  with  q' = (1 - e) q + e / C,  and its weight
    is  sum_c w_c q_c.  With hard targets this is torch's `cross_entropy`, weights and smoothing
    included; torch divides soft targets by the number of clips instead, whatever they weigh.
    """

    def __init__(
        self,
        classes: Mapping[str, int],
        label_smoothing: float,
        class_weights: Mapping[str, Tensor],
        task_weights: Mapping[str, float],
    ) -> None:
        self.classes = dict(classes)
        self.label_smoothing = label_smoothing
        self.class_weights = dict(class_weights)
        self.task_weights = {task: task_weights.get(task, 1.0) for task in classes}

    def __call__(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> LossTerms:
        """The terms of some clips.

        Args:
            logits: float [B,C] by task; half precision is raised to float32, float64 is kept.
            targets: by task int64 [B], UNLABELLED where unknown, or float [B,C] that sum to 1 (or
                to 0: unlabelled).
        Raises:
            DataError: shapes that do not fit, or a class number outside the task's classes.
        """
        sums, weights = {}, {}
        for task, count in self.classes.items():
            wide = torch.promote_types(logits[task].dtype, torch.float32)
            q_BC = self._distribution(task, targets[task]).to(logits[task].device, wide)
            if logits[task].shape != (len(q_BC), count):
                raise DataError(
                    f"task {task!r}: found logits {tuple(logits[task].shape)} for {len(q_BC)} targets of "
                    f"{count} classes; expected [{len(q_BC)}, {count}]; build the model for these classes"
                )
            w_C = self.class_weights[task].to(q_BC)
            known_B1 = q_BC.sum(1, keepdim=True)
            smooth_BC = (1 - self.label_smoothing) * q_BC + self.label_smoothing / count * known_B1
            log_p_BC = torch.log_softmax(logits[task], dim=1, dtype=wide)
            # where: a class ruled out by -inf costs nothing as long as nothing asks for it
            sums[task] = -torch.where(smooth_BC > 0, w_C * smooth_BC * log_p_BC, 0).sum()
            weights[task] = (w_C * q_BC).sum()
        return LossTerms(sums, weights, self.task_weights)

    def weights(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weight of some clips by task, float64: what `LossTerms.total` divides a step by."""
        weights = {}
        for task in self.classes:
            q_BC = self._distribution(task, targets[task]).double()
            weights[task] = (self.class_weights[task].to(q_BC) * q_BC).sum()
        return weights

    def _distribution(self, task: str, target: Tensor) -> Tensor:
        """Targets as float [B,C]; rows of unlabelled clips are 0."""
        if target.is_floating_point():
            if target.ndim != 2 or target.shape[1] != self.classes[task]:
                raise DataError(
                    f"task {task!r}: found soft targets {tuple(target.shape)}; expected "
                    f"[clips, {self.classes[task]}]; give one share per class"
                )
            return target
        return one_hot(target, self.classes[task], task)


def one_hot(target: Tensor, classes: int, task: str) -> Tensor:
    """Class numbers int64 [B] as float32 [B, classes]; UNLABELLED gives a row of 0.

    Raises:
        DataError: a number that is neither a class nor UNLABELLED. (Looked at on the CPU only: on a
            GPU the look would wait for it, and there torch itself stops.)
    """
    if target.ndim != 1:
        raise DataError(f"task {task!r}: found targets {tuple(target.shape)}; expected one number per clip")
    known = target != UNLABELLED
    if target.device.type == "cpu":
        outside = target[known & ((target < 0) | (target >= classes))]
        if len(outside):
            raise DataError(
                f"task {task!r}: found class number {int(outside[0])}; expected 0 to {classes - 1}, or "
                f"{UNLABELLED} for an unlabelled clip; check the labels with `mudra data check`"
            )
    places = torch.where(known, target, 0)[:, None]
    rows = torch.zeros(len(target), classes, device=target.device)
    return rows.scatter_(1, places, known[:, None].to(rows))


def build_loss(
    settings: LossSettings,
    classes: Mapping[str, int],
    train_targets: Mapping[str, NDArray[np.int64]] | None = None,
    device: str | torch.device = "cpu",
) -> Loss:
    """The loss that a recipe asks for.

    Args:
        classes: number of classes of each task that is trained.
        train_targets: class numbers of all training clips by task; needed for `balanced`.
    Raises:
        RecipeError: a weight for a task that is not there, or no task that counts.
    """
    for task in settings.task_weights:
        if task not in classes:
            raise RecipeError(
                f"loss.task_weights: found task {task!r}; expected tasks that are trained: "
                f"{', '.join(classes)}.{did_you_mean(task, classes)}"
            )
    if not any(settings.task_weights.get(task, 1.0) > 0 for task in classes):
        raise RecipeError("loss.task_weights: every task weighs 0; let at least one count")
    weights = {task: torch.ones(count, dtype=torch.float64) for task, count in classes.items()}
    if settings.class_weights == "balanced":
        if train_targets is None:
            raise ValueError("balanced class weights need the training targets")
        for task, count in classes.items():
            weights[task] = torch.from_numpy(balanced_weights(train_targets[task], count))
    weights = {task: weight.to(device) for task, weight in weights.items()}
    return Loss(classes, settings.label_smoothing, weights, settings.task_weights)


def balanced_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Weights [classes] inverse to a class's share of the labelled clips; their mean over clips is 1.

    A class without a clip weighs 0: smoothing must not raise what was never shown.

    >>> balanced_weights(np.array([0, 0, 0, 1, UNLABELLED]), 3)
    array([0.66666667, 2.        , 0.        ])
    """
    counts = np.bincount(targets[targets != UNLABELLED], minlength=classes)
    present = np.count_nonzero(counts)
    return np.divide(counts.sum(), present * counts, out=np.zeros(classes), where=counts > 0)
