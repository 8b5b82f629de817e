"""TimeSformer: its published sizes, both forms of its class token, positions, and what must change nothing."""

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.errors import ModelError
from mudra.models import count_parameters, flops
from mudra.models.layers import DropPath, SelfAttention, attend
from mudra.models.positions import resize_space, resize_time
from mudra.models.stems import ConvolutionStem, LinearStem, with_differences
from mudra.models.timesformer import TimeSformer, TimeSformerSettings
from mudra.models.timesformer_weights import adapt_positions, from_transformers_state

TINY = {"width": 24, "depth": 2, "heads": 3, "patch": 8}


def tiny(clip: tuple[int, int, int, int] = (4, 3, 16, 24), seed: int = 0, **changes: Any) -> TimeSformer:
    """A small model in evaluation, all weights random (zeros would hide a path)."""
    torch.manual_seed(seed)
    model = TimeSformer(TimeSformerSettings(**{**TINY, **changes}), {"video": clip}, {"label": 5}).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model


def logits(model: nn.Module, video: Tensor) -> Tensor:
    answer: Tensor = model({"video": video})["label"]
    return answer


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- sizes ---------------------------------------------------------------------------------------------


def on_paper(clip: tuple[int, int, int, int], classes: int, **changes: Any) -> TimeSformer:
    with torch.device("meta"):
        return TimeSformer(TimeSformerSettings(**changes), {"video": clip}, {"label": classes})


BASE = {"class_token": "per_clip", "temporal_dense": True, "norm_eps": 1e-6}


def test_jester_timesformer_has_its_exact_size() -> None:
    model = on_paper((16, 3, 224, 224), 27, width=384, depth=8, heads=6, dropout=0.1)
    assert count_parameters(model) == 19_321_371


@pytest.mark.parametrize(("classes", "size"), [(400, 121_566_352), (101, 121_336_421), (51, 121_297_971)])
def test_the_base_model_has_its_published_size(classes: int, size: int) -> None:
    model = on_paper((8, 3, 224, 224), classes, **BASE)
    assert count_parameters(model) == size
    assert count_parameters(model) - count_parameters(model.heads) == 121_258_752


def test_operations_are_those_counted_by_hand() -> None:
    """Two layers of width D on T frames of P patches; the last one answers for class tokens alone."""
    frames, patches, width = 4, 6, 24
    every, tokens = frames * (1 + patches), frames
    linear = 2 * width * width
    stem = 2 * frames * patches * (3 * 8 * 8) * width
    time = every * 4 * linear + 2 * 2 * every * frames * width
    full = every * 4 * linear + 2 * 2 * every * (1 + patches) * width + every * 8 * linear
    last = (every * 2 + tokens * 2) * linear + 2 * 2 * tokens * (1 + patches) * width + tokens * 8 * linear
    head = 2 * width * 5
    assert flops(tiny(), {"video": (4, 3, 16, 24)}) == stem + 2 * time + full + last + head


# --- the same maths as elsewhere -----------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["divided_space_time", "joint_space_time"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_published_weights_give_the_published_logits(
    attention: str, dtype: torch.dtype, error: float
) -> None:
    with warnings.catch_warnings():  # what a third party's import warns of is not ours to mend
        warnings.simplefilter("ignore", DeprecationWarning)
        transformers = pytest.importorskip("transformers")
    config = transformers.TimesformerConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=48, num_hidden_layers=3,
        num_attention_heads=4, intermediate_size=96, num_labels=7, attention_type=attention,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.TimesformerForVideoClassification(config).to(dtype).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    divided = attention == "divided_space_time"
    ours = TimeSformer(
        TimeSformerSettings(
            width=48, depth=3, heads=4, patch=8, mlp_ratio=2, norm_eps=1e-6, class_token="per_clip",
            temporal_dense=divided, attention="divided" if divided else "joint",
        ),
        {"video": (4, 3, 32, 32)},
        {"label": 7},
    ).to(dtype)  # fmt: skip
    ours.load_state_dict(from_transformers_state(theirs.state_dict(), heads=4))
    video = draw(2, 4, 3, 32, 32, dtype=dtype)
    expected = theirs(video).logits
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(logits(ours.eval(), video), expected, rtol=0, atol=error)


