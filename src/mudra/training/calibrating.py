"""`mudra calibrate`: a run's temperature and threshold, fitted on its validation clips and sealed into its bundle."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from mudra import bundle as bundles
from mudra.bundle import Bundle
from mudra.calibration import Calibration
from mudra.errors import DataError, ModelError
from mudra.predictions import PredictionTable, TaskScores, read, read_metrics
from mudra.predictions.calibrating import (
    at_temperature,
    fit_temperature,
    fit_threshold,
)
from mudra.progress import Say
from mudra.training.judging import as_sealed, record, tell_calibrated
from mudra.training.run_folder import RunFolder
from mudra.types import SPLITS

Wanted = tuple[Literal["share", "accuracy"], float]


def calibrate(run: RunFolder, wanted: Wanted | None = None, *, say: Say = print) -> Bundle:
    """Fit each task's temperature on the run's validation predictions, and a threshold where one is wanted.

    The bundle is written first; then the saved predictions and metrics of every split, which so tell what the bundle
    answers. Each prediction file says at which temperature it was written, so that a calibration that was
    interrupted, or is repeated, starts from the model's own scores.

    Args:
        wanted: ("share", 0.95) accepts at least 95 % of the validation clips and calls the others none of these;
            ("accuracy", 0.98) accepts as many as it can while 98 % of those accepted are right. None rejects nothing.
    Raises:
        ModelError: there is no bundle.
        DataError: validation has no labelled clips, or some that were trained on; or no threshold gives what is wanted.
    """
    if run.fold(1).path.is_dir() and not run.bundle.is_dir():
        raise ModelError(
            f"{run.path}: a cross-validation has a bundle in each fold; calibrate {run.fold(1).path}."
        )
    bundle = bundles.read_bundle(run.bundle)
    place = run.predictions("val")
    if not place.is_file():
        raise DataError(
            f"{run.path}: there are no predictions of validation clips, and test is never fitted on; make them with "
            "`mudra evaluate RUN --split val`."
        )
    validation = read(place)
    _refuse_other_classes(validation, bundle, str(place))
    _refuse_other_answers(run, str(place))
    _refuse_seen_clips(validation, run)
    calibration = {
        task: _fit(scores, wanted, f"{place}, task {task!r}", task, say)
        for task, scores in validation.tasks.items()
    }
    with run.locked():
        bundle = replace(bundle, calibration=calibration)
        bundles.write_config(run.bundle, bundle)
        for split in SPLITS:
            if run.predictions(split).is_file() and not _judged_otherwise(run, split):
                _rewrite(run, split, bundle, say)
    return bundle


def _fit(scores: TaskScores, wanted: Wanted | None, place: str, task: str, say: Say) -> Calibration:
    temperature = fit_temperature(scores, place)
    if temperature is None:
        say(f"{task}: every validation clip is right, which tells no temperature; it stays 1.")
        temperature = 1.0
    else:
        say(f"{task}: temperature {temperature:.3f}")
    fitted = at_temperature(scores, temperature)
    threshold = None if wanted is None else fit_threshold(fitted, *wanted, place)
    return Calibration(temperature=temperature, threshold=threshold)


def _rewrite(run: RunFolder, split: str, bundle: Bundle, say: Say) -> None:
    """A split's predictions and metrics at the bundle's temperatures, told beside those of the model alone."""
    saved = read(run.predictions(split))
    table = as_sealed(saved, bundle)
    record(run, split, table, lambda _line: None)
    if split != "train":
        tell_calibrated(table, split, bundle, say)


def _refuse_other_classes(table: PredictionTable, bundle: Bundle, place: str) -> None:
    found = {task: scores.classes for task, scores in table.tasks.items()}
    if found != dict(bundle.tasks):
        raise DataError(
            f"{place}: its tasks and classes are not the bundle's; make it again with `mudra evaluate --split val`."
        )


def _refuse_seen_clips(validation: PredictionTable, run: RunFolder) -> None:
    """A model is surer of the clips it learned from, and what is fitted on test clips cannot be judged by them."""
    for split, seen in (("train", "were trained on"), ("test", "are test clips too")):
        place = run.predictions(split)
        both = set(validation.clips) & set(read(place).clips) if place.is_file() else set()
        if both:
            raise DataError(
                f"{run.predictions('val')}: {len(both):,} of its clips {seen}, such as {min(both)!r}; expected "
                "validation clips; judge those with `mudra evaluate --split val`."
            )


def _judged_otherwise(run: RunFolder, split: str) -> str:
    """What else than the bundle's own answers a split's saved predictions are; "" where they are these."""
    place = run.metrics(split)
    judged = read_metrics(place).get("judged", {}) if place.is_file() else {}
    return (
        ", ".join(f"--{option} {value}" for option, value in judged.items())
        if isinstance(judged, dict)
        else ""
    )


def _refuse_other_answers(run: RunFolder, place: str) -> None:
    """Other weights, or the mean of several looks, are sure in another way than the bundle."""
    if otherwise := _judged_otherwise(run, "val"):
        raise DataError(
            f"{place}: made with {otherwise}; expected the bundle's own answers. Make them again: "
            f"mudra evaluate {run.path} --split val"
        )
