"""Training that loses nothing: stops, kills, locks, lost loader processes, full disks."""

import csv
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from typer.testing import CliRunner

from mudra.cli import app
from mudra.clips.loader import EvaluationClips, TrainingClips
from mudra.clips.watch import CELLS, CLIP, PROCESS, Watch
from mudra.errors import DataError, ModelError, OutputError, RecipeError, StoppedError, UsageError
from mudra.recipe import load, write_yaml
from mudra.training import checkpoints
from mudra.training.evaluation import Evaluator
from mudra.training.loop import Trainer
from mudra.training.run_folder import RunFolder
from mudra.training.step import Stepper
from mudra.training.stops import StopRequests, seconds
from mudra.training.train import train
from mudra.training.verifying import verify_run
from tests.teams import Child, together
from tests.tiny import tiny_recipe, write_bars
from tests.tiny import train_tiny as run

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
RICH = {  # everything whose state a training carries
    "model": {"dropout": 0.1, "drop_path": 0.1},
    "augment": {"mixup": 0.3, "crop": [0.7, 1.0], "brightness": 0.2},
    "schedule": {"kind": "plateau", "patience": 0, "factor": 0.5},
    "loss": {"focal": 2.0, "focal_rise": 0.8, "margin": 1.0},
}


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("bars"), {"train": 22, "val": 6, "test": 4})


def rich(**loop):
    return tiny_recipe(**RICH, train={"ema": 0.9, "early_stop": 5, "batch": 6, "accumulate": 1, **loop})


def final(folder):
    """All that a training ends with: tensors, counters, log, bundle and predictions."""
    last = sorted(folder.checkpoints.glob("step-*"))[-1]
    state = json.loads((last / "state.json").read_text())
    bits = {
        f"{file.name} {name}": x.numpy().tobytes()
        for file in [*last.glob("*.safetensors"), folder.bundle / "model.safetensors"]
        for name, x in load_file(file).items()
    }
    rows = [line.rsplit(",", 2)[0] for line in folder.log.read_text().splitlines()]  # without clips a second
    return last.name, state, bits, rows, folder.predictions("test").read_bytes()


def signal_at(monkeypatch, step, number=signal.SIGTERM, rank=0):
    """Let a process send itself a signal inside an optimiser step."""
    real = Stepper.take

    def signalled(self, parts, at, rate):
        if at == step and self.team.rank == rank:
            os.kill(os.getpid(), number)
        return real(self, parts, at, rate)

    monkeypatch.setattr(Stepper, "take", signalled)


# --- stops on request ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_at_the_next_step_with_everything_saved(bars, tmp_path, monkeypatch, number):
    before = signal.getsignal(number)
    with monkeypatch.context() as patched:
        signal_at(patched, 2, number)
        with pytest.raises(StoppedError, match="stopped at step 3") as problem:
            run(rich(), bars, tmp_path / "run")
    assert problem.value.exit_code == 75
    assert signal.Signals(number).name in str(problem.value)
    folder = RunFolder(tmp_path / "run")
    assert folder.read_status() | {"reason": ""} == {"state": "stopped", "step": 3, "exit": 75, "reason": ""}
    assert checkpoints.newest(folder.checkpoints)[0].name == "step-00000003"
    assert signal.getsignal(number) == before


def test_the_keyboard_asked_twice_does_not_wait():
    def asked_twice():
        with StopRequests() as stops:
            os.kill(os.getpid(), signal.SIGINT)
            assert stops.reason == "SIGINT"
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        asked_twice()


def test_the_time_limit_stops_as_a_signal_does(bars, tmp_path):
    with pytest.raises(StoppedError, match=r"time limit of 0\.2 s"):
        run(rich(epochs=100000), bars, tmp_path / "run", time_limit=0.2)
    status = RunFolder(tmp_path / "run").read_status()
    assert (status["state"], status["exit"]) == ("stopped", 75)
    newest = checkpoints.newest(RunFolder(tmp_path / "run").checkpoints)[0]
    assert newest.name == f"step-{status['step']:08d}"


