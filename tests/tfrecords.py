"""A writer of TFRecord files and Examples, slow and plain: what the reader must read, said a second time."""

import gzip
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def masked(data: bytes, crc: Any = crc32c) -> bytes:
    value = crc(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(data: bytes, crc: Any = crc32c) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length, crc) + data + masked(data, crc)


def packed(content: bytes, packing: str) -> bytes:
    if packing == "zlib":
        return zlib.compress(content, 1)
    return gzip.compress(content, 1, mtime=0) if packing == "gzip" else content


def write_records(path: Path, datas: Iterable[bytes], packing: str = "zlib", crc: Any = crc32c) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(b"".join(framed(data, crc) for data in datas), packing))
    return path


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(values: Any, pack: bool = True) -> bytes:
    """Bytes, floats or whole numbers as a Feature; an array is the bytes of its float32 numbers."""
    if isinstance(values, np.ndarray):
        values = [values.astype("<f4").tobytes()]
    values = list(values) if isinstance(values, list | tuple) else [values]
    if all(isinstance(value, bytes) for value in values):
        return field(1, b"".join(field(1, value) for value in values))
    if any(isinstance(value, float) for value in values):
        parts, kind, wire = [struct.pack("<f", value) for value in values], 2, 5
    else:
        parts, kind, wire = [varint(value) for value in values], 3, 0
    if pack:
        return field(kind, field(1, b"".join(parts)))
    return field(kind, b"".join(varint(1 << 3 | wire) + part for part in parts))


def example(features: Mapping[str, Any], pack: bool = True) -> bytes:
    entries = [field(1, name.encode()) + field(2, feature(value, pack)) for name, value in features.items()]
    return field(1, b"".join(field(1, entry) for entry in entries))


def sequence(context: Mapping[str, Any], lists: Mapping[str, list[Any]]) -> bytes:
    """A SequenceExample: each feature of a list is a frame's."""
    entries = b""
    for name, values in lists.items():
        inner = b"".join(field(1, feature(value)) for value in values)
        entries += field(1, field(1, name.encode()) + field(2, inner))
    return example(context) + field(2, entries)
