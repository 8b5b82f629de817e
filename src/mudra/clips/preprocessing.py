"""Evaluation preprocessing: a clip's file becomes the numbers that a model takes. Imports no torch.

One object serves training (where nothing is drawn), evaluation, prediction, export and live, and it
travels in the bundle: the recogniser that was evaluated is the recogniser that runs.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mudra.clips import pictures, series
from mudra.clips import points as body
from mudra.clips.dataset_json import stream_kind
from mudra.clips.geometry import Geometry, take, take_points
from mudra.clips.layouts import PointLayout, differences, layout_of
from mudra.clips.pixels import normalise, resize, view_box
from mudra.clips.sampling import Times, chooser
from mudra.clips.together import Recording, open_together
from mudra.errors import DataError, RecipeError
from mudra.sections import ClipSettings
from mudra.sources import open_source
from mudra.types import PICTURE_KINDS, TRACK_KINDS, Clip, Source, Stream, StreamInfo, StreamKind


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
    """What is looked at in a clip and how it is scaled: settings plus what is known of the streams.

    Attributes:
        scales: mean and deviation of the channels of each series, measured over the training clips.
    """

    settings: ClipSettings
    streams: Mapping[str, StreamInfo]
    scales: Mapping[str, series.Scale] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.settings.streams:
            if name not in self.streams:
                raise RecipeError(_absent(name, self.streams))
            if self.settings.streams.count(name) > 1:
                raise RecipeError(f"clip.streams: {name!r} is named twice; name each stream once.")
            if self.kind(name) in TRACK_KINDS:
                self._check_track(name)
        if not self.settings.streams:
            raise RecipeError("clip.streams: it names no stream; expected one at least, such as [video].")
        if not self.by_frames:
            self.short  # noqa: B018 - told before any clip is read

    def _check_track(self, name: str) -> None:
        info = self.streams[name]
        if info.kind == "points":
            body.require_parts(
                self.layout(name), self.settings.points, repr(name), len(self.settings.streams)
            )
        elif info.channels is None:
            raise DataError(
                f"stream {name!r}: nobody says how many channels it has; write it into dataset.json, as in "
                '{"streams": {"series": {"channels": 6, "fps": 50}}}.'
            )
        if self.settings.sampling != "even" or self.settings.stride != 1:
            raise RecipeError(
                f"clip.sampling: found {self.settings.sampling} with stride {self.settings.stride} for the "
                f"{info.kind} of {name!r}; expected even with stride 1, which uses every frame."
            )

    def kind(self, name: str) -> StreamKind:
        """The kind of a stream."""
        return self.streams[name].kind

    def layout(self, name: str) -> PointLayout:
        """The layout of a stream of points."""
        return self.layouts[name]

    @cached_property  # a declared layout is checked whenever it is made, and every clip asks for it
    def layouts(self) -> dict[str, PointLayout]:
        """The layout of each stream of points that is looked at."""
        return {
            name: layout_of(self.streams[name], f"stream {name!r}")
            for name in self.settings.streams
            if self.streams[name].kind == "points"
        }

    @property
    def by_frames(self) -> bool:
        """Whether frames are chosen (pictures alone), and not moments, at which numbers are interpolated."""
        return all(self.kind(name) in PICTURE_KINDS for name in self.settings.streams)

    @property
    def short(self) -> Literal["stretch", "pad"]:
        """What becomes of short clips; all streams of a clip have the same moments.

        Raises:
            RecipeError: points and series are told differently.
        """
        kinds = {self.kind(name) for name in self.settings.streams}
        points, channels = self.settings.points.short, self.settings.series.short
        if {"points", "series"} <= kinds and points != channels:
            raise RecipeError(
                f"clip.series.short: found {channels} beside clip.points.short {points}; a clip's streams are looked "
                "at at the same moments. Give both the same."
            )
        return channels if "series" in kinds else points

    @property
    def unscaled(self) -> set[str]:
        """The series whose training clips have not been measured yet, and must be."""
        if self.settings.series.normalise != "train":
            return set()
        return {name for name in self.settings.streams if self.kind(name) == "series"} - self.scales.keys()

    @property
    def has_mirror(self) -> bool:
        """Whether every stream has a mirror image: points have one where their layout names left and right, and
        nobody knows that of a sensor."""
        kinds = {name: self.kind(name) for name in self.settings.streams}
        return all(
            kind in PICTURE_KINDS or (kind == "points" and bool(self.layout(name).pairs))
            for name, kind in kinds.items()
        )

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of each stream without the batch: video is (T, 3, H, W), depth and mask (T, 1, H, W), points
        (T, K, C), a series (T, C)."""
        frames, size = self.settings.frames, self.settings.size
        shapes: dict[str, tuple[int, ...]] = {}
        for name in self.settings.streams:
            kind = self.kind(name)
            if kind == "points":
                shapes[name] = (frames, len(self.layout(name)), self.settings.points.coordinates)
            elif kind == "series":
                shapes[name] = (frames, self.streams[name].channels or 0)
            else:
                shapes[name] = (frames, 3 if kind == "video" else 1, size, size)
        return shapes

    def on(self, streams: Mapping[str, StreamInfo]) -> "Preprocessing":
        """The same looks at the clips of other data, with what is known of those files (their rate, say).

        Raises:
            DataError: a series of other channels, or points of another layout.
        """
        known = {**self.streams, **streams}
        for name in self.settings.streams:
            was, now = self.streams[name].channels, known[name].channels
            if was != now and now is not None:
                raise DataError(
                    f"stream {name!r}: the data has {now} channels; the model was trained on {was}."
                )
            known[name] = replace(known[name], channels=was)
        other = replace(self, streams=known)
        for name, layout in self.layouts.items():
            found = other.layout(name)
            if differ := differences(layout, found):
                raise DataError(
                    f"stream {name!r}: the points of the data are of layout {found.name}, and the model was trained on "
                    f"{layout.name} (other {', '.join(differ)}). Give it data of that layout, or train with this data."
                )
        return other

    # A clip's files

    def read(self, clip: Clip, views: Views = Views()) -> dict[str, NDArray[np.float32]]:
        """Read a clip as evaluation sees it, decoding it once however many views are taken.

        Returns:
            by stream, V = views.clips x views.crops: video float32 [V,T,3,H,W]; depth and mask float32 [V,T,1,H,W];
            points float32 [V,T,K,C] and series float32 [V,T,C]. NaN is what is not known: a point that was not seen,
            all that comes after the end of a short clip, and a stream that the clip lacks.
        Raises:
            DataError: a stream is missing or cannot be decoded.
        """
        names = self.present(clip)
        if self.by_frames and len(names) == 1:
            looks = {names[0]: self._frames(clip, names[0], views)}
        else:
            looks = self.look(self.opened(clip, names), views)
        return looks | self.absent(looks, (views.clips * views.crops,))

    def present(self, clip: Clip) -> list[str]:
        """The streams that are looked at and that a clip has.

        Raises:
            DataError: one is missing that must not be, or all are.
        """
        names = [name for name in self.settings.streams if name in clip.streams]
        if len(names) < len(self.settings.streams) and (self.settings.missing != "allow" or not names):
            missing = next(name for name in self.settings.streams if name not in clip.streams)
            have = ", ".join(clip.streams) or "none"
            raise DataError(
                f"clip {clip.id!r}: it has no stream {missing!r}, only {have}. Add it, or leave the clip out."
            )
        return names

    def absent(
        self, looks: Mapping[str, NDArray[np.float32]], shape: tuple[int, ...] = ()
    ) -> dict[str, NDArray[np.float32]]:
        """What stands for the streams that a clip lacks: NaN throughout."""
        return {
            name: np.full((*shape, *inputs), np.nan, np.float32)
            for name, inputs in self.inputs.items()
            if name not in looks
        }

    def opened(
        self, clip: Clip, names: Sequence[str], read: Callable[[Clip, str], Stream] | None = None
    ) -> Recording:
        """Some streams of a clip, on one clock.

        Args:
            read: reads a track in place of `read_track`, which it may have called before.
        Raises:
            DataError: a stream cannot be read, or is not what the data set says.
        """
        place = f"clip {clip.id!r}"
        streams: dict[str, tuple[StreamKind, Source | Stream]] = {}
        for name in names:
            if self.kind(name) in TRACK_KINDS:
                streams[name] = (self.kind(name), (read or self.read_track)(clip, name))
            else:
                streams[name] = (self.kind(name), open_stream(clip, name, self.streams[name]))
        return open_together(streams, self.settings.align, place)

    def read_track(self, clip: Clip, name: str) -> Stream:
        """The points or the series of a clip as they lie in its file, of what is wanted of them; see `checked`.

        Raises:
            DataError: they cannot be read, or are not what the data set says.
        """
        source = open_stream(clip, name, self.streams[name])
        stream = source.read(lambda times: body.readable(times, self.settings.frames))
        if stream.kind == "points" and self.settings.points.min_score and stream.score is None:
            raise DataError(
                f"clip {clip.id!r}: its points have no score, which clip.points.min_score needs; add `score` [T,K] to "
                "the file, or set it to 0."
            )
        return self.checked(stream, name, f"clip {clip.id!r}")

    def checked(self, stream: Stream, name: str, place: str) -> Stream:
        """A track with the coordinates, the points and the frames that are wanted, and NaN where nothing is known.

        Raises:
            DataError: its points are not of the layout, or its channels not as many as the data set's.
        """
        if stream.kind == "points":
            values = body.check(stream.values, self.layout(name), self.settings.points.dims, place)
            return body.clean(replace(stream, values=values), self.layout(name), self.settings.points)
        channels = self.streams[name].channels
        values = series.check(stream.values, channels, self.settings.series, f"{place}, {name}")
        return replace(stream, values=values)

    # What is looked at

    def look(self, recording: Recording, views: Views = Views()) -> dict[str, NDArray[np.float32]]:
        """Prepare the streams of one clip, all at the same moments: [V,T,...] by stream."""
        moments = self._moments(recording.clock, views.clips)
        frames = recording.frames(moments)
        first = next(iter(frames.values()), None)
        crops = [] if first is None else self.crops(first[0].shape[1:3], views.crops)
        looks: dict[str, list[NDArray[np.float32]]] = {}
        for name, (kind, _, _) in recording.pictures.items():
            looks[name] = [self.picture(kind, part, crop) for part, crop in product(frames[name], crops)]
        for name, stream in recording.tracks.items():
            if crops and self.in_picture(name):
                tracks = [self.track(stream, name, at, crop) for at, crop in product(moments, crops)]
                looks[name] = [self.finished(look, name) for look in tracks]
            else:  # places in the picture are the same to it
                tracks = [self.finished(self.track(stream, name, at), name) for at in moments]
                looks[name] = [look for look in tracks for _ in range(views.crops)]
        return {
            name: np.stack([body.fill(look, self.settings.frames) for look in parts])
            for name, parts in looks.items()
        }

    def _moments(self, clock: Times, looks: int) -> list[Times]:
        """The moments of each of several looks at a clip."""
        settings = self.settings
        if self.by_frames:
            return [clock[chooser(settings, clip=look, clips=looks)(clock)] for look in range(looks)]
        shifts = [((look + 0.5) / looks - 0.5) / 2 for look in range(looks)]
        return [body.moments_of(clock, settings.frames, self.short, shift) for shift in shifts]

    def crops(self, size: tuple[int, ...], crops: int = 1) -> list[Geometry]:
        """The places in the picture that evaluation looks at, as they lie in the first stream of pictures.

        Args:
            size: height and width of its frames.
        """
        height, width = size
        settings = self.settings
        boxes = [
            view_box(height, width, settings.resize, settings.shorter_side, crop, crops)
            for crop in range(crops)
        ]
        return [Geometry(height, width, settings.size, box) for box in boxes]

    def picture(self, kind: StreamKind, frames: NDArray[Any], geometry: Geometry) -> NDArray[np.float32]:
        """Frames as the model takes them, float32 [N,C,size,size]."""
        if kind == "depth":
            within = pictures.depth_range(frames, self.settings.depth)
            return pictures.depth_planes(frames, geometry, within)
        if kind == "mask":
            return pictures.mask_planes(frames, geometry)
        return normalise(take(frames, geometry, 0), self.settings.mean, self.settings.std)

    def track(
        self,
        stream: Stream,
        name: str,
        moments: Times,
        geometry: Geometry | None = None,
        turned: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda values: values,
    ) -> NDArray[np.float32]:
        """Points or a series at some moments, seconds [N], centred and scaled: float32 [N,K,C] or [N,C].

        Args:
            geometry: of the pictures beside points that lie in them.
            turned: what is done to a series before it is scaled.
        """
        if stream.kind == "series":
            values = turned(series.at_moments(stream.values, stream.times, moments))
            return series.normalise(values, self.settings.series, self.scales.get(name))
        looks = body.resample(stream.values, stream.times, moments)
        if geometry is not None and self.in_picture(name):
            if self.streams[name].space == "height":
                shape = geometry.height / geometry.width
                looks = looks * np.array([shape, 1, shape], np.float32)[: looks.shape[2]]
            looks = take_points(looks, geometry, self.layout(name).pairs)
        return body.normalise(looks, self.layout(name), self.settings.points)

    def finished(self, looks: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        """What is done last to a track, after training has altered it."""
        if self.kind(name) == "series":
            return looks
        return body.finish(looks, self.layout(name), self.settings.points)

    def in_picture(self, name: str) -> bool:
        """Whether a stream's points lie in the pictures beside them, and move with those."""
        return self.streams[name].space is not None

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

    def _frames(self, clip: Clip, name: str, views: Views) -> NDArray[np.float32]:
        """The frames of every place in time of one stream of pictures, chosen in one pass over the file."""
        choosers = [chooser(self.settings, clip=place, clips=views.clips) for place in range(views.clips)]
        source = open_stream(clip, name, self.streams[name])
        frames = source.read(lambda times: np.concatenate([choose(times) for choose in choosers])).values
        if self.kind(name) == "video":
            return self.video(frames, views)
        looks = product(np.split(frames, views.clips), self.crops(frames.shape[1:3], views.crops))
        return np.stack([self.picture(self.kind(name), part, crop) for part, crop in looks])


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
    return open_source(clip.streams[name], info.kind, fps=clip.rate(info), start=clip.start, stop=clip.stop)
