"""The right frames, at the right times, upright, in the right colours, and no more decoded than needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources import Limits, VideoSource, decoding, open_source, verify
from mudra.sources.decoding import leans_nobody
from mudra.types import Choose, Stream
from tests.video_files import (
    numbered_picture,
    numbers_of,
    remux,
    set_display_matrix,
    write_video,
)

X265 = {"x265-params": "log-level=none:bframes=3:keyint=20:open-gop=1"}
OPEN_GOP = {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}
UNEVEN = [0.0, 0.1, 0.15, 0.4, 0.41, 0.9, 1.5, 1.51, 2.0, 3.0]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "constant rate": ("a.mp4", {}),
    "many B frames": ("a.mp4", {"count": 60, "options": {"g": "15", "bf": "3"}}),
    "one long group": ("a.mp4", {"count": 260, "options": {"g": "250"}}),
    "open groups": ("a.mp4", {"count": 60, "options": OPEN_GOP}),
    "open groups, Matroska": ("a.mkv", {"count": 60, "options": OPEN_GOP}),
    "variable rate": ("a.mp4", {"seconds": UNEVEN}),
    "begins at 5 s": ("a.mp4", {"begin": 5.0}),
    "begins at 5 s, Matroska": ("a.mkv", {"begin": 5.0}),
    "fragments": ("a.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "10"}}),
    "interlaced": ("a.mp4", {"options": {"flags": "+ilme+ildct", "x264-params": "tff=1:bframes=3"}}),
    "HEVC": ("a.mp4", {"codec": "libx265", "count": 60, "options": X265}),
    "VP9": ("a.webm", {"codec": "libvpx-vp9"}),
    "VP8": ("a.webm", {"codec": "libvpx"}),
    "MPEG-4 in AVI": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "H.264 in AVI": ("a.avi", {"options": {"bf": "2"}}),
    "transport stream": ("a.ts", {"begin": 2.0}),
    "Motion JPEG": ("a.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    "GIF": ("a.gif", {"codec": "gif", "pixels": "rgb8", "fps": 10}),
}


def everything(times: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.arange(len(times), dtype=np.int64)


def just(*numbers: int) -> Choose:
    return lambda times: np.array(numbers, np.int64)


@pytest.fixture(scope="module", params=list(KINDS))
def video(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Stream, list[float]]:
    """One video of each kind, all of its frames, and when they should be shown."""
    name, how = KINDS[request.param]
    path = write_video(tmp_path_factory.mktemp("video") / name, **how)
    count, fps = how.get("count", 30), how.get("fps", 30)
    return path, VideoSource(path).read(everything), how.get("seconds", [i / fps for i in range(count)])


def test_every_frame_comes_once_and_in_order(video: tuple[Path, Stream, list[float]]) -> None:
    _, full, seconds = video
    assert numbers_of(full.values) == list(range(len(seconds)))


def test_times_begin_at_zero_and_are_those_that_were_written(video: tuple[Path, Stream, list[float]]) -> None:
    _, full, seconds = video
    assert full.times[0] == 0.0
    np.testing.assert_allclose(full.times, seconds, atol=6e-4)  # Matroska and FLV count milliseconds


def test_chosen_frames_equal_those_of_a_full_decode(video: tuple[Path, Stream, list[float]]) -> None:
    path, full, _ = video
    rng = np.random.default_rng(0)
    for _ in range(6):  # in any order, with repeats, backwards
        numbers = rng.integers(0, len(full.times), rng.integers(1, 6))
        some = VideoSource(path).read(just(*numbers))
        np.testing.assert_array_equal(some.values, full.values[numbers])
        np.testing.assert_array_equal(some.times, full.times[numbers])


def test_a_part_holds_the_frames_of_its_seconds(video: tuple[Path, Stream, list[float]]) -> None:
    path, full, _ = video
    rng = np.random.default_rng(1)
    bounds = [(full.times[3], full.times[6]), *np.sort(rng.uniform(0, full.times[-1], (5, 2)))]
    for start, stop in bounds:
        inside = (full.times >= start - 1e-6) & (full.times < stop - 1e-6)
        source = VideoSource(path, start=float(start), stop=float(stop))
        if not inside.any():
            with pytest.raises(DataError, match="no frame lies between"):
                source.read(everything)
            continue
        part = source.read(everything)
        np.testing.assert_array_equal(part.times, full.times[inside])
        np.testing.assert_array_equal(part.values, full.values[inside])


def test_facts_say_what_was_written(video: tuple[Path, Stream, list[float]]) -> None:
    path, _, seconds = video
    facts = verify(path, "video")
    assert (facts.frames, facts.width, facts.height, facts.rotation) == (len(seconds), 80, 48, 0)
    assert facts.fps == pytest.approx((len(seconds) - 1) / seconds[-1], rel=2e-3)
    assert facts.duration == pytest.approx(seconds[-1], abs=0.12)
    assert facts.duration > seconds[-1]


@pytest.fixture(scope="module")
def spied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[bool]]]:
    """A clip of five groups with B frames, and a list that notes every packet that is decoded."""
    path = write_video(
        tmp_path_factory.mktemp("spied") / "a.mp4",
        100,
        options={"g": "20", "bf": "3", "x264-params": "scenecut=0:b-adapt=0"},
    )
    sent: list[bool] = []
    honest = decoding._decoded

    def spy(context: av.VideoCodecContext, packet: Any) -> list[av.VideoFrame]:
        if packet is not None:
            sent.append(context.skip_frame == "NONREF")
        return honest(context, packet)

    patch = pytest.MonkeyPatch()
    patch.setattr(decoding, "_decoded", spy)
    yield path, sent
    patch.undo()


@pytest.mark.usefixtures("by_index")
def test_decoding_stops_after_the_last_wanted_frame(spied: tuple[Path, list[bool]]) -> None:
    path, sent = spied
    sent.clear()
    VideoSource(path).read(just(0))
    assert len(sent) == 1


@pytest.mark.usefixtures("by_index")
def test_groups_without_a_wanted_frame_are_passed_over(spied: tuple[Path, list[bool]]) -> None:
    path, sent = spied
    sent.clear()
    assert numbers_of(VideoSource(path).read(just(20, 80)).values) == [20, 80]
    assert len(sent) == 2


@pytest.mark.usefixtures("by_index")
def test_pictures_that_nobody_leans_on_are_skipped(spied: tuple[Path, list[bool]]) -> None:
    path, sent = spied
    sent.clear()
    assert numbers_of(VideoSource(path).read(just(19)).values) == [19]
    assert 5 <= sum(sent) <= 15
    assert len(sent) <= 20


@pytest.mark.usefixtures("by_index")
def test_a_part_of_a_long_file_is_sought(spied: tuple[Path, list[bool]]) -> None:
    path, sent = spied
    sent.clear()
    part = VideoSource(path, start=81 / 30, stop=83 / 30).read(everything)
    assert numbers_of(part.values) == [81, 82]
    assert len(sent) <= 8


def test_an_index_that_lies_gives_way_to_a_full_decode(tmp_path: Path) -> None:
    """Two packets swap the times at which they say they are shown; the order of decoding is the true one."""
    source = write_video(tmp_path / "a.mp4", 12, options={"bf": "0"})

    def swap(number: int, packet: av.Packet) -> bool:
        packet.pts = packet.dts + packet.duration * {5: 3, 6: 1}.get(number, 2)
        return True

    path = remux(source, tmp_path / "b.mp4", swap)
    asked: list[float] = []

    def choose(times: NDArray[np.float64]) -> NDArray[np.int64]:
        asked.append(len(times))
        return np.array([0, 5, 6, 11])

    stream = VideoSource(path).read(choose)
    assert numbers_of(stream.values) == [0, 5, 6, 11]
    np.testing.assert_allclose(stream.times, np.array([0, 5, 6, 11]) / 30, atol=1e-4)
    assert len(asked) > 1


def test_pictures_that_lean_on_what_was_cut_away_are_not_counted(tmp_path: Path) -> None:
    """A recording that begins at an open group: its first pictures cannot be decoded and are never shown."""
    source = write_video(tmp_path / "a.mkv", 60, codec="libx265", options=X265)
    with av.open(str(source)) as container:
        keys = [n for n, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    path = remux(source, tmp_path / "b.mkv", lambda number, _: number >= keys[1])
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) > 40, (
            "nothing leans on what is gone"
        )
    stream = VideoSource(path).read(everything)
    assert numbers_of(stream.values) == list(range(20, 60))
    np.testing.assert_allclose(stream.times, np.arange(40) / 30, atol=2e-3)
    assert verify(path, "video").frames == 40
    assert numbers_of(VideoSource(path).read(just(0, 39)).values) == [20, 59]
    assert numbers_of(VideoSource(path).read(just(10)).values) == [30], "also where none of them is wanted"
    assert numbers_of(VideoSource(path, start=0.5, stop=0.6).read(everything).values) == [35, 36, 37]


def test_frames_that_claim_the_same_moment_are_all_there(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", 12, options={"bf": "0"})

    def twice(number: int, packet: av.Packet) -> bool:
        packet.pts = packet.dts + packet.duration * (2 if number == 5 else 3)
        return True

    path = remux(source, tmp_path / "b.mp4", twice)
    with av.open(str(path)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert len(set(stamps)) == 11, "no two packets claim the same moment"
    stream = VideoSource(path).read(everything)
    assert numbers_of(stream.values) == list(range(12))
    assert (np.diff(stream.times) >= 0).all()
    assert numbers_of(VideoSource(path).read(just(9)).values) == [9]


@pytest.mark.parametrize("trusted", [False, True])
def test_hidden_frames_are_not_counted(
    tmp_path: Path, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VP8 may hold pictures that only later ones lean on; each has a packet and a time of its own.

    Its packets are therefore not believed; and if they were, decoding would find them out.
    """
    if trusted:
        monkeypatch.setattr("mudra.sources.index._CODECS", {"vp8"})
    path = write_video(tmp_path / "a.webm", 12, codec="libvpx")
    data = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0)]
    number = next(n for n in range(3, 9) if data.count(packets[n]) == 1)
    hidden = bytes([packets[number][0] & ~0x10]) + packets[number][1:]  # the show_frame bit
    path.write_bytes(data.replace(packets[number], hidden))
    shown = [n for n in range(12) if n != number]
    assert numbers_of(VideoSource(path).read(just(9)).values) == [shown[9]]
    assert numbers_of(VideoSource(path).read(everything).values) == shown
    assert verify(path, "video").frames == 11


