"""Several processes: one training, whatever their number; and what happens when one of them fails."""

import json
import os
import signal
import socket
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mudra.bundle import build_model
from mudra.cli import app
from mudra.clips.loader import Batches, TrainingClips, epoch_order, training_batches
from mudra.clips.preprocessing import Preprocessing
from mudra.datasets.opening import open_data
from mudra.errors import UsageError
from mudra.predictions import read
from mudra.training import checkpoints
from mudra.training.judging import evaluator_for
from mudra.training.ranks import Team, join
from mudra.training.run_folder import RunFolder
from mudra.training.step import Stepper
from tests.headed import EVERYTHING, headed  # noqa: F401
from tests.teams import team, together
from tests.tiny import tiny_recipe, write_bars
from tests.tiny import train_tiny as run

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
ELASTIC = {"TORCHELASTIC_RUN_ID": "launch-1", "TORCHELASTIC_RESTART_COUNT": "0"}


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("bars"), {"train": 29, "val": 9, "test": 11})


def tensors(folder):
    """The bytes of all that a training ends with."""
    files = sorted(folder.checkpoints.glob("step-*"))[-1].glob("*.safetensors")
    return {
        f"{file.name} {name}": x.numpy().tobytes() for file in files for name, x in load_file(file).items()
    }


def gradients(data, settings, dtype=torch.float64):
    """Loss and gradients of every step of an epoch at the first weights, by name."""
    recipe = tiny_recipe(**settings)
    with join("cpu") as here:
        recipe, manifest = open_data(recipe, str(data))
        clips = TrainingClips(
            manifest.split("train"), Preprocessing(recipe.clip, manifest.streams), recipe.augment, 0
        )
        torch.manual_seed(0)
        classes = {task: len(names) for task, names in manifest.tasks.items()}
        model = build_model(recipe.model, clips.preprocessing.inputs, classes).to(dtype)
        stepper = Stepper(recipe, model, clips, here)
        order = epoch_order(clips.manifest, 0, 0)
        window = recipe.train.accumulate
        places = training_batches(order, 0, recipe.train.batch, window, 0, here.share)
        batches = list(Batches(clips, 0, tasks=("label",)).read(places))
        found = []
        stepper._update = lambda loss, clips, step: (found.append(_gradients(model)), (0.0, False))[1]
        for step in range(len(batches) // window):
            parts = batches[step * window : (step + 1) * window]
            for part in parts:
                part.streams = {name: x.to(dtype) for name, x in part.streams.items()}
            done = stepper.take(parts, step, 1.0)
            found[-1]["loss"] = np.array(done.loss)
            model.zero_grad()
        return found


def _gradients(model):
    return {name: p.grad.numpy().copy() for name, p in model.named_parameters() if p.grad is not None}


SMOOTH = {"loss": {"class_weights": "balanced", "label_smoothing": 0.1}}
HEADED = {"model": {"kind": "headed"}, "loss": EVERYTHING}


@pytest.mark.usefixtures("headed")
@pytest.mark.parametrize("asked", [SMOOTH, HEADED])
@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.4, "cutmix": 0.6}])
def test_accumulating_and_processes_add_up_to_one_big_batch(bars, mixed, asked):
    """Every step of an epoch, the short last one included: 8 = 4 x 2 = 2 processes x 4 = 3 processes."""
    settings = {"augment": mixed, **asked}
    whole = gradients(bars, {**settings, "train": {"batch": 8}})
    accumulated = gradients(bars, {**settings, "train": {"batch": 2, "accumulate": 4}})
    ways = [accumulated]
    for size, loop in ((2, {"batch": 8}), (2, {"batch": 2, "accumulate": 4}), (3, {"batch": 8})):
        outcomes = together(size, lambda loop=loop: gradients(bars, {**settings, "train": loop}))
        assert [outcome.code for outcome in outcomes] == [0] * size, outcomes
        ways += [outcome.value for outcome in outcomes]
    assert len(whole) == 4
    for way in ways:
        for one, other in zip(whole, way, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                scale = np.abs(one[name]).max()
                assert np.abs(one[name] - other[name]).max() <= 1e-12 * max(scale, 1e-9), name


def test_every_clip_is_looked_at_once_in_an_epoch_whatever_the_number_of_processes():
    order = np.random.default_rng(0).permutation(29)
    alone = training_batches(order, 3, 4, 2)
    for size in (2, 3, 5):
        shares = [
            training_batches(order, 3, 4, 2, 0, Team(torch.device("cpu"), r, size).share) for r in range(size)
        ]
        joined = [[place for share in parts for place in share] for parts in zip(*shares, strict=True)]
        assert joined == alone


def evaluated(data, count):
    recipe = tiny_recipe()
    with join("cpu") as here:
        _, manifest = open_data(recipe, str(data))
        clips = manifest.split("test")
        preprocessing = Preprocessing(recipe.clip, manifest.streams)
        torch.manual_seed(0)
        model = build_model(recipe.model, preprocessing.inputs, {"label": 2})
        table = evaluator_for(recipe, clips, preprocessing, here).predict(model)
    assert len(table) == count
    return table.clips, table.tasks["label"].log_probabilities.tobytes(), table.tasks["label"].truth.tolist()


def test_evaluation_counts_every_clip_once_on_any_number_of_processes(tmp_path):
    data = write_bars(tmp_path / "data", {"train": 4, "test": 499})
    alone = evaluated(data, 499)
    assert len(set(alone[0])) == 499
    for size in (2, 3):
        for outcome in together(size, lambda: evaluated(data, 499)):
            assert outcome.value == alone  # the same answers to the last bit, so the same confusion matrix


@pytest.mark.parametrize("size", [2, 3])
def test_a_team_that_was_stopped_goes_on_to_the_same_bits(bars, tmp_path, monkeypatch, size):
    """One process alone hears the signal; all of them end at the same step."""
    recipe = tiny_recipe(
        model={"dropout": 0.1}, augment={"mixup": 0.3}, train={"save_every": 1, "ema": 0.9, "batch": 7}
    )
    outcomes = together(size, lambda: run(recipe, bars, tmp_path / "whole").path)
    assert [outcome.code for outcome in outcomes] == [0] * size, outcomes
    real = Stepper.take

    def signalled(self, parts, step, rate):
        if step == 3 and self.team.rank == size - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return real(self, parts, step, rate)

    monkeypatch.setattr(Stepper, "take", signalled)
    stopped = together(size, lambda: run(recipe, bars, tmp_path / "cut"))
    assert [outcome.code for outcome in stopped] == [75] * size, stopped
    assert "stopped at step 4 by SIGUSR1; everything is saved" in stopped[0].value
    status = RunFolder(tmp_path / "cut").read_status()
    assert (status["state"], status["step"], status["exit"]) == ("stopped", 4, 75)
    monkeypatch.setattr(Stepper, "take", real)
    resumed = together(size, lambda: run(recipe, bars, tmp_path / "cut", resume=True).path)
    assert [outcome.code for outcome in resumed] == [0] * size, resumed
    assert tensors(RunFolder(tmp_path / "cut")) == tensors(RunFolder(tmp_path / "whole"))


def test_no_process_writes_a_checkpoint_that_another_still_reads(bars, tmp_path, monkeypatch):
    """A training stopped at step 0 saves that step anew as it goes on: not before the slowest has read it."""
    recipe = tiny_recipe(train={"save_every": 1})
    stopped = together(2, lambda: run(recipe, bars, tmp_path / "cut", time_limit=0.0))
    assert [outcome.code for outcome in stopped] == [75, 75], stopped
    assert RunFolder(tmp_path / "cut").last_step == 0
    real = checkpoints.read

    def slow(place):
        if int(os.environ["RANK"]) == 0:
            return real(place)
        written = [path.stat().st_ino for path in sorted(place.iterdir())]
        time.sleep(1.5)
        assert [path.stat().st_ino for path in sorted(place.iterdir())] == written
        return real(place)

    monkeypatch.setattr(checkpoints, "read", slow)
    resumed = together(2, lambda: run(recipe, bars, tmp_path / "cut", resume=True).path)
    assert [outcome.code for outcome in resumed] == [0, 0], resumed


def test_fewer_processes_go_on_with_the_same_clips_and_nearly_the_same_loss(bars, tmp_path):
    recipe = tiny_recipe(train={"save_every": 1, "epochs": 3})
    whole = run(recipe, bars, tmp_path / "whole")
    stopped = together(2, lambda: run(recipe, bars, tmp_path / "cut", time_limit=0.0))
    assert [outcome.code for outcome in stopped] == [75, 75], stopped
    run(recipe, bars, tmp_path / "cut", resume=True)
    one, other = (RunFolder(tmp_path / name).log.read_text().splitlines() for name in ("whole", "cut"))
    assert len(one) == len(other)
    losses = [[float(line.split(",")[3]) for line in lines[1:]] for lines in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert whole.path != tmp_path


def test_a_process_that_dies_ends_the_others_and_a_restart_goes_on(bars, tmp_path, monkeypatch):
    """What torchrun --max-restarts does: all processes are started again, with a higher restart count."""
    recipe = tiny_recipe(train={"save_every": 1, "ema": 0.9}, model={"dropout": 0.1})
    together(2, lambda: run(recipe, bars, tmp_path / "whole"))
    real = Stepper.take

    def dying(self, parts, step, rate):
        if step == 4 and self.team.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, parts, step, rate)

    monkeypatch.setattr(Stepper, "take", dying)
    lost = together(2, lambda: run(recipe, bars, tmp_path / "cut"), **ELASTIC)
    assert lost[1].code == -signal.SIGKILL
    assert lost[0].code == 1
    assert "another process of this training is gone" in lost[0].value
    assert RunFolder(tmp_path / "cut").read_status()["state"] == "failed"
    monkeypatch.setattr(Stepper, "take", real)
    again = {**ELASTIC, "TORCHELASTIC_RESTART_COUNT": "1"}
    outcomes = together(2, lambda: run(recipe, bars, tmp_path / "cut"), **again)
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert tensors(RunFolder(tmp_path / "cut")) == tensors(RunFolder(tmp_path / "whole"))


def test_a_restart_that_finds_its_own_launch_stopped_leaves(bars, tmp_path):
    recipe = tiny_recipe(train={"save_every": 1})
    stopped = together(2, lambda: run(recipe, bars, tmp_path / "run", time_limit=0.0), **ELASTIC)
    assert [outcome.code for outcome in stopped] == [75, 75]
    before = RunFolder(tmp_path / "run").read_status()
    again = {**ELASTIC, "TORCHELASTIC_RESTART_COUNT": "1"}
    left = together(2, lambda: run(recipe, bars, tmp_path / "run").path, **again)
    assert [outcome.code for outcome in left] == [0, 0], left
    assert RunFolder(tmp_path / "run").read_status() == before
    other = {**ELASTIC, "TORCHELASTIC_RUN_ID": "launch-2"}
    refused = together(2, lambda: run(recipe, bars, tmp_path / "run"), **other)
    assert [outcome.code for outcome in refused] == [2, 2]  # another launch says --resume


def test_the_reason_of_the_process_that_failed_is_kept(bars, tmp_path, monkeypatch):
    real = Stepper._joined

    def poisoned(self, parts, counts, step):
        streams, targets = real(self, parts, counts, step)
        if step == 2 and self.team.rank == 1:
            streams["video"][0, 0, 0, 0, 0] = float("nan")
        return streams, targets

    monkeypatch.setattr(Stepper, "_joined", poisoned)
    outcomes = together(2, lambda: run(tiny_recipe(train={"save_every": 1}), bars, tmp_path / "run"))
    assert [outcome.code for outcome in outcomes] == [4, 4], outcomes
    assert "step 3: the loss is not finite" in outcomes[0].value
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["step"], status["exit"]) == ("failed", 2, 4)
    assert "not finite" in status["reason"]


