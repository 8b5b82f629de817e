"""A clip is altered once, as a whole; where nothing is drawn, training sees what evaluation sees."""

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from mudra.clips.augment import ERASE_RATIO, ERASE_SHARE, Draw, apply_video, draw
from mudra.clips.colour import LUMA, Colour, hue_matrix, paint, saturation_matrix
from mudra.clips.geometry import Geometry, take, take_points
from mudra.clips.pixels import normalise, resize, view_box
from mudra.sections import IMAGENET_MEAN, IMAGENET_STD, AugmentSettings

patient = hypothesis.settings(deadline=None)  # a busy machine is no failure

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and deviation that leave 0..1 as it is
EVERYTHING = AugmentSettings(
    crop=(0.4, 1.0),
    flip=0.5,
    rotate=20,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    grey=0.2,
    erase=0.5,
)
seeds = st.integers(0, 2**31)
sides = st.integers(8, 60)


def noise(seed: int = 0, frames: int = 3, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def drawn(settings: AugmentSettings, seed: int, height: int = 24, width: int = 32, out: int = 16) -> Draw:
    return draw(settings, np.random.default_rng(seed), height, width, out, may_flip=True)


def painted(frames: NDArray[np.uint8], **changes: float) -> NDArray[np.float64]:
    """Colours on the scale 0..255, [T,H,W,3], after a change."""
    return 255 * paint(frames, Colour(**changes), *PLAIN).transpose(0, 2, 3, 1).astype(np.float64)


# --- as a whole ---------------------------------------------------------------------------------


@patient
@given(seeds, sides, sides, st.integers(8, 40), st.sampled_from(["stretch", "crop"]))
def test_where_nothing_is_drawn_training_sees_evaluation_bit_for_bit(
    seed: int, height: int, width: int, out: int, mode: str
) -> None:
    frames = noise(seed, 2, height, width)
    view = view_box(height, width, mode)  # type: ignore[arg-type]
    nothing = draw(AugmentSettings(), np.random.default_rng(seed), height, width, out, True, view)
    ours = apply_video(frames, nothing, IMAGENET_MEAN, IMAGENET_STD)
    told = normalise(resize(frames, out, out, view), IMAGENET_MEAN, IMAGENET_STD)
    assert ours.dtype == np.float32
    assert np.array_equal(ours, told)


@patient
@given(seeds)
def test_frames_that_are_alike_stay_alike(seed: int) -> None:
    frames = np.repeat(noise(seed, 1), 4, axis=0)
    altered = apply_video(frames, drawn(EVERYTHING, seed), IMAGENET_MEAN, IMAGENET_STD)
    assert altered.shape == (4, 3, 16, 16)
    assert np.array_equal(altered, np.repeat(altered[:1], 4, axis=0))


@patient
@given(seeds)
def test_the_result_depends_on_the_generator_alone_and_inputs_are_not_written_to(seed: int) -> None:
    frames = noise(seed)
    before = frames.copy()
    first, second = drawn(EVERYTHING, seed), drawn(EVERYTHING, seed)
    assert first == second
    once = apply_video(frames, first, IMAGENET_MEAN, IMAGENET_STD)
    assert np.array_equal(once, apply_video(frames, second, IMAGENET_MEAN, IMAGENET_STD))
    assert np.array_equal(frames, before)
    same_size = draw(AugmentSettings(erase=1.0), np.random.default_rng(seed), 24, 24, 24, False)
    apply_video(frames[:, :, :24], same_size, IMAGENET_MEAN, IMAGENET_STD)
    assert np.array_equal(frames, before)


@patient
@given(seeds)
def test_one_setting_never_shifts_the_draws_of_another(seed: int) -> None:
    everything = drawn(EVERYTHING, seed)
    for key in ("crop", "flip", "brightness", "contrast", "saturation", "hue", "grey", "erase", "rotate"):
        off = drawn(EVERYTHING.model_copy(update={key: None if key == "crop" else 0.0}), seed)
        parts = [
            (everything.geometry.box, off.geometry.box, "crop"),
            (everything.geometry.angle, off.geometry.angle, "rotate"),
            (everything.flip, off.flip, "flip"),
            (everything.erase, off.erase, "erase"),
            *((getattr(everything.colour, k), getattr(off.colour, k), k) for k in Colour.__slots__),
        ]
        assert all(one == other for one, other, name in parts if name != key)


def test_draws_differ_from_clip_to_clip() -> None:
    assert len({drawn(EVERYTHING, seed) for seed in range(20)}) == 20


# --- crop, flip, rotation -----------------------------------------------------------------------


@patient
@given(seeds, sides, sides, st.floats(0.05, 0.9), st.floats(0.3, 1), st.floats(1, 3))
def test_a_crop_lies_inside_and_has_the_share_and_ratio_asked_for(
    seed: int, height: int, width: int, least: float, narrow: float, wide: float
) -> None:
    settings = AugmentSettings(crop=(least, 1.0), crop_ratio=(narrow, wide))
    left, top, right, bottom = drawn(settings, seed, height, width).geometry.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    across, down = right - left, bottom - top
    whole_side = across == pytest.approx(width) or down == pytest.approx(height)
    assert least <= across * down / (height * width) + 1e-9 or whole_side  # nothing fitted: the largest
    assert narrow * (1 - 1e-9) <= across / down <= wide * (1 + 1e-9)


@patient
@given(seeds, sides, sides)
def test_a_stretched_clip_is_cropped_in_its_own_aspect(seed: int, height: int, width: int) -> None:
    """Evaluation shows the whole frame as a square, so crops keep near the frame's ratio, not near 1."""
    settings, rng = AugmentSettings(crop=(0.2, 0.7), crop_ratio=(0.8, 1.25)), np.random.default_rng(seed)
    box = draw(settings, rng, height, width, 16, True, aspect=width / height).geometry.box
    across, down = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    assert 0.8 * (1 - 1e-9) <= across / down <= 1.25 * (1 + 1e-9)
    assert 0.2 * (1 - 1e-9) <= across * down <= 0.7 * (1 + 1e-9)


def test_crop_shares_and_ratios_are_spread_as_told() -> None:
    settings = AugmentSettings(crop=(0.1, 0.3), crop_ratio=(0.5, 2.0))
    boxes = np.array([drawn(settings, seed, 100, 100).geometry.box for seed in range(2000)])
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share = across * down / 1e4
    assert np.allclose(np.quantile(share, [0, 0.25, 0.5, 0.75, 1]), [0.1, 0.15, 0.2, 0.25, 0.3], atol=0.01)
    assert abs(np.log(across / down).mean()) < 0.03  # as often wide as high
    place = boxes[:, 0] / (100 - across), boxes[:, 1] / (100 - down)
    assert all(abs(np.median(p) - 0.5) < 0.05 and p.max() > 0.99 > 0.01 > p.min() for p in place)


def test_a_crop_that_cannot_fit_is_the_largest_about_the_centre() -> None:
    settings = AugmentSettings(crop=(1.0, 1.0), crop_ratio=(1.0, 1.0))
    assert drawn(settings, 0, 20, 50).geometry.box == (15, 0, 35, 20)
    assert drawn(settings, 0, 50, 20).geometry.box == (0, 15, 20, 35)


def test_a_flip_is_never_drawn_where_it_may_not_be() -> None:
    always = AugmentSettings(flip=1.0)
    assert all(draw(always, np.random.default_rng(s), 9, 9, 8, may_flip=True).flip for s in range(50))
    assert not any(draw(always, np.random.default_rng(s), 9, 9, 8, may_flip=False).flip for s in range(50))


def test_a_flip_is_drawn_as_often_as_told() -> None:
    for chance in (0.0, 0.3):
        flips = [drawn(AugmentSettings(flip=chance), seed).flip for seed in range(2000)]
        assert np.mean(flips) == pytest.approx(chance, abs=0.04)


@patient
@given(seeds, st.booleans())
def test_a_flipped_picture_is_the_mirrored_picture(seed: int, turned: bool) -> None:
    frames = noise(seed)
    angle = 17.0 if turned else 0.0
    upright = take(frames, Geometry(24, 32, 16, (3, 2, 27, 20), angle, flip=False), (0, 0, 0))
    flipped = take(frames, Geometry(24, 32, 16, (3, 2, 27, 20), angle, flip=True), (0, 0, 0))
    assert np.abs(flipped[:, :, ::-1].astype(int) - upright).max() <= (1 if turned else 0)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    frames = noise(1, 2, 20, 20)
    turned = take(frames, Geometry(20, 20, 20, (0, 0, 20, 20), angle=90.0), (0, 0, 0))
    assert set(np.unique(turned.astype(int) - np.rot90(frames, axes=(1, 2)))) <= {-1, 0}


def test_angles_are_spread_to_both_sides() -> None:
    angles = [drawn(AugmentSettings(rotate=15), seed).geometry.angle for seed in range(500)]
    assert -15 <= min(angles) < -13
    assert 13 < max(angles) <= 15


def test_what_a_rotation_brings_in_from_outside_has_the_mean_colour() -> None:
    white = np.full((2, 40, 40, 3), 255, np.uint8)
    turned = Draw(Geometry(40, 40, 20, (0, 0, 40, 40), angle=45.0), Colour(), None)
    altered = apply_video(white, turned, IMAGENET_MEAN, IMAGENET_STD)
    half_level = 0.5 / 255 / min(IMAGENET_STD)
    assert np.abs(altered[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]).max() <= half_level
    assert np.allclose(altered[:, 0, 10, 10], (1 - IMAGENET_MEAN[0]) / IMAGENET_STD[0])


def test_a_turned_picture_is_antialiased_like_an_upright_one() -> None:
    """Stripes one pixel wide, five source pixels to one of the picture: grey, not stripes."""
    stripes = np.zeros((1, 100, 100, 3), np.uint8)
    stripes[:, :, ::2] = 255
    turned = take(stripes, Geometry(100, 100, 20, (0, 0, 100, 100), angle=0.01), (128, 128, 128))
    assert 110 < turned[:, 2:-2, 2:-2].min() <= turned[:, 2:-2, 2:-2].max() < 145


@patient
@given(
    st.tuples(st.floats(0.4, 0.6), st.floats(0.4, 0.6)),
    st.floats(-40, 40),
    st.booleans(),
    st.tuples(st.floats(0, 0.2), st.floats(0, 0.2), st.floats(0.8, 1), st.floats(0.8, 1)),
)
def test_points_move_as_the_pixels_under_them(
    spot: tuple[float, float], angle: float, flip: bool, edges: tuple[float, float, float, float]
) -> None:
    height, width, out = 80, 120, 64
    x, y = spot[0] * width, spot[1] * height
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    blob = 255 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 3.0**2))
    frames = np.repeat(np.rint(blob).astype(np.uint8)[None, :, :, None], 3, axis=3)
    box = (edges[0] * width, edges[1] * height, edges[2] * width, edges[3] * height)
    geometry = Geometry(height, width, out, box, angle, flip)
    seen = take(frames, geometry, (0, 0, 0))[0, :, :, 0].astype(np.float64)
    centre = (
        np.array([seen.sum(0) @ (np.arange(out) + 0.5), seen.sum(1) @ (np.arange(out) + 0.5)]) / seen.sum()
    )
    moved = take_points(np.array([[spot]], np.float32), geometry)
    np.testing.assert_allclose(moved[0, 0] * out, centre, atol=0.3)


