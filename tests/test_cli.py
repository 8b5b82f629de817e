"""The command line: what it prints, and how it ends."""

import json
import subprocess
import sys

import pytest

from mudra.progress import Screen
from mudra.recipe import write_yaml
from tests.command import mudra
from tests.tiny import tiny_recipe, write_bars


def refused(*words, code):
    found = mudra(*words)
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr
    return found.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("cli")
    data = write_bars(home / "data", {"train": 16, "val": 6, "test": 6})
    (home / "tiny.yaml").write_text(write_yaml(tiny_recipe().tree()))
    found = mudra("train", home / "tiny.yaml", "train.epochs=1", "--data", data, "--out", home / "run")
    assert found.returncode == 0, found.stderr
    return home


def test_help_answers_without_importing_anything_heavy():
    code = (
        "import sys; sys.argv = ['mudra', '--help']\n"
        "from mudra.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'av', 'pyarrow', 'matplotlib', 'pydantic'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    for command in ("demo", "recipes", "train", "evaluate", "predict", "data"):
        assert command in found.stdout


def test_the_jester_recipe_has_exactly_the_parameters_of_its_source():
    found = mudra("recipes", "jester-timesformer")
    assert "trainable parameters: 19,321,371" in found.stdout.splitlines()


def test_training_writes_a_run_with_a_report(trained):
    assert (trained / "run" / "report.html").is_file()
    assert json.loads((trained / "run" / "status.json").read_text())["state"] == "done"


def test_evaluating_elsewhere_leaves_the_run_alone(trained):
    before = (trained / "run" / "report.html").read_bytes()
    found = mudra(
        "evaluate", trained / "run", "--split", "val", "--views", "2x1", "--out", trained / "elsewhere"
    )
    assert found.returncode == 0, found.stderr
    assert (trained / "elsewhere" / "metrics" / "val.json").is_file()
    assert (trained / "elsewhere" / "report.html").is_file()
    assert (trained / "run" / "report.html").read_bytes() == before


def test_predicting_prints_json_that_programs_can_read(trained):
    files = sorted((trained / "data").glob("test-00[01].npy"))
    found = mudra("predict", trained / "run", *files, "--json")
    answers = [json.loads(line) for line in found.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    assert sum(ranked["probability"] for ranked in answers[0]["tasks"]["label"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("checkpoint", ["best", "last", "step-0", "step-2"])
def test_any_checkpoint_can_be_judged(trained, checkpoint):
    found = mudra(
        "evaluate", trained / "run", "--checkpoint", checkpoint, "--out", trained / f"at-{checkpoint}"
    )
    assert found.returncode == 0, found.stderr


def test_wrong_usage_exits_with_2(trained, tmp_path):
    refused("train", code=2)
    refused("train", "no-such-recipe", code=2)
    refused("train", trained / "tiny.yaml", "optim.lrr=1", "--data", trained / "data", code=2)
    refused("train", trained / "tiny.yaml", "--data", trained / "data", "--out", trained / "run", code=2)
    refused("evaluate", trained / "run", "--split", "tset", code=2)
    refused("evaluate", trained / "run", "--views", "ten", code=2)
    refused("train", trained / "tiny.yaml", "--data", "jestr:/data", code=2)
    refused("train", trained / "tiny.yaml", "--data", trained / "data", "--resume", code=2)


def test_bad_data_and_artefacts_exit_with_3(trained, tmp_path):
    refused("train", trained / "tiny.yaml", "--data", tmp_path / "nothing", "--out", tmp_path / "run", code=3)
    assert not (tmp_path / "run").exists()
    refused("predict", tmp_path, trained / "data" / "test-000.npy", code=3)
    refused("predict", trained / "run", tmp_path / "missing.mp4", code=3)
    (tmp_path / "broken.mp4").write_bytes(b"<html>not a video</html>")
    assert "broken.mp4" in refused("predict", trained / "run", tmp_path / "broken.mp4", code=3)
    refused("evaluate", trained / "run", "--checkpoint", "step-77", code=3)


def test_splitting_and_caching_make_data_sets_that_can_be_trained(trained, tmp_path):
    found = mudra(
        "data", "cache", trained / "data", tmp_path / "copy", "--size", 16, "--form", "npz", "--workers", 0
    )
    assert found.returncode == 0, found.stderr
    found = mudra("data", "split", tmp_path / "copy", "--folds", 2)
    assert found.returncode == 0, found.stderr
    changes = ["data.manifest=manifest-fold-01.csv", "train.epochs=1"]
    found = mudra(
        "train", trained / "tiny.yaml", *changes, "--data", tmp_path / "copy", "--out", tmp_path / "run"
    )
    assert found.returncode == 0, found.stderr
    refused("data", "split", tmp_path / "copy", "--shares", "70,70,15", code=2)
    refused("data", "split", tmp_path / "copy", "--by", "day", code=2)


def test_the_doctor_ends_with_3_where_something_must_be_mended(trained, tmp_path):
    assert mudra("data", "check", trained / "data", "--workers", 0).returncode == 0
    broken = write_bars(tmp_path / "data", {"train": 4, "test": 4})
    (broken / "test-000.npy").write_bytes((broken / "train-000.npy").read_bytes())
    found = mudra("data", "check", broken, "--workers", 0, "--json")
    assert found.returncode == 3
    assert json.loads(found.stdout)


def test_an_error_is_one_line_and_a_traceback_only_on_request(tmp_path):
    found = mudra("predict", tmp_path, "x.mp4")
    assert len(found.stderr.strip().splitlines()) == 1
    assert "Traceback" in mudra("predict", tmp_path, "x.mp4", "--traceback").stderr


def test_a_long_silence_is_broken_where_there_is_no_bar(monkeypatch, capsys):
    now = 0
    monkeypatch.setattr("mudra.progress.time.monotonic", lambda: now)
    with Screen(bar=False) as screen:
        for done in range(1, 1201, 10):
            now += 1
            screen.progress("finding points", done, 1200)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["finding points: 591 of 1,200", "finding points: 1,191 of 1,200"]
