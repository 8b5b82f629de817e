"""Points and series as they are released: UTD-MHAD's `.mat` files, NATOPS's `.ts` files, asl16's stacked arrays."""

import os
import struct
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from mudra.clips.loader import Place, TrainingClips
from mudra.clips.preprocessing import Preprocessing, open_stream
from mudra.datasets.asl16 import Asl16
from mudra.datasets.natops import Natops
from mudra.datasets.utd_mhad import UtdMhad
from mudra.errors import DataError
from mudra.sections import AugmentSettings, ClipSettings, SeriesSettings
from mudra.sources import Limits, mat, open_source
from mudra.types import StreamKind

patient = hypothesis.settings(deadline=None)

SHARED = Path(os.environ.get("MUDRA_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


def every(times: np.ndarray) -> np.ndarray:
    return np.arange(len(times))


def recordings(root: Path, subjects: Mapping[int, int]) -> Path:
    """A small release: so many takes of two actions by each subject."""
    (root / "skeleton").mkdir(parents=True)
    for subject, takes in subjects.items():
        for action in (1, 27):
            for take in range(1, takes + 1):
                joints = np.arange(20.0)[:, None, None] + np.zeros((20, 3, 4)) + np.arange(4) / 100
                savemat(root / "skeleton" / f"a{action}_s{subject}_t{take}_skeleton.mat", {"d_skel": joints})
    return root


# --- .mat ------------------------------------------------------------------------------------------


def test_joints_stand_in_the_order_of_the_layout(tmp_path: Path) -> None:
    root = recordings(tmp_path, {1: 1})
    source = open_source(root / "skeleton" / "a1_s1_t1_skeleton.mat", "points", fps=30)
    stream = source.read(every)
    assert stream.values.shape == (4, 20, 3)
    assert stream.values.dtype == np.float32
    assert stream.values[0, :5, 0].tolist() == [
        3,
        2,
        1,
        0,
        4,
    ]  # hip centre, spine, shoulder centre, head, arm
    np.testing.assert_allclose(stream.times, np.arange(4) / 30)


def test_a_mat_file_holds_streams_under_the_names_of_their_kinds(tmp_path: Path) -> None:
    savemat(tmp_path / "clip.mat", {"points": np.ones((5, 8, 2)), "times": np.arange(5) / 10})
    stream = open_source(tmp_path / "clip.mat", "points").read(every)
    assert stream.values.shape == (5, 8, 2)
    assert stream.times[-1] == 0.4
    for dtype in (np.uint16, np.float64):
        savemat(tmp_path / "depth.mat", {"d_depth": np.full((6, 7, 3), 800, dtype)})
        depth = open_source(tmp_path / "depth.mat", "depth", fps=30).read(every).values
        assert (depth.shape, depth.dtype) == ((3, 6, 7), np.uint16)


@pytest.mark.parametrize("wrong", [-1, 0.5, 2**16, np.nan])
def test_depth_of_no_whole_millimetres_is_refused(tmp_path: Path, wrong: float) -> None:
    values = np.full((6, 7, 3), 800.0)
    values[2, 3, 1] = wrong
    savemat(tmp_path / "depth.mat", {"d_depth": values})
    with pytest.raises(DataError, match="depth of type float64"):
        open_source(tmp_path / "depth.mat", "depth", fps=30).read(every)


@pytest.mark.parametrize(("kind", "name"), [("depth", "d_depth"), ("points", "points")])
def test_when_a_stream_was_recorded_is_known_without_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: StreamKind, name: str
) -> None:
    whole: dict[str, object] = {name: np.ones((8, 8, 3))}
    savemat(tmp_path / "even.mat", whole)
    savemat(tmp_path / "own.mat", whole | {"times": np.arange(3 if kind == "depth" else 8) * 0.5})
    even, own = (open_source(tmp_path / f"{file}.mat", kind, fps=30) for file in ("even", "own"))
    expected = [source.read(every).times.tolist() for source in (even, own)]
    unpacked = []
    values_of = mat._array
    monkeypatch.setattr(mat, "_array", lambda *given: unpacked.append(1) or values_of(*given))
    assert [source.times().tolist() for source in (even, own)] == expected
    assert len(unpacked) == 1  # `times` alone


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1", "i8"])
def test_numbers_are_those_that_scipy_wrote(tmp_path: Path, dtype: str, packed: bool) -> None:
    values = np.random.default_rng(0).integers(0, 100, (7, 4, 3)).astype(dtype)
    others = {"a": np.zeros(3000), "note": "hello", "points": values, "s": {"x": [1, 2]}, "z": 1 + 2j}
    savemat(tmp_path / "clip.mat", others, do_compression=packed)
    found = open_source(tmp_path / "clip.mat", "points", fps=30).read(every).values
    np.testing.assert_array_equal(found, values.astype(np.float32))


def test_a_file_of_the_other_byte_order_is_read(tmp_path: Path) -> None:
    head = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI"
    values = np.arange(6, dtype=">f8")
    body = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIiiii", 5, 12, 1, 3, 2, 0)
    body += struct.pack(">II8s", 1, 6, b"points") + struct.pack(">II", 9, 48) + values.tobytes()
    (tmp_path / "clip.mat").write_bytes(head + struct.pack(">II", 14, len(body)) + body)
    found = open_source(tmp_path / "clip.mat", "points", fps=30).read(every).values
    assert found[0, :, 1].tolist() == [3, 4, 5]


def test_a_file_that_unpacks_to_too_much_is_refused_before(tmp_path: Path) -> None:
    savemat(tmp_path / "clip.mat", {"points": np.zeros((5000, 20, 3))}, do_compression=True)
    source = open_source(tmp_path / "clip.mat", "points", fps=30, limits=Limits(bytes=100_000))
    with pytest.raises(DataError, match="memory"):
        source.read(every)


@patient
@given(seed=st.integers(0, 2**32), packed=st.booleans())
def test_a_file_with_wrong_bytes_is_read_or_refused(seed: int, packed: bool) -> None:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "clip.mat"
        savemat(path, {"d_skel": rng.normal(size=(20, 3, 4)), "x": {"a": 1}}, do_compression=packed)
        data = bytearray(path.read_bytes())
        for at in rng.integers(0, min(len(data), 400), 3):
            data[at] = rng.integers(256)
        path.write_bytes(bytes(data))
        with suppress(DataError):
            open_source(path, "points", fps=30).read(every)


@pytest.mark.parametrize("cut", [0, 3, 100, 130, 200])
def test_a_damaged_mat_file_is_told_in_one_line(tmp_path: Path, cut: int) -> None:
    path = recordings(tmp_path, {1: 1}) / "skeleton" / "a1_s1_t1_skeleton.mat"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="a1_s1_t1") as told:
        open_source(path, "points", fps=30).read(every)
    assert "\n" not in str(told.value)


