"""One training from recipe to run: read the data, build the model, train, judge, seal the bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from mudra import bundle as bundles
from mudra.bundle import Bundle, load_weights
from mudra.clips.loader import TrainingClips
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.datasets.opening import open_data, with_classes
from mudra.errors import DataError, ModelError, MudraError, RecipeError
from mudra.models import count_parameters
from mudra.predictions import metrics
from mudra.predictions.table import PredictionTable, write
from mudra.progress import Progress, Say, silent
from mudra.recipe import Recipe
from mudra.training import checkpoints
from mudra.training.evaluation import Evaluator
from mudra.training.hardware import check_precision, choose_device, environment
from mudra.training.loop import Trainer
from mudra.training.run_folder import RunFolder
from mudra.types import SPLITS, UNLABELLED

CARD = """\
# {name}

A recogniser made by mudra from the recipe `{name}`.

## Recognises

{tasks}

## Takes

{shapes}. {parameters:,} parameters, trained on {clips:,} clips; weights: {judged}.

## Use

```python
import mudra

recognizer = mudra.load("FOLDER")
print(recognizer.predict("clip.mp4").label)
```
"""


def train(
    recipe: Recipe,
    data: str | None,
    out: Path,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    say: Say = print,
    progress: Progress = silent,
) -> RunFolder:
    """Train a recipe into a run folder and judge it on the splits that the data has.

    Args:
        data: what `--data` takes; None reads the recipe's own data set.
        resume: go on from the newest whole checkpoint in `out`.
        init_from: a run or bundle whose weights the training starts from (the heads where they fit).
    Raises:
        MudraError: with the exit code that the command ends with.
    """
    run = RunFolder(out)
    if resume and run.read_status().get("state") == "done":
        say(f"{out}: the training is done; nothing to resume.")
        return run
    device = choose_device(recipe.train.device)
    check_precision(recipe.train.precision, device)
    torch.set_float32_matmul_precision(recipe.train.matmul)

    recipe, manifest = open_data(recipe, data)
    for note in manifest.notes:
        say(note)
    bundle = _bundle_for(recipe, manifest)
    if resume:
        _refuse_other_recipe(run, recipe)
    else:
        place = str(Path(data).resolve()) if data and Path(data).exists() else data
        run.start(recipe, {**environment(recipe.train.seed), "data": place})
    step = 0
    try:
        trainer = build_trainer(recipe, manifest, bundle, run, device, say=say, progress=progress)
        if init_from is not None and not resume:
            _start_from(trainer.model, init_from, say)
        if resume:
            path, broken = checkpoints.newest(run.checkpoints)
            for reason in broken:
                say(f"warning: {reason}")
            trainer.restore(checkpoints.read(path))
            say(f"going on from step {trainer.counters.step}")
        trainer.fit()
        step = trainer.counters.step
        finish(trainer, bundle, manifest, say)
    except MudraError as problem:
        run.status("failed", step, problem.exit_code)
        raise
    run.status("done", step)
    return run


def build_trainer(
    recipe: Recipe,
    manifest: Manifest,
    bundle: Bundle,
    run: RunFolder,
    device: torch.device,
    *,
    say: Say,
    progress: Progress,
) -> Trainer:
    """The trainer of a recipe, before its first step."""
    clips = TrainingClips(manifest.split("train"), bundle.preprocessing, recipe.augment, recipe.train.seed)
    if recipe.augment.flip > 0 and not clips.may_flip:
        say(
            "horizontal flip is off: the data does not say which classes a mirror swaps. State it as `mirror` in "
            "dataset.json, or set augment.flip_is_harmless=true where no class has a side."
        )
    _refuse_unlabelled(clips.manifest)
    torch.manual_seed(recipe.train.seed)
    model = bundle.build()
    say(
        f"{recipe.name}: {count_parameters(model):,} parameters, {len(clips.manifest)} training clips, "
        f"{', '.join(f'{len(names)} classes of {task}' for task, names in bundle.tasks.items())}, on {device.type}"
    )
    validation = manifest.split("val")
    evaluator = evaluator_for(recipe, validation, bundle.preprocessing, device) if len(validation) else None
    return Trainer(recipe, model, clips, evaluator, run, device, say=say, progress=progress)


def finish(trainer: Trainer, bundle: Bundle, manifest: Manifest, say: Say) -> None:
    """Seal the chosen weights and judge them on every split that has clips; test last, and once."""
    run, recipe = trainer.run, trainer.recipe
    saved = checkpoints.read(checkpoints.folder_of(run.checkpoints, trainer.chosen_step))
    weights = saved.ema or saved.model
    load_weights(trainer.model, weights, saved.path)
    bundles.write_bundle(run.bundle, bundle, weights, card(recipe, bundle, trainer))
    for split in SPLITS:
        clips = manifest.split(split)
        if len(clips):
            evaluator = evaluator_for(
                recipe, clips, bundle.preprocessing, trainer.device, tolerant=split == "train"
            )
            record(run, split, evaluator.predict(trainer.model, trainer.progress), say)


def evaluator_for(
    recipe: Recipe,
    clips: Manifest,
    preprocessing: Preprocessing,
    device: torch.device,
    *,
    tolerant: bool = False,
    views: Views = Views(),  # noqa: B008
) -> Evaluator:
    """The evaluator of some clips, with a recipe's batch, workers and precision."""
    emulated = recipe.train.precision == "fp16" and device.type == "cpu"
    return Evaluator(
        clips,
        preprocessing,
        batch=recipe.train.batch,
        workers=recipe.train.workers,
        device=device,
        precision="fp32" if emulated else recipe.train.precision,
        views=views,
        tolerant=tolerant,
    )


