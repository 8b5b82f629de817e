"""The official layout of 20BN-Jester, on small copies and, where they are, on the official lists."""

import pytest

from mudra.datasets.jester import Jester
from mudra.errors import DataError
from mudra.types import UNLABELLED, StreamInfo

CLASSES = [
    "Swiping Right",
    "Swiping Left",
    "Stop Sign",
    "Turning Hand Clockwise",
    "Turning Hand Counterclockwise",
]


@pytest.fixture
def release(tmp_path):
    (tmp_path / "jester-v1-labels.csv").write_text("\n".join(CLASSES))
    (tmp_path / "jester-v1-train.csv").write_text("7;Stop Sign\n5;Swiping Left\n")
    (tmp_path / "jester-v1-validation.csv").write_text("9;Swiping Right\n")
    (tmp_path / "jester-v1-test.csv").write_text("11\n12\n")
    (tmp_path / "20bn-jester-v1/7").mkdir(parents=True)
    return tmp_path


def refused(folder):
    with pytest.raises(DataError) as caught:
        Jester().read(folder)
    return str(caught.value)


def test_the_lists_are_read_in_the_order_of_the_label_file(release):
    data = Jester().read(release)
    assert data.tasks == {"label": tuple(CLASSES)}
    assert [(clip.id, clip.split) for clip in data] == [
        ("7", "train"), ("5", "train"), ("9", "val"), ("11", "test"), ("12", "test"),
    ]  # fmt: skip
    assert data.targets("label").tolist() == [2, 1, 0, UNLABELLED, UNLABELLED]
    assert data[1].streams == {"video": release / "20bn-jester-v1/5"}
    assert data.streams == {"video": StreamInfo("video", None, 12.0)}


def test_a_mirror_turns_left_into_right_and_leaves_the_rest(release):
    mirror = Jester().read(release).mirror["label"]
    assert mirror["Swiping Left"] == "Swiping Right"
    assert mirror["Swiping Right"] == "Swiping Left"
    assert mirror["Turning Hand Counterclockwise"] == "Turning Hand Clockwise"
    assert mirror["Stop Sign"] == "Stop Sign"


def test_a_selection_that_lacks_one_of_a_pair_has_no_mirror(release):
    (release / "jester-v1-labels.csv").write_text(
        "\n".join(name for name in CLASSES if "Counter" not in name)
    )
    assert Jester().read(release).mirror == {}


def test_an_unknown_label_names_its_file_row_and_nearest_class(release):
    (release / "jester-v1-validation.csv").write_text("9;Swiping Right\n10;Swipe Left\n")
    assert refused(release) == (
        "jester-v1-validation.csv, row 2: label 'Swipe Left' is not one of the 5 classes. "
        "Did you mean 'Swiping Left'?"
    )


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("train", "7,Stop Sign\n", "row 1: found '7,Stop Sign'; expected 34870;Drumming Fingers"),
        ("validation", "9\n", "jester-v1-validation.csv, row 1: found '9'"),
        ("test", "11\n7\n", "jester-v1-test.csv, row 2: clip '7' is already in jester-v1-train.csv, row 1"),
        ("test", "../../etc\n", "row 1: video '20bn-jester-v1/../../etc' leads out of"),
        ("labels", "\n", "the file is empty"),
    ],
)
def test_a_row_that_was_never_released_is_refused(release, file, text, said):
    (release / f"jester-v1-{file}.csv").write_text(text)
    assert said in refused(release)


def test_what_is_absent_is_named(release):
    (release / "jester-v1-test.csv").unlink()
    assert "jester-v1-test.csv: not there; expected jester-v1-labels.csv, jester-v1-train.csv" in refused(
        release
    )
    assert "jester-v1-labels.csv: not there" in refused(release / "nowhere")
    with pytest.raises(DataError, match="jester:DIR"):
        Jester().read(None)


def test_absent_frames_are_named(release):
    (release / "20bn-jester-v1").rename(release / "frames")
    assert "expected the frames of clip 7 in 20bn-jester-v1/7" in refused(release)


@pytest.mark.parametrize("below", ["20bn-jester-v1/20bn-jester-v1", "."])
def test_frames_may_lie_one_deeper_or_beside_the_lists(release, below):
    (release / "20bn-jester-v1/7").rename(release / "7")
    (release / "20bn-jester-v1").rmdir()
    (release / below / "7").mkdir(parents=True, exist_ok=True)
    assert Jester().read(release)[0].streams["video"] == release / below / "7"


def test_the_official_lists_have_their_official_counts(shared_data, tmp_path):
    for path in shared_data("annotations/jester").glob("*.csv"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "20bn-jester-v1").mkdir()
    data = Jester().read(tmp_path)
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [118_562, 14_787, 14_743]
    assert len(data.tasks["label"]) == 27
    assert data.class_index("label", "Swiping Left") == 0
    assert data.class_index("label", "Doing other things") == 26
    assert (data.split("test").targets("label") == UNLABELLED).all()
    assert (data.split("train").targets("label") >= 0).all()
    sided = {one for one, other in data.mirror["label"].items() if one != other}
    assert sided == {
        name
        for name in data.tasks["label"]
        if name.split()[-1] in {"Left", "Right"} or "clock" in name.lower()
    }
