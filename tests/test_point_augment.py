"""What training does to points: no option invents a point, empties a clip or shifts another option's numbers."""

from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudra.clips.kept import Kept
from mudra.clips.layouts import declare, find_layout, mirror_points
from mudra.clips.loader import EvaluationClips, Place, TrainingClips
from mudra.clips.manifest import read_manifest
from mudra.clips.point_augment import alter, draw_points, moments
from mudra.clips.point_faults import STRETCH, poorly_tracked
from mudra.clips.point_shapes import drawn_bones, reshaped, with_bones
from mudra.clips.points import moments_of, normalise, resample, seen
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.errors import DataError, RecipeError
from mudra.sections import AugmentSettings, ClipSettings, PointAugment, PointSettings
from mudra.types import Clip, Stream, StreamInfo
from tests.test_points import KINECT, PLAIN, WILD, walk

patient = hypothesis.settings(deadline=None, max_examples=40)

SIGN = find_layout("sign92")
SHAPES = {
    "bones": 0.3,
    "part_scale": 0.3,
    "part_turn": 40.0,
    "part_shift": 0.2,
    "distort": 0.2,
    "shear": 0.3,
    "perspective": 0.3,
}
FAULTS = {
    "outliers": 0.1,
    "burst": 0.3,
    "lose_parts": 0.6,
    "swap_hands": 1.0,
    "drop_span": 0.5,
    "drop_axes": 0.5,
    "poor": 1.0,
}
NEW = SHAPES | FAULTS | {"slow": 0.5}
LAYOUTS = {
    "kinect20": KINECT,
    "sign92": SIGN,
    "hand21": find_layout("hand21"),
    "two": declare("two", ["a", "b"], bones=[("a", "b")]),
}


