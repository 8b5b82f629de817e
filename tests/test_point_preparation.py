"""Points prepared by part, by clip and by what the detector was sure of; awkward clips from the file to the answer."""

from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mudra.clips.layouts import find_layout
from mudra.clips.points import by_part, clean, closed_up, finish, normalise, seen, standardised
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.errors import DataError, RecipeError
from mudra.models.keypoint_transformer import KeypointTransformer, KeypointTransformerSettings
from mudra.sections import ClipSettings, PointSettings
from mudra.types import Clip, Stream, StreamInfo

patient = hypothesis.settings(deadline=None, max_examples=40)

SIGN, KINECT = find_layout("sign92"), find_layout("kinect20")
HANDS = ("left_hand", "right_hand")
PARTED = PointSettings(dims=2, by="part")


def signer(frames: int, seed: int = 0, unseen: float = 0.0) -> np.ndarray:
    """Lips, hands and arms that sway, in shares of a picture: float32 [T,92,2]."""
    rng = np.random.default_rng(seed)
    points = 0.5 + 0.1 * rng.normal(size=(1, 92, 2)) + 0.01 * rng.normal(size=(frames, 92, 2)).cumsum(0)
    points[rng.random((frames, 92)) < unseen] = np.nan
    return points.astype(np.float32)


def without(points: np.ndarray, frames: Any, parts: tuple[str, ...] = HANDS) -> np.ndarray:
    """The same points; in some frames some parts are not seen."""
    points = points.copy()
    for part in parts:
        for row in SIGN.parts[part]:
            points[frames, row] = np.nan
    return points


def stream_of(points: np.ndarray, score: np.ndarray | None = None) -> Stream:
    return Stream("points", points, np.arange(len(points)) / 10, score)


def preparing(layout: str = "sign92", frames: int = 12, **points: Any) -> Preprocessing:
    settings = ClipSettings(streams=("points",), frames=frames, points=PointSettings(**{"dims": 2, **points}))
    return Preprocessing(settings, {"points": StreamInfo("points", layout, 10.0)})


# --- frames without hands --------------------------------------------------------------------------


def test_frames_without_hands_are_dropped_and_time_closes_up() -> None:
    points = without(signer(8), [0, 3, 4])
    settings = PointSettings(dims=2, drop_frames_without=HANDS)
    found = clean(stream_of(points), SIGN, settings)
    np.testing.assert_array_equal(found.values, points[[1, 2, 5, 6, 7]])
    np.testing.assert_allclose(found.times, [0.1, 0.2, 0.3, 0.4, 0.5])


def test_one_hand_is_enough_and_one_point_of_it() -> None:
    points = without(signer(4), [0, 1])
    points[1, SIGN.parts["right_hand"][7]] = 0.5
    found = clean(stream_of(points), SIGN, PointSettings(dims=2, drop_frames_without=HANDS))
    np.testing.assert_array_equal(found.values, points[1:])
    only_left = clean(stream_of(points), SIGN, PointSettings(dims=2, drop_frames_without=("left_hand",)))
    np.testing.assert_array_equal(only_left.values, points[2:])


def test_a_clip_that_never_shows_a_hand_stays_as_it_is() -> None:
    stream = stream_of(without(signer(5), slice(None)))
    assert clean(stream, SIGN, PointSettings(dims=2, drop_frames_without=HANDS)) is stream


