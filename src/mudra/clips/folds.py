"""Splits and folds as files: what `mudra data split` writes, and what `--folds` trains on.

DATA/manifest.csv            one split
DATA/manifest-fold-01.csv    fold 1 of a cross-validation: its clips are test, all others train
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mudra.clips import splits
from mudra.clips.manifest import MANIFEST_CSV, Manifest, write_manifest
from mudra.errors import DataError
from mudra.types import SPLITS

FOLD_CSV = "manifest-fold-{:02d}.csv"


def make_folds(manifest: Manifest, count: int | None, by: str = "group", seed: int = 0) -> list[Manifest]:
    """The data set once per fold, where the fold is test and the rest is train.

    Args:
        count: how many folds; None leaves out one group at a time.
        by: what must stay together, "group" or "clip".
    Raises:
        DataError: fewer groups than folds, or a clip without a group where each group is a fold.
    """
    if count is None:
        groups = manifest.groups.to_pylist()
        if "" in groups:
            clip = manifest.ids[groups.index("")].as_py()
            raise DataError(
                f"{manifest.name}: clip {clip!r} has no group, so no group can be left out at a time; "
                "fill the column, or ask for a number of folds."
            )
        fold, names = splits.leave_one_out(groups)
        titles = [f"group {name!r} is test" for name in names]
    else:
        units = manifest.units(by)
        there = len(set(units))
        if not 2 <= count <= there:
            raise DataError(
                f"{manifest.name}: {count} folds of {there} {by}s; expected 2 or more, at most one per {by}."
            )
        fold = splits.k_fold(units, list(manifest.labels.values()), count, seed)
        titles = [f"seed {seed}"] * count
    if len(titles) < 2:
        raise DataError(f"{manifest.name}: a single group leaves nothing to train on; expected two or more.")
    test, train = SPLITS.index("test"), SPLITS.index("train")
    return [
        manifest.with_split_codes(
            np.where(fold == number, test, train).astype(np.int8),
            f"{manifest.name}: fold {number + 1} of {len(titles)}, {title}.",
        )
        for number, title in enumerate(titles)
    ]


def write_split(manifest: Manifest, *, replace: bool = False) -> Path:
    """Write the manifest into its data set's folder, where its paths lead from.

    Args:
        replace: overwrite a `manifest.csv` that is there.
    """
    return _write([manifest], [MANIFEST_CSV], replace)[0]


def write_folds(manifests: Sequence[Manifest], *, replace: bool = False) -> list[Path]:
    """Write one manifest a fold. Train on the first with `data.manifest=manifest-fold-01.csv`."""
    return _write(manifests, [FOLD_CSV.format(number) for number in range(1, len(manifests) + 1)], replace)


def _write(manifests: Sequence[Manifest], names: Sequence[str], replace: bool) -> list[Path]:
    paths = [manifests[0].root / name for name in names]
    there = next((path for path in paths if path.exists()), None)
    if there is not None and not replace:
        raise DataError(f"{there}: is there already; keep it, or say --replace to write over it.")
    describe = not (manifests[0].root / "dataset.json").exists()  # the user's own words are left alone
    for manifest, name in zip(manifests, names, strict=True):
        write_manifest(manifest, manifest.root, name, describe=describe)
    return paths
