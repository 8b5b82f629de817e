"""The prediction file: what a model said of every clip, with the truth where it is known.

One Parquet file per split. Columns, in this order:

    clip                        string, unique
    group                       string, "" where unknown
    <task>.truth                string, the class name, null where unknown
    <task>.log_probabilities    fixed-size list of float32, one per class
    start, stop                 float64 seconds, only where the clips are windows
    subset:<name>               bool, only where some clips are reported apart as well

The schema's metadata holds `schema` ("1"), `classes` (JSON: class names by task, in the order of the
scores) and `sha256` (JSON: the hash of those names by task), and where a calibrated model wrote it `temperature`
(JSON: by task, what its log-probabilities were divided by). Nothing else is believed: other metadata,
such as that of pandas, is ignored. A file holds no time and no path, so equal tables are equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mudra.errors import DataError, did_you_mean
from mudra.files import replace_file
from mudra.predictions.scores import REWRITE, PredictionTable, TaskScores, check, hash_classes
from mudra.types import SUBSET, UNLABELLED

__all__ = ["PredictionTable", "TaskScores", "read", "write"]

SCHEMA = "1"


def write(table: PredictionTable, path: Path) -> None:
    """Write a table, whole or not at all. Equal tables give equal bytes.

    Raises:
        DataError: the table would be refused when read.
        OutputError: the file could not be written.
    """
    check(table, str(path))
    columns: dict[str, pa.Array] = {
        "clip": pa.array(table.clips, pa.string()),
        "group": pa.array(table.groups, pa.string()),
    }
    for task, scores in table.tasks.items():
        names = [None if number == UNLABELLED else scores.classes[number] for number in scores.truth.tolist()]
        flat = np.ascontiguousarray(scores.log_probabilities, dtype=np.float32).ravel()
        columns[f"{task}.truth"] = pa.array(names, pa.string())
        columns[f"{task}.log_probabilities"] = pa.FixedSizeListArray.from_arrays(
            pa.array(flat), len(scores.classes)
        )
    if table.start is not None and table.stop is not None:
        columns["start"] = pa.array(table.start, pa.float64())
        columns["stop"] = pa.array(table.stop, pa.float64())
    for name, members in table.subsets.items():
        columns[f"{SUBSET}{name}"] = pa.array(members, pa.bool_())
    classes = {task: list(scores.classes) for task, scores in table.tasks.items()}
    metadata = {
        "schema": SCHEMA,
        "classes": json.dumps(classes, ensure_ascii=False),
        "sha256": json.dumps({task: hash_classes(names) for task, names in classes.items()}),
    }
    temperatures = {
        task: scores.temperature for task, scores in table.tasks.items() if scores.temperature != 1
    }
    if temperatures:
        metadata["temperature"] = json.dumps(temperatures)
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table(columns).replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        write_page_checksum=True,
    )
    replace_file(Path(path), sink.getvalue().to_pybytes())


def read(path: Path) -> PredictionTable:
    """Read a prediction file and check all of it.

    Raises:
        DataError: the file is missing, is not a Parquet file, or does not hold what this page says.
    """
    path = Path(path)
    place = str(path)
    if not path.is_file():  # also keeps us from waiting on a named pipe
        raise DataError(f"{place}: no such prediction file; expected a Parquet file. {REWRITE}")
    try:
        with path.open("rb") as file:
            columns = pq.ParquetFile(file, page_checksum_verification=True).read()
            columns.validate(full=True)  # text is UTF-8, offsets lie inside: cheap, and nothing else looks
    except (pa.ArrowException, OSError, ValueError) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(f"{place}: not a readable Parquet file ({reason}). {REWRITE}") from problem

    classes = _read_classes(columns.schema.metadata or {}, place)
    _check_columns(columns.column_names, classes, place)
    temperatures = _read_temperatures(columns.schema.metadata, place)
    windows = "start" in columns.column_names
    table = PredictionTable(
        clips=tuple(_texts(columns, "clip", place)),
        groups=tuple(_texts(columns, "group", place)),
        tasks={
            task: _read_task(columns, task, names, temperatures.get(task, 1.0), place)
            for task, names in classes.items()
        },
        start=_seconds(columns, "start", place) if windows else None,
        stop=_seconds(columns, "stop", place) if windows else None,
        subsets={
            name.removeprefix(SUBSET): _members(columns, name, place)
            for name in columns.column_names
            if name.startswith(SUBSET)
        },
    )
    check(table, place)
    return table


def _read_classes(metadata: Mapping[bytes, bytes], place: str) -> dict[str, tuple[str, ...]]:
    """Class names by task, once the schema number and the hashes fit."""
    schema = metadata.get(b"schema", b"none").decode(errors="replace")
    if schema != SCHEMA:
        raise DataError(
            f"{place}: found schema {schema!r}; expected {SCHEMA!r}. It is no prediction file, or "
            f"one of another version of mudra. {REWRITE}"
        )
    try:
        classes = json.loads(metadata.get(b"classes", b""))
        hashes = json.loads(metadata.get(b"sha256", b""))
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{place}: the metadata `classes` and `sha256` are not JSON. {REWRITE}") from problem
    if not isinstance(classes, dict) or not isinstance(hashes, dict):
        raise DataError(f"{place}: the metadata `classes` and `sha256` are not JSON objects. {REWRITE}")
    for task, names in classes.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(
                f"{place}, task {task!r}: the metadata `classes` is not a list of names. {REWRITE}"
            )
        if hashes.get(task) != hash_classes(names):
            raise DataError(
                f"{place}, task {task!r}: the class names do not fit their hash; names were changed or "
                f"reordered after the scores were written. {REWRITE}"
            )
    return {task: tuple(names) for task, names in classes.items()}


def _read_temperatures(metadata: Mapping[bytes, bytes], place: str) -> dict[str, float]:
    """Temperatures by task; {} where the model's own scores were written."""
    try:
        found = json.loads(metadata.get(b"temperature", b"{}"))
    except (ValueError, RecursionError):
        found = None
    right = isinstance(found, dict) and all(
        isinstance(number, float | int) and 0 < number < float("inf") for number in found.values()
    )
    if not right:
        raise DataError(f"{place}: the metadata `temperature` is not numbers above 0 by task. {REWRITE}")
    return {task: float(number) for task, number in found.items()}


