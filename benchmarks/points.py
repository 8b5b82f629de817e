"""What a training clip of body points costs: read, brought to a length, altered. One thread, CPU time.

    python benchmarks/points.py [--rounds 15] [--out points-cpu.md]

Clips of three kinds are written as `.npz` files: a skeleton and the points of a signer as the recipes look at them,
the signer's also compressed. `read` reads the file alone. `recipe` is what a training with `utd-mhad-skeleton` does
for each clip once its stream is kept in memory, `unkept` where it is not; `everything` has every option of
`augment.points` on, and `prepared` every option of `clip.points` as well. All are taken in turns in each round, so
that what else the machine does falls on all of them alike; medians are given.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mudra import recipe as recipes
from mudra.clips.kept import Kept
from mudra.clips.layouts import find_layout
from mudra.clips.loader import Place, TrainingClips
from mudra.clips.manifest import Manifest, read_manifest
from mudra.clips.preprocessing import Preprocessing
from mudra.sections import AugmentSettings, ClipSettings, PointAugment, PointSettings
from mudra.training.hardware import processor_name

RESULTS = Path(__file__).parent / "results"
CLIPS = 40
KINDS = {  # layout, coordinates, frames of the file, frames that the model takes, compressed
    "kinect20, 67 frames -> 48x20x3": ("kinect20", 3, 67, 48, False),
    "sign92, 100 frames -> 128x92x2": ("sign92", 2, 100, 128, False),
    "the same, compressed": ("sign92", 2, 100, 128, True),
}
EVERYTHING: dict[str, float] = {
    "slow": 0.2,
    "bones": 0.1,
    "part_scale": 0.1,
    "part_turn": 10.0,
    "part_shift": 0.05,
    "distort": 0.05,
    "shear": 0.1,
    "perspective": 0.1,
    "outliers": 0.01,
    "burst": 0.05,
    "lose_parts": 0.2,
    "drop_span": 0.2,
    "drop_axes": 0.05,
}


def written(folder: Path, layout: str, dims: int, frames: int, compressed: bool) -> Manifest:
    """Clips of points that sway, one in twenty of them not seen."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = ["clip,split,label,points"]
    for number in range(CLIPS):
        shape = (frames, len(find_layout(layout)), dims)
        points = rng.normal(size=(1, *shape[1:])) + 0.1 * rng.normal(size=shape).cumsum(0)
        points[rng.random(shape[:2]) < 0.05] = np.nan
        save = np.savez_compressed if compressed else np.savez
        save(folder / f"{number}.npz", points=points.astype(np.float32), times=np.arange(frames) / 30)
        rows.append(f"{number},train,{'ab'[number % 2]},{number}.npz")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (folder / "dataset.json").write_text(f'{{"streams": {{"points": {{"layout": "{layout}"}}}}}}', "utf-8")
    return read_manifest(folder)


def columns(manifest: Manifest, layout: str, dims: int, frames: int) -> dict[str, Callable[[int], object]]:
    """What is timed, by the name of its column: functions of a clip's number."""
    recipe = recipes.load("utd-mhad-skeleton")
    points = PointSettings.model_validate({"dims": dims})
    hands = ("left_hand", "right_hand") if "left_hand" in find_layout(layout).parts else ()
    wholly = points.model_copy(update={"drop_frames_without": hands, "by": "both", "standardise": "clip"})
    more = recipe.augment.points.model_dump() | EVERYTHING | ({"swap_hands": 0.3} if hands else {})
    all_on = recipe.augment.model_copy(update={"points": PointAugment.model_validate(more)})

    def training(augment: AugmentSettings, prepared: PointSettings, kept: Kept) -> Callable[[int], object]:
        settings = ClipSettings(streams=("points",), frames=frames, points=prepared)
        clips = TrainingClips(manifest, Preprocessing(settings, manifest.streams), augment, seed=0)
        clips.alteration.kept = kept
        return lambda number: clips[Place(number, 1, number)]

    reading = Preprocessing(ClipSettings(streams=("points",), frames=frames, points=points), manifest.streams)
    return {
        "read": lambda number: reading.read_track(manifest[number], "points"),
        "recipe, unkept": training(recipe.augment, points, Kept(0)),
        "recipe": training(recipe.augment, points, Kept()),
        "everything": training(all_on, points, Kept()),
        "prepared": training(all_on, wholly, Kept()),
    }


def measured(timed: dict[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds a clip; one more round warms up and is thrown away."""
    taken: dict[str, list[float]] = {name: [] for name in timed}
    order, shuffle = list(timed), random.Random(0)
    for turn in range(rounds + 1):
        shuffle.shuffle(order)
        for name in order:
            began = time.process_time()
            for number in range(CLIPS):
                timed[name](number)
            if turn:
                taken[name].append(1000 * (time.process_time() - began) / CLIPS)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", help="a file in benchmarks/results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as home:
        for number, (kind, (layout, dims, source, frames, compressed)) in enumerate(KINDS.items()):
            manifest = written(Path(home) / str(number), layout, dims, source, compressed)
            row = measured(columns(manifest, layout, dims, frames), given.rounds)
            if not lines:
                lines = [f"| ms a clip | {' | '.join(row)} |", f"|---|{'---:|' * len(row)}"]
            lines.append(f"| {kind} | {' | '.join(f'{value:.2f}' for value in row.values())} |")
    print("\n".join(lines))
    if given.out:
        about = f"CPU time a training clip of body points, one thread of {processor_name()}, numpy {np.__version__}."
        text = f"{about}\n`python benchmarks/points.py --rounds {given.rounds}`\n\n" + "\n".join(lines) + "\n"
        (RESULTS / given.out).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