def test_points_keep_what_was_not_seen_and_swap_sides_with_a_flip() -> None:
    points = np.array([[[0.25, 0.5, 7.0], [np.nan, np.nan, np.nan], [0.5, 0.0, 9.0]]], np.float32)
    flipped = take_points(points, Geometry(30, 40, 16, (0, 0, 40, 30), flip=True), pairs=[(0, 1)])
    np.testing.assert_allclose(flipped[0], [[np.nan] * 3, [0.75, 0.5, 7.0], [0.5, 0.0, 9.0]], atol=1e-6)
    assert flipped.dtype == np.float32
    assert points[0, 0, 0] == 0.25
    cropped = take_points(points, Geometry(30, 40, 16, (20, 0, 40, 15)))
    np.testing.assert_allclose(cropped[0, [0, 2], :2], [[-0.5, 1.0], [0.0, 0.0]], atol=1e-6)


# --- colour -------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3, 2.0])
def test_brightness_and_saturation_are_pillows(factor: float) -> None:
    frames = noise(4, 1)
    picture = Image.fromarray(frames[0])
    brighter = np.asarray(ImageEnhance.Brightness(picture).enhance(factor), dtype=float)
    assert np.abs(painted(frames, brightness=factor)[0] - brighter).max() < 1.01  # theirs is rounded down
    stronger = np.asarray(ImageEnhance.Color(picture).enhance(factor), dtype=float)
    assert np.abs(painted(frames, saturation=factor)[0] - stronger).max() <= 1 + 0.5 * abs(1 - factor)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.3])
