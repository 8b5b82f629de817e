"""Several models' saved predictions become one answer: joined by the clips' ids, never by their rows.

Two means, both convex and both of one weight a member and task:

    probabilities    log sum_m w_m p_m          what is likely for one member stays possible
    logits           sum_m w_m log p_m - log Z  a class that one member rules out stays ruled out

Weights are the same for all members, or fitted on validation by the likelihood of the true classes (Jordan & Jacobs
1994 for the first mean; Genest & Zidek 1986 name both). Either fit is a convex problem: there is one best answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from scipy.optimize import minimize

from mudra.errors import DataError
from mudra.predictions.alignment import aligned, in_one_order
from mudra.predictions.answers import Floats, grade
from mudra.predictions.scores import PredictionTable, TaskScores
from mudra.types import UNLABELLED

Mean = Literal["probabilities", "logits"]
Tables = Mapping[str, PredictionTable]
Weights = Mapping[str, Mapping[str, float]]
"""Weights by task and member, of one task 1 in all."""
Loss = Callable[[Floats], tuple[float, Floats]]
"""Of weights [M]: the loss, and its slope [M]."""

NEGLIGIBLE = 1e-6  # a fitted weight below it is none
LEAST = (
    1e-13  # of a mean's share of its likeliest member while weights are fitted, so that slopes stay finite
)


def joined(tables: Tables) -> dict[str, PredictionTable]:
    """Tables of the same clips with their rows in the order of the ids. A member may lack a task.

    Args:
        tables: by the name that an error calls them by.
    Raises:
        DataError: clips are missing in one, or a task's classes or truth are not the same in all that have it.
    """
    by_id = in_one_order(tables)
    for task in tasks_of(by_id):
        aligned({name: only(table, [task]) for name, table in by_id.items() if task in table.tasks})
    return by_id


def only(table: PredictionTable, tasks: Sequence[str]) -> PredictionTable:
    """The table with these of its tasks."""
    return replace(table, tasks={task: table.tasks[task] for task in tasks})


def tasks_of(tables: Tables) -> list[str]:
    """Every task that one of them has, in the order met."""
    return list(dict.fromkeys(task for table in tables.values() for task in table.tasks))


def having(tables: Tables, task: str) -> dict[str, TaskScores]:
    """The scores of the members that have a task."""
    return {name: table.tasks[task] for name, table in tables.items() if task in table.tasks}


def equal_weights(tables: Tables) -> Weights:
    """The same weight for every member that has the task."""
    found = {task: having(tables, task) for task in tasks_of(tables)}
    return {task: dict.fromkeys(scores, 1 / len(scores)) for task, scores in found.items()}


def fitted_weights(tables: Tables, of: Mean) -> Weights:
    """Weights under which the true classes of these clips are likeliest: give it validation clips, never test ones.

    Args:
        tables: as `joined` gives them.
    Raises:
        DataError: not one clip of a task is labelled.
    """
    return {
        task: dict(zip(scores, _fit(list(scores.values()), of, task).tolist(), strict=True))
        for task, scores in ((task, having(tables, task)) for task in tasks_of(tables))
    }


def combined(tables: Tables, weights: Weights, of: Mean) -> PredictionTable:
    """The ensemble's own table: clips, groups and subsets are those of the first member.

    Args:
        tables: as `joined` gives them.
    """
    first = next(iter(tables.values()))
    tasks = {}
    for task in tasks_of(tables):
        scores = having(tables, task)
        one = next(iter(scores.values()))
        logs = [each.log_probabilities for each in scores.values()]
        mixed = blend(logs, [weights[task][name] for name in scores], of)
        tasks[task] = TaskScores(one.classes, one.truth, mixed)
    return replace(first, tasks=tasks)


def blend(logs: Sequence[np.ndarray], weights: Sequence[float], of: Mean) -> np.ndarray:
    """Mean of log-probabilities [N, C] of each member: float32 [N, C], exp of a row sums to 1."""
    counted = [
        (weight, each.astype(np.float64)) for weight, each in zip(weights, logs, strict=True) if weight > 0
    ]
    if len(counted) == 1:  # to the last bit
        return counted[0][1].astype(np.float32)
    if of == "probabilities":
        mixed = np.logaddexp.reduce([each + np.log(weight) for weight, each in counted], axis=0)
    else:
        mixed = np.sum([weight * each for weight, each in counted], axis=0)
    mixed -= np.logaddexp.reduce(mixed, axis=1, keepdims=True)
    return mixed.astype(np.float32)


def best_members(validation: Sequence[Tables]) -> dict[str, str]:
    """By task, the member with the best top-1 over validation, of equals the one with the lower loss.

    Args:
        validation: as `joined` gives them, of each fold, or of the one split.
    """
    best = {}
    for task in tasks_of(validation[0]) if validation else ():
        found = {}
        for name in having(validation[0], task):
            right, loss, clips = np.sum([_standing(part[name].tasks[task]) for part in validation], axis=0)
            if clips:
                found[name] = (right / clips, -loss / clips)
        if found:
            best[task] = max(found, key=found.__getitem__)
    return best


def _standing(scores: TaskScores) -> tuple[float, float, float]:
    """Right answers, loss and clips, added up over the labelled ones."""
    known = scores.truth != UNLABELLED
    answers = grade(scores.log_probabilities[known], scores.truth[known])
    return float((answers.rank == 0).sum()), float(answers.loss.sum()), float(known.sum())


def _fit(scores: Sequence[TaskScores], of: Mean, task: str) -> Floats:
    """Weights [M] of one task."""
    truth = scores[0].truth
    known = np.flatnonzero(truth != UNLABELLED)
    if not known.size:
        raise DataError(
            f"validation, task {task!r}: no clip is labelled; expected some to fit weights on. Use --weights mean."
        )
    if len(scores) == 1:
        return np.ones(1)
    logs_MNC = np.stack([each.log_probabilities[known] for each in scores]).astype(np.float64)
    true_MN = logs_MNC[:, np.arange(len(known)), truth[known]]
    loss = _loss_of_probabilities(true_MN) if of == "probabilities" else _loss_of_logits(logs_MNC, true_MN)
    members = len(scores)
    found = minimize(
        loss,
        np.full(members, 1 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda w_M: w_M.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-10, "maxiter": 500},
    )
    if not found.success or not np.isfinite(found.x).all():
        raise DataError(
            f"validation, task {task!r}: no weights could be fitted ({found.message}); use --weights mean."
        )
    weights = np.where(found.x < NEGLIGIBLE, 0.0, found.x)
    return np.asarray(weights / weights.sum(), np.float64)


def _loss_of_probabilities(true_MN: Floats) -> Loss:
    """Mean of -log sum_m w_m p_m of the true class, and its slope by w [M]."""
    shift_N = true_MN.max(axis=0)
    share_MN = np.exp(true_MN - shift_N)

    def loss(w_M: Floats) -> tuple[float, Floats]:
        mixed_N = np.maximum(np.maximum(w_M, 0) @ share_MN, LEAST)
        return float(-(np.log(mixed_N) + shift_N).mean()), -(share_MN / mixed_N).mean(axis=1)

    return loss


def _loss_of_logits(logs_MNC: Floats, true_MN: Floats) -> Loss:
    """Mean of log Z - sum_m w_m log p_m of the true class, and its slope by w [M]."""

    def loss(w_M: Floats) -> tuple[float, Floats]:
        mixed_NC = np.tensordot(w_M, logs_MNC, axes=1)
        log_z_N = np.logaddexp.reduce(mixed_NC, axis=1)
        expected_MN = np.einsum("mnc,nc->mn", logs_MNC, np.exp(mixed_NC - log_z_N[:, None]))
        return float((log_z_N - w_M @ true_MN).mean()), (expected_MN - true_MN).mean(axis=1)

    return loss
