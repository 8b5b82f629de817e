"""Models of several streams: windows, streams that are missing, and what must not matter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mudra
from mudra import bundle as bundles
from mudra import recipe as recipes
from mudra.clips.preprocessing import Preprocessing
from mudra.datasets.opening import open_data
from mudra.errors import DataError, ModelError, RecipeError
from mudra.models.fusion import Fusion, FusionSettings, StreamDropout
from mudra.models.trunk_looks import cut, spread
from mudra.sections import ClipSettings, LossSettings, OptimSettings
from mudra.settings import parse
from mudra.training.losses import build_loss
from mudra.training.optimisers import lr_scales
from mudra.training.train import train
from mudra.types import StreamInfo
from tests.tiny_streams import stream_recipe, write_clocks

BODY = {"kind": "keypoint_transformer", "width": 16, "depth": 1, "heads": 2}
C3D = {"kind": "c3d", "channels": [[4], [6]], "readout": "pool"}
INPUTS = {"points": (12, 5, 3), "series": (12, 4), "depth": (12, 1, 16, 16), "mask": (12, 1, 16, 16)}
TRUNKS = {"points": BODY, "series": BODY, "depth": C3D}
KINDS_OF_TIME = [
    {"temporal": "none", "fuse": "concat"},
    {"temporal": "bilstm", "hidden": 6, "heads": 2, "attention_window": 3},
    {"temporal": "transformer", "fuse": "attention", "heads": 2},
]


def build(inputs: Mapping[str, tuple[int, ...]] = INPUTS, **said: Any) -> Fusion:
    """A small fusion model in evaluation and double precision, every weight drawn at random."""
    tree = {
        "kind": "fusion",
        "trunks": TRUNKS,
        "looks": {"depth": {"times": "mask"}},
        "window": 4,
        "width": 8,
    }
    torch.manual_seed(0)
    model = Fusion(parse(FusionSettings, {**tree, **said}, "test"), inputs, {"label": 3}).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model.double()


def clips(frames: int, count: int = 2, seed: int = 1) -> dict[str, Tensor]:
    """Clips of so many frames, some of whose points and values are not known."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        name: torch.randn(count, frames, *shape[1:], generator=generator, dtype=torch.float64)
        for name, shape in INPUTS.items()
    }
    drawn["points"][:, ::3, 1] = torch.nan
    drawn["mask"] = (drawn["mask"] > 0).double()
    return drawn


def padded(streams: Mapping[str, Tensor], more: int) -> dict[str, Tensor]:
    """The same clips with `more` frames of nothing after them."""
    return {
        name: torch.cat([x, x.new_full((len(x), more, *x.shape[2:]), torch.nan)], 1)
        for name, x in streams.items()
    }


