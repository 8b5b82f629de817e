"""How a recipe fares on real recordings, beside simple baselines on the very same folds.

    python benchmarks/real_data.py RECIPE DATA [--folds group|5] [KEY=VALUE ...]

RECIPE and DATA are what `mudra train RECIPE --data DATA` takes, and the recipe is trained just so: a fold at a time
without validation, so that nothing is chosen on the test, and judged on the pooled test predictions. Without
`--folds` the data's own split is used. `--repeats 3` trains with so many seeds and tells each and the mean.

Baselines: the majority class, and ExtraTrees (500 trees) on what is looked at in a clip: prepared points or series at
32 moments, or grey frames of 16x16 pixels at 8 moments; each with the differences from moment to moment.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier

from mudra import recipe as recipes
from mudra.clips.cache import cache
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing, open_stream
from mudra.clips.sampling import even
from mudra.datasets.opening import folds_of, open_data, read_location
from mudra.predictions import PredictionTable, TaskScores, pooled, read, summarise
from mudra.recipe import Recipe
from mudra.training.train import train

MOMENTS = {"video": 8, "points": 32, "series": 32}
SIDE = 16


def looks(manifest: Manifest, recipe: Recipe, stream: str) -> NDArray[np.float32]:
    """What is looked at in each clip of one stream, and how it changes: float32 [clips, features]."""
    info = manifest.streams[stream]
    moments = MOMENTS[info.kind]
    plain = recipe.clip.series.model_copy(update={"normalise": "none"})  # no matter to trees
    settings = recipe.clip.model_copy(update={"streams": (stream,), "frames": moments, "series": plain})
    rows = []
    for clip in manifest:
        if info.kind == "video":
            frames = open_stream(clip, stream, info).read(lambda times: even(times, moments)).values
            look = [
                np.asarray(Image.fromarray(f).convert("L").resize((SIDE, SIDE)), np.float32) for f in frames
            ]
            looked_at = np.stack(look)
        else:
            looked_at = np.nan_to_num(Preprocessing(settings, manifest.streams).read(clip)[stream][0])
        rows.append(np.concatenate([looked_at.ravel(), np.diff(looked_at, axis=0).ravel()]))
    return np.stack(rows)


def forest(
    past: NDArray[Any], future: NDArray[Any], trained: Manifest, table: PredictionTable
) -> PredictionTable:
    """What ExtraTrees says of the clips of `table`."""
    task, scores = next(iter(table.tasks.items()))
    with warnings.catch_warnings():  # many classes of few clips are no regression
        warnings.filterwarnings("ignore", message="The number of unique classes")
        trees = ExtraTreesClassifier(500, random_state=0).fit(past, trained.targets(task))
    chances = np.full((len(table), len(scores.classes)), 1e-6, np.float32)
    chances[:, trees.classes_] += trees.predict_proba(future).astype(np.float32)
    logs = np.log(chances / chances.sum(1, keepdims=True)).astype(np.float32)
    return PredictionTable(table.clips, table.groups, {task: TaskScores(scores.classes, scores.truth, logs)})


def baseline(folds: list[Recipe], data: str, tables: list[PredictionTable], split: str) -> PredictionTable:
    """ExtraTrees on the same folds, pooled."""
    features: Mapping[str, NDArray[Any]] = {}
    answers = []
    for recipe, table in zip(folds, tables, strict=True):
        _, manifest = open_data(recipe, data)
        if not features:
            found = np.concatenate(
                [looks(manifest, recipe, stream) for stream in recipe.clip.streams], axis=1
            )
            features = dict(zip(manifest.ids.to_pylist(), found, strict=True))
        past = manifest.split("train")
        train_rows = np.stack([features[clip] for clip in past.ids.to_pylist()])
        test_rows = np.stack([features[clip] for clip in table.clips])
        answers.append(forest(train_rows, test_rows, past, table))
        tell(f"  ExtraTrees, part {len(answers)}", answers[-1], split)
    return pooled(answers)


def tell(name: str, table: PredictionTable, split: str) -> float:
    """Print top-1 with its interval; returns it."""
    task, figures = next(iter(summarise(table, split)["tasks"].items()))
    low, high = figures["intervals"]["top1"]
    print(
        f"{name:28} {task}: top-1 {figures['top1']:.1%} [{low:.1%}, {high:.1%}] over {figures['clips']} clips, "
        f"interval over {figures['interval_over']}; majority {figures['baseline']:.1%}",
        flush=True,
    )
    return float(figures["top1"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("data")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--folds", default=None, help="group: one group at a time is test; 5: five folds")
    parser.add_argument(
        "--only", type=int, nargs="+", default=None, help="only the folds of these numbers, from 1"
    )
    parser.add_argument("--repeats", type=int, default=1, help="trainings with seeds 0, 1, ...")
    parser.add_argument("--size", type=int, default=128, help="shorter side of the decoded copy of videos")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as home:
        run_all(arguments, Path(home))


def run_all(arguments: argparse.Namespace, home: Path) -> None:
    data = arguments.data
    changes = list(arguments.changes)
    if arguments.folds:
        count = "null" if arguments.folds == "group" else int(arguments.folds)
        changes = [f"data.folds={{count: {count}}}", "data.holdout=null", *changes]
    recipe = recipes.load(arguments.recipe, changes)
    if "video" in recipe.clip.streams:
        cache(read_location(data), home / "copy", size=arguments.size, form="npz")
        data = str(home / "copy")
    folds = folds_of(recipe, data) if arguments.folds else [recipe]
    folds = [fold for number, fold in enumerate(folds, 1) if number in (arguments.only or [number])]
    reached = []
    for seed in range(arguments.repeats):
        tables = []
        for number, fold in enumerate(folds, 1):
            seeded = recipes.resolve(
                {**fold.tree(), "train": fold.tree()["train"] | {"seed": seed}}, fold.name
            )
            began = time.perf_counter()
            run = train(seeded, data, home / f"run-{seed}-{number}", say=lambda _line: None)
            split = "test" if run.predictions("test").exists() else "val"
            tables.append(read(run.predictions(split)))
            took = time.perf_counter() - began
            tell(f"seed {seed}, part {number} of {len(folds)} ({took:.0f} s)", tables[-1], split)
        reached.append(tell(f"{arguments.recipe}, seed {seed}", pooled(tables), split))
    if arguments.repeats > 1:
        print(f"mean of {arguments.repeats} seeds: {np.mean(reached):.1%}", flush=True)
    tell("ExtraTrees", baseline(folds, data, tables, split), split)


if __name__ == "__main__":
    main()
