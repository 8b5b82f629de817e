"""Challenge files from saved predictions: what is written, and what the checkers refuse."""

import csv
import json
import re
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from mudra.cli import app
from mudra.datasets.montalbano import numbering
from mudra.datasets.montalbano_sorting import CLASSES as GESTURES
from mudra.datasets.opening import read_location
from mudra.errors import DataError, UsageError
from mudra.predictions.scores import PredictionTable, TaskScores, hash_classes
from mudra.predictions.submissions import Montalbano, epic, montalbano, submission
from mudra.predictions.submissions.epic import (
    OFFICIAL,
    Epic,
    Names,
    Release,
    Supervision,
    check_json,
    check_zip,
)
from mudra.training.run_folder import RunFolder
from mudra.training.submitting import submission_of, supervision_of
from mudra.types import UNLABELLED
from tests.tiny import tiny_recipe, train_tiny, write_bars, write_two_tasks

CLIPS = ("P01_101_1", "P01_101_0", "P02_07_12")
CLASSES = {"verb": ("take", "put"), "noun": ("tap", "door", "pan")}
RELEASE = Release(
    classes={task: Names(len(names), hash_classes(names)) for task, names in CLASSES.items()},
    segments={"test": Names(3, hash_classes(sorted(CLIPS)))},
)


def predictions(seed=0, clips=CLIPS, classes=CLASSES):
    rng = np.random.default_rng(seed)
    tasks = {}
    for task, names in classes.items():
        logits = rng.normal(0, 4, (len(clips), len(names)))
        logs = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
        tasks[task] = TaskScores(names, np.full(len(clips), UNLABELLED), logs)
    return PredictionTable(clips, ("",) * len(clips), tasks)


def written(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["test.json"]
        return json.loads(archive.read("test.json"))


def document():
    """A small right file, as plain values."""
    answer = {"verb": {"0": -0.5, "1": -1}, "noun": {"0": -2.0, "1": -0.3, "2": -4e-7}}
    head = {"version": "0.2", "challenge": "action_recognition", "sls_pt": 0, "sls_tl": 3, "sls_td": 3}
    return {**head, "results": {clip: json.loads(json.dumps(answer)) for clip in CLIPS}}


def refused(text):
    with pytest.raises(DataError) as caught:
        check_json(text, CLIPS, RELEASE, "x.zip")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_segment_is_there_with_every_score_to_the_last_bit(tmp_path):
    table = predictions()
    path = Epic(Supervision(1, 3, 4), RELEASE).write(table, "test", tmp_path)
    assert path == tmp_path / "epic-test.zip"
    found = written(path)
    results = found.pop("results")
    assert found == {
        "version": "0.2", "challenge": "action_recognition", "sls_pt": 1, "sls_tl": 3, "sls_td": 4,
    }  # fmt: skip
    assert list(results) == list(CLIPS)
    for row, clip in enumerate(CLIPS):
        for task, scores in table.tasks.items():
            values = [results[clip][task][str(number)] for number in range(len(scores.classes))]
            assert np.array_equal(np.float32(values), scores.log_probabilities[row])
    check_zip(path, CLIPS, RELEASE, "x")


def test_equal_predictions_give_equal_bytes(tmp_path):
    one, two = (Epic(release=RELEASE).write(predictions(), "test", tmp_path / name) for name in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_a_right_file_passes():
    check_json(json.dumps(document()), CLIPS, RELEASE, "x")


def spoil(path, value):
    """The right file with one thing changed; None takes it away."""
    changed = document()
    here = changed
    for key in path[:-1]:
        here = here[key]
    if value is None:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return json.dumps(changed)


SCORES = ("results", "P01_101_0", "verb")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("version",), "0.1", "version is '0.1'; expected '0.2'"),
        (("challenge",), "action_anticipation", "challenge is"),
        (("sls_pt",), 6, "sls_pt is 6; expected a whole number from 0 to 5"),
        (("sls_tl",), True, "sls_tl is True"),
        (("sls_td",), "3", "sls_td is '3'"),
        (("sls_td",), None, "the keys differ from those expected in sls_td"),
        (("extra",), 1, "the keys differ from those expected in extra"),
        (("results",), [], "results is a list"),
        (("results", "P01_101_0"), None, "2 segments, and 'P01_101_0' is missing; expected each of 3 once"),
        (("results", "P09_1_1"), {}, "4 segments, and 'P09_1_1' is none of the split's"),
        (("results", "P01_101_0", "action"), {}, "results, P01_101_0: expected the keys verb and noun"),
        (SCORES, None, "results, P01_101_0: expected the keys verb and noun"),
        (SCORES, [0.1, 0.2], "verb: expected one score for each class, with the keys 0 to 1"),
        ((*SCORES, "1"), None, "verb: expected one score for each class"),
        ((*SCORES, "2"), 0.5, "verb: expected one score for each class"),  # noun's keys, but in verb
        ((*SCORES, "x"), 0.5, "verb: expected one score for each class"),
        ((*SCORES, "1"), float("nan"), "a number is NaN"),
        ((*SCORES, "1"), float("-inf"), "a number is -Infinity"),
        ((*SCORES, "1"), "-0.5", "the score of class 1 is -0.5; expected a finite number"),
        ((*SCORES, "1"), True, "the score of class 1 is True"),
        ((*SCORES, "1"), [None], "the score of class 1 is [None]"),
    ],
)  # fmt: skip
def test_the_checker_refuses_what_the_server_would(path, value, said):
    assert said in refused(spoil(path, value))


