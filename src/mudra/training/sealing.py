"""What of a training a bundle holds beside the weights: the look at a clip, the classes, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mudra import bundle as bundles
from mudra.bundle import Bundle
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing
from mudra.clips.series import Scale
from mudra.errors import DataError
from mudra.progress import Progress
from mudra.recipe import Recipe
from mudra.training import checkpoints
from mudra.training.measuring import measure, read_scales, write_scales
from mudra.training.ranks import Team
from mudra.training.run_folder import RunFolder

SPLIT = "the data's split"  # what a checkpoint calls the hash of it


def bundle_for(
    recipe: Recipe, manifest: Manifest, run: RunFolder, team: Team, progress: Progress, *, resume: bool
) -> Bundle:
    """The bundle of a training that begins, or that goes on with what was measured when it began.

    Raises:
        DataError: there is nothing to learn from.
    """
    if not len(manifest.split("train")):
        raise DataError(f"{manifest.name}: no clip is in the split 'train'; there is nothing to learn from.")
    preprocessing = Preprocessing(recipe.clip, manifest.streams)
    if preprocessing.unscaled:

        def scales() -> Mapping[str, Scale]:
            found = read_scales(run, preprocessing) if resume else None
            if found is None:
                found = measure(preprocessing, manifest, progress)
                if resume:  # it was cut before they were written
                    write_scales(run, found)
            return found

        preprocessing = replace(preprocessing, scales=team.agree(scales))
    return Bundle(
        name=recipe.name,
        model=bundles.fitted(recipe.model, preprocessing),
        preprocessing=preprocessing,
        tasks={task: manifest.tasks[task] for task in manifest.tasks},
        split_hash=manifest.split_hash,
    )


def bundle_of(
    run: RunFolder, step: int, recipe: Recipe, manifest: Manifest, team: Team, progress: Progress
) -> Bundle:
    """The bundle of a run that has none yet, because it was stopped or pruned, at one of its saved steps.

    Raises:
        DataError: the clips are not those that the run was begun with, so their classes may not be the same.
    """
    began = checkpoints.read(checkpoints.folder_of(run.checkpoints, step)).state["facts"].get(SPLIT)
    if began != manifest.split_hash:
        raise DataError(
            f"{run.path}: it has no bundle yet, and {manifest.name} is not the data that it was begun with. Judge it "
            "on that, or go on with --resume first."
        )
    return bundle_for(recipe, manifest, run, team, progress, resume=True)
