"""The built-in data: exactly aligned, the same for the same seed, and fair between the classes of a pair."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import cross_val_score

from mudra.clips.layouts import LAYOUTS
from mudra.clips.manifest import read_manifest
from mudra.datasets.puppets import Puppets, cached, files, workers, write, writing
from mudra.datasets.puppets.clip import draw_clip
from mudra.datasets.puppets.gestures import GESTURES, acting_hands, draw_stroke, progress
from mudra.datasets.puppets.painting import paint_depth, paint_video
from mudra.datasets.puppets.plan import Plan, plan
from mudra.datasets.puppets.staging import perform, stage
from mudra.datasets.puppets.things import NOUNS
from mudra.errors import OutputError, RecipeError, UsageError
from mudra.recipe import kind_class
from mudra.settings import parse
from tests.teams import together

ALL = ("video", "depth", "mask", "points")
SMALL = Puppets(clips=12, groups=6, size=48, seconds=0.5, gestures=12, streams=ALL)


def plans(settings: Puppets) -> list[Plan]:
    return [plan(settings, number) for number in range(settings.clips)]


def hashes(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


# --- the same for the same seed -------------------------------------------------------------------


def test_a_clip_depends_on_seed_and_number_alone() -> None:
    one, again = draw_clip(SMALL, 7), draw_clip(SMALL.model_copy(update={"clips": 600}), 7)
    other = draw_clip(SMALL.model_copy(update={"seed": 1}), 7)
    for stream in ALL:
        np.testing.assert_array_equal(getattr(one, stream), getattr(again, stream))
    assert one.video is not None
    assert other.video is not None
    assert one.video.shape != other.video.shape or (one.video != other.video).mean() > 0.5


def test_a_stream_does_not_depend_on_which_others_are_drawn() -> None:
    whole = draw_clip(SMALL, 3)
    for stream in ALL:
        alone = draw_clip(SMALL, 3, streams=[stream])
        np.testing.assert_array_equal(getattr(alone, stream), getattr(whole, stream))
        assert sum(getattr(alone, name) is not None for name in ALL) == 1


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    write(tmp_path / "one", SMALL, workers=1)
    told: list[tuple[int, int]] = []
    write(
        tmp_path / "three", SMALL, workers=3, progress=lambda _what, done, total: told.append((done, total))
    )
    assert hashes(tmp_path / "one") == hashes(tmp_path / "three")
    assert told == [(done, 12) for done in range(1, 13)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three"]


# --- persons and splits ---------------------------------------------------------------------------


def test_a_group_never_crosses_a_split_and_every_split_has_its_share() -> None:
    drawn = plans(Puppets())
    split_of = {row.group: row.split for row in drawn}
    assert all(split_of[row.group] == row.split for row in drawn)
    assert len(split_of) == 40
    clips = {split: sum(row.split == split for row in drawn) for split in ("train", "val", "test")}
    assert clips == {"train": 1400, "val": 300, "test": 300}


def test_even_a_tiny_set_fills_its_splits() -> None:
    assert {row.split for row in plans(Puppets(clips=3))} == {"train", "val", "test"}
    assert {row.split for row in plans(Puppets(clips=9, groups=9, shares=(0.5, 0.0, 0.5)))} == {
        "train",
        "test",
    }


def test_every_person_does_every_gesture_equally_often() -> None:
    settings = Puppets(clips=4 * 8 * 3, groups=4)
    for group in range(4):
        labels = [row.gesture.name for row in plans(settings) if row.group == group]
        assert sorted(labels) == sorted(3 * [gesture.name for gesture in GESTURES[:8]])


def test_a_person_looks_the_same_in_every_clip_and_unlike_the_others() -> None:
    drawn = plans(Puppets(clips=60, groups=20))
    persons = {row.group: row.person for row in drawn}
    assert all(row.person == persons[row.group] for row in drawn)
    assert len(set(persons.values())) == 20
    assert {person.side for person in persons.values()} == {-1, 1}


# --- fair between the classes of a pair -----------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 12, 2))
def test_the_second_of_a_pair_is_the_first_played_backwards(first: int) -> None:
    one, other = GESTURES[first : first + 2]
    assert one.verb == other.verb
    stroke = draw_stroke(np.random.default_rng(first), 1.0, 0.3, holds=False)
    forwards, backwards = (
        acting_hands(each.verb, progress(20, stroke, each.backwards), stroke, -1) for each in (one, other)
    )
    for hand, reverse in zip(forwards, backwards, strict=True):
        if hand is not None and reverse is not None:
            np.testing.assert_array_equal(hand.wrist, reverse.wrist[::-1])
            np.testing.assert_array_equal(hand.curl, reverse.curl[::-1])
            np.testing.assert_array_equal(hand.lean, reverse.lean[::-1])


def test_rests_and_speed_are_drawn_alike_at_both_ends() -> None:
    rng = np.random.default_rng(0)
    strokes = [draw_stroke(rng, 1.0, 0.3, holds=False) for _ in range(2000)]
    rests = np.array([stroke.rests for stroke in strokes])
    spread = (rests[:, 0] - rests[:, 1]).std() / np.sqrt(len(rests))
    assert abs((rests[:, 0] - rests[:, 1]).mean()) < 4 * spread
    assert abs(np.mean([stroke.skew for stroke in strokes])) < 0.03


def test_only_the_order_of_time_tells_a_pair_apart() -> None:
    """A forest that sees poses as a bag is at chance within pairs; one that sees their order is not."""
    settings = Puppets(clips=360, groups=24, gestures=12)
    poses, labels = [], []
    for row in plans(settings):
        arm = perform(row, settings.fps).arms[row.person.side]
        spread = np.linalg.norm(arm.hand[:, 12] - arm.hand[:, 0], axis=1)
        moments = np.linspace(0, row.frames - 1, 12).round().astype(int)
        poses.append(np.concatenate([arm.wrist, spread[:, None]], axis=1)[moments])
        labels.append([gesture.name for gesture in GESTURES].index(row.gesture.name))
    x, y = np.array(poses), np.array(labels)
    forest = ExtraTreesClassifier(40, random_state=0)
    ordered, blind = [], []
    for first in range(0, 12, 2):
        pair = (y == first) | (y == first + 1)
        ordered.append(cross_val_score(forest, x[pair].reshape(pair.sum(), -1), y[pair], cv=3).mean())
        blind.append(
            cross_val_score(forest, np.sort(x[pair], axis=1).reshape(pair.sum(), -1), y[pair], cv=3).mean()
        )
    assert np.mean(blind) < 0.6, blind
    assert max(blind) < 0.72, blind
    assert np.mean(ordered) > 0.93, ordered


@cache
def acting_points(name: str) -> list[np.ndarray]:
    """The acting hand's points [T, 21, 2] in several clips of a gesture."""
    settings = Puppets(clips=240, groups=12, gestures=12, streams=("points",), seconds=1.5)
    found = []
    for row in plans(settings):
        if row.gesture.name == name:
            points = draw_clip(settings, row.number).points
            assert points is not None
            found.append(points[:, 61:82] if row.person.side < 0 else points[:, 40:61])
    return found[:8]


