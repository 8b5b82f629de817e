"""S4's TFRecords as a data set: what becomes of each number, which records are clips, and what stops or goes on."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mudra import recipe as recipes
from mudra.clips.preprocessing import open_stream
from mudra.datasets import montalbano_import
from mudra.datasets.montalbano import Montalbano
from mudra.datasets.montalbano_clips import Scale
from mudra.datasets.montalbano_import import import_tfrecords
from mudra.datasets.montalbano_sorting import CLASSES, Entry, sort_out
from mudra.datasets.opening import open_data, read_location
from mudra.errors import DataError, StoppedError
from tests.command import mudra
from tests.tfrecords import clip, fast, montalbano, packed, release, sequence, write_records
from tests.tiny import tiny_recipe, train_tiny


def imported(root: Path, out: Path | None = None, said: list[str] | None = None, **options):
    """Import in this process, into a folder beside."""
    say = (lambda _line: None) if said is None else said.append
    return import_tfrecords(root, out or root.with_name("out"), say=say, workers=0, **options)


def small(root: Path, packing: str = "zlib") -> Path:
    """Four clips to train, two to validate and to test."""
    return release(
        root,
        packing,
        training_00=[montalbano(1, 1, 0), montalbano(2, 2, 19, frames=3, padded=13)],
        training_01=[montalbano(3, 3, 0), montalbano(4, 4, 19)],
        validation_00=[montalbano(5, 5, 0), montalbano(6, 6, 19)],
        test_00=[montalbano(8, 11, None), montalbano(7, 10, None)],
    )


def refused(root: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        imported(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def counts(manifest) -> list[int]:
    return [len(manifest.split(split)) for split in ("train", "val", "test")]


def left_out(out: Path) -> list[dict[str, str]]:
    with (out / "left-out.csv").open() as file:
        return list(csv.DictReader(file))


# --- the numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["plain", "zlib", "gzip"])
def test_every_number_is_kept_and_padding_goes(tmp_path: Path, packing: str) -> None:
    manifest = imported(small(tmp_path / "in", packing))
    assert manifest.ids.to_pylist() == [
        "training-1", "training-2", "training-3", "training-4", "validation-5", "validation-6", "test-10", "test-11",
    ]  # fmt: skip
    assert counts(manifest) == [4, 2, 2]
    assert manifest[1].labels == {"label": "sonostufo"}
    assert manifest[6].labels == {}
    numbers = clip(2, frames=3, padded=13)
    found = {
        name: open_stream(manifest[1], name, info).read(lambda times: np.arange(len(times)))
        for name, info in manifest.streams.items()
    }
    assert found["video"].times.tolist() == [0, 0.05, 0.1]
    assert np.array_equal(found["video"].values, np.rint(numbers["rgb"][:3] * 255))
    assert np.array_equal(found["depth"].values, np.rint(numbers["depth"][:3] * 65535))
    assert np.array_equal(found["mask"].values, numbers["segmentation"][:3] * 255)
    joints = numbers["skeleton"][:3].reshape(3, 20, 9).astype(np.float32)
    assert np.array_equal(found["points"].values, joints[:, :, :3])
    assert np.array_equal(found["points:pixels"].values, joints[:, :, 7:])
    assert np.array_equal(found["series:orientations"].values, joints[:, :, 3:7].reshape(3, 80))
    kinds = {name: stream.values.dtype for name, stream in found.items()}
    assert kinds["video"] == kinds["mask"] == np.uint8
    assert kinds["depth"] == np.uint16


def test_a_joint_of_nothing_but_zeros_was_not_seen(tmp_path: Path) -> None:
    skeleton = np.ones((5, 20, 9))
    skeleton[2, 4] = 0
    skeleton[3, 4, :3] = 0  # at the camera's own place, or at the body's middle: seen
    root = release(tmp_path / "in", training_00=[montalbano(1, 1, 0, skeleton=skeleton)])
    manifest = imported(root)
    points = open_stream(manifest[0], "points", manifest.streams["points"])
    unseen = np.isnan(points.read(lambda times: np.arange(len(times))).values)
    assert np.argwhere(unseen.all(axis=2)).tolist() == [[2, 4]]
    assert unseen.sum() == 3


def test_one_value_a_frame_is_read_as_well(tmp_path: Path) -> None:
    numbers = clip(1)
    lists = {name: list(values) for name, values in numbers.items()}
    data = sequence({"length": 5, "id": 3, "label": 2}, lists)
    write_records(tmp_path / "in" / "training-00-of-20", [data], crc=fast)
    manifest = imported(tmp_path / "in")
    video = open_stream(manifest[0], "video", manifest.streams["video"]).read(lambda times: np.arange(5))
    assert np.array_equal(video.values, np.rint(numbers["rgb"] * 255))


@pytest.mark.parametrize(
    ("factor", "shift", "name", "expected"),
    [
        (1, 0, "depth", (0, 1)),
        (2, -1, "depth", (-1, 1)),
        (255, 0, "depth", (0, 255)),
        (8000, 0, "depth", (0, 65535)),
        (255, 0, "rgb", (0, 255)),
        (2, -1, "rgb", (-1, 1)),
    ],
)
def test_usual_ranges_are_known_by_their_numbers(
    tmp_path: Path, factor: float, shift: float, name: str, expected: tuple[float, float]
) -> None:
    values = clip(1)[name]
    root = release(tmp_path / "in", training_00=[montalbano(1, 1, 0, **{name: values * factor + shift})])
    manifest = imported(root)
    assert json.loads((tmp_path / "out/import.json").read_text())[name] == list(expected)
    stream = {"rgb": "video"}.get(name, name)
    found = open_stream(manifest[0], stream, manifest.streams[stream]).read(
        lambda times: np.arange(len(times))
    )
    most = 255 if name == "rgb" else 65535
    wanted = (values * factor + shift - expected[0]) / (expected[1] - expected[0]) * most
    assert np.abs(found.values - wanted).max() <= 0.51


def test_an_unusual_range_is_that_of_all_clips_and_is_told(tmp_path: Path) -> None:
    numbers = [clip(seed)["rgb"] * scale for seed, scale in ((1, 3.0), (2, 5.0))]
    root = release(
        tmp_path / "in", training_00=[montalbano(n, n, 0, rgb=rgb) for n, rgb in enumerate(numbers)]
    )
    said: list[str] = []
    manifest = imported(root, said=said)  # the first clip's lie in 0..255, where they are nearly black
    assert json.loads((tmp_path / "out/import.json").read_text())["rgb"] == [0, 255]
    shifted = [rgb - 2 for rgb in numbers]
    root = release(
        tmp_path / "in2", training_00=[montalbano(n, n, 0, rgb=rgb) for n, rgb in enumerate(shifted)]
    )
    manifest = imported(root, tmp_path / "out2", said)
    low, high = (
        float(np.float32(end(rgb.min() if end is min else rgb.max() for rgb in shifted)))
        for end in (min, max)
    )
    assert json.loads((tmp_path / "out2/import.json").read_text())["rgb"] == pytest.approx([low, high])
    assert any("rgb: numbers run from -2 to" in line and "none of the usual ranges" in line for line in said)
    video = open_stream(manifest[1], "video", manifest.streams["video"]).read(
        lambda times: np.arange(len(times))
    )
    assert np.abs(video.values - (shifted[1] - low) / (high - low) * 255).max() <= 0.51


def test_a_clip_outside_the_range_is_refused(tmp_path: Path) -> None:
    louder = np.minimum(clip(2)["rgb"] * 2, 1.95)
    assert louder.max() > 1.9
    root = release(tmp_path / "in", training_00=[montalbano(1, 1, 0), montalbano(2, 2, 1, rgb=louder)])
    message = refused(root)
    assert "training-00-of-20, record 1: rgb runs from 0 to 1.9" in message
    assert "; expected 0 to 1. Mend the record" in message
    assert "--rgb=LOW,HIGH" in message
    assert counts(imported(root, tmp_path / "other", ranges={"rgb": (0.0, 2.0)})) == [2, 0, 0]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 255), st.sampled_from([(0, 1), (-1, 1), (0, 255)]))
def test_a_grey_level_comes_back_whatever_its_range(level: int, ends: tuple[float, float]) -> None:
    value = np.full((1, 2, 2), ends[0] + level / 255 * (ends[1] - ends[0]), np.float32)
    scale = Scale(*ends)
    assert (scale.whole(value, 255, "here", "rgb") == level).all()
    assert (scale.whole(value, 65535, "here", "depth") == level * 257).all()


# --- what is wrong with a record --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"rgb": None}, "lacks the feature 'rgb'"),
        ({"length": None}, "lacks the feature 'length'"),
        ({"id": None}, "lacks the feature 'id'"),
        ({"label": None}, "lacks the feature 'label'"),
        ({"length": 0}, "length is 0; expected a number of frames"),
        ({"length": -3}, "length is -3"),
        ({"length": 6}, "rgb has 96,000 numbers; expected 19,200 for each of 6 frames (80 x 80 x 3)"),
        ({"depth": np.zeros(7)}, "depth has 7 numbers; expected 6,400 for each of 5 frames"),
        ({"skeleton": b"123"}, "skeleton has 3 bytes in a value; expected float32"),
        ({"skeleton": np.full((5, 180), np.nan)}, "skeleton holds numbers that are not finite"),
        ({"rgb": np.full((5, 80, 80, 3), np.inf)}, "rgb holds numbers that are not finite"),
        ({"label": 0.5}, "label is 1 value of float32; expected one int64"),
        ({"label": 21}, "label 21 is none of the 20 classes; expected 0 to 19"),
        ({"label": -1}, "label -1 is none of the 20 classes"),
    ],
)  # fmt: skip
def test_a_record_that_is_not_as_s4_has_it_is_told(tmp_path: Path, other: dict, said: str) -> None:
    second = montalbano(2, **{"id": 2, "label": 1, **other})
    root = release(tmp_path / "in", training_03=[montalbano(1, 1, 0), second])
    message = refused(root)
    assert "training-03-of-20, record 1" in message
    assert said in message
    assert not (tmp_path / "out/manifest.csv").exists()


def test_damaged_files_are_told_and_the_others_are_kept(tmp_path: Path) -> None:
    root = small(tmp_path / "in")
    whole = (root / "training-01-of-20").read_bytes()
    (root / "training-01-of-20").write_bytes(whole[: len(whole) // 2])
    message = refused(root)
    assert "1 of 4 files cannot be imported, the first of them" in message
    assert "training-01-of-20: is cut" in message
    assert mudra("data", "check", tmp_path / "out").returncode == 3  # an ordinary folder it is not
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/clips/training-00-of-20").iterdir()}
    (root / "training-01-of-20").write_bytes(whole)
    said: list[str] = []
    assert counts(imported(root, said=said)) == [4, 2, 2]
    assert any("3 of 4 files are done already" in line for line in said)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_a_stopped_import_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small(tmp_path / "in")
    imported(root, tmp_path / "whole")
    calls = iter([None] * 3)

    def interrupt() -> None:
        if next(calls, "end") == "end":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(montalbano_import, "still_working", interrupt)
        with pytest.raises(StoppedError, match="run the same command again"):
            imported(root)
    with pytest.raises(DataError, match="is not complete; run `mudra data import-tfrecord"):
        read_location(f"montalbano:{tmp_path / 'out'}")
    imported(root)
    files = {
        path.relative_to(tmp_path / "whole"): path.read_bytes()
        for path in (tmp_path / "whole").rglob("*")
        if path.is_file()
    }
    assert files == {path: (tmp_path / "out" / path).read_bytes() for path in files}


def test_files_that_change_are_imported_anew(tmp_path: Path) -> None:
    root = small(tmp_path / "in")
    imported(root)
    release(root, training_01=[montalbano(30, 30, 2)])
    assert imported(root).ids.to_pylist()[2] == "training-30"
    (tmp_path / "out/clips/training-00-of-20/00000.npz").unlink()
    release(root, training_02=[montalbano(31, 31, 2)])
    manifest = imported(root)
    assert counts(manifest) == [4, 2, 2]
    assert all(path.is_file() for each in manifest for path in each.streams.values())


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    root = small(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    assert "is there already and holds no import" in refused(root)
    assert "lies inside" in refused(root, out=root / "out")
    assert os.listdir(tmp_path / "out") == ["mine.txt"]
    (tmp_path / "run").mkdir()
    for name in (".lock", "recipe.yaml"):  # a run has a lock as well
        (tmp_path / "run" / name).touch()
    assert "is there already and holds no import" in refused(root, out=tmp_path / "run")
    (tmp_path / "empty").mkdir()
    assert "no TFRecords in it; expected training-00-of-20" in refused(tmp_path / "empty", out=tmp_path / "x")
    assert "begun with another range of rgb" in refused(
        root, out=imported(root, tmp_path / "a").root, ranges={"rgb": (0.0, 5.0)}
    )


# --- which records are clips ------------------------------------------------------------------------


def test_validation_clips_in_training_files_are_left_out_of_train(tmp_path: Path) -> None:
    noisy = clip(5)
    noisy["rgb"] = np.clip(noisy["rgb"] + np.random.default_rng(0).normal(0, 0.01, noisy["rgb"].shape), 0, 1)
    root = release(
        tmp_path / "in",
        training_00=[montalbano(1, 1, 0), montalbano(5, 5, 3), montalbano(6, 77, 19)],
        training_01=[montalbano(2, 2, 19), montalbano(5, 5, 3, rgb=noisy["rgb"])],
        validation_00=[montalbano(5, 5, 3, padded=11), montalbano(6, 6, 19)],
    )
    manifest = imported(root)
    assert manifest.ids.to_pylist() == ["training-1", "training-2", "validation-5", "validation-6"]
    assert (
        "montalbano: the training files hold 3 validation clips (2 by content, 1 by id and looks), which are left out "
        "of training: training-00-of-20 (2), training-01-of-20 (1)." in manifest.notes
    )
    rows = left_out(tmp_path / "out")
    assert [(row["file"], row["record"], row["id"]) for row in rows] == [
        ("training-00-of-20", "1", "5"), ("training-00-of-20", "2", "77"), ("training-01-of-20", "1", "5"),
    ]  # fmt: skip
    assert (
        rows[1]["why"]
        == "has the content of the validation clip validation-6 (validation-00-of-20, record 1)"
    )
    assert rows[2]["why"].startswith("has the id of, and looks like, the validation clip validation-5")
    assert not (tmp_path / "out/clips/training-00-of-20/00001.npz").exists()
    again = imported(root)  # as it stands
    assert again.notes == manifest.notes
    release(root, test_00=[montalbano(2, 9, None)])
    assert imported(root).ids.to_pylist() == ["training-1", "validation-5", "validation-6", "test-9"]


def test_ids_that_are_counted_anew_in_each_split_are_no_leak(tmp_path: Path) -> None:
    root = release(
        tmp_path / "in",
        training_00=[montalbano(seed, seed, seed % 20) for seed in range(4)],
        validation_00=[montalbano(100 + seed, seed, seed % 20) for seed in range(3)],
    )
    manifest = imported(root)
    assert counts(manifest) == [4, 3, 0]
    assert any(
        "3 training ids also stand in another split, for other clips" in note for note in manifest.notes
    )
    assert not left_out(tmp_path / "out")


def entry(split: str, id: int, label: int | None = 0, content: str | None = None, number: int = 0) -> Entry:
    return Entry(f"{split}-00-of-20", number, split, id, label, 5, content or f"{split} {id} {number}")


def unlike(_one: Entry, _other: Entry) -> bool:
    return False


@pytest.mark.parametrize(
    ("labels", "first", "word"),
    [
        ((0, 19), 0, ""),
        ((1, 20), 1, ""),
        ((0, 5), 0, ""),
        ((7, 20), 1, ""),
        ((3, 17), 0, "labels run from 3 to 17"),
    ],
)
def test_how_labels_count_is_seen_from_them(labels: tuple[int, int], first: int, word: str) -> None:
    result = sort_out([entry("training", number, label) for number, label in enumerate(labels)], unlike)
    assert result.first_label == first
    assert [name for _, name in result.clips] == [CLASSES[label - first] for label in labels]
    assert [word in note for note in result.notes if "labels" in note] == ([True] if word else [])


def test_how_labels_count_can_be_said() -> None:
    result = sort_out([entry("training", 1, 3)], unlike, first_label=1)
    assert (result.first_label, result.clips[0][1], result.notes) == (1, CLASSES[2], [])
    with pytest.raises(DataError, match="label 0 is none of the 20 classes; expected 1 to 20"):
        sort_out([entry("training", 1, 0)], unlike, first_label=1)
    with pytest.raises(DataError, match="label 20 is none of the 20 classes; expected 0 to 19"):
        sort_out([entry("training", 1, 0), entry("validation", 1, 20)], unlike)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ((None, None), [None, None]),
        ((0, 0), [None, None]),  # it fills the place
        ((-1, 4), [None, CLASSES[4]]),
        ((2, 4), [CLASSES[2], CLASSES[4]]),
    ],
)
def test_test_clips_have_labels_where_those_tell_something(labels: tuple, names: list) -> None:
    train = [entry("training", 1, 0), entry("training", 2, 19)]
    result = sort_out([*train, *(entry("test", n, label) for n, label in enumerate(labels))], unlike)
    assert [name for _, name in result.clips][2:] == names


def test_one_number_for_two_clips_of_a_split_is_refused_and_a_repetition_left_out() -> None:
    with pytest.raises(DataError, match="id 1 stands for another clip at training-00-of-20, record 0"):
        sort_out([entry("training", 1), entry("training", 1, number=3)], unlike)
    result = sort_out(
        [entry("training", 1, content="a"), entry("training", 1, content="a", number=3)], unlike
    )
    assert [len(result.clips), len(result.left_out)] == [1, 1]


# --- the data kind ----------------------------------------------------------------------------------


@pytest.mark.parametrize("released", [(4, 2, 2), (4, 2, 3)])
def test_a_note_tells_where_the_counts_are_not_those_of_the_release(tmp_path: Path, released: tuple) -> None:
    names = dict(zip(("training", "validation", "test"), released, strict=True))
    notes = imported(small(tmp_path / "in"), released=names).notes
    told = [note for note in notes if "the release has" in note]
    assert told == ([] if released == (4, 2, 2) else [
        "montalbano: 4 training, 2 validation and 2 test clips; the release has 4 training, 2 validation and 3 test."
    ])  # fmt: skip


def test_the_release_has_its_counts() -> None:
    from mudra.datasets.montalbano_sorting import RELEASED

    assert RELEASED == {"training": 5_722, "validation": 1_765, "test": 2_174}
    assert len(set(CLASSES)) == 20
    kind = Montalbano()
    assert kind.class_counts() == {"label": 20}
    assert kind.point_layouts() == {"points": "kinect20", "points:pixels": "kinect20"}
    assert kind.series_channels() == {"series:orientations": 80}


def test_the_files_are_imported_when_they_are_first_read(tmp_path: Path) -> None:
    root = small(tmp_path / "in")
    manifest = read_location(f"montalbano:{root}")
    assert counts(manifest) == [4, 2, 2]
    assert (tmp_path / "in-mudra/manifest.csv").is_file()
    assert read_location(f"montalbano:{root}").notes == manifest.notes
    for way in (f"montalbano:{tmp_path / 'in-mudra'}", str(tmp_path / "in-mudra")):
        assert read_location(way).split_hash == manifest.split_hash
    made = Montalbano(imported=str(tmp_path / "elsewhere")).read(root)
    assert made.root == tmp_path / "elsewhere"


@pytest.mark.parametrize("member", ["", "-rgb", "-depth", "-skeleton"])
def test_the_recipes_take_the_files_and_an_import(tmp_path: Path, member: str) -> None:
    root, out = small(tmp_path / "in"), tmp_path / "elsewhere"
    recipe = recipes.load(f"montalbano-smnet{member}", [f"data.imported={out}"])
    _, manifest = open_data(recipe, f"montalbano:{root}")
    assert manifest.root == out
    assert set(recipe.clip.streams) <= set(manifest.streams)
    plain = recipes.load(f"montalbano-smnet{member}")
    for way in (f"montalbano:{out}", str(out)):
        assert open_data(plain, way)[1].split_hash == manifest.split_hash


def test_packed_files_are_no_folder_of_clips(tmp_path: Path) -> None:
    root = small(tmp_path / "in")
    with pytest.raises(DataError, match="found TFRecords") as caught:
        read_location(str(root))
    assert f"name them as montalbano:{root}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_command_imports_and_says_what_it_found(tmp_path: Path) -> None:
    root = small(tmp_path / "in")
    done = mudra("data", "import-tfrecord", root, tmp_path / "out", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "rgb: 0 becomes 0, 1 the largest value" in done.stderr
    assert "the release has 5,722 training" in done.stderr
    assert "8 clips written; train on it with --data montalbano:" in done.stderr
    again = mudra("data", "import-tfrecord", root, tmp_path / "out", "--rgb", "5")
    assert again.returncode == 2
    assert "--rgb: found '5'; expected two numbers" in again.stderr


def test_a_garbage_file_ends_the_command_with_one_line(tmp_path: Path) -> None:
    root = small(tmp_path / "in")
    (root / "test-01-of-20").write_bytes(packed(b"no records at all", "zlib"))
    done = mudra("data", "import-tfrecord", root, tmp_path / "out", "--workers", "0")
    assert done.returncode == 3
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr


# --- answers ----------------------------------------------------------------------------------------


def test_a_run_answers_every_test_clip_as_the_files_count(tmp_path: Path) -> None:
    first = 1
    root = release(
        tmp_path / "in",
        training_00=[montalbano(n, n, label + first) for n, label in enumerate((0, 19, 0, 19))],
        validation_00=[montalbano(20 + n, 20 + n, label + first) for n, label in enumerate((0, 19))],
        test_00=[montalbano(40 + n, id, None) for n, id in enumerate((300, 7, 21))],
    )
    data = {"kind": "montalbano", "imported": str(tmp_path / "elsewhere")}
    recipe = tiny_recipe(data=data, train={"epochs": 1, "batch": 4})
    location = f"montalbano:{root}"
    run = train_tiny(recipe, Path(location), tmp_path / "run")
    done = mudra("evaluate", run.path, "--data", location, "--submission", "montalbano")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "in-mudra").exists()  # it is imported once
    lines = (run.path / "submissions/montalbano-test.csv").read_text().split("\n")
    assert lines[0] == "Id,y"
    assert [line.partition(",")[0] for line in lines[1:]] == ["7", "21", "300", ""]
    from mudra.predictions import read

    table = read(run.predictions("test"))
    best = {
        clip: int(row.argmax()) + first
        for clip, row in zip(table.clips, table.tasks["label"].log_probabilities, strict=True)
    }
    assert lines[1:-1] == [f"{id},{best[f'test-{id}']}" for id in (7, 21, 300)]


def test_a_second_process_waits_and_finds_the_work_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small(tmp_path / "in")
    said: list[str] = []

    def lock(_handle: int, *, wait: bool) -> bool:
        if wait:  # meanwhile another process does it all
            monkeypatch.setattr(montalbano_import, "take_lock", lambda _handle, *, wait: True)
            imported(root)
            monkeypatch.setattr(montalbano_import, "_work", None)
        return wait

    monkeypatch.setattr(montalbano_import, "take_lock", lock)
    assert counts(imported(root, said=said)) == [4, 2, 2]
    assert said == [f"{tmp_path / 'out'}: another process imports into it; waiting for that"]
