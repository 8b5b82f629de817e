"""NumPy files: never unpickled, never trusted for their size, refused in one line when wrong."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mudra.errors import DataError
from mudra.sources import ArraySource, Limits, npy, open_source, verify

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(9, 5, 3)).astype(np.float32)
PLAIN = {
    "video": RNG.integers(0, 256, (9, 6, 8, 3)).astype(np.uint8),
    "depth": RNG.integers(0, 65536, (9, 6, 8)).astype(np.uint16),
    "mask": RNG.integers(0, 9, (9, 6, 8)).astype(np.uint8),
    "points": POINTS,
    "series": RNG.normal(size=(9, 4)).astype(np.float32),
}


def everything(times):
    return np.arange(len(times))


def refusal(path, kind, fps=10.0):
    """The one line with which reading is refused; checking the whole file must refuse too."""
    with pytest.raises(DataError) as caught:
        ArraySource(path, kind, fps).read(everything)
    with pytest.raises(DataError):
        verify(path, kind, fps)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@contextmanager
def at_most_megabytes(count):
    """Fails if what runs inside ever holds more than so much memory."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < count * 1e6
    finally:
        tracemalloc.stop()


def saved(path, array):
    np.save(path, array, allow_pickle=array.dtype.hasobject)
    return path


@pytest.fixture(params=["npy", "npz", "packed npz", "Fortran npy", "big-endian npz"])
def written(request, tmp_path):
    """A function that writes one array in one of the ways in which it may lie on the disk."""

    def write(kind, values):
        if request.param.endswith("npy"):
            return saved(
                tmp_path / "a.npy", np.asfortranarray(values) if "Fortran" in request.param else values
            )
        if "big" in request.param:
            values = values.astype(values.dtype.newbyteorder(">"))
        pack = np.savez_compressed if "packed" in request.param else np.savez
        pack(tmp_path / "a.npz", **{kind: values})
        return tmp_path / "a.npz"

    return write


@pytest.mark.parametrize("kind", PLAIN)
def test_the_chosen_moments_come_in_the_order_chosen(written, kind):
    path = written(kind, PLAIN[kind])
    stream = open_source(path, kind, fps=10).read(lambda times: np.array([8, 0, 0, 3]))
    assert (stream.kind, stream.values.dtype) == (kind, PLAIN[kind].dtype)
    np.testing.assert_array_equal(stream.values, PLAIN[kind][[8, 0, 0, 3]])
    np.testing.assert_allclose(stream.times, [0.8, 0, 0, 0.3])
    assert stream.values.dtype.isnative
    assert stream.values.flags.writeable
    facts = verify(path, kind, fps=10)
    size = (8, 6) if kind in ("video", "depth", "mask") else (0, 0)
    assert (facts.frames, facts.width, facts.height, facts.duration) == (9, *size, pytest.approx(0.9))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), packed=st.booleans())
def test_a_part_is_cut_by_the_files_own_times(tmp_path_factory, data, packed):
    times = np.cumsum(data.draw(st.lists(st.integers(0, 50), min_size=9, max_size=9))) / 100
    start = data.draw(st.integers(0, 300)) / 100
    stop = start + data.draw(st.integers(1, 300)) / 100
    path = tmp_path_factory.mktemp("part") / "a.npz"
    (np.savez_compressed if packed else np.savez)(path, points=POINTS, times=times)
    inside = (times >= start - 1e-9) & (times < stop - 1e-9)
    source = ArraySource(path, "points", start=start, stop=stop)
    if not inside.any():
        with pytest.raises(DataError, match="no frame lies between"):
            source.read(everything)
        return
    stream = source.read(everything)
    np.testing.assert_array_equal(stream.times, times[inside])
    np.testing.assert_array_equal(stream.values, POINTS[inside])


def test_unseen_points_stay_unseen_and_scores_come_along(tmp_path):
    points, score = POINTS.copy(), RNG.random((9, 5))
    points[2, 1], score[2, 1] = np.nan, np.nan
    np.savez(tmp_path / "a.npz", points=points, score=score)
    stream = ArraySource(tmp_path / "a.npz", "points", 30).read(lambda times: np.array([2, 5]))
    assert np.isnan(stream.values[0, 1]).all()
    assert np.isfinite(stream.values).sum() == 2 * 5 * 3 - 3
    assert stream.score is not None
    assert stream.score.dtype == np.float32
    np.testing.assert_allclose(stream.score, np.nan_to_num(score[[2, 5]]), rtol=1e-6)


def test_several_streams_of_one_file_share_its_times(tmp_path):
    times = np.arange(9) / 7
    np.savez(tmp_path / "a.npz", times=times, **PLAIN)
    for kind, values in PLAIN.items():
        stream = ArraySource(tmp_path / "a.npz", kind, fps=99).read(everything)
        np.testing.assert_array_equal(stream.values, values)
        np.testing.assert_array_equal(stream.times, times)
        assert stream.score is None