def test_a_mat_file_of_other_things_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mat"
    for wrong in (
        {"notes": "hello"},
        {"d_skel": "hello"},
        {"d_skel": np.ones((20, 3))},
        {"points": {"a": 1}},
    ):
        savemat(path, wrong)
        with pytest.raises(DataError, match="points") as told:
            open_source(path, "points", fps=30).read(every)
        assert "\n" not in str(told.value)


# --- UTD-MHAD --------------------------------------------------------------------------------------


def test_odd_subjects_train_and_even_ones_test(tmp_path: Path) -> None:
    manifest = UtdMhad().read(recordings(tmp_path, {1: 2, 2: 1, 3: 1, 8: 2}))
    assert len(manifest) == 12
    assert {clip.group for clip in manifest.split("train")} == {"s1", "s3"}
    assert {clip.group for clip in manifest.split("test")} == {"s2", "s8"}
    assert {clip.labels["label"] for clip in manifest} == {"swipe left", "squat"}
    assert len(manifest.tasks["label"]) == 27


def test_without_the_even_subjects_a_split_is_made_by_subject(tmp_path: Path) -> None:
    manifest = UtdMhad().read(recordings(tmp_path, dict.fromkeys((1, 3, 5, 7), 1)))
    assert manifest.has_splits
    groups = [{clip.group for clip in manifest.split(split)} for split in ("train", "val", "test")]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert any("by group" in note for note in manifest.notes)