def change(points: np.ndarray, measure: str) -> float:
    middle, ends = points[:, [0, 9]].mean(axis=1), points[[0, -1]]
    if measure == "turn":  # the area that the path goes around; with y down, clockwise is positive
        path = middle - middle.mean(axis=0)
        return float(np.sum(path[:-1, 0] * path[1:, 1] - path[:-1, 1] * path[1:, 0]))
    if measure == "size":
        palm = np.linalg.norm(ends[:, 9] - ends[:, 0], axis=1)
        return float(palm[1] - palm[0])
    if measure == "open":
        reach = np.linalg.norm(ends[:, 12] - ends[:, 9], axis=1)
        return float(reach[1] - reach[0])
    return float((middle[-1] - middle[0])["xy".index(measure)])


@pytest.mark.parametrize(
    ("name", "measure", "sign"),
    [
        ("swipe left", "x", -1),
        ("swipe right", "x", 1),
        ("raise hand", "y", -1),
        ("lower hand", "y", 1),
        ("circle clockwise", "turn", 1),
        ("circle anticlockwise", "turn", -1),
        ("push", "size", 1),
        ("pull", "size", -1),
        ("open hand", "open", 1),
        ("close hand", "open", -1),
    ],
)
def test_a_gesture_does_what_its_name_says_to_the_viewer(name: str, measure: str, sign: int) -> None:
    changes = [change(points, measure) for points in acting_points(name)]
    assert len(changes) == 8
    assert all(sign * value > 0 for value in changes), changes


