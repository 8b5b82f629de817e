"""What a checkpoint costs the training loop, beside a plain write and fsync of the same bytes.

    python benchmarks/saving.py [--recipe jester-timesformer] [--folder DIR] [--repeats 9] [--out saving-cpu.md]

The loop stands still while the tensors are copied (`stall`); serialising, hashing, writing and flushing happen
in a thread meanwhile (`whole`, until the checkpoint has its name). The three are taken in turns, so that what
else the machine and its disk do falls on all of them alike; the table shows medians of wall time.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch

from mudra import recipe as recipes
from mudra.bundle import build_model
from mudra.training import checkpoints
from mudra.training.hardware import processor_name
from mudra.training.optimisers import build_optimiser
from mudra.training.saving import Saver

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="jester-timesformer")
    parser.add_argument(
        "--folder", type=Path, default=None, help="on the disk to measure; the system's by default"
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", default=None, help="append the table to this file in benchmarks/results")
    arguments = parser.parse_args()
    recipe = recipes.load(arguments.recipe)
    shape = (recipe.clip.frames, 3, recipe.clip.size, recipe.clip.size)
    model = build_model(recipe.model, {"video": shape}, {"label": 27})
    optimiser = build_optimiser(recipe.optim, model)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimiser.step()
    tensors = {"model": model.state_dict(), "optimiser": checkpoints.flatten_optimiser(optimiser, model)}
    size = sum(x.numel() * x.element_size() for named in tensors.values() for x in named.values())
    content = os.urandom(2**20) * (size // 2**20) + bytes(size % 2**20)

    home = Path(tempfile.mkdtemp(dir=arguments.folder))
    times: dict[str, list[float]] = {"plain write and fsync": [], "stall": [], "whole": []}
    try:
        saver = Saver(home / "checkpoints", lambda _step: None)
        for number in range(arguments.repeats + 1):
            plain = timed(lambda: write(home / "plain", content))
            begun = time.perf_counter()
            saver.save(number, tensors, {}, lambda steps: set(steps[-2:]))
            stall = time.perf_counter() - begun
            saver.wait()
            whole = time.perf_counter() - begun
            if number:  # the first one takes its memory from the system
                for name, taken in zip(times, (plain, stall, whole), strict=True):
                    times[name].append(taken)
    finally:
        shutil.rmtree(home)
    write_table(arguments.recipe, size, times, arguments.out)


def write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def timed(work) -> float:  # type: ignore[no-untyped-def]
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def write_table(recipe: str, size: int, times: dict[str, list[float]], out: str | None) -> None:
    plain = statistics.median(times["plain write and fsync"])
    lines = [
        f"## {recipe}: {size / 2**20:.0f} MiB of weights and optimiser",
        "",
        f"{len(times['stall'])} rounds; {processor_name()}; torch {torch.__version__}, Python "
        f"{platform.python_version()}.",
        "",
        "|  | ms, median | fastest to slowest | x plain |",
        "| --- | --- | --- | --- |",
    ]
    for name, taken in times.items():
        middle = statistics.median(taken)
        lines.append(
            f"| {name} | {middle * 1e3:.0f} | {min(taken) * 1e3:.0f} to {max(taken) * 1e3:.0f} | {middle / plain:.2f} |"
        )
    text = "\n".join(lines) + "\n\n"
    print(text)
    if out:
        with (RESULTS / out).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
