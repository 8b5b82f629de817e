"""TFRecords and Examples: what is written is read, what is damaged is told, and nothing else happens."""

import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mudra.errors import DataError
from mudra.sources import tfrecord
from mudra.sources.crc32c import crc32c
from mudra.sources.examples import numbers, read_example, whole_number
from mudra.sources.limits import Limits
from mudra.sources.tfrecord import records
from tests import tfrecords
from tests.tfrecords import example, field, framed, packed, sequence, varint, write_records

PACKINGS = ("plain", "gzip", "zlib")
WITHIN = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

FLOATS = st.floats(width=32, allow_nan=False)
FEATURES = st.dictionaries(
    st.text(max_size=6),
    st.lists(st.binary(max_size=40), max_size=4)
    | st.lists(FLOATS, min_size=1, max_size=5)
    | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    max_size=5,
)


def as_array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def everything(path: Path, **limits: int) -> list[bytes]:
    return [record.tobytes() for record in records(path, Limits(**limits))]


def refused(path: Path, **limits: int) -> str:
    with pytest.raises(DataError) as caught:
        everything(path, **limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def complaint(read: Callable[[], object]) -> str:
    """What a DataError says, in one line; "" where there is none. Any other exception is the test's."""
    try:
        read()
    except DataError as problem:
        said = str(problem)
    else:
        return ""
    assert said
    assert "\n" not in said
    return said


def plain_values(data: bytes) -> dict[str, list]:
    return {
        name: [bytes(part) for part in value] if isinstance(value, list) else value.tolist()
        for name, value in read_example(as_array(data), "here").items()
    }


# --- the checksum ----------------------------------------------------------------------------------


def test_the_checksum_is_that_of_the_standard() -> None:  # RFC 3720, B.4
    for data, crc in (
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ):
        assert crc32c(as_array(data)) == crc


@given(st.integers(0, 300_000), st.integers(0, 2**32 - 1), st.integers(0, 7))
@settings(deadline=None, max_examples=40)
def test_the_checksum_is_that_of_the_plain_way_at_every_length(size: int, seed: int, offset: int) -> None:
    data = np.random.default_rng(seed).integers(0, 256, size + offset, np.uint8)[offset:]
    assert crc32c(data) == tfrecords.crc32c(data.tobytes())


# --- records ---------------------------------------------------------------------------------------


@given(datas=st.lists(st.binary(max_size=300), min_size=1, max_size=5), packing=st.sampled_from(PACKINGS))
@WITHIN
def test_records_come_back_in_their_order(datas: list[bytes], packing: str, tmp_path: Path) -> None:
    assert everything(write_records(tmp_path / "file", datas, packing)) == datas


@given(data=st.data(), packing=st.sampled_from(PACKINGS))
@settings(WITHIN, max_examples=300)
def test_a_damaged_file_is_told_or_reads_the_same(data: st.DataObject, packing: str, tmp_path: Path) -> None:
    datas = [b"one record", b"", bytes(range(200))]
    content = bytearray(packed(b"".join(map(framed, datas)), packing))
    for _ in range(data.draw(st.integers(1, 3))):
        match data.draw(st.sampled_from(("flip", "cut", "insert", "drop"))):
            case "flip" if content:
                content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del content[data.draw(st.integers(0, len(content))) :]
            case "insert":
                at = data.draw(st.integers(0, len(content)))
                content[at:at] = data.draw(st.binary(min_size=1, max_size=20))
            case "drop" if content:
                at = data.draw(st.integers(0, len(content) - 1))
                del content[at : at + data.draw(st.integers(1, 20))]
    path = tmp_path / "file"
    path.write_bytes(content)
    found: list[bytes] = []
    said = complaint(lambda: found.extend(record.tobytes() for record in records(path)))
    if said:
        assert found == datas[: len(found)]
    elif (
        packing == "plain"
    ):  # which cannot know that it was cut between two records, or that a whole one is gone
        assert found == [each for each in datas if each in found]
    else:
        assert found == datas


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_cut_is_told_where_the_file_can_know_it(packing: str, tmp_path: Path) -> None:
    datas = [b"first", b"second record"]
    content = packed(b"".join(map(framed, datas)), packing)
    path = tmp_path / "file"
    for size in range(len(content)):
        path.write_bytes(content[:size])
        if packing == "plain" and size == 16 + len(datas[0]):
            assert everything(path) == datas[:1]
        else:
            assert "Copy it again" in refused(path)


def test_errors_name_the_record_and_the_step(tmp_path: Path) -> None:
    path = write_records(tmp_path / "file", [b"first", b"second"], "plain")
    content = path.read_bytes()
    path.write_bytes(content[:-6] + b"?" + content[-5:])
    assert refused(path).startswith(
        f"{path}, record 1: its 6 bytes do not fit their checksum; the file is damaged."
    )
    path.write_bytes(content[:21] + b"?" + content[22:])
    assert refused(path).startswith(f"{path}, record 1: its length does not fit its checksum")
    path.write_bytes(content[:-5])
    assert "record 1: cut after 5 of 6 bytes" in refused(path)
    for garbage in (b"<html>not found</html>", b"x", b"\x1f", b"\x78", bytes(40)):
        path.write_bytes(garbage)
        assert "expected a TFRecord file" in refused(path) or "cut" in refused(path)
    path.write_bytes(b"")
    assert "is empty" in refused(path)
    assert "no such file" in refused(tmp_path / "none")
    assert "not an ordinary file" in refused(tmp_path)


def test_nothing_may_follow_the_end_of_packed_data_but_gzip_after_gzip(tmp_path: Path) -> None:
    one, other = framed(b"one"), framed(b"other")
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(one) + gzip.compress(other))
    assert everything(path) == [b"one", b"other"]
    path.write_bytes(zlib.compress(one) + zlib.compress(other))
    assert "more follows" in refused(path)
    path.write_bytes(gzip.compress(one) + b"and more")
    assert "damaged" in refused(path)


