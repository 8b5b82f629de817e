"""One task in detail: its classes, what is taken for what, its calibration, its hardest clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mudra.predictions.answers import BINS, Floats, calibration_bin, grade
from mudra.predictions.scores import TaskScores
from mudra.types import UNLABELLED


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class. A figure that would be 0 / 0 is NaN: a class never predicted has no precision."""

    name: str
    support: int
    predicted: int
    precision: float
    recall: float
    f1: float


def confusion(scores: TaskScores) -> NDArray[np.int64]:
    """Counts of labelled clips, int64 [C, C]: row the true class, column the answered one."""
    classes = len(scores.classes)
    known = scores.truth != UNLABELLED
    answer = scores.log_probabilities[known].argmax(axis=1)
    return np.bincount(scores.truth[known] * classes + answer, minlength=classes**2).reshape(classes, classes)


def per_class(scores: TaskScores) -> list[ClassFigures]:
    """Precision, recall and F1 of every class, in the order of the classes."""
    counts = confusion(scores)
    support, predicted, right = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()

    def share(part: int, whole: int) -> float:
        return float(part / whole) if whole else float("nan")

    return [
        ClassFigures(
            name=name,
            support=int(support[number]),
            predicted=int(predicted[number]),
            precision=share(right[number], predicted[number]),
            recall=share(right[number], support[number]),
            f1=share(2 * right[number], support[number] + predicted[number]),
        )
        for number, name in enumerate(scores.classes)
    ]


def worst_first(classes: Sequence[ClassFigures]) -> list[ClassFigures]:
    """By F1, the lowest first; of equals the one with more clips first; classes without figures last."""
    return sorted(classes, key=lambda one: (np.isnan(one.f1), one.f1, -one.support, one.name))


def reliability(scores: TaskScores) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Calibration by bins of confidence: clips, mean confidence and accuracy, [15] each, NaN where empty."""
    known = scores.truth != UNLABELLED
    answers = grade(scores.log_probabilities[known], scores.truth[known])
    bins = calibration_bin(answers.confidence)
    clips = np.bincount(bins, minlength=BINS)
    whole = np.where(clips > 0, clips, np.nan)
    confidence = np.bincount(bins, weights=answers.confidence, minlength=BINS) / whole
    accuracy = np.bincount(bins, weights=(answers.rank == 0).astype(np.float64), minlength=BINS) / whole
    return clips, confidence, accuracy


def confused_pairs(scores: TaskScores, limit: int) -> list[tuple[str, str, int, int]]:
    """What is taken for what, most often first: (true class, answered class, clips, clips of the class)."""
    counts = confusion(scores)
    support = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    truth, answered = np.nonzero(counts)
    order = np.lexsort((answered, truth, -counts[truth, answered]))[:limit]
    return [
        (scores.classes[row], scores.classes[column], int(counts[row, column]), int(support[row]))
        for row, column in zip(truth[order].tolist(), answered[order].tolist(), strict=True)
    ]


def hardest(scores: TaskScores, limit: int) -> NDArray[np.int64]:
    """Row numbers of the labelled clips answered wrongly, the highest loss first."""
    known = np.flatnonzero(scores.truth != UNLABELLED)
    graded = grade(scores.log_probabilities[known], scores.truth[known])
    wrong = np.flatnonzero(graded.rank > 0)
    return known[wrong[np.argsort(-graded.loss[wrong], kind="stable")[:limit]]]
