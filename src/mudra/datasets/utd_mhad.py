"""UTD-MHAD: 27 actions of 8 people before a Kinect, 861 recordings.

Source: Chen, Jafari and Kehtarnavaz, "UTD-MHAD: a multimodal dataset for human action recognition utilizing a depth
camera and a wearable inertial sensor", ICIP 2015.
Layout: ROOT/skeleton/aA_sS_tT_skeleton.mat with action A, subject S and take T (some unpack it as ROOT/Skeleton, or
straight into ROOT); likewise ROOT/inertial/aA_sS_tT_inertial.mat and ROOT/depth/aA_sS_tT_depth.mat.
The official test trains on the odd subjects and tests on the even ones.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from mudra.clips.manifest import Manifest
from mudra.clips.table import Rows, build
from mudra.datasets.official import release_folder
from mudra.errors import DataError
from mudra.sections import DataSettings
from mudra.settings import Count
from mudra.types import StreamInfo

FPS = 30.0
CLASSES = (
    "swipe left", "swipe right", "wave", "clap", "throw", "arm cross", "basketball shoot", "draw x",
    "draw circle clockwise", "draw circle counterclockwise", "draw triangle", "bowling", "boxing", "baseball swing",
    "tennis swing", "arm curl", "tennis serve", "push", "knock", "catch", "pick up and throw", "jog", "walk",
    "sit to stand", "stand to sit", "lunge", "squat",
)  # fmt: skip
RELEASED = 861
STREAMS = {
    "points": ("skeleton", StreamInfo("points", "kinect20", FPS)),
    "series": ("inertial", StreamInfo("series", fps=50.0, channels=6)),
    "depth": ("depth", StreamInfo("depth", fps=FPS)),
}
_NAME = re.compile(r"a(\d{1,2})_s(\d{1,2})_t(\d{1,2})_skeleton\.mat")


class UtdMhad(DataSettings):
    """The release's skeletons, with the other streams of the same recordings where they are there.

    split_seed: draws train, val and test by subject where the even subjects or the odd ones are absent.
    """

    kind: Literal["utd_mhad"] = "utd_mhad"
    split_seed: Count = 0

    def class_counts(self) -> dict[str, int]:
        return {"label": len(CLASSES)}

    def point_layouts(self) -> dict[str, str]:
        return {"points": "kinect20"}

    def series_channels(self) -> dict[str, int]:
        return {"series": 6}

    def read(self, folder: Path | None) -> Manifest:
        """Read the names of the release's files.

        Raises:
            DataError: there are none, or a number in a name is not one of the release's.
        """
        root = release_folder(folder, self.kind)
        below = _subfolder(root, "skeleton")
        named = [found for path in _files(root / below) if (found := _NAME.fullmatch(path))]
        if not named:
            raise DataError(
                f"{root}: no skeletons in it; expected skeleton/a1_s1_t1_skeleton.mat and so on, as released."
            )
        named.sort(key=lambda found: tuple(int(number) for number in found.groups()))
        for found in named:
            if not 1 <= int(found[1]) <= len(CLASSES):
                raise DataError(
                    f"{root / below / found[0]}: action {found[1]} is not one of the 27; rename it as it was released."
                )
        subjects = {int(found[2]) for found in named}
        official = len({subject % 2 for subject in subjects}) == 2
        rows = Rows(
            ids=[found[0].removesuffix("_skeleton.mat") for found in named],
            files=_streams(root, below, [found[0] for found in named]),
            labels={"label": [CLASSES[int(found[1]) - 1] for found in named]},
            groups=[f"s{found[2]}" for found in named],
            splits=["train" if int(found[2]) % 2 else "test" for found in named] if official else None,
            place=lambda row: f"{below}{named[row][0]}",
        )
        note = (
            f"utd_mhad: {len(named)} recordings of {len(subjects)} people; the release has {RELEASED} of 8."
        )
        manifest = build(
            rows,
            name="utd_mhad",
            root=root,
            streams={name: STREAMS[name][1] for name in rows.files},
            classes={"label": CLASSES},
            notes=[note] if len(named) != RELEASED else [],
            follow_links=True,  # the recordings often lie on another disk
        )
        return manifest.with_splits(self.split_seed)


def _streams(root: Path, below: str, names: list[str]) -> dict[str, list[str]]:
    """Path of each recording below root, by stream; "" where it lacks one, and no stream that all lack."""
    files = {"points": [below + name for name in names]}
    for stream, (word, _) in STREAMS.items():
        if stream != "points" and (folder := _subfolder(root, word)):
            there = set(_files(root / folder))
            others = [name.replace("_skeleton", f"_{word}") for name in names]
            files[stream] = [folder + name if name in there else "" for name in others]
    return {stream: paths for stream, paths in files.items() if any(paths)}


def _subfolder(root: Path, word: str) -> str:
    """Where a stream's files lie below root."""
    return next((f"{name}/" for name in (word, word.title()) if (root / name).is_dir()), "")


def _files(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as problem:
        raise DataError(f"{folder}: cannot be read ({problem.strerror}); expected the release.") from None
