"""One optimiser step: micro-batches in, moved weights out, whatever the number of processes.

A step's loss is one weighted mean over all its clips. Each process has its share of every micro-batch
and divides by the weight of the whole, so the gradients add up to those of one big batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mudra.clips.loader import Batch, Clips, steps_per_epoch
from mudra.errors import NonFiniteError
from mudra.recipe import Recipe
from mudra.training.batch_norm import share_batch_norm, uncounted
from mudra.training.hardware import Precision, autocast, choose_precision, scaler, seed_step
from mudra.training.losses import build_loss
from mudra.training.mixing import mix
from mudra.training.optimisers import build_optimiser, lr_scales, set_rate
from mudra.training.probing import Classifiers
from mudra.training.ranks import Team, pose_as_training

MIX_DRAWS = 0x31  # keeps the draws of mixing apart from those of the clips


@dataclass(frozen=True)
class StepResult:
    """What one step was like, over all processes; `right` counts clips by task.

    Attributes:
        loss: the cross-entropy of the model's own answers, whatever else is minimised.
        objective: what was minimised.
        overflowed: fp16's scaler skipped the update.
    """

    loss: float
    objective: float
    norm: float
    clips: int
    right: dict[str, int]
    overflowed: bool = False


class Stepper:
    """A model on its device with its loss and optimiser.

    Attributes:
        model: as it was given. seen: what of it takes what the clips are: all, or the classifiers in a probe. `forward`
            is the same, compiled and joined to the other processes'.
        steps: optimiser steps of the whole training.
        mixes: clips are blended, so that being right about one is not defined.
    """

    def __init__(self, recipe: Recipe, model: nn.Module, clips: Clips, team: Team) -> None:
        self.recipe = recipe
        self.settings = recipe.train
        self.team = team
        self.tasks = {task: len(names) for task, names in clips.manifest.tasks.items()}
        self.precision: Precision = choose_precision(recipe.train.precision, team.device)
        self.model = model.to(team.device)
        self.seen: nn.Module = Classifiers(self.model) if recipe.train.probe else self.model
        # what a process looks at that has no clip where others have some
        like = next(self.model.parameters())
        self.nothing = {
            name: torch.zeros(1, *shape, device=like.device, dtype=like.dtype)
            for name, shape in clips.inputs.items()
        }
        targets = {task: clips.manifest.targets(task) for task in self.tasks}
        names = clips.manifest.tasks
        self.loss = build_loss(recipe.loss, self.tasks, targets, team.device, names=names)
        self.loss.require_heads(self._heads())
        if team.size > 1:
            share_batch_norm(self.seen)
        self.together = team.wrap(self.seen, self.nothing)
        compiled = torch.compile(self.together) if recipe.train.compile else self.together
        self.forward: nn.Module = compiled  # type: ignore[assignment]
        self.steps = recipe.train.epochs * steps_per_epoch(
            len(clips.manifest), recipe.train.batch, recipe.train.accumulate
        )
        self.optimiser = build_optimiser(recipe.optim, self.model, lr_scales(recipe.optim, self.model))
        self.scaler = scaler(self.precision, team.device)
        self.mixes = recipe.augment.mixes

    def take(self, parts: Sequence[Batch], step: int, rate: float) -> StepResult:
        """Do step number `step` at a factor `rate` of the base learning rate.

        Args:
            parts: this process's share of each micro-batch; some may be empty.
        Raises:
            NonFiniteError: a loss or gradient is not finite; nothing was updated with it.
        """
        clips = [clip for part in parts for clip in part.ids]
        counts = self.team.gather([len(part) for part in parts])
        if not any(map(any, counts)):  # not one clip could be read
            return StepResult(0.0, 0.0, 0.0, 0, dict.fromkeys(self.tasks, 0))
        streams, targets = self._joined(parts, counts, step)
        self.forward.train()
        set_rate(self.optimiser, rate)
        seed_step(self.settings.seed, step, self.team.rank)
        weights = {task: self.team.add(weight) for task, weight in self.loss.weights(targets).items()}
        figures = self._figures()
        begin = 0
        for number, part in enumerate(parts):
            rows = slice(begin, begin := begin + len(part))
            with self._joining(number == len(parts) - 1):
                figures += self._look(
                    {name: x[rows] for name, x in streams.items()},
                    {task: y[rows] for task, y in targets.items()},
                    weights,
                    step / self.steps,
                )
        objective, loss, *right = self.team.add(figures).tolist()
        norm, overflowed = self._update(objective, clips, step)
        counted = dict(zip(self.tasks, map(int, right), strict=True))
        return StepResult(loss, objective, norm, sum(map(sum, counts)), counted, overflowed)

    def _heads(self) -> list[str]:
        """Names of all that the model gives in training."""
        pose_as_training(self.seen)
        with torch.no_grad():
            return list(self.seen(self.nothing))

    def _figures(self) -> Tensor:
        """What is added up over a step: what is minimised, the cross-entropy, and by task how many are right."""
        return torch.zeros(2 + len(self.tasks), dtype=torch.float64, device=self.team.device)

    def _look(
        self,
        streams: dict[str, Tensor],
        targets: dict[str, Tensor],
        weights: dict[str, Tensor],
        progress: float,
    ) -> Tensor:
        """Forward and backward over a micro-batch. Returns its figures."""
        figures = self._figures()
        empty = not len(next(iter(targets.values())))
        if empty and self.team.size == 1:
            return figures
        counting = uncounted(self.model) if empty else nullcontext()
        with autocast(self.precision, self.team.device), counting:
            logits = self.forward(self.nothing if empty else streams)
        if empty:  # the others wait for this process's part of the gradient, which is 0
            torch.stack([x.float().sum() for x in logits.values()]).sum().mul(0).backward()
            return figures
        terms = self.loss(logits, targets, progress)
        total = terms.total(weights)
        self.scaler.scale(total * self.team.size).backward()  # DDP divides by the number of processes
        figures[0], figures[1] = total.detach(), terms.plain_total(weights)
        if not self.mixes:
            for at, (task, y) in enumerate(targets.items(), 2):
                figures[at] = (logits[task].argmax(1) == y).sum()
        return figures

    def _update(self, loss: float, clips: list[str], step: int) -> tuple[float, bool]:
        """Check that all is finite, clip the gradient, move the weights. Returns the gradient's norm, and
        whether fp16 overflowed, which is no error: the scaler skips such a step and goes on more gently."""
        self.scaler.unscale_(self.optimiser)
        limit = self.settings.clip_norm if self.settings.clip_norm is not None else math.inf
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        overflowed = self.scaler.is_enabled() and math.isfinite(loss) and not math.isfinite(norm)
        if not math.isfinite(loss) or not (math.isfinite(norm) or overflowed):
            what = "gradient" if math.isfinite(loss) else "loss"
            named = [clip for share in self.team.gather(clips) for clip in share]
            raise NonFiniteError(
                f"step {step + 1}: the {what} is not finite; nothing was updated. Clips of the step: "
                f"{', '.join(named[:16])}{' ...' if len(named) > 16 else ''}. Look at them, or lower optim.lr."
            )
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        return norm, overflowed

    def _joining(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged once a step, with its last micro-batch."""
        return nullcontext() if last or self.team.size == 1 else self.together.no_sync()  # type: ignore[operator]

    def _joined(
        self, parts: Sequence[Batch], counts: list[list[int]], step: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """This process's clips of the step side by side, mixed where the recipe says so."""
        device = self.team.device
        there = [part.to(device) for part in parts if len(part)]
        streams = {
            name: torch.cat([part.streams[name] for part in there]) if there else empty[:0]
            for name, empty in self.nothing.items()
        }
        none = torch.zeros(0, dtype=torch.int64, device=device)
        targets = {task: torch.cat([none, *(part.targets[task] for part in there)]) for task in self.tasks}
        if not self.mixes:
            return streams, targets
        # mixing is drawn over the whole step, so any clip may be another process's partner
        whole = {name: self._whole(x, counts) for name, x in streams.items()}
        labels = {task: self._whole(y, counts) for task, y in targets.items()}
        rng = np.random.default_rng([self.settings.seed, step, MIX_DRAWS])
        mine = None if self.team.size == 1 else _rows_of(self.team.rank, counts)
        return mix(whole, labels, self.tasks, self.recipe.augment, rng, rows=mine)

    def _whole(self, own: Tensor, counts: list[list[int]]) -> Tensor:
        """The rows of all processes in their order over the whole step."""
        if self.team.size == 1:
            return own
        shares = self.team.gather_rows(own, [sum(part) for part in counts])
        split = [share.split(part) for share, part in zip(shares, counts, strict=True)]
        return torch.cat([rows for part in zip(*split, strict=True) for rows in part])


def _rows_of(rank: int, counts: list[list[int]]) -> np.ndarray:
    """Which rows of the whole step are a process's: int64, in its own order.

    >>> _rows_of(1, [[2, 1], [2, 0]])
    array([2, 3])
    """
    begins = np.cumsum([0, *(count for part in zip(*counts, strict=True) for count in part)])
    ranks = len(counts)
    mine = [
        np.arange(begins[part * ranks + rank], begins[part * ranks + rank + 1])
        for part in range(len(counts[0]))
    ]
    return np.concatenate(mine).astype(np.int64)
