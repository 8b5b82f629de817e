"""A CSV file as columns of text, nothing of it interpreted; errors name the line as a text editor counts it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}


@dataclass(frozen=True)
class Table:
    """A CSV file: header names, cells by column, and the line on which each row begins."""

    file: str
    names: Sequence[str]
    columns: Sequence[Sequence[str]]
    lines: NDArray[np.int64]

    def column(self, name: str) -> Sequence[str]:
        """The cells below a name of the header."""
        return self.columns[self.names.index(name)]

    def place(self, row: int) -> str:
        """Where a row was written, to begin an error with."""
        return f"{self.file}, row {self.lines[row]}"


def read_table(path: Path, expected: str, separator: str = ",") -> Table:
    """Read a CSV file with a header; a byte order mark is passed over.

    Args:
        expected: a header such as the file should have, for the errors.
    Raises:
        DataError: it is absent or empty, or a row has more or fewer cells than the header.
    """
    try:
        # a path need not be UTF-8, so the bytes that are not are kept as the system keeps them
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            text = file.read()
    except OSError as problem:
        raise DataError(
            f"{path}: cannot be read ({problem.strerror}); expected a file that begins with {expected}."
        ) from None
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    last = 0
    try:
        names = next(reader, [])
        _check_header(names, path, expected, separator)
        last = reader.line_num
        for row in reader:
            if row:
                if len(row) != len(names):
                    raise DataError(
                        f"{path.name}, row {last + 1}: found {len(row)} cells; expected {len(names)} "
                        f"({separator.join(names)}). Quote a cell that holds one of the {_SEPARATORS[separator]}."
                    )
                rows.append(row)
                lines.append(last + 1)
            last = reader.line_num
    except csv.Error as problem:
        raise DataError(f"{path.name}, row {last + 1}: not valid CSV: {problem}.") from None
    if not rows:
        raise DataError(f"{path}: no clip; expected one row a clip below the header.")
    return Table(path.name, names, list(zip(*rows, strict=True)), np.array(lines, np.int64))


def _check_header(names: Sequence[str], path: Path, expected: str, separator: str) -> None:
    if not names:
        raise DataError(f"{path}: the file is empty; expected a header such as {expected}.")
    if len(names) == 1 and any(sign in names[0] for sign in _SEPARATORS):
        raise DataError(
            f"{path.name}, row 1: found {names[0]!r}; expected a header separated by {_SEPARATORS[separator]}."
        )
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{path.name}, row 1: column {number} has no name; name it or remove it.")
        if names.count(name) > 1:
            raise DataError(f"{path.name}, row 1: column {name!r} is there twice; keep one.")
