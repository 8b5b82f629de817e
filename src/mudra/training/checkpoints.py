"""Checkpoints: everything that a training needs to go on as if nothing had happened.

    checkpoints/step-00000120/
        model.safetensors       the weights (ema.safetensors beside it where they are averaged)
        optimiser.safetensors   AdamW's moments and step counts, by parameter name
        state.json              counters, schedule, scaler, best score: plain numbers
        manifest.json           size and SHA-256 of every file above

A checkpoint is written beside, flushed and renamed: it is whole or it is not there. Reading one
runs no code, and nothing is read that the manifest does not name. No random state is kept, because
what a step draws depends on its place alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mudra.bundle import read_json, read_weights, refuse_misfits
from mudra.errors import ModelError
from mudra.files import json_bytes, new_folder, told_as_output_error, write_flushed

PREFIX = "step-"
MANIFEST = "manifest.json"
STATE = "state.json"
NEEDED = frozenset({"model.safetensors", "optimiser.safetensors", STATE})
FILE_NAME = re.compile(r"[\w-]{1,64}\.(safetensors|json)", re.ASCII)
KINDS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of a parameter

# names of safetensors' format for what a training holds
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """A checkpoint as read: tensors by file, and the plain numbers."""

    path: Path
    model: dict[str, Tensor]
    ema: dict[str, Tensor] | None
    optimiser: dict[str, Tensor]
    state: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """What the training would give away now: the averaged weights where there are some."""
        return self.ema or self.model


def folder_of(root: Path, step: int) -> Path:
    """Where the checkpoint of an optimiser step lies."""
    return root / f"{PREFIX}{step:08d}"


def save(
    root: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Write the checkpoint of one step. It takes the place of one of the same step.

    Args:
        tensors: tensors on the CPU, by the names of their files: `model`, `optimiser`, perhaps `ema`.
    Raises:
        OutputError: writing failed; no part of the checkpoint is left.
    """
    path = folder_of(root, step)
    listed: dict[str, Any] = {}
    _set_aside(path)
    try:
        with new_folder(path) as beside:
            for name, named in tensors.items():
                file = beside / f"{name}.safetensors"
                listed[file.name] = _write(file, _safetensors(named))
            listed[STATE] = _write(beside / STATE, iter([json_bytes(state)]))
            write_flushed(beside / MANIFEST, [json_bytes(listed)])
    finally:
        recover(root)
    return path


def recover(root: Path) -> None:
    """Bring back checkpoints that were set aside for a newer state of the same step which never came."""
    for aside in sorted(root.glob(f".{PREFIX}*.old")):
        path = root / aside.name.removeprefix(".").removesuffix(".old")
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            with told_as_output_error(path):
                os.replace(aside, path)


def verify(path: Path) -> None:
    """Check a checkpoint's files against its manifest.

    Raises:
        ModelError: a file is missing, or its size or content is not what was written.
    """
    try:
        listed = read_json(path / MANIFEST)
    except (OSError, ValueError) as problem:
        raise ModelError(
            f"{path}: its {MANIFEST} cannot be read ({problem}); this is no whole checkpoint."
        ) from None
    if not isinstance(listed, dict) or not listed.keys() >= NEEDED:
        raise ModelError(f"{path}: its {MANIFEST} does not name all files of a checkpoint.")
    for file in path.glob("*.safetensors"):
        if file.name not in listed:
            raise ModelError(
                f"{path}: its {MANIFEST} does not name {file.name!r}, which lies here; do not use it."
            )
    for name in sorted(listed):
        file = path / name
        if not FILE_NAME.fullmatch(name):
            raise ModelError(
                f"{path}: its {MANIFEST} names {name!r}, which is none of its files; do not use it."
            )
        if not file.is_file() or file.is_symlink() or _fingerprint(file) != listed[name]:
            raise ModelError(f"{file}: missing, or not what was written; use an earlier checkpoint.")


def read(path: Path) -> Saved:
    """Read a checkpoint after verifying it.

    Raises:
        ModelError: it is not whole, or its parts do not belong together.
    """
    verify(path)
    ema, optimiser = path / "ema.safetensors", path / "optimiser.safetensors"
    saved = Saved(
        path=path,
        model=read_weights(path / "model.safetensors"),
        ema=read_weights(ema) if ema.exists() else None,
        optimiser=read_weights(optimiser),
        state=_read_state(path / STATE),
    )
    if saved.ema is not None:
        refuse_misfits(saved.ema, saved.model, ema)
    refuse_misfits(saved.optimiser, _optimiser_of(saved), optimiser)
    return saved


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
        # torch keeps step counts on the CPU, except where the fused update wants them beside the weights
        beside = kind != "step" or optimiser.defaults.get("fused")
        optimiser.state.setdefault(place, {})[kind] = value.to(place.device if beside else "cpu", copy=True)


def _read_state(file: Path) -> dict[str, Any]:
    """The counters and the like: plain, finite numbers. Facts are compared by who restores them."""
    try:
        state = read_json(file)
    except (OSError, ValueError) as problem:
        raise ModelError(f"{file}: cannot be read as JSON ({problem}); use an earlier checkpoint.") from None
    parts = ("facts", "counters", "schedule", "scaler")
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in parts):
        raise ModelError(f"{file}: expected {', '.join(parts)}, each with keys; use an earlier checkpoint.")
    for part in parts[1:]:
        for name, value in state[part].items():
            if not isinstance(value, (int, float, type(None))):
                raise ModelError(
                    f"{file}, {part}: found {value!r} for {name!r}; expected a number; use an earlier checkpoint."
                )
    for name in ("step", "best_step"):
        if not isinstance(state["counters"].get(name), int):
            raise ModelError(f"{file}, counters: expected a whole {name!r}; use an earlier checkpoint.")
    return state


def _optimiser_of(saved: Saved) -> dict[str, Tensor]:
    """Tensors like those that the optimiser keeps: of a parameter all kinds, or none before its first step."""
    names = {key.partition(".")[2] for key in saved.optimiser} & saved.model.keys()
    return {
        f"{kind}.{name}": torch.zeros(()) if kind == "step" else saved.model[name]
        for name in names
        for kind in KINDS
    }


def _safetensors(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The pieces of a safetensors file: header, then each tensor's own memory.

    The library's writer copies everything and holds up Python while it writes; these pieces are
    written and hashed while the training goes on. Reading is the library's.
    """
    # wide numbers first, so that each begins at a multiple of its width
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in ordered:
        end = at + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _name, tensor in ordered:
        if tensor.numel():
            yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _write(file: Path, pieces: Iterator[bytes | memoryview]) -> dict[str, Any]:
    """Write a file and tell its size and hash, taken on the way."""
    digest, size = hashlib.sha256(), 0

    def passing() -> Iterator[bytes | memoryview]:
        nonlocal size
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            yield piece

    write_flushed(file, passing())
    return {"bytes": size, "sha256": digest.hexdigest()}


def _fingerprint(file: Path) -> dict[str, Any]:
    with file.open("rb") as content:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(content, "sha256").hexdigest()}


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _set_aside(path: Path) -> None:
    """Make room for a newer state of the same step; `recover` undoes it if that never comes."""
    if path.exists():
        with told_as_output_error(path):
            shutil.rmtree(_aside(path), ignore_errors=True)
            os.replace(path, _aside(path))
