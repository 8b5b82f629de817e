"""What official releases have in common: lists of text lines, and a folder of videos for each class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mudra.clips.manifest import Manifest
from mudra.clips.table import Rows, build
from mudra.errors import DataError
from mudra.types import StreamInfo

Fold = Annotated[int, Field(ge=1, le=3)]  # not a Literal, to which True would be 1
"""Which of a release's three splits."""


@dataclass(frozen=True)
class Listing:
    """The clips that a release's lists name, one row a clip; classes have no side.

    Attributes:
        files: path below the release's folder.
        places: file and line of each row, to begin an error with.
    """

    ids: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def add(self, *, id: str, file: str, label: str, group: str, split: str, place: str) -> None:
        self.ids.append(id)
        self.files.append(file)
        self.labels.append(label)
        self.groups.append(group)
        self.splits.append(split)
        self.places.append(place)

    def manifest(
        self, name: str, root: Path, classes: Sequence[str], released: tuple[int, int, int]
    ) -> Manifest:
        """Check the rows against each other.

        Args:
            released: how many classes, training clips and test clips there should be; a note tells
                where somebody's selection has others.
        Raises:
            DataError: a clip stands there twice, or a group in two splits.
        """
        rows = Rows(
            ids=self.ids,
            files={"video": self.files},
            labels={"label": self.labels},
            groups=self.groups,
            splits=self.splits,
            place=self.places.__getitem__,
        )
        found = (len(classes), self.splits.count("train"), self.splits.count("test"))
        return build(
            rows,
            name=name,
            root=root,
            streams={"video": StreamInfo("video")},
            classes={"label": classes},
            mirror={"label": {}},  # in a mirror, every class is itself
            notes=count_notes(name, found, released),
            follow_links=True,  # the videos often lie on another disk
        )


def count_notes(name: str, found: tuple[int, int, int], released: tuple[int, int, int]) -> list[str]:
    """What to say where classes, training and test clips are not as many as were released."""
    counts = ["{:,} classes, {:,} training and {:,} test clips".format(*each) for each in (found, released)]
    return [f"{name}: the lists name {counts[0]}; the release has {counts[1]}."] if found != released else []


def release_folder(folder: Path | None, kind: str) -> Path:
    """The folder of a release, which the user must name."""
    if folder is None:
        raise DataError(f"data: kind {kind!r} needs the folder of the release; name it with {kind}:DIR.")
    return Path(folder)


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a list, without empty ones at its end.

    Args:
        expected: what the release holds, for the error where the file is absent.
    Raises:
        DataError: it is absent, empty, or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: not there; expected {expected}.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(
            f"{path}: cannot be read ({problem}); expected the file as it was released."
        ) from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{path}: the file is empty; expected it as it was released.")
    return lines


def lists_folder(root: Path, official: str, sign: str, expected: str) -> Path:
    """Where a release's lists lie: below root, in root, beside root, or in a folder of another name.

    Args:
        official: the folder's own name.
        sign: pattern of a file that tells the folder.
    Raises:
        DataError: no such folder, or several.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected {expected}.")
    beside = Path(os.path.abspath(root)).parent / official
    for folder in (root / official, root, beside):
        if _holds(folder, sign):
            return folder
    others = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and _holds(folder, sign)]
    if len(others) > 1:
        raise DataError(
            f"{root}: lists lie in {others[0].name!r} and in {others[1].name!r}; call the right folder {official!r}."
        )
    if not others:
        raise DataError(f"{root}: no {sign} in it, in {official} or beside it; expected {expected}.")
    return others[0]


def _holds(folder: Path, sign: str) -> bool:
    return any(not file.name.startswith(".") for file in folder.glob(sign))


def class_folders(root: Path, official: str, classes: Sequence[str]) -> Mapping[str, str]:
    """The folder of each class's videos, below root: in `official` (some unpack it one deeper) or in root.

    Copies differ in the case of a name ("HandStandPushups"), so a folder that differs in nothing else is taken.

    Raises:
        DataError: no class has a folder.
    """
    for below in (f"{official}/{official}/", f"{official}/", ""):
        try:
            with os.scandir(root / below) as entries:
                there = {entry.name for entry in entries if entry.is_dir()}
        except (FileNotFoundError, NotADirectoryError):
            continue
        alike = {name.casefold(): name for name in sorted(there)}
        if any(name.casefold() in alike for name in classes):
            return {
                name: below + (name if name in there else alike.get(name.casefold(), name))
                for name in classes
            }
    raise DataError(
        f"{root / official}: no class has a folder here; expected the clips of {classes[0]!r} in "
        f"{official}/{classes[0]} or {classes[0]}. Unpack the release's archives there."
    )
