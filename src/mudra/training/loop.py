"""The loop: steps, epochs, checkpoints. Everything that a step does depends on its place alone.

A training is a sequence of optimiser steps counted from 0. Its whole state between two steps is in
`Trainer` and goes into a checkpoint, so a training that was cut anywhere goes on to the same bits.

Several processes (a `Team`) each see their share of every micro-batch. All of them know how many clips
a step has and whether a stop is asked for, so they always do the same thing; the one that leads writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from mudra.bundle import load_weights
from mudra.clips.loader import Batch, Batches, Clips, epoch_order, steps_per_epoch, training_batches
from mudra.errors import DataError, ModelError, RecipeError, StoppedError
from mudra.progress import Progress, Say
from mudra.recipe import Recipe
from mudra.sections import PlateauSchedule
from mudra.training import checkpoints
from mudra.training.average import WeightAverage
from mudra.training.evaluation import Evaluator, quick_scores
from mudra.training.logs import Log
from mudra.training.probing import Probing
from mudra.training.ranks import Team
from mudra.training.run_folder import RunFolder
from mudra.training.saving import Saver
from mudra.training.schedules import build_schedule
from mudra.training.step import Stepper, StepResult
from mudra.training.stops import StopRequests


@dataclass
class Counters:
    """Where a training stands, besides its tensors.

    Attributes:
        step: optimiser steps done.
        judged: epochs that are over, their validation included.
        best_step: the step whose weights judged best on validation; -1 before there is one.
        best_score, best_loss: its mean top-1 over the tasks, and its loss.
        lowest_loss, waited: early stopping's lowest validation loss and the epochs since.
        unreadable: training clips that could not be read, so many times.
        updates: steps that moved the weights; fp16's scaler skips some, and some have no readable clip.
    """

    step: int = 0
    judged: int = 0
    best_step: int = -1
    best_score: float = -1.0
    best_loss: float = 1e30
    lowest_loss: float = 1e30
    waited: int = 0
    unreadable: int = 0
    updates: int = 0


class Trainer:
    """Trains a model. Build it, `restore` a checkpoint if there is one, `fit`.

    Args:
        facts: plain values that a resumed training must find unchanged (the data's split, say).
        team: the processes that train together.
        stops: asked between steps whether to end here.
        probing: what makes features of the clips before the first step, where only classifiers are trained.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        clips: Clips,
        validation: Evaluator | None,
        run: RunFolder,
        team: Team,
        stops: StopRequests,
        *,
        facts: dict[str, Any],
        say: Say,
        progress: Progress,
        probing: Probing | None = None,
    ) -> None:
        _refuse_waiting_for_nothing(recipe, validation)
        self.recipe = recipe
        self.settings = recipe.train
        self.clips = clips
        self.validation = validation
        self.run = run
        self.team = team
        self.stops = stops
        self.facts = facts
        self.say = say
        self.progress = progress
        self.probing = probing
        self.tasks = list(clips.manifest.tasks)
        self.model = model
        self.stepper = Stepper(recipe, model, clips, team)
        self.average = WeightAverage(model, recipe.train.ema) if recipe.train.ema else None
        self.epoch_steps = steps_per_epoch(len(clips.manifest), self.settings.batch, self.settings.accumulate)
        self.schedule = build_schedule(
            recipe.schedule, self.epoch_steps, self.settings.epochs, recipe.optim.lr
        )
        self.counters = Counters()
        self.saver = Saver(run.checkpoints, lambda step: run.status("running", step))

    # --- the whole training -------------------------------------------------------------------

    def fit(self) -> None:
        """Train from where the counters stand to the end.

        Raises:
            StoppedError: a stop was asked for; everything is saved.
            NonFiniteError: a loss or gradient was not finite; nothing was updated with it.
            DataError: more clips than tolerated could not be read, or a loader process was lost.
            OutputError: a checkpoint could not be written; those before it are whole.
        """
        batches = Batches(
            self.clips,
            0 if self.probing else self.settings.workers,
            pin=self.team.device.type == "cuda",
            tasks=self.tasks,
            limit=self.settings.read_limit,
        )
        if self.counters.step == 0:
            self.save()
        log = Log(
            self.run.log,
            self.tasks,
            self.run.path / "tensorboard",
            self.counters.step,
            self.counters.judged,
            objective=not self.recipe.loss.plain,
            writes=self.team.leads,
        )
        try:
            if self.probing is not None:
                self.probing.fill(self.say, self.progress, self.stop_if_asked)
            while not self.finished:
                if self.counters.judged < self.counters.step // self.epoch_steps:
                    self.end_epoch(log)
                else:
                    self.train_epoch(batches, log)
            self.settle()
        except StoppedError:
            self.save()
            self.settle()
            raise
        finally:
            self.saver.close()
            batches.close()
            log.close()

    def settle(self) -> None:
        """Wait in all processes until the last checkpoint is whole.

        Raises:
            OutputError: it could not be written.
        """
        self.saver.wait()
        self.team.gather(None)

    @property
    def finished(self) -> bool:
        """All epochs are over, or validation has not improved for as long as the recipe waits."""
        patience = self.settings.early_stop
        stopped = patience is not None and self.counters.waited >= patience
        return stopped or self.counters.judged >= self.settings.epochs

    def train_epoch(self, batches: Batches, log: Log) -> None:
        """The steps of the current epoch that are not done yet."""
        epoch, first = divmod(self.counters.step, self.epoch_steps)
        balanced = self.settings.sampling == "balanced"
        order = epoch_order(self.clips.manifest, self.settings.seed, epoch, balanced=balanced)
        places = training_batches(
            order, epoch, self.settings.batch, self.settings.accumulate, first, self.team.share
        )
        seen, meter = time.perf_counter(), Meter(self.tasks)
        with batches.watched():
            for parts in _grouped(batches.read(places), self.settings.accumulate):
                self.stop_if_asked()
                rate = self.schedule.rate(self.counters.step)
                meter.add(done := self.step(parts, rate))
                last = self.counters.step % self.epoch_steps == 0
                what = f"epoch {epoch + 1}/{self.settings.epochs}  loss {done.loss:.3f}"
                self.progress(what, self.counters.step - epoch * self.epoch_steps, self.epoch_steps)
                if last or self.counters.step % self.settings.log_every == 0:
                    now = time.perf_counter()
                    log.row(
                        step=self.counters.step,
                        epoch=epoch + 1,
                        split="train",
                        lr=self.recipe.optim.lr * rate,
                        **meter.row(
                            now - seen, objective=not self.recipe.loss.plain, top1=not self.stepper.mixes
                        ),
                    )
                    seen, meter = now, Meter(self.tasks)
                every = self.settings.save_every
                if every and self.counters.step % every == 0 and not last:
                    self.save()

    def step(self, parts: list[Batch], rate: float) -> StepResult:
        """One optimiser step over `accumulate` micro-batches, of which this process has its share."""
        self.saver.check()
        self.count_failures(parts)
        done = self.stepper.take(parts, self.counters.step, rate)
        self.counters.step += 1
        if done.clips and not done.overflowed:
            self.counters.updates += 1
            if self.average is not None:
                self.average.update(self.model)
        return done

    def end_epoch(self, log: Log) -> None:
        """Judge the epoch on validation, tell the schedule, save."""
        epoch = self.counters.step // self.epoch_steps
        line = f"epoch {epoch}/{self.settings.epochs}"
        if self.validation is None:
            self.schedule.epoch_ended(None)
            self.say(line)
        else:
            loss, top1 = self.validate()
            scores = {f"{task}/top1": share for task, share in top1.items()}
            log.row(step=self.counters.step, epoch=epoch, split="val", loss=loss, **scores)
            self.schedule.epoch_ended(loss)
            better = self.judge(loss, float(np.mean(list(top1.values()))) if top1 else 0.0)
            shares = "  ".join(f"{task} {share:.1%}" for task, share in top1.items())
            self.say(f"{line}  validation loss {loss:.4f}  {shares}{'  (best)' if better else ''}")
        self.counters.judged = epoch
        self.save()

    def stop_if_asked(self) -> None:
        """Leave what is being done when any of the processes was asked to stop.

        Raises:
            StoppedError: it was.
        """
        if not self.team.any(bool(self.stops.reason)):
            return
        reason = next(filter(None, self.team.gather(self.stops.reason)), "")
        raise StoppedError(
            f"{self.run.path}: stopped at step {self.counters.step} by {reason}; everything is saved. "
            "Go on with --resume."
        )

    def count_failures(self, parts: list[Batch]) -> None:
        """Write down clips that could not be read; stop when they are more than the recipe tolerates."""
        shares = self.team.gather([failure for part in parts for failure in part.failures])
        failures = [failure for share in shares for failure in share]
        if not failures:
            return
        self.counters.unreadable += len(failures)
        if self.team.leads:
            self.run.list_unreadable(failures)
        looked_at = (self.counters.step + 1) * self.settings.batch * self.settings.accumulate
        looked_at = max(looked_at, len(self.clips.manifest))  # one early failure is not yet a share
        if self.counters.unreadable > self.settings.decode_failures * looked_at:
            raise DataError(
                f"{failures[-1][1]}; {self.counters.unreadable} of the training's reads failed, more than "
                f"train.decode_failures = {self.settings.decode_failures:g} allows. `mudra data check` lists them all."
            )

    # --- validation and saving ----------------------------------------------------------------

    def validate(self) -> tuple[float, dict[str, float]]:
        """Loss and top-1 on the validation clips, with averaged weights where they are kept."""
        assert self.validation is not None
        with self.averaged():
            table = self.validation.predict(self.stepper.seen, self.progress, self.stop_if_asked)
            return quick_scores(table, self.recipe.loss.task_weights)

    def averaged(self) -> AbstractContextManager[None]:
        """The model has the averaged weights inside this block, where they are kept."""
        return self.average.applied(self.model) if self.average else nullcontext()

    def judge(self, loss: float, score: float) -> bool:
        """Remember the best epoch (highest top-1, then lowest loss) and how long loss has not fallen."""
        counters = self.counters
        improved = loss < counters.lowest_loss
        counters.waited = 0 if improved else counters.waited + 1
        counters.lowest_loss = (
            min(loss, counters.lowest_loss) if math.isfinite(loss) else counters.lowest_loss
        )
        better = (score, -loss) > (counters.best_score, -counters.best_loss)
        if better and math.isfinite(loss):
            counters.best_step, counters.best_score, counters.best_loss = counters.step, score, loss
        return better

    @property
    def chosen_step(self) -> int:
        """The step whose weights are the result: the best on validation or, as the recipe says, the last."""
        best = self.counters.best_step
        return best if best >= 0 and self.settings.choose == "best" else self.counters.step

    def save(self) -> None:
        """Write a checkpoint of now, in the background; keep the latest and the best.

        Raises:
            OutputError: the one before could not be written.
        """
        if not self.team.leads:
            return
        chosen, latest = self.chosen_step, self.settings.keep
        tensors = {
            "model": self.model.state_dict(),
            "optimiser": checkpoints.flatten_optimiser(self.stepper.optimiser, self.model),
        }
        if self.average is not None:
            tensors["ema"] = self.average.weights
        state = {
            "counters": asdict(self.counters),
            "schedule": self.schedule.state_dict(),
            "scaler": self.stepper.scaler.state_dict(),
            "facts": self.facts,
        }
        self.saver.save(self.counters.step, tensors, state, lambda steps: {*steps[-latest:], chosen})

    def restore(self, saved: checkpoints.Saved) -> None:
        """Go on from a checkpoint.

        Raises:
            RecipeError: it belongs to other data.
        """
        for name, now in self.facts.items():
            before = saved.state["facts"].get(name)
            if before != now:
                raise RecipeError(
                    f"{self.run.path}: {name} was {str(before)[:200]} when the run began and is now {str(now)[:200]}; "
                    "resume with the data that began it, or train into another folder."
                )
        load_weights(self.model, saved.model, saved.path / "model.safetensors")
        checkpoints.restore_optimiser(self.stepper.optimiser, self.model, saved.optimiser)
        self.schedule.load_state_dict(saved.state["schedule"])
        self.stepper.scaler.load_state_dict(saved.state["scaler"])
        try:
            self.counters = Counters(**saved.state["counters"])
        except TypeError as problem:
            raise ModelError(f"{saved.path}: its counters are not a training's ({problem}).") from None
        if self.average is not None and saved.ema is not None:
            self.average.weights = {name: x.to(self.team.device) for name, x in saved.ema.items()}
            self.average.updates = self.counters.updates


