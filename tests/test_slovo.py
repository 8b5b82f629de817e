"""Slovo's release, on small copies made up here, and on its official class names where they are."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from mudra import recipe as recipes
from mudra.cli.common import show
from mudra.clips.check import check
from mudra.clips.landmarks import extract
from mudra.clips.manifest import MANIFEST_CSV, Manifest, write_manifest
from mudra.clips.preprocessing import Preprocessing
from mudra.datasets.opening import open_data, read_location
from mudra.datasets.slovo import NOTHING, Slovo
from mudra.errors import DataError, RecipeError
from mudra.reports.answers import prediction_table
from mudra.types import Prediction, Ranked, StreamInfo
from tests.command import mudra
from tests.detectors import FINDER
from tests.video_files import write_video

HEADER = "attachment_id\tuser_id\twidth\theight\tlength\ttext\ttrain\tbegin\tend"
SIGNS = ["Ё", "летучая мышь", "левый", "правый"]
CLASSES = [*SIGNS, NOTHING]
SOURCE = Path(__file__).parents[1] / "src"


def row(name: str, person: str, text: str, train: object, begin: object = 30, end: object = 45) -> str:
    return f"{name}\t{person}\t1440\t1920\t14\t{text}\t{train}\t{begin}\t{end}"


ROWS = [
    row("a1", "ann", "летучая мышь", True),
    row("b1", "bob", "Ё", True, 0, 20),
    row("c1", "bob", NOTHING, True),
    row("d1", "cem", "летучая мышь", False),
    row("e1", "cem", "левый", False),
    row("f1", "ann", "правый", True),
    row("g1", "bob", "левый", True),
]


def release(root: Path, rows: list[str] = ROWS, header: str = HEADER, names: list[str] | None = None) -> Path:
    """Annotations, and an empty file for each video."""
    root.mkdir(exist_ok=True)
    (root / "annotations.csv").write_text("\n".join([header, *rows]) + "\n", "utf-8")
    for split, word in (("train", "True"), ("test", "False")):
        (root / split).mkdir(exist_ok=True)
        for cells in (line.split("\t") for line in rows):
            if word in cells:
                (root / split / f"{cells[0]}.mp4").touch()
    if names:
        listed = {str(number): "---" if name == NOTHING else name for number, name in enumerate(names)}
        (root / "classes.json").write_text(json.dumps(listed, ensure_ascii=False), "utf-8")
    return root


def refused(root: Path, **settings: object) -> str:
    with pytest.raises(DataError) as told:
        Slovo(**settings).read(root)
    assert "\n" not in str(told.value)
    return str(told.value)


def counts(data: Manifest) -> tuple[int, int, int]:
    return len(data.tasks["label"]), len(data.split("train")), len(data.split("test"))


# --- the release -------------------------------------------------------------------------------------


def test_the_annotations_are_read_as_they_were_released(tmp_path):
    data = Slovo().read(release(tmp_path / "slovo"))
    assert [(clip.id, clip.split, clip.group, clip.labels["label"]) for clip in data] == [
        ("a1", "train", "ann", "летучая мышь"),
        ("b1", "train", "bob", "Ё"),
        ("c1", "train", "bob", NOTHING),
        ("d1", "test", "cem", "летучая мышь"),
        ("e1", "test", "cem", "левый"),
        ("f1", "train", "ann", "правый"),
        ("g1", "train", "bob", "левый"),
    ]
    assert data.tasks["label"] == (*sorted(SIGNS), NOTHING)
    assert data.streams == {"video": StreamInfo("video")}
    assert data[0].streams["video"] == tmp_path / "slovo/train/a1.mp4"
    assert data[3].streams["video"] == tmp_path / "slovo/test/d1.mp4"
    assert (data[0].start, data[0].stop) == (None, None), "the usual release is cut already"
    assert data[0].metadata == {
        "user_id": "ann", "width": "1440", "height": "1920", "length": "14", "begin": "30", "end": "45",
    }  # fmt: skip


def test_the_authors_list_gives_the_order_of_the_classes(tmp_path):
    data = Slovo().read(release(tmp_path / "slovo", names=[NOTHING, *reversed(SIGNS)]))
    assert data.tasks["label"] == (*reversed(SIGNS), NOTHING)
    assert data.targets("label").tolist() == [2, 3, 4, 2, 1, 0, 1]


def test_releases_without_begin_and_end_and_with_other_columns_are_read(tmp_path):
    rows = ["\t".join([*line.split("\t")[:7], "x"]) for line in ROWS]
    root = release(tmp_path / "slovo", rows, "\t".join([*HEADER.split("\t")[:7], "note"]))
    assert counts(Slovo().read(root)) == (5, 5, 2)
    assert "begin" not in Slovo().read(root)[0].metadata


def test_a_byte_order_mark_and_windows_line_ends_are_passed_over(tmp_path):
    root = release(tmp_path / "slovo")
    text = (root / "annotations.csv").read_text("utf-8")
    (root / "annotations.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert counts(Slovo().read(root)) == (5, 5, 2)


@pytest.mark.parametrize("below", ["train", "videos", "."])
def test_all_videos_may_lie_in_one_folder_or_one_folder_deeper(tmp_path, below):
    root = release(tmp_path / "slovo")
    (root / below).mkdir(exist_ok=True)
    for path in [*root.glob("*/*.mp4")]:
        path.rename(root / below / path.name)
    files = [clip.streams["video"] for clip in Slovo().read(tmp_path)]
    assert files[3] == root / below / "d1.mp4"
    assert all(path.exists() for path in files)


def test_a_mirror_turns_left_into_right_and_leaves_other_signs(tmp_path):
    mirror = Slovo().read(release(tmp_path / "slovo")).mirror["label"]
    assert {one: other for one, other in mirror.items() if one != other} == {
        "левый": "правый",
        "правый": "левый",
    }
    without = Slovo().read(release(tmp_path / "half", [line for line in ROWS if "правый" not in line]))
    assert without.mirror == {}, "the image of a class that is left has no name"


# --- classes -----------------------------------------------------------------------------------------


def test_1000_classes_leave_out_the_clips_without_a_sign(tmp_path):
    root = release(tmp_path / "slovo", names=CLASSES)
    assert Slovo(classes=1000).read(root).tasks["label"] == tuple(SIGNS)
    assert counts(Slovo(classes=1000).read(root)) == (4, 4, 2)
    assert "c1" not in Slovo(classes=1000).read(root).ids.to_pylist()


def whole(root: Path, names: list[str]) -> Path:
    """As many clips of each class as were released: 15 and 5, and 300 and 100 without a sign."""
    lines, number = [], 0
    for name in names:
        train, test = (300, 100) if name == NOTHING else (15, 5)
        for at in range(train + test):
            split, people = (True, 112) if at < train else (False, 82)
            lines.append(row(f"{number:08x}", f"{split}{number % people}", name, split))
            number += 1
    return release(root, lines)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return whole(
        tmp_path_factory.mktemp("all") / "slovo", [f"знак {at:04d}" for at in range(1000)] + [NOTHING]
    )


@pytest.mark.parametrize("classes", [500, 1000, 1001])
def test_the_parts_have_their_published_counts(everything, classes):
    data = Slovo(classes=classes).read(everything)
    expected = {500: (500, 7_500, 2_500), 1000: (1_000, 15_000, 5_000), 1001: (1_001, 15_300, 5_100)}
    assert counts(data) == expected[classes]
    assert not any("the release has" in note for note in data.notes)
    assert data.tasks["label"][:500] == tuple(f"знак {at:04d}" for at in range(500))
    assert (NOTHING in data.tasks["label"]) is (classes == 1001)
    assert set(Counter(data.split("test").targets("label").tolist()).values()) <= {5, 100}
    train, test = (set(data.split(name).groups.to_pylist()) for name in ("train", "test"))
    assert not train & test
    said = [note for note in data.notes if "500 classes are the first" in note]
    assert said == (
        ["slovo: 500 classes are the first signs of 1,001, 'знак 0000' to 'знак 0499'."]
        if classes == 500
        else []
    )


def test_the_official_names_are_numbered_as_the_authors_do(shared_data, tmp_path):
    listed = shared_data("annotations/slovo") / "classes.json"
    names = list(json.loads(listed.read_text("utf-8")).values())
    root = whole(tmp_path / "slovo", [*names[:-1], NOTHING])
    shutil.copy(listed, root)
    data = Slovo().read(root)
    assert counts(data) == (1_001, 15_300, 5_100)
    assert data.tasks["label"] == (*names[:-1], NOTHING)
    assert data.class_index("label", "Ё") == 0
    assert data.mirror["label"]["левый"] == "правый"
    part = Slovo(classes=500).read(root)
    assert counts(part) == (500, 7_500, 2_500)
    assert part.tasks["label"] == tuple(names[:500])


def test_a_selection_says_what_it_lacks(tmp_path):
    data = Slovo(classes=500).read(release(tmp_path / "slovo"))
    assert data.notes == (
        "slovo: the lists name 4 classes, 4 training and 2 test clips; the release has 500 classes, 7,500 training and "
        "2,500 test clips.",
    )


def test_the_number_of_classes_is_one_of_three():
    assert Slovo(classes=1000).class_counts() == {"label": 1000}
    for wrong in (501, "500", True, None):
        with pytest.raises(RecipeError, match="data, classes"):
            recipes.resolve(
                {"data": {"kind": "slovo", "classes": wrong}, "model": {"kind": "timesformer"}}, "mine"
            )


# --- people ------------------------------------------------------------------------------------------


def test_a_person_in_both_splits_is_refused_unless_the_split_is_wanted_as_it_is(tmp_path):
    root = release(tmp_path / "slovo", [*ROWS, row("h1", "ann", "Ё", False)])
    assert refused(root).startswith(
        "annotations.csv, row 9: user_id 'ann' is in test here and in train at annotations.csv, row 2; the release"
    )
    assert "data.signers=as_released" in refused(root)
    data = Slovo(signers="as_released").read(root)
    assert set(data.groups.to_pylist()) == {""}
    assert data[7].metadata["user_id"] == "ann"


# --- what is wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (row("h1", "bob", "Ё", "yes"), "row 9: train is 'yes'; expected True or False"),
        (row("h1", "bob", "Ё", ""), "row 9: train is ''"),
        (row("h1", "bob", "", True), "row 9: text is ''; expected text in UTF-8"),
        (row("h1", "", "Ё", True), "row 9: user_id is ''"),
        (row("", "bob", "Ё", True), "row 9: attachment_id is ''"),
        (row("a1", "bob", "Ё", True), "row 9: clip 'a1' is already in annotations.csv, row 2"),
        (row("h1", "bob", "летучая мыш", True), "row 9: label 'летучая мыш' is not one of the 5 classes. Did you mean "
                                                "'летучая мышь'?"),
        ("h1\tbob\tЁ\tTrue", "row 9: found 4 cells; expected 9"),
        (row("h1", "bob", "Ё", True) + "\tx", "row 9: found 10 cells; expected 9"),
    ],
)  # fmt: skip
def test_a_row_that_was_never_released_is_refused(tmp_path, line, said):
    root = release(tmp_path / "slovo", [*ROWS, line], names=CLASSES)
    (root / "train/h1.mp4").touch()
    assert said in refused(root)


def test_without_a_list_a_sign_that_is_never_trained_on_is_told(tmp_path):
    root = release(tmp_path / "slovo", [*ROWS, row("h1", "cem", "летучая мыш", False)])
    assert "row 9: text 'летучая мыш' is in test but never in train. Did you mean 'летучая мышь'?" in refused(
        root
    )


def test_bytes_that_are_no_text_are_told_with_their_row(tmp_path):
    root = release(tmp_path / "slovo", names=CLASSES)
    text = (root / "annotations.csv").read_bytes()
    (root / "annotations.csv").write_bytes(text.replace("правый".encode(), "правый".encode("cp1251")))
    assert "annotations.csv, row 7: text is '\\udcef" in refused(root)


def test_videos_that_are_not_there_are_told_and_may_be_left_out(tmp_path):
    root = release(tmp_path / "slovo")
    (root / "test/d1.mp4").unlink()
    (root / "train/g1.mp4").unlink()
    assert refused(root).startswith(
        "annotations.csv, row 5: its video test/d1.mp4 is not there, as 2 of 7 are not. Unpack"
    )
    data = Slovo(absent="skip").read(root)
    assert data.ids.to_pylist() == ["a1", "b1", "c1", "e1", "f1"]
    assert data.tasks["label"] == (*sorted(SIGNS), NOTHING), (
        "classes are those of the rows, whose videos may come"
    )
    assert "slovo: 2 of 7 clips are left out, whose videos are not there." in data.notes


def test_the_rows_of_errors_stay_those_of_the_file_when_clips_are_left_out(tmp_path):
    root = release(tmp_path / "slovo", [*ROWS, row("a1", "bob", "Ё", True)])
    (root / "train/b1.mp4").unlink()
    assert "row 9: clip 'a1' is already in annotations.csv, row 2" in refused(root, absent="skip")


def test_what_is_absent_is_named(tmp_path):
    assert f"{tmp_path / 'annotations.csv'}: not there; expected the release" in refused(tmp_path)
    root = release(tmp_path / "slovo")
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test")
    assert f"{root}: no video in it; expected train/a1.mp4" in refused(root)
    with pytest.raises(DataError, match="slovo:DIR"):
        Slovo().read(None)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER.replace("user_id", "user"), "row 1: no column 'user_id'"),
        (HEADER.replace("text", "tekst"), "row 1: no column 'text'"),
        (HEADER.replace("\t", ","), "expected a header separated by tabs"),
        (HEADER.replace("width", "height"), "column 'height' is there twice"),
        ("", "the file is empty; expected a header such as attachment_id user_id"),
    ],
)
def test_another_header_is_told(tmp_path, header, said):
    assert said in refused(release(tmp_path / "slovo", header=header))


@pytest.mark.parametrize(
    "text", ["[]", "{}", "{", '{"1": "А"}', '{"0": "А", "1": 2}', '{"0": "А", "1": "А"}', '{"0": ""}']
)
def test_a_list_of_classes_that_is_none_is_told(tmp_path, text):
    root = release(tmp_path / "slovo")
    (root / "classes.json").write_text(text, "utf-8")
    assert refused(root).startswith(f"{root / 'classes.json'}: ")


# --- videos as they were recorded --------------------------------------------------------------------


def test_whole_videos_are_cut_from_begin_to_end(tmp_path):
    rows = [
        row("a1", "ann", "Ё", True, 10, 25),
        row("b1", "bob", "Ё", False, "", ""),
        row("c1", "ann", "Ё", True, "6.0", 9),
    ]
    root = release(tmp_path / "slovo", rows)
    for split, name, fps in (("train", "a1", 10), ("test", "b1", 30), ("train", "c1", 30)):
        write_video(root / split / f"{name}.mp4", 40, fps=fps)
    clips = list(Slovo(videos="whole").read(root))
    assert [(clip.start, clip.stop) for clip in clips] == [(1.0, 2.5), (None, None), (0.2, 0.3)]
    assert check(Slovo(videos="whole").read(root), workers=0).facts["streams"]["video"]["files"] == 3


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [(9, 9, "begin 9 and end 9"), ("", 9, "begin nan and end 9"), ("x", 9, "begin is 'x'"), (-1, 9, "'-1'")],
)  # fmt: skip
def test_frames_that_cut_nothing_out_are_told_with_their_clip(tmp_path, begin, end, said):
    root = release(tmp_path / "slovo", [row("a1", "ann", "Ё", True, begin, end)])
    write_video(root / "train/a1.mp4", 12)
    assert "clip 'a1'" in refused(root, videos="whole")
    assert said in refused(root, videos="whole")


def test_whole_videos_need_begin_and_end(tmp_path):
    rows = ["\t".join(line.split("\t")[:7]) for line in ROWS]
    root = release(tmp_path / "slovo", rows, "\t".join(HEADER.split("\t")[:7]))
    assert "no column 'begin'" in refused(root, videos="whole")


# --- what commands make of it ------------------------------------------------------------------------


def test_a_folder_that_was_made_from_the_release_stands_for_it(tmp_path):
    """`mudra data landmarks slovo:DIR OUT` writes an ordinary data set; its part is chosen like the release's."""
    root = release(tmp_path / "slovo", names=CLASSES)
    shutil.copytree(root, tmp_path / "out")
    made = tmp_path / "out"
    write_manifest(Slovo().read(made), made)
    (made / "annotations.csv").unlink()
    for classes in (1000, 1001):
        found, expected = (Slovo(classes=classes).read(folder) for folder in (made, root))
        assert found.tasks == expected.tasks
        assert found.targets("label").tolist() == expected.targets("label").tolist()
        assert found.groups == expected.groups
        assert found.split_hash == expected.split_hash
        assert found.mirror == expected.mirror
    assert (made / MANIFEST_CSV).is_file()
    assert len(read_location(f"slovo:{made}")) == 7


