"""From packets to the wanted frames, where the index is right."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from mudra.sources.containers import DECODER_ERRORS, Video
from mudra.sources.index import Doubt, Index
from mudra.sources.limits import Limits, check_picture, check_same_size

# Frames that are kept for the next segment, where segments are read in order: about 8 s of 456 x 256 at 50 per second,
# 2 s of 1280 x 720 at 25.
_KEPT_BYTES = 64 * 1024**2
# Going on from one segment to the next decodes what lies between the wanted groups of pictures, too: so many times as
# much as is needed at most.
_MOST_PASSED = 2


def decode_wanted(
    video: Video, index: Index, wanted: set[int], limits: Limits
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode the frames with the wanted time stamps, and no more than they need.

    Four savings, each exact: groups of pictures without a wanted frame are passed over, decoding stops at the last
    wanted frame, H.264 pictures that no other picture leans on are skipped, and where segments are read in order,
    decoding goes on where the segment before left it.

    Raises:
        Doubt: what came out is not what the packets promised, or was damaged.
        DataError: the picture changes its size, or is larger than the limit.
    """
    runs = plan(index, wanted)
    index.decoded = True
    needed = sum(end - begin + 1 for begin, end in runs)
    if index.continues and runs[-1][1] - runs[0][0] < _MOST_PASSED * needed:
        return _decode_on(video, index, wanted, limits)
    video.flow = None
    return _decode_runs(video, index, runs, wanted, limits)


def _decode_runs(
    video: Video, index: Index, planned: list[tuple[int, int]], wanted: set[int], limits: Limits
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode run by run; the decoder has given out all that it had at the end of each."""
    runs = iter(planned)
    begin, end = next(runs)
    flow = Flow(video, limits)
    flow.begin(index.stamps[begin])
    for number, packet in enumerate(index.replay(video)):
        if number < begin:
            continue
        for stamp, frame in flow.feed(packet, index.hidden[number], spare=packet.pts not in wanted):
            if stamp in wanted:
                yield stamp, frame
        if number < end:
            continue
        for stamp, frame in flow.finish():
            if stamp in wanted:
                yield stamp, frame
        following = next(runs, None)
        if following is None:
            return
        begin, end = following
        flow.begin(index.stamps[begin])
    raise Doubt


def _decode_on(
    video: Video, index: Index, wanted: set[int], limits: Limits
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode from where the decoder stands, in the middle of a group of pictures or between two.

    Frames are kept from the beginning of the segment on, none is skipped there, and the decoder is not emptied: the
    next segment may begin before this one ends.
    """
    flow, missing = video.flow or Flow(video, limits), set(wanted)
    video.flow = flow
    flow.drop_before(index.begin)
    for stamp in sorted(missing & flow.kept.keys()):
        yield stamp, flow.kept[stamp]
    missing -= flow.kept.keys()
    if not missing:
        return
    number, first = flow.next_in(index), plan(index, missing)[0][0]
    if number < first or min(missing) <= flow.last:
        number = first
        flow.begin(index.stamps[first])
    assert index.packets is not None, "an index that is gone on with keeps its packets"
    while missing:
        ended = number == len(index.stamps)
        if ended:
            frames = flow.finish()
            video.flow = None
        else:
            spare = index.stamps[number] < index.begin
            frames = flow.feed(index.packets[number], index.hidden[number], spare=spare)
            number += 1
        for stamp, frame in frames:
            if stamp >= index.begin:
                flow.keep(stamp, frame)
            if stamp in missing:
                missing.discard(stamp)
                yield stamp, frame
        if ended and missing:
            raise Doubt
    flow.check_order()


class Flow:
    """A decoder that was set to a key frame, what it was given since, and what came out.

    Attributes:
        fed: time stamp of the last packet that it was given.
        last: time stamp of the last frame that came out.
        kept: frames that the next segment may want, by time stamp.
    """

    def __init__(self, video: Video, limits: Limits) -> None:
        self._context = video.stream.codec_context
        h264 = self._context.name == "h264"
        self._lengths = _nal_length_size(self._context.extradata) if h264 else 0
        self._begin = 0
        self._skipping = False
        self._expected: set[int] = set()
        self._sizes = Sizes(video.place, limits)
        self._frame_bytes = 0
        self.fed: int | None = None
        self.last = 0
        self.kept: dict[int, VideoFrame] = {}

    def begin(self, stamp: int) -> None:
        """Set the decoder to the key frame that is shown at `stamp`."""
        self._context.flush_buffers()
        self._context.skip_frame, self._skipping = "DEFAULT", False
        self._begin, self.last = stamp, stamp - 1
        self._expected.clear()

    @property
    def bytes(self) -> int:
        """What the kept frames hold."""
        return self._frame_bytes * len(self.kept)

    def next_in(self, index: Index) -> int:
        """The number of the packet in `index` that follows what the decoder was given; -1 where that is not in it."""
        if self.fed is None or self.fed not in index.stamps:
            return -1
        return index.stamps.index(self.fed) + 1

    def feed(self, packet: Packet[VideoStream], hidden: bool, spare: bool) -> list[tuple[int, VideoFrame]]:
        """Give the decoder a packet and take the frames that come out, with their time stamps.

        Args:
            spare: the frame itself is not wanted.
        Raises:
            Doubt: what came out is not what the packets promised, or was damaged.
            DataError: the picture changes its size, or is larger than the limit.
        """
        assert packet.pts is not None, "an index refuses packets without a time stamp"
        self.fed = packet.pts
        if packet.pts < self._begin:  # shown before the key frame: it leans on what was passed over
            return []
        skip = bool(self._lengths) and spare and leans_nobody(bytes(packet), self._lengths)
        if skip != self._skipping:
            self._context.skip_frame = "NONREF" if skip else "DEFAULT"
            self._skipping = skip
        if not skip and not hidden:
            self._expected.add(packet.pts)
        return self._passed(_decoded(self._context, packet))

    def finish(self) -> list[tuple[int, VideoFrame]]:
        """The frames that the decoder still holds, with their time stamps; it has to be set to a key frame then.

        Raises:
            Doubt: as `feed`, or a frame was promised and never shown.
        """
        frames = self._passed(_decoded(self._context, None))
        if self._expected:
            raise Doubt
        return frames

    def check_order(self) -> None:
        """Raise Doubt if a frame was promised before the last one, and not shown."""
        if any(stamp < self.last for stamp in self._expected):
            raise Doubt

    def keep(self, stamp: int, frame: VideoFrame) -> None:
        """Keep a frame for the next segment; the oldest go where they are too many."""
        self._frame_bytes = sum(plane.buffer_size for plane in frame.planes)
        self.kept[stamp] = frame
        while len(self.kept) > 1 and self.bytes > _KEPT_BYTES:
            del self.kept[next(iter(self.kept))]

    def drop_before(self, stamp: int) -> None:
        """Let go of the frames that are shown before `stamp`."""
        self.kept = {each: frame for each, frame in self.kept.items() if each >= stamp}

    def _passed(self, frames: list[VideoFrame]) -> list[tuple[int, VideoFrame]]:
        """The frames with their time stamps, if all is as promised."""
        passed: list[tuple[int, VideoFrame]] = []
        for frame in frames:
            stamp = frame.pts
            if stamp is None or stamp not in self._expected or frame.is_corrupt or stamp <= self.last:
                raise Doubt
            self.last = stamp
            self._expected.discard(stamp)
            self._sizes.check(frame)
            passed.append((stamp, frame))
        return passed


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


class Sizes:
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
