"""Figures of a prediction table, computed from the table alone.

Conventions, for every figure:
  * Clips whose true class is unknown are left out, and counted.
  * Equal scores are ranked by class number, so a figure never depends on the order of rows.
  * `top5` looks at 5 classes, or at all where there are fewer.
  * `macro_f1` is the mean over the classes that occur as truth or as prediction, `mean_class_accuracy`
    (balanced accuracy) over those that occur as truth: scikit-learn's conventions. The tests hold the
    formulas here to scikit-learn's results; they are written out because the bootstrap needs them on sums.
  * `ece` is the expected calibration error (Guo et al., ICML 2017, arXiv:1706.04599): 15 equal bins
    (low, high] of the highest probability, mean |accuracy - confidence| weighted by clips. It has no
    interval: resampling adds to it even where a model is perfectly calibrated.
  * `baseline` is the top-1 of always answering the class that is most frequent among these clips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.files import write_json
from mudra.predictions.answers import BINS, TOP, Answers, Floats, calibration_bin, grade, pair_rank
from mudra.predictions.intervals import RESAMPLES, Measure, Sums, bootstrap, drawn_units
from mudra.predictions.scores import PredictionTable, TaskScores
from mudra.types import UNLABELLED

TASK_FIGURES = ("top1", "top5", "macro_f1", "mean_class_accuracy", "loss", "ece")
ACTION_FIGURES = ("top1", "top5", "loss", "ece")
ACTION_TASKS = ("verb", "noun")


def summarise(
    table: PredictionTable, split: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """All figures of one split, as `metrics/<split>.json` holds them. Fractions are in 0..1.

    Args:
        resamples: of the bootstrap; 0 gives no intervals and takes no time.
    Returns:
        {"split", "clips", "tasks": {task: figures}, and "action": figures where there are verb and noun; and where
        some clips are reported apart, "subsets": {name: {"clips", "tasks", "action"}}}.
        Figures are None where no clip is labelled. Beside them stand `clips` (labelled), `unlabelled`,
        `classes`, `groups` (known among the labelled), `intervals`, `interval_over` ("groups" | "clips").
    """
    by_id = sorted(range(len(table)), key=table.clips.__getitem__)
    table = table.take(by_id)  # so that the order of rows cannot change even the last digit
    summary: dict[str, Any] = {"split": split, **_figures(table, resamples, seed)}
    subsets = {name: _figures(part, resamples, seed, name) for name, part in _parts(table).items()}
    return summary | ({"subsets": subsets} if subsets else {})


def _figures(table: PredictionTable, resamples: int, seed: int, subset: str = "") -> dict[str, Any]:
    """The figures of every task, and of action. Of a subset, each task's clips may be others."""
    tasks = {}
    for task, scores in table.tasks.items():
        rows = _members(table, subset, task)
        if rows is not None:
            groups = [table.groups[row] for row in rows.tolist()]
            tasks[task] = _summarise_task(scores.take(rows), groups, resamples, seed)
    figures: dict[str, Any] = {"clips": len(table), "tasks": tasks}
    rows = _members(table, subset, "action") if all(task in table.tasks for task in ACTION_TASKS) else None
    if rows is not None:
        verb, noun = (table.tasks[task].take(rows) for task in ACTION_TASKS)
        groups = [table.groups[row] for row in rows.tolist()]
        figures["action"] = _summarise_action(verb, noun, groups, resamples, seed)
    return figures


def _parts(table: PredictionTable) -> dict[str, PredictionTable]:
    """The clips of each subset that has some, whichever task they count for."""
    members: dict[str, NDArray[np.bool_]] = {}
    for key, inside in table.subsets.items():
        name = key.partition(":")[0]
        members[name] = members.get(name, np.zeros(len(table), bool)) | inside
    return {name: table.take(np.flatnonzero(inside)) for name, inside in members.items() if inside.any()}


def _members(table: PredictionTable, subset: str, task: str) -> NDArray[np.int64] | None:
    """The rows that count for a task in a subset ("": all of the table); None where the subset says nothing of it."""
    if not subset:
        return np.arange(len(table))
    inside = table.subsets.get(f"{subset}:{task}", table.subsets.get(subset))
    return None if inside is None else np.flatnonzero(inside)


