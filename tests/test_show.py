"""Pictures of clips: everything stands where it was, and what was not seen is not drawn."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from mudra import recipe as recipes
from mudra.clips.layouts import LAYOUTS, declare, find_layout
from mudra.clips.manifest import Manifest, read_manifest
from mudra.errors import DataError, UsageError
from mudra.files import replace_file
from mudra.reports.clip_page import film_of, strip_markup
from mudra.reports.clip_sheet import MARGIN, clips_png
from mudra.reports.clip_view import ClipView, read_view
from mudra.reports.palette import light, rgb
from mudra.reports.poses import LEFT, RIGHT, Figure, View, points_up, side_of
from mudra.reports.showing import show_classes, show_clips
from mudra.reports.strips import Series, Strip, rows_of
from mudra.reports.thumbnails import thumbnails_of
from mudra.training.run_folder import RunFolder
from tests.test_cli import mudra, refused
from tests.test_report import Page

patient = hypothesis.settings(deadline=None, max_examples=40)
KINECT = find_layout("kinect20")
STANDING = {
    "hip_centre": (0, 0),
    "spine": (0, 0.1),
    "shoulder_centre": (0, 0.5),
    "head": (0, 0.8),
    "left_shoulder": (-0.2, 0.45),
    "left_elbow": (-0.3, 0.2),
    "left_wrist": (-0.4, 0),
    "left_hand": (-0.42, -0.1),
    "right_shoulder": (0.2, 0.45),
    "right_elbow": (0.3, 0.2),
    "right_wrist": (0.4, 0),
    "right_hand": (0.42, -0.1),
    "left_hip": (-0.1, -0.1),
    "left_knee": (-0.1, -0.5),
    "left_ankle": (-0.1, -0.9),
    "left_foot": (-0.15, -1),
    "right_hip": (0.1, -0.1),
    "right_knee": (0.1, -0.5),
    "right_ankle": (0.1, -0.9),
    "right_foot": (0.15, -1),
}


def standing(frames: int = 1) -> np.ndarray:
    """A kinect20 person who stands still, left hand at x < 0, y up: float32 [T,20,3]."""
    points = np.zeros((frames, 20, 3), np.float32)
    points[:] = [(*STANDING[name], 2.5) for name in KINECT.points]
    return points


def data(
    root: Path, clips: Mapping[str, Mapping[str, np.ndarray]], layout: str = "kinect20", **labels: str
) -> Manifest:
    """A data set of clips: arrays by stream, each written as an .npy file."""
    root.mkdir(parents=True, exist_ok=True)
    streams = list(dict.fromkeys(stream for values in clips.values() for stream in values))
    rows = [",".join(["clip", "split", "group", "label", *streams])]
    for number, (clip, values) in enumerate(clips.items()):
        for stream, array in values.items():
            np.save(root / f"{number}-{stream}.npy", array)
        files = [f"{number}-{stream}.npy" if stream in values else "" for stream in streams]
        rows.append(",".join([clip, "train", "ann", labels.get(clip, "wave"), *files]))
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    facts = {
        stream: {"fps": 10} | ({"layout": layout} if stream == "points" and layout else {})
        for stream in streams
    }
    (root / "dataset.json").write_text(json.dumps({"streams": facts}), "utf-8")
    return read_manifest(root)


def view(root: Path, moments: int = 4, layout: str = "kinect20", **streams: np.ndarray) -> ClipView:
    manifest = data(root, {"a": streams}, layout)
    return read_view(manifest[0], manifest.streams, moments)


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def columns_of(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where a colour of the palette stands below the headings, as columns of the picture."""
    cells = picture[int((MARGIN + 58 + 42) * 1.6) :]
    return np.nonzero((np.abs(cells - rgb(colour)).max(-1) < 2).any(0))[0]


# --- where points are drawn ---------------------------------------------------------------------------


def test_left_and_right_are_drawn_in_their_colours_where_they_were_recorded(tmp_path: Path) -> None:
    picture = pixels(clips_png([view(tmp_path, points=standing())]))
    left, right = columns_of(picture, LEFT), columns_of(picture, RIGHT)
    assert len(left) > 10
    assert len(right) > 10
    assert left.max() < right.min()