def test_hands_apart_moves_both_hands_outwards() -> None:
    settings = Puppets(clips=120, groups=6, gestures=12, streams=("points",))
    row = next(row for row in plans(settings) if row.gesture.name == "hands apart")
    points = draw_clip(settings, row.number).points
    assert points is not None
    left, right = points[:, 49, 0], points[:, 70, 0]  # the person's left hand is on the picture's right
    assert left[-1] - right[-1] > left[0] - right[0] + 0.2


def test_the_mirror_table_is_complete_and_its_own_inverse(tmp_path: Path) -> None:
    settings = Puppets(clips=2, groups=2, size=32, seconds=0.25, gestures=12, shares=(1.0, 0.0, 0.0))
    write(tmp_path / "set", settings)
    manifest = read_manifest(tmp_path / "set")
    for task, classes in manifest.tasks.items():
        mirror = manifest.mirror[task]
        assert set(mirror) == set(classes)
        assert all(mirror[mirror[name]] == name for name in classes)
    assert manifest.mirror["label"]["swipe left"] == "swipe right"
    assert manifest.mirror["label"]["circle clockwise"] == "circle anticlockwise"
    assert manifest.mirror["label"]["open hand"] == "open hand"


# --- streams lie exactly on one another -----------------------------------------------------------


def bare_handed(settings: Puppets) -> list[int]:
    """Clips in which nothing lies before the acting hand."""
    return [row.number for row in plans(settings) if not row.held and row.occluder is None]


def test_points_mask_and_depth_agree_on_where_the_hand_is() -> None:
    settings = Puppets(clips=30, groups=10, size=128, seconds=0.5, gestures=4, streams=ALL, point_axes=3)
    checked = 0
    for number in bare_handed(settings)[:8]:
        clip = draw_clip(settings, number)
        assert clip.points is not None
        assert clip.mask is not None
        assert clip.depth is not None
        person = clip.plan.person
        rows = np.arange(61, 82) if person.side < 0 else np.arange(40, 61)
        hand = clip.points[:, rows]
        frames, _ = np.nonzero(~np.isnan(hand[..., 0]))
        seen = hand[~np.isnan(hand[..., 0])]
        x, y = (np.floor(seen[:, axis] * 128).astype(int) for axis in (0, 1))
        assert (clip.mask[frames, y, x] == 255).mean() > 0.99
        wanted = 1000 * (person.distance + seen[:, 2] * person.view)
        error = clip.depth[frames, y, x] - wanted
        assert np.median(np.abs(error)) < 25
        assert (np.abs(error) < 120).mean() > 0.97
        checked += len(seen)
    assert checked > 500


def test_the_video_shows_skin_where_the_palm_is_and_not_beside_the_hand() -> None:
    settings = Puppets(clips=30, groups=10, size=128, seconds=0.5, gestures=4, streams=("video", "points"))
    for number in bare_handed(settings)[:8]:
        clip = draw_clip(settings, number)
        assert clip.points is not None
        assert clip.video is not None
        rows = np.arange(61, 82) if clip.plan.person.side < 0 else np.arange(40, 61)
        palm = clip.points[:, rows[[0, 5, 17]]].mean(axis=1)
        x, y = (np.floor(palm[:, axis] * 128).astype(int) for axis in (0, 1))
        seen = clip.video[np.arange(len(x)), y, x].astype(float)
        skin = np.array(clip.plan.person.skin, dtype=float)
        # Light dims and tints the picture; the hue of the skin stays.
        cosine = (seen @ skin) / (np.linalg.norm(seen, axis=1) * np.linalg.norm(skin))
        assert cosine.min() > 0.985


