"""From packets to frames: only what is wanted, where the index is right; else everything."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mudra.sources.containers import DECODER_ERRORS, Video
from mudra.sources.index import Doubt, Index
from mudra.sources.limits import Limits, check_picture, check_same_size
from mudra.sources.moments import check_count, regular_times
from mudra.sources.pixels import clockwise_degrees

# A packet this small cannot hold a picture (it is an end-of-stream mark, for instance).
_NO_PICTURE = 8
# So many frames in a row must be past the wanted part before decoding stops, more than any codec
# reorders; a single frame with a wild time stamp must not end a clip.
_FRAMES_PAST = 16


def decode_wanted(
    video: Video, index: Index, wanted: set[int], limits: Limits
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode the frames with the wanted time stamps, and no more than they need.

    Three savings, each exact: groups of pictures without a wanted frame are passed over, decoding
    stops at the last wanted frame, and H.264 pictures that no other picture leans on are skipped.

    Raises:
        Doubt: what came out is not what the packets promised, or was damaged.
        DataError: the picture changes its size, or is larger than the limit.
    """
    context = video.stream.codec_context
    lengths = _nal_length_size(context.extradata) if context.name == "h264" else 0
    runs = iter(plan(index, wanted))
    begin, end = next(runs)
    check = _Check(video.place, limits)
    skipping = False
    for number, packet in enumerate(index.replay(video)):
        if number < begin or index.stamps[number] < index.stamps[begin]:
            continue  # before the run, or shown before its key frame: it leans on what was passed over
        stamp = index.stamps[number]
        skip = bool(lengths) and stamp not in wanted and leans_nobody(bytes(packet), lengths)
        if skip != skipping:
            context.skip_frame = "NONREF" if skip else "DEFAULT"
            skipping = skip
        if not skip and not index.hidden[number]:
            check.expected.add(stamp)
        for frame in check.passed(_decoded(context, packet)):
            if frame.pts in wanted:
                yield frame.pts, frame
        if number < end:
            continue
        for frame in check.passed(_decoded(context, None)):
            if frame.pts in wanted:
                yield frame.pts, frame
        if check.expected:  # promised and never shown
            raise Doubt
        following = next(runs, None)
        if following is None:
            return
        begin, end = following
        context.flush_buffers()
    raise Doubt


def plan(index: Index, wanted: set[int]) -> list[tuple[int, int]]:
    """The runs of packets, each from a key frame to the last packet needed, that hold all wanted frames.

    Returns:
        (first, last) packet numbers, both included, rising and apart.
    Raises:
        Doubt: a wanted frame is not reached from a key frame before it.
    """
    places = {
        s: n for n, (s, hidden) in enumerate(zip(index.stamps, index.hidden, strict=True)) if not hidden
    }
    begins = [number for number, key in enumerate(index.keys) if key]
    key_stamps = [index.stamps[number] for number in begins]
    if key_stamps != sorted(key_stamps):
        raise Doubt
    runs: list[tuple[int, int]] = []
    for stamp in sorted(wanted):
        group = bisect_right(key_stamps, stamp) - 1
        if group < 0 or places[stamp] < begins[group]:
            raise Doubt
        begin, end = begins[group], places[stamp]
        if runs and begin <= runs[-1][1] + 1:
            runs[-1] = runs[-1][0], max(end, runs[-1][1])
        else:
            runs.append((begin, end))
    return runs


def leans_nobody(data: bytes, lengths: int) -> bool:
    """Whether no other picture refers to this H.264 picture (`nal_ref_idc` 0 in all its slices).

    Args:
        data: one packet, its units preceded by their length.
        lengths: bytes of each length.
    """
    place, slices = 0, 0
    while place + lengths < len(data):
        size = int.from_bytes(data[place : place + lengths], "big")
        head = data[place + lengths]
        if head & 0x1F in (1, 2, 5):  # a slice
            if head & 0x60:
                return False
            slices += 1
        place += lengths + size
    return slices > 0


def _nal_length_size(extradata: bytes | None) -> int:
    """Bytes of each unit's length in an H.264 stream of MP4 or Matroska; 0 if it is stored otherwise."""
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 6 and extradata[0] == 1 else 0


class _Check:
    """Compares what is decoded with what was promised."""

    def __init__(self, place: str, limits: Limits) -> None:
        self.expected: set[int] = set()
        self._sizes = _Sizes(place, limits)
        self._last: int | None = None

    def passed(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        """The same frames, if all is as promised."""
        for frame in frames:
            stamp = frame.pts
            if stamp is None or stamp not in self.expected or frame.is_corrupt:
                raise Doubt
            if self._last is not None and stamp <= self._last:
                raise Doubt
            self._last = stamp
            self.expected.discard(stamp)
            self._sizes.check(frame)
        return frames


class _Sizes:
    """Holds the size of every decoded picture against the limit and the first one."""

    def __init__(self, place: str, limits: Limits) -> None:
        self._place = place
        self._limits = limits
        self.first: tuple[int, int] | None = None

    def check(self, frame: VideoFrame) -> None:
        """Refuse a frame that is too large, or of another size than the first."""
        size = (frame.height, frame.width)
        if self.first is None:
            check_picture(frame.width, frame.height, self._limits, self._place)
            self.first = size
        check_same_size(size, self.first, self._place)


def _decoded(context: av.VideoCodecContext, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
    """The frames that a packet (None: the end) brings out of the decoder."""
    try:
        return context.decode(packet)
    except DECODER_ERRORS:
        raise Doubt from None


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
    tally, sizes = _Tally(), _Sizes(video.place, limits)
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
