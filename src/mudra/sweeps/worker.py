"""One worker: takes a trial that nobody runs, trains it or goes on with it, writes down how it ended, takes the next.

A trial is an ordinary run in OUT/trial-001, OUT/trial-002, ... What decides how it ended is the run's own status, so a
worker that is killed between the last step and the database loses nothing: whoever takes the trial over reads it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mudra.datasets.opening import open_data
from mudra.errors import (
    BusyError,
    DataError,
    ModelError,
    NonFiniteError,
    PrunedError,
    RecipeError,
    StoppedError,
)
from mudra.files import replace_file, told_as_output_error
from mudra.predictions import read_metrics, tasks_of
from mudra.progress import Progress, Say, silent
from mudra.recipe import Recipe, write_yaml
from mudra.sweeps.claims import GRACE, Claims
from mudra.sweeps.database import Database, of_folder
from mudra.sweeps.storage import Trials
from mudra.sweeps.study import Plan
from mudra.training.loop import Judged
from mudra.training.run_folder import RunFolder
from mudra.training.stops import StopRequests
from mudra.training.train import train

if TYPE_CHECKING:
    import optuna

LOST = "another worker, which has taken the trial over"
LOOK = 0.5  # seconds between looks at trials whose owner may be gone


@dataclass(frozen=True)
class Sweep:
    """A plan, its data, and where all that becomes of it lies.

    Attributes:
        storage: address of the database; the folder's own SQLite file by default.
        finished: called with each run that is trained, before its trial counts as done.
    """

    plan: Plan
    data: str | None
    out: Path
    storage: str | None = None
    say: Say = print
    progress: Progress = silent
    finished: Callable[[RunFolder], None] = lambda _run: None
    grace: float = GRACE

    @property
    def name(self) -> str:
        """The study's name in the database: its folder's, so that one file can be swept twice."""
        return self.out.resolve().name

    def run(self, number: int) -> RunFolder:
        """The run of a trial."""
        return RunFolder(self.out / f"trial-{number:03d}")

    def open(self) -> tuple[Database, Trials]:
        """The database and what it knows of the trials; both are made where they are not there yet.

        Raises:
            RecipeError: another study began in this folder.
            OutputError: the folder or the database cannot be written.
        """
        heading = f"# The study {self.plan.name}. Go on with it: mudra sweep FILE --out FOLDER\n"
        database = Database(self.storage or of_folder(made(self.out)))
        trials = Trials(self.plan, database, self.name, self.plan.recipe(_first(self.plan)).train.epochs)
        if not (self.out / "study.yaml").is_file():
            replace_file(self.out / "study.yaml", (heading + write_yaml(self.plan.said())).encode())
        return database, trials


def made(folder: Path) -> Path:
    """The folder, which is there afterwards."""
    with told_as_output_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def work(sweep: Sweep, time_limit: float | None = None) -> None:
    """Train trials until none is left that nobody else runs.

    Raises:
        StoppedError: a signal or the time limit asked for it; the trial that was under way is saved and free.
        MudraError: something that would befall every trial: the data, the disk, the database.
    """
    with StopRequests(time_limit) as stops:
        database, trials = sweep.open()
        if all(number in ended(trials) for number in range(1, sweep.plan.trials + 1)):
            return
        refuse_without_validation(sweep.plan.recipe(_first(sweep.plan)), sweep.data)
        claims = Claims(database, sweep.name, sweep.grace)
        while (number := next_trial(sweep.plan, claims, trials, stops)) is not None:
            Attempt(sweep, claims, trials, number, stops).make()


def ended(trials: Trials) -> set[int]:
    """Numbers of the trials that need nothing more."""
    return {number for number, known in trials.known().items() if known.ended}


def next_trial(plan: Plan, claims: Claims, trials: Trials, stops: StopRequests) -> int | None:
    """Claim the first trial that nobody runs. None where all have ended or are run by processes that live.

    Another machine's process shows within `grace` seconds whether it lives; for so long this waits.

    Raises:
        StoppedError: while it waited.
    """
    while True:
        if stops.reason:
            raise StoppedError(
                f"stopped between trials by {stops.reason}. Run the same command again.", stops.reason
            )
        done = ended(trials)
        left = [number for number in range(1, plan.trials + 1) if number not in done]
        for number in left:
            if claims.take(number):
                if number not in ended(trials):  # it may have ended since we looked
                    return number
                claims.give_back(number)
        if all(claims.alive(number) for number in left):
            return None
        time.sleep(LOOK)


class Attempt:
    """A worker's go at a trial that it has claimed."""

    def __init__(
        self, sweep: Sweep, claims: Claims, trials: Trials, number: int, stops: StopRequests
    ) -> None:
        self.sweep, self.claims, self.trials, self.number = sweep, claims, trials, number
        self.run = sweep.run(number)
        self.asked = stops
        self.stops = StopRequests(stops.left)
        self.lost = False

    def make(self) -> None:
        """Train the trial to its end, whatever that is."""
        with self.claims.kept(self.number, self._lose):
            trial = self.trials.begin(self.number)
            settings = self.trials.settings(self.number, trial)
            told = ", ".join(f"{name}={value}" for name, value in settings.items())
            self.sweep.say(f"trial {self.number} of {self.sweep.plan.trials}: {told}")
            try:
                self._train(trial, settings)
            except PrunedError as problem:
                self._end(trial, "pruned", str(problem))
            except NonFiniteError as problem:
                self._end(trial, "failed", str(problem))
            except (RecipeError, ModelError) as problem:
                if not self._is_its_own:
                    raise
                self._end(trial, "failed", str(problem))
            except torch.OutOfMemoryError as problem:
                self._end(trial, "failed", f"out of memory: {' '.join(str(problem).split())[:200]}")
            except BusyError:  # whoever had the trial before is on its way out
                time.sleep(LOOK)
            except StoppedError as problem:
                if not self.lost:
                    raise
                self.sweep.say(f"trial {self.number}: given up to {problem.reason}")
            else:
                self._end(trial, "done", "")
            finally:
                if self.stops.reason and not self.lost:  # it came too late for this trial
                    self.asked.ask(self.stops.reason)

    @property
    def _is_its_own(self) -> bool:
        """Whether a mistake is in this configuration alone: it could not begin, and others could be trained."""
        return not self.run.begun and any(known.state == "done" for known in self.trials.known().values())

    def _lose(self) -> None:
        self.lost = True
        self.stops.ask(LOST)

    def _train(self, trial: optuna.Trial, settings: dict[str, Any]) -> None:
        status = self.run.read_status()
        state, code = status.get("state"), status.get("exit")
        if state == "pruned":
            raise PrunedError(str(status.get("reason", "")))
        if state == "failed" and code == NonFiniteError.exit_code:
            raise NonFiniteError(str(status.get("reason", "")))
        if state != "done":
            with self.stops:
                train(
                    self.sweep.plan.recipe(settings),
                    self.sweep.data,
                    self.run.path,
                    resume=self.run.recipe.is_file(),
                    stops=self.stops,
                    hear=lambda judged: self._hear(trial, judged),
                    alone=True,
                    say=self.sweep.say,
                    progress=self.sweep.progress,
                )
        self.sweep.finished(self.run)

    def _hear(self, trial: optuna.Trial, judged: Judged) -> None:
        value = figure_of_epoch(self.sweep.plan.study.rank, judged)
        if self.trials.report(trial, judged.epoch, value):
            raise PrunedError(
                f"{self.run.path}: pruned after epoch {judged.epoch}; other trials were better by then."
            )

    def _end(self, trial: optuna.Trial, state: str, reason: str) -> None:
        value, figures = None, {}
        if state == "done":
            recipe = self.run.read_recipe()
            metrics = read_metrics(self.run.metrics("val"))
            value = figure_of_run(
                self.sweep.plan.study.rank, metrics, recipe.loss.task_weights, self.run.path
            )
            figures = key_figures(metrics, recipe.loss.task_weights)
        else:
            self.sweep.say(f"trial {self.number}: {reason}")
        self.trials.end(trial, state, value, figures, reason)