def test_a_folder_without_skeletons_is_told_in_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent", None):
        with pytest.raises(DataError) as told:
            UtdMhad().read(folder)
        assert "\n" not in str(told.value)


def test_an_action_that_was_never_released_is_refused(tmp_path: Path) -> None:
    root = recordings(tmp_path, {1: 1})
    (root / "skeleton" / "a28_s1_t1_skeleton.mat").write_bytes(b"")
    with pytest.raises(DataError, match="28"):
        UtdMhad().read(root)


@pytest.mark.skipif(not (SHARED / "utd_mhad").is_dir(), reason=f"no UTD-MHAD at {SHARED}")
def test_the_real_release_has_its_counts() -> None:
    manifest = UtdMhad().read(SHARED / "utd_mhad")
    assert len(manifest) == 431
    assert set(manifest.groups.to_pylist()) == {"s1", "s3", "s5", "s7"}
    assert set(manifest.streams) == {"points", "series", "depth"}
    points = open_stream(manifest[0], "points", manifest.streams["points"]).read(every).values
    assert points.shape[1:] == (20, 3)
    head, hip, foot = points[:, 3].mean(0)[1], points[:, 0].mean(0)[1], points[:, 19].mean(0)[1]
    assert head > hip > foot


# --- .ts and NATOPS --------------------------------------------------------------------------------


def sequence(first: float, label: str, frames: int = 3, channels: int = 24) -> str:
    rows = [
        ",".join(f"{first + channel + frame / 10:g}" for frame in range(frames))
        for channel in range(channels)
    ]
    return ":".join([*rows, label])


def archive(root: Path, **files: list[str]) -> Path:
    for name, lines in files.items():
        head = ["# about", "@problemName NATOPS", "@timeStamps false", "@classLabel true 1.0 2.0", "@data"]
        (root / f"NATOPS_{name}.ts").write_text("\n".join([*head, *lines]) + "\n", "utf-8")
    return root


def test_each_sequence_is_a_clip_of_its_own(tmp_path: Path) -> None:
    lines = [sequence(0, "1.0"), sequence(100, "6.0", frames=5), sequence(200, "2.0")]
    manifest = Natops().read(archive(tmp_path, TRAIN=lines, TEST=lines[:1]))
    assert (len(manifest.split("train")), len(manifest.split("test"))) == (3, 1)
    found = [open_stream(clip, "points", manifest.streams["points"]).read(every).values for clip in manifest]
    assert [len(values) for values in found] == [3, 5, 3, 3]
    assert found[1].shape == (5, 8, 3)
    assert found[1][0, 0].tolist() == [100, 101, 102]
    assert found[1][2, 7, 2] == pytest.approx(123.2)
    assert manifest[1].labels == {"label": "lock wings"}


def test_missing_values_are_points_that_were_not_seen(tmp_path: Path) -> None:
    root = archive(tmp_path, TRAIN=["?,2:1,?:1,2:1.0"])
    values = open_source(root / "NATOPS_TRAIN.ts", "points", fps=20).read(every).values
    assert np.isnan(values[:, 0]).any(1).all()


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (sequence(0, "7.0"), "class '7.0'"),
        (sequence(0, "x"), "class 'x'"),
        ("1,2:3:1.0", "values"),
        ("1,a:3,4:1.0", "numbers"),
        (sequence(0, "1.0", channels=3), "channels"),
        ("", "no sequence"),
    ],
)
def test_a_line_that_was_never_released_is_told_by_its_number(tmp_path: Path, line: str, word: str) -> None:
    good = [sequence(0, "1.0")] if line else []
    root = archive(tmp_path, TRAIN=[*good, line])
    with pytest.raises(DataError, match=word) as told:
        Natops().read(root)
    assert "\n" not in str(told.value)
    assert not line or "line 7" in str(told.value)


def test_neither_file_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"NATOPS_TRAIN\.ts"):
        Natops().read(tmp_path)


