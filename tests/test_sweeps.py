"""Sweeps: every trial once, whoever is killed; ranked on validation; pruned, failed and typed."""

import contextlib
import csv
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from mudra import recipe as recipes
from mudra.bundle import build_model, fitted
from mudra.clips.preprocessing import Preprocessing
from mudra.errors import BusyError, DataError, OutputError, PrunedError, RecipeError, StoppedError
from mudra.files import write_json
from mudra.models.layers import DropPath
from mudra.predictions import read_metrics
from mudra.recipe import write_yaml
from mudra.reports.catalogue import assumed
from mudra.sweeps import claims, crew, worker
from mudra.sweeps import study as studies
from mudra.sweeps.claims import Claims
from mudra.sweeps.database import Database, of_folder
from mudra.sweeps.standing import standing
from mudra.sweeps.worker import Sweep, next_trial, work
from mudra.training.loop import Judged
from mudra.training.run_folder import RunFolder
from mudra.training.step import Stepper
from mudra.training.stops import StopRequests
from mudra.training.train import train
from tests.command import mudra
from tests.servers import postgresql, until
from tests.teams import Child
from tests.tiny import tiny_recipe, train_tiny, write_bars

pytest.importorskip("optuna")

EIGHT = [  # the study of the second phase, on a tiny scale: a value of each column changes at least once
    {"optim.lr": lr, "train.batch": batch, "model.dropout": dropout, "loss.label_smoothing": smoothing,
     "model.drop_path": path}
    for lr, batch, dropout, smoothing, path in [
        (5e-4, 4, 0.5, 0.1, 0.1), (1e-3, 4, 0.4, 0.1, 0.1), (5e-4, 8, 0.5, 0.15, 0.1), (5e-4, 4, 0.6, 0.1, 0.15),
        (3e-4, 4, 0.5, 0.1, 0.1), (5e-4, 2, 0.5, 0.1, 0.1), (5e-4, 4, 0.5, 0.2, 0.1), (5e-4, 4, 0.4, 0.1, 0.05),
    ]
]  # fmt: skip


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("bars"), {"train": 8, "val": 4})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("psycopg")
    with postgresql(tmp_path_factory.mktemp("server")) as url:
        yield url


