"""Is one run better than another, or was it luck? Paired: both answered the very same clips.

Two answers, which fail in different ways. McNemar's exact test (McNemar 1947) looks at the clips that only one of
the two has right, and takes clips as independent; with clips of few people it is too sure. The bootstrap of the
difference draws whole groups, as the intervals of single figures do, and says how large the difference is. Where many
pairs are tested, Holm's step-down correction (Holm 1979) holds the chance of any false alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from mudra.predictions.answers import Floats
from mudra.predictions.intervals import RESAMPLES, Sums, bootstrap, drawn_units
from mudra.predictions.metrics import ACTION_TASKS
from mudra.predictions.scores import PredictionTable, TaskScores
from mudra.types import UNLABELLED


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs on one task.

    Attributes:
        clips: labelled ones.
        difference: top-1 of `first` less that of `second`, in -1..1.
        interval: 95 % of the difference; None where there is but one unit to draw.
        over: what was drawn, groups or clips.
        only_first, only_second: clips that one alone has right.
        p: of McNemar's exact test, two-sided. adjusted: the same after Holm's correction over all pairs of the task.
    """

    first: str
    second: str
    task: str
    clips: int
    difference: float
    interval: tuple[float, float] | None
    over: Literal["groups", "clips"]
    only_first: int
    only_second: int
    p: float
    adjusted: float


def right_answers(table: PredictionTable) -> dict[str, tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """By task, the derived action last: labelled rows [M], and whether the likeliest class is the true one [M]."""
    found = {}
    for task, scores in table.tasks.items():
        rows = np.flatnonzero(scores.truth != UNLABELLED)
        found[task] = rows, _is_right(scores)[rows]
    if all(task in table.tasks for task in ACTION_TASKS):
        parts = [table.tasks[task] for task in ACTION_TASKS]
        rows = np.flatnonzero(np.logical_and.reduce([scores.truth != UNLABELLED for scores in parts]))
        found["action"] = rows, np.logical_and.reduce([_is_right(scores) for scores in parts])[rows]
    return found


def _is_right(scores: TaskScores) -> NDArray[np.bool_]:
    return np.asarray(scores.log_probabilities.argmax(axis=1) == scores.truth)


def compare_pairs(
    tables: Mapping[str, PredictionTable], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Pair]:
    """Every pair of runs on every task.

    Args:
        tables: as `aligned` gives them.
    """
    right = {name: right_answers(table) for name, table in tables.items()}
    groups = next(iter(tables.values())).groups
    pairs: list[Pair] = []
    for task in next(iter(right.values())):
        of_task = []
        for first, second in combinations(tables, 2):
            rows, ours = right[first][task]
            _, theirs = right[second][task]
            of_groups = [groups[row] for row in rows.tolist()]
            of_task.append(_pair(first, second, task, ours, theirs, of_groups, resamples, seed))
        for pair, adjusted in zip(of_task, holm([pair.p for pair in of_task]), strict=True):
            pairs.append(replace(pair, adjusted=adjusted))
    return pairs


def _pair(
    first: str,
    second: str,
    task: str,
    ours: NDArray[np.bool_],
    theirs: NDArray[np.bool_],
    groups: Sequence[str],
    resamples: int,
    seed: int,
) -> Pair:
    unit, units, over = drawn_units(groups)
    clips = np.arange(len(ours))
    sums = Sums(
        row=np.concatenate([clips, clips]),
        column=np.repeat([0, 1], len(clips)),
        value=np.concatenate([np.ones(len(clips)), ours.astype(np.float64) - theirs]),
        columns=2,
    )

    def difference(drawn: Floats) -> dict[str, Floats]:
        return {"difference": drawn[:, 1] / drawn[:, 0]}

    found = bootstrap(sums, unit, units, difference, resamples=resamples, seed=seed)
    only_first, only_second = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    p = mcnemar(only_first, only_second)
    return Pair(
        first=first,
        second=second,
        task=task,
        clips=len(clips),
        difference=float((ours.mean() - theirs.mean()) if len(clips) else 0.0),
        interval=found.get("difference"),
        over=over,
        only_first=only_first,
        only_second=only_second,
        p=p,
        adjusted=p,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p of McNemar's test: would a fair coin share the discordant clips out so unevenly?

    >>> mcnemar(0, 0), mcnemar(5, 0)
    (1.0, 0.0625)
    """
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p-values after Holm's step-down correction, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def class_recall(table: PredictionTable, task: str) -> tuple[NDArray[np.int64], Floats]:
    """Labelled clips of each class [C], and the share of them that is right, NaN where there is none [C]."""
    scores = table.tasks[task]
    rows, right = right_answers(table)[task]
    truth = scores.truth[rows]
    support = np.bincount(truth, minlength=len(scores.classes))
    hits = np.bincount(truth, weights=right, minlength=len(scores.classes))
    return support, np.divide(hits, support, out=np.full(len(support), np.nan), where=support > 0)


def disagreements(tables: Mapping[str, PredictionTable], task: str, limit: int) -> list[int]:
    """Rows of clips that some runs have right and some wrong, those of which the runs are surest first.

    Args:
        tables: as `aligned` gives them.
    """
    probability = np.stack([np.exp(_of_truth(table.tasks[task])) for table in tables.values()])
    right = np.stack([_is_right(table.tasks[task]) for table in tables.values()])
    labelled = next(iter(tables.values())).tasks[task].truth != UNLABELLED
    split = labelled & right.any(axis=0) & ~right.all(axis=0)
    apart = np.where(split, np.ptp(probability, axis=0), -1.0)
    order = np.argsort(-apart, kind="stable")[:limit]
    return [int(row) for row in order if split[row]]


def _of_truth(scores: TaskScores) -> Floats:
    """Log-probability of the true class, of any class where it is unknown: float64 [N]."""
    known = np.where(scores.truth == UNLABELLED, 0, scores.truth)
    return scores.log_probabilities[np.arange(len(known)), known].astype(np.float64)
