"""Video files, read by PyAV: the frames that are wanted, at the times they are shown."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.containers import DECODER_ERRORS, Video, opened
from mudra.sources.decoding import decode_wanted
from mudra.sources.facts import Facts, duration, mean_rate
from mudra.sources.index import Doubt, read_index
from mudra.sources.limits import DEFAULT_LIMITS, Limits, named
from mudra.sources.moments import check_bounds, picked, regular_times, window
from mudra.sources.pixels import Album
from mudra.sources.shelf import SHELF
from mudra.sources.surveying import Survey, survey
from mudra.types import Choose, Stream


@dataclass(frozen=True, slots=True)
class VideoSource:
    """One video file, or a part of it.

    Time 0 is the moment of the first frame that is shown, whatever the file calls it; all times are
    seconds from there, also within a part. Frames are upright RGB (see `pixels`).

    Attributes:
        fps: frames per second, used only where the file has no time stamps.
        start, stop: the part to look at, in seconds: frames with start <= time < stop.
        threads: decoding threads.
    """

    path: Path
    fps: float | None = None
    start: float | None = None
    stop: float | None = None
    threads: int = 1
    limits: Limits = DEFAULT_LIMITS

    def times(self) -> NDArray[np.float64]:
        """Seconds of every frame between start and stop, from the file's packets where they can be believed.

        Raises:
            DataError: as `read`.
        """
        check_bounds(self.start, self.stop, named(self.path))
        try:
            with self._opened() as video:
                index = read_index(video, self.start, self.stop, self.limits)
                times = video.seconds(index.shown(), index.origin)
        except Doubt:
            times = self._survey(None).times
        return times[window(times, self.start, self.stop, named(self.path))]

    def read(self, choose: Choose) -> Stream:
        """Read the frames that `choose` picks, uint8 [n, H, W, 3], in the order picked.

        The times come from the file's packets, so that only what is needed gets decoded. Where the
        packets turn out to be wrong, `choose` is asked again with the times of the decoded frames;
        its last answer counts.

        Raises:
            DataError: not a readable video, damaged or cut where it is needed, over a limit, or
                without a frame in [start, stop).
        """
        check_bounds(self.start, self.stop, named(self.path))
        try:
            return self._read_indexed(choose)
        except Doubt:
            return self._read_surveyed(choose)

    def facts(self) -> Facts:
        """Decode the whole file (start and stop left aside) and say what is in it.

        Raises:
            DataError: as `read`, and wherever in the file it is damaged.
        """
        # one thread: with more, PyAV may swallow the error of one frame when another is ready
        with opened(self.path, self.limits, threads=1) as video:
            found = survey(video, self.limits, self.fps)
            _refuse_damage(video, found, None, None, self.limits)
            declared_rate = video.stream.average_rate
        fps = mean_rate(found.times, float(declared_rate or self.fps or 0.0))
        return Facts(
            frames=len(found.times),
            width=found.width,
            height=found.height,
            fps=fps,
            duration=duration(found.times, fps, found.last_duration),
            rotation=found.rotation,
            declared=video.declared,
        )

    def _opened(self) -> AbstractContextManager[Video]:
        """The video; one that has to be sought anyway stays open for its next segment."""
        return (SHELF.lent if self.start else opened)(self.path, self.limits, self.threads)

    def _read_indexed(self, choose: Choose) -> Stream:
        """Read by the packets' word, checked."""
        with self._opened() as video:
            index = read_index(video, self.start, self.stop, self.limits)
            stamps = index.shown()
            times = video.seconds(stamps, index.origin)
            part = window(times, self.start, self.stop, video.place)
            numbers = picked(choose, times[part])
            chosen = stamps[part][numbers]
            album = Album(chosen, self.limits, video.place)
            for stamp, frame in decode_wanted(video, index, album.missing.copy(), self.limits):
                album.add(stamp, frame)
            return Stream("video", album.values, times[part][numbers])

    def _read_surveyed(self, choose: Choose) -> Stream:
        """Read by decoding everything up to `stop`; the packets' word is only a first guess."""
        times = self._promised()
        if times is None:
            times = self._survey(None).times
        for _ in range(2):
            part = window(times, self.start, self.stop, named(self.path))
            numbers = picked(choose, times[part])
            album = Album(part.start + numbers, self.limits, named(self.path))
            found = self._survey(album).times
            real = window(found, self.start, self.stop, named(self.path))
            if real.start == part.start and np.array_equal(found[real], times[part]):
                return Stream("video", album.values, times[part][numbers])
            times = found
        raise DataError(f"{named(self.path)}: decodes differently each time; convert it to H.264 in MP4.")

    def _promised(self) -> NDArray[np.float64] | None:
        """The times that the packets promise, or None if they make no sense."""
        with opened(self.path, self.limits, self.threads) as video:
            try:
                packets = [packet.pts for packet in video.packets() if not packet.is_discard]
            except DECODER_ERRORS:
                return None
            known = [stamp for stamp in packets if stamp is not None]
            if not known and packets and self.fps:
                times = regular_times(len(packets), self.fps, video.place, "")
            elif known and len(known) == len(packets) and video.tick:
                stamps = np.array(sorted(known), np.int64)
                times = video.seconds(stamps, int(stamps[0]))
            else:
                return None
        try:
            window(times, self.start, self.stop, named(self.path))
        except DataError:
            return None
        return times

    def _survey(self, album: Album | None) -> Survey:
        """Decode up to `stop`, converting what the album asks for; damage in the part is an error."""
        # one thread: with more, PyAV may swallow the error of one frame when another is ready
        with opened(self.path, self.limits, threads=1) as video:
            found = survey(
                video,
                self.limits,
                self.fps,
                self.stop,
                None if album is None else album.offer,
            )
            _refuse_damage(video, found, self.start, self.stop, self.limits)
            return found


def _refuse_damage(
    video: Video, found: Survey, start: float | None, stop: float | None, limits: Limits
) -> None:
    """Raise if frames of [start, stop) are missing or damaged.

    Raises:
        DataError: saying how many frames can be decoded, and why not all.
    """
    low, high = start or 0.0, np.inf if stop is None else stop
    count = len(found.times)
    damaged = found.times[~found.sound].tolist() + [error for error in found.errors if not np.isnan(error)]
    inside = [second for second in damaged if low <= second < high]
    unplaced = any(np.isnan(error) for error in found.errors)
    cut = video.structure.ends_early and found.finished
    cut = cut and (video.declared is None or count < video.declared)
    if count and not inside and not unplaced and not cut:
        return
    if cut:
        why = "the file ends early"
    elif inside:
        why = f"it is damaged at {max(min(inside), 0.0):.2f} s"
    else:
        why = "it is damaged" if unplaced else "it holds no pictures"
        if not count and not video.stream.codec_context.width:  # the decoder would not even say
            why += f", or they have more than {limits.pixels:,} pixels"
    expected = max(video.declared or 0, found.promised, count)
    of = f" of {expected}" if expected else ""
    raise DataError(
        f"{video.place}: {int(found.sound.sum())}{of} frames can be decoded ({why});"
        " fetch or record it again, or leave this clip out."
    )
