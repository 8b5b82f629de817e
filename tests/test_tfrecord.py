"""TFRecords and Examples: read as they were written, by a writer that shares nothing with the reader; else refused."""

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mudra.errors import DataError
from mudra.sources import tfrecord
from mudra.sources.crc32c import LANES, crc32c
from mudra.sources.examples import numbers, read_example, whole_number
from mudra.sources.limits import Limits
from mudra.sources.tfrecord import records
from tests import tfrecords as writer
from tests.tfrecords import example, field, framed, packed, sequence, varint, write_records

PACKINGS = ("plain", "zlib", "gzip")


def read(path: Path) -> list[bytes]:
    return [record.tobytes() for record in records(path)]


def refused(work, *arguments: object) -> str:
    with pytest.raises(DataError) as caught:
        work(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def outcome(work: Callable[..., object], *arguments: object) -> object:
    """What it gives; any error but one for a user is a failure of the test."""
    try:
        return work(*arguments)
    except DataError as problem:
        return "told in one line" if "\n" not in str(problem) else str(problem)


def parsed(data: bytes) -> dict[str, object]:
    return read_example(np.frombuffer(data, np.uint8), "here")


def plain(features: dict) -> dict[str, list]:
    """Features as lists, for comparing."""
    return {
        name: [bytes(part) for part in value] if isinstance(value, list) else value.tolist()
        for name, value in features.items()
    }


# --- the checksum ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_the_checksum_is_that_of_rfc_3720(data: bytes, expected: int) -> None:
    assert crc32c(np.frombuffer(data, np.uint8)) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 7))
def test_the_checksum_is_that_of_the_slow_way(data: bytes, offset: int) -> None:
    assert crc32c(np.frombuffer(data, np.uint8)[offset:]) == writer.crc32c(data[offset:])


@pytest.mark.parametrize("size", [4 * LANES - 1, 4 * LANES, 4 * LANES + 1, 12 * LANES + 37])
def test_the_checksum_goes_over_many_rows(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    assert crc32c(data) == writer.crc32c(data.tobytes())


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", PACKINGS)
def test_records_are_read_as_they_were_written(tmp_path: Path, packing: str) -> None:
    datas = [b"", b"one", os.urandom(70_000), bytes(100_000)]
    assert read(write_records(tmp_path / "x", datas, packing)) == datas


def test_a_packed_file_without_records_has_none(tmp_path: Path) -> None:
    assert read(write_records(tmp_path / "x", [], "zlib")) == []


def test_pieces_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datas = [os.urandom(length) for length in (0, 1, 30, 7, 200)]
    monkeypatch.setattr(tfrecord, "READ", 3)
    monkeypatch.setattr(tfrecord, "UNPACKED", 5)
    for packing in PACKINGS:
        assert read(write_records(tmp_path / packing, datas, packing)) == datas


def test_a_gzip_file_may_be_of_several_parts(tmp_path: Path) -> None:
    parts = [packed(framed(b"one"), "gzip"), packed(framed(b"two"), "gzip")]
    (tmp_path / "x").write_bytes(b"".join(parts))
    assert read(tmp_path / "x") == [b"one", b"two"]
    (tmp_path / "x").write_bytes(packed(framed(b"one"), "zlib") + packed(framed(b"two"), "zlib"))
    assert "more follows after the end" in refused(read, tmp_path / "x")


def test_a_wrong_checksum_is_told_with_its_record(tmp_path: Path) -> None:
    whole = bytearray(framed(b"first") + framed(b"second"))
    for place, said in (
        (-1, "do not fit their checksum"),
        (-6, "do not fit"),
        (22, "its length does not fit"),
    ):
        broken = whole.copy()
        broken[place] ^= 1
        (tmp_path / "x").write_bytes(broken)
        message = refused(read, tmp_path / "x")
        assert "record 1" in message
        assert said in message


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path, packing: str) -> None:
    parts = [framed(b"first"), framed(b"the second")]
    whole = packed(b"".join(parts), packing)
    between = {len(parts[0])} if packing == "plain" else set()  # the format cannot tell this
    for length in set(range(len(whole))) - between:
        (tmp_path / "x").write_bytes(whole[:length])
        refused(read, tmp_path / "x")


