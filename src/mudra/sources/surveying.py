"""What a file really holds: everything decoded from its front, damage noted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mudra.sources.containers import DECODER_ERRORS, Video
from mudra.sources.decoding import Sizes
from mudra.sources.limits import Limits
from mudra.sources.moments import check_count, regular_times
from mudra.sources.pixels import clockwise_degrees

# A packet this small cannot hold a picture (it is an end-of-stream mark, for instance).
_NO_PICTURE = 8
# So many frames in a row must be past the wanted part before decoding stops, more than any codec
# reorders; a single frame with a wild time stamp must not end a clip.
_FRAMES_PAST = 16


@dataclass(slots=True)
class Survey:
    """What decoding a file from its front found.

    Attributes:
        times: seconds of each frame [T], from the first one.
        sound: whether each frame was decoded from a key frame on without an error [T].
        errors: seconds where an error was met (NaN where the time is unknown).
        promised: packets that should have shown a frame.
        finished: whether the end of the file was reached.
        width, height: of the upright picture. rotation: degrees clockwise that make it so.
    """

    times: NDArray[np.float64]
    sound: NDArray[np.bool_]
    errors: list[float]
    promised: int
    finished: bool
    width: int = 0
    height: int = 0
    rotation: int = 0
    last_duration: float = 0.0


@dataclass(slots=True)
class _Tally:
    """What a survey has seen so far."""

    stamps: list[int | None] = field(default_factory=list)
    decoding_stamps: list[int | None] = field(default_factory=list)
    sound: list[bool] = field(default_factory=list)
    errors: list[int | None] = field(default_factory=list)
    intact: bool = True
    first: VideoFrame | None = None
    last_duration: int = 0

    def error(self, stamp: int | None) -> None:
        """An error at `stamp`: what follows leans on damage, until a whole key frame."""
        self.errors.append(stamp)
        self.intact = False

    def add(self, frame: VideoFrame) -> None:
        """Note one frame."""
        self.first = self.first or frame
        if frame.is_corrupt:
            self.error(frame.pts)
        elif frame.key_frame:
            self.intact = True
        self.stamps.append(frame.pts)
        self.decoding_stamps.append(frame.dts)
        self.sound.append(self.intact)
        self.last_duration = frame.duration or self.last_duration


def survey(
    video: Video,
    limits: Limits,
    fps: float | None = None,
    until: float | None = None,
    each: Callable[[int, VideoFrame], None] | None = None,
) -> Survey:
    """Decode a file from its front.

    Args:
        fps: the rate to assume where the file has no time stamps.
        until: seconds after which nothing is needed.
        each: called with the number of every frame, counted from the first shown one, and the frame.
    Raises:
        DataError: no times, more frames than the limit, or the picture changes its size. Damage is
            not raised but noted, for the caller knows which part matters.
    """
    tally, sizes = _Tally(), Sizes(video.place, limits)
    context = video.stream.codec_context
    promised, finished = 0, True
    for packet in _packets_then_end(video, tally):
        promised += packet is not None and not packet.is_discard
        check_count(promised, limits, video.place)
        try:
            frames = context.decode(packet)
        except DECODER_ERRORS:
            frames = []
            if packet is None or packet.size >= _NO_PICTURE:
                tally.error(None if packet is None else packet.pts)
        for frame in frames:
            sizes.check(frame)
            tally.add(frame)
            check_count(len(tally.stamps), limits, video.place)
            if each is not None:
                each(len(tally.stamps) - 1, frame)
        if until is not None and _is_past(tally, video, until):
            finished = False
            break
    return _summary(video, tally, promised, finished, fps)


def _packets_then_end(video: Video, tally: _Tally) -> Iterator[Packet[VideoStream] | None]:
    """All packets and then None; a demuxer's complaint is noted as an error."""
    last: int | None = None
    try:
        for packet in video.packets():
            last = packet.pts
            if packet.is_corrupt:
                tally.error(last)
            yield packet
    except DECODER_ERRORS:
        tally.error(last)
    yield None


def _is_past(tally: _Tally, video: Video, until: float) -> bool:
    """Whether the latest frames are all shown after `until`."""
    first, latest = tally.stamps[:1], tally.stamps[-_FRAMES_PAST:]
    if len(latest) < _FRAMES_PAST or first[0] is None:
        return False
    return all(stamp is not None and (stamp - first[0]) * video.tick > until for stamp in latest)


def _summary(video: Video, tally: _Tally, promised: int, finished: bool, fps: float | None) -> Survey:
    """Turn time stamps into seconds, and the tally into a survey."""
    count = len(tally.stamps)
    stamps = _rising(tally.stamps, tally.last_duration)
    if stamps is None:
        stamps = _rising(tally.decoding_stamps, tally.last_duration)
    if count and stamps is not None and (count == 1 or video.tick):
        times = video.seconds(stamps, int(stamps[0]))
        errors = [np.nan if e is None else float(e - stamps[0]) * video.tick for e in tally.errors]
    else:
        how = "write the stream's `fps` into dataset.json, or convert the clip to MP4."
        times = regular_times(count, fps, video.place, how) if count else np.empty(0, np.float64)
        errors = [np.nan for _ in tally.errors]
    result = Survey(times, np.array(tally.sound, bool), errors, promised, finished)
    if tally.first is not None:
        result.rotation = clockwise_degrees(tally.first)
        result.width, result.height = tally.first.width, tally.first.height
        if result.rotation in (90, 270):
            result.width, result.height = result.height, result.width
        result.last_duration = tally.last_duration * video.tick
    return result


def _rising(stamps: list[int | None], step: int) -> NDArray[np.int64] | None:
    """Time stamps as an array if they rise; None if they do not.

    The last few may be unknown, since some decoders hand out their last frames without: they follow
    at the distance of the last known duration.
    """
    filled: list[int] = []
    for stamp in stamps:
        if stamp is None:
            if not filled or not step:
                return None
            stamp = filled[-1] + step
        if filled and stamp <= filled[-1]:
            return None
        filled.append(stamp)
    return np.array(filled, np.int64)