@pytest.mark.parametrize(
    ("kind", "values", "kept"),
    [
        ("points", np.ones((2, 3, 2), np.float64), np.float32),
        ("points", np.ones((2, 3, 2), np.int32), np.float32),
        ("series", np.ones((2, 3), np.float16), np.float32),
        ("depth", np.ones((2, 3, 4), np.uint8), np.uint16),
        ("mask", np.ones((2, 3, 4), bool), np.uint8),
    ],
)
def test_types_that_lose_nothing_are_taken(tmp_path, kind, values, kept):
    stream = ArraySource(saved(tmp_path / "a.npy", values), kind, 10).read(everything)
    assert stream.values.dtype == kept
    np.testing.assert_array_equal(stream.values, values)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("points", np.ones((9, 5)), r"points of shape \(9, 5\); expected \[T,K,C\]; C is 2 or 3"),
        ("points", np.ones((9, 5, 4)), r"C is 2 or 3"),
        ("points", np.ones((9, 5, 3), complex), "points of type complex128; expected float32"),
        ("points", np.ones((9, 5, 3), bool), "points of type bool"),
        ("points", np.full((9, 5, 3), "x"), "points of type <U1"),
        ("points", np.full((9, 5, 2), np.inf), r"points holds inf at \(0, 0, 0\)"),
        ("points", np.full((9, 5, 2), 1e300), "points holds inf"),
        ("points", np.ones((0, 5, 2)), "holds nothing"),
        ("points", np.ones((9, 0, 2)), "holds nothing"),
        ("series", np.ones(9), r"expected \[T,C\]"),
        ("series", np.full((9, 2), np.inf), r"series holds inf at \(0, 0\); expected numbers, or NaN"),
        ("video", np.ones((9, 6, 8), np.uint8), r"expected \[T,H,W,3\]"),
        ("video", np.ones((9, 6, 8, 4), np.uint8), r"expected \[T,H,W,3\]"),
        ("video", np.ones((9, 6, 8, 3), np.float32), "video of type float32; expected uint8"),
        ("video", np.ones((9, 6, 8, 3), np.int8), "video of type int8"),
        ("video", np.ones((9, 6, 8, 3), np.uint16), "video of type uint16"),
        ("depth", np.ones((9, 6, 8), np.int16), "depth of type int16; expected uint16"),
        ("depth", np.ones((9, 6, 8), np.uint32), "depth of type uint32"),
        ("mask", np.ones((9, 6, 8, 1), np.uint8), r"expected \[T,H,W\]"),
        ("points", np.array(5.0), r"shape \(\)"),
        ("points", np.zeros(3, [("x", "f4"), ("y", "f4")]), "shape"),
    ],
)
def test_wrong_shapes_types_and_values_are_refused(tmp_path, kind, values, message):
    with pytest.raises(DataError, match=message):
        ArraySource(saved(tmp_path / "a.npy", values), kind, 10).read(everything)
    refusal(tmp_path / "a.npy", kind)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"times": np.arange(8) / 10}, "times of shape (8,)"),
        ({"times": np.arange(9)[:, None] / 10}, "times of shape (9, 1)"),
        ({"times": np.array(["x"] * 9)}, "type <U1; expected 9 numbers"),
        ({"times": np.array([0, 1, 2, 3, np.nan, 5, 6, 7, 8])}, "times[4] is not finite"),
        ({"times": np.array([0, 1, 2, 1.5, 4, 5, 6, 7, 8])}, "times fall at 3 (2 s, then 1.5 s)"),
        ({"score": np.ones((9, 4))}, "score of shape (9, 4)"),
        ({"score": np.full((9, 5), np.inf)}, "score holds an infinite value"),
    ],
)
def test_wrong_times_and_scores_are_refused(tmp_path, extra, message):
    np.savez(tmp_path / "a.npz", points=POINTS, **extra)
    assert message in refusal(tmp_path / "a.npz", "points")


def test_a_rate_is_needed_where_there_are_no_times(tmp_path):
    assert "dataset.json" in refusal(saved(tmp_path / "a.npy", POINTS), "points", fps=None)


def test_a_misnamed_array_is_told_with_what_is_there(tmp_path):
    np.savez(tmp_path / "a.npz", pionts=POINTS)
    message = refusal(tmp_path / "a.npz", "points")
    assert "has no array 'points', only pionts; name it so. Did you mean 'pionts'?" in message


class Canary:
    """Leaves a mark if anything unpickles it."""

    def __reduce__(self):
        return (os.mkdir, ("canary",))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_python_objects_are_never_unpickled(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    array = np.array([Canary(), 1], dtype=object)
    if name.endswith("npz"):
        np.savez(name, points=array)
    else:
        np.save(name, array, allow_pickle=True)
    assert "holds Python objects, which are never loaded" in refusal(tmp_path / name, "points")
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Canary()))
    assert "not a NumPy array" in refusal(tmp_path / "b.npy", "points")
    assert not (tmp_path / "canary").exists()


