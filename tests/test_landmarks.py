"""Points from video: in the layout's order, left is left, and no work is lost or mixed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from mudra import recognizer
from mudra.bundle import Bundle, write_bundle
from mudra.clips import landmarks as module
from mudra.clips.landmarks import Extraction, extract
from mudra.clips.layouts import LAYOUTS, mirror_points
from mudra.clips.manifest import Manifest
from mudra.clips.preprocessing import Preprocessing
from mudra.clips.sampling import thinned
from mudra.datasets.folder import Folder
from mudra.errors import DataError, OutputError, RecipeError, StoppedError, UsageError
from mudra.models.keypoint_transformer import KeypointTransformer
from mudra.sections import ClipSettings
from mudra.sources import landmarks as source
from mudra.sources import open_source
from mudra.sources.landmarks import PARTS, Finder, find
from mudra.sources.parts import every
from mudra.types import StreamInfo
from tests.detectors import ALL, CRASHING, FINDER, LEFT, NOBODY, RIGHT, frames, place
from tests.footage import write_video
from tests.test_cli import mudra, refused

HOLISTIC = LAYOUTS["holistic543"]
CLIPS = {
    "a/1": [ALL] * 4,
    "a/2": [LEFT, ALL, RIGHT],
    "b/1": [NOBODY, RIGHT, RIGHT, NOBODY],
    "b/2": [NOBODY] * 2,
}
ROOT = Path(__file__).parents[1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four clips of two classes with all that a manifest may hold; the third is a window of its file."""
    folder = tmp_path / "data"
    for name, kinds in CLIPS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{name}.npz", video=frames(*kinds), times=np.arange(len(kinds)) / 10)
    np.savez(folder / "b/1.npz", video=frames(ALL, *CLIPS["b/1"], ALL), times=np.arange(6) / 10)
    rows = [
        f"{name},{split},p{name[0]},{label},{name}.npz,{start},{stop},NA"
        for (name, split, label, start, stop) in (
            ("a/1", "train", "left", "", ""),
            ("a/2", "train", "right", "", ""),
            ("b/1", "test", "left", "0.1", "0.5"),
            ("b/2", "test", "right", "", ""),
        )
    ]
    header = "clip,split,group,label,video,start,stop,mood"
    (folder / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "dataset.json").write_text('{"mirror": {"label": {"left": "right"}}}')
    return folder


def made(data: Path, out: Path, **options: object) -> Extraction:
    settings = {"say": lambda _line: None, "workers": 0, "finder": FINDER} | options
    return extract(read(data), out, **settings)  # type: ignore[arg-type]


def read(data: Path) -> Manifest:
    return Folder().read(data)


