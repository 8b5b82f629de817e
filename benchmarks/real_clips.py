"""How a recipe fares on a data set that brings groups: leave one group out, beside simple baselines.

    python benchmarks/real_clips.py DATA [--recipe folder-timesformer] [--folds 0,1,2] [KEY=VALUE ...]

DATA is a folder as `mudra train --data` takes it. It is decoded once into a temporary copy; a fold for each
group is written there with `mudra.clips.folds`; the recipe is trained on each, without validation, so that
nothing is chosen on the test; the folds' test predictions are pooled and judged once, with an interval over
groups. With `--given` the data's own split is used instead (train -> its val or test).

Baselines, on the very same folds: the majority class, and ExtraTrees on 16x16 grey frames and differences of
8 moments.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier

from mudra import recipe as recipes
from mudra.clips.cache import cache
from mudra.clips.folds import make_folds, write_folds
from mudra.clips.manifest import Manifest
from mudra.clips.sampling import even
from mudra.datasets.opening import read_location
from mudra.predictions import PredictionTable, TaskScores, read, summarise
from mudra.sources import open_source
from mudra.training.train import train

MOMENTS, SIDE = 8, 16


def pixels(manifest: Manifest) -> np.ndarray:
    """[clips, features]: small grey frames and their differences."""
    rows = []
    for clip in manifest:
        info = manifest.streams["video"]
        frames = (
            open_source(clip.streams["video"], "video", fps=info.fps).read(lambda t: even(t, MOMENTS)).values
        )
        grey = [np.asarray(Image.fromarray(f).convert("L").resize((SIDE, SIDE)), np.float32) for f in frames]
        rows.append(np.concatenate([np.ravel(grey), np.ravel(np.diff(grey, axis=0))]))
    return np.stack(rows)


def pooled(tables: list[PredictionTable]) -> PredictionTable:
    """The test clips of all folds, each scored by the model that had not seen its group."""
    tasks = {
        task: TaskScores(
            scores.classes,
            np.concatenate([t.tasks[task].truth for t in tables]),
            np.concatenate([t.tasks[task].log_probabilities for t in tables]),
        )
        for task, scores in tables[0].tasks.items()
    }
    return PredictionTable(
        clips=tuple(c for t in tables for c in t.clips),
        groups=tuple(g for t in tables for g in t.groups),
        tasks=tasks,
    )


def tell(name: str, table: PredictionTable, split: str) -> None:
    for task, figures in summarise(table, split)["tasks"].items():
        low, high = figures["intervals"]["top1"]
        print(
            f"{name:28} {task}: top-1 {figures['top1']:.1%} [{low:.1%}, {high:.1%}] over {figures['clips']} clips, "
            f"interval over {figures['interval_over']}; majority {figures['baseline']:.1%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--recipe", default="folder-timesformer")
    parser.add_argument("--size", type=int, default=128, help="shorter side of the decoded copy")
    parser.add_argument("--given", action="store_true", help="the data's own split instead of folds")
    parser.add_argument("--most", type=int, default=None, help="only the first so many folds")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as home:
        run_all(arguments, Path(home))


def run_all(arguments: argparse.Namespace, home: Path) -> None:
    copy = cache(read_location(arguments.data), home / "copy", size=arguments.size, form="npz")
    names = ["manifest.csv"]
    if not arguments.given:
        names = [path.name for path in write_folds(make_folds(copy, None))][: arguments.most]
    ours, trees = [], []
    for number, name in enumerate(names):
        changes = [f"data.manifest={name}", "data.holdout=null", *arguments.changes]
        recipe = recipes.load(arguments.recipe, changes)
        manifest = recipe.data.read(copy.root)
        split = "test" if len(manifest.split("test")) else "val"
        run = train(recipe, str(copy.root), home / f"run-{number}", say=lambda _line: None)
        ours.append(read(run.predictions(split)))
        past, future = manifest.split("train"), manifest.split(split)
        forest = ExtraTreesClassifier(500, random_state=0).fit(pixels(past), past.targets("label"))
        chances = np.full((len(future), len(manifest.tasks["label"])), 1e-6, np.float32)
        chances[:, forest.classes_] += forest.predict_proba(pixels(future)).astype(np.float32)
        logs = np.log(chances / chances.sum(1, keepdims=True)).astype(np.float32)
        scores = TaskScores(manifest.tasks["label"], future.targets("label"), logs)
        table = ours[-1]
        order = [list(future.ids.to_pylist()).index(clip) for clip in table.clips]
        trees.append(PredictionTable(table.clips, table.groups, {"label": scores}).take(range(len(table))))
        assert order == list(range(len(table)))
        tell(f"fold {number + 1} of {len(names)}", ours[-1], split)
    tell(arguments.recipe, pooled(ours), split)
    tell("ExtraTrees on pixels", pooled(trees), split)


if __name__ == "__main__":
    main()