def test_what_was_not_seen_is_not_drawn(tmp_path: Path) -> None:
    points = standing()
    points[:, side_of(KINECT) > 0] = np.nan
    picture = pixels(clips_png([view(tmp_path, points=points)]))
    assert not len(columns_of(picture, LEFT))
    assert len(columns_of(picture, RIGHT))


def test_a_gap_breaks_a_line_and_is_not_bridged() -> None:
    points = standing()
    elbow = KINECT.row("left_elbow")
    points[0, elbow, 1] = np.nan  # a single coordinate is enough
    figure = Figure(points, KINECT, View.around(points, up=True))
    lines = [
        line
        for stroke in figure.pose(0)
        if stroke.colour == LEFT and not stroke.dots
        for line in stroke.lines
    ]
    shoulder, wrist = (figure.places_TK2[0, KINECT.row(f"left_{joint}")] for joint in ("shoulder", "wrist"))
    assert not any(np.equal(line, shoulder).all(1).any() for line in lines)
    assert any(np.equal(line[0], wrist).all() for line in lines)  # from the wrist on it goes on
    assert not any(np.isnan(line).any() for line in lines)


@pytest.mark.parametrize("turn", [1, -1])
def test_a_head_is_above_the_feet_whichever_way_y_points(turn: int) -> None:
    points = standing() * np.float32([1, turn, 1])
    assert points_up(points, KINECT) is (turn == 1)
    places = Figure(points, KINECT, View.around(points, points_up(points, KINECT))).places_TK2[0]
    assert places[KINECT.row("head"), 1] < places[KINECT.row("left_foot"), 1]
    assert places[KINECT.row("left_hand"), 0] < places[KINECT.row("right_hand"), 0]


def test_what_points_do_not_say_their_recorder_does() -> None:
    arms = np.random.default_rng(0).normal(size=(5, 8, 3)).astype(np.float32)
    assert points_up(arms, find_layout("natops8"))
    assert not points_up(arms, declare("mine", [f"point {row}" for row in range(8)]))
    assert points_up(np.full((2, 20, 3), np.nan, np.float32), KINECT)


def test_lips_alone_say_which_way_is_up() -> None:
    layout = find_layout("sign92")
    points = np.full((3, 92, 2), np.nan, np.float32)
    points[:, layout.row("face_0")], points[:, layout.row("face_17")] = (0.5, 0.3), (0.5, 0.4)
    assert not points_up(points, layout)
    assert points_up(-points, layout)


def test_sides_come_from_names_else_from_pairs() -> None:
    named = declare("named", ["left_eye", "nose", "right_eye"])
    paired = declare("paired", ["l", "n", "r"], pairs=[("l", "r")])
    assert side_of(named).tolist() == side_of(paired).tolist() == [1, 0, -1]


def test_the_scale_is_that_of_the_whole_clip(tmp_path: Path) -> None:
    points = standing(10)
    points[5:, :, 0] += 1.0  # a step aside
    (row,) = rows_of(view(tmp_path, points=points), 2)
    assert isinstance(row, Strip)
    before, after = ([line for s in cell.strokes if s.opacity == 1 for line in s.lines] for cell in row.cells)
    moved = {round(float(b[0, 0] - a[0, 0]), 6) for a, b in zip(before, after, strict=True)}
    assert len(moved) == 1
    assert min(moved) > 0.1


def test_one_wild_point_does_not_shrink_the_figure() -> None:
    points = standing(60)
    plain = View.around(points, up=True)
    points[30, 4] = 1000.0
    assert View.around(points, up=True) == plain


# --- over a video, and the other streams --------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (64, 48)])
def test_points_of_the_picture_are_drawn_over_the_video(tmp_path: Path, size: tuple[int, int]) -> None:
    points = np.full((6, 20, 2), 0.5, np.float32) * size
    points[:, KINECT.row("head")] = np.float32((0.25, 0.75)) * size
    frames = np.full((6, 48, 64, 3), 90, np.uint8)
    (row,) = rows_of(view(tmp_path, video=frames, points=points), 3)
    assert isinstance(row, Strip)
    assert row.title == "video with points"
    dots = np.concatenate([line for stroke in row.cells[0].strokes if stroke.dots for line in stroke.lines])
    assert np.isclose(dots, (0.25 * 64 / 48, 0.75)).all(1).any()


