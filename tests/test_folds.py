"""Cross-validation: every clip is tested once, by a model that has not seen its group."""

import json
from pathlib import Path

import numpy as np
import pytest

from mudra.clips.folds import make_folds
from mudra.clips.manifest import read_manifest
from mudra.datasets.opening import open_data
from mudra.errors import DataError, RecipeError, StoppedError
from mudra.predictions import PredictionTable, TaskScores, pooled, read
from mudra.recipe import Recipe
from mudra.training.run_folder import RunFolder
from tests.tiny import tiny_recipe, train_tiny, write_bars


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("folds") / "bars", {"train": 18, "test": 6}, groups=3)


def folded(**folds: object) -> Recipe:
    return tiny_recipe(data={"folds": folds}, train={"epochs": 1})


@pytest.fixture(scope="module")
def run(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_tiny(folded(count=3), bars, tmp_path_factory.mktemp("folds") / "run")


def test_every_clip_is_tested_once_by_a_model_that_has_not_seen_its_group(bars: Path, run: RunFolder) -> None:
    table = read(run.predictions("test"))
    manifest = read_manifest(bars)
    assert sorted(table.clips) == sorted(manifest.ids.to_pylist())
    for number in (1, 2, 3):
        tested, trained = (read(run.fold(number).predictions(split)) for split in ("test", "train"))
        assert len(tested)
        assert not set(tested.groups) & set(trained.groups)
        rows = [table.clips.index(clip) for clip in tested.clips]
        np.testing.assert_array_equal(
            table.tasks["label"].log_probabilities[rows], tested.tasks["label"].log_probabilities
        )
    figures = json.loads(run.metrics("test").read_text())
    assert figures["clips"] == 24
    assert run.read_status()["state"] == "done"


def test_the_run_of_a_fold_is_an_ordinary_run_that_its_recipe_repeats(
    bars: Path, run: RunFolder, tmp_path: Path
) -> None:
    recipe = run.fold(2).read_recipe()
    assert recipe.data.folds is not None
    assert recipe.data.folds.test == 2
    again = train_tiny(recipe, bars, tmp_path / "again")
    weights = "model.safetensors"
    assert (again.bundle / weights).read_bytes() == (run.fold(2).bundle / weights).read_bytes()


def test_stopped_folds_go_on_to_the_same_predictions(
    bars: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mudra.training.loop import Trainer

    asked = Trainer.stop_if_asked
    calls = 0

    def stop_in_the_second_fold(self: Trainer) -> None:
        nonlocal calls
        calls += 1
        if "fold-02" in str(self.run.path) and self.counters.step == 1:
            raise StoppedError("stopped for the test")
        asked(self)

    monkeypatch.setattr(Trainer, "stop_if_asked", stop_in_the_second_fold)
    with pytest.raises(StoppedError):
        train_tiny(folded(count=3), bars, tmp_path / "run")
    assert RunFolder(tmp_path / "run").read_status()["state"] == "stopped"
    monkeypatch.setattr(Trainer, "stop_if_asked", asked)
    resumed = train_tiny(folded(count=3), bars, tmp_path / "run", resume=True)
    assert resumed.predictions("test").read_bytes() == run.predictions("test").read_bytes()


def test_one_group_at_a_time_is_left_out_where_no_number_is_said(bars: Path) -> None:
    manifest = read_manifest(bars)
    _, first = open_data(folded(count=None, test=1), str(bars))
    assert len(make_folds(manifest, None)) == len(set(manifest.groups.to_pylist()))
    assert len(set(first.split("test").groups.to_pylist())) == 1


@pytest.mark.parametrize("test", [None, 9])
def test_a_fold_that_is_not_there_is_refused(bars: Path, test: int | None) -> None:
    with pytest.raises(RecipeError, match="folds 1 to 3"):
        open_data(folded(count=3, test=test), str(bars))


def test_folds_that_share_a_clip_or_differ_in_classes_are_refused() -> None:
    def table(clip: str, classes: tuple[str, ...]) -> PredictionTable:
        logs = np.log(np.full((1, len(classes)), 1 / len(classes), np.float32))
        return PredictionTable((clip,), ("",), {"label": TaskScores(classes, np.zeros(1, np.int64), logs)})

    with pytest.raises(DataError, match="two folds"):
        pooled([table("one", ("a", "b")), table("one", ("a", "b"))])
    with pytest.raises(DataError, match="fold 2"):
        pooled([table("one", ("a", "b")), table("two", ("b", "a"))])
    assert len(pooled([table("one", ("a", "b")), table("two", ("a", "b"))])) == 2
