"""From the text columns of a data set to checked arrays: pure functions, told in one line when wrong.

Every function takes `place(row)`, which says where a row was written ("manifest.csv, row 4107"),
so that the same checks serve a manifest, class folders and the official lists of named data sets.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mudra.errors import DataError, did_you_mean
from mudra.types import SPLITS, SUBSET, UNLABELLED

Place = Callable[[int], str]

SPLIT_NAMES: Mapping[str, int] = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
NO_SPLIT = -1

# A part `..`, an absolute path on either family of systems, or a NUL that no system can open.
_LEAVES = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:[/\\]|\0")


def texts(values: Iterable[str], what: str, place: Place) -> pa.Array:
    """A column of text; bytes that are no text are an error here, not somewhere later."""
    values = list(values)
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        row = next(row for row, value in enumerate(values) if not _is_text(value))
        raise DataError(f"{place(row)}: {what} is not UTF-8 text; save the file as UTF-8.") from None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def subset(values: Sequence[str], column: str, tasks: Iterable[str], place: Place) -> pa.Array:
    """Which clips belong to a subset, as `yes` and `no`.

    Args:
        column: `subset:NAME`, or `subset:NAME:TASK` where it counts for one task alone.
    Raises:
        DataError: another name of a column, or a cell that says neither.
    """
    name, _, task = column.removeprefix(SUBSET).partition(":")
    known = [*tasks, "action"]
    if not name or ":" in task or (task and task not in known):
        raise DataError(
            f"{place(0)}, column {column!r}: expected {SUBSET}NAME, or {SUBSET}NAME:TASK with one of "
            f"{', '.join(known)}.{did_you_mean(task, known)}"
        )
    said = {"": "no", "no": "no", "0": "no", "false": "no", "yes": "yes", "1": "yes", "true": "yes"}
    for row, value in enumerate(values):
        if value.lower() not in said:
            raise DataError(f"{place(row)}: {column} is {value!r}; expected yes or no.")
    return pa.array([said[value.lower()] for value in values], pa.string())


def unique_ids(ids: Sequence[str], splits: NDArray[np.int8], place: Place) -> pa.Array:
    """The clip ids, each there once and none empty."""
    column = texts(ids, "the clip id", place)
    if len(set(ids)) == len(ids):
        if "" in ids:
            raise DataError(f"{place(list(ids).index(''))}: the clip has no id; give each clip a unique one.")
        return column
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        before = first.setdefault(name, row)
        if before != row:
            here, there = (SPLITS[splits[at]] if splits[at] >= 0 else "" for at in (row, before))
            where = f" (in {there} there, in {here} here)" if here != there else ""
            raise DataError(
                f"{place(row)}: clip {name!r} is already in {place(before)}{where}; ids are unique."
            )
    return column


def split_codes(names: Sequence[str], place: Place) -> NDArray[np.int8]:
    """The place of each clip's split in `SPLITS`, or `NO_SPLIT` throughout where none was given.

    Raises:
        DataError: an unknown name, or a split for some clips and none for others.
    """
    known = {**SPLIT_NAMES, "": NO_SPLIT}
    for name in set(names) - known.keys():
        hint = did_you_mean(name, SPLIT_NAMES)
        row = list(names).index(name)
        raise DataError(f"{place(row)}: split {name!r} is not one of train, val, test.{hint}")
    codes = np.fromiter((known[name] for name in names), np.int8, len(names))
    given = codes != NO_SPLIT
    if given.any() and not given.all():
        row = int(np.argmin(given))
        raise DataError(
            f"{place(row)}: no split here, while {int(given.sum())} other clips have one; "
            "give every clip a split, or none."
        )
    return codes


def seconds(cells: Sequence[str], what: str, place: Place) -> NDArray[np.float64]:
    """Seconds of each clip's `start` or `stop`; NaN where the cell is empty."""
    values = np.fromiter((_number(cell) if cell else -1.0 for cell in cells), np.float64, len(cells))
    empty = np.fromiter((not cell for cell in cells), bool, len(cells))
    wrong = ~empty & ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{place(row)}: {what} is {cells[row]!r}; expected seconds, 0 or more, such as 12.5.")
    values[empty] = np.nan
    return values


def rates(cells: Sequence[str], place: Place) -> NDArray[np.float64]:
    """Frames per second of each clip's own video; NaN where the cell is empty."""
    values = np.fromiter((_number(cell) if cell else math.nan for cell in cells), np.float64, len(cells))
    wrong = ~(np.isfinite(values) & (values > 0)) & np.fromiter(map(bool, cells), bool, len(cells))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{place(row)}: fps is {cells[row]!r}; expected frames per second, above 0, such as 59.94."
        )
    return values


def _number(cell: str) -> float:
    """The number that a cell holds, NaN where it holds none ("1_000" is one for Python alone)."""
    try:
        return float(cell) if "_" not in cell else math.nan
    except ValueError:
        return math.nan


def check_order(starts: NDArray[np.float64], stops: NDArray[np.float64], place: Place) -> None:
    """Every clip that has both ends must last longer than nothing."""
    wrong = stops <= np.where(np.isnan(starts), 0.0, starts)  # false where stop is NaN
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{place(row)}: stop {stops[row]:g} is not after start {np.nan_to_num(starts[row]):g}; "
            "both are seconds."
        )


