"""TFRecord files, plain, GZIP or ZLIB, without TensorFlow: records one after the other, in the memory that one takes.

A record is its length (8 bytes), the checksum of that (4), the data, the checksum of those (4); all little-endian,
the checksums CRC-32C, masked. A file has no end mark of its own: a plain one that was cut just between two records
reads as a shorter one. ZLIB and GZIP files have one, and it is asked for.

Source: the format as TensorFlow's record_writer.h describes it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.crc32c import crc32c
from mudra.sources.limits import DEFAULT_LIMITS, Limits, named, open_regular

Record = NDArray[np.uint8]

LONGEST = 2**28  # bytes of one record; a clip of S4's takes 205 kB a frame
READ, UNPACKED = 2**18, 2**21  # bytes read at a time, and unpacked at a time, whatever they would unpack to
_HEAD, _FOOT = 12, 4
_MASK = 0xA282EAD8
_AGAIN = "Copy it again, or write it anew."


def records(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> Iterator[Record]:
    """The data of each record, checked against its checksum.

    Args:
        limits: a record may have no more bytes than it says, and no more than `LONGEST`.
    Yields:
        uint8 [bytes], valid for as long as it is held.
    Raises:
        DataError: not a TFRecord, damaged, cut, or over the limit; the records before were handed out.
    """
    place, most = named(path), min(LONGEST, limits.bytes)
    with open_regular(Path(path)) as file:
        stream = _Stream(_pieces(file, place))
        number = 0
        while len(head := stream.take(_HEAD)):
            here = f"{place}, record {number}"
            length = _length(head, here)
            if length > most:
                raise DataError(
                    f"{here}: its {length:,} bytes are too many; expected at most {most:,}. Leave this file out."
                )
            data, foot = stream.take(length), stream.take(_FOOT)
            if len(foot) < _FOOT:
                raise DataError(
                    f"{here}: cut after {len(data):,} of {length:,} bytes; expected a whole record. {_AGAIN}"
                )
            if masked(data) != _number(foot):
                raise DataError(
                    f"{here}: its {length:,} bytes do not fit their checksum; the file is damaged. {_AGAIN}"
                )
            yield data
            number += 1


def masked(data: Record) -> int:
    """The checksum as records keep it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _number(data: Record) -> int:
    return int.from_bytes(data.tobytes(), "little")


def _length(head: Record, here: str) -> int:
    if len(head) < _HEAD:
        raise DataError(f"{here}: {len(head)} bytes are left; expected a whole record. {_AGAIN}")
    if masked(head[:8]) != _number(head[8:]):
        raise DataError(f"{here}: its length does not fit its checksum; the file is damaged. {_AGAIN}")
    return _number(head[:8])


class _Stream:
    """Bytes that come in pieces, taken in parts of any length."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = np.empty(0, np.uint8)

    def take(self, count: int) -> Record:
        """The next bytes; fewer where there are no more."""
        if count <= len(self._left):  # no copy
            part, self._left = self._left[:count], self._left[count:]
            return part
        whole, got = np.empty(count, np.uint8), 0  # the system gives the memory as it is filled
        while got < count:
            if not len(self._left):
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._left = np.frombuffer(piece, np.uint8)
            part = self._left[: count - got]
            whole[got : got + len(part)] = part
            self._left = self._left[len(part) :]
            got += len(part)
        return whole[:got]


def _pieces(file: BinaryIO, place: str) -> Iterator[bytes]:
    """What is in a file, unpacked, a few megabytes at a time.

    Raises:
        DataError: it begins as no TFRecord does, is damaged, or cut.
    """
    head = np.frombuffer(file.read(_HEAD), np.uint8)
    file.seek(0)
    if not len(head):
        raise DataError(f"{place}: is empty; expected a TFRecord file. {_AGAIN}")
    packing = _packing(head, place)
    if packing is None:
        while piece := file.read(UNPACKED):
            yield piece
        return
    try:
        yield from _unpacked(file, packing, place)
    except zlib.error as problem:
        raise DataError(f"{place}: the packed data are damaged ({problem}). {_AGAIN}") from None


def _packing(head: Record, place: str) -> int | None:
    """zlib's number for GZIP or ZLIB, None for a plain file. A plain one is known by its first checksum."""
    if len(head) == _HEAD and masked(head[:8]) == _number(head[8:]):
        return None
    first, second = (int(byte) for byte in (*head[:2], 0, 0)[:2])
    if (first, second) == (0x1F, 0x8B):
        return 16 + zlib.MAX_WBITS
    if first & 15 == zlib.DEFLATED and first >> 4 < 8 and (first << 8 | second) % 31 == 0:
        return zlib.MAX_WBITS
    raise DataError(
        f"{place}: begins with {head.tobytes().hex(' ')}; expected a TFRecord file, plain, GZIP or ZLIB. {_AGAIN}"
    )


def _unpacked(file: BinaryIO, packing: int, place: str) -> Iterator[bytes]:
    """The pieces of a packed file. GZIP may follow GZIP in one file; nothing else may follow."""
    unpacker, waiting = zlib.decompressobj(packing), b""
    while waiting or (waiting := file.read(READ)):
        if unpacker.eof:
            if packing == zlib.MAX_WBITS:
                raise DataError(f"{place}: more follows after the end of the packed data. {_AGAIN}")
            unpacker = zlib.decompressobj(packing)
        piece = unpacker.decompress(waiting, UNPACKED)
        waiting = unpacker.unused_data or unpacker.unconsumed_tail
        if piece:
            yield piece
    while not unpacker.eof and (piece := unpacker.decompress(b"", UNPACKED)):
        yield piece
    if not unpacker.eof:
        raise DataError(f"{place}: is cut: the packed data do not end. {_AGAIN}")