@pytest.mark.usefixtures("by_index")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_every_part_of_a_file_with_open_groups_is_found(tmp_path: Path, name: str) -> None:
    """Some demuxers seek by the time of decoding and arrive a key frame late."""
    path = write_video(tmp_path / name, 60, options=OPEN_GOP)
    times = VideoSource(path).read(everything).times
    for number in range(58):
        part = VideoSource(path, start=times[number], stop=times[number + 2]).read(everything)
        assert numbers_of(part.values) == [number, number + 1]


def test_frames_before_an_edit_list_are_not_shown(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", 30, options={"bf": "0"})

    def shift(_: int, packet: av.Packet) -> bool:
        step = packet.duration * 5
        packet.pts, packet.dts = packet.pts - step, packet.dts - step
        return True

    path = remux(source, tmp_path / "b.mp4", shift, avoid_negative_ts="disabled", use_editlist="1")
    with av.open(str(path)) as container:
        assert sum(packet.is_discard for packet in container.demux(video=0)) == 5, "the file has no edit list"
    stream = VideoSource(path).read(everything)
    assert numbers_of(stream.values) == list(range(5, 30))
    assert stream.times[0] == 0.0
    part = VideoSource(path, start=0.0, stop=0.1).read(everything)
    assert numbers_of(part.values) == [5, 6, 7]
    part = VideoSource(path, start=0.1, stop=0.2).read(everything)
    assert numbers_of(part.values) == [8, 9, 10]


TURNS = {
    0: ((1, 0, 0, 1), lambda p: p),
    90: ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    180: ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    270: ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
}


@pytest.mark.parametrize("degrees", TURNS)
def test_a_turned_recording_is_stood_upright(tmp_path: Path, degrees: int) -> None:
    path = write_video(tmp_path / "a.mp4", 3, width=64, height=48)
    stored = VideoSource(path).read(everything).values
    matrix, turn = TURNS[degrees]
    set_display_matrix(path, *matrix)
    upright = VideoSource(path).read(everything).values
    np.testing.assert_array_equal(upright, [turn(picture) for picture in stored])
    facts = verify(path, "video")
    assert (facts.width, facts.height) == (upright.shape[2], upright.shape[1])
    assert facts.rotation == degrees


def test_a_mirrored_recording_is_mirrored_back(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 2)
    stored = VideoSource(path).read(everything).values
    set_display_matrix(path, -1, 0, 0, 1)
    np.testing.assert_array_equal(VideoSource(path).read(everything).values, stored[:, :, ::-1])


def test_an_empty_display_matrix_turns_nothing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 2)
    stored = VideoSource(path).read(everything).values
    set_display_matrix(path, 0, 0, 0, 0)
    np.testing.assert_array_equal(VideoSource(path).read(everything).values, stored)