def test_contrast_is_pillows_for_a_single_picture(factor: float) -> None:
    frames = noise(5, 1, 6, 8).repeat(4, axis=1).repeat(4, axis=2)  # what is sampled sparsely is the whole
    told = np.asarray(ImageEnhance.Contrast(Image.fromarray(frames[0])).enhance(factor), dtype=float)
    assert np.abs(painted(frames, contrast=factor)[0] - told).max() <= 1.5


def test_contrast_turns_about_the_mean_grey_of_the_clip_not_of_a_frame() -> None:
    frames = np.stack([np.full((8, 8, 3), 50, np.uint8), np.full((8, 8, 3), 150, np.uint8)])
    assert np.allclose(painted(frames, contrast=0.5)[:, 0, 0], [[75] * 3, [125] * 3])


def test_contrast_keeps_the_mean_grey_of_a_brightened_clip() -> None:
    frames = (noise(6) // 4 + 60).astype(np.uint8)  # far from 0 and 255: nothing is cut off
    sparse = painted(frames, brightness=1.2, contrast=0.7)[:, ::4, ::4] @ LUMA
    assert sparse.mean() == pytest.approx(1.2 * (frames[:, ::4, ::4] @ LUMA).mean(), abs=0.01)


@given(st.floats(-0.5, 0.5), st.floats(0, 2))
def test_hue_and_saturation_leave_luma_and_grey_alone(turns: float, factor: float) -> None:
    for matrix in (hue_matrix(turns), saturation_matrix(factor)):
        np.testing.assert_allclose(LUMA @ matrix, LUMA, atol=1e-9)
        np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-9)


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_turns_of_hue_add_up(one: float, other: float) -> None:
    np.testing.assert_allclose(hue_matrix(one) @ hue_matrix(other), hue_matrix(one + other), atol=1e-9)
    np.testing.assert_allclose(hue_matrix(1.0), np.eye(3), atol=1e-9)


