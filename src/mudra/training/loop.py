"""The loop: steps, epochs, checkpoints. Everything that a step does depends on its place alone.

A training is a sequence of optimiser steps counted from 0. Its whole state between two steps is in
`Trainer` and goes into a checkpoint, so a training that was cut anywhere goes on to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mudra.bundle import load_weights
from mudra.clips.loader import Batch, Batches, TrainingClips, epoch_order, steps_per_epoch, training_batches
from mudra.errors import DataError, NonFiniteError, RecipeError
from mudra.progress import Progress, Say
from mudra.recipe import PlateauSchedule, Recipe
from mudra.training import checkpoints
from mudra.training.average import WeightAverage
from mudra.training.evaluation import Evaluator, quick_scores
from mudra.training.hardware import autocast, scaler, seed_step
from mudra.training.logs import Log
from mudra.training.losses import build_loss
from mudra.training.mixing import mix
from mudra.training.optimisers import build_optimiser, set_rate
from mudra.training.run_folder import RunFolder
from mudra.training.schedules import build_schedule

MIX_DRAWS = 0x31  # keeps the draws of mixing apart from those of the clips


@dataclass
class Counters:
    """Where a training stands, besides its tensors.

    Attributes:
        step: optimiser steps done.
        best_step: the step whose weights judged best on validation; -1 before there is one.
        best_score, best_loss: its mean top-1 over the tasks, and its loss.
        lowest_loss, waited: early stopping's lowest validation loss and the epochs since.
        unreadable: training clips that could not be read, so many times.
        overflows: steps that fp16's scaler skipped.
    """

    step: int = 0
    best_step: int = -1
    best_score: float = -1.0
    best_loss: float = 1e30
    lowest_loss: float = 1e30
    waited: int = 0
    unreadable: int = 0
    overflows: int = 0


class Trainer:
    """Trains a model on one process. Build it, `restore` a checkpoint if there is one, `fit`."""

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        clips: TrainingClips,
        validation: Evaluator | None,
        run: RunFolder,
        device: torch.device,
        *,
        say: Say,
        progress: Progress,
    ) -> None:
        self.recipe = recipe
        self.settings = recipe.train
        self.run = run
        self.device = device
        self.say = say
        self.progress = progress
        self.clips = clips
        self.validation = validation
        self.tasks = {task: len(names) for task, names in clips.manifest.tasks.items()}
        if validation is None and (isinstance(recipe.schedule, PlateauSchedule) or recipe.train.early_stop):
            key = (
                "schedule.kind: plateau"
                if isinstance(recipe.schedule, PlateauSchedule)
                else "train.early_stop"
            )
            raise RecipeError(
                f"{key} needs validation clips and the data has none; mark some as `val`, set "
                "data.holdout={by: group, share: 0.1}, or use another schedule without early stopping."
            )

        self.model = model.to(device)
        self.forward: nn.Module = torch.compile(self.model) if recipe.train.compile else self.model  # type: ignore[assignment]
        targets = {task: clips.manifest.targets(task) for task in self.tasks}
        self.loss = build_loss(recipe.loss, self.tasks, targets, device)
        self.optimiser = build_optimiser(recipe.optim, self.model)
        self.scaler = scaler(recipe.train.precision, device)
        self.average = WeightAverage(self.model, recipe.train.ema) if recipe.train.ema else None
        self.epoch_steps = steps_per_epoch(len(clips.manifest), self.settings.batch, self.settings.accumulate)
        self.schedule = build_schedule(
            recipe.schedule, self.epoch_steps, self.settings.epochs, recipe.optim.lr
        )
        self.counters = Counters()
        self.mixes = recipe.augment.mixup > 0 or recipe.augment.cutmix > 0

    # --- the whole training -------------------------------------------------------------------

    def fit(self) -> None:
        """Train from where the counters stand to the end.

        Raises:
            NonFiniteError: a loss or gradient was not finite; nothing was updated with it.
            DataError: more clips than tolerated could not be read.
        """
        batches = Batches(
            self.clips, self.settings.workers, pin=self.device.type == "cuda", tasks=tuple(self.tasks)
        )
        if self.counters.step == 0:
            self.save()
        log = Log(self.run.log, list(self.tasks), self.run.path / "tensorboard", self.counters.step)
        try:
            while not self.finished:
                self.train_epoch(batches, log)
                self.end_epoch(log)
        finally:
            log.close()

    @property
    def finished(self) -> bool:
        """All epochs done, or validation has not improved for as long as the recipe waits."""
        patience = self.settings.early_stop
        stopped = patience is not None and self.counters.waited >= patience
        return stopped or self.counters.step >= self.epoch_steps * self.settings.epochs

    def train_epoch(self, batches: Batches, log: Log) -> None:
        """The steps of the current epoch that are not done yet."""
        epoch, first = divmod(self.counters.step, self.epoch_steps)
        balanced = self.settings.sampling == "balanced"
        order = epoch_order(self.clips.manifest, self.settings.seed, epoch, balanced=balanced)
        places = training_batches(order, epoch, self.settings.batch, self.settings.accumulate, first)
        seen, meter = time.perf_counter(), Meter(list(self.tasks))
        for parts in _grouped(batches.read(places), self.settings.accumulate):
            rate = self.schedule.rate(self.counters.step)
            done = self.step(parts, rate)
            meter.add(done)
            what = f"epoch {epoch + 1}/{self.settings.epochs}  loss {done.loss:.3f}"
            self.progress(what, self.counters.step - epoch * self.epoch_steps, self.epoch_steps)
            last = self.counters.step % self.epoch_steps == 0
            if last or self.counters.step % self.settings.log_every == 0:
                now = time.perf_counter()
                log.row(
                    step=self.counters.step,
                    epoch=epoch + 1,
                    split="train",
                    lr=self.recipe.optim.lr * rate,
                    **meter.row(now - seen, top1=not self.mixes),
                )
                seen, meter = now, Meter(list(self.tasks))
            every = self.settings.save_every
            if every and self.counters.step % every == 0 and not last:
                self.save()

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
        self.save()

    # --- one step -----------------------------------------------------------------------------

    def step(self, parts: list[Batch], rate: float) -> StepResult:
        """One optimiser step over `accumulate` micro-batches."""
        clips = [clip for part in parts for clip in part.ids]
        self.count_failures(parts)
        streams, targets = self._joined(parts)
        self.forward.train()
        set_rate(self.optimiser, rate)
        seed_step(self.settings.seed, self.counters.step)
        weights = self.loss.weights(targets)
        loss, right = torch.zeros((), device=self.device), dict.fromkeys(self.tasks, 0)
        for begin in range(0, len(clips), self.settings.batch):
            rows = slice(begin, begin + self.settings.batch)
            with autocast(self.settings.precision, self.device):
                logits = self.forward({name: x[rows] for name, x in streams.items()})
            part_targets = {task: y[rows] for task, y in targets.items()}
            total = self.loss(logits, part_targets).total(weights)
            self.scaler.scale(total).backward()
            loss = loss + total.detach()
            if not self.mixes:
                for task, y in part_targets.items():
                    right[task] += int((logits[task].argmax(1) == y).sum())
        norm = self._update(loss, clips) if clips else 0.0
        self.counters.step += 1
        return StepResult(float(loss), norm, len(clips), right)

    def _update(self, loss: Tensor, clips: list[str]) -> float:
        """Check that all is finite, clip the gradient, move the weights. Returns the gradient's norm."""
        self.scaler.unscale_(self.optimiser)
        limit = self.settings.clip_norm if self.settings.clip_norm is not None else math.inf
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        loss_now, norm_now = torch.stack([loss, norm.to(loss)]).tolist()
        overflowed = self.scaler.is_enabled() and math.isfinite(loss_now) and not math.isfinite(norm_now)
        if not math.isfinite(loss_now) or not (math.isfinite(norm_now) or overflowed):
            what = "loss" if not math.isfinite(loss_now) else "gradient"
            raise NonFiniteError(
                f"step {self.counters.step + 1}: the {what} is not finite; nothing was updated. Clips of the step: "
                f"{', '.join(clips[:16])}{' ...' if len(clips) > 16 else ''}. Look at them, or lower optim.lr."
            )
        self.scaler.step(self.optimiser)  # skips by itself when a scaled gradient overflowed
        self.scaler.update()
        self.counters.overflows += int(overflowed)
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None and not overflowed:
            self.average.update(self.model)
        return norm_now

    def _joined(self, parts: list[Batch]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The clips of a whole step side by side, mixed where the recipe says so."""
        parts = [part.to(self.device) for part in parts if len(part)]
        if not parts:
            return {}, {task: torch.zeros(0, dtype=torch.int64, device=self.device) for task in self.tasks}
        streams = {name: torch.cat([part.streams[name] for part in parts]) for name in parts[0].streams}
        targets = {task: torch.cat([part.targets[task] for part in parts]) for task in self.tasks}
        if self.mixes:
            rng = np.random.default_rng([self.settings.seed, self.counters.step, MIX_DRAWS])
            return mix(streams, targets, self.tasks, self.recipe.augment, rng)
        return streams, targets

    def count_failures(self, parts: list[Batch]) -> None:
        """Write down clips that could not be read; stop when they are more than the recipe tolerates."""
        failures = [failure for part in parts for failure in part.failures]
        if not failures:
            return
        self.counters.unreadable += len(failures)
        with (self.run.path / "unreadable.txt").open("a", encoding="utf-8") as listed:
            listed.writelines(f"{clip}\t{reason}\n" for clip, reason in failures)
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
        lent = self.average.applied(self.model) if self.average else nullcontext()
        with lent:
            return quick_scores(self.validation.predict(self.model, self.progress))

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
        """The step whose weights are the result: the best on validation, else the last."""
        return self.counters.best_step if self.counters.best_step >= 0 else self.counters.step

    def save(self) -> None:
        """Write a checkpoint of now; keep it, the one before, and the best."""
        state = {
            "counters": asdict(self.counters),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        root = self.run.checkpoints
        checkpoints.save(
            root,
            self.counters.step,
            model=self.model.state_dict(),
            ema=self.average.weights if self.average else None,
            optimiser=checkpoints.flatten_optimiser(self.optimiser, self.model),
            state=state,
        )
        self.run.status("running", self.counters.step)
        checkpoints.keep_only(root, {*checkpoints.steps(root)[-2:], self.chosen_step})

    def restore(self, saved: checkpoints.Saved) -> None:
        """Go on from a checkpoint."""
        load_weights(self.model, saved.model, saved.path / "model.safetensors")
        checkpoints.restore_optimiser(self.optimiser, self.model, saved.optimiser)
        if self.average is not None and saved.ema is not None:
            self.average.weights = {name: x.to(self.device) for name, x in saved.ema.items()}
        self.schedule.load_state_dict(saved.state["schedule"])
        self.scaler.load_state_dict(saved.state["scaler"])
        self.counters = Counters(**saved.state["counters"])
        if self.average is not None:
            self.average.updates = self.counters.step - self.counters.overflows


@dataclass(frozen=True)
class StepResult:
    """What one step was like; `right` counts clips by task."""

    loss: float
    norm: float
    clips: int
    right: dict[str, int]


class Meter:
    """Means over the steps since the last row of the log."""

    def __init__(self, tasks: list[str]) -> None:
        self.steps: list[StepResult] = []
        self.tasks = tasks

    def add(self, step: StepResult) -> None:
        self.steps.append(step)

    def row(self, seconds: float, *, top1: bool) -> dict[str, Any]:
        """Columns of the log."""
        clips = sum(step.clips for step in self.steps)
        row: dict[str, Any] = {
            "loss": sum(step.loss * step.clips for step in self.steps) / max(clips, 1),
            "grad_norm": float(np.mean([step.norm for step in self.steps])),
            "clips_per_second": clips / max(seconds, 1e-9),
        }
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
