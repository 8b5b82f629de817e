"""The official layouts of UCF101 and HMDB51, on small copies and, where they are, on the official lists."""

import numpy as np
import pytest

from mudra import recipe as recipes
from mudra.clips.check import check
from mudra.clips.loader import TrainingClips
from mudra.clips.preprocessing import Preprocessing
from mudra.datasets.hmdb51 import HMDB51
from mudra.datasets.opening import open_data
from mudra.datasets.ucf101 import UCF101
from mudra.errors import DataError, RecipeError
from mudra.reports.catalogue import counts
from mudra.sections import Holdout

UCF = ["ApplyEyeMakeup", "Archery", "HandstandPushups"]
HAND = "HandstandPushups/v_HandStandPushups_g02_c01"
ODD = "Brushing_Her_Hair__[_NEW_AUDIO_]_#1&2_;-)_(x)!!!!_+~@_clap_h_cm_np1_fr_goo_0"


def files_of(data):
    return [str(clip.streams["video"].relative_to(data.root)) for clip in data]


def refused(settings, folder):
    with pytest.raises(DataError) as caught:
        settings.read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def groups_of(data, split):
    return set(data.split(split).groups.to_pylist())


def official(shared_data, tmp_path, name, below, classes):
    """The official lists, and the class folders, without any video in them."""
    (tmp_path / below[0]).symlink_to(shared_data(f"annotations/{name}_splits"))
    for one in classes:
        (tmp_path / below[1] / one).mkdir(parents=True)
    return tmp_path


# --- UCF101 --------------------------------------------------------------------------------------------


@pytest.fixture
def ucf(tmp_path):
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{n} {name}\r\n" for n, name in enumerate(UCF, 1)))
    for fold in (1, 2, 3):
        apply, test = f"ApplyEyeMakeup/v_ApplyEyeMakeup_g0{fold}", (fold % 3) + 1
        (lists / f"trainlist0{fold}.txt").write_text(
            f"{apply}_c01.avi 1\r\n{apply}_c02.avi 1\r\n{HAND}.avi 3\r\n", newline=""
        )
        (lists / f"testlist0{fold}.txt").write_text(
            f"ApplyEyeMakeup/v_ApplyEyeMakeup_g0{test}_c01.avi\r\n", newline=""
        )
    for name in UCF:
        (tmp_path / "UCF-101" / name).mkdir(parents=True)
    return tmp_path


def test_ucf_lists_are_read_with_the_classes_in_their_official_order(ucf):
    data = UCF101().read(ucf)
    assert data.tasks == {"label": tuple(UCF)}
    assert [(clip.id, clip.split, clip.labels["label"], clip.group) for clip in data] == [
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01", "train", "ApplyEyeMakeup", "ApplyEyeMakeup/g01"),
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02", "train", "ApplyEyeMakeup", "ApplyEyeMakeup/g01"),
        (HAND, "train", "HandstandPushups", "HandstandPushups/g02"),
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g02_c01", "test", "ApplyEyeMakeup", "ApplyEyeMakeup/g02"),
    ]
    assert data.targets("label").tolist() == [0, 0, 2, 0]
    assert files_of(data)[2] == f"UCF-101/{HAND}.avi"


def test_a_group_number_means_nothing_across_classes(ucf):
    """g02 of ApplyEyeMakeup is tested on, while g02 of HandstandPushups is trained on."""
    data = UCF101().read(ucf)
    assert groups_of(data, "test") == {"ApplyEyeMakeup/g02"}
    assert "HandstandPushups/g02" in groups_of(data, "train")


@pytest.mark.parametrize("folder", ["HandstandPushups", "HandStandPushups"])
def test_the_class_that_is_spelt_two_ways_is_found_in_either_folder(ucf, folder):
    (ucf / "UCF-101/HandstandPushups").rename(ucf / "UCF-101" / folder)
    data = UCF101().read(ucf)
    assert data[2].labels == {"label": "HandstandPushups"}
    assert files_of(data)[2] == f"UCF-101/{folder}/v_HandStandPushups_g02_c01.avi"


