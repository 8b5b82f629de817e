"""What another program said of clips: a CSV or Parquet file with the clips' ids and a column for each class.

    clip,wave,push,pull
    a1,0.7,0.2,0.1

Classes are found by the columns' names, clips by their ids; the order of neither counts. A column `truth`, where
there is one that is no class, is compared with the truth that is known. Probabilities must be finite, not
negative and sum to 1; one of 0 is raised to the least that float32 holds, so that its logarithm is finite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from mudra.errors import DataError, did_you_mean
from mudra.predictions.answers import Floats
from mudra.predictions.scores import SUM_TOLERANCE, PredictionTable, TaskScores
from mudra.types import UNLABELLED

ENDINGS = (".csv", ".parquet")
CLIP, TRUTH = "clip", "truth"


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxFile:
    """A file's columns, not yet looked at: which of them are classes, a run tells."""

    place: str
    columns: pa.Table

    def table(self, reference: PredictionTable, task: str) -> PredictionTable:
        """The file as the predictions of one task of a run: its clips' groups and truth are the run's.

        Raises:
            DataError: columns are no classes, classes or clips are missing or stand twice, the truth differs, or a row
                is no distribution.
        """
        classes = reference.tasks[task].classes
        told = self._check_names(classes, task)
        clips = self._texts(CLIP)
        row_of: dict[str, int] = {}
        for row, clip in enumerate(clips):
            if row_of.setdefault(clip, row) != row:
                raise DataError(
                    f"{self.place}, row {row + 1}: clip {clip!r} stands in two rows; expected each id once."
                )
        lacking = [clip for clip in reference.clips if clip not in row_of]
        known = set(reference.clips)
        foreign = [clip for clip in clips if clip not in known]
        for names, which in ((lacking, "lacks"), (foreign, "has, and the runs have not,")):
            if names:
                raise DataError(
                    f"{self.place}: it {which} {len(names):,} of the clips, such as {min(names)!r}; expected those of "
                    "the runs."
                )
        rows = np.array([row_of[clip] for clip in reference.clips], np.int64)
        if told:
            self._compare_truth(reference, task, rows)
        logs = self._log_probabilities(classes, clips)[rows]
        return replace(reference, tasks={task: TaskScores(classes, reference.tasks[task].truth, logs)})

    def _check_names(self, classes: tuple[str, ...], task: str) -> bool:
        """Exactly `clip` and the classes, in any order; whether there is a column `truth` besides."""
        found = self.columns.column_names
        twice = next((name for name in found if found.count(name) > 1), None)
        if twice is not None:
            raise DataError(
                f"{self.place}: column {twice!r} stands twice; expected `clip` and each class once."
            )
        for name in (CLIP, *classes):
            if name not in found:
                what = "the clips' ids" if name == CLIP else f"a class of {task}"
                raise DataError(
                    f"{self.place}: column {name!r} is missing, {what}.{did_you_mean(name, found)} Add it."
                )
        told = TRUTH in found and TRUTH not in classes
        for name in found:
            if name not in classes and name != CLIP and not (told and name == TRUTH):
                raise DataError(
                    f"{self.place}: column {name!r} is no class of {task}.{did_you_mean(name, classes)} Remove it."
                )
        if CLIP in classes:
            raise DataError(
                f"{self.place}: {task} has a class {CLIP!r}, which the ids' column is called; rename the class."
            )
        return told

    def _texts(self, name: str) -> list[str]:
        column = self.columns.column(name)
        try:
            texts: list[str | None] = column.cast(pa.string()).to_pylist()
        except pa.ArrowException:
            raise DataError(f"{self.place}, column {name!r}: found {column.type}; expected text.") from None
        empty = next((row for row, text in enumerate(texts, 1) if not text), None)
        if empty is not None and name == CLIP:
            raise DataError(f"{self.place}, row {empty}: the clip's id is empty; expected one in every row.")
        return [text or "" for text in texts]

    def _compare_truth(self, reference: PredictionTable, task: str, rows: np.ndarray) -> None:
        told = self._texts(TRUTH)
        scores = reference.tasks[task]
        for clip, number, row in zip(reference.clips, scores.truth.tolist(), rows.tolist(), strict=True):
            if number != UNLABELLED and told[row] and told[row] != scores.classes[number]:
                raise DataError(
                    f"{self.place}, row {row + 1}: clip {clip!r} is {told[row]!r} here and {scores.classes[number]!r} "
                    "in the runs; expected the same truth."
                )

    def _log_probabilities(self, classes: tuple[str, ...], clips: list[str]) -> np.ndarray:
        """float32 [N, C], in the file's order of rows and the run's order of classes."""
        shares: list[Floats] = []
        for name in classes:
            column = self.columns.column(name)
            try:
                values = column.cast(pa.float64()).to_numpy()
            except (pa.ArrowException, ValueError):
                raise DataError(
                    f"{self.place}, column {name!r}: a value is not a number; expected probabilities."
                ) from None
            shares.append(values)
        share_NC = np.stack(shares, axis=1) if clips else np.zeros((0, len(classes)))
        for row in np.flatnonzero(~(np.isfinite(share_NC) & (share_NC >= 0)).all(axis=1)):
            raise DataError(
                f"{self.place}, row {row + 1}: clip {clips[row]!r} has a probability that is negative, infinite or "
                "empty; expected numbers from 0 to 1."
            )
        sums = share_NC.sum(axis=1)
        for row in np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE):
            raise DataError(
                f"{self.place}, row {row + 1}: the probabilities of clip {clips[row]!r} sum to {sums[row]:.4g}; "
                "expected 1. Write the softmax, not logits."
            )
        share_NC = np.maximum(share_NC / sums[:, None], np.finfo(np.float32).tiny)
        return np.log(share_NC / share_NC.sum(axis=1, keepdims=True)).astype(np.float32)


def read_softmax(path: Path) -> SoftmaxFile:
    """Read a CSV or Parquet file of probabilities.

    Raises:
        DataError: it cannot be read as what its name says.
    """
    try:
        if path.suffix == ".parquet":
            with path.open("rb") as file:
                columns = pq.read_table(file)
        else:
            text = {CLIP: pa.string(), TRUTH: pa.string()}
            convert = pa_csv.ConvertOptions(column_types=text, strings_can_be_null=False)
            columns = pa_csv.read_csv(path, convert_options=convert)
    except (pa.ArrowException, OSError, ValueError) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(
            f"{path}: cannot be read ({reason}); expected CSV or Parquet with `clip` and a column for each class."
        ) from None
    return SoftmaxFile(str(path), columns)
