"""A recogniser that runs live: the answers of the clip, at constant cost, whatever the frames' times."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mudra
from mudra import bundle as bundles
from mudra.calibration import Calibration
from mudra.clips.sampling import paced
from mudra.errors import DataError, ModelError, RecipeError
from mudra.sources import open_source
from mudra.streaming import Pace
from mudra.training.train import train
from tests.tiny import tiny_recipe, write_bars

STREAMING = {
    "clip": {"sampling": "paced", "fps": 5, "frames": 4},
    "model": {
        "temporal": "retention", "time_positions": False, "readout": "decayed", "retention": {"closed": False},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("streaming")
    data = write_bars(home / "data", {"train": 16, "test": 6})  # 8 frames at 10 a second
    return train(tiny_recipe(**STREAMING), str(data), home / "run", say=lambda _line: None), data


@pytest.fixture
def recognizer(trained):
    return mudra.load(trained[0].path, device="cpu")


def frames_of(data, number=0):
    return np.load(data / f"test-{number:03d}.npy")


def same(one, two):
    return one.label == two.label and one.probability == pytest.approx(two.probability, abs=1e-6)


def test_the_last_answer_of_a_stream_is_the_clips(trained, recognizer):
    """A clip of 8 frames at 10 a second: 4 looks at 5 a second, which is what the clip form takes."""
    for number in range(6):
        stream = recognizer.stream()
        answers = [stream.push(frame, at / 10) for at, frame in enumerate(frames_of(trained[1], number))]
        assert [answer is not None for answer in answers] == [True, False] * 4
        assert same(answers[6], recognizer.predict(trained[1] / f"test-{number:03d}.npy", fps=10))


def test_a_calibrated_stream_gives_the_calibrated_answer(trained, tmp_path):
    bundle = bundles.read_bundle(trained[0].bundle)
    calm = {"label": Calibration(temperature=4.0, threshold=0.9)}
    shutil.copytree(trained[0].bundle, tmp_path / "bundle")
    bundles.write_config(tmp_path / "bundle", replace(bundle, calibration=calm))
    recognizer, bare = (mudra.load(place, device="cpu") for place in (tmp_path, trained[0].path))
    stream, plain = recognizer.stream(), bare.stream()
    for at, frame in enumerate(frames_of(trained[1])):
        answer, before = stream.push(frame, at / 10), plain.push(frame, at / 10)
        if before is not None:
            assert answer.label == before.label
            assert answer.probability < before.probability
            assert answer.rejected == {"label"}
            assert not before.rejected
    assert same(recognizer.predict(trained[1] / "test-000.npy", fps=10), stream_end(recognizer, trained[1]))


def stream_end(recognizer, data):
    stream = recognizer.stream()
    answers = [stream.push(frame, at / 10) for at, frame in enumerate(frames_of(data))]
    return [answer for answer in answers if answer is not None][-1]


def test_frames_come_faster_or_without_times(trained, recognizer):
    frames = frames_of(trained[1])
    plain, fast = recognizer.stream(), recognizer.stream()
    for look in range(4):
        one = plain.push(frames[2 * look])
        pushed = [fast.push(frames[2 * look], look / 5 + more / 50) for more in range(5)]
        assert [answer is not None for answer in pushed] == [True, False, False, False, False]
        assert same(one, pushed[0])


def test_missing_frames_are_held(trained, recognizer):
    frames = frames_of(trained[1])
    slow, held = recognizer.stream(), recognizer.stream()
    held.push(frames[0], 0.0)
    answer = held.push(frames[4], 0.6)  # the looks at 0.2 and 0.4 were missed
    for frame in (frames[0], frames[0], frames[0], frames[4]):
        expected = slow.push(frame)
    assert held.seen == 4
    assert same(answer, expected)


@pytest.mark.parametrize("time", [-3.0, 1e9, 1.7])
def test_a_jump_in_time_begins_anew(trained, recognizer, time):
    frames = frames_of(trained[1])
    stream, fresh = recognizer.stream(hold=1.0), recognizer.stream()
    for at in range(4):
        stream.push(frames[at], at / 5)
    assert same(stream.push(frames[5], time), fresh.push(frames[5], 0.0))
    assert stream.seen == 1


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_times_that_are_no_numbers_are_refused(trained, recognizer, time):
    stream = recognizer.stream()
    with pytest.raises(DataError, match="expected seconds"):
        stream.push(frames_of(trained[1])[0], time)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), "frame"],
)
def test_what_is_no_frame_is_refused(recognizer, frame):
    with pytest.raises(DataError, match=r"expected uint8 RGB"):
        recognizer.stream().push(frame)


def test_a_stream_is_saved_and_goes_on_elsewhere(trained, recognizer, tmp_path):
    frames = frames_of(trained[1])
    whole, first = recognizer.stream(), recognizer.stream()
    for at in range(5):
        expected = whole.push(frames[at], at * 0.2)
        if at < 3:
            first.push(frames[at], at * 0.2)
    first.save(tmp_path / "state.safetensors")
    second = mudra.load(trained[0].path, device="cpu").stream()
    second.restore(tmp_path / "state.safetensors")
    for at in (3, 4):
        answer = second.push(frames[at], at * 0.2)
    assert same(answer, expected)
    (tmp_path / "other.safetensors").write_bytes((trained[0].bundle / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="expected a stream of this model"):
        second.restore(tmp_path / "other.safetensors")


def test_reset_forgets(trained, recognizer):
    frames = frames_of(trained[1])
    stream, fresh = recognizer.stream(), recognizer.stream()
    for at in range(3):
        stream.push(frames[at], at * 0.2)
    stream.reset()
    assert same(stream.push(frames[4], 0.1), fresh.push(frames[4], 7.0))


def test_ten_thousand_frames_cost_as_much_memory_as_one_and_do_not_drift(trained, recognizer):
    """The answer to a gesture is the same in the first minute and after half an hour."""
    frames = frames_of(trained[1])[::2]
    stream = recognizer.stream()
    size, found = stream.state_bytes, []
    for at in range(10_000):
        answer = stream.push(frames[at % 4], at * 0.2)
        found.append(answer.probability)
        assert stream.state_bytes == size
    assert np.allclose(found[200:204], found[-4:], atol=1e-5)


def test_a_model_of_whole_clips_says_so(tmp_path):
    data = write_bars(tmp_path / "data", {"train": 8, "test": 2})
    run = train(tiny_recipe(train={"epochs": 1}), str(data), tmp_path / "run", say=lambda _line: None)
    with pytest.raises(ModelError, match=r"model\.temporal: found 'attention'"):
        mudra.load(run.path, device="cpu").stream()
    unpaced = tiny_recipe(model=STREAMING["model"], train={"epochs": 1})
    run = train(unpaced, str(data), tmp_path / "unpaced", say=lambda _line: None)
    with pytest.raises(ModelError, match=r"clip\.sampling: paced"):
        mudra.load(run.path, device="cpu").stream()


@pytest.mark.parametrize("clip", [{"sampling": "paced"}, {"fps": 5}])
def test_a_rate_and_paced_sampling_belong_together(clip):
    with pytest.raises(RecipeError, match=r"clip\.fps"):
        tiny_recipe(clip=clip)


@given(st.lists(st.floats(0.001, 0.3), min_size=1, max_size=60), st.floats(1, 60))
def test_looks_are_as_many_as_the_time_asks_for(gaps, fps):
    pace, time, looks = Pace(fps), 100.0, 0
    for gap in gaps:
        anew, due = pace.arrive(time)
        assert anew == (looks == 0)
        looks += due
        time += gap
    last = time - gaps[-1] - 100.0
    assert looks == int((last + 1e-6) * fps) + 1


@given(st.integers(1, 80), st.integers(1, 20), st.sampled_from([5.0, 6.0, 10.0, 12.5]))
def test_paced_sampling_takes_what_a_stream_has_seen(length, want, fps):
    times = np.arange(length) / 25
    pace, looks = Pace(fps), []
    for at, time in enumerate(times):
        looks += [at] * pace.arrive(time)[1]
    expected = ([0] * want + looks)[-want:]
    assert paced(times, want, fps).tolist() == expected


def test_a_stream_recognises_a_video_file(trained, recognizer, tmp_path):
    source = open_source(trained[1] / "test-000.npy", "video", fps=10)
    stream = source.read(lambda times: np.arange(len(times)))
    live = recognizer.stream()
    answers = [live.push(f, float(t)) for f, t in zip(stream.values, stream.times, strict=True)]
    assert sum(answer is not None for answer in answers) == 4
    assert torch.is_grad_enabled()
