"""Jobs on a real SLURM, which the tests start on loopback: they train, are interrupted, and go on to the same bits."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from mudra import slurm
from mudra.errors import StoppedError, UsageError
from mudra.recipe import write_yaml
from mudra.training import ranks, resuming
from mudra.training.run_folder import RunFolder
from tests.command import mudra
from tests.conftest import ROOT
from tests.servers import slurm as cluster_in
from tests.servers import until
from tests.teams import together
from tests.tiny import tiny_recipe, train_tiny, write_bars

LONG = {"epochs": 12, "batch": 4, "save_every": 1}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    pytest.importorskip("submitit")
    before = dict(os.environ)
    with cluster_in(tmp_path_factory.mktemp("cluster")) as environment:
        os.environ.update({**environment, "OMP_NUM_THREADS": "1"})
        yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("bars"), {"train": 12, "val": 4})


@pytest.fixture
def recipe(tmp_path):
    """A file with a recipe that trains for a while."""
    path = tmp_path / "tiny.yaml"
    path.write_text(write_yaml(tiny_recipe(train=LONG).tree()))
    return path


@contextlib.contextmanager
def one_thread():
    """Sums in the order of a process that has one thread, as the jobs have."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def submit(*words):
    """Submit with the command line; the job's number."""
    ended = mudra(*words)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.split("job ")[1].split()[0]


def scontrol(*words):
    subprocess.run(["scontrol", *words], check=True, capture_output=True)


def show_job(job):
    shown = subprocess.run(["scontrol", "show", "job", "-o", job], check=True, capture_output=True, text=True)
    return shown.stdout


def facts_of(job):
    return dict(pair.split("=", 1) for pair in show_job(job).split() if "=" in pair)


def wait_for(run, job, *states, limit=90.0):
    """Wait until the run's status is one of `states`."""

    def there():
        return run.read_status().get("state") in states

    try:
        until(there, f"the state {states}", limit)
    except TimeoutError as problem:
        logs = "\n".join(path.read_text() for path in (run.path / "slurm").glob("*.out"))
        raise AssertionError(f"{problem}: {facts_of(job)}\n{run.read_status()}\n{logs}") from None


def start_again(job):
    """SLURM lets a job that is queued again wait for two minutes; this one need not."""
    until(lambda: facts_of(job)["JobState"] == "PENDING", f"job {job} in the queue")
    scontrol("update", f"JobId={job}", "StartTime=now")


def wait_for_step(run, job, step):
    wait_for(run, job, "running", "done")
    until(lambda: run.read_status()["step"] >= step, f"step {step}")


def whole_run(bars, folder, **sections):
    """The same training in this process, which nothing interrupts."""
    with one_thread():
        return train_tiny(tiny_recipe(**sections), bars, folder)


def same_bits(run, whole):
    mine, its = ((one.bundle / "model.safetensors").read_bytes() for one in (run, whole))
    return mine == its


def test_a_job_that_slurm_queues_again_goes_on_to_the_same_bits(cluster, bars, tmp_path, recipe):
    run = RunFolder(tmp_path / "run")
    job = submit("train", recipe, "--data", bars, "--out", run.path, "--slurm", "time=1h")
    wait_for_step(run, job, 3)
    scontrol("requeue", job)
    wait_for(run, job, "stopped")
    assert run.read_status()["job"] == job
    assert "SIGTERM" in run.read_status()["reason"]
    start_again(job)
    wait_for(run, job, "done")
    assert facts_of(job)["Restarts"] == "1"
    assert same_bits(run, whole_run(bars, tmp_path / "whole", train=LONG))
    with (run.path / "slurm" / f"{job}_0_log.out").open() as log:
        assert "going on from step" in log.read()


@pytest.mark.slow
def test_a_job_whose_time_is_nearly_over_queues_itself_again(cluster, bars, tmp_path, recipe):
    """SLURM's own signal before its own limit; a job on a minute's time needs a few turns."""
    run = RunFolder(tmp_path / "run")
    words = ["train", recipe, "--data", bars, "--out", run.path, "train.epochs=600"]
    job = submit(*words, "--slurm", "time=1m,warn=20s")
    wait_for(run, job, "stopped", limit=120)
    assert "SIGUSR2" in run.read_status()["reason"]
    start_again(job)
    until(lambda: run.read_status()["state"] == "running", "the second turn")
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    wait_for(run, job, "stopped")
    assert facts_of(job)["Restarts"] in ("1", "2")
    subprocess.run(["scancel", job], check=True)


@pytest.mark.slow
def test_a_preempted_job_goes_on_when_the_other_is_over(cluster, bars, tmp_path, recipe):
    run = RunFolder(tmp_path / "run")
    words = ["train", recipe, "--data", bars, "--out", run.path]
    job = submit(*words, "--slurm", "time=1h,partition=low,cpus=2")
    wait_for_step(run, job, 3)
    subprocess.run(["srun", "--partition=high", "--exclusive", "true"], check=True, capture_output=True)
    wait_for(run, job, "stopped")
    start_again(job)
    wait_for(run, job, "done")
    assert same_bits(run, whole_run(bars, tmp_path / "whole", train=LONG))


