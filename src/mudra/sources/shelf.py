"""Long videos stay open between two of their segments: opening one reads its whole index, which for an hour of video
costs as much CPU as decoding a second of it.

What is kept is the open file and its index. A reader that gets an open video seeks to the key frame before its
segment, as it does in a video just opened; seeking also starts the decoder anew, so that it gets the same pixels. Only
where segments are read in order, the decoder goes on where it stands, and the frames of the latest segment are kept
(see `decoding`): neighbours often overlap.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import av

from mudra.sources.containers import Video, opened
from mudra.sources.limits import Limits

MOST_VIDEOS = 32
MOST_BYTES = 128 * 1024**2
# Shorter videos are opened and decoded in no time, and data sets have very many of them.
LEAST_FRAMES = 300
# Measured of FFmpeg: an index takes about 64 bytes a frame. A decoder keeps buffers of a few pictures for its next.
_BYTES_PER_FRAME, _PICTURES, _BYTES_PER_PIXEL = 64, 8, 1.5

Key = tuple[str, tuple[int, ...], Limits, int]


@dataclass(slots=True)
class _Kept:
    """An open video and what closes it."""

    video: Video
    closing: ExitStack

    @property
    def frames(self) -> int:
        """About how many it has; Matroska's index knows of key frames alone."""
        seconds = (self.video.container.duration or 0) / av.time_base
        rate = float(self.video.stream.average_rate or 0)
        return max(len(self.video.stream.index_entries), int(seconds * rate))

    @property
    def bytes(self) -> int:
        """About how much memory it holds."""
        context = self.video.stream.codec_context
        pictures = _PICTURES * _BYTES_PER_PIXEL * context.width * context.height
        packets = self.video.latest.held if self.video.latest is not None else 0
        frames = self.video.flow.bytes if self.video.flow is not None else 0
        return int(_BYTES_PER_FRAME * self.frames + pictures) + packets + frames


class Shelf:
    """The open videos of one process, the one used longest ago first; nobody has them in hand."""

    def __init__(self, videos: int = MOST_VIDEOS, most_bytes: int = MOST_BYTES) -> None:
        self.videos = videos
        self.bytes = most_bytes
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self._kept)

    @contextmanager
    def lent(self, path: Path, limits: Limits, threads: int) -> Iterator[Video]:
        """An open video for reading a segment that does not begin at 0; the reader has to seek first.

        Raises:
            DataError: as `opened`.
        """
        key = (os.fspath(path), _identity(path), limits, threads)
        kept = self._take(key)
        try:
            if kept is None:
                closing = ExitStack()
                kept = _Kept(closing.enter_context(opened(path, limits, threads)), closing)
            yield kept.video
        except BaseException:  # whatever state the video is in, nobody shall get it
            if kept is not None:
                kept.closing.close()
            raise
        self._put(key, kept)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            while self._kept:
                self._kept.popitem()[1].closing.close()

    def _take(self, key: Key) -> _Kept | None:
        if self._process != os.getpid():  # a fork shares its files' positions with its parent: open them anew
            self._lock, self._process = threading.Lock(), os.getpid()
            self.close()
        with self._lock:
            stale = [other for other in self._kept if other[0] == key[0] and other[1] != key[1]]
            for other in stale:  # another file lies at this path now
                self._kept.pop(other).closing.close()
            return self._kept.pop(key, None)

    def _put(self, key: Key, kept: _Kept) -> None:
        """Keep a video, and close those used longest ago that are too many."""
        if kept.video.origin is None or kept.frames < LEAST_FRAMES:
            kept.closing.close()
            return
        with self._lock:
            twin = self._kept.pop(key, None)  # of another thread, which read the same video meanwhile
            if twin is not None:
                twin.closing.close()
            self._kept[key] = kept
            while len(self._kept) > self.videos or (
                len(self._kept) > 1 and sum(each.bytes for each in self._kept.values()) > self.bytes
            ):
                self._kept.popitem(last=False)[1].closing.close()


def _identity(path: Path) -> tuple[int, ...]:
    """What changes when another file lies at a path, or its content changes; () where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


SHELF = Shelf()
atexit.register(SHELF.close)