def test_points_in_metres_stand_beside_the_video(tmp_path: Path) -> None:
    frames = np.full((6, 48, 64, 3), 90, np.uint8)
    video, points = rows_of(view(tmp_path, video=frames, points=standing(6)), 3)
    assert (video.title, points.title) == ("video", "points")
    assert not any(cell.strokes for cell in video.cells)


def test_points_lie_on_the_very_frame_that_is_shown(tmp_path: Path) -> None:
    frames = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 20, 20, 3), np.uint8)
    points = np.zeros((9, 20, 2), np.float32)
    points[:] = (np.arange(9, dtype=np.float32) / 10)[:, None, None]
    (row,) = rows_of(view(tmp_path, moments=4, video=frames, points=points), 4)
    for cell in row.cells:
        x = next(float(line[0, 0]) for stroke in cell.strokes for line in stroke.lines)
        assert x == pytest.approx(cell.picture[0, 0, 0] / 10)


def test_a_mask_is_coloured_where_it_is_and_depth_where_it_was_measured(tmp_path: Path) -> None:
    mask = np.zeros((4, 8, 8), np.uint8)
    mask[:, :, 4:] = 255
    depth = np.full((4, 8, 8), 1000, np.uint16)
    depth[:, 4:] = 3000
    depth[:, 0] = 0
    rows = {row.title: row.cells[0].picture for row in rows_of(view(tmp_path, mask=mask, depth=depth), 2)}
    assert rows["mask"][3, 6].tolist() == rgb("third").tolist()
    assert rows["mask"][3, 1].tolist() == rgb("void").tolist()
    assert [rows["depth"][row, 3].tolist() for row in (0, 2, 6)] == [
        rgb(name).tolist() for name in ("void", "near", "far")
    ]


def test_few_channels_are_lines_and_many_are_a_map(tmp_path: Path) -> None:
    ramp = np.linspace(0, 5, 20, dtype=np.float32)
    few = np.stack([ramp, -ramp, np.zeros(20, np.float32)], 1)
    (row,) = rows_of(view(tmp_path / "few", series=few), 3)
    assert isinstance(row, Series)
    heights = [lane.lines[0][:, 1] for lane in row.lanes]
    assert heights[0][0] > heights[0][-1]  # what rises, rises in the picture
    assert heights[1][0] < heights[1][-1]
    assert np.ptp(heights[2]) == 0
    assert row.bounds[:2] == [(0, 5), (-5, 0)]
    (row,) = rows_of(view(tmp_path / "many", series=np.tile(ramp[:, None], (1, 158))), 3)
    assert row.map.shape == (158, 20, 4)
    assert row.map[0, 0, :3].tolist() == rgb("first").tolist()
    assert row.map[0, -1, :3].tolist() == rgb("second").tolist()
    assert "data:image/png" in strip_markup(row, "x")


@patient
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.just(8), st.integers(2, 3)),
        elements=st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32)),
    ),
    st.sampled_from(["natops8", ""]),
)
def test_any_points_have_a_picture(points: np.ndarray, layout: str) -> None:
    layout_ = find_layout(layout) if layout else declare("points", [f"p{row}" for row in range(8)])
    figure = Figure(points, layout_, View.around(points, points_up(points, layout_)))
    assert np.isfinite(figure.view.scale).all()
    known = ~np.isnan(points).any(-1)
    assert np.array_equal(~np.isnan(figure.places_TK2).any(-1), known)
    for moment in range(len(points)):
        strokes = figure.pose(moment)
        assert bool(strokes) == bool(known[moment].any())
        drawn = [line for stroke in [*strokes, *figure.trail(0, moment)] for line in stroke.lines]
        assert all(np.isfinite(line).all() for line in drawn)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "holistic543"])
def test_every_layout_is_drawn_whole(name: str) -> None:
    layout = LAYOUTS[name]
    points = np.random.default_rng(1).uniform(size=(3, len(layout), 2)).astype(np.float32)
    figure = Figure(points, layout, View.around(points, up=False))
    shown = {tuple(place) for stroke in figure.pose(1) for line in stroke.lines for place in line.tolist()}
    assert {tuple(place) for place in figure.places_TK2[1].tolist()} == shown


