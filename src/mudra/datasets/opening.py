"""From what a user writes after --data to the clips that are trained: `DIR`, `name:DIR`, or `puppets`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from mudra.clips.folds import make_folds
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import open_stream
from mudra.errors import DataError, RecipeError, UsageError, did_you_mean
from mudra.recipe import KINDS, Recipe, kind_class
from mudra.sections import Folds
from mudra.settings import parse
from mudra.types import StreamInfo

TRIED = 16  # files that are opened to learn how many channels a series has, while they cannot be read


def parse_location(location: str) -> tuple[str | None, Path | None]:
    """Kind and folder: `jester:/data/jester`, `/data/clips` (no kind said), `puppets` (no folder needed).

    Raises:
        UsageError: a kind that mudra does not know.
    """
    kind, colon, folder = location.partition(":")
    if location in KINDS["data"] and not Path(location).exists():
        return location, None
    if not colon or Path(location).exists():
        return None, Path(location)
    if kind not in KINDS["data"]:
        raise UsageError(
            f"--data: found {location!r}; expected a folder, or name:folder with one of {', '.join(KINDS['data'])}."
            f"{did_you_mean(kind, KINDS['data'])}"
        )
    return kind, Path(folder)


def open_data(recipe: Recipe, location: str | None) -> tuple[Recipe, Manifest]:
    """Read the data of a recipe, or what the user brings in its place.

    A folder without a kind is an ordinary folder, whatever the recipe's own data set is.

    Returns:
        the recipe with the data that was really read, and the clips: only the recipe's tasks,
        validation held out where the recipe says so.
    """
    if location is None:
        folder = None
    else:
        kind, folder = parse_location(location)
        recipe = recipe.with_data(kind or "folder")
    manifest: Manifest = recipe.data.read(folder)  # type: ignore[attr-defined]
    if recipe.data.tasks is not None:
        manifest = manifest.with_tasks(recipe.data.tasks)
    if recipe.clip.missing == "leave_out":
        manifest = with_all_streams(manifest, recipe.clip.streams)
    if recipe.data.folds is not None:
        manifest = fold_of(manifest, recipe.data.folds)
    if recipe.data.holdout is not None:
        manifest = manifest.holdout(recipe.data.holdout, recipe.train.seed)
    return recipe, with_channels(manifest, recipe.clip.streams)


def with_all_streams(manifest: Manifest, names: Iterable[str]) -> Manifest:
    """The clips that have all these streams, with a note of how many do not.

    Raises:
        DataError: none has.
    """
    wanted = [name for name in names if name in manifest.files]  # of one that no clip has is told elsewhere
    whole = np.ones(len(manifest), bool)
    for name in wanted:
        whole &= np.array([bool(path) for path in manifest.files[name].to_pylist()], bool)
    if whole.all():
        return manifest
    if not whole.any():
        raise DataError(
            f"{manifest.name}: no clip has all of {', '.join(wanted)}; add files, or choose other clip.streams."
        )
    note = f"{manifest.name}: {int((~whole).sum())} of {len(whole)} clips lack a stream and are left out."
    kept = manifest.select(np.flatnonzero(whole).tolist())
    return replace(kept, notes=(*kept.notes, note))


def with_channels(manifest: Manifest, names: Iterable[str]) -> Manifest:
    """The clips, and how many channels those series have of which nobody said it: what a first file has.

    Raises:
        DataError: none of the first files of a series can be read.
    """
    streams = dict(manifest.streams)
    for name in names:
        info = streams.get(name)
        if info is not None and info.kind == "series" and info.channels is None:
            streams[name] = replace(info, channels=_channels(manifest, name, info))
    return replace(manifest, streams=streams)


def _channels(manifest: Manifest, name: str, info: StreamInfo) -> int:
    problem = DataError(f"{manifest.name}: no clip has the stream {name!r}.")
    there = (clip for clip in manifest if name in clip.streams)
    for clip in islice(there, TRIED):
        try:
            first = open_stream(clip, name, info).read(lambda _times: np.zeros(1, np.int64))
        except DataError as failed:
            problem = failed
            continue
        return int(first.values.shape[1])
    raise problem


def folds_of(recipe: Recipe, location: str | None) -> list[Recipe]:
    """The recipe of each fold of a cross-validation."""
    wanted = recipe.data.folds
    if wanted is None:
        raise ValueError("a recipe without folds")
    whole = replace(recipe, data=recipe.data.model_copy(update={"folds": None, "holdout": None}))
    _, manifest = open_data(whole, location)
    count = len(make_folds(manifest, wanted.count, wanted.by, wanted.seed))
    tests = [wanted.model_copy(update={"test": number}) for number in range(1, count + 1)]
    return [replace(recipe, data=recipe.data.model_copy(update={"folds": test})) for test in tests]


def fold_of(manifest: Manifest, wanted: Folds) -> Manifest:
    """The clips told apart as one fold has them.

    Raises:
        RecipeError: there is no fold of this number, or none was said.
    """
    folds = make_folds(manifest, wanted.count, wanted.by, wanted.seed)
    if wanted.test is None or wanted.test > len(folds):
        raise RecipeError(
            f"data.folds.test: found {wanted.test}; expected one of the folds 1 to {len(folds)}. A cross-validation "
            "as a whole has no split of its own: name the run of a fold, such as RUN/fold-01."
        )
    return folds[wanted.test - 1]


def read_location(location: str) -> Manifest:
    """The clips of a place as they stand, without any recipe's wishes."""
    kind, folder = parse_location(location)
    settings = parse(kind_class("data", kind or "folder", "--data"), {"kind": kind or "folder"}, "--data")
    manifest: Manifest = settings.read(folder)
    return manifest


def with_classes(manifest: Manifest, tasks: dict[str, tuple[str, ...]]) -> Manifest:
    """The clips with classes numbered as a model numbers them, whatever their order in the data.

    Raises:
        DataError: the data lacks a task, or labels a clip with a class that the model does not know.
    """
    manifest = manifest.with_tasks(list(tasks))
    labels = {}
    for task, names in tasks.items():
        number_of = {name: number for number, name in enumerate(names)}
        old = manifest.tasks[task]
        numbers = manifest.labels[task].copy()
        for number in sorted(set(numbers[numbers >= 0].tolist())):
            if old[number] not in number_of:
                raise DataError(
                    f"{manifest.name}: {task} {old[number]!r} is not one of the {len(names)} classes that the model "
                    f"knows.{did_you_mean(old[number], names)} Train with it, or leave those clips out."
                )
            numbers[manifest.labels[task] == number] = number_of[old[number]]
        labels[task] = numbers
    return replace(manifest, tasks=dict(tasks), labels=labels, mirror={})
