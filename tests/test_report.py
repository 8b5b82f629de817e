"""The report: one safe file that shows what a run holds, and says what it lacks."""

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from mudra.errors import DataError, OutputError
from mudra.predictions import (
    PredictionTable,
    TaskScores,
    hardest,
    read,
    summarise,
    tasks_of,
    write,
    write_metrics,
)
from mudra.reports import charts, curves, markup, page, summary, write_report
from mudra.reports.clip_page import strip_markup
from mudra.reports.contents import read_run
from mudra.reports.palette import COLOURS
from mudra.reports.strips import Cell, Strip
from mudra.types import UNLABELLED

HOSTILE = ("<script>alert(1)</script>", 'a"b', "b & c", "$x_1$", "NA", "{{body}}", "https://evil.test/x")


def scores(classes: Sequence[str], clips: int, seed: int = 0, labelled: bool = True) -> TaskScores:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(classes), clips)
    logits = rng.normal(size=(clips, len(classes))) + 2 * np.eye(len(classes))[truth]
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return TaskScores(
        tuple(classes), truth if labelled else np.full(clips, UNLABELLED), logs.astype(np.float32)
    )


def add_split(
    run: Path,
    split: str,
    tasks: Mapping[str, TaskScores],
    clips: int,
    groups: int = 0,
    subsets: Mapping[str, NDArray[np.bool_]] | None = None,
) -> None:
    people = tuple(f"person {row % groups}" if groups else "" for row in range(clips))
    names = tuple(f"{split} <{row}>" for row in range(clips))
    table = PredictionTable(names, people, tasks, subsets=subsets or {})
    write(table, run / "predictions" / f"{split}.parquet")
    write_metrics(run / "metrics" / f"{split}.json", summarise(table, split, resamples=50))


