"""The test clips of several folds as one table, each scored by the model that had not seen its group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mudra.errors import DataError
from mudra.predictions.scores import PredictionTable, TaskScores


def pooled(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Tables of different clips and the same classes, one below the other.

    Raises:
        DataError: a clip is in two of them, or they have not the same tasks and classes.
    """
    first = tables[0]
    for number, table in enumerate(tables[1:], 2):
        for task in first.tasks.keys() | table.tasks.keys():
            ours, theirs = (t.tasks[task].classes if task in t.tasks else () for t in (first, table))
            if ours != theirs:
                raise DataError(
                    f"fold {number}, predictions: {task} has the classes {', '.join(theirs) or 'none'}; expected those "
                    f"of fold 1: {', '.join(ours) or 'none'}. State the classes in dataset.json."
                )
    clips = [clip for table in tables for clip in table.clips]
    if len(set(clips)) < len(clips):
        twice = next(clip for clip in clips if clips.count(clip) > 1)
        raise DataError(f"clip {twice!r} is tested in two folds; expected every clip once.")
    windows = all(table.start is not None and table.stop is not None for table in tables)
    return PredictionTable(
        clips=tuple(clips),
        groups=tuple(group for table in tables for group in table.groups),
        tasks={
            task: TaskScores(
                scores.classes,
                np.concatenate([table.tasks[task].truth for table in tables]),
                np.concatenate([table.tasks[task].log_probabilities for table in tables]),
                scores.temperature
                if all(table.tasks[task].temperature == scores.temperature for table in tables)
                else 1.0,
            )
            for task, scores in first.tasks.items()
        },
        start=np.concatenate([table.start for table in tables if table.start is not None])
        if windows
        else None,
        stop=np.concatenate([table.stop for table in tables if table.stop is not None]) if windows else None,
        subsets={
            name: np.concatenate([table.subsets[name] for table in tables])
            for name in first.subsets
            if all(name in table.subsets for table in tables)
        },
    )