def test_the_fold_chooses_the_lists(ucf):
    for fold in (1, 2, 3):
        found = UCF101(fold=fold).read(ucf)
        assert groups_of(found, "train") == {f"ApplyEyeMakeup/g0{fold}", "HandstandPushups/g02"}
        assert len(found.split("val")) == 0
    recipe = recipes.load("ucf101-timesformer", ["data.fold=3"])
    changed, data = open_data(recipe, f"ucf101:{ucf}")
    assert changed.data.fold == 3
    assert "ApplyEyeMakeup/g03" in groups_of(data, "train")
    for wrong in ("4", "0", "'1'", "true", "2.0"):
        with pytest.raises(RecipeError, match="data, fold"):
            recipes.load("ucf101-timesformer", [f"data.fold={wrong}"])


def test_lists_and_classes_may_lie_elsewhere(ucf):
    lists = ucf / "ucfTrainTestlist"
    assert files_of(UCF101().read(ucf / "UCF-101"))[2] == f"{HAND}.avi"  # the lists lie beside
    for name in UCF:
        (ucf / "UCF-101" / name).rename(ucf / name)
    assert files_of(UCF101().read(ucf))[2] == f"{HAND}.avi"
    lists.rename(ucf / "my lists")
    assert len(UCF101().read(ucf)) == 4
    for file in sorted((ucf / "my lists").iterdir()):
        (ucf / "again").mkdir(exist_ok=True)
        (ucf / "again" / file.name).write_bytes(file.read_bytes())
    assert "lists lie in 'again' and in 'my lists'" in refused(UCF101(), ucf)
    for file in (ucf / "again").iterdir():
        file.rename(ucf / file.name)
    assert len(UCF101().read(ucf)) == 4


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("trainlist01", "Archery/v_Archery_g01_c01.avi\n", "trainlist01.txt, line 1: found 'Archery/v_A"),
        ("trainlist01", f"{HAND}.avi 3\n\n{HAND}.avi 3\n", "trainlist01.txt, line 2: found ''; expected Arch"),
        ("trainlist01", f"{HAND}.avi 2\n", "line 1: found class number 2 for 'HandstandPushups', which is 3 in"),
        ("trainlist01", f"{HAND}.avi {'9' * 5000}\n", "trainlist01.txt, line 1: found "),
        ("testlist01", f"{HAND}.mp4\n", "testlist01.txt, line 1: found 'Handst"),
        ("testlist01", "Archery/clip.avi\n", "line 1: found 'Archery/clip.avi'; expected Archery/v_Arch"),
        ("testlist01", "Archry/v_Archry_g01_c01.avi\n", "is not one of the 3 of classInd.txt. Did you mean 'Archery'"),
        ("testlist01", f"{HAND}.avi\n", f"line 1: clip '{HAND}' is already in trainlist01.txt, line 3 (in train"),
        (
            "testlist01",
            "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c03.avi\n",
            "testlist01.txt, line 1: group 'ApplyEyeMakeup/g01' is in test here and in train at trainlist01.txt, l",
        ),
        ("testlist01", "../v_x_g01_c01.avi\n", "class '..' is not one of"),
        ("testlist01", "\n", "the file is empty"),
        ("classInd", "1 Archery\n3 ApplyEyeMakeup\n", "classInd.txt, line 2: found '3 ApplyEyeMakeup'; expected 2"),
        ("classInd", "1 Archery\n2 Archery\n", "classInd.txt, line 2: found '2 Archery'"),
        ("classInd", "1 ../x\n", "no class has a folder here"),
    ],
)  # fmt: skip
def test_a_ucf_line_that_was_never_released_is_refused(ucf, file, text, said):
    (ucf / "ucfTrainTestlist" / f"{file}.txt").write_text(text)
    assert said in refused(UCF101(), ucf)


