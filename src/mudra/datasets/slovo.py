"""Slovo: Russian Sign Language, 1,000 signs of 20 videos each and 400 videos without any, by 194 people.

Source: Kapitanov, Kvanchiani, Nagaev and Petrova, "Slovo: Russian Sign Language dataset", ICVS 2023, arXiv:2305.14527.
Layout: ROOT/annotations.csv, separated by tabs (`attachment_id user_id width height length text train begin end`, the
last two not everywhere), and the videos ROOT/train/<attachment_id>.mp4 and ROOT/test/<attachment_id>.mp4, or all of
them in ROOT or ROOT/videos. `begin` and `end` are frames of the sign in the videos as they were recorded; the usual
release is cut to them already.
Groups: the release says that its split keeps the people (`user_id`) apart, 15,300 training and 5,100 test videos. There
is no validation split, so none is used unless `data.holdout` carves one out of train.
Classes: the authors number them in their repository. As ROOT/classes.json, {"0": "Ё", "1": "А", ...}, their list gives
the order of the classes here; without it they are sorted by name. `no_event`, "---" in the list, is always last.
Points: `mudra data landmarks slovo:DIR OUT` finds them; OUT may then stand for the release, as slovo:OUT.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mudra.clips.cells import Table, read_table
from mudra.clips.manifest import MANIFEST_CSV, Manifest, read_manifest
from mudra.clips.table import Rows, build, complete_mirror
from mudra.datasets.folder_contents import refuse_unfinished
from mudra.datasets.official import count_notes, release_folder
from mudra.errors import DataError, did_you_mean
from mudra.files import read_json
from mudra.sections import DataSettings
from mudra.sources.containers import opened
from mudra.sources.limits import DEFAULT_LIMITS
from mudra.types import UNLABELLED, StreamInfo

ANNOTATIONS = "annotations.csv"
CLASSES = "classes.json"
NEEDED = ("attachment_id", "user_id", "text", "train")
KEPT = ("width", "height", "length", "begin", "end")
SPLITS: Mapping[str, str] = {"True": "train", "False": "test"}
NOTHING = "no_event"
MIRROR: Mapping[str, str] = {"левый": "правый"}
"""Left and right. Any other sign is the same when the other hand makes it."""

RELEASED: Mapping[int, tuple[int, int, int]] = {
    500: (500, 7_500, 2_500),
    1000: (1_000, 15_000, 5_000),
    1001: (1_001, 15_300, 5_100),
}
"""By `classes`: classes, training clips, test clips."""

_NUMBER = re.compile(r"[0-9]{1,9}(\.0)?")  # pandas writes 30.0 where another row is empty


class Slovo(DataSettings):
    """The release of Slovo, or a folder that a command of mudra made from it (`data landmarks`, `data cache`).

    classes: 1001 is everything; 1000 leaves `no_event` out; 500 is the first 500 signs in the order of the classes (the
        release has no such part).
    videos: `trimmed` files hold the sign alone; of `whole` ones, as they were recorded, frames `begin` to `end`.
    absent: what to do about videos that are not there: an `error`, `skip` the clips and say how many, or `keep` them
        (for points that come from elsewhere).
    signers: `apart` refuses a person in both splits; `as_released` takes the split as it stands, without groups.
    """

    kind: Literal["slovo"] = "slovo"
    classes: Literal[500, 1000, 1001] = 1001
    videos: Literal["trimmed", "whole"] = "trimmed"
    absent: Literal["error", "skip", "keep"] = "error"
    signers: Literal["apart", "as_released"] = "apart"

    def class_counts(self) -> dict[str, int]:
        return {"label": self.classes}

    def read(self, folder: Path | None) -> Manifest:
        """Read the annotations, and which videos are there.

        Raises:
            DataError: a file is absent, or a row is not as it was released.
        """
        root = release_folder(folder, self.kind)
        for below in (root, root / "slovo"):
            if (below / ANNOTATIONS).is_file():
                manifest = self._cut(self._part(self._release(below)))
                break
        else:
            refuse_unfinished(root)
            if not (root / MANIFEST_CSV).is_file():
                raise DataError(
                    f"{root / ANNOTATIONS}: not there; expected the release, or a folder that `mudra data landmarks` "
                    "made from it."
                )
            manifest = self._part(read_manifest(root))
        found = (len(manifest.tasks["label"]), len(manifest.split("train")), len(manifest.split("test")))
        return replace(
            manifest, notes=(*manifest.notes, *count_notes("slovo", found, RELEASED[self.classes]))
        )

    def _release(self, root: Path) -> Manifest:
        """Everything that was released."""
        table = read_table(
            root / ANNOTATIONS, " ".join((*NEEDED[:2], *KEPT[:3], *NEEDED[2:])), separator="\t"
        )
        for name in NEEDED:
            if name not in table.names:
                hint = did_you_mean(name, table.names)
                raise DataError(f"{ANNOTATIONS}, row 1: no column {name!r}; found {list(table.names)}.{hint}")
        ids, people, labels, train = (table.column(name) for name in NEEDED)
        _check_cells(table)
        splits = [SPLITS[cell] for cell in train]
        files, notes = self._videos(root, table, ids, splits)
        rows = [row for row, file in enumerate(files) if file]
        names = _class_list(root / CLASSES) or _classes_seen(table, labels, splits)
        wanted = {
            "ids": ids,
            "labels": labels,
            "splits": splits,
            "files": files,
            "groups": self._groups(table, people, splits),
        }
        cells = {key: [column[row] for row in rows] for key, column in wanted.items()}
        return build(
            Rows(
                ids=cells["ids"],
                files={"video": cells["files"]},
                labels={"label": cells["labels"]},
                splits=cells["splits"],
                groups=cells["groups"],
                metadata={
                    name: [table.column(name)[row] for row in rows]
                    for name in ("user_id", *KEPT)
                    if name in table.names
                },
                place=lambda row: table.place(rows[row]),
            ),
            name="slovo",
            root=root,
            streams={"video": StreamInfo("video")},
            classes={"label": names},
            notes=notes,
            follow_links=True,  # the videos often lie on another disk
        )

    def _groups(self, table: Table, people: Sequence[str], splits: Sequence[str]) -> Sequence[str]:
        """Who signs; nobody where the split is taken as it stands."""
        if self.signers == "as_released":
            return [""] * len(people)
        first: dict[str, int] = {}
        for row, person in enumerate(people):
            before = first.setdefault(person, row)
            if splits[before] != splits[row]:
                raise DataError(
                    f"{table.place(row)}: user_id {person!r} is in {splits[row]} here and in {splits[before]} at "
                    f"{table.place(before)}; the release says that its split keeps people apart. Take {ANNOTATIONS} as "
                    "it was released, or set data.signers=as_released to test on people who were trained on."
                )
        return people

    def _videos(
        self, root: Path, table: Table, ids: Sequence[str], splits: Sequence[str]
    ) -> tuple[list[str], list[str]]:
        """Where each row's video lies below root, "" where it is not there; and what to say of those."""
        if self.absent == "keep":
            return [f"{split}/{name}.mp4" for name, split in zip(ids, splits, strict=True)], []
        there = {below: _names(root / below) for below in ("train", "test", "videos", "")}
        if not any(there.values()):
            raise DataError(
                f"{root}: no video in it; expected {splits[0]}/{ids[0]}.mp4 and so on. Unpack the release there."
            )
        files = []
        for name, split in zip(ids, splits, strict=True):
            below = next((below for below in (split, *there) if f"{name}.mp4" in there[below]), None)
            files.append("" if below is None else f"{below}/{name}.mp4".lstrip("/"))
        absent = [row for row, file in enumerate(files) if not file]
        if not absent:
            return files, []
        if self.absent == "error":
            row = absent[0]
            raise DataError(
                f"{table.place(row)}: its video {splits[row]}/{ids[row]}.mp4 is not there, as {len(absent):,} of "
                f"{len(files):,} are not. Unpack the whole release, or set data.absent=skip to do without them."
            )
        return files, [
            f"slovo: {len(absent):,} of {len(files):,} clips are left out, whose videos are not there."
        ]

    def _part(self, manifest: Manifest) -> Manifest:
        """The clips of the classes that are wanted, numbered anew."""
        known = manifest.classes("label")
        signs = [name for name in known if name != NOTHING][: self.classes]
        names = [*signs, *(name for name in known if name == NOTHING and self.classes == 1001)]
        renumbered = np.full(len(known) + 1, -1)  # the last place is for clips without a label
        renumbered[[known.index(name) for name in names]] = np.arange(len(names))
        renumbered[-1] = UNLABELLED
        old = manifest.targets("label")
        numbers = renumbered[np.where(old == UNLABELLED, len(known), old)]
        kept = np.flatnonzero(numbers != -1)
        pairs = {one: other for one, other in MIRROR.items() if one in names or other in names}
        whole = all(one in names and other in names for one, other in pairs.items())
        notes = list(manifest.notes)
        if self.classes == 500 and len(known) > 500:
            notes.append(
                f"slovo: 500 classes are the first signs of {len(known):,}, {names[0]!r} to {names[-1]!r}."
            )
        part = replace(manifest, labels={**manifest.labels, "label": numbers}).select(kept)
        tasks = {**manifest.tasks, "label": tuple(names)}
        mirror = complete_mirror({"label": pairs}, tasks, "slovo") if whole else {}
        return replace(part, tasks=tasks, mirror=mirror, notes=tuple(notes))

    def _cut(self, manifest: Manifest) -> Manifest:
        """The sign alone of videos as they were recorded."""
        if self.videos == "trimmed":
            return manifest
        begin, end = (_frames(manifest, name) for name in ("begin", "end"))
        for row in np.flatnonzero(~(begin < end) & ~(np.isnan(begin) & np.isnan(end))):
            raise DataError(
                f"{ANNOTATIONS}, clip {manifest.ids[row].as_py()!r}: found begin {begin[row]:g} and end {end[row]:g}; "
                "expected frames, the first before the last. Mend the row, or set data.videos=trimmed."
            )
        paths = [path for row in range(len(manifest)) if (path := manifest.path("video", row)) is not None]
        with ThreadPoolExecutor(8) as pool:
            rates = np.fromiter(pool.map(_rate, paths), np.float64, len(paths))
        return replace(manifest, starts=begin / rates, stops=end / rates)