def test_fifty_signals_at_any_moment_are_fifty_checkpoints(bars, tmp_path):
    """Signals from outside, at seeded moments, mid-step and mid-save and mid-validation."""
    rng = random.Random(0)
    out, before = tmp_path / "run", -1
    recipe = rich(epochs=100000, save_every=3, early_stop=None)
    for number in range(50):
        child = Child(lambda: run(recipe, bars, out, resume=out.exists()))
        while (
            not (out / "status.json").exists()
            or json.loads((out / "status.json").read_text())["state"] != "running"
        ):
            assert child.poll() is None, child.wait()
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.15))
        child.send(rng.choice([signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]))
        outcome = child.wait()
        assert outcome.code == 75, (number, outcome)
        status = RunFolder(out).read_status()
        assert (status["state"], status["exit"]) == ("stopped", 75)
        assert status["step"] >= before
        assert checkpoints.newest(RunFolder(out).checkpoints)[0].name == f"step-{status['step']:08d}"
        before = status["step"]
    assert before > 50


def test_a_stop_during_validation_is_judged_once(bars, tmp_path, monkeypatch):
    whole = run(rich(epochs=3), bars, tmp_path / "whole")
    real = Evaluator.predict
    asked = []

    def signalled(self, model, *rest):
        if not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))
        return real(self, model, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Evaluator, "predict", signalled)
        with pytest.raises(StoppedError, match="stopped at step 4"):
            run(rich(epochs=3), bars, tmp_path / "cut")
    assert "val" not in (tmp_path / "cut" / "log.csv").read_text()
    cut = run(rich(epochs=3), bars, tmp_path / "cut", resume=True)
    assert final(cut) == final(whole)