def study_file(folder, study, **sections):
    """A study of the tiny recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(write_yaml(tiny_recipe(**sections).tree()))
    (folder / "study.yaml").write_text(write_yaml({"recipe": str(folder / "tiny.yaml"), **study}))
    return folder / "study.yaml"


def sweep_of(folder, study, data, storage=None, out="out", **sections):
    path = study_file(folder, study, **sections)
    options = {"say": lambda _line: None, "grace": 1.0}
    return Sweep(studies.load(path), str(data), folder / out, storage, **options)


def known(sweep):
    return sweep.open()[1].known()


def weights(sweep, number):
    return (sweep.run(number).bundle / "model.safetensors").read_bytes()


def pretend(monkeypatch, figure, epochs=3):
    """Trainings that take no time: `figure(recipe, epoch)` is their top-1 on validation."""
    trained = []

    def fake(recipe, _data, out, *, resume, hear, **_options):
        run = RunFolder(out)
        trained.append((int(out.name.removeprefix("trial-")), resume))
        if not resume:
            run.start(recipe, {})
        run.status("running", 0)
        try:
            for epoch in range(1, epochs + 1):
                hear(Judged(epoch, 1 - figure(recipe, epoch), {"label": figure(recipe, epoch)}))
        except PrunedError as problem:
            run.status("pruned", epoch, 0, str(problem))
            raise
        top1 = figure(recipe, epochs)
        one = {"clips": 4, "top1": top1, "loss": 1 - top1, "macro_f1": top1 / 2}
        write_json(run.metrics("val"), {"split": "val", "clips": 4, "tasks": {"label": one}})
        run.status("done", epochs)

    monkeypatch.setattr(worker, "train", fake)
    return trained


# --- kills --------------------------------------------------------------------------------------


def killed_at_random(sweep, kills, seed, journal):
    """Two workers at a time, killed at seeded moments and restarted, until all trials have ended."""

    def recorded(recipe, data, out, **options):
        with journal.open("a") as lines:
            state = RunFolder(out).read_status().get("state")
            lines.write(f"{out.name} {state} {options['resume']} {os.getpid()}\n")
        return train(recipe, data, out, **options)

    def run():
        worker.train = recorded  # in the child alone
        torch.set_num_threads(1)
        work(sweep)

    def ended():
        return sum(trial.ended for trial in known(sweep).values())

    rng = random.Random(seed)
    children, landed = [], 0
    while ended() < sweep.plan.trials:  # a look at the database; so children find its packages imported
        while len(children) < 2:
            children.append(Child(run))
        victim = rng.choice(children)
        if rng.random() < 0.7:  # let it come as far as a training

            def trains(child=victim):
                began = (
                    [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []
                )
                mine = [RunFolder(sweep.out / name) for name, *_, pid in began if pid == str(child.pid)]
                return child.poll() is not None or (mine and mine[-1].read_status().get("state") == "running")

            until(trains, "a training")
        time.sleep(rng.uniform(0.0, 0.3))
        if victim.poll() is not None:
            assert victim.wait().code == 0, victim.wait()
            children.remove(victim)
        elif landed < kills:
            victim.send(signal.SIGKILL)
            victim.wait()
            children.remove(victim)
            landed += 1
    for child in children:
        assert child.wait().code == 0
    return landed


@pytest.mark.parametrize(
    ("seed", "kills"),
    [(0, 10), *(pytest.param(seed, 40, marks=[pytest.mark.slow]) for seed in range(1, 5))],
)
def test_two_workers_killed_at_random_train_every_configuration_once(bars, tmp_path, seed, kills):
    sweep = sweep_of(tmp_path, {"configurations": EIGHT}, bars, train={"save_every": 1, "epochs": 4})
    journal = tmp_path / "journal.txt"
    landed = killed_at_random(sweep, kills, seed, journal)
    assert landed >= 8, "too few kills to show anything"
    trials = known(sweep)
    assert {number: trial.state for number, trial in trials.items()} == dict.fromkeys(range(1, 9), "done")
    assert len(sweep.open()[1]._study.get_trials()) == 8  # none of Optuna's own is left over either
    began = [line.split() for line in journal.read_text().splitlines()]
    assert {name for name, *_ in began} == {f"trial-{number:03d}" for number in range(1, 9)}
    assert not [line for line in began if line[1] == "done"], "a trial was trained again"
    assert any(resumed == "True" for _, _, resumed, _ in began), "no kill fell into a training"
    torch.set_num_threads(1)
    for number in (1, 2, 8):  # the bits of a training that nobody killed
        whole = train_tiny(sweep.plan.recipe(EIGHT[number - 1]), bars, tmp_path / f"whole-{number}")
        assert weights(sweep, number) == (whole.bundle / "model.safetensors").read_bytes()


def test_two_processes_share_a_study_on_postgresql(bars, tmp_path, server):
    """Both begin on an empty database at the same moment, and one of them is killed on the way."""
    study = {"grid": {"optim.lr": [1e-3, 3e-3], "model.dropout": [0.0, 0.2]}}
    sweep = sweep_of(tmp_path, study, bars, server)
    first, second = Child(lambda: work(sweep)), Child(lambda: work(sweep))
    until(lambda: (sweep.out / "trial-002" / "status.json").is_file(), "a second trial")
    first.send(signal.SIGKILL)
    first.wait()
    assert second.wait(120).code == 0, second.wait()
    assert Child(lambda: work(sweep)).wait(60).code == 0
    trials = known(sweep)
    assert [trials[number].state for number in range(1, 5)] == ["done"] * 4
    assert len(sweep.open()[1]._study.get_trials()) == 4
    assert not (sweep.out / "study.db").exists()


def test_a_worker_that_dies_after_the_last_step_loses_nothing(tmp_path, monkeypatch):
    """The run is done, and the database does not know: whoever takes the trial over reads it and trains nothing."""
    trained = pretend(monkeypatch, lambda _recipe, epoch: epoch / 4)
    sweep = sweep_of(tmp_path, {"configurations": EIGHT[:2]}, tmp_path)
    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    with monkeypatch.context() as dying:
        dying.setattr(worker.Trials, "end", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert Child(lambda: work(sweep)).wait().code == -signal.SIGKILL
    assert sweep.run(1).read_status()["state"] == "done"
    assert known(sweep)[1].state == "running"
    work(sweep)
    assert trained == [(2, False)]
    assert [known(sweep)[number].value for number in (1, 2)] == [0.75, 0.75]
    assert known(sweep)[1].epochs == {1: 0.25, 2: 0.5, 3: 0.75}


# --- claims -------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    return of_folder(tmp_path) if request.param == "sqlite" else request.getfixturevalue("server")


def test_of_many_that_claim_at_once_one_has_it(url):
    name = f"study {time.time_ns()}"

    def claim():
        mine = Claims(Database(url), name)
        return [number for number in range(12) if mine.take(number)], time.sleep(0.2)

    children = [Child(claim) for _ in range(4)]
    taken = [number for child in children for number in child.wait().value[0]]
    assert sorted(taken) == list(range(12))


def test_a_trial_is_taken_over_only_as_it_was_seen(url, monkeypatch):
    """Between one worker's look and its statement another takes the trial over."""
    name = f"study {time.time_ns()}"
    assert Child(lambda: Claims(Database(url), name).take(1)).wait().value
    slow, quick = Claims(Database(url), name), Claims(Database(url), name)

    def looks(_number, _owner, _beats):
        assert quick.take(1)
        return False

    monkeypatch.setattr(slow, "_alive", looks)
    assert not slow.take(1)
    assert quick._row(1)[0] == str(quick.me)


