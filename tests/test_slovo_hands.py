"""The hands of Slovo's authors: a file of a gigabyte, made up here in small, becomes a data set."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mudra.clips.layouts import layout_of
from mudra.clips.loader import TrainingClips
from mudra.clips.preprocessing import Preprocessing, open_stream
from mudra.datasets import slovo_hands
from mudra.datasets.opening import read_location
from mudra.datasets.slovo import Slovo
from mudra.datasets.slovo_hands import LAYOUT, hands, import_hands, videos
from mudra.errors import DataError
from mudra.sections import AugmentSettings, ClipSettings
from tests.command import mudra
from tests.test_slovo import ROWS, release

LEFT, RIGHT = slice(0, 21), slice(21, 42)


def hand(x: float, y: float = 0.5) -> list[dict[str, float]]:
    """A hand whose wrist is at (x, y)."""
    return [{"x": x + joint / 1000, "y": y + joint / 500, "z": -joint / 1000} for joint in range(21)]


def wrists(points: np.ndarray) -> list[list[float | None]]:
    """x of both wrists in every frame."""
    return [[None if np.isnan(x) else round(float(x), 3) for x in row] for row in points[:, [0, 21], 0]]


def found(*frames: dict) -> list[list[float | None]]:
    return wrists(hands(list(frames), "here"))


def written(path: Path, tree: object, **options: object) -> Path:
    path.write_text(json.dumps(tree, **options), "utf-8")  # type: ignore[arg-type]
    return path


# --- which hand ------------------------------------------------------------------------------------


def test_of_two_hands_the_one_farther_left_is_named_so_whatever_its_number() -> None:
    one, other = hand(0.2), hand(0.7)
    assert found({"hand 1": one, "hand 2": other}, {"hand 1": other, "hand 2": one}) == [
        [0.2, 0.7],
        [0.2, 0.7],
    ]


def test_a_hand_alone_goes_on_with_the_name_of_the_nearest() -> None:
    both = {"hand 1": hand(0.3), "hand 2": hand(0.6)}
    assert found(both, {"hand 1": hand(0.55)}, {"hand 1": hand(0.4)}) == [
        [0.3, 0.6],
        [None, 0.55],
        [0.4, None],
    ]
    assert found({"hand 1": hand(0.8)}, {}, {"hand 1": hand(0.3)}) == [[None, 0.8], [None, None], [None, 0.3]]
    assert found({"hand 1": hand(0.1)}) == [[0.1, None]]


def test_a_hand_that_was_not_seen_is_nan_and_a_video_without_frames_shows_nothing() -> None:
    points = hands([{}, {"hand 1": hand(0.2)}], "here")
    assert (points.shape, points.dtype) == ((2, 42, 3), np.float32)
    assert np.isnan(points[0]).all()
    assert np.isnan(points[1, RIGHT]).all()
    assert not np.isnan(points[1, LEFT]).any()
    assert np.isnan(hands([], "here")).all()
    assert hands([], "here").shape == (1, 42, 3)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ({"hand 1": []}, "expected a list of frames"),
        ([[]], "frame 0: found '[]'; expected hand 1, hand 2 or neither"),
        ([{}, {"hand 3": hand(0)}], "frame 1: found"),
        ([{"hand 1": hand(0)[:20]}], "expected 21 points"),
        ([{"hand 1": [{"x": 1, "y": 1}] * 21}], "expected 21 points with x, y and z"),
        ([{"hand 2": [{"x": "a", "y": 1, "z": 1}] * 21}], "frame 0: hand 2 is"),
        ([{"hand 1": [{"x": float("inf"), "y": 1, "z": 1}] * 21}], "expected 21 points"),
        ([{"hand 1": 5}], "expected 21 points"),
    ],
)
def test_what_is_no_hand_is_told_with_its_frame(frames: object, said: str) -> None:
    with pytest.raises(DataError) as told:
        hands(frames, "file.json, a1")
    assert str(told.value).startswith("file.json, a1")
    assert said in str(told.value)
    assert "\n" not in str(told.value)


# --- the file --------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-999, 999)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    tree=st.dictionaries(st.text(), st.lists(JSON, max_size=3), min_size=1, max_size=5),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_a_file_is_read_entry_by_entry_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, tree: dict, chunk: int, indent: int | None, ascii_only: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(json.dumps(tree, indent=indent, ensure_ascii=ascii_only).encode(errors="surrogatepass"))
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError:  # half of a pair of surrogates, which is no text
        return
    before = slovo_hands.CHUNK
    slovo_hands.CHUNK = chunk
    try:
        assert dict(videos(path)) == tree
    finally:
        slovo_hands.CHUNK = before


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[1, 2]", "{}", '{"a": [', '{"a": []', '{"a": [] "b": []}', '{"a" []}', '{"a": [],}', "{1: 2}",
     '{"a": []; "b": []}', '{"a"; []}', "\xff"],
)  # fmt: skip
def test_another_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as told:
        list(videos(path))
    assert str(told.value).startswith(f"{path}: cannot be read (")
    assert "\n" not in str(told.value)


def test_reading_takes_the_memory_of_one_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slovo_hands, "CHUNK", 2**16)
    frames = [{"hand 1": hand(0.3)}] * 10
    path = written(tmp_path / "large.json", {f"video {number}": frames for number in range(300)})
    tracemalloc.start()
    assert sum(len(frames) for _, frames in videos(path)) == 3000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2


# --- the data set ----------------------------------------------------------------------------------


def test_the_hands_become_a_data_set_without_the_videos(tmp_path: Path) -> None:
    root = release(tmp_path / "slovo")
    for path in root.glob("*/*.mp4"):
        path.unlink()
    tree = {line.split("\t")[0]: [{"hand 1": hand(0.25)}, {}, {"hand 1": hand(0.5)}] for line in ROWS[1:]}
    source = written(tmp_path / "slovo_mediapipe.json", {**tree, "unknown": [], "b1": []})
    ended = mudra("data", "import-slovo-hands", root, source, tmp_path / "hands")
    assert ended.returncode == 0, ended.stderr
    assert "6 of 7 clips are in slovo_mediapipe.json and written" in ended.stderr
    data = read_location(f"slovo:{tmp_path / 'hands'}")
    assert [(clip.id, clip.split, clip.group) for clip in data][:2] == [
        ("b1", "train", "bob"),
        ("c1", "train", "bob"),
    ]
    assert layout_of(data.streams["points"], "here") == LAYOUT
    shown = open_stream(data[1], "points", data.streams["points"]).read(lambda times: np.arange(len(times)))
    np.testing.assert_allclose(
        shown.values[:, 0, 0], [0.25 * 0.75, np.nan, 0.5 * 0.75]
    )  # 1440 x 1920, in heights
    assert shown.values[0, 0, 1] == 0.5
    clip = ClipSettings.model_validate_json('{"streams": ["points"], "frames": 4}')
    looks = Preprocessing(clip, data.streams).read(data[1])
    assert looks["points"].shape == (1, 4, 42, 3)
    parts = Slovo(classes=1000).read(tmp_path / "hands")
    assert TrainingClips(parts, Preprocessing(clip, parts.streams), AugmentSettings(), 0).may_flip


def test_a_file_of_other_videos_leaves_nothing_behind(tmp_path: Path) -> None:
    manifest = Slovo().read(release(tmp_path / "slovo"))
    with pytest.raises(DataError, match="none of the 7 clips"):
        import_hands(manifest, written(tmp_path / "other.json", {"x": []}), tmp_path / "hands")
    assert not (tmp_path / "hands").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.json", "slovo"]


def test_a_picture_without_a_shape_is_told_with_its_clip(tmp_path: Path) -> None:
    rows = [line.replace("\t1920\t", "\t0\t") for line in ROWS]
    manifest = Slovo().read(release(tmp_path / "slovo", rows))
    with pytest.raises(DataError, match=r"clip 'a1': width and height are \['1440', '0'\]"):
        import_hands(manifest, written(tmp_path / "a.json", {"a1": []}), tmp_path / "hands")
