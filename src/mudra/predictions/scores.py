"""The scores of a model on many clips, and what makes them fit to compute from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.types import UNLABELLED

SUM_TOLERANCE = 1e-3  # how far log(sum(exp(row))) may be from 0; float32 rows stay below 1e-5
REWRITE = "Write it again with `mudra evaluate`."


@dataclass(frozen=True, slots=True, eq=False)
class TaskScores:
    """One task's scores of N clips over C classes.

    Attributes:
        classes: C class names, in the order of the scores.
        truth: int64 [N], the true class number, UNLABELLED where unknown.
        log_probabilities: float32 [N, C]; exp of a row sums to 1.
        temperature: by which the model's own log-probabilities were divided; 1 is as the model gave them.
    """

    classes: tuple[str, ...]
    truth: NDArray[np.int64]
    log_probabilities: NDArray[np.float32]
    temperature: float = 1.0

    def take(self, rows: NDArray[np.int64]) -> TaskScores:
        """The clips of these numbers, in this order."""
        return replace(self, truth=self.truth[rows], log_probabilities=self.log_probabilities[rows])


@dataclass(frozen=True, slots=True, eq=False)
class PredictionTable:
    """The scores of N clips in every task, row by row the same clip.

    Attributes:
        clips: N unique ids.
        groups: N groups, "" where unknown.
        tasks: scores by task name.
        start, stop: float64 [N] seconds where a clip is a window of a recording, else None.
        subsets: which clips are reported apart as well, bool [N] by `NAME`, or by `NAME:TASK` for one task alone.
    """

    clips: tuple[str, ...]
    groups: tuple[str, ...]
    tasks: Mapping[str, TaskScores]
    start: NDArray[np.float64] | None = None
    stop: NDArray[np.float64] | None = None
    subsets: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> PredictionTable:
        """The rows of these numbers, in this order."""
        chosen = np.asarray(rows, dtype=np.int64)
        return PredictionTable(
            clips=tuple(self.clips[row] for row in chosen),
            groups=tuple(self.groups[row] for row in chosen),
            tasks={name: scores.take(chosen) for name, scores in self.tasks.items()},
            start=None if self.start is None else self.start[chosen],
            stop=None if self.stop is None else self.stop[chosen],
            subsets={name: members[chosen] for name, members in self.subsets.items()},
        )


def hash_classes(classes: Sequence[str]) -> str:
    """The sha256, in hex, of class names in their order."""
    return hashlib.sha256(json.dumps(list(classes)).encode()).hexdigest()


def check(table: PredictionTable, place: str) -> None:
    """Refuse a table that nothing right can be computed from.

    Args:
        place: what the error begins with, usually the file.
    Raises:
        DataError: on the first thing that is wrong.
    """
    count = len(table)
    if len(table.groups) != count:
        raise DataError(f"{place}: found {len(table.groups)} groups for {count} clips. Give each clip one.")
    if not table.tasks:
        raise DataError(f"{place}: found no task; expected the scores of at least one. {REWRITE}")
    if len(set(table.clips)) != count:
        twice = next(clip for clip, last in _with_last_row(table.clips) if last is not None)
        raise DataError(f"{place}: clip {twice!r} stands in two rows; expected each id once. {REWRITE}")
    for name in (*table.clips, *table.groups):
        if not _is_text(name):
            raise DataError(f"{place}: {name!r} is not text in UTF-8. Rename the clip or group.")
    if (table.start is None) != (table.stop is None):
        raise DataError(f"{place}: found only one of start and stop; expected both or neither. {REWRITE}")
    for name, members in table.subsets.items():
        if members.dtype != bool or members.shape != (count,) or not _is_text(name):
            raise DataError(f"{place}, subset {name!r}: expected true or false of every clip. {REWRITE}")
    for task, scores in table.tasks.items():
        _check_task(scores, table.clips, f"{place}, task {task!r}")


def _check_task(scores: TaskScores, clips: Sequence[str], place: str) -> None:
    """Shapes, class names, truth and probabilities of one task."""
    expected = (len(clips), len(scores.classes))
    for name in scores.classes:
        if not _is_text(name):
            raise DataError(f"{place}: class {name!r} is not text in UTF-8. Rename the class.")
    if not scores.classes:
        raise DataError(f"{place}: found no classes; expected at least one. {REWRITE}")
    if len(set(scores.classes)) != len(scores.classes):
        twice = next(name for name, last in _with_last_row(scores.classes) if last is not None)
        raise DataError(f"{place}: class {twice!r} is named twice; expected each once. {REWRITE}")
    if scores.log_probabilities.shape != expected or scores.truth.shape != expected[:1]:
        raise DataError(
            f"{place}: found scores {list(scores.log_probabilities.shape)} and truth "
            f"{list(scores.truth.shape)}; expected {list(expected)} and [{expected[0]}] (clips, classes). "
            f"{REWRITE}"
        )
    known = scores.truth != UNLABELLED
    outside = np.flatnonzero(known & ((scores.truth < 0) | (scores.truth >= expected[1])))
    if outside.size:
        row = int(outside[0])
        raise DataError(
            f"{place}, clip {clips[row]!r}: true class number {scores.truth[row]}; "
            f"expected 0 to {expected[1] - 1}, or {UNLABELLED} where unknown."
        )
    logs = scores.log_probabilities
    broken = np.flatnonzero(~np.isfinite(logs).all(axis=1))
    if broken.size:
        row = int(broken[0])
        raise DataError(
            f"{place}, clip {clips[row]!r}: a log-probability is NaN or infinite; expected finite numbers. "
            "Look at this clip and at the model's weights."
        )
    sums = np.logaddexp.reduce(logs.astype(np.float64), axis=1)
    away = np.flatnonzero(np.abs(sums) > SUM_TOLERANCE)
    if away.size:
        row = int(away[0])
        raise DataError(
            f"{place}, clip {clips[row]!r}: the probabilities sum to {np.exp(min(sums[row], 700)):.4g}; "
            "expected 1. Write log-probabilities (log_softmax), not logits or probabilities."
        )


def _is_text(name: str) -> bool:
    """Whether UTF-8 can hold it: names of files in another encoding carry lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_last_row(names: Sequence[str]) -> Iterator[tuple[str, int | None]]:
    """Each name with the row it was last seen in, None the first time."""
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        yield name, seen.get(name)
        seen[name] = row
