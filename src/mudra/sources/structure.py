"""What a file says of its own extent, before any decoder looks at it.

MP4 and QuickTime are a row of boxes, Matroska and WebM one EBML segment, AVI one RIFF list; each
states its length. A length that points past the end of the file means that the file was cut.

Sources: ISO/IEC 14496-12 section 4.2; RFC 8794 section 6; the RIFF chunk layout.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

# Boxes that carry pictures or their index. Any other box may be cut without harm.
_VITAL_BOXES = {b"mdat", b"moov", b"moof"}
_KNOWN_BOXES = _VITAL_BOXES | {
    b"ftyp",
    b"free",
    b"skip",
    b"wide",
    b"pnot",
    b"styp",
    b"sidx",
    b"uuid",
    b"meta",
}
_MOST_BOXES = 100_000
# Boxes that hold boxes, on the way to those that count samples: where the count stands in each.
_NESTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_SAMPLE_COUNTS = {b"stsz": 8, b"stz2": 8, b"trun": 4}


@dataclass(frozen=True, slots=True)
class Structure:
    """What the outermost layer of a file tells.

    Attributes:
        size: bytes of the file.
        ends_early: a vital part reaches past the end of the file.
        fragmented: an MP4 in fragments; its frame count is not stated in one place.
        no_index: an MP4 without its `moov` box: recorded until a crash, or cut while downloading.
        overclaims: an MP4 that lists more samples than it has bytes; FFmpeg would make room for them all.
        text: it begins like a web page or a pointer file rather than like a video; says which.
    """

    size: int
    ends_early: bool = False
    fragmented: bool = False
    no_index: bool = False
    overclaims: bool = False
    text: str = ""


def inspect(file: BinaryIO) -> Structure:
    """Read the outermost layer of `file`; its position is 0 afterwards."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(64)
    try:
        if not head:
            return Structure(size)
        if head[4:8] in _KNOWN_BOXES:
            return _boxes(file, size)
        if head.startswith(b"\x1a\x45\xdf\xa3"):
            return Structure(size, ends_early=_ebml_end(file, size) > size)
        if head.startswith(b"RIFF"):
            return Structure(size, ends_early=_riff_end(head) > size)
        return Structure(size, text=_text(head))
    finally:
        file.seek(0)


def _boxes(file: BinaryIO, size: int) -> Structure:
    """Walk the top-level boxes of an MP4."""
    place = 0
    kinds: set[bytes] = set()
    cut = b""
    overclaims = False
    for _ in range(_MOST_BOXES):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            cut = b"moov" if head else b""  # a cut header: what it was cannot be known, so assume the worst
            break
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        kinds.add(kind)
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # up to the end of the file
            break
        if length < 8:  # not a box; FFmpeg will judge
            break
        if kind in _NESTS:
            overclaims |= _most_samples(file, place + 8, min(place + length, size)) > size
        place += length
        if place > size:
            cut = kind
            break
        if place == size:
            break
    return Structure(
        size,
        ends_early=cut in _VITAL_BOXES,
        fragmented=b"moof" in kinds,
        no_index=b"moov" not in kinds,
        overclaims=overclaims,
    )


def _most_samples(file: BinaryIO, place: int, end: int, depth: int = len(_NESTS)) -> int:
    """The largest number of samples that a box between `place` and `end` claims."""
    most = 0
    for _ in range(_MOST_BOXES):
        if place + 8 > end:
            break
        file.seek(place)
        head = file.read(20)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length < 8:
            break
        if kind in _NESTS and depth:
            most = max(most, _most_samples(file, place + 8, min(place + length, end), depth - 1))
        elif kind in _SAMPLE_COUNTS:
            at = 8 + _SAMPLE_COUNTS[kind]
            most = max(most, int.from_bytes(head[at : at + 4], "big"))
        place += length
    return most


def _ebml_end(file: BinaryIO, size: int) -> int:
    """Where the first Matroska segment should end; 0 where it does not say."""
    file.seek(4)
    place = 4
    for expected in (None, b"\x18\x53\x80\x67"):  # the EBML header, then the segment
        if expected is not None:
            if file.read(4) != expected:
                return 0
            place += 4
        length, taken = _vint(file.read(8))
        if length is None:
            return 0
        place += taken + length
        if place > size:
            break
        file.seek(place)
    return place


def _vint(data: bytes) -> tuple[int | None, int]:
    """An EBML length and the bytes it takes; None is "unknown" (all ones) or not a length."""
    if not data or data[0] == 0:
        return None, 0
    taken = 9 - data[0].bit_length()
    if len(data) < taken:
        return None, 0
    value = int.from_bytes(data[:taken], "big") & ((1 << (7 * taken)) - 1)
    return (None, taken) if value == (1 << (7 * taken)) - 1 else (value, taken)


def _riff_end(head: bytes) -> int:
    """Where a RIFF list should end; 0 where the writer left the length open."""
    length = int.from_bytes(head[4:8], "little")
    return 0 if length in (0, 0xFFFFFFFF) else 8 + length


def _text(head: bytes) -> str:
    """What kind of text a file is that was taken for a video, or ""."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "a web page"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    if start.startswith((b"#extm3u", b"ffconcat", b"[playlist]")):
        return "a playlist"
    return ""
