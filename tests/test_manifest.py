"""manifest.csv, dataset.json and class folders: what is read, and what is refused in one line."""

import errno
import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mudra.clips.folds import make_folds, write_folds, write_split
from mudra.clips.manifest import read_folder, read_manifest, write_manifest
from mudra.clips.table import Rows, build
from mudra.datasets.folder import Folder
from mudra.datasets.folder_contents import refuse_unfinished
from mudra.errors import DataError, OutputError
from mudra.sections import Holdout
from mudra.settings import parse
from mudra.types import UNLABELLED, StreamInfo

GOOD = "clip,split,group,label,video\na,train,ann,wave,a.mp4\nb,train,bob,nod,b.mp4\nc,test,eve,wave,c.mp4\n"


def manifest(folder, text, facts=None):
    (folder / "manifest.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    if facts is not None:
        (folder / "dataset.json").write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return folder


def refused(folder, read=read_manifest):
    with pytest.raises(DataError) as caught:
        read(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def clips(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


# Reading


def test_segments_of_a_file_are_read_one_after_the_other(tmp_path):
    rows = ["b9,9,", "x,,", "a2,2,3", "b1,1,", "y,,", "a,,1", "b10,10,"]
    lines = [f"{row.split(',')[0]},test,wave,{row[0]}.mp4,{row.split(',', 1)[1]}" for row in rows]
    data = read_manifest(manifest(tmp_path, "clip,split,label,video,start,stop\n" + "\n".join(lines) + "\n"))
    assert [data[n].id for n in data.reading_order()] == ["b1", "b9", "b10", "x", "a", "a2", "y"]


def test_a_clip_is_what_its_row_says(tmp_path):
    header = "clip,split,group,start,stop,label,video,points:left,note\n"
    text = header + "a,train,ann,1.5,2.75,wave,v/a.mp4,p/a.npz,hot\n"
    clip = read_manifest(manifest(tmp_path, text))[0]
    assert (clip.id, clip.split, clip.group, clip.start, clip.stop) == ("a", "train", "ann", 1.5, 2.75)
    assert clip.labels == {"label": "wave"}
    assert clip.streams == {"video": tmp_path / "v/a.mp4", "points:left": tmp_path / "p/a.npz"}
    assert clip.metadata == {"note": "hot"}


def test_every_cell_is_text(tmp_path):
    names = ["NA", "null", "010", "no", "1e3", "True", " wave", "-", "None"]
    rows = "".join(f"{number},train,{name},{number}.mp4\n" for number, name in enumerate(names))
    data = read_manifest(manifest(tmp_path, "clip,split,label,video\n" + rows))
    assert [clip.labels["label"] for clip in data] == names
    assert data.tasks["label"] == tuple(sorted(names))
    assert data[0].id == "0"


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_text(tmp_path):
    data = read_manifest(manifest(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()))
    assert [clip.id for clip in data] == ["a", "b", "c"]
    assert data[2].streams["video"] == tmp_path / "c.mp4"


def test_names_may_hold_commas_newlines_and_bytes_that_are_no_text(tmp_path):
    text = b'clip,label,video\na,wave,"odd, name\n-i.mp4"\nb,nod,caf\xe9.mp4\n'
    data = read_manifest(manifest(tmp_path, text))
    assert data[0].streams["video"].name == "odd, name\n-i.mp4"
    assert os.fsencode(data[1].streams["video"].name) == b"caf\xe9.mp4"


def test_classes_are_the_sorted_labels_of_train_unless_they_are_declared(tmp_path):
    assert read_manifest(manifest(tmp_path, GOOD)).tasks == {"label": ("nod", "wave")}
    declared = read_manifest(manifest(tmp_path, GOOD, {"tasks": {"label": ["wave", "nod", "clap"]}}))
    assert declared.tasks == {"label": ("wave", "nod", "clap")}
    assert declared.targets("label").tolist() == [0, 1, 0]
    assert declared.class_index("label", "clap") == 2


def test_an_empty_label_outside_train_is_unknown(tmp_path):
    data = read_manifest(manifest(tmp_path, GOOD.replace("eve,wave", "eve,")))
    assert data.targets("label").tolist() == [1, 0, UNLABELLED]
    assert data[2].labels == {}


def test_the_tasks_are_label_verb_and_noun_unless_dataset_json_names_them(tmp_path):
    text = "clip,verb,noun,mood,video\na,take,cup,glad,a.mp4\nb,put,cup,sad,b.mp4\n"
    data = read_manifest(manifest(tmp_path, text))
    assert data.tasks == {"verb": ("put", "take"), "noun": ("cup",)}
    assert data[0].metadata == {"mood": "glad"}
    named = read_manifest(manifest(tmp_path, text, {"tasks": {"mood": None}}))
    assert named.tasks == {"mood": ("glad", "sad")}
    assert named[0].metadata == {"verb": "take", "noun": "cup"}
    assert data.with_tasks(["noun"]).tasks == {"noun": ("cup",)}


def test_clips_are_reported_apart_by_columns_of_their_own(tmp_path):
    text = "clip,verb,noun,subset:night,subset:rare:verb,video\na,take,cup,yes,,a.mp4\nb,put,cup,No,1,b.mp4\n"
    data = read_manifest(manifest(tmp_path, text))
    assert {name: members.tolist() for name, members in data.subsets.items()} == {
        "night": [True, False], "rare:verb": [False, True],
    }  # fmt: skip
    assert data[1].metadata == {"subset:night": "no", "subset:rare:verb": "yes"}
    assert data.select([1]).subsets["night"].tolist() == [False]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("subset:night", "yes"), None),
        (("subset:night", "maybe"), "row 2: subset:night is 'maybe'; expected yes or no"),
        (("subset:night:action", "no"), None),
        (
            ("subset:night:lable", "no"),
            "row 2, column 'subset:night:lable': expected .* Did you mean 'label'",
        ),
        (("subset:", "no"), "column 'subset:': expected subset:NAME"),
        (("fps", "59.94"), None),
        (("fps", "fast"), "row 2: fps is 'fast'; expected frames per second, above 0"),
        (("fps", "0"), "row 2: fps is '0'"),
        (("fps", "inf"), "row 2: fps is 'inf'"),
    ],
)
def test_a_subset_says_yes_or_no_and_a_rate_is_above_zero(tmp_path, change, said):
    name, cell = change
    text = f"clip,label,{name},video\na,x,{cell},a.mp4\n"
    if said is None:
        assert len(read_manifest(manifest(tmp_path, text))) == 1
        return
    with pytest.raises(DataError, match=said):
        read_manifest(manifest(tmp_path, text))