def test_the_trial_of_a_dead_process_is_free_at_once(url):
    name = f"study {time.time_ns()}"
    assert Child(lambda: Claims(Database(url), name).take(1)).wait().value
    assert Claims(Database(url), name).take(1)
    assert not Claims(Database(url), name).take(1), "this process lives"


def test_another_machine_is_given_up_only_after_a_silence(url, monkeypatch):
    name = f"study {time.time_ns()}"
    here, there = Claims(Database(url), name, grace=0.6), Claims(Database(url), name, grace=0.6)
    other = claims.Owner("elsewhere", 1, "1", "word")
    there.me = other
    lost = []
    with there.kept(1, lambda: lost.append(True)):
        assert there.take(1)
        assert here.alive(1) is None, "one look tells nothing"
        until(lambda: here.alive(1), "a sign of life")
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            assert not here.take(1), "it lives"
            time.sleep(0.1)
        monkeypatch.setattr(there, "_database", Silent())  # its network is gone
        until(lambda: here.take(1), "the take-over", 5)
        until(lambda: lost, "the other to notice", 5)
    assert here.alive(1)


class Silent:
    """A database that does not answer."""

    def run(self, *_args, **_values):
        raise OSError("no route to host")


def test_a_worker_whose_trial_was_taken_over_stops_and_goes_on_with_another(tmp_path, monkeypatch):
    """It was suspended for longer than the others wait; when it wakes, the trial is theirs."""
    sweep = sweep_of(tmp_path, {"configurations": EIGHT[:2]}, tmp_path)
    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    database = sweep.open()[0]
    seen = []

    def fake(_recipe, _data, out, *, stops, **_options):
        seen.append(out.name)
        if out.name == "trial-001":
            database.run(
                "UPDATE mudra_claims SET owner = :owner WHERE number = 1", owner="elsewhere 1 1 word"
            )
            until(lambda: stops.reason, "the stop")
            monkeypatch.setattr(Claims, "take", lambda _self, number: number == 2 and len(seen) == 1)
            raise StoppedError("stopped", stops.reason)
        monkeypatch.setattr(Claims, "alive", lambda *_: True)
        raise PrunedError("enough")

    monkeypatch.setattr(worker, "train", fake)
    work(sweep)
    assert seen == ["trial-001", "trial-002"]
    assert known(sweep)[1].state == "running"