def trained_by_two(recipe, bars, out):
    """The run of two processes that nobody interrupted."""

    def work():
        torch.set_num_threads(1)
        train_tiny(recipe, bars, out)

    assert [outcome.code for outcome in together(2, work)] == [0, 0]
    return RunFolder(out)


@pytest.mark.slow
def test_two_processes_that_srun_starts_train_one_model(cluster, bars, tmp_path, recipe):
    run = RunFolder(tmp_path / "run")
    words = ["train", recipe, "--data", bars, "--out", run.path, "train.epochs=40"]
    job = submit(*words, "--slurm", "time=1h,tasks=2")
    wait_for_step(run, job, 3)
    scontrol("requeue", job)
    wait_for(run, job, "stopped")
    start_again(job)
    wait_for(run, job, "done")
    assert "2 processes (cpu)" in (run.path / "slurm" / f"{job}_0_log.out").read_text()
    tiny = tiny_recipe(train={**LONG, "epochs": 40})
    assert same_bits(run, trained_by_two(tiny, bars, tmp_path / "whole"))


@pytest.mark.slow
def test_jobs_of_one_sweep_share_its_trials(cluster, bars, tmp_path):
    (tmp_path / "tiny.yaml").write_text(write_yaml(tiny_recipe().tree()))
    study = tmp_path / "study.yaml"
    study.write_text(
        f"recipe: {tmp_path}/tiny.yaml\ngrid: {{optim.lr: [0.001, 0.003], model.dropout: [0.0, 0.1]}}\n"
    )
    out = tmp_path / "out"
    ended = mudra("sweep", study, "--data", bars, "--out", out, "--workers", 2, "--slurm", "time=1h")
    assert ended.returncode == 0, ended.stderr
    assert "postgresql" in ended.stderr
    until((out / "sweep.html").is_file, "a worker's page", 120)

    def shown():
        return mudra("sweep", study, "--out", out, "--show").stdout

    until(lambda: "4 trials, 4 done" in shown(), "all trials", 120)
    logs = "".join(path.read_text() for path in (out / "slurm").glob("*.out"))
    assert [logs.count(f"trial {number} of 4") for number in range(1, 5)] == [1, 1, 1, 1]


def script(number, changes, folder):
    """A job script of the guide, for this small cluster."""
    text = (ROOT / "docs" / "clusters.md").read_text()
    block = text.split("```bash\n")[number].split("```")[0]
    for before, after in changes.items():
        assert before in block, before
        block = block.replace(before, after)
    path = folder / f"script-{number}.sh"
    path.write_text(block)
    return path


def sbatch(path):
    words = ["sbatch", "--parsable", f"--output={path.with_suffix('.log')}", path]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
def test_the_guides_script_trains_with_srun_and_queues_itself_again(cluster, bars, tmp_path, recipe):
    run = RunFolder(tmp_path / "run")
    changes = {
        "--partition=gpu": "--partition=low",
        "--nodes=2 --ntasks-per-node=4 --gpus-per-node=4 --cpus-per-task=12": "--nodes=1 --ntasks-per-node=2",
        "mudra train jester-timesformer --data jester:/data/jester --out runs/jester": (
            f"{sys.executable} -m mudra train {recipe} --data {bars} --out {run.path} train.epochs=40"
        ),
    }
    job = sbatch(script(1, changes, tmp_path))
    wait_for_step(run, job, 3)
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
    wait_for(run, job, "stopped")
    assert "SIGUSR1" in run.read_status()["reason"]
    start_again(job)
    wait_for(run, job, "done")
    assert facts_of(job)["Restarts"] == "1"
    assert "2 processes (cpu)" in (tmp_path / "script-1.log").read_text()
    before = tiny_recipe(train={**LONG, "epochs": 40})
    assert same_bits(run, trained_by_two(before, bars, tmp_path / "whole"))


@pytest.mark.slow
def test_the_guides_script_sweeps_in_an_array(cluster, bars, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "tiny.yaml").write_text(write_yaml(tiny_recipe(train={**LONG, "epochs": 30}).tree()))
    study = tmp_path / "study.yaml"
    study.write_text(f"recipe: {tmp_path}/tiny.yaml\ngrid: {{optim.lr: [0.001, 0.003, 0.01]}}\n")
    changes = {
        "--array=1-8": "--array=1-2",
        " --gpus-per-node=1 --cpus-per-task=12": "",
        "mudra sweep epic-phase2 --data epic100:/data/epic --out runs/phase2": (
            f"{sys.executable} -m mudra sweep {study} --data {bars} --out {out}"
        ),
        "--storage postgresql+psycopg://me@dbhost/mudra": f"--storage sqlite:///{tmp_path}/shared.db",
    }
    job = sbatch(script(3, changes, tmp_path))
    trial = RunFolder(out / "trial-001")
    wait_for_step(trial, f"{job}_1", 3)
    subprocess.run(["scancel", "--signal=USR1", job], check=True)
    wait_for(trial, f"{job}_1", "stopped")
    for task in (1, 2):
        until(lambda task=task: "Restarts=1" in show_job(f"{job}_{task}"), "the second turn")
        scontrol("update", f"JobId={job}_{task}", "StartTime=now")

    def shown():
        storage = f"sqlite:///{tmp_path}/shared.db"
        return mudra("sweep", study, "--out", out, "--storage", storage, "--show").stdout

    until(lambda: "3 trials, 3 done" in shown(), "all trials", 120)


