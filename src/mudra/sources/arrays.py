"""Streams that lie in `.npy` and `.npz` files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError, did_you_mean
from mudra.sources import npy
from mudra.sources.facts import Facts, duration, mean_rate
from mudra.sources.limits import DEFAULT_LIMITS, Limits, check_bytes, check_picture, named
from mudra.sources.moments import check_bounds, check_count, picked, regular_times, window
from mudra.sources.stacked import read_stack, stack_in
from mudra.types import Choose, Stream, StreamKind

_AXES: Mapping[StreamKind, str] = {
    "video": "T,H,W,3",
    "depth": "T,H,W",
    "mask": "T,H,W",
    "points": "T,K,C",
    "series": "T,C",
}
_TYPES: Mapping[StreamKind, type[np.generic]] = {
    "video": np.uint8,
    "depth": np.uint16,
    "mask": np.uint8,
    "points": np.float32,
    "series": np.float32,
}
# How much `facts` looks at in one go.
_CHUNK_BYTES = 16 * 1024**2
_WHERE_FPS = 'add `times` to the .npz, or write {"streams": {"NAME": {"fps": 30}}} into dataset.json.'


@dataclass(frozen=True, slots=True)
class ArraySource:
    """One stream of an `.npz` (under the name of its kind, with optional `times` and `score`) or `.npy`.

    Points and series may be of any real type and become float32; video, depth and mask must be of
    their own type or one that fits into it (a mask of truth values, for instance). Of arrays that are
    stored uncompressed only the chosen moments are read. Times are taken as they stand: time 0 is
    whatever the file calls 0.

    Attributes:
        fps: moments per second, where the file has no `times`.
        start, stop: the part to look at, in seconds: moments with start <= time < stop.
    """

    path: Path
    kind: StreamKind
    fps: float | None = None
    start: float | None = None
    stop: float | None = None
    limits: Limits = DEFAULT_LIMITS

    def times(self) -> NDArray[np.float64]:
        """Seconds of every moment between start and stop.

        Raises:
            DataError: as `read`, for the times.
        """
        place = named(self.path)
        check_bounds(self.start, self.stop, place)
        with self._outlines() as found:
            times = self._times(found, len(self._values(found)))
            return times[window(times, self.start, self.stop, place)]

    def read(self, choose: Choose) -> Stream:
        """Read the moments that `choose` picks, in the order picked.

        Raises:
            DataError: wrong name, type or shape, infinite values, falling times, no rate.
        """
        place = named(self.path)
        check_bounds(self.start, self.stop, place)
        with self._arrays() as found:
            values = self._values(found)
            times = self._times(found, len(values))
            part = window(times, self.start, self.stop, place)
            numbers = picked(choose, times[part])
            chosen = part.start + numbers
            check_bytes(
                len(chosen) * values[0].size * np.dtype(_TYPES[self.kind]).itemsize, self.limits, place
            )
            result = self._converted(values[chosen])
            return Stream(self.kind, result, times[chosen], self._score(found, values, chosen))

    def facts(self) -> Facts:
        """Check every value and say what is in the file.

        Raises:
            DataError: as `read`, for every moment.
        """
        with self._arrays() as found:
            values = self._values(found)
            times = self._times(found, len(values))
            step = max(1, _CHUNK_BYTES // max(1, values[0].nbytes))
            for begin in range(0, len(values), step):
                self._converted(values[begin : begin + step])
            self._score(found, values, np.arange(len(values)))
        height, width = values.shape[1:3] if self.kind in ("video", "depth", "mask") else (0, 0)
        fps = mean_rate(times, self.fps or 0.0)
        return Facts(len(times), width, height, fps, duration(times, fps))

    def _arrays(self) -> AbstractContextManager[Mapping[str, NDArray[Any]]]:
        """The file's arrays by name, for as long as it is open."""
        if self.kind == "series" and self.path.suffix.lower() == ".npz":
            return _series_or_stack(self.path, self.limits)
        return npy.arrays(self.path, self.limits)

    def _outlines(self) -> AbstractContextManager[Mapping[str, NDArray[Any]]]:
        """The same, where only the shape and type of the stream's own array matter."""
        return self._arrays()

    def _values(self, found: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The array of this stream, its shape and type checked."""
        key = "" if "" in found else self.kind
        place = named(self.path)
        if key not in found:
            has = ", ".join(sorted(found)) or "nothing"
            hint = did_you_mean(self.kind, found)
            raise DataError(f"{place}: has no array {self.kind!r}, only {has}; name it so.{hint}")
        values = found[key]
        self._check_shape(values.shape)
        if self.kind in ("points", "series"):
            right = values.dtype.kind in "iuf"
        else:  # no value may be changed by the conversion
            right = np.can_cast(values.dtype, _TYPES[self.kind], "safe")
        if not right:
            raise DataError(
                f"{place}: {self.kind} of type {values.dtype}; expected {np.dtype(_TYPES[self.kind])}."
            )
        return values

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse an array that has other axes than its kind."""
        place, axes = named(self.path), _AXES[self.kind]
        wanted = len(axes.split(","))
        right = len(shape) == wanted
        if right and self.kind == "video":
            right = shape[3] == 3
        if right and self.kind == "points":
            right = shape[2] in (2, 3)
        if not right:
            hint = "; C is 2 or 3" if self.kind == "points" else ""
            raise DataError(f"{place}: {self.kind} of shape {shape}; expected [{axes}]{hint}.")
        if 0 in shape:
            raise DataError(f"{place}: {self.kind} of shape {shape} holds nothing; leave this clip out.")
        check_count(shape[0], self.limits, place)
        if self.kind in ("video", "depth", "mask"):
            check_picture(shape[2], shape[1], self.limits, place)

    def _times(self, found: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.float64]:
        """Seconds of every moment, [count]."""
        place = named(self.path)
        if "times" not in found:
            return regular_times(count, self.fps, place, _WHERE_FPS)
        given = found["times"]
        if given.shape != (count,) or given.dtype.kind not in "iuf":
            raise DataError(
                f"{place}: times of shape {given.shape} and type {given.dtype}; expected {count} numbers, in seconds."
            )
        times = given.astype(np.float64)
        if not np.isfinite(times).all():
            raise DataError(
                f"{place}: times[{int(np.argmin(np.isfinite(times)))}] is not finite; mend the times."
            )
        falls = np.flatnonzero(np.diff(times) < 0)
        if len(falls):
            at = int(falls[0]) + 1
            raise DataError(
                f"{place}: times fall at {at} ({times[at - 1]:g} s, then {times[at]:g} s); sort them."
            )
        return times

    def _converted(self, values: NDArray[Any]) -> NDArray[Any]:
        """The chosen values in the type of their kind, none of them infinite."""
        wanted = _TYPES[self.kind]
        if wanted is not np.float32:
            return values.astype(wanted, copy=False)
        result = _as_float32(values)
        bad = np.isinf(result)
        if bad.any():
            at = tuple(int(axis[0]) for axis in np.nonzero(bad))
            unknown = "a point was not seen" if self.kind == "points" else "a value is not known"
            allowed = f"numbers, or NaN where {unknown}"
            raise DataError(
                f"{named(self.path)}: {self.kind} holds {result[at]} at {at}; expected {allowed}."
            )
        return result

    def _score(
        self, found: Mapping[str, NDArray[Any]], values: NDArray[Any], chosen: NDArray[np.int64]
    ) -> NDArray[np.float32] | None:
        """The confidence of each chosen point [n, K], if the file has one; NaN counts as 0."""
        if self.kind != "points" or "score" not in found:
            return None
        score = found["score"]
        if score.shape != values.shape[:2] or score.dtype.kind not in "iuf":
            raise DataError(
                f"{named(self.path)}: score of shape {score.shape} and type {score.dtype};"
                f" expected numbers of shape {values.shape[:2]}."
            )
        result = np.nan_to_num(_as_float32(score[chosen]), nan=0.0, posinf=np.inf, neginf=-np.inf)
        if np.isinf(result).any():
            raise DataError(f"{named(self.path)}: score holds an infinite value; expected confidences.")
        return result


@contextmanager
def _series_or_stack(path: Path, limits: Limits) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays of an `.npz`; where a release stacked its sequences in it, those as one series."""
    with npy.arrays(path, limits) as found:
        stacked = "series" not in found and bool(stack_in(found))
        if not stacked:
            yield found
    if stacked:
        yield {"series": read_stack(path)}


def _as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """The same numbers as float32; what is too large becomes infinite, for the caller to find."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)