def evaluate(
    run: RunFolder,
    data: str | None,
    split: str,
    *,
    views: Views = Views(),  # noqa: B008
    checkpoint: str | None = None,
    out: RunFolder | None = None,
    say: Say = print,
    progress: Progress = silent,
) -> PredictionTable:
    """Judge a trained run again: on another split, other data, more views or another checkpoint.

    Args:
        checkpoint: `best`, `last` or `step-N`; None is the bundle.
        out: where predictions and metrics are written; None is the run itself.
    Raises:
        DataError: the split is empty, or a clip cannot be read.
    """
    recipe = run.read_recipe()
    device = choose_device("auto")
    bundle = bundles.read_bundle(run.bundle)
    _, manifest = open_data(recipe, data)
    clips = with_classes(manifest.split(split), dict(bundle.tasks))
    if not len(clips):
        raise DataError(f"{manifest.name}: the split {split!r} holds no clips; choose another with --split.")
    place = _weights_of(run, checkpoint)
    model = bundle.build().to(device)
    load_weights(model, bundles.read_weights(place), place)
    torch.set_float32_matmul_precision(recipe.train.matmul)
    # the same look at each clip, with what is known of these files (their rate, say)
    preprocessing = replace(bundle.preprocessing, streams=manifest.streams)
    evaluator = evaluator_for(recipe, clips, preprocessing, device, views=views)
    table = evaluator.predict(model, progress)
    record(out or run, split, table, say)
    return table


def record(run: RunFolder, split: str, table: PredictionTable, say: Say) -> None:
    """Write a split's predictions and, where clips are labelled, its metrics."""
    write(table, run.predictions(split))
    if all((scores.truth == UNLABELLED).all() for scores in table.tasks.values()):
        say(f"{split}: {len(table)} clips without labels; predictions written, nothing to judge them by.")
        return
    found = metrics.summarise(table, split)
    metrics.write_metrics(run.metrics(split), found)
    for task, figures in found["tasks"].items():
        low, high = figures["intervals"]["top1"]
        say(
            f"{split} {task}: top-1 {figures['top1']:.1%} [{low:.1%}, {high:.1%}] over {figures['clips']} clips"
        )


