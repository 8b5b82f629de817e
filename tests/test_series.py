"""Series from file to batch: brought to moments, to one scale that is sealed with the model, and altered."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mudra
from mudra.bundle import read_bundle
from mudra.clips.altered import Alteration, time_of
from mudra.clips.loader import EvaluationClips, Place, TrainingClips
from mudra.clips.manifest import read_manifest
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.clips.series import Scale, at_moments, measured, normalise
from mudra.clips.series_augment import alter, draw_series, turn
from mudra.datasets.opening import with_channels
from mudra.errors import DataError, ModelError, RecipeError, StoppedError
from mudra.predictions import read
from mudra.reports.catalogue import counts
from mudra.sections import AugmentSettings, ClipSettings, PointAugment, SeriesAugment, SeriesSettings
from mudra.training.measuring import measure
from mudra.training.mixing import MixPlan, mix_points
from mudra.training.train import train
from mudra.types import Clip, StreamInfo
from tests.tiny_streams import known_to_recipes, stream_recipe, write_series

patient = hypothesis.settings(deadline=None)
PLAIN = SeriesSettings()
WILD = SeriesAugment(
    crop=0.6, speed=0.5, warp=0.8, scale=0.3, stretch=0.3, noise=0.1, drift=0.1, drop_channels=0.2, drop_frames=0.2,
    turn=40, triplets=((0, 1, 2),),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _model() -> Any:
    with known_to_recipes():
        yield


def shaking(frames: int = 30, channels: int = 4, seed: int = 0, unknown: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(5, 2, (frames, channels)).astype(np.float32)
    values[rng.random(values.shape) < unknown] = np.nan
    return values


def preprocessing(channels: int = 4, scales: dict[str, Scale] | None = None, **clip: Any) -> Preprocessing:
    settings = ClipSettings(**{"streams": ("series",), "frames": 8, **clip})
    scale = {"series": Scale((0.0,) * channels, (1.0,) * channels)}
    info = StreamInfo("series", fps=50.0, channels=channels)
    return Preprocessing(settings, {"series": info}, scale if scales is None else scales)


def silent(recipe: Any, data: Path, out: Path, **options: Any) -> Any:
    return train(recipe, str(data), out, say=lambda _line: None, **options)


# --- moments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("short", ["stretch", "pad"])
@pytest.mark.parametrize("frames", [1, 2, 8, 9, 500])
def test_series_of_every_length_give_the_frames_that_the_model_takes(
    tmp_path: Path, frames: int, short: str
) -> None:
    np.save(tmp_path / "clip.npy", shaking(frames))
    clip = Clip("clip", streams={"series": tmp_path / "clip.npy"})
    looks = preprocessing(series=SeriesSettings(short=short)).read(clip, Views(3, 2))["series"]
    assert looks.shape == (6, 8, 4)
    there = ~np.isnan(looks).all(2)
    assert (there.sum(1) == (min(frames, 8) if short == "pad" else 8)).all()
    assert (np.diff(there.astype(int), axis=1) <= 0).all()  # empty frames come last


@patient
@given(frames=st.integers(1, 40), want=st.integers(1, 40), seed=st.integers(0, 99), unknown=st.floats(0, 1))
def test_a_channel_is_filtered_by_itself(frames: int, want: int, seed: int, unknown: float) -> None:
    values, times = shaking(frames, 3, seed, unknown), np.arange(frames) / 50
    moments = np.linspace(0, times[-1], want)
    whole = at_moments(values, times, moments)
    alone = np.concatenate([at_moments(values[:, [c]], times, moments) for c in range(3)], 1)
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(alone))
    np.testing.assert_allclose(whole, alone, rtol=1e-5, atol=1e-5)


# --- scales ----------------------------------------------------------------------------------------


@patient
@given(
    seed=st.integers(0, 99),
    unknown=st.floats(0, 1),
    offset=st.sampled_from([0.0, 1e3, -1e6]),
    parts=st.integers(1, 5),
)
def test_measured_scales_are_those_of_all_known_values(
    seed: int, unknown: float, offset: float, parts: int
) -> None:
    values = (shaking(50, 3, seed, unknown) + np.float32(offset)).astype(np.float32)
    values[:, 2] = 7.0
    scale = measured(np.array_split(values, parts))
    for channel in range(3):
        known = values[:, channel][~np.isnan(values[:, channel])].astype(np.float64)
        assert scale.mean[channel] == pytest.approx(known.mean() if len(known) else 0.0, rel=1e-9, abs=1e-9)
        spread = known.std() if len(known) else 0.0
        wanted = spread if spread > 1e-6 * abs(scale.mean[channel]) else 1.0
        assert scale.deviation[channel] == pytest.approx(wanted, rel=1e-6)
    assert scale.deviation[2] == 1.0  # a channel that never changes
    assert scale == measured(np.array_split(values, parts))


@pytest.mark.filterwarnings("error")
@patient
@given(seed=st.integers(0, 99), unknown=st.floats(0, 1), how=st.sampled_from(["none", "clip", "train"]))
def test_scaled_series_are_finite_and_know_no_more_than_before(seed: int, unknown: float, how: str) -> None:
    values = shaking(9, 3, seed, unknown)
    values[:, 1] = 3e38
    found = normalise(
        values, SeriesSettings(normalise=how, limit=4), Scale((1.0, -3e38, 0.0), (1e-30, 1.0, 1.0))
    )
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    assert not np.isinf(found).any()
    if how != "none":
        assert np.nanmax(np.abs(found), initial=0) <= 4


def test_a_number_that_means_nothing_is_known_is_never_a_value(tmp_path: Path) -> None:
    values = shaking(20)
    values[3:9] = 0
    np.save(tmp_path / "clip.npy", values)
    clip = Clip("clip", streams={"series": tmp_path / "clip.npy"})
    seen = preprocessing(frames=20, series=SeriesSettings(absent=0, normalise="none")).read(clip)["series"][0]
    assert np.isnan(seen[3:9]).all()
    np.testing.assert_array_equal(seen[[*range(3), *range(9, 20)]], values[[*range(3), *range(9, 20)]])


def test_scales_are_measured_over_train_alone_and_sealed_in_the_bundle(tmp_path: Path) -> None:
    data = write_series(tmp_path / "data", {"train": 12, "test": 4})
    for file in data.glob("test-*.npz"):  # what the test is like must not matter
        np.savez(file, series=np.load(file)["series"] * 1000)
    run = silent(stream_recipe(clip={"streams": ["series"]}), data, tmp_path / "run")
    whole = np.concatenate([np.load(file)["series"] for file in sorted(data.glob("train-*.npz"))])
    tree = json.loads((run.bundle / "config.json").read_text())
    np.testing.assert_allclose(
        tree["scales"]["series"]["mean"], np.nanmean(whole.astype(float), 0), rtol=1e-9
    )
    np.testing.assert_allclose(
        tree["scales"]["series"]["deviation"], np.nanstd(whole.astype(float), 0), rtol=1e-9
    )
    assert tree["streams"]["series"]["channels"] == 4
    sealed = read_bundle(run.bundle).preprocessing
    assert sealed.scales == measure(replace(sealed, scales={}), read_manifest(data))


def test_a_training_that_goes_on_keeps_its_scales(tmp_path: Path) -> None:
    data = write_series(tmp_path / "data", {"train": 16})
    recipe = stream_recipe(clip={"streams": ["series"]}, train={"save_every": 1, "epochs": 3})
    straight = silent(recipe, data, tmp_path / "straight")
    with pytest.raises(StoppedError):
        silent(recipe, data, tmp_path / "stopped", time_limit=1e-9)
    before = (tmp_path / "stopped" / "scales.json").read_bytes()
    # the data was touched meanwhile; the scales stay what they were
    np.savez(data / "train-15.npz", series=np.full((5, 4), 1e6, np.float32))
    run = silent(recipe, data, tmp_path / "stopped", resume=True)
    assert (run.path / "scales.json").read_bytes() == before
    assert read_bundle(run.bundle).preprocessing.scales == read_bundle(straight.bundle).preprocessing.scales


def test_garbled_scales_are_told_in_one_line(tmp_path: Path) -> None:
    data = write_series(tmp_path / "data", {"train": 8, "test": 2})
    run = silent(stream_recipe(clip={"streams": ["series"]}), data, tmp_path / "run")
    place = run.bundle / "config.json"
    tree = json.loads(place.read_text())
    one = tree["scales"]["series"]
    for wrong in (
        {}, {"series": {**one, "mean": one["mean"][:-1]}}, {"series": {**one, "deviation": [0.0] * 4}},
        {"series": {**one, "mean": ["a"] * 4}}, {"other": one}, {"series": []}, [],
    ):  # fmt: skip
        place.write_text(json.dumps({**tree, "scales": wrong}))
        with pytest.raises(ModelError) as told:
            read_bundle(run.bundle)
        assert "\n" not in str(told.value)


# --- what is known of a series ---------------------------------------------------------------------


def test_channels_come_from_the_files_where_nobody_says_them(tmp_path: Path) -> None:
    data = write_series(tmp_path / "data", {"train": 6}, channels=5)
    manifest = read_manifest(data)
    assert manifest.streams["series"].channels is None
    (data / "train-00.npz").write_bytes(b"not an archive")
    assert with_channels(manifest, ["series"]).streams["series"].channels == 5
    (data / "dataset.json").write_text('{"streams": {"series": {"fps": 50, "channels": 7}}}')
    assert with_channels(read_manifest(data), ["series"]).streams["series"].channels == 7


def test_a_clip_of_other_channels_is_told_with_both_counts(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", shaking(channels=3))
    with pytest.raises(DataError, match=r"3 channels; the data set's series has 4"):
        preprocessing().read(Clip("clip", streams={"series": tmp_path / "clip.npy"}))


def test_other_data_of_other_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="5 channels; the model was trained on 4"):
        preprocessing().on({"series": StreamInfo("series", channels=5)})
    assert preprocessing().on({"series": StreamInfo("series", fps=10.0)}).streams["series"].channels == 4


def test_a_recipe_of_series_is_counted_without_data_at_hand() -> None:
    recipe = stream_recipe(data={"kind": "utd_mhad"}, clip={"streams": ["series"]})
    assert counts(recipe)[0] == (2 * 6 + 1) * 16 + (16 + 1) * 27


# --- augmentation ----------------------------------------------------------------------------------


def test_where_nothing_is_drawn_training_sees_what_evaluation_sees(tmp_path: Path) -> None:
    manifest = with_channels(read_manifest(write_series(tmp_path / "data", {"train": 6})), ["series"])
    for short in ("stretch", "pad"):
        for how in ("none", "clip", "train"):
            settings = ClipSettings(
                streams=("series",), frames=8, series=SeriesSettings(short=short, normalise=how)
            )
            seen = Preprocessing(settings, manifest.streams)
            seen = replace(seen, scales=measure(seen, manifest))
            training = TrainingClips(manifest, seen, AugmentSettings(flip=1.0), seed=0)
            evaluation = EvaluationClips(manifest, seen, Views())
            for number in range(6):
                trained = training[Place(number, epoch=2, position=number)].streams["series"]
                np.testing.assert_array_equal(trained, evaluation[Place(number)].streams["series"][0])


@patient
@given(seed=st.integers(0, 999), frames=st.integers(1, 30), unknown=st.floats(0, 1))
def test_what_is_not_known_is_never_invented(seed: int, frames: int, unknown: float) -> None:
    values = shaking(frames, 4, seed, unknown)
    drawn = draw_series(WILD, (seed,), 4)
    found = alter(turn(values, drawn, WILD), drawn, WILD)
    assert np.isnan(found[np.isnan(values)]).all()
    assert not np.isinf(found).any()
    assert not np.isnan(alter(np.ones((9, 4), np.float32), drawn, WILD)).all()


@patient
@given(seed=st.integers(0, 999))
def test_a_turned_sensor_feels_the_same_strength(seed: int) -> None:
    how = SeriesAugment(turn=180, triplets=((0, 1, 2), (5, 4, 3)))
    values = shaking(20, 7, seed)
    drawn = draw_series(how, (seed,), 7)
    found = turn(values, drawn, how)
    for triplet in how.triplets:
        own, other = (np.linalg.norm(x[:, list(triplet)], axis=1) for x in (values, found))
        np.testing.assert_allclose(own, other, rtol=1e-4)
    np.testing.assert_array_equal(found[:, 6], values[:, 6])
    assert np.linalg.det(drawn.turn) == pytest.approx(1.0)
    one, two = (found[:, list(triplet)] for triplet in how.triplets)
    np.testing.assert_allclose(one, values[:, :3] @ drawn.turn.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(two, values[:, [5, 4, 3]] @ drawn.turn.T, rtol=1e-4, atol=1e-4)


def test_a_sensor_is_turned_before_its_channels_are_scaled(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", np.tile(np.float32([1, 0, 0]), (9, 1)))
    clip = Clip("c", split="train", labels={"label": "a"}, streams={"series": tmp_path / "clip.npy"})
    seen = preprocessing(3, {"series": Scale((1.0, 0.0, 0.0), (1.0, 10.0, 100.0))})
    how = SeriesAugment(turn=180, triplets=((0, 1, 2),))
    looks, _ = Alteration(seen, AugmentSettings(series=how), False).look(
        clip, lambda: np.random.default_rng(3)
    )
    plain = looks["series"] * [1, 10, 100] + [1, 0, 0]
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1, rtol=1e-4)
    assert abs(plain[0, 0] - 1) > 0.01


def test_one_setting_never_shifts_the_draws_of_another() -> None:
    values = shaking(12, 4)
    one = draw_series(SeriesAugment(noise=0.2), (5,), 4)
    other = draw_series(SeriesAugment(noise=0.2, scale=0.5, stretch=0.5, turn=30, drop_frames=0.5), (5,), 4)
    assert (one.noise, one.seed) == (other.noise, other.seed)
    still = replace(other, factor=one.factor)
    np.testing.assert_array_equal(alter(values, one, SeriesAugment()), alter(values, still, SeriesAugment()))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (SeriesAugment(triplets=((0, 1, 4),)), "0 to 3"),
        (SeriesAugment(triplets=((0, 1, 2), (2, 3, 1))), "twice"),
        (SeriesAugment(turn=10), "without triplets"),
    ],
)
def test_triplets_that_the_data_has_not_are_refused(tmp_path: Path, how: SeriesAugment, said: str) -> None:
    manifest = read_manifest(write_series(tmp_path / "data", {"train": 2}))
    with pytest.raises(RecipeError, match=said):
        TrainingClips(manifest, preprocessing(), AugmentSettings(series=how), 0)


def test_time_is_altered_alike_for_all_streams_or_refused() -> None:
    said = AugmentSettings(points=PointAugment(crop=0.8))
    assert time_of(said, {"points", "series"}).crop == 0.8
    assert time_of(said, {"series"}).crop == 1.0
    assert time_of(AugmentSettings(series=SeriesAugment(warp=0.3)), {"video", "series"}).warp == 0.3
    both = AugmentSettings(points=PointAugment(crop=0.8), series=SeriesAugment(crop=0.7))
    with pytest.raises(RecipeError, match=r"augment\.series"):
        time_of(both, {"points", "series"})


@patient
@given(seed=st.integers(0, 999), unknown=st.floats(0, 1), share=st.floats(0, 1, width=32))
def test_mixup_takes_the_mean_of_what_both_know_and_else_what_one_knows(
    seed: int, unknown: float, share: float
) -> None:
    own, partners = (torch.from_numpy(shaking(5, 4, seed + n, unknown))[None] for n in range(2))
    plan = MixPlan("mixup", np.zeros(1, np.int64), np.array([share]), np.zeros((1, 2)), np.zeros(1, np.int64))
    mixed = mix_points(plan, own, partners)
    if share == 1:
        torch.testing.assert_close(mixed, own, equal_nan=True)
        return
    both = ~own.isnan() & ~partners.isnan()
    torch.testing.assert_close(
        mixed[both], (share * own + (1 - share) * partners)[both], rtol=1e-3, atol=1e-3
    )
    assert torch.equal(mixed.isnan(), own.isnan() & partners.isnan())


# --- from end to end -------------------------------------------------------------------------------


def test_series_are_trained_judged_and_predicted(tmp_path: Path) -> None:
    data = write_series(tmp_path / "data", {"train": 32, "val": 6, "test": 6}, unknown=0.0)
    augment = {"mixup": 0.2, "series": {"noise": 0.02, "drop_channels": 0.1, "speed": 0.2, "crop": 0.9}}
    recipe = stream_recipe(clip={"streams": ["series"]}, augment=augment, train={"epochs": 12, "batch": 8})
    run = silent(recipe, data, tmp_path / "run")
    table = read(run.predictions("test"))
    recognizer = mudra.load(run.path)
    right = 0
    for number, clip in enumerate(table.clips):
        file = data / f"{clip}.npz"
        chances = {ranked.name: ranked.probability for ranked in recognizer.predict(file).tasks["label"]}
        own = np.exp(table.tasks["label"].log_probabilities[number])
        np.testing.assert_allclose([chances[name] for name in ("falls", "rises")], own, atol=1e-5)
        again = recognizer.predict(np.load(file)["series"])
        assert again.probability == pytest.approx(max(own), abs=1e-5)
        right += int(own.argmax() == table.tasks["label"].truth[number])
    assert right >= 5
    for wrong in (
        np.zeros((4, 4), int),
        np.zeros((0, 4), np.float32),
        np.zeros((4, 5), np.float32),
        np.zeros(4),
    ):
        with pytest.raises(DataError) as told:
            recognizer.predict(wrong)
        assert "\n" not in str(told.value)
