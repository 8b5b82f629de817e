"""Montalbano: 20 Italian gestures before a Kinect, cut into clips: 5,722 to train, 1,765 to validate, 2,174 to test.

Source: Escalera et al., "ChaLearn Multi-modal Gesture Recognition 2013" and "ChaLearn Looking at People Challenge
2014"; in the form of S4's TFRecords (see `montalbano_clips`), in which nobody is named, so that there are no groups.
Layout: ROOT/{training,validation,test}-NN-of-20, or a folder that `mudra data import-tfrecord` made of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mudra.clips.manifest import Manifest
from mudra.datasets.folder_contents import IMPORT_BEGUN, IMPORT_DONE
from mudra.datasets.montalbano_clips import STREAMS
from mudra.datasets.montalbano_import import facts_of, import_tfrecords, read_import
from mudra.datasets.montalbano_sorting import CLASSES
from mudra.datasets.official import release_folder
from mudra.errors import DataError
from mudra.progress import Screen
from mudra.sections import DataSettings
from mudra.types import SPLITS


class Montalbano(DataSettings):
    """The TFRecords, imported when they are first read, with the split that they bring.

    imported: the folder that they are imported into; None is beside theirs, with `-mudra` after its name.
    first_label: how the files' labels count, from 0 or from 1; None sees it from them.
    """

    kind: Literal["montalbano"] = "montalbano"
    imported: str | None = None
    first_label: Literal[0, 1] | None = None

    def class_counts(self) -> dict[str, int]:
        return {"label": len(CLASSES)}

    def point_layouts(self) -> dict[str, str]:
        return {name: info.layout for name, info in STREAMS.items() if info.layout}

    def series_channels(self) -> dict[str, int]:
        return {name: info.channels for name, info in STREAMS.items() if info.channels}

    def read(self, folder: Path | None) -> Manifest:
        """Read an import, or make it.

        Raises:
            DataError: a file is not as S4 has it.
            OutputError: the import cannot be written.
        """
        root = release_folder(folder, self.kind)
        if (root / IMPORT_BEGUN).exists() or (root / IMPORT_DONE).exists():
            return read_import(root)
        out = (
            Path(self.imported) if self.imported else root.resolve().with_name(f"{root.resolve().name}-mudra")
        )
        with Screen() as screen:
            return import_tfrecords(
                root, out, say=screen.say, first_label=self.first_label, progress=screen.progress
            )


def numbering(manifest: Manifest) -> tuple[int, frozenset[str]]:
    """What a file of answers must know: the number of the first class, and the ids of the test clips.

    Raises:
        DataError: the clips are not those of an import.
    """
    facts = facts_of(manifest.root)
    test = manifest.split(SPLITS[2])
    if not len(test):
        raise DataError(
            f"{manifest.root}: it has no test clips, which a submission answers; import them too."
        )
    return int(facts["first_label"]), frozenset(test.ids.to_pylist())
