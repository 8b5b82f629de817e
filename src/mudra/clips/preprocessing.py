"""Evaluation preprocessing: a clip's file becomes the numbers that a model takes. Imports no torch.

One object serves training (where nothing is drawn), evaluation, prediction, export and live, and it
travels in the bundle: the recogniser that was evaluated is the recogniser that runs.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mudra.clips import points as body
from mudra.clips.dataset_json import stream_kind
from mudra.clips.layouts import PointLayout, find_layout
from mudra.clips.pixels import normalise, resize, view_box
from mudra.clips.sampling import chooser
from mudra.errors import DataError, RecipeError
from mudra.sections import ClipSettings
from mudra.sources import open_source
from mudra.types import Clip, Source, Stream, StreamInfo


@dataclass(frozen=True)
class Views:
    """How often one clip is looked at: `clips` places in time x `crops` places in the picture."""

    clips: int = 1
    crops: int = 1

    @classmethod
    def parse(cls, text: str) -> "Views":
        """Read `10x3`: ten places in time, three crops of each.

        Raises:
            RecipeError: anything else.
        """
        clips, cross, crops = text.partition("x")
        if not (cross and clips.isdecimal() and crops.isdecimal() and int(clips) and int(crops)):
            raise RecipeError(f"--views: found {text!r}; expected places in time x crops, such as 10x3.")
        return cls(int(clips), int(crops))


@dataclass(frozen=True)
class Preprocessing:
    """What is looked at in a clip and how it is scaled: settings plus what is known of the streams."""

    settings: ClipSettings
    streams: Mapping[str, StreamInfo]

    def __post_init__(self) -> None:
        for name in self.settings.streams:
            if name not in self.streams:
                raise RecipeError(_absent(name, self.streams))
            kind = self.streams[name].kind
            if kind == "points":
                self._check_points(name)
            elif kind != "video":
                raise RecipeError(
                    f"clip.streams: {name!r} is of kind {kind!r}; models read video and points so far."
                )

    def _check_points(self, name: str) -> None:
        if self.streams[name].layout is None:
            raise DataError(
                f"stream {name!r}: nobody says which point is which; name the layout in dataset.json, as in "
                '{"streams": {"points": {"layout": "kinect20", "fps": 30}}}.'
            )
        body.require_parts(self.layout(name), self.settings.points, repr(name), len(self.settings.streams))
        if self.settings.sampling != "even" or self.settings.stride != 1:
            raise RecipeError(
                f"clip.sampling: found {self.settings.sampling} with stride {self.settings.stride} for the points of "
                f"{name!r}; expected even with stride 1, which uses every frame."
            )

    def layout(self, name: str) -> PointLayout:
        """The layout of a stream of points."""
        return find_layout(self.streams[name].layout or "", f"stream {name!r}, layout")

    @property
    def has_mirror(self) -> bool:
        """Whether every stream has a mirror image: points have one where their layout names left and right."""
        kinds = {name: self.streams[name].kind for name in self.settings.streams}
        return all(kind != "points" or bool(self.layout(name).pairs) for name, kind in kinds.items())

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of each stream without the batch: video is (T, C, H, W), points are (T, K, C)."""
        frames, size = self.settings.frames, self.settings.size
        return {
            name: (frames, len(self.layout(name)), self.settings.points.coordinates)
            if self.streams[name].kind == "points"
            else (frames, 3, size, size)
            for name in self.settings.streams
        }

    def read(self, clip: Clip, views: Views = Views()) -> dict[str, NDArray[np.float32]]:
        """Read a clip as evaluation sees it, decoding it once however many views are taken.

        Returns:
            by stream, V = views.clips x views.crops: video float32 [V,T,C,H,W]; points float32 [V,T,K,C], NaN where
            a point was not seen and after the end of a short clip.
        Raises:
            DataError: a stream is missing or cannot be decoded.
        """
        return {
            name: self.points(self.read_points(clip, name), name, views)
            if self.streams[name].kind == "points"
            else self.video(self._stream(clip, name, views).values, views)
            for name in self.settings.streams
        }

    def read_points(self, clip: Clip, name: str) -> Stream:
        """The points of a clip as they lie in its file, float32 [T,K,C] with the coordinates that are wanted.

        Raises:
            DataError: they cannot be read, or are not of the layout.
        """
        source = open_stream(clip, name, self.streams[name])
        stream = source.read(lambda times: body.readable(times, self.settings.frames))
        if self.settings.points.min_score and stream.score is None:
            raise DataError(
                f"clip {clip.id!r}: its points have no score, which clip.points.min_score needs; add `score` [T,K] to "
                "the file, or set it to 0."
            )
        return self.checked(stream, name, f"clip {clip.id!r}")

    def checked(self, stream: Stream, name: str, place: str) -> Stream:
        """The stream with the coordinates, the points and the frames that are wanted.

        Raises:
            DataError: its points are not of the layout.
        """
        values = body.check(stream.values, self.layout(name), self.settings.points.dims, place)
        return body.clean(replace(stream, values=values), self.layout(name), self.settings.points)

    def points(self, stream: Stream, name: str, views: Views = Views()) -> NDArray[np.float32]:
        """Prepare the points of one clip: float32 [V,T,K,C]. Places in the picture are the same to points."""
        settings = self.settings
        looks = []
        for look in range(views.clips):
            shift = ((look + 0.5) / views.clips - 0.5) / 2
            moments = body.moments_of(stream.times, settings.frames, settings.points.short, shift)
            look_NKC = self.points_at(stream, name, moments)
            looks += [body.finish(look_NKC, self.layout(name), settings.points)] * views.crops
        return np.stack([body.fill(look, settings.frames) for look in looks])

    def points_at(self, stream: Stream, name: str, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """Points at some moments, seconds [N], centred and scaled: float32 [N,K,C]."""
        looks = body.resample(stream.values, stream.times, moments)
        return body.normalise(looks, self.layout(name), self.settings.points)

    def video(self, frames: NDArray[np.uint8], views: Views = Views()) -> NDArray[np.float32]:
        """Scale the chosen frames of one clip.

        Args:
            frames: uint8 [clips x T,H,W,3], the frames of one place in time after the other.
        Returns:
            float32 [V,T,3,size,size].
        """
        settings, size = self.settings, self.settings.size
        height, width = frames.shape[1:3]
        parts = np.split(frames, views.clips)
        looks = np.empty((views.clips * views.crops, len(parts[0]), 3, size, size), np.float32)
        for look, (part, crop) in zip(looks, product(parts, range(views.crops)), strict=True):
            box = view_box(height, width, settings.resize, settings.shorter_side, crop, views.crops)
            normalise(resize(part, size, size, box), settings.mean, settings.std, look)
        return looks

    def _stream(self, clip: Clip, name: str, views: Views) -> Stream:
        """The frames of every place in time, chosen in one pass over the file."""
        choosers = [chooser(self.settings, clip=place, clips=views.clips) for place in range(views.clips)]
        source = open_stream(clip, name, self.streams[name])
        return source.read(lambda times: np.concatenate([choose(times) for choose in choosers]))


def _absent(name: str, streams: Mapping[str, StreamInfo]) -> str:
    """What is wrong where the data lacks a stream."""
    known = ", ".join(streams) or "none"
    return f"clip.streams: the data has no stream {name!r}; it has {known}.{_how_to_make(name, streams)}"


def _how_to_make(name: str, streams: Collection[str]) -> str:
    """What a user can do who has videos and needs points."""
    if stream_kind(name) != "points" or "video" not in streams:
        return ""
    return " This reads points: make them with `mudra data landmarks DATA OUT`, and take OUT as the data."


def open_stream(clip: Clip, name: str, info: StreamInfo) -> Source:
    """The source of one stream of a clip.

    Raises:
        DataError: the clip has no such stream, or its file cannot be opened.
    """
    if name in clip.opened:
        return clip.opened[name]
    if name not in clip.streams:
        have = ", ".join(clip.streams) or "none"
        raise DataError(
            f"clip {clip.id!r}: it has no stream {name!r}, only {have}. Add it, or leave the clip out."
            f"{_how_to_make(name, clip.streams)}"
        )
    return open_source(clip.streams[name], info.kind, fps=info.fps, start=clip.start, stop=clip.stop)
