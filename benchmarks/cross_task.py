"""Does it help that the branches of verb and noun look at each other? The same model with and without, in pairs.

    mudra train puppets-resnet-mean --out runs/mean
    python benchmarks/cross_task.py runs/mean [--seeds 3] [--share 0.7] [--epochs 30] ...

Puppets are drawn whose thing is, for a share of the clips, the one that goes with their verb; a verb or noun that is
hard to see can then be told from the other. The backbone of a run that never saw such a dependence looks at every frame
once and stays as it is; what stands above it is trained from the same start on the same batches: a vector for all tasks
(`shared`), branches (`separate`), branches that look at each other (`crossed`). Test clips are of people that training
does not have. Intervals of the differences are bootstrapped over people, all seeds together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import mudra
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing
from mudra.datasets.puppets import Puppets
from mudra.models import count_parameters
from mudra.models.cross_task import BranchHeads, TaskBranches
from mudra.models.layers import TaskHeads, rotary_phases, start_scaled
from mudra.models.temporal import Transformer
from mudra.settings import parse

WIDTH, HEADS = 96, 4
KINDS = ("shared", "separate", "crossed")
LAYER = {"mlp_ratio": 2.0, "dropout": 0.1, "attention_dropout": 0.0, "drop_path": 0.0}


class Above(nn.Module):
    """What stands above the backbone: [B, T, F] -> {task: logits}, as `Frames` has it."""

    def __init__(self, features: int, kind: str, classes: dict[str, int], depths: tuple[int, int]) -> None:
        super().__init__()
        trunk, depth = depths
        self.project = nn.Linear(features, WIDTH)
        self.loud = nn.LayerNorm(WIDTH)
        crossed, alone = kind == "crossed", kind == "shared"
        self.along = Transformer(WIDTH, trunk + depth * alone, HEADS, **LAYER)
        self.branches = None
        if alone:
            self.norm, self.heads = nn.LayerNorm(WIDTH), TaskHeads(WIDTH, classes)
        else:
            self.branches = TaskBranches(len(classes), WIDTH, HEADS, depth=depth, crossed=crossed, **LAYER)
            self.heads = BranchHeads(WIDTH, classes)
        self.project.apply(start_scaled)

    def forward(self, x_BTF: Tensor) -> dict[str, Tensor]:
        x_BTD = self.loud(self.project(x_BTF))
        phases = rotary_phases(x_BTD.shape[1], WIDTH // HEADS, x_BTD)
        x_BTD = self.along(x_BTD, phases)
        if self.branches is None:
            return self.heads(self.norm(x_BTD).mean(1))
        return self.heads(self.branches(x_BTD, phases))


@torch.inference_mode()
def looked_at(run: Path, clips: Manifest) -> Tensor:
    """What the run's backbone makes of the frames of all clips: [N, T, F]."""
    recognizer = mudra.load(run)
    preprocessing: Preprocessing = recognizer.bundle.preprocessing
    model = recognizer.model.eval()
    rows = []
    for clip in clips:
        video = torch.from_numpy(preprocessing.read(clip)["video"])
        rows.append(model.look(video.view(-1, *video.shape[-4:])))
    return torch.cat(rows)


def trained(
    kind: str,
    seed: int,
    x: Tensor,
    y: dict[str, Tensor],
    classes: dict[str, int],
    depths: tuple[int, int],
    epochs: int,
) -> Above:
    """One training on features; the same seed draws the same batches for all kinds."""
    torch.manual_seed(seed)
    model = Above(x.shape[-1], kind, classes, depths)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * (len(x) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    draws = np.random.default_rng(seed)
    model.train()
    for _ in range(epochs):
        order = torch.from_numpy(draws.permutation(len(x)))
        for rows in order[: len(x) // 32 * 32].split(32):
            losses = [
                F.cross_entropy(row, y[task][rows], label_smoothing=0.05)
                for task, row in model(x[rows]).items()
            ]
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def right(model: Above, x: Tensor, y: dict[str, Tensor]) -> dict[str, NDArray[np.float64]]:
    """Whether each clip is right, by task, and in both (`action`)."""
    with torch.inference_mode():
        found = {task: (row.argmax(1) == y[task]).double().numpy() for task, row in model(x).items()}
    return {**found, "action": np.prod(list(found.values()), axis=0)}


def interval(values_SN: NDArray[np.float64], groups: list[str]) -> tuple[float, float]:
    """The 95 % interval of a mean over seeds and clips, drawn over people."""
    names, unit = np.unique(groups, return_inverse=True)
    sums = np.bincount(unit, values_SN.mean(0))
    sizes = np.bincount(unit)
    draws = np.random.default_rng(0).integers(0, len(names), (2000, len(names)))
    low, high = np.quantile(sums[draws].sum(1) / sizes[draws].sum(1), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--share", type=float, default=0.7, help="of the clips whose thing goes with their verb"
    )
    parser.add_argument("--clips", type=int, default=1200)
    parser.add_argument(
        "--draw", type=int, default=1, help="seed of the puppets: other numbers are other people"
    )
    parser.add_argument("--test", type=float, default=0.15, help="share of the people")
    parser.add_argument("--size", type=int, default=48, help="pixels of a side, as the run has them")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--trunk", type=int, default=1, help="layers along time that all branches share")
    parser.add_argument("--depth", type=int, default=1, help="layers of each branch")
    parser.add_argument(
        "--things", type=float, default=1.0, help="how large they are; small ones are hard to see"
    )
    args = parser.parse_args()
    depths = args.trunk, args.depth
    values = {
        "kind": "puppets", "clips": args.clips, "gestures": 12, "difficulty": 0.0, "seed": args.draw,
        "size": args.size, "thing_scale": args.things, "verb_noun": args.share, "tasks": ["verb", "noun"],
        "shares": [1 - args.test, 0.0, args.test],
    }  # fmt: skip
    clips = parse(Puppets, values, "puppets").read(None).with_tasks(["verb", "noun"])
    parts = {name: clips.split(name) for name in ("train", "test")}
    x = {name: looked_at(args.run, part) for name, part in parts.items()}
    y = {
        name: {task: torch.from_numpy(part.targets(task)) for task in clips.tasks}
        for name, part in parts.items()
    }
    classes = {task: len(names) for task, names in clips.tasks.items()}
    groups = [clip.group for clip in parts["test"]]
    found: dict[str, dict[str, list[NDArray[np.float64]]]] = {kind: {} for kind in KINDS}
    for seed in range(args.seeds):
        for kind in KINDS:
            model = trained(kind, seed, x["train"], y["train"], classes, depths, args.epochs)
            for task, values_N in right(model, x["test"], y["test"]).items():
                found[kind].setdefault(task, []).append(values_N)
    print(
        f"{len(parts['train'])} training clips, {len(groups)} test clips of {len(set(groups))} people, "
        f"{args.seeds} seeds, {args.share:.0%} of the things go with their verb"
    )
    print("| | parameters above the backbone | verb | noun | action |\n| --- | --- | --- | --- | --- |")
    for kind in KINDS:
        row = [f"{np.mean(found[kind][task]):.1%}" for task in ("verb", "noun", "action")]
        print(
            f"| {kind} | {count_parameters(Above(x['train'].shape[-1], kind, classes, depths)):,} | {' | '.join(row)} |"
        )
    for other in KINDS[:2]:
        row = []
        for task in ("verb", "noun", "action"):
            gain_SN = np.stack(found["crossed"][task]) - np.stack(found[other][task])
            low, high = interval(gain_SN, groups)
            row.append(f"{100 * gain_SN.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        print(f"| crossed less {other}, points | | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
