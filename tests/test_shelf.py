"""Long videos stay open between their segments: the same pixels, few files, none that was replaced."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from mudra.errors import DataError
from mudra.sources import VideoSource, decoding, shelf, video
from mudra.sources.containers import opened
from mudra.sources.limits import DEFAULT_LIMITS
from mudra.sources.shelf import Shelf
from tests.test_sources_video import KINDS, everything, just
from tests.video_files import numbered_picture, numbers_of, write_video

SEGMENTS = (
    "constant rate", "many B frames", "one long group", "open groups", "open groups, Matroska", "variable rate",
    "begins at 5 s", "fragments", "interlaced", "HEVC", "VP9", "VP8", "MPEG-4 in AVI", "transport stream",
)  # fmt: skip


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """A shelf of three that takes short videos too."""
    monkeypatch.setattr(shelf, "LEAST_FRAMES", 0)
    monkeypatch.setattr(video, "SHELF", Shelf(videos=3))
    yield video.SHELF
    video.SHELF.close()


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that the shelf opened."""
    names: list[str] = []

    def noted(path: Path, *rest: object) -> object:
        names.append(path.name)
        return opened(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(shelf, "opened", noted)
    return names


@pytest.mark.parametrize("kind", SEGMENTS)
def test_segments_are_those_of_a_video_just_opened(
    kind: str, tmp_path: Path, kept: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, options = KINDS[kind]
    path = write_video(tmp_path / name, **options)
    times = VideoSource(path).read(everything).times
    rng = np.random.default_rng(0)
    sources = []
    for _ in range(12):
        first, last = np.sort(rng.choice(len(times), 2, replace=False))
        sources.append(VideoSource(path, start=float(times[first]), stop=float(times[last])))
    sources.insert(5, VideoSource(path))  # a whole read in between
    lent = [source.read(everything) for source in sources]
    with monkeypatch.context() as patch:
        patch.setattr(video, "SHELF", Shelf(videos=0))
        for source, stream in zip(sources, lent, strict=True):
            alone = source.read(everything)
            assert np.array_equal(stream.times, alone.times)
            assert np.array_equal(stream.values, alone.values)


NOT_BY_INDEX = {"VP8", "MPEG-4 in AVI", "transport stream"}  # everything has to be decoded each time


@pytest.mark.parametrize("most_kept", [3 * 80 * 48, 2**25], ids=["few frames kept", "all frames kept"])
@pytest.mark.parametrize("kind", SEGMENTS)
def test_segments_in_order_are_those_of_a_video_just_opened(
    kind: str,
    most_kept: int,
    tmp_path: Path,
    kept: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if kind not in NOT_BY_INDEX:
        request.getfixturevalue("by_index")
    monkeypatch.setattr(decoding, "_KEPT_BYTES", most_kept)
    name, options = KINDS[kind]
    path = write_video(tmp_path / name, **options)
    times = VideoSource(path).read(everything).times
    rng = np.random.default_rng(0)
    firsts = np.sort(rng.integers(1, len(times), 25)).tolist()
    firsts[17:17] = rng.integers(1, len(times), 3).tolist()  # and some out of order
    for first in firsts:
        last = min(first + int(rng.integers(1, 12)), len(times) - 1)
        source = VideoSource(path, start=float(times[first]) - 1e-4, stop=float(times[last]) + 1e-4)
        choose = everything if rng.random() < 0.3 else just(*rng.integers(0, last - first + 1, 4))
        lent = source.read(choose)
        with monkeypatch.context() as patch:
            patch.setattr(video, "SHELF", Shelf(videos=0))
            alone = source.read(choose)
        assert np.array_equal(lent.times, alone.times)
        assert np.array_equal(lent.values, alone.values)


@pytest.mark.usefixtures("by_index")
@pytest.mark.parametrize(
    ("length", "stride"), [(20, 5), (5, 20), (12, 12)], ids=["overlap", "gaps", "neighbours"]
)
def test_segments_in_order_decode_every_frame_once(
    length: int, stride: int, tmp_path: Path, kept: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", 300, options={"g": "300", "bf": "3", "x264-params": "scenecut=0"})
    sent: list[int] = []
    honest = decoding._decoded

    def noted(context: object, packet: object) -> object:
        sent.append(packet is not None)
        return honest(context, packet)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "_decoded", noted)
    firsts = range(10, 300 - length, stride)
    for first in firsts:
        stream = VideoSource(path, start=(first - 0.5) / 30, stop=(first + length - 0.5) / 30).read(
            everything
        )
        assert numbers_of(stream.values) == list(range(first, first + length))
    begun = (
        10 + length + 5
    )  # the first segment is decoded for itself: that the others follow is not known yet
    assert sum(sent) <= 300 + begun


def test_few_frames_are_kept_for_the_next_segment(
    tmp_path: Path, kept: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_KEPT_BYTES", 60_000)
    path = write_video(tmp_path / "a.mp4", 90)
    for start in (0.5, 0.6, 0.7):
        VideoSource(path, start=start, stop=start + 1).read(everything)
    with kept.lent(path, DEFAULT_LIMITS, 1) as lent:
        assert lent.flow is not None
        assert 1 < len(lent.flow.kept) < 10
        assert lent.flow.bytes <= 60_000


def test_a_long_video_is_opened_once_for_all_its_segments(
    tmp_path: Path, kept: Shelf, openings: list[str]
) -> None:
    path = write_video(tmp_path / "a.mp4", 90)
    for start in (2.0, 0.5, 1.5, 2.5, 0.1):
        stream = VideoSource(path, start=start, stop=start + 0.2).read(everything)
        assert numbers_of(stream.values) == [round(30 * start) + n for n in range(6)]
    assert openings == ["a.mp4"]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_video_of_ten_seconds_stays_open(
    name: str, tmp_path: Path, openings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "SHELF", Shelf())
    path = write_video(tmp_path / name, 310)
    for _ in range(2):
        VideoSource(path, start=0.5).read(just(0))
    assert len(openings) == 1
    video.SHELF.close()


def test_a_short_video_does_not_stay_open(
    tmp_path: Path, openings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "SHELF", Shelf())
    path = write_video(tmp_path / "a.mp4", 30)
    for _ in range(2):
        VideoSource(path, start=0.5).read(just(0))
    assert len(openings) == 2
    assert len(video.SHELF) == 0


def test_no_more_videos_stay_open_than_the_shelf_holds(
    tmp_path: Path, kept: Shelf, openings: list[str]
) -> None:
    paths = [write_video(tmp_path / f"{number}.mp4") for number in range(5)]
    files = len(os.listdir("/proc/self/fd"))
    for path in [*paths, paths[4], paths[3], paths[0]]:
        VideoSource(path, start=0.5).read(just(0))
        assert len(os.listdir("/proc/self/fd")) <= files + 3
    assert openings == [*(path.name for path in paths), "0.mp4"]  # the one used longest ago had to go
    kept.close()
    assert len(os.listdir("/proc/self/fd")) == files


def test_the_memory_of_what_stays_open_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "LEAST_FRAMES", 0)
    small = Shelf(videos=9, most_bytes=150_000)
    monkeypatch.setattr(video, "SHELF", small)
    for number in range(6):
        VideoSource(write_video(tmp_path / f"{number}.mp4"), start=0.5).read(just(0))
    assert len(small) == 3  # 80 x 48 x 1.5 x 8 bytes and 30 frames each
    small.close()


def test_what_is_kept_for_the_next_segment_counts(tmp_path: Path, kept: Shelf) -> None:
    path = write_video(tmp_path / "a.mp4", 90, picture=noise)
    empty = 30 * 64 + 8 * 80 * 48 * 1.5
    for start in (0.5, 0.6):
        VideoSource(path, start=start, stop=start + 1).read(everything)
    (entry,) = kept._kept.values()
    latest, flow = entry.video.latest, entry.video.flow
    assert latest is not None
    assert flow is not None
    assert latest.packets is not None
    assert latest.held == sum(packet.size for packet in latest.packets) > 30_000
    assert flow.bytes >= 25 * 80 * 48 * 1.5
    assert entry.bytes >= empty + latest.held + flow.bytes


def noise(number: int, width: int, height: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (height, width, 3)).astype(np.uint8)


def test_another_file_at_the_same_path_is_opened_anew(tmp_path: Path, kept: Shelf) -> None:
    path = write_video(tmp_path / "a.mp4", 60)
    read = VideoSource(path, start=1.0).read
    assert numbers_of(read(just(0)).values) == [30]
    write_video(tmp_path / "b.mp4", 60, picture=lambda number, w, h: numbered_picture(number + 100, w, h))
    os.replace(tmp_path / "b.mp4", path)
    assert numbers_of(read(just(0)).values) == [130]
    assert len(kept) == 1
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        read(just(0))


def test_a_video_that_raised_is_not_lent_again(tmp_path: Path, kept: Shelf, openings: list[str]) -> None:
    path = write_video(tmp_path / "a.mp4", 60)
    files = len(os.listdir("/proc/self/fd"))

    def breaks(_times: object) -> np.ndarray:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        VideoSource(path, start=1.0).read(breaks)
    assert len(kept) == 0
    assert len(os.listdir("/proc/self/fd")) == files
    assert numbers_of(VideoSource(path, start=1.0).read(just(0)).values) == [30]


def test_two_readers_at_once_never_share_an_open_video(tmp_path: Path, kept: Shelf) -> None:
    path = write_video(tmp_path / "a.mp4", 90)
    wrong: list[float] = []

    def read(seed: int) -> None:
        for start in np.random.default_rng(seed).uniform(0.1, 2.5, 15).round(1).tolist():
            stream = VideoSource(path, start=start, stop=start + 0.2).read(everything)
            if numbers_of(stream.values) != [round(30 * start) + n for n in range(6)]:
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with kept.lent(path, DEFAULT_LIMITS, 1) as one, kept.lent(path, DEFAULT_LIMITS, 1) as two:
        assert one is not two
    assert len(kept) <= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_opens_its_own(tmp_path: Path, kept: Shelf) -> None:
    path = write_video(tmp_path / "a.mp4", 300)
    read = VideoSource(path, start=5.0, stop=5.2).read
    assert len(read(everything).values) == 6
    child = os.fork()
    if not child:
        try:
            before = len(kept)
            good = numbers_of(read(just(0)).values) == [150]
            os._exit(0 if good and before == 1 and kept._process == os.getpid() else 1)
        except BaseException:
            os._exit(2)
    for _ in range(20):  # both read at once; a shared file position would mix them up
        assert numbers_of(read(everything).values) == [150, 151, 152, 153, 154, 155]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_decoder_begins_anew_for_every_reader(tmp_path: Path, kept: Shelf) -> None:
    path = write_video(tmp_path / "a.mp4", 90, options={"g": "45", "bf": "3"})
    VideoSource(path, start=0.1, stop=0.6).read(just(0, 12))
    with kept.lent(path, DEFAULT_LIMITS, 1) as lent:
        assert lent.stream.codec_context.skip_frame == "DEFAULT"
        assert lent.origin is not None
        assert isinstance(lent.container, av.container.InputContainer)
