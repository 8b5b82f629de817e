"""What is shown of one clip: its streams, read at moments that they share, and a few facts.

Pictures (video, depth, mask) are read at the middles of equal parts of the clip, so that a strip of them has time
running evenly from left to right; points and series are read whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mudra.clips import points as body
from mudra.clips.layouts import PointLayout, declare, layout_of
from mudra.clips.preprocessing import open_stream
from mudra.clips.sampling import segments
from mudra.types import Clip, Stream, StreamInfo

Times = NDArray[np.float64]

PICTURES = ("video", "depth", "mask")
MOST_FRAMES = 2000  # of points and series; of more, some are left out
INSIDE = 0.95  # of the points that were seen must lie in the picture to be drawn over it


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One stream of a clip.

    Attributes:
        stream: the frames that were read, their times counted from the clip's first frame.
        frames: how many the clip has.
        seconds: how long it lasts, its last frame included.
        layout: of points.
    """

    name: str
    stream: Stream
    frames: int
    seconds: float
    layout: PointLayout | None = None

    @property
    def kind(self) -> str:
        return self.stream.kind

    @property
    def fps(self) -> float:
        """Frames per second; 0 for a single frame."""
        return self.frames / self.seconds if self.seconds else 0.0

    def nearest(self, times: Times) -> NDArray[np.int64]:
        """The frames nearest to some moments, in seconds [N]."""
        return np.abs(self.stream.times[None] - times[:, None]).argmin(1)

    @property
    def seen(self) -> dict[str, NDArray[np.bool_]]:
        """By part of the layout, whether anything of it was seen at each moment, bool [T]."""
        if self.layout is None:
            return {}
        there_TK = body.seen(self.stream.values)
        parts = self.layout.parts or {"points": tuple(range(len(self.layout)))}
        return {part: np.asarray(there_TK[:, list(rows)].any(1)) for part, rows in parts.items()}


@dataclass(frozen=True, slots=True, eq=False)
class ClipView:
    """One clip, read.

    Attributes:
        seconds: how long it lasts: its video, or the first of its streams where it has none.
        moments: seconds from the clip's first frame, at which pictures were read.
        shown: its streams, in the order of the data set.
    """

    clip: Clip
    seconds: float
    moments: Times
    shown: Sequence[Shown]

    def of_kind(self, kind: str) -> list[Shown]:
        return [each for each in self.shown if each.kind == kind]

    def picture_size(self, points: Shown) -> tuple[float, float] | None:
        """The width and height that points over the video are shares of: 1 and 1, or the video's own in pixels.

        None where they do not lie in the video's picture (metres, for instance) or where there is no video.
        """
        video = next(iter(self.of_kind("video")), None)
        if video is None:
            return None
        flat = points.stream.values[body.seen(points.stream.values)][:, :2]
        height, width = video.stream.values.shape[1:3]
        for size in ((1.0, 1.0), (float(width), float(height))):
            if len(flat) and ((flat >= 0) & (flat <= size)).all(1).mean() >= INSIDE:
                return size
        return None


def read_view(clip: Clip, streams: Mapping[str, StreamInfo], moments: int) -> ClipView:
    """Read those of the streams that the clip has.

    Raises:
        DataError: one cannot be read, or its points are not of its layout.
    """
    shown = [_read(clip, name, streams[name], moments) for name in streams if name in clip.streams]
    first = next((each for each in shown if each.kind == "video"), shown[0])
    middles = (np.arange(moments) + 0.5) / moments * first.seconds
    pictures = next((each for each in (first, *shown) if each.kind in PICTURES), None)
    times = middles if pictures is None else pictures.stream.times  # points must lie on the very frame
    return ClipView(clip, first.seconds, times, shown)


def _read(clip: Clip, name: str, info: StreamInfo, moments: int) -> Shown:
    every: list[Times] = []

    def choose(times: Times) -> NDArray[np.int64]:
        every.append(times)
        if info.kind in PICTURES:
            return segments(times, moments)
        return np.linspace(0, len(times) - 1, min(len(times), MOST_FRAMES)).astype(np.int64)

    stream = open_stream(clip, name, info).read(choose)
    times = every[-1]  # asked again where a file declared other frames than it has
    frame_time = float(np.median(np.diff(times))) if len(times) > 1 else 1 / info.fps if info.fps else 0.0
    stream = replace(stream, times=stream.times - times[0])
    layout = _layout(stream, name, info, clip.id) if info.kind == "points" else None
    return Shown(name, stream, len(times), float(times[-1] - times[0]) + frame_time, layout)


def _layout(stream: Stream, name: str, info: StreamInfo, clip: str) -> PointLayout:
    """The layout of a stream of points; one without names where nobody declared any."""
    if info.layout is None:
        return declare("points", [f"point {row}" for row in range(stream.values.shape[1])])
    layout = layout_of(info, f"stream {name!r}")
    body.check(stream.values, layout, stream.values.shape[2], f"clip {clip!r}")
    return layout
