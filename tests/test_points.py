"""Points from file to batch: what was not seen stays unseen, and nothing that is seen moves because of it."""

from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mudra
from mudra import recipe as recipes
from mudra.bundle import read_bundle
from mudra.clips.layouts import LAYOUTS, declare, find_layout
from mudra.clips.loader import EvaluationClips, Place, TrainingClips
from mudra.clips.manifest import read_manifest
from mudra.clips.point_augment import alter, draw_points
from mudra.clips.point_augment import moments as drawn_moments
from mudra.clips.points import fill, moments_of, normalise, readable, resample
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.errors import DataError, RecipeError
from mudra.predictions import read
from mudra.recipe import Recipe
from mudra.reports.report import write_report
from mudra.sections import AugmentSettings, ClipSettings, PointAugment, PointSettings
from mudra.training.mixing import MixPlan, mix_points
from mudra.training.train import train
from mudra.types import Clip, StreamInfo

patient = hypothesis.settings(deadline=None, max_examples=50)

KINECT = find_layout("kinect20")
PLAIN = PointSettings()
CLASSES = ("lower", "raise")
WILD = PointAugment(
    crop=0.6,
    speed=0.5,
    warp=0.8,
    scale=0.2,
    stretch=0.2,
    turn=40,
    tilt=20,
    noise=0.05,
    drift=0.05,
    drop_points=0.2,
    drop_parts=0.2,
    drop_frames=0.2,
)


def walk(frames: int = 12, seed: int = 0, unseen: float = 0.0) -> np.ndarray:
    """A kinect20 body that sways about a place: float32 [T,20,3]."""
    rng = np.random.default_rng(seed)
    body = rng.normal(size=(1, 20, 3))
    sway = 0.3 * rng.normal(size=(frames, 20, 3)).cumsum(0)
    points = (body + sway + [2.0, 1.0, 3.0]).astype(np.float32)
    points[rng.random((frames, 20)) < unseen] = np.nan
    return points