def test_a_clip_may_have_a_rate_of_its_own_which_is_that_of_its_video(tmp_path):
    text = "clip,label,fps,video,points\na,x,59.94,a,a.npy\nb,x,,b,b.npy\n"
    facts = {"streams": {"video": {"fps": 25}, "points": {"fps": 30, "layout": "kinect20"}}}
    data = read_manifest(manifest(tmp_path, text, facts))
    rates = [[clip.rate(data.streams[stream]) for stream in ("video", "points")] for clip in data]
    assert rates == [[59.94, 30], [25, 30]]


def test_a_clip_may_lack_a_stream_that_others_have(tmp_path):
    text = "clip,label,video,points\na,x,a.mp4,\nb,x,,b.npz\n"
    data = read_manifest(manifest(tmp_path, text, {"streams": {"points": {"layout": "kinect20", "fps": 30}}}))
    assert list(data[0].streams) == ["video"]
    assert list(data[1].streams) == ["points"]
    assert data.streams["points"] == StreamInfo("points", "kinect20", 30.0)


def test_a_split_is_a_part_with_the_same_classes(tmp_path):
    data = read_manifest(manifest(tmp_path, GOOD))
    test = data.split("test")
    assert [clip.id for clip in test] == ["c"]
    assert test.targets("label").tolist() == [1]
    assert len(data.split("val")) == 0
    assert [clip.id for clip in data.select([2, 0])] == ["c", "a"]
    with pytest.raises(DataError, match="Did you mean 'test'"):
        data.split("tset")
    with pytest.raises(IndexError):
        test[1]