def test_a_third_of_a_turn_leads_from_red_to_green_to_blue() -> None:
    red = np.array([1.0, 0, 0])
    assert np.argmax(hue_matrix(1 / 3) @ red) == 1
    assert np.argmax(hue_matrix(2 / 3) @ red) == np.argmax(hue_matrix(-1 / 3) @ red) == 2


@pytest.mark.parametrize("changes", [{"grey": True}, {"saturation": 0.0}, {"grey": True, "hue": 0.2}])
def test_grey_is_the_luma_in_every_channel(changes: dict[str, float]) -> None:
    frames = noise(7)
    told = np.repeat((frames @ LUMA)[..., None], 3, axis=-1)
    np.testing.assert_allclose(painted(frames, **changes), told, atol=1e-3)


@patient
@given(seeds, st.floats(0, 2), st.floats(0, 2), st.floats(0, 2), st.floats(-0.5, 0.5))
def test_all_changes_at_once_are_the_changes_one_after_another(
    seed: int, brightness: float, contrast: float, saturation: float, hue: float
) -> None:
    frames = noise(seed, 2, 8, 8)
    rgb = brightness * frames.astype(np.float64)
    rgb = contrast * rgb + (1 - contrast) * (rgb[:, ::4, ::4] @ LUMA).mean()
    rgb = saturation * rgb + (1 - saturation) * (rgb @ LUMA)[..., None]
    told = np.clip(rgb @ hue_matrix(hue).T, 0, 255)
    ours = painted(frames, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
    np.testing.assert_allclose(ours, told, atol=2e-3)


@patient
@given(seeds)
def test_colours_stay_what_a_picture_can_show(seed: int) -> None:
    wild = AugmentSettings(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5)
    altered = apply_video(noise(seed), drawn(wild, seed), IMAGENET_MEAN, IMAGENET_STD)
    for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        assert altered[:, channel].min() >= -mean / std - 1e-6
        assert altered[:, channel].max() <= (1 - mean) / std + 1e-6


def test_changes_of_colour_are_spread_to_both_sides_as_far_as_told() -> None:
    settings = AugmentSettings(brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1, grey=0.25)
    colours = [drawn(settings, seed).colour for seed in range(1000)]
    for name, around, most in (
        ("brightness", 1, 0.4), ("contrast", 1, 0.3), ("saturation", 1, 0.2), ("hue", 0, 0.1),
    ):  # fmt: skip
        values = np.array([getattr(colour, name) for colour in colours]) - around
        assert -most <= values.min() < -0.95 * most
        assert 0.95 * most < values.max() <= most
    assert np.mean([colour.grey for colour in colours]) == pytest.approx(0.25, abs=0.05)
    pairs = np.array([[c.brightness, c.contrast, c.saturation, c.hue] for c in colours])
    assert np.abs(np.corrcoef(pairs.T) - np.eye(4)).max() < 0.15  # each has its own number


# --- erasing ------------------------------------------------------------------------------------


@patient
@given(seeds)
def test_one_box_is_erased_in_all_frames_and_nothing_else_changes(seed: int) -> None:
    frames = noise(seed, 3, 40, 40)
    erased = drawn(AugmentSettings(erase=1.0), seed, 40, 40, 40)
    whole = normalise(frames, IMAGENET_MEAN, IMAGENET_STD)
    altered = apply_video(frames, erased, IMAGENET_MEAN, IMAGENET_STD)
    assert erased.erase is not None
    left, top, right, bottom = erased.erase
    assert 0 <= left < right <= 40
    assert 0 <= top < bottom <= 40
    whole[:, :, top:bottom, left:right] = 0
    assert np.array_equal(altered, whole)


def test_what_is_erased_has_the_share_and_ratio_told() -> None:
    draws = [drawn(AugmentSettings(erase=0.3), seed, 200, 200, 200).erase for seed in range(1000)]
    boxes = np.array([box for box in draws if box is not None])
    assert len(boxes) == pytest.approx(300, abs=50)
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share, ratio = across * down / 200**2, across / down
    assert ERASE_SHARE[0] * 0.9 <= share.min() < 0.05 < 0.28 < share.max() <= ERASE_SHARE[1] * 1.05
    assert ERASE_RATIO[0] * 0.9 <= ratio.min() < 0.4 < 2.5 < ratio.max() <= ERASE_RATIO[1] * 1.1
