"""The hands that Slovo's authors found in its trimmed videos: one JSON file of 1.2 GB becomes a data set of points.

Layout: slovo_mediapipe.json = {attachment_id: [frame, ...]}, frame = {"hand 1": 21 x {"x", "y", "z"}, "hand 2": ...},
either or both absent; x and z as shares of the picture's width, y of its height. Nobody says which hand is the left
one, so hands are called by their side of the picture: of two, the one farther left; one alone goes on with the name of
the hand that was last seen nearest. The file is read a video at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from mudra.clips import copies
from mudra.clips.layouts import HAND, HAND_BONES, declare, plain
from mudra.clips.manifest import Manifest, read_manifest, write_manifest
from mudra.errors import DataError
from mudra.files import new_folder, replace_file
from mudra.progress import Progress, silent
from mudra.types import StreamInfo

FPS = 30.0  # the file holds no times; only ratios of them matter to a whole clip
CHUNK, LONGEST = 2**22, 2**27  # characters read at a time, and of one video at most
SIDES = ("left_of_picture", "right_of_picture")
_NAMES = [[f"{side}_{point}" for point in HAND] for side in SIDES]
LAYOUT = declare(
    "hands42",
    [*_NAMES[0], *_NAMES[1]],
    bones=[(one + first, other + first) for first in (0, 21) for one, other in HAND_BONES],
    parts=dict(zip(SIDES, _NAMES, strict=True)),
    pairs=list(zip(*_NAMES, strict=True)),
    unit=[(f"{side}_wrist", f"{side}_middle_mcp") for side in SIDES],
)
"""In a mirror, the hand on the left of the picture is on its right. It goes with the data set that is written."""


def import_hands(manifest: Manifest, source: Path, out: Path, progress: Progress = silent) -> Manifest:
    """Write the points of the clips that the file has, in units of the picture's height as landmarks are.

    Args:
        manifest: Slovo's, read with `absent="keep"` if the videos are not at hand.
        out: a new folder; it appears when it is complete.
    Raises:
        DataError: the file is not as it was released, or has none of the clips.
        OutputError: the points cannot be written.
    """
    row_of = {name: row for row, name in enumerate(manifest.ids.to_pylist())}
    names, files = copies.names_of(manifest), dict[int, dict[str, str]]()
    with new_folder(Path(out)) as folder:
        for name, frames in videos(source):
            row = row_of.get(name)
            if row is not None:
                content = BytesIO()
                np.savez(content, points=hands(frames, f"{source}, {name}") * _units(manifest, row))
                files[row] = {"points": f"points/{names[row]}.npz"}
                replace_file(folder / files[row]["points"], content.getvalue())
                progress("importing hands", len(files), len(manifest))
        if not files:
            raise DataError(f"{source}: it has none of the {len(manifest):,} clips of {manifest.root}.")
        info = StreamInfo("points", LAYOUT.name, FPS, declared=plain(LAYOUT))
        made = copies.described(manifest, folder, dict(sorted(files.items())), {"points": info})
        write_manifest(made, folder)
    return read_manifest(Path(out))


def hands(frames: Any, place: str) -> NDArray[np.float32]:
    """The hands of a video, float32 [T,42,3], NaN where one was not seen; one such frame where there is none.

    Raises:
        DataError: the frames are not as they were released.
    """
    if not isinstance(frames, list):
        raise DataError(f"{place}: found {str(frames)[:60]!r}; expected a list of frames.")
    found = np.full((max(1, len(frames)), 2, 21, 3), np.nan, np.float32)
    last: dict[int, NDArray[np.float32]] = {}  # each side's wrist when it was last seen
    for number, frame in enumerate(frames):
        seen = _seen(frame, f"{place}, frame {number}")
        if len(seen) == 1 and last:
            sides = [min(last, key=lambda side: float(np.linalg.norm(last[side] - seen[0][0, :2])))]
        else:
            seen.sort(key=lambda hand: float(hand[0, 0]))
            sides = [0, 1] if len(seen) == 2 else [int(hand[0, 0] > 0.5) for hand in seen]
        for side, hand in zip(sides, seen, strict=True):
            found[number, side], last[side] = hand, hand[0, :2]
    return found.reshape(len(found), 42, 3)


def _seen(frame: Any, place: str) -> list[NDArray[np.float32]]:
    """The hands of a frame, float32 [21,3] each."""
    if not isinstance(frame, dict) or not frame.keys() <= {"hand 1", "hand 2"}:
        raise DataError(f"{place}: found {str(frame)[:60]!r}; expected hand 1, hand 2 or neither.")
    seen = []
    for name, points in frame.items():
        try:
            hand = np.array([[point[axis] for axis in "xyz"] for point in points], np.float32)
        except (TypeError, KeyError, ValueError, OverflowError):
            hand = np.zeros(0, np.float32)
        if hand.shape != (21, 3) or not np.isfinite(hand).all():
            raise DataError(f"{place}: {name} is {str(points)[:60]!r}; expected 21 points with x, y and z.")
        seen.append(hand)
    return seen


def _units(manifest: Manifest, row: int) -> NDArray[np.float32]:
    """What shares of the picture are multiplied by."""
    cells = [
        manifest.metadata[name][row].as_py() for name in ("width", "height") if name in manifest.metadata
    ]
    if len(cells) < 2 or not all(cell.isascii() and cell.isdecimal() and int(cell) for cell in cells):
        clip = manifest.ids[row].as_py()
        raise DataError(
            f"{manifest.root}, clip {clip!r}: width and height are {cells}; expected two numbers above 0."
        )
    shape = int(cells[0]) / int(cells[1])
    return np.array([shape, 1, shape], np.float32)


def videos(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of one large JSON object of lists, one after the other, in the memory that one of them takes.

    Raises:
        DataError: it is not such a file.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from _entries(file)
    except (OSError, ValueError, RecursionError, IndexError) as problem:
        reason = "it ends too early" if isinstance(problem, IndexError) else str(problem)[:120]
        raise DataError(f"{path}: cannot be read ({reason}); expected slovo_mediapipe.json.") from None


def _entries(file: TextIO) -> Iterator[tuple[str, Any]]:
    text, at, lead, decoder = "", 0, "{", json.JSONDecoder()
    while True:
        found = lead
        try:
            sign = _past_space(text, at)
            found = text[sign]
            if found == "}" and lead == ",":
                return
            name, end = decoder.raw_decode(text, _past_space(text, sign + 1))
            colon = _past_space(text, end)
            value, end = decoder.raw_decode(text, _past_space(text, colon + 1))
        except (ValueError, IndexError):
            more = file.read(CHUNK)
            if found != lead or not more or len(text) - at > LONGEST:
                raise
            text, at = text[at:] + more, 0
            continue
        if found != lead or text[colon] != ":" or not isinstance(name, str):
            raise ValueError(f"not {lead!r}, a name and ':' but {text[sign : colon + 1]!r}")
        yield name, value
        at, lead = end, ","


def _past_space(text: str, at: int) -> int:
    """Where the next letter that is no space stands; IndexError where the text ends before."""
    while text[at] in " \t\r\n":
        at += 1
    return at