def test_a_trial_whose_last_owner_still_writes_waits(bars, tmp_path, monkeypatch):
    sweep = sweep_of(tmp_path, {"configurations": EIGHT[:1]}, bars)
    real, tries = worker.train, []

    def busy(*words, **options):
        tries.append(1)
        if len(tries) < 3:
            raise BusyError("another process trains into this run")
        return real(*words, **options)

    monkeypatch.setattr(worker, "train", busy)
    work(sweep)
    assert (known(sweep)[1].state, len(tries)) == ("done", 3)


# --- how trials end -----------------------------------------------------------------------------


def test_a_configuration_that_is_not_finite_is_recorded_and_the_others_go_on(bars, tmp_path):
    study = {"configurations": [{"optim.lr": 1e30}, {"optim.lr": 1e-3}]}
    path = study_file(tmp_path, study)
    words = ["sweep", path, "--data", bars, "--out", tmp_path / "out"]
    ended = mudra(*words)
    assert ended.returncode == 0, ended.stderr
    assert "1 done, 1 failed" in ended.stdout
    assert RunFolder(tmp_path / "out" / "trial-001").read_status()["exit"] == 4
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert [(row["trial"], row["state"]) for row in rows] == [("2", "done"), ("1", "failed")]
    assert "not finite" in rows[1]["reason"] or "NaN" in rows[1]["reason"] or "infinit" in rows[1]["reason"]
    page = (tmp_path / "out" / "sweep.html").read_text()
    assert "Trial 1 failed" in page
    assert "://" not in page


def test_a_pruned_trial_is_a_run_that_says_so_and_can_be_finished_by_hand(bars, tmp_path):
    study = {
        "configurations": [{"optim.lr": 3e-3}, {"optim.lr": 1e-9}],
        "rank": "loss",
        "pruner": {"kind": "median", "startup_trials": 1, "warmup_epochs": 1},
    }
    sweep = sweep_of(tmp_path, study, bars, train={"epochs": 5})
    work(sweep)
    trials, run = known(sweep), sweep.run(2)
    assert [trials[number].state for number in (1, 2)] == ["done", "pruned"]
    status = run.read_status()
    assert (status["state"], status["exit"]) == ("pruned", 0)
    assert len(trials[2].epochs) < 5
    assert status["step"] == len(trials[2].epochs)  # one step an epoch; the last one is saved
    assert (run.checkpoints / f"step-{status['step']:08d}").is_dir()
    judged = mudra("evaluate", run.path, "--data", bars, "--split", "val", "--checkpoint", "step-1")
    assert judged.returncode == 0, judged.stderr
    one = read_metrics(run.metrics("val"))["tasks"]["label"]["loss"]
    assert one == pytest.approx(trials[2].epochs[1], abs=1e-6), "another step was judged"
    train_tiny(sweep.plan.recipe({"optim.lr": 1e-9}), bars, run.path, resume=True)
    assert run.read_status()["state"] == "done"
    assert known(sweep)[2].state == "pruned"


def test_a_stop_leaves_the_trial_to_whoever_comes(bars, tmp_path, monkeypatch):
    study = {"configurations": [{"optim.lr": 1e-3}, {"optim.lr": 3e-3}]}
    sweep = sweep_of(tmp_path, study, bars, train={"epochs": 4})
    heard = []

    def hear(self, trial, judged):
        heard.append((trial.number, judged.epoch))
        if len(heard) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, trial, judged)

    real = worker.Attempt._hear
    monkeypatch.setattr(worker.Attempt, "_hear", hear)
    with pytest.raises(StoppedError) as problem:
        work(sweep)
    assert problem.value.exit_code == 75
    assert sweep.run(1).read_status()["state"] == "stopped"
    work(sweep)
    assert [trial.state for trial in known(sweep).values()] == ["done", "done"]
    assert heard == [(0, epoch) for epoch in (1, 2, 3, 4)] + [(1, epoch) for epoch in (1, 2, 3, 4)]


def test_a_stop_between_trials_is_heard(tmp_path):
    sweep = sweep_of(tmp_path, {"configurations": EIGHT[:1]}, tmp_path)
    with StopRequests() as stops:
        stops.ask("SIGTERM")
        with pytest.raises(StoppedError, match="between trials by SIGTERM"):
            next_trial(sweep.plan, Claims(sweep.open()[0], "x"), sweep.open()[1], stops)


