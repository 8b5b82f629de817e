"""Folders of pictures: the right order, no silent gap, the pixels that Pillow would give."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mudra.errors import DataError
from mudra.sources import FrameFolder, Limits, open_source, verify
from mudra.sources.images import read_image
from mudra.sources.limits import DEFAULT_LIMITS


def everything(times):
    return np.arange(len(times))


def picture(value, size=(24, 16)):
    """A plain RGB picture."""
    return Image.new("RGB", size, (value, value, value))


def folder_of(path, names, size=(24, 16)):
    """A folder whose n-th named picture has the brightness 5 n."""
    path.mkdir(exist_ok=True)
    for place, name in enumerate(names):
        picture(5 * place, size).save(path / name)
    return path


def textured(mode="RGB"):
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((177, 101), Image.Resampling.BICUBIC).convert(mode)


def as_pillow_reads(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@settings(max_examples=20, deadline=None)
@given(
    first=st.integers(0, 120),
    count=st.integers(1, 12),
    style=st.sampled_from(["{:05d}.png", "{}.png", "img_{:03d}.PNG", "clip7_frame{}.png", "{:04d}_rgb.png"]),
    data=st.data(),
)
def test_pictures_come_by_number_in_the_order_chosen(tmp_path_factory, first, count, style, data):
    names = [style.format(number) for number in range(first, first + count)]
    folder = folder_of(tmp_path_factory.mktemp("frames"), names)
    chosen = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=8))
    stream = FrameFolder(folder, fps=10).read(lambda times: np.array(chosen))
    assert stream.values[:, 0, 0, 0].tolist() == [5 * number for number in chosen]
    np.testing.assert_allclose(stream.times, np.array(chosen) / 10)


def test_numbers_and_not_letters_give_the_order(tmp_path):
    folder = folder_of(tmp_path / "f", [f"{number}.png" for number in range(8, 13)])
    assert FrameFolder(folder, fps=1).read(everything).values[:, 0, 0, 0].tolist() == [0, 5, 10, 15, 20]


def test_other_files_are_passed_over(tmp_path):
    folder = folder_of(tmp_path / "f", ["00001.png", "00002.png"])
    for name in ("Thumbs.db", ".00003.png", "notes 7.txt"):
        (folder / name).write_bytes(b"x")
    assert len(FrameFolder(folder, fps=1).read(everything).values) == 2


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["7.png", "8.png", "10.png"], "9.png"),
        (["a_099_rgb.jpg", "a_101_rgb.jpg"], "a_100_rgb.jpg"),
        (["clip7_frame8.PNG", "clip7_frame10.PNG"], "clip7_frame9.PNG"),
    ],
)
def test_a_missing_number_is_named_as_its_neighbours_are(tmp_path, names, missing):
    with pytest.raises(DataError, match=rf"f: {missing} is missing between {names[0]} and {names[-1]}"):
        FrameFolder(folder_of(tmp_path / "f", names), fps=12).read(everything)


def test_mixed_names_are_ordered_by_number(tmp_path):
    folder = folder_of(tmp_path / "f", ["1.png", "b_2.JPG", "a_3.png", "04.jpeg", "x0005y.png"])
    assert FrameFolder(folder, fps=1).read(everything).values[:, 0, 0, 0].tolist() == [0, 5, 10, 15, 20]


def test_a_missing_number_is_named_and_nothing_shifts(tmp_path):
    folder = folder_of(tmp_path / "f", [f"{number:05d}.jpg" for number in range(1, 13) if number != 7])
    with pytest.raises(DataError, match=r"f: 00007\.jpg is missing between 00001\.jpg and 00012\.jpg"):
        FrameFolder(folder, fps=12).read(everything)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["00001.png", "00001.jpg"], "number 1 is there twice"),
        (["a_1.png", "b_1.png"], "number 1 is there twice"),
        (["1.png", "01.png"], "number 1 is there twice"),
        (["one.png"], "has no number"),
        ([f"{'9' * 40}.png"], "has no number"),
        ([], "holds no .jpg or .png pictures"),
    ],
)
def test_a_folder_without_a_clear_order_is_refused(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        FrameFolder(folder_of(tmp_path / "f", names), fps=12).read(everything)


@pytest.mark.parametrize(
    ("fps", "message"), [(None, "dataset.json"), (0.0, "above 0"), (float("nan"), "above 0")]
)
def test_a_folder_needs_a_rate(tmp_path, fps, message):
    folder = folder_of(tmp_path / "f", ["1.png"])
    with pytest.raises(DataError, match=message):
        FrameFolder(folder, fps=fps).read(everything)


def test_a_part_is_cut_by_seconds(tmp_path):
    folder = folder_of(tmp_path / "f", [f"{number}.png" for number in range(10)])
    stream = FrameFolder(folder, fps=10, start=0.3, stop=0.6).read(everything)
    assert stream.values[:, 0, 0, 0].tolist() == [15, 20, 25]
    np.testing.assert_allclose(stream.times, [0.3, 0.4, 0.5])
    with pytest.raises(DataError, match="no frame lies between 3 s and its end"):
        FrameFolder(folder, fps=10, start=3.0).read(everything)


def test_pictures_of_different_sizes_are_refused(tmp_path):
    folder = folder_of(tmp_path / "f", ["1.jpg", "2.png", "3.jpg"])
    picture(0, (24, 18)).save(folder / "3.jpg")
    with pytest.raises(DataError, match=r"3\.jpg: the picture changes from 24x16 to 24x18"):
        FrameFolder(folder, fps=1).read(everything)
    picture(0, (18, 24)).save(folder / "2.png")
    with pytest.raises(DataError, match=r"2\.png: the picture changes"):
        FrameFolder(folder, fps=1).read(everything)
    with pytest.raises(DataError, match=r"2\.png: the picture changes"):
        verify(folder, "video", fps=1)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_pixels_are_those_of_pillow(tmp_path, mode, subsampling, progressive):
    path = tmp_path / "1.jpg"
    textured(mode).save(path, quality=80, subsampling=subsampling, progressive=progressive)
    np.testing.assert_array_equal(read_image(path, "video", DEFAULT_LIMITS), as_pillow_reads(path))
    out = np.zeros((101, 177, 3), np.uint8)
    assert read_image(path, "video", DEFAULT_LIMITS, out) is not None
    np.testing.assert_array_equal(out, as_pillow_reads(path))


def test_jpegs_of_different_sorts_may_share_a_folder(tmp_path):
    for number, mode in enumerate(["RGB", "CMYK", "L"]):
        textured(mode).save(tmp_path / f"{number}.jpg", subsampling="4:4:4")
    expected = [as_pillow_reads(tmp_path / f"{number}.jpg") for number in range(3)]
    np.testing.assert_array_equal(FrameFolder(tmp_path, fps=1).read(everything).values, expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "LA", "1"])
def test_png_pixels_are_those_of_pillow(tmp_path, mode):
    path = tmp_path / "1.png"
    textured(mode).save(path)
    np.testing.assert_array_equal(read_image(path, "video", DEFAULT_LIMITS), as_pillow_reads(path))


def test_a_png_that_is_called_jpg_is_read_for_what_it_is(tmp_path):
    textured().save(tmp_path / "1.jpg", format="PNG")
    np.testing.assert_array_equal(
        read_image(tmp_path / "1.jpg", "video", DEFAULT_LIMITS), np.asarray(textured())
    )


def test_depth_keeps_its_sixteen_bits(tmp_path):
    depth = np.random.default_rng(0).integers(0, 65536, (3, 9, 11)).astype(np.uint16)
    for number, values in enumerate(depth):
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    stream = open_source(tmp_path, "depth", fps=30).read(everything)
    assert (stream.kind, stream.values.dtype) == ("depth", np.uint16)
    np.testing.assert_array_equal(stream.values, depth)


def test_masks_keep_their_numbers(tmp_path):
    mask = np.random.default_rng(0).integers(0, 7, (9, 11)).astype(np.uint8)
    grey = Image.fromarray(mask)
    palette = Image.fromarray(mask, mode="L").convert("P")
    palette.putdata(mask.ravel().tolist())
    palette.putpalette([255, 0, 9] * 256)
    truth = Image.fromarray(mask > 3)
    for number, image in enumerate((grey, palette, truth)):
        image.save(tmp_path / f"{number}.png")
    values = open_source(tmp_path, "mask", fps=30).read(everything).values
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, [mask, mask, mask > 3])


@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [
        ("L", "depth", "depth needs 16-bit grey"),
        ("RGB", "depth", "depth needs"),
        ("RGB", "mask", "one channel"),
    ],
)
def test_pictures_of_the_wrong_sort_are_refused(tmp_path, mode, kind, message):
    textured(mode).save(tmp_path / "1.png")
    with pytest.raises(DataError, match=message):
        open_source(tmp_path, kind, fps=30).read(everything)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("damage", ["cut", "hole", "empty", "text"])
def test_damaged_pictures_are_named(tmp_path, suffix, damage):
    path = tmp_path / f"3.{suffix}"
    textured().save(path)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "hole":
        del data[len(data) // 2 : len(data) // 2 + 99]
    else:
        data = bytearray(b"" if damage == "empty" else b"<html>no</html>")
    path.write_bytes(bytes(data))
    with pytest.raises(DataError) as caught:
        FrameFolder(tmp_path, fps=1).read(everything)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_by_its_header(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side, message in ((9_000, "measures 9000x9000, more than the 16,777,216"), (60_000, "far too large")):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 9)), (b"IEND", b""))
        bomb = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
        (tmp_path / "1.png").write_bytes(bomb)
        with pytest.raises(DataError, match=message):
            FrameFolder(tmp_path, fps=1).read(everything)
    jpeg = io.BytesIO()
    textured().save(jpeg, "JPEG")
    data = bytearray(jpeg.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 20_000, 20_000)
    (tmp_path / "1.png").unlink()
    (tmp_path / "1.jpg").write_bytes(bytes(data))
    with pytest.raises(DataError, match="measures 20000x20000"):
        FrameFolder(tmp_path, fps=1).read(everything)


def test_limits_hold_for_folders(tmp_path):
    folder = folder_of(tmp_path / "f", [f"{number}.png" for number in range(5)])
    for limits, message in [
        (Limits(pixels=24 * 15), "more than the 360 pixels"),
        (Limits(frames=4), "more than 4 frames"),
        (Limits(bytes=24 * 16 * 3 * 5 - 1), "of memory"),
    ]:
        with pytest.raises(DataError, match=message):
            FrameFolder(folder, fps=1, limits=limits).read(everything)
    FrameFolder(folder, fps=1, limits=Limits(24 * 16, 5, 24 * 16 * 3 * 5)).read(everything)


def test_a_pipe_among_the_pictures_is_refused_at_once(tmp_path):
    folder = folder_of(tmp_path / "f", ["1.png"])
    os.mkfifo(folder / "2.png")
    with pytest.raises(DataError, match=r"2\.png: not an ordinary file"):
        FrameFolder(folder, fps=1).read(everything)


def test_facts_of_a_folder(tmp_path):
    folder = folder_of(tmp_path / "f", [f"{number}.jpg" for number in range(24)])
    facts = verify(folder, "video", fps=12)
    assert (facts.frames, facts.width, facts.height, facts.rotation) == (24, 24, 16, 0)
    assert (facts.fps, facts.duration) == (pytest.approx(12), pytest.approx(2))
    (folder / "11.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"11\.jpg"):
        verify(folder, "video", fps=12)


def test_paths_that_cannot_hold_a_stream_are_told(tmp_path):
    folder = folder_of(tmp_path / "f", ["1.png"])
    with pytest.raises(DataError, match=r"points are read from \.npy, \.npz, \.mat or \.ts"):
        open_source(folder, "points", fps=1)
    with pytest.raises(DataError, match="mask is read from a folder"):
        open_source(tmp_path / "a.mp4", "mask")
    with pytest.raises(DataError, match="cannot be listed"):
        FrameFolder(tmp_path / "absent", fps=1).read(everything)
    with pytest.raises(DataError, match="no such file"):
        open_source(Path(tmp_path / "absent"), "video").read(everything)
