"""Choosing moments: inside the clip, in order, by time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudra.clips.sampling import chooser, even, segments, strided, window_starts
from mudra.sections import ClipSettings

LENGTHS = st.integers(1, 200)
WANTS = st.integers(1, 40)
STRIDES = st.integers(1, 9)
SAMPLINGS = st.sampled_from(["even", "strided", "segments"])


@st.composite
def rising_times(draw):
    steps = draw(st.lists(st.floats(1e-3, 0.5), min_size=1, max_size=120))
    return np.cumsum(steps) + draw(st.floats(-5, 5))


@given(rising_times(), WANTS, STRIDES, SAMPLINGS, st.one_of(st.none(), st.integers(0, 9)))
def test_frames_stay_inside_the_clip_and_never_fall(times, want, stride, sampling, seed):
    settings = ClipSettings(frames=want, stride=stride, sampling=sampling)
    rng = None if seed is None else np.random.default_rng(seed)
    chosen = chooser(settings, rng=rng)(times)
    assert chosen.shape == (want,)
    assert chosen.dtype == np.int64
    assert chosen.min() >= 0
    assert chosen.max() < len(times)
    assert (np.diff(chosen) >= 0).all()


@given(rising_times(), WANTS, STRIDES, SAMPLINGS, st.integers(1, 10))
def test_every_view_stays_inside_the_clip(times, want, stride, sampling, clips):
    settings = ClipSettings(frames=want, stride=stride, sampling=sampling)
    for clip in range(clips):
        chosen = chooser(settings, clip=clip, clips=clips)(times)
        assert chosen.min() >= 0
        assert chosen.max() < len(times)


@given(LENGTHS, WANTS, STRIDES)
def test_a_strided_window_repeats_the_last_frame_only_past_the_end(length, want, stride):
    chosen = strided(length, want, stride)
    expected = [min(i * stride, length - 1) for i in range(want)]
    assert chosen.tolist() == expected


@pytest.mark.parametrize("bad", [(0, 1, 1, 0), (5, 0, 1, 0), (5, 1, 0, 0), (5, 1, 1, 5), (5, 1, 1, -1)])
def test_a_window_outside_the_source_is_refused(bad):
    with pytest.raises(ValueError, match="inside the source"):
        strided(*bad)


@given(st.integers(2, 100), WANTS, STRIDES)
def test_even_sampling_reaches_both_ends(length, want, stride):
    times = np.arange(length) / 30
    chosen = even(times, want, stride)
    assert chosen[0] == 0
    if want > 1:
        assert chosen[-1] == (length - 1) // stride * stride
    assert (chosen % stride == 0).all()


def test_even_sampling_goes_by_time_and_not_by_number():
    times = np.array([0.0, 0.1, 0.2, 0.3, 5.0, 9.9])  # a burst, then a pause
    assert even(times, 3).tolist() == [0, 4, 5]


def test_segments_take_one_moment_of_each_part():
    times = np.arange(40) / 20
    rng = np.random.default_rng(0)
    for _ in range(50):
        chosen = segments(times, 8, rng.random(8))
        assert (chosen // 5 == np.arange(8)).all()


@given(st.integers(1, 60), st.integers(1, 10), st.integers(1, 4), st.integers(1, 10))
def test_windows_spread_from_the_first_to_the_last_that_fits(length, want, stride, clips):
    starts = window_starts(length, want, stride, clips)
    room = max(length - ((want - 1) * stride + 1), 0)
    assert starts.min() >= 0
    assert starts.max() <= room
    if clips > 1:
        assert starts[0] == 0
        assert starts[-1] == room


def test_training_looks_differ_and_repeat_with_their_seed():
    times = np.arange(60) / 12
    for sampling in ("even", "strided", "segments"):
        settings = ClipSettings(frames=8, stride=2, sampling=sampling)
        looks = {tuple(chooser(settings, rng=np.random.default_rng(s))(times)) for s in range(20)}
        assert len(looks) > 10, sampling
        again = {tuple(chooser(settings, rng=np.random.default_rng(s))(times)) for s in range(20)}
        assert looks == again


def test_several_views_are_different_looks():
    times = np.arange(80) / 12
    for sampling in ("even", "strided", "segments"):
        settings = ClipSettings(frames=8, stride=2, sampling=sampling)
        looks = {tuple(chooser(settings, clip=c, clips=4)(times)) for c in range(4)}
        assert len(looks) == 4, sampling