def test_validation_is_read_as_val(tmp_path):
    data = read_manifest(manifest(tmp_path, GOOD.replace("test", "validation")))
    assert data[2].split == "val"


def test_the_split_hash_follows_the_split_and_not_the_order(tmp_path):
    data = read_manifest(manifest(tmp_path, GOOD))
    assert data.select([2, 0, 1]).split_hash == data.split_hash
    assert data.with_split_codes(np.array([0, 0, 1], np.int8)).split_hash != data.split_hash


def test_a_manifest_travels_to_another_process_whole(tmp_path):
    data = read_manifest(manifest(tmp_path, GOOD))
    there = pickle.loads(pickle.dumps(data.split("train")))
    assert list(there) == list(data.split("train"))


def test_a_hundred_thousand_rows_cost_seconds_and_few_bytes(tmp_path):
    with open(tmp_path / "manifest.csv", "w") as file:
        file.write("clip,split,group,start,stop,label,video\n")
        for row in range(100_000):
            split = ("train", "val", "test")[row % 3]
            file.write(
                f"c{row},{split},person {row % 999},{row},{row + 1},k{row % 26},v/{row % 99}/{row}.mp4\n"
            )
    began = time.process_time()
    data = read_manifest(tmp_path)
    assert time.process_time() - began < 6  # 1.2 s on an idle machine
    assert len(pickle.dumps(data)) < 15e6
    assert data[99_999].group == "person 99"


# Refusals: each message tells the file, the row as an editor counts it, and what to do


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("clip,label,video\n", "no clip"),
        ("id,label,video\na,x,a.mp4\n", "no column 'clip'"),
        ("clip,label,vidoe\na,x,a.mp4\n", "Did you mean 'video'?"),
        ("clip,Label,video\na,x,a.mp4\n", "no task column"),
        ("clip,label,video:left\na,x,a.mp4\n", "no stream can be named 'video:left'"),
        ("clip;label;video\na;x;a.mp4\n", "separated by commas"),
        (",clip,label,video\n0,a,x,a.mp4\n", "column 1 has no name"),
        ("clip,label,label,video\na,x,x,a.mp4\n", "column 'label' is there twice"),
        ("clip,label,video\na,x\n", "row 2: found 2 cells; expected 3"),
        ('clip,label,video\na,"x"y,a.mp4\n', "row 2: not valid CSV"),
        ("clip,label,video\na,x,a.mp4\n\n\nb,x,b.mp4,\n", "row 5: found 4 cells"),
        ('clip,label,video\n"a\nb",x,a.mp4\nb,,b.mp4\n', "row 4: no label"),
        (GOOD.replace("c,test", "a,test"), "already in manifest.csv, row 2 (in train there, in test here)"),
        (GOOD.replace("c,test", "a,train"), "row 4: clip 'a' is already in manifest.csv, row 2;"),
        (GOOD.replace("b,train", ",train"), "row 3: the clip has no id"),
        (GOOD.replace("test", "tset"), "split 'tset' is not one of train, val, test. Did you mean 'test'?"),
        (GOOD.replace("test", "Test"), "Did you mean 'test'?"),
        (GOOD.replace(",test,", ",,"), "row 4: no split here, while 2 other clips have one"),
        (GOOD.replace("eve", "ann"), "row 4: group 'ann' is in test here and in train at"),
        (GOOD.replace("eve,wave", "eve,Wave"), "'Wave' is in test but never in train. Did you mean 'wave'?"),
        (GOOD.replace("bob,nod", "bob,"), "row 3: no label is given"),
        (GOOD.replace("b.mp4", ""), "row 3: no stream is given"),
        (GOOD.replace("c.mp4", "a.mp4"), "row 4: video 'a.mp4' is in test here and in train at"),
        ("clip,label,video\na,,a.mp4\n", "no clip has a label"),
        (GOOD.encode().replace(b"wave,c", b"w\xe9ve,c"), "row 4: label 'w\\udce9ve'"),
    ],
)  # fmt: skip
def test_a_wrong_manifest_is_refused(tmp_path, text, said):
    assert said in refused(manifest(tmp_path, text))


