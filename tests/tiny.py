"""A tiny data set and recipe that train in a second: bars that move left or right."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mudra import recipe as recipes
from mudra.recipe import Recipe
from mudra.training.loop import Trainer
from mudra.training.run_folder import RunFolder
from mudra.training.train import train

CLASSES = ("to the left", "to the right")
SIDE, FRAMES = 16, 8
MODEL = {
    "kind": "timesformer",
    "width": 16,
    "depth": 1,
    "heads": 2,
    "patch": 8,
    "stem": "conv",
    "frame_differences": True,
}


@contextmanager
def cut_before(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[None]:
    """What trains in this block is cut as by Ctrl-C when so many steps are done."""
    real = Trainer.step

    def cut(self: Any, parts: Any, rate: float) -> Any:
        if self.counters.step == step:
            raise KeyboardInterrupt
        return real(self, parts, rate)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", cut)
        with pytest.raises(KeyboardInterrupt):
            yield


def write_bars(
    root: Path,
    counts: dict[str, int],
    *,
    groups: int = 4,
    seed: int = 0,
    header: str = "clip,split,group,label,video",
) -> Path:
    """Clips as .npy files [T,H,W,3] with a manifest; a group is never in two splits."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    rows = [header]
    for split, count in counts.items():
        for number in range(count):
            label = CLASSES[number % 2]
            clip = f"{split}-{number:03d}"
            np.save(root / f"{clip}.npy", bar(rng, label))
            rows.append(f"{clip},{split},{split}-g{number // 2 % groups},{label},{clip}.npy")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (root / "dataset.json").write_text('{"streams": {"video": {"fps": 10}}}', "utf-8")
    return root


def write_two_tasks(root: Path, counts: dict[str, int] | None = None) -> Path:
    """The moving bars with a verb (the direction) and a noun, and a subset of the clips."""
    write_bars(root, counts or {"train": 8, "val": 4, "test": 4})
    with (root / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (root / "manifest.csv").open("w", newline="") as file:
        names = ["clip", "split", "group", "verb", "noun", "video", "subset:odd"]
        out = csv.DictWriter(file, names, extrasaction="ignore")
        out.writeheader()
        for number, row in enumerate(rows):
            more = {"noun": ("bar", "rod")[number // 2 % 2], "subset:odd": ("no", "yes")[number % 2]}
            out.writerow({**row, **more, "verb": row["label"]})
    return root


def train_tiny(recipe: Recipe, data: Path, out: Path, **options: Any) -> RunFolder:
    """Train without a word."""
    return train(recipe, str(data), out, say=lambda _line: None, **options)


def bar(rng: np.random.Generator, label: str) -> np.ndarray:
    """A bright bar that moves over a dark, noisy ground."""
    frames = rng.integers(0, 60, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
    places = np.arange(FRAMES) + rng.integers(0, SIDE - FRAMES)
    for frame, place in zip(frames, places if label == CLASSES[1] else places[::-1], strict=True):
        frame[:, place : place + 2] = 220
    return frames


def tiny_recipe(**sections: Any) -> Recipe:
    """A recipe for the bars; keys given by section replace the defaults, another kind all of a section."""
    tree = {
        "data": {"kind": "folder"},
        "clip": {"frames": 4, "size": SIDE, "resize": "stretch"},
        "augment": {"crop": [0.8, 1.0], "brightness": 0.2},
        "model": dict(MODEL),
        "optim": {"lr": 3e-3},
        "schedule": {"kind": "cosine"},
        "train": {"epochs": 2, "batch": 8, "workers": 0, "device": "cpu", "log_every": 1},
    }
    for section, values in sections.items():
        below = tree.get(section, {})
        if isinstance(values, dict) and values.get("kind") in (None, below.get("kind")):
            values = {**below, **values}
        tree[section] = values
    return recipes.resolve(tree, "tiny", name="tiny")