def _check_cells(table: Table) -> None:
    """What no later check knows of."""
    for name in NEEDED:
        for row, cell in enumerate(table.column(name)):
            if not cell.strip() or not cell.isprintable():
                raise DataError(
                    f"{table.place(row)}: {name} is {cell!r}; expected text in UTF-8. Take the row as it was released."
                )
    for row, cell in enumerate(table.column("train")):
        if cell not in SPLITS:
            raise DataError(f"{table.place(row)}: train is {cell!r}; expected True or False, as released.")


def _class_list(path: Path) -> list[str] | None:
    """The classes in the authors' order; None where their list is not there.

    Raises:
        DataError: it is something else.
    """
    try:
        tree = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: cannot be read ({problem}); expected the list of classes.") from None
    numbers = [str(number) for number in range(len(tree))] if isinstance(tree, dict) else []
    if (
        not numbers
        or list(tree) != numbers
        or not all(isinstance(name, str) and name for name in tree.values())
    ):
        raise DataError(
            f'{path}: not a list of classes; expected {{"0": "Ё", "1": "А", ...}}, numbered from 0.'
        )
    names = [NOTHING if name == "---" else name for name in tree.values()]
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise DataError(f"{path}: class {twice!r} is listed twice; take the list as it was released.")
    return names


