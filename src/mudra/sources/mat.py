"""Streams that lie in MATLAB files of versions 5 to 7.2 (`save -v7`). Nothing in such a file is executed.

A file holds a stream under the name of its kind, as an `.npz` does, or under the name that a release gave it:
UTD-MHAD (Chen et al., ICIP 2015) has `d_skel` [20,3,T], `d_iner` [T,6] and `d_depth` [H,W,T].

Source: MathWorks, "MAT-File Format", level 5. Read here are arrays of real numbers alone; SciPy's reader, which
reads all of the format, can be made to crash by a damaged file.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.arrays import ArraySource
from mudra.sources.limits import Limits, check_bytes, named, read_regular
from mudra.types import StreamKind

# Of UTD-MHAD's joints (head, shoulder centre, spine, hip centre, arms, legs), those of `kinect20` in its order.
_TO_KINECT20 = (3, 2, 1, 0, *range(4, 20))

_RELEASED: Mapping[StreamKind, Mapping[str, str]] = {
    "points": {"d_skel": "points"},
    "series": {"d_iner": "series"},
    "depth": {"d_depth": "depth"},
}
# numbers by the format's types (how they are stored) and classes (what they are)
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
Order = Literal["<", ">"]
_ORDERS: Mapping[bytes, Order] = {b"IM": "<", b"MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_HEADER = 128
_HEAD = 4096  # bytes of a compressed variable in which its name and size are looked for
_DIMENSIONS = 16  # more than any stream has
_NAME = 63  # letters that MATLAB allows


@dataclass(frozen=True, slots=True)
class MatSource(ArraySource):
    """One stream of a `.mat` file; else as `ArraySource`."""

    def _arrays(self) -> AbstractContextManager[Mapping[str, NDArray[Any]]]:
        return self._found(outlined=())

    def _outlines(self) -> AbstractContextManager[Mapping[str, NDArray[Any]]]:
        return self._found(outlined=(self.kind, *_RELEASED.get(self.kind, {})))

    @contextmanager
    def _found(self, outlined: Collection[str]) -> Iterator[Mapping[str, NDArray[Any]]]:
        place = named(self.path)
        names = {self.kind: self.kind, "times": "times", "score": "score", **_RELEASED.get(self.kind, {})}
        try:
            found = _variables(
                read_regular(self.path, self.limits.bytes), set(names), self.limits, place, outlined
            )
        except (ValueError, struct.error, zlib.error) as problem:
            why = " ".join(str(problem).split())[:200]
            raise DataError(
                f"{place}: cannot be read as a MATLAB file ({why}); expected {self.kind} as an array of numbers, "
                "saved with -v7 or older. Copy it again, or save it anew."
            ) from None
        yield {
            names.get(name, name): np.empty(0) if array is None else _as_stream(name, array)
            for name, array in found.items()
        }


def _as_stream(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """A variable with the axes of its kind: moments first."""
    if name == "times":
        return values.ravel()
    if name == "d_skel" and values.ndim == 3 and values.shape[:2] == (20, 3):
        return np.ascontiguousarray(values.transpose(2, 0, 1)[:, _TO_KINECT20])
    if name == "d_depth" and values.ndim == 3:
        values = values.transpose(2, 0, 1)
        if values.dtype.kind != "f":
            return values
        with np.errstate(invalid="ignore"):
            whole = values.astype(np.uint16)  # saved as doubles
        return whole if (whole == values).all() else values
    return values


def _variables(
    data: bytes, wanted: set[str], limits: Limits, place: str, outlined: Collection[str]
) -> dict[str, NDArray[Any] | None]:
    """The wanted arrays of a file by name, and None for everything else that is in it.

    Args:
        outlined: names of arrays of which only shape and type are read; their values are all 0.
    Raises:
        DataError: an array is larger than allowed.
        ValueError, struct.error, zlib.error: the file is not what it should be.
    """
    order = _ORDERS.get(data[_HEADER - 2 : _HEADER])
    if order is None or data[:8] == b"\x89HDF\r\n\x1a\n" or data.startswith(b"MATLAB 7.3"):
        raise ValueError("its header is not that of versions 5 to 7.2")
    found: dict[str, NDArray[Any] | None] = {}
    at = _HEADER
    while at < len(data):
        kind, begin, size, at = _element(data, at, order)
        body = memoryview(data)[begin : begin + size]
        if kind == _COMPRESSED:
            at = begin + size  # no padding follows
            kind, start, size, _ = _element(_unpacked(body, _HEAD), 0, order, whole=False)
            head = _unpacked(body, _HEAD)[start:]
        else:
            start, head = 0, bytes(body[:_HEAD])
        if kind != _MATRIX:
            continue
        shape, dtype, name, _ = _described(head, order)
        if name not in wanted:
            found[name] = None
            continue
        if dtype is None:
            raise ValueError(f"{name!r} is no array of real numbers")
        check_bytes(math.prod(shape) * 8, limits, place)
        if name in outlined:
            found[name] = np.broadcast_to(dtype.type(0), shape)
            continue
        if start:
            room = start + math.prod(shape) * 8 + _HEAD
            body = memoryview(_unpacked(body, room))[start : start + size]
        found[name] = _array(bytes(body), order)
    return found


def _element(data: bytes, at: int, order: Order, *, whole: bool = True) -> tuple[int, int, int, int]:
    """One element's type, where its data begin, how many bytes they are, and where the next element begins."""
    kind, size = struct.unpack_from(order + "II", data, at)
    if kind >> 16:  # up to four bytes stand in the tag itself
        kind, size = kind & 0xFFFF, kind >> 16
        begin, after = at + 4, at + 8
        if size > 4:
            raise ValueError("a short element is too long")
    else:
        begin = at + 8
        after = begin + size + -size % 8
    if whole and begin + size > len(data):
        raise ValueError("it ends too early")
    return kind, begin, size, after


def _unpacked(body: memoryview, most: int) -> bytes:
    """The first `most` bytes of a compressed element."""
    return zlib.decompressobj().decompress(body, most)


def _described(head: bytes, order: Order) -> tuple[tuple[int, ...], np.dtype[Any] | None, str, int]:
    """Of a matrix: its shape, type (None where it holds no real numbers), name, and where its values begin."""
    _, begin, size, at = _element(head, 0, order)
    (flags,) = struct.unpack_from(order + "I", head, begin)
    kind, begin, size, at = _element(head, at, order)
    if kind != 5 or not 2 <= size // 4 <= _DIMENSIONS:
        raise ValueError("an array has no proper size")
    shape = struct.unpack_from(f"{order}{size // 4}i", head, begin)
    if min(shape) < 0:
        raise ValueError("an array has a negative size")
    _, begin, size, at = _element(head, at, order)
    if size > _NAME:
        raise ValueError("a name is too long")
    name = head[begin : begin + size].decode("ascii", "replace")
    code = _CLASSES.get(flags & 0xFF)
    is_complex = bool(flags & 0x800)
    return shape, None if code is None or is_complex else np.dtype(code), name, at


def _array(body: bytes, order: Order) -> NDArray[Any]:
    """The values of a matrix of real numbers."""
    shape, dtype, _, at = _described(body, order)
    kind, begin, size, _ = _element(body, at, order)
    if kind not in _STORED:
        raise ValueError("an array's values are of no known type")
    stored = np.dtype(_STORED[kind]).newbyteorder(order)
    count = math.prod(shape)
    if size != count * stored.itemsize:
        raise ValueError(f"an array of shape {list(shape)} has {size} bytes of values")
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.frombuffer(body, stored, count, begin).astype(dtype)
    return values.reshape(shape, order="F")
