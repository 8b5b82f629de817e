"""Montalbano: the CSV that the course's server of S4 takes, a line for each test clip.

    Id,y
    1,17
    2,4

`Id` is the number of the clip in the TFRecords, in rising order; `y` the likeliest class, counted as their labels are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mudra.errors import DataError
from mudra.files import replace_file
from mudra.predictions.scores import PredictionTable
from mudra.predictions.submissions.official import Names

TASK, HEADER = "label", "Id,y"
CLASSES = Names(20, "1cf3e215d5088e0f5fa8c9d05f1fd0df6c534430a5497f5907e28130b758162f")
_CLIP = re.compile(r"test-(-?\d{1,19})", re.ASCII)
_LINE = re.compile(r"(-?\d{1,19}),(\d{1,2})", re.ASCII)


@dataclass(frozen=True)
class Montalbano:
    """The course's format; see `submissions.Submission`.

    Attributes:
        first: the number of the first class in the TFRecords.
        clips: the ids of all test clips, each of which must be answered.
    """

    first: int = 0
    clips: frozenset[str] = field(default_factory=frozenset)

    def check_classes(self, tasks: Mapping[str, Sequence[str]]) -> None:
        """Refuse a model whose classes are not the 20 gestures, in their order."""
        expected = "gestures in their order. Submit a model that was trained on montalbano."
        CLASSES.require(tasks, TASK, "montalbano", expected)

    def write(self, table: PredictionTable, split: str, folder: Path) -> Path:
        """Write `montalbano-test.csv`. Equal predictions give equal bytes."""
        self.check_classes({task: scores.classes for task, scores in table.tasks.items()})
        if split != "test":
            raise DataError(f"submission montalbano: found the split {split!r}; the server takes test.")
        best = table.tasks[TASK].log_probabilities.argmax(axis=1) + self.first
        answers: dict[int, int] = {}
        for clip, y in zip(table.clips, best.tolist(), strict=True):
            if _number(clip) in answers:
                raise DataError(
                    f"submission montalbano: {clip!r} answers id {_number(clip)} twice; expected it once."
                )
            answers[_number(clip)] = y
        lines = [HEADER, *(f"{clip},{answers[clip]}" for clip in sorted(answers))]
        text = "\n".join(lines) + "\n"
        self.check(text, "submission montalbano")
        path = folder / "montalbano-test.csv"
        replace_file(path, text.encode())
        return path

    def check(self, text: str, place: str) -> None:
        """See that a file answers every test clip once, in rising order, with a class.

        Raises:
            DataError: naming the first line that is wrong.
        """
        header, *lines = text.split("\n")
        if header != HEADER or lines[-1:] != [""]:
            raise DataError(
                f"{place}: begins with {header[:40]!r}; expected {HEADER}, and a line for each clip."
            )
        found: list[int] = []
        last = self.first + CLASSES.count - 1
        for row, line in enumerate(lines[:-1], 2):
            parts = _LINE.fullmatch(line)
            if parts is None or not self.first <= int(parts[2]) <= last:
                raise DataError(
                    f"{place}, line {row}: found {line[:40]!r}; expected an id and a class from {self.first} to {last}."
                )
            if found and int(parts[1]) <= found[-1]:
                raise DataError(
                    f"{place}, line {row}: id {parts[1]} after {found[-1]}; expected each once, rising."
                )
            found.append(int(parts[1]))
        wanted = {_number(clip) for clip in self.clips}
        if wanted != set(found):
            strange, missing = sorted(set(found) - wanted), sorted(wanted - set(found))
            told = f"{strange[0]} is none of them" if strange else f"{missing[0]} is missing"
            raise DataError(
                f"{place}: {len(found):,} clips, and {told}; expected each of the {len(wanted):,} test clips once. "
                "Evaluate the whole test split."
            )


def _number(clip: str) -> int:
    found = _CLIP.fullmatch(clip)
    if found is None:
        raise DataError(
            f"submission montalbano: clip {clip[:40]!r} is no test clip of Montalbano; expected test-1 and the like."
        )
    return int(found[1])
