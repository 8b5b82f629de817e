"""Clips and their targets are mixed alike, by draws that belong to the whole step."""

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mudra.errors import DataError, RecipeError
from mudra.sections import AugmentSettings, LossSettings
from mudra.training.losses import build_loss
from mudra.training.mixing import boxes, draw_mix, kept, mix, mix_video
from mudra.types import UNLABELLED

patient = hypothesis.settings(deadline=None)  # a busy machine is no failure

seeds = st.integers(0, 2**31)
sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))
MIXUP = AugmentSettings(mixup=0.8)
CUTMIX = AugmentSettings(cutmix=1.0)


def numbered(clips: int, height: int = 6, width: int = 8, frames: int = 3) -> Tensor:
    """Video [B,T,C,H,W] in which every pixel of clip i is i."""
    return torch.arange(clips, dtype=torch.float32)[:, None, None, None, None].expand(
        clips, frames, 3, height, width
    )


@patient
@given(seeds, st.sampled_from([MIXUP, CUTMIX]), st.integers(1, 9), sizes)
def test_targets_say_how_much_of_each_clip_is_in_the_picture(
    seed: int, settings: AugmentSettings, clips: int, size: tuple[int, int]
) -> None:
    """Clip i holds the number i everywhere and is of class i, so the mean pixel is the mean class."""
    video, soft = mix(
        {"video": numbered(clips, *size)}, {"label": torch.arange(clips)}, {"label": clips}, settings,
        np.random.default_rng(seed),
    )  # fmt: skip
    told = soft["label"] @ torch.arange(clips, dtype=torch.float32)
    torch.testing.assert_close(video["video"].mean((1, 2, 3, 4)), told, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(soft["label"].sum(1), torch.ones(clips))


@patient
@given(seeds, st.integers(2, 9), sizes)
def test_cutmix_pastes_one_box_the_same_in_all_frames(seed: int, clips: int, size: tuple[int, int]) -> None:
    height, width = size
    plan = draw_mix(CUTMIX, clips, np.random.default_rng(seed))
    own = numbered(clips, height, width)
    mixed = mix_video(plan, own, own[torch.from_numpy(plan.partner)])
    for clip, (top, bottom, left, right) in enumerate(boxes(plan, height, width)):
        told = torch.full((height, width), float(clip))
        told[top:bottom, left:right] = float(plan.partner[clip])
        assert torch.equal(mixed[clip], told.expand(3, 3, height, width))


@patient
@given(seeds, sizes)
def test_cutmix_boxes_lie_inside_and_are_as_large_as_drawn_unless_cut_by_the_border(
    seed: int, size: tuple[int, int]
) -> None:
    height, width = size[0] * 20, size[1] * 20
    plan = draw_mix(CUTMIX, 16, np.random.default_rng(seed))
    top, bottom, left, right = boxes(plan, height, width).T
    assert ((top >= 0) & (top <= bottom) & (bottom <= height)).all()
    assert ((left >= 0) & (left <= right) & (right <= width)).all()
    half = np.sqrt(1 - plan.share) / 2
    inside = ((plan.centre > half[:, None]) & (plan.centre < 1 - half[:, None])).all(1)
    really = kept(plan, height, width)
    slack = 1 / height + 1 / width + 1 / (height * width)
    assert (really >= plan.share - slack).all()
    assert (np.abs(really - plan.share)[inside] <= slack).all()


def test_mixup_blends_whole_clips_by_each_clips_own_share() -> None:
    plan = draw_mix(MIXUP, 5, np.random.default_rng(3))
    own = torch.randn(5, 2, 3, 4, 4)
    partners = own[torch.from_numpy(plan.partner)]
    share = torch.from_numpy(plan.share).float()[:, None, None, None, None]
    torch.testing.assert_close(mix_video(plan, own, partners), share * own + (1 - share) * partners)
    assert len(np.unique(plan.share)) == 5


@patient
@given(seeds, st.sampled_from([MIXUP, CUTMIX]), st.integers(1, 7))
def test_rows_mixed_apart_are_the_rows_mixed_together(
    seed: int, settings: AugmentSettings, stop: int
) -> None:
    """A rank that holds some rows and their partners gets what one process gets."""
    own = torch.randn(8, 2, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    target = torch.arange(8) % 3
    together, soft = mix(
        {"video": own}, {"label": target}, {"label": 3}, settings, np.random.default_rng(seed)
    )
    for rows in (np.arange(stop), np.arange(stop, 8)):
        rng = np.random.default_rng(seed)
        part, part_soft = mix({"video": own}, {"label": target}, {"label": 3}, settings, rng, rows=rows)
        assert torch.equal(part["video"], together["video"][rows])
        assert torch.equal(part_soft["label"], soft["label"][rows])


@patient
@given(seeds, st.sampled_from([MIXUP, CUTMIX]))
def test_what_is_mixed_with_an_unknown_class_is_unknown(seed: int, settings: AugmentSettings) -> None:
    verb = torch.tensor([0, UNLABELLED, 1, 2, 1, 0])
    noun = torch.tensor([1, 1, 0, 0, 1, 1])
    rng = np.random.default_rng(seed)
    _, soft = mix(
        {"video": numbered(6, 40, 40)}, {"verb": verb, "noun": noun}, {"verb": 3, "noun": 2}, settings, rng
    )
    plan = draw_mix(settings, 6, np.random.default_rng(seed))
    share = kept(plan, 40, 40)
    weight = build_loss(LossSettings(), {"verb": 3, "noun": 2}).weights(soft)
    for clip, partner in enumerate(plan.partner):
        unknown = clip == 1 or (partner == 1 and share[clip] < 1)
        assert soft["verb"][clip].sum().item() == pytest.approx(0 if unknown else 1)
    assert weight["noun"].item() == pytest.approx(6)
    assert weight["verb"].item() <= 5 + 1e-6


def test_a_step_drawn_not_to_be_mixed_is_left_alone() -> None:
    video = torch.randn(4, 2, 3, 5, 5)
    target = torch.tensor([2, 0, UNLABELLED, 1])
    settings = AugmentSettings(mixup=1.0, cutmix=1.0, mix_share=0.0)
    streams, soft = mix({"video": video}, {"label": target}, {"label": 3}, settings, np.random.default_rng(0))
    assert streams["video"] is video
    assert soft["label"].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0]]