def write_points(root: Path, counts: dict[str, int]) -> Path:
    """Clips of one hand that rises or falls, as `.npz` with a manifest; of differing lengths and gaps."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    rows = ["clip,split,group,label,points"]
    for split, count in counts.items():
        for number in range(count):
            label = CLASSES[number % 2]
            frames = int(rng.integers(1 if number == 4 else 6, 20))
            points = walk(1, seed=7).repeat(frames, 0) + rng.normal(0, 0.02, (frames, 20, 3))
            way = np.linspace(-1, 1, frames) * (1 if label == "raise" else -1)
            points[:, 11, 1] += way
            points[rng.random((frames, 20)) < 0.05] = np.nan
            clip = f"{split}-{number:02d}"
            np.savez(root / f"{clip}.npz", points=points.astype(np.float32))
            rows.append(f"{clip},{split},{split}-{number % 3},{label},{clip}.npz")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (root / "dataset.json").write_text(
        '{"streams": {"points": {"layout": "kinect20", "fps": 30}}, "mirror": {"label": {}}}', "utf-8"
    )
    return root


def point_recipe(**sections: Any) -> Recipe:
    tree = {
        "model": {"kind": "keypoint_transformer", "width": 16, "depth": 1, "heads": 2},
        "schedule": {"kind": "one_cycle"},
        "train": {"epochs": 2, "batch": 8, "workers": 0, "device": "cpu"},
    }
    return recipes.resolve({**tree, **sections}, "tiny", name="tiny")


def preprocessing(**clip: object) -> Preprocessing:
    settings = ClipSettings(**{"streams": ("points",), "frames": 8, **clip})
    return Preprocessing(settings, {"points": StreamInfo("points", "kinect20", 30.0)})


# --- bringing to a length --------------------------------------------------------------------------


def test_points_at_the_frames_themselves_are_the_points() -> None:
    points, times = walk(unseen=0.2), np.arange(12) / 30
    points[np.isnan(points).any(-1)] = np.nan
    np.testing.assert_array_equal(resample(points, times, times), points)


@patient
@given(frames=st.integers(1, 40), want=st.integers(1, 40), seed=st.integers(0, 99), unseen=st.floats(0, 1))
def test_resampled_points_lie_among_those_that_were_seen(
    frames: int, want: int, seed: int, unseen: float
) -> None:
    points, times = walk(frames, seed, unseen), np.arange(frames) / 30
    found = resample(points, times, moments_of(times, want, "stretch"))
    assert found.shape == (want, 20, 3)
    for row in range(20):
        known = points[:, row][~np.isnan(points[:, row]).any(1)]
        seen = found[:, row][~np.isnan(found[:, row]).any(1)]
        if len(seen):
            assert (seen >= known.min(0) - 1e-4).all()
            assert (seen <= known.max(0) + 1e-4).all()
        if not len(known):
            assert not len(seen)


def test_a_gap_is_not_bridged() -> None:
    points = walk(9)
    points[3:6, 2] = np.nan
    found = resample(points, np.arange(9) / 30, moments_of(np.arange(9) / 30, 25, "stretch"))
    lost = np.isnan(found[:, 2]).any(1)
    assert lost[8:17].all()  # nearer to a frame that did not see it
    assert not lost[:8].any()
    assert not lost[17:].any()


def test_a_clip_of_unsteady_rate_is_sampled_by_time() -> None:
    times = np.array([0.0, 0.1, 1.0])
    points = times[:, None, None] * np.ones((3, 1, 2), np.float32)
    found = resample(points.astype(np.float32), times, np.array([0.1, 0.55, 1.0]))
    np.testing.assert_allclose(found[:, 0, 0], [0.1, 0.55, 1.0], atol=1e-6)


@pytest.mark.parametrize("short", ["stretch", "pad"])
@pytest.mark.parametrize("frames", [1, 2, 8, 9, 500])
def test_clips_of_every_length_give_the_frames_that_the_model_takes(
    tmp_path: Path, frames: int, short: str
) -> None:
    np.save(tmp_path / "clip.npy", walk(frames))
    clip = Clip("clip", streams={"points": tmp_path / "clip.npy"})
    looks = preprocessing(points=PointSettings(short=short)).read(clip, Views(3, 2))["points"]
    assert looks.shape == (6, 8, 20, 3)
    there = ~np.isnan(looks).all((2, 3))
    assert (there.sum(1) == (min(frames, 8) if short == "pad" else 8)).all()
    assert (np.diff(there.astype(int), axis=1) <= 0).all()  # empty frames come last


def test_of_very_long_clips_a_bounded_number_of_frames_is_read() -> None:
    numbers = readable(np.arange(100_000) / 30, 8)
    assert len(numbers) == 256
    assert (numbers[0], numbers[-1]) == (0, 99_999)


# --- centring and scaling --------------------------------------------------------------------------


@patient
@given(seed=st.integers(0, 99), scale=st.floats(0.1, 50), shift=st.floats(-20, 20), unseen=st.floats(0, 0.9))
def test_size_and_place_of_a_body_do_not_matter(seed: int, scale: float, shift: float, unseen: float) -> None:
    points = walk(seed=seed, unseen=unseen)
    moved = (points.astype(np.float64) * scale + shift).astype(np.float32)
    one, other = normalise(points, KINECT, PLAIN), normalise(moved, KINECT, PLAIN)
    np.testing.assert_array_equal(np.isnan(one), np.isnan(points))
    np.testing.assert_allclose(one, other, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_can_be_centred_and_scaled(name: str) -> None:
    layout = find_layout(name)
    points = np.random.default_rng(0).normal(5, 1, (4, len(layout), 2)).astype(np.float32)
    found = normalise(points, layout, PLAIN)
    assert np.isfinite(found).all()
    assert np.abs(found).mean() < 5


def test_a_body_without_its_middle_is_centred_on_what_is_seen() -> None:
    points = walk()
    points[:, list(KINECT.origin)] = np.nan
    found = normalise(points, KINECT, PLAIN)
    assert abs(float(np.nanmean(found))) < 0.2
    np.testing.assert_array_equal(np.isnan(found), np.isnan(points))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("centre", ["clip", "frame", "none"])
def test_nothing_seen_stays_nothing(centre: str) -> None:
    nothing = np.full((3, 20, 3), np.nan, np.float32)
    assert np.isnan(normalise(nothing, KINECT, PointSettings(centre=centre))).all()


def test_points_all_in_one_place_are_finite() -> None:
    assert (normalise(np.full((3, 20, 3), 7, np.float32), KINECT, PLAIN) == 0).all()


def test_an_outlier_is_held() -> None:
    points = walk()
    points[0, 11] = 1e30
    assert np.abs(normalise(points, KINECT, PLAIN)).max() <= 10


# --- what is refused -------------------------------------------------------------------------------


def test_points_without_a_layout_are_refused_with_the_next_step() -> None:
    with pytest.raises(DataError, match=r"dataset\.json"):
        Preprocessing(ClipSettings(streams=("points",)), {"points": StreamInfo("points")})


def test_a_sampling_that_leaves_frames_out_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"clip\.sampling"):
        preprocessing(sampling="segments")


def test_points_of_another_layout_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", walk()[:, :17])
    with pytest.raises(DataError, match="17 points; its layout kinect20 has 20"):
        preprocessing().read(Clip("clip", streams={"points": tmp_path / "clip.npy"}))


def test_flat_points_are_refused_where_depth_is_wanted(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", walk()[:, :, :2])
    clip = Clip("clip", streams={"points": tmp_path / "clip.npy"})
    with pytest.raises(DataError, match=r"clip\.points\.dims=2"):
        preprocessing().read(clip)
    flat = preprocessing(points=PointSettings(dims=2))
    assert flat.inputs == {"points": (8, 20, 2)}
    assert flat.read(clip)["points"].shape == (1, 8, 20, 2)


# --- augmentation ----------------------------------------------------------------------------------


def test_where_nothing_is_drawn_training_sees_what_evaluation_sees(tmp_path: Path) -> None:
    manifest = read_manifest(write_points(tmp_path / "data", {"train": 6}))
    for short in ("stretch", "pad"):
        seen = preprocessing(points=PointSettings(short=short))
        training = TrainingClips(manifest, seen, AugmentSettings(), seed=0)
        evaluation = EvaluationClips(manifest, seen, Views())
        for number in range(6):
            trained = training[Place(number, epoch=2, position=number)].streams["points"]
            np.testing.assert_array_equal(trained, evaluation[Place(number)].streams["points"][0])


@patient
@given(seed=st.integers(0, 999), frames=st.integers(1, 30), unseen=st.floats(0, 1), flip=st.booleans())
def test_what_was_not_seen_is_never_invented(seed: int, frames: int, unseen: float, flip: bool) -> None:
    points = walk(frames, seed, unseen)
    drawn = draw_points(AugmentSettings(points=WILD, rotate=20), np.random.default_rng(seed), flip)
    found = alter(points, drawn, KINECT, WILD)
    lost = np.isnan(points).any(-1)
    assert np.isnan(found[lost[:, KINECT.mirror_order] if flip else lost]).all()
    assert np.isnan(found).any(-1)[np.isnan(found).all(-1)].all()
    assert not np.isinf(found).any()


@patient
@given(seed=st.integers(0, 999), frames=st.integers(1, 60), short=st.sampled_from(["stretch", "pad"]))
def test_drawn_moments_stay_inside_the_clip_in_their_order(seed: int, frames: int, short: str) -> None:
    times = 3.0 + np.arange(frames) / 30
    drawn = draw_points(AugmentSettings(points=WILD), np.random.default_rng(seed), False)
    found = drawn_moments(times, 16, short, drawn)
    assert 1 <= len(found) <= 16
    assert (np.diff(found) >= 0).all()
    assert times[0] - 1e-9 <= found[0]
    assert found[-1] <= times[-1] + 1e-9


def test_a_mirror_undoes_itself() -> None:
    points = normalise(walk(unseen=0.1), KINECT, PLAIN)
    drawn = draw_points(AugmentSettings(), np.random.default_rng(0), True)
    once = alter(points, drawn, KINECT, PointAugment())
    assert not np.array_equal(once, points, equal_nan=True)
    np.testing.assert_array_equal(alter(once, drawn, KINECT, PointAugment()), points)


def test_turning_keeps_distances() -> None:
    points = walk()
    drawn = draw_points(
        AugmentSettings(points=PointAugment(turn=90, tilt=90), rotate=90), np.random.default_rng(1), False
    )
    found = alter(points, drawn, KINECT, PointAugment())
    before = np.linalg.norm(points[:, 3] - points[:, 11], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found[:, 3] - found[:, 11], axis=-1), before, rtol=1e-4)


def test_classes_with_a_side_change_with_the_mirror(tmp_path: Path) -> None:
    root = write_points(tmp_path / "data", {"train": 4})
    text = (
        '{"streams": {"points": {"layout": "kinect20", "fps": 30}}, "mirror": {"label": {"lower": "raise"}}}'
    )
    (root / "dataset.json").write_text(text, "utf-8")
    manifest = read_manifest(root)
    clips = TrainingClips(manifest, preprocessing(), AugmentSettings(flip=1.0), seed=0)
    assert clips.may_flip
    drawn = [clips[Place(number)].targets["label"] for number in range(4)]
    assert drawn == [1 - number for number in manifest.targets("label").tolist()]


def test_a_layout_without_pairs_is_never_mirrored(tmp_path: Path) -> None:
    manifest = read_manifest(write_points(tmp_path / "data", {"train": 4}))
    one_arm = Preprocessing(
        ClipSettings(streams=("points",), frames=8), {"points": StreamInfo("points", "sign87")}
    )
    assert not TrainingClips(manifest, one_arm, AugmentSettings(flip=1.0, flip_is_harmless=True), 0).may_flip


def test_origin_and_unit_of_a_layout_are_checked() -> None:
    with pytest.raises(DataError, match="origin"):
        declare("mine", ["a", "b"], origin=["c"])
    with pytest.raises(DataError, match="unit"):
        declare("mine", ["a", "b"], unit=[("a", "a")])


# --- MixUp -----------------------------------------------------------------------------------------


@patient
@given(seed=st.integers(0, 999), unseen=st.floats(0, 1), share=st.floats(0, 1, width=32))
def test_mixup_takes_the_mean_of_what_both_saw_and_else_what_one_saw(
    seed: int, unseen: float, share: float
) -> None:
    own, partners = (torch.from_numpy(walk(5, seed + n, unseen))[None] for n in range(2))
    plan = MixPlan("mixup", np.zeros(1, np.int64), np.array([share]), np.zeros((1, 2)), np.zeros(1, np.int64))
    mixed = mix_points(plan, own, partners)
    assert fill(own[0].numpy(), 5).shape == mixed[0].shape
    if share == 1:
        torch.testing.assert_close(mixed, own, equal_nan=True)
        return
    both = ~own.isnan() & ~partners.isnan()
    torch.testing.assert_close(
        mixed[both], (share * own + (1 - share) * partners)[both], rtol=1e-3, atol=1e-3
    )
    alone = ~own.isnan() & partners.isnan()
    torch.testing.assert_close(mixed[alone], own[alone])
    theirs = own.isnan() & ~partners.isnan()
    torch.testing.assert_close(mixed[theirs], partners[theirs])
    assert torch.equal(mixed.isnan(), own.isnan() & partners.isnan())


@patient
@given(seed=st.integers(0, 999), unseen=st.floats(0, 1), share=st.floats(0, 1, width=32))
def test_mixup_may_show_what_the_main_clip_shows_alone(seed: int, unseen: float, share: float) -> None:
    own, partners = (torch.from_numpy(walk(5, seed + n, unseen))[None] for n in range(2))
    own[:, 3:] = torch.nan  # the clip is over
    plan = MixPlan("mixup", np.zeros(1, np.int64), np.array([share]), np.zeros((1, 2)), np.zeros(1, np.int64))
    mixed = mix_points(plan, own, partners, "main")
    main = own if share >= 0.5 else partners
    assert torch.equal(mixed.isnan(), main.isnan())
    seen_by_both = ~own.isnan() & ~partners.isnan()
    either = mix_points(plan, own, partners)
    assert torch.equal(mixed[seen_by_both], either[seen_by_both])


# --- from end to end -------------------------------------------------------------------------------


def test_points_are_trained_judged_predicted_and_reported(tmp_path: Path) -> None:
    data = write_points(tmp_path / "data", {"train": 16, "test": 6})
    recipe = point_recipe(
        clip={"streams": ["points"], "frames": 8, "points": {"short": "pad"}},
        augment={"mixup": 0.2, "points": {"noise": 0.02, "drop_points": 0.1, "speed": 0.2}},
    )
    run = train(recipe, str(data), tmp_path / "run", say=lambda _line: None)
    table = read(run.predictions("test"))
    recognizer = mudra.load(run.path)
    for number, clip in enumerate(table.clips):
        file = data / f"{clip}.npz"
        chances = {ranked.name: ranked.probability for ranked in recognizer.predict(file).tasks["label"]}
        own = np.exp(table.tasks["label"].log_probabilities[number])
        np.testing.assert_allclose([chances[name] for name in CLASSES], own, atol=1e-5)
        again = recognizer.predict(np.load(file)["points"])
        assert again.probability == pytest.approx(max(own), abs=1e-5)
    assert read_bundle(run.bundle).preprocessing.settings.points.short == "pad"
    assert write_report(run.path).is_file()


def test_an_array_that_holds_no_points_is_told_in_one_line(tmp_path: Path) -> None:
    data = write_points(tmp_path / "data", {"train": 8, "test": 2})
    recipe = point_recipe(clip={"streams": ["points"]})
    recognizer = mudra.load(train(recipe, str(data), tmp_path / "run", say=lambda _line: None).path)
    for wrong in (np.zeros((4, 4, 3), np.uint8), np.zeros((0, 20, 3), np.float32), walk()[:, :7]):
        with pytest.raises(DataError) as told:
            recognizer.predict(wrong)
        assert "\n" not in str(told.value)
