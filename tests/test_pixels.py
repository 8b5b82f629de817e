"""Pixels: one resize everywhere, the right part of the picture, the right scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mudra.clips.pixels import normalise, resize, view_box

SIDES = st.integers(8, 400)


def test_a_picture_of_the_right_size_is_left_alone():
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)
    assert resize(frames, 20, 30) is frames


def test_resizing_is_antialiased():
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255
    small = resize(stripes, 16, 16)
    assert small.min() > 100  # picking single pixels would leave black or white
    assert small.max() < 155


def test_resizing_a_box_is_resizing_that_part():
    frames = np.random.default_rng(0).integers(0, 256, (1, 40, 60, 3), np.uint8)
    ours = resize(frames, 10, 10, (8.0, 4.0, 48.0, 36.0))
    part = Image.fromarray(frames[0]).resize((10, 10), Image.Resampling.BILINEAR, box=(8, 4, 48, 36))
    assert (ours[0] == np.asarray(part)).all()


def test_normalising_is_the_textbook_formula():
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3), np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    expected = ((frames / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    found = normalise(frames, mean, std)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    larger = np.zeros((2, 3, 3, 5, 6), np.float32)
    normalise(frames, mean, std, larger[1])
    np.testing.assert_array_equal(larger[1], found)
    assert not larger[0].any()


@given(SIDES, SIDES, st.floats(1, 4), st.integers(1, 5))
def test_every_crop_lies_inside_the_picture(height, width, shorter_side, crops):
    for crop in range(crops):
        left, top, right, bottom = view_box(height, width, "crop", shorter_side, crop, crops)
        assert left >= -1e-9
        assert top >= -1e-9
        assert right <= width + 1e-9
        assert bottom <= height + 1e-9
        assert right - left == pytest.approx(bottom - top)


@given(SIDES, SIDES)
def test_three_crops_reach_both_ends_of_the_longer_side(height, width):
    boxes = [view_box(height, width, "crop", 1.0, crop, 3) for crop in range(3)]
    assert boxes[0][:2] == (0.0, 0.0)
    assert boxes[2][2:] == pytest.approx((width, height))
    assert boxes[1] == view_box(height, width, "crop")


def test_stretching_looks_at_the_whole_picture():
    assert view_box(100, 176, "stretch") == (0.0, 0.0, 176.0, 100.0)
