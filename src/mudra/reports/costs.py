"""What a run's model costs: how large it is, how much it computes, how long it takes on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mudra.bundle import Bundle, load_weights, read_bundle, read_weights
from mudra.models import count_parameters, flops
from mudra.models.counting import peak_memory
from mudra.progress import Progress, silent
from mudra.training.run_folder import RunFolder

TURNS = 9  # at the least
MOST_TURNS = 200
ENOUGH = 5.0  # seconds of turns, after which a median is steady enough on a machine that is not idle
UNSTEADY = 1.5  # times the lower quartile is the upper one


@dataclass(frozen=True, slots=True)
class Cost:
    """One clip through a model on the CPU.

    Attributes:
        parameters: trainable ones. flops: of one forward pass. memory: bytes, as `models.counting.peak_memory` says.
        seconds: median of one forward pass on one clip; None where it was not measured.
        quartiles: between which half of the passes took, where they were measured.
    """

    parameters: int
    flops: int
    memory: int
    seconds: float | None = None
    quartiles: tuple[float, float] | None = None

    @property
    def unsteady(self) -> bool:
        """Whether passes took so unlike times that the median says little."""
        return self.quartiles is not None and self.quartiles[1] > UNSTEADY * self.quartiles[0]


def costs(runs: Mapping[str, Path], *, latency: bool = True, progress: Progress = silent) -> dict[str, Cost]:
    """The cost of each run that has a model; of a run in folds, that of its first fold's.

    Args:
        latency: also measure seconds: all models in turns, so that what else the machine does falls on all alike.
    Raises:
        ModelError: a bundle is broken.
    """
    models: dict[str, tuple[nn.Module, dict[str, Tensor]]] = {}
    found = {}
    for name, path in runs.items():
        folder = bundle_of(path)
        if folder is None:
            continue
        bundle = read_bundle(folder)
        inputs = bundle.preprocessing.inputs
        with torch.device("meta"):
            ghost = bundle.build()
        found[name] = Cost(count_parameters(ghost), flops(ghost, inputs), peak_memory(ghost, inputs))
        if latency:
            models[name] = _loaded(bundle, folder), _clip(inputs)
    for name, taken in (_in_turns(models, progress) if models else {}).items():
        low, median, high = statistics.quantiles(taken, n=4)
        found[name] = replace(found[name], seconds=median, quartiles=(low, high))
    return found


def bundle_of(run: Path) -> Path | None:
    """Where a run's model lies; None where predictions are all it has."""
    places = [RunFolder(run).bundle, RunFolder(run).fold(1).bundle]
    return next((place for place in places if (place / "config.json").is_file()), None)


def _loaded(bundle: Bundle, folder: Path) -> nn.Module:
    model = bundle.build().eval()
    place = folder / "model.safetensors"
    load_weights(model, read_weights(place), place)
    return model


def _clip(inputs: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(1, *shape, generator=generator) for name, shape in inputs.items()}


@torch.inference_mode()
def _in_turns(
    models: Mapping[str, tuple[nn.Module, dict[str, Tensor]]], progress: Progress
) -> dict[str, list[float]]:
    """Seconds of forward passes of each, after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(MOST_TURNS + 1):
        spent = sum(map(sum, taken.values()))
        if turn > TURNS and spent >= ENOUGH:
            break
        progress("timing the models", turn, MOST_TURNS + 1)
        for name, (model, clip) in models.items():
            begin = time.perf_counter()
            model(clip)
            if turn:
                taken[name].append(time.perf_counter() - begin)
    return taken