def test_points_of_the_release_are_trained_on_with_the_part_that_a_recipe_names(tmp_path):
    """The commands of `slovo-500`, with a detector that finds what is painted."""
    root, out = release(tmp_path / "slovo", names=CLASSES), tmp_path / "points"
    for number, path in enumerate(sorted(root.glob("*/*.mp4"))):
        path.unlink()
        write_video(path, 3 + number, fps=10)
    settings = {"say": lambda _line: None, "workers": 0, "finder": FINDER, "layout": "sign92"}
    extract(Slovo().read(root), out, **settings)
    recipe = recipes.load("slovo-500", ["data.classes=1000"])
    changed, data = open_data(recipe, f"slovo:{out}")
    assert (changed.data.classes, data.tasks["label"]) == (1000, tuple(SIGNS))
    assert data.streams["points"].layout == "sign92"
    assert data.mirror["label"]["левый"] == "правый"
    assert [clip.metadata["user_id"] for clip in data] == ["ann", "bob", "cem", "cem", "ann", "bob"]
    looks = Preprocessing(changed.clip, data.streams).read(data[0])
    assert looks["points"].shape == (1, 128, 92, 4)
    (out / MANIFEST_CSV).unlink()
    assert "its points are not complete" in refused(out)


def test_a_recipe_for_slovo_takes_the_data_that_it_is_given(tmp_path):
    tree = {"data": {"kind": "slovo", "classes": 1000}, "model": {"kind": "timesformer"}}
    recipe = recipes.resolve(tree, "mine")
    changed, data = open_data(recipe, f"slovo:{release(tmp_path / 'slovo')}")
    assert changed.data.classes == 1000
    assert len(data.tasks["label"]) == 4