def npy_header(shape, dtype="<f4"):
    """The header of an array that need not be there."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(path, name, data, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, data)
    return path


def test_a_bomb_in_the_header_itself_is_refused(tmp_path):
    bomb = b"\x93NUMPY\x02\x00" + struct.pack("<I", 5 * 10**7)
    zipped(tmp_path / "a.npz", "points.npy", bomb + b" " * 5 * 10**7)
    with at_most_megabytes(5):
        assert "its header is too long" in refusal(tmp_path / "a.npz", "points")


def test_a_bomb_is_refused_by_its_header(tmp_path):
    header = npy_header((10**6, 10**4, 3))
    bomb = zipped(tmp_path / "a.npz", "points.npy", header + b"\0" * 10**7)
    (tmp_path / "a.npy").write_bytes(header)
    with at_most_megabytes(5):
        assert "GB of memory, more than the 4.3 GB allowed" in refusal(bomb, "points")
        assert "GB of memory" in refusal(tmp_path / "a.npy", "points")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_less_than_announced_is_refused(tmp_path, method):
    path = zipped(tmp_path / "a.npz", "points.npy", npy_header((9, 5, 3)) + b"\0" * 100, method)
    assert "bytes of 540 announced" in refusal(path, "points")
    (tmp_path / "a.npy").write_bytes(npy_header((9, 5, 3)) + b"\0" * 539)
    assert "holds 539 bytes of 540 announced" in refusal(tmp_path / "a.npy", "points")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"<html>",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00" + b" " * 100,
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"(" * 10_000,
        b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10_000,
        npy_header((-1, 5, 3)),
        npy_header((2**62, 2**62, 3)),
        npy_header("(1, 2, 3), __import__('os').mkdir('canary')"),
        npy_header((9, 5, 3), "|O"),
        npy_header((9, 5, 3), "|V0"),
    ],
)
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_what_is_no_array_is_refused(tmp_path, monkeypatch, data, name):
    monkeypatch.chdir(tmp_path)
    if name.endswith("npz") and data.startswith(b"\x93"):
        zipped(tmp_path / name, "points.npy", data)
    else:
        (tmp_path / name).write_bytes(data)
    refusal(tmp_path / name, "points")
    assert not (tmp_path / "canary").exists()


def test_damage_anywhere_in_an_npz_is_one_line(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, points=RNG.integers(0, 9, (9, 5, 3)), times=np.arange(9))
    original, rng = buffer.getvalue(), np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        data = bytearray(original)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        (tmp_path / "a.npz").write_bytes(bytes(data[: rng.integers(1, 2 * len(data))]))
        try:
            ArraySource(tmp_path / "a.npz", "points").read(everything)
        except DataError:
            refused += 1
    assert refused > 75


def test_only_the_wanted_frames_of_an_uncompressed_video_are_read(tmp_path):
    """Of 30 MB of zeros, three frames of 300 kB are touched."""
    for name, header_place in (("a.npy", 0), ("a.npz", None)):
        path, header = tmp_path / name, npy_header((100, 320, 320, 3), "|u1")
        size = 100 * 320 * 320 * 3
        if header_place is None:
            with (
                zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive,
                archive.open("video.npy", "w", force_zip64=True) as member,
            ):
                member.write(header)
                for _ in range(100):
                    member.write(bytes(size // 100))
        else:
            path.write_bytes(header)
            os.truncate(path, len(header) + size)
        with at_most_megabytes(5):
            stream = ArraySource(path, "video", 30).read(lambda times: np.array([0, 50, 99]))
        assert stream.values.shape == (3, 320, 320, 3)


def test_limits_hold_for_arrays(tmp_path):
    path = saved(tmp_path / "a.npy", PLAIN["video"])
    for limits, message in [
        (Limits(pixels=47), "measures 8x6"),
        (Limits(frames=8), "more than 8 frames"),
        (Limits(bytes=9 * 6 * 8 * 3 - 1), "of memory"),
    ]:
        with pytest.raises(DataError, match=message):
            ArraySource(path, "video", 10, limits=limits).read(everything)
    ArraySource(path, "video", 10, limits=Limits(48, 9, 9 * 6 * 8 * 3)).read(everything)
    repeated = ArraySource(path, "video", 10, limits=Limits(48, 9, 9 * 6 * 8 * 3))
    with pytest.raises(DataError, match="of memory"):
        repeated.read(lambda times: np.zeros(10, int))


def test_what_is_no_ordinary_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    assert "not an ordinary file" in refusal(tmp_path / "a.npy", "points")
    (tmp_path / "b.npz").mkdir()
    assert "not an ordinary file" in refusal(tmp_path / "b.npz", "points")


def test_sources_need_no_torch():
    script = "import sys, mudra.sources; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", script]) == 0


def test_a_packed_array_is_unpacked_once(tmp_path, monkeypatch):
    unpacked = []
    unpack = npy._Members._unpacked
    monkeypatch.setattr(npy._Members, "_unpacked", lambda *a: unpacked.append(a[2]) or unpack(*a))
    np.savez_compressed(tmp_path / "a.npz", points=POINTS, other=POINTS)
    ArraySource(tmp_path / "a.npz", "points", 10).read(everything)
    assert len(unpacked) == 1