@settings(max_examples=12, deadline=None)
@given(frames=st.integers(1, 13), more=st.integers(1, 9), how=st.sampled_from(KINDS_OF_TIME))
def test_what_is_put_behind_a_clip_does_not_change_its_answer(
    frames: int, more: int, how: dict[str, Any]
) -> None:
    model = build(**how)
    alone = model(clips(frames))["label"]
    torch.testing.assert_close(model(padded(clips(frames), more))["label"], alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("more", [1, 5, 20])
def test_a_clip_that_is_one_window_may_be_padded_too(more: int) -> None:
    model = build(window=None)
    alone = model(clips(9))["label"]
    torch.testing.assert_close(model(padded(clips(9), more))["label"], alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("how", KINDS_OF_TIME)
def test_the_loss_of_a_clip_does_not_depend_on_what_is_behind_it_or_beside_it(how: dict[str, Any]) -> None:
    model = build(**how).train()
    loss = build_loss(LossSettings(windows=1.0), {"label": 3})
    target = {"label": torch.tensor([2])}
    alone = loss(model(clips(6, 1)), target).total()
    long = loss(model(padded(clips(6, 1), 7)), target).total()
    torch.testing.assert_close(long, alone, rtol=0, atol=1e-10)
    both = {
        name: torch.cat([x, y])
        for (name, x), y in zip(padded(clips(6, 1), 6).items(), clips(12, 1, 5).values(), strict=True)
    }
    logits = model(both)
    first = loss({name: row[:1] for name, row in logits.items()}, target).total()
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-10)


def test_a_clip_of_whole_windows_has_no_window_more() -> None:
    model = build().train()
    assert model(clips(8))["label/windows"].shape == (2, 2, 3)
    assert model(clips(9))["label/windows"].shape == (2, 3, 3)


def test_a_window_weighs_as_much_as_it_has_frames() -> None:
    model = build().train()
    said = model(clips(6))
    four, two = said["label/windows"].unbind(1)
    torch.testing.assert_close(said["label"], (4 * four + 2 * two) / 6)


def test_the_loss_at_every_window_is_their_mean() -> None:
    logits = torch.randn(2, 3, 3, dtype=torch.float64)
    logits[1, 2] = torch.nan
    target = torch.tensor([0, 2])
    loss = build_loss(LossSettings(windows=1.0), {"label": 3})
    own = torch.zeros(2, 3, dtype=torch.float64)
    total = loss({"label": own, "label/windows": logits}, {"label": target}).total()
    each = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), target[:, None].expand(2, 3), reduction="none"
    )
    expected = (each[0].mean() + each[1, :2].mean()) / 2 + torch.log(torch.tensor(3.0, dtype=torch.float64))
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("missing", list(INPUTS))
@pytest.mark.parametrize("how", KINDS_OF_TIME)
def test_a_clip_without_a_stream_has_an_answer_of_its_own(how: dict[str, Any], missing: str) -> None:
    model = build(**how)
    streams = clips(8)
    whole = model(streams)["label"]
    streams[missing][0] = torch.nan
    lacking = model(streams)["label"]
    assert lacking.isfinite().all()
    assert not torch.allclose(lacking[0], whole[0])
    torch.testing.assert_close(lacking[1], whole[1], rtol=0, atol=1e-10)


def test_a_clip_of_nothing_has_an_answer() -> None:
    nothing = {name: torch.full_like(x, torch.nan) for name, x in clips(8).items()}
    answer = build(temporal="bilstm", hidden=6, heads=2)(nothing)["label"]
    assert answer.isfinite().all()


def test_depth_without_its_mask_is_depth_as_it_is() -> None:
    model = build()
    streams = clips(8)
    lacking, whole = dict(streams), dict(streams)
    lacking["mask"] = torch.full_like(streams["mask"], torch.nan)
    whole["mask"] = torch.ones_like(streams["mask"])
    torch.testing.assert_close(model(lacking)["label"], model(whole)["label"])


def test_streams_are_left_out_in_training_at_their_rate_and_never_all() -> None:
    torch.manual_seed(0)
    layer = StreamDropout(0.4, ["points", "series"]).train()
    streams = {
        "points": torch.zeros(4000, 2, 1, 1),
        "series": torch.zeros(4000, 2, 1),
        "mask": torch.zeros(4000, 2),
    }
    gone = {name: x.flatten(1).isnan().all(1) for name, x in layer(streams).items()}
    assert not (gone["points"] & gone["series"]).any()
    assert float(gone["mask"].float().mean()) == pytest.approx(0.4 * (1 - 0.16), abs=0.03)
    assert float(gone["points"].float().mean()) == pytest.approx(0.4 * 0.6, abs=0.03)
    assert all(x is streams[name] for name, x in layer.eval()(streams).items())


def test_a_stream_that_a_clip_never_had_does_not_count_as_one_that_stays() -> None:
    torch.manual_seed(0)
    layer = StreamDropout(0.9, ["points", "series"]).train()
    streams = {"points": torch.zeros(500, 2, 1, 1), "series": torch.full((500, 2, 1), torch.nan)}
    assert not layer(streams)["points"].isnan().any()


def test_windows_cut_a_clip_and_frames_are_spread_over_them() -> None:
    x = torch.arange(6.0)[None, :, None]
    windows = cut(x, 4)[0, ..., 0]
    assert windows.nan_to_num(-1).tolist() == [[0, 1, 2, 3], [4, 5, -1, -1]]
    seen = ~windows.isnan()
    assert spread(windows, seen, 4).tolist() == [[0, 1, 2, 3], [4, 4, 5, 5]]


