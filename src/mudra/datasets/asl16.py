"""ASL-16: sixteen words of American Sign Language as 158 unnamed channels a frame, 800 sequences of 30 frames.

Layout: ROOT/asl16.npz with X_Train [640,30,158], X_Valid and X_Test [80,30,158] of float32 and y_Train, y_Valid, y_Test
of class names. The channels look like x and y of 79 points in pixels, 0 where nothing was found; the file says neither
that nor who signs, nor at what rate. Some sequences are in it twice, one of them in both train and test: see
`mudra data check`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mudra.clips.manifest import Manifest
from mudra.clips.table import Rows, build
from mudra.datasets.official import release_folder
from mudra.errors import DataError
from mudra.sections import DataSettings
from mudra.sources import npy
from mudra.sources.limits import DEFAULT_LIMITS
from mudra.types import StreamInfo

FILE = "asl16.npz"
FPS = 30.0  # the file states none; a sequence then lasts a second, and no result depends on it
CHANNELS = 158
SPLITS = {"train": "Train", "val": "Valid", "test": "Test"}
CLASSES = (
    "apple", "eat", "empty", "goodbye", "hello", "house", "leave", "left", "no", "nothing", "ok", "peach", "right",
    "store", "television", "yes",
)  # fmt: skip


class Asl16(DataSettings):
    """The one file, with the split that it brings."""

    kind: Literal["asl16"] = "asl16"

    def class_counts(self) -> dict[str, int]:
        return {"label": len(CLASSES)}

    def series_channels(self) -> dict[str, int]:
        return {"series": CHANNELS}

    def read(self, folder: Path | None) -> Manifest:
        """Read the labels; a clip is a part of the file.

        Raises:
            DataError: the file is not there, or is not as it was released.
        """
        root = release_folder(folder, self.kind)
        path = root / FILE
        if not path.is_file():
            raise DataError(f"{root}: not there: {FILE}; expected the file as it was released.")
        with npy.arrays(path, DEFAULT_LIMITS) as found:
            lengths, labels = zip(*(_part(found, part, path) for part in SPLITS.values()), strict=True)
        splits = [split for split, words in zip(SPLITS, labels, strict=True) for _ in words]
        numbers = [number for words in labels for number in range(1, len(words) + 1)]
        begins = np.arange(len(splits) + 1) * lengths[0] / FPS
        rows = Rows(
            ids=[f"{split}-{number:03d}" for split, number in zip(splits, numbers, strict=True)],
            files={"series": [FILE] * len(splits)},
            labels={"label": [word for words in labels for word in words]},
            splits=splits,
            starts=[repr(second) for second in begins[:-1].tolist()],
            stops=[repr(second) for second in begins[1:].tolist()],
            place=lambda row: f"{FILE}, y_{SPLITS[splits[row]]}[{numbers[row] - 1}]",
        )
        return build(
            rows,
            name="asl16",
            root=root,
            streams={"series": StreamInfo("series", fps=FPS, channels=CHANNELS)},
            classes={"label": CLASSES},
            follow_links=True,
        )


def _part(found: Any, part: str, path: Path) -> tuple[int, list[str]]:
    """Frames of a sequence, and the words, of one split."""
    if f"X_{part}" not in found or f"y_{part}" not in found:
        raise DataError(f"{path}: it lacks X_{part} or y_{part}; expected the file as it was released.")
    words: NDArray[Any] = found[f"y_{part}"]
    shape = found[f"X_{part}"].shape
    if words.dtype.kind != "U" or len(shape) != 3 or shape[2] != CHANNELS or words.shape != shape[:1]:
        raise DataError(
            f"{path}: X_{part} of shape {shape} beside y_{part} of shape {words.shape} and type {words.dtype}; "
            f"expected [N,T,{CHANNELS}] and N words."
        )
    return int(shape[1]), [str(word) for word in words.tolist()]
