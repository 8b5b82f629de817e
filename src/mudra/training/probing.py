"""A linear probe: what a frozen network makes of each clip is computed once, and its classifiers learn from that.

Features lie in `$XDG_CACHE_HOME/mudra/features`, else in `~/.cache/mudra/features`, a file a clip, under a name made of
all that they depend on: the weights, what is looked at and how it is altered, the clip's files. So other classifiers,
folds and seeds of their shuffling find them there, a cut training goes on with those that are done, and whatever
changes is computed anew. What lies there may be removed at any time.

Each look at each clip goes through the network alone, so that it comes out the same whoever asked for it.

Axes: V looks at a clip, D width of what the classifiers read.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mudra.bundle import Bundle
from mudra.clips.loader import Batch, Batches, Clips, EvaluationClips, Place, Sample, TrainingClips
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Views
from mudra.files import cache_folder, replace_file
from mudra.progress import Progress, Say
from mudra.recipe import Recipe
from mudra.training.hardware import autocast, evaluation_precision
from mudra.training.ranks import Team

FEATURES = "features"  # the only stream that classifiers take
REVISION = 1  # of what a file of features means


@dataclass(frozen=True)
class Looks:
    """What a frozen network made of several looks at one clip.

    Attributes:
        features: float32 [V, D].
        targets: int64 [V, tasks], of the clip as it was looked at; a flip may change them.
    """

    features: NDArray[np.float32]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.features)


class Classifiers(nn.Module):
    """The classifiers of a model as a network of their own: {"features": [B, D]} -> {task: logits}."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.heads = model.get_submodule("heads")

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits: dict[str, Tensor] = self.heads(streams[FEATURES])
        return logits


def freeze_all_but_classifiers(model: nn.Module) -> None:
    """Let nothing learn but what `heads` holds."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("heads."))


class FeatureClips(Clips):
    """Clips of which a network's features are known: the samples of a training, or of evaluation, without a file.

    Epoch e takes look e, and begins again with the first when there are no more.

    Args:
        clips: as they are read.
        width: D.
    """

    def __init__(self, clips: TrainingClips | EvaluationClips, looks: int, width: int) -> None:
        self.clips = clips
        self.manifest = clips.manifest
        self.looks = looks
        self.views = isinstance(clips, EvaluationClips)  # whose samples have an axis for views
        self.inputs = {FEATURES: (width,)}
        self.known: dict[int, Looks] = {}
        self.failures: dict[int, str] = {}

    def __getitem__(self, place: Place) -> Sample:
        name = self.manifest[place.clip].id
        if place.clip in self.failures:
            return Sample(name, place.clip, failure=self.failures[place.clip])
        known, look = self.known[place.clip], place.epoch % self.looks
        features = known.features[look]
        if self.views:
            features = features[None]
        targets = dict(zip(self.manifest.tasks, known.targets[look].tolist(), strict=True))
        return Sample(name, place.clip, {FEATURES: features}, targets)


class Probing:
    """Computes the features of clips, or finds them in the cache.

    Args:
        model: what makes the features, with the weights that it has when `fill` is called.
        bundle: the model's settings, and what is looked at.
    """

    def __init__(self, recipe: Recipe, model: nn.Module, bundle: Bundle, team: Team) -> None:
        self.recipe, self.model, self.bundle, self.team = recipe, model, bundle, team
        self.width = int(model.feature_width)  # type: ignore[arg-type]
        self.precision = evaluation_precision(recipe, team.device)
        self.sets: list[FeatureClips] = []

    def training(self, clips: TrainingClips) -> FeatureClips:
        """The clips of a training as features, once they are filled."""
        self.sets.append(FeatureClips(clips, self.recipe.train.probe or 1, self.width))
        return self.sets[-1]

    def evaluation(self, manifest: Manifest) -> FeatureClips:
        """Clips as evaluation sees them, as features, once they are filled."""
        clips = EvaluationClips(manifest, self.bundle.preprocessing, Views())
        self.sets.append(FeatureClips(clips, 1, self.width))
        return self.sets[-1]

    def fill(self, say: Say, progress: Progress, check: Callable[[], None]) -> None:
        """Compute what is not in the cache.

        Args:
            check: called before every clip, equally often in all processes. What it raises ends the work, and what is
                done by then stays in the cache.
        """
        common = self._facts()
        wanted = sum(clips.looks * len(clips.manifest) for clips in self.sets)
        found = sum(self._fill(clips, common, progress, check) for clips in self.sets)
        say(f"{wanted:,} looks at clips are features now; {found:,} of them were in the cache")

    def _fill(
        self, clips: FeatureClips, common: dict[str, Any], progress: Progress, check: Callable[[], None]
    ) -> int:
        """The features of some clips; returns how many looks were known."""
        files = [_file(common | _facts_of(clips, number)) for number in range(len(clips.manifest))]
        mine = range(len(files))[self.team.rank :: self.team.size]
        known = {number: _read(files[number], clips, self.width) for number in mine}
        lacking = {number: range(len(looks), clips.looks) for number, looks in known.items()}
        batches = Batches(
            clips.clips,
            self.recipe.train.workers,
            tasks=tuple(clips.manifest.tasks),
            limit=self.recipe.train.read_limit,
        )
        places = [[_place(clips, number, look)] for number in mine for look in lacking[number]]
        self.model.eval()
        with batches.watched():
            read = batches.read(places)
            for turn in range(-(-len(files) // self.team.size)):
                check()
                if turn >= len(mine):
                    continue  # another process has one clip more
                number = mine[turn]
                seen = [next(read) for _ in lacking[number]]
                failures = [reason for batch in seen for _, reason in batch.failures]
                if failures:
                    clips.failures[number] = failures[0]
                    continue
                clips.known[number] = _joined(
                    [known[number], *(self._look(batch, clips.views) for batch in seen)]
                )
                if seen:
                    _write(files[number], clips.known[number])
                progress("looking once", min((turn + 1) * self.team.size, len(files)), len(files))
        batches.close()
        for whole, failures_there in self.team.gather((clips.known, clips.failures)):
            clips.known |= whole
            clips.failures |= failures_there
        return sum(self.team.gather(sum(min(len(looks), clips.looks) for looks in known.values())))

    @torch.inference_mode()
    def _look(self, batch: Batch, views: bool) -> Looks:
        """One look at one clip."""
        targets = [int(numbers) for numbers in batch.targets.values()]
        streams = batch.to(self.team.device).streams
        if views:
            streams = {name: x.flatten(0, 1) for name, x in streams.items()}
        with autocast(self.precision, self.team.device):
            features = self.model.features(streams)  # type: ignore[operator]
        return Looks(features.float().cpu().numpy(), np.array([targets], np.int64))

    def _facts(self) -> dict[str, Any]:
        """What the features of all clips depend on."""
        config = self.bundle.config()
        weights = {name: x for name, x in self.model.state_dict().items() if not name.startswith("heads.")}
        return {
            "revision": REVISION,
            "torch": torch.__version__,
            "computed": [self.team.device.type, self.precision, self.recipe.train.matmul],
            "weights": _digest(weights),
            **{key: config[key] for key in ("model", "clip", "streams", "tasks")},
            "scales": config.get("scales", {}),
        }


def _facts_of(clips: FeatureClips, number: int) -> dict[str, Any]:
    """What the features of one clip depend on, besides."""
    clip, manifest = clips.manifest[number], clips.manifest
    facts: dict[str, Any] = {
        "which": [clip.id, clip.start, clip.stop],
        "files": {name: _stamp(path) for name, path in sorted(clip.streams.items())},
        "labels": {task: int(numbers[number]) for task, numbers in manifest.labels.items()},
    }
    if isinstance(clips.clips, TrainingClips):
        facts["mirror"] = {task: dict(table) for task, table in manifest.mirror.items()}
        facts["altered"] = [
            clips.clips.settings.model_dump(mode="json"),
            clips.clips.seed,
            clips.clips.may_flip,
        ]
    return facts


def _place(clips: FeatureClips, number: int, look: int) -> Place:
    """Where a look is drawn: by the clip's own name, so that it is the same in every fold."""
    name = clips.manifest[number].id.encode()
    return Place(number, look, int.from_bytes(hashlib.sha256(name).digest()[:4], "little"))


