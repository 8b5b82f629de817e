"""Several streams of one clip: on one clock, through one geometry, any of them missing."""

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
from mudra.cli.using import streams_of
from mudra.clips.altered import Alteration
from mudra.clips.cache import cache
from mudra.clips.check import check
from mudra.clips.geometry import Geometry, take, take_points
from mudra.clips.loader import EvaluationClips, Place, TrainingClips
from mudra.clips.manifest import Manifest, read_manifest, write_manifest
from mudra.clips.pictures import depth_planes, depth_range, mask_planes
from mudra.clips.preprocessing import Preprocessing, Views, open_stream
from mudra.clips.together import common, hands_of, open_together
from mudra.datasets.opening import with_channels
from mudra.datasets.puppets import Puppets
from mudra.datasets.puppets.writing import write as write_puppets
from mudra.datasets.utd_mhad import UtdMhad
from mudra.errors import DataError, RecipeError
from mudra.predictions import read
from mudra.sections import (
    AugmentSettings,
    ClipSettings,
    DepthSettings,
    PointAugment,
    PointSettings,
    SeriesAugment,
    SeriesSettings,
)
from mudra.training.mixing import MixPlan, draw_mix, mix, mix_points
from mudra.training.train import train
from mudra.types import Clip, Stream, StreamInfo
from tests.tiny_streams import RATES, known_to_recipes, stream_recipe, write_clocks

patient = hypothesis.settings(deadline=None)
PLAIN_POINTS = PointSettings(dims=2, centre="none", scale="none")
RAW = SeriesSettings(normalise="none")
LIVELY = AugmentSettings(
    crop=(0.4, 1.0), flip=0.5, flip_is_harmless=True, rotate=25,
    points=PointAugment(crop=0.6, speed=0.3, warp=0.5),
)  # fmt: skip

IN_TIME = AugmentSettings(
    crop=(0.4, 1.0), points=LIVELY.points, series=SeriesAugment(crop=0.6, speed=0.3, warp=0.5)
)


@pytest.fixture(autouse=True)
def _model() -> Any:
    with known_to_recipes():
        yield


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = write_clocks(tmp_path_factory.mktemp("clocks") / "data")
    return with_channels(read_manifest(root), ["series"])


