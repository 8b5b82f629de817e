"""Streams that lie in `.ts` files of the UEA & UCR archive: text, many sequences in one file.

A line is one sequence: its channels separated by `:`, their values by `,`, the class last. The sequences are read as
one long recording, one after the other, so that a clip is a part of it, told by start and stop. Points are three
channels each: x, y, z of the first, then of the next.

Source: Bagnall et al. 2018, arXiv:1811.00075.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.arrays import ArraySource
from mudra.sources.limits import DEFAULT_LIMITS, named, read_regular


@dataclass(frozen=True, slots=True)
class Sequences:
    """All sequences of a file.

    Attributes:
        values: float32 [T,C], those of all sequences one after the other, NaN where a value is missing.
        begins: int64 [sequences + 1], the frame at which each begins, and the end of the last.
        labels: class of each sequence, as the file writes it; "" where it has none.
        classes: as the file's header lists them.
        lines: line of each sequence, as a text editor counts.
    """

    values: NDArray[np.float32]
    begins: NDArray[np.int64]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TsSource(ArraySource):
    """The sequences of a `.ts` file as one recording; else as `ArraySource`."""

    @contextmanager
    def _arrays(self) -> Iterator[Mapping[str, NDArray[Any]]]:
        values_TC = read_sequences(self.path).values
        if self.kind == "points":
            if values_TC.shape[1] % 3:
                raise DataError(
                    f"{named(self.path)}: {values_TC.shape[1]} channels; points have three each. Read it as a series."
                )
            yield {"points": values_TC.reshape(len(values_TC), -1, 3)}
        else:
            yield {"series": values_TC}


def read_sequences(path: Path) -> Sequences:
    """Read a file, once for as long as it does not change.

    Raises:
        DataError: with file and line, where it is not of this form.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as problem:
        raise DataError(f"{named(path)}: cannot be read ({problem}); expected a .ts file.") from None
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int, _size: int) -> Sequences:
    place = named(path)
    try:
        text = read_regular(path, DEFAULT_LIMITS.bytes).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{place}: no text ({problem}); expected a .ts file of the UEA archive.") from None
    classes: tuple[str, ...] = ()
    parts: list[NDArray[np.float32]] = []
    labels: list[str] = []
    lines: list[int] = []
    data, labelled = False, False
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if data:
            *channels, last = line.strip().split(":")
            channels = channels if labelled else [*channels, last]
            parts.append(_sequence(channels, f"{place}, line {number}"))
            if parts[-1].shape[1] != parts[0].shape[1]:
                raise DataError(
                    f"{place}, line {number}: found {parts[-1].shape[1]} channels; the sequences before it have "
                    f"{parts[0].shape[1]}."
                )
            labels.append(last.strip() if labelled else "")
            lines.append(number)
        elif words[0].lower() == "@classlabel":
            labelled = words[1:2] == ["true"]
            classes = tuple(words[2:])
        elif words[0].lower() == "@timestamps" and words[1:2] == ["true"]:
            raise DataError(f"{place}, line {number}: values with time stamps are not read; expected false.")
        data = data or words[0].lower() == "@data"
    if not parts:
        raise DataError(f"{place}: no sequence; expected a .ts file of the UEA archive, with @data.")
    begins = np.cumsum([0, *(len(part) for part in parts)])
    return Sequences(np.concatenate(parts), begins, tuple(labels), classes, tuple(lines))


def _sequence(channels: list[str], place: str) -> NDArray[np.float32]:
    """One line's values, float32 [T,C]."""
    try:
        rows = [
            np.array([np.nan if value.strip() == "?" else float(value) for value in channel.split(",")])
            for channel in channels
        ]
    except ValueError as problem:
        raise DataError(f"{place}: {str(problem)[:100]}; expected numbers separated by commas.") from None
    if not rows or len({len(row) for row in rows}) > 1:
        raise DataError(
            f"{place}: its channels have {[len(row) for row in rows][:8]} values; expected as many each."
        )
    return np.stack(rows, 1).astype(np.float32)
