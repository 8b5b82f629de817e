"""How a recipe fares on a data set of body points: folds by group (or of single clips), beside simple baselines.

    python benchmarks/real_points.py DATA [--recipe utd-mhad-skeleton] [--folds 5] [KEY=VALUE ...] [--only 1 2]

DATA is what `mudra train --data` takes. Its points are written once into a temporary folder of `.npz` with a
manifest, as anybody would bring them; a fold for each group (or `--folds` of them) is written there; the recipe is
trained on each without validation, so that nothing is chosen on the test; the folds' test predictions are pooled
and judged once. With `--given` the data's own split is used instead.

Baselines, on the very same folds: the majority class, and ExtraTrees on the prepared points of 16 moments and
their differences.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

from mudra import recipe as recipes
from mudra.clips.folds import make_folds, write_folds
from mudra.clips.manifest import Manifest, read_manifest, write_manifest
from mudra.clips.preprocessing import Preprocessing, open_stream
from mudra.datasets.opening import read_location
from mudra.predictions import PredictionTable, TaskScores, read
from mudra.sections import ClipSettings
from mudra.training.train import train
from real_clips import pooled, tell

MOMENTS = 16


def copied(manifest: Manifest, out: Path) -> Manifest:
    """The points as `.npz` files with a manifest."""
    out.mkdir()
    info = manifest.streams["points"]
    classes = list(manifest.tasks["label"])
    rows = ["clip,split,group,label,points"]
    for clip in manifest:
        stream = open_stream(clip, "points", info).read(lambda times: np.arange(len(times)))
        np.savez(out / f"{clip.id}.npz", points=stream.values, times=stream.times - stream.times[0])
        rows.append(f"{clip.id},{clip.split},{clip.group},{clip.labels['label']},{clip.id}.npz")
    (out / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (out / "dataset.json").write_text(f'{{"streams": {{"points": {{"layout": "{info.layout}"}}}}}}', "utf-8")
    copy = read_manifest(out)
    assert set(copy.tasks["label"]) <= set(classes)
    write_manifest(copy, out)
    return copy


def features(manifest: Manifest) -> np.ndarray:
    """[clips, features]: prepared points of a few moments and their differences; what is not seen is 0."""
    settings = ClipSettings(streams=("points",), frames=MOMENTS)
    preparing = Preprocessing(settings, manifest.streams)
    rows = []
    for clip in manifest:
        points = np.nan_to_num(preparing.read(clip)["points"][0])
        rows.append(np.concatenate([points.ravel(), np.diff(points, axis=0).ravel()]))
    return np.stack(rows)


def forest(past: Manifest, future: Manifest, table: PredictionTable) -> PredictionTable:
    """What ExtraTrees says of the same clips."""
    trees = ExtraTreesClassifier(500, random_state=0).fit(features(past), past.targets("label"))
    chances = np.full((len(future), len(future.tasks["label"])), 1e-6, np.float32)
    chances[:, trees.classes_] += trees.predict_proba(features(future)).astype(np.float32)
    logs = np.log(chances / chances.sum(1, keepdims=True)).astype(np.float32)
    assert table.clips == tuple(future.ids.to_pylist())
    scores = TaskScores(future.tasks["label"], future.targets("label"), logs)
    return PredictionTable(table.clips, table.groups, {"label": scores})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--recipe", default="utd-mhad-skeleton")
    parser.add_argument(
        "--folds", type=int, default=None, help="so many folds in place of one for each group"
    )
    parser.add_argument("--given", action="store_true", help="the data's own split instead of folds")
    parser.add_argument(
        "--only", type=int, nargs="+", default=None, help="only the folds of these numbers, from 1"
    )
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as home:
        run_all(arguments, Path(home))


def run_all(arguments: argparse.Namespace, home: Path) -> None:
    copy = copied(read_location(arguments.data), home / "copy")
    names = ["manifest.csv"]
    if not arguments.given:
        names = [path.name for path in write_folds(make_folds(copy, arguments.folds))]
        names = [name for number, name in enumerate(names, 1) if number in (arguments.only or [number])]
    ours, trees = [], []
    for number, name in enumerate(names):
        changes = ["data.kind=folder", f"data.manifest={name}", "data.holdout=null", *arguments.changes]
        recipe = recipes.load(arguments.recipe, changes)
        manifest = recipe.data.read(copy.root)
        split = "test" if len(manifest.split("test")) else "val"
        began = time.perf_counter()
        run = train(recipe, str(copy.root), home / f"run-{number}", say=lambda _line: None)
        took = time.perf_counter() - began
        ours.append(read(run.predictions(split)))
        trees.append(forest(manifest.split("train"), manifest.split(split), ours[-1]))
        tell(f"fold {number + 1} of {len(names)} ({took:.0f} s)", ours[-1], split)
    tell(arguments.recipe, pooled(ours), split)
    tell("ExtraTrees on points", pooled(trees), split)


if __name__ == "__main__":
    main()