@pytest.mark.parametrize(
    "path",
    [
        "../a.mp4",
        "v/../../a.mp4",
        "/etc/passwd",
        "..",
        "v/..",
        "\\\\host\\a.mp4",
        "C:\\a.mp4",
        "..\\a.mp4",
        "a\0.mp4",
    ],
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path):
    message = refused(manifest(tmp_path, GOOD.replace("b.mp4", path)))
    assert "row 3: video" in message
    assert "leads out of" in message


@pytest.mark.parametrize("path", ["..a/b..mp4", "a:b.mp4", "-i", "~/a.mp4", "a/.../b.mp4"])
def test_an_odd_path_that_stays_inside_is_taken_literally(tmp_path, path):
    assert (
        read_manifest(manifest(tmp_path, GOOD.replace("b.mp4", path)))[1].streams["video"] == tmp_path / path
    )


@pytest.mark.parametrize(
    ("start", "stop", "said"),
    [
        ("x", "", "start is 'x'"),
        ("", "nan", "stop is 'nan'"),
        ("inf", "", "start is 'inf'"),
        ("-1", "2", "start is '-1'"),
        ("1_0", "20", "start is '1_0'"),
        ("2", "2", "stop 2 is not after start 2"),
        ("", "0", "stop 0 is not after start 0"),
    ],
)
def test_a_window_that_is_none_is_refused(tmp_path, start, stop, said):
    text = f"clip,label,video,start,stop\na,x,a.mp4,,\nb,x,a.mp4,{start},{stop}\n"
    assert f"row 3: {said}" in refused(manifest(tmp_path, text))


def test_windows_of_one_file_may_stand_in_two_splits_only_where_they_do_not_overlap(tmp_path):
    text = "clip,split,label,video,start,stop\na,train,x,a.mp4,0,2\nb,test,x,a.mp4,2,4\nc,train,x,a.mp4,4,\n"
    assert len(read_manifest(manifest(tmp_path, text))) == 3
    assert "row 3: video 'a.mp4' is in test" in refused(manifest(tmp_path, text.replace("2,4", "1.9,4")))
    assert "row 4: video 'a.mp4' is in train" in refused(manifest(tmp_path, text.replace("2,4", "2,4.5")))
    nested = "a,train,x,a.mp4,0,10\nb,train,x,a.mp4,2,3\nc,test,x,a.mp4,5,6\n"  # b begins last and ends first
    assert "row 4" in refused(manifest(tmp_path, text.splitlines()[0] + "\n" + nested))


# dataset.json


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("{", "not valid JSON"),
        ('{"tasks": {}, "tasks": {}}', "the key 'tasks' is there twice"),
        ("[]", "found a list"),
        ("[" * 100_000, "not valid JSON"),
        ('{"streams": {"video": {"fps": NaN}}}', "NaN is not a number"),
        ({"task": {}}, "unknown key. Did you mean 'tasks'?"),
        ({"tasks": {"label": ["wave", 10]}}, 'Names are text: write "10".'),
        ({"tasks": {"label": ["wave", False]}}, 'Names are text: write "false".'),
        ({"tasks": {"label": "wave"}}, "tasks.label: found 'wave'"),
        ({"tasks": {"label": []}}, "tasks.label: no class"),
        ({"tasks": {"label": ["wave", ""]}}, "empty name"),
        ({"tasks": {"label": ["wave", "wave"]}}, "class 'wave' is listed twice"),
        ({"tasks": {"label": ["wave", "clap"]}}, "row 3: label 'nod' is not one of the 2 classes"),
        ({"tasks": {"lable": None}}, "no column 'lable', which dataset.json names as a task. Did you mean"),
        ({"tasks": {"video": None}}, "'video' cannot be the name of a task"),
        ({"streams": {"vidoe": {}}}, "unknown stream 'vidoe'"),
        ({"streams": {"points": {}}}, "'points' is not a column"),
        ({"streams": {"video": {"fps": 0}}}, "streams.video.fps: found 0"),
        ({"streams": {"video": {"fps": "12"}}}, "streams.video.fps: found '12'"),
        ({"streams": {"video": {"layout": "hand21"}}}, "only points have a layout"),
        ({"mirror": {"label": {"wave": "nood"}}}, "'nood' is not one of the classes. Did you mean 'nod'?"),
        ({"mirror": {"verb": {}}}, "mirror: no task 'verb'"),
        ({"tasks": {"label": ["wave", "nod", "up"]}, "mirror": {"label": {"wave": "nod", "nod": "up"}}},
         "'nod' has two mirror images"),
    ],
)  # fmt: skip
def test_a_wrong_description_is_refused(tmp_path, facts, said):
    message = refused(manifest(tmp_path, GOOD, facts))
    assert said in message
    assert "dataset.json" in message or "manifest.csv" in message or "mirror" in message