# --- clips that hold little ---------------------------------------------------------------------------


def test_a_clip_without_a_seen_point_says_so(tmp_path: Path) -> None:
    empty = view(tmp_path, points=np.full((5, 20, 3), np.nan, np.float32))
    (row,) = rows_of(empty, 3)
    assert {cell.note for cell in row.cells} == {"no point was seen"}
    assert "no point was seen" in strip_markup(row, "x")
    assert film_of(empty, 100) is None
    assert pixels(clips_png([empty])).size


def test_moments_without_a_point_say_so(tmp_path: Path) -> None:
    points = standing(8)
    points[4:] = np.nan
    (row,) = rows_of(view(tmp_path, points=points), 2)
    assert [cell.note for cell in row.cells] == ["", "not seen"]
    assert row.seen["left_arm"].mean() == 0.5


def test_one_frame_is_one_cell(tmp_path: Path) -> None:
    (row,) = rows_of(view(tmp_path, points=standing(1)), 8)
    assert [cell.time for cell in row.cells] == [0.0]
    assert row.detail.startswith("1 frame,")


# --- files --------------------------------------------------------------------------------------------


def everything(root: Path) -> Manifest:
    """Two clips with every kind of stream, and names that a page must not trust."""
    rng = np.random.default_rng(0)
    clip = {
        "video": rng.integers(0, 255, (6, 24, 32, 3)).astype(np.uint8),
        "points": rng.uniform(size=(6, 20, 3)).astype(np.float32),
        "depth": rng.integers(0, 3000, (6, 24, 32)).astype(np.uint16),
        "mask": rng.integers(0, 2, (6, 24, 32)).astype(np.uint8),
        "series": rng.normal(size=(12, 3)).astype(np.float32),
    }
    return data(
        root, {"<b>http://evil.test": clip, "second/clip": {"points": standing(6)}}, **{"second/clip": "<i>"}
    )


def test_a_page_is_one_file_without_an_address(tmp_path: Path) -> None:
    manifest = everything(tmp_path)
    (path,) = show_clips(manifest, manifest.ids.to_pylist(), tmp_path / "new" / "page.html")
    overview = show_classes(manifest, out=tmp_path / "classes.html")
    for file in (path, overview):
        raw = file.read_text("utf-8")
        assert (
            re.search(r"https?:\s*//|\burl\(\s*['\"]?(?!#)|@import|\bfetch\(|<link|<iframe|xmlns", raw)
            is None
        )
        page = Page(raw)
        assert all(source.startswith("data:image/") for source in page.attributes("src"))
        assert not any(tag in ("b", "i") and not attrs for tag, attrs in page.elements)
        (script,) = re.findall(r"<script>(.*?)</script>", raw, re.DOTALL)
        allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        (policy,) = [value for value in page.attributes("content") if "default-src" in value]
        assert f"script-src 'sha256-{allowed}'" in policy
        films = [json.loads(film) for film in page.attributes("data-film")]
        assert len(films) == 2
        assert sorted(bool(film["pictures"]) for film in films) == [False, True]


def test_a_film_holds_every_point_or_null(tmp_path: Path) -> None:
    points = standing(7)
    points[3] = np.nan
    film: dict[str, Any] | None = film_of(view(tmp_path, points=points), 100)
    assert film is not None
    (figure,) = film["figures"]
    xyz = np.array(figure["xyz"], dtype=float).reshape(7, 20, 3)
    assert np.isnan(xyz[3, :, :2]).all()
    assert not np.isnan(np.delete(xyz, 3, axis=0)).any()
    assert xyz[0, KINECT.row("head"), 1] < xyz[0, KINECT.row("left_foot"), 1]
    assert {colour for colour, _, _ in figure["lines"]} >= {LEFT, RIGHT}


def test_the_same_clip_gives_the_same_bytes(tmp_path: Path) -> None:
    manifest = everything(tmp_path)
    ids = manifest.ids.to_pylist()
    for ending in ("png", "html"):
        once, again = (
            show_clips(manifest, ids, tmp_path / f"{name}.{ending}")[0] for name in ("once", "again")
        )
        assert once.read_bytes() == again.read_bytes()
    assert pixels((tmp_path / "once.png").read_bytes()).shape[1] == 1920