def add_log(run: Path, tasks: Sequence[str] = ("label",), mixing: bool = False, epochs: int = 3) -> None:
    columns = ["step", "epoch", "split", "loss", "lr", "grad_norm", "clips_per_second"]
    with (run / "log.csv").open("w", newline="") as file:
        log = csv.DictWriter(file, columns + [f"{task}/top1" for task in tasks], restval="")
        log.writeheader()
        for step in range(1, 10 * epochs + 1):
            top1 = {} if mixing else {f"{task}/top1": 0.9 for task in tasks}
            log.writerow(
                {"step": step, "epoch": 0, "split": "train", "loss": 3 / step, "lr": 1e-3 / step, **top1}
            )
            if step % 10 == 0:
                top1 = {f"{task}/top1": 0.7 for task in tasks}
                log.writerow({"step": step, "epoch": 0, "split": "val", "loss": 1 + 1 / step, **top1})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that holds everything, with names that a page must not trust."""
    folder = tmp_path_factory.mktemp("runs") / "my <run>"
    folder.mkdir()
    add_split(folder, "test", {"verb": scores(HOSTILE, 60), "noun": scores(["x", "y"], 60, 1)}, 60, groups=6)
    add_split(folder, "train", {"verb": scores(HOSTILE, 30, 2), "noun": scores(["x", "y"], 30, 3)}, 30)
    add_split(folder, "val", {"verb": scores(HOSTILE, 30, 4), "noun": scores(["x", "y"], 30, 5)}, 30)
    add_log(folder, ["verb", "noun"])
    (folder / "recipe.yaml").write_text(
        "# Source: https://arxiv.org/abs/1\ndata: {kind: folder} # <i>\nmodel:\n  depth: 2\n"
    )
    (folder / "environment.json").write_text(
        json.dumps(
            {"seed": 7, "gpus": [], "versions": {"torch": "2.9"}, "command": "mudra train <r> --out http://x"}
        )
    )
    (folder / "bundle").mkdir()
    (folder / "bundle" / "config.json").write_text(
        json.dumps(
            {"name": "r", "model": {"kind": "m"}, "clip": {"streams": ["video"]}, "tasks": {"verb": ["<u>"]}}
        )
    )
    write_report(folder)
    return folder


class Page(HTMLParser):
    """What a browser would find: elements, attributes, text; and that every element is closed."""

    VOID = frozenset(("meta", "img", "br", "input", "wbr"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in <{tag}>"
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]


def page_of(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_a_report_holds_no_address_and_fetches_nothing(run: Path) -> None:
    raw = (run / "report.html").read_bytes()
    assert re.search(rb"https?:\s*//|\burl\(\s*['\"]?(?!#)|@import|\bfetch\(|<link|<iframe", raw) is None
    assert b"xmlns" not in raw
    page = page_of(run)
    for address in page.attributes("src") + page.attributes("href"):
        assert address.startswith(("data:image/", "#"))
    assert "https://evil.test/x" in page.text  # the reader still sees the name as it is


def test_only_our_script_may_run(run: Path) -> None:
    raw = (run / "report.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", raw, re.DOTALL)
    assert len(scripts) == 1
    assert raw.count("<script") == 1
    allowed = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    (policy,) = [value for value in page_of(run).attributes("content") if "default-src" in value]
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{allowed}'" in policy
    assert not [
        name for _, attributes in page_of(run).elements for name in attributes if name.startswith("on")
    ]


def test_every_class_name_is_shown_and_none_becomes_markup(run: Path) -> None:
    page = page_of(run)
    for name in HOSTILE:
        assert page.text.count(name) >= 3  # pairs, classes, hardest clips
    drawn = [markup.text(name) for name in HOSTILE if "//" not in name]
    raw = (run / "report.html").read_text(encoding="utf-8").replace('a"b', "a&quot;b")
    for name in drawn:  # and along both sides of the heat maps of test and val
        assert len(re.findall(rf"<text[^>]*>{re.escape(name)}</text>", raw)) == 4
    assert "my <run>" in page.text
    assert "mudra train <r> --out http://x" in page.text
    assert {"u", "run"}.isdisjoint(tag for tag, _ in page.elements)


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text())
def test_any_text_stays_text(raw: str, other: str) -> None:
    page = Page(f'<p title="{markup.text(raw)}">{markup.name(raw)}</p>{markup.recipe(raw)}')
    assert {tag for tag, _ in page.elements} <= {"p", "bdi", "i", "pre", "code", "span"}
    assert page.attributes("title") == [raw.replace("\0", "\N{REPLACEMENT CHARACTER}")]
    assert "://" not in markup.text(raw)
    assert re.fullmatch(r"[\w-]*", markup.anchor(raw), re.ASCII)
    assert (markup.anchor(raw) == markup.anchor(other)) == (raw == other)


def test_links_within_the_page_lead_somewhere_and_ids_are_unique(run: Path) -> None:
    page = page_of(run)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in page.attributes("href") if address.startswith("#")} <= set(ids)
    clips = re.findall(r"url\(#([\w-]+)\)", " ".join(page.attributes("clip-path")))
    assert set(clips) <= set(ids)
    for part in (
        "results",
        "training",
        "test-verb",
        "test-noun",
        "val-verb",
        "repeat",
        "recipe",
        "environment",
    ):
        assert part in ids
    assert "train-verb" not in ids  # train is told in figures, not class by class


def test_headline_figures_stand_beside_interval_and_baseline(run: Path) -> None:
    figures = json.loads((run / "metrics" / "test.json").read_text())["tasks"]["verb"]
    text = page_of(run).text
    low, high = figures["intervals"]["top1"]
    assert f"{100 * figures['top1']:.1f} %" in text
    assert f"{100 * low:.1f} – {100 * high:.1f} %" in text
    assert f"majority baseline {100 * figures['baseline']:.1f} %" in text
    assert "95 % bootstrap over 6 groups" in text
    assert "verb and noun both right" in text


def test_a_long_heading_may_break_after_its_joints_and_nowhere_else() -> None:
    headings = [("loss.label_smoothing", "number"), ("verb/top1", "number"), ("<u>._", "text")]
    drawn = re.findall(r"<th [^>]*>(.*?)</th>", markup.table(headings, [], caption="trials"))
    assert drawn == ["loss.<wbr>label_<wbr>smoothing", "verb/<wbr>top1", "&lt;u&gt;.<wbr>_"]


def test_a_name_in_a_table_is_not_broken_within_a_word() -> None:
    """`anywhere` lets a column be as narrow as a letter; `break-word` only breaks what has no room at all."""
    style = page.fill(brand="", title="", body="", script="sorting.js").partition("</style>")[0]
    rule = re.search(r"td\.text \{(.*?)\}", style)
    assert rule is not None
    assert "overflow-wrap: break-word" in rule[1]
    assert "max-width" in rule[1]


def test_pictures_are_described_and_tables_named(run: Path) -> None:
    page = page_of(run)
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(drawings) == 3 + 2 * 4  # curves; heat map and calibration of two tasks of two splits
    assert all(attributes.get("role") == "img" and attributes.get("aria-label") for attributes in drawings)
    tables = sum(tag == "table" for tag, _ in page.elements)
    assert tables == sum(tag == "caption" for tag, _ in page.elements) > 0


def test_pictures_lie_beside_the_page(run: Path) -> None:
    expected = {
        "curves.png",
        *(f"confusion-{split}-{task}.png" for split in ("test", "val") for task in ("verb", "noun")),
    }
    assert {path.name for path in run.glob("*.png")} == expected
    for name in expected:
        with Image.open(run / name) as picture:
            assert min(picture.size) > 200


def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in [*run.glob("*.png"), run / "report.html"]}
    write_report(run)
    assert {name: (run / name).read_bytes() for name in before} == before


def test_a_log_alone_makes_a_report(tmp_path: Path) -> None:
    add_log(tmp_path)
    assert write_report(tmp_path) == tmp_path / "report.html"
    text = page_of(tmp_path).text
    for words in (
        "no metrics and no predictions",
        "recipe.yaml is missing",
        "Overfitting gap",
        "+20.0 points",
    ):
        assert words in text
    assert (tmp_path / "curves.png").exists()


def test_an_empty_run_says_what_it_lacks(tmp_path: Path) -> None:
    write_report(tmp_path)
    text = page_of(tmp_path).text
    assert "log.csv is missing" in text
    assert "no figures yet" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run"):
        write_report(tmp_path / "absent")


def test_broken_parts_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    add_split(tmp_path, "val", {"label": scores(["x", "y"], 20)}, 20)
    (tmp_path / "predictions" / "test.parquet").write_bytes(b"PAR1")
    (tmp_path / "metrics" / "train.json").write_text(
        '{"split": "train", "clips": 1, "tasks": {"label": {"top1": "x"}}}'
    )
    (tmp_path / "log.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "environment.json").write_text("[1]")
    write_report(tmp_path)
    text = page_of(tmp_path).text
    for words in (
        "test.parquet: not a readable",
        "train.json: found JSON that",
        "log.csv: cannot",
        "environment.json holds no",
    ):
        assert words in text
    assert "Most confused" in text


def test_figures_are_computed_where_only_predictions_were_saved(tmp_path: Path) -> None:
    add_split(tmp_path, "val", {"label": scores(["x", "y"], 20)}, 20)
    expected = json.loads((tmp_path / "metrics" / "val.json").read_text())["tasks"]["label"]["top1"]
    (tmp_path / "metrics" / "val.json").unlink()
    write_report(tmp_path)
    assert f"{100 * expected:.1f} %" in page_of(tmp_path).text


def test_clips_of_unknown_class_are_not_judged(tmp_path: Path) -> None:
    add_split(tmp_path, "test", {"label": scores(["x", "y"], 5, labelled=False)}, 5)
    write_report(tmp_path)
    assert page_of(tmp_path).text.count("nothing can be judged") == 2
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("classes", [1, 2, 31, 300])
def test_any_number_of_classes_is_drawn(classes: int, tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(classes)]
    add_split(tmp_path, "val", {"label": scores(names, 40)}, 40)
    write_report(tmp_path)
    page = page_of(tmp_path)
    assert all(f"class {number}" in page.text for number in range(classes))
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_letters_without_a_font_do_not_stop_a_report(tmp_path: Path) -> None:
    add_split(tmp_path, "val", {"手話": scores(["こんにちは", "नमस्ते", "\u0001\n", "مرحبا", ""], 20)}, 20)
    write_report(tmp_path)
    assert "こんにちは" in page_of(tmp_path).text
    assert "(blank)" in page_of(tmp_path).text


def test_the_hardest_clips_are_shown_with_their_frames(tmp_path: Path) -> None:
    add_split(tmp_path, "val", {"label": scores(["x", "y", "z"], 60)}, 60)
    table = read(tmp_path / "predictions" / "val.parquet")
    asked: list[str] = []

    def thumbnails(clip: str) -> str:
        asked.append(clip)
        if len(asked) == 1:
            raise DataError("the clip is gone")
        frames = [Cell(0.1 * moment, np.full((40, 60, 3), 200, np.uint8)) for moment in range(5)]
        return "" if len(asked) == 2 else strip_markup(Strip("video", "", 1.5, frames), f"frames of {clip}")

    write_report(tmp_path, thumbnails=thumbnails)
    worst = [table.clips[row] for row in hardest(table.tasks["label"], 12)]
    assert asked == worst
    page = page_of(tmp_path)
    assert "no picture: the clip is gone" in page.text
    pictures = [source for source in page.attributes("src") if source.startswith("data:image/jpeg")]
    assert len(pictures) == 5 * (len(worst) - 2)
    with Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2]))) as picture:
        assert picture.size == (60, 40)


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html: could not be written"):
        write_report(tmp_path)


def test_matplotlib_waits_until_something_is_drawn_and_pyplot_is_never_used(tmp_path: Path) -> None:
    add_log(tmp_path)
    code = (
        "import sys, mudra.reports, pathlib\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"mudra.reports.write_report(pathlib.Path({str(tmp_path)!r}))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_log_of_a_mixed_training_has_no_training_accuracy(tmp_path: Path) -> None:
    add_log(tmp_path, mixing=True)
    log = curves.read_log(tmp_path / "log.csv")
    assert log.tasks == ("label",)
    assert log.curve("train", "label/top1")[0].size == 0
    assert log.curve("val", "label/top1")[1].tolist() == [0.7] * 3
    assert log.curve("val", "lr")[0].size == 0
    assert list(curves.panels(log)) == ["Loss", "Top-1 accuracy", "Learning rate"]


@pytest.mark.parametrize(
    ("content", "drawn"),
    [
        ("step,split,loss\n1,train,2.0\n2,tra", ["Loss"]),
        ("step,split,loss\n1,train,nan\n2,train,inf\n", []),
        ("step,split,loss,lr\n1,train,x,0.1\n2,val,,\n", ["Learning rate"]),
        ("split,loss,step\ntrain,1,1,9,9\n", ["Loss"]),
    ],
)
def test_a_log_counts_for_what_can_be_read(content: str, drawn: list[str], tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(content)
    assert list(curves.panels(curves.read_log(tmp_path / "log.csv"))) == drawn
    write_report(tmp_path)
    assert (tmp_path / "curves.png").exists() == bool(drawn)


@pytest.mark.parametrize("content", ["", "step,split,loss\n", "a,b\n1,2\n"])
def test_a_log_without_rows_or_columns_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(DataError, match=r"log\.csv: found no column or row"):
        curves.read_log(tmp_path / "log.csv")


def test_the_curves_of_a_cross_validation_are_the_means_of_its_folds(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for number, rows in enumerate(("10,train,4,\n20,train,2,\n20,val,3,0.5\n", "12,train,2,\n"), 1):
        fold = tmp_path / "run" / f"fold-{number:02d}"
        fold.mkdir()
        (fold / "log.csv").write_text("step,split,loss,label/top1\n" + rows)
    log = read_run(tmp_path / "run").log
    assert log is not None
    assert [curve.tolist() for curve in log.curve("train", "loss")] == [[11.0], [3.0]]
    assert log.curve("val", "loss")[0].size == 0  # not all folds have it

    (tmp_path / "run" / "fold-02" / "log.csv").write_text("")  # a fold that broke is left out, and told
    contents = read_run(tmp_path / "run")
    assert contents.log is not None
    assert contents.log.curve("val", "label/top1")[1].tolist() == [0.5]
    assert "fold-02" in contents.notes[0]


def test_a_cross_validation_is_described_by_what_its_folds_have_in_common(tmp_path: Path) -> None:
    """Its own folder has no bundle: each fold has one."""
    for number in (1, 2):
        bundle = tmp_path / "run" / f"fold-{number:02d}" / "bundle"
        bundle.mkdir(parents=True)
        config = {
            "name": "r",
            "model": {"kind": "m"},
            "tasks": {"label": ["a", "b"]},
            "split_hash": f"{number}",
        }
        (bundle / "config.json").write_text(json.dumps(config))
    contents = read_run(tmp_path / "run")
    assert not any("config.json" in note for note in contents.notes)
    assert contents.config == {"name": "r", "model": {"kind": "m"}, "tasks": {"label": ["a", "b"]}}

    (bundle / "config.json").write_text("[")
    contents = read_run(tmp_path / "run")
    assert [note for note in contents.notes if "config.json" in note] == [
        "fold-02/bundle/config.json holds no JSON object; it is left out."
    ]
    assert contents.config is not None
    assert contents.config["split_hash"] == "1"


def test_a_long_log_is_thinned_to_what_can_be_seen(tmp_path: Path) -> None:
    add_log(tmp_path, epochs=200)
    log = curves.read_log(tmp_path / "log.csv")
    with charts.drawing() as figure_class:
        figure = curves.panel_figure(figure_class, "Loss", curves.panels(log)["Loss"])
        lines = [line.get_xydata() for line in figure.axes[0].get_lines()]
    sizes = [len(points) for points in lines]
    assert sizes == [400, 400, 200, 1]  # train, its moving mean, validation, the lowest
    assert lines[0].mean(axis=0) == pytest.approx([1000.5, np.mean(3 / np.arange(1, 2001))])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 40))
def test_a_moving_mean_is_the_mean_of_neighbours(values: list[float], window: int) -> None:
    found = curves.moving_mean(np.array(values), window)
    expected = [np.mean(values[max(0, at - window) : at + window + 1]) for at in range(len(values))]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_gap_comes_from_saved_figures_where_train_was_evaluated(run: Path) -> None:
    seen, unseen = (
        json.loads((run / "metrics" / f"{split}.json").read_text())["tasks"]["verb"]["top1"]
        for split in ("train", "val")
    )
    assert f"top-1 {100 * (seen - unseen):+.1f} points" in page_of(run).text


def contrast(one: str, other: str) -> float:
    """The contrast of two colours by WCAG 2."""

    def luminance(code: str) -> float:
        parts = [int(code[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_can_be_read_on_its_ground_in_light_and_dark(theme: int) -> None:
    for words in ("ink", "muted", "first", "second", "third", "fourth"):
        for ground in ("paper", "ground"):
            assert contrast(COLOURS[words][theme], COLOURS[ground][theme]) >= 4.5, (words, ground)
    for cell in ("right", "wrong"):
        assert contrast("#fefefe", COLOURS[cell][0]) >= 4.5


def test_pictures_in_a_page_use_its_colours_alone(run: Path) -> None:
    drawings = re.findall(r"<svg.*?</svg>", (run / "report.html").read_text(encoding="utf-8"), re.DOTALL)
    found = {code for drawing in drawings for code in re.findall(r"#[0-9a-f]{6}\b", drawing)}
    assert found <= {"#fefefe"}  # numbers on full cells, white in both themes
    assert len({pair[0] for pair in COLOURS.values()}) == len(
        COLOURS
    )  # else a picture could not be told apart


def test_a_label_is_one_short_line() -> None:
    assert charts.short("x" * 50) == "x" * 29 + "…"
    assert charts.short(" a\t\u202eb\n") == "a b"


def render(metrics: Mapping[str, Any]) -> str:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(summary(metrics))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_terminal_shows_the_same_figures(run: Path) -> None:
    metrics = json.loads((run / "metrics" / "test.json").read_text())
    text = render(metrics)
    figures = metrics["tasks"]["verb"]
    (line, *_) = [line for line in text.splitlines() if "Top-1" in line]
    low, high = (f"{100 * end:.1f}" for end in figures["intervals"]["top1"])
    assert line.split() == [
        "Top-1",
        f"{100 * figures['top1']:.1f}",
        "%",
        low,
        "–",
        high,
        "%",
        f"{100 * figures['baseline']:.1f}",
        "%",
    ]
    assert "action" in text
    assert "60 clips; 95 % bootstrap over 6 groups" in text


def test_clips_that_are_reported_apart_have_a_table_of_their_own(tmp_path: Path) -> None:
    tasks = {"verb": scores(["a", "b", "c"], 40), "noun": scores(["x", "y"], 40, 1)}
    first = np.arange(40) < 12
    subsets = {"<new>": first, "rare:verb": np.arange(40) >= 35}
    add_split(tmp_path, "val", tasks, 40, groups=5, subsets=subsets)
    add_split(tmp_path, "train", tasks, 40)
    add_log(tmp_path, ["verb", "noun"])
    write_report(tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    words = " ".join(page.words)
    assert "Reported apart" in words
    assert "<new>" in words
    metrics = json.loads((tmp_path / "metrics/val.json").read_text())
    for figures in tasks_of(metrics["subsets"]["<new>"]).values():
        assert f"{100 * figures['top1']:.1f} %" in words
    assert "action : top-1 +0.0 points" in re.sub(r"\s+", " ", words)
    text = render(metrics)
    assert "<new>, 12 clips apart" in text
    assert "verb Top-1, 5 clips" in text  # and no noun of these five
    assert text.count("noun Top-1") == 1


def test_the_terminal_takes_names_as_text_and_missing_figures_as_dashes() -> None:
    table = PredictionTable(("a",), ("",), {"[red]x[/]": scores(["p", "q"], 1, labelled=False)})
    text = render(summarise(table, "val"))
    assert "[red]x[/]" in text
    assert "–" in text
    assert "1 of unknown class left out" in text
