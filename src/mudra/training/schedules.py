"""The learning rate over a training, as a factor of the base rate.

Steps are optimiser steps, counted from 0 over the whole training. A rate is a pure function of the
step (and, for `plateau`, of the validation losses told so far), so a resumed training has exactly
the rates of an unbroken one.

Warm-up rises linearly and never stands at 0: with W steps of it, step s < W learns at
(s + 1) / (W + 1), and step W is the first at the full rate. Where it starts at a factor of its own,
that is the rate one step before the first.
"""

from __future__ import annotations

import math
from typing import Any

from mudra.errors import ModelError, RecipeError
from mudra.sections import (
    CosineRestartsSchedule,
    CosineSchedule,
    CyclicSchedule,
    OneCycleSchedule,
    PlateauSchedule,
)
from mudra.sections import Schedule as ScheduleSettings


def warmup(step: int, steps: int, start: float = 0.0) -> float:
    """Factor of a linear rise over `steps` steps, above `start` from the first and 1 from `steps` on.

    >>> [warmup(step, 3) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return start + (1 - start) * min((step + 1) / (steps + 1), 1.0)


def cosine(step: int, start: int, stop: int, final: float) -> float:
    """Factor of half a cosine: 1 up to `start`, `final` from `stop` on.

    >>> [round(cosine(step, 2, 6, 0.0), 3) for step in range(8)]
    [1.0, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    way = min(max((step - start) / (stop - start), 0.0), 1.0)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * way))