def test_a_record_of_no_bytes_is_a_record(tmp_path: Path) -> None:
    for packing in PACKINGS:
        assert everything(write_records(tmp_path / packing, [b"", b""], packing)) == [b"", b""]


def test_a_record_may_not_claim_more_than_the_limit(tmp_path: Path) -> None:
    length = struct.pack("<Q", 2**60)
    for packing in PACKINGS:
        path = tmp_path / packing
        path.write_bytes(packed(length + tfrecords.masked(length) + b"a little", packing))
        assert "too many; expected at most 268,435,456" in refused(path)
    path = write_records(tmp_path / "file", [bytes(1000)])
    assert "its 1,000 bytes are too many; expected at most 999" in refused(path, bytes=999)
    assert len(everything(path, bytes=1000)) == 1


def test_a_claim_costs_no_memory_before_its_bytes_are_there(tmp_path: Path) -> None:
    """A bomb: a few kilobytes that say and unpack to 250 MB, cut before their end."""
    length = struct.pack("<Q", 250_000_000)
    path = tmp_path / "bomb"
    path.write_bytes(zlib.compress(length + tfrecords.masked(length) + bytes(5_000_000), 9))
    tracemalloc.start()
    assert "cut after 5,000,000 of 250,000,000 bytes" in refused(path)
    tracemalloc.stop()
    assert path.stat().st_size < 6000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    datas = [np.random.default_rng(number).bytes(100_000) for number in range(12)]
    assert (
        len(everything(write_records(tmp_path / "first", datas[:1]))) == 1
    )  # makes the tables of the checksum
    peaks = []
    for times in (1, 8):
        path = write_records(tmp_path / f"{times}", datas * times, crc=lambda data: crc32c(as_array(data)))
        tracemalloc.start()
        assert sum(len(record) for record in records(path)) == times * 1_200_000
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1 < 6_000_000


# --- Examples --------------------------------------------------------------------------------------


@given(FEATURES, st.booleans())
@settings(deadline=None)
def test_features_come_back_with_every_value(features: dict[str, list], pack: bool) -> None:
    assert plain_values(example(features, pack)) == features


@given(FEATURES, st.data())
@settings(deadline=None, max_examples=300)
def test_a_damaged_example_is_told_or_reads_as_something(
    features: dict[str, list], data: st.DataObject
) -> None:
    content = bytearray(example(features))
    for _ in range(data.draw(st.integers(1, 3)) if content else 0):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    found = bytes(content[: data.draw(st.integers(0, len(content)))])
    said = complaint(lambda: read_example(as_array(found), "a place"))
    assert not said or said.startswith("a place: not a tf.train.Example (")


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=300)
def test_garbage_is_told_or_is_an_example_by_chance(data: bytes) -> None:
    complaint(lambda: read_example(as_array(data), "a place"))


def test_a_list_of_features_is_one_feature_after_the_other() -> None:
    frames = [np.arange(3, dtype=np.float32), np.arange(3, 6, dtype=np.float32)]
    data = as_array(sequence({"id": 7}, {"rgb": frames, "number": [1, 2]}))
    found = read_example(data, "here")
    assert numbers(found, "rgb", "here").tolist() == [0, 1, 2, 3, 4, 5]
    assert found["number"].tolist() == [1, 2]  # type: ignore[union-attr]
    assert whole_number(found, "id", "here") == 7


def test_the_bytes_of_numbers_are_not_copied() -> None:
    data = as_array(example({"rgb": np.arange(6, dtype=np.float32)}))
    values = numbers(read_example(data, "here"), "rgb", "here")
    assert np.shares_memory(values, data)
    assert not values.flags.writeable


def test_what_is_missing_or_of_another_kind_is_told() -> None:
    found = read_example(as_array(example({"label": 3, "ids": [1, 2], "rgb": [b"abcde"], "x": 1.5})), "here")
    for name, ask, said in (
        (
            "lable",
            whole_number,
            "here: it lacks the feature 'lable'; it has ids, label, rgb, x. Did you mean 'label'?",
        ),
        ("ids", whole_number, "here: ids is 2 values of int64; expected one int64"),
        ("x", whole_number, "here: x is 1 value of float32; expected one int64"),
        ("rgb", whole_number, "here: rgb is 1 value of bytes"),
        ("rgb", numbers, "here: rgb has 5 bytes in a value; expected float32 numbers, 4 bytes each"),
        ("label", numbers, "here: label is 1 value of int64; expected the bytes of float32 numbers"),
    ):
        with pytest.raises(DataError) as caught:
            ask(found, name, "here")
        assert said in str(caught.value)


def test_a_feature_may_not_stand_twice_nor_mix_its_kinds() -> None:
    entry = field(1, field(1, b"id") + field(2, tfrecords.feature(1)))
    mixed = field(1, field(1, b"x") + field(2, tfrecords.feature(1) + tfrecords.feature(b"1")))
    for data, said in (
        (field(1, entry + entry), "feature 'id' stands twice"),
        (field(1, mixed), "values of two kinds"),
        (field(3, b""), "field 3 of wire type 2"),
        (varint(1 << 3) + varint(1), "field 1 of wire type 0"),
        (b"\xff" * 11, "a number without an end"),
    ):
        with pytest.raises(DataError, match=said):
            read_example(as_array(data), "here")


def test_the_longest_record_is_no_less_than_the_longest_clip_of_the_release() -> None:
    assert tfrecord.LONGEST > 1000 * 80 * 80 * 8 * 4