def test_a_skeleton_is_drawn_where_its_bones_are() -> None:
    look = {"skeleton": {"stream": "points", "drawn": 16, "reach": 1.0, "bones": [[0, 1], [2, 3]]}}
    model = build({"points": (4, 4, 2)}, trunks={"skeleton": C3D}, looks=look)
    points = torch.full((1, 4, 4, 2), torch.nan, dtype=torch.float64)
    points[0, :, 0], points[0, :, 1] = torch.tensor([-0.8, -0.5]), torch.tensor([0.8, -0.5])
    drawn, _ = model.looks["skeleton"]({"points": points}, 4)
    first = drawn[0, 0].amax(0)
    rows, columns = (first > 0.5).nonzero().T
    assert set(rows.tolist()) <= {3, 4}
    assert set(range(2, 14)) <= set(columns.tolist())
    assert drawn[0, 0, 0].max() == drawn.max()


def test_trunks_are_told_of_the_layout_of_their_own_points() -> None:
    tree = {
        "trunks": {"points": {**BODY, "bone_features": "vectors"}, "drawn": C3D},
        "looks": {"drawn": {"stream": "points", "drawn": 8}},
    }
    streams = {"points": StreamInfo("points", "kinect20", 30.0)}
    preprocessing = Preprocessing(ClipSettings(streams=("points",), frames=8), streams)
    told: Any = bundles.fitted(parse(FusionSettings, {"kind": "fusion", **tree}, "test"), preprocessing)
    assert len(told.trunks["points"].bones) == len(told.looks["drawn"].bones) > 10
    assert bundles.build_model(told, preprocessing.inputs, {"label": 2})


def test_pretrained_trunks_learn_at_a_rate_of_their_own() -> None:
    model = build()
    scales = lr_scales(OptimSettings(rates={"trunks": 0.2}), model)
    assert {scale for name, scale in scales.items() if name.startswith("trunks.")} == {0.2}
    assert {scale for name, scale in scales.items() if not name.startswith("trunks.")} == {1.0}
    assert any(name.startswith("trunks.") for name in scales)


def test_the_top_of_every_trunk_is_equally_deep_and_what_is_new_is_deepest() -> None:
    model = build(trunks={**TRUNKS, "points": {**BODY, "depth": 3}})
    layers = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    tops = {
        trunk: max(layer for name, layer in layers.items() if name.startswith(f"trunks.{trunk}."))
        for trunk in TRUNKS
    }
    assert len(set(tops.values())) == 1
    assert {layer for name, layer in layers.items() if not name.startswith("trunks.")} == {tops["points"] + 1}
    assert min(layers.values()) == 0


def test_published_weights_go_to_the_trunks_that_know_them() -> None:
    model = build()
    weight = torch.randn(4, 1, 3, 3, 3)
    found = model.from_published({"conv1.weight": weight}, "file")
    assert torch.equal(found["trunks.depth.stages.0.0.convolution.weight"], weight)
    with pytest.raises(ModelError, match="no trunk"):
        build({"points": (4, 5, 3)}, trunks={"points": BODY}, looks={}).from_published({}, "file")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"trunks": {"points": {"kind": "keypoint_transfomer"}}}, ["trunks.points, kind", "Did you mean"]),
        ({"trunks": {"points": {**BODY, "widht": 3}}}, ["trunks.points, widht", "Did you mean 'width'"]),
        ({"trunks": {"points": {**BODY, "width": "a"}}}, ["trunks.points, width", "found 'a'"]),
        ({"trunks": {"points": 3}}, ["trunks.points", "found 3"]),
        ({"trunks": {"a": {"kind": "fusion", "trunks": {"b": C3D}}}}, ["trunks.a", "no trunks of its own"]),
        ({"trunks": {"points": BODY}, "windows": 3}, ["windows", "Did you mean 'window'"]),
    ],
)
def test_what_a_recipe_says_of_a_trunk_is_strict(said: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RecipeError) as told:
        recipes.resolve({"model": {"kind": "fusion", **said}}, "recipe x")
    assert str(told.value).startswith("recipe x, model, ")
    assert "\n" not in str(told.value)
    assert all(word in str(told.value) for word in words)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"looks": {"depht": {"times": "mask"}}}, "Did you mean 'depth'"),
        ({"looks": {"depth": {"times": "series"}}}, "two streams of pictures"),
        ({"looks": {"depth": {"times": "smell"}}}, "smell"),
        ({"looks": {"points": {"drawn": 16}, "depth": {"times": "mask"}}}, "bones"),
        ({"looks": {}}, "no trunk looks at mask"),
        ({"widths": {"depth": 4}, "fuse": "attention"}, "one width"),
        ({"attention_window": 4}, "odd"),
        ({"trunks": {**TRUNKS, "items": C3D}}, "'items'"),
        ({"trunks": {**TRUNKS, "points": {**BODY, "auxiliary": [1]}}}, "trunk_heads"),
        ({"trunks": {**TRUNKS, "points": {**BODY, "heads": 3}}}, "trunk points"),
    ],
)
def test_contradictions_are_told_in_one_line(said: dict[str, Any], word: str) -> None:
    with pytest.raises(ModelError) as told:
        build(**said)
    assert word in str(told.value)
    assert "\n" not in str(told.value)


