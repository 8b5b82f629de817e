"""Which frames a video has and when they are shown, read from its packets without decoding.

Only containers that store the time of every frame, and codecs whose every packet shows one frame,
are believed; and what they promise is checked against what is decoded. `Doubt` says that only
decoding everything will tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mudra.sources.containers import DECODER_ERRORS, Video
from mudra.sources.limits import Limits
from mudra.sources.moments import check_count

_CONTAINERS = {"mov", "matroska"}
# Not VP8 (hidden reference frames have packets of their own) nor MPEG-4 part 2 (packed B frames).
# From a key frame on, these decode to the very pixels that decoding from the front gives.
_CODECS = {"h264", "hevc", "vp9", "libvpx-vp9", "av1", "libdav1d"}
# Packets of one clip are kept in memory from indexing to decoding up to this many bytes; those of a
# longer clip are read from the file twice.
_KEEP_BYTES = 64 * 1024**2
# The first shown frame is settled after the first few packets; a file where it is not is odd.
_SETTLED_WITHIN = 128
# A segment that begins at most so many seconds after the one before is read on to, not sought: the decoder may then go
# on where it stands.
_NEAR = 30.0
# How often a seek that arrived too late is tried again, a key frame earlier.
_SEEKS = 3


class Doubt(Exception):
    """The packets of a file may not tell which frames it has."""


@dataclass(slots=True)
class Index:
    """The frames of a clip as its packets promise them, in decoding order.

    Attributes:
        origin: time stamp of the first shown frame of the file: time 0.
        sought: the packets begin at a key frame in the middle of the file.
        begin: time stamp from which on frames are asked for, if sought.
        stamps: presentation time stamp of each packet.
        keys: whether decoding may begin at the packet.
        hidden: whether the packet is decoded but not shown (before the start of an edit list).
        packets: the packets themselves, or None if they were too many to keep. held: their bytes.
        last_decoded: when the last packet is decoded, if known.
        decoded: frames were decoded from it.
        continues: it was read on from the index of an earlier segment.
    """

    origin: int
    sought: bool
    begin: int = 0
    stamps: list[int] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)
    packets: list[Packet[VideoStream]] | None = field(default_factory=list)
    held: int = 0
    last_decoded: int | None = None
    decoded: bool = False
    continues: bool = False

    def add(self, packet: Packet[VideoStream]) -> None:
        """Append one packet.

        Raises:
            Doubt: it has no time stamp, or is known to be damaged.
        """
        self.stamps.append(_stamp(packet))
        self.keys.append(packet.is_keyframe)
        self.hidden.append(packet.is_discard)
        self.last_decoded = packet.dts
        self.held += packet.size
        if self.held > _KEEP_BYTES:
            self.packets = None
        elif self.packets is not None:
            self.packets.append(packet)

    def leads_to(self, stamp: int, near: int) -> bool:
        """Whether a segment that begins at `stamp` is better reached by reading on than by seeking."""
        return self.decoded and self.packets is not None and self.begin <= stamp <= self.begin + near

    def continue_at(self, stamp: int) -> None:
        """Ask for the frames from `stamp` on, and let go of what lies before their key frame."""
        assert self.packets is not None
        keys = [n for n, key in enumerate(self.keys) if key and self.stamps[n] <= stamp]
        self.begin, self.continues, self.decoded = stamp, True, False
        first = keys[-1]
        self.held -= sum(packet.size for packet in self.packets[:first])
        for values in (self.stamps, self.keys, self.hidden, self.packets):
            del values[:first]

    def shown(self) -> NDArray[np.int64]:
        """Time stamps of the frames that are shown, rising.

        Raises:
            Doubt: there are none, or two frames claim the same moment.
        """
        stamps = np.sort(np.array(self.stamps, np.int64)[~np.array(self.hidden, bool)])
        if not len(stamps) or (np.diff(stamps) <= 0).any():
            raise Doubt
        return stamps

    def replay(self, video: Video) -> Iterator[Packet[VideoStream]]:
        """The same packets once more, for decoding.

        Raises:
            Doubt: the file does not give the same packets twice.
        """
        if self.packets is not None:
            yield from self.packets
            return
        _seek(video, self.stamps[0] if self.sought else self.origin)
        for packet, stamp in zip(_demuxed(video), self.stamps, strict=False):
            if packet.pts != stamp:
                raise Doubt
            yield packet


def read_index(video: Video, start: float | None, stop: float | None, limits: Limits) -> Index:
    """Read the packets of a clip, without decoding.

    With a `start`, the file is sought once, to the key frame before it. Reading ends where no
    later packet can be shown before `stop`.

    Raises:
        Doubt: the packets cannot be believed, or seeking did not lead to a key frame before `start`.
        DataError: more frames than the limit.
    """
    names = video.container.format.name.split(",")
    if (
        _CONTAINERS.isdisjoint(names)
        or video.stream.codec_context.name not in _CODECS
        or video.structure.ends_early
        or not video.tick
    ):
        raise Doubt
    if start:
        if video.origin is None:
            video.origin = _origin(video)
        begin = video.origin + int(start / video.tick)
        latest = video.latest
        if latest is not None and latest.leads_to(begin, int(_NEAR / video.tick)):
            index, packets = latest, _demuxed(video)
        else:
            index = Index(origin=video.origin, sought=True, begin=begin)
            packets = _from_key_before(video, begin)
    else:
        begin = 0
        index = Index(origin=0, sought=False)
        packets = _demuxed(video)
    earliest = index.origin if start else None
    while not _past(index, earliest, stop, video.tick):
        packet = next(packets, None)
        if packet is None:
            break
        index.add(packet)
        check_count(len(index.stamps), limits, video.place)
        if not start and not packet.is_discard:
            earliest = min(index.stamps[-1], index.stamps[-1] if earliest is None else earliest)
    if earliest is None or not index.keys[0]:
        raise Doubt
    if not start and min(index.stamps) < index.stamps[0]:  # leading pictures without what they lean on
        raise Doubt
    index.origin = earliest
    if index is video.latest:
        if index.packets is None:  # too many since the segment before
            video.latest = None
            return read_index(video, start, stop, limits)
        index.continue_at(begin)
    video.latest = index if index.sought and index.packets is not None else None
    return index


def _past(index: Index, earliest: int | None, stop: float | None, tick: float) -> bool:
    """Whether no later packet is shown before `stop`: nothing is shown before it is decoded."""
    if stop is None or earliest is None or index.last_decoded is None:
        return False
    return (index.last_decoded - earliest) * tick > stop


def _from_key_before(video: Video, stamp: int) -> Iterator[Packet[VideoStream]]:
    """Packets from the last key frame on that is shown at `stamp` or before.

    Some demuxers take the time to seek for one of decoding, and arrive a key frame late.
    """
    target = stamp
    for _ in range(_SEEKS):
        _seek(video, target)
        packets = _demuxed(video)
        head = next(packets, None)
        if head is None:
            raise Doubt
        if _stamp(head) <= stamp:
            return chain([head], packets)
        if head.dts is None:
            raise Doubt
        target = head.dts - 1
    raise Doubt


def _origin(video: Video) -> int:
    """Time stamp of the first frame that is shown, from the first packets of the file."""
    first: int | None = None
    earliest: int | None = None
    for count, packet in enumerate(_demuxed(video)):
        stamp = _stamp(packet)
        if first is None:
            first = stamp
            if not packet.is_keyframe:
                raise Doubt
        if stamp < first or count >= _SETTLED_WITHIN:
            raise Doubt
        if not packet.is_discard and (earliest is None or stamp < earliest):
            earliest = stamp
        if earliest is not None and packet.dts is not None and packet.dts >= earliest:
            break
    if earliest is None:
        raise Doubt
    return earliest


def _stamp(packet: Packet[VideoStream]) -> int:
    """When a packet's frame is shown."""
    if packet.pts is None or packet.is_corrupt or (packet.dts is not None and packet.dts > packet.pts):
        raise Doubt
    return packet.pts


def _seek(video: Video, stamp: int) -> None:
    """Go to the last key frame that is not shown after `stamp`; the decoder forgets what it was given."""
    video.latest = video.flow = None
    try:
        video.container.seek(stamp, stream=video.stream, backward=True)
    except DECODER_ERRORS:
        raise Doubt from None


def _demuxed(video: Video) -> Iterator[Packet[VideoStream]]:
    """The packets from here on; a demuxer's complaint becomes a doubt."""
    try:
        yield from video.packets()
    except DECODER_ERRORS:
        raise Doubt from None
