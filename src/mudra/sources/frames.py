"""A folder with one picture file per moment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.files import names_in
from mudra.sources.facts import Facts, duration, mean_rate
from mudra.sources.images import read_image
from mudra.sources.limits import DEFAULT_LIMITS, Limits, check_bytes, check_same_size, named
from mudra.sources.moments import check_bounds, check_count, picked, regular_times, window
from mudra.types import Choose, Stream, StreamKind

_PICTURES = (".jpg", ".jpeg", ".png")
_LAST_NUMBER = re.compile(r"(\d+)(?=\D*$)", re.ASCII)
_MOST_DIGITS = 18
_WHERE_FPS = 'write it into dataset.json: {"streams": {"NAME": {"fps": 12}}}.'


@dataclass(frozen=True, slots=True)
class FrameFolder:
    """JPEG or PNG pictures of a folder, in the order of the last number in their names.

    The numbers must follow one another without a gap; the first may be any. Other files and hidden
    ones are passed over. The first picture is shown at 0 s, the next 1 / fps later.

    Attributes:
        kind: "video", "depth" or "mask".
        fps: frames per second of the recording.
        start, stop: the part to look at, in seconds: frames with start <= time < stop.
    """

    path: Path
    kind: StreamKind = "video"
    fps: float | None = None
    start: float | None = None
    stop: float | None = None
    limits: Limits = DEFAULT_LIMITS

    def times(self) -> NDArray[np.float64]:
        """Seconds of every picture between start and stop.

        Raises:
            DataError: as `read`, for the folder.
        """
        place = named(self.path)
        check_bounds(self.start, self.stop, place)
        times = regular_times(len(self._names()), self.fps, place, _WHERE_FPS)
        return times[window(times, self.start, self.stop, place)]

    def read(self, choose: Choose) -> Stream:
        """Read the pictures that `choose` picks: [n, H, W(, 3)], in the order picked.

        Raises:
            DataError: a number is missing or there twice, no rate, a damaged picture, or sizes differ.
        """
        place = named(self.path)
        check_bounds(self.start, self.stop, place)
        names = self._names()
        times = regular_times(len(names), self.fps, place, _WHERE_FPS)
        part = window(times, self.start, self.stop, place)
        names, times = names[part], times[part]
        numbers = picked(choose, times)
        values = self._pictures([names[number] for number in numbers.tolist()])
        return Stream(self.kind, values, times[numbers])

    def facts(self) -> Facts:
        """Read every picture of the folder and say what is in it.

        Raises:
            DataError: as `read`, for every picture.
        """
        names = self._names()
        times = regular_times(len(names), self.fps, named(self.path), _WHERE_FPS)
        first: tuple[int, ...] | None = None
        for name in names:
            shape = read_image(self.path / name, self.kind, self.limits).shape[:2]
            first = first or shape
            check_same_size(shape, first, named(self.path / name))
        height, width = first or (0, 0)
        fps = mean_rate(times, self.fps or 0.0)
        return Facts(len(names), width, height, fps, duration(times, fps))

    def _pictures(self, names: list[str]) -> NDArray[Any]:
        """Read the named pictures into one array; a name that comes again is copied."""
        folder = os.path.join(self.path, "")  # as text: joining by pathlib costs as much as opening a file
        first = read_image(folder + names[0], self.kind, self.limits)
        check_bytes(len(names) * first.nbytes, self.limits, named(self.path))
        values = np.empty((len(names), *first.shape), first.dtype)
        seen: dict[str, int] = {}
        for place, name in enumerate(names):
            if place == 0:
                values[0] = first
            elif name in seen:
                values[place] = values[seen[name]]
            else:
                read_image(folder + name, self.kind, self.limits, values[place])
            seen.setdefault(name, place)
        return values

    def _names(self) -> list[str]:
        """The names of the pictures, by number."""
        place = named(self.path)
        names = names_in(self.path, "a folder of pictures", place)
        found = [name for name in names if name.lower().endswith(_PICTURES) and name[0] != "."]
        check_count(len(found), self.limits, place)
        if not found:
            raise DataError(
                f"{place}: holds no .jpg or .png pictures; extract the frames, or leave this clip out."
            )
        first = self._number(found[0])
        if found == _renumbered(found[0], range(first, first + len(found))):  # the usual case
            return found
        numbered: dict[int, str] = {}
        for name in found:
            number = self._number(name)
            if number in numbered:
                twice = ", ".join(sorted(named(n) for n in (numbered[number], name)))
                raise DataError(
                    f"{place}: number {number} is there twice ({twice}); keep one clip per folder."
                )
            numbered[number] = name
        in_order = sorted(numbered)
        if in_order[-1] - in_order[0] >= len(in_order):
            gap = next(n for n, after in pairwise(in_order) if after > n + 1) + 1
            ends = numbered[in_order[0]], numbered[in_order[-1]]
            missing, begin, end = (named(name) for name in (*_renumbered(ends[0], [gap]), *ends))
            raise DataError(
                f"{place}: {missing} is missing between {begin} and {end}; extract the frames again, or leave"
                " this clip out."
            )
        return [numbered[number] for number in in_order]

    def _number(self, name: str) -> int:
        """The last number in a picture's name."""
        stem = name.rpartition(".")[0]
        if stem.isdecimal() and stem.isascii() and len(stem) <= _MOST_DIGITS:  # 00001.jpg: the usual case
            return int(stem)
        found = _LAST_NUMBER.search(stem)
        if found is None or len(found[1]) > _MOST_DIGITS:
            raise DataError(
                f"{named(self.path / name)}: its name has no number to order it by; name it 00001.jpg."
            )
        return int(found[1])


def _renumbered(like: str, numbers: Iterable[int]) -> list[str]:
    """The names that pictures of these numbers would have.

    >>> _renumbered("img_00001_rgb.jpg", [7, 8])
    ['img_00007_rgb.jpg', 'img_00008_rgb.jpg']
    """
    stem, dot, suffix = like.rpartition(".")
    head, digits, tail = _LAST_NUMBER.split(stem)
    width, rest = len(digits), tail + dot + suffix
    return [head + str(number).zfill(width) + rest for number in numbers]
