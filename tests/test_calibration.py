"""Calibration: planted overconfidence is found, the answer stays, and what is not calibrated keeps its bits."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import mudra as library
from mudra import bundle as bundles
from mudra.calibration import Calibration, tempered
from mudra.clips.preprocessing import Views
from mudra.errors import DataError, ModelError
from mudra.predictions import PredictionTable, TaskScores, read, read_metrics, summarise, write
from mudra.predictions.calibrating import acceptance, at_temperature, fit_temperature, fit_threshold, table_at
from mudra.progress import Say
from mudra.training.calibrating import calibrate
from mudra.training.judging import evaluate
from mudra.training.run_folder import RunFolder
from mudra.types import UNLABELLED
from tests.command import mudra
from tests.tiny import tiny_recipe, train_tiny, write_bars

CLASSES = ("a", "b", "c", "d")


def unheard(_line: str) -> None:
    pass


def planted(sharpness: float, count: int = 4000, seed: int = 0) -> TaskScores:
    """Scores whose truth is drawn from their own probabilities, then made `sharpness` times as sure."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(count, 4))
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (rng.random((count, 1)) > share.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    sharp = sharpness * logits
    logs = sharp - np.logaddexp.reduce(sharp, axis=1, keepdims=True)
    return TaskScores(CLASSES, truth.astype(np.int64), logs.astype(np.float32))


def judged(run: RunFolder, split: str, *, say: Say = unheard, **options: Any) -> PredictionTable:
    return evaluate(run, run.read_environment()["data"], split, say=say, **options)


def table_of(scores: TaskScores) -> PredictionTable:
    names = tuple(f"c{number}" for number in range(len(scores.truth)))
    return PredictionTable(names, ("",) * len(names), {"label": scores})


def ece(scores: TaskScores) -> float:
    return float(summarise(table_of(scores), "val", resamples=0)["tasks"]["label"]["ece"])


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_planted_overconfidence_is_recovered_and_the_calibration_error_falls(sharpness: float) -> None:
    found = fit_temperature(planted(sharpness), "val")
    assert found == pytest.approx(sharpness, rel=0.06)
    test = planted(sharpness, seed=1)
    calm = at_temperature(test, found)
    assert ece(calm) < 0.03
    if sharpness != 1:
        assert ece(calm) < ece(test) / 3


@settings(deadline=None, max_examples=200)
@given(
    arrays.arrays(np.float32, (3, 5), elements=st.floats(-80, 80, width=32)),
    st.floats(0.02, 50),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_the_answer_is_the_same_at_every_temperature(
    logits: np.ndarray, temperature: float, one: int, two: int
) -> None:
    logs = (logits - np.logaddexp.reduce(logits.astype(float), axis=1, keepdims=True)).astype(np.float32)
    logs[0, max(one, two)] = np.nextafter(logs[0, min(one, two)], np.float32(0))  # a hair apart
    found = tempered(logs, temperature)
    np.testing.assert_array_equal(found.argmax(axis=1), logs.argmax(axis=1))
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.exp(found.astype(float)).sum(axis=1), 1, atol=1e-5)


def test_a_temperature_of_one_changes_no_bit_and_two_steps_are_one() -> None:
    scores = planted(1.0, 50)
    assert tempered(scores.log_probabilities, 1.0) is scores.log_probabilities
    there = at_temperature(at_temperature(scores, 2.0), 3.0)
    np.testing.assert_allclose(
        there.log_probabilities, at_temperature(scores, 3.0).log_probabilities, atol=1e-5
    )
    assert there.temperature == 3.0


def test_clips_that_are_all_right_tell_no_temperature() -> None:
    scores = planted(1.0, 50)
    assert fit_temperature(replace(scores, truth=scores.log_probabilities.argmax(axis=1)), "val") is None
    with pytest.raises(DataError, match="no validation clip is labelled"):
        fit_temperature(replace(scores, truth=np.full(50, UNLABELLED)), "val")


# Thresholds


def test_a_threshold_accepts_the_share_that_was_asked_for() -> None:
    scores = planted(1.0, 200)
    for share in (0.5, 0.9, 0.955, 1.0):
        found = acceptance(scores, fit_threshold(scores, "share", share, "val"))
        assert found is not None
        assert share <= found[0] <= share + 0.01
    assert fit_threshold(scores, "share", 1.0, "val") == 0


def test_a_threshold_reaches_the_accuracy_that_was_asked_for_with_the_most_clips() -> None:
    scores = planted(1.0, 500)
    threshold = fit_threshold(scores, "accuracy", 0.9, "val")
    found = acceptance(scores, threshold)
    assert found is not None
    assert found[1] >= 0.9
    for lower in np.linspace(0, threshold, 50)[:-1]:
        more = acceptance(scores, lower)
        assert more is not None
        assert more[0] == found[0] or more[1] < 0.9


def test_an_accuracy_out_of_reach_is_refused_with_the_most_there_is() -> None:
    scores = planted(1.0, 50)
    wrong = (scores.log_probabilities.argmax(axis=1) + 1) % 4
    with pytest.raises(
        DataError, match=r"no threshold makes 90\.0% of the accepted answers right; 0\.0% is the most"
    ):
        fit_threshold(replace(scores, truth=wrong), "accuracy", 0.9, "val")


# Runs


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("calibration")
    data = write_bars(made / "bars", {"train": 12, "val": 8, "test": 6})
    run = train_tiny(tiny_recipe(train={"epochs": 1}), data, made / "run")
    sharpen(run, 4.0)
    return made


def sharpen(run: RunFolder, weight: float) -> None:
    """Make the model surer than it may be, and have it wrong at times: its classifier's weights grow."""
    bundle = bundles.read_bundle(run.bundle)
    weights = dict(bundles.read_weights(run.bundle / "model.safetensors"))
    for name in weights:
        if name.startswith("heads."):
            weights[name] = weights[name] * weight
    bundles.write_bundle(run.bundle, bundle, weights, "card")
    for split in ("val", "test"):
        judged(run, split)
    for split in ("val", "test"):  # labels that are wrong for some, so that a temperature can be told
        table = read(run.predictions(split))
        answer = table.tasks["label"].log_probabilities.argmax(axis=1)
        answer[::4] = 1 - answer[::4]
        write(
            replace(table, tasks={"label": replace(table.tasks["label"], truth=answer)}),
            run.predictions(split),
        )


@pytest.fixture
def run(home: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(home / "run", tmp_path / "run")
    return RunFolder(tmp_path / "run")


def clip_of(home: Path, number: int = 0) -> Path:
    return home / "bars" / f"test-{number:03d}.npy"


def test_calibrating_changes_the_config_alone_and_every_way_to_ask_uses_it(
    home: Path, run: RunFolder
) -> None:
    before = {file.name: file.read_bytes() for file in run.bundle.iterdir()}
    raw = read(run.predictions("test"))
    answer = library.load(run.path).predict(clip_of(home))
    bundle = calibrate(run, say=unheard)
    temperature = bundle.calibration["label"].temperature
    assert temperature != 1
    after = {file.name: file.read_bytes() for file in run.bundle.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"config.json"}
    tree = json.loads(after["config.json"])
    assert tree.pop("calibration") == {"label": {"temperature": temperature, "threshold": None}}
    assert tree == json.loads(before["config.json"])
    # predict
    calm = library.load(run.path).predict(clip_of(home))
    log_C = np.log(np.float32([each.probability for each in answer.tasks["label"]]))
    assert [each.probability for each in calm.tasks["label"]] == pytest.approx(
        np.exp(tempered(log_C, temperature)), rel=1e-4
    )
    assert calm.label == answer.label
    assert not calm.rejected
    # the saved predictions
    saved = read(run.predictions("test")).tasks["label"]
    assert saved.temperature == temperature
    np.testing.assert_array_equal(
        saved.log_probabilities, tempered(raw.tasks["label"].log_probabilities, temperature)
    )
    assert read_metrics(run.metrics("test"))["tasks"]["label"]["loss"] == pytest.approx(
        summarise(table_at(raw, {"label": temperature}), "test", resamples=0)["tasks"]["label"]["loss"]
    )


def test_evaluating_a_calibrated_run_gives_what_calibrating_wrote(home: Path, run: RunFolder) -> None:
    calibrate(run, say=unheard)
    written = read(run.predictions("test")).tasks["label"]
    heard: list[str] = []
    again = judged(run, "test", say=heard.append).tasks["label"]
    before, after = ece(at_temperature(again, 1.0)), ece(again)
    assert any(
        line.startswith(f"test label: calibration error {before:.1%} to {after:.1%}") for line in heard
    )
    assert again.temperature == written.temperature
    np.testing.assert_array_equal(again.log_probabilities, written.log_probabilities)
    told: list[str] = []
    bare = judged(run, "test", checkpoint="last", say=told.append)
    assert bare.tasks["label"].temperature == 1
    assert any("judged without" in line for line in told)
    looked = judged(run, "test", views=Views(2, 1))
    assert looked.tasks["label"].temperature == written.temperature


def test_calibrating_again_starts_from_the_models_own_scores(run: RunFolder) -> None:
    first = calibrate(run, say=unheard).calibration["label"]
    second = calibrate(run, ("share", 0.5), say=unheard).calibration["label"]
    assert second.temperature == pytest.approx(first.temperature, rel=1e-3)
    assert first.threshold is None
    assert second.threshold is not None


def test_an_interrupted_calibration_is_mended_by_another(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RunFolder(run.path.parent / "whole")
    shutil.copytree(run.path, whole.path)
    calibrate(whole, say=unheard)
    with monkeypatch.context() as patch:
        patch.setattr("mudra.training.calibrating._rewrite", interrupted)
        with pytest.raises(KeyboardInterrupt):
            calibrate(run, say=unheard)
    calibrate(run, say=unheard)
    for split in ("val", "test"):
        assert run.predictions(split).read_bytes() == whole.predictions(split).read_bytes()
    assert (run.bundle / "config.json").read_bytes() == (whole.bundle / "config.json").read_bytes()


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_resuming_a_calibrated_run_leaves_it_calibrated(home: Path, run: RunFolder) -> None:
    calibrate(run, say=unheard)
    config = (run.bundle / "config.json").read_bytes()
    train_tiny(run.read_recipe(), home / "bars", run.path, resume=True)
    assert (run.bundle / "config.json").read_bytes() == config


def test_a_training_that_starts_from_a_calibrated_run_is_not_calibrated(home: Path, run: RunFolder) -> None:
    calibrate(run, say=unheard)
    recipe = tiny_recipe(train={"epochs": 1})
    follower = train_tiny(recipe, home / "bars", run.path.parent / "next", init_from=run.path)
    assert not bundles.read_bundle(follower.bundle).calibration


def test_a_clip_below_the_threshold_is_none_of_these(home: Path, run: RunFolder) -> None:
    calibrate(run, say=unheard)
    bundle = bundles.read_bundle(run.bundle)
    own = bundle.calibration["label"].temperature
    for threshold, rejected in ((0.0, set()), (1.0, {"label"})):
        calibration = {"label": Calibration(temperature=own, threshold=threshold)}
        bundles.write_config(run.bundle, replace(bundle, calibration=calibration))
        answer = library.load(run.path).predict(clip_of(home))
        assert answer.rejected == rejected
        found = mudra("predict", run.path, clip_of(home), "--json")
        told = json.loads(found.stdout)
        assert told.get("rejected") == (["label"] if rejected else None)
        shown = mudra("predict", run.path, clip_of(home)).stdout
        assert ("none of these" in shown) is bool(rejected)


def test_answers_without_calibration_keep_their_bits_and_their_form(home: Path, run: RunFolder) -> None:
    assert "calibration" not in json.loads((run.bundle / "config.json").read_text())
    raw = read(run.predictions("test"))
    row = raw.clips.index("test-000")
    answer = library.load(run.path).predict(clip_of(home))
    expected = np.sort(np.exp(raw.tasks["label"].log_probabilities[row]))[::-1]
    assert [each.probability for each in answer.tasks["label"]] == [float(each) for each in expected]
    told = json.loads(mudra("predict", run.path, clip_of(home), "--json").stdout)
    assert list(told) == ["file", "tasks"]
    import pyarrow.parquet as pq

    assert b"temperature" not in pq.read_schema(run.predictions("test")).metadata


# Refusals


def test_what_cannot_be_calibrated_is_refused_in_one_line(home: Path, run: RunFolder) -> None:
    config = (run.bundle / "config.json").read_bytes()
    for words, code in (
        (("--accept", "0.9", "--accuracy", "0.9"), 2),
        (("--accept", "1.5"), 2),
        (("--accuracy", "0"), 2),
    ):
        found = mudra("calibrate", run.path, *words)
        assert found.returncode == code, found.stderr
        assert len(found.stderr.splitlines()) == 1
    table = read(run.predictions("val"))
    write(read(run.predictions("train")), run.predictions("val"))
    with pytest.raises(DataError, match="12 of its clips were trained on, such as 'train-000'"):
        calibrate(run, say=unheard)
    other = replace(table.tasks["label"], classes=("left", "right"))
    write(replace(table, tasks={"label": other}), run.predictions("val"))
    with pytest.raises(DataError, match="classes are not the bundle's"):
        calibrate(run, say=unheard)
    run.predictions("val").unlink()
    with pytest.raises(DataError, match="test is never fitted on"):
        calibrate(run, say=unheard)
    assert (run.bundle / "config.json").read_bytes() == config
    (run.path.parent / "folded" / "fold-01").mkdir(parents=True)
    with pytest.raises(ModelError, match="a bundle in each fold"):
        calibrate(RunFolder(run.path.parent / "folded"), say=unheard)


@pytest.mark.parametrize(
    "values",
    [
        {"label": {"temperature": 0}},
        {"label": {"temperature": -1.0}},
        {"label": {"threshold": 2}},
        {"label": {"temprature": 2}},
        {"verb": {"temperature": 2}},
        ["label"],
        {"label": 3},
    ],
)
def test_a_garbled_calibration_is_refused(run: RunFolder, values: object) -> None:
    place = run.bundle / "config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "calibration": values}))
    with pytest.raises(ModelError):
        library.load(run.path)


def test_the_command_tells_the_error_before_and_after(run: RunFolder) -> None:
    found = mudra("calibrate", run.path, "--accept", "0.5")
    assert found.returncode == 0, found.stderr
    assert "label: temperature" in found.stderr
    assert "test label: calibration error" in found.stderr
    assert "of the clips are accepted" in found.stderr
    assert "temperature" in (run.path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"checkpoint": "last"}, "made with --checkpoint last"),
        ({"views": Views(2, 1)}, "made with --views 2x1"),
    ],
)
def test_answers_of_other_weights_or_of_several_looks_tell_no_temperature(
    run: RunFolder, options: dict[str, Any], told: str
) -> None:
    before = (run.bundle / "config.json").read_bytes()
    judged(run, "val", **options)
    with pytest.raises(DataError, match=told) as caught:
        calibrate(run, say=unheard)
    assert "\n" not in str(caught.value)
    assert (run.bundle / "config.json").read_bytes() == before
    judged(run, "val")
    calibrate(run, say=unheard)


def test_a_split_that_other_weights_answered_is_left_as_it_is(run: RunFolder) -> None:
    judged(run, "test", checkpoint="last")
    before = [place.read_bytes() for place in (run.predictions("test"), run.metrics("test"))]
    calibrate(run, say=unheard)
    assert [place.read_bytes() for place in (run.predictions("test"), run.metrics("test"))] == before


def test_a_temperature_is_not_fitted_on_test_clips(run: RunFolder) -> None:
    write(read(run.predictions("test")), run.predictions("val"))
    with pytest.raises(DataError, match="6 of its clips are test clips too, such as 'test-000'"):
        calibrate(run, say=unheard)
