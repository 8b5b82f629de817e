"""Where the first weights of a training come from: another run, a bundle, or published weights.

What fits by name and shape is taken over. What does not starts anew, and what finds no place is left out:
both are said aloud.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mudra import bundle as bundles
from mudra.bundle import Bundle
from mudra.errors import ModelError
from mudra.files import read_json
from mudra.models.hub import local_folder
from mudra.models.published import is_weights_file, read_published
from mudra.models.timesformer import TimeSformer, from_transformers
from mudra.models.timesformer_weights import adapt_positions
from mudra.progress import Say
from mudra.training.run_folder import RunFolder

# Settings that change what weights mean and leave their shapes as they are.
MEANING = ("attention", "class_token", "norm_eps", "pool", "readout", "frame_differences")
FETCHED = re.compile(r"(torchvision|timm):(.+)")  # who publishes, and what
PICTURES = ("resize", "shorter_side", "mean", "std")


@runtime_checkable
class FromPublished(Protocol):
    """A model that knows the names under which its weights were published. It may have `fetch_published(name)` and
    `published_clip()` as well: see `VideoNetwork`."""

    def from_published(self, state: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
        """Published weights under the model's own names; ModelError where they are not its."""
        ...


def start_from(model: nn.Module, source: str | Path, bundle: Bundle, say: Say) -> set[str]:
    """Take over weights from elsewhere. Returns the names of those that start anew.

    Args:
        source: a run, a bundle, a folder of transformers, the name of one on the Hugging Face hub, a publisher's
            file of weights, or torchvision:NAME or timm:NAME of what they publish for the model's network.
        bundle: what the model is trained for.
    Raises:
        ModelError: nothing there, garbled, or none of it fits the model.
    """
    folder = local_folder(source)
    remarks: list[str] = []
    if is_weights_file(folder) or FETCHED.match(str(source)):
        weights = weights_alone(model, source, bundle, remarks)
    elif kind_of(folder) == "published":
        weights = published_weights(model, folder, bundle, remarks)
    else:
        folder = RunFolder(folder).bundle_folder()
        weights = bundles.read_weights(folder / "model.safetensors")
    own = model.state_dict()
    fitting = {
        name: x.to(own[name].dtype)
        for name, x in weights.items()
        if name in own and own[name].shape == x.shape
    }
    if not fitting:
        raise ModelError(f"{folder}: none of its weights fits this model; give those of the same model.")
    for name, x in fitting.items():
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise ModelError(f"{folder}: weight {name!r} holds NaN or infinity; such weights are not used.")
    model.load_state_dict({**own, **fitting})
    anew, out = gathered(own.keys() - fitting.keys()), gathered(weights.keys() - own.keys())
    say(
        f"starting from {source}"
        + (f"; these start anew: {', '.join(anew)}" if anew else "")
        + (f"; these have no place here and are left out: {', '.join(out)}" if out else "")
    )
    for remark in remarks:
        say(remark)
    return own.keys() - fitting.keys()


def weights_alone(
    model: nn.Module, source: str | Path, bundle: Bundle, remarks: list[str]
) -> dict[str, Tensor]:
    """A publisher's weights without settings, under the names of a model that knows the publisher's.

    Args:
        source: a file, torchvision:NAME or timm:NAME.
        remarks: where the recipe's clips depart from those that the weights were trained on is added.
    Raises:
        ModelError: the model's kind knows no such weights, or these are not its.
    """
    kind = getattr(bundle.model, "kind", "")
    if not isinstance(model, FromPublished):
        raise ModelError(
            f"{source}: weights without settings, which a model of kind {kind!r} does not start from. Give a run, "
            "a bundle, or a folder that says what they are of."
        )
    fetched, fetch = FETCHED.match(str(source)), getattr(model, "fetch_published", None)
    if fetched is None:
        state = read_published(Path(source))
    elif fetch is not None and fetched[1] == getattr(model, "publisher", "torchvision"):
        state = fetch(fetched[2])
    else:
        raise ModelError(
            f"{source}: {fetched[1]} has no weights of a model of kind {kind!r}. Give a file of them."
        )
    prepared: Mapping[str, Any] = getattr(model, "published_clip", dict)()
    remarks += departures("clip", PICTURES, prepared, bundle.preprocessing.settings.model_dump())
    return model.from_published(state, str(source))