def _classes_seen(table: Table, labels: Sequence[str], splits: Sequence[str]) -> list[str]:
    """The classes that the rows themselves tell, whether or not their videos are there.

    Raises:
        DataError: one is never trained on, as a misspelt one would be.
    """
    trained = {label for label, split in zip(labels, splits, strict=True) if split == "train"} or set(labels)
    for row, label in enumerate(labels):
        if label not in trained:
            raise DataError(
                f"{table.place(row)}: text {label!r} is in test but never in train.{did_you_mean(label, trained)} "
                f"Correct it, or put the authors' list of classes beside it as {CLASSES}."
            )
    return sorted(trained)


def _names(folder: Path) -> frozenset[str]:
    """The videos that lie in a folder."""
    try:
        return frozenset(entry.name for entry in folder.iterdir() if entry.suffix == ".mp4")
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as problem:
        raise DataError(f"{folder}: cannot be read ({problem.strerror}); expected the release.") from None


def _frames(manifest: Manifest, name: str) -> NDArray[np.float64]:
    """A column of frame numbers, NaN where a cell is empty: some videos hold nothing but the sign."""
    if name not in manifest.metadata:
        raise DataError(
            f"{ANNOTATIONS}: no column {name!r}, by which whole videos are cut; set data.videos=trimmed."
        )
    cells = manifest.metadata[name].to_pylist()
    for row, cell in enumerate(cells):
        if cell and not _NUMBER.fullmatch(cell):
            raise DataError(
                f"{ANNOTATIONS}, clip {manifest.ids[row].as_py()!r}: {name} is {cell!r}; expected a frame's number. "
                "Take the row as it was released."
            )
    return np.array([float(cell) if cell else np.nan for cell in cells])


def _rate(path: Path) -> float:
    """Frames a second of a video, from its header."""
    with opened(path, DEFAULT_LIMITS, threads=1) as video:
        rate = video.stream.average_rate
    if not rate:
        raise DataError(
            f"{path}: it does not tell its frame rate, by which begin and end are turned into seconds."
        )
    return float(rate)
