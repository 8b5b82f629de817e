"""A trained model looks at clips; what it said of each becomes a prediction table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from torch import nn

from mudra.clips.loader import Batches, Clips, EvaluationClips, Place
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.errors import DataError
from mudra.models.scoring import log_probabilities
from mudra.predictions.table import PredictionTable, TaskScores
from mudra.progress import Progress, silent
from mudra.training.hardware import Precision, autocast
from mudra.training.ranks import Team
from mudra.types import UNLABELLED


class Evaluator:
    """Scores every clip of a manifest exactly once, on any number of processes; the answers stand in its order.

    Args:
        manifest: its classes stand in the order of the model's logits.
        team: whole batches are dealt out to its processes, so that a clip has the same neighbours, and the
            same answer to the last bit, whoever looks at it.
        tolerant: leave out clips that cannot be read instead of refusing; only for judging train,
            where the training itself already counted and listed them.
        limit: seconds that a loader process may take for one clip.
        looked_at: what is read in place of the clips' files; then nothing is left to loader processes.
    """

    def __init__(
        self,
        manifest: Manifest,
        preprocessing: Preprocessing,
        *,
        batch: int,
        workers: int,
        team: Team,
        precision: Precision = "fp32",
        views: Views = Views(),  # noqa: B008
        tolerant: bool = False,
        limit: float = 20.0,
        looked_at: Clips | None = None,
    ) -> None:
        self.manifest = manifest
        self.tolerant = tolerant
        self.team = team
        self.precision = precision
        self.batches = Batches(
            looked_at or EvaluationClips(manifest, preprocessing, views),
            0 if looked_at else workers,
            pin=team.device.type == "cuda",
            tasks=tuple(manifest.tasks),
            limit=limit,
        )
        size = max(1, batch // (views.clips * views.crops))
        numbers = manifest.reading_order().tolist()
        places = [[Place(n) for n in numbers[i : i + size]] for i in range(0, len(manifest), size)]
        self.places = places[team.rank :: team.size]
        self.rounds = -(-len(places) // team.size)  # some processes have nothing to do in the last

    def predict(
        self, model: nn.Module, progress: Progress = silent, check: Callable[[], None] = lambda: None
    ) -> PredictionTable:
        """Score the clips.

        Args:
            model: {stream: [B,...]} -> {task: logits}; put into evaluation mode here.
            progress: hears how many clips are done.
            check: called before every batch, equally often in all processes; what it raises ends the work.
        Raises:
            DataError: a clip cannot be read. Nothing is ever put in its place.
        """
        model.eval()
        scores: dict[str, list[np.ndarray]] = {task: [] for task in self.manifest.tasks}
        read: list[int] = []
        with self.batches.watched():
            batches = self.batches.read(self.places)
            for number in range(self.rounds):
                check()
                batch = next(batches) if number < len(self.places) else None
                if batch is None:
                    continue
                for clip, reason in () if self.tolerant else batch.failures:
                    raise DataError(f"{reason} (clip {clip!r}; `mudra data check` lists all such clips)")
                if not len(batch):
                    continue
                with autocast(self.precision, self.team.device):
                    found = log_probabilities(model, batch.to(self.team.device).streams)
                for task, log_BC in found.items():
                    scores[task].append(log_BC.numpy())
                read += batch.clips
                progress(
                    "evaluating", min(len(read) * self.team.size, len(self.manifest)), len(self.manifest)
                )
        batches.close()
        return self._table(read, scores)

    def _table(self, read: list[int], scores: dict[str, list[np.ndarray]]) -> PredictionTable:
        """What all processes found, in the manifest's order, in every process."""
        shares = self.team.gather(
            (read, {task: np.concatenate(parts) for task, parts in scores.items() if parts})
        )
        clips = np.concatenate([np.asarray(share, np.int64) for share, _ in shares])
        if not len(clips):
            raise DataError(f"{self.manifest.name}: not one of {len(self.manifest)} clips can be read.")
        order = np.argsort(clips)
        whole = {
            task: np.concatenate([found[task] for _, found in shares if task in found])[order]
            for task in scores
        }
        return table_of(self.manifest.select(clips[order].tolist()), whole)


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
        subsets=manifest.subsets,
    )


def quick_scores(
    table: PredictionTable, task_weights: Mapping[str, float] = MappingProxyType({})
) -> tuple[float, dict[str, float]]:
    """Loss, and top-1 by task: what an epoch is judged by.

    Args:
        task_weights: as the training adds up its tasks' losses (1 where none is said), so that both are of one kind.
    """
    losses, top1 = [], {}
    for task, scores in table.tasks.items():
        known = scores.truth != UNLABELLED
        if not known.any():
            continue
        truth, logs = scores.truth[known], scores.log_probabilities[known]
        losses.append(-float(logs[np.arange(len(truth)), truth].mean()) * task_weights.get(task, 1.0))
        top1[task] = float((logs.argmax(1) == truth).mean())
    return (sum(losses) if losses else float("nan")), top1
