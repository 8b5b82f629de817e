"""Data that a user brings: a folder with a `manifest.csv`, or a folder for each class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from mudra.clips.manifest import MANIFEST_CSV, Manifest, read_folder, read_manifest
from mudra.datasets.folder_contents import refuse_packed, refuse_unfinished
from mudra.errors import DataError
from mudra.sections import DataSettings
from mudra.settings import Count

EXPECTED = f"one with a {MANIFEST_CSV} or a folder per class"


class Folder(DataSettings):
    """`DIR/manifest.csv` where there is one, else `DIR/<class>/<clip>` or `DIR/<split>/<class>/<clip>`.

    manifest: the manifest to read, such as `manifest-fold-01.csv`; None takes `manifest.csv` if it is there.
    split_seed: draws train, val and test where the data brings no split.
    follow_links: let a clip be a link that leads out of the folder.
    """

    kind: Literal["folder"] = "folder"
    manifest: str | None = None
    split_seed: Count = 0
    follow_links: bool = False

    def read(self, folder: Path | None) -> Manifest:
        """Read the data set, and tell its clips apart into splits where it does not.

        Raises:
            DataError: the folder is absent, or what it holds is wrong.
        """
        if folder is None:
            raise DataError("data: kind 'folder' needs a folder; name one with --data DIR.")
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; expected {EXPECTED}.")
        file = self.manifest
        if file is None and os.path.exists(folder / MANIFEST_CSV):  # no error where nobody may look
            file = MANIFEST_CSV
        if file is None:
            refuse_unfinished(folder)
            refuse_packed(folder, EXPECTED)
            manifest = read_folder(folder, follow_links=self.follow_links)
        else:
            manifest = read_manifest(folder, file, follow_links=self.follow_links)
        return manifest.with_splits(self.split_seed)