def test_depth_sees_exactly_what_the_video_paints() -> None:
    """Painted on black and on white, a pixel that stays the same is covered; depth must say the same."""
    settings = Puppets(clips=24, groups=24, size=128, seconds=0.25, occlusion=0.2)
    agree = []
    for number in range(24):
        row = plan(settings, number)
        scene, bright = stage(row, settings), np.ones((128, 128, 3))
        black, white = (
            paint_video(scene.shapes, Image.new("RGB", (256, 256), hue), bright, row.frames).astype(float)
            for hue in ("black", "white")
        )
        covered = (white - black).mean(axis=-1) < 128
        depth, _ = paint_depth(scene.shapes, np.full((128, 128), 9.0), row.frames, 128)
        near = depth < 9000
        agree.append((covered & near).sum() / (covered | near).sum())
    assert min(agree) > 0.975, agree


def test_the_mask_is_the_person_and_the_depth_stands_before_the_wall() -> None:
    clip = draw_clip(SMALL, 2)
    assert clip.mask is not None
    assert clip.depth is not None
    assert set(np.unique(clip.mask)) == {0, 255}
    assert 0.1 < (clip.mask > 0).mean() < 0.7
    top = clip.mask[:, 0] == 0
    assert clip.depth[:, 0][top].min() > clip.depth[clip.mask > 0].max()
    assert clip.depth.dtype == np.uint16
    assert clip.depth.min() > 300
    assert clip.depth.max() < 5000


def test_lips_are_in_the_face_and_in_the_order_of_the_layout() -> None:
    clip = draw_clip(Puppets(clips=10, streams=("points",), point_axes=2), 4)
    assert clip.points is not None
    lips = clip.points[:, :40] - clip.points[:, :40].mean(axis=1, keepdims=True)
    row = {name: at for at, name in enumerate(LAYOUTS["sign92"].points)}
    right, left, up, down = (lips[:, row[f"face_{at}"]].mean(axis=0) for at in (61, 291, 0, 17))
    assert right[0] < 0 < left[0]
    assert up[1] < down[1]
    mirrored = lips[:, LAYOUTS["sign92"].mirror_order[:40]] * [-1, 1]
    assert np.abs(mirrored - lips).max() < 0.01, "a face seen from the front is its own mirror image"


def test_arm_points_stand_at_the_hand_they_belong_to() -> None:
    clip = draw_clip(Puppets(clips=10, streams=("points",), gestures=12, seed=3), 1)
    points, layout = clip.points, LAYOUTS["sign92"]
    assert points is not None
    for side in ("left", "right"):
        for arm, hand in (
            ("wrist", "wrist"),
            ("index", "index_mcp"),
            ("pinky", "pinky_mcp"),
            ("thumb", "thumb_ip"),
        ):
            one, other = layout.row(f"pose_{side}_{arm}"), layout.row(f"{side}_hand_{hand}")
            np.testing.assert_array_equal(points[:, one], points[:, other])


# --- knobs ----------------------------------------------------------------------------------------


def with_knobs(**knobs: object) -> Puppets:
    return Puppets.model_validate({**SMALL.model_dump(), **knobs})


def test_noise_is_in_pixels_and_depth_alone() -> None:
    clean, noisy = draw_clip(SMALL, 0), draw_clip(with_knobs(noise=0.05), 0)
    assert clean.video is not None
    assert noisy.video is not None
    error = noisy.video.astype(float) - clean.video
    inside = (clean.video > 60) & (clean.video < 195)
    assert 0.04 * 255 < error[inside].std() < 0.06 * 255
    assert clean.depth is not None
    assert noisy.depth is not None
    assert 40 < (noisy.depth.astype(float) - clean.depth).std() < 60
    np.testing.assert_array_equal(noisy.mask, clean.mask)
    np.testing.assert_array_equal(noisy.points, clean.points)


