"""The keypoint transformer's blocks against torch's nn.TransformerEncoder: training steps, in turns, in one run.

    python benchmarks/keypoint_transformer.py [--size sign large skeleton] [--precision fp32 bf16] [--out FILE.md]

Blocks alone, at equal width, depth, heads, hidden width, tokens, batch and dropout (of attention weights too): torch's
are pre-norm with GELU and batch first, as ours are, which have rotary phases besides. A step is forward and backward.
Each size is measured without and with clips of different lengths (masks), without and with dropout. Times are CPU
seconds of the process, medians over turns; the ratio is what counts (above 1: ours is quicker).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mudra.models.keypoint_transformer import Block, KeypointTransformerSettings, sight
from mudra.models.layers import rotary_phases
from reading import versions


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
        self.blocks = nn.ModuleList(Block(settings, 0.0) for _ in range(size.depth))

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


def seconds(step: Callable[[], None]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def compare(size: Size, dropout: float, masked: bool, precision: str, repeats: int) -> tuple[float, float]:
    """Median seconds of a training step: ours, theirs."""
    torch.manual_seed(0)
    models = [Ours(size, dropout).train(), Theirs(size, dropout).train()]
    x_BTD = torch.randn(size.batch, size.frames, size.width)
    shortest = size.frames // 2 if masked else size.frames
    lengths = torch.randint(shortest, size.frames + 1, (size.batch,))
    there_BT = torch.arange(size.frames) < lengths[:, None]

    def step(model: nn.Module) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(x_BTD, there_BT).square().mean()
        loss.backward()
        model.zero_grad()

    taken = [[seconds(lambda model=model: step(model)) for model in models] for _ in range(repeats + 1)][1:]
    ours, theirs = (statistics.median(times) for times in zip(*taken, strict=True))
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--dropout", nargs="+", type=float, default=[0.0, 0.1])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="write the table here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = [
        f"{versions()['cpu']}, {arguments.threads} of them used; torch {torch.__version__}, "
        f"Python {platform.python_version()}",
        "",
        "| size | precision | dropout | lengths | ours, ms | nn.TransformerEncoder, ms | ratio |",
        "|---|---|---:|---|---:|---:|---:|",
    ]
    print("\n".join(lines))
    for name in arguments.size:
        for precision in arguments.precision:
            for dropout in arguments.dropout:
                for masked in (False, True):
                    ours, theirs = compare(SIZES[name], dropout, masked, precision, arguments.repeats)
                    lines.append(
                        f"| {name} {tuple(SIZES[name])} | {precision} | {dropout} | {'mixed' if masked else 'equal'} | "
                        f"{ours * 1e3:.0f} | {theirs * 1e3:.0f} | {theirs / ours:.2f} |"
                    )
                    print(lines[-1], flush=True)
    if arguments.out is not None:
        heading = f"`python benchmarks/keypoint_transformer.py`: {__doc__.splitlines()[0]}\n\n"
        arguments.out.write_text(heading + "\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