def kinds(settings: AugmentSettings) -> dict[str, int]:
    names = [draw_mix(settings, 2, np.random.default_rng([7, step])).kind for step in range(1000)]
    return {name: names.count(name) for name in ("none", "mixup", "cutmix")}


def test_both_kinds_are_drawn_alike_and_as_often_as_mix_share_says() -> None:
    drawn = kinds(AugmentSettings(mixup=0.2, cutmix=1.0, mix_share=0.6))
    assert abs(drawn["none"] - 400) < 60
    assert abs(drawn["mixup"] - 300) < 60
    assert abs(drawn["cutmix"] - 300) < 60
    assert kinds(MIXUP) == {"none": 0, "mixup": 1000, "cutmix": 0}
    assert kinds(CUTMIX) == {"none": 0, "mixup": 0, "cutmix": 1000}
    assert kinds(AugmentSettings()) == {"none": 1000, "mixup": 0, "cutmix": 0}


def test_shares_follow_beta() -> None:
    shares = draw_mix(AugmentSettings(mixup=0.2), 20_000, np.random.default_rng(1)).share
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.01)  # of Beta(a, a)


@patient
@given(seeds)
def test_the_partners_are_a_permutation(seed: int) -> None:
    plan = draw_mix(MIXUP, 11, np.random.default_rng(seed))
    assert sorted(plan.partner) == list(range(11))


def test_the_draw_depends_on_the_generator_alone() -> None:
    video, target = torch.randn(6, 2, 3, 8, 8), torch.arange(6)
    once, again, other = (
        mix({"video": video}, {"label": target}, {"label": 6}, CUTMIX, np.random.default_rng(key))
        for key in ([5, 9], [5, 9], [5, 10])
    )
    assert torch.equal(once[0]["video"], again[0]["video"])
    assert torch.equal(once[1]["label"], again[1]["label"])
    assert not torch.equal(once[1]["label"], other[1]["label"])


