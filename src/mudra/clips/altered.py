"""A training clip: drawn once, and altered alike in all its streams.

The generator is made anew for each stream from the clip's own numbers, so that all streams of a clip draw the same and
none shifts the draws of another: the part of the clip and its speed, the flip, the crop and the turn of the picture.

Axes: N moments, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.clips import augment, point_augment, series_augment
from mudra.clips.augment import Draw
from mudra.clips.geometry import Geometry
from mudra.clips.kept import Kept
from mudra.clips.pixels import view_box
from mudra.clips.point_augment import PointDraw
from mudra.clips.point_shapes import require_shape
from mudra.clips.points import Times, fill
from mudra.clips.preprocessing import Preprocessing, open_stream
from mudra.clips.sampling import chooser
from mudra.clips.together import Recording
from mudra.errors import RecipeError
from mudra.sections import AugmentSettings, TimeAugment
from mudra.types import TRACK_KINDS, Clip, Stream, StreamKind

Generator = Callable[[], np.random.Generator]
"""A clip's own generator, made anew at each call."""
Looks = dict[str, NDArray[np.float32]]

SERIES_DRAWS = 0x5E  # keeps the draws of a series apart from those of points


class Alteration:
    """How a recipe alters its training clips.

    Args:
        may_flip: False where a flip would change what a clip means, or a stream has no mirror image.
    Raises:
        RecipeError: the streams are told different things, or channels that are not there.
    """

    def __init__(self, preprocessing: Preprocessing, settings: AugmentSettings, may_flip: bool) -> None:
        self.preprocessing = preprocessing
        self.settings = settings
        self.may_flip = may_flip
        self.kept = Kept()
        self.time = time_of(settings, {preprocessing.kind(name) for name in preprocessing.settings.streams})
        for name in preprocessing.settings.streams:
            if preprocessing.kind(name) == "points":
                require_shape(preprocessing.layout(name), settings.points, repr(name))
            elif preprocessing.kind(name) == "series":
                channels = preprocessing.inputs[name][-1]
                series_augment.require_channels(settings.series, name, channels)

    def look(self, clip: Clip, generator: Generator) -> tuple[Looks, bool]:
        """A clip as training sees it, without views, and whether it is mirrored.

        Raises:
            DataError: a stream is missing or cannot be decoded.
        """
        names = self.preprocessing.present(clip)
        if self.preprocessing.by_frames and len(names) == 1:
            looks, flip = self._frames(clip, names[0], generator())
        else:
            recording = self.preprocessing.opened(clip, names, self._read)
            looks, flip = self._together(recording, generator)
        return looks | self.preprocessing.absent(looks), flip

    def _read(self, clip: Clip, name: str) -> Stream:
        return self.kept.read(clip, name, lambda: self.preprocessing.read_track(clip, name))

    def _frames(self, clip: Clip, name: str, rng: np.random.Generator) -> tuple[Looks, bool]:
        """Altered frames of a lone stream of pictures."""
        choose = self._chooser(rng)
        frames = open_stream(clip, name, self.preprocessing.streams[name]).read(choose).values
        drawn = self._draw(rng, frames)
        return {name: self._picture(self.preprocessing.kind(name), frames, drawn)}, drawn.flip

    def _together(self, recording: Recording, generator: Generator) -> tuple[Looks, bool]:
        """All streams altered, looked at at the same moments."""
        rng = generator()
        flip = augment.draw_flip(self.settings, rng, self.may_flip)
        body = point_augment.draw_points(self.settings, rng, flip, self.time)
        moments = self._moments(recording.clock, body, generator)
        frames = recording.frames([moments])
        drawn = self._draw(generator(), next(iter(frames.values()))[0]) if frames else None
        looks: Looks = {}
        for name, (kind, _, _) in recording.pictures.items():
            assert drawn is not None
            looks[name] = self._picture(kind, frames[name][0], drawn)
        for name, stream in recording.tracks.items():
            geometry = None if drawn is None else drawn.geometry
            alter = self._points if stream.kind == "points" else self._series
            looks[name] = alter(stream, name, moments, body, geometry)
        return {name: fill(look, self.preprocessing.settings.frames) for name, look in looks.items()}, flip

    def _chooser(self, rng: np.random.Generator) -> Callable[[Times], NDArray[np.int64]]:
        drawn = rng.spawn(1)[0] if self.settings.shift_time else None
        return chooser(self.preprocessing.settings, rng=drawn)

    def _moments(self, clock: Times, drawn: PointDraw, generator: Generator) -> Times:
        """The moments at which all streams are looked at."""
        settings = self.preprocessing.settings
        if self.preprocessing.by_frames:
            return clock[self._chooser(generator())(clock)]
        return point_augment.moments(clock, settings.frames, self.preprocessing.short, drawn)

    def _draw(self, rng: np.random.Generator, frames: NDArray[Any]) -> Draw:
        """How the pictures of a clip are altered, for frames of the first of their streams."""
        settings = self.preprocessing.settings
        height, width = frames.shape[1:3]
        view = view_box(height, width, settings.resize, settings.shorter_side)
        aspect = (view[2] - view[0]) / (view[3] - view[1])
        return augment.draw(self.settings, rng, height, width, settings.size, self.may_flip, view, aspect)

    def _picture(self, kind: StreamKind, frames: NDArray[Any], drawn: Draw) -> NDArray[np.float32]:
        settings = self.preprocessing.settings
        if kind == "video":
            return augment.apply_video(frames, drawn, settings.mean, settings.std)
        return self.preprocessing.picture(kind, frames, drawn.geometry)

    def _points(
        self, stream: Stream, name: str, moments: Times, drawn: PointDraw, geometry: Geometry | None
    ) -> NDArray[np.float32]:
        points = self.preprocessing.track(stream, name, moments, geometry)
        if geometry is not None and self.preprocessing.in_picture(
            name
        ):  # flipped and turned with the picture
            drawn = replace(drawn, flip=False, matrix=drawn.unrolled)
        place = self._place_of(name)
        if place:  # two hands tremble each in its own way
            drawn = replace(drawn, seed=int(np.random.default_rng((drawn.seed, place)).integers(2**62)))
        altered = point_augment.alter(points, drawn, self.preprocessing.layout(name), self.settings.points)
        return self.preprocessing.finished(altered, name)

    def _series(
        self, stream: Stream, name: str, moments: Times, drawn: PointDraw, _geometry: Geometry | None
    ) -> NDArray[np.float32]:
        how = self.settings.series
        seed = (drawn.seed, SERIES_DRAWS, self._place_of(name))
        own = series_augment.draw_series(how, seed, stream.values.shape[1])
        values = self.preprocessing.track(
            stream, name, moments, turned=lambda values: series_augment.turn(values, own, how)
        )
        return series_augment.alter(values, own, how)

    def _place_of(self, name: str) -> int:
        """Which of the streams of its kind it is."""
        kind = self.preprocessing.kind(name)
        same = [
            other for other in self.preprocessing.settings.streams if self.preprocessing.kind(other) == kind
        ]
        return same.index(name)


def time_of(settings: AugmentSettings, kinds: set[StreamKind]) -> TimeAugment:
    """How the time of clips is altered: what the points or the series of a recipe say, for all streams alike.

    Raises:
        RecipeError: both say something, and not the same.
    """
    told = {kind: getattr(settings, kind) for kind in TRACK_KINDS if kind in kinds}
    keys = set(TimeAugment.model_fields)
    times = {kind: TimeAugment(**how.model_dump(include=keys)) for kind, how in told.items()}
    said = {kind: time for kind, time in times.items() if time != TimeAugment()}
    if len(said) > 1 and said["points"] != said["series"]:
        raise RecipeError(
            "augment.series: its crop, speed, slow and warp are not those of augment.points; all streams of a clip are "
            "looked at at the same moments. Say them once, or the same twice."
        )
    return next(iter(said.values()), TimeAugment())
