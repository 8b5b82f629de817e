"""Training end to end on tiny clips: the same seed is the same run, and nothing is lost or hidden."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mudra
from mudra.clips.loader import Place, TrainingClips
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.datasets.opening import open_data
from mudra.errors import DataError, ModelError, NonFiniteError, RecipeError, UsageError
from mudra.predictions.table import read
from mudra.training import checkpoints
from mudra.training.judging import evaluate
from mudra.training.loop import Trainer
from mudra.training.run_folder import RunFolder
from mudra.training.step import Stepper
from tests.tiny import CLASSES, bar, cut_before, tiny_recipe, write_bars
from tests.tiny import train_tiny as run


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("bars"), {"train": 24, "val": 8, "test": 10})


def weights(folder):
    return {name: x.numpy().tobytes() for name, x in load_file(folder.bundle / "model.safetensors").items()}


def log(folder):
    with folder.log.open() as file:
        return list(csv.DictReader(file))


def steps_of(folder):
    return [(row["step"], row["loss"], row["grad_norm"]) for row in log(folder)]


def test_a_run_holds_everything_it_promises(bars, tmp_path):
    done = run(tiny_recipe(), bars, tmp_path / "run")
    for name in (
        "recipe.yaml", "environment.json", "status.json", "log.csv", "bundle/model.safetensors", "bundle/config.json",
        "bundle/README.md", "predictions/train.parquet", "predictions/val.parquet", "predictions/test.parquet",
        "metrics/test.json", "tensorboard",
    ):  # fmt: skip
        assert (done.path / name).exists(), name
    assert json.loads((done.path / "status.json").read_text()) == {"state": "done", "step": 6, "exit": 0}
    assert not list(done.path.rglob("*.tmp"))
    table = read(done.predictions("test"))
    assert table.clips == tuple(f"test-{n:03d}" for n in range(10))
    assert table.tasks["label"].classes == CLASSES


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(bars, tmp_path):
    recipe = tiny_recipe(model={"dropout": 0.1}, augment={"mixup": 0.2, "cutmix": 0.5})
    one = run(recipe, bars, tmp_path / "one")
    two = run(recipe, bars, tmp_path / "two")
    other = run(
        tiny_recipe(model={"dropout": 0.1}, augment={"mixup": 0.2, "cutmix": 0.5}, train={"seed": 1}),
        bars,
        tmp_path / "3",
    )
    assert steps_of(one) == steps_of(two)
    assert weights(one) == weights(two)
    assert weights(one) != weights(other)
    assert (one.bundle / "config.json").read_bytes() == (two.bundle / "config.json").read_bytes()
    assert one.predictions("test").read_bytes() == two.predictions("test").read_bytes()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_number_of_workers_changes_nothing(bars, tmp_path):
    none = run(tiny_recipe(), bars, tmp_path / "none")
    two = run(tiny_recipe(train={"workers": 2}), bars, tmp_path / "two")
    assert weights(none) == weights(two)


def test_epochs_differ_and_a_place_does_not(bars):
    recipe = tiny_recipe()
    _, manifest = open_data(recipe, str(bars))
    clips = TrainingClips(manifest, Preprocessing(recipe.clip, manifest.streams), recipe.augment, seed=0)
    first, again, other = (clips[Place(3, epoch, 5)].streams["video"] for epoch in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_accumulating_is_a_bigger_batch(bars, tmp_path):
    whole = run(tiny_recipe(train={"batch": 8, "epochs": 1}), bars, tmp_path / "whole")
    parts = run(tiny_recipe(train={"batch": 2, "accumulate": 4, "epochs": 1}), bars, tmp_path / "parts")
    for one, two in zip(log(whole), log(parts), strict=True):
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-4)


@pytest.mark.parametrize("stop_after", [0, 1, 3, 4, 5])
def test_a_training_that_was_cut_goes_on_to_the_same_bits(bars, tmp_path, monkeypatch, stop_after):
    recipe = tiny_recipe(
        model={"dropout": 0.1},
        augment={"mixup": 0.2},
        train={"save_every": 1, "ema": 0.9, "accumulate": 2, "batch": 4},
    )
    whole = run(recipe, bars, tmp_path / "whole")
    with cut_before(monkeypatch, stop_after):
        run(recipe, bars, tmp_path / "cut")
    resumed = run(recipe, bars, tmp_path / "cut", resume=True)
    assert weights(resumed) == weights(whole)
    assert steps_of(resumed) == steps_of(whole)


def test_resuming_with_another_recipe_is_refused(bars, tmp_path):
    out = tmp_path / "run"
    run(tiny_recipe(), bars, out)
    RunFolder(out).status("failed", 3)
    with pytest.raises(RecipeError, match=r"optim\.lr was 0\.003 and is now 0\.1"):
        run(tiny_recipe(optim={"lr": 0.1}), bars, out, resume=True)


def test_resuming_a_finished_run_does_nothing(bars, tmp_path):
    done = run(tiny_recipe(), bars, tmp_path / "run")
    before = (done.bundle / "model.safetensors").stat().st_mtime_ns
    run(tiny_recipe(), bars, tmp_path / "run", resume=True)
    assert (done.bundle / "model.safetensors").stat().st_mtime_ns == before


def test_a_run_never_overwrites_another(bars, tmp_path):
    run(tiny_recipe(), bars, tmp_path / "run")
    with pytest.raises(UsageError, match="--resume"):
        run(tiny_recipe(), bars, tmp_path / "run")


def test_resuming_where_nothing_was_begun_is_refused(bars, tmp_path):
    with pytest.raises(ModelError, match=r"recipe\.yaml"):
        run(tiny_recipe(), bars, tmp_path / "nothing", resume=True)


def test_the_newest_whole_checkpoint_is_found_by_content(bars, tmp_path):
    done = run(tiny_recipe(train={"save_every": 1}), bars, tmp_path / "run")
    newest, broken = checkpoints.newest(done.checkpoints)
    assert not broken
    damaged = newest / "model.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    before, broken = checkpoints.newest(done.checkpoints)
    assert before.name < newest.name
    assert str(damaged) in broken[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stops_before_the_update(bars, tmp_path, monkeypatch, bad):
    real = Stepper._joined

    models = []

    def poisoned(self, parts, counts, step):
        models.append(self.model)
        streams, targets = real(self, parts, counts, step)
        if step == 4:
            streams["video"][0, 0, 0, 0, 0] = bad
        return streams, targets

    monkeypatch.setattr(Stepper, "_joined", poisoned)
    with pytest.raises(NonFiniteError, match=r"step 5: .* Clips of the step: train-") as problem:
        run(tiny_recipe(train={"save_every": 1}), bars, tmp_path / "run")
    assert problem.value.exit_code == 4
    assert all(bool(torch.isfinite(x).all()) for x in models[-1].state_dict().values())
    kept = checkpoints.read(checkpoints.newest(tmp_path / "run" / "checkpoints")[0])
    assert kept.state["counters"]["step"] == 4
    assert all(bool(torch.isfinite(x).all()) for x in kept.model.values())
    assert RunFolder(tmp_path / "run").read_status()["exit"] == 4


def test_validation_decides_which_weights_are_kept(bars, tmp_path, monkeypatch):
    judged = iter([(0.5, {"label": 0.9}), (0.4, {"label": 0.6}), (0.6, {"label": 0.7})])
    monkeypatch.setattr(Trainer, "validate", lambda self: next(judged))
    done = run(tiny_recipe(train={"epochs": 3}), bars, tmp_path / "run")
    best = checkpoints.read(checkpoints.folder_of(done.checkpoints, 3))
    assert {name: x.numpy().tobytes() for name, x in best.model.items()} == weights(done)


def test_early_stopping_waits_as_long_as_the_recipe_says(bars, tmp_path, monkeypatch):
    losses = iter([0.5, 0.4, 0.4, 0.45, 0.1])
    monkeypatch.setattr(Trainer, "validate", lambda self: (next(losses), {"label": 0.5}))
    done = run(tiny_recipe(train={"epochs": 9, "early_stop": 2}), bars, tmp_path / "run")
    assert [row["loss"] for row in log(done) if row["split"] == "val"] == ["0.5", "0.4", "0.4", "0.45"]


@pytest.mark.parametrize("settings", [{"schedule": {"kind": "plateau"}}, {"train": {"early_stop": 2}}])
def test_without_validation_nothing_can_wait_for_it(tmp_path, settings):
    data = write_bars(tmp_path / "data", {"train": 8, "test": 4})
    with pytest.raises(RecipeError, match="needs validation clips"):
        run(tiny_recipe(**settings), data, tmp_path / "run")


def test_without_validation_the_last_weights_are_kept_and_nothing_is_chosen_on_test(tmp_path):
    data = write_bars(tmp_path / "data", {"train": 16, "test": 4})
    done = run(tiny_recipe(), data, tmp_path / "run")
    last = checkpoints.read(checkpoints.folder_of(done.checkpoints, 4))
    assert {name: x.numpy().tobytes() for name, x in last.model.items()} == weights(done)
    assert not done.predictions("val").exists()


def test_a_broken_training_clip_is_tolerated_counted_and_listed(tmp_path):
    data = write_bars(tmp_path / "data", {"train": 16, "test": 4})
    (data / "train-003.npy").write_bytes(b"not an array")
    done = run(tiny_recipe(train={"decode_failures": 0.2}), data, tmp_path / "run")
    listed = (done.path / "unreadable.txt").read_text().splitlines()
    assert len(listed) == 2  # once in each epoch
    assert all(line.startswith("train-003\t") for line in listed)
    assert "train-003" not in read(done.predictions("train")).clips


def test_more_broken_clips_than_tolerated_stop_the_training(tmp_path):
    data = write_bars(tmp_path / "data", {"train": 16, "test": 4})
    for number in (1, 2, 3):
        (data / f"train-{number:03d}.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match=r"decode_failures = 0\.01"):
        run(tiny_recipe(), data, tmp_path / "run")


def test_a_broken_clip_is_never_replaced_in_evaluation(tmp_path):
    data = write_bars(tmp_path / "data", {"train": 16, "test": 4})
    (data / "test-001.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match="test-001"):
        run(tiny_recipe(), data, tmp_path / "run")
    assert not RunFolder(tmp_path / "run").predictions("test").exists()


def test_evaluating_again_gives_the_same_table(bars, tmp_path):
    done = run(tiny_recipe(), bars, tmp_path / "run")
    before = done.predictions("test").read_bytes()
    evaluate(done, str(bars), "test", say=lambda _line: None)
    assert done.predictions("test").read_bytes() == before


def test_a_label_map_travels_with_the_weights(bars, tmp_path):
    """Classes in another order, or fewer of them, change no answer by name."""
    done = run(tiny_recipe(train={"epochs": 4}), bars, tmp_path / "run")
    table = read(done.predictions("test"))
    permuted = write_bars(tmp_path / "other", {"train": 24, "val": 8, "test": 10})
    (permuted / "dataset.json").write_text(
        json.dumps({"tasks": {"label": list(CLASSES[::-1])}, "streams": {"video": {"fps": 10}}})
    )
    again = evaluate(done, str(permuted), "test", out=RunFolder(tmp_path / "again"), say=lambda _line: None)
    assert again.tasks["label"].classes == table.tasks["label"].classes
    assert (again.tasks["label"].truth == table.tasks["label"].truth).all()
    assert (again.tasks["label"].log_probabilities == table.tasks["label"].log_probabilities).all()


def test_a_class_that_the_model_does_not_know_is_refused(bars, tmp_path):
    done = run(tiny_recipe(), bars, tmp_path / "run")
    other = write_bars(tmp_path / "other", {"train": 8, "test": 4})
    text = (other / "manifest.csv").read_text().replace("to the left", "to the lefft")
    (other / "manifest.csv").write_text(text)
    with pytest.raises(DataError, match="Did you mean 'to the left'"):
        evaluate(done, str(other), "test", say=lambda _line: None)


def test_the_recogniser_gives_the_answers_that_were_evaluated(bars, tmp_path):
    done = run(tiny_recipe(), bars, tmp_path / "run")
    table = read(done.predictions("test"))
    recognizer = mudra.load(done.path, device="cpu")
    for row, clip in enumerate(table.clips):
        logs = table.tasks["label"].log_probabilities[row]
        answer = recognizer.predict(bars / f"{clip}.npy")
        assert answer.label == CLASSES[int(logs.argmax())]
        assert answer.probability == pytest.approx(float(np.exp(logs.max())), abs=1e-5)
        same = recognizer.predict(np.load(bars / f"{clip}.npy"), fps=10)
        assert same.probability == pytest.approx(answer.probability, abs=1e-6)


def test_views_are_averaged_as_probabilities(bars, tmp_path):
    done = run(tiny_recipe(clip={"sampling": "strided"}), bars, tmp_path / "run")
    recognizer = mudra.load(done.path, device="cpu")
    file = bars / "test-000.npy"
    answer = recognizer.predict(file, views=Views(3, 1))
    assert sum(ranked.probability for ranked in answer.top(9)) == pytest.approx(1, abs=1e-5)
    assert recognizer.predict(file).probability != answer.probability


def test_a_flip_swaps_the_classes_of_the_mirror_table(tmp_path):

    data = write_bars(tmp_path / "data", {"train": 8})
    (data / "dataset.json").write_text(
        json.dumps({"streams": {"video": {"fps": 10}}, "mirror": {"label": {CLASSES[0]: CLASSES[1]}}})
    )
    recipe = tiny_recipe(augment={"flip": 1.0, "crop": None, "brightness": 0.0, "shift_time": False})
    _, manifest = open_data(recipe, str(data))

    preprocessing = Preprocessing(recipe.clip, manifest.streams)
    flipped = TrainingClips(manifest, preprocessing, recipe.augment, seed=0)
    plain = TrainingClips(manifest, preprocessing, recipe.augment.model_copy(update={"flip": 0.0}), seed=0)
    assert flipped.may_flip
    for number in range(8):
        one, two = flipped[Place(number)], plain[Place(number)]
        assert one.targets["label"] == 1 - two.targets["label"]
        assert (one.streams["video"] == two.streams["video"][..., ::-1]).all()
    unstated = TrainingClips(replace(manifest, mirror={}), preprocessing, recipe.augment, seed=0)
    assert not unstated.may_flip
    assert unstated[Place(0)].targets == plain[Place(0)].targets


def test_nothing_drawn_is_what_evaluation_sees(bars):

    still = {"crop": None, "brightness": 0.0, "shift_time": False}
    for resize in ("stretch", "crop"):
        recipe = tiny_recipe(augment=still, clip={"resize": resize, "size": 12})
        _, manifest = open_data(recipe, str(bars))
        preprocessing = Preprocessing(recipe.clip, manifest.streams)
        seen = TrainingClips(manifest, preprocessing, recipe.augment, seed=0)[Place(0)].streams["video"]
        assert (seen == preprocessing.read(manifest[0])["video"][0]).all()


def test_it_learns_to_tell_the_order_of_time(tmp_path):
    data = write_bars(tmp_path / "data", {"train": 96, "val": 16, "test": 40})
    done = run(tiny_recipe(train={"epochs": 12}, model={"width": 32, "patch": 4}), data, tmp_path / "run")
    assert json.loads(done.metrics("test").read_text())["tasks"]["label"]["top1"] >= 0.9


def test_frames_of_the_wrong_shape_are_refused(bars, tmp_path):
    done = run(tiny_recipe(train={"epochs": 1}), bars, tmp_path / "run")
    recognizer = mudra.load(done.path, device="cpu")
    rng = np.random.default_rng(0)
    for wrong in (
        bar(rng, CLASSES[0])[0],
        bar(rng, CLASSES[0]).astype(np.float32),
        np.zeros((0, 4, 4, 3), np.uint8),
    ):
        with pytest.raises(DataError, match="uint8 RGB"):
            recognizer.predict(wrong)