LUMA_WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593), 2: (0.299, 0.114)}


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)  # BT.709, BT.601, BT.2020, undeclared
def test_declared_colours_are_honoured(tmp_path: Path, matrix: int, full_range: bool, pixels: str) -> None:
    y, u, v = 120, 90, 200
    path = tmp_path / "a.mp4"
    _write_flat(path, (y, u, v), matrix, 2 if full_range else 1, pixels)
    red_weight, blue_weight = LUMA_WEIGHTS[matrix]
    low, luma, chroma = (0, 255, 255) if full_range else (16, 219, 224)
    grey = (y - low) / luma
    red = grey + 2 * (1 - red_weight) * (v - 128) / chroma
    blue = grey + 2 * (1 - blue_weight) * (u - 128) / chroma
    green = (grey - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    found = VideoSource(path).read(just(0)).values[0, 20, 20]
    np.testing.assert_allclose(found, 255 * np.array([red, green, blue]), atol=4)


def _write_flat(
    path: Path, colour: tuple[int, int, int], matrix: int, colour_range: int, pixels: str
) -> None:
    """A frame of one YUV colour, given as for 8 bits."""
    deep = pixels.endswith("10le")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.options = 64, 48, pixels, {"crf": "1"}
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, colour_range
        frame = av.VideoFrame(64, 48, pixels)
        for plane, value in zip(frame.planes, colour, strict=True):
            count = plane.buffer_size // (2 if deep else 1)
            plane.update(
                np.full(count, value * (4 if deep else 1), np.uint16 if deep else np.uint8).tobytes()
            )
        frame.colorspace, frame.color_range = matrix, colour_range
        out.mux(stream.encode(frame))
        out.mux(stream.encode())


@settings(max_examples=25, deadline=None)
@given(gaps=st.lists(st.integers(1, 40), min_size=1, max_size=12), numbers=st.data())
def test_any_rhythm_of_frames_is_read_by_time(
    gaps: list[int], numbers: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seconds = (np.cumsum([0, *gaps]) / 100).tolist()
    path = write_video(
        tmp_path_factory.mktemp("rhythm") / "a.mp4", seconds=seconds, options={"g": "4", "bf": "2"}
    )
    chosen = numbers.draw(st.lists(st.integers(0, len(seconds) - 1), min_size=1, max_size=8))
    stream = VideoSource(path).read(just(*chosen))
    assert numbers_of(stream.values) == chosen
    np.testing.assert_allclose(stream.times, np.array(seconds)[chosen], atol=1e-4)


def test_a_clip_of_one_frame_is_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 1)
    assert numbers_of(VideoSource(path).read(just(0, 0, 0)).values) == [0, 0, 0]
    facts = verify(path, "video")
    assert (facts.frames, facts.fps, facts.duration) == (1, 30.0, pytest.approx(1 / 30))


def test_more_decoding_threads_give_the_same_pixels(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 40, options={"g": "10", "bf": "3"})
    alone = open_source(path, "video").read(just(3, 17, 39))
    together = open_source(path, "video", threads=3).read(just(3, 17, 39))
    np.testing.assert_array_equal(alone.values, together.values)


@pytest.mark.usefixtures("by_index")
def test_packets_that_do_not_fit_in_memory_are_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", 60, options={"g": "20", "bf": "2"})
    full = VideoSource(path).read(everything)
    monkeypatch.setattr("mudra.sources.index._KEEP_BYTES", 500)
    again = VideoSource(path).read(just(7, 33, 59))
    np.testing.assert_array_equal(again.values, full.values[[7, 33, 59]])
    part = VideoSource(path, start=0.8, stop=1.4).read(everything)
    np.testing.assert_array_equal(part.times, full.times[24:42])
    np.testing.assert_array_equal(part.values, full.values[24:42])


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (-1.0, None, "start is -1.0"),
        (float("nan"), None, "start is nan"),
        (None, float("inf"), "stop is inf"),
        (2.0, 1.0, "must come after"),
        (0.0, 0.0, "must come after"),
        (50.0, None, "the nearest is at 0.967 s"),
    ],
)
def test_a_part_that_cannot_be_is_refused(tmp_path: Path, start: Any, stop: Any, message: str) -> None:
    path = write_video(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=message):
        VideoSource(path, start=start, stop=stop).read(everything)


