"""The demo's claims, trained for real: minutes long, behind `make test-slow`."""

import json
from pathlib import Path

import numpy as np
import pytest

from mudra import recipe as recipes
from mudra.clips.cache import cache
from mudra.clips.manifest import Manifest
from mudra.datasets.opening import read_location
from mudra.datasets.puppets import write
from mudra.training.train import train

pytestmark = pytest.mark.slow
PAIRS = (
    {"swipe left", "swipe right"},
    {"open hand", "close hand"},
    {"circle clockwise", "circle anticlockwise"},
    {"raise hand", "lower hand"},
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    home = tmp_path_factory.mktemp("demo")
    recipe = recipes.load("puppets-timesformer")
    write(home / "clips", recipe.data)
    return cache(
        read_location(str(home / "clips")), home / "cache", size=recipe.clip.size, resize="stretch", workers=0
    )


def top1(run) -> float:
    return json.loads(run.metrics("test").read_text())["tasks"]["label"]["top1"]


def test_the_demo_recognises_unseen_people(copy: Manifest, tmp_path: Path) -> None:
    assert len(copy.split("test")) >= 200
    run = train(recipes.load("puppets-timesformer"), f"puppets:{copy.root}", tmp_path / "run", say=print)
    assert top1(run) >= 0.95


def test_without_the_order_of_time_it_is_at_chance_within_pairs(copy: Manifest, tmp_path: Path) -> None:
    """Frames shuffled in time, in training and test: families of gestures remain, their direction does not.

    The network sees changes between neighbouring frames, so the shuffle comes before it.
    """
    from mudra.predictions.table import read

    rng = np.random.default_rng(0)
    for clip in copy:
        path = clip.streams["video"]
        with np.load(path) as stored:
            frames, times = stored["video"], stored["times"]
        np.savez(path, video=frames[rng.permutation(len(frames))], times=times)
    run = train(recipes.load("puppets-timesformer"), f"puppets:{copy.root}", tmp_path / "run", say=print)
    scores = read(run.predictions("test")).tasks["label"]
    names = np.array(scores.classes)
    truth, found = names[scores.truth], names[scores.log_probabilities.argmax(1)]
    within = np.array([any({t, f} <= pair for pair in PAIRS) for t, f in zip(truth, found, strict=True)])
    right = (truth == found)[within]
    error = 2 * (0.25 / len(right)) ** 0.5  # two standard errors of a fair coin
    assert abs(right.mean() - 0.5) < error + 0.02, (right.mean(), len(right))
