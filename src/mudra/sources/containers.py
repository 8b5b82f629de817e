"""Opening a video file: only local video formats, one thread, bounded pictures, always closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.limits import Limits, check_picture, named, open_regular
from mudra.sources.structure import Structure, inspect

if TYPE_CHECKING:
    from mudra.sources.decoding import Flow
    from mudra.sources.index import Index

# Formats that hold the pictures themselves. Playlists and containers of names (concat, hls, dash,
# image2, lavfi, sdp ...) are left out on purpose: a file must never make us open another one.
_DEMUXERS = (
    "mov,mp4,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,m4v,asf,ogg,gif,h264,hevc,ivf,obu,av1,"
    "mjpeg,nut,mxf,dv,yuv4mpegpipe,rm,wtv"
)
# Damaged H.264 is flagged by its decoder; damaged HEVC only if it is told to stop at every error.
_STRICT = {"hevc": {"err_detect": "explode"}}
# What PyAV raises on damaged files: FFmpeg's errors, and Python's own where FFmpeg asks our file object
# for a place that cannot be, or names a time or a text that Python cannot hold.
DECODER_ERRORS = (av.FFmpegError, OSError, ValueError, OverflowError)


@dataclass(slots=True)
class Video:
    """An open video file, standing at its first packet.

    Attributes:
        origin: time stamp of the first frame that is shown, once somebody has looked; see `index`.
        latest: the index of the latest segment, which ends where the file is read on; None where there is none.
        flow: the decoder in the midst of that segment's packets; see `decoding`.
    """

    place: str
    container: InputContainer
    stream: VideoStream
    structure: Structure
    origin: int | None = None
    latest: Index | None = None
    flow: Flow | None = None

    @property
    def declared(self) -> int | None:
        """The number of frames that the file says it has, where it says so."""
        return None if self.structure.fragmented else self.stream.frames or None

    @property
    def tick(self) -> float:
        """Seconds of one unit of a time stamp."""
        base = self.stream.time_base
        return base.numerator / base.denominator if base else 0.0

    def seconds(self, stamps: NDArray[np.int64], origin: int) -> NDArray[np.float64]:
        """Time stamps as seconds from `origin`."""
        return (stamps - origin).astype(np.float64) * self.tick

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """The packets of the video stream from here on; those that hold nothing are left out.

        An empty packet says "show the last picture once more"; given to a decoder it would mean the end.
        """
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    yield packet
        except IndexError:
            # At the very end, PyAV trips over streams that turned up only on the way (in broadcast
            # formats). All packets have come by then.
            return


@contextmanager
def opened(path: Path, limits: Limits, threads: int) -> Iterator[Video]:
    """Open the video stream of a file.

    Args:
        threads: decoding threads. 1 is best inside loader workers, which already fill the cores.
    Raises:
        DataError: not a video, no video stream, no decoder for it, or pictures above the limit.
    """
    place = named(path)
    with open_regular(path) as file:
        structure = inspect(file)
        _refuse_foreign(structure, place)
        try:
            container = av.open(
                file,
                mode="r",
                options={"max_pixels": str(_allocated(limits))},
                container_options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"},
                metadata_errors="replace",
            )
        except DECODER_ERRORS as problem:
            raise DataError(f"{place}: {_unreadable(structure, problem)}") from None
        with container:
            stream = _video_stream(container, place, limits, threads)
            if _index_reaches_past(stream, structure.size):
                structure = replace(structure, ends_early=True)
            yield Video(place, container, stream, structure)


def _video_stream(container: InputContainer, place: str, limits: Limits, threads: int) -> VideoStream:
    """The first true video stream, with its decoder set up."""
    streams = [s for s in container.streams.video if not _is_cover(s)]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise DataError(
            f"{place}: has no video stream, only {kinds}; leave this clip out, or record it again."
        )
    context = streams[0].codec_context
    if context is None:
        raise DataError(f"{place}: no decoder for its codec is available; convert it to H.264 in MP4.")
    if context.width or context.height:  # some formats tell the size only with the first picture
        check_picture(context.width, context.height, limits, place)
    context.options = {"max_pixels": str(_allocated(limits)), **_STRICT.get(context.name, {})}
    context.thread_count = threads
    context.thread_type = "AUTO" if threads > 1 else "SLICE"
    return streams[0]


def _allocated(limits: Limits) -> int:
    """The pixels that libavcodec may allocate for a picture, also while probing.

    It rounds sizes up, so this leaves room; the exact limit is held against the sizes themselves.
    """
    return 2 * limits.pixels + 1024**2


def _is_cover(stream: VideoStream) -> bool:
    """Whether a stream is the cover picture of a sound file."""
    return av.stream.Disposition.attached_pic in av.stream.Disposition(stream.disposition)


def _index_reaches_past(stream: VideoStream, size: int) -> bool:
    """Whether the file's own index points past its end."""
    entries = stream.index_entries
    return bool(entries) and entries[-1].pos + entries[-1].size > size


def _refuse_foreign(structure: Structure, place: str) -> None:
    """Tell apart what is plainly not a video, for a more helpful message than a decoder's."""
    if structure.size == 0:
        raise DataError(f"{place}: is empty (0 bytes); copy or download it again.")
    if structure.overclaims:
        raise DataError(f"{place}: lists more samples than it has bytes, so it is damaged; fetch it again.")
    if structure.text:
        raise DataError(f"{place}: is {structure.text}, not a video; download the video itself.")


def _unreadable(structure: Structure, problem: Exception) -> str:
    """Why FFmpeg could not open a file, and what to do."""
    if structure.no_index:
        return (
            "0 frames can be decoded, for it has no index (`moov`): recording or download was cut;"
            " fetch or record it again."
        )
    why = " ".join(str(getattr(problem, "strerror", None) or problem).split())[:120]
    return (
        f"is not a video that can be read ({why[:1].lower()}{why[1:]}); fetch it again, or convert it to MP4."
    )
