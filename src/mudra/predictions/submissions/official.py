"""What is known of a challenge's official lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mudra.predictions.scores import hash_classes


@dataclass(frozen=True)
class Names:
    """A list of names that is known by its length and hash alone."""

    count: int
    sha256: str

    def are(self, names: Sequence[str]) -> bool:
        return len(names) == self.count and hash_classes(names) == self.sha256