@pytest.mark.parametrize(
    "content", [b"hello, world", b"\x1f\x8b\x08 no gzip", b"\x78\x9c no zlib", b"\x00" * 99]
)
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    refused(read, tmp_path / "x")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_told_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    datas = data.draw(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
    packing = data.draw(st.sampled_from(PACKINGS))
    whole = bytearray(packed(b"".join(map(framed, datas)), packing))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(whole)
    assert outcome(read, path) in (datas, "told in one line")


def test_what_a_record_announces_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    length = struct.pack("<Q", 2**40)
    (tmp_path / "x").write_bytes(zlib.compress(length + writer.masked(length) + bytes(10_000_000), 9))
    tracemalloc.start()
    message = refused(read, tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "1,099,511,627,776 bytes are too many" in message
    assert peak < 8e6
    write_records(tmp_path / "x", [bytes(1001)])
    with pytest.raises(DataError, match="1,001 bytes are too many; expected at most 1,000"):
        list(records(tmp_path / "x", Limits(bytes=1000)))


@pytest.mark.parametrize("packing", PACKINGS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, packing: str) -> None:
    data, peaks = bytes(2**20), []
    for count in (4, 32):
        path = write_records(tmp_path / f"{count}", [data] * count, packing, writer.fast)
        tracemalloc.start()
        for _ in records(path):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 1e5


def test_only_ordinary_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not an ordinary file" in refused(read, tmp_path / "pipe")
    assert "no such file" in refused(read, tmp_path / "nothing")


# --- examples -------------------------------------------------------------------------------------

FLOATS = st.floats(width=32, allow_nan=False)
VALUES = st.one_of(
    st.lists(st.binary(max_size=20), min_size=1, max_size=4),
    st.lists(FLOATS, min_size=1, max_size=6),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5), st.booleans())
def test_an_example_is_read_as_it_was_written(features: dict[str, list], pack: bool) -> None:
    assert plain(parsed(example(features, pack))) == features


def test_the_frames_of_a_sequence_example_are_joined() -> None:
    frames = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    found = parsed(sequence({"id": 7}, {"rgb": frames, "seen": [1, 0]}))
    assert whole_number(found, "id", "here") == 7
    assert numbers(found, "rgb", "here").tolist() == [1, 2, 3, 4]
    assert plain(found)["seen"] == [1, 0]


def test_bytes_are_not_copied() -> None:
    record = np.frombuffer(example({"rgb": np.arange(6.0)}), np.uint8)
    assert np.shares_memory(numbers(read_example(record, "here"), "rgb", "here"), record)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_features_or_no_example(data: bytes) -> None:
    assert outcome(parsed, data) == "told in one line" or isinstance(parsed(data), dict)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_example_never_ends_in_a_traceback(data: st.DataObject) -> None:
    whole = bytearray(example({"rgb": np.arange(3.0), "id": [5, -1], "x": [0.5]}, data.draw(st.booleans())))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[place] = data.draw(st.integers(0, 255))
    features = outcome(parsed, bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    if isinstance(features, dict):
        for name in ("rgb", "id", "x"):
            outcome(numbers, features, name, "here")
            outcome(whole_number, features, name, "here")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"hello", "field 13 of wire type 0"),
        (b"\x0c", "wire type 4"),
        (field(3, b""), "field 3 of wire type 2"),
        (field(1, field(2, b"")), "field 2 of wire type 2"),
        (field(1, b"")[:1], "a number without an end"),
        (field(1, b"four")[:-1], "1 bytes are missing"),
        (b"\x0a" + b"\xff" * 11, "a number without an end"),
        (field(1, field(1, field(1, b"\xff") + field(2, b""))), "not UTF-8"),
        (field(1, field(1, field(1, b"a")) * 2), "feature 'a' stands twice"),
        (field(1, field(1, field(1, b"a") + field(2, field(4, b"")))), "field 4"),
        (field(1, field(1, field(1, b"a") + field(2, field(2, field(1, b"123"))))), "wire type 2 and 3 bytes"),
        (field(1, field(1, field(1, b"a") + field(2, field(3, field(2, b"1"))))), "field 2 in a list of values"),
        (field(1, field(1, field(1, b"a") + field(2, field(1, b"") + field(3, b"")))), "values of two kinds"),
    ],
)  # fmt: skip
def test_what_is_no_example_is_told(data: bytes, said: str) -> None:
    assert said in refused(parsed, data)


def test_a_feature_that_is_missing_or_another_is_told() -> None:
    found = parsed(example({"length": [1, 2], "rgb": b"12345", "label": 0.5, "id": 3}))
    assert "lacks the feature 'lenght'; it has id, label, length, rgb. Did you mean 'length'?" in refused(
        whole_number, found, "lenght", "here"
    )
    assert "length is 2 values of int64; expected one" in refused(whole_number, found, "length", "here")
    assert "label is 1 value of float32" in refused(whole_number, found, "label", "here")
    assert "rgb is 1 value of bytes" in refused(whole_number, found, "rgb", "here")
    assert "rgb has 5 bytes in a value; expected float32" in refused(numbers, found, "rgb", "here")
    assert "id is 1 value of int64; expected the bytes" in refused(numbers, found, "id", "here")


def test_a_number_of_64_bits_is_the_longest() -> None:
    assert plain(parsed(example({"id": [2**63 - 1, -(2**63), -1]})))["id"] == [2**63 - 1, -(2**63), -1]
    assert varint(-1) == b"\xff" * 9 + b"\x01"