def _stamp(path: Path) -> list[Any]:
    """A file, and when it changed last."""
    try:
        status = path.stat()
    except OSError:
        return [str(path)]  # reading it will tell
    return [str(path.resolve()), status.st_mtime_ns, status.st_size]


def _digest(weights: Mapping[str, Tensor]) -> str:
    """A fingerprint of weights, whatever device they are on."""
    digest = hashlib.sha256()
    for name, x in sorted(weights.items()):
        digest.update(f"{name} {x.dtype} {list(x.shape)}".encode())
        digest.update(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _file(facts: Mapping[str, Any]) -> Path:
    """Where in the cache the features of a clip lie."""
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "features" / name[:2] / f"{name[2:40]}.npz"


def _joined(parts: Sequence[Looks]) -> Looks:
    return Looks(
        np.concatenate([part.features for part in parts]), np.concatenate([part.targets for part in parts])
    )


def _write(file: Path, looks: Looks) -> None:
    content = io.BytesIO()
    np.savez(content, features=looks.features, targets=looks.targets)
    replace_file(file, content.getvalue())


def _read(file: Path, clips: FeatureClips, width: int) -> Looks:
    """The looks that the cache has of a clip; none where there is no whole file of them."""
    tasks = len(clips.manifest.tasks)
    nothing = Looks(np.zeros((0, width), np.float32), np.zeros((0, tasks), np.int64))
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as found:
            looks = Looks(found["features"], found["targets"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return nothing
    fits = looks.features.shape == (len(looks), width) and looks.targets.shape == (len(looks), tasks)
    whole = looks.features.dtype == np.float32 and looks.targets.dtype == np.int64
    return looks if fits and whole else nothing