def test_an_unknown_layout_names_the_nearest(tmp_path):
    text = GOOD.replace(",video", ",points")
    assert "kinect20" in refused(manifest(tmp_path, text, {"streams": {"points": {"layout": "kinekt20"}}}))


def test_a_mirror_table_is_completed_both_ways(tmp_path):
    assert read_manifest(manifest(tmp_path, GOOD)).mirror == {}
    data = read_manifest(manifest(tmp_path, GOOD, {"mirror": {"label": {"wave": "nod"}}}))
    assert data.mirror == {"label": {"wave": "nod", "nod": "wave"}}
    data = read_manifest(manifest(tmp_path, GOOD, {"mirror": {"label": {}}}))
    assert data.mirror == {"label": {"nod": "nod", "wave": "wave"}}


# Links


def test_a_link_that_leads_out_is_refused_unless_it_is_trusted(tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.touch()
    data = manifest(clips(tmp_path / "data", "real/a.mp4"), GOOD.replace("b.mp4", "inside.mp4"))
    (data / "c.mp4").symlink_to(secret)
    (data / "inside.mp4").symlink_to(data / "real/a.mp4")
    found = read_manifest(data)
    assert found[1].streams["video"] == data / "inside.mp4"
    with pytest.raises(DataError, match="leads out of the folder"):
        found[2]
    assert read_manifest(data, follow_links=True)[2].streams["video"] == data / "c.mp4"


def test_a_folder_that_is_a_link_below_the_data_set_is_refused_and_one_above_it_is_not(tmp_path):
    clips(tmp_path / "elsewhere", "a.mp4")
    data = manifest(clips(tmp_path / "data", "b.mp4"), GOOD.replace("a.mp4", "v/a.mp4"))
    (data / "v").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"'v/a\.mp4' is a link"):
        read_manifest(data)[0]
    (tmp_path / "link").symlink_to(data)
    assert read_manifest(tmp_path / "link")[1].streams["video"] == tmp_path / "link/b.mp4"


# Class folders


def test_a_folder_for_each_class(tmp_path):
    clips(tmp_path, "wave/1.mp4", "wave/2.MOV", "nod/1.webm", "nod/.hidden", "readme.txt")
    data = read_folder(tmp_path)
    assert [(clip.id, clip.labels["label"], clip.split) for clip in data] == [
        ("nod/1", "nod", ""),
        ("wave/1", "wave", ""),
        ("wave/2", "wave", ""),
    ]
    assert data[2].streams == {"video": tmp_path / "wave/2.MOV"}
    assert data.notes == ()


def test_a_folder_for_each_split_and_class(tmp_path):
    clips(tmp_path, "train/wave/1.mp4", "Valid/wave/1.mp4", "test/wave/1.mp4", "train/nod/2.mp4")
    data = read_folder(tmp_path)
    assert [(clip.id, clip.split) for clip in data] == [
        ("Valid/wave/1", "val"),
        ("test/wave/1", "test"),
        ("train/nod/2", "train"),
        ("train/wave/1", "train"),
    ]
    assert data.tasks == {"label": ("nod", "wave")}


