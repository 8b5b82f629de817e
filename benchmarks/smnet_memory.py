"""S4's network at full size: parameters of each trunk, and what one clip costs forward and backward on a CPU.

    python benchmarks/smnet_memory.py [RECIPE] [KEY=VALUE ...]

RECIPE is montalbano-smnet by default. Memory is the largest resident size of this process, torch included.
"""

from __future__ import annotations

import resource
import sys
import time

import torch

from mudra import recipe as recipes
from mudra.bundle import build_model, fitted
from mudra.clips.preprocessing import Preprocessing
from mudra.models import count_parameters
from mudra.reports.catalogue import assumed

LIMIT = 8 * 1024  # MiB


def resident() -> float:
    """The largest resident size so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    name, changes = (sys.argv[1:] or ["montalbano-smnet"])[0], sys.argv[2:]
    recipe = recipes.load(name, changes)
    streams = {stream: assumed(recipe, stream) for stream in recipe.clip.streams}
    preprocessing = Preprocessing(recipe.clip, streams)
    torch.manual_seed(0)
    model = build_model(fitted(recipe.model, preprocessing), preprocessing.inputs, {"label": 20}).train()
    for part, module in [*model.get_submodule("trunks").named_children(), ("all", model)]:
        print(f"{part:10} {count_parameters(module):>12,} parameters")
    before = resident()
    clip = {stream: torch.rand(1, *shape) for stream, shape in preprocessing.inputs.items()}
    began = time.process_time()
    said = model(clip)
    forward = time.process_time() - began
    sum(row.nan_to_num().square().sum() for row in said.values()).backward()  # type: ignore[union-attr]
    took = time.process_time() - began
    windows = said["label/windows"].shape[1] if "label/windows" in said else 1
    print(f"one clip of {recipe.clip.frames} frames, {windows} windows: {', '.join(said)}")
    print(f"forward {forward:.1f} s, forward and backward {took:.1f} s of CPU")
    print(
        f"memory {before:,.0f} MiB before, {resident():,.0f} MiB at most; within {LIMIT:,} MiB: {resident() < LIMIT}"
    )


if __name__ == "__main__":
    main()