# --- Russian everywhere ------------------------------------------------------------------------------


def test_russian_names_survive_from_the_annotations_to_the_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    names = SIGNS[:2]
    rows = [
        row(f"знак-{number:02d}", f"p{number // 6}{number % 2}", names[number % 2], number < 6)
        for number in range(8)
    ]
    root = release(tmp_path / "Слово", rows)
    for path in root.glob("*/*.mp4"):
        path.unlink()
        write_video(path, 6, fps=10)
    (tmp_path / "рецепт.yaml").write_text(
        "data: {kind: slovo}\n"
        "clip: {frames: 2, size: 16, resize: stretch}\n"
        "model: {kind: timesformer, width: 16, depth: 1, heads: 2, patch: 8}\n"
        "train: {epochs: 1, batch: 4, workers: 0, device: cpu}\n",
        "utf-8",
    )
    run, clip = tmp_path / "прогон", root / "test/знак-06.mp4"

    def told(*words):
        found = mudra(*words)
        assert found.returncode == 0, found.stderr
        return found.stdout

    told("train", tmp_path / "рецепт.yaml", "--data", f"slovo:{root}", "--out", run)
    for place in ("bundle/config.json", "bundle/README.md", "report.html", "predictions/test.parquet"):
        content = (run / place).read_bytes()
        assert all(name.encode() in content for name in names), place
    answer = json.loads(told("predict", run, clip, "--json"))
    assert answer["file"] == str(clip)
    assert {ranked["name"] for ranked in answer["tasks"]["label"]} == set(names)
    table = told("predict", run, clip)
    assert all(name in table for name in names), table
    assert clip.name in table.replace("\n", ""), table
    told("data", "cache", f"slovo:{root}", tmp_path / "копия", "--size", 16)
    copied = Slovo().read(tmp_path / "копия")
    assert copied.tasks["label"] == tuple(sorted(names))
    assert len(copied) == 8
    assert all(clip.streams["video"].exists() for clip in copied)


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"PYTHONUTF8": "1"}, "летучая мышь"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "летучая мышь"),
        ({"PYTHONIOENCODING": "latin-1"}, json.dumps("летучая мышь")[1:-1]),
    ],
    ids=["utf-8", "ascii", "latin-1"],
)
def test_no_letter_of_a_name_ends_a_command(environment, line):
    """Whatever the output can write; a table used to end in a traceback. JSON escapes are JSON still."""
    name = json.dumps("летучая мышь")
    script = (
        "import typer; from mudra import cli; from mudra.cli import common\n"
        f"cli.app = lambda **_: (common.show({name}), typer.echo({name}), common.say({name}))\n"
        "cli.main()"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**inherited, "PYTHONPATH": str(SOURCE), "COLUMNS": "120", **environment},
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert found.stdout.decode("utf-8").split("\n")[:2] == [line, line]
    assert found.stderr.decode("utf-8").strip() == line


def test_a_name_in_brackets_is_shown_as_it_is(monkeypatch):
    """rich would take [дом] for markup, and clip[a].mp4 too."""
    monkeypatch.setenv("COLUMNS", "120")
    answer = Prediction({"label": (Ranked("дом [x]", 0.75), Ranked("[/b]", 0.25))})
    out = io.StringIO()
    with redirect_stdout(out):
        show(prediction_table("clip[a].mp4", answer, 5))
    assert all(text in out.getvalue() for text in ("дом [x]", "[/b]", "clip[a].mp4"))