def test_pictures_go_where_they_are_sent_and_spare_what_was_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = data(tmp_path / "data", {"a/b": {"points": standing(2)}, "c": {"points": standing(3)}})
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    replace_file(here / "c.png", b"a photograph")
    assert [path.name for path in show_clips(manifest, ["a/b", "c"])] == ["a_b.png", "c-2.png"]
    assert (here / "c.png").read_bytes() == b"a photograph"
    assert [path.name for path in show_clips(manifest, ["c"])] == ["c-2.png"]  # the same picture again
    assert show_clips(manifest, ["a/b", "c"], Path("all.png")) == [Path("all.png")]
    assert show_clips(manifest, ["c"], Path("folder")) == [Path("folder/c.png")]
    assert show_clips(manifest, ["c"], Path("c.png")) == [Path("c.png")]  # named: it may be overwritten
    assert (here / "c.png").read_bytes() == (here / "c-2.png").read_bytes()


def test_an_overview_shows_the_first_clip_of_each_class(tmp_path: Path) -> None:
    clips = {name: {"points": standing(3)} for name in ("clip-1", "clip-2", "clip-3")}
    manifest = data(tmp_path, clips, **{"clip-3": "clap"})
    page = show_classes(manifest, out=tmp_path / "classes.html").read_text("utf-8")
    assert [clip in page for clip in clips] == [True, False, True]
    page = show_classes(manifest, out=tmp_path / "classes.html", most=1).read_text("utf-8")
    assert "1 of 2 classes are shown" in page
    assert pixels(show_classes(manifest, out=tmp_path / "x" / "classes.png").read_bytes()).size
    with pytest.raises(DataError, match=r"no task 'lable'.*label"):
        show_classes(manifest, "lable")


def test_bad_requests_are_told_in_one_line(tmp_path: Path) -> None:
    manifest = data(tmp_path, {"wave-001": {"points": standing(2)}, "bad": {"points": standing(2)}})
    (tmp_path / "1-points.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match=r"no clip 'wave-01'.*Did you mean 'wave-001'"):
        show_clips(manifest, ["wave-01"])
    with pytest.raises(UsageError, match=r"--out: found x\.jpg; expected .*\.png or \.html"):
        show_clips(manifest, ["wave-001"], Path("x.jpg"))
    with pytest.raises(DataError, match=r"1-points\.npy"):
        show_clips(manifest, ["bad"], tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
    short = data(tmp_path / "short", {"a": {"points": standing(2)[:, :19]}})
    with pytest.raises(DataError, match=r"clip 'a': it has 19 points; its layout kinect20 has 20"):
        show_clips(short, ["a"], tmp_path / "x.png")


def test_the_command_shows_clips_and_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data(tmp_path / "data", {"wave-001": {"points": standing(2)}})
    found = mudra("data", "show", "data", "wave-001", "--moments", "3")
    assert found.returncode == 0, found.stderr
    assert "wave-001.png: written" in found.stderr
    assert mudra("data", "show", "data", "--out", "all.html").returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"data", "wave-001.png", "all.html"}
    assert "wave-001" in refused("data", "show", "data", "wave-1", code=3)
    assert ".png" in refused("data", "show", "data", "wave-001", "--out", "x.gif", code=2)


def test_the_report_draws_the_points_that_a_model_saw(tmp_path: Path) -> None:
    data(
        tmp_path / "data",
        {"a": {"points": standing(6)}, "b": {"points": np.full((3, 20, 3), np.nan, np.float32)}},
    )
    run = RunFolder(tmp_path / "run")
    replace_file(
        run.path / "recipe.yaml", recipes.write_yaml(recipes.load("utd-mhad-skeleton").tree()).encode()
    )
    picture = thumbnails_of(run, str(tmp_path / "data"))
    assert picture("a").count('class="cell"') == 4
    assert "var(--first)" in picture("a")
    assert light("first") not in picture("a")  # it follows the page's light or dark setting
    assert "no point was seen" in picture("b")
    assert picture("not there") == ""
    assert thumbnails_of(run, str(tmp_path / "gone"))("a") == ""