def test_jitter_moves_points_alone() -> None:
    clean, shaken = draw_clip(SMALL, 0), draw_clip(with_knobs(jitter=0.01), 0)
    assert clean.points is not None
    assert shaken.points is not None
    assert 0.008 < np.nanstd(shaken.points - clean.points) < 0.012
    np.testing.assert_array_equal(shaken.video, clean.video)


def test_missing_points_are_nan_with_score_0_and_go_as_whole_parts() -> None:
    settings = with_knobs(missing=0.3, seconds=4.0)
    lost = []
    for number in range(8):
        clip, clean = (
            draw_clip(settings, number, ["points"]),
            draw_clip(with_knobs(seconds=4.0), number, ["points"]),
        )
        assert clip.points is not None
        assert clip.score is not None
        assert clean.points is not None
        gone = np.isnan(clip.points).any(axis=-1)
        assert (clip.score[gone] == 0).all()
        assert (clip.score[~gone] > 0.8).all()
        seen = ~np.isnan(clean.points).any(axis=-1)
        for rows in LAYOUTS["sign92"].parts.values():
            at = gone[:, rows] & seen[:, rows]
            whole = seen[:, rows].all(axis=1)
            assert (at[whole].all(axis=1) | ~at[whole].any(axis=1)).all()
            lost += at[whole].all(axis=1).tolist()
    assert 0.22 < np.mean(lost) < 0.38
    everything = draw_clip(with_knobs(missing=1.0), 0, ["points"]).points
    assert everything is not None
    assert np.isnan(everything).all()


def test_what_stands_in_the_way_hides_points_and_person() -> None:
    clean, blocked = with_knobs(size=128), with_knobs(size=128, occlusion=1.0)
    in_front: list[bool] = []
    for number in range(6):
        before, after = draw_clip(clean, number), draw_clip(blocked, number)
        assert before.points is not None
        assert after.points is not None
        assert after.mask is not None
        assert before.mask is not None
        assert after.plan.occluder is not None
        assert np.isnan(after.points).sum() >= np.isnan(before.points).sum()
        assert (after.mask > 0).sum() < (before.mask > 0).sum()
        seen = ~np.isnan(after.points[..., 0])
        frames, _ = np.nonzero(seen)
        x, y = (np.floor(after.points[seen][:, axis] * 128).astype(int) for axis in (0, 1))
        assert after.depth is not None
        post = after.depth[:, 0].min()  # the post runs through the top row, nearer than all else there
        in_front += (after.depth[frames, y, x] == post).tolist()
    assert np.mean(in_front) < 0.04, "only points within a pixel of its edge"


def test_a_leak_ties_the_label_to_the_person_and_the_person_to_a_wall() -> None:
    leaky = plans(Puppets(clips=160, groups=16, leak=1.0))
    for group in range(16):
        rows = [row for row in leaky if row.group == group]
        assert len({row.gesture for row in rows}) == 1
        assert len({row.wall for row in rows}) == 1
    assert len({row.wall for row in leaky}) == 16
    tight = plans(Puppets(clips=160, groups=16))
    assert len({row.wall for row in tight}) == 160


def test_still_clips_show_no_gesture() -> None:
    settings = Puppets(clips=40, groups=8, still=1.0)
    rows = plans(settings)
    for row in rows[:10]:
        wrist = perform(row, settings.fps).arms[row.person.side].wrist
        assert np.ptp(wrist, axis=0).max() < 0.02
    assert any(row.shown != row.gesture for row in rows)


@pytest.mark.parametrize("gestures", [2, 8, 12])
def test_classes_are_known_before_anything_is_drawn(gestures: int) -> None:
    settings = Puppets(clips=300, gestures=gestures)
    rows = plans(settings)
    found = {
        "label": len({row.gesture.name for row in rows}),
        "verb": len({row.gesture.verb for row in rows}),
        "noun": len({row.noun for row in rows}),
    }
    assert settings.class_counts() == found
    assert settings.model_copy(update={"tasks": ("verb",)}).class_counts() == {"verb": found["verb"]}


