"""UCF101: 101 actions from YouTube, 13,320 clips of about 7 s, three official splits.

Source: Soomro, Zamir and Shah, "UCF101: a dataset of 101 human actions classes from videos in the wild",
arXiv:1212.0402, 2012.
Layout: ROOT/ucfTrainTestlist/{classInd,trainlist01..03,testlist01..03}.txt and the clips as
ROOT/UCF-101/<class>/v_<class>_g08_c01.avi; the lists may also lie in ROOT or beside it, the class folders
in ROOT. classInd.txt numbers the classes from 1; trainlist lines end with that number, testlist lines
do not. One class is spelt two ways: folder HandstandPushups, files v_HandStandPushups_*.
Groups: the clips of one group of a class (`g08`) are cut from one video, and the splits keep it apart.
Numbers mean nothing across classes, so a group is "<class>/g08".
Splits: `data.fold` is 1 (9,537 / 3,783 clips), 2 (9,586 / 3,734) or 3 (9,624 / 3,696). Published figures
are often the mean over the three:

    for n in 1 2 3; do mudra train ucf101-timesformer --data ucf101:DIR data.fold=$n --out runs/ucf101-$n; done

There is no validation split, so none is used unless `data.holdout` carves one out of train.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mudra.clips.manifest import Manifest
from mudra.datasets.official import Fold, Listing, class_folders, lists_folder, read_lines, release_folder
from mudra.errors import DataError, did_you_mean
from mudra.sections import DataSettings

VIDEOS = "UCF-101"
LISTS = "ucfTrainTestlist"
CLASSES = "classInd.txt"
EXPECTED = f"the lists {CLASSES}, trainlist01.txt, testlist01.txt and so on, and the folder {VIDEOS}"
SIZES: Mapping[int, tuple[int, int, int]] = {
    1: (101, 9_537, 3_783),
    2: (101, 9_586, 3_734),
    3: (101, 9_624, 3_696),
}
"""By fold: classes, training clips, test clips."""

_LINE = re.compile(r"([^/]+)/(v_[^/]+_(g\d{1,3})_c\d{1,3})\.avi(?: (\d{1,4}))?")


class UCF101(DataSettings):
    """The official release of UCF101.

    fold: which of the three official splits.
    """

    kind: Literal["ucf101"] = "ucf101"
    fold: Fold = 1

    def class_counts(self) -> dict[str, int]:
        return {"label": 101}

    def read(self, folder: Path | None) -> Manifest:
        """Read the official lists. No clip is looked for; `mudra data check` does that.

        Raises:
            DataError: a list is absent, or a line of it is not as it was released.
        """
        root = release_folder(folder, self.kind)
        lists = lists_folder(root, LISTS, CLASSES, EXPECTED)
        number_of = _classes(lists / CLASSES)
        folders = class_folders(root, VIDEOS, list(number_of))
        listing = Listing()
        for split in ("train", "test"):
            name = f"{split}list0{self.fold}.txt"
            for at, line in enumerate(read_lines(lists / name, EXPECTED), 1):
                place = f"{name}, line {at}"
                label, clip, group = _parse(line, number_of, split, place)
                listing.add(
                    id=f"{label}/{clip}",
                    file=f"{folders[label]}/{clip}.avi",
                    label=label,
                    group=f"{label}/{group}",
                    split=split,
                    place=place,
                )
        return listing.manifest("ucf101", root, list(number_of), SIZES[self.fold])


def _classes(path: Path) -> dict[str, int]:
    """The class names in their order, each with its number, from 1."""
    numbers: dict[str, int] = {}
    for at, line in enumerate(read_lines(path, EXPECTED), 1):
        number, _, name = line.strip().partition(" ")
        if number != str(at) or not name or name in numbers:
            raise DataError(
                f"{path.name}, line {at}: found {line!r}; expected {at} and the name of a class not yet named."
            )
        numbers[name] = at
    return numbers


def _parse(line: str, number_of: Mapping[str, int], split: str, place: str) -> tuple[str, str, str]:
    """Class, clip and group of a line."""
    found = _LINE.fullmatch(line.strip())
    if found is None or (split == "train" and found[4] is None):
        number = " 3" if split == "train" else ""
        raise DataError(f"{place}: found {line!r}; expected Archery/v_Archery_g08_c01.avi{number}.")
    label, clip, group, number = found.groups()
    if label not in number_of:
        hint = did_you_mean(label, number_of)
        raise DataError(f"{place}: class {label!r} is not one of the {len(number_of)} of {CLASSES}.{hint}")
    if number is not None and int(number) != number_of[label]:
        raise DataError(
            f"{place}: found class number {number} for {label!r}, which is {number_of[label]} in {CLASSES}; "
            "take both files from the same release."
        )
    return label, clip, group