def test_inputs_are_not_written_to() -> None:
    video = torch.randn(4, 2, 3, 6, 6)
    before = video.clone()
    for settings in (MIXUP, CUTMIX):
        mix({"video": video}, {"label": torch.arange(4)}, {"label": 4}, settings, np.random.default_rng(0))
        assert torch.equal(video, before)


def test_no_box_is_cut_out_of_points() -> None:
    points = {"points": torch.zeros(2, 4, 21, 3)}
    target, classes = {"label": torch.tensor([0, 1])}, {"label": 2}
    with pytest.raises(RecipeError, match="found the stream 'points'"):
        mix(points | {"video": torch.zeros(2, 4, 3, 8, 8)}, target, classes, CUTMIX, np.random.default_rng(0))
    streams, _ = mix(points, target, classes, AugmentSettings(), np.random.default_rng(0))
    assert streams["points"] is points["points"]


def test_points_and_pictures_of_a_clip_are_mixed_alike() -> None:
    values = torch.randn(4, 6, 5, 3)
    streams = {"points": values, "video": values[..., None].expand(-1, -1, -1, -1, 2)}
    settings = AugmentSettings(mixup=0.5, preceded=0.5)
    mixed, _ = mix(streams, {"label": torch.arange(4)}, {"label": 4}, settings, np.random.default_rng(0))
    torch.testing.assert_close(mixed["points"], mixed["video"][..., 0])
    assert not torch.equal(mixed["points"], values)


@patient
@given(seeds)
def test_cutmix_of_points_pastes_neighbours_and_the_target_counts_those_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = torch.arange(5.0)[:, None, None, None].expand(5, 6, 21, 3).clone()  # each its own number
    points[:, 1:][torch.from_numpy(rng.random((5, 5, 21)) < 0.4)] = torch.nan
    points[0] = torch.nan
    settings = AugmentSettings(cutmix=1.0)
    mixed, soft = mix({"points": points}, {"label": torch.arange(5)}, {"label": 5}, settings, rng)
    seen = ~mixed["points"].isnan().any(-1)
    for clip, target in enumerate(soft["label"]):
        shown = mixed["points"][clip, ..., 0][seen[clip]]
        if len(shown):
            torch.testing.assert_close(target, torch.bincount(shown.long(), minlength=5) / len(shown))
        theirs = [
            not torch.equal(mixed["points"][clip, :, row].nan_to_num(-1), points[clip, :, row].nan_to_num(-1))
            for row in range(21)
        ]
        assert np.abs(np.diff([0, *theirs, 0])).sum() <= 2  # one run
        assert target.sum() == pytest.approx(1)


def test_pictures_of_several_sizes_are_refused() -> None:
    streams = {"video": torch.zeros(2, 1, 3, 8, 8), "depth": torch.zeros(2, 1, 1, 4, 4)}
    with pytest.raises(RecipeError, match="expected one size"):
        mix(streams, {"label": torch.tensor([0, 1])}, {"label": 2}, CUTMIX, np.random.default_rng(0))


def test_a_class_number_outside_the_classes_is_an_error() -> None:
    with pytest.raises(DataError, match="found class number 2"):
        mix(
            {"video": torch.zeros(2, 1, 3, 4, 4)},
            {"label": torch.tensor([0, 2])},
            {"label": 2},
            MIXUP,
            np.random.default_rng(0),
        )


def test_what_comes_before_is_the_end_of_another_clip_and_the_class_stays() -> None:
    video = torch.arange(24.0).reshape(4, 6, 1, 1, 1).expand(4, 6, 3, 2, 2)
    target = torch.tensor([0, 1, 2, UNLABELLED])
    streams, soft = mix(
        {"video": video},
        {"label": target},
        {"label": 3},
        AugmentSettings(preceded=1.0),
        np.random.default_rng(3),
    )
    starts, ends = streams["video"][:, 0, 0, 0, 0].tolist(), [4.0, 10.0, 16.0, 22.0]
    own = [0.0, 6.0, 12.0, 18.0]
    assert all(start in (*ends, mine) for start, mine in zip(starts, own, strict=True))
    assert any(start in ends for start in starts)
    assert torch.equal(streams["video"][:, 2:], video[:, 2:])
    assert soft["label"].argmax(1)[:3].tolist() == [0, 1, 2]
    assert soft["label"][3].sum() == 0