@patient
@given(seed=st.integers(0, 999), frames=st.integers(1, 20), share=st.floats(0, 1))
def test_closed_up_times_keep_each_frames_distance_from_the_one_before(
    seed: int, frames: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    times = rng.uniform(0, 0.1, frames).cumsum()
    kept = rng.random(frames) < share
    stream = Stream(
        "points", signer(frames), times, np.arange(frames * 92.0, dtype=np.float32).reshape(frames, 92)
    )
    found = closed_up(stream, kept)
    if not kept.any():
        kept[:] = True
    assert found.score is not None
    np.testing.assert_array_equal(found.score[:, 0] / 92, np.flatnonzero(kept))
    assert found.times[0] == times[kept][0]
    np.testing.assert_allclose(np.diff(found.times), np.diff(times, prepend=0.0)[kept][1:], atol=1e-12)


@pytest.mark.parametrize(
    ("layout", "part", "words"),
    [
        ("sign92", "left_hands", r"Did you mean 'left_hand'\?"),
        ("kinect20", "left_hand", "kinect20 of 'points' has the parts spine, left_arm"),
        ("natops8", "lips", "has the parts left_arm, right_arm"),
    ],
)
def test_a_part_that_the_layout_lacks_is_told_before_a_clip_is_read(
    layout: str, part: str, words: str
) -> None:
    with pytest.raises(RecipeError, match=words) as told:
        preparing(layout, drop_frames_without=(part,))
    assert "\n" not in str(told.value)


def test_time_does_not_close_up_in_one_of_several_streams() -> None:
    settings = ClipSettings(streams=("points", "video"), points=PointSettings(drop_frames_without=HANDS))
    streams = {"points": StreamInfo("points", "sign92", 10.0), "video": StreamInfo("video")}
    with pytest.raises(RecipeError, match="beside 2 streams"):
        Preprocessing(settings, streams)


# --- the detector's confidence ---------------------------------------------------------------------


def test_points_of_which_the_detector_was_not_sure_are_not_seen(tmp_path: Path) -> None:
    points, score = signer(6), np.full((6, 92), 0.9, np.float32)
    score[2, 50], score[3, 60] = 0.3, np.nan
    np.savez(tmp_path / "clip.npz", points=points, score=score)
    clip = Clip("clip", streams={"points": tmp_path / "clip.npz"})
    found = preparing(min_score=0.5).read_track(clip, "points")
    assert np.argwhere(~seen(found.values)).tolist() == [[2, 50], [3, 60]]
    all_seen = preparing().read_track(clip, "points")
    np.testing.assert_array_equal(all_seen.values, points)


def test_hands_of_which_the_detector_was_not_sure_do_not_hold_a_frame(tmp_path: Path) -> None:
    score = np.ones((6, 92), np.float32)
    score[:2, 40:82] = 0.1
    np.savez(tmp_path / "clip.npz", points=signer(6), score=score)
    clip = Clip("clip", streams={"points": tmp_path / "clip.npz"})
    found = preparing(min_score=0.5, drop_frames_without=HANDS).read_track(clip, "points")
    assert len(found.times) == 4


def test_a_file_without_a_score_is_told_where_one_is_needed(tmp_path: Path) -> None:
    np.savez(tmp_path / "clip.npz", points=signer(6))
    clip = Clip("clip", streams={"points": tmp_path / "clip.npz"})
    with pytest.raises(DataError, match=r"clip 'clip'.*min_score"):
        preparing(min_score=0.5).read(clip)


# --- by part ---------------------------------------------------------------------------------------


@patient
@given(seed=st.integers(0, 999), unseen=st.floats(0, 0.95), frames=st.integers(1, 9))
def test_by_part_neither_place_nor_size_of_a_part_matters(seed: int, unseen: float, frames: int) -> None:
    points = normalise(signer(frames, seed, unseen), SIGN, PARTED)
    rng = np.random.default_rng(seed)
    moved = points.copy()
    for rows in SIGN.parts.values():
        path = rng.normal(size=(frames, 1, 2))  # its place in every frame
        moved[:, list(rows)] = moved[:, list(rows)] * rng.uniform(0.5, 2) + path
    one, other = by_part(points, SIGN, PARTED), by_part(moved, SIGN, PARTED)
    np.testing.assert_array_equal(np.isnan(one), np.isnan(points))
    np.testing.assert_allclose(one, other, atol=2e-3, rtol=2e-3)


@pytest.mark.filterwarnings("error")
def test_a_part_without_a_size_is_only_moved() -> None:
    points = np.full((4, 92, 2), np.nan, np.float32)
    points[:, 40] = [[1, 2], [3, 4], [5, 6], [7, 8]]  # one point of the left hand
    points[:, 61:82] = 0.7  # the right hand, all in one place
    found = by_part(points, SIGN, PARTED)
    assert (found[:, 40] == 0).all()
    assert np.abs(found[:, 61:82]).max() < 1e-5
    np.testing.assert_array_equal(np.isnan(found), np.isnan(points))
    assert np.isnan(by_part(np.full_like(points, np.nan), SIGN, PARTED)).all()


def test_both_give_the_place_on_the_body_and_within_the_part() -> None:
    points = normalise(signer(7, unseen=0.2), SIGN, PARTED)
    both = finish(points, SIGN, PointSettings(dims=2, by="both"))
    np.testing.assert_array_equal(both[..., :2], points)
    np.testing.assert_array_equal(both[..., 2:], by_part(points, SIGN, PARTED))
    assert preparing(by="both").inputs == {"points": (12, 92, 4)}
    assert preparing(by="part").inputs == {"points": (12, 92, 2)}


def test_a_hand_keeps_its_opening_and_closing() -> None:
    """The unit is the clip's: a hand that opens grows."""
    points = signer(1).repeat(5, 0)
    hand = list(SIGN.parts["left_hand"])
    middle = points[:, hand].mean(1, keepdims=True)
    points[:, hand] = middle + (points[:, hand] - middle) * np.linspace(0.5, 1.5, 5)[:, None, None]
    found = by_part(points, SIGN, PARTED)[:, hand]
    np.testing.assert_allclose(
        found[:, 3] / found[2:3, 3], np.linspace(0.5, 1.5, 5)[:, None].repeat(2, 1), rtol=1e-3
    )


# --- by clip ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@patient
@given(seed=st.integers(0, 999), unseen=st.floats(0, 1), frames=st.integers(1, 30))
def test_standardised_coordinates_have_mean_0_and_deviation_1(seed: int, unseen: float, frames: int) -> None:
    points = signer(frames, seed, unseen)
    points[:, 5] = 0.25  # which does not move
    found = standardised(points, 100.0)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(points).any(-1, keepdims=True).repeat(2, 2))
    for row in range(92):
        shown = found[:, row][seen(found)[:, row]].astype(np.float64)
        if len(shown):
            np.testing.assert_allclose(shown.mean(0), 0, atol=1e-4)
        if len(shown) > 2 and row != 5:
            np.testing.assert_allclose(shown.std(0), 1, atol=1e-3)
    assert (found[:, 5] == 0).all()


