"""The data doctor: what is planted is found, what is sound is left alone."""

import csv
import json
import os
import signal
import time
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mudra.clips import likeness
from mudra.clips.check import Report, check, render, to_json
from mudra.clips.check.balance import sided_pairs
from mudra.clips.check.inspection import values_digest
from mudra.clips.manifest import read_manifest
from mudra.clips.pixels import resize
from mudra.clips.workers import Crew, Failure, still_working
from mudra.datasets.asl16 import Asl16
from mudra.errors import DataError, OutputError, UsageError
from tests.footage import footage, write_video

SOUND = 6  # clips of the sound data set; two classes, two groups a split


def write_rows(folder: Path, rows: list[dict[str, str]], facts: dict | None = None) -> Path:
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    (folder / "dataset.json").write_text(json.dumps(facts or {}))
    return folder


def row(number: int, split: str = "train", label: str | None = None, **more: str) -> dict[str, str]:
    group = f"{split} person {number % 2}"
    label = label or ("wave", "nod")[number // 2 % 2]
    return {
        "clip": f"c{number}",
        "split": split,
        "group": group,
        "label": label,
        "video": f"{number}.mp4",
    } | more


@pytest.fixture
def sound(tmp_path: Path) -> tuple[Path, list[dict[str, str]]]:
    """A data set with nothing wrong but that it is small."""
    rows = [row(number, "train" if number < 8 else "test") for number in range(12)]
    for number in range(12):
        write_video(tmp_path / f"{number}.mp4", footage(number))
    return tmp_path, rows


def examined(
    folder: Path, rows: list[dict[str, str]], facts: dict | None = None, **options: object
) -> Report:
    return check(read_manifest(write_rows(folder, rows, facts)), **({"workers": 0} | options))  # type: ignore[arg-type]


def kinds(findings: list) -> set[str]:
    return {finding.kind for finding in findings}


def only(findings: list, kind: str) -> list:
    return [finding for finding in findings if finding.kind == kind]


# Sound data


def test_sound_data_has_no_problem_and_its_figures_are_right(sound):
    report = examined(*sound)
    assert report.ok
    assert kinds(report.warnings) == {"few clips"}
    assert report.facts["clips"] == 12
    assert report.facts["splits"] == {"train": 8, "test": 4}
    assert report.facts["groups"] == 4
    video = report.facts["streams"]["video"]
    assert (video["files"], video["unreadable"], video["frames"]) == (12, 0, 12 * 16)
    assert video["frames/s"] == {"12": 12}
    assert video["sizes"] == {"64x48": 12}
    assert video["seconds"]["median"] == pytest.approx(16 / 12)


def test_the_report_is_shown_and_is_json(sound):
    folder, rows = sound
    (folder / "3.mp4").unlink()
    report = examined(folder, rows)
    text = StringIO()
    Console(file=text, width=120).print(render(report))
    assert "1 to mend" in text.getvalue()
    assert "missing file" in text.getvalue()
    assert "Nothing has to be mended" not in text.getvalue()
    values = json.loads(to_json(report))
    assert values["ok"] is False
    assert values["problems"][0]["place"] == "clip 'c3' (train)"


def test_long_lists_are_cut_short_for_people_only():
    from mudra.clips.check.findings import Finding

    report = Report([Finding("missing file", f"clip {n}", "gone", "mend the path") for n in range(50)])
    text = StringIO()
    Console(file=text, width=120).print(render(report))
    assert "and 40 more" in text.getvalue()
    assert text.getvalue().count("mend the path") == 1
    assert len(json.loads(to_json(report))["problems"]) == 50


# Files


def test_files_that_cannot_be_decoded_are_problems(sound):
    folder, rows = sound
    (folder / "0.mp4").write_bytes(b"")
    whole = (folder / "1.mp4").read_bytes()
    (folder / "1.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "2.mp4").write_text("<html>404</html>")
    (folder / "3.mp4").unlink()
    report = examined(folder, rows)
    assert {finding.place for finding in only(report.problems, "cannot be read")} == {
        f"clip 'c{number}' (train)" for number in (0, 1, 2)
    }
    assert [finding.place for finding in only(report.problems, "missing file")] == ["clip 'c3' (train)"]
    assert report.facts["streams"]["video"]["unreadable"] == 4
    assert not report.ok


def test_without_decoding_only_absence_is_seen(sound):
    folder, rows = sound
    (folder / "0.mp4").write_bytes(b"not a video")
    (folder / "1.mp4").write_bytes(b"")
    (folder / "3.mp4").unlink()
    report = examined(folder, rows, decode=False)
    assert kinds(report.problems) == {"missing file", "empty file"}
    assert len(report.problems) == 2


def test_a_folder_of_frames_with_a_gap_is_a_problem(tmp_path):
    from PIL import Image

    for number in range(1, 10):
        if number != 7:
            (tmp_path / "a").mkdir(exist_ok=True)
            Image.fromarray(footage(0)[0]).save(tmp_path / "a" / f"{number:05d}.jpg")
    report = examined(tmp_path, [row(0, video="a")], {"streams": {"video": {"fps": 12}}})
    assert "00007.jpg" in only(report.problems, "cannot be read")[0].found


def test_a_window_outside_its_file_is_found(sound):
    folder, rows = sound
    rows[0] |= {"start": "5", "stop": "6"}
    rows[1] |= {"start": "0.5", "stop": "9"}
    rows[2] |= {"start": "0.5", "stop": "1.2"}
    report = examined(folder, rows)
    assert [finding.place for finding in only(report.problems, "starts after its end")] == [
        "clip 'c0' (train)"
    ]
    assert [finding.place for finding in only(report.warnings, "stops after its end")] == [
        "clip 'c1' (train)"
    ]


def test_outliers_are_told(sound):
    folder, rows = sound
    write_video(folder / "0.mp4", footage(0, frames=1))
    write_video(folder / "1.mp4", footage(1), fps=30)
    write_video(folder / "2.mp4", footage(2, frames=300))
    write_video(folder / "3.mp4", footage(3, height=64, width=48))
    report = examined(folder, rows)
    assert report.ok
    assert [finding.place for finding in only(report.warnings, "a single frame")] == ["clip 'c0' (train)"]
    assert {finding.place for finding in only(report.warnings, "unusual length")} >= {"clip 'c2' (train)"}
    rates = only(report.warnings, "unlike frame rates")[0]
    assert "1 of 12 files are far from the usual 12 frames/s: 30 (1)" in rates.found
    assert "48x64 (1)" in only(report.warnings, "unlike pictures")[0].found


# Copies


def test_the_same_bytes_in_two_splits_are_a_problem(sound):
    folder, rows = sound
    (folder / "11.mp4").write_bytes((folder / "0.mp4").read_bytes())
    report = examined(folder, rows)
    (found,) = report.problems
    assert found.kind == "same content in two splits"
    assert found.place == "clip 'c11' (test)"
    assert "'11.mp4' holds the same as '0.mp4', clip 'c0' of train" in found.found
    assert "label 'nod' here and 'wave' there" in found.found
    assert not only(report.warnings, "looks the same in two splits")  # told once


def test_the_same_bytes_in_one_split_are_a_warning(sound):
    folder, rows = sound
    (folder / "1.mp4").write_bytes((folder / "0.mp4").read_bytes())
    report = examined(folder, rows)
    assert report.ok
    assert [finding.place for finding in only(report.warnings, "copy in a split")] == ["clip 'c1' (train)"]


def test_files_of_one_size_are_not_taken_for_copies(tmp_path):
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", footage(number))
    rows = [
        row(number, ("train", "test")[number // 2], video=f"{number}.npy", label="x") for number in range(4)
    ]
    report = examined(tmp_path, rows, {"streams": {"video": {"fps": 12}}})
    assert report.ok


def test_the_same_values_packed_differently_are_found(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 9, 20, 3)).astype(np.float32)
    values[0, 3, 5] = np.nan
    np.savez(tmp_path / "0.npz", points=values[0])
    np.savez_compressed(tmp_path / "1.npz", points=values[1])
    np.savez(tmp_path / "2.npz", points=values[2])
    np.savez_compressed(tmp_path / "3.npz", points=values[0].astype(np.float64), times=np.arange(9) / 25)
    rows = [
        {"clip": str(n), "split": ("train", "test")[n // 2], "label": "x", "points": f"{n}.npz"}
        for n in range(4)
    ]
    report = examined(tmp_path, rows, {"streams": {"points": {"fps": 25}}})
    assert [finding.place for finding in report.problems] == ["clip '3' (test)"]


def test_windows_of_copied_recordings_are_compared_by_their_moments(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", footage(0, frames=48))
    rows = [
        row(0, "train", video="a.mp4", start="0", stop="1"),
        row(1, "train", "nod", video="a.mp4", start="1", stop="2"),
        row(2, "test", "wave", video="b.mp4", start="2", stop="3"),
    ]
    rows += [
        row(3, "train", "nod", video="a.mp4", start="0.5", stop="1.5")
    ]  # of one file: what its labels say
    report = examined(tmp_path, rows)
    assert not only(report.problems, "same content in two splits")
    assert not only(report.warnings, "copy in a split")
    rows[2] |= {"start": "1.6"}
    (found,) = examined(tmp_path, rows).problems
    assert "clip 'c1' of train" in found.found


def test_a_copy_that_was_encoded_again_is_told(sound):
    folder, rows = sound
    large = footage(2, height=96, width=128)
    write_video(folder / "2.mp4", large)
    write_video(folder / "9.mp4", resize(large, 60, 80), codec="mpeg4", qscale="12")
    report = examined(folder, rows)
    assert report.ok
    (found,) = only(report.warnings, "looks the same in two splits")
    assert found.place == "clip 'c9' (test)"
    assert "'9.mp4' looks the same as '2.mp4', clip 'c2' of train" in found.found


def test_two_hundred_distinct_clips_raise_no_false_alarm():
    looks = [likeness.look(footage(seed)[likeness.moments(np.arange(16) / 12)], 1.3) for seed in range(200)]
    assert list(likeness.alike(looks, range(200))) == []


def test_people_before_one_wall_are_not_taken_for_one_clip():
    clips = [footage(seed) for seed in range(40)]
    wall = np.full_like(clips[0][0], 120) + np.arange(64, dtype=np.uint8)[None, :, None]
    looks = []
    for clip in clips:  # the same ground for all: only what moves differs
        moves = np.abs(clip.astype(int) - np.median(clip, axis=0)).sum(axis=-1, keepdims=True) > 30
        looks.append(likeness.look(np.where(moves, clip, wall)[likeness.moments(np.arange(16) / 12)], 1.3))
    assert list(likeness.alike(looks, range(40))) == []


def test_likeness_compares_every_pair_of_sides_whatever_the_block():
    look = likeness.look(footage(0)[:8], 1.0)
    other = likeness.look(footage(1)[:8], 1.0)
    many = [other] * 700 + [look] + [other] * 9 + [look] + [other] * 690 + [look]
    sides = [0] * 710 + [1] + [0] * 690 + [2]
    found = [tuple(sorted((one, two))) for one, two, _ in likeness.alike(many, sides)]
    assert sorted(found) == [(700, 710), (700, 1401), (710, 1401)]
    assert list(likeness.alike(many, [0] * 1402)) == []
    assert list(likeness.alike([], [])) == []


def test_brightness_contrast_and_fades_do_not_hide_a_copy():
    frames = footage(3)[likeness.moments(np.arange(16) / 12)].astype(np.float64)
    fade = np.linspace(0.3, 1, 8)[:, None, None, None]
    for changed in (frames * 0.5 + 60, frames * 0.8, frames * fade):
        looks = [likeness.look(values.astype(np.uint8), 1.3) for values in (frames, changed)]
        assert len(list(likeness.alike(looks, [0, 1]))) == 1


def test_numbers_are_the_same_however_they_are_written():
    plain = np.array([[0.0, np.nan], [1.5, 2.0]], np.float32)
    other = np.array([[-0.0, np.nan], [1.5, 2.0]], np.float32)
    other.view(np.uint32)[0, 1] += 1  # another of the many ways to write NaN
    assert values_digest(plain) == values_digest(other)
    assert values_digest(plain) != values_digest(plain.T.copy())
    assert values_digest(plain) != values_digest(plain.reshape(1, 4))


def test_clips_of_unlike_length_are_no_copies():
    looks = [likeness.look(footage(0)[:8], seconds) for seconds in (1.0, 1.1, 3.0)]
    assert len(list(likeness.alike(looks, [0, 1, 2]))) == 1


def test_moments_are_the_middles_of_equal_parts():
    assert likeness.moments(np.arange(16) / 12).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert likeness.moments(np.array([0.0])).tolist() == [0] * 8
    uneven = np.array([0.0, 0.1, 0.2, 4.0])  # the third frame is on the screen for most of the clip
    assert likeness.moments(uneven).tolist().count(2) >= 5


# Arrays


def test_points_without_hands_or_of_another_shape_are_found(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        values = rng.normal(size=(5, 21, 3)).astype(np.float32)
        if number == 1:
            values[:] = np.nan
        if number == 2:
            values = values[:, :20]
        if number == 3:
            values = values[..., :2]
        if number == 4:
            values[:] = values[0]
        np.savez(tmp_path / f"{number}.npz", points=values)
    rows = [{"clip": str(n), "split": "train", "label": "x", "points": f"{n}.npz"} for n in range(6)]
    report = examined(tmp_path, rows, {"streams": {"points": {"fps": 25, "layout": "hand21"}}})
    assert "20 points; its layout has 21" in only(report.problems, "cannot be read")[0].found
    assert "21 x 2 values a moment; most clips have 21 x 3" in only(report.problems, "another shape")[0].found
    assert [finding.place for finding in only(report.warnings, "no points")] == ["clip '1' (train)"]
    assert [finding.place for finding in only(report.warnings, "nothing moves")] == ["clip '4' (train)"]
    assert report.facts["streams"]["points"]["unseen"]["hand"] == pytest.approx(1 / 5)


# The list of clips


def listed(folder: Path, rows: list[dict[str, str]], facts: dict | None = None) -> Report:
    """A report on the list alone: the files are there, and nobody looks into them."""
    for each in rows:
        (folder / each["video"]).write_text(each["video"])
    return examined(folder, rows, facts, decode=False)


def test_an_empty_class_and_an_unseen_one_are_told(tmp_path):
    rows = [row(n, "train", "wave") for n in range(6)] + [row(n, "test", "nod") for n in (6, 7)]
    report = listed(tmp_path, rows, {"tasks": {"label": ["wave", "nod", "clap"]}})
    assert [finding.found for finding in only(report.problems, "empty class")] == ["no clip at all of clap"]
    assert only(report.warnings, "class never seen in train")[0].found == "2 clips of nod"
    assert only(report.warnings, "class not measured")[0].found == "no clip of wave"


def test_validation_without_training_is_an_empty_split(tmp_path):
    report = listed(tmp_path, [row(0, "val"), row(1, "test")], {"tasks": {"label": ["wave"]}})
    assert kinds(report.problems) == {"empty split"}
    assert listed(
        tmp_path, [row(1, "test")], {"tasks": {"label": ["wave"]}}
    ).ok  # a data set only to be judged on


def test_uneven_and_rare_classes_are_told(tmp_path):
    rows = [row(n, label="wave") for n in range(90)] + [row(n, label="nod") for n in range(90, 94)]
    report = listed(tmp_path, rows)
    assert only(report.warnings, "few clips")[0].found == "fewer than 5 clips of nod (4)"
    assert only(report.warnings, "uneven classes")[0].found == "90 clips of 'wave' and 4 of 'nod'"


def test_groups_that_tell_the_class_are_told(tmp_path):
    rows = [row(n, group=f"p{n % 4}", label=("wave", "nod")[n % 2]) for n in range(20)]
    assert "class follows group" in kinds(listed(tmp_path, rows).warnings)
    rows[0]["label"] = "nod"
    assert "class follows group" not in kinds(listed(tmp_path, rows).warnings)


def test_data_without_groups_says_so(tmp_path):
    assert "no groups" in kinds(listed(tmp_path, [row(0, group=""), row(1, group="")]).warnings)


def test_a_split_altered_after_reading_is_checked_again(tmp_path):
    rows = [row(n, "train", group=f"p{n % 2}", label="wave") for n in range(4)]
    for each in rows:
        (tmp_path / each["video"]).write_text(each["video"])
    data = read_manifest(write_rows(tmp_path, rows))
    crossed = data.with_split_codes(np.array([0, 0, 2, 2], np.int8))
    (found,) = check(crossed, workers=0, decode=False).problems
    assert found.kind == "group in two splits"
    assert found.place == "clip 'c2'"


def test_sides_without_a_mirror_are_told_with_the_table_to_write(tmp_path):
    rows = [row(n, label=name) for n, name in enumerate(["swipe left", "swipe right", "stop"])]
    (found,) = only(listed(tmp_path, rows).warnings, "sides without a mirror")
    assert '{"mirror": {"label": {"swipe left": "swipe right"}}}' in found.mend
    mirror = {"mirror": {"label": {"swipe left": "swipe right"}}}
    assert not only(listed(tmp_path, rows, mirror).warnings, "sides without a mirror")
    assert only(listed(tmp_path, rows, {"mirror": {"label": {}}}).warnings, "sides without a mirror")


def test_sides_are_known_by_their_words():
    assert sided_pairs(["Swiping Left", "Swiping Right", "Swiping Up"]) == {"Swiping Left": "Swiping Right"}
    assert sided_pairs(["clockwise", "anti-clockwise"]) == {"clockwise": "anti-clockwise"}
    assert sided_pairs(["turn_counter_clockwise", "turn_clockwise"]) == {
        "turn_counter_clockwise": "turn_clockwise"
    }
    assert sided_pairs(["bright", "upright", "left"]) == {}
    assert sided_pairs(["left to right", "right to left"]) == {"left to right": "right to left"}


# Other processes


def double_or_else(number: int) -> int:
    if number == 13:
        time.sleep(600)
    if number == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 15:
        raise DataError("clip 15: broken.")
    if number == 16:
        raise ValueError("two\nlines")
    return number * 2


def test_a_reader_that_hangs_or_dies_is_an_answer_and_the_rest_goes_on():
    items = [1, 13, 2, 14, 3, 15, 16, 4, 5]
    told: list[tuple[str, int, int]] = []
    with Crew(workers=2, limit=2.0, progress=lambda *where: told.append(where)) as crew:
        results = dict(crew.each("doubling", double_or_else, items))
        again = dict(crew.each("doubling", double_or_else, [7]))
        processes = [worker._process.pid for worker in crew._workers]
    assert {items[at]: result for at, result in results.items() if isinstance(result, int)} == {
        1: 2, 2: 4, 3: 6, 4: 8, 5: 10,
    }  # fmt: skip
    reasons = {items[at]: result.reason for at, result in results.items() if isinstance(result, Failure)}
    assert "more than 2 s" in reasons[13]
    assert "SIGKILL" in reasons[14]
    assert reasons[15] == "clip 15: broken."
    assert reasons[16] == "reading it failed with ValueError: two."
    assert again == {0: 14}
    assert told[8] == ("doubling", 9, 9)
    for pid in processes:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def slowly(number: int) -> int:
    if number == 13:
        raise OutputError("out: could not be written.")
    for _ in range(10):
        time.sleep(0.3)
        still_working()
    return number


def test_long_work_that_shows_life_is_not_given_up():
    with Crew(workers=1, limit=2.0) as crew:
        assert dict(crew.each("waiting", slowly, [1])) == {0: 1}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_disk_that_cannot_be_written_ends_all_work(workers):
    with Crew(workers=workers) as crew, pytest.raises(OutputError, match="could not be written"):
        list(crew.each("waiting", slowly, [13, 13]))


def test_a_crew_that_is_left_early_leaves_no_process():
    with Crew(workers=1, limit=60) as crew:
        for _, result in crew.each("doubling", double_or_else, [1, 13]):
            assert result == 2
            break
        (worker,) = crew._workers
        pid = worker._process.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_processes_that_cannot_start_say_why(monkeypatch):
    import mudra.clips.workers as workers

    monkeypatch.setattr(workers, "_serve", os._exit)
    with pytest.raises(UsageError, match="workers=0"), Crew(workers=1) as crew:
        list(crew.each("doubling", double_or_else, [1]))


def test_several_processes_find_what_one_finds(sound):
    folder, rows = sound
    (folder / "0.mp4").write_bytes(b"")
    (folder / "11.mp4").write_bytes((folder / "1.mp4").read_bytes())
    alone, together = examined(folder, rows), examined(folder, rows, workers=2)
    key = lambda finding: (finding.kind, finding.place)  # noqa: E731
    assert sorted(map(key, together.problems)) == sorted(map(key, alone.problems))
    assert together.facts == alone.facts


# Points and series


def series_rows(folder: Path, values: list[np.ndarray], splits: str) -> list[dict[str, str]]:
    rows = []
    for number, (array, split) in enumerate(zip(values, splits, strict=True)):
        np.savez(folder / f"{number}.npz", series=array.astype(np.float32))
        rows.append(row(number, {"t": "train", "e": "test"}[split], series=f"{number}.npz"))
        del rows[-1]["video"]
    return rows


SENSOR = {"streams": {"series": {"fps": 20}}, "tasks": {"label": ["wave", "nod"]}}


def test_silent_channels_and_zeros_are_told(tmp_path):
    rng = np.random.default_rng(0)
    clips = [rng.normal(1, 1, (30, 5)) for _ in range(4)]
    for clip in clips:
        clip[:, 1], clip[:, 3], clip[10:30, 4] = 7, np.nan, 0
    clips[2][:] = np.nan
    report = examined(tmp_path, series_rows(tmp_path, clips, "ttee"), SENSOR)
    silent = only(report.warnings, "silent channels")
    assert [finding.found for finding in silent] == [
        "1 of 5 channels are always the same: 1", "1 of 5 channels are never known: 3",
    ]  # fmt: skip
    assert "10%" in only(report.warnings, "many zeros")[0].found
    assert [finding.place for finding in only(report.warnings, "nothing known")] == ["clip 'c2' (test)"]
    assert report.facts["streams"]["series"]["unseen"]["any channel"] == 0.25


def test_a_clip_of_other_channels_is_found(tmp_path):
    clips = [np.arange(60).reshape(20, 3) + at for at in range(3)] + [np.arange(40).reshape(20, 2)]
    rows = series_rows(tmp_path, clips, "ttte")
    assert [
        finding.place for finding in only(examined(tmp_path, rows, SENSOR).problems, "another shape")
    ] == ["clip 'c3' (test)"]
    told = SENSOR | {"streams": {"series": {"fps": 20, "channels": 3}}}
    assert "2 channels" in only(examined(tmp_path, rows, told).problems, "cannot be read")[0].found


def test_copies_among_the_windows_of_one_file_are_found(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(20, 3)) for _ in range(6)]
    parts[3], parts[5] = parts[1], parts[0]  # the splits share one; train has one twice
    np.savez(tmp_path / "all.npz", series=np.concatenate(parts).astype(np.float32))
    rows = []
    for number in range(6):
        rows.append(row(number, "test" if number in (4, 5) else "train", series="all.npz"))
        rows[-1] |= {"start": f"{number}", "stop": f"{number + 1}"}
        del rows[-1]["video"]
    rows.append({**rows[0], "clip": "late", "start": "9", "stop": "10"})
    report = examined(tmp_path, rows, SENSOR)
    assert [f.place for f in only(report.problems, "same content in two splits")] == ["clip 'c5' (test)"]
    assert [f.place for f in only(report.warnings, "copy in a split")] == ["clip 'c3' (train)"]
    assert [f.place for f in only(report.problems, "starts after its end")] == ["clip 'late' (train)"]
    facts = report.facts["streams"]["series"]
    assert (facts["files"], facts["shapes"]) == (1, {"3": 6})
    assert facts["seconds"]["median"] == pytest.approx(1.0)


def test_a_copy_of_a_file_from_which_another_part_is_cut_is_found(tmp_path):
    values = np.random.default_rng(0).normal(size=(60, 3))
    rows = series_rows(tmp_path, [values, values, values + 1], "tet")
    rows[0] |= {"start": "0", "stop": "2"}
    rows[1] |= {"start": "1", "stop": "3"}
    assert [
        f.place for f in only(examined(tmp_path, rows, SENSOR).problems, "same content in two splits")
    ] == ["clip 'c1' (test)"]


# Real data


def test_the_copies_in_a_published_data_set_are_found(shared_data):
    report = check(Asl16().read(shared_data("asl16")), workers=0)
    across = only(report.problems, "same content in two splits")
    assert len(across) + len(only(report.warnings, "copy in a split")) == 45
    assert {finding.place.split("'")[1].partition("-")[0] for finding in across} == {"val", "test"}
    assert len({finding.found for finding in across}) == 1  # one sequence, again and again