def test_a_stop_while_the_end_is_judged_is_taken_up_again(bars, tmp_path, monkeypatch):
    whole = run(rich(), bars, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(
            "mudra.training.train.judge_splits",
            lambda *_, check, **__: (os.kill(os.getpid(), signal.SIGTERM), check()),
        )
        with pytest.raises(StoppedError):
            run(rich(), bars, tmp_path / "cut")
    assert final(run(rich(), bars, tmp_path / "cut", resume=True)) == final(whole)


@pytest.mark.parametrize(
    ("text", "expected"), [("11h30m", 41400), ("8s", 8), ("1d2h", 93600), ("90m", 5400), ("0.5h", 1800)]
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "11", "h", "1h30", "-1h", "0s", "1x", "1h 30m", "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError, match="--time-limit"):
        seconds(text)


# --- exact resume -------------------------------------------------------------------------------


def interrupted(recipe, data, out, step, size, workers):
    """Stop a training inside a step, go on with it, and return what it ends with."""
    patched = pytest.MonkeyPatch()
    signal_at(patched, step, rank=size - 1)
    first = tiny_like(recipe, workers)
    try:
        stopped = together(size, lambda: run(first, data, out))
    finally:
        patched.undo()
    assert [outcome.code for outcome in stopped] == [75] * size, stopped
    other = tiny_like(recipe, 2 - workers)  # another number of loader processes changes nothing
    resumed = together(size, lambda: run(other, data, out, resume=True).path)
    assert [outcome.code for outcome in resumed] == [0] * size, resumed
    return final(RunFolder(out))


def tiny_like(recipe, workers):
    tree = recipe.tree()
    return tiny_recipe(**{**tree, "train": {**tree["train"], "workers": workers}})


def unbroken(recipe, data, out, size):
    assert [o.code for o in together(size, lambda: run(recipe, data, out).path)] == [0] * size
    return final(RunFolder(out))


@pytest.mark.parametrize(("step", "size", "workers"), [(0, 1, 0), (5, 1, 2), (6, 2, 0), (15, 1, 0)])
def test_an_interrupted_training_ends_with_the_same_bits(bars, tmp_path, step, size, workers):
    recipe = rich(epochs=4)  # 16 steps
    whole = unbroken(recipe, bars, tmp_path / "whole", size)
    assert whole[0] == "step-00000016"
    assert interrupted(recipe, bars, tmp_path / "cut", step, size, workers) == whole


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [1, 2])
def test_forty_steps_interrupted_at_each_end_with_the_same_bits(bars, tmp_path, size, workers):
    recipe = rich(epochs=10, early_stop=None)  # 40 steps
    whole = unbroken(recipe, bars, tmp_path / "whole", size)
    assert whole[0] == "step-00000040"
    for step in range(40):
        out = tmp_path / f"cut-{step}"
        assert interrupted(recipe, bars, out, step, size, workers) == whole, step


def test_the_scaler_goes_on_where_it_stood_and_an_overflow_is_no_error(bars, tmp_path, monkeypatch):
    """fp16's scaler, which a CPU runs as well: it grows every second step, and skips one that overflowed."""
    monkeypatch.setattr(
        "mudra.training.step.scaler",
        lambda *_: torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2),
    )
    real = Stepper._look

    def overflowing(self, *parts):
        figures = real(self, *parts)
        if sum(p.grad is not None for p in self.model.parameters()) and self.number == 3:
            next(self.model.parameters()).grad[0] = float("inf")
        return figures

    def numbered(self, parts, step, rate):
        self.number = step
        return take(self, parts, step, rate)

    take = Stepper.take
    monkeypatch.setattr(Stepper, "_look", overflowing)
    monkeypatch.setattr(Stepper, "take", numbered)
    whole = run(rich(epochs=3), bars, tmp_path / "whole")
    counters = final(whole)[1]["counters"]
    assert (counters["step"], counters["updates"]) == (12, 11)
    assert final(whole)[1]["scaler"]["scale"] not in (4.0, 65536.0)
    with monkeypatch.context() as patched:
        signal_at(patched, 4)
        with pytest.raises(StoppedError):
            run(rich(epochs=3), bars, tmp_path / "cut")
    assert final(run(rich(epochs=3), bars, tmp_path / "cut", resume=True)) == final(whole)


def test_every_clip_comes_once_an_epoch_in_the_same_order_across_a_stop(bars, tmp_path, monkeypatch):
    real = TrainingClips.__getitem__

    def logged(name):
        def get(self, place):
            with (tmp_path / name).open("a") as seen:
                seen.write(f"{place.epoch} {place.position} {place.clip}\n")
            return real(self, place)

        return get

    with monkeypatch.context() as patched:
        patched.setattr(TrainingClips, "__getitem__", logged("whole"))
        run(rich(epochs=2), bars, tmp_path / "one")
        patched.setattr(TrainingClips, "__getitem__", logged("cut"))
        signal_at(patched, 1)
        with pytest.raises(StoppedError):
            run(rich(epochs=2), bars, tmp_path / "two")
    with monkeypatch.context() as patched:
        patched.setattr(TrainingClips, "__getitem__", logged("rest"))
        run(rich(epochs=2), bars, tmp_path / "two", resume=True)
    whole, cut, rest = ((tmp_path / n).read_text().splitlines() for n in ("whole", "cut", "rest"))
    assert cut[:12] + rest == whole  # two steps of six clips were done; what was read ahead is read again
    assert sorted(line.split()[2] for line in whole if line.startswith("0 ")) == sorted(map(str, range(22)))


def test_resuming_with_other_settings_shows_all_that_changed(bars, tmp_path):
    run(rich(), bars, tmp_path / "run")
    RunFolder(tmp_path / "run").status("stopped", 8)
    before = (tmp_path / "run" / "status.json").read_bytes()
    changed = tiny_recipe(
        **{**RICH, "model": {"width": 32}, "train": {"ema": 0.9, "early_stop": 5, "batch": 5}}
    )
    with pytest.raises(RecipeError) as problem:
        run(changed, bars, tmp_path / "run", resume=True)
    for part in (
        "model.width was 16 and is now 32",
        "train.batch was 6 and is now 5",
        "model.dropout was 0.1",
    ):
        assert part in str(problem.value)
    assert problem.value.exit_code == 2
    assert (tmp_path / "run" / "status.json").read_bytes() == before


