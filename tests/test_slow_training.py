"""Training as a user starts it: under torchrun itself, and compiled. Minutes, so `make test-slow`."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from safetensors.torch import load_file

from mudra.recipe import write_yaml
from mudra.training.run_folder import RunFolder
from tests.teams import together
from tests.tiny import tiny_recipe, write_bars
from tests.tiny import train_tiny as run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture
def bars(tmp_path):
    return write_bars(tmp_path / "bars", {"train": 22, "val": 6, "test": 4})


def torchrun(recipe, data, out, *options):
    """Start a training on two processes as the guide says."""
    path = out.with_suffix(".yaml")
    path.write_text(write_yaml(recipe.tree()))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *options,
    ]
    command += ["-m", "mudra", "train", str(path), "--data", str(data), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def until(condition, process, limit=120):
    deadline = time.monotonic() + limit
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(process, limit):
    """What it said, when it has ended; nothing of it is left."""
    try:
        return process.communicate(timeout=limit)[1]
    finally:
        for left in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            left.kill()
        process.kill()
        process.wait()


def bits(folder):
    return {name: x.numpy().tobytes() for name, x in load_file(folder.bundle / "model.safetensors").items()}


def test_torchrun_starts_a_killed_process_again_and_ends_with_the_same_bits(bars, tmp_path):
    recipe = tiny_recipe(train={"save_every": 1, "epochs": 40, "batch": 4}, model={"dropout": 0.1})
    assert [o.code for o in together(2, lambda: run(recipe, bars, tmp_path / "whole").path)] == [0, 0]
    folder = RunFolder(tmp_path / "run")
    launched = torchrun(recipe, bars, folder.path, "--max-restarts", "2")
    until(lambda: folder.read_status().get("step", 0) >= 5, launched)
    ranks = [
        p for p in psutil.Process(launched.pid).children(recursive=True) if p.environ().get("RANK") == "1"
    ]
    ranks[0].kill()
    told = ended(launched, 300)
    assert launched.returncode == 0, told
    assert "going on from step" in told
    assert folder.read_status()["state"] == "done"
    assert bits(folder) == bits(RunFolder(tmp_path / "whole"))
    assert (folder.path / "report.html").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_torchrun_stops_on_request_within_seconds(bars, tmp_path, number):
    recipe = tiny_recipe(train={"save_every": 5, "epochs": 100000})
    folder = RunFolder(tmp_path / "run")
    launched = torchrun(recipe, bars, folder.path, "--max-restarts", "2")
    until(lambda: folder.read_status().get("step", 0) >= 5, launched)
    launched.send_signal(number)
    begun = time.monotonic()
    ended(launched, 60)
    assert time.monotonic() - begun < 30
    status = folder.read_status()
    assert (status["state"], status["exit"]) == ("stopped", 75)
    processes = [
        p for p in psutil.process_iter(["cmdline"]) if str(folder.path) in " ".join(p.info["cmdline"] or [])
    ]
    assert not processes


def test_a_compiled_model_trains_and_resumes(bars, tmp_path):
    plain = run(tiny_recipe(train={"epochs": 1}), bars, tmp_path / "plain")
    compiled = run(tiny_recipe(train={"epochs": 1, "compile": True}), bars, tmp_path / "compiled")
    one, two = (load_file(folder.bundle / "model.safetensors") for folder in (plain, compiled))
    assert one.keys() == two.keys()  # a bundle does not show that its training was compiled
    for name, x in one.items():
        assert (x - two[name]).abs().max() < 1e-3