def kind_of(folder: Path) -> Literal["published", "ours"]:
    """Whether a folder holds weights in transformers' form, or is a run or bundle of mudra's.

    Raises:
        ModelError: its config.json cannot be read.
    """
    place = folder / "config.json"
    try:
        tree = read_json(place)
    except (FileNotFoundError, NotADirectoryError):
        return "ours"  # a run, or nothing, which is told where its weights are missed
    except (OSError, ValueError) as problem:
        raise ModelError(f"{place}: cannot be read as JSON ({problem}). Copy it again.") from None
    return "published" if isinstance(tree, dict) and "model_type" in tree else "ours"


def published_weights(
    model: nn.Module, folder: Path, bundle: Bundle, remarks: list[str]
) -> dict[str, Tensor]:
    """Published weights under the model's names, their positions at its length and size.

    The classifier stays with them unless a task has the very same classes.

    Args:
        remarks: what a user must know of them is added.
    """
    if not isinstance(model, TimeSformer):
        kind = getattr(bundle.model, "kind", "")
        raise ModelError(
            f"{folder}: published weights of a TimeSformer; the model is {kind!r}. Set model.kind."
        )
    task = next(iter(bundle.tasks))
    published = from_transformers(folder, task)
    theirs = published.model
    if theirs.settings.heads != model.settings.heads:
        raise ModelError(
            f"{folder}: its attention has {theirs.settings.heads} heads; the recipe has {model.settings.heads}, to "
            f"which these weights mean nothing. Set model.heads={theirs.settings.heads}."
        )
    weights = adapt_positions(theirs.state_dict(), model, grid=theirs.grid)
    same = next((name for name, names in bundle.tasks.items() if tuple(names) == published.classes), None)
    for kind in ("weight", "bias"):
        classifier = weights.pop(f"heads.to_{task}.{kind}")
        if same is not None:
            weights[f"heads.to_{same}.{kind}"] = classifier
    if model.time_positions is not None and model.frames != theirs.frames:
        remarks.append(f"positions of {theirs.frames} frames are interpolated to {model.frames}")
    if model.grid != theirs.grid:
        was, now = ("x".join(map(str, grid)) for grid in (theirs.grid, model.grid))
        remarks.append(f"positions of {was} patches are interpolated to {now}")
    remarks += departures("model", MEANING, theirs.settings.model_dump(), model.settings.model_dump())
    clip = bundle.preprocessing.settings.model_dump(mode="json")
    remarks += departures("clip", PICTURES, published.clip, clip)
    remarks += [f"{folder}: {note}" for note in published.notes]
    return weights


def departures(
    section: str, keys: Iterable[str], theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> list[str]:
    """Keys of a recipe's section in which it departs from what weights were trained with, each in a line.

    >>> departures("clip", ["size", "mean"], {"size": 224, "mean": 0.45}, {"size": 224, "mean": 0.5})
    ['the weights were trained with clip.mean 0.45; the recipe has 0.5']
    """
    return [
        f"the weights were trained with {section}.{key} {theirs[key]}; the recipe has {ours[key]}"
        for key in keys
        if key in theirs and theirs[key] != ours[key]
    ]


def gathered(names: Iterable[str]) -> list[str]:
    """Names of weights for a line to read: layers together.

    >>> gathered(["norm.bias", "blocks.0.temporal.norm.bias", "blocks.11.temporal.norm.bias"])
    ['blocks.*.temporal.norm.bias', 'norm.bias']
    """
    return sorted({re.sub(r"^blocks\.\d+\.", "blocks.*.", name) for name in names})
