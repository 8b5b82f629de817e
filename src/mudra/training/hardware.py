"""Where training runs and in which numbers: device, autocast, gradient scaler, reproducibility."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

from mudra.errors import RecipeError
from mudra.recipe import Recipe

Precision = Literal["fp32", "bf16", "fp16"]
NAMED = ("mudra", "torch", "numpy", "av", "pillow", "simplejpeg", "safetensors", "pandas", "pyarrow")


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device to run on; `auto` takes a GPU where there is one.

    Raises:
        RecipeError: a GPU is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RecipeError(
            "train.device: found 'cuda', but torch sees no GPU here; use train.device=auto or cpu."
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def choose_precision(precision: Precision | Literal["auto"], device: torch.device) -> Precision:
    """The numbers to compute in; `auto` takes bf16 where the hardware multiplies it by itself.

    Raises:
        RecipeError: fp16 without a GPU, where it is only emulated.
    """
    if precision == "auto":
        return "bf16" if _multiplies_bf16(device) else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise RecipeError(
            "train.precision: found 'fp16' on a machine without a GPU, where it is slower than fp32; "
            "use train.precision=bf16 or fp32."
        )
    return precision


def evaluation_precision(recipe: Recipe, device: torch.device) -> Precision:
    """The numbers in which a recipe's model is judged: fp32 where fp16 is only emulated."""
    emulated = recipe.train.precision == "fp16" and device.type == "cpu"
    return "fp32" if emulated else choose_precision(recipe.train.precision, device)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The numbers that the forward pass computes in."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """The gradient scaler, which does nothing but for fp16."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Make what a step draws inside the model (dropout, drop-path) depend on its place alone.

    Because of it a checkpoint needs no random state, and a resumed training draws what it would have.
    """
    torch.manual_seed((seed * 1_000_003 + step) * 1_009 + rank)


def environment(seed: int) -> dict[str, Any]:
    """Versions, hardware and git state, for a run's environment.json."""
    versions: dict[str, str] = {}
    for name in NAMED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "versions": versions,
        "git": _git(),
        "seed": seed,
        "command": " ".join(["mudra", *sys.argv[1:]]),
    }


def _multiplies_bf16(device: torch.device) -> bool:
    """Whether bf16 products are the hardware's own: on others they are several times slower than fp32's."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool({"avx512_bf16", "amx_bf16"} & set(_told_of_processor("flags").split()))


def processor_name() -> str:
    """The processor's name, where the system tells it."""
    return _told_of_processor("model name") or platform.processor() or platform.machine()


def _told_of_processor(key: str) -> str:
    """One line of what Linux knows of the processor; "" elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _git() -> dict[str, Any] | None:
    """Commit of mudra's own checkout and whether it was changed; None where it is installed from a wheel."""
    home = Path(__file__).parent

    def ask(*words: str) -> str:
        asked = subprocess.run(["git", "-C", str(home), *words], capture_output=True, text=True, timeout=10)
        return asked.stdout.strip() if asked.returncode == 0 else ""

    try:
        commit = ask("rev-parse", "HEAD")
        return (
            {"commit": commit, "changed": bool(ask("status", "--porcelain", "--", "."))} if commit else None
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
