"""All moments of a long clip, a part at a time, so that many large frames are never held together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mudra.types import Choose, Source, Stream

AT_ONCE = 256 * 1024**2  # bytes of one part


def every(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose all moments.

    >>> every(np.array([0.0, 0.5]))
    array([0, 1])
    """
    return np.arange(len(times), dtype=np.int64)


def in_parts(source: Source, choose: Choose = every) -> Iterator[Stream]:
    """What `choose` picks of a source, in the order picked: parts of at most `AT_ONCE` bytes, or one moment.

    Raises:
        DataError: as the source's `read`.
    """
    seen: list[NDArray[np.float64]] = []

    def first(times: NDArray[np.float64]) -> NDArray[np.int64]:
        seen[:] = [times]
        return np.zeros(1, np.int64)

    one = source.read(first).values
    numbers = np.asarray(choose(seen[0]), np.int64)
    step = max(1, AT_ONCE // max(one.nbytes, 1))
    for part in np.split(numbers, np.arange(step, len(numbers), step)):
        yield source.read(partial(_just, part))


def _just(numbers: NDArray[np.int64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose these moments, as far as they are there."""
    return numbers[numbers < len(times)]