def points(out: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(out / "points" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


# What is found


def test_parts_stand_in_the_order_of_the_layout():
    begin = 0
    for (name, count), (part, rows) in zip(PARTS.items(), HOLISTIC.parts.items(), strict=True):
        assert (name, rows) == (f"{part}_landmarks", tuple(range(begin, begin + count)))
        begin += count


def test_points_become_an_ordinary_data_set_with_everything_kept(data, tmp_path):
    theirs, mine = read(data), made(data, tmp_path / "out").manifest
    assert (mine.tasks, mine.mirror, mine.split_hash) == (theirs.tasks, theirs.mirror, theirs.split_hash)
    assert mine.streams == {"points": StreamInfo("points", "holistic543", 10.0, space="height")}
    for one, other in zip(mine, theirs, strict=True):
        assert (one.id, one.split, one.group, one.labels) == (
            other.id,
            other.split,
            other.group,
            other.labels,
        )
        assert one.metadata == {"mood": "NA"}
        assert (one.start, one.stop) == (None, None)
    stream = open_source(mine[2].streams["points"], "points").read(every)
    assert stream.values.shape == (4, 543, 3)  # the window alone
    assert stream.times == pytest.approx(np.arange(4) / 10)
    assert list(Folder().read(tmp_path / "out").ids.to_pylist()) == list(CLIPS)


def test_both_coordinates_are_in_units_of_the_pictures_height(data, tmp_path):
    made(data, tmp_path / "out")
    values = points(tmp_path / "out", "a/1")["points"]
    row = HOLISTIC.row("right_hand_wrist")
    assert row == 522
    x, y, z = place(row)
    assert values[0, row] == pytest.approx([x * 64 / 48, y, z * 64 / 48])


def test_a_part_that_is_not_seen_is_nan_and_has_no_score(data, tmp_path):
    made(data, tmp_path / "out")
    found = points(tmp_path / "out", "a/2")
    left, right, face = (list(HOLISTIC.parts[part]) for part in ("left_hand", "right_hand", "face"))
    assert np.isnan(found["points"][0, right]).all()
    assert np.isnan(found["points"][2, left]).all()
    assert not np.isnan(found["points"][1]).any()
    assert not np.isnan(found["points"][:, face]).any()
    assert np.array_equal(found["score"] > 0, ~np.isnan(found["points"]).any(-1))


def test_every_clip_begins_with_a_fresh_detector(data, tmp_path):
    made(data, tmp_path / "out")
    for name in ("a/1", "a/2"):
        assert points(tmp_path / "out", name)["points"][0, 0, 1] == place(0)[1]


@pytest.mark.parametrize("layout", ["sign92", "sign87"])
def test_a_smaller_layout_is_the_same_points_by_name(data, tmp_path, layout):
    made(data, tmp_path / "whole")
    manifest = made(data, tmp_path / "part", layout=layout).manifest
    assert manifest.streams["points"].layout == layout
    part, whole = points(tmp_path / "part", "a/2"), points(tmp_path / "whole", "a/2")
    for row, name in enumerate(LAYOUTS[layout].points):
        for key in ("points", "score"):
            np.testing.assert_array_equal(part[key][:, row], whole[key][:, HOLISTIC.row(name)])
    assert part["seen"].tolist() == whole["seen"].tolist()


@pytest.mark.parametrize("layout", ["kinect20", "hand21", "holistic"])
def test_a_layout_that_is_not_found_in_video_is_refused(data, tmp_path, layout):
    with pytest.raises(DataError, match="sign92"):
        made(data, tmp_path / "out", layout=layout)
    assert not (tmp_path / "out").exists()


def test_fewer_frames_are_looked_at_where_that_is_asked_for(data, tmp_path):
    assert made(data, tmp_path / "out", fps=5).manifest.streams["points"].fps == 5
    assert points(tmp_path / "out", "a/1")["times"].tolist() == [0.0, 0.2]
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--fps"):
            made(data, tmp_path / "other", fps=wrong)


@pytest.mark.parametrize("rate", [7, 15, 29.97, 30, 60, 240])
def test_thinning_keeps_at_most_so_many_and_never_one_twice(rate):
    times = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 400)) / 30
    chosen = thinned(times, rate)
    assert (np.diff(chosen) > 0).all()
    for second in range(int(times[-1] - times[0])):
        inside = (times[chosen] - times[0] >= second) & (times[chosen] - times[0] < second + 1)
        assert inside.sum() <= np.ceil(rate)


def test_times_are_the_videos_own(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames(*[ALL] * 6), fps=12)
    stream = find(open_source(path, "video"), FINDER)
    assert stream.times == pytest.approx(np.arange(6) / 12)


def test_a_long_clip_is_read_in_parts_and_is_the_same(data, tmp_path, monkeypatch):
    made(data, tmp_path / "whole")
    monkeypatch.setattr("mudra.sources.parts.AT_ONCE", 2 * 48 * 64 * 3)
    made(data, tmp_path / "parts")
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


# Several processes, and going on


def test_the_bytes_are_the_same_whoever_works(data, tmp_path):
    made(data, tmp_path / "here")
    for workers in (1, 2):
        made(data, tmp_path / f"{workers}", workers=workers)
        assert files(tmp_path / f"{workers}") == files(tmp_path / "here")