def test_what_is_absent_of_ucf_is_named(ucf):
    (ucf / "ucfTrainTestlist/testlist02.txt").unlink()
    assert len(UCF101().read(ucf)) == 4
    assert "testlist02.txt: not there; expected the lists classInd.txt" in refused(UCF101(fold=2), ucf)
    (ucf / "ucfTrainTestlist/classInd.txt").unlink()
    assert "no classInd.txt in it, in ucfTrainTestlist or beside it" in refused(UCF101(), ucf)
    assert "nowhere: no such folder" in refused(UCF101(), ucf / "nowhere")
    with pytest.raises(DataError, match="ucf101:DIR"):
        UCF101().read(None)


def test_archives_that_were_not_unpacked_are_told(ucf):
    for name in UCF:
        (ucf / "UCF-101" / name).rmdir()
    assert "expected the clips of 'ApplyEyeMakeup' in UCF-101/ApplyEyeMakeup" in refused(UCF101(), ucf)
    (ucf / "UCF-101").rmdir()
    assert "Unpack the release's archives there." in refused(UCF101(), ucf)


def test_a_missing_and_a_broken_clip_are_named_by_the_data_doctor(ucf):
    clips = UCF101().read(ucf)
    for clip in clips:
        clip.streams["video"].write_bytes(b"no video at all")
    (ucf / f"UCF-101/{HAND}.avi").unlink()
    problems = check(clips, workers=0).problems
    missing = [found for found in problems if found.kind == "missing file"]
    assert [found.place for found in missing] == [f"clip '{HAND}' (train)"]
    assert str(ucf / f"UCF-101/{HAND}.avi") in missing[0].found
    assert sum(found.kind == "cannot be read" for found in problems) == 3


def test_a_selection_is_told_beside_the_release(ucf):
    (note,) = UCF101().read(ucf).notes
    assert note == (
        "ucf101: the lists name 3 classes, 3 training and 1 test clips; "
        "the release has 101 classes, 9,537 training and 3,783 test clips."
    )


def test_no_class_has_a_side_so_clips_may_be_flipped(ucf):
    recipe = recipes.load("ucf101-timesformer")
    data = UCF101().read(ucf)
    assert data.mirror == {"label": {name: name for name in UCF}}
    clips = TrainingClips(data, Preprocessing(recipe.clip, data.streams), recipe.augment, 0)
    assert clips.may_flip


def test_validation_is_carved_out_of_train_in_whole_groups_on_request_alone(ucf):
    data = UCF101().read(ucf)
    held = data.holdout(Holdout(by="group", share=0.4))
    assert len(held.split("val")) in (1, 2)
    assert not groups_of(held, "val") & groups_of(held, "train")
    assert len(held.split("test")) == len(data.split("test"))


@pytest.mark.parametrize(("fold", "train", "test"), [(1, 9_537, 3_783), (2, 9_586, 3_734), (3, 9_624, 3_696)])
def test_the_official_ucf_lists_have_their_official_counts(shared_data, tmp_path, fold, train, test):
    below = ("ucfTrainTestlist", "UCF-101")
    data = UCF101(fold=fold).read(official(shared_data, tmp_path, "ucf101", below, ["YoYo"]))
    assert data.notes == ()
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [train, 0, test]
    assert (len(data), len(set(files_of(data)))) == (13_320, 13_320)
    assert len(data.tasks["label"]) == 101 == UCF101().class_counts()["label"]
    # classInd is not in the order of Python's sorting: Hammering comes before HammerThrow
    assert [data.class_index("label", name) for name in ("ApplyEyeMakeup", "Hammering", "YoYo")] == [
        0,
        34,
        100,
    ]
    for split, groups in (("train", 18), ("test", 7)):
        part = data.split(split)
        assert len(np.unique(part.targets("label"))) == 101
        assert len(groups_of(data, split)) == 101 * groups
    assert not groups_of(data, "train") & groups_of(data, "test")
    assert sum("v_HandStandPushups_" in name for name in data.ids.to_pylist()) == 128
    assert not any("HandStandPushups/" in name for name in data.ids.to_pylist())