def test_what_would_befall_every_trial_ends_the_worker_and_is_held_against_none(tmp_path, bars, monkeypatch):
    sweep = sweep_of(tmp_path, {"configurations": EIGHT[:2]}, bars)
    for problem in (DataError("a clip"), OutputError("disk full"), RecipeError("no such task")):

        def failing(*_words, error=problem, **_options):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(worker, "train", failing)
            with pytest.raises(type(problem)):
                work(sweep)
        assert known(sweep)[1].state == "running"
    work(sweep)
    assert [trial.state for trial in known(sweep).values()] == ["done", "done"]


def test_a_configuration_that_no_model_can_be_is_its_own_fault_when_others_could(tmp_path, bars, monkeypatch):
    sweep = sweep_of(tmp_path, {"configurations": [{"optim.lr": 1e-3}, {"model.heads": 3}]}, bars)
    work(sweep)
    trials = known(sweep)
    assert [trials[number].state for number in (1, 2)] == ["done", "failed"]
    assert "heads" in trials[2].reason


def test_data_without_validation_is_refused_before_anything_is_trained(tmp_path):
    data = write_bars(tmp_path / "bars", {"train": 4, "test": 4})
    sweep = sweep_of(tmp_path, {"configurations": EIGHT[:2]}, data)
    with pytest.raises(DataError, match="a study ranks on validation"):
        work(sweep)
    assert known(sweep) == {}


# --- ranking, sampling --------------------------------------------------------------------------


