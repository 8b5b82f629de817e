"""What is known of several runs that answered the same clips: the one reading for the page and the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mudra.errors import DataError, UsageError
from mudra.predictions import PredictionTable, overfitting_gap, summarise, tasks_of
from mudra.predictions.alignment import aligned
from mudra.predictions.comparison import Pair, compare_pairs
from mudra.progress import Progress, silent
from mudra.reports import curves
from mudra.reports.contents import RunContents, read_run
from mudra.reports.costs import Cost, costs


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Runs by name, in the order given.

    Attributes:
        tables: of `split`, row by row the same clip.
        metrics: figures of `split`, computed anew from the tables.
        pairs: every two runs on every task.
        costs: of runs that have a model.
        gaps: train less validation top-1 by task, where known.
    """

    split: str
    runs: Mapping[str, RunContents]
    tables: Mapping[str, PredictionTable]
    metrics: Mapping[str, Mapping[str, Any]]
    pairs: Sequence[Pair]
    costs: Mapping[str, Cost]
    gaps: Mapping[str, Mapping[str, float]]

    @property
    def tasks(self) -> list[str]:
        """The tasks, the derived action last."""
        return list(tasks_of(next(iter(self.metrics.values()))))

    def figures(self, name: str, task: str) -> Mapping[str, Any]:
        """A run's figures of a task."""
        return tasks_of(self.metrics[name])[task]

    def ranked(self, task: str) -> list[str]:
        """The runs by top-1, the best first; of equals the one given first."""
        return sorted(self.runs, key=lambda name: -(self.figures(name, task).get("top1") or 0.0))


def read_compared(
    paths: Sequence[Path], split: str = "test", *, latency: bool = True, progress: Progress = silent
) -> Compared:
    """Read runs and compare them.

    Raises:
        UsageError: fewer than two runs, or one twice.
        DataError: a run lacks predictions of the split, or they are not about the same clips and classes.
    """
    named = _named(paths)
    runs = {name: read_run(path) for name, path in named.items()}
    tables = {}
    for name, contents in runs.items():
        if split not in contents.tables:
            broken = next((note for note in contents.notes if f"{split}.parquet" in note), "")
            raise DataError(
                broken
                or f"{named[name]}: it holds no predictions of the split {split!r}. Make them: mudra evaluate "
                f"{named[name]} --split {split}"
            )
        tables[name] = contents.tables[split]
    tables = aligned(tables)
    return Compared(
        split=split,
        runs=runs,
        tables=tables,
        metrics={name: summarise(table, split) for name, table in tables.items()},
        pairs=compare_pairs(tables),
        costs=costs(named, latency=latency, progress=progress),
        gaps={name: _gap(contents) for name, contents in runs.items()},
    )


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Short names: the folders' own where they differ, else with as much of the path before as tells them apart."""
    if len(paths) < 2:
        raise UsageError(f"compare: found {len(paths)} run; expected two or more.")
    whole = [path.resolve() for path in paths]
    for path in whole:
        if whole.count(path) > 1:
            raise UsageError(f"{path}: it is named twice; name each run once.")
    for length in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-length:]) for path in whole]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, paths, strict=True))


def _gap(contents: RunContents) -> dict[str, float]:
    """The overfitting gap in top-1: from saved figures of train and val, else from the end of the log.

    Of a cross-validation the mean of its folds; where none had clips for validation, its test clips tell.
    """
    both = [(fold.get("train"), fold.get("val", fold.get("test"))) for fold in contents.folds]
    both = both or [(contents.metrics.get("train"), contents.metrics.get("val"))]
    gaps = [overfitting_gap(train, unseen) for train, unseen in both if train and unseen]
    if gaps and len(gaps) == len(both):
        tasks = [task for task in gaps[0] if all(task in gap for gap in gaps)]
        return {task: fmean(gap[task]["top1"] for gap in gaps) for task in tasks}
    if contents.log is None:
        return {}
    found = {task: curves.last_gap(contents.log, f"{task}/top1") for task in contents.log.tasks}
    return {task: gap for task, gap in found.items() if gap is not None}
