"""What is known of a challenge's official lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mudra.errors import DataError
from mudra.predictions.scores import hash_classes


@dataclass(frozen=True)
class Names:
    """A list of names that is known by its length and hash alone."""

    count: int
    sha256: str

    def are(self, names: Sequence[str]) -> bool:
        return len(names) == self.count and hash_classes(names) == self.sha256

    def require(self, tasks: Mapping[str, Sequence[str]], task: str, challenge: str, expected: str) -> None:
        """Refuse a model whose classes of a task are not these, in their order.

        Args:
            expected: what they are, and what to do.
        Raises:
            DataError: they are not.
        """
        found = tasks.get(task, ())
        if not self.are(found):
            told = f"{len(found)} classes of {task}" if found else f"no task {task!r}"
            raise DataError(f"submission {challenge}: found {told}; expected the {self.count} {expected}")
