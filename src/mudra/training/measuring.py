"""What is measured over the training clips before the first step, and kept for all that follows.

The scale of a series' channels is written into the run when it begins, so that a resumed training, whatever has become
of the data meanwhile, goes on with the very numbers; at the end it is sealed into the bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mudra.bundle import scales_from, scales_tree
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing, open_stream
from mudra.clips.series import Scale, Series, measured
from mudra.errors import DataError, ModelError
from mudra.files import read_json, write_json
from mudra.progress import Progress, silent
from mudra.training.run_folder import RunFolder

Scales = dict[str, Scale]


def measure(preprocessing: Preprocessing, manifest: Manifest, progress: Progress = silent) -> Scales:
    """The scale of each series that asks for one, over the training clips in the manifest's order.

    A clip that cannot be read is left out here; the training counts it.

    Raises:
        DataError: not one clip of a series can be read.
    """
    train = manifest.split("train")
    return {
        name: measured(_series(preprocessing, train, name, progress))
        for name in sorted(preprocessing.unscaled)
    }


def _series(preprocessing: Preprocessing, train: Manifest, name: str, progress: Progress) -> Iterator[Series]:
    """A series of every training clip, all of its frames."""
    problem = DataError(f"{train.name}: no training clip has the stream {name!r}.")
    read = 0
    for number, clip in enumerate(train, 1):
        try:
            stream = open_stream(clip, name, preprocessing.streams[name]).read(
                lambda times: np.arange(len(times))
            )
            series = preprocessing.checked(stream, name, f"clip {clip.id!r}").values
        except DataError as failed:
            problem = failed
            continue
        read += 1
        yield series
        progress(f"measuring {name}", number, len(train))
    if not read:
        raise problem


def write_scales(run: RunFolder, scales: Mapping[str, Scale]) -> None:
    """Write the scales down as a run begins; nothing where there are none."""
    if scales:
        write_json(run.scales, scales_tree(scales))


def read_scales(run: RunFolder, preprocessing: Preprocessing) -> Scales | None:
    """The scales that a run began with; None where it was cut before they were written.

    Raises:
        ModelError: they are garbled, or not those of the data's series.
    """
    try:
        tree = read_json(run.scales)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise ModelError(f"{run.scales}: cannot be read as JSON ({problem}). Train anew.") from None
    if not isinstance(tree, dict) or set(tree) != preprocessing.unscaled:
        raise ModelError(f"{run.scales}: expected the scales of {', '.join(sorted(preprocessing.unscaled))}.")
    return scales_from(tree, preprocessing.streams, str(run.scales))