class Schedule:
    """The full rate after a warm-up; the base of the other schedules."""

    def __init__(self, warmup_steps: int) -> None:
        self.warmup_steps = warmup_steps

    def rate(self, step: int) -> float:
        """Factor of the base rate at an optimiser step, in 0..1."""
        return warmup(step, self.warmup_steps)

    def epoch_ended(self, val_loss: float | None) -> None:
        """Hear the validation loss of an epoch (None: there is no validation)."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: plain numbers, empty where the step says everything."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` left off.

        Raises:
            ModelError: the state of another kind of schedule.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys():
            raise ModelError(
                f"checkpoint, schedule: found the state {sorted(state)}; expected {sorted(mine)} "
                f"({type(self).__name__}); resume with the recipe that wrote it"
            )


class Cosine(Schedule):
    """Warm-up, then half a cosine (Loshchilov & Hutter 2017, one cycle).

    `final` is reached at step `steps`, the first that is not taken: no step is spent at a rate of 0.
    """

    def __init__(self, warmup_steps: int, steps: int, final: float) -> None:
        super().__init__(warmup_steps)
        self.steps = steps
        self.final = final

    def rate(self, step: int) -> float:
        return super().rate(step) * cosine(step, self.warmup_steps, self.steps, self.final)


class Cycles(Schedule):
    """Warm-up, then falls from a peak, each with a lower peak or a longer way than the one before.

    As torch's CosineAnnealingWarmRestarts (Loshchilov & Hutter 2017, arXiv:1608.03983), or its CyclicLR (Smith 2017,
    arXiv:1506.01186) from a first peak on, that being where the warm-up leads. Departs from both: peaks may decay,
    and lengths may grow by any factor, each rounded to whole steps. The training may end within a cycle.

    Args:
        cycle_steps: length of the first cycle, at least 2.
        growth, decay: length and peak of a cycle as a multiple of the one before.
        final: where each fall leads; no peak is lower.
        rises: the second half of a cycle leads up to the next peak, both halves being straight lines.
    """

    def __init__(
        self,
        warmup_steps: int,
        start: float,
        cycle_steps: int,
        *,
        growth: float,
        decay: float,
        final: float,
        rises: bool,
    ) -> None:
        super().__init__(warmup_steps)
        self.start = start
        self.cycle_steps = cycle_steps
        self.growth = growth
        self.decay = decay
        self.final = final
        self.rises = rises

    def rate(self, step: int) -> float:
        if step < self.warmup_steps:
            return warmup(step, self.warmup_steps, self.start)
        begin, length, number = self.warmup_steps, self.cycle_steps, 0
        while step >= begin + length:
            begin, number = begin + length, number + 1
            length = round(self.cycle_steps * self.growth**number)
        way = (step - begin) / length
        if not self.rises:
            height = cosine(step, begin, begin + length, 0.0)
        elif way < 0.5:
            height = 1 - 2 * way
        else:
            height, number = 2 * way - 1, number + 1
        return self.final + (max(self.decay**number, self.final) - self.final) * height


class OneCycle(Schedule):
    """Half a cosine up, half a cosine down (Smith & Topin 2018, arXiv:1708.07120).

    As torch's OneCycleLR with two phases; departs from it: AdamW's betas stay what they are.
    """

    def __init__(self, steps: int, rise: float, start: float, final: float) -> None:
        super().__init__(0)
        self.steps = steps
        self.peak = min(max(round(rise * steps), 1), steps - 1) if steps > 1 else 0
        self.start = start
        self.final = final

    def rate(self, step: int) -> float:
        if step < self.peak:
            return cosine(self.peak - step, 0, self.peak, self.start)
        return cosine(step, self.peak, self.steps, self.final)


class Plateau(Schedule):
    """Warm-up, then the rate times `factor` whenever validation stops getting better.

    As torch's ReduceLROnPlateau: `patience` epochs in a row may fail to go below the lowest loss, the
    next one lowers the rate and the count starts again. Departs from it: any fall counts, however
    small (threshold 0), and `lowest` bounds the factor. A loss that is not a number has not fallen.
    """

    def __init__(self, warmup_steps: int, factor: float, patience: int, lowest: float) -> None:
        super().__init__(warmup_steps)
        self.factor = factor
        self.patience = patience
        self.lowest = lowest
        self.best: float | None = None
        self.waited = 0
        self.reductions = 0

    def rate(self, step: int) -> float:
        return super().rate(step) * max(self.factor**self.reductions, self.lowest)

    def epoch_ended(self, val_loss: float | None) -> None:
        if val_loss is None:
            raise ValueError("a plateau schedule needs a validation loss after every epoch")
        if not math.isnan(val_loss) and (self.best is None or val_loss < self.best):
            self.best, self.waited = val_loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.reductions, self.waited = self.reductions + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "reductions": self.reductions}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.best, self.waited, self.reductions = state["best"], state["waited"], state["reductions"]


def build_schedule(
    settings: ScheduleSettings,
    steps_per_epoch: int,
    epochs: int,
    lr: float,
) -> Schedule:
    """The schedule that a recipe asks for.

    Args:
        steps_per_epoch, epochs: optimiser steps of an epoch, and epochs of the whole training.
        lr: the base rate; `min_lr` of a plateau is given in the same unit.
    Raises:
        RecipeError: a warm-up that leaves no step at the full rate, a cycle of a single step, or a lowest rate above
            the base rate.
    """
    steps = steps_per_epoch * epochs
    warmup_steps = round(settings.warmup_epochs * steps_per_epoch)
    if warmup_steps >= steps:
        raise RecipeError(
            f"schedule.warmup_epochs: found {settings.warmup_epochs:g} epochs ({warmup_steps} steps); "
            f"expected fewer than the {steps} steps of train.epochs = {epochs}; shorten the warm-up"
        )
    if isinstance(settings, CosineSchedule):
        return Cosine(warmup_steps, steps, settings.final)
    if isinstance(settings, CyclicSchedule):
        return Cycles(
            warmup_steps,
            settings.start,
            _cycle_steps("cycle_epochs", settings.cycle_epochs, steps_per_epoch),
            growth=1.0,
            decay=settings.decay,
            final=settings.final,
            rises=settings.shape == "triangle",
        )
    if isinstance(settings, CosineRestartsSchedule):
        return Cycles(
            warmup_steps,
            settings.start,
            _cycle_steps("period_epochs", settings.period_epochs, steps_per_epoch),
            growth=settings.growth,
            decay=settings.decay,
            final=settings.final,
            rises=False,
        )
    if isinstance(settings, OneCycleSchedule):
        return OneCycle(steps, settings.rise, settings.start, settings.final)
    if isinstance(settings, PlateauSchedule):
        if settings.min_lr > lr:
            raise RecipeError(
                f"schedule.min_lr: found {settings.min_lr:g}; expected at most optim.lr = {lr:g}; lower one"
            )
        return Plateau(warmup_steps, settings.factor, settings.patience, settings.min_lr / lr)
    return Schedule(warmup_steps)


def _cycle_steps(key: str, epochs: float, steps_per_epoch: int) -> int:
    """Epochs of a cycle in whole steps."""
    steps = round(epochs * steps_per_epoch)
    if steps < 2:
        raise RecipeError(
            f"schedule.{key}: found {epochs:g} epochs ({steps} steps of {steps_per_epoch} an epoch); expected at "
            "least 2 steps; make it longer"
        )
    return steps