def inner_files(names: Sequence[str], stream: str, place: Place) -> pa.Array:
    """Paths below the data set's folder, as the bytes the system knows them by; empty where none.

    Raises:
        DataError: an absolute path, or one that climbs out by `..`.
    """
    together = "\n" + "\n".join(names)
    if any(sign in together for sign in ("..", ":", "\0", "\n/", "\n\\")):  # else none of them can
        for row, name in enumerate(names):
            if _LEAVES.search(name):
                raise DataError(
                    f"{place(row)}: {stream} {name!r} leads out of the data set's folder; "
                    "expected a path relative to it, without '..'."
                )
    return pa.array([name.encode(errors="surrogateescape") for name in names], pa.binary())


def check_any_stream(files: Mapping[str, pa.Array], place: Place) -> None:
    """Every clip has at least one stream."""
    lengths = [np.asarray(pc.binary_length(column)) for column in files.values()]
    there = np.max(np.stack(lengths), axis=0) > 0
    if not there.all():
        row = int(np.argmin(there))
        raise DataError(f"{place(row)}: no stream is given; expected a path in one of {', '.join(files)}.")


def classes_seen(labels: Sequence[str], splits: NDArray[np.int8], task: str, place: Place) -> tuple[str, ...]:
    """The classes of a task that declares none: the sorted labels of train, of all where train is empty.

    Raises:
        DataError: a label of val or test that train lacks, or no label at all.
    """
    everywhere = set(labels) - {""}
    in_train = {labels[row] for row in np.flatnonzero(splits == SPLITS.index("train")).tolist()} - {""}
    classes = in_train or everywhere
    if not classes:
        raise DataError(
            f"{place(0)}: no clip has a {task}; label the clips, or list the classes in dataset.json."
        )
    for label in sorted(everywhere - classes):
        row = list(labels).index(label)
        raise DataError(
            f"{place(row)}: {task} {label!r} is in {SPLITS[splits[row]]} but never in train."
            f"{did_you_mean(label, classes)} Correct it, or list all classes under tasks in dataset.json."
        )
    return tuple(sorted(classes))


def class_numbers(
    labels: Sequence[str], classes: Sequence[str], splits: NDArray[np.int8], task: str, place: Place
) -> NDArray[np.int64]:
    """The class number of each clip, `UNLABELLED` where its cell is empty.

    Raises:
        DataError: a label that is no class, or a clip without a label outside val and test.
    """
    number = {name: index for index, name in enumerate(classes)} | {"": UNLABELLED}
    for label in sorted(set(labels) - number.keys()):
        row = list(labels).index(label)
        raise DataError(
            f"{place(row)}: {task} {label!r} is not one of the {len(classes)} classes."
            f"{did_you_mean(label, classes)}"
        )
    numbers = np.fromiter((number[label] for label in labels), np.int64, len(labels))
    missing = (numbers == UNLABELLED) & ((splits == SPLITS.index("train")) | (splits == NO_SPLIT))
    if missing.any():
        row = int(np.argmax(missing))
        raise DataError(f"{place(row)}: no {task} is given; only clips of val and test may go unlabelled.")
    return numbers


def check_groups(groups: pa.Array, splits: NDArray[np.int8], place: Place) -> None:
    """A group that has a name stands in one split."""
    if (splits == NO_SPLIT).all():
        return
    coded = groups.dictionary_encode()
    codes = np.asarray(coded.indices)
    names = coded.dictionary.to_pylist()
    seen = np.zeros((len(names), len(SPLITS)), bool)
    seen[codes, splits] = True
    if "" in names:
        seen[names.index("")] = False
    crossing = np.flatnonzero(seen.sum(axis=1) > 1)
    if len(crossing):
        group = crossing[0]
        rows = np.flatnonzero(codes == group)
        other = int(rows[splits[rows] != splits[rows[0]]][0])
        raise DataError(
            f"{place(other)}: group {names[group]!r} is in {SPLITS[splits[other]]} here and in "
            f"{SPLITS[splits[rows[0]]]} at {place(int(rows[0]))}; a group stands in one split. Mend the "
            "column, or make a new split by group with `mudra data split`."
        )


def check_windows(
    files: Mapping[str, pa.Array],
    splits: NDArray[np.int8],
    starts: NDArray[np.float64],
    stops: NDArray[np.float64],
    place: Place,
) -> None:
    """The same moments of the same file are never in two splits."""
    begin = np.where(np.isnan(starts), 0.0, starts)
    end = np.where(np.isnan(stops), np.inf, stops)
    for stream, column in files.items():
        coded = column.dictionary_encode()
        codes = np.asarray(coded.indices)
        seen = np.zeros((len(coded.dictionary), len(SPLITS)), bool)
        seen[codes, splits] = True  # NO_SPLIT counts as the last one, and then crosses nothing
        crosses = seen.sum(axis=1) > 1
        rows = np.flatnonzero(crosses[codes] & (np.asarray(pc.binary_length(column)) > 0))
        rows = rows[np.lexsort((begin[rows], codes[rows]))]
        latest: dict[tuple[int, int], int] = {}  # of (file, split): the row that ends last so far
        for row in rows.tolist():
            for split in range(len(SPLITS)):
                before = latest.get((codes[row], split))
                if before is not None and split != splits[row] and end[before] > begin[row]:
                    file = os.fsdecode(column[row].as_py())
                    raise DataError(
                        f"{place(row)}: {stream} {file!r} is in {SPLITS[splits[row]]} here and in "
                        f"{SPLITS[split]} at {place(before)}, and the moments overlap; keep one."
                    )
            key = (codes[row], int(splits[row]))
            if key not in latest or end[row] > end[latest[key]]:
                latest[key] = row