def _summarise_task(scores: TaskScores, groups: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    known = np.flatnonzero(scores.truth != UNLABELLED)
    answers = grade(scores.log_probabilities[known], scores.truth[known])
    sums = _sums(answers, classes=len(scores.classes))
    figures = _with_intervals(
        sums, _task_figures, TASK_FIGURES, [groups[row] for row in known.tolist()], resamples, seed
    )
    counts = np.bincount(answers.truth, minlength=1)
    return {
        "clips": len(known),
        "unlabelled": len(scores.truth) - len(known),
        "classes": len(scores.classes),
        "baseline": float(counts.max() / len(known)) if len(known) else None,
        **figures,
    }


def _summarise_action(
    verb: TaskScores, noun: TaskScores, groups: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """Verb and noun both right; pairs are ranked by the product of their probabilities."""
    known = np.flatnonzero((verb.truth != UNLABELLED) & (noun.truth != UNLABELLED))
    verbs = grade(verb.log_probabilities[known], verb.truth[known])
    nouns = grade(noun.log_probabilities[known], noun.truth[known])
    pairs = Answers(
        rank=pair_rank(
            verb.log_probabilities[known], noun.log_probabilities[known], verbs.truth, nouns.truth
        ),
        loss=verbs.loss + nouns.loss,
        confidence=verbs.confidence * nouns.confidence,
        truth=verbs.truth * len(noun.classes) + nouns.truth,
        answer=verbs.answer * len(noun.classes) + nouns.answer,
    )
    figures = _with_intervals(
        _sums(pairs, classes=0),
        _shared_figures,
        ACTION_FIGURES,
        [groups[row] for row in known.tolist()],
        resamples,
        seed,
    )
    counts = np.unique(pairs.truth, return_counts=True)[1]
    return {
        "clips": len(known),
        "unlabelled": len(verb.truth) - len(known),
        "baseline": float(counts.max() / len(known)) if len(known) else None,
        **figures,
    }


def _with_intervals(
    sums: Sums, measure: Measure, names: Sequence[str], groups: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """The figures of `names`, their intervals, and what the intervals were drawn over."""
    unit, units, over = drawn_units(groups)
    point = measure(sums.total()) if groups else {}
    intervals = bootstrap(sums, unit, units, measure, resamples=resamples, seed=seed)
    return {
        **{name: float(point[name][0]) if point else None for name in names},
        "groups": len(set(groups) - {""}),
        "interval_over": over,
        "intervals": {name: list(interval) for name, interval in intervals.items() if name != "ece"},
    }


# Columns of the sums: clips, top-1, top-5, loss, then BINS differences of calibration, then per class
# three blocks: clips of the class, answers of the class, right answers of the class.
_SHARED = 4 + BINS


def _sums(answers: Answers, classes: int) -> Sums:
    """The statistics of N clips: 5 entries a clip, and 3 more for the classes (none with classes=0)."""
    rows = np.arange(len(answers.rank))
    right = (answers.rank == 0).astype(np.float64)
    one = np.ones(len(rows))
    entries: list[tuple[NDArray[np.int64], Floats]] = [
        (0 * rows, one),
        (0 * rows + 1, right),
        (0 * rows + 2, (answers.rank < TOP).astype(np.float64)),
        (0 * rows + 3, answers.loss),
        (4 + calibration_bin(answers.confidence), right - answers.confidence),
    ]
    if classes:
        entries += [
            (_SHARED + answers.truth, one),
            (_SHARED + classes + answers.answer, one),
            (_SHARED + 2 * classes + answers.truth, right),
        ]
    return Sums(
        row=np.tile(rows, len(entries)),
        column=np.concatenate([column for column, _ in entries]),
        value=np.concatenate([value for _, value in entries]),
        columns=_SHARED + 3 * classes,
    )


def _shared_figures(sums: Floats) -> dict[str, Floats]:
    """The figures that need no classes: [R, columns] -> [R] each."""
    clips = sums[:, 0]
    return {
        "top1": sums[:, 1] / clips,
        "top5": sums[:, 2] / clips,
        "loss": sums[:, 3] / clips,
        "ece": np.abs(sums[:, 4:_SHARED]).sum(axis=1) / clips,
    }


def _task_figures(sums: Floats) -> dict[str, Floats]:
    """All figures of a task: [R, columns] -> [R] each."""
    support, answered, right = np.split(sums[:, _SHARED:], 3, axis=1)  # [R, C] each
    occurs, is_truth = support + answered > 0, support > 0
    f1 = np.divide(2 * right, support + answered, out=np.zeros_like(right), where=occurs)
    recall = np.divide(right, support, out=np.zeros_like(right), where=is_truth)
    return {
        **_shared_figures(sums),
        "macro_f1": f1.sum(axis=1) / occurs.sum(axis=1),
        "mean_class_accuracy": recall.sum(axis=1) / is_truth.sum(axis=1),
    }


def overfitting_gap(train: Mapping[str, Any], val: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """How much better train looks than val, by task, from two summaries: above 0 is overfitting.

    Returns:
        {task: {"top1": train - val, "loss": val - train}}, for the tasks that both have figures of, action the last.
    """
    gaps = {}
    for task, seen in tasks_of(train).items():
        unseen = tasks_of(val).get(task, {})
        if seen.get("top1") is not None and unseen.get("top1") is not None:
            gaps[task] = {"top1": seen["top1"] - unseen["top1"], "loss": unseen["loss"] - seen["loss"]}
    return gaps


def tasks_of(summary: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures of each task, the derived action last."""
    return {**summary["tasks"], **({"action": summary["action"]} if summary.get("action") else {})}


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write a summary as JSON, whole or not at all.

    Raises:
        OutputError: the file could not be written.
    """
    write_json(Path(path), metrics)


def read_metrics(path: Path) -> dict[str, Any]:
    """Read a summary that `write_metrics` wrote.

    Raises:
        DataError: the file is missing or does not hold a summary.
    """
    try:
        metrics = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(
            f"{path}: no readable metrics ({reason}). Make them with `mudra evaluate`."
        ) from problem
    if not _is_summary(metrics):
        raise DataError(f"{path}: found JSON that is no summary of metrics. Make them with `mudra evaluate`.")
    found: dict[str, Any] = metrics
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _is_summary(metrics: Any) -> bool:
    """Whether the parts that readers compute with are there and are numbers."""
    if not isinstance(metrics, dict) or not isinstance(metrics.get("split"), str):
        return False
    subsets = metrics.get("subsets", {})
    return isinstance(subsets, dict) and all(map(_holds_figures, [metrics, *subsets.values()]))


def _holds_figures(part: Any) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("tasks"), dict):
        return False
    action = [part["action"]] if "action" in part else []
    return isinstance(part.get("clips"), int) and all(map(_are_figures, [*part["tasks"].values(), *action]))


def _are_figures(figures: Any) -> bool:
    if not isinstance(figures, dict) or not isinstance(figures.get("intervals", {}), dict):
        return False
    pairs = figures.get("intervals", {}).values()
    numbers = [
        figures.get(name) for name in (*TASK_FIGURES, "baseline", "clips", "unlabelled", "classes", "groups")
    ]
    return all(number is None or isinstance(number, int | float) for number in numbers) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(end, int | float) for end in pair)
        for pair in pairs
    )
