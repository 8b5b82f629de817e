"""The prediction file: what is written is read back, and what does not fit is refused in one line."""

import errno
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mudra.errors import DataError, OutputError
from mudra.files import replace_file
from mudra.predictions import PredictionTable, TaskScores, pooled, read, write
from mudra.types import UNLABELLED

AWKWARD = ("NA", "null", "010", "no", "1:30", "", " ", "<b>&\"'", "手話", "a,b", "nan", "True")
NAMES = st.one_of(st.sampled_from(AWKWARD), st.text(st.characters(codec="utf-8"), max_size=8))


def scores(classes: Sequence[str], truth: Sequence[int], seed: int = 0) -> TaskScores:
    logits = np.random.default_rng(seed).normal(size=(len(truth), len(classes)))
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return TaskScores(tuple(classes), np.array(truth, dtype=np.int64), logs.astype(np.float32))


def small() -> PredictionTable:
    return PredictionTable(
        clips=("a", "b", "c"),
        groups=("ann", "", "ben"),
        tasks={
            "verb": scores(("cut", "NA", "010"), [0, UNLABELLED, 2]),
            "noun": scores(("null", "no"), [1, 0, UNLABELLED], seed=1),
        },
    )


def same(one: PredictionTable, other: PredictionTable) -> bool:
    return (
        (one.clips, one.groups, list(one.tasks)) == (other.clips, other.groups, list(other.tasks))
        and all(
            mine.classes == theirs.classes
            and np.array_equal(mine.truth, theirs.truth)
            and np.array_equal(mine.log_probabilities, theirs.log_probabilities)
            and theirs.log_probabilities.dtype == np.float32
            for mine, theirs in zip(one.tasks.values(), other.tasks.values(), strict=True)
        )
        and one.subsets.keys() == other.subsets.keys()
        and all(np.array_equal(one.subsets[name], other.subsets[name]) for name in one.subsets)
        and all(
            (mine is None) == (theirs is None) and (mine is None or np.array_equal(mine, theirs))
            for mine, theirs in ((one.start, other.start), (one.stop, other.stop))
        )
    )


def test_subsets_are_read_back_and_follow_their_clips(tmp_path: Path) -> None:
    subsets = {"unseen": np.array([True, False, True]), "tail:verb": np.array([False, True, True])}
    table = replace(small(), subsets=subsets)
    write(table, tmp_path / "a.parquet")
    assert same(read(tmp_path / "a.parquet"), table)
    assert pq.read_schema(tmp_path / "a.parquet").metadata[b"schema"] == b"1"
    turned = table.take([2, 1, 0])
    assert turned.subsets["tail:verb"].tolist() == [True, True, False]
    other = replace(table, clips=("d", "e", "f"))
    assert pooled([table, other]).subsets["unseen"].tolist() == [True, False, True] * 2


def test_a_subset_that_does_not_tell_of_every_clip_is_refused(tmp_path: Path) -> None:
    for members in (np.array([True]), np.array([1, 0, 1]), np.array([True, False, None])):
        with pytest.raises(DataError, match="subset 'unseen': expected true or false of every clip"):
            write(replace(small(), subsets={"unseen": members}), tmp_path / "a.parquet")
    write(replace(small(), subsets={"unseen": np.ones(3, bool)}), tmp_path / "a.parquet")
    columns = pq.read_table(tmp_path / "a.parquet")
    place = columns.column_names.index("subset:unseen")
    for values in (pa.array([True, None, False]), pa.array([1, 0, 1]), pa.array(["yes", "no", "no"])):
        pq.write_table(columns.set_column(place, "subset:unseen", values), tmp_path / "b.parquet")
        with pytest.raises(DataError, match="column 'subset:unseen': expected true or false in every row"):
            read(tmp_path / "b.parquet")


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


@settings(max_examples=60, deadline=None)
@given(
    clips=st.lists(NAMES, unique=True, max_size=5),
    classes=st.lists(NAMES, unique=True, min_size=1, max_size=6),
    task=st.sampled_from(["label", "verb", "clip", "a.b", "start"]),
    windows=st.booleans(),
    data=st.data(),
)
def test_a_table_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    clips: list[str],
    classes: list[str],
    task: str,
    windows: bool,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("table") / "test.parquet"
    count = len(clips)
    truth = data.draw(
        st.lists(st.sampled_from([UNLABELLED, *range(len(classes))]), min_size=count, max_size=count)
    )
    groups = data.draw(st.lists(NAMES, min_size=count, max_size=count))
    seconds = np.arange(count, dtype=np.float64) if windows else None
    table = PredictionTable(
        tuple(clips),
        tuple(groups),
        {task: scores(classes, truth)},
        start=seconds,
        stop=None if seconds is None else seconds + 0.5,
    )
    write(table, path)
    assert same(table, read(path))


