"""The keypoint transformer's blocks against torch's nn.TransformerEncoder: training steps, in turns, in one run.

    python benchmarks/keypoint_transformer.py [--size sign] [--precision fp32 medium bf16] [--out FILE.md]

Blocks alone, at equal width, depth, heads, hidden width, tokens, batch and dropout (of attention weights too): torch's
are pre-norm with GELU and batch first, as ours are, which have rotary phases besides. A step is forward and backward.
Each size is measured without and with clips of different lengths (masks), without and with dropout; `medium` is fp32
with the recipes' `train.matmul: medium`. Times are CPU seconds of the process, medians over turns; the ratios are what
counts (above 1: ours is quicker): to torch's blocks under the same switches, and to them in plain fp32.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mudra.models.keypoint_transformer import KeypointTransformerSettings, make_block, sight
from mudra.models.layers import rotary_phases
from reading import versions

PRECISIONS = ("fp32", "medium", "bf16")


class Size(NamedTuple):
    frames: int
    width: int
    depth: int
    heads: int
    hidden: int
    batch: int


SIZES = {
    "skeleton": Size(48, 192, 4, 6, 384, 32),
    "sign": Size(64, 256, 6, 8, 1024, 32),
    "large": Size(128, 512, 8, 8, 2048, 8),
}


class Ours(nn.Module):
    """A stack of our blocks over [B, T, D] and which frames are there, bool [B, T]."""

    def __init__(self, size: Size, dropout: float) -> None:
        super().__init__()
        settings = KeypointTransformerSettings(
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            mlp_ratio=size.hidden / size.width,
            dropout=dropout,
            attention_dropout=dropout,
        )
        self.head = size.width // size.heads
        self.blocks = nn.ModuleList(make_block(settings, 0.0) for _ in range(size.depth))

    def forward(self, x_BTD: Tensor, there_BT: Tensor) -> Tensor:
        phases = rotary_phases(x_BTD.shape[1], self.head, x_BTD)
        bias = sight(there_BT, "full", 1, 1)
        for block in self.blocks:
            x_BTD = block(x_BTD, phases, bias)
        return x_BTD


class Theirs(nn.Module):
    """The same of nn.TransformerEncoder."""

    def __init__(self, size: Size, dropout: float) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            size.width, size.heads, size.hidden, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, size.depth, enable_nested_tensor=False)

    def forward(self, x_BTD: Tensor, there_BT: Tensor) -> Tensor:
        mask = None if there_BT.all() else ~there_BT
        y_BTD: Tensor = self.encoder(x_BTD, src_key_padding_mask=mask)
        return y_BTD


def described(size: Size, name: str) -> str:
    """A size in words."""
    return f"{name}: " + ", ".join(f"{key} {value}" for key, value in size._asdict().items())


def seconds(step: Callable[[], None]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def compare(
    size: Size, dropout: float, masked: bool, precisions: list[str], repeats: int
) -> dict[str, tuple[float, float]]:
    """Median seconds of a training step by precision: ours, theirs. All take turns."""
    torch.manual_seed(0)
    models = [Ours(size, dropout).train(), Theirs(size, dropout).train()]
    x_BTD = torch.randn(size.batch, size.frames, size.width)
    shortest = size.frames // 2 if masked else size.frames
    lengths = torch.randint(shortest, size.frames + 1, (size.batch,))
    there_BT = torch.arange(size.frames) < lengths[:, None]

    def step(model: nn.Module, precision: str) -> None:
        torch.set_float32_matmul_precision("medium" if precision == "medium" else "highest")
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(x_BTD, there_BT).square().mean()
        loss.backward()
        model.zero_grad()

    taken: dict[str, list[list[float]]] = {precision: [] for precision in precisions}
    for _ in range(repeats + 1):
        for precision, turns in taken.items():
            turns.append([seconds(lambda model=model: step(model, precision)) for model in models])  # noqa: B023
    medians = {
        precision: [statistics.median(times) for times in zip(*turns[1:], strict=True)]
        for precision, turns in taken.items()
    }
    return {precision: (ours, theirs) for precision, (ours, theirs) in medians.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--dropout", nargs="+", type=float, default=[0.0, 0.1])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="write the table here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = [
        f"{versions()['cpu']}, {arguments.threads} of them used; torch {torch.__version__}, "
        f"Python {platform.python_version()}. "
        + "; ".join(described(SIZES[name], name) for name in arguments.size)
        + f". Medians of {arguments.repeats} turns.",
        "",
        "| size | dropout | lengths | precision | ours, ms | nn.TransformerEncoder, ms | ratio | to its fp32 |",
        "|---|---:|---|---|---:|---:|---:|---:|",
    ]
    print("\n".join(lines))
    for name, dropout, masked in product(arguments.size, arguments.dropout, (False, True)):
        found = compare(SIZES[name], dropout, masked, arguments.precision, arguments.repeats)
        for precision, (ours, theirs) in found.items():
            plain = f"{found['fp32'][1] / ours:.2f}" if "fp32" in found else ""
            lines.append(
                f"| {name} | {dropout} | {'mixed' if masked else 'equal'} | {precision} | "
                f"{ours * 1e3:.0f} | {theirs * 1e3:.0f} | {theirs / ours:.2f} | {plain} |"
            )
            print(lines[-1], flush=True)
    if arguments.out is not None:
        heading = f"`python benchmarks/keypoint_transformer.py`: {__doc__.splitlines()[0]}\n\n"
        arguments.out.write_text(heading + "\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
