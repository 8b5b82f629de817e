"""20BN-Jester: 27 hand gestures before a webcam, 118,562 / 14,787 / 14,743 clips.

Source: Materzynska et al., "The Jester Dataset", ICCV Workshops 2019.
Layout: ROOT/jester-v1-{train,validation,test,labels}.csv, separated by `;`, without a header; a
class's number is its line of the labels file; the test file has no labels. The frames of a clip are
ROOT/20bn-jester-v1/<id>/00001.jpg and so on, at 12 frames per second. The release names no people,
so there are no groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from mudra.clips.manifest import Manifest
from mudra.clips.table import Rows, build
from mudra.datasets.official import read_lines, release_folder
from mudra.errors import DataError
from mudra.sections import DataSettings
from mudra.types import StreamInfo

FPS = 12.0
FRAMES = "20bn-jester-v1"
LABELS = "jester-v1-labels.csv"
LISTS: Mapping[str, str] = {
    "train": "jester-v1-train.csv",
    "val": "jester-v1-validation.csv",
    "test": "jester-v1-test.csv",
}
EXPECTED = f"{LABELS}, {', '.join(LISTS.values())} and the folder {FRAMES}"
MIRROR: Mapping[str, str] = {
    "Swiping Left": "Swiping Right",
    "Sliding Two Fingers Left": "Sliding Two Fingers Right",
    "Turning Hand Clockwise": "Turning Hand Counterclockwise",
}
"""Classes that a mirror turns into one another; no other class has a side."""


class Jester(DataSettings):
    """The official release of 20BN-Jester."""

    kind: Literal["jester"] = "jester"

    def class_counts(self) -> dict[str, int]:
        return {"label": 27}

    def read(self, folder: Path | None) -> Manifest:
        """Read the official lists. Test clips are unlabelled, as they were released.

        Raises:
            DataError: a file of the release is absent, or a row is not as it was released.
        """
        folder = release_folder(folder, self.kind)
        classes = read_lines(folder / LABELS, EXPECTED)
        ids: list[str] = []
        labels: list[str] = []
        splits: list[str] = []
        places: list[tuple[str, int]] = []  # each list's file name, and the row that it begins before
        for split, name in LISTS.items():
            places.append((name, len(ids)))
            for number, line in enumerate(read_lines(folder / name, EXPECTED), 1):
                clip, *label = line.split(";")
                if len(label) > 1 or (not label and split != "test"):
                    raise DataError(f"{name}, row {number}: found {line!r}; expected 34870;Drumming Fingers.")
                ids.append(clip)
                labels.append(label[0] if label else "")
                splits.append(split)

        def place(row: int) -> str:
            name, first = next(at for at in reversed(places) if at[1] <= row)
            return f"{name}, row {row - first + 1}"

        frames = _frames_folder(folder, ids)
        rows = Rows(
            ids=ids,
            files={"video": [f"{frames}{clip}" for clip in ids]},
            labels={"label": labels},
            splits=splits,
            place=place,
        )
        return build(
            rows,
            name="jester",
            root=folder,
            streams={"video": StreamInfo("video", fps=FPS)},
            classes={"label": classes},
            mirror=_mirror(classes),
            follow_links=True,  # the frames often lie on another disk
        )


def _frames_folder(root: Path, ids: Sequence[str]) -> str:
    """Where the clips' folders lie below root; some unpack them one deeper, or beside the lists."""
    for below in (f"{FRAMES}/{FRAMES}/", f"{FRAMES}/"):
        if (root / below).is_dir():
            return below
    if (root / ids[0]).is_dir():
        return ""
    raise DataError(
        f"{root / FRAMES}: no such folder; expected the frames of clip {ids[0]} in {FRAMES}/{ids[0]}."
    )


def _mirror(classes: Sequence[str]) -> dict[str, dict[str, str]]:
    """The mirror table; none where somebody's selection of the classes lacks one of a pair."""
    pairs = {one: other for one, other in MIRROR.items() if one in classes or other in classes}
    whole = all(one in classes and other in classes for one, other in pairs.items())
    return {"label": pairs} if whole else {}