def test_clips_may_be_folders_of_frames_or_arrays(tmp_path):
    facts = {"streams": {"video": {"fps": 12}, "series": {"fps": 50}}, "tasks": {"sign": None}}
    manifest(clips(tmp_path, "wave/1/0001.jpg", "wave/1/0002.jpg", "nod/7.npz"), "", facts)
    data = read_folder(tmp_path)
    assert data[0].streams == {"series": tmp_path / "nod/7.npz"}
    assert data[1].streams == {"video": tmp_path / "wave/1"}
    assert data[1].labels == {"sign": "wave"}
    assert data.streams == {"series": StreamInfo("series", None, 50), "video": StreamInfo("video", None, 12)}


def test_a_class_may_be_called_test(tmp_path):
    clips(tmp_path, "test/1.mp4", "wave/1.mp4")
    assert read_folder(tmp_path).tasks == {"label": ("test", "wave")}


def test_files_that_are_no_clips_are_told(tmp_path):
    clips(tmp_path, "wave/1.mp4", "wave/notes.txt")
    (note,) = read_folder(tmp_path).notes
    assert "1 file that is no clip was passed over" in note
    assert "notes.txt" in note


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "found no folder"),
        (["1.mp4"], "found clips such as '1.mp4' directly in it"),
        (["train/1.mp4", "test/2.mp4"], "found clips such as '2.mp4' directly in the folder of a split"),
        (
            ["train/1/0001.jpg", "test/2/0001.jpg"],
            "found clips such as '2' directly in the folder of a split",
        ),
        (["train/wave/1.mp4", "val/wave/2.mp4", "other/3.mp4"], "the splits train, val and also 'other'"),
        (["train/wave/1.mp4", "val/empty.txt"], "val: the split is empty"),
        (["wave/1.mp4", "nod/empty.txt"], "nod: the class has no clip"),
        (["wave/0001.jpg"], "a picture directly in a class"),
        (["wave/ann/1.mp4"], "a clip one folder too deep"),
        (["tset/wave/1.mp4", "train/wave/2.mp4"], "Did you mean 'test'?"),
        (["wave/notes/a.txt"], "found no JPEG or PNG frame"),
        (["wave/1.mp4", "wave/1.avi"], "found both 1.avi and 1.mp4"),
        (["wave/1/0001.jpg"], "a folder of frames tells no rate"),
        (["train/wave/1.mp4", "test/nod/1.mp4"], "label 'nod' is in test but never in train"),
        (["wave\n/1.mp4", "wave\n/1.avi"], "found both"),
    ],
)
def test_a_wrong_layout_is_refused(tmp_path, names, said):
    assert said in refused(clips(tmp_path, *names), read_folder)


def test_two_tasks_cannot_be_told_by_class_folders(tmp_path):
    manifest(clips(tmp_path, "wave/1.mp4"), "", {"tasks": {"verb": None, "noun": None}})
    assert "class folders tell one task" in refused(tmp_path, read_folder)


# Splits that the data does not bring


def people(folder, persons=12, each=10):
    rows = [f"{p}-{k},p{p},k{k % 5},{p}-{k}.mp4" for p in range(persons) for k in range(each)]
    return manifest(folder, "clip,group,label,video\n" + "\n".join(rows) + "\n")


def test_no_split_given_makes_one_by_group_and_says_so(tmp_path):
    data = read_manifest(people(tmp_path))
    made = data.with_splits(seed=0)
    sides = {(clip.group, clip.split) for clip in made}
    assert len(sides) == 12
    assert {split for _, split in sides} == {"train", "val", "test"}
    assert "no split was given" in made.notes[-1]
    assert "by group (12 groups)" in made.notes[-1]
    assert made.with_splits(seed=5) is made
    assert made.split_hash == data.with_splits(seed=0).split_hash != data.with_splits(seed=1).split_hash


def test_too_few_groups_for_a_split_are_refused(tmp_path):
    with pytest.raises(DataError, match="2 groups cannot fill 3 splits"):
        read_manifest(people(tmp_path, persons=2)).with_splits()


def test_only_train_and_test_given_carves_nothing(tmp_path):
    data = read_manifest(manifest(tmp_path, GOOD))
    assert data.with_splits() is data
    assert len(data.split("val")) == 0