# --- without a cluster --------------------------------------------------------------------------


def test_what_a_job_asks_for_is_typed(tmp_path):
    (tmp_path / "cluster.yaml").write_text(
        "partition: gpu\ntime: 1d\nsetup: [module load cuda]\nmore: {mail-user: me}\n"
    )
    settings = slurm.read([str(tmp_path / "cluster.yaml"), "time=90m,gpus=4", "nodes=2"])
    asked = settings.parameters("name")
    assert (settings.partition, settings.time, settings.gpus, settings.nodes) == ("gpu", "90m", 4, 2)
    assert (asked["time"], asked["ntasks_per_node"], asked["setup"]) == (90, 4, ["module load cuda"])
    assert asked["additional_parameters"] == {"requeue": True, "mail-user": "me"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["partition=gpu"], "--slurm, time: this key is required"),
        (["time=1h,gpu=4"], "unknown key. Did you mean 'gpus'?"),
        (["time=1h,gpus=many"], "--slurm, gpus: found 'many'"),
        (["time=soon"], "--slurm time: found 'soon'"),
        (["time=1h,"], "found ''; expected KEY=VALUE"),
        (["cluster.yaml"], "--slurm cluster.yaml: cannot be read"),
    ],
)
def test_a_wrong_wish_is_told_in_one_line(words, told):
    with pytest.raises(UsageError) as problem:
        slurm.read(words)
    assert told in str(problem.value)


def test_without_slurm_there_is_one_line(bars, tmp_path, recipe, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = mudra("train", recipe, "--data", bars, "--out", tmp_path / "run", "--slurm", "time=1h")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: --slurm: there is no sbatch")
    assert not (tmp_path / "run").exists()


@dataclass
class Work:
    """Work that is stopped by a signal, and says how far it is."""

    signal: str
    places: list[int]

    def __call__(self):
        raise StoppedError("stopped", self.signal)

    def place(self):
        return self.places.pop(0)


@pytest.mark.parametrize(
    ("work", "queued", "code"),
    [
        (Work("SIGUSR2", [3, 9]), True, 0),  # its time is over, and it got on
        (Work("SIGUSR1", [3, 3]), False, 75),  # it would get nowhere the next time either
        (
            Work("SIGTERM", [3, 9]),
            False,
            75,
        ),  # scancel; or a preemption, after which SLURM itself queues it again
        (Work("the time limit of 5 s", [3, 9]), False, 75),
    ],
)
def test_only_a_job_whose_time_is_over_and_that_got_on_queues_itself_again(monkeypatch, work, queued, code):
    asked = []

    def run(command, **_options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(slurm.subprocess, "run", run)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    if code:
        with pytest.raises(SystemExit) as ended:
            slurm.Job(work)()
        assert ended.value.code == code
    else:
        slurm.Job(work)()
    assert asked == ([["scontrol", "requeue", "12"]] if queued else [])


def test_a_step_of_several_tasks_is_a_team(monkeypatch):
    for name in ranks.NAMES:
        monkeypatch.delenv(name, raising=False)
    task = {
        "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0",
    }  # fmt: skip
    for name, value in task.items():
        monkeypatch.setenv(name, value)
    known = ranks.started_by()
    assert [known[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")] == [
        "3",
        "4",
        "1",
        "gpu07",
    ]
    assert 20000 <= int(known["MASTER_PORT"]) < 30000
    monkeypatch.setenv("MASTER_PORT", "4711")
    assert ranks.started_by()["MASTER_PORT"] == "4711"
    with ranks.join("cpu", alone=True) as team:
        assert team.size == 1


def test_a_batch_script_that_counts_tasks_is_one_process(monkeypatch):
    for name in (*ranks.NAMES, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "12"}.items():
        monkeypatch.setenv(name, value)
    assert "WORLD_SIZE" not in ranks.started_by()
    with ranks.join("cpu") as team:
        assert team.size == 1


def test_a_job_that_is_started_again_knows_the_run_that_it_began(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    run = RunFolder(tmp_path)
    run.status("stopped", 3, 75)
    assert not resuming.restarted(run), "the first turn of a job"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert resuming.restarted(run)
    assert resuming.ended(run) == "", "it was stopped in order to go on"
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    assert not resuming.restarted(run), "another job's run"