def test_trials_are_ranked_on_validation_never_on_test(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    pretend(monkeypatch, lambda recipe, _epoch: recipe.optim.lr)
    sweep = sweep_of(tmp_path, {"grid": {"optim.lr": [0.2, 0.8, 0.4]}}, tmp_path)
    work(sweep)
    for number, top1 in ((1, 0.77), (2, 0.33), (3, 0.77)):  # test says otherwise, and is not asked
        place = sweep.run(number).metrics("test")
        write_json(place, {"split": "test", "clips": 4, "tasks": {"label": {"top1": top1}}})
    found = standing(sweep)
    assert [row.number for row in found.rows] == [2, 3, 1]
    shown = json.dumps([found.cells(row) for row in found.rows])
    assert "0.33" not in shown
    assert "0.77" not in shown
    with pytest.raises(RecipeError, match="neither top1 nor loss"):
        studies.load(study_file(tmp_path, {"grid": {"optim.lr": [0.2, 0.8]}, "rank": "test"}))


@pytest.mark.parametrize(("rank", "best"), [("loss", 2), ("label/macro_f1", 2), ("label/top1", 2)])
def test_a_study_says_what_ranks(tmp_path, monkeypatch, rank, best):
    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    pretend(monkeypatch, lambda recipe, _epoch: recipe.optim.lr)
    sweep = sweep_of(tmp_path, {"grid": {"optim.lr": [0.2, 0.8, 0.4]}, "rank": rank}, tmp_path)
    work(sweep)
    assert standing(sweep).best.number == best


def test_a_figure_that_validation_does_not_have_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    pretend(monkeypatch, lambda recipe, _epoch: recipe.optim.lr)
    sweep = sweep_of(tmp_path, {"grid": {"optim.lr": [0.2, 0.8]}, "rank": "verb/top1"}, tmp_path)
    with pytest.raises(DataError, match="no top1 of verb; tasks: label"):
        work(sweep)


SPACE = {
    "optim.lr": {"low": 1e-5, "high": 1e-2, "log": True},
    "model.depth": {"low": 1, "high": 4},
    "loss.label_smoothing": {"low": 0.0, "high": 0.2, "step": 0.1},
    "optim.betas": {"choices": [[0.9, 0.999], [0.8, 0.99]]},
    "train.sampling": {"choices": ["shuffle", "balanced"]},
}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_space_is_searched_within_its_bounds(tmp_path, monkeypatch, sampler):
    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    pretend(monkeypatch, lambda recipe, _epoch: min(1.0, recipe.optim.lr * 50 + recipe.model.depth / 10))
    study = {"space": SPACE, "budget": 14, "sampler": sampler}
    sweep = sweep_of(tmp_path, study, tmp_path)
    work(sweep)
    rows = [trial.settings for trial in known(sweep).values()]
    assert len(rows) == 14
    assert all(1e-5 <= row["optim.lr"] <= 1e-2 for row in rows)
    assert sum(row["optim.lr"] < 3e-4 for row in rows) > 2, "spread over the magnitudes"
    assert {type(row["model.depth"]) for row in rows} == {int}
    assert {round(row["loss.label_smoothing"], 6) for row in rows} <= {0.0, 0.1, 0.2}
    assert len({json.dumps(row) for row in rows}) == 14
    run = sweep.run(1).read_recipe()
    assert list(run.optim.betas) in ([0.9, 0.999], [0.8, 0.99])
    found = standing(sweep)
    assert set(found.importances) == set(SPACE)
    assert found.importances["optim.lr"] > found.importances["train.sampling"]


def test_random_trials_do_not_depend_on_who_trains_them(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    pretend(monkeypatch, lambda recipe, _epoch: recipe.optim.lr)
    study = {"space": SPACE, "budget": 6, "sampler": "random", "seed": 3}
    one, two = (sweep_of(tmp_path, study, tmp_path, out=name) for name in ("one", "two"))
    work(one)
    children = [Child(lambda: work(two)) for _ in range(2)]
    assert [child.wait().code for child in children] == [0, 0]
    drawn = [{number: trial.settings for number, trial in known(sweep).items()} for sweep in (one, two)]
    assert drawn[0] == drawn[1]


def test_hyperband_prunes(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    pretend(monkeypatch, lambda recipe, epoch: recipe.optim.lr * epoch / 9, epochs=9)
    study = {
        "grid": {"optim.lr": [0.9, 0.8, 0.1, 0.02, 0.03, 0.04]},
        "pruner": {"kind": "hyperband", "min_epochs": 1, "reduction": 3},
    }  # fmt: skip
    sweep = sweep_of(tmp_path, study, tmp_path, train={"epochs": 9})
    work(sweep)
    assert {trial.state for trial in known(sweep).values()} == {"done", "pruned"}


# --- the command --------------------------------------------------------------------------------


def test_a_second_call_on_a_finished_study_only_shows_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    monkeypatch.setattr("mudra.cli.sweeping.report_of", lambda *_: None)
    trained = pretend(monkeypatch, lambda recipe, _epoch: recipe.optim.lr)
    path = study_file(tmp_path, {"grid": {"optim.lr": [0.2, 0.8]}})
    words = ["sweep", path, "--data", tmp_path, "--out", tmp_path / "out"]
    first, second, shown = mudra(*words), mudra(*words), mudra(*words, "--show")
    assert [ended.returncode for ended in (first, second, shown)] == [0, 0, 0], first.stderr
    assert len(trained) == 2
    assert first.stdout == second.stdout == shown.stdout
    assert "best 80.0 %" in first.stdout
    other = study_file(tmp_path, {"grid": {"optim.lr": [0.2, 0.9]}})
    ended = mudra("sweep", other, "--data", tmp_path, "--out", tmp_path / "out")
    assert ended.returncode == 2
    assert "grid differ from the study 'out'" in ended.stderr


def test_the_page_shows_every_picture_and_fetches_nothing(tmp_path, monkeypatch):
    from mudra.reports.study_page import write_study

    monkeypatch.setattr(worker, "refuse_without_validation", lambda *_: None)
    pretend(
        monkeypatch, lambda recipe, epoch: min(1.0, recipe.optim.lr * 10 * epoch + recipe.model.depth / 10)
    )
    study = {"space": SPACE, "budget": 8, "pruner": {"kind": "median", "warmup_epochs": 1}}
    sweep = sweep_of(tmp_path, study, tmp_path)
    work(sweep)
    page = write_study(standing(sweep), sweep.out).read_text()
    for anchor in ("trials", "curves", "settings", "parallel", "importance", "study"):
        assert f'id="{anchor}"' in page, anchor
    assert "://" not in page
    assert page.count("<svg") == 3 + len(SPACE)


def test_without_optuna_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    ended = mudra("sweep", study_file(tmp_path, {"grid": {"optim.lr": [0.2, 0.8]}}))
    assert (ended.returncode, ended.stderr) == (
        2,
        "error: mudra sweep: needs Optuna. Install it: pip install 'mudra[sweeps]'.\n",
    )


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("postgresql+psycopg://mudra:secret@127.0.0.1:1/none", "does not answer as it should"),
        ("nonsense", "expected an address such as"),
        ("oracle+nothing://x/y", "--storage:"),
    ],
)
def test_a_database_that_is_not_there_is_told_in_one_line_without_its_password(tmp_path, storage, told):
    path = study_file(tmp_path, {"grid": {"optim.lr": [0.2, 0.8]}})
    ended = mudra("sweep", path, "--data", tmp_path, "--out", tmp_path / "out", "--storage", storage)
    assert ended.returncode in (2, 5)
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr


def test_a_worker_that_is_killed_is_replaced(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text(
        f"#!/bin/bash\necho worker >&2\nif mkdir {tmp_path}/first 2>/dev/null; then kill -9 $$; fi\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(crew.sys, "executable", str(program))
    said = []
    crew.crew(["sweep"], 2, said.append)
    assert sum("killed by signal 9" in line for line in said) == 1
    assert sum(line.endswith("] worker") for line in said) == 3
    program.write_text("#!/bin/bash\nexit 5\n")
    with pytest.raises(crew.CrewError) as problem:
        crew.crew(["sweep"], 2, said.append)
    assert problem.value.exit_code == 5


def test_workers_are_stopped_together(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text(
        f"#!/bin/bash\ntrap 'touch {tmp_path}/stopped-$$; exit 75' TERM\ntouch {tmp_path}/ready-$$\n"
        "while true; do sleep 0.05; done\n"
    )
    program.chmod(0o755)

    def command():
        crew.sys.executable = str(program)
        crew.crew(["sweep"], 2, lambda _line: None)

    child = Child(command)
    until(lambda: len(list(tmp_path.glob("ready-*"))) == 2, "two workers")
    child.send(signal.SIGINT)
    assert child.wait().code == 75
    assert len(list(tmp_path.glob("stopped-*"))) == 2


# --- studies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("study", "told"),
    [
        ({}, "expected one of configurations, grid and space, found none"),
        ({"grid": {"optim.lr": [1.0]}, "configurations": [{"optim.lr": 1.0}]}, "found configurations, grid"),
        ({"grid": {"optim.learning": [0.1, 0.2]}}, "trial 1: override|unknown key"),
        ({"grid": {"optim.lr": [0.1, -0.2]}}, "trial 2: recipe"),
        ({"grid": {"optim.lr": []}}, "grid.optim.lr"),
        ({"configurations": [{"optim.lr": 0.1}, {"optim.lr": 0.1}]}, "trial 2: it is trial 1 again"),
        ({"grid": {"optim.lr": [0.1, 0.2]}, "budget": 4}, "a space needs a budget of trials, and nothing else"),
        ({"space": {"optim.lr": {"low": 0.1, "high": 0.2}}}, "a space needs a budget"),
        ({"space": {"optim.lr": {"low": 0.2, "high": 0.1}}, "budget": 4}, "low 0.2 is not below high 0.1"),
        ({"space": {"optim.lr": {"low": 0, "high": 0.1, "log": True}}, "budget": 4}, "log needs low above 0"),
        ({"space": {"model.dropout": {"low": 0.0, "high": 1.5}}, "budget": 4}, "space: recipe"),
        ({"grid": {"optim.lr": [0.1, 0.2]}, "rank": "accuracy"}, "neither top1 nor loss"),
        ({"grid": {"optim.lr": [0.1, 0.2]}, "pruner": {"kind": "best"}}, "pruner"),
        ({"grid": {"optim.lr": [0.1, 0.2]}, "overrides": {"data.folds": {"count": 2}}}, "a study ranks on validation"),
        ({"grids": {"optim.lr": [0.1, 0.2]}}, "unknown key. Did you mean 'grid'?"),
        ({"grid": {"train.seed": list(range(200)), "train.epochs": list(range(1, 101))}}, "20,000 trials"),
    ],
)  # fmt: skip
def test_a_wrong_study_is_told_in_one_line_before_anything_is_trained(tmp_path, study, told):
    ended = mudra("sweep", study_file(tmp_path, study), "--out", tmp_path / "out")
    assert ended.returncode == 2, ended.stderr
    assert any(words in ended.stderr for words in told.split("|")), ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_study_of_no_such_name_tells_the_others():
    with pytest.raises(RecipeError, match=r"there is none of this name. Did you mean 'epic-phase2'?"):
        studies.load("epic-phase")


@pytest.mark.parametrize("name", studies.catalogue())
def test_every_study_that_comes_with_mudra_reaches_its_recipe(name):
    """Each of its columns changes the built model or a setting of the training."""
    recipe = Path(recipes.find(name, "studies", "study")[1].partition("recipe: ")[2].split()[0])
    if str(recipe) not in recipes.catalogue():
        pytest.skip(f"its recipe {recipe} is not in the catalogue")
    plan = studies.load(name)
    first = reached(plan.recipe(plan.fixed[0]))
    assert plan.trials == 8
    for column in plan.columns:
        other = next(row[column] for row in plan.fixed if row[column] != plan.fixed[0][column])
        changed = reached(plan.recipe({**plan.fixed[0], column: other}))
        assert {part for part in first if first[part] != changed[part]} == {column}


def reached(recipe):
    """What of a recipe's model and training the columns of the second phase should change."""
    streams = {name: assumed(recipe, name) for name in recipe.clip.streams}
    preprocessing = Preprocessing(recipe.clip, streams)
    with torch.device("meta"):
        model = build_model(
            fitted(recipe.model, preprocessing),
            preprocessing.inputs,
            recipe.data.class_counts() or {"label": 10},
        )
    modules = list(model.modules())
    rates = [getattr(part, "rate", getattr(part, "drop_prob", None)) for part in modules]
    return {
        "optim.lr": recipe.optim.lr,
        "train.batch": recipe.train.batch,
        "loss.label_smoothing": recipe.loss.label_smoothing,
        "model.dropout": [part.p for part in modules if isinstance(part, torch.nn.Dropout)],
        "model.drop_path": [rate for rate in rates if rate is not None],
    }


def built(recipe, data, out):
    """What the first step of a training is made of, by the column of the study that should reach it."""
    found = {}

    def take(self, parts, step, rate):
        logits = {"label": torch.tensor([[2.0, -1.0], [0.5, 1.0]])}
        terms = self.loss(logits, {"label": torch.tensor([0, 1])})
        modules = list(self.model.modules())
        found.update({
            "optim.lr": [group["base_lr"] for group in self.optimiser.param_groups],
            "train.batch": sum(len(part) for part in parts),
            "model.dropout": [part.p for part in modules if isinstance(part, torch.nn.Dropout)],
            "model.drop_path": [part.rate for part in modules if isinstance(part, DropPath)],
            "loss.label_smoothing": float(terms.total()),
        })  # fmt: skip
        raise Seen

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Stepper, "take", take)
        with contextlib.suppress(Seen):
            train_tiny(recipe, data, out)
    return found


class Seen(Exception):
    """The first step was looked at."""


@pytest.mark.parametrize("column", EIGHT[0])
def test_every_column_of_the_study_reaches_the_training(bars, tmp_path, column):
    """The settings of a trial change the optimiser, the batch, the model's layers and the loss, each its own."""
    path = study_file(tmp_path, {"configurations": EIGHT}, model={"depth": 2})
    plan = studies.load(path)
    assert list(plan.columns) == list(EIGHT[0])
    first = built(plan.recipe(EIGHT[0]), bars, tmp_path / "first")
    other = next(row for row in EIGHT if row[column] != EIGHT[0][column])
    changed = built(plan.recipe({**EIGHT[0], column: other[column]}), bars, tmp_path / "changed")
    assert {name for name in first if first[name] != changed[name]} == {column}
