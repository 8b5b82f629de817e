"""The bundle: what a stranger needs to predict, sealed in one folder.

    model.safetensors   the weights
    config.json         model settings, preprocessing, streams and their scales, class names, split hash, calibration
    README.md           the card

Nothing in a bundle is code, and reading one runs none: weights are safetensors, and the model is
named by its kind. What is refused: names or keys that stand twice, numbers that are not finite, and
headers without end, on which readers disagree or choke. The same files give the same bytes: no time and
no path is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn

from mudra.calibration import Calibration, tempered
from mudra.clips.dataset_json import LayoutFacts
from mudra.clips.layouts import plain
from mudra.clips.preprocessing import Preprocessing
from mudra.clips.series import Scale
from mudra.errors import ModelError, MudraError
from mudra.files import read_json as read_json
from mudra.files import read_weights as read_weights
from mudra.files import replace_file, write_json
from mudra.recipe import kind_class
from mudra.sections import ClipSettings
from mudra.settings import Settings, parse
from mudra.types import Prediction, Ranked, Space, StreamInfo, StreamKind

SCHEMA = 1
UNASKED = 2**25  # numbers of a model that is built before anybody has looked at its weights


class StreamSettings(Settings):
    """What a config says of a stream; see `StreamInfo`."""

    kind: StreamKind
    layout: str | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    channels: Annotated[int, Field(ge=1)] | None = None
    space: Space | None = None
    declared: LayoutFacts | None = None

    def info(self) -> StreamInfo:
        """Raises DataError where the declared layout contradicts itself."""
        own = plain(self.declared.layout(self.layout or "")) if self.declared else None
        return StreamInfo(self.kind, self.layout, self.fps, self.channels, self.space, own)


class ScaleSettings(Settings):
    """What a config says of a series' channels; see `Scale`."""

    mean: tuple[float, ...]
    deviation: tuple[Annotated[float, Field(gt=0)], ...]


@dataclass(frozen=True)
class Bundle:
    """A model's settings and everything around it that decides an answer.

    Attributes:
        name: the recipe's.
        tasks: class names by task, in the order of the logits.
        split_hash: of the data it was trained on, so that a comparison can tell whether the split was the same.
        calibration: by task, what `mudra calibrate` found; a task without any answers as the model does.
    """

    name: str
    model: Settings
    preprocessing: Preprocessing
    tasks: Mapping[str, tuple[str, ...]]
    split_hash: str = ""
    calibration: Mapping[str, Calibration] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The model with fresh weights."""
        classes = {task: len(names) for task, names in self.tasks.items()}
        return build_model(self.model, self.preprocessing.inputs, classes)

    def prediction(self, scores: Mapping[str, NDArray[np.float32]]) -> Prediction:
        """The answer that the model's log-probabilities [C] by task give once calibrated, the likeliest class first."""
        ranked = {
            task: _ranked(self.tasks[task], self.calibrated(task, log_C)) for task, log_C in scores.items()
        }
        rejected = frozenset(
            task for task, answer in ranked.items() if answer[0].probability < self.threshold(task)
        )
        return Prediction(ranked, rejected)

    def calibrated(self, task: str, logs: NDArray[np.float32]) -> NDArray[np.float32]:
        """A task's log-probabilities [..., C] at the temperature that the bundle holds, if it holds one."""
        own = self.calibration.get(task)
        return logs if own is None else tempered(logs, own.temperature)

    def threshold(self, task: str) -> float:
        """The probability that the likeliest class needs to be believed; 0 where every answer is."""
        own = self.calibration.get(task)
        return 0.0 if own is None or own.threshold is None else own.threshold

    def config(self) -> dict[str, Any]:
        """What config.json holds."""
        scales = scales_tree(self.preprocessing.scales)
        calibration = {task: own.model_dump(mode="json") for task, own in self.calibration.items()}
        return {
            "schema": SCHEMA,
            "name": self.name,
            "model": self.model.model_dump(mode="json"),
            "clip": self.preprocessing.settings.model_dump(mode="json"),
            "streams": {
                name: _stream_tree(info)
                for name, info in self.preprocessing.streams.items()
                if name in self.preprocessing.settings.streams
            },
            **({"scales": scales} if scales else {}),
            "tasks": {task: list(names) for task, names in self.tasks.items()},
            "split_hash": self.split_hash,
            **({"calibration": calibration} if calibration else {}),
        }


