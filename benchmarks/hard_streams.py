"""How trained runs fare where a stream is missing or bad: the same test clips, altered before anything looks at them.

    python benchmarks/hard_streams.py missing RUN [RUN ...] [--data DATA] [--changes KEY=VALUE ...]
    python benchmarks/hard_streams.py skeletons RUN [RUN ...] [--data DATA] [--out DIR]
    python benchmarks/hard_streams.py saved ENSEMBLE RUN [RUN ...]

`missing` takes each stream of a run away in turn from all test clips, which need clip.missing: allow. `skeletons` loses
half of the joints at random and moves the others by 5 cm (Gaussian, each coordinate of each frame): once the same
joints throughout a clip, once others in every frame. What is lost is drawn from the clip's name, so all runs look at
the same clips; a run that has no points is judged as it is. Of several runs the mean of their probabilities is told as
well, and by how much the first has fewer errors than the best of the others.

RUN is a run, or a run of folds: then each fold is judged on its own test clips, and they are counted together. DATA is
what `mudra evaluate` takes; by default what the run was trained on. --changes alters the run's recipe, which draws
other puppets: data.clips=600 data.seed=1 data.shares=[0,0,1] for 600 test clips of other people. With --out, what each
run says is written into a folder of its own, DIR/NUMBER-RUN-HOW, which `mudra ensemble` takes for a run; `saved` then
tells the errors of what `mudra ensemble` made of such folders beside theirs.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mudra import bundle as bundles
from mudra import recipe as recipes
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.datasets.opening import open_data, with_classes
from mudra.files import read_json
from mudra.predictions import PredictionTable, ensemble, pooled, read, summarise
from mudra.training.judging import evaluator_for, record
from mudra.training.ranks import Team
from mudra.training.run_folder import RunFolder
from mudra.types import Clip, Stream

METRES = 0.05
LOST = 0.5
DRAWS = 10_000


class Without(Preprocessing):
    """The same looks at clips that lack one stream."""

    left_out: str = ""

    def read(self, clip: Clip, views: Views = Views()) -> dict[str, NDArray[np.float32]]:  # noqa: B008
        streams = {name: path for name, path in clip.streams.items() if name != self.left_out}
        return super().read(replace(clip, streams=streams), views)


class BadSkeletons(Preprocessing):
    """The same looks at clips whose skeletons were tracked badly."""

    each_frame: bool = False

    def read_track(self, clip: Clip, name: str) -> Stream:
        stream = super().read_track(clip, name)
        if stream.kind != "points":
            return stream
        rng = np.random.default_rng(zlib.crc32(clip.id.encode()))
        frames, points, _ = stream.values.shape
        noise = rng.normal(0, METRES, stream.values.shape)
        order = rng.random((frames if self.each_frame else 1, points)).argsort(1)
        lost = order < round(LOST * points)
        values = np.where(lost[..., None], np.nan, stream.values + noise).astype(np.float32)
        return replace(stream, values=values)


def altered(kind: type[Preprocessing], preprocessing: Preprocessing, **said: Any) -> Preprocessing:
    """A preprocessing that alters what it reads."""
    known = {part.name: getattr(preprocessing, part.name) for part in fields(preprocessing)}
    made = kind(**known)
    for name, value in said.items():
        object.__setattr__(made, name, value)  # frozen for everybody else
    return made


def without(stream: str) -> Callable[[Preprocessing], Preprocessing]:
    """What takes a stream away from all clips."""
    return lambda preprocessing: altered(Without, preprocessing, left_out=stream)


def judged(
    place: Path,
    data: str | None,
    alter: Callable[[Preprocessing], Preprocessing],
    changes: Sequence[str] = (),
) -> PredictionTable:
    """What a run says of its test clips, of all its folds together."""
    folds = sorted(place.glob("fold-*"))
    return pooled([one(RunFolder(fold), data, alter, changes) for fold in folds or [place]])


def one(
    run: RunFolder,
    data: str | None,
    alter: Callable[[Preprocessing], Preprocessing],
    changes: Sequence[str],
) -> PredictionTable:
    recipe = recipes.load(run.path / "recipe.yaml", changes)
    bundle = bundles.read_bundle(run.bundle)
    _, manifest = open_data(recipe, data or read_json(run.path / "environment.json")["data"])
    clips = with_classes(manifest.split("test"), dict(bundle.tasks))
    model = bundle.build()
    weights = run.bundle / "model.safetensors"
    bundles.load_weights(model, bundles.read_weights(weights), weights)
    preprocessing = alter(bundle.preprocessing.on(manifest.streams))
    return evaluator_for(recipe, clips, preprocessing, Team(torch.device("cpu"))).predict(model)


def streams_of(place: Path) -> tuple[str, ...]:
    """What a run looks at."""
    fold = next(iter(sorted(place.glob("fold-*"))), place)
    return bundles.read_bundle(RunFolder(fold).bundle).preprocessing.settings.streams


def tell(name: str, table: PredictionTable) -> None:
    figures = next(iter(summarise(table, "test")["tasks"].values()))
    low, high = figures["intervals"]["top1"]
    print(
        f"  {name:44} top-1 {figures['top1']:.1%} [{low:.1%}, {high:.1%}], {int((~right(table)).sum())} errors of "
        f"{figures['clips']}, loss {figures['loss']:.3f}",
        flush=True,
    )


def right(table: PredictionTable) -> NDArray[np.bool_]:
    """Which clips the first task is right about, in the order of their names."""
    scores = next(iter(table.tasks.values()))
    found = scores.log_probabilities.argmax(1) == scores.truth
    return np.asarray(found[np.argsort(table.clips)])


def mean_of(tables: Sequence[PredictionTable]) -> PredictionTable:
    """The mean of the probabilities, as `mudra ensemble` takes it."""
    members = ensemble.joined({f"run {number}": table for number, table in enumerate(tables, 1)})
    return ensemble.combined(members, ensemble.equal_weights(members), "probabilities")


def fewer(tables: Sequence[PredictionTable]) -> str:
    """By what share the first makes fewer errors than the best of the others, with an interval over the clips."""
    wrong = np.stack([~right(table) for table in tables])
    rng = np.random.default_rng(0)
    picks = rng.integers(wrong.shape[1], size=(DRAWS, wrong.shape[1]))
    drawn = wrong[:, picks].sum(2)
    shares = 1 - drawn[0] / np.maximum(drawn[1:].min(0), 1)
    whole = 1 - wrong[0].sum() / max(wrong[1:].sum(1).min(), 1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return f"  the first makes {whole:.0%} [{low:.0%}, {high:.0%}] fewer errors than the best of the others"


def tell_together(runs: Sequence[Path], tables: Sequence[PredictionTable]) -> None:
    for run, table in zip(runs, tables, strict=True):
        tell(run.name, table)
    if len(tables) > 1:
        print(fewer(tables))
    if len(tables) > 2:
        tell("mean of the probabilities of all but the first", mean_of(tables[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["missing", "skeletons", "saved"])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--changes", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "missing":
        for run in arguments.runs:
            print(run.name)
            tell("all streams", judged(run, arguments.data, lambda same: same, arguments.changes))
            for stream in streams_of(run):
                tell(f"without {stream}", judged(run, arguments.data, without(stream), arguments.changes))
        return
    if arguments.what == "saved":
        tell_together(arguments.runs, [read(RunFolder(run).predictions("test")) for run in arguments.runs])
        return
    looks = {
        "skeletons as they are": lambda same: same,
        "half of the joints lost throughout, 5 cm noise": lambda p: altered(BadSkeletons, p),
        "half of the joints lost in every frame, 5 cm noise": lambda p: altered(
            BadSkeletons, p, each_frame=True
        ),
    }
    for how, (name, alter) in zip(("clean", "throughout", "in-frames"), looks.items(), strict=True):
        print(name)
        tables = [judged(run, arguments.data, alter, arguments.changes) for run in arguments.runs]
        tell_together(arguments.runs, tables)
        for number, (run, table) in enumerate(zip(arguments.runs, tables, strict=True), 1):
            if arguments.out is not None:
                record(
                    RunFolder(arguments.out / f"{number}-{run.name}-{how}"), "test", table, lambda _line: None
                )


if __name__ == "__main__":
    main()