def test_a_holdout_takes_whole_groups_from_train_alone(tmp_path):
    data = read_manifest(people(tmp_path))
    data = data.with_split_codes(np.repeat([2, 0], [20, 100]).astype(np.int8))
    held = data.holdout(Holdout(by="group", share=0.2), seed=0)
    assert len(held.split("val")) == 20
    assert len({(clip.group, clip.split) for clip in held}) == 12
    assert held.split("test").split_hash == data.split("test").split_hash
    assert "20 of 100 training clips were held out" in held.notes[-1]
    by_clip = data.holdout(Holdout(by="clip", share=0.1), seed=0)
    assert len({clip.group for clip in by_clip.split("val")}) > 1
    assert [len(by_clip.split(name)) for name in ("train", "val", "test")] == [90, 10, 20]
    again = held.holdout(Holdout(), seed=0)
    assert again.split_hash == held.split_hash
    assert "of its own" in again.notes[-1]


def test_a_holdout_of_the_only_group_is_refused(tmp_path):
    data = read_manifest(people(tmp_path, persons=2)).with_split_codes(np.repeat([0, 2], 10).astype(np.int8))
    with pytest.raises(DataError, match="1 group cannot fill 2 splits"):
        data.holdout(Holdout(), seed=0)


def test_a_split_cannot_be_made_with_clips_that_have_no_label(tmp_path):
    data = read_manifest(manifest(tmp_path, GOOD.replace("eve,wave", "eve,")))
    with pytest.raises(DataError, match="clip 'c' has no label"):
        data.resplit()


def test_folds_test_every_clip_once_and_never_split_a_group(tmp_path):
    data = read_manifest(people(tmp_path))
    folds = make_folds(data, 4, seed=0)
    tested = [clip.id for fold in folds for clip in fold.split("test")]
    assert sorted(tested) == sorted(data.ids.to_pylist())
    for fold in folds:
        assert len({(clip.group, clip.split) for clip in fold}) == 12
        assert len(fold.split("test")) == 30
    assert len(make_folds(data, None)) == 12
    with pytest.raises(DataError, match="13 folds of 12 groups"):
        make_folds(data, 13)


def test_written_folds_are_read_back_by_name(tmp_path):
    data = read_manifest(people(tmp_path))
    paths = write_folds(make_folds(data, 3))
    assert [path.name for path in paths] == [f"manifest-fold-0{n}.csv" for n in (1, 2, 3)]
    fold = parse(Folder, {"kind": "folder", "manifest": paths[1].name}, "test").read(tmp_path)
    assert fold.split_hash == make_folds(data, 3)[1].split_hash
    with pytest.raises(DataError, match="is there already"):
        write_folds(make_folds(data, 3))


def test_a_written_split_turns_class_folders_into_a_manifest(tmp_path):
    clips(tmp_path, *(f"{name}/{number}.mp4" for name in ("wave", "nod") for number in range(20)))
    made = read_folder(tmp_path).with_splits(seed=1)
    write_split(made)
    again = Folder().read(tmp_path)
    assert again.split_hash == made.split_hash
    assert list(again) == list(made)
    with pytest.raises(DataError, match="is there already"):
        write_split(made)


