"""Detectors of landmarks to test with: what they find is painted into the frames, and nobody is looked for.

The red of the upper left pixel says what is in a frame, by bits: 32 a left hand, 64 a right hand, 128 face
and pose. Points stand at places of their own, shifted by how many frames of the clip were seen before.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mudra.sources.landmarks import POINTS, Detect, Finder

BITS = {"face": 128, "left_hand": 32, "pose": 128, "right_hand": 64}
SIZES = {"face": 468, "left_hand": 21, "pose": 33, "right_hand": 21}
ALL, NOBODY, LEFT, RIGHT = 240, 16, 176, 208


def frames(*kinds: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A clip whose frames hold this and that: uint8 [T,H,W,3]."""
    return np.stack([np.full((height, width, 3), kind, np.uint8) for kind in kinds])


def place(row: int) -> NDArray[np.float32]:
    """Where a point is found in the first frame, as shares of the picture."""
    return np.array([row / 1000, 0.25 + row / 2000, -row / 4000], np.float32)


@contextmanager
def reading() -> Iterator[Detect]:
    """Finds what is painted."""
    count = 0
    rest = np.stack([place(row) for row in range(POINTS)])

    def detect(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        nonlocal count
        points = rest + np.float32(count / 1024)
        count += 1
        kind = int(frame[0, 0, 0])
        there = np.concatenate([np.full(SIZES[part], bool(kind & bit)) for part, bit in BITS.items()])
        points[~there] = np.nan
        return points, np.where(there, 0.5, 0).astype(np.float32)

    yield detect


@contextmanager
def slow() -> Iterator[Detect]:
    """The same, and takes its time."""
    with reading() as detect:

        def late(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            time.sleep(0.05)
            return detect(frame)

        yield late


@contextmanager
def crashing() -> Iterator[Detect]:
    """Takes its process with it where a frame shows nobody."""
    with reading() as detect:

        def fall(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            if not frame[0, 0, 0] & 128:
                os.abort()
            return detect(frame)

        yield fall


FINDER = Finder("painted", reading)
SLOW = Finder("painted", slow)
CRASHING = Finder("painted", crashing)


def main(data: Path, out: Path, workers: int) -> None:
    """Extract slowly, for a test that kills this process meanwhile."""
    from mudra.clips.landmarks import extract
    from mudra.datasets.folder import Folder
    from tests import detectors  # not __main__, which other processes cannot import

    extract(Folder().read(data), out, say=print, workers=workers, finder=detectors.SLOW)


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
