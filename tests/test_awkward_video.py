"""Files that break readers: the right frames or one clear line, never a crash, a hang or a made-up frame."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mudra.errors import DataError
from mudra.sources import VideoSource, verify
from tests.video_files import numbers_of, write_sound, write_video

# Reads each file named on standard input and prints one line of JSON about it; what is read is held
# against a plain decode of all frames. It runs in a process of its own, for a file might take it down.
SCAN = """
import json, sys
from pathlib import Path
import av
import numpy as np
from mudra.errors import DataError
from mudra.sources import VideoSource, verify

def plainly(path, numbers, quarters):
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in numbers:
                yield number, np.rot90(frame.to_ndarray(format="rgb24"), quarters)

for line in sys.stdin:
    path = Path(json.loads(line))
    answer = {}
    try:
        facts = verify(path, "video")
        answer["facts"] = [facts.frames, facts.width, facts.height, facts.rotation]
        every = []
        last = facts.frames - 1
        spread = np.linspace(0, last, 16).round().astype(int)
        some = VideoSource(path).read(lambda times: (every.append(times), spread)[1])
        times = every[-1]
        answer["times"] = len(times)
        answer["rising"] = bool((np.diff(times) > 0).all() and times[0] == 0)
        answer["steps"] = len(set(np.diff(times).round(2).tolist()))
        equal = [np.array_equal(some.times, times[spread])]
        if facts.frames * facts.width * facts.height < 40e6:  # decoding the larger ones again takes long
            truth = dict(plainly(path, set(spread.tolist()), -facts.rotation // 90))
            equal += [np.array_equal(value, truth[n]) for n, value in zip(spread.tolist(), some.values)]
            order = [last, int(spread[5]), 0, last]
            backwards = VideoSource(path).read(lambda times: np.array(order))
            equal += [np.array_equal(value, truth[n]) for n, value in zip(order, backwards.values)]
            for number in (int(spread[3]), last):
                part = VideoSource(path, start=times[number], stop=times[number] + 1e-3)
                equal.append(np.array_equal(part.read(lambda times: np.array([0])).values[0], truth[number]))
        answer["equal"] = equal
    except DataError as error:
        answer["error"] = str(error)
    print(json.dumps(answer), flush=True)
"""

# What FFmpeg decodes in part is refused as a whole, for the reason given.
REFUSED_IN_PART = {
    "dmlc+decord/corrupted.mp4": "28 of 50 frames can be decoded (it is damaged at 2.80 s)",
    "mozilla+mp4parse-rust/no_timescale.mp4": "0 of 182 frames can be decoded",
    "sannies+mp4parser/h264-sample.h264": "no times of its own and no frame rate was given",
}


def scan(paths: list[Path]) -> list[dict]:
    """Read each file in a process of its own kind; a crash is an answer too."""
    asked = "".join(json.dumps(str(path)) + "\n" for path in paths)
    done = subprocess.run(
        [sys.executable, "-c", SCAN], input=asked, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == "", "FFmpeg's complaints must not reach the user's terminal"
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_awkward_file_gives_its_frames_or_one_line(shared_data: Callable[[str], Path]) -> None:
    root = shared_data("awkward_video")
    manifest = json.loads((root / "manifest.json").read_text())
    answers = scan([root / entry["file"] for entry in manifest])
    assert len(answers) == len(manifest)
    for entry, answer in zip(manifest, answers, strict=True):
        name, error = entry["file"], answer.get("error", "")
        assert "\n" not in error, name
        if not entry["dec"] or name in REFUSED_IN_PART:
            assert REFUSED_IN_PART.get(name, "") in error, (name, answer)
            assert error, (name, answer)
            continue
        assert not error, (name, error)
        turned = abs(entry["rot"]) == 90
        width, height = (entry["h"], entry["w"]) if turned else (entry["w"], entry["h"])
        assert answer["facts"] == [entry["dec"], width, height, -entry["rot"] % 360], name
        assert answer["times"] == entry["dec"], name
        assert answer["rising"], name
        assert all(answer["equal"]), name
        assert not entry["vfr"] or answer["steps"] > 2, (name, "a variable rate must not be evened out")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound MP4 of 60 frames whose index comes first, in groups of 12."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, 60, container={"movflags": "faststart"}, options={"g": "12", "bf": "2"})
    return path.read_bytes()


def refusal(path: Path, read: Callable[[Path], object] | None = None) -> str:
    """The one line with which reading a file is refused."""
    with pytest.raises(DataError) as caught:
        (read or (lambda p: VideoSource(p).read(lambda times: np.arange(len(times)))))(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_file_that_ends_early_says_how_many_frames_it_has(tmp_path: Path, clip: bytes) -> None:
    begin = clip.index(b"mdat") - 4
    path = saved(tmp_path / "clip.mp4", clip[: begin + (len(clip) - begin) * 7 // 10])
    message = refusal(path)
    assert " of 60 frames can be decoded (the file ends early)" in message
    count = int(message.removeprefix(f"{path}: ").split()[0])
    assert 0 < count < 60
    assert refusal(path, lambda p: verify(p, "video")) == message
    # also if only a frame from the sound part is wanted: which frames there are is not known
    assert refusal(path, lambda p: VideoSource(p).read(lambda times: np.array([0]))) == message


def test_a_sound_part_of_a_file_that_ends_early_is_read(tmp_path: Path, clip: bytes) -> None:
    path = saved(tmp_path / "clip.mp4", clip[: len(clip) * 9 // 10])
    part = VideoSource(path, start=0.2, stop=0.4).read(lambda times: np.arange(len(times)))
    assert numbers_of(part.values) == list(range(6, 12))


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi", "fragments.mp4"])
def test_other_containers_that_end_early_are_refused_too(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264")
    container = {"movflags": "frag_keyframe+empty_moov"} if name.startswith("fragments") else {}
    data = write_video(tmp_path / f"whole-{name}", 60, codec=codec, container=container, options={"g": "12"})
    path = saved(tmp_path / name, data.read_bytes()[: data.stat().st_size * 7 // 10])
    assert "frames can be decoded (the file ends early)" in refusal(path)


def test_a_file_without_its_index_is_refused(tmp_path: Path) -> None:
    data = write_video(tmp_path / "whole.mp4", 60).read_bytes()  # the index comes last
    message = refusal(saved(tmp_path / "a.mp4", data[: len(data) // 2]))
    assert "0 frames can be decoded, for it has no index (`moov`)" in message


def test_flipped_bits_are_damage_and_not_pictures(tmp_path: Path, clip: bytes) -> None:
    data = bytearray(clip)
    begin = data.index(b"mdat") + 4
    rng = np.random.default_rng(3)
    for place in rng.integers(begin + (len(data) - begin) // 2, len(data), 200):
        data[place] ^= 1 << int(rng.integers(8))
    path = saved(tmp_path / "a.mp4", bytes(data))
    assert "of 60 frames can be decoded (it is damaged at " in refusal(path)
    part = VideoSource(path, start=0.0, stop=0.2).read(lambda times: np.arange(len(times)))
    assert numbers_of(part.values) == list(range(6)), "the part before the damage is sound"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty (0 bytes)"),
        (np.random.default_rng(0).bytes(5000), "is not a video that can be read"),
        (b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>", "is a web page, not a video"),
        (b"\n<html><head><title>Sign in</title></head></html>", "is a web page, not a video"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a Git LFS pointer"),
        (b"\x00" * 4000, "is not a video that can be read"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", "it has no index (`moov`)"),
        (b"GIF89a", "is not a video that can be read"),
        (b"\x1aE\xdf\xa3\xff", "is not a video that can be read"),
        (b"\x1aE\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xfe", "is not a video that can be read"),
    ],
)
def test_what_is_no_video_is_told_apart(tmp_path: Path, data: bytes, message: str) -> None:
    assert message in refusal(saved(tmp_path / "a.mp4", data))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    assert "has no video stream, only audio" in refusal(write_sound(tmp_path / "a.mp4"))


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=16_000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame(64, 64, "yuvj420p")))
        out.mux(cover.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        out.mux(sound.encode(frame))
        out.mux(sound.encode())
    assert "has no video stream, only" in refusal(path)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile '{target}'\n",
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
        "concat:{target}|{target}",
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.ffconcat", "a.sdp", "a.mpd"])
def test_a_playlist_never_leads_to_another_file(tmp_path: Path, text: str, name: str, clip: bytes) -> None:
    """The file it names is a good video: were it opened, frames would come and nothing be refused."""
    target = saved(tmp_path / "target.ts", write_video(tmp_path / "t.ts", 5).read_bytes())
    playlist = saved(tmp_path / name, text.format(target=target).encode())
    before = os.stat(target).st_atime_ns
    assert "not a video" in refusal(playlist)
    assert os.stat(target).st_atime_ns == before


@pytest.mark.parametrize(
    "name",
    [
        b"two\nlines.mp4",
        b"-i",
        b"-i.mp4",
        b"frame%03d.mp4",
        b"http:evil.mp4",
        b"concat:a|b.mp4",
        b"pipe:0",
        b"caf\xe9 \xff.mp4",
        b"a*?[x].mp4",
        b" .mp4",
        "空手.mp4".encode(),
    ],
)
def test_names_are_taken_literally(
    tmp_path: Path, name: bytes, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    path.write_bytes(clip)
    assert numbers_of(VideoSource(path).read(lambda times: np.array([0, 59])).values) == [0, 59]
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        verify(path, "video")
    assert "\n" not in str(caught.value)
    str(caught.value).encode()  # can be printed anywhere


def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe, loop, folder = tmp_path / "pipe.mp4", tmp_path / "loop.mp4", tmp_path / "folder.mp4"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    folder.mkdir()
    begin = time.monotonic()
    for path in (pipe, folder, Path("/dev/zero")):
        assert "not an ordinary file" in refusal(path)
    assert "cannot be opened" in refusal(loop)
    assert "no such file" in refusal(tmp_path / "absent.mp4")
    with pytest.raises(DataError, match="cannot be opened"):
        VideoSource(Path("nul\0.mp4")).read(lambda times: np.array([0]))
    assert time.monotonic() - begin < 2


def test_a_link_to_a_video_is_a_video(tmp_path: Path, clip: bytes) -> None:
    saved(tmp_path / "a.mp4", clip)
    link = tmp_path / "link.mp4"
    link.symlink_to("a.mp4")
    assert verify(link, "video").frames == 60


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"preset": "ultrafast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 8192, 8192, "yuv420p"
        out.mux(stream.encode(av.VideoFrame(8192, 8192, "yuv420p")))
        out.mux(stream.encode())
    script = """
import resource, sys
from mudra.errors import DataError
from mudra.sources import verify
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    verify(sys.argv[1], "video")
except DataError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    message, kilobytes = done.stdout.splitlines()
    assert "measures 8192x8192, more than the 16,777,216 pixels allowed" in message
    assert int(kilobytes) < 50 * 1024, "one decoded picture alone would take twice that"


def test_more_samples_than_bytes_are_refused_before_room_is_made(tmp_path: Path) -> None:
    """FFmpeg takes 24 bytes of memory per sample that a fragment claims, however small the file is."""
    path = write_video(tmp_path / "a.mp4", 10, container={"movflags": "frag_keyframe+empty_moov"})
    data = bytearray(path.read_bytes())
    at = data.index(b"trun") + 8
    data[at : at + 4] = (30_000_000).to_bytes(4, "big")
    assert "lists more samples than it has bytes" in refusal(saved(path, bytes(data)))


def test_boxes_within_boxes_have_an_end(tmp_path: Path) -> None:
    nested = b"".join((8 * (5000 - n)).to_bytes(4, "big") + b"moov" for n in range(5000))
    assert "not a video" in refusal(saved(tmp_path / "a.mp4", b"\0\0\0\x10ftypisom\0\0\0\0" + nested))


def test_a_claimed_length_of_a_billion_seconds_costs_nothing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 10, seconds=[*np.arange(9) / 30, 1e9])
    begin = time.process_time()
    facts = verify(path, "video")
    stream = VideoSource(path).read(lambda times: np.array([0, len(times) - 1]))
    assert time.process_time() - begin < 1
    assert (facts.frames, stream.times.tolist()) == (10, [0.0, 1e9])


def test_a_picture_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    first = write_video(tmp_path / "a.ts", 20, begin=2.0)
    second = write_video(tmp_path / "b.ts", 20, begin=4.0, width=64, height=64)
    path = saved(tmp_path / "c.ts", first.read_bytes() + second.read_bytes())
    assert "the picture changes from 80x48 to 64x64 within the clip" in refusal(path)
    assert "the picture changes" in refusal(path, lambda p: VideoSource(p).read(lambda times: np.array([0])))


def test_a_stream_without_time_stamps_needs_a_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.h264", 30, options={"bf": "2"})
    message = refusal(path)
    assert "no times of its own and no frame rate was given" in message
    assert "`fps`" in message
    stream = VideoSource(path, fps=10).read(lambda times: np.arange(len(times)))
    assert numbers_of(stream.values) == list(range(30))
    np.testing.assert_allclose(stream.times, np.arange(30) / 10)
    assert verify(path, "video", fps=10).fps == pytest.approx(10)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
def test_damaged_files_never_crash_or_invent(tmp_path: Path, name: str) -> None:
    """Random damage: every answer is a stream or one line, and choosing few frames agrees with choosing all."""
    whole = write_video(
        tmp_path / name, 40, codec="mpeg4" if name == "a.avi" else "libx264", options={"g": "10"}
    )
    original, rng = whole.read_bytes(), np.random.default_rng(7)
    for round_ in range(25):
        data = bytearray(original)
        if round_ % 3 == 0:
            data = data[: rng.integers(1, len(data))]
        elif round_ % 3 == 1:
            for place in rng.integers(0, len(data), 12):
                data[place] ^= 1 << int(rng.integers(8))
        else:
            at = int(rng.integers(len(data)))
            del data[at : at + int(rng.integers(1, 800))]
        whole.write_bytes(bytes(data))
        try:
            full = VideoSource(whole).read(lambda times: np.arange(len(times)))
        except DataError:
            continue
        numbers = np.array([0, len(full.times) // 2, len(full.times) - 1])
        some = VideoSource(whole).read(lambda times, numbers=numbers: numbers)
        np.testing.assert_array_equal(some.values, full.values[numbers])