def card(recipe: Recipe, bundle: Bundle, trainer: Trainer) -> str:
    """The bundle's README: what it recognises, how it was trained, how to use it."""
    tasks = "\n".join(f"- {task}: {', '.join(names)}" for task, names in bundle.tasks.items())
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in bundle.preprocessing.inputs.items())
    judged = (
        f"best of validation, top-1 {trainer.counters.best_score:.1%}"
        if trainer.counters.best_step >= 0
        else "the last, without validation"
    )
    return CARD.format(
        name=recipe.name,
        tasks=tasks,
        shapes=shapes,
        parameters=count_parameters(trainer.model),
        clips=len(trainer.clips.manifest),
        judged=judged,
    )


def _bundle_for(recipe: Recipe, manifest: Manifest) -> Bundle:
    if not len(manifest.split("train")):
        raise DataError(f"{manifest.name}: no clip is in the split 'train'; there is nothing to learn from.")
    return Bundle(
        name=recipe.name,
        model=recipe.model,
        preprocessing=Preprocessing(recipe.clip, manifest.streams),
        tasks={task: manifest.tasks[task] for task in manifest.tasks},
        split_hash=manifest.split_hash,
    )


def _refuse_unlabelled(train: Manifest) -> None:
    for task in train.tasks:
        if (train.targets(task) == UNLABELLED).all():
            raise DataError(
                f"{train.name}: no training clip has a {task}; label them or leave it out of data.tasks."
            )
        if len(train.tasks[task]) < 2:
            raise DataError(
                f"{train.name}: {task} has one class, {train.tasks[task][0]!r}; a recogniser needs at least two."
            )


def _refuse_other_recipe(run: RunFolder, recipe: Recipe) -> None:
    """Resuming must go on with the very recipe, or the result would be neither's."""
    before, now = run.read_recipe().tree(), recipe.tree()
    for section, values in now.items():
        for key in sorted(values.keys() | before[section].keys()):
            old, new = before[section].get(key), values.get(key)
            if old != new and (section, key) not in {("train", "workers"), ("train", "log_every")}:
                raise RecipeError(
                    f"{run.path}: {section}.{key} was {old!r} and is now {new!r}; resume with the recipe that began "
                    "the run, or train into another folder."
                )


def _start_from(model: nn.Module, source: Path, say: Say) -> None:
    """Take over another model's weights; heads of other classes start anew, said aloud."""
    folder = RunFolder(source).bundle_folder()
    weights = bundles.read_weights(folder / "model.safetensors")
    own = model.state_dict()
    fitting = {name: x for name, x in weights.items() if name in own and own[name].shape == x.shape}
    if not fitting:
        raise ModelError(f"{folder}: none of its weights fits this model; give the bundle of the same model.")
    anew = sorted(own.keys() - fitting.keys())
    model.load_state_dict({**own, **fitting})
    say(f"starting from {folder}" + (f"; these start anew: {', '.join(anew)}" if anew else ""))


def _weights_of(run: RunFolder, checkpoint: str | None) -> Path:
    """The weights file that `--checkpoint` names."""
    if checkpoint is None:
        return run.bundle / "model.safetensors"
    there = checkpoints.steps(run.checkpoints)
    if checkpoint == "last" and there:
        step = there[-1]
    elif checkpoint == "best" and there:
        last = checkpoints.read(checkpoints.folder_of(run.checkpoints, there[-1]))
        best = int(last.state["counters"]["best_step"])
        step = best if best >= 0 else there[-1]
    elif checkpoint.startswith("step-") and checkpoint[5:].isdecimal() and int(checkpoint[5:]) in there:
        step = int(checkpoint[5:])
    else:
        known = ", ".join(f"step-{step}" for step in there) or "none"
        raise ModelError(f"{run.path}: no checkpoint {checkpoint!r}; there are best, last, {known}.")
    folder = checkpoints.folder_of(run.checkpoints, step)
    checkpoints.verify(folder)
    averaged = folder / "ema.safetensors"
    return averaged if averaged.exists() else folder / "model.safetensors"
