"""The shrunk copy: the same clips, the same pictures smaller, all of it or nothing."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mudra.clips.cache import cache
from mudra.clips.manifest import Manifest, read_manifest
from mudra.clips.pixels import resize
from mudra.errors import DataError, OutputError
from mudra.sources import open_source, parts
from mudra.types import Stream, StreamInfo
from tests.footage import footage, write_video


def data_set(folder: Path, rows: list[dict[str, str]], facts: dict | None = None) -> Manifest:
    folder.mkdir(exist_ok=True)
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    (folder / "dataset.json").write_text(json.dumps(facts or {}))
    return read_manifest(folder)


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    """Three clips, one of them a window, with all that a manifest may hold."""
    folder = tmp_path / "data"
    for number in range(3):
        write_video(folder / f"v/{number}.mp4", footage(number, frames=24))
    splits, labels = ("train", "train", "test"), ("left", "right", "left")
    rows = [
        {
            "clip": f"wave/{n}",
            "split": split,
            "group": f"p{n}",
            "label": label,
            "video": f"v/{n}.mp4",
            "mood": "NA",
        }
        for n, (split, label) in enumerate(zip(splits, labels, strict=True))
    ]
    rows[1] |= {"start": "0.5", "stop": "1.5"}
    return data_set(folder, rows, {"mirror": {"label": {"left": "right"}}, "streams": {"video": {"fps": 12}}})


def everything(manifest: Manifest, clip: int, stream: str = "video") -> Stream:
    one = manifest[clip]
    info = manifest.streams[stream]
    source = open_source(one.streams[stream], info.kind, fps=one.rate(info), start=one.start, stop=one.stop)
    return source.read(lambda times: np.arange(len(times)))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_copy_is_the_same_data_set_with_smaller_pictures(data, tmp_path):
    copy = cache(data, tmp_path / "small", size=24, workers=0)
    assert (copy.tasks, copy.mirror, copy.split_hash) == (data.tasks, data.mirror, data.split_hash)
    for number, (mine, theirs) in enumerate(zip(copy, data, strict=True)):
        assert (mine.id, mine.split, mine.group, mine.labels) == (
            theirs.id,
            theirs.split,
            theirs.group,
            theirs.labels,
        )
        assert mine.metadata == {"mood": "NA"}
        assert (mine.start, mine.stop) == (None, None)
        small, large = everything(copy, number), everything(data, number)
        assert np.array_equal(small.values, resize(large.values, 24, 32))
        assert small.times == pytest.approx(large.times - (theirs.start or 0))
    assert len(everything(copy, 1).values) == 12  # the window alone
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("how", "size", "shape"),
    [("keep", 24, (24, 32)), ("keep", 500, (48, 64)), ("stretch", 24, (24, 24)), ("crop", 24, (24, 24))],
)
def test_pictures_are_kept_whole_stretched_or_cropped(data, tmp_path, how, size, shape):
    copy = cache(data.select([0]), tmp_path / "small", size=size, resize=how, workers=0)
    values = everything(copy, 0).values
    assert values.shape[1:3] == shape
    large = everything(data, 0).values
    box = (8.0, 0.0, 56.0, 48.0) if how == "crop" else None
    assert np.array_equal(values, resize(large, *shape, box))


def test_the_same_copy_has_the_same_bytes_whoever_makes_it(data, tmp_path):
    cache(data, tmp_path / "alone", size=24, workers=0)
    cache(data, tmp_path / "together", size=24, workers=2)
    assert files(tmp_path / "alone") == files(tmp_path / "together")


def test_a_jpeg_copy_keeps_pictures_and_rate(data, tmp_path):
    copy = cache(data, tmp_path / "small", size=24, form="jpeg", workers=0)
    assert copy.streams["video"].fps == pytest.approx(12)
    assert copy[0].streams["video"].is_dir()
    small, large = everything(copy, 0), everything(data, 0)
    assert len(small.values) == 24
    assert np.abs(small.values.astype(int) - resize(large.values, 24, 32)).mean() < 4
    assert small.times == pytest.approx(large.times)


def test_a_jpeg_copy_keeps_the_rate_of_each_clip_where_they_differ(data, tmp_path):
    write_video(tmp_path / "data/v/2.mp4", footage(2), fps=25)
    copy = cache(data, tmp_path / "small", size=24, form="jpeg", workers=0)
    assert [clip.fps for clip in copy] == [
        25 if clip.id == data[2].id else pytest.approx(12) for clip in copy
    ]
    for row in range(len(data)):
        begin = data[row].start or 0.0
        assert everything(copy, row).times + begin == pytest.approx(everything(data, row).times)


def test_a_long_clip_is_shrunk_in_parts(data, tmp_path, monkeypatch):
    whole = files(cache(data, tmp_path / "whole", size=24, workers=0).root)
    monkeypatch.setattr(parts, "AT_ONCE", 5 * 48 * 64 * 3)
    assert files(cache(data, tmp_path / "parts", size=24, workers=0).root) == whole


def test_other_streams_are_copied_or_cut_with_the_clip(tmp_path):
    folder = tmp_path / "data"
    write_video(folder / "a.mp4", footage(0, frames=24))
    (folder / "depth").mkdir()
    for number in range(1, 25):
        Image.fromarray(np.full((4, 4), number, np.uint16)).save(folder / "depth" / f"{number:05d}.png")
    points = np.random.default_rng(0).normal(size=(24, 21, 2)).astype(np.float32)
    score = np.linspace(0, 1, 24 * 21, dtype=np.float32).reshape(24, 21)
    np.savez_compressed(folder / "p.npz", points=points, score=score)
    streams = {"video": "a.mp4", "depth": "depth", "points:left hand": "p.npz"}
    rows = [
        {"clip": "whole", "label": "x"} | streams,
        {"clip": "part", "label": "x", "start": "1", "stop": "1.5"} | streams,
    ]
    facts = {"streams": {"depth": {"fps": 12}, "points:left hand": {"fps": 12, "layout": "hand21"}}}
    copy = cache(data_set(folder, rows, facts), tmp_path / "small", size=24, workers=0)
    assert copy[0].streams["points:left hand"].read_bytes() == (folder / "p.npz").read_bytes()
    assert copy.streams["points:left hand"] == StreamInfo("points", "hand21", 12)
    assert everything(copy, 0, "depth").values[:, 0, 0].tolist() == list(range(1, 25))
    assert everything(copy, 1, "depth").values[:, 0, 0].tolist() == list(range(13, 19))
    part = everything(copy, 1, "points:left hand")
    assert np.array_equal(part.values, points[12:18])
    assert part.score is not None
    assert np.array_equal(part.score, score[12:18])
    assert part.times == pytest.approx(np.arange(6) / 12)


def test_a_clip_may_lack_a_stream(tmp_path):
    folder = tmp_path / "data"
    write_video(folder / "a.mp4", footage(0))
    np.savez(folder / "b.npz", series=np.zeros((4, 2), np.float32), times=np.arange(4.0))
    rows = [{"clip": "a", "label": "x", "video": "a.mp4"}, {"clip": "b", "label": "x", "series": "b.npz"}]
    copy = cache(data_set(folder, rows), tmp_path / "small", size=24, workers=0)
    assert [list(clip.streams) for clip in copy] == [["video"], ["series"]]


@pytest.mark.parametrize(
    "name", ["../up", "a/../../b", "/etc/x", "..", "nul\nline", "é", "x" * 300, "a//b", ".hidden", "-i"]
)
def test_an_odd_id_never_leads_out_of_the_copy(data, tmp_path, name):
    data_set(tmp_path / "data", [{"clip": name, "label": "x", "video": "v/0.mp4"}])
    copy = cache(read_manifest(tmp_path / "data"), tmp_path / "small", size=24, workers=0)
    assert copy[0].id == name
    assert len(files(tmp_path / "small")) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "small"]


# What cannot be copied


def test_a_clip_and_a_folder_of_clips_may_share_a_name(data, tmp_path):
    rows = [
        {"clip": name, "label": "x", "video": f"v/{n}.mp4"} for n, name in enumerate(["a", "a/b", "a/b/c"])
    ]
    copy = cache(data_set(tmp_path / "data", rows), tmp_path / "small", size=24, form="jpeg", workers=0)
    assert [len(everything(copy, number).values) for number in range(3)] == [24, 24, 24]
    folders = [clip.streams["video"] for clip in copy]
    assert not any(one in other.parents for one in folders for other in folders)


def test_broken_clips_are_counted_and_nothing_is_left(data, tmp_path):
    (tmp_path / "data/v/0.mp4").write_bytes(b"broken")
    (tmp_path / "data/v/2.mp4").unlink()
    with pytest.raises(DataError, match="2 of 3 clips cannot be read, the first of them 'wave/0'"):
        cache(data, tmp_path / "small", size=24, workers=0)
    assert not (tmp_path / "small").exists()
    assert leftovers(tmp_path) == []
    copy = cache(data, tmp_path / "small", size=24, workers=0, skip_broken=True)
    assert [clip.id for clip in copy] == ["wave/1"]


def test_a_copy_of_nothing_but_broken_clips_is_refused(data, tmp_path):
    (tmp_path / "data/v/0.mp4").write_bytes(b"broken")
    with pytest.raises(DataError, match="1 of 1 clips"):
        cache(data.select([0]), tmp_path / "small", size=24, workers=0, skip_broken=True)


def test_a_missing_file_of_another_stream_is_told(tmp_path):
    data = data_set(tmp_path / "data", [{"clip": "a", "label": "x", "points": "gone.npz"}])
    with pytest.raises(DataError, match=r"gone\.npz: no such file"):
        cache(data, tmp_path / "small", size=24, workers=0)


def test_an_existing_folder_is_never_written_over(data, tmp_path):
    (tmp_path / "small").mkdir()
    with pytest.raises(DataError, match="is there already"):
        cache(data, tmp_path / "small", size=24, workers=0)


def test_a_full_disk_is_an_output_error_and_leaves_nothing(data, tmp_path, monkeypatch):
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OutputError, match="No space left on device"):
        cache(data, tmp_path / "small", size=24, workers=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_copy_that_is_stopped_leaves_nothing(data, tmp_path):
    def stop(*where: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache(data, tmp_path / "small", size=24, workers=0, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_size_of_nothing_is_refused(data, tmp_path):
    with pytest.raises(DataError, match="expected 8 or more"):
        cache(data, tmp_path / "small", size=0, workers=0)
