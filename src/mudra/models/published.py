"""A publisher's file of weights: names and tensors, whatever it calls them.

safetensors are read as everywhere. Files of `torch.save` (.pth, .pt) are read too where somebody names one on this
machine as the start of a training: with torch's reader that makes tensors and plain values and calls nothing else.
A bundle holds neither.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mudra.errors import ModelError
from mudra.files import read_weights

PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".pickle")
INNER = ("state_dict", "model_state_dict", "model_state", "model")  # under which trainers put the weights


def is_weights_file(path: Path) -> bool:
    """Whether a path is a file of weights by its name, and not a folder."""
    return path.suffix in (*PICKLED, ".safetensors") and not path.is_dir()


def read_published(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by the publisher's names.

    Raises:
        ModelError: no such file, not weights, or more than tensors and plain values in it.
    """
    if path.suffix == ".safetensors":
        return read_weights(path)
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; expected published weights here. Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on files of its first versions
            tree: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # of bytes that are no pickle torch's reader says whatever it stumbled over
        reason = " ".join(str(problem).split())[:160]
        raise ModelError(
            f"{path}: not a file of weights that can be read without running what is in it ({reason}). Copy it again, "
            "or save its state_dict as safetensors where you trust it."
        ) from None
    return weights_in(tree, path)


def weights_in(tree: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of what a file holds: of its state_dict where it holds a whole training, without the "module."
    that wrappers put before names."""
    for key in INNER:
        if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping):
            tree = tree[key]
            break
    named = isinstance(tree, Mapping) and all(isinstance(name, str) for name in tree)
    weights = {name: x for name, x in tree.items() if isinstance(x, Tensor)} if named else {}
    if not weights:
        raise ModelError(f"{path}: found no tensors by name; expected a state_dict. Save the weights alone.")
    return {name.removeprefix("module."): x for name, x in weights.items()}
