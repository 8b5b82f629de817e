"""Judging trained weights: which clips, which weights, what is written down of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mudra import bundle as bundles
from mudra.bundle import Bundle, load_weights
from mudra.clips.loader import Clips
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.datasets.opening import open_data, with_classes
from mudra.errors import DataError, ModelError
from mudra.predictions import metrics
from mudra.predictions.calibrating import acceptance, table_at
from mudra.predictions.table import PredictionTable, write
from mudra.progress import Progress, Say, silent
from mudra.recipe import Recipe
from mudra.training import checkpoints
from mudra.training.evaluation import Evaluator
from mudra.training.hardware import choose_device, evaluation_precision
from mudra.training.ranks import Team
from mudra.training.run_folder import RunFolder
from mudra.training.sealing import bundle_of
from mudra.types import SPLITS, UNLABELLED

AS_THE_BUNDLE: Mapping[str, str] = {}


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
        checkpoint: `best`, `last` or `step-N`, also of a run that was stopped or pruned; None is the bundle.
        out: where predictions and metrics are written; None is the run itself.
    Raises:
        DataError: the split is empty, or a clip cannot be read.
        ModelError: there is no such checkpoint, or no bundle.
    """
    recipe = run.read_recipe()
    team = Team(choose_device("auto"))
    whole = checkpoint is None or (run.bundle / "config.json").is_file()
    bundle = bundles.read_bundle(run.bundle) if whole else None
    _, manifest = open_data(recipe, data)
    place = weights_of(run, checkpoint)
    if bundle is None:
        step = int(place.parent.name.removeprefix("step-"))
        bundle = bundle_of(run, step, recipe, manifest, team, progress)
    clips = with_classes(manifest.split(split), dict(bundle.tasks))
    if not len(clips):
        raise DataError(f"{manifest.name}: the split {split!r} holds no clips; choose another with --split.")
    model = bundle.build().to(team.device)
    load_weights(model, bundles.read_weights(place), place)
    torch.set_float32_matmul_precision(recipe.train.matmul)
    # the same look at each clip, with what is known of these files (their rate, say)
    preprocessing = bundle.preprocessing.on(manifest.streams)
    table = evaluator_for(recipe, clips, preprocessing, team, views=views).predict(model, progress)
    if checkpoint is None:
        table = as_sealed(table, bundle)
    elif bundle.calibration:
        say(f"{checkpoint}: the bundle's calibration belongs to its own weights; these are judged without.")
    record(out or run, split, table, say, judged=_unlike_the_bundle(checkpoint, views))
    if checkpoint is None:
        tell_calibrated(table, split, bundle, say)
    return table


def judge_splits(
    run: RunFolder,
    recipe: Recipe,
    model: nn.Module,
    manifest: Manifest,
    preprocessing: Preprocessing,
    team: Team,
    *,
    say: Say,
    progress: Progress,
    check: Callable[[], None],
) -> None:
    """Judge a model on every split that has clips; test last, and once."""
    for split in SPLITS:
        clips = manifest.split(split)
        if len(clips):
            evaluator = evaluator_for(recipe, clips, preprocessing, team, tolerant=split == "train")
            table = evaluator.predict(model, progress, check)
            if team.leads:
                record(run, split, table, say)


def evaluator_for(
    recipe: Recipe,
    clips: Manifest,
    preprocessing: Preprocessing,
    team: Team,
    *,
    tolerant: bool = False,
    views: Views = Views(),  # noqa: B008
    looked_at: Clips | None = None,
) -> Evaluator:
    """The evaluator of some clips, with a recipe's batch, workers and precision."""
    return Evaluator(
        clips,
        preprocessing,
        batch=recipe.train.batch,
        workers=recipe.train.workers,
        team=team,
        precision=evaluation_precision(recipe, team.device),
        views=views,
        tolerant=tolerant,
        limit=recipe.train.read_limit,
        looked_at=looked_at,
    )