def test_things_follow_the_verb_as_often_as_asked() -> None:
    tied, free = (plans(Puppets(clips=600, verb_noun=share)) for share in (1.0, 0.0))
    assert len({(row.gesture.verb, row.noun) for row in tied}) == 4
    assert len({(row.gesture.verb, row.noun) for row in free}) == 4 * len(NOUNS)


def test_things_are_as_large_as_asked() -> None:
    """Nothing else of a clip changes; what a thing covers grows with the square of its size."""
    covered = {}
    for scale in (0.25, 1.0, 2.0):
        settings = Puppets(clips=40, groups=8, size=96, thing_scale=scale)
        rows = [row for row in plans(settings) if not row.held][:6]
        covered[scale] = np.stack([draw_clip(settings, row.number).video[0].astype(int) for row in rows])
        assert [replace(row, thing_scale=1.0) for row in rows] == [
            row for row in plans(Puppets(clips=40, groups=8, size=96)) if not row.held
        ][:6]
    small, large = ((np.abs(covered[s] - covered[0.25]).max(-1) > 40).sum() for s in (1.0, 2.0))
    assert large > 2 * small > 100


def test_difficulty_spreads_the_cameras() -> None:
    def spread(difficulty: float) -> float:
        rows = plans(Puppets(clips=40, groups=40, difficulty=difficulty))
        return float(np.std([row.person.tilt for row in rows]))

    assert spread(1.0) > 1.5 * spread(0.0)


# --- files ----------------------------------------------------------------------------------------


def test_files_hold_what_was_drawn(tmp_path: Path) -> None:
    write(tmp_path / "set", SMALL, workers=1)
    manifest = read_manifest(tmp_path / "set")
    assert len(manifest) == 12
    assert set(manifest.streams) == set(ALL)
    assert manifest.streams["points"].layout == "sign92"
    assert manifest.streams["depth"].fps == 12
    assert list(manifest.tasks) == ["label", "verb", "noun"]
    for number in (0, 11):
        row, drawn = manifest[number], draw_clip(SMALL, number)
        assert (row.id, row.split, row.group) == (drawn.plan.clip, drawn.plan.split, drawn.plan.group_name)
        assert row.labels["label"] == drawn.plan.gesture.name
        assert drawn.video is not None
        with av.open(str(row.streams["video"])) as file:
            decoded = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
        np.testing.assert_allclose([time for time, _ in decoded], drawn.times, atol=1e-6)
        error = np.stack([picture for _, picture in decoded]).astype(float) - drawn.video
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 26
        points = np.load(row.streams["points"], allow_pickle=False)
        np.testing.assert_array_equal(points["points"], drawn.points)
        np.testing.assert_array_equal(points["score"], drawn.score)
        np.testing.assert_array_equal(points["times"], drawn.times)
        for stream, frames in (("depth", drawn.depth), ("mask", drawn.mask)):
            pictures = [np.asarray(Image.open(path)) for path in sorted(row.streams[stream].iterdir())]
            np.testing.assert_array_equal(np.stack(pictures), frames)
    made_with = json.loads((tmp_path / "set" / "puppets.json").read_text())
    assert made_with["size"] == 48


def test_without_an_h264_encoder_mpeg4_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "codec", lambda: "mpeg4")
    video = draw_clip(SMALL, 0, ["video"]).video
    assert video is not None
    files.write_mp4(tmp_path / "clip.mp4", video, 12)
    with av.open(str(tmp_path / "clip.mp4")) as file:
        assert file.streams.video[0].codec_context.name == "mpeg4"
        assert len(list(file.decode(video=0))) == len(video)


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("keep me")
    with pytest.raises(UsageError, match="found a folder with files in it"):
        write(tmp_path / "set", SMALL)
    with pytest.raises(UsageError, match="found a file"):
        write(tmp_path / "set" / "mine.txt", SMALL)
    with pytest.raises(UsageError, match="workers: found 0"):
        write(tmp_path / "new", SMALL, workers=0)
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write(
        tmp_path / "set",
        SMALL.model_copy(update={"clips": 1, "streams": ("points",), "shares": (1.0, 0.0, 0.0)}),
    )
    assert (tmp_path / "set" / "manifest.csv").is_file()


