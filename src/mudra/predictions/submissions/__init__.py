"""Files that a challenge's server takes, written from saved predictions alone. One file a challenge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mudra.errors import UsageError, did_you_mean
from mudra.predictions.scores import PredictionTable
from mudra.predictions.submissions.epic import Epic
from mudra.predictions.submissions.montalbano import Montalbano

__all__ = ["FORMATS", "Epic", "Montalbano", "Submission", "submission"]


class Submission(Protocol):
    """How one challenge wants its answers."""

    def check_classes(self, tasks: Mapping[str, Sequence[str]]) -> None:
        """Refuse a model whose classes are not the challenge's, before it looks at a single clip.

        Args:
            tasks: class names by task, in the order of the scores.
        Raises:
            DataError: they are others.
        """
        ...

    def write(self, table: PredictionTable, split: str, folder: Path) -> Path:
        """Write the file into a folder, whole or not at all, and check it.

        Returns:
            its path.
        Raises:
            DataError: the predictions are not those of the challenge's split.
            OutputError: it cannot be written.
        """
        ...


FORMATS: Mapping[str, Callable[[], Submission]] = {"epic": Epic, "montalbano": Montalbano}


def submission(name: str) -> Submission:
    """The format of this name, with its usual options.

    Raises:
        UsageError: there is none.
    """
    if name not in FORMATS:
        raise UsageError(
            f"--submission: found {name!r}; expected one of {', '.join(FORMATS)}.{did_you_mean(name, FORMATS)}"
        )
    return FORMATS[name]()