# --- HMDB51 --------------------------------------------------------------------------------------------


@pytest.fixture
def hmdb(tmp_path):
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    for fold in (1, 2, 3):
        (lists / f"clap_test_split{fold}.txt").write_text(
            f"{ODD}.avi {1 + (fold > 1)} \n"
            "boom_snap_clap_(challenge)_clap_u_nm_np1_fr_med_0.avi 1 \n"
            "Film_3_clap_u_nm_np1_fr_goo_2.avi 0 \n"
        )
        (lists / f"climb_stairs_test_split{fold}.txt").write_text(
            "Film_3_climb_stairs_f_cm_np1_le_med_0.avi 2 \n"
        )
        (lists / f"climb_test_split{fold}.txt").write_text("Film_3_climb_f_cm_np1_le_med_0.avi 1 \n")
    (tmp_path / "hmdb51_org/clap").mkdir(parents=True)
    return tmp_path


def test_hmdb_lists_are_read_and_unused_clips_left_out(hmdb):
    data = HMDB51().read(hmdb)
    assert data.tasks == {"label": ("clap", "climb", "climb_stairs")}
    assert [(clip.id, clip.split, clip.group) for clip in data] == [
        (f"clap/{ODD}", "train", f"clap/{ODD.partition('_clap_')[0]}"),
        ("clap/boom_snap_clap_(challenge)_clap_u_nm_np1_fr_med_0", "train", "clap/boom_snap_clap_(challenge)"),
        ("climb/Film_3_climb_f_cm_np1_le_med_0", "train", "climb/Film_3"),
        ("climb_stairs/Film_3_climb_stairs_f_cm_np1_le_med_0", "test", "climb_stairs/Film_3"),
    ]  # fmt: skip
    assert data.targets("label").tolist() == [0, 0, 1, 2]
    assert [clip.split for clip in HMDB51(fold=2).read(hmdb)] == ["test", "train", "train", "test"]


def test_odd_names_are_taken_literally(hmdb):
    data = HMDB51().read(hmdb)
    for clip in data:
        clip.streams["video"].parent.mkdir(exist_ok=True)
        clip.streams["video"].write_bytes(clip.id.encode())
    assert (hmdb / f"hmdb51_org/clap/{ODD}.avi").read_bytes() == f"clap/{ODD}".encode()
    assert check(data, decode=False).facts["streams"]["video"]["unreadable"] == 0
    (hmdb / f"hmdb51_org/clap/{ODD}.avi").unlink()
    (missing,) = [found for found in check(data, decode=False).problems if found.kind == "missing file"]
    assert missing.place == f"clip 'clap/{ODD}' (train)"


def test_hmdb_lists_and_classes_may_lie_elsewhere(hmdb):
    wanted = HMDB51().read(hmdb).ids
    assert HMDB51().read(hmdb / "hmdb51_org").ids == wanted
    (hmdb / "hmdb51_org/clap").rename(hmdb / "clap")
    (hmdb / "testTrainMulti_7030_splits").rename(hmdb / "splits")
    data = HMDB51().read(hmdb)
    assert data.ids == wanted
    assert files_of(data)[0] == f"clap/{ODD}.avi"


