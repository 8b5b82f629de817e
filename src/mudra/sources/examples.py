"""`tf.train.Example` and `SequenceExample`: the named features of a TFRecord's record, without protobuf.

    Example          {features = 1}
    SequenceExample  {context = 1, feature_lists = 2}
    Features         {map of name to Feature = 1}    FeatureLists {map of name to FeatureList = 1}
    FeatureList      {repeated Feature = 1}
    Feature          {BytesList = 1 | FloatList = 2 | Int64List = 3}, each {repeated value = 1}

These messages have no other fields, so anything else is no Example. Numbers may be packed or not. The features of a
feature list are taken one after the other as one feature.

Source: https://protobuf.dev/programming-guides/encoding, and TensorFlow's example.proto and feature.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError, did_you_mean

Feature = list[memoryview] | NDArray[np.float32] | NDArray[np.int64]
"""Values of bytes (parts of the record, not copied), float32 [n] or int64 [n]."""

_VARINT, _BYTES, _FIXED32 = 0, 2, 5  # wire types
_MOST_VARINT = 10  # bytes


class _Fault(ValueError):
    """What is wrong within a record."""


def read_example(record: NDArray[np.uint8], place: str) -> dict[str, Feature]:
    """The features of a record by name.

    Raises:
        DataError: it is no Example.
    """
    data = memoryview(record)  # type: ignore[arg-type]
    found: dict[str, Feature] = {}
    try:
        for number, features in _messages(data, (1, 2)):
            for _, entry in _messages(features):
                name, feature = _entry(entry)
                if name in found:
                    raise _Fault(f"feature {name!r} stands twice")
                found[name] = _feature([feature] if number == 1 else [each for _, each in _messages(feature)])
    except _Fault as fault:
        raise DataError(
            f"{place}: not a tf.train.Example ({fault}); expected named features. Write it anew."
        ) from None
    return found


def whole_number(features: Mapping[str, Feature], name: str, place: str) -> int:
    """The one int64 of a feature.

    Raises:
        DataError: it is missing, or something else.
    """
    value = _wanted(features, name, place)
    if isinstance(value, list) or value.dtype != np.int64 or len(value) != 1:
        raise DataError(f"{place}: {name} is {_told(value)}; expected one int64. Write it anew.")
    return int(value[0])


def numbers(features: Mapping[str, Feature], name: str, place: str) -> NDArray[np.float32]:
    """The float32 numbers that the bytes of a feature are; several values, one a frame for instance, are joined.

    Returns:
        float32 [n], read-only, not copied where there is one value.
    Raises:
        DataError: it is missing, something else, or not whole numbers of four bytes.
    """
    value = _wanted(features, name, place)
    if not isinstance(value, list):
        if value.dtype == np.float32:
            return value.astype(np.float32, copy=False)
        raise DataError(f"{place}: {name} is {_told(value)}; expected the bytes of float32 numbers.")
    size = next((len(part) for part in value if len(part) % 4), 0)
    if size or not value:
        raise DataError(
            f"{place}: {name} has {size:,} bytes in a value; expected float32 numbers, 4 bytes each. Write it anew."
        )
    parts = [np.frombuffer(part, "<f4") for part in value]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _wanted(features: Mapping[str, Feature], name: str, place: str) -> Feature:
    if name not in features:
        has = ", ".join(sorted(features)[:12]) or "none"
        raise DataError(
            f"{place}: it lacks the feature {name!r}; it has {has}.{did_you_mean(name, features)} Write it anew."
        )
    return features[name]


def _told(value: Feature) -> str:
    kind = "bytes" if isinstance(value, list) else str(value.dtype)
    return f"{len(value)} value{'' if len(value) == 1 else 's'} of {kind}"


# --- the encoding ---------------------------------------------------------------------------------


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and content of each field of a message. The content of a varint is its own bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire, begin = key & 7, at
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _BYTES:
            length, begin = _varint(data, at)
            at = begin + length
        elif wire == _FIXED32:
            at += 4
        else:
            raise _Fault(f"wire type {wire}")
        if at > len(data):
            raise _Fault(f"{at - len(data):,} bytes are missing")
        yield key >> 3, wire, data[begin:at]


def _messages(data: memoryview, known: tuple[int, ...] = (1,)) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that holds nothing but messages and names."""
    for number, wire, content in _fields(data):
        if number not in known or wire != _BYTES:
            raise _Fault(f"field {number} of wire type {wire}")
        yield number, content


def _entry(data: memoryview) -> tuple[str, memoryview]:
    """An entry of a map: its key and its value, each of which may be left out where it is empty."""
    parts = dict(_messages(data, (1, 2)))
    try:
        return str(parts.get(1, b""), "utf-8"), parts.get(2, data[:0])
    except UnicodeDecodeError:
        raise _Fault("a name that is not UTF-8") from None


def _feature(parts: list[memoryview]) -> Feature:
    """The values of one feature, or of the features of a list one after the other."""
    kinds: list[int] = []
    values: list[Any] = []
    for part in parts:
        for kind, content in _messages(part, (1, 2, 3)):
            kinds.append(kind)
            values.extend(_values(kind, content))
    if len(set(kinds)) > 1:
        raise _Fault("values of two kinds in one feature")
    if not kinds or kinds[0] == 1:
        return values
    if kinds[0] == 2:
        return np.concatenate([np.empty(0, np.float32), *values])
    return np.concatenate([np.empty(0, np.int64), *values])


def _values(kind: int, content: memoryview) -> Iterator[Any]:
    """The values of a list: bytes one by one, numbers as arrays."""
    for number, wire, value in _fields(content):
        if number != 1:
            raise _Fault(f"field {number} in a list of values")
        if kind == 1 and wire == _BYTES:
            yield value
        elif kind == 2 and wire in (_BYTES, _FIXED32) and len(value) % 4 == 0:
            yield np.frombuffer(value, "<f4")
        elif kind == 3 and wire in (_BYTES, _VARINT):
            yield _whole_numbers(value)
        else:
            raise _Fault(f"a value of wire type {wire} and {len(value)} bytes")


def _whole_numbers(data: memoryview) -> NDArray[np.int64]:
    """Varints one after the other, as signed numbers of 64 bits."""
    found, at = [], 0
    while at < len(data):
        number, at = _varint(data, at)
        found.append(number)
    return np.array(found, np.uint64).astype(np.int64)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next thing begins."""
    number = 0
    for place, byte in enumerate(data[at : at + _MOST_VARINT]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at + place + 1
    raise _Fault("a number without an end")