def fitted(model: Settings, preprocessing: Preprocessing) -> Settings:
    """A model's settings with what they ask of the layout of the points filled in: its parts, its bones."""
    kinds = {name: preprocessing.streams[name].kind for name in preprocessing.settings.streams}
    points = next((name for name, kind in kinds.items() if kind == "points"), None)
    if points is None or not hasattr(model, "with_layout"):
        return model
    layout = preprocessing.layout(points)
    filled: Settings = model.with_layout(layout.parts, layout.bones)
    return filled


def scales_tree(scales: Mapping[str, Scale]) -> dict[str, Any]:
    """The scales of series as plain values."""
    return {name: {"mean": list(of.mean), "deviation": list(of.deviation)} for name, of in scales.items()}


def scales_from(tree: Mapping[str, Any], streams: Mapping[str, StreamInfo], place: str) -> dict[str, Scale]:
    """The scales of series from plain values.

    Raises:
        RecipeError, ModelError: they are not those of the streams.
    """
    scales = {}
    for name, values in tree.items():
        found = parse(ScaleSettings, values, f"{place}, scale of {name!r}")
        channels = streams[name].channels if name in streams else None
        if not channels == len(found.mean) == len(found.deviation):
            raise ModelError(
                f"{place}: the scale of {name!r} is not that of {channels} channels. Copy it again."
            )
        scales[name] = Scale(found.mean, found.deviation)
    return scales


def build_model(
    settings: Settings, inputs: Mapping[str, tuple[int, ...]], classes: Mapping[str, int]
) -> nn.Module:
    """The model that settings describe, for streams of these shapes and so many classes a task."""
    kind = getattr(settings, "kind", "")
    model: nn.Module = kind_class("model", kind, "model")(settings, inputs, classes)
    return model


