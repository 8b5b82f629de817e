"""Frame models beside timm's bare backbone on the very same frames, taken in turns.

    python benchmarks/frames.py --backbones resnet50 efficientnet_b3 --clips 1 --frames 8 --repeats 5
    python benchmarks/frames.py --device cuda --clips 16 --frames 16 --precisions bf16 fp32 --out frames-cuda.md

The bare backbone is given the frames as one batch of pictures in channels_last, the faster way (the second line of a
table has them as they come), and classifies each. Each variant is measured in turns with the bare backbone, so that
what else the machine does falls on both alike; a ratio is the median of its rounds, beside the least and the most. On a
CPU the time is CPU time. A train step is forward, loss, backward and AdamW at a rate of 0.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.models import count_parameters
from mudra.models.frames import Frames, FramesSettings
from mudra.training.hardware import processor_name
from publishing import publish

CLASSES = {"verb": 97, "noun": 300}
TEMPORAL: dict[str, dict[str, Any]] = {
    "mean": {"temporal": "mean"},
    "LSTM, 2 x 512": {"temporal": "lstm"},
    "transformer, 6 x 512": {"temporal": "transformer", "depth": 6, "mlp_ratio": 1.0},
    "windows, tasks that look at each other": {
        "temporal": "multiscale", "width": 256, "depth": 1, "branches": "crossed",
    },
}  # fmt: skip


@dataclass
class Variant:
    """One network on the frames; seconds of its passes ("forward", "train"), each with the bare backbone's."""

    name: str
    model: nn.Module
    answer: Callable[[Tensor], dict[str, Tensor]]
    taken: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {"forward": [], "train": []})

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=0.0, weight_decay=0.0, fused=True)


class Bare(nn.Module):
    """timm's network with a classifier for each task, a picture at a time."""

    def __init__(self, backbone: str, layout: torch.memory_format) -> None:
        super().__init__()
        self.layout = layout
        self.backbone = timm.create_model(backbone, num_classes=0)
        self.heads = nn.ModuleDict(
            {task: nn.Linear(self.backbone.head_hidden_size, count) for task, count in CLASSES.items()}
        )

    def forward(self, video_BTCHW: Tensor) -> dict[str, Tensor]:
        x_NF = self.backbone(video_BTCHW.flatten(0, 1).contiguous(memory_format=self.layout))
        return {task: head(x_NF) for task, head in self.heads.items()}


def variants(backbone: str, frames: int, side: int, device: str) -> tuple[Variant, list[Variant]]:
    """The bare backbone that all are held against, and all others."""
    bare = {
        name: Bare(backbone, layout).to(device)
        for name, layout in (
            ("channels_last", torch.channels_last),
            ("as they come", torch.contiguous_format),
        )
    }
    floor, *others = [Variant(f"timm alone, {name}", model, model) for name, model in bare.items()]
    for name, settings in TEMPORAL.items():
        model = Frames(
            FramesSettings(backbone=backbone, **settings), {"video": (frames, 3, side, side)}, CLASSES
        ).to(device)
        others.append(Variant(f"mudra, {name}", model, lambda video, model=model: model({"video": video})))  # type: ignore[misc]
    return floor, others


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds that `work` takes: of CPU time on a CPU, of the clock on a GPU."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def measure(floor: Variant, others: list[Variant], video: Tensor, repeats: int, precision: str) -> None:
    device = video.device.type

    def look(variant: Variant) -> dict[str, Tensor]:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            return variant.answer(video)

    def forward(variant: Variant) -> None:
        variant.model.eval()
        with torch.inference_mode():
            look(variant)

    def train_step(variant: Variant) -> None:
        variant.model.train()
        loss = torch.zeros((), device=device)
        for row in look(variant).values():
            loss = loss + F.cross_entropy(row, torch.arange(len(row), device=device))
        loss.backward()
        variant.optimiser.step()
        variant.optimiser.zero_grad(set_to_none=True)

    for variant in others:
        for turn in range(repeats + 1):  # the first turn warms up: memory that was idle for a while is slow
            for name, work in (("forward", forward), ("train", train_step)):
                both = (variant, floor) if turn % 2 else (floor, variant)
                seconds = {each.name: timed(lambda: work(each), device) for each in both}  # noqa: B023
                if turn:
                    variant.taken[name].append((seconds[variant.name], seconds[floor.name]))
            gc.collect()


def table(floor: Variant, others: list[Variant], frames: int) -> list[str]:
    """Milliseconds a frame, and speed as a multiple of the bare backbone's (least to most), in Markdown."""
    head = ["", "parameters", "forward, ms a frame", "x timm alone", "train step, ms a frame", "x timm alone"]
    rows = [head, ["---"] * len(head)]
    means = {
        name: statistics.median(bare for variant in others for _, bare in variant.taken[name])
        for name in ("forward", "train")
    }
    row = [floor.name, f"{count_parameters(floor.model):,}"]
    rows.append(row + [cell for mean in means.values() for cell in (f"{1e3 * mean / frames:.1f}", "1")])
    for variant in others:
        row = [variant.name, f"{count_parameters(variant.model):,}"]
        for taken in variant.taken.values():
            ratios = sorted(bare / own for own, bare in taken)
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            row += [f"{1e3 * statistics.median(own for own, _ in taken) / frames:.1f}", spread]
        rows.append(row)
    return ["| " + " | ".join(row) + " |" for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--backbones", nargs="+", default=["resnet50", "efficientnet_b3"])
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="on a CPU; with 1 the times are the steadiest")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--out", help="append the tables to this file in benchmarks/results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for backbone in args.backbones:
        for precision in args.precisions:
            torch.manual_seed(0)
            video = torch.randn(args.clips, args.frames, 3, args.size, args.size).to(args.device)
            floor, others = variants(backbone, args.frames, args.size, args.device)
            measure(floor, others, video, args.repeats, precision)
            where = torch.cuda.get_device_name() if args.device == "cuda" else processor_name()
            lines = [
                f"## {backbone}, {precision}: {args.clips} x {args.frames} frames of {args.size} px, {args.device}",
                "",
                f"Medians of {args.repeats} rounds, {torch.get_num_threads()} threads; {where}; torch "
                f"{torch.__version__}, timm {timm.__version__}, Python {platform.python_version()}.",
                "",
                *table(floor, others, args.clips * args.frames),
                "",
            ]
            publish(lines, args.out)


if __name__ == "__main__":
    main()