def _unlike_the_bundle(checkpoint: str | None, views: Views) -> dict[str, str]:
    """In what a judging differs from how the bundle answers a file: its weights, its looks."""
    looks = {} if views == Views() else {"views": f"{views.clips}x{views.crops}"}
    return ({} if checkpoint is None else {"checkpoint": checkpoint}) | looks


def record(
    run: RunFolder, split: str, table: PredictionTable, say: Say, judged: Mapping[str, str] = AS_THE_BUNDLE
) -> None:
    """Write a split's predictions and, where clips are labelled, its metrics.

    Args:
        judged: what else than the bundle's own answers these are; the metrics keep it, for no calibration is theirs.
    """
    write(table, run.predictions(split))
    if all((scores.truth == UNLABELLED).all() for scores in table.tasks.values()):
        say(f"{split}: {len(table)} clips without labels; predictions written, nothing to judge them by.")
        return
    found = metrics.summarise(table, split)
    metrics.write_metrics(run.metrics(split), found | ({"judged": dict(judged)} if judged else {}))
    for name, part in {"": found, **found.get("subsets", {})}.items():
        for task, figures in metrics.tasks_of(part).items():
            if figures["top1"] is not None:
                say(f"{split} {task}{f', {name}' if name else ''}: {_top1(figures)}")
    _compare_train_with_val(run, say)


def as_sealed(table: PredictionTable, bundle: Bundle) -> PredictionTable:
    """What the bundle answers, given what its model said."""
    return table_at(table, {task: own.temperature for task, own in bundle.calibration.items()})


def tell_calibrated(table: PredictionTable, split: str, bundle: Bundle, say: Say) -> None:
    """Say what the bundle's temperatures change in the figures, how many clips are believed at its thresholds, and how
    many of those are right.

    Args:
        table: as the bundle answers.
    """
    parts = (table_at(table, {}), table) if bundle.calibration else ()
    figures = [metrics.summarise(part, split, resamples=0)["tasks"] for part in parts]
    for task, scores in table.tasks.items():
        if task in bundle.calibration and (scores.truth != UNLABELLED).any():
            error, loss = (
                " to ".join(f"{each[task][name]:{form}}" for each in figures)
                for name, form in (("ece", ".1%"), ("loss", ".3f"))
            )
            say(f"{split} {task}: calibration error {error}, loss {loss}")
        threshold = bundle.threshold(task)
        found = acceptance(scores, threshold) if threshold else None
        if found is not None:
            share, right = found
            say(
                f"{split} {task}: {share:.1%} of the clips are accepted, {right:.1%} of these are right; below "
                f"{threshold:.3f} it is none of these"
            )


def _top1(figures: Mapping[str, Any]) -> str:
    bounds = figures["intervals"].get("top1")
    interval = f" [{bounds[0]:.1%}, {bounds[1]:.1%}]" if bounds else ""
    return f"top-1 {figures['top1']:.1%}{interval} over {figures['clips']} clips"


def _compare_train_with_val(run: RunFolder, say: Say) -> None:
    """Write the overfitting gap into the metrics of val, where train has some too."""
    places = [run.metrics(split) for split in ("train", "val")]
    if not all(place.is_file() for place in places):
        return
    train, val = map(metrics.read_metrics, places)
    gaps = metrics.overfitting_gap(train, val)
    if gaps == val.get("overfitting_gap", {}):
        return
    metrics.write_metrics(places[1], {**val, "overfitting_gap": gaps})
    told = (f"{task} {100 * gap['top1']:+.1f} points" for task, gap in gaps.items())
    say(f"overfitting gap, top-1 of train less that of val: {', '.join(told)}")


def weights_of(run: RunFolder, checkpoint: str | None) -> Path:
    """The weights file that `--checkpoint` names; None is the bundle's.

    Raises:
        ModelError: there is no such checkpoint, or it is not whole.
    """
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
