"""NATOPS: six aircraft-handling signals as the UEA archive has them, 180 training and 180 test sequences.

Source: Ghouaiel, Marteau and Dupont 2017 (the archive's version); Song, Demirdjian and Davis, "Tracking body and
hands for gesture recognition: NATOPS aircraft handling signals database", FG 2011 (the recordings).
Layout: ROOT/NATOPS_TRAIN.ts and ROOT/NATOPS_TEST.ts: 24 channels, x, y and z of 8 points: hand tips, elbows, wrists
and thumbs, left and right of each. The archive names no people, so there are no groups.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mudra.clips.manifest import Manifest
from mudra.clips.table import Rows, build
from mudra.datasets.official import release_folder
from mudra.errors import DataError
from mudra.sections import DataSettings
from mudra.settings import Count
from mudra.sources.ts import read_sequences
from mudra.types import StreamInfo

FPS = 20.0
LISTS = {"train": "NATOPS_TRAIN.ts", "test": "NATOPS_TEST.ts"}
CLASSES = ("I have command", "all clear", "not clear", "spread wings", "fold wings", "lock wings")


class Natops(DataSettings):
    """The archive's two files, or one of them.

    split_seed: draws train, val and test where one of the two is absent.
    """

    kind: Literal["natops"] = "natops"
    split_seed: Count = 0

    def class_counts(self) -> dict[str, int]:
        return {"label": len(CLASSES)}

    def point_layouts(self) -> dict[str, str]:
        return {"points": "natops8"}

    def read(self, folder: Path | None) -> Manifest:
        """Read the sequences.

        Raises:
            DataError: neither file is there, or a line is not as it was released.
        """
        root = release_folder(folder, self.kind)
        there = {split: name for split, name in LISTS.items() if (root / name).is_file()}
        if not there:
            raise DataError(
                f"{root}: not there: {' or '.join(LISTS.values())}; expected the archive's files."
            )
        cells: list[tuple[str, str, str, str, str, str]] = []
        places: list[str] = []
        for split, name in there.items():
            found = read_sequences(root / name)
            for number, (label, line) in enumerate(zip(found.labels, found.lines, strict=True)):
                start, stop = (repr(float(frame / FPS)) for frame in found.begins[number : number + 2])
                place = f"{name}, line {line}"
                cells.append((f"{split}-{number + 1:03d}", split, name, start, stop, _class(label, place)))
                places.append(place)
        ids, splits, files, starts, stops, labels = (list(column) for column in zip(*cells, strict=True))
        rows = Rows(
            ids=ids,
            files={"points": files},
            labels={"label": labels},
            splits=splits if len(there) == 2 else None,
            starts=starts,
            stops=stops,
            place=places.__getitem__,
        )
        manifest = build(
            rows,
            name="natops",
            root=root,
            streams={"points": StreamInfo("points", "natops8", FPS)},
            classes={"label": CLASSES},
            follow_links=True,
        )
        return manifest.with_splits(self.split_seed)


def _class(label: str, place: str) -> str:
    """The name of a class that the archive numbers from 1: "1.0"."""
    try:
        number = float(label)
    except ValueError:
        number = 0.0
    if number not in range(1, len(CLASSES) + 1):
        raise DataError(
            f"{place}: class {label!r} is not one of 1 to {len(CLASSES)}; expected it as released."
        )
    return CLASSES[int(number) - 1]