def test_the_checker_refuses_what_json_alone_would_let_pass():
    right = json.dumps(document())
    assert "the key '0' is there twice" in refused(right.replace('"1": -1', '"0": -1', 1))
    assert "the key 'P01_101_1' is there twice" in refused(right.replace("P01_101_0", "P01_101_1"))
    assert "the score of class 1 is inf" in refused(right.replace('"1": -1', '"1": 1e999', 1))
    assert "Expecting" in refused(right[:-9])
    assert "found a list" in refused("[]")
    assert "recursion" in refused("[" * 100_000)


def test_a_zip_must_hold_one_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("test.json", json.dumps(document()))
        archive.writestr("other.json", "{}")
    with pytest.raises(DataError, match=r"expected test\.json alone"):
        check_zip(tmp_path / "two.zip", CLIPS, RELEASE, "two.zip")
    (tmp_path / "none.zip").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="not a readable zip"):
        check_zip(tmp_path / "none.zip", CLIPS, RELEASE, "none.zip")


@pytest.mark.parametrize(
    ("clips", "split", "said"),
    [
        (CLIPS[:2], "test", "found 2 segments that are not the 3 of the test split"),
        ((*CLIPS[:2], "P02_07_13"), "test", "found 3 segments that are not the 3"),
        (CLIPS, "train", "found the split 'train'; the challenge has test"),
    ],
)
def test_predictions_of_other_segments_are_refused_and_nothing_is_written(tmp_path, clips, split, said):
    with pytest.raises(DataError, match=said):
        Epic(release=RELEASE).write(predictions(clips=clips), split, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ({"verb": CLASSES["verb"]}, "no task 'noun'"),
        ({**CLASSES, "verb": ("put", "take")}, "found 2 classes of verb; expected the 2 of"),  # another order
        ({**CLASSES, "noun": ("tap", "door")}, "found 2 classes of noun; expected the 3"),
    ],
)
def test_classes_that_the_server_numbers_otherwise_are_refused(tmp_path, classes, said):
    with pytest.raises(DataError, match=said):
        Epic(release=RELEASE).write(predictions(classes=classes), "test", tmp_path)


@pytest.mark.parametrize("text", ["2,3", "2,3,6", "2,3,3,3", "2,3,-1", "a,b,c", "", "2, 3, 3"])
def test_levels_of_supervision_are_three_numbers_from_0_to_5(text):
    assert Supervision.parse("2,3,4") == Supervision(2, 3, 4)
    with pytest.raises(UsageError, match="--sls"):
        Supervision.parse(text)


def test_a_training_from_scratch_is_told_from_one_that_began_with_weights():
    assert supervision_of(tiny_recipe()) == Supervision(0, 3, 3)
    assert supervision_of(tiny_recipe(train={"init_from": "some/run"})) == Supervision(2, 3, 3)
    assert supervision_of(tiny_recipe(stages=[{"train": {"init_from": "run"}}])) == Supervision(2, 3, 3)


def test_unknown_formats_and_stray_options_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'epic'"):
        submission("epik")
    with pytest.raises(UsageError, match="it belongs to --submission epic"):
        submission_of(RunFolder(tmp_path), None, "2,3,3")


def test_a_run_is_evaluated_and_submitted_by_one_command(tmp_path, monkeypatch):
    data = write_two_tasks(tmp_path / "data")
    run = train_tiny(tiny_recipe(train={"epochs": 1}), data, tmp_path / "run")
    with pytest.raises(DataError, match="expected the 97 of EPIC-KITCHENS-100"):  # before a clip is looked at
        submission_of(run, "epic", None)
    classes = {"verb": ("to the left", "to the right"), "noun": ("bar", "rod")}
    ids = [f"test-{number:03d}" for number in range(4)]
    release = Release(
        {task: Names(2, hash_classes(names)) for task, names in classes.items()},
        {"test": Names(4, hash_classes(ids))},
    )
    monkeypatch.setattr(epic, "OFFICIAL", release)
    words = ["evaluate", str(run.path), "--data", str(data), "--submission", "epic", "--sls", "1,3,3"]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    found = written(run.path / "submissions/epic-test.zip")
    assert (sorted(found["results"]), found["sls_pt"]) == (ids, 1)
    assert "action" in answer.output


