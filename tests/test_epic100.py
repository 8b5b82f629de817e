"""EPIC-KITCHENS-100 from its official files: small copies and, where they are, the official lists."""

import csv
import re

import numpy as np
import pytest

from mudra.clips.manifest import read_manifest, write_manifest
from mudra.clips.preprocessing import open_stream
from mudra.datasets.epic100 import Epic100
from mudra.errors import DataError
from mudra.types import UNLABELLED
from tests.footage import footage
from tests.video_files import numbers_of, write_video

SEGMENT = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
    "stop_frame"
)
LABELLED = SEGMENT + ",narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
TRAIN = (
    "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:00.50,8,30,open door,open,2,door,1,['door'],[1]",
    'P01_01_1,P01,P01_01,00:00:02.1,00:00:00.50,00:00:01.00,30,60,"take, ""the"" tap",grab,0,tap:hot,0,'
    "\"['tap:hot', 'door']\",\"[0, 1]\"",
)
VAL = ("P02_101_0,P02,P02_101,,00:00:00.20,00:00:00.60,10,30,put door,put-down,1,door,1,['door'],[1]",)
TEST = ("P03_01_0,P03,P03_01,00:00:00.1,01:00:00.10,01:00:00.95,5,47",)


@pytest.fixture
def release(tmp_path):
    """Three videos of three people, the last of them long."""
    write_lists(tmp_path)
    for video in ("P01_01", "P02_101", "P03_01"):
        put(tmp_path, f"{video[:3]}/videos/{video}.MP4")
    return tmp_path


def write_lists(root, **changes):
    lines = {
        "EPIC_100_verb_classes": ("id,key,instances,category", "0,take,\"['a', 'b']\",x", "1,put,[],x", "2,open,[],x"),
        "EPIC_100_noun_classes": ("id,key,instances,category", "0,tap,\"['tap']\",x", "1,door,['door'],y"),
        "EPIC_100_train": (LABELLED, *TRAIN),
        "EPIC_100_validation": (LABELLED, *VAL),
        "EPIC_100_test_timestamps": (SEGMENT, *TEST),
        "EPIC_100_tail_verbs": ("verb", "1"),
        "EPIC_100_tail_nouns": ("noun", "0"),
        "EPIC_100_unseen_participant_ids_validation": ("participant_id", "P02"),
        "EPIC_100_unseen_participant_ids_test": ("participant_id", "P33"),
        "EPIC_100_video_info": ("video_id,duration,fps,resolution", "P01_01,2,59.94,456x256", "P02_101,1,50.0,456x256"),
    } | changes  # fmt: skip
    for name, rows in lines.items():
        path = root / f"{name}.csv"
        path.write_text("\n".join(rows) + "\n") if rows else path.unlink(missing_ok=True)


def put(root, name):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()


def refused(folder, **settings):
    with pytest.raises(DataError) as caught:
        Epic100(**settings).read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def members(data, name):
    return [clip.id for clip, inside in zip(data, data.subsets[name], strict=True) if inside]


def test_segments_are_cut_by_their_time_stamps_and_grouped_by_video(release):
    data = Epic100().read(release)
    assert data.tasks == {"verb": ("take", "put", "open"), "noun": ("tap", "door")}
    assert [(clip.id, clip.split, clip.group, clip.start, clip.stop) for clip in data] == [
        ("P01_01_0", "train", "P01_01", 0.14, 0.5),
        ("P01_01_1", "train", "P01_01", 0.5, 1.0),
        ("P02_101_0", "val", "P02_101", 0.2, 0.6),
        ("P03_01_0", "test", "P03_01", 3600.1, 3600.95),
    ]
    assert data.targets("verb").tolist() == [2, 0, 1, UNLABELLED]
    assert data.targets("noun").tolist() == [1, 0, 1, UNLABELLED]
    assert data[0].streams == {"video": release / "P01/videos/P01_01.MP4"}
    assert data[0].fps is None  # a video says by itself when its frames are shown


def test_quoted_words_come_through_and_do_not_mix_with_the_classes(release):
    said = Epic100().read(release)[1].metadata
    assert said["narration"] == 'take, "the" tap'
    assert said["all_nouns"] == "['tap:hot', 'door']"
    assert (said["narrated_verb"], said["narrated_noun"]) == ("grab", "tap:hot")
    assert said["participant_id"] == "P01"