@pytest.mark.skipif(not (SHARED / "natops").is_dir(), reason=f"no NATOPS at {SHARED}")
def test_the_real_archive_has_its_counts() -> None:
    manifest = Natops().read(SHARED / "natops")
    assert len(manifest) == 180
    assert np.bincount(manifest.targets("label")).tolist() == [30] * 6
    lengths = {
        len(open_stream(clip, "points", manifest.streams["points"]).read(every).times) for clip in manifest
    }
    assert lengths == {51}


# --- stacked arrays and asl16 ----------------------------------------------------------------------


def stacks(root: Path, **changes: object) -> Path:
    """A small release of asl16: 3, 2 and 2 sequences of 4 frames, each filled with its own number."""
    arrays: dict[str, object] = {}
    for begin, count, part in ((0, 3, "Train"), (3, 2, "Valid"), (5, 2, "Test")):
        arrays[f"X_{part}"] = np.arange(begin, begin + count, dtype=np.float32)[:, None, None] * np.ones(
            (1, 4, 158)
        )
        arrays[f"y_{part}"] = np.array(["yes", "no", "eat"][:count])
    np.savez_compressed(root / "asl16.npz", **(arrays | changes))
    return root


def test_each_stacked_sequence_is_a_clip_of_its_own(tmp_path: Path) -> None:
    manifest = Asl16().read(stacks(tmp_path))
    assert [len(manifest.split(split)) for split in ("train", "val", "test")] == [3, 2, 2]
    for number, clip in enumerate(manifest):
        values = open_stream(clip, "series", manifest.streams["series"]).read(every).values
        np.testing.assert_array_equal(values, np.full((4, 158), number, np.float32))
    assert [clip.labels["label"] for clip in manifest] == ["yes", "no", "eat", "yes", "no", "yes", "no"]


def test_a_stack_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    manifest = Asl16().read(stacks(tmp_path))
    read = lambda: open_stream(manifest[6], "series", manifest.streams["series"]).read(every).values  # noqa: E731
    assert read().max() == 6
    stacks(tmp_path, X_Test=np.full((2, 4, 158), 9, np.float32))
    os.utime(tmp_path / "asl16.npz", ns=(1, 1))
    assert read().max() == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"X_Train": np.ones((3, 4, 157))}, {"X_Train": np.ones((2, 4, 158))}, {"y_Test": np.ones(2)},
        {"y_Test": np.array(["yes", "perhaps"])}, {"X_Valid": np.ones((2, 158))}, {"X_Test": np.array(["a"])},
        {"X_Test": np.ones((2, 5, 158))}, {"X_Test": np.full((2, 4, 158), np.inf)},
    ],
)  # fmt: skip
def test_stacks_that_were_never_released_are_told_in_one_line(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    def read_all() -> None:
        manifest = Asl16().read(root)
        for clip in manifest:
            open_stream(clip, "series", manifest.streams["series"]).read(every)

    root = stacks(tmp_path, **changes)
    with pytest.raises(DataError) as told:
        read_all()
    assert "\n" not in str(told.value)
    assert "asl16.npz" in str(told.value)


@pytest.mark.skipif(not (SHARED / "asl16").is_dir(), reason=f"no asl16 at {SHARED}")
def test_the_real_stacks_have_their_counts() -> None:
    manifest = Asl16().read(SHARED / "asl16")
    assert [len(manifest.split(split)) for split in ("train", "val", "test")] == [640, 80, 80]
    assert np.bincount(manifest.targets("label")).tolist() == [50] * 16
    last = open_stream(manifest[799], "series", manifest.streams["series"]).read(every).values
    with np.load(SHARED / "asl16" / "asl16.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(last, arrays["X_Test"][-1])


@pytest.mark.skipif(not (SHARED / "utd_mhad").is_dir(), reason=f"no UTD-MHAD at {SHARED}")
def test_the_real_sensor_is_read_for_training() -> None:
    manifest = UtdMhad().read(SHARED / "utd_mhad")
    settings = ClipSettings(streams=("series",), frames=64, series=SeriesSettings(normalise="clip"))
    clips = TrainingClips(manifest, Preprocessing(settings, manifest.streams), AugmentSettings(), 0)
    sample = clips[Place(7)]
    assert not sample.failure
    assert sample.streams["series"].shape == (64, 6)
    assert abs(float(sample.streams["series"].mean())) < 0.1
