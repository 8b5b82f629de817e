"""HMDB51: 51 actions from films and the web, 6,766 clips of about 3 s, three official splits.

Source: Kuehne, Jhuang, Garrote, Poggio and Serre, "HMDB: a large video database for human motion
recognition", ICCV 2011.
Layout: ROOT/testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt and the clips as
ROOT/hmdb51_org/<class>/<clip>.avi; the lists may also lie in ROOT, beside it, or in a folder of another
name, the class folders in ROOT. A line is a clip and its use: 1 train, 2 test, 0 neither; clips of the last
kind are left out. Classes are numbered in the order of their names. Names hold `# & ( ) ! [ ] ; + ~ @`, which
mean nothing here.
Groups: a clip is named <video>_<class>_<tags>.avi, and in each official split all clips of a class that are cut
from one video stand on one side (looked at in all three), so a group is "<class>/<video>". Across classes
the splits do not keep videos apart: 133 to 149 names are in train with one class and in test with another.
Nor do they know parts of one film by names of their own ("chewing_gum_1" and "chewing_gum_2").
Splits: `data.fold` is 1, 2 or 3, each of 3,570 / 1,530 clips. Published figures are often the mean over the
three:

    for n in 1 2 3; do mudra train hmdb51-timesformer --data hmdb51:DIR data.fold=$n --out runs/hmdb51-$n; done

There is no validation split, so none is used unless `data.holdout` carves one out of train.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from mudra.clips.manifest import Manifest
from mudra.datasets.official import Fold, Listing, class_folders, lists_folder, read_lines, release_folder
from mudra.errors import DataError
from mudra.sections import DataSettings

VIDEOS = "hmdb51_org"
LISTS = "testTrainMulti_7030_splits"
SIGN = "*_test_split[123].txt"
EXPECTED = f"three lists of every class, such as clap_test_split1.txt, and the folder {VIDEOS}"
SIZE = (51, 3_570, 1_530)
"""Of each fold: classes, training clips, test clips."""
USES = {"1": "train", "2": "test", "0": ""}

_LINE = re.compile(r"([^/]+)\.avi ([012])")


class HMDB51(DataSettings):
    """The official release of HMDB51.

    fold: which of the three official splits.
    """

    kind: Literal["hmdb51"] = "hmdb51"
    fold: Fold = 1

    def class_counts(self) -> dict[str, int]:
        return {"label": 51}

    def read(self, folder: Path | None) -> Manifest:
        """Read the official lists. No clip is looked for; `mudra data check` does that.

        Raises:
            DataError: a list is absent, or a line of it is not as it was released.
        """
        root = release_folder(folder, self.kind)
        lists = lists_folder(root, LISTS, SIGN, EXPECTED)
        names = [path.name for path in lists.glob(SIGN) if not path.name.startswith(".")]
        classes = sorted({name.rpartition("_test_split")[0] for name in names})
        folders = class_folders(root, VIDEOS, classes)
        listing = Listing()
        for label in classes:
            name = f"{label}_test_split{self.fold}.txt"
            for at, line in enumerate(read_lines(lists / name, EXPECTED), 1):
                place = f"{name}, line {at}"
                clip, video, split = _parse(line, label, place)
                if split:
                    listing.add(
                        id=f"{label}/{clip}",
                        file=f"{folders[label]}/{clip}.avi",
                        label=label,
                        group=f"{label}/{video}",
                        split=split,
                        place=place,
                    )
        return listing.manifest("hmdb51", root, classes, SIZE)


def _parse(line: str, label: str, place: str) -> tuple[str, str, str]:
    """Clip, the video that it is cut from, and split of a line; "" where the clip is not used."""
    found = _LINE.fullmatch(line.strip())
    # the last time: names such as `boom_snap_clap_(challenge)_clap_u_nm_np1_fr_med_0` have it twice
    video = found[1].rpartition(f"_{label}_")[0] if found else ""
    if found is None or not video:
        raise DataError(
            f"{place}: found {line!r}; expected NAME_{label}_TAGS.avi and 1 for train, 2 for test or 0 for neither."
        )
    return found[1], video, USES[found[2]]