def test_a_foreign_weight_is_named() -> None:
    for name in ("timesformer.pooler.weight", "timesformer.encoder.layer.x.output.dense.bias", "bert"):
        with pytest.raises(ModelError, match=name):
            from_transformers_state({name: torch.zeros(1)}, heads=1)


def slowly(model: TimeSformer, video: Tensor) -> Tensor:
    """A token per frame, written out plainly from the description: every token of every layer is computed."""
    weights, heads = dict(model.named_parameters()), model.settings.heads
    batch, frames = video.shape[:2]

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def attention(x: Tensor, name: str) -> Tensor:
        """Along the last axis but one."""
        per_head = []
        for part in linear(x, f"{name}.qkv").chunk(heads, dim=-1):
            q, k, v = part.chunk(3, dim=-1)
            per_head.append((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v)
        return linear(torch.cat(per_head, dim=-1), f"{name}.projection")

    patch = model.settings.patch
    stem = model.stem.convolution
    x = F.conv2d(video.flatten(0, 1), stem.weight, stem.bias, stride=patch).flatten(2).mT
    x = x.unflatten(0, (batch, frames))
    x = torch.cat([model.class_token.expand(batch, frames, 1, -1), x], dim=2)
    x = x + model.space_positions + weights["time_positions"][:, None]
    for layer in range(model.settings.depth):
        name = f"blocks.{layer}"
        along_time = normed(x, f"{name}.temporal.norm").transpose(1, 2)
        x = x + attention(along_time, f"{name}.temporal.attention").transpose(1, 2)
        x = x + attention(normed(x, f"{name}.norm_space"), f"{name}.space")
        x = x + linear(F.gelu(linear(normed(x, f"{name}.norm_mlp"), f"{name}.mlp.up")), f"{name}.mlp.down")
    return linear(normed(x, "norm")[:, :, 0].mean(1), "heads.to_label")


@pytest.mark.parametrize("depth", [1, 3])
def test_a_token_per_frame_is_computed_as_described(depth: int) -> None:
    model = tiny(depth=depth).double()
    video = draw(2, 4, 3, 16, 24, dtype=torch.float64)
    torch.testing.assert_close(logits(model, video), slowly(model, video), rtol=0, atol=1e-10)


# --- what time means -----------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["per_frame", "per_clip"])
def test_only_space_only_is_blind_to_the_order_of_frames(token: str) -> None:
    video = draw(2, 4, 3, 16, 24)
    for attention, blind in (("space_only", True), ("divided", False), ("joint", False)):
        model = tiny(attention=attention, class_token=token)
        same = torch.allclose(logits(model, video), logits(model, video.flip(1)), atol=1e-5)
        assert same == blind, attention


def test_temporal_attention_stays_at_its_place() -> None:
    """What happens at one patch reaches another only through spatial attention."""
    branch = tiny().blocks[0].temporal
    x = draw(1, 4, 5, 24)
    changed = x.clone()
    changed[:, 2, 3] += 1
    moved = (branch(changed) - branch(x)).abs().amax(dim=(0, 1, 3))
    assert moved[3] > 0
    assert moved[[0, 1, 2, 4]].max() == 0


def test_frame_differences_look_back_only() -> None:
    video = draw(1, 4, 3, 8, 8)
    both = with_differences(video)
    assert both.shape == (1, 4, 6, 8, 8)
    assert torch.equal(both[:, :, :3], video)
    assert torch.equal(both[:, 0, 3:], torch.zeros(1, 3, 8, 8))
    assert torch.equal(both[:, 2, 3:], video[:, 2] - video[:, 1])


@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_a_frame_s_tokens_depend_on_no_other_frame(stem: str) -> None:
    model = tiny(stem=stem)
    video = draw(1, 4, 3, 16, 24)
    changed = video.clone()
    changed[:, 2] += 1
    moved = (model.embed(changed) - model.embed(video)).unflatten(1, (4, -1)).abs().amax(dim=(0, 2, 3))
    assert moved[2] > 0
    assert moved[[0, 1, 3]].max() == 0


def test_frame_differences_alone_hide_the_still_background() -> None:
    model = tiny(frame_differences="alone")
    video = draw(2, 4, 3, 16, 24)
    torch.testing.assert_close(logits(model, video + draw(2, 1, 3, 16, 24, seed=2)), logits(model, video))


@pytest.mark.parametrize("token", ["per_frame", "per_clip"])
def test_mean_pooling_reads_every_token_of_the_last_layer(token: str) -> None:
    model = tiny(depth=1, class_token=token)
    averaged = tiny(depth=1, class_token=token, pool="mean")
    averaged.load_state_dict(model.state_dict())
    block, video = averaged.blocks[0], draw(2, 4, 3, 16, 24)
    every_token = averaged.norm(block(averaged.embed(video), 4)).mean(1)
    torch.testing.assert_close(averaged.features({"video": video}), every_token)
    assert not torch.allclose(model.features({"video": video}), every_token)


def test_the_temporal_branch_starts_closed_with_its_second_layer() -> None:
    for dense, closed in ((True, True), (False, False)):
        model = TimeSformer(
            TimeSformerSettings(**TINY, temporal_dense=dense), {"video": (4, 3, 16, 16)}, {"label": 2}
        )
        added = model.blocks[0].temporal(draw(1, 4, 5, 24))
        assert bool((added == 0).all()) == closed


def test_a_fresh_model_starts_small() -> None:
    torch.manual_seed(0)
    model = TimeSformer(
        TimeSformerSettings(width=96, heads=3, depth=1), {"video": (4, 3, 32, 32)}, {"label": 2}
    )
    for name, weight in model.named_parameters():
        if name.endswith("bias") or "position" in name or name == "class_token":
            assert not weight.any(), name
        elif "norm" not in name and weight.numel() > 1000:
            assert 0.019 < weight.detach().std().item() < 0.021, name


def test_a_scaled_start_goes_by_the_inputs_of_each_layer() -> None:
    torch.manual_seed(0)
    model = TimeSformer(TimeSformerSettings(**TINY, init="scaled"), {"video": (4, 3, 32, 32)}, {"label": 2})
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and weight.numel() > 1000 and "positions" not in name:
            expected = (
                2 * 0.88 / weight[0].numel() ** 0.5
            )  # cut at two deviations, a normal keeps 0.88 of one
            assert weight.detach().std().item() == pytest.approx(expected, rel=0.1), name
    for positions in (model.space_positions, model.time_positions):
        assert positions is not None
        assert 0.2 < positions.detach().std() < 0.4


# --- other lengths and sizes ---------------------------------------------------------------------------


def test_positions_that_fit_are_not_touched() -> None:
    time, space = draw(4, 6), draw(6, 6)
    assert resize_time(time, 4) is time
    assert resize_space(space, (2, 3), (2, 3)) is space


@given(st.integers(1, 20), st.integers(1, 20))
def test_time_between_two_positions_is_their_mixture(old: int, new: int) -> None:
    ramp = torch.arange(old, dtype=torch.float64)[:, None]
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5
    torch.testing.assert_close(resize_time(ramp, new)[:, 0], centres.clamp(0, old - 1))


def test_space_keeps_rows_and_columns_apart() -> None:
    rows = torch.arange(4.0)[:, None].expand(4, 6).reshape(24, 1)
    wider = resize_space(rows, (4, 6), (4, 12)).view(4, 12)
    torch.testing.assert_close(wider, torch.arange(4.0)[:, None].expand(4, 12))
    columns = torch.arange(6.0).expand(4, 6).reshape(24, 1)
    steps = resize_space(columns, (4, 6), (8, 12)).view(8, 12).diff(dim=1)
    assert steps.min() > 0.2  # smooth: no step is skipped, none repeated


@pytest.mark.parametrize("form", [{}, {"class_token": "per_clip"}, {"attention": "joint"}])
def test_another_length_and_size_is_adapted_alike_at_load_and_at_run_time(form: dict[str, Any]) -> None:
    model = tiny((4, 3, 16, 16), **form)
    other = tiny((6, 3, 24, 40), seed=5, **form)
    other.load_state_dict(adapt_positions(model.state_dict(), other))
    video = draw(2, 6, 3, 24, 40)
    torch.testing.assert_close(logits(other, video), logits(model, video))


def test_adapting_to_the_same_size_changes_nothing() -> None:
    model = tiny()
    adapted = adapt_positions(model.state_dict(), model)
    assert all(torch.equal(adapted[name], weight) for name, weight in model.state_dict().items())


def test_a_grid_that_is_not_square_must_be_told() -> None:
    state = tiny((4, 3, 16, 24)).state_dict()
    other = tiny((4, 3, 32, 32))
    with pytest.raises(ModelError, match="6 patches"):
        adapt_positions(state, other)
    assert adapt_positions(state, other, grid=(2, 3))["space_positions"].shape == (17, 24)


# --- what must change nothing --------------------------------------------------------------------------


@given(
    groups=st.integers(1, 3),
    length=st.integers(1, 70),
    places=st.integers(1, 4),
    keep=st.one_of(st.none(), st.just(1)),
    dense=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_every_way_to_compute_attention_gives_one_answer(
    groups: int, length: int, places: int, keep: int | None, dense: bool
) -> None:
    torch.manual_seed(length)
    layer = SelfAttention(12, 3, second_projection=dense, method="plain").double()
    x = draw(groups, length, places, 12, dtype=torch.float64)
    each = torch.stack([layer(x[:, :, place]) for place in range(places)], dim=2)
    for method in ("plain", "fused", "auto"):
        layer.method = method
        torch.testing.assert_close(layer(x, keep), each[:, :keep], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [3, 40])
def test_two_projections_in_a_row_learn_as_two(rows: int) -> None:
    """With many rows their weights are multiplied first; the gradients are still those of two layers."""
    torch.manual_seed(0)
    layer = SelfAttention(12, 3, second_projection=True).double()
    assert layer.dense is not None
    x = draw(2, rows, 12, dtype=torch.float64)
    weights = [*layer.projection.parameters(), *layer.dense.parameters()]
    found = torch.autograd.grad(layer._project(x).square().sum(), weights)
    expected = torch.autograd.grad(layer.dense(layer.projection(x)).square().sum(), weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_attention_weights_are_dropped_only_on_request() -> None:
    q = k = v = torch.ones(1, 1, 50, 4)
    torch.manual_seed(0)
    for method in ("plain", "fused"):
        assert torch.equal(attend(q, k, v, 0.0, method), attend(q, k, v, 0.0, method))
        dropped = attend(q, k, v, 0.5, method)
        assert dropped.std() > 0
        assert abs(dropped.mean() - 1) < 0.2


@pytest.mark.parametrize("form", [{}, {"class_token": "per_clip", "temporal_dense": True}])
def test_gradient_checkpointing_saves_memory_and_changes_no_gradient(form: dict[str, Any]) -> None:
    runs = []
    for checkpointing in (False, True):
        model = tiny(dropout=0.2, drop_path=0.2, gradient_checkpointing=checkpointing, **form).train()
        calls, kept = 0, 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1

        def keep(value: Tensor) -> Tensor:
            nonlocal kept
            kept += value.numel()
            return value

        model.blocks[0].mlp.register_forward_pre_hook(count)
        torch.manual_seed(9)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            loss = logits(model, draw(2, 4, 3, 16, 24)).square().sum()
        loss.backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters()}
        runs.append((calls, kept, gradients))
    (once, much, plain), (twice, little, checkpointed) = runs
    assert (once, twice) == (1, 2)
    assert little < much / 2
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)


@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_a_clip_may_lie_in_memory_as_its_frames_were_decoded(stem: str) -> None:
    """Channels last, as decoders write, gives what channels first gives."""
    model = tiny(stem=stem, frame_differences=True)
    decoded = draw(2, 4, 16, 24, 3).movedim(-1, 2)
    assert not decoded.is_contiguous()
    torch.testing.assert_close(logits(model, decoded), logits(model, decoded.contiguous()))


def test_a_linear_stem_is_the_convolution_it_is_stored_as() -> None:
    stem = LinearStem(3, 24, 8).double()
    frames = draw(2, 3, 16, 24, dtype=torch.float64)
    expected = stem.convolution(frames).flatten(2).mT
    torch.testing.assert_close(stem(frames), expected, rtol=0, atol=1e-12)


def test_a_convolution_stem_comes_down_to_the_patch_grid() -> None:
    for patch in (2, 8, 16):
        assert ConvolutionStem(3, 32, patch)(draw(2, 3, 32, 48)).shape == (
            2,
            (32 // patch) * (48 // patch),
            32,
        )


def test_a_convolution_stem_reads_the_grid_row_by_row() -> None:
    torch.manual_seed(0)
    stem = ConvolutionStem(1, 32, 8)
    frame = draw(1, 1, 32, 32)
    changed = frame.clone()
    changed[:, :, 4:12, 20:28] = draw(8, 8, seed=2) * 3  # around 8, 24: row 1, column 3 of a grid of 4 x 4
    moved = (stem(changed) - stem(frame)).abs().sum(-1)[0]
    assert moved.argmax() == 1 * 4 + 3
    assert moved[7] > 2 * moved[3 * 4 + 1]


# --- stochastic depth ----------------------------------------------------------------------------------


def test_drop_path_skips_whole_clips_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    kept = DropPath(0.25).train()(torch.ones(4000, 2, 3))
    assert torch.equal(kept, kept[:, :1, :1].expand_as(kept))
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 4 / 3]))
    assert abs(kept.mean() - 1) < 0.05


