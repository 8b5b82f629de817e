"""The loss over one or several tasks, exact over any partition of an optimiser step.

The loss of a task is a weighted mean over the clips of a step: a sum of losses over a sum of
weights. A step may be seen in parts (accumulation, ranks), and the mean of the parts' means is not
the mean of the whole where parts differ in weight: unlabelled clips, class weights, a short last
part. So the two sums are given apart:

    weights = {task: sum over the parts of loss.weights(part's targets)[task]}   before any forward
    for each part: loss(logits, targets).total(weights).backward()

The gradients add up to those of the whole step seen at once. The weights depend on targets alone,
so ranks can add theirs up (all-reduce) first; where gradients are averaged over ranks, as DDP does,
the total is multiplied by the number of ranks.

Axes: B clips, C classes. Models give logits; the one softmax of training is in `terms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mudra.errors import DataError, RecipeError, did_you_mean
from mudra.sections import LossSettings
from mudra.training.terms import cross_entropy, disagreement, distillation, hinge, over_windows
from mudra.types import UNLABELLED


@dataclass(frozen=True)
class LossTerms:
    """The loss of some clips, before division.

    Attributes:
        sums: weighted sum of the clips' losses by task, scalars that carry the gradient.
        plain: the same of the cross-entropy alone, without focus and without what other heads add; detached.
        weights: sum of the clips' weights by task; without class weights, the number of labelled clips.
        task_weights: weight of each task in the total.
    """

    sums: Mapping[str, Tensor]
    plain: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    task_weights: Mapping[str, float]

    def means(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Each task's sum over a weight: its own, or that of the whole step. 0 where nothing is labelled."""
        return _means(self.sums, self.weights if weights is None else weights)

    def total(self, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """The scalar to call `backward` on: the tasks' means, weighted and added."""
        return self._weighed(self.means(weights))

    def plain_total(self, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """What a log tells: `total` of the cross-entropy alone, which compares with that of other clips."""
        return self._weighed(_means(self.plain, self.weights if weights is None else weights))

    def _weighed(self, means: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.task_weights[task] * mean for task, mean in means.items()]).sum()


def _means(sums: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        task: total * torch.where(weights[task] > 0, 1 / weights[task], 0).to(total)
        for task, total in sums.items()
    }


class Loss:
    """Cross-entropy, and what a recipe adds to it. Made by `build_loss`.

    For a clip with target distribution q (one-hot, or soft from mixing), class weights w, smoothing e and
    focus g, the loss of a head is  -sum_c w_c q'_c (1 - p_c)^g log p_c  with  q' = (1 - e) q + e / C,  and its
    weight is  sum_c w_c q_c.  With hard targets and g = 0 this is torch's `cross_entropy`, weights and
    smoothing included; torch divides soft targets by the number of clips instead, whatever they weigh. With
    hard targets and e = 0 it is the focal loss of Lin et al. 2017.

    To the loss of a task's own logits are added, each times its weight in `LossSettings`: the losses of its
    auxiliary heads, the mean loss of its part heads, the hinge of its own logits, what its auxiliary heads
    have to learn from its own logits (mean over the heads), and the disagreement of its part heads. All are
    sums over the same clips, divided by the same weight.

    A model gives such heads in training mode, beside {task: logits}: f"{task}/aux{n}" with n = 1, 2, ... and
    f"{task}/part:{part}", logits [B,C] all of them; and f"{task}/windows", logits [B,W,C] of each of the clip's W
    windows, NaN where it has none.
    """

    def __init__(
        self,
        settings: LossSettings,
        classes: Mapping[str, int],
        class_weights: Mapping[str, Tensor],
        rivals: Mapping[str, Tensor],
    ) -> None:
        self.settings = settings
        self.classes = dict(classes)
        self.class_weights = dict(class_weights)
        self.rivals = dict(rivals)
        self.task_weights = {task: settings.task_weights.get(task, 1.0) for task in classes}

    def __call__(
        self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor], progress: float = 1.0
    ) -> LossTerms:
        """The terms of some clips.

        Args:
            logits: float [B,C] by task and head; half precision is raised to float32, float64 is kept.
            targets: by task int64 [B], UNLABELLED where unknown, or float [B,C] that sum to 1 (or
                to 0: unlabelled).
            progress: the share of the training that is done, 0..1, for what grows with it.
        Raises:
            DataError: shapes that do not fit, or a class number outside the task's classes.
            RecipeError: heads that the recipe weighs and the model lacks, or the other way round.
        """
        self.require_heads(logits)
        gamma = focus(self.settings, progress)
        sums, plain, weights = {}, {}, {}
        for task, count in self.classes.items():
            wide = torch.promote_types(logits[task].dtype, torch.float32)
            q_BC = self._distribution(task, targets[task]).to(logits[task].device, wide)
            heads = {name: x for name, x in logits.items() if name == task or name.startswith(f"{task}/")}
            for name, x in heads.items():
                if x.shape[:1] + x.shape[-1:] != (len(q_BC), count) or x.ndim != 2 + name.endswith(
                    "/windows"
                ):
                    raise DataError(
                        f"task {name!r}: found logits {tuple(x.shape)} for {len(q_BC)} targets of {count} classes; "
                        f"expected [{len(q_BC)}, {count}]; build the model for these classes"
                    )
            w_C = self.class_weights[task].to(q_BC)
            known_B1 = q_BC.sum(1, keepdim=True)
            smoothing = self.settings.label_smoothing
            smooth_BC = (1 - smoothing) * q_BC + smoothing / count * known_B1
            own = cross_entropy(heads[task], smooth_BC, w_C)
            plain[task] = own.detach()
            if gamma > 0:
                own = cross_entropy(heads[task], smooth_BC, w_C, gamma)
            added = self._added(task, heads, q_BC, smooth_BC, w_C, gamma)
            sums[task] = torch.stack([own, *added]).sum() if added else own
            weights[task] = (w_C * q_BC).sum()
        return LossTerms(sums, plain, weights, self.task_weights)

    def _added(
        self,
        task: str,
        heads: Mapping[str, Tensor],
        q_BC: Tensor,
        smooth_BC: Tensor,
        w_C: Tensor,
        gamma: float,
    ) -> list[Tensor]:
        """What the recipe adds to the cross-entropy of a task's own logits, weighted."""
        settings, added = self.settings, []
        weight_B = (w_C * q_BC).sum(1)
        auxiliary = [heads[f"{task}/aux{number}"] for number, _ in enumerate(settings.auxiliary, 1)]
        parts = [x for name, x in heads.items() if name.startswith(f"{task}/part:")]
        for share, x in zip(settings.auxiliary, auxiliary, strict=True):
            added.append(share * cross_entropy(x, smooth_BC, w_C, gamma))
            if settings.distil > 0:
                learnt = distillation(x, heads[task], weight_B, settings.distil_temperature)
                added.append(settings.distil / len(auxiliary) * learnt)
        if settings.parts > 0:
            share = settings.parts / len(parts)
            added += [share * cross_entropy(x, smooth_BC, w_C, gamma) for x in parts]
        if settings.windows > 0:
            added.append(settings.windows * over_windows(heads[f"{task}/windows"], smooth_BC, w_C, gamma))
        if settings.consistency > 0:
            added.append(settings.consistency * disagreement(parts, weight_B))
        if settings.margin > 0 and (task in self.rivals or not self.rivals):
            pairs = self.rivals.get(task)
            added.append(settings.margin_weight * hinge(heads[task], q_BC, w_C, settings.margin, pairs))
        return added

    def require_heads(self, names: Iterable[str]) -> None:
        """Refuse heads that the recipe weighs and the model lacks, and heads that nothing would train.

        Args:
            names: of all that the model gives in training mode.
        Raises:
            RecipeError: which heads, how many, and what to set.
        """
        settings, names = self.settings, list(names)
        for task in self.classes:
            auxiliary = sum(name.startswith(f"{task}/aux") for name in names)
            parts = sum(name.startswith(f"{task}/part:") for name in names)
            if auxiliary != len(settings.auxiliary):
                raise RecipeError(
                    f"loss.auxiliary: found {len(settings.auxiliary)} weights, and {auxiliary} auxiliary heads of "
                    f"{task!r} in the model; expected one weight a head; change the weights or the model's heads."
                )
            if parts and not (settings.parts > 0 or settings.consistency > 0):
                raise RecipeError(
                    f"loss.parts: found 0, and {parts} part heads of {task!r} in the model, which nothing would "
                    "train; set loss.parts (0.1, say) or loss.consistency, or build the model without them."
                )
            if settings.windows > 0 and f"{task}/windows" not in names:
                raise RecipeError(
                    f"loss.windows: found {settings.windows:g}, and the model gives no answers of windows of {task!r}; "
                    "set it to 0, or take a fusion model with windows."
                )
            for key, least in (("parts", 1), ("consistency", 2)):
                if getattr(settings, key) > 0 and parts < least:
                    raise RecipeError(
                        f"loss.{key}: found {getattr(settings, key):g}, and {parts} part heads of {task!r} in the "
                        f"model; expected at least {least}; set it to 0, or give the model such heads."
                    )

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
    *,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Loss:
    """The loss that a recipe asks for.

    Args:
        classes: number of classes of each task that is trained.
        train_targets: class numbers of all training clips by task; needed for `balanced`.
        names: names of the classes by task; needed for `similar`.
    Raises:
        RecipeError: a weight for a task that is not there, no task that counts, or similar classes that are not there.
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
    rivals = rivals_of(settings.similar, names)
    return Loss(settings, classes, weights, {task: pairs.to(device) for task, pairs in rivals.items()})


def focus(settings: LossSettings, progress: float) -> float:
    """Gamma of the focal loss when a share of the training is done; it rises linearly where the recipe says so.

    >>> [focus(LossSettings(focal=2.0, focal_rise=0.5), share) for share in (0.0, 0.25, 0.5, 1.0)]
    [0.0, 1.0, 2.0, 2.0]
    """
    if settings.focal_rise == 0:
        return settings.focal
    return settings.focal * min(progress / settings.focal_rise, 1.0)


def rivals_of(
    similar: Sequence[tuple[str, str]], names: Mapping[str, Sequence[str]] | None
) -> dict[str, Tensor]:
    """Pairs of similar classes as numbers: int64 [2, P] of (class, rival) by task, each pair in both directions.

    A pair belongs to every task that has both names; a task without any has no entry.

    >>> rivals_of([("a", "c")], {"letter": ["a", "b", "c"]})
    {'letter': tensor([[0, 2],
            [2, 0]])}

    Raises:
        RecipeError: a class beside itself, or two names that no task has.
    """
    if not similar:
        return {}
    if names is None:
        raise ValueError("similar classes need the names of the classes")
    pairs: dict[str, dict[tuple[int, int], None]] = {}
    for one, other in similar:
        tasks = [task for task, known in names.items() if one in known and other in known]
        if one == other or not tasks:
            every = [name for known in names.values() for name in known]
            strange = next((name for name in (one, other) if name not in every), one)
            raise RecipeError(
                f"loss.similar: found [{one!r}, {other!r}]; expected two classes of one task."
                f"{did_you_mean(strange, (name for name in every if name != strange))}"
            )
        for task in tasks:
            first, second = list(names[task]).index(one), list(names[task]).index(other)
            pairs.setdefault(task, {}).update({(first, second): None, (second, first): None})
    return {task: torch.tensor(list(found)).T.contiguous() for task, found in pairs.items()}


def balanced_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Weights [classes] inverse to a class's share of the labelled clips; their mean over clips is 1.

    A class without a clip weighs 0: smoothing must not raise what was never shown.

    >>> balanced_weights(np.array([0, 0, 0, 1, UNLABELLED]), 3)
    array([0.66666667, 2.        , 0.        ])
    """
    counts = np.bincount(targets[targets != UNLABELLED], minlength=classes)
    present = np.count_nonzero(counts)
    return np.divide(counts.sum(), present * counts, out=np.zeros(classes), where=counts > 0)
