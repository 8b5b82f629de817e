"""Small videos made on the spot, each frame carrying its number.

The number is drawn as ten black or white bars, so that it survives lossy coding and says which frame
a picture is, not only that it is some frame.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 10
WIDTH, HEIGHT = 80, 48
TICK = Fraction(1, 90_000)


def numbered_picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """RGB [H, W, 3] with `number` as bars, the lowest bit at the left, and a brighter upper half."""
    bits = (number >> np.arange(BITS)) & 1
    row = np.repeat(40 + 150 * bits, -(-width // BITS))[:width]
    picture = np.repeat(row[None], height, 0)
    picture[: height // 2] += 40
    return np.repeat(picture[:, :, None], 3, 2).astype(np.uint8)


def number_of(picture: NDArray[np.uint8]) -> int:
    """The number drawn on an upright picture."""
    lower = picture[-picture.shape[0] // 4 :].mean((0, 2))
    bits = [part.mean() > 115 for part in np.array_split(lower, BITS)]
    return int(sum(1 << place for place, bit in enumerate(bits) if bit))


def numbers_of(pictures: Iterable[NDArray[np.uint8]]) -> list[int]:
    """The numbers drawn on some pictures."""
    return [number_of(picture) for picture in pictures]


def write_video(
    path: Path,
    count: int = 30,
    *,
    fps: int = 30,
    seconds: Sequence[float] | None = None,
    begin: float = 0.0,
    codec: str = "libx264",
    width: int = WIDTH,
    height: int = HEIGHT,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    picture: Callable[[int, int, int], NDArray[np.uint8]] = numbered_picture,
    setup: Callable[[av.VideoStream], None] | None = None,
) -> Path:
    """Write `count` numbered frames.

    Args:
        seconds: when each frame is shown; otherwise they follow at `fps`.
        begin: the time stamp of the first frame, in seconds.
        container: options of the muxer. setup: changes the stream before the first frame.
    """
    times = [i / fps for i in range(count)] if seconds is None else list(seconds)
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = TICK if seconds is not None or begin else Fraction(1, fps)
        stream.codec_context.thread_count = 1
        stream.options = {
            **({"preset": "veryfast", "crf": "18"} if codec == "libx264" else {}),
            **(options or {}),
        }
        if setup is not None:
            setup(stream)
        for number, second in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round((second + begin) / frame.time_base)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """Write a file with a second of silence and no picture."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16_000, layout="mono")
        for number in range(16):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, number * 1024
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def remux(source: Path, path: Path, change: Callable[[int, av.Packet], bool], **options: str) -> Path:
    """Copy the packets of a video without recoding.

    Args:
        change: may alter each packet, given with its number; False leaves it out.
    """
    with av.open(str(source)) as inside, av.open(str(path), "w", options=options) as out:
        stream = out.add_stream_from_template(inside.streams.video[0])
        for number, packet in enumerate(inside.demux(video=0)):
            if packet.size and change(number, packet):
                packet.stream = stream
                out.mux(packet)
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write (a, b, c, d), each -1, 0 or 1, into the track header of an MP4."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    one, last = 1 << 16, 1 << 30
    data[place : place + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, last)
    path.write_bytes(bytes(data))
    return path


def box(path: Path, kind: bytes) -> tuple[int, int]:
    """Where the first box of a kind begins and ends in an MP4 of simple structure."""
    data = path.read_bytes()
    place = data.index(kind) - 4
    return place, place + int.from_bytes(data[place : place + 4], "big")