def body(layout: Any, frames: int, dims: int, seed: int = 0, unseen: float = 0.0) -> np.ndarray:
    """A body that sways, in body units: float32 [T,K,C]."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(1, len(layout), dims)) + 0.1 * rng.normal(
        size=(frames, len(layout), dims)
    ).cumsum(0)
    points[rng.random(points.shape[:2]) < unseen] = np.nan
    return points.astype(np.float32)


def altered(points: np.ndarray, layout: Any, how: PointAugment, seed: int = 0, flip: bool = False) -> Any:
    drawn = draw_points(AugmentSettings(points=how), np.random.default_rng(seed), flip)
    return alter(points, drawn, layout, how)


def possible(layout: Any) -> dict[str, float]:
    """The new options that a layout can have."""
    return {key: value for key, value in NEW.items() if key != "swap_hands" or "left_hand" in layout.parts}


# --- what no option does ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", LAYOUTS)
@patient
@given(
    seed=st.integers(0, 9999),
    frames=st.integers(1, 20),
    dims=st.sampled_from([2, 3]),
    unseen=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    option=st.sampled_from([*NEW, "all"]),
)
def test_no_option_invents_or_spoils_a_point(
    name: str, seed: int, frames: int, dims: int, unseen: float, option: str
) -> None:
    layout = LAYOUTS[name]
    chosen = possible(layout)
    chosen = chosen if option == "all" else {key: chosen[key] for key in chosen if key == option}
    points = body(layout, frames, dims, seed, unseen)
    before = points.copy()
    flip = bool(layout.pairs) and seed % 2 == 0
    found = altered(points, layout, PointAugment(**chosen), seed, flip)
    assert (found.shape, found.dtype) == (points.shape, np.float32)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(np.isnan(found).any(-1), np.isnan(found).all(-1))
    assert np.isfinite(found[seen(found)]).all()
    was = seen(points)[:, layout.mirror_order] if flip else seen(points)
    if "swap_hands" in chosen:  # a hand's points may be the other hand's
        left, right = (list(layout.parts[f"{side}_hand"]) for side in ("left", "right"))
        was[:, left] |= was[:, right]
        was[:, right] |= was[:, left]
    assert not (seen(found) & ~was).any()
    if was.any():
        assert seen(found).any()
    np.testing.assert_array_equal(altered(points, layout, PointAugment(**chosen), seed, flip), found)


@pytest.mark.parametrize("name", ["kinect20", "sign92"])
@patient
@given(seed=st.integers(0, 9999), option=st.sampled_from([*NEW]))
def test_no_option_shifts_the_draws_of_another(name: str, seed: int, option: str) -> None:
    layout = LAYOUTS[name]
    alone = PointAugment(**{key: value for key, value in possible(layout).items() if key == option})
    both = WILD.model_copy(update=alone.model_dump(include={option}))
    one, other = (
        draw_points(AugmentSettings(points=how), np.random.default_rng(seed), False) for how in (WILD, both)
    )
    for field in ("part", "speed", "bends", "noise", "drift", "seed"):
        assert getattr(one, field) == getattr(other, field)
    np.testing.assert_array_equal(one.matrix, other.matrix)
    points = body(layout, 24, 3, seed)
    hidden = [~seen(altered(points, layout, how, seed)) for how in (WILD, alone, both)]
    np.testing.assert_array_equal(hidden[0] | hidden[1], hidden[2])
    if option in SHAPES:
        shaky = PointAugment(noise=0.1, drift=0.1)
        noise = altered(points, layout, shaky, seed) - points
        shaped = altered(points, layout, shaky.model_copy(update=alone.model_dump(include={option})), seed)
        np.testing.assert_allclose(shaped - altered(points, layout, alone, seed), noise, atol=1e-4)


@patient
@given(seed=st.integers(0, 9999), one=st.sampled_from([*FAULTS]), other=st.sampled_from([*SHAPES]))
def test_of_two_new_options_each_does_what_it_does_alone(seed: int, one: str, other: str) -> None:
    points = body(SIGN, 24, 2, seed)
    first = altered(points, SIGN, PointAugment(**{other: NEW[other]}), seed)
    second = altered(first, SIGN, PointAugment(**{one: NEW[one]}), seed)
    together = altered(points, SIGN, PointAugment(**{one: NEW[one], other: NEW[other]}), seed)
    np.testing.assert_allclose(together, second, atol=1e-5)


def test_with_the_new_options_off_clips_are_drawn_as_ever() -> None:
    """Recipes that were tuned before these options existed keep their samples; the figures are from then."""
    then = [(16, 519, 220.4296, 0.4418791), (15, 630, 150.4182, -0.4671927), (11, 312, 109.0749, -0.0863135)]
    for seed, (count, hidden, size, one) in enumerate(then):
        times = np.arange(30) / 30
        drawn = draw_points(
            AugmentSettings(points=WILD, rotate=20), np.random.default_rng(seed), flip=seed == 1
        )
        at = moments(times, 16, "stretch", drawn)
        looks = normalise(resample(walk(30, seed, 0.1), times, at), KINECT, PLAIN)
        found = alter(looks, drawn, KINECT, WILD)
        assert (len(at), int(np.isnan(found).sum())) == (count, hidden)
        assert np.nansum(np.abs(found)) == pytest.approx(size, rel=1e-4)
        assert found[~np.isnan(found)][7] == pytest.approx(one, rel=1e-4)


# --- bodies and cameras ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kinect20", "sign92", "coco17", "hand21"])
def test_bones_change_their_length_and_keep_their_direction(name: str) -> None:
    layout, how = find_layout(name), PointAugment(bones=0.3)
    points = body(layout, 5, 3)
    change = drawn_bones(7, layout, how)
    found = with_bones(points, change, layout)
    hanging = set()
    for rows, parents in layout.levels:
        hanging |= set(rows.tolist())
        before, after = points[:, rows] - points[:, parents], found[:, rows] - found[:, parents]
        np.testing.assert_allclose(after, before * (1 + change[rows])[:, None], atol=1e-4)
    roots = [row for row in range(len(layout)) if row not in hanging]
    np.testing.assert_array_equal(found[:, roots], points[:, roots])
    assert set(layout.origin) <= set(roots)
    assert 0.2 < np.abs(change).max() <= 0.3


def test_both_sides_of_a_body_have_the_same_bones() -> None:
    change = drawn_bones(3, KINECT, PointAugment(bones=0.2))
    for left, right in KINECT.pairs:
        assert change[left] == change[right]
    assert len(set(change)) == 20 - len(KINECT.pairs)


@patient
@given(seed=st.integers(0, 999), unseen=st.floats(0, 1))
def test_what_hangs_from_an_unseen_point_follows_the_nearest_seen_one(seed: int, unseen: float) -> None:
    points = body(KINECT, 6, 3, seed, unseen)
    change = np.full(20, 0.1)  # every bone a tenth longer: the body grows from its hip
    found = with_bones(points, change, KINECT)
    np.testing.assert_array_equal(seen(found), seen(points))
    hip_seen = seen(points)[:, 0]
    grown = points[:, :1] + 1.1 * (points - points[:, :1])
    np.testing.assert_allclose(found[hip_seen], grown[hip_seen], atol=1e-4)


def test_bones_that_close_a_loop_are_left_out_and_others_have_a_root() -> None:
    ring = declare("ring", ["a", "b", "c", "d"], bones=[(0, 1), (1, 2), (2, 0)])
    assert [(rows.tolist(), above.tolist()) for rows, above in ring.levels] == [([1, 2], [0, 0])]
    assert declare("free", ["a", "b"]).levels == ()
    arm = {SIGN.points[row]: SIGN.points[above] for rows, aboves in SIGN.levels
           for row, above in zip(rows, aboves, strict=True)}  # fmt: skip
    assert arm["left_hand_wrist"] == "pose_left_wrist"
    assert arm["pose_left_wrist"] == "pose_left_elbow"
    assert "pose_left_elbow" not in arm


@patient
@given(seed=st.integers(0, 999), dims=st.sampled_from([2, 3]), unseen=st.floats(0, 0.8))
def test_a_part_is_turned_and_scaled_about_its_own_middle(seed: int, dims: int, unseen: float) -> None:
    points = body(SIGN, 4, dims, seed, unseen)
    found = reshaped(points, seed, SIGN, PointAugment(part_turn=60, part_scale=0.2))
    for rows in SIGN.parts.values():
        for before, after in zip(points[:, list(rows)], found[:, list(rows)], strict=True):
            known = seen(before[None])[0]
            if known.sum() < 2:
                continue
            np.testing.assert_allclose(after[known].mean(0), before[known].mean(0), atol=1e-4)
            sizes = [np.linalg.norm(x[known] - x[known].mean(0), axis=1) for x in (before, after)]
            ratio = sizes[1].sum() / sizes[0].sum()
            assert 0.79 < ratio < 1.21
            np.testing.assert_allclose(sizes[1], sizes[0] * ratio, atol=1e-4)


def test_a_shift_moves_a_part_as_a_whole_and_each_its_own_way() -> None:
    points = body(SIGN, 4, 2)
    moved = reshaped(points, 5, SIGN, PointAugment(part_shift=0.3)) - points
    ways = [moved[:, list(rows)] for rows in SIGN.parts.values()]
    for way in ways:
        np.testing.assert_allclose(way, np.broadcast_to(way[:1, :1], way.shape), atol=1e-5)
        assert np.abs(way).max() <= 0.3
    assert len({way[0, 0].tobytes() for way in ways}) == len(ways)


def test_a_distortion_moves_neighbours_alike() -> None:
    points = body(KINECT, 4, 3)
    near = points + np.float32(0.01)
    how = PointAugment(distort=0.3)
    sizes = []
    for seed in range(10):
        one, other = (reshaped(x, seed, KINECT, how) - x for x in (points, near))
        sizes.append(np.abs(one).max())
        assert np.abs(one - other).max() < 0.1 * sizes[-1]
    assert 0.2 < max(sizes) < 1.5


def test_a_turn_foreshortens_points_of_two_coordinates() -> None:
    points = body(KINECT, 4, 2)
    drawn = draw_points(AugmentSettings(points=PointAugment(turn=60)), np.random.default_rng(1), False)
    found = alter(points, drawn, KINECT, PointAugment())
    cosine = found[..., 0] / points[..., 0]
    assert 0.5 < cosine[0, 0] < 0.99
    np.testing.assert_allclose(cosine, cosine[0, 0], rtol=1e-4)
    np.testing.assert_allclose(found[..., 1], points[..., 1], atol=1e-5)


# --- detectors -------------------------------------------------------------------------------------


def longest(hidden: np.ndarray) -> int:
    """The longest run of True."""
    run = best = 0
    for one in hidden:
        run = run + 1 if one else 0
        best = max(best, run)
    return best


@patient
@given(seed=st.integers(0, 9999))
def test_a_part_is_lost_and_a_span_dropped_in_one_stretch(seed: int) -> None:
    frames = 40
    points = body(SIGN, frames, 2)
    found = altered(points, SIGN, PointAugment(lose_parts=0.5), seed)
    for rows in SIGN.parts.values():
        lost = ~seen(found)[:, list(rows)]
        assert (lost.all(1) == lost.any(1)).all()
        assert lost.any(1).sum() == longest(lost.any(1)) <= STRETCH * frames
    span = ~seen(altered(points, SIGN, PointAugment(drop_span=0.3), seed)).any(1)
    assert span.sum() == longest(span) <= 12


def test_the_one_frame_left_of_a_clip_is_never_lost() -> None:
    points = np.full((20, 92, 2), np.nan, np.float32)
    points[7, 45] = 0.5
    for seed in range(50):
        found = altered(points, SIGN, PointAugment(lose_parts=1.0, drop_span=0.9), seed)
        np.testing.assert_array_equal(found, points)


def test_hands_change_their_names_for_a_stretch() -> None:
    points = body(SIGN, 40, 2)
    found = altered(points, SIGN, PointAugment(swap_hands=1.0), 3)
    left, right = (list(SIGN.parts[f"{side}_hand"]) for side in ("left", "right"))
    swapped = (found[:, left] == points[:, right]).all((1, 2))
    assert 1 <= swapped.sum() == longest(swapped) <= STRETCH * 40
    np.testing.assert_array_equal(found[swapped][:, right], points[swapped][:, left])
    np.testing.assert_array_equal(found[~swapped], points[~swapped])
    others = [row for row in range(92) if row not in (*left, *right)]
    np.testing.assert_array_equal(found[:, others], points[:, others])


def test_outliers_are_as_many_as_asked_for_and_held() -> None:
    points = body(SIGN, 100, 2)
    found = altered(points, SIGN, PointAugment(outliers=0.05), 1)
    jumped = (found != points).any(-1)
    assert jumped.mean() == pytest.approx(0.05, abs=0.01)
    size = np.abs(found - points)[jumped]
    assert np.median(size) == pytest.approx(0.2, abs=0.05)
    assert size.max() > 2
    assert np.abs(found).max() <= 10


def test_along_a_dropped_axis_nothing_moves_and_along_another_all_does() -> None:
    points = body(KINECT, 12, 3, unseen=0.2)
    for seed in range(20):
        found = altered(points, KINECT, PointAugment(drop_axes=0.6), seed)
        moves = np.nanmax(found, 0) - np.nanmin(found, 0) > 1e-6  # [K,C]
        assert (moves == moves[:1]).all()
        assert moves[0].any()
        np.testing.assert_allclose(np.nanmean(found, 0), np.nanmean(points, 0), atol=1e-5)


def test_the_worst_of_skeletons_is_still_one() -> None:
    """A joint or two may all be lost by chance; then the clip stays as it was."""
    points = np.ones((4, 1, 3), np.float32)
    how = PointAugment(poor=1.0, poor_lost=0.99, poor_noise=0.1)
    assert all(seen(poorly_tracked(points, seed, how)).any() for seed in range(60))


def test_a_share_of_the_clips_is_tracked_badly_and_the_others_are_as_they_were() -> None:
    points = body(KINECT, 60, 3)
    how = PointAugment(poor=0.3, poor_lost=0.6, poor_noise=0.15)
    found = [altered(points, KINECT, how, seed) for seed in range(300)]
    poor = [x for x in found if not np.array_equal(x, points)]
    assert 60 < len(poor) < 120
    lost = np.array([np.isnan(x).any(-1).mean() for x in poor])
    assert lost.max() < 0.9
    assert 0.2 < lost.mean() < 0.4
    throughout = [bool((seen(x).all(0) | ~seen(x).any(0)).all()) for x in poor]
    assert 0.3 < np.mean(throughout) < 0.7
    moved = [np.nanstd(x - points) for x in poor]
    assert max(moved) < 0.16
    assert 0.05 < np.mean(moved) < 0.1


def test_a_burst_shakes_one_part_in_one_stretch() -> None:
    points = body(SIGN, 40, 2)
    shaken = (altered(points, SIGN, PointAugment(burst=0.3), 2) != points).any(-1)
    hit = [part for part, rows in SIGN.parts.items() if shaken[:, list(rows)].any()]
    assert len(hit) == 1
    assert 1 <= shaken.any(1).sum() == longest(shaken.any(1)) <= STRETCH * 40


# --- time ------------------------------------------------------------------------------------------


@patient
@given(seed=st.integers(0, 999), frames=st.integers(1, 60), short=st.sampled_from(["stretch", "pad"]))
def test_a_slower_clip_has_more_moments_where_there_is_room(seed: int, frames: int, short: Any) -> None:
    times = np.arange(frames) / 30
    settings = PointSettings(short=short)
    drawn = draw_points(
        AugmentSettings(points=PointAugment(slow=1.0)), np.random.default_rng(seed), flip=False
    )
    found = moments(times, 32, settings.short, drawn)
    even = moments_of(times, 32, short)
    assert len(even) <= len(found) <= min(32, 2 * len(even))
    assert (found[0], found[-1]) == (even[0], even[-1])
    if short == "pad" and 8 <= frames <= 15 and drawn.slow > 1.2:
        assert len(found) > len(even)


# --- clips of a data set ---------------------------------------------------------------------------


def sign_data(root: Path, clips: int = 4) -> Path:
    """Clips of two classes that are each other's mirror image, lips and arms included."""
    rows = ["clip,split,label,points"]
    for number in range(clips):
        side = ("left", "right")[number % 2]
        points = body(SIGN, 9, 2, number, 0.1)
        np.savez(root / f"{number}.npz", points=points)
        rows.append(f"c{number},train,wave {side},{number}.npz")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (root / "dataset.json").write_text(
        '{"streams": {"points": {"layout": "sign92", "fps": 30}}, "mirror": {"label": {"wave left": "wave right"}}}',
        "utf-8",
    )
    return root


