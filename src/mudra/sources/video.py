"""Video files, read by PyAV: the frames that are wanted, at the times they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.containers import Video, opened
from mudra.sources.decoding import Survey, decode_wanted, survey
from mudra.sources.facts import Facts
from mudra.sources.index import Doubt, read_index
from mudra.sources.limits import DEFAULT_LIMITS, Limits, named
from mudra.sources.moments import check_bounds, picked, regular_times, window
from mudra.sources.pixels import Album
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
        with opened(self.path, self.limits, self.threads) as video:
            found = survey(video, self.limits, self.fps)
            _refuse_damage(video, found, slice(0, len(found.times)))
            declared_rate = video.stream.average_rate
        count = len(found.times)
        if count > 1:
            fps = float((count - 1) / (found.times[-1] - found.times[0]))
        else:
            fps = float(declared_rate or self.fps or 0.0)
        last = found.last_duration or (1 / fps if fps else 0.0)
        return Facts(
            frames=count,
            width=found.width,
            height=found.height,
            fps=fps,
            duration=float(found.times[-1]) + last,
            rotation=found.rotation,
            declared=video.declared,
        )

    def _read_indexed(self, choose: Choose) -> Stream:
        """Read by the packets' word, checked."""
        with opened(self.path, self.limits, self.threads) as video:
            index = read_index(video, self.start, self.stop, self.limits)
            stamps = index.shown()
            times = (stamps - index.origin) * video.tick
            part = window(times, self.start, self.stop, video.place)
            numbers = picked(choose, times[part])
            chosen = stamps[part][numbers]
            album = Album(chosen, self.limits, video.place)
            for stamp, frame in decode_wanted(video, index, album.missing.copy()):
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
            except av.FFmpegError:
                return None
            known = [stamp for stamp in packets if stamp is not None]
            if not known and packets and self.fps:
                times = regular_times(len(packets), self.fps, video.place, "")
            elif len(known) == len(packets) and video.tick:
                stamps = np.array(sorted(known), np.int64)
                times = (stamps - stamps[:1]) * video.tick
            else:
                return None
        try:
            window(times, self.start, self.stop, named(self.path))
        except DataError:
            return None
        return times

    def _survey(self, album: Album | None) -> Survey:
        """Decode up to `stop`, converting what the album asks for; damage in the part is an error."""
        with opened(self.path, self.limits, self.threads) as video:
            found = survey(
                video,
                self.limits,
                self.fps,
                self.stop,
                lambda number, frame: (
                    album.add(number, frame) if album is not None and number in album.missing else None
                ),
            )
            part = slice(0, 0)
            if len(found.times):
                part = window(found.times, self.start, self.stop, video.place)
            _refuse_damage(video, found, part)
            return found


def _refuse_damage(video: Video, found: Survey, part: slice) -> None:
    """Raise if frames of `part` are missing or damaged.

    Raises:
        DataError: saying how many frames can be decoded, and why not all.
    """
    count = len(found.times)
    low, high = (found.times[part.start], found.times[part.stop - 1]) if part.stop > part.start else (0.0, np.inf)
    whole = part.start == 0 and part.stop == count
    errors = [e for e in found.errors if np.isnan(e) or low <= e <= high or (whole and e > high)]
    ...