def _check_columns(found: Sequence[str], classes: Mapping[str, Sequence[str]], place: str) -> None:
    """Exactly the expected columns in the expected order: anything else was not written by mudra."""
    expected = ["clip", "group"]
    for task in classes:
        expected += [f"{task}.truth", f"{task}.log_probabilities"]
    for name in expected:
        if name not in found:
            raise DataError(f"{place}: column {name!r} is missing.{did_you_mean(name, found)} {REWRITE}")
    if "start" in found or "stop" in found:
        expected += ["start", "stop"]
    expected += dict.fromkeys(name for name in found if name.startswith(SUBSET))
    for place_of, (have, want) in enumerate(zip_longest(found, expected)):
        if have != want:
            raise DataError(
                f"{place}: column {place_of + 1} is {have!r}; expected {want!r} (the order is fixed, and no "
                f"column may be added). {REWRITE}"
            )


def _texts(columns: pa.Table, name: str, place: str) -> list[str]:
    """A string column without nulls."""
    column = columns.column(name)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise DataError(f"{place}, column {name!r}: found {_line(column.type)}; expected strings. {REWRITE}")
    if column.null_count:
        raise DataError(f"{place}, column {name!r}: a row is empty (null); expected text in all. {REWRITE}")
    texts: list[str] = column.to_pylist()
    return texts


def _seconds(columns: pa.Table, name: str, place: str) -> NDArray[np.float64]:
    """A column of seconds; NaN and null are refused."""
    column = columns.column(name)
    if column.type != pa.float64() or column.null_count:
        raise DataError(f"{place}, column {name!r}: expected float64 seconds in every row. {REWRITE}")
    seconds = column.to_numpy()
    if not np.isfinite(seconds).all():
        raise DataError(f"{place}, column {name!r}: a row is NaN or infinite; expected seconds. {REWRITE}")
    return np.asarray(seconds, dtype=np.float64)


def _members(columns: pa.Table, name: str, place: str) -> NDArray[np.bool_]:
    """Which clips stand in a subset."""
    column = columns.column(name)
    if column.type != pa.bool_() or column.null_count:
        raise DataError(f"{place}, column {_line(name)!r}: expected true or false in every row. {REWRITE}")
    return np.asarray(column.to_numpy(), dtype=bool)


def _read_task(
    columns: pa.Table, task: str, classes: tuple[str, ...], temperature: float, place: str
) -> TaskScores:
    """One task's truth, as class numbers, and its scores [N, C]."""
    truth = columns.column(f"{task}.truth")
    if not (
        pa.types.is_string(truth.type) or pa.types.is_large_string(truth.type) or pa.types.is_null(truth.type)
    ):
        raise DataError(
            f"{place}, column '{_line(task)}.truth': found {_line(truth.type)}; expected class names. {REWRITE}"
        )
    number = {name: index for index, name in enumerate(classes)}
    numbers = np.full(len(truth), UNLABELLED, dtype=np.int64)
    for row, name in enumerate(truth.to_pylist()):
        if name is None:
            continue
        if name not in number:
            raise DataError(
                f"{place}, row {row + 1}: true {_line(task)} {name!r} is not one of the {len(classes)} classes."
                f"{did_you_mean(name, classes)} {REWRITE}"
            )
        numbers[row] = number[name]
    logs = _scores(columns.column(f"{task}.log_probabilities"), classes, task, place)
    return TaskScores(classes, numbers, logs, temperature)


def _scores(column: pa.ChunkedArray, classes: Sequence[str], task: str, place: str) -> NDArray[np.float32]:
    """float32 [N, C] of a list column with exactly C numbers in each row."""
    kind = column.type
    of_lists = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not of_lists or kind.value_type != pa.float32():
        raise DataError(
            f"{place}, column '{_line(task)}.log_probabilities': found {_line(kind)}; expected lists of "
            f"float32. {REWRITE}"
        )
    try:
        fixed = column.cast(pa.list_(pa.float32(), len(classes))).combine_chunks()
    except pa.ArrowException as problem:
        raise DataError(
            f"{place}, column '{_line(task)}.log_probabilities': a row does not hold {len(classes)} numbers, "
            f"one for each class. {REWRITE}"
        ) from problem
    values = fixed.flatten() if isinstance(fixed, pa.Array) else pa.concat_arrays(fixed.chunks).flatten()
    if column.null_count or values.null_count or len(values) != len(column) * len(classes):
        raise DataError(
            f"{place}, column '{_line(task)}.log_probabilities': a score is empty (null); expected numbers. "
            f"{REWRITE}"
        )
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(
        len(column), len(classes)
    )


def _line(found: Any) -> str:
    """What a foreign file names, as a message may show it: on one line."""
    text = str(found)
    return text if text.isprintable() else ascii(text)
