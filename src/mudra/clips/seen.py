"""How often each part of the body was found: what a user should know before training on landmarks."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from mudra.clips import points
from mudra.clips.layouts import find_layout

HOLISTIC = find_layout("holistic543")
PARTS = (*HOLISTIC.parts, "either_hand")
"""The parts that are counted."""
NAMED = 5  # clips that a line names


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in one clip.

    Attributes:
        frames: how many were looked at; fps: their rate, 0 where there is one frame.
        parts: in how many of them each of `PARTS` was found.
    """

    frames: int
    fps: float
    parts: tuple[int, ...]

    def share(self, part: str) -> float:
        """The share of the frames in which a part was found, 0..1."""
        return self.parts[PARTS.index(part)] / self.frames


def count(points_TKC: NDArray[np.float32]) -> tuple[int, ...]:
    """In how many frames each of `PARTS` was found, of all 543 points."""
    there_TK = points.seen(points_TKC)
    found = {part: there_TK[:, list(rows)].any(1) for part, rows in HOLISTIC.parts.items()}
    found["either_hand"] = found["left_hand"] | found["right_hand"]
    return tuple(int(found[part].sum()) for part in PARTS)


def summary(clips: Mapping[str, Seen]) -> list[str]:
    """Lines for a person: shares of all frames, and the clips in which no hand was found.

    Args:
        clips: by their ids; at least one.
    """
    frames = sum(clip.frames for clip in clips.values())
    shares = [sum(clip.parts[number] for clip in clips.values()) / frames for number in range(len(PARTS))]
    told = ", ".join(
        f"{part.replace('_', ' ')} {share:.1%}" for part, share in zip(PARTS, shares, strict=True)
    )
    lines = [f"{len(clips):,} clips, {frames:,} frames; found in them: {told}"]
    for part, what in (("either_hand", "no hand"), ("pose", "no person")):
        empty = [name for name, clip in clips.items() if not clip.share(part)]
        if empty:
            named = ", ".join(repr(name) for name in empty[:NAMED]) + (", ..." if len(empty) > NAMED else "")
            lines.append(f"{what} was found in {len(empty):,} of {len(clips):,} clips: {named}")
    return lines


def table(ids: Sequence[str], clips: Mapping[int, Seen], broken: Mapping[int, str]) -> str:
    """CSV, one row a clip: frames, rate, the share of the frames in which each part was found, or the problem."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["clip", "frames", "fps", *PARTS, "problem"])
    for row, name in enumerate(ids):
        if row in clips:
            clip = clips[row]
            shares = [f"{clip.share(part):.4f}" for part in PARTS]
            rows.writerow([name, clip.frames, f"{clip.fps:.4g}", *shares, ""])
        elif row in broken:
            rows.writerow([name, "", "", *[""] * len(PARTS), broken[row]])
    return text.getvalue()