def test_what_a_mac_leaves_behind_is_no_class(hmdb):
    (hmdb / "testTrainMulti_7030_splits/._clap_test_split1.txt").write_bytes(b"\0\5\x16\7")
    assert len(HMDB51().read(hmdb).tasks["label"]) == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Film_clap_u_nm_np1_fr_goo_2.avi 3 ", "clap_test_split1.txt, line 1: found 'Film_clap_u_nm_np1_fr_goo_2"),
        ("Film_clap_u_nm_np1_fr_goo_2.avi", "expected NAME_clap_TAGS.avi and 1 for train, 2 for test or 0"),
        ("Film_wave_u_nm_np1_fr_goo_2.avi 1", "clap_test_split1.txt, line 1: found 'Film_wave"),
        ("../Film_clap_u_nm_np1_fr_goo_2.avi 1", "clap_test_split1.txt, line 1: found '../Film"),
        ("F_clap_u_1.avi 1\nF_clap_u_2.avi 2", "line 2: group 'clap/F' is in test here and in train at clap_test_"),
        ("F_clap_u_1.avi 1\nF_clap_u_1.avi 1", "line 2: clip 'clap/F_clap_u_1' is already in clap_test_split1"),
        ("", "clap_test_split1.txt: the file is empty"),
    ],
)  # fmt: skip
def test_a_hmdb_line_that_was_never_released_is_refused(hmdb, line, said):
    (hmdb / "testTrainMulti_7030_splits/clap_test_split1.txt").write_text(line)
    assert said in refused(HMDB51(), hmdb)


def test_what_is_absent_of_hmdb_is_named(hmdb):
    (hmdb / "testTrainMulti_7030_splits/climb_test_split2.txt").unlink()
    assert len(HMDB51().read(hmdb)) == 4
    assert "climb_test_split2.txt: not there; expected three lists of every class" in refused(
        HMDB51(fold=2), hmdb
    )
    (hmdb / "hmdb51_org/clap").rename(hmdb / "hmdb51_org/clap.rar")
    assert "no class has a folder here; expected the clips of 'clap'" in refused(HMDB51(), hmdb)
    (hmdb / "testTrainMulti_7030_splits").rename(hmdb / "hmdb51_org/clap")
    assert "no *_test_split[123].txt in it, in testTrainMulti_7030_splits or beside it" in refused(
        HMDB51(), hmdb
    )
    with pytest.raises(DataError, match="hmdb51:DIR"):
        HMDB51().read(None)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_the_official_hmdb_lists_have_their_official_counts(shared_data, tmp_path, fold):
    below = ("testTrainMulti_7030_splits", "hmdb51_org")
    data = HMDB51(fold=fold).read(official(shared_data, tmp_path, "hmdb51", below, ["wave"]))
    assert data.notes == ()
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [3_570, 0, 1_530]
    assert len(data.tasks["label"]) == 51 == HMDB51().class_counts()["label"]
    assert [data.class_index("label", name) for name in ("brush_hair", "climb", "wave")] == [0, 5, 50]
    for split, clips in (("train", 70), ("test", 30)):
        assert np.bincount(data.split(split).targets("label")).tolist() == [clips] * 51
    assert len(data.groups.unique()) == {1: 2_023, 2: 2_006, 3: 2_000}[fold]
    assert not groups_of(data, "train") & groups_of(data, "test")
    assert set("".join(files_of(data))) >= set("#&()![];+")


# --- both ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
def test_holding_out_keeps_the_groups_of_the_official_lists_whole(shared_data, tmp_path, name):
    kind, lists, videos, folder = {
        "ucf101": (UCF101, "ucfTrainTestlist", "UCF-101", "YoYo"),
        "hmdb51": (HMDB51, "testTrainMulti_7030_splits", "hmdb51_org", "wave"),
    }[name]
    data = kind().read(official(shared_data, tmp_path, name, (lists, videos), [folder]))
    held = data.holdout(Holdout(by="group", share=0.1))
    assert 0.08 < len(held.split("val")) / len(data.split("train")) < 0.12
    assert not groups_of(held, "val") & (groups_of(held, "train") | groups_of(held, "test"))
    assert held.split("test").ids == data.split("test").ids


@pytest.mark.parametrize(
    ("name", "size"), [("ucf101-timesformer", 121_336_421), ("hmdb51-timesformer", 121_297_971)]
)
def test_the_recipe_has_exactly_the_parameters_of_its_source(name, size):
    recipe = recipes.load(name)
    assert counts(recipe)[0] == size
    assert recipe.data.fold == 1
    assert recipe.data.holdout is None
