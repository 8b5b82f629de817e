"""From what a user writes after --data to the clips that are trained: `DIR`, `name:DIR`, or `puppets`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mudra.clips.manifest import Manifest
from mudra.errors import DataError, UsageError, did_you_mean
from mudra.recipe import KINDS, Recipe, kind_class
from mudra.settings import parse


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
    if recipe.data.holdout is not None:
        manifest = manifest.holdout(recipe.data.holdout, recipe.train.seed)
    return recipe, manifest


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
