"""Decoded frames become upright RGB arrays, always in the same way.

One conversion serves training, evaluation and live use: swscale with its default chroma handling,
from the colour matrix and range that the frame declares (undeclared: BT.601, limited range, as FFmpeg
assumes) to full-range RGB. 10-bit frames are reduced to 8; HDR curves are left as they are stored.
The display matrix is honoured in right angles and mirrorings. Pixels are taken as square.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from mudra.sources.limits import Limits, check_bytes, check_same_size

# (swap rows with columns, then flip rows, then flip columns)
Turn = tuple[bool, bool, bool]


class Album:
    """The chosen pictures of a clip, filled in as they are decoded.

    Args:
        keys: which picture stands at each place, [n]; a key may stand at several places.
    """

    def __init__(self, keys: NDArray[np.int64], limits: Limits, place: str) -> None:
        self._places: dict[int, list[int]] = {}
        for position, key in enumerate(keys.tolist()):
            self._places.setdefault(key, []).append(position)
        self._count = len(keys)
        self._limits = limits
        self._place = place
        self._reformatter = VideoReformatter()
        self._turn: Turn | None = None
        self._values: NDArray[np.uint8] | None = None
        self.missing = set(self._places)

    def add(self, key: int, frame: VideoFrame) -> None:
        """Convert `frame` and put it wherever `key` was chosen.

        Raises:
            DataError: the picture has another size than those before it.
        """
        if self._turn is None:  # of the first frame, for all: asking each would cost as much as a conversion
            self._turn = orientation(frame)
        picture = upright(self._rgb(frame), self._turn)
        if self._values is None:
            check_bytes(self._count * picture.size, self._limits, self._place)
            self._values = np.empty((self._count, *picture.shape), np.uint8)
        check_same_size(picture.shape[:2], self._values.shape[1:3], self._place)
        for position in self._places[key]:
            self._values[position] = picture
        self.missing.discard(key)

    def offer(self, key: int, frame: VideoFrame) -> None:
        """Add `frame` if its key was chosen."""
        if key in self.missing:
            self.add(key, frame)

    @property
    def values(self) -> NDArray[np.uint8]:
        """The pictures, uint8 [n, H, W, 3]."""
        if self._values is None or self.missing:
            raise RuntimeError(f"{len(self.missing)} pictures were not added")
        return self._values

    def _rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """RGB [H, W, 3] as stored, a view into the converted frame."""
        rgb = self._reformatter.reformat(frame, format="rgb24", dst_color_range=ColorRange.JPEG, threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        return rows[: rgb.height, : rgb.width * 3].reshape(rgb.height, rgb.width, 3)


def upright(picture: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """Turn a picture [H, W, 3] as `orientation` says; a view."""
    swap, flip_rows, flip_columns = turn
    if swap:
        picture = picture.transpose(1, 0, 2)
    if flip_rows:
        picture = picture[::-1]
    if flip_columns:
        picture = picture[:, ::-1]
    return picture


def orientation(frame: VideoFrame) -> Turn:
    """What stands a frame upright, from its display matrix.

    The matrix maps a stored point (x, y) to (a x + c y, b x + d y). Other angles than right ones go
    to the nearest right angle; a matrix of zeros, which some files hold, is no rotation.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = (float(value) for value in np.frombuffer(memoryview(data), np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def clockwise_degrees(frame: VideoFrame) -> int:
    """How far a frame is turned clockwise to be upright: 0, 90, 180 or 270 (mirroring left aside)."""
    swap, flip_rows, flip_columns = orientation(frame)
    if swap:
        return 90 if flip_columns else 270
    return 180 if flip_rows and flip_columns else 0