def test_frames_over_the_limits_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    for limits, message in [
        (Limits(pixels=80 * 47), "measures 80x48, more than the 3,760 pixels"),
        (Limits(frames=29), "more than 29 frames"),
        (Limits(bytes=80 * 48 * 3 * 29), "of memory"),
    ]:
        with pytest.raises(DataError, match=message):
            VideoSource(path, limits=limits).read(everything)
    VideoSource(path, limits=Limits(80 * 48, 30, 80 * 48 * 3 * 30)).read(everything)


@pytest.mark.parametrize("numbers", [[30], [-1], []])
def test_a_choice_outside_the_clip_is_a_bug_of_the_caller(tmp_path: Path, numbers: list[int]) -> None:
    path = write_video(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="choose returned"):
        VideoSource(path).read(just(*numbers))


def test_slices_that_others_lean_on_are_told_apart() -> None:
    def unit(head: int) -> bytes:
        return (3).to_bytes(4, "big") + bytes([head, 1, 2])

    assert leans_nobody(unit(0x01), 4)
    assert leans_nobody(unit(0x06) + unit(0x01) + unit(0x01), 4)
    assert not leans_nobody(unit(0x41), 4)
    assert not leans_nobody(unit(0x01) + unit(0x21), 4), "one slice that is leaned on is enough"
    assert not leans_nobody(unit(0x06), 4), "no slice at all"
    assert not leans_nobody(b"", 4)


def test_reading_leaves_no_file_open_and_no_memory_behind(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:-500])
    process = psutil.Process()

    def read(times: int) -> None:
        for _ in range(times):
            VideoSource(path).read(just(3, 20))
            with pytest.raises(DataError):
                VideoSource(cut).read(just(0))

    read(150)  # allocators settle
    files, before = len(os.listdir("/proc/self/fd")), process.memory_info().rss
    read(250)
    assert len(os.listdir("/proc/self/fd")) == files
    assert (process.memory_info().rss - before) / 500 < 10 * 1024


def test_the_numbered_picture_can_be_read_back() -> None:
    assert numbers_of(numbered_picture(n) for n in (0, 1, 511, 512, 1023)) == [0, 1, 511, 512, 1023]