def figure_of_epoch(rank: str, judged: Judged) -> float:
    """What an epoch is compared by: the ranking figure, or mean top-1 where epochs do not have that."""
    task, _, figure = rank.rpartition("/")
    if figure == "loss" and not task:
        return judged.loss
    if figure == "top1" and task in judged.top1:
        return judged.top1[task]
    return judged.score


def figure_of_run(rank: str, metrics: Any, task_weights: Any, place: Path) -> float:
    """The figure that ranks a run, from its metrics of validation.

    Raises:
        DataError: validation does not have it.
    """
    task, _, figure = rank.rpartition("/")
    known = key_figures(metrics, task_weights) | {
        f"{name}/{key}": value
        for name, figures in tasks_of(metrics).items()
        for key, value in figures.items()
    }
    value = known.get(rank)
    if value is None:
        there = ", ".join(tasks_of(metrics))
        raise DataError(
            f"{place}: its validation has no {figure} of {task or 'any task'}; tasks: {there}. Set the study's rank."
        )
    return float(value)


def key_figures(metrics: Any, task_weights: Any) -> dict[str, float]:
    """The figures that a study shows of a run, from its metrics of validation: top-1 and loss, and of each task."""
    tasks = {name: figures for name, figures in metrics["tasks"].items() if figures.get("top1") is not None}
    if not tasks:
        return {}
    shown = {f"{name}/top1": figures["top1"] for name, figures in tasks_of(metrics).items()}
    gaps = [gap["top1"] for name, gap in metrics.get("overfitting_gap", {}).items() if name in tasks]
    return {
        "top1": sum(figures["top1"] for figures in tasks.values()) / len(tasks),
        "loss": sum(figures["loss"] * task_weights.get(name, 1.0) for name, figures in tasks.items()),
        **{name: value for name, value in shown.items() if value is not None},
        **({"gap": sum(gaps) / len(gaps)} if gaps else {}),
    }


def refuse_without_validation(recipe: Recipe, data: str | None) -> None:
    """A study ranks on validation, so there must be some.

    Raises:
        DataError: the data has none.
    """
    _, manifest = open_data(recipe, data)
    if not len(manifest.split("val")):
        raise DataError(
            f"{manifest.name}: no clip is in the split 'val', and a study ranks on validation. Mark some, or set "
            "data.holdout={by: group, share: 0.1} among the study's overrides."
        )


def _first(plan: Plan) -> dict[str, Any]:
    """The settings of a trial that stand for all, before any is drawn."""
    return dict(plan.fixed[0]) if plan.fixed else {}