def test_unseen_people_and_tail_classes_are_subsets(release):
    data = Epic100().read(release)
    assert members(data, "unseen") == ["P02_101_0"]
    assert members(data, "tail:verb") == ["P02_101_0"]
    assert members(data, "tail:noun") == ["P01_01_1"]
    assert members(data, "tail:action") == ["P01_01_1", "P02_101_0"]


def test_subsets_without_their_lists_are_absent(release):
    write_lists(release, EPIC_100_tail_nouns=None, EPIC_100_unseen_participant_ids_validation=None)
    write_lists(release, EPIC_100_unseen_participant_ids_test=None, EPIC_100_tail_nouns=None,
                EPIC_100_unseen_participant_ids_validation=None)  # fmt: skip
    assert set(Epic100().read(release).subsets) == {"tail:verb"}


@pytest.mark.parametrize(
    "layout",
    [
        "{person}/videos/{video}.MP4", "videos/{person}/{video}.mp4", "videos/{video}.MP4", "{video}.mp4",
        "videos/train/{person}/{video}.MP4", "EPIC-KITCHENS/{person}/videos/{video}.MP4", "{person}/{video}.mkv",
    ],
)  # fmt: skip
def test_videos_are_found_in_every_layout(tmp_path, layout):
    write_lists(tmp_path)
    for video in ("P01_01", "P02_101", "P03_01"):
        put(tmp_path, layout.format(person=video[:3], video=video))
    data = Epic100().read(tmp_path)
    assert str(data[2].streams["video"].relative_to(tmp_path)) == layout.format(person="P02", video="P02_101")


def test_frame_folders_have_the_rate_of_their_own_video(release):
    for video in ("P01_01", "P02_101"):
        put(release, f"{video[:3]}/rgb_frames/{video}/frame_0000000001.jpg")
    write_lists(release, EPIC_100_test_timestamps=None)
    data = Epic100(footage="frames").read(release)
    assert [clip.fps for clip in data] == [59.94, 59.94, 50.0]
    assert str(data[2].streams["video"].relative_to(release)) == "P02/rgb_frames/P02_101"
    write_manifest(data, release)  # and they survive a manifest
    assert [clip.fps for clip in read_manifest(release)] == [59.94, 59.94, 50.0]
    write_lists(release, EPIC_100_test_timestamps=None, EPIC_100_video_info=("video_id,fps", "P01_01,59.94"))
    assert "EPIC_100_video_info.csv: no row for video 'P02_101'" in refused(release, footage="frames")


def test_a_segment_holds_the_frames_of_its_seconds_whatever_the_rate(release):
    write_video(release / "P02/videos/P02_101.MP4", 60, fps=50)
    folder = release / "P01/rgb_frames/P01_01"
    folder.mkdir(parents=True)
    from PIL import Image

    for number, frame in enumerate(footage(0, frames=70), 1):
        Image.fromarray(frame).save(folder / f"frame_{number:010d}.jpg")
    (release / "P01/videos/P01_01.MP4").unlink()
    data = Epic100().read(release)

    def times(row):
        return open_stream(data[row], "video", data.streams["video"]).read(lambda t: np.arange(len(t)))

    video, frames = times(2), times(0)
    assert numbers_of(video.values) == list(range(10, 30))  # 0.20 to 0.60 s at 50 frames per second
    assert frames.times == pytest.approx(np.arange(9, 30) / 59.94)  # 0.14 to 0.50 s at 59.94


def test_missing_videos_are_told_by_name(release):
    for video in ("P02_101", "P03_01"):
        (release / f"{video[:3]}/videos/{video}.MP4").unlink()
    told = refused(release)
    assert "2 of 3 videos are missing: P02_101, P03_01; expected" in told
    assert "data.missing=leave_out" in told


def test_segments_of_missing_videos_are_left_out_on_request_and_that_is_said(release):
    (release / "P02/videos/P02_101.MP4").unlink()
    data = Epic100(missing="leave_out").read(release)
    assert [clip.id for clip in data] == ["P01_01_0", "P01_01_1", "P03_01_0"]
    assert members(data, "tail:action") == ["P01_01_1"]
    assert "epic100: 1 of 3 videos are missing: P02_101. Their 1 of 4 segments are left out." in data.notes
    for video in ("P01_01", "P03_01"):
        (release / f"{video[:3]}/videos/{video}.MP4").unlink()
    assert "3 of 3 videos are missing" in refused(release, missing="leave_out")  # not an empty data set