def test_settings_survive_their_own_file() -> None:
    before = build(dropout=0.1).settings
    again = parse(FusionSettings, before.model_dump(mode="json"), "test")
    assert again == before
    assert type(again.trunks["depth"]) is type(before.trunks["depth"])


def test_a_loss_of_windows_needs_a_model_that_has_some() -> None:
    loss = build_loss(LossSettings(windows=0.5), {"label": 3})
    with pytest.raises(RecipeError, match=r"loss\.windows"):
        loss.require_heads(["label"])


# --- from recipe to prediction ----------------------------------------------------------------------

MODEL = {
    "kind": "fusion",
    "window": 4,
    "width": 8,
    "temporal": "bilstm",
    "hidden": 4,
    "heads": 2,
    "stream_dropout": 0.3,
    "trunk_heads": True,
    "trunks": {
        "points": {**BODY, "bone_features": "vectors"},
        "series": BODY,
        "depth": {**C3D, "norm": "batch"},
    },
    "looks": {"depth": {"times": "mask"}},
}
RATES = {"points": 30.0, "series": 50.0, "depth": 15.0, "mask": 30.0}


def fusion_recipe(**clip: Any) -> Any:
    return stream_recipe(
        clip={"streams": list(RATES), "frames": 6, "points": {"dims": 2}, **clip},
        model=MODEL,
        loss={"windows": 1.0, "parts": 0.5},
    )


def test_clips_that_lack_a_stream_are_trained_judged_and_predicted(tmp_path: Path) -> None:
    root = write_clocks(tmp_path / "data", clips=8, lacks="series", rates=RATES)
    run = train(fusion_recipe(missing="allow"), str(root), tmp_path / "run", say=lambda _line: None)
    assert run.read_status()["state"] == "done"
    recognizer = mudra.load(tmp_path / "run")
    files = {name: root / (f"{name}-1" + (".npz" if name in ("points", "series") else "")) for name in RATES}
    whole = recognizer.predict(files)
    assert whole.probability > 0
    assert recognizer.predict({"points": files["points"]}).probability > 0


def test_clips_that_lack_a_stream_may_be_left_out_and_that_is_said(tmp_path: Path) -> None:
    root = write_clocks(tmp_path / "data", clips=8, lacks="series", rates=RATES)
    _, manifest = open_data(fusion_recipe(missing="leave_out"), str(root))
    assert len(manifest) == 7
    assert any("1 of 8 clips lack a stream" in note for note in manifest.notes)
    _, strict = open_data(fusion_recipe(), str(root))
    assert len(strict) == 8


def test_data_in_which_no_clip_is_whole_is_refused(tmp_path: Path) -> None:
    root = write_clocks(tmp_path / "data", clips=2, rates=RATES)
    rows = [
        "clip,split,label,points,series",
        "c0,train,l0,points-0.npz,",
        "c1,train,l1,,series-1.npz",
    ]
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    (root / "dataset.json").write_text(
        '{"streams": {"points": {"layout": "kinect20", "fps": 30}, "series": {"fps": 50}}}'
    )
    with pytest.raises(DataError, match="no clip has all of"):
        open_data(fusion_recipe(missing="leave_out"), str(root))
