"""Clips become batches. What a sample looks like depends on (seed, epoch, its place) alone.

The order of an epoch is drawn once for all processes; a sample's own randomness is drawn from its
place in that order. So the number of workers, the number of processes and a restart change nothing.
A clip that cannot be read is never hidden: it comes out as a failure, and the caller decides.
"""

import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mudra.clips.altered import Alteration
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.clips.watch import Watch, Watched
from mudra.errors import DataError
from mudra.sections import AugmentSettings
from mudra.types import UNLABELLED

DEATH = 1.0  # seconds that a loader process may take to die
LOOK = 2.0  # seconds between two looks at what the loader processes are at


@dataclass(frozen=True, slots=True)
class Place:
    """Which clip, and where in the training it is looked at."""

    clip: int
    epoch: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip as the model takes it, or the reason why it could not be read."""

    id: str
    clip: int
    streams: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    failure: str = ""


@dataclass(slots=True)
class Batch:
    """Samples side by side.

    Attributes:
        ids, clips: which clips, and their numbers in the manifest.
        streams: float32 [B,...] by stream.
        targets: int64 [B] by task, UNLABELLED where the class is not known.
        failures: clips that could not be read, with the reason; they are not in the tensors.
    """

    ids: list[str]
    clips: list[int]
    streams: dict[str, Tensor]
    targets: dict[str, Tensor]
    failures: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "Batch":
        """The same batch with its tensors on `device`."""
        self.streams = {name: x.to(device, non_blocking=True) for name, x in self.streams.items()}
        self.targets = {task: y.to(device, non_blocking=True) for task, y in self.targets.items()}
        return self

    def pin_memory(self) -> "Batch":
        """Called by the loader on a GPU machine."""
        self.streams = {name: x.pin_memory() for name, x in self.streams.items()}
        return self


class Clips(Dataset[Sample]):
    """What a training or an evaluation looks at, by place.

    Attributes:
        inputs: shape of what the model takes of one clip, by stream.
    """

    manifest: Manifest
    inputs: dict[str, tuple[int, ...]]


class EvaluationClips(Clips):
    """Clips as evaluation sees them: float32 [V,...] by stream, nothing drawn."""

    def __init__(self, manifest: Manifest, preprocessing: Preprocessing, views: Views) -> None:
        self.manifest = manifest
        self.preprocessing = preprocessing
        self.inputs = preprocessing.inputs
        self.views = views

    def __getitem__(self, place: Place) -> Sample:
        clip = self.manifest[place.clip]
        targets = {task: int(numbers[place.clip]) for task, numbers in self.manifest.labels.items()}
        try:
            return Sample(clip.id, place.clip, self.preprocessing.read(clip, self.views), targets)
        except DataError as problem:
            return Sample(clip.id, place.clip, failure=str(problem))


class TrainingClips(Clips):
    """Clips as training sees them, drawn anew in every epoch: the shapes are those of `Preprocessing.inputs`."""

    def __init__(
        self, manifest: Manifest, preprocessing: Preprocessing, settings: AugmentSettings, seed: int
    ) -> None:
        self.manifest = manifest
        self.preprocessing = preprocessing
        self.inputs = preprocessing.inputs
        self.settings = settings
        self.seed = seed
        sided = settings.flip_is_harmless or all(manifest.mirror.get(task) for task in manifest.tasks)
        self.may_flip = sided and preprocessing.has_mirror
        self.alteration = Alteration(preprocessing, settings, self.may_flip)
        self.mirrored = {
            task: np.array([names.index(manifest.mirror.get(task, {}).get(name, name)) for name in names])
            for task, names in manifest.tasks.items()
        }

    def __getitem__(self, place: Place) -> Sample:
        clip = self.manifest[place.clip]
        targets = {task: int(numbers[place.clip]) for task, numbers in self.manifest.labels.items()}

        def generator() -> np.random.Generator:
            return np.random.default_rng([self.seed, place.epoch, place.position])

        try:
            streams, flip = self.alteration.look(clip, generator)
        except DataError as problem:
            return Sample(clip.id, place.clip, failure=str(problem))
        if flip:
            targets = {task: int(self.mirrored[task][number]) for task, number in targets.items()}
        return Sample(clip.id, place.clip, streams, targets)


def epoch_order(manifest: Manifest, seed: int, epoch: int, *, balanced: bool = False) -> NDArray[np.int64]:
    """The clips of one epoch, in order, the same in every process.

    Args:
        balanced: draw with replacement so that every class of the first task comes equally often.
    Returns:
        int64 [len(manifest)], numbers of clips.
    """
    rng = np.random.default_rng([seed, epoch, 0x0E])
    count = len(manifest)
    if not balanced:
        return rng.permutation(count).astype(np.int64)
    targets = manifest.targets(next(iter(manifest.tasks)))
    chance = 1.0 / np.bincount(targets)[targets]
    return rng.choice(count, size=count, p=chance / chance.sum()).astype(np.int64)


def training_batches(
    order: NDArray[np.int64],
    epoch: int,
    batch: int,
    accumulate: int,
    first_step: int = 0,
    share: Callable[[int], slice] = slice,
) -> list[list[Place]]:
    """The micro-batches of an epoch from `first_step` on: `accumulate` of them make an optimiser step.

    The last step holds what is left; its micro-batches may be short or empty, so that every step has
    `accumulate` of them.

    Args:
        share: which of so many neighbours one process reads; all of them by default.
    """
    window = batch * accumulate
    batches = []
    for start in range(first_step * window, len(order), window):
        for part in range(accumulate):
            begin = start + part * batch
            end = min(begin + batch, start + window)
            places = [Place(int(n), epoch, begin + i) for i, n in enumerate(order[begin:end])]
            batches.append(places[share(len(places))])
    return batches


def steps_per_epoch(clips: int, batch: int, accumulate: int) -> int:
    """Optimiser steps in one epoch, the short last one counted."""
    return -(-clips // (batch * accumulate))


class Batches:
    """A loader whose processes live as long as it does; give it the places to read, get batches.

    Args:
        workers: loader processes; 0 reads in this process, where nothing can be limited.
        limit: seconds that one clip may take to read.
    """

    def __init__(
        self,
        clips: Clips,
        workers: int,
        *,
        pin: bool = False,
        tasks: Sequence[str],
        limit: float = 20.0,
    ) -> None:
        self._places: list[list[Place]] = []
        self._manifest = clips.manifest
        self._limit = limit
        self._watch = Watch(workers)
        self._loader: DataLoader[Sample] | None = DataLoader(
            Watched(clips, self._watch) if workers else clips,
            batch_sampler=_Given(self._places),
            num_workers=workers,
            collate_fn=_Collate(tuple(tasks)),
            pin_memory=pin,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers > 0 else None,
            timeout=min(LOOK, limit) if workers > 0 else 0,
            worker_init_fn=self._watch.starts,
            generator=torch.Generator(),  # its own: the loader must not draw from training's randomness
        )
        weakref.finalize(self, self._watch.end)  # or a hung process would hold up the end of the program

    def read(self, places: Sequence[list[Place]]) -> Generator[Batch]:
        """The batches of `places`, in that order.

        Raises:
            DataError: a loader process died, or reads one clip for longer than the limit.
        """
        assert self._loader is not None, "closed"
        self._places[:] = places
        batches = iter(self._loader)
        while True:
            with self.watched():
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                except RuntimeError as problem:
                    if "timed out" in str(problem) and self._watch.hung(self._limit) is None:
                        continue  # many clips are read slowly; none of them too slowly
                    raise
                except (
                    EOFError,
                    ConnectionError,
                ) as problem:  # a batch is fetched from the process that made it
                    raise RuntimeError(f"DataLoader: it took a batch with it, {problem!r}") from None
            yield batch

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell the clip when a loader process is lost. Torch reports that anywhere in the main thread, so
        all that is done with the batches belongs into this block.

        Raises:
            DataError: in place of torch's error, which names a process number alone.
        """
        try:
            yield
        except RuntimeError as problem:
            if "DataLoader" not in str(problem):
                raise
            hung = self._watch.hung(self._limit)
            dead = self._watch.dead(patience=DEATH if hung is None else 0.0)
            self.close()
            clip = dead if dead is not None else hung
            where = f"clip {self._manifest[clip].id!r}" if clip is not None else "between two clips"
            if dead is None and hung is not None:
                raise DataError(
                    f"{where}: reading it took more than {self._limit:g} s; leave it out, convert it, or raise "
                    "train.read_limit."
                ) from None
            raise DataError(
                f"{where}: a loader process was lost while it read ({' '.join(str(problem).split())}); is there enough "
                "memory? `mudra data check` finds clips that crash a decoder."
            ) from None

    def close(self) -> None:
        """End the loader processes, those that hang as well."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None:  # torch must let go of its processes before they may be killed
            iterator._shutdown_workers()
        self._loader = None
        self._watch.end()


class _Given(Sampler[list[Place]]):
    """A batch sampler that hands out whatever list it was made over holds at that time."""

    def __init__(self, places: list[list[Place]]) -> None:
        self._places = places

    def __iter__(self) -> Iterator[list[Place]]:
        return iter(list(self._places))

    def __len__(self) -> int:
        return len(self._places)


@dataclass(frozen=True)
class _Collate:
    tasks: tuple[str, ...]

    def __call__(self, samples: list[Sample]) -> Batch:
        good = [sample for sample in samples if not sample.failure]
        names = good[0].streams if good else ()
        return Batch(
            ids=[sample.id for sample in good],
            clips=[sample.clip for sample in good],
            streams={name: torch.from_numpy(np.stack([s.streams[name] for s in good])) for name in names},
            targets={
                task: torch.tensor([s.targets.get(task, UNLABELLED) for s in good], dtype=torch.int64)
                for task in self.tasks
            },
            failures=[(sample.id, sample.failure) for sample in samples if sample.failure],
        )