def test_the_same_command_again_does_nothing_anew(data, tmp_path):
    made(data, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/points").rglob("*.npz")}
    told: list[str] = []
    made(data, tmp_path / "out", say=told.append)
    assert told == [f"{tmp_path / 'out'}: 4 of 4 clips are done already"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_killed_extraction_goes_on_to_the_same_bytes(data, tmp_path):
    """Killed with a clip under way; its half-written file and a damaged one never count."""
    made(data, tmp_path / "whole")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.detectors", str(data), str(out), "1"]
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    deadline = time.monotonic() + 120
    while not list(out.rglob("*.npz")) and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    helpers = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGKILL)
    child.wait()
    psutil.wait_procs(helpers, timeout=60)  # a process that lost its parent ends with its clip
    finished = [path.relative_to(out).as_posix() for path in out.rglob("*.npz")]
    assert 1 <= len(finished) < len(CLIPS)
    assert not (out / "manifest.csv").exists()
    with pytest.raises(DataError, match=r"not complete; run `mudra data landmarks"):
        read(out)
    (out / "points/a/.9.npz.999999999.tmp").write_bytes(b"half")
    whole = (tmp_path / "whole/points/b/2.npz").read_bytes()
    (out / "points/b").mkdir(exist_ok=True)
    (out / "points/b/2.npz").write_bytes(whole[: len(whole) // 2])
    made(data, out)
    assert files(out) == files(tmp_path / "whole")


def test_a_stop_at_the_keyboard_keeps_what_is_done(data, tmp_path):
    def stop(_what: str, done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(StoppedError, match=r"2 of 4 clips done; run the same command again") as told:
        made(data, tmp_path / "out", progress=stop)
    assert told.value.exit_code == 75
    said: list[str] = []
    made(data, tmp_path / "out", say=said.append)
    assert "2 of 4 clips are done already" in said[0]
    made(data, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_new_clips_join_a_finished_data_set(data, tmp_path):
    text = (data / "manifest.csv").read_text()
    (data / "manifest.csv").write_text("\n".join(text.splitlines()[:-1]) + "\n")
    made(data, tmp_path / "out")
    (data / "manifest.csv").write_text(text)
    assert len(made(data, tmp_path / "out").manifest) == 4
    made(data, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"layout": "sign92"}, "layout"),
        ({"fps": 5.0}, "fps"),
        ({"finder": Finder("another", FINDER.begin)}, "finder"),
    ],
)
def test_points_of_other_settings_are_never_mixed(data, tmp_path, options, found):
    made(data, tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(DataError, match=f"were made with {found} .* name a new folder"):
        made(data, tmp_path / "out", **options)
    assert files(tmp_path / "out") == before


def test_points_of_other_clips_are_never_mixed(data, tmp_path):
    made(data, tmp_path / "out")
    before = files(tmp_path / "out")
    np.savez(data / "a/2.npz", video=frames(ALL, ALL), times=np.arange(2) / 10)
    with pytest.raises(DataError, match=r"not made from clip 'a/2' as it is now"):
        made(data, tmp_path / "out")
    text = (data / "manifest.csv").read_text()
    (data / "manifest.csv").write_text(text.replace("a/2,train", "a/other,train"))
    with pytest.raises(DataError, match=r"a/2\.npz: was made from a clip that the data does not have"):
        made(data, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_a_folder_of_other_things_is_left_alone(data, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds no landmarks"):
        made(data, tmp_path / "out")
    with pytest.raises(DataError, match="inside the data set"):
        made(data, data / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


# What cannot be read or written


def test_a_broken_clip_is_told_and_the_others_are_done(data, tmp_path):
    whole = (data / "a/2.npz").read_bytes()
    (data / "a/2.npz").write_bytes(b"broken")
    said: list[str] = []
    with pytest.raises(
        DataError, match=r"1 of 4 clips cannot be read, the first of them 'a/2'.*--skip-broken"
    ):
        made(data, tmp_path / "out", say=said.append)
    assert "a/2.npz" in said[0]
    assert len(list((tmp_path / "out/points").rglob("*.npz"))) == 3
    assert [clip.id for clip in made(data, tmp_path / "out", skip_broken=True).manifest] == [
        "a/1",
        "b/1",
        "b/2",
    ]
    rows = list(csv.DictReader((tmp_path / "out/landmarks.csv").read_text().splitlines()))
    assert [bool(row["problem"]) for row in rows] == [False, True, False, False]
    (data / "a/2.npz").write_bytes(whole)  # mended: the same command takes it in
    made(data, tmp_path / "out")
    made(data, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_clip_that_crashes_the_detector_is_told(data, tmp_path):
    with pytest.raises(DataError, match=r"2 of 4 clips.*'b/1'.*crashed on it \(SIGABRT\)"):
        made(data, tmp_path / "out", workers=1, finder=CRASHING)
    assert len(list((tmp_path / "out/points").rglob("*.npz"))) == 2


def test_nothing_but_broken_clips_is_refused(data, tmp_path):
    for path in data.rglob("*.npz"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="4 of 4 clips"):
        made(data, tmp_path / "out", skip_broken=True)


def test_data_without_video_is_refused(data, tmp_path):
    made(data, tmp_path / "out")
    with pytest.raises(DataError, match="it has points"):
        made(tmp_path / "out", tmp_path / "again")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_ends_the_work_at_once(data, tmp_path, workers):
    (tmp_path / "out").mkdir()
    made_by = {"schema": module.SCHEMA, "layout": "holistic543", "fps": None, "finder": FINDER.name}
    (tmp_path / "out/landmarks.json").write_text(json.dumps(made_by))
    (tmp_path / "out/points").write_text("no folder can be made here")
    with pytest.raises(OutputError, match="could not be written"):
        made(data, tmp_path / "out", workers=workers)


# What is told


def test_missing_hands_are_reported(data, tmp_path):
    found = made(data, tmp_path / "out")
    first, nobody, person = found.lines
    shares = "face 69.2%, left hand 46.2%, pose 69.2%, right hand 61.5%, either hand 69.2%"
    assert first == f"4 clips, 13 frames; found in them: {shares}"
    assert (nobody, person) == (
        "no hand was found in 1 of 4 clips: 'b/2'",
        "no person was found in 1 of 4 clips: 'b/2'",
    )
    rows = {
        row["clip"]: row for row in csv.DictReader((tmp_path / "out/landmarks.csv").read_text().splitlines())
    }
    assert (rows["b/1"]["left_hand"], rows["b/1"]["right_hand"], rows["b/1"]["frames"]) == (
        "0.0000",
        "0.5000",
        "4",
    )
    assert made(data, tmp_path / "out").lines == found.lines  # also of clips that were done before


def test_the_command_line_extracts_and_reports(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "mediapipe", lambda: FINDER)
    ended = mudra("data", "landmarks", data, tmp_path / "out", "--layout", "sign92", "--workers", 0)
    assert ended.returncode == 0, ended.stderr
    assert "no hand was found in 1 of 4 clips: 'b/2'" in ended.stdout.splitlines()
    (data / "a/1.npz").unlink()
    assert "a/1" in refused("data", "landmarks", data, tmp_path / "other", "--workers", 0, code=3)


# MediaPipe


class Graph:
    """Answers as MediaPipe does, with parts that it was told to find."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def process(self, frame: np.ndarray) -> SimpleNamespace:
        assert frame.flags.c_contiguous
        marks = {
            name: [SimpleNamespace(x=count, y=row, z=-row, visibility=0.25) for row in range(count)]
            for name, count in PARTS.items()
        }
        return SimpleNamespace(
            **{name: SimpleNamespace(landmark=marks[name]) if name in self.parts else None for name in PARTS}
        )


def test_what_mediapipe_found_stands_in_its_rows_and_the_rest_is_nan():
    frame = frames(ALL)[0][:, ::-1]
    found, score = source._detect(Graph("pose_landmarks", "right_hand_landmarks"), frame)
    assert found[489].tolist() == [33, 0, 0]
    assert found[HOLISTIC.row("pose_right_foot_index")].tolist() == [33, 32, -32]
    assert found[HOLISTIC.row("right_hand_pinky_tip")].tolist() == [21, 20, -20]
    assert np.isnan(found[:489]).all()
    assert not np.isnan(found[489:]).any()
    assert (score[:489].max(), set(score[489:522]), set(score[522:])) == (0, {0.25}, {1})


def absent(*_words: object) -> str:
    raise source.metadata.PackageNotFoundError


def test_where_mediapipe_is_absent_one_line_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setattr(source.metadata, "version", absent)
    line = refused("data", "landmarks", data, tmp_path / "out", code=2)
    assert "pip install 'mudra[landmarks]'" in line
    assert len(line.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(source, "_NEWEST_PYTHON", (3, 9))
    assert "Make an environment of Python 3.9" in refused("data", "landmarks", data, tmp_path / "out", code=2)


def test_a_mediapipe_that_cannot_be_imported_ends_the_work_at_once(data, tmp_path, monkeypatch):
    (tmp_path / "mediapipe").mkdir()
    (tmp_path / "mediapipe/__init__.py").write_text("raise ImportError('needs another numpy')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "mediapipe"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match=r"needs another numpy.*pip install"):
        made(data, tmp_path / "out", finder=Finder("mediapipe", source._holistic))


def test_what_native_code_writes_to_stderr_goes_nowhere(capfd):
    with source._quiet():
        os.write(2, b"W0000 inference_feedback_manager.cc")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


# From a video to an answer


def bundle(folder: Path, layout: str) -> Path:
    """A recogniser of points with weights drawn at random."""
    settings = ClipSettings(streams=("points",), frames=8, sampling="even")
    preprocessing = Preprocessing(settings, {"points": StreamInfo("points", layout, 10.0)})
    model = KeypointTransformer.Settings(width=16, depth=1, heads=2)
    torch.manual_seed(0)
    whole = Bundle("tiny", model, preprocessing, {"label": ("left", "right", "up")})
    write_bundle(folder, whole, whole.build().state_dict(), "a card")
    return folder


def test_a_recogniser_of_points_finds_them_in_a_video(tmp_path, monkeypatch):
    """The answer is that of the points which `mudra data landmarks` makes of the same video."""
    monkeypatch.setattr(recognizer, "mediapipe", lambda: FINDER)
    path = write_video(tmp_path / "videos/train/x/clip.mp4", frames(*[ALL] * 6, LEFT, RIGHT), fps=10)
    made(tmp_path / "videos", tmp_path / "made", layout="sign92")
    loaded = recognizer.load(bundle(tmp_path / "bundle", "sign92"))
    answer = loaded.predict(path)
    assert answer == loaded.predict(tmp_path / "made/points/train/x/clip.npz")
    ended = mudra("predict", tmp_path / "bundle", path, "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["tasks"]["label"][0]["name"] == answer.label


def test_a_recogniser_of_other_points_refuses_a_video(tmp_path, monkeypatch):
    monkeypatch.setattr(recognizer, "mediapipe", lambda: FINDER)
    path = write_video(tmp_path / "clip.mp4", frames(*[ALL] * 6))
    line = refused("predict", bundle(tmp_path / "bundle", "kinect20"), path, code=3)
    assert "layout kinect20: its point 'hip_centre' is not one that is found in video" in line
    monkeypatch.undo()
    monkeypatch.setattr(source.metadata, "version", absent)
    assert "mudra[landmarks]" in refused("predict", bundle(tmp_path / "signs", "sign92"), path, code=2)


def test_a_recipe_of_points_says_how_videos_become_points(tmp_path):
    with pytest.raises(RecipeError, match=r"make them with `mudra data landmarks DATA OUT`"):
        Preprocessing(ClipSettings(streams=("points",)), {"video": StreamInfo("video")})
    with pytest.raises(RecipeError) as told:
        Preprocessing(ClipSettings(streams=("series",)), {"video": StreamInfo("video")})
    assert "landmarks" not in str(told.value)


# Real people, where MediaPipe is installed


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed: pip install 'mudra[landmarks]'")
    return tmp_path_factory.mktemp("person")


def test_left_is_left_and_a_mirrored_video_gives_mirrored_points(person, shared_data, tmp_path):
    path = shared_data("rgb_actions/signs80") / "train/help.mp4"
    clip = open_source(path, "video").read(every)
    np.savez(tmp_path / "mirrored.npz", video=clip.values[:, :, ::-1], times=clip.times)
    seen = find(open_source(path, "video"), source.mediapipe()).values
    mirrored = find(open_source(tmp_path / "mirrored.npz", "video"), source.mediapipe()).values
    for side, other in (("left", "right"), ("right", "left")):
        hand, near, far = (
            seen[:, HOLISTIC.row(name)][:, :2]
            for name in (f"{side}_hand_wrist", f"pose_{side}_wrist", f"pose_{other}_wrist")
        )
        there = ~np.isnan(hand).any(1)
        assert there.sum() >= 10
        apart = np.linalg.norm(hand - near, axis=1)[there]
        assert np.median(apart) < 0.05
        assert (apart < np.linalg.norm(hand - far, axis=1)[there]).mean() > 0.9
    left, right = (seen[:, HOLISTIC.row(f"pose_{side}_shoulder"), 0] for side in ("left", "right"))
    assert (left > right).all()  # who faces the camera has the left side on the right of the picture
    height, width = clip.values.shape[1:3]
    back = mirror_points(mirrored, HOLISTIC, width / height)
    for part, rows in HOLISTIC.parts.items():
        apart = np.linalg.norm(back[:, list(rows), :2] - seen[:, list(rows), :2], axis=-1)
        assert np.nanmedian(apart) < 0.02, part


def test_a_real_clip_is_the_same_whoever_works_and_the_terminal_stays_clean(person, shared_data, tmp_path):
    folder = tmp_path / "data/train/x"
    folder.mkdir(parents=True)
    for name in ("both", "help"):
        (folder / f"{name}.mp4").write_bytes(
            (shared_data("rgb_actions/signs80") / f"train/{name}.mp4").read_bytes()
        )
    for workers in ("1", "2"):
        command = [sys.executable, "-m", "mudra", "data", "landmarks", tmp_path / "data", tmp_path / workers]
        ended = subprocess.run(
            [*map(str, command), "--workers", workers, "--layout", "sign92"],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert files(tmp_path / "1") == files(tmp_path / "2")
    loaded = recognizer.load(bundle(tmp_path / "bundle", "sign92"))
    assert loaded.predict(folder / "help.mp4") == loaded.predict(tmp_path / "1/points/train/x/help.npz")
