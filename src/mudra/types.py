"""The nouns of mudra, with their axes and units. Imports nothing of mudra and nothing heavy.

Axis letters, for the whole project:
    B clips of a batch   T frames (moments)   H height   W width   C channels
    K points             N tokens of a frame  D width of a model
Units: times in seconds; video uint8 RGB 0..255; depth uint16 millimetres; points and series as their
recorder gave them, NaN where a point was not seen or a value is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

StreamKind = Literal["video", "depth", "mask", "points", "series"]
STREAM_KINDS: tuple[StreamKind, ...] = ("video", "depth", "mask", "points", "series")
Space = Literal["picture", "height"]
PICTURE_KINDS: tuple[StreamKind, ...] = ("video", "depth", "mask")
TRACK_KINDS: tuple[StreamKind, ...] = ("points", "series")
"""Numbers that run through time: between two moments they can be interpolated, which pictures cannot."""
SPLITS = ("train", "val", "test")

SUBSET = "subset:"
"""A column that begins so tells which clips are reported apart as well: `subset:NAME` says yes or no, and
`subset:NAME:TASK` counts for one task alone."""

# The class number of a clip whose true class is not known. PyTorch's losses ignore it by this number.
UNLABELLED = -100

Choose = Callable[[NDArray[np.float64]], NDArray[np.int64]]
"""Chooses frames: times [T] in seconds, never falling, T >= 1 -> frame numbers [n], each in [0, T)."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is known of one stream of a data set.

    Attributes:
        layout: of points, the name of the layout that says which is which.
        fps: moments per second, where the files hold no times.
        channels: of a series, how many values a moment has.
        space: of points, where x and y lie in the clip's video, from its upper left: `picture` is shares of its width
            and height, `height` is heights of it both ways; None is a space of their own (a body's, metres).
        declared: of points, the layout itself as plain values, where it is not a built-in one.
    """

    kind: StreamKind
    layout: str | None = None
    fps: float | None = None
    channels: int | None = None
    space: Space | None = None
    declared: Mapping[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a data set: where its streams lie and what is known of it. Nothing is read yet.

    Attributes:
        id: unique in its data set.
        split: "train", "val", "test", or "" where none was given.
        group: person, signer or recording that must not stand on both sides of a split; "" where unknown.
        labels: class name by task; a task that is absent is unlabelled.
        streams: file or frame folder by stream name.
        start, stop: the part of the file that is the clip, in seconds; None is the file's own end.
        fps: frames per second of this clip's video, where its files hold no times; None: its stream's.
        opened: streams that are not read as their files would be, with what they are read from.
    """

    id: str
    split: str = ""
    group: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    streams: Mapping[str, Path] = field(default_factory=dict)
    start: float | None = None
    stop: float | None = None
    fps: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    opened: Mapping[str, Source] = field(default_factory=dict)

    def rate(self, info: StreamInfo) -> float | None:
        """Moments per second of one of its streams, where its file holds no times; None where nobody said."""
        return self.fps if info.kind == "video" and self.fps is not None else info.fps


@dataclass(frozen=True, slots=True)
class Stream:
    """The chosen moments of one stream.

    Attributes:
        values: video uint8 [T,H,W,3]; depth uint16 [T,H,W]; mask uint8 [T,H,W];
            points float32 [T,K,C], NaN = not seen; series float32 [T,C], NaN = not known.
        times: seconds of each moment, float64 [T].
        score: the detector's confidence of each point, float32 [T,K], where it gave one.
    """

    kind: StreamKind
    values: NDArray[Any]
    times: NDArray[np.float64]
    score: NDArray[np.float32] | None = None


class Source(Protocol):
    """A stream that lies in a file: its moments are known before anything is converted."""

    def times(self) -> NDArray[np.float64]:
        """The times that `choose` is asked with: seconds [T], never falling."""
        ...

    def read(self, choose: Choose) -> Stream:
        """Read the moments that `choose` picks from the source's times, in the order picked."""
        ...


@dataclass(frozen=True, slots=True)
class Ranked:
    """One class of an answer."""

    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """A recogniser's answer for one clip: every class of every task, the likeliest first.

    Attributes:
        rejected: tasks whose likeliest class is less probable than the recogniser's threshold asks: none of these.
            Empty where no threshold was set; see `mudra calibrate`.
    """

    tasks: Mapping[str, tuple[Ranked, ...]]
    rejected: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """The likeliest class of the first task."""
        return next(iter(self.tasks.values()))[0].name

    @property
    def probability(self) -> float:
        """The probability of `label`."""
        return next(iter(self.tasks.values()))[0].probability

    def top(self, count: int, task: str | None = None) -> tuple[Ranked, ...]:
        """The `count` likeliest classes of one task (the first by default)."""
        ranked = self.tasks[task] if task is not None else next(iter(self.tasks.values()))
        return ranked[:count]