def test_resuming_with_other_data_is_refused(bars, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        signal_at(patched, 1)
        with pytest.raises(StoppedError):
            run(rich(), bars, tmp_path / "run")
    other = write_bars(tmp_path / "other", {"train": 26, "val": 6, "test": 4})
    with pytest.raises(RecipeError, match="the data's split was"):
        run(rich(), other, tmp_path / "run", resume=True)


def test_a_run_cut_before_its_first_checkpoint_starts_at_its_first_step(bars, tmp_path, monkeypatch):
    whole = run(rich(), bars, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(
            "mudra.training.loop.Trainer.fit", lambda self: (_ for _ in ()).throw(KeyboardInterrupt())
        )
        with pytest.raises(KeyboardInterrupt):
            run(rich(), bars, tmp_path / "cut")
    assert not (tmp_path / "cut" / "checkpoints").exists()
    assert final(run(rich(), bars, tmp_path / "cut", resume=True)) == final(whole)


def test_a_run_whose_checkpoints_are_gone_never_starts_again_silently(bars, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        signal_at(patched, 3)
        with pytest.raises(StoppedError):
            run(rich(), bars, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("*/manifest.json"):
        path.unlink()
    with pytest.raises(ModelError, match=r"none of .* is whole"):
        run(rich(), bars, tmp_path / "run", resume=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(ModelError, match="there is none"):
        run(rich(), bars, tmp_path / "run", resume=True)


# --- kills --------------------------------------------------------------------------------------


def kill_often(data, out, kills, seed):
    """Kill a training that saves at every step, at seeded moments; how many kills fell into a save."""
    rng = random.Random(seed)
    recipe = tiny_recipe(
        model={"width": 64, "heads": 4}, train={"epochs": 100000, "save_every": 1, "batch": 4, "ema": 0.9}
    )
    folder, inside, newest = RunFolder(out), 0, -1
    training = out.with_name("training")  # there while the child is past its preparations

    def work():
        real = Trainer.fit

        def fit(self):
            training.touch()
            real(self)

        Trainer.fit = fit  # in the child alone
        run(recipe, data, out, resume=folder.begun)

    for kill in range(kills):
        training.unlink(missing_ok=True)
        child = Child(work)
        while not training.exists():
            assert child.poll() is None, child.wait()
            time.sleep(0.001)
        while kill % 2 and max(checkpoints.steps(folder.checkpoints), default=-1) <= newest:
            assert child.poll() is None, child.wait()  # a busy machine must get somewhere too
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.3))
        child.send(signal.SIGKILL)
        assert child.wait().code == -signal.SIGKILL
        inside += bool(list(folder.checkpoints.glob(".step-*")))
        if folder.checkpoints.is_dir():
            checkpoints.recover(folder.checkpoints)  # as whoever goes on with the run does first
        if not checkpoints.steps(folder.checkpoints):
            assert newest == -1, "everything is lost"
            continue
        path, broken = checkpoints.newest(folder.checkpoints)
        assert not broken
        step = int(path.name.removeprefix("step-"))
        assert step >= newest, "a step was lost"
        newest = step
    with pytest.raises(StoppedError):
        run(recipe, data, out, resume=True, time_limit=0.0)
    assert not [path for path in out.rglob(".*") if path.name != ".lock"], "orphans"
    assert all(finding.whole for finding in verify_run(folder))
    return inside, newest


def test_killed_at_any_moment_nothing_is_lost(bars, tmp_path):
    _, newest = kill_often(bars, tmp_path / "run", 12, seed=1)
    assert newest > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_two_hundred_times_nothing_is_lost(bars, tmp_path):
    inside, newest = kill_often(bars, tmp_path / "run", 200, seed=0)
    print(f"{inside} of 200 kills fell into a save; {newest} steps were done")
    assert inside >= 100
    assert newest > 200


# --- one run, one process -----------------------------------------------------------------------


def test_two_processes_cannot_share_a_run(bars, tmp_path):
    out = tmp_path / "run"
    recipe = rich(epochs=100000)
    child = Child(lambda: run(recipe, bars, out))
    try:
        while not list((out / "checkpoints").glob("step-*")):
            assert child.poll() is None, child.wait()
            time.sleep(0.005)
        for resume in (False, True):
            with pytest.raises(UsageError, match="another process trains into this run") as problem:
                run(recipe, bars, out, resume=resume)
            assert problem.value.exit_code == 2
        assert child.poll() is None
    finally:
        child.end()
    with pytest.raises(StoppedError):  # the lock died with its process
        run(recipe, bars, out, resume=True, time_limit=0.0)


def test_what_is_refused_leaves_no_folder(tmp_path, bars):
    with pytest.raises(DataError):
        run(rich(), tmp_path / "nothing", tmp_path / "run")
    unlabelled = write_bars(tmp_path / "one", {"train": 1, "test": 2})
    with pytest.raises((DataError, RecipeError)):
        run(rich(), unlabelled, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- loader processes ---------------------------------------------------------------------------


# Torch tells the death from a signal's handler, at any line of this process: also between the making of a
# socket that fetches a batch and the `with` that would close it (multiprocessing.reduction.recv_handle).
@pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_loader_process_that_dies_is_told_with_its_clip(bars, tmp_path, monkeypatch, split):
    poison(monkeypatch, split, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DataError, match=rf"clip '{split}-003': a loader process was lost"):
        run(rich(workers=2), bars, tmp_path / "run")
    assert_no_children()


def test_a_loader_process_that_is_still_dying_is_waited_for():
    """Its files are closed, so that a batch of it is lost, before its parent can see it dead."""
    watch = Watch(2)
    assert watch.dead(patience=60) is None  # nobody is at work
    dying = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.3,))
    dying.start()
    watch._cells[CELLS + PROCESS], watch._cells[CELLS + CLIP] = dying.pid, 7
    assert watch.dead() is None
    assert watch.dead(patience=60) == 7
    dying.join()


@pytest.mark.parametrize("lost", [EOFError(), ConnectionResetError("reset by peer")])
def test_a_loader_process_may_die_with_a_batch_that_it_has_announced(bars, tmp_path, monkeypatch, lost):
    """Batches lie in shared memory that only the process that made them can open."""

    def cannot_fetch(_self, timeout=None):
        raise lost

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_try_get_data", cannot_fetch)
    with pytest.raises(
        DataError, match=r"a loader process was lost while it read \(DataLoader: it took a batch"
    ):
        run(rich(workers=2), bars, tmp_path / "run")
    assert_no_children()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_loader_process_that_hangs_is_told_with_its_clip(bars, tmp_path, monkeypatch, split):
    poison(monkeypatch, split, lambda: time.sleep(600))
    begun = time.monotonic()
    with pytest.raises(DataError, match=rf"clip '{split}-003': reading it took more than 1 s"):
        run(rich(workers=2, read_limit=1.0), bars, tmp_path / "run")
    assert time.monotonic() - begun < 30
    assert_no_children()


def poison(monkeypatch, split, deed):
    """Let the reading of one clip do something terrible."""
    kind = TrainingClips if split == "train" else EvaluationClips
    real = kind.__getitem__

    def get(self, place):
        if self.manifest[place.clip].id == f"{split}-003":
            deed()
        return real(self, place)

    monkeypatch.setattr(kind, "__getitem__", get)


def assert_no_children():
    left = [child for child in psutil.Process().children(recursive=True) if child.status() != "zombie"]
    assert not [child for child in left if "resource_tracker" not in " ".join(child.cmdline())]


def test_many_slow_clips_are_no_hanging_one(bars, tmp_path, monkeypatch):
    poison(monkeypatch, "train", lambda: time.sleep(0.5))
    run(rich(workers=1, read_limit=5.0), bars, tmp_path / "run")


# --- disks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fails_ends_the_training_with_the_last_good_checkpoint(bars, tmp_path, monkeypatch, code):
    real = checkpoints.write_flushed

    def full(path: Path, pieces):
        if "step-00000003" in str(path):
            raise OSError(code, os.strerror(code))
        return real(path, pieces)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_flushed", full)
        with pytest.raises(OutputError, match="step-00000003") as problem:
            run(rich(save_every=1), bars, tmp_path / "run")
    assert problem.value.exit_code == 5
    folder = RunFolder(tmp_path / "run")
    assert folder.read_status()["exit"] == 5
    assert checkpoints.newest(folder.checkpoints)[0].name == "step-00000002"
    assert all(finding.whole for finding in verify_run(folder))
    whole = run(rich(save_every=1), bars, tmp_path / "whole")
    assert final(run(rich(save_every=1), bars, tmp_path / "run", resume=True)) == final(whole)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's writer
def test_a_folder_that_vanishes_is_an_output_error(bars, tmp_path, monkeypatch):
    real = Trainer.step

    def removing(self, parts, rate):
        if self.counters.step == 2:
            self.saver.wait()
            shutil.rmtree(tmp_path / "run")
            (tmp_path / "run").write_text("something else is here now")
        return real(self, parts, rate)

    monkeypatch.setattr(Trainer, "step", removing)
    before = set(threading.enumerate())
    with pytest.raises(OutputError) as problem:
        run(rich(save_every=1), bars, tmp_path / "run")
    assert problem.value.exit_code == 5
    for thread in (
        set(threading.enumerate()) - before
    ):  # it dies of the same, and must not do so in a later test
        thread.join(10)


# --- stages -------------------------------------------------------------------------------------

STAGES = [{"train": {"epochs": 1}}, {"optim": {"lr": 1e-4}, "train": {"epochs": 2}}]


def staged():
    return tiny_recipe(train={"ema": 0.9}, stages=STAGES)


def test_stages_follow_one_another_from_the_weights_before(bars, tmp_path):
    done = run(staged(), bars, tmp_path / "run")
    first, second = done.stage(1), done.stage(2)
    assert (first.read_status()["step"], second.read_status()["step"]) == (3, 6)
    assert done.read_status() == {"state": "done", "step": 6, "exit": 0}
    assert second.read_recipe().optim.lr == 1e-4
    assert first.read_recipe().optim.lr == 3e-3
    for name in ("bundle/model.safetensors", "predictions/test.parquet", "metrics/test.json", "log.csv"):
        assert (done.path / name).read_bytes() == (second.path / name).read_bytes()
    alone = run(
        tiny_recipe(train={"ema": 0.9, "epochs": 2}, optim={"lr": 1e-4}),
        bars,
        tmp_path / "alone",
        init_from=first.path,
    )
    assert final(alone)[2] == final(second)[2]


@pytest.mark.parametrize("step", [1, 4])
def test_stages_that_were_stopped_go_on_in_the_stage_they_were_in(bars, tmp_path, monkeypatch, step):
    whole = run(staged(), bars, tmp_path / "whole")
    counted = iter(range(1000))
    real = Stepper.take

    def signalled(self, parts, at, rate):
        if next(counted) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, parts, at, rate)

    with monkeypatch.context() as patched:
        patched.setattr(Stepper, "take", signalled)
        with pytest.raises(StoppedError):
            run(staged(), bars, tmp_path / "cut")
    assert RunFolder(tmp_path / "cut").read_status()["state"] == "stopped"
    cut = run(staged(), bars, tmp_path / "cut", resume=True)
    assert final(cut.stage(2)) == final(whole.stage(2))
    assert (cut.bundle / "model.safetensors").read_bytes() == (
        whole.bundle / "model.safetensors"
    ).read_bytes()


def test_a_stage_may_have_a_schedule_and_a_patience_of_its_own(bars, tmp_path):
    """Cycles, then a plateau that ends early, then restarts: each begins where the one before was best."""
    stages = [
        {"schedule": {"kind": "cyclic", "cycle_epochs": 1, "decay": 0.5}},
        {"schedule": {"kind": "plateau", "patience": 0}, "train": {"epochs": 9, "early_stop": 1}, "optim": {"lr": 9.0}},
        {"schedule": {"kind": "cosine_restarts", "period_epochs": 1, "growth": 1.0}, "loss": {"focal": 2.0}},
    ]  # fmt: skip
    said = []
    recipe = tiny_recipe(stages=stages)
    done = train(recipe, str(bars), tmp_path / "run", say=said.append)
    stops = [done.stage(number).read_status()["step"] for number in (1, 2, 3)]
    assert (stops[0], stops[2]) == (6, 6)
    assert stops[1] in range(6, 24, 3)  # at such a rate no epoch is better for long
    kinds = [done.stage(number).read_recipe().schedule.kind for number in (1, 2, 3)]
    assert kinds == ["cyclic", "plateau", "cosine_restarts"]
    assert [line for line in said if line.startswith("starting from")] == [
        f"starting from {done.stage(number).path}" for number in (1, 2)
    ]
    tables = [csv.DictReader(done.stage(number).log.read_text().splitlines()) for number in (1, 3)]
    rates = [[float(row["lr"]) for row in table if row["split"] == "train"] for table in tables]
    wave = [1, 0.75, 0.25]
    assert rates[0] == pytest.approx([3e-3 * share for share in (*wave, *(0.5 * x for x in wave))], rel=1e-5)
    assert rates[1] == pytest.approx([3e-3 * share for share in (*wave, *wave)], rel=1e-5)


def test_a_stage_that_is_wrong_is_refused_before_the_first_begins(tmp_path):
    path = tmp_path / "staged.yaml"
    path.write_text(write_yaml({**tiny_recipe().tree(), "stages": [{"optim": {"learning": 1}}]}))
    with pytest.raises(RecipeError, match=r"stages\[0\], optim"):
        load(path)
    path.write_text(write_yaml({**tiny_recipe().tree(), "stages": {"optim": {}}}))
    with pytest.raises(RecipeError, match="expected a list"):
        load(path)


# --- the command --------------------------------------------------------------------------------


def test_checkpoints_are_verified_from_the_command_line(bars, tmp_path):
    done = run(rich(save_every=1), bars, tmp_path / "run")
    result = CliRunner().invoke(app, ["checkpoint", "verify", str(done.path)])
    assert result.exit_code == 0
    assert result.output.count("whole") == len(checkpoints.steps(done.checkpoints))
    hurt = sorted(done.checkpoints.glob("step-*"))[-1] / "optimiser.safetensors"
    hurt.write_bytes(hurt.read_bytes()[:-1])
    result = CliRunner().invoke(app, ["checkpoint", "verify", str(done.path)])
    assert result.exit_code == 3
    assert str(hurt) in result.output
    assert isinstance(CliRunner().invoke(app, ["checkpoint", "verify", str(tmp_path)]).exception, ModelError)


def test_a_time_limit_is_taken_from_the_command_line(bars, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(write_yaml(rich(epochs=100000).tree()))
    command = ["train", str(recipe), "--data", str(bars), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*command, "--time-limit", "0.3s"])
    assert isinstance(result.exception, StoppedError)
    assert np.isfinite(RunFolder(tmp_path / "run").read_status()["step"])
    assert isinstance(CliRunner().invoke(app, [*command, "--time-limit", "soon"]).exception, UsageError)
