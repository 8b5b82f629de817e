"""What a folder holds that is no folder of clips yet: a data set that a command has not finished, or packed files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mudra.clips import landmarks
from mudra.clips.manifest import MANIFEST_CSV
from mudra.errors import DataError
from mudra.files import names_in

IMPORT_BEGUN, IMPORT_DONE = "import.json", "montalbano.json"
_TFRECORDS = re.compile(r"(training|validation|test)-\d+-of-\d+(\.[\w.]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Work:
    """A data set that a command makes bit by bit; where it was stopped, the same command goes on.

    Attributes:
        begun: the file that is written first. done: the one that is there once all is.
        lacking: what is not complete in between.
        command: what makes it, without the folder that it makes.
    """

    begun: str
    done: str
    lacking: str
    command: str


WORKS = (
    Work(landmarks.SETTINGS, MANIFEST_CSV, "points are", "mudra data landmarks DATA"),
    Work(IMPORT_BEGUN, IMPORT_DONE, "import is", "mudra data import-tfrecord FOLDER"),
)


def refuse_unfinished(folder: Path) -> None:
    """Raise where a folder holds a data set that its command has not finished.

    Raises:
        DataError: it does.
    """
    for work in WORKS:
        if os.path.exists(folder / work.begun) and not os.path.exists(folder / work.done):
            raise DataError(
                f"{folder}: its {work.lacking} not complete; run `{work.command} {folder}` again, which goes on."
            )


def refuse_packed(folder: Path, expected: str) -> None:
    """Raise where a folder is taken for one of clips and holds S4's TFRecords.

    Args:
        expected: what it is taken for, to say so where nobody can look.
    Raises:
        DataError: it does, or it cannot be listed.
    """
    if files := tfrecord_files(folder, expected):
        raise DataError(
            f"{folder}: found TFRecords ({files[0].name}), not clips; name them as montalbano:{folder}, which imports "
            "them."
        )


def tfrecord_files(folder: Path, expected: str = "a folder of TFRecords") -> list[Path]:
    """S4's files in a folder, in their order; none where it holds none.

    Raises:
        DataError: the folder cannot be listed.
    """
    return [folder / name for name in names_in(folder, expected) if _TFRECORDS.fullmatch(name)]