def test_equal_tables_are_equal_bytes_wherever_they_lie(tmp_path: Path) -> None:
    write(small(), tmp_path / "one" / "val.parquet")
    write(small(), tmp_path / "another place" / "test.parquet")
    one = (tmp_path / "one" / "val.parquet").read_bytes()
    assert one == (tmp_path / "another place" / "test.parquet").read_bytes()
    assert str(tmp_path).encode() not in one


def test_rows_are_taken_in_the_order_asked_for() -> None:
    table = small()
    taken = table.take([2, 0])
    assert taken.clips == ("c", "a")
    assert taken.groups == ("ben", "ann")
    assert taken.tasks["noun"].truth.tolist() == [UNLABELLED, 1]
    assert np.array_equal(
        taken.tasks["verb"].log_probabilities, table.tasks["verb"].log_probabilities[[2, 0]]
    )


Rewrite = Callable[[pa.Table], pa.Table]


def metadata_with(**changes: Any) -> Rewrite:
    def change(table: pa.Table) -> pa.Table:
        kept = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        return table.replace_schema_metadata({**kept, **changes})

    return change


def column_with(name: str, values: pa.Array) -> Rewrite:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, values)

    return change


def logs_with(values: Any, size: int = 3) -> pa.Array:
    return pa.array(values, pa.list_(pa.float32(), size))


