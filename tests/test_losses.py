"""The loss is the formula it claims to be, over any partition of a step."""

import math
from itertools import pairwise

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from mudra.errors import DataError, RecipeError
from mudra.sections import LossSettings
from mudra.training.losses import Loss, balanced_weights, build_loss, one_hot
from mudra.types import UNLABELLED

patient = hypothesis.settings(deadline=None)  # a busy machine is no failure

smoothings = st.floats(0, 0.9)
seeds = st.integers(0, 2**31)


def plain(smoothing: float = 0.0, classes: int = 4) -> Loss:
    return build_loss(LossSettings(label_smoothing=smoothing), {"label": classes})


def batch(
    seed: int, clips: int = 8, classes: int = 4, unlabelled: float = 0.3
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits float64 [B,C] and class numbers [B], the first always labelled."""
    rng = np.random.default_rng(seed)
    target = rng.integers(classes, size=clips)
    target[1:][rng.random(clips - 1) < unlabelled] = UNLABELLED
    logits = torch.from_numpy(3 * rng.standard_normal((clips, classes))).requires_grad_()
    return logits, torch.from_numpy(target)


def total(loss: Loss, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return loss({"label": logits}, {"label": target}).total()


def test_perfect_logits_cost_nothing_and_there_is_one_softmax() -> None:
    target = torch.arange(4)
    assert total(plain(), 20.0 * torch.eye(4), target) < 0.01  # two softmaxes could not go below 0.74


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes() -> None:
    assert total(plain(), torch.zeros(3, 4), torch.tensor([0, 3, 1])).item() == pytest.approx(math.log(4))


@patient
@given(seeds, smoothings)
def test_label_smoothing_follows_the_formula(seed: int, smoothing: float) -> None:
    logits, target = batch(seed, unlabelled=0)
    log_p = torch.log_softmax(logits, 1)
    told = -(1 - smoothing) * log_p[torch.arange(8), target] - smoothing / 4 * log_p.sum(1)
    assert total(plain(smoothing), logits, target).item() == pytest.approx(told.mean().item(), rel=1e-6)


@patient
@given(seeds, smoothings, st.booleans())
def test_hard_targets_cost_what_torch_says_with_weights_and_smoothing(
    seed: int, smoothing: float, weighted: bool
) -> None:
    logits, target = batch(seed)
    train = np.array([0, 0, 0, 1, 2, 2, 3, UNLABELLED])
    settings = LossSettings(label_smoothing=smoothing, class_weights="balanced" if weighted else "none")
    loss = build_loss(settings, {"label": 4}, {"label": train})
    weight = torch.from_numpy(balanced_weights(train, 4)) if weighted else None
    told = cross_entropy(logits, target, weight, ignore_index=UNLABELLED, label_smoothing=smoothing)
    assert total(loss, logits, target).item() == pytest.approx(told.item(), rel=1e-6)


@patient
@given(seeds, smoothings)
def test_one_hot_soft_targets_cost_what_hard_targets_cost(seed: int, smoothing: float) -> None:
    logits, target = batch(seed)
    settings = LossSettings(label_smoothing=smoothing, class_weights="balanced")
    loss = build_loss(settings, {"label": 4}, {"label": np.array([0, 0, 1, 2, 3, 3, 3])})
    soft = one_hot(target, 4, "label")
    assert torch.equal(total(loss, logits, target), total(loss, logits, soft))


@patient
@given(seeds, smoothings)
def test_mixed_targets_are_smoothed_too(seed: int, smoothing: float) -> None:
    logits, _ = batch(seed)
    soft = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(4), 8))
    told = cross_entropy(logits, soft, label_smoothing=smoothing)
    assert total(plain(smoothing), logits, soft).item() == pytest.approx(told.item(), rel=1e-9)


def test_a_mixed_clip_weighs_what_its_parts_weigh() -> None:
    loss = build_loss(LossSettings(class_weights="balanced"), {"label": 2}, {"label": np.array([0, 0, 0, 1])})
    terms = loss({"label": torch.zeros(1, 2)}, {"label": torch.tensor([[0.25, 0.75]])})
    assert terms.weights["label"].item() == pytest.approx(0.25 * 4 / 6 + 0.75 * 2)
    assert terms.total().item() == pytest.approx(math.log(2))


@patient
@given(seeds, st.lists(st.integers(1, 7), max_size=4, unique=True), st.booleans())
def test_parts_of_a_step_add_up_to_the_whole(seed: int, cuts: list[int], weighted: bool) -> None:
    settings = LossSettings(
        label_smoothing=0.1, class_weights="balanced" if weighted else "none", task_weights={"noun": 0.3}
    )
    train = {"verb": np.array([0, 1, 1, 2, 3]), "noun": np.array([0, 0, 0, 1, 2, 3])}
    loss = build_loss(settings, {"verb": 4, "noun": 4}, train)
    verb, verb_target = batch(seed)
    noun, noun_target = batch(seed + 1)
    logits, targets = {"verb": verb, "noun": noun}, {"verb": verb_target, "noun": noun_target}
    loss(logits, targets).total().backward()
    whole = [verb.grad, noun.grad]

    verb.grad = noun.grad = None
    edges = [0, *sorted(cuts), 8]
    parts = [slice(a, b) for a, b in pairwise(edges)]
    told = [loss.weights({task: target[part] for task, target in targets.items()}) for part in parts]
    weights = {task: sum((weight[task] for weight in told), torch.zeros(())) for task in targets}
    for part in parts:
        some = {task: values[part] for task, values in logits.items()}
        loss(some, {task: target[part] for task, target in targets.items()}).total(weights).backward()
    for one, other in zip(whole, [verb.grad, noun.grad], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


@patient
@given(seeds)
def test_weights_told_ahead_are_the_weights_of_the_terms(seed: int) -> None:
    logits, target = batch(seed)
    loss = build_loss(
        LossSettings(class_weights="balanced"), {"label": 4}, {"label": np.array([0, 1, 2, 3, 3])}
    )
    ahead = loss.weights({"label": target})["label"]
    assert ahead.dtype == torch.float64
    assert ahead.item() == pytest.approx(loss({"label": logits}, {"label": target}).weights["label"].item())


@pytest.mark.parametrize("soft", [False, True])
def test_a_task_without_labels_costs_nothing_and_moves_nothing(soft: bool) -> None:
    loss = build_loss(LossSettings(label_smoothing=0.1), {"verb": 3, "noun": 2})
    logits = {"verb": torch.randn(2, 3, requires_grad=True), "noun": torch.randn(2, 2, requires_grad=True)}
    none = torch.zeros(2, 3) if soft else torch.full((2,), UNLABELLED)
    terms = loss(logits, {"verb": none, "noun": torch.tensor([0, 1])})
    terms.total().backward()
    assert terms.means()["verb"].item() == 0
    assert terms.total().item() == pytest.approx(terms.means()["noun"].item())
    assert torch.count_nonzero(logits["verb"].grad) == 0
    assert torch.count_nonzero(logits["noun"].grad) == 4


@patient
@given(seeds)
def test_unlabelled_clips_change_nothing(seed: int) -> None:
    logits, target = batch(seed)
    known = target != UNLABELLED
    loss = plain(0.1)
    assert total(loss, logits, target).item() == pytest.approx(
        total(loss, logits[known], target[known]).item()
    )


def test_tasks_are_weighted() -> None:
    loss = build_loss(LossSettings(task_weights={"noun": 0.5}), {"verb": 3, "noun": 5})
    logits = {"verb": torch.zeros(2, 3), "noun": torch.zeros(2, 5)}
    terms = loss(logits, {task: torch.zeros(2, dtype=torch.int64) for task in logits})
    assert terms.total().item() == pytest.approx(math.log(3) + 0.5 * math.log(5))
    assert terms.means()["noun"].item() == pytest.approx(math.log(5))  # means are told unweighted


def test_half_precision_is_raised_and_double_is_kept() -> None:
    target = torch.tensor([1])
    for given_, wide in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32)):
        assert total(plain(), torch.zeros(1, 4, dtype=given_), target).dtype == wide
    assert total(plain(0.1), torch.zeros(1, 4, dtype=torch.float64), target).dtype == torch.float64


def test_a_class_ruled_out_by_minus_infinity_is_no_nan() -> None:
    logits = torch.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
    loss = total(plain(classes=3), logits, torch.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_nan_logits_reach_the_loss() -> None:
    logits = torch.tensor([[math.nan, 0.0, 0.0]])
    assert torch.isnan(total(plain(classes=3), logits, torch.tensor([1])))


@pytest.mark.parametrize("wrong", [-1, 4, 100, -99])
def test_a_class_number_outside_the_classes_is_an_error(wrong: int) -> None:
    with pytest.raises(DataError, match=rf"task 'label': found class number {wrong}; expected 0 to 3"):
        total(plain(), torch.zeros(2, 4), torch.tensor([0, wrong]))


def test_logits_of_other_classes_are_an_error() -> None:
    with pytest.raises(DataError, match=r"expected \[2, 4\]"):
        total(plain(), torch.zeros(2, 5), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="soft targets"):
        total(plain(), torch.zeros(2, 4), torch.zeros(2, 5))
    with pytest.raises(DataError, match="one number per clip"):
        total(plain(), torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.int64))


def test_task_weights_must_name_tasks_and_leave_one() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'verb'"):
        build_loss(LossSettings(task_weights={"verbs": 1.0}), {"verb": 3, "noun": 4})
    with pytest.raises(RecipeError, match="every task weighs 0"):
        build_loss(LossSettings(task_weights={"verb": 0.0}), {"verb": 3})


@patient
@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_balanced_classes_weigh_the_same_in_all(targets: list[int]) -> None:
    train = np.array(targets)
    weights = balanced_weights(train, 7)
    present = np.unique(train)
    in_all = np.bincount(train, weights[train], minlength=7)[present]
    np.testing.assert_allclose(in_all, len(train) / len(present))
    assert weights[6] == 0