def test_nothing_is_left_of_a_set_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, settings: Puppets, number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workers, "write_clip", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write(tmp_path / "set", SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_worker_is_told_in_one_line(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        blocked = tmp_path / "file"  # a file where the folder should be stops root too
        blocked.write_text("")
    else:
        blocked = tmp_path
        blocked.chmod(0o500)
    with pytest.raises(OutputError) as told:
        workers.write_clips(blocked, SMALL, 2, None)
    assert "of 12 clips were written" in str(told.value)
    assert "\n" not in str(told.value)


def test_the_cache_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = SMALL.model_copy(update={"clips": 3, "groups": 3, "streams": ("points",)})
    manifest = settings.read(None)
    assert len(manifest) == 3
    folder = cached(settings)
    assert folder.parent == tmp_path / "mudra"
    monkeypatch.setattr(writing, "write", lambda *_: pytest.fail("drawn a second time"))
    assert len(settings.read(None)) == 3
    assert len(settings.read(folder)) == 3
    tasks_only = settings.model_copy(update={"tasks": ("verb",)})
    assert cached(tasks_only) == folder, "what is trained does not change what is drawn"
    with pytest.raises(pytest.fail.Exception):
        cached(settings.model_copy(update={"seed": 1}))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_of_two_processes_one_draws_and_the_other_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def drawn(folder: Path, *_: object) -> None:
        with (tmp_path / "drawn.txt").open("a") as told:
            told.write(f"{os.getpid()}\n")
        time.sleep(0.5)
        folder.mkdir()

    monkeypatch.setattr(writing, "write", drawn)
    outcomes = together(2, lambda: str(cached(SMALL)))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert outcomes[0].value == outcomes[1].value
    assert len((tmp_path / "drawn.txt").read_text().split()) == 1


def test_half_a_folder_is_never_taken_for_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = SMALL.model_copy(update={"clips": 3, "groups": 3, "streams": ("points",)})
    name = f"puppets-{writing.fingerprint(settings)}"
    dead, living = (tmp_path / "mudra" / f".{name}.{number}.tmp" for number in (1, 2))
    for left in (dead, living):
        (left / "points").mkdir(parents=True)
    for path in (dead / "points", dead):
        os.utime(path, (0, 0))
    folder = cached(settings)
    assert (folder / "manifest.csv").is_file()
    assert not dead.exists(), "what a killed process left is swept"
    assert living.exists(), "what may still be written is not"


# --- settings -------------------------------------------------------------------------------------


def test_the_recipe_table_names_the_class() -> None:
    assert kind_class("data", "puppets", "recipe") is Puppets
    assert (
        parse(Puppets, {"kind": "puppets", "clips": 10, "streams": ["video", "points"]}, "recipe").clips == 10
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gestures": 7}, "multiple of 2"),
        ({"gestures": 14}, "less than or equal to 12"),
        ({"size": 97}, "multiple of 2"),
        ({"streams": ["audio"]}, "'audio'"),
        ({"streams": []}, "at least 1"),
        ({"streams": ["video", "video"]}, "named twice"),
        ({"shares": [0.5, 0.1, 0.1]}, "shares sum to 0.7"),
        ({"groups": 2}, "cannot fill 3 splits"),
        ({"clips": 2}, "cannot fill 3 splits"),
        ({"noise": 1.5}, "less than or equal to 1"),
        ({"colour": 1}, "unknown key"),
    ],
)
def test_wrong_settings_are_told_in_one_line(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as told:
        parse(Puppets, wrong, "recipe, data")
    assert str(told.value).startswith("recipe, data")


def test_turning_one_knob_leaves_all_else_as_it_was() -> None:
    plain, blocked, still = (
        plan(SMALL, 5),
        plan(with_knobs(occlusion=1.0, noise=0.2), 5),
        plan(with_knobs(still=1.0), 5),
    )
    assert blocked.occluder is not None
    assert replace(blocked, occluder=None) == plain
    assert (still.noun, still.wall, still.sway, still.frames) == (
        plain.noun,
        plain.wall,
        plain.sway,
        plain.frames,
    )