def preparing(**points: Any) -> Preprocessing:
    settings = ClipSettings(streams=("points",), frames=12, points=PointSettings(dims=2, **points))
    return Preprocessing(settings, {"points": StreamInfo("points", "sign92", 30.0)})


def test_a_mirrored_sign_is_the_sign_of_the_mirrored_file(tmp_path: Path) -> None:
    manifest = read_manifest(sign_data(tmp_path))
    flipped = TrainingClips(manifest, preparing(), AugmentSettings(flip=1.0), seed=0)
    samples = [flipped[Place(number)] for number in range(4)]
    assert [sample.targets["label"] for sample in samples] == [1, 0, 1, 0]
    for number in range(4):
        file = tmp_path / f"{number}.npz"
        np.savez(file, points=mirror_points(np.load(file)["points"], SIGN, width=1.0))
    plain = EvaluationClips(manifest, preparing(), Views())
    for number, sample in enumerate(samples):
        expected = plain[Place(number)].streams["points"][0]
        np.testing.assert_allclose(sample.streams["points"], expected, atol=1e-4)


def test_what_a_layout_does_not_have_is_refused_at_the_start(tmp_path: Path) -> None:
    manifest = read_manifest(sign_data(tmp_path))
    kinect = Preprocessing(ClipSettings(streams=("points",)), {"points": StreamInfo("points", "kinect20")})
    with pytest.raises(RecipeError, match=r"augment\.points\.swap_hands.*kinect20"):
        TrainingClips(manifest, kinect, AugmentSettings(points=PointAugment(swap_hands=0.1)), 0)
    TrainingClips(manifest, preparing(), AugmentSettings(points=PointAugment(swap_hands=0.1, bones=0.1)), 0)