def test_an_absent_list_leaves_its_split_out_and_all_absent_is_an_error(release):
    write_lists(release, EPIC_100_train=None, EPIC_100_test_timestamps=None)
    data = Epic100().read(release)
    assert set(data.split_names()) == {"val"}
    assert any("EPIC_100_train.csv is not in" in note for note in data.notes)
    write_lists(release, EPIC_100_train=None, EPIC_100_test_timestamps=None, EPIC_100_validation=None)
    assert "none of the lists is here" in refused(release)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("train", "00:00:00.14", "0.14", "EPIC_100_train.csv, row 2: start_timestamp is '0.14'; expected hours"),
        ("train", "00:00:00.50,8", "00:00:00.14,8", "row 2: stop 0.14 is not after start 0.14"),
        ("train", "grab,0", "grab,3", "EPIC_100_train.csv, row 3: verb_class is '3'; expected a number from 0 to 2"),
        ("train", "grab,0", "grab,", "row 3: verb_class is ''"),
        ("train", "tap:hot,0", "tap:hot,-1", "row 3: noun_class is '-1'; expected a number from 0 to 1"),
        ("train", "P01_01_1", "P01_01_0", "row 3: clip 'P01_01_0' is already in EPIC_100_train.csv, row 2"),
        ("train", ",[1]", "", "EPIC_100_train.csv, row 2: found 14 cells; expected 15"),
        ("train", "noun_class", "nounclass", "row 1: no column 'noun_class'"),
        ("validation", "P02,P02_101,", "P02,../x,", "EPIC_100_validation.csv, row 2: video_id is '../x'"),
        ("validation", "P02,P02_101,", "P01,P01_01,", "group 'P01_01' is in val here and in train at"),
        ("verb_classes", "1,put", "7,put", "EPIC_100_verb_classes.csv, row 3: found '7' and 'put'; expected 1"),
        ("verb_classes", "1,put", "1,take", "EPIC_100_verb_classes.csv, row 3: found '1' and 'take'"),
        ("tail_verbs", "1", "9", "EPIC_100_tail_verbs.csv: found '9'; expected numbers of the 3 classes"),
    ],
)  # fmt: skip
def test_a_row_that_was_never_released_is_refused_with_its_file_and_row(release, name, old, new, said):
    path = release / f"EPIC_100_{name}.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert said in refused(release)


def test_the_official_lists_have_their_exact_counts(shared_data, tmp_path):
    lists = shared_data("annotations/epic_kitchens_100")
    (tmp_path / "epic-kitchens-100-annotations").symlink_to(lists)
    there = [
        name
        for name in ("train", "validation", "test_timestamps")
        if (lists / f"EPIC_100_{name}.csv").exists()
    ]
    for name in there:
        with open(lists / f"EPIC_100_{name}.csv", newline="") as file:
            for row in csv.DictReader(file):
                put(tmp_path, f"{row['participant_id']}/videos/{row['video_id']}.MP4")
    data = Epic100().read(tmp_path)
    assert {task: len(names) for task, names in data.tasks.items()} == {"verb": 97, "noun": 300}
    assert {task: len(names) for task, names in data.tasks.items()} == Epic100().class_counts()
    counts = {"train": 67_217, "validation": 9_668, "test_timestamps": 13_092}
    assert len(data) == sum(counts[name] for name in there)
    val = data.split("val")
    assert len(val) == 9_668
    assert int(val.subsets["unseen"].sum()) == 1_065
    assert [int(val.subsets[f"tail:{task}"].sum()) for task in ("verb", "noun", "action")] == [
        1_760,
        1_900,
        3_105,
    ]
    assert len(set(val.groups.to_pylist())) == 138
    assert {
        clip.metadata["participant_id"] for clip in val.select(np.flatnonzero(val.subsets["unseen"]))
    } == {"P18", "P32"}
    one = val[1]
    assert (one.id, one.start, one.stop, one.labels) == (
        "P01_11_1",
        1.56,
        2.45,
        {"verb": "put", "noun": "plate"},
    )
    assert not [note for note in data.notes if re.search(r"lists [\d,]+ segments", note)]
