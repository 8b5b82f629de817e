"""Checkpoints: everything that a training needs to go on as if nothing had happened.

    checkpoints/step-00000120/
        model.safetensors       the weights (ema.safetensors beside it where they are averaged)
        optimiser.safetensors   AdamW's moments and step counts, by parameter name
        state.json              counters, schedule, scaler, best score: plain numbers
        manifest.json           size and SHA-256 of every file above

A checkpoint is written beside, flushed and renamed: it is whole or it is not there. Reading one
runs no code. No random state is kept, because what a step draws depends on its place alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mudra.bundle import read_weights
from mudra.errors import ModelError
from mudra.files import new_folder

PREFIX = "step-"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Saved:
    """A checkpoint as read: tensors by file, and the plain numbers."""

    path: Path
    model: dict[str, Tensor]
    ema: dict[str, Tensor] | None
    optimiser: dict[str, Tensor]
    state: dict[str, Any]


def folder_of(root: Path, step: int) -> Path:
    """Where the checkpoint of an optimiser step lies."""
    return root / f"{PREFIX}{step:08d}"


def save(
    root: Path,
    step: int,
    *,
    model: Mapping[str, Tensor],
    optimiser: Mapping[str, Tensor],
    state: Mapping[str, Any],
    ema: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the checkpoint of one step; one that is there already is left as it is.

    Raises:
        OutputError: writing failed; no part of the checkpoint is left.
    """
    path = folder_of(root, step)
    if path.exists():
        return path
    with new_folder(path) as beside:
        save_file(_plain(model), beside / "model.safetensors")
        save_file(_plain(optimiser), beside / "optimiser.safetensors")
        if ema is not None:
            save_file(_plain(ema), beside / "ema.safetensors")
        (beside / "state.json").write_text(json.dumps(state, indent=2, allow_nan=False) + "\n", "utf-8")
        listed = {file.name: _fingerprint(file) for file in sorted(beside.iterdir())}
        (beside / MANIFEST).write_text(json.dumps(listed, indent=2) + "\n", "utf-8")
    return path


def verify(path: Path) -> None:
    """Check a checkpoint's files against its manifest.

    Raises:
        ModelError: a file is missing, or its size or content is not what was written.
    """
    try:
        listed: dict[str, dict[str, Any]] = json.loads((path / MANIFEST).read_bytes())
        names = set(listed)
    except (OSError, ValueError, TypeError) as problem:
        raise ModelError(
            f"{path}: its {MANIFEST} cannot be read ({problem}); this is no whole checkpoint."
        ) from None
    for name in sorted(names):
        file = path / name
        if not file.is_file() or _fingerprint(file) != listed[name]:
            raise ModelError(f"{file}: missing, or not what was written; use an earlier checkpoint.")
    if not {"model.safetensors", "optimiser.safetensors", "state.json"} <= names:
        raise ModelError(f"{path}: its {MANIFEST} does not name all files of a checkpoint.")


def read(path: Path) -> Saved:
    """Read a checkpoint after verifying it.

    Raises:
        ModelError: it is not whole.
    """
    verify(path)
    ema = path / "ema.safetensors"
    return Saved(
        path=path,
        model=read_weights(path / "model.safetensors"),
        ema=read_weights(ema) if ema.exists() else None,
        optimiser=read_weights(path / "optimiser.safetensors"),
        state=json.loads((path / "state.json").read_bytes()),
    )


def steps(root: Path) -> list[int]:
    """Steps of the checkpoints in a folder, rising, whole or not."""
    if not root.is_dir():
        return []
    numbers = (entry.name.removeprefix(PREFIX) for entry in root.iterdir() if entry.name.startswith(PREFIX))
    return sorted(int(number) for number in numbers if number.isdecimal())


def newest(root: Path) -> tuple[Path, list[str]]:
    """The newest checkpoint that is whole, and what was wrong with those after it.

    Raises:
        ModelError: there is none.
    """
    broken: list[str] = []
    for step in reversed(steps(root)):
        path = folder_of(root, step)
        try:
            verify(path)
        except ModelError as problem:
            broken.append(str(problem))
            continue
        return path, broken
    found = f"none of {len(broken)} is whole ({broken[0]})" if broken else "there is none"
    raise ModelError(
        f"{root}: expected a checkpoint to go on from, but {found}. Train anew in another folder."
    )


def keep_only(root: Path, kept: set[int]) -> None:
    """Remove the checkpoints of all other steps."""
    for step in steps(root):
        if step not in kept:
            shutil.rmtree(folder_of(root, step), ignore_errors=True)


def flatten_optimiser(optimiser: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """An optimiser's state as named tensors: `<kind>.<parameter>`."""
    flat: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for kind, value in optimiser.state.get(parameter, {}).items():
            flat[f"{kind}.{name}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return flat


def restore_optimiser(optimiser: torch.optim.Optimizer, model: nn.Module, flat: Mapping[str, Tensor]) -> None:
    """Put back what `flatten_optimiser` took.

    Raises:
        ModelError: the state names a parameter that the model does not have.
    """
    parameters = dict(model.named_parameters())
    optimiser.state.clear()
    for key, value in flat.items():
        kind, _, name = key.partition(".")
        if name not in parameters:
            raise ModelError(f"checkpoint, optimiser: {key!r} belongs to no parameter of this model.")
        place = parameters[name]
        optimiser.state.setdefault(place, {})[kind] = value.to(place.device, copy=True)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _fingerprint(file: Path) -> dict[str, Any]:
    with file.open("rb") as content:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(content, "sha256").hexdigest()}