@pytest.mark.parametrize("by", ["part", "both"])
def test_training_prepares_by_part_what_it_has_altered(tmp_path: Path, by: str) -> None:
    manifest = read_manifest(sign_data(tmp_path))
    prepared = preparing(by=by, standardise="clip", drop_frames_without=("left_hand",), short="pad")
    training = TrainingClips(manifest, prepared, AugmentSettings(), 0)
    evaluation = EvaluationClips(manifest, prepared, Views())
    shifted = AugmentSettings(points=PointAugment(part_shift=0.5, part_scale=0.3))
    moved = TrainingClips(manifest, preparing(by=by), shifted, 0)
    for number in range(4):
        own = evaluation[Place(number)].streams["points"][0]
        np.testing.assert_array_equal(training[Place(number)].streams["points"], own)
        assert own.shape == prepared.inputs["points"]
        still = preparing(by=by).read(manifest[number])["points"][0]
        # where a part lies, and its size, are not part of its shape
        np.testing.assert_allclose(
            moved[Place(number)].streams["points"][..., -2:], still[..., -2:], atol=1e-3
        )


# --- what is kept in memory ------------------------------------------------------------------------


def test_kept_clips_are_read_once_and_look_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    manifest = read_manifest(sign_data(tmp_path))
    settings = AugmentSettings(points=WILD)
    keeping, reading = (TrainingClips(manifest, preparing(), settings, 0) for _ in range(2))
    reading.alteration.kept = Kept(room=0)
    reads = []
    original = Preprocessing.read_track
    monkeypatch.setattr(
        Preprocessing,
        "read_track",
        lambda self, clip, name: (reads.append(clip), original(self, clip, name))[1],
    )
    for epoch in range(3):
        for number in range(4):
            place = Place(number, epoch, number)
            np.testing.assert_array_equal(keeping[place].streams["points"], reading[place].streams["points"])
    assert len(reads) == 4 + 12