def test_a_limit_of_ones_own_holds_outliers() -> None:
    points = signer(40)
    points[3, 50] = 9.0
    settings = PointSettings(dims=2, standardise="clip", limit=5)
    found = finish(normalise(points, SIGN, settings), SIGN, settings)
    assert np.abs(found).max() == 5
    assert np.abs(normalise(points, SIGN, PointSettings(dims=2, limit=2))).max() == 2


# --- awkward clips, from the file to the answer ----------------------------------------------------

PREPARATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pad": {"short": "pad", "centre": "frame"},
    "raw": {"centre": "none", "scale": "none"},
    "raw size": {"centre": "none"},
    "hands": {"drop_frames_without": HANDS, "short": "pad"},
    "part": {"by": "part", "drop_frames_without": HANDS},
    "both": {"by": "both", "standardise": "clip", "limit": 5},
    "all": {
        "by": "both",
        "standardise": "clip",
        "short": "pad",
        "scale": "none",
        "drop_frames_without": HANDS,
    },
}


def awkward(kind: str) -> np.ndarray:
    points = signer(9)
    if kind == "all NaN":
        points[:] = np.nan
    elif kind == "one frame":
        points = points[:1]
    elif kind == "one empty frame":
        points = points[:1] * np.float32(np.nan)
    elif kind == "no hands":
        points = without(points, slice(None))
    elif kind == "hands in one frame":
        points = without(points, slice(1, None))
    elif kind == "hands alone":
        points = without(points, slice(None), ("lips", "pose"))
    elif kind == "one point":
        points[:, 1:] = np.nan
    elif kind == "one point in one frame":
        points[:], points[4, 50] = np.nan, 0.5
    elif kind == "half a point":
        points[..., 1] = np.nan
    elif kind == "one place":
        points[:] = 0.5
    elif kind == "huge":
        points *= np.float32(3e38)
    elif kind == "tiny":
        points *= np.float32(1e-44)
    elif kind == "long":
        points = signer(1500, unseen=0.5)
    return points


AWKWARD = (
    "all NaN", "one frame", "one empty frame", "no hands", "hands in one frame", "hands alone", "one point",
    "one point in one frame", "half a point", "one place", "huge", "tiny", "long",
)  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("prepared", PREPARATIONS)
@pytest.mark.parametrize("kind", AWKWARD)
def test_every_clip_has_an_answer(tmp_path: Path, kind: str, prepared: str) -> None:
    np.savez(tmp_path / "clip.npz", points=awkward(kind))
    seeing = preparing(**PREPARATIONS[prepared])
    looks = seeing.read(Clip("clip", streams={"points": tmp_path / "clip.npz"}), Views(2, 1))["points"]
    assert looks.shape == (2, *seeing.inputs["points"])
    assert not np.isinf(looks).any()
    np.testing.assert_array_equal(np.isnan(looks).any(-1), np.isnan(looks).all(-1))
    torch.manual_seed(0)
    settings = KeypointTransformerSettings(width=16, depth=1, heads=2)
    model = KeypointTransformer(settings, seeing.inputs, {"label": 3}).eval()
    with torch.no_grad():
        logits = model({"points": torch.from_numpy(looks)})["label"]
    assert torch.isfinite(logits).all()


def test_what_can_not_be_points_is_told_in_one_line(tmp_path: Path) -> None:
    hand = np.zeros((4, 21, 2), np.float32)
    infinite = hand.copy()
    infinite[1, 2, 0] = np.inf
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "20 points": (
            {"points": hand[:, :20], "score": np.ones((4, 20))},
            "20 points; its layout hand21 has 21",
        ),
        "infinite": ({"points": infinite}, "holds inf"),
        "objects": ({"points": np.array([[["a", 1]]], object)}, "Python objects"),
        "words": ({"points": np.full((4, 21, 2), "x")}, "of type <U1"),
        "complex": ({"points": hand.astype(complex)}, "of type complex128"),
        "one axis": ({"points": hand[0]}, r"expected \[T,K,C\]"),
        "no frames": ({"points": hand[:0]}, "holds nothing"),
        "four coordinates": ({"points": np.zeros((4, 21, 4))}, "C is 2 or 3"),
        "score": ({"points": hand, "score": np.zeros((4, 20))}, "score of shape"),
        "other name": ({"point": hand}, "Did you mean 'point'"),
    }
    seeing = preparing("hand21", min_score=0.5, by="both", standardise="clip")
    for name, (arrays, words) in wrong.items():
        file = tmp_path / f"{name}.npz"
        np.savez(file, **({"score": np.ones((4, 21))} | arrays))
        with pytest.raises(DataError, match=words) as told:
            seeing.read(Clip(name, streams={"points": file}))
        assert "\n" not in str(told.value)
        assert name in str(told.value)
