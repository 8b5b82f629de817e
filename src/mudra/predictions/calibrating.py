"""Temperature and threshold, fitted on the scores of validation clips."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from scipy.optimize import minimize_scalar

from mudra.calibration import tempered
from mudra.errors import DataError
from mudra.predictions.answers import Answers, grade
from mudra.predictions.scores import PredictionTable, TaskScores
from mudra.types import UNLABELLED

HOTTEST = 50.0  # a fitted temperature lies between 1/50 and 50


def at_temperature(scores: TaskScores, temperature: float) -> TaskScores:
    """A task's scores at a temperature, whatever temperature they were written at."""
    if temperature == scores.temperature:
        return scores
    logs = tempered(scores.log_probabilities, temperature / scores.temperature)
    return replace(scores, log_probabilities=logs, temperature=temperature)


def fit_temperature(scores: TaskScores, place: str) -> float | None:
    """The temperature at which the true classes are likeliest; there is one best.

    Returns:
        None where every labelled clip is right: the surer the better then, and nothing says how sure.
    Raises:
        DataError: no clip is labelled.
    """
    own = _labelled(at_temperature(scores, 1.0), place)
    logs, truth = own.log_probabilities.astype(np.float64), own.truth
    rows = np.arange(len(truth))
    if (logs[rows, truth] >= logs.max(axis=1)).all():
        return None

    def loss(log_temperature: float) -> float:
        scaled = logs * np.exp(-log_temperature)
        return float((np.logaddexp.reduce(scaled, axis=1) - scaled[rows, truth]).mean())

    bound = np.log(HOTTEST)
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(found.x))


def fit_threshold(
    scores: TaskScores, wanted: Literal["share", "accuracy"], value: float, place: str
) -> float:
    """The probability under which an answer is none of these.

    Args:
        wanted: `share` of labelled clips that are accepted, at least `value` of them; or `accuracy` among those
            accepted, at least `value`, with as many accepted as that allows.
    Returns:
        halfway between the last accepted and the first rejected clip; 0 where none is rejected.
    Raises:
        DataError: no clip is labelled, or not even the surest answers are as often right as wanted.
    """
    answers = graded(scores, place)
    order = np.argsort(-answers.confidence, kind="stable")
    sure, right = answers.confidence[order], answers.rank[order] == 0
    accepted = np.arange(1, len(sure) + 1)
    ends = np.append(sure[1:] < sure[:-1], True)  # equally sure clips are accepted together or not at all
    accuracy = np.cumsum(right) / accepted
    if wanted == "share":
        count = int(accepted[ends & (accepted >= value * len(sure))][0])
    else:
        fit = accepted[ends & (accuracy >= value)]
        if not fit.size:
            raise DataError(
                f"{place}: no threshold makes {value:.1%} of the accepted answers right; {accuracy[ends].max():.1%} is "
                "the most. Ask for less."
            )
        count = int(fit[-1])
    return 0.0 if count == len(sure) else float((sure[count - 1] + sure[count]) / 2)


def acceptance(scores: TaskScores, threshold: float) -> tuple[float, float] | None:
    """The share of labelled clips that are accepted, and how many of these are right (NaN of none); None if none."""
    if not (scores.truth != UNLABELLED).any():
        return None
    answers = graded(scores, "")
    kept = answers.confidence >= threshold
    return float(kept.mean()), float((answers.rank[kept] == 0).mean()) if kept.any() else float("nan")


def graded(scores: TaskScores, place: str) -> Answers:
    """How the labelled clips were answered."""
    own = _labelled(scores, place)
    return grade(own.log_probabilities, own.truth)


def _labelled(scores: TaskScores, place: str) -> TaskScores:
    known = np.flatnonzero(scores.truth != UNLABELLED)
    if not known.size:
        raise DataError(f"{place}: no validation clip is labelled; nothing can be fitted.")
    return scores.take(known)


def table_at(table: PredictionTable, temperatures: dict[str, float]) -> PredictionTable:
    """A table with its tasks at these temperatures."""
    tasks = {
        task: at_temperature(scores, temperatures.get(task, 1.0)) for task, scores in table.tasks.items()
    }
    return replace(table, tasks=tasks)