def write_bundle(folder: Path, bundle: Bundle, weights: Mapping[str, Tensor], card: str) -> None:
    """Write a bundle, each file whole or not at all.

    Raises:
        ModelError: a weight is NaN or infinite.
        OutputError: writing failed.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{folder}: weight {name!r} holds NaN or infinity; such a model is not written.")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    replace_file(folder / "model.safetensors", save(contiguous, metadata={"format": "pt"}))
    write_config(folder, bundle)
    replace_file(folder / "README.md", card.encode())


def write_config(folder: Path, bundle: Bundle) -> None:
    """Write a bundle's config alone, whole or not at all: the weights beside it stay."""
    write_json(folder / "config.json", bundle.config())


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle's config.

    Raises:
        ModelError: it is missing, broken, or asks for what this mudra does not have.
    """
    place = folder / "config.json"
    try:
        tree = read_json(place)
    except FileNotFoundError:
        raise ModelError(
            f"{folder}: expected a bundle, but there is no config.json. Give the folder of a run that has been "
            "trained (RUN or RUN/bundle)."
        ) from None
    except (OSError, ValueError) as problem:
        raise ModelError(f"{place}: cannot be read as JSON ({problem}). Copy the bundle again.") from None
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        found = tree.get("schema") if isinstance(tree, dict) else type(tree).__name__
        raise ModelError(f"{place}: found schema {found!r}; this mudra reads schema {SCHEMA}.")
    try:
        bundle = _from_config(tree, str(place))
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise ModelError(f"{place}: it lacks or garbles {problem}. Copy the bundle again.") from None
    except MudraError as problem:
        raise ModelError(str(problem)) from None
    _refuse_unbuildable(bundle, place)
    return bundle


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], place: Path) -> None:
    """Put weights into a model, every one of them and no others.

    Raises:
        ModelError: names or shapes do not fit, or a weight is not finite.
    """
    refuse_misfits(weights, model.state_dict(), place)
    model.load_state_dict(dict(weights))


def refuse_misfits(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], place: Path) -> None:
    """Refuse weights that are not, name by name, of the shapes and types of a model's own.

    Raises:
        ModelError: they are not, or one is not finite.
    """
    for name in sorted(own.keys() ^ weights.keys()):
        side = "is missing" if name in own else "has no place in this model"
        raise ModelError(f"{place}: weight {name!r} {side}; the file belongs to other model settings.")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"{place}: weight {name!r} has shape {list(tensor.shape)}, the model expects {list(own[name].shape)}."
            )
        if tensor.dtype != own[name].dtype:  # a finite number of a wider type may be infinite in the model
            raise ModelError(
                f"{place}: weight {name!r} is of type {tensor.dtype}, the model expects {own[name].dtype}."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{place}: weight {name!r} holds NaN or infinity; such a model is not used.")


def _refuse_unbuildable(bundle: Bundle, place: Path) -> None:
    """Build the model without memory: its settings make sense, and a large one has weights to match."""
    try:
        with torch.device("meta"):
            count = sum(tensor.numel() for tensor in bundle.build().state_dict().values())
    except (MudraError, RuntimeError) as problem:  # RuntimeError: sizes beyond all machines
        raise ModelError(f"{place}: {str(problem).partition(chr(10))[0]}. Copy the bundle again.") from None
    weights = place.with_name("model.safetensors")
    if count > UNASKED and not (weights.is_file() and weights.stat().st_size >= count):
        raise ModelError(
            f"{place}: describes a model of {count:,} numbers, which {weights} does not hold. Copy the bundle again."
        )


def _from_config(tree: Mapping[str, Any], place: str) -> Bundle:
    model_class = kind_class("model", tree["model"].get("kind"), f"{place}, model")
    streams = {}
    for name, values in tree["streams"].items():
        streams[name] = parse(StreamSettings, values, f"{place}, stream {name!r}").info()
    for task, names in tree["tasks"].items():
        listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not listed or not names or len(set(names)) < len(names):
            raise ModelError(f"{place}, task {task!r}: expected its class names, each once.")
    tasks = {task: tuple(names) for task, names in tree["tasks"].items()}
    if not tasks:
        raise ModelError(f"{place}: it names no task.")
    clip = parse(ClipSettings, tree["clip"], f"{place}, clip")
    preprocessing = Preprocessing(clip, streams, scales_from(tree.get("scales", {}), streams, place))
    if missing := sorted(preprocessing.unscaled):
        raise ModelError(f"{place}: it lacks the scale of {', '.join(missing)}.")
    return Bundle(
        name=str(tree["name"]),
        model=parse(model_class.Settings, tree["model"], f"{place}, model"),
        preprocessing=preprocessing,
        tasks=tasks,
        split_hash=str(tree["split_hash"]),
        calibration=_calibration_from(tree.get("calibration", {}), tasks, place),
    )


def _calibration_from(
    tree: Mapping[str, Any], tasks: Mapping[str, tuple[str, ...]], place: str
) -> dict[str, Calibration]:
    found = {}
    for task, values in tree.items():
        if task not in tasks:
            raise ModelError(f"{place}: it is calibrated for {task!r}, which is none of its tasks.")
        found[task] = parse(Calibration, values, f"{place}, calibration of {task!r}")
    return found


def _stream_tree(info: StreamInfo) -> dict[str, Any]:
    more = {"channels": info.channels, "space": info.space, "declared": info.declared}
    known = {key: value for key, value in more.items() if value is not None}
    return {"kind": info.kind, "layout": info.layout, "fps": info.fps, **known}


def _ranked(names: tuple[str, ...], log_C: NDArray[np.float32]) -> tuple[Ranked, ...]:
    order = np.argsort(-log_C, kind="stable")
    return tuple(Ranked(names[i], float(np.exp(log_C[i]))) for i in order)
