"""What a model answered for each labelled clip, and how good the answer was: one row a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 15  # of calibration, equally wide
TOP = 5


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the figures need of N labelled clips: int64 rank of the truth (0 is best), natural-log loss,
    confidence of the answer, and the true and answered class numbers."""

    rank: NDArray[np.int64]
    loss: Floats
    confidence: Floats
    truth: NDArray[np.int64]
    answer: NDArray[np.int64]


def grade(logs: NDArray[np.float32], truth: NDArray[np.int64]) -> Answers:
    """From log-probabilities [N, C] and truth [N], every clip labelled."""
    of_truth = logs[np.arange(len(truth)), truth][:, None]
    lower = np.arange(logs.shape[1]) < truth[:, None]
    ahead = (logs > of_truth) | ((logs == of_truth) & lower)
    return Answers(
        rank=ahead.sum(axis=1),
        loss=0.0 - of_truth[:, 0].astype(np.float64),  # a minus sign alone would make -0.0
        confidence=np.exp(logs.max(axis=1).astype(np.float64)),
        truth=truth,
        answer=logs.argmax(axis=1),
    )


def pair_rank(
    verb_logs: NDArray[np.float32],
    noun_logs: NDArray[np.float32],
    verb: NDArray[np.int64],
    noun: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Place of the true pair among all pairs by the product of probabilities, exact below TOP.

    Any of the best five pairs is made of one of the best five verbs and one of the best five nouns,
    so 25 products are looked at, not all (97 x 300 in EPIC-KITCHENS).
    """
    rows = np.arange(len(verb))
    best_verbs = np.argsort(-verb_logs, axis=1, kind="stable")[:, :TOP, None]  # [N, 5, 1]
    best_nouns = np.argsort(-noun_logs, axis=1, kind="stable")[:, None, :TOP]  # [N, 1, 5]
    each = rows[:, None, None]
    product = verb_logs[each, best_verbs].astype(np.float64) + noun_logs[each, best_nouns]
    of_truth = (verb_logs[rows, verb].astype(np.float64) + noun_logs[rows, noun])[:, None, None]
    true_verb, true_noun = verb[:, None, None], noun[:, None, None]
    lower = (best_verbs < true_verb) | ((best_verbs == true_verb) & (best_nouns < true_noun))
    ahead = (product > of_truth) | ((product == of_truth) & lower)
    return ahead.sum(axis=(1, 2))


def calibration_bin(confidence: Floats) -> NDArray[np.int64]:
    """Which of the equal bins (0, 1/15], (1/15, 2/15], ... a probability lies in."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
