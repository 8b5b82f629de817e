"""A training with two tasks: what it is judged by, what it says, and what its run holds."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mudra
from mudra.cli import app
from mudra.predictions import read, read_metrics
from mudra.training.run_folder import RunFolder
from mudra.training.train import train
from tests.tiny import tiny_recipe, write_two_tasks

WEIGHTS = {"verb": 2.0, "noun": 0.5}


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, said: list[str]) -> RunFolder:
    home = tmp_path_factory.mktemp("two")
    data = write_two_tasks(home / "data", {"train": 16, "val": 8, "test": 8})
    recipe = tiny_recipe(loss={"task_weights": WEIGHTS}, train={"epochs": 1})
    return train(recipe, str(data), home / "run", say=said.append)


def test_the_validation_loss_adds_up_as_the_training_loss_does(run: RunFolder) -> None:
    with run.log.open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["split"] == "val"]
    tasks = read_metrics(run.metrics("val"))["tasks"]
    expected = sum(weight * tasks[task]["loss"] for task, weight in WEIGHTS.items())
    # of the one epoch, whose weights were kept
    assert float(row["loss"]) == pytest.approx(expected, rel=1e-4)


def test_every_task_and_the_action_are_told(run: RunFolder, said: list[str]) -> None:
    for split in ("train", "val", "test"):
        for task in ("verb", "noun", "action"):
            assert any(line.startswith(f"{split} {task}: top-1 ") for line in said)
            assert any(line.startswith(f"{split} {task}, odd: top-1 ") for line in said)
    (gap,) = [line for line in said if line.startswith("overfitting gap")]
    assert all(task in gap for task in ("verb", "noun", "action"))


def test_the_gap_stands_in_the_metrics_of_val(run: RunFolder) -> None:
    train, val = (read_metrics(run.metrics(split)) for split in ("train", "val"))
    gap = val["overfitting_gap"]
    assert list(gap) == ["verb", "noun", "action"]
    assert gap["action"]["top1"] == pytest.approx(train["action"]["top1"] - val["action"]["top1"])
    assert "overfitting_gap" not in read_metrics(run.metrics("test"))


def test_subsets_go_from_the_manifest_into_the_predictions(run: RunFolder) -> None:
    table = read(run.predictions("test"))
    assert table.subsets["odd"].tolist() == [False, True] * 4
    assert read_metrics(run.metrics("test"))["subsets"]["odd"]["clips"] == 4


def test_the_card_shows_how_to_ask_for_both(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    card = (run.bundle / "README.md").read_text()
    assert "best of validation, mean top-1" in card
    example = card.partition("```python\n")[2].partition("```")[0]
    clip = run.path.parent / "data" / "test-000.npy"
    exec(example.replace("FOLDER", str(run.path)).replace("clip.mp4", str(clip)), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["verb", "noun"]


def test_predictions_name_every_task(run: RunFolder) -> None:
    clip = run.path.parent / "data" / "test-000.npy"
    answer = CliRunner().invoke(app, ["predict", str(run.path), str(clip), "--json"])
    tasks = json.loads(answer.stdout)["tasks"]
    assert {task: len(ranked) for task, ranked in tasks.items()} == {"verb": 2, "noun": 2}
    shown = CliRunner().invoke(app, ["predict", str(run.path), str(clip)]).stdout
    assert "verb" in shown
    assert "noun" in shown
    assert mudra.load(run.path).predict(Path(clip)).tasks.keys() == {"verb", "noun"}