THIRD = float(np.log(1 / 3))
ROW = [THIRD, THIRD, THIRD]
BAD: dict[str, tuple[Rewrite, str]] = {
    "a missing column": (lambda table: table.drop_columns(["verb.truth"]), "'verb.truth' is missing"),
    "permuted columns": (lambda table: table.select(table.column_names[::-1]), "column 1 is"),
    "an added column": (lambda table: table.append_column("loss", pa.array([1, 2, 3])), "column 7 is 'loss'"),
    "start without stop": (lambda table: table.append_column("start", pa.array([1.0, 2, 3])), "column 8"),
    "another schema": (metadata_with(schema="2"), "schema '2'"),
    "no metadata at all": (lambda table: table.replace_schema_metadata(None), "schema 'none'"),
    "metadata of pandas only": (
        lambda table: table.replace_schema_metadata({"pandas": "{}"}),
        "schema 'none'",
    ),
    "class names that are no JSON": (metadata_with(classes="["), "not JSON"),
    "class names in deep brackets": (metadata_with(classes="[" * 100_000), "not JSON"),
    "class names that are a list": (metadata_with(classes="[]"), "not JSON objects"),
    "class names that are numbers": (metadata_with(classes='{"verb": [1, 2, 3]}'), "not a list of names"),
    "permuted class names": (
        metadata_with(classes=json.dumps({"verb": ["NA", "cut", "010"], "noun": ["null", "no"]})),
        "do not fit their hash",
    ),
    "no task": (metadata_with(classes="{}", sha256="{}"), "column 3 is 'verb.truth'"),
    "a clip twice": (column_with("clip", pa.array(["a", "b", "a"])), "clip 'a' stands in two rows"),
    "a clip that is null": (column_with("clip", pa.array(["a", None, "c"])), "null"),
    "clips that are numbers": (column_with("clip", pa.array([1, 2, 3])), "expected strings"),
    "a truth that is no class": (
        column_with("verb.truth", pa.array(["cut", "Cut", None])),
        "row 2: true verb 'Cut' is not one of the 3 classes. Did you mean 'cut'?",
    ),
    "a truth by number": (column_with("verb.truth", pa.array([0, 1, 2])), "expected class names"),
    "NaN": (
        column_with("verb.log_probabilities", logs_with([ROW, [THIRD, float("nan"), THIRD], ROW])),
        "clip 'b': a log-probability is NaN",
    ),
    "minus infinity": (
        column_with("verb.log_probabilities", logs_with([ROW, ROW, [0.0, -np.inf, -np.inf]])),
        "clip 'c': a log-probability is NaN or infinite",
    ),
    "logits": (
        column_with("verb.log_probabilities", logs_with([ROW, [5.0, 1.0, 0.0], ROW])),
        "clip 'b': the probabilities sum to 152.1; expected 1",
    ),
    "enormous logits": (
        column_with("verb.log_probabilities", logs_with([[1e30, 1.0, 0.0], ROW, ROW])),
        "clip 'a': the probabilities sum to",
    ),
    "a sum a little off": (
        column_with("verb.log_probabilities", logs_with([ROW, ROW, [THIRD + 2e-3] * 3])),
        "clip 'c': the probabilities sum to 1.002",
    ),
    "a null score": (
        column_with("verb.log_probabilities", logs_with([ROW, [THIRD, None, THIRD], ROW])),
        "null",
    ),
    "a null row": (
        column_with("verb.log_probabilities", pa.array([ROW, None, ROW], pa.list_(pa.float32()))),
        "null",
    ),
    "too few classes": (
        column_with("verb.log_probabilities", logs_with([[-1.0, -1.0]] * 3, size=2)),
        "does not hold 3 numbers",
    ),
    "rows of unequal length": (
        column_with("verb.log_probabilities", pa.array([ROW, ROW[:2], ROW], pa.list_(pa.float32()))),
        "does not hold 3 numbers",
    ),
    "doubles": (
        column_with("verb.log_probabilities", pa.array([ROW] * 3, pa.list_(pa.float64(), 3))),
        "expected lists of float32",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_does_not_fit_is_refused_by_name(name: str, tmp_path: Path) -> None:
    change, words = BAD[name]
    path = tmp_path / "val.parquet"
    write(small(), path)
    pq.write_table(change(pq.read_table(path)), path)
    assert words in refusal(path)


def test_a_table_rewritten_by_another_tool_with_equal_content_is_read(tmp_path: Path) -> None:
    path = tmp_path / "val.parquet"
    write(small(), path)
    table = pq.read_table(path)
    lists = pa.array(table.column("noun.log_probabilities").to_pylist(), pa.list_(pa.float32()))
    table = column_with("noun.log_probabilities", lists)(table)
    table = column_with("clip", table.column("clip").cast(pa.large_string()))(table)
    pq.write_table(table, path, row_group_size=1, compression="none")
    assert same(small(), read(path))


@pytest.mark.parametrize("content", [b"", b"clip,group\n", b"PAR1", b"PAR1" * 20, b"\x80\x04."])
def test_what_is_not_parquet_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "val.parquet"
    path.write_bytes(content)
    assert "not a readable Parquet file" in refusal(path)


def test_what_is_not_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.parquet")
    for name in ("absent.parquet", "pipe.parquet", "."):
        assert "no such prediction file" in refusal(tmp_path / name)


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: float, flip: int, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "val.parquet"
    write(small(), path)
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    content[at] ^= flip
    path.write_bytes(content[:at] if cut else content)
    try:
        found = read(path)
    except DataError:
        refusal(path)
        return
    assert same(small(), found)  # a bit of no meaning, such as the name of the writing program


def test_a_flipped_bit_never_changes_a_score_unseen(tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(16))
    clips = tuple(f"clip {number}" for number in range(40))
    table = PredictionTable(clips, ("",) * 40, {"label": scores(names, [UNLABELLED] * 40)})
    path = tmp_path / "val.parquet"
    write(table, path)
    whole = path.read_bytes()
    for at in range(4, len(whole), 31):  # most of the file is scores
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = read(path)
        except DataError:
            continue
        assert same(table, found)


def changed(**changes: Any) -> PredictionTable:
    table = small()
    verb = table.tasks["verb"]
    fields = {"classes": verb.classes, "truth": verb.truth, "log_probabilities": verb.log_probabilities}
    return PredictionTable(table.clips, table.groups, {"verb": TaskScores(**{**fields, **changes})})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (changed(truth=np.array([0, 3, 1])), "clip 'b': true class number 3; expected 0 to 2"),
        (changed(truth=np.array([0, -1, 1])), "clip 'b': true class number -1"),
        (changed(classes=("x", "y", "x")), "class 'x' is named twice"),
        (changed(classes=("x", "y", "\udcff")), "not text in UTF-8"),
        (changed(classes=("x", "y")), "found scores [3, 3]"),
        (changed(truth=np.array([0])), "truth [1]"),
        (PredictionTable(("a",), (), {"verb": scores("xy", [0])}), "0 groups for 1 clips"),
        (PredictionTable(("\udcff",), ("",), {"verb": scores("xy", [0])}), "not text in UTF-8"),
        (PredictionTable(("a",), ("",), {}), "no task"),
        (PredictionTable(("a",), ("",), {"verb": scores("", [0])}), "no classes"),
    ],
)
def test_a_table_that_would_be_refused_is_not_written(
    table: PredictionTable, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r".") as caught:
        write(table, tmp_path / "val.parquet")
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_last_good_file_and_leaves_nothing_beside(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "val.parquet"
    write(small(), path)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match="No space left on device"):
        write(small().take([0]), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_flushed_before_it_replaces_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("replace"), replace(old, new))[1])
    replace_file(tmp_path / "file", b"content")
    assert calls == ["fsync", "replace", "fsync"]  # the file, the rename, the folder


def test_a_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "predictions").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        write(small(), tmp_path / "predictions" / "val.parquet")
