"""`mudra demo`: the whole path on built-in data, with the very pieces that a user's own data takes.

Clips are drawn and written as mp4, decoded once into a shrunk copy that is fast to read, a model is
trained on that copy, judged on the mp4 files of people it has never seen, and asked about one file.
"""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from mudra import recipe as recipes
from mudra.clips.cache import cache
from mudra.datasets.opening import read_location
from mudra.datasets.puppets import Puppets, write
from mudra.errors import UsageError
from mudra.progress import Progress, Say
from mudra.recognizer import load
from mudra.reports.answers import prediction_table
from mudra.reports.report import write_report
from mudra.reports.thumbnails import thumbnails_of
from mudra.training.judging import evaluate
from mudra.training.train import train

RECIPE = "puppets-timesformer"


def run_demo(out: Path, say: Say, progress: Progress) -> None:
    """Make clips, train, evaluate, report, predict one file; say what was made and where.

    Raises:
        UsageError: `out` is there already.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out}: it is there already and not empty; choose another folder with --out.")
    began = time.monotonic()
    recipe = recipes.load(RECIPE)
    clips, copy, run = out / "clips", out / "cache", out / "run"

    assert isinstance(recipe.data, Puppets)
    say(f"1/5  drawing {recipe.data.clips} clips of puppets as mp4 files: {clips}")
    write(clips, recipe.data, progress=progress)
    drawn = read_location(str(clips))

    say(f"2/5  decoding them once, for training to read fast: {copy}")
    cache(drawn, copy, size=recipe.clip.size, resize="stretch", progress=progress)

    say(f"3/5  training {RECIPE}: {run}")
    trained = train(recipe, f"puppets:{copy}", run, say=say, progress=progress)

    say("4/5  judging it on the mp4 files of people it has never seen")
    evaluate(trained, f"puppets:{clips}", "test", say=say, progress=progress)
    report = write_report(run, thumbnails=thumbnails_of(trained, f"puppets:{clips}"))

    test = drawn.split("test")
    clip = test[0]
    file = clip.streams["video"]
    say(f"5/5  recognising one file; it shows {clip.labels['label']!r}")
    Console().print(prediction_table(str(file), load(run).predict(file), top=3))
    say(
        f"done in {time.monotonic() - began:.0f} s. Open {report}\n"
        f"next:  mudra predict {run} {file}\n"
        "       mudra train folder-timesformer --data YOUR_FOLDER     (DIR/<class>/<clip>.mp4)"
    )