def test_a_clip_that_changes_is_read_again(tmp_path: Path) -> None:
    file, kept = tmp_path / "clip.npy", Kept()
    clip = Clip("clip", streams={"points": file})

    def read() -> Stream:
        return Stream("points", np.load(file), np.arange(3.0))

    for frames in (walk(3, 1), walk(3, 2)[:, :19]):
        np.save(file, frames)
        for _ in range(2):
            np.testing.assert_array_equal(kept.read(clip, "points", read).values, frames)
    with pytest.raises(ValueError, match="read-only"):
        kept.read(clip, "points", read).values[0] = 0


def test_kept_clips_have_a_bound(tmp_path: Path) -> None:
    kept, reads = Kept(room=3 * 20 * 3 * 4 + 24), []
    for number in range(2):
        (tmp_path / f"{number}.npy").touch()
    for number in (0, 1, 0, 1, 0):
        file = tmp_path / f"{number}.npy"

        def read(number: int = number) -> Stream:
            reads.append(number)
            return Stream("points", walk(3, number), np.arange(3.0))

        kept.read(Clip("clip", streams={"points": file}), "points", read)
    assert reads == [0, 1, 1]
    assert kept.room == 0


def test_a_clip_that_cannot_be_read_is_told_every_time(tmp_path: Path) -> None:
    manifest = read_manifest(sign_data(tmp_path))
    np.save(tmp_path / "0.npz", np.zeros(3))
    (tmp_path / "0.npz").write_bytes(b"no archive")
    (tmp_path / "1.npz").unlink()
    clips = TrainingClips(manifest, preparing(), AugmentSettings(), 0)
    for number in (0, 1):
        first, again = (clips[Place(number)].failure for _ in range(2))
        assert first == again != ""
    with pytest.raises(DataError):
        preparing().read_track(manifest[1], "points")