def test_drop_path_rises_from_the_first_layer_to_the_last_and_rests_in_evaluation() -> None:
    model = tiny(depth=3, drop_path=0.4)
    assert [block.drop_path.rate for block in model.blocks] == pytest.approx([0, 0.2, 0.4])
    video = draw(2, 4, 3, 16, 24)
    assert torch.equal(logits(model, video), logits(tiny(depth=3), video))


def test_dropout_is_on_in_training_everywhere_the_settings_say() -> None:
    video = draw(2, 4, 3, 16, 24)
    for off in ({}, {"dropout": 0.5}, {"attention_dropout": 0.5}, {"head_dropout": 0.5}, {"drop_path": 0.5}):
        model = tiny(**off).train()
        torch.manual_seed(0)
        varies = not torch.equal(logits(model, video), logits(model, video))
        assert varies == bool(off), off


def test_attention_dropout_follows_dropout_unless_it_is_said() -> None:
    rates = {None: 0.3, 0.0: 0.0, 0.1: 0.1}
    for said, meant in rates.items():
        model = tiny(dropout=0.3, attention_dropout=said)
        assert {layer.attention_dropout for layer in model.modules() if isinstance(layer, SelfAttention)} == {
            meant
        }


# --- what cannot be built or answered ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "clip", "words"),
    [
        ({"width": 25}, (4, 3, 16, 16), ["model.width", "25", "multiple of model.heads", "24"]),
        ({}, (4, 3, 20, 16), ["20x16", "multiples of model.patch, 8", "clip.size"]),
        ({}, (4, 3, 16), ["(4, 3, 16)", "frames, channels"]),
        ({}, (0, 3, 16, 16), ["(0, 3, 16, 16)", "at least 1"]),
        ({"stem": "conv", "patch": 12}, (4, 3, 24, 24), ["model.patch", "12", "stem: linear"]),
        (
            {"temporal_dense": True, "attention": "joint"},
            (4, 3, 16, 16),
            ["temporal_dense", "joint", "divided"],
        ),
    ],
)
def test_impossible_settings_are_told_in_one_line(
    changes: dict[str, Any], clip: tuple[int, ...], words: list[str]
) -> None:
    with pytest.raises(ModelError) as told:
        TimeSformer(TimeSformerSettings(**{**TINY, **changes}), {"video": clip}, {"label": 2})
    assert "\n" not in str(told.value)
    for word in words:
        assert word in str(told.value)


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((4, 3, 16, 24), "(4, 3, 16, 24)"),
        ((1, 4, 1, 16, 24), "(1, 4, 1, 16, 24)"),
        ((1, 0, 3, 16, 24), "(1, 0, 3, 16, 24)"),
        ((1, 4, 3, 16, 20), "16x20"),
    ],
)
def test_a_batch_of_another_form_is_told_in_one_line(shape: tuple[int, ...], word: str) -> None:
    with pytest.raises(ModelError) as told:
        tiny()({"video": torch.zeros(shape)})
    assert word in str(told.value)
    assert "\n" not in str(told.value)