@pytest.fixture(scope="module")
def puppets(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("puppets") / "data"
    streams = ("video", "depth", "mask", "points")
    write_puppets(root, Puppets(clips=6, groups=3, size=64, streams=streams, seconds=1.0, point_axes=2))
    return read_manifest(root)


def seen_by(manifest: Manifest, *streams: str, **clip: Any) -> Preprocessing:
    settings = {"frames": 8, "size": 16, "resize": "stretch", "points": PLAIN_POINTS, "series": RAW}
    return Preprocessing(ClipSettings(**{"streams": streams, **settings, **clip}), manifest.streams)


def seconds(
    looks: dict[str, np.ndarray], depth: tuple[float, float] = (1.0, 2001.0)
) -> dict[str, np.ndarray]:
    """The times that the streams of `write_clocks` tell, by stream: [T], NaN after the end."""
    told = {}
    for name, x in looks.items():
        kind = name.partition(":")[0]
        if kind == "video":
            told[name] = x[:, 0, 3, 3] * 2.55
        elif kind == "depth":
            told[name] = (depth[1] - 1 - x[:, 0, 3, 3] * (depth[1] - depth[0])) / 1000
        elif kind == "mask":
            told[name] = x[:, 0, 3, 3]
        else:
            told[name] = x[:, 0].ravel()[:: x[0, 0].size] if kind == "points" else x[:, 0]
    return told


COLOURS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
DEPTH = {"depth": DepthSettings(near=1, far=2001)}


# --- one clock -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "streams",
    [
        ("video", "depth", "mask", "points", "series"), ("points", "series"), ("series", "video"),
        ("depth", "points"), ("series", "points", "mask", "depth", "video"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("short", ["stretch", "pad"])
def test_streams_of_unlike_rates_are_looked_at_at_the_same_moments(
    clocks: Manifest, streams: tuple[str, ...], short: str
) -> None:
    points, series = replace_short(short)
    for frames in (5, 16, 64):
        seen = seen_by(clocks, *streams, frames=frames, points=points, series=series, **COLOURS, **DEPTH)
        looks = {name: x[1] for name, x in seen.read(clocks[0], Views(3)).items()}
        check_agreement(looks, frames)
        training = TrainingClips(clocks, seen, IN_TIME, seed=0)
        for epoch in range(4):
            sample = training[Place(0, epoch)]
            assert not sample.failure
            check_agreement(sample.streams, frames)


def replace_short(short: str) -> tuple[PointSettings, SeriesSettings]:
    return PLAIN_POINTS.model_copy(update={"short": short}), RAW.model_copy(update={"short": short})


def check_agreement(looks: dict[str, np.ndarray], frames: int) -> None:
    """All streams tell the same time, each as exactly as its rate allows."""
    told = seconds(looks)
    there = {name: ~np.isnan(times) for name, times in told.items()}
    first = next(iter(there.values()))
    assert all((other == first).all() for other in there.values())
    exact = next((name for name in ("series", "points") if name in told), None)
    for name, times in told.items():
        if name == "mask" or exact is None:
            continue
        # half a frame and half a grey level; at the ends of a clip an average has one side only
        step = np.nan_to_num(np.gradient(times))
        near_ends = (times < step) | (times > 2 - step)
        room = 0.51 / RATES[name] + 0.51 / RATES[exact] + 0.006 + np.where(near_ends, step / 2, 0)
        assert (np.abs(times - told[exact])[first] <= room[first]).all(), name
        assert (np.diff(times[first]) >= -1e-3).all()
    if "mask" in told and exact is not None:
        sure = np.abs(told[exact] - 1) > 0.05
        np.testing.assert_array_equal(told["mask"][first & sure], (told[exact] >= 1)[first & sure])
    assert len(first) == frames


@pytest.mark.parametrize(
    "sampling",
    [{"sampling": "strided", "stride": 2}, {"sampling": "segments"}, {}, {"sampling": "paced", "fps": 7.5}],
)
def test_pictures_without_numbers_are_sampled_as_the_first_of_them_alone(
    clocks: Manifest, sampling: dict[str, Any]
) -> None:
    both = seen_by(clocks, "video", "depth", **sampling, **COLOURS, **DEPTH)
    alone = seen_by(clocks, "video", **sampling, **COLOURS)
    views = Views(2, 2)
    looks = both.read(clocks[1], views)
    np.testing.assert_array_equal(looks["video"], alone.read(clocks[1], views)["video"])
    settings = AugmentSettings(
        crop=(0.5, 1.0), rotate=10, flip=0.5, flip_is_harmless=True, hue=0.1, erase=0.5
    )
    for epoch in range(3):
        together = TrainingClips(clocks, both, settings, 1)[Place(1, epoch)].streams
        np.testing.assert_array_equal(
            together["video"], TrainingClips(clocks, alone, settings, 1)[Place(1, epoch)].streams["video"]
        )
    told = seconds({name: x[0] for name, x in looks.items()})
    assert np.abs(told["video"] - told["depth"]).max() <= 0.01


@pytest.mark.parametrize("beside", ["video", "series", "depth"])
def test_a_stream_draws_the_same_alone_and_beside_others(clocks: Manifest, beside: str) -> None:
    how = replace_settings(LIVELY, points={"noise": 0.1, "drift": 0.1, "drop_points": 0.2, "turn": 30})
    how = how.model_copy(update={"flip": 0.0})  # which a sensor does not allow
    for number in range(3):
        alone = TrainingClips(clocks, seen_by(clocks, "points"), how, 0)[Place(number, 1, number)].streams
        both = TrainingClips(clocks, seen_by(clocks, "points", beside), how, 0)[
            Place(number, 1, number)
        ].streams
        lost = np.isnan(alone["points"])
        np.testing.assert_array_equal(lost, np.isnan(both["points"]))
        # the common span is a little shorter than the stream's own
        assert np.nanmax(np.abs(alone["points"] - both["points"])) < 0.08


def replace_settings(settings: AugmentSettings, **parts: dict[str, Any]) -> AugmentSettings:
    changed = {name: getattr(settings, name).model_copy(update=values) for name, values in parts.items()}
    return settings.model_copy(update=changed)


@patient
@given(
    ends=st.lists(st.tuples(st.floats(0, 5), st.floats(0.5, 5), st.integers(2, 60)), min_size=1, max_size=4),
    align=st.sampled_from(["clock", "ends"]),
)
def test_the_clock_stays_within_what_all_streams_recorded(
    ends: list[tuple[float, float, int]], align: str
) -> None:
    times = {str(at): np.linspace(begin, begin + long, count) for at, (begin, long, count) in enumerate(ends)}
    hands = hands_of(times, align)
    first = times["0"]
    spans = [hands[name](own)[[0, -1]] for name, own in times.items()]
    begin, end = max(span[0] for span in spans), min(span[1] for span in spans)
    if not ((first >= begin - 1e-6) & (first <= end + 1e-6)).any():
        assert align == "clock"
        with pytest.raises(DataError, match=r"clip\.align=ends"):
            common(times, hands, "a clip")
        return
    clock = common(times, hands, "a clip")
    assert np.isin(clock, first).all()
    for name, own in times.items():
        onto = hands[name](own)
        assert (np.diff(onto) >= 0).all()
        assert onto[0] - 1e-5 <= clock[0] <= clock[-1] <= onto[-1] + 1e-5
        if align == "ends":
            np.testing.assert_allclose(onto[[0, -1]], first[[0, -1]], atol=1e-9)


def test_a_lone_stream_keeps_its_times_to_the_bit() -> None:
    times = np.array([0.1, 0.2, 0.35])
    stream = Stream("series", np.zeros((3, 1), np.float32), times)
    for align in ("clock", "ends"):
        recording = open_together({"series": ("series", stream)}, align, "a clip")
        assert recording.clock is times
        assert recording.tracks["series"].times is times


def test_a_stream_of_a_single_moment_bounds_nothing() -> None:
    times = {"points": np.array([0.0, 1.0, 2.0]), "series": np.array([7.0])}
    for align in ("clock", "ends"):
        assert common(times, hands_of(times, align), "a clip").tolist() == [0.0, 1.0, 2.0]


def test_recordings_that_begin_and_end_together_are_stretched_onto_each_other(tmp_path: Path) -> None:
    rates = {"points": 30.0, "series": 50.0}
    manifest = with_channels(read_manifest(write_clocks(tmp_path / "data", rates=rates)), ["series"])
    values = np.load(tmp_path / "data" / "series-0.npz")["series"]
    np.savez(tmp_path / "data" / "series-0.npz", series=values, times=5 + 3 * values[:, 0])  # thrice as slow
    looks = seen_by(manifest, "points", "series", align="ends").read(manifest[0])
    told = seconds({name: x[0] for name, x in looks.items()})
    np.testing.assert_allclose(told["points"], told["series"], atol=6e-3)
    assert told["series"][0] < 0.1
    assert told["series"][-1] > 1.9
    with pytest.raises(DataError, match="no moment in common"):
        seen_by(manifest, "points", "series").read(manifest[0])


def test_short_clips_are_told_alike_for_all_streams_or_refused(clocks: Manifest) -> None:
    points, _ = replace_short("pad")
    with pytest.raises(RecipeError, match=r"clip\.series\.short"):
        seen_by(clocks, "points", "series", points=points)
    assert seen_by(clocks, "points", points=points).short == "pad"
    with pytest.raises(RecipeError, match="twice"):
        seen_by(clocks, "points", "points")
    with pytest.raises(RecipeError, match=r"clip\.sampling"):
        seen_by(clocks, "video", "series", sampling="segments")


# --- one geometry ----------------------------------------------------------------------------------


def spot(height: int, width: int, x: float, y: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A blot at shares x and y of a frame: RGB, millimetres (1 m before a wall at 3 m), mask."""
    down, across = np.mgrid[:height, :width] + 0.5
    inside = ((across / width - x) * width / height) ** 2 + (down / height - y) ** 2 < 0.09**2
    video = np.where(inside[..., None], np.uint8(255), np.uint8(0)).repeat(3, 2)[None]
    return video, np.where(inside, 1000, 3000).astype(np.uint16)[None], inside.astype(np.uint8)[None]


@patient
@given(
    x=st.floats(0.35, 0.65), y=st.floats(0.35, 0.65), angle=st.floats(-60, 60), flip=st.booleans(),
    left=st.floats(0, 0.2), top=st.floats(0, 0.2), small=st.sampled_from([1, 2]),
)  # fmt: skip
def test_a_marked_place_is_the_same_in_video_depth_mask_and_points(
    x: float, y: float, angle: float, flip: bool, left: float, top: float, small: int
) -> None:
    height, width, out = 96, 128, 48
    box = (left * width, top * height, (left + 0.8) * width, (top + 0.8) * height)
    geometry = Geometry(height, width, out, box, angle, flip)
    video, _, _ = spot(height, width, x, y)
    _, depth, mask = spot(height // small, width // small, x, y)  # a smaller camera of the same view
    point = take_points(np.array([[[x, y]]], np.float32), geometry)[0, 0] * out
    hypothesis.assume((point > 8).all() and (point < out - 8).all())  # the whole blot is in the picture
    planes = {
        "video": take(video, geometry, (0, 0, 0))[0, :, :, 0] / 255,
        "depth": depth_planes(depth, geometry, (1000, 3000))[0, 0],
        "mask": mask_planes(mask, geometry)[0, 0],
    }
    for name, plane in planes.items():
        place = np.array([plane.sum(0) @ (np.arange(out) + 0.5), plane.sum(1) @ (np.arange(out) + 0.5)])
        assert np.abs(place / plane.sum() - point).max() < 0.6, name
    inside = planes["mask"] > 0
    assert planes["depth"][inside].mean() > 0.8
    assert planes["depth"][~inside].mean() < 0.1


def test_unknown_depth_neither_counts_nor_spreads() -> None:
    frames = np.full((1, 8, 8), 1500, np.uint16)
    frames[0, :, :5] = 0
    found = depth_planes(frames, Geometry(8, 8, 4, (0, 0, 8, 8)), (1000, 2000))[0, 0]
    assert (found[:, :2] == 0).all()
    np.testing.assert_allclose(found[:, 3], 0.5, atol=1e-3)
    assert not depth_planes(np.zeros((1, 8, 8), np.uint16), Geometry(8, 8, 4, (0, 0, 8, 8)), (0, 1)).any()


def test_the_range_of_depth_is_the_settings_or_the_clips_own() -> None:
    frames = np.arange(0, 1000, dtype=np.uint16).reshape(1, 25, 40) * 4
    assert depth_range(frames, DepthSettings()) == pytest.approx((44, 3956), abs=8)
    assert depth_range(frames, DepthSettings(near=500)) == pytest.approx((500, 3956), abs=8)
    assert depth_range(np.zeros((1, 2, 2), np.uint16), DepthSettings(far=900)) == (0.0, 900.0)
    with pytest.raises(ValueError, match="near"):
        DepthSettings(near=900, far=800)


def test_the_streams_of_a_puppet_stay_aligned_in_training(puppets: Manifest) -> None:
    assert puppets.streams["points"].space == "picture"
    settings = LIVELY.model_copy(update={"flip": 1.0, "flip_is_harmless": True, "crop": (0.6, 1.0)})
    seen = seen_by(puppets, "video", "depth", "mask", "points", size=64, frames=6, **COLOURS)
    training = TrainingClips(puppets, seen, settings, 0)
    assert training.may_flip
    hits, total = 0, 0
    for number in range(len(puppets)):
        sample = training[Place(number, 3, number)]
        assert not sample.failure
        mask, points, depth = (sample.streams[name] for name in ("mask", "points", "depth"))
        for frame in range(6):
            places = points[frame, :40]  # the lips are always on the head
            places = places[((places > 0.05) & (places < 0.95)).all(1)]
            rows, columns = (places[:, ::-1] * 64).astype(int).T
            hits += int(mask[frame, 0, rows, columns].sum())
            total += len(places)
            body = mask[frame, 0] > 0
            if body.any() and (~body).any():
                assert depth[frame, 0][body].mean() > depth[frame, 0][~body].mean()
    assert total > 500
    assert hits > 0.95 * total
    # flipped, the left hand is the right one
    evaluation = EvaluationClips(puppets, seen, Views())[Place(0)].streams["points"][0]
    plain = AugmentSettings(flip=1.0, flip_is_harmless=True)
    mirrored = TrainingClips(puppets, seen, plain, 0)[Place(0)].streams["points"]
    wanted = evaluation[:, seen.layout("points").mirror_order] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(mirrored, wanted, atol=1e-4)


def test_points_in_heights_of_the_picture_are_those_in_shares_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.2, 0.8, (9, 20, 3)).astype(np.float32)
    heights = shares * np.float32([32 / 16, 1, 32 / 16])  # the picture is twice as wide as it is high
    np.savez(tmp_path / "video.npz", video=np.zeros((9, 16, 32, 3), np.uint8))
    found = []
    for space, points in (("picture", shares), ("height", heights)):
        np.savez(tmp_path / f"{space}.npz", points=points)
        clip = Clip("c", streams={"video": tmp_path / "video.npz", "points": tmp_path / f"{space}.npz"})
        info = {
            "video": StreamInfo("video", fps=9.0),
            "points": StreamInfo("points", "kinect20", 9.0, space=space),
        }
        settings = ClipSettings(
            streams=("video", "points"), frames=9, size=16, points=PLAIN_POINTS.model_copy(update={"dims": 3})
        )
        seen = Preprocessing(settings, info)
        augment = LIVELY.model_copy(update={"points": PointAugment()})
        found.append(
            (seen.read(clip)["points"][0], Alteration(seen, augment, True).look(clip, rng_of_7)[0]["points"])
        )
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(found[0][0][..., 1], shares[..., 1], atol=1e-6)
    np.testing.assert_allclose(
        found[0][0][..., 0], (shares[..., 0] - 0.25) * 2, atol=1e-5
    )  # the middle square


def rng_of_7() -> np.random.Generator:
    return np.random.default_rng(7)


def test_evaluation_looks_at_every_stream_in_the_same_place(puppets: Manifest) -> None:
    seen = seen_by(puppets, "mask", "points", size=32, resize="crop", shorter_side=1.5)
    looks = seen.read(puppets[0], Views(2, 3))
    assert looks["mask"].shape == (6, 8, 1, 32, 32)
    for view in range(6):
        lips = looks["points"][view, :, :40]
        frames = np.arange(8)[:, None].repeat(40, 1)
        inside = ((lips > 0.05) & (lips < 0.95)).all(-1)
        rows, columns = (lips[inside][:, ::-1] * 32).astype(int).T
        assert looks["mask"][view, frames[inside], 0, rows, columns].mean() > 0.9


def test_a_stream_without_a_mirror_keeps_the_others_from_being_flipped(clocks: Manifest) -> None:
    settings = AugmentSettings(flip=1.0, flip_is_harmless=True)
    assert TrainingClips(clocks, seen_by(clocks, "video", "points"), settings, 0).may_flip
    assert not TrainingClips(clocks, seen_by(clocks, "video", "series"), settings, 0).may_flip


def test_where_nothing_is_drawn_training_sees_what_evaluation_sees(
    puppets: Manifest, clocks: Manifest
) -> None:
    for manifest in (puppets, clocks):
        names = [name for name in RATES if name in manifest.streams]
        for streams in (names, names[:3], ["mask"], ["depth"]):
            seen = seen_by(manifest, *streams, resize="crop")
            training = TrainingClips(manifest, seen, AugmentSettings(shift_time=False), 0)
            evaluation = EvaluationClips(manifest, seen, Views())
            for number in range(2):
                one, other = training[Place(number)].streams, evaluation[Place(number)].streams
                for name in streams:
                    np.testing.assert_array_equal(one[name], other[name][0])
                    assert one[name].shape == seen.inputs[name]


# --- several of a kind, and none -------------------------------------------------------------------


def test_several_streams_of_a_kind_have_their_own_names_all_the_way(tmp_path: Path) -> None:
    rates = {"points:left": 30.0, "points:right": 15.0, "series:wrist": 50.0, "series:hip": 40.0}
    root = write_clocks(tmp_path / "data", rates=rates, clips=8)
    again = read_manifest(root)
    write_manifest(again, root)  # facts survive being written
    recipe = stream_recipe(
        clip={"streams": list(rates), "points": {"dims": 2}},
        augment={"points": {"noise": 0.1}, "series": {"noise": 0.1}},
    )
    run = train(recipe, str(root), tmp_path / "run", say=lambda _line: None)
    bundle = mudra.load(run.path).bundle
    assert list(bundle.preprocessing.inputs) == list(rates)
    assert set(bundle.preprocessing.scales) == {"series:wrist", "series:hip"}
    manifest = with_channels(again, list(rates))
    seen = Preprocessing(
        recipe.clip.model_copy(update={"points": PLAIN_POINTS, "series": RAW}), manifest.streams
    )
    plain = TrainingClips(manifest, seen, AugmentSettings(), 0)[Place(1)].streams
    noisy = TrainingClips(manifest, seen, recipe.augment, 0)[Place(1)].streams
    shaken = {name: noisy[name] - plain[name] for name in rates}
    for kind in ("points", "series"):
        one, other = (shaken[name] for name in rates if name.startswith(kind))
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.3  # each trembles in its own way


def test_a_missing_stream_is_an_error_or_nothing_but_nan(tmp_path: Path) -> None:
    for lacks in RATES:
        root = write_clocks(tmp_path / lacks, lacks=lacks, clips=2)
        manifest = with_channels(read_manifest(root), ["series"])
        with pytest.raises(DataError, match=f"it has no stream '{lacks}'"):
            seen_by(manifest, *RATES).read(manifest[0])
        seen = seen_by(manifest, *RATES, missing="allow", **COLOURS, **DEPTH)
        training = TrainingClips(manifest, seen, LIVELY, 0)
        for looks in (seen.read(manifest[0], Views(2, 2)), training[Place(0)].streams):
            assert np.isnan(looks[lacks]).all()
            assert looks[lacks].shape[-len(seen.inputs[lacks]) :] == seen.inputs[lacks]
            assert not any(np.isnan(x).all() for name, x in looks.items() if name != lacks)
        whole = TrainingClips(manifest, seen, IN_TIME, 0)[Place(1)].streams
        check_agreement(whole, 8)
    nowhere = Clip("none", streams={"other": tmp_path})
    with pytest.raises(DataError, match="has no stream"):
        seen.read(nowhere)


def test_a_lone_stream_left_of_several_is_sampled_as_beside_the_others(tmp_path: Path) -> None:
    manifest = read_manifest(
        write_clocks(tmp_path / "data", lacks="points", rates={"points": 30, "video": 15})
    )
    seen = seen_by(manifest, "points", "video", missing="allow", **COLOURS)
    told = seconds({"video": seen.read(manifest[0])["video"][0]})["video"]
    np.testing.assert_allclose(told, np.linspace(0, 2, 8), atol=0.51 / 15 + 0.006)


def test_missing_streams_go_through_training_and_evaluation(tmp_path: Path) -> None:
    root = write_clocks(tmp_path / "data", clips=8, lacks="video")
    recipe = stream_recipe(
        clip={"streams": list(RATES), "missing": "allow", "points": {"dims": 2}}, augment={"mixup": 0.5}
    )
    run = train(recipe, str(root), tmp_path / "run", say=lambda _line: None)
    assert np.isfinite(read(run.predictions("test")).tasks["label"].log_probabilities).all()
    strict = stream_recipe(clip={"streams": list(RATES), "points": {"dims": 2}})
    with pytest.raises(DataError, match="'video'"):
        train(strict, str(root), tmp_path / "strict", say=lambda _line: None)


def test_mixup_of_pictures_takes_what_one_has_where_the_other_has_none() -> None:
    own, partners = torch.rand(3, 4, 1, 2, 2), torch.rand(3, 4, 1, 2, 2)
    own[0], partners[1], own[2, 3] = torch.nan, torch.nan, torch.nan
    none = np.zeros(3, np.int64)
    plan = MixPlan("mixup", none, np.array([0.4, 0.4, 0.4]), np.zeros((3, 2)), none)
    mixed = mix_points(plan, own, partners)
    torch.testing.assert_close(mixed[0], partners[0])
    torch.testing.assert_close(mixed[1], own[1])
    torch.testing.assert_close(mixed[2, :3], 0.4 * own[2, :3] + 0.6 * partners[2, :3])
    torch.testing.assert_close(mixed[2, 3], partners[2, 3])


def test_mixup_of_a_step_fills_in_for_a_missing_stream() -> None:
    streams = {"video": torch.rand(4, 3, 1, 2, 2), "points": torch.rand(4, 3, 5, 2)}
    streams["video"][1], streams["points"][2] = torch.nan, torch.nan
    settings = AugmentSettings(mixup=1.0)
    targets = {"label": torch.arange(4) % 2}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        partner = draw_mix(settings, 4, np.random.default_rng(seed)).partner
        mixed, _ = mix(streams, targets, {"label": 2}, settings, rng)
        for name, row in (("video", 1), ("points", 2)):
            lost = mixed[name].isnan().flatten(1).any(1)
            assert lost.tolist() == [at == row and partner[at] == row for at in range(4)]


# --- sources ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [(None, None), (0.2, None), (None, 0.7), (0.25, 0.55)])
def test_the_times_of_a_stream_are_those_that_frames_are_chosen_by(
    puppets: Manifest, clocks: Manifest, window: tuple[float | None, float | None]
) -> None:
    for manifest in (puppets, clocks):
        for name, info in manifest.streams.items():
            clip = replace(manifest[0], start=window[0], stop=window[1])
            source = open_stream(clip, name, info)
            asked: list[np.ndarray] = []

            def choose(times: np.ndarray, asked: list[np.ndarray] = asked) -> np.ndarray:
                asked.append(times)
                return np.zeros(1, np.int64)

            source.read(choose)
            np.testing.assert_array_equal(source.times(), asked[-1])


def test_a_copy_that_would_cut_a_video_away_from_its_streams_is_refused(
    puppets: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="depth, mask, points"):
        cache(puppets, tmp_path / "copy", size=32, resize="crop", workers=0)
    high = {**puppets.streams, "points": replace(puppets.streams["points"], space="height")}
    with pytest.raises(DataError, match="keep"):
        cache(replace(puppets, streams=high), tmp_path / "copy", size=32, resize="stretch", workers=0)
    copy = cache(puppets, tmp_path / "copy", size=32, resize="stretch", workers=0)
    assert copy.streams["points"] == puppets.streams["points"]


def test_the_doctor_tells_clocks_that_disagree(tmp_path: Path) -> None:
    root = write_clocks(tmp_path / "data", rates={"points": 30.0, "series": 50.0})
    assert not [
        finding for finding in check(read_manifest(root), workers=0).warnings if "clocks" in finding.kind
    ]
    (root / "dataset.json").write_text((root / "dataset.json").read_text().replace("50.0", "30.0"))
    told = [finding for finding in check(read_manifest(root), workers=0).warnings if "clocks" in finding.kind]
    assert "1.6" in told[0].found
    assert "clip.align=ends" in told[0].mend


def test_the_real_sensor_and_skeleton_move_together_where_their_ends_meet(shared_data: Any) -> None:
    """UTD-MHAD's rates disagree; a hand's speed and the wrist's turning agree once the ends are laid together."""
    manifest = UtdMhad().read(shared_data("utd_mhad"))
    agreement: dict[str, list[float]] = {"clock": [], "ends": []}
    for align, found in agreement.items():
        seen = seen_by(manifest, "points", "series", frames=64, align=align)
        for number in range(0, 120, 4):  # actions of the right arm
            looks = {name: x[0] for name, x in seen.read(manifest[number]).items()}
            hands = np.diff(looks["points"][:, [6, 10]], axis=0)
            speed = np.convolve(np.linalg.norm(hands, axis=-1).max(1), np.ones(5), "valid")
            turning = np.convolve(np.linalg.norm(looks["series"][1:, 3:], axis=1), np.ones(5), "valid")
            found.append(float(np.corrcoef(speed, turning)[0, 1]))
    assert np.mean(agreement["ends"]) > np.mean(agreement["clock"]) + 0.2


# --- from end to end -------------------------------------------------------------------------------


def test_five_streams_are_trained_judged_and_predicted(tmp_path: Path) -> None:
    root = write_clocks(tmp_path / "data", clips=12)
    recipe = stream_recipe(
        clip={"streams": list(RATES), "points": {"dims": 2}},
        augment={"mixup": 0.2, "crop": [0.6, 1.0], "rotate": 10, "points": {"crop": 0.8, "warp": 0.3}},
    )
    runs = [train(recipe, str(root), tmp_path / f"run-{n}", say=lambda _line: None) for n in range(2)]
    tables = [read(run.predictions("test")) for run in runs]
    logs = [table.tasks["label"].log_probabilities for table in tables]
    np.testing.assert_array_equal(*logs)
    recognizer = mudra.load(runs[0].path)
    manifest = read_manifest(root).split("test")
    for number, clip in enumerate(manifest):
        found = recognizer.predict(clip, views=Views())
        assert found.probability == pytest.approx(float(np.exp(logs[0][number].max())), abs=1e-5)
        apart = recognizer.predict({name: str(path) for name, path in clip.streams.items()})
        assert apart.probability == found.probability
    files = ",".join(f"{name}={path}" for name, path in manifest[0].streams.items())
    assert streams_of(files) == {name: str(path) for name, path in manifest[0].streams.items()}
    for wrong in (np.zeros((5, 8, 8, 3), np.uint8), {"vidoe": root}, {"video": root / "absent"}, {}):
        with pytest.raises(DataError) as told:
            recognizer.predict(wrong)
        assert "\n" not in str(told.value)


def test_all_streams_of_one_file_are_predicted_from_it(tmp_path: Path) -> None:
    rates = {"points": 30.0, "series": 30.0}
    root = write_clocks(tmp_path / "data", clips=8, rates=rates)
    recipe = stream_recipe(clip={"streams": list(rates), "points": {"dims": 2}})
    recognizer = mudra.load(train(recipe, str(root), tmp_path / "run", say=lambda _line: None).path)
    parts = {name: np.load(root / f"{name}-0.npz")[name] for name in rates}
    np.savez(tmp_path / "clip.npz", **parts)
    whole = recognizer.predict(tmp_path / "clip.npz")
    apart = recognizer.predict(read_manifest(root)[0])
    assert whole.probability == apart.probability