# Writing


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_written_is_read_back(tmp_path, data):
    ids = data.draw(st.lists(TEXT, min_size=1, max_size=6, unique=True))
    labels = data.draw(st.lists(TEXT, min_size=len(ids), max_size=len(ids)))
    stops = data.draw(st.lists(st.floats(0.1, 1e6), min_size=len(ids), max_size=len(ids)))
    apart = data.draw(st.lists(st.sampled_from(["yes", "no"]), min_size=len(ids), max_size=len(ids)))
    made = build(
        Rows(
            ids=ids,
            files={"video": [f"v/{number}.mp4" for number in range(len(ids))]},
            labels={"label": labels},
            place=str,
            stops=[repr(stop) for stop in stops],
            rates=[repr(stop) for stop in stops[::-1]],
            metadata={"note": labels[::-1], "subset:night:label": apart},
        ),
        name="x",
        root=tmp_path,
        streams={"video": StreamInfo("video", None, 12.5)},
        classes={"label": None},
        mirror={"label": {}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)  # a tenth of a second each time
        write_manifest(made, tmp_path)
    again = read_manifest(tmp_path)
    assert list(again) == list(made)
    assert (again.tasks, again.streams, again.mirror) == (made.tasks, made.streams, made.mirror)


def test_a_manifest_elsewhere_is_refused_and_one_above_leads_down(tmp_path):
    data = read_manifest(manifest(clips(tmp_path / "data", "a.mp4"), GOOD))
    write_manifest(data, tmp_path)
    assert read_manifest(tmp_path)[0].streams["video"] == tmp_path / "data/a.mp4"
    with pytest.raises(DataError, match="cannot name the clips"):
        write_manifest(data, tmp_path / "other")


def test_a_failed_write_leaves_the_old_manifest(tmp_path, monkeypatch):
    data = read_manifest(manifest(tmp_path, GOOD))

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space"):
        write_manifest(data.select([0]), tmp_path)
    assert (tmp_path / "manifest.csv").read_text() == GOOD
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.csv"]


# The kind `folder`


def test_a_manifest_goes_before_class_folders(tmp_path):
    clips(tmp_path, "wave/1.mp4", "nod/1.mp4", "nod/2.mp4")
    assert len(Folder().read(tmp_path)) == 3
    manifest(tmp_path, GOOD)
    assert [clip.id for clip in Folder().read(tmp_path)] == ["a", "b", "c"]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        Folder().read(tmp_path / "none")
    with pytest.raises(DataError, match="--data DIR"):
        Folder().read(None)
    with pytest.raises(DataError, match=r"other\.csv: cannot be read"):
        Folder(manifest="other.csv").read(tmp_path)


def test_a_folder_that_nobody_may_list_is_told_with_what_to_do(tmp_path, monkeypatch):
    """As it is without rights; the tests may run as root, who has them all."""
    shut = tmp_path / "shut"
    clips(shut, "wave/1.mp4")

    def without_rights(allowed, lists):
        def look(path=".", *args, **options):
            place = Path(path) if isinstance(path, str | os.PathLike) else tmp_path
            if shut in place.parents or (place == shut and lists):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return allowed(path, *args, **options)

        return look

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", without_rights(os.listdir, lists=True))
        patch.setattr(os, "stat", without_rights(os.stat, lists=False))
        with pytest.raises(DataError) as caught:
            Folder().read(shut)
    assert str(caught.value) == (
        f"{shut}: cannot be listed (Permission denied); expected one with a manifest.csv or a folder per class. "
        "Mend the path or its rights."
    )


@pytest.mark.parametrize(
    ("begun", "done", "command"),
    [
        ("landmarks.json", "manifest.csv", "mudra data landmarks DATA"),
        ("import.json", "montalbano.json", "mudra data import-tfrecord FOLDER"),
    ],
)
def test_a_folder_that_a_command_has_not_finished_names_the_command(tmp_path, begun, done, command):
    clips(tmp_path, "points/1.npz")
    (tmp_path / begun).touch()
    with pytest.raises(DataError, match=f"not complete; run `{command} {tmp_path}` again, which goes on"):
        Folder().read(tmp_path)
    (tmp_path / done).touch()
    refuse_unfinished(tmp_path)


def test_real_clips_are_read_from_their_manifest(shared_data):
    data = Folder().read(shared_data("exercise_typing"))
    assert (len(data.split("train")), len(data.split("val"))) == (49, 15)


def test_a_folder_of_frames_that_nobody_may_list_is_told(tmp_path, monkeypatch):
    clips(tmp_path, "wave/1/1.jpg", "nod/2/1.jpg")
    listed, scanned = os.listdir, os.scandir

    def without_rights(allowed):
        def look(path="."):
            if Path(path) == tmp_path / "wave" / "1":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return allowed(path)

        return look

    monkeypatch.setattr(os, "listdir", without_rights(listed))
    monkeypatch.setattr(os, "scandir", without_rights(scanned))
    assert "cannot be listed (Permission denied)" in refused(tmp_path, read_folder)