class Meter:
    """Means over the steps since the last row of the log."""

    def __init__(self, tasks: list[str]) -> None:
        self.steps: list[StepResult] = []
        self.tasks = tasks

    def add(self, step: StepResult) -> None:
        self.steps.append(step)

    def row(self, seconds: float, *, objective: bool, top1: bool) -> dict[str, Any]:
        """Columns of the log."""
        clips = sum(step.clips for step in self.steps)
        row: dict[str, Any] = {
            "loss": sum(step.loss * step.clips for step in self.steps) / max(clips, 1),
            "grad_norm": float(np.mean([step.norm for step in self.steps])),
            "clips_per_second": clips / max(seconds, 1e-9),
        }
        if objective:
            row["objective"] = sum(step.objective * step.clips for step in self.steps) / max(clips, 1)
        if top1:
            row |= {
                f"{task}/top1": sum(s.right[task] for s in self.steps) / max(clips, 1) for task in self.tasks
            }
        return row


def _grouped(batches: Iterator[Batch], count: int) -> Iterator[list[Batch]]:
    """The micro-batches of each optimiser step."""
    parts: list[Batch] = []
    for batch in batches:
        parts.append(batch)
        if len(parts) == count:
            yield parts
            parts = []


def _refuse_waiting_for_nothing(recipe: Recipe, validation: Evaluator | None) -> None:
    """Whatever waits for validation needs some."""
    plateau = isinstance(recipe.schedule, PlateauSchedule)
    if validation is None and (plateau or recipe.train.early_stop):
        key = "schedule.kind: plateau" if plateau else "train.early_stop"
        raise RecipeError(
            f"{key} needs validation clips and the data has none; mark some as `val`, set "
            "data.holdout={by: group, share: 0.1}, or use another schedule without early stopping."
        )