def test_the_official_class_names_and_segments_have_the_hashes_that_are_checked(shared_data):
    lists = shared_data("annotations/epic_kitchens_100")
    for name, key, official in (
        ("verb_classes", "key", OFFICIAL.classes["verb"]),
        ("noun_classes", "key", OFFICIAL.classes["noun"]),
        ("validation", "narration_id", OFFICIAL.segments["val"]),
        ("test_timestamps", "narration_id", OFFICIAL.segments["test"]),
    ):
        with open(lists / f"EPIC_100_{name}.csv", newline="") as file:
            names = [row[key] for row in csv.DictReader(file)]
        assert official.are(names if key == "key" else sorted(names)), name
    assert tuple(OFFICIAL.classes) == epic.TASKS


# --- Montalbano -----------------------------------------------------------------------------------


def gestures(ids=("test-3", "test-20", "test-7"), seed=0, classes=GESTURES):
    return predictions(seed, ids, {"label": classes})


def answering(first=0, ids=("test-3", "test-20", "test-7")):
    return Montalbano(first, frozenset(ids))


def test_the_gestures_are_known_by_their_hash():
    assert montalbano.CLASSES.are(GESTURES)


@pytest.mark.parametrize("first", [0, 1])
def test_montalbano_has_a_line_for_each_test_clip_in_rising_order(tmp_path, first):
    table = gestures()
    path = answering(first).write(table, "test", tmp_path)
    best = table.tasks["label"].log_probabilities.argmax(axis=1) + first
    assert path.read_text() == f"Id,y\n3,{best[0]}\n7,{best[2]}\n20,{best[1]}\n"
    other = answering(first).write(table.take([2, 0, 1]), "test", tmp_path / "b")
    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("table", "split", "said"),
    [
        (gestures(), "val", "found the split 'val'"),
        (gestures(("test-3", "test-20")), "test", "2 clips, and 7 is missing; expected each of the 3"),
        (gestures(("test-3", "test-20", "test-8")), "test", "3 clips, and 8 is none of them"),
        (gestures(("test-3", "test-20", "validation-7")), "test", "clip 'validation-7' is no test clip"),
        (gestures(("test-3", "test-20", "test-07", "test-7")), "test", "answers id 7 twice"),
        (gestures(classes=GESTURES[::-1]), "test", "found 20 classes of label; expected the 20 gestures"),
        (predictions(), "test", "no task 'label'"),
    ],
)
def test_answers_of_other_clips_or_classes_are_refused_and_nothing_is_written(tmp_path, table, split, said):
    with pytest.raises(DataError, match=said):
        answering().write(table, split, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Id,y\n3,0\n7,19\n20,1", "begins with 'Id,y'"),  # the last line does not end
        ("id,y\n3,0\n7,19\n20,1\n", "begins with 'id,y'; expected Id,y"),
        ("Id,y\n3,0\n7,20\n20,1\n", "line 3: found '7,20'; expected an id and a class from 0 to 19"),
        ("Id,y\n3,0\n7,-1\n20,1\n", "line 3: found '7,-1'"),
        ("Id,y\n3,0\n20,1\n7,1\n", "line 4: id 7 after 20; expected each once, rising"),
        ("Id,y\n3,0\n7,1\n7,1\n20,1\n", "line 4: id 7 after 7"),
        ("Id,y\n3,0\n7,1\n", "2 clips, and 20 is missing"),
        ("Id,y\n3,0\n7,1\n20,1\n21,1\n", "4 clips, and 21 is none of them"),
        ("Id,y\n3,0\n7,1,\n20,1\n", "line 3: found '7,1,'"),
        ("Id,y\r\n3,0\r\n7,1\r\n20,1\r\n", "begins with"),
    ],
)
def test_the_checker_of_montalbano_refuses_what_is_not_an_answer_for_each(text, said):
    answering().check("Id,y\n3,0\n7,19\n20,1\n", "x")
    with pytest.raises(DataError, match=re.escape(said)):
        answering().check(text, "x")


def test_montalbano_needs_to_know_its_clips(tmp_path):
    data = write_bars(tmp_path / "data", {"train": 2, "test": 2})
    with pytest.raises(DataError, match="expected a folder that `mudra data import-tfrecord` made"):
        numbering(read_location(str(data)))
    with pytest.raises(UsageError, match="only --submission epic takes levels"):
        submission_of(RunFolder(tmp_path), "montalbano", "2,3,3")
