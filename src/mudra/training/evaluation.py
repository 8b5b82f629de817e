"""A trained model looks at clips; what it said of each becomes a prediction table."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mudra.clips.loader import Batches, EvaluationClips, Place
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.errors import DataError
from mudra.models.scoring import log_probabilities
from mudra.predictions.table import PredictionTable, TaskScores
from mudra.progress import Progress, silent
from mudra.training.hardware import Precision, autocast
from mudra.types import UNLABELLED


class Evaluator:
    """Scores every clip of a manifest exactly once, in the manifest's order.

    Args:
        manifest: its classes stand in the order of the model's logits.
        tolerant: leave out clips that cannot be read instead of refusing; only for judging train,
            where the training itself already counted and listed them.
    """

    def __init__(
        self,
        manifest: Manifest,
        preprocessing: Preprocessing,
        *,
        batch: int,
        workers: int,
        device: torch.device,
        precision: Precision = "fp32",
        views: Views = Views(),  # noqa: B008
        tolerant: bool = False,
    ) -> None:
        self.manifest = manifest
        self.tolerant = tolerant
        self.device = device
        self.precision = precision
        self.batches = Batches(
            EvaluationClips(manifest, preprocessing, views),
            workers,
            pin=device.type == "cuda",
            tasks=tuple(manifest.tasks),
        )
        size = max(1, batch // (views.clips * views.crops))
        numbers = range(len(manifest))
        self.places = [[Place(n) for n in numbers[i : i + size]] for i in range(0, len(manifest), size)]

    def predict(self, model: nn.Module, progress: Progress = silent) -> PredictionTable:
        """Score the clips.

        Args:
            model: {stream: [B,...]} -> {task: logits}; put into evaluation mode here.
            progress: hears how many clips are done.
        Raises:
            DataError: a clip cannot be read. Nothing is ever put in its place.
        """
        model.eval()
        scores: dict[str, list[np.ndarray]] = {task: [] for task in self.manifest.tasks}
        read: list[int] = []
        for batch in self.batches.read(self.places):
            for clip, reason in () if self.tolerant else batch.failures:
                raise DataError(f"{reason} (clip {clip!r}; `mudra data check` lists all such clips)")
            if not len(batch):
                continue
            with autocast(self.precision, self.device):
                found = log_probabilities(model, batch.to(self.device).streams)
            for task, log_BC in found.items():
                scores[task].append(log_BC.numpy())
            read += batch.clips
            progress("evaluating", len(read), len(self.manifest))
        if not read:
            raise DataError(f"{self.manifest.name}: not one of {len(self.manifest)} clips can be read.")
        return table_of(
            self.manifest.select(read), {task: np.concatenate(parts) for task, parts in scores.items()}
        )


def table_of(manifest: Manifest, scores: dict[str, np.ndarray]) -> PredictionTable:
    """Join scores [N,C] by task, in the manifest's order, with what the manifest knows of the clips."""
    clips = list(manifest)
    starts = [np.nan if clip.start is None else clip.start for clip in clips]
    stops = [np.nan if clip.stop is None else clip.stop for clip in clips]
    windows = bool(np.isfinite(starts).all() and np.isfinite(stops).all()) and bool(clips)
    return PredictionTable(
        clips=tuple(clip.id for clip in clips),
        groups=tuple(clip.group for clip in clips),
        tasks={
            task: TaskScores(names, manifest.targets(task), scores[task].astype(np.float32))
            for task, names in manifest.tasks.items()
        },
        start=np.asarray(starts) if windows else None,
        stop=np.asarray(stops) if windows else None,
    )


def quick_scores(table: PredictionTable) -> tuple[float, dict[str, float]]:
    """Mean loss over the tasks, and top-1 by task: what an epoch is judged by."""
    losses, top1 = [], {}
    for task, scores in table.tasks.items():
        known = scores.truth != UNLABELLED
        if not known.any():
            continue
        truth, logs = scores.truth[known], scores.log_probabilities[known]
        losses.append(-float(logs[np.arange(len(truth)), truth].mean()))
        top1[task] = float((logs.argmax(1) == truth).mean())
    return (float(np.mean(losses)) if losses else float("nan")), top1
