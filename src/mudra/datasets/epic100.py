"""EPIC-KITCHENS-100: 97 verbs and 300 nouns in 100 hours of cooking, 67,217 / 9,668 / 13,092 segments.

Source: Damen et al., "Rescaling egocentric vision", IJCV 130, 2022, arXiv:2006.13256. The annotations are CC BY-NC 4.0.
Layout: the lists EPIC_100_{train,validation}.csv, EPIC_100_test_timestamps.csv (without labels), and the classes
EPIC_100_{verb,noun}_classes.csv lie in ROOT/epic-kitchens-100-annotations (as the repository is called), in ROOT or
beside it; a list that is not there leaves its split out. Footage lies below ROOT or ROOT/EPIC-KITCHENS, as the official
downloader puts it (P01/videos/P01_01.MP4), as the older release did (videos/train/P01/P01_01.MP4), or all in `videos`
or ROOT; frames, unpacked into a folder for each video, in P01/rgb_frames/P01_01, rgb_frames/P01_01 and the like.
Time: segments are cut by their time stamps. `start_frame` is never used: it counts at each video's own rate, which is
between 29.97 and 90 frames per second and stands, for frame folders, in EPIC_100_video_info.csv.
Groups: the official split keeps videos apart; most people are on both sides. Validation and test each have people whom
training lacks (EPIC_100_unseen_participant_ids_{validation,test}.csv), and the rarest classes that together make a
fifth of the training clips are the tail (EPIC_100_tail_{verbs,nouns}.csv). Both are reported apart, where their lists
are there, as the challenge does: an action is in the tail when its verb or its noun is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Literal

from mudra.clips.cells import Table, read_table
from mudra.clips.manifest import Manifest
from mudra.clips.table import Rows, build
from mudra.datasets.official import lists_folder, release_folder
from mudra.errors import DataError
from mudra.sections import DataSettings
from mudra.types import SUBSET, StreamInfo

ANNOTATIONS = "epic-kitchens-100-annotations"
LISTS: Mapping[str, tuple[str, int]] = {
    "train": ("EPIC_100_train.csv", 67_217),
    "val": ("EPIC_100_validation.csv", 9_668),
    "test": ("EPIC_100_test_timestamps.csv", 13_092),
}
"""By split: the list, and how many segments were released."""
CLASSES: Mapping[str, tuple[str, int]] = {
    "verb": ("EPIC_100_verb_classes.csv", 97),
    "noun": ("EPIC_100_noun_classes.csv", 300),
}
TAIL: Mapping[str, str] = {"verb": "EPIC_100_tail_verbs.csv", "noun": "EPIC_100_tail_nouns.csv"}
UNSEEN: Mapping[str, str] = {
    "val": "EPIC_100_unseen_participant_ids_validation.csv",
    "test": "EPIC_100_unseen_participant_ids_test.csv",
}
VIDEO_INFO = "EPIC_100_video_info.csv"
EXPECTED = f"{CLASSES['verb'][0]} and the other official lists"
SEGMENT = ("narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp")
LABELS = ("verb_class", "noun_class")
KEPT: Mapping[str, str] = {  # the words of the narration must not stand in the columns of the classes
    "participant_id": "participant_id", "narration_timestamp": "narration_timestamp", "narration": "narration",
    "verb": "narrated_verb", "noun": "narrated_noun", "all_nouns": "all_nouns", "all_noun_classes": "all_noun_classes",
}  # fmt: skip
"""Columns that become metadata, and what they are called there."""
HOMES = ("", "EPIC-KITCHENS/")
VIDEO_FOLDERS = (
    "{person}/videos/", "videos/{person}/", "videos/", "videos/train/{person}/", "videos/test/{person}/", "{person}/",
    "",
)  # fmt: skip
FRAME_FOLDERS = (
    "{person}/rgb_frames/", "rgb_frames/{person}/", "rgb_frames/", "frames_rgb_flow/rgb/train/{person}/",
    "frames_rgb_flow/rgb/test/{person}/",
)  # fmt: skip
ENDINGS = (".MP4", ".mp4", ".mkv", ".webm", ".avi", ".mov")
NAMED = 5  # missing videos that an error names

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIME = re.compile(r"([0-9]{1,2}):([0-5][0-9]):([0-5][0-9])(\.[0-9]{1,9})?")


class Epic100(DataSettings):
    """The official release of EPIC-KITCHENS-100.

    footage: `videos` cuts segments out of whole videos, `frames` out of folders of the frames that were released as
        archives; `any` takes the videos that are there, and frames for the others.
    missing: a video that is not there is an `error`, or its segments are left out (`leave_out`) and a note says so.
    """

    kind: Literal["epic100"] = "epic100"
    footage: Literal["any", "videos", "frames"] = "any"
    missing: Literal["error", "leave_out"] = "error"

    def class_counts(self) -> dict[str, int]:
        return {task: count for task, (_, count) in CLASSES.items()}

    def read(self, folder: Path | None) -> Manifest:
        """Read the official lists, and look which videos are there. No video is opened.

        Raises:
            DataError: a list is absent, a row of it is not as it was released, or videos are missing.
        """
        root = release_folder(folder, self.kind)
        lists = lists_folder(root, ANNOTATIONS, CLASSES["verb"][0], EXPECTED)
        classes = {task: _classes(lists / file) for task, (file, _) in CLASSES.items()}
        segments = _Segments({task: list(names) for task, names in classes.items()})
        notes = []
        for split, (file, released) in LISTS.items():
            if not (lists / file).exists():
                notes.append(f"epic100: {file} is not in {lists}, so there is no {split} split.")
                continue
            count = segments.add(split, read_table(lists / file, ",".join(SEGMENT)))
            if count != released:
                notes.append(f"epic100: {file} lists {count:,} segments; the release has {released:,}.")
        segments.require_some(lists)
        segments.reported_apart(lists)
        places = _find(root, segments.videos(), self.footage)
        notes += self._leave_out_missing(segments, places, root)
        rows = segments.rows(places, _rates(lists, places))
        return build(
            rows,
            name="epic100",
            root=root,
            streams={"video": StreamInfo("video")},
            classes={task: tuple(names) for task, names in classes.items()},
            mirror={task: {} for task in classes},  # in a mirror, every class is itself
            notes=notes,
            follow_links=True,  # the videos often lie on another disk
        )

    def _leave_out_missing(self, segments: _Segments, places: Mapping[str, str], root: Path) -> list[str]:
        """Keep the segments of videos that are there; what to tell of the others."""
        lost = sorted(segments.videos().keys() - places.keys())
        if not lost:
            return []
        total = len(segments.videos())
        named = ", ".join(lost[:NAMED]) + (f" and {len(lost) - NAMED:,} more" if len(lost) > NAMED else "")
        if self.missing == "error" or len(lost) == total:
            what = {"any": "a video or frame folder", "videos": "a video", "frames": "a frame folder"}
            raise DataError(
                f"{root}: {len(lost):,} of {total:,} videos are missing: {named}; expected "
                f"{what[self.footage]} of each, such as P01/videos/P01_01.MP4 or P01/rgb_frames/P01_01. Fetch them and "
                "unpack archives, or leave their segments out with data.missing=leave_out."
            )
        before = len(segments)
        segments.keep(places)
        return [
            f"epic100: {len(lost):,} of {total:,} videos are missing: {named}. Their {before - len(segments):,} of "
            f"{before:,} segments are left out."
        ]


class _Segments:
    """The rows of the lists as columns of text, one split after the other."""

    def __init__(self, classes: Mapping[str, Sequence[str]]) -> None:
        self.classes = classes
        self.columns: dict[str, list[str]] = {name: [] for name in (*SEGMENT, *LABELS, *KEPT)}
        self.splits: list[str] = []
        self.places: list[str] = []
        self.subsets: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self.splits)

    def add(self, split: str, table: Table) -> int:
        """Append a list; how many segments it has."""
        needed = SEGMENT if split == "test" else (*SEGMENT, *LABELS)
        for name in needed:
            if name not in table.names:
                raise DataError(
                    f"{table.file}, row 1: no column {name!r}; expected the columns as they were released: "
                    f"{', '.join(needed)}."
                )
        count = len(table.lines)
        for name, cells in self.columns.items():
            cells += table.column(name) if name in table.names else [""] * count
        self.splits += [split] * count
        self.places += [table.place(row) for row in range(count)]
        for row in range(len(self) - count, len(self)):
            self._translate(row, labelled=split != "test")
        return count

    def _translate(self, row: int, *, labelled: bool) -> None:
        """Time stamps become seconds, class numbers names; both are still text."""
        for name in ("participant_id", "video_id"):  # they become part of a path
            if not _PLAIN.fullmatch(self.columns[name][row]):
                raise DataError(
                    f"{self.places[row]}: {name} is {self.columns[name][row]!r}; expected one such as P01 or P01_101."
                )
        for name in ("start_timestamp", "stop_timestamp"):
            self.columns[name][row] = _seconds(self.columns[name][row], name, self.places[row])
        for name in LABELS:
            self.columns[name][row] = self._class(row, name) if labelled else ""

    def _class(self, row: int, column: str) -> str:
        """The name of the class that a row numbers."""
        cell, names = self.columns[column][row], self.classes[column.removesuffix("_class")]
        if not (cell.isascii() and cell.isdecimal() and int(cell) < len(names)):
            raise DataError(
                f"{self.places[row]}: {column} is {cell!r}; expected a number from 0 to {len(names) - 1}, as "
                f"{CLASSES[column.removesuffix('_class')][0]} has them."
            )
        return names[int(cell)]

    def require_some(self, lists: Path) -> None:
        if not self.splits:
            files = ", ".join(file for file, _ in LISTS.values())
            raise DataError(f"{lists}: none of the lists is here; expected {files}.")

    def videos(self) -> dict[str, str]:
        """Who recorded each video, in the order of the lists."""
        return dict(zip(self.columns["video_id"], self.columns["participant_id"], strict=True))

    def keep(self, videos: Mapping[str, str]) -> None:
        """Only the segments of these videos."""
        kept = [row for row, video in enumerate(self.columns["video_id"]) if video in videos]
        for cells in (*self.columns.values(), self.splits, self.places, *self.subsets.values()):
            cells[:] = [cells[row] for row in kept]

    def reported_apart(self, lists: Path) -> None:
        """The subsets of unseen people and of tail classes, as far as their lists are there."""
        unseen = {
            split: set(_identifiers(lists / file, "participant_id"))
            for split, file in UNSEEN.items()
            if (lists / file).exists()
        }
        if unseen:
            people = zip(self.splits, self.columns["participant_id"], strict=True)
            self._subset("unseen", [person in unseen.get(split, ()) for split, person in people])
        rare = {}
        for task, file in TAIL.items():
            if (lists / file).exists():
                names = {
                    self._numbered(task, cell, lists / file) for cell in _identifiers(lists / file, task)
                }
                rare[task] = [name in names for name in self.columns[f"{task}_class"]]
                self._subset(f"tail:{task}", rare[task])
        if len(rare) == len(TAIL):
            self._subset("tail:action", [any(each) for each in zip(*rare.values(), strict=True)])

    def _numbered(self, task: str, cell: str, path: Path) -> str:
        names = self.classes[task]
        if not (cell.isascii() and cell.isdecimal() and int(cell) < len(names)):
            raise DataError(
                f"{path.name}: found {cell!r}; expected numbers of the {len(names)} classes of {task}."
            )
        return names[int(cell)]

    def _subset(self, name: str, members: Sequence[bool]) -> None:
        self.subsets[SUBSET + name] = ["yes" if member else "no" for member in members]

    def rows(self, places: Mapping[str, str], rates: Mapping[str, str]) -> Rows:
        """The columns as a manifest is built from them."""
        cells = self.columns
        return Rows(
            ids=cells["narration_id"],
            files={"video": [places[video] for video in cells["video_id"]]},
            labels={task: cells[f"{task}_class"] for task in CLASSES},
            splits=self.splits,
            groups=cells["video_id"],
            starts=cells["start_timestamp"],
            stops=cells["stop_timestamp"],
            rates=[rates.get(video, "") for video in cells["video_id"]],
            metadata={KEPT[name]: cells[name] for name in KEPT} | self.subsets,
            place=self.places.__getitem__,
        )


def _seconds(stamp: str, column: str, place: str) -> str:
    """`00:05:03.37` as `303.37`, digit by digit.

    >>> _seconds("01:00:02.5", "start_timestamp", "row 2")
    '3602.5'
    """
    found = _TIME.fullmatch(stamp)
    if found is None:
        raise DataError(f"{place}: {column} is {stamp!r}; expected hours, minutes and seconds: 00:05:03.37.")
    hours, minutes, seconds, part = found.groups()
    return f"{int(hours) * 3600 + int(minutes) * 60 + int(seconds)}{part or ''}"


def _classes(path: Path) -> dict[str, int]:
    """The class names in their order, each with its number, from 0."""
    table = read_table(path, "id,key,instances,category")
    numbers: dict[str, int] = {}
    for name in ("id", "key"):
        if name not in table.names:
            raise DataError(f"{path.name}, row 1: no column {name!r}; expected id,key,instances,category.")
    for row, (number, key) in enumerate(zip(table.column("id"), table.column("key"), strict=True)):
        if number != str(row) or not key or key in numbers:
            raise DataError(
                f"{table.place(row)}: found {number!r} and {key!r}; expected {row} and the key of a class not yet "
                "named."
            )
        numbers[key] = row
    return numbers


def _identifiers(path: Path, column: str) -> Sequence[str]:
    """The one column of a short list."""
    table = read_table(path, column)
    if column not in table.names:
        raise DataError(f"{path.name}, row 1: no column {column!r}; expected the list as it was released.")
    return table.column(column)


def _find(root: Path, videos: Mapping[str, str], footage: str) -> dict[str, str]:
    """Where the footage of each video lies below root; a video that is not there is left out."""
    listed: dict[tuple[str, bool], set[str]] = {}

    def place(video: str, person: str) -> str | None:
        for frames in {"any": (False, True), "videos": (False,), "frames": (True,)}[footage]:
            names = [video] if frames else [video + ending for ending in ENDINGS]
            for home, folder in product(HOMES, FRAME_FOLDERS if frames else VIDEO_FOLDERS):
                below = home + folder.format(person=person)
                if (below, frames) not in listed:
                    listed[below, frames] = _names(root / below, folders=frames)
                for name in names:
                    if name in listed[below, frames]:
                        return below + name
        return None

    return {video: there for video, person in videos.items() if (there := place(video, person))}


def _names(folder: Path, *, folders: bool) -> set[str]:
    """The names of the files, or of the folders, in a folder; none where it is not there."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_dir() == folders}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as problem:
        raise DataError(f"{folder}: cannot be read ({problem.strerror}); mend its rights.") from None


def _rates(lists: Path, places: Mapping[str, str]) -> dict[str, str]:
    """Frames per second, as text, of the videos whose footage is a folder of frames."""
    folders = [video for video, place in places.items() if place.endswith(f"/{video}") or place == video]
    if not folders:
        return {}
    table = read_table(lists / VIDEO_INFO, "video_id,duration,fps,resolution")
    for name in ("video_id", "fps"):
        if name not in table.names:
            raise DataError(f"{table.file}, row 1: no column {name!r}; expected it as it was released.")
    rates = dict(zip(table.column("video_id"), table.column("fps"), strict=True))
    unknown = [video for video in folders if video not in rates]
    if unknown:
        raise DataError(
            f"{table.file}: no row for video {unknown[0]!r}, so the rate of its frames is not known; take the file of "
            "the release."
        )
    return {video: rates[video] for video in folders}
