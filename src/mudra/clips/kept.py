"""Streams that were read once stay in memory, as many as there is room for: reading a small file costs more than
bringing its points to a length.

What is kept is what the file holds: samples are the same with and without it. A file that changes is read again.
Each loader process keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mudra.types import Clip, Stream

ROOM = 256 * 2**20  # bytes


class Kept:
    """Streams by clip and name. When the room is full the rest is read every time: of clips that come in a new order
    in every epoch, the oldest is as likely to be wanted next as any.

    Args:
        room: bytes.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self._streams: dict[tuple[object, ...], tuple[tuple[int, int], Stream]] = {}

    def read(self, clip: Clip, name: str, read: Callable[[], Stream]) -> Stream:
        """The stream `name` of a clip: `read()`, or what it gave before. Its arrays cannot be written to.

        Raises:
            DataError: of `read`, every time.
        """
        path = clip.streams.get(name)
        try:
            status = path.stat() if path is not None else None
        except OSError:
            status = None
        if status is None:
            return read()  # which tells what is wrong
        key, stamp = (path, name, clip.start, clip.stop), (status.st_mtime_ns, status.st_size)
        if key in self._streams and self._streams[key][0] == stamp:
            return self._streams[key][1]
        stream = read()
        values = np.array(stream.values)  # a copy: a view would keep alive all that it was cut out of
        values.flags.writeable = False
        stream = replace(stream, values=values)
        size = sum(part.nbytes for part in (stream.values, stream.times, stream.score) if part is not None)
        if key not in self._streams and size <= self.room:
            self.room -= size
            self._streams[key] = (stamp, stream)
        return stream
