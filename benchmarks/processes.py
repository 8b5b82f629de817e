"""How training speeds up with processes: one against several, one thread each, in turns.

    python benchmarks/processes.py [--processes 2] [--batch 16] [--rounds 5] [--out processes-cpu.md]
    python benchmarks/processes.py --device cuda --processes 8 --out processes-cuda.md

The same global batch of a small TimeSformer is trained by one process and by several that share it (DDP). Both
start once and then take turns of a few steps while the others sleep, so that what else the machine does falls
on both alike. The first of the processes measures wall time; the table shows medians and their ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from mudra import recipe as recipes
from mudra.bundle import build_model
from mudra.clips.loader import Batch
from mudra.training.hardware import processor_name
from mudra.training.ranks import join
from mudra.training.step import Stepper

RESULTS = Path(__file__).parent / "results"
FRAMES, SIDE, CLASSES = 8, 96, 10


class Clips:
    """What a stepper asks of its clips: classes, labels and the shape of what it will see."""

    class manifest:
        tasks = {"label": tuple(map(str, range(CLASSES)))}  # noqa: RUF012

        @staticmethod
        def targets(_task: str) -> None:
            return None

    inputs = {"video": (FRAMES, 3, SIDE, SIDE)}  # noqa: RUF012


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=16, help="clips of a step, over all processes")
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default=None, help="append the table to this file in benchmarks/results")
    arguments = parser.parse_args()
    alone, together = Group(1, arguments), Group(arguments.processes, arguments)
    times: dict[int, list[float]] = {1: [], arguments.processes: []}
    for number in range(arguments.rounds + 1):
        for group in (alone, together):
            taken = group.turn()
            if number:  # the first turn warms up
                times[group.size].append(taken)
    alone.end()
    together.end()
    write_table(times, arguments)


class Group:
    """Processes that train one model together and wait for their turns."""

    def __init__(self, size: int, arguments: argparse.Namespace) -> None:
        self.size = size
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
            environment = {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"}
            process = context.Process(target=work, args=(theirs, environment, arguments), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def turn(self) -> float:
        """Seconds that a turn took the first of the processes."""
        for pipe in self.pipes:
            pipe.send(True)
        return max(float(pipe.recv()) for pipe in self.pipes)

    def end(self) -> None:
        for pipe in self.pipes:
            pipe.send(False)
        for process in self.processes:
            process.join()


def work(pipe: Connection, environment: dict[str, str], arguments: argparse.Namespace) -> None:
    """The life of one process."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    recipe = recipes.load("folder-timesformer", ["model.width=192", "model.depth=4", "train.ema=null"])
    with join(arguments.device) as team:
        torch.manual_seed(0)
        model = build_model(recipe.model, Clips.inputs, {"label": CLASSES})
        recipe = recipes.load(
            "folder-timesformer", ["model.width=192", "model.depth=4", "loss.class_weights=none"]
        )
        stepper = Stepper(recipe, model, Clips, team)  # type: ignore[arg-type]
        here = team.share(arguments.batch)
        step = 0
        while pipe.recv():
            team.gather(None)
            begun = time.perf_counter()
            for _ in range(arguments.steps):
                stepper.take([batch(here.stop - here.start)], step, 1.0)
                step += 1
            if team.device.type == "cuda":
                torch.cuda.synchronize()
            pipe.send(time.perf_counter() - begun)


def batch(clips: int) -> Batch:
    video = torch.randn(clips, FRAMES, 3, SIDE, SIDE)
    return Batch(
        ["x"] * clips, [0] * clips, {"video": video}, {"label": torch.zeros(clips, dtype=torch.int64)}, []
    )


def write_table(times: dict[int, list[float]], arguments: argparse.Namespace) -> None:
    clips = arguments.steps * arguments.batch
    base = statistics.median(times[1])
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else processor_name()
    lines = [
        f"## {arguments.device}: {arguments.batch} clips a step, {FRAMES} frames of {SIDE} px, width 192, depth 4",
        "",
        f"{arguments.rounds} rounds; {where}; torch {torch.__version__}, Python {platform.python_version()}.",
        "",
        "| processes | clips a second, median | x one process | slowest to fastest round |",
        "| --- | --- | --- | --- |",
    ]
    for size, taken in times.items():
        rates = sorted(clips / seconds for seconds in taken)
        lines.append(
            f"| {size} | {statistics.median(rates):.1f} | {base / statistics.median(taken):.2f} | "
            f"{rates[0]:.1f} to {rates[-1]:.1f} |"
        )
    text = "\n".join(lines) + "\n\n"
    print(text)
    if arguments.out:
        with (RESULTS / arguments.out).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