def test_undecodable_clips_of_all_processes_are_counted_and_listed(tmp_path):
    data = write_bars(tmp_path / "data", {"train": 16, "test": 5})
    for number in (3, 4, 11):
        (data / f"train-{number:03d}.npy").write_bytes(b"not an array")
    recipe = tiny_recipe(train={"decode_failures": 0.5})
    assert [o.code for o in together(2, lambda: run(recipe, data, tmp_path / "run").path)] == [0, 0]
    listed = (tmp_path / "run" / "unreadable.txt").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in listed) == sorted(
        ["train-003", "train-004", "train-011"] * 2
    )
    assert len(read(RunFolder(tmp_path / "run").predictions("train"))) == 13
    strict = tiny_recipe(train={"decode_failures": 0.1})
    assert [o.code for o in together(2, lambda: run(strict, data, tmp_path / "strict"))] == [3, 3]


@pytest.mark.parametrize(
    ("environment", "match"),
    [
        ({"RANK": "0"}, "RANK but not WORLD_SIZE"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE but not RANK"),
        (
            {"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
            "RANK below WORLD_SIZE",
        ),
        (
            {"RANK": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
            "RANK below WORLD_SIZE",
        ),
    ],
)
def test_half_an_environment_is_refused(monkeypatch, environment, match):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=match), join("cpu"):
        pass


def test_a_port_that_is_taken_is_told_at_once(bars, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        begun = time.monotonic()
        (outcome,) = together(1, lambda: run(tiny_recipe(), bars, tmp_path / "run"), **environment)
    assert outcome.code == 2
    assert f"127.0.0.1:{port}" in outcome.value
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "run").exists()


def test_processes_are_asked_for_a_folder(monkeypatch, bars):
    monkeypatch.setenv("RANK", "0")
    result = CliRunner().invoke(app, ["train", "folder-timesformer", "--data", str(bars)])
    assert isinstance(result.exception, UsageError)
    assert "--out" in str(result.exception)


def test_the_others_start_only_with_the_leading_process(bars, tmp_path):
    """A refusal is everybody's, and told by one."""
    children = team(2, lambda: run(tiny_recipe(), tmp_path / "nothing", tmp_path / "run"))
    outcomes = [child.wait() for child in children]
    assert [outcome.code for outcome in outcomes] == [3, 3], outcomes
    assert not (tmp_path / "run").exists()
