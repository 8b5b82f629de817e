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


# --- S4's clips -----------------------------------------------------------------------------------

SIDE = 80


def clip(seed: int, frames: int = 5, padded: int = 0) -> dict[str, np.ndarray]:
    """A clip's numbers as S4 has them: a bright square that wanders over noise; what is padded is not 0."""
    if padded:
        parts = clip(seed, frames), clip(seed + 9999, padded)
        return {name: np.concatenate([values, parts[1][name]]) for name, values in parts[0].items()}
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 90, (frames, SIDE, SIDE, 3))
    depth = rng.integers(100, 140, (frames, SIDE, SIDE))
    mask = np.zeros((frames, SIDE, SIDE), int)
    at = rng.integers(0, SIDE - 24, 2)
    for frame in range(frames):
        at = np.clip(at + rng.integers(-9, 10, 2), 0, SIDE - 24)
        here = frame, slice(at[0], at[0] + 24), slice(at[1], at[1] + 24)
        rgb[here], depth[here], mask[here] = rng.integers(120, 256, 3), 60, 255
    skeleton = rng.normal(0, 1, (frames, 180))
    return {
        "rgb": rgb / 255,
        "depth": depth / 255,
        "segmentation": mask / 255,
        "skeleton": skeleton,
        "skeleton_img": np.zeros((frames, 2)),  # it is not read
    }


def montalbano(
    seed: int, id: int | None, label: int | None = 0, frames: int = 5, padded: int = 0, **other: Any
) -> bytes:
    """A record of S4's; `other` replaces features, or takes them away with None."""
    features: dict[str, Any] = {
        **clip(seed, frames, padded),
        "length": frames,
        "id": id,
        "label": label,
        **other,
    }
    return example({name: value for name, value in features.items() if value is not None})


def fast(data: bytes) -> int:
    """The checksum of mudra itself, where many clips are written; it is held against the slow one elsewhere."""
    from mudra.sources.crc32c import crc32c

    return crc32c(np.frombuffer(data, np.uint8))


def release(root: Path, packing: str = "zlib", **files: list[bytes]) -> Path:
    """S4's files of these records: `training_00=[...]` is `training-00-of-20`."""
    for name, datas in files.items():
        write_records(root / f"{name.replace('_', '-')}-of-20", datas, packing, fast)
    return root
