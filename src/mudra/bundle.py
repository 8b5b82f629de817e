"""The bundle: what a stranger needs to predict, sealed in one folder.

    model.safetensors   the weights
    config.json         model settings, preprocessing, streams, class names, split hash
    README.md           the card

Nothing in a bundle is code, and reading one runs none: weights are safetensors, and the model is
named by its kind. The same files give the same bytes: no time and no path is in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mudra.clips.preprocessing import Preprocessing
from mudra.errors import ModelError, MudraError
from mudra.files import replace_file, write_json
from mudra.recipe import ClipSettings, kind_class
from mudra.settings import Settings, parse
from mudra.types import StreamInfo

SCHEMA = 1
CONFIG_LIMIT = 16 * 2**20  # bytes; the largest label sets need a few hundred kilobytes


@dataclass(frozen=True)
class Bundle:
    """A model's settings and everything around it that decides an answer.

    Attributes:
        name: the recipe's.
        tasks: class names by task, in the order of the logits.
        split_hash: of the data it was trained on, so that a comparison can tell whether the split was the same.
    """

    name: str
    model: Settings
    preprocessing: Preprocessing
    tasks: Mapping[str, tuple[str, ...]]
    split_hash: str = ""

    def build(self) -> nn.Module:
        """The model with fresh weights."""
        classes = {task: len(names) for task, names in self.tasks.items()}
        return build_model(self.model, self.preprocessing.inputs, classes)

    def config(self) -> dict[str, Any]:
        """What config.json holds."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "model": self.model.model_dump(mode="json"),
            "clip": self.preprocessing.settings.model_dump(mode="json"),
            "streams": {
                name: {"kind": info.kind, "layout": info.layout, "fps": info.fps}
                for name, info in self.preprocessing.streams.items()
                if name in self.preprocessing.settings.streams
            },
            "tasks": {task: list(names) for task, names in self.tasks.items()},
            "split_hash": self.split_hash,
        }


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
    write_json(folder / "config.json", bundle.config())
    replace_file(folder / "README.md", card.encode())


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle's config.

    Raises:
        ModelError: it is missing, broken, or asks for what this mudra does not have.
    """
    place = folder / "config.json"
    try:
        if place.stat().st_size > CONFIG_LIMIT:
            raise ModelError(f"{place}: larger than {CONFIG_LIMIT >> 20} MiB; this is no bundle of mudra's.")
        tree = json.loads(place.read_bytes())
    except FileNotFoundError:
        raise ModelError(
            f"{folder}: expected a bundle, but there is no config.json. Give the folder of a run that has been "
            "trained (RUN or RUN/bundle)."
        ) from None
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelError(f"{place}: cannot be read as JSON ({problem}). Copy the bundle again.") from None
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        found = tree.get("schema") if isinstance(tree, dict) else type(tree).__name__
        raise ModelError(f"{place}: found schema {found!r}; this mudra reads schema {SCHEMA}.")
    try:
        return _from_config(tree, str(place))
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise ModelError(f"{place}: it lacks or garbles {problem}. Copy the bundle again.") from None
    except MudraError as problem:
        raise ModelError(str(problem)) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        ModelError: missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such file; expected the weights here.") from None
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as problem:
        raise ModelError(f"{path}: not a whole safetensors file ({problem}). Copy it again.") from None


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], place: Path) -> None:
    """Put weights into a model, every one of them and no others.

    Raises:
        ModelError: names or shapes do not fit, or a weight is not finite.
    """
    own = model.state_dict()
    for name in sorted(own.keys() ^ weights.keys()):
        side = "is missing" if name in own else "has no place in this model"
        raise ModelError(f"{place}: weight {name!r} {side}; the file belongs to other model settings.")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"{place}: weight {name!r} has shape {list(tensor.shape)}, the model expects {list(own[name].shape)}."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{place}: weight {name!r} holds NaN or infinity; such a model is not used.")
    model.load_state_dict(dict(weights))


def _from_config(tree: Mapping[str, Any], place: str) -> Bundle:
    model_class = kind_class("model", tree["model"].get("kind"), f"{place}, model")
    streams = {
        str(name): StreamInfo(info["kind"], info.get("layout"), info.get("fps"))
        for name, info in tree["streams"].items()
    }
    tasks = {str(task): tuple(str(name) for name in names) for task, names in tree["tasks"].items()}
    if not tasks or not all(tasks.values()):
        raise ModelError(f"{place}: it names no task with classes.")
    return Bundle(
        name=str(tree["name"]),
        model=parse(model_class.Settings, tree["model"], f"{place}, model"),
        preprocessing=Preprocessing(parse(ClipSettings, tree["clip"], f"{place}, clip"), streams),
        tasks=tasks,
        split_hash=str(tree["split_hash"]),
    )
