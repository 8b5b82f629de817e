"""The hierarchy of the keypoint transformer: parts, windows, scales, and classifiers on inner layers."""

from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mudra.clips.layouts import find_layout
from mudra.errors import ModelError
from mudra.models import count_parameters
from mudra.models.keypoint_transformer import KeypointTransformer, KeypointTransformerSettings, spans
from mudra.settings import parse

patient = hypothesis.settings(deadline=None, max_examples=20)

FRAMES, POINTS, DIMS = 12, 14, 2
NAN = float("nan")
HANDS = {"left_hand": [0, 1, 2, 3, 4], "right_hand": [5, 6, 7, 8, 9], "lips": [10, 11, 12]}
PARTS: dict[str, Any] = {"embedding": "parts", "parts": HANDS, "patch": 2}
OPTIONS: list[dict[str, Any]] = [
    PARTS,
    {**PARTS, "part_heads": True, "auxiliary": [1, 2], "differences": 0},
    {"local_depth": 1, "window": 3, "kernels": [3, 5, 7]},
    {"attention": "local", "window": 5, "kernel": 1},
    {"attention": "sparse", "window": 3, "stride": 4},
    {"pooling": ["mean", "max", "attention", "multiscale"], "classifier": [12, 8]},
    {"pooling": ["multiscale"]},
    {"norm": "rms", "mlp": "swiglu", "residual": "learned"},
    {"bone_features": "directions", "bones": [[0, 1], [1, 2], [5, 6]]},
]


def model(classes: int = 4, shape: tuple[int, ...] = (FRAMES, POINTS, DIMS), **settings: Any) -> Any:
    torch.manual_seed(0)
    tiny = parse(KeypointTransformerSettings, {"width": 16, "depth": 2, "heads": 2, **settings}, "test")
    stream = "points" if len(shape) == 3 else "series"
    made = KeypointTransformer(tiny, {stream: shape}, {"label": classes}).double().eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made


def clips(seed: int = 1, frames: int = FRAMES, unseen: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(2, frames, POINTS, DIMS, generator=generator, dtype=torch.float64)
    points[torch.rand(points.shape[:3], generator=generator) < unseen] = NAN
    return points


def answer(network: Any, points: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network({"points": points})["label"]
    return logits


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@patient
@given(
    before=st.integers(0, 10),
    after=st.integers(0, 30),
    frames=st.integers(1, 12),
    seed=st.integers(0, 99),
    unseen=st.floats(0, 1),
)
def test_padding_never_changes_the_answer(
    options: dict[str, Any], before: int, after: int, frames: int, seed: int, unseen: float
) -> None:
    points = clips(seed, frames, unseen)
    nothing = torch.full_like(points[:, :1], NAN)
    padded = torch.cat([nothing.expand(-1, before, -1, -1), points, nothing.expand(-1, after, -1, -1)], 1)
    network = model(**options)
    torch.testing.assert_close(answer(network, padded), answer(network, points), rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_neither_batch_mates_nor_absence_leak(options: dict[str, Any]) -> None:
    network = model(**options)
    points = clips(unseen=0.4)
    points[1] = NAN
    alone = torch.cat([answer(network, points[:1]), answer(network, points[1:])])
    torch.testing.assert_close(answer(network, points), alone, rtol=0, atol=1e-10)
    network.train()
    sum(logits.square().sum() for logits in network({"points": points}).values()).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in network.parameters())


def test_a_window_is_a_window() -> None:
    network = model(attention="local", window=3, depth=1, kernel=1, differences=0, pooling=["max"])
    points = clips(frames=20)
    moved = points.clone()
    moved[:, 15] += 1
    seen: list[Tensor] = []
    network.blocks[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    answer(network, points)
    answer(network, moved)
    changed = (seen[0] != seen[1]).any(-1).any(0)
    assert changed.nonzero().flatten().tolist() == [14, 15, 16]


def test_sparse_attention_sees_every_so_manyth_frame_as_well() -> None:
    network = model(attention="sparse", window=3, stride=5, depth=1, kernel=1, differences=0)
    points = clips(frames=20)
    seen: list[Tensor] = []
    network.blocks[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    moved = points.clone()
    moved[:, 11] += 1
    answer(network, points)
    answer(network, moved)
    changed = (seen[0] != seen[1]).any(-1).any(0)
    assert changed.nonzero().flatten().tolist() == [1, 6, 10, 11, 12, 16]


def test_scales_are_different_spans_of_what_is_there() -> None:
    there = torch.tensor([[1.0, 1, 0, 1, 1, 1, 0, 0]])[..., None]
    assert spans(there, 1)[0].tolist() == [[pytest.approx(v) for v in (0.2, 0.2, 0, 0.2, 0.2, 0.2, 0, 0)]]
    first, last = spans(there, 2)[0]
    assert first.nonzero().flatten().tolist() == [0, 1, 3]
    assert last.nonzero().flatten().tolist() == [3, 4, 5]
    torch.testing.assert_close(spans(there, 8).sum(-1), torch.ones(1, 8))


@pytest.mark.parametrize("frames", [1, 3, 8, 13])
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_spans_are_those_of_adaptive_pooling(frames: int, scale: int) -> None:
    x = torch.randn(1, frames, 5)
    pooled = torch.nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), scale).transpose(1, 2)
    torch.testing.assert_close(spans(torch.ones(1, frames, 1), scale) @ x, pooled)


def test_inner_answers_stand_beside_the_tasks_in_training_alone() -> None:
    network = model(**PARTS, part_heads=True, auxiliary=[1, 2])
    assert set(network({"points": clips()})) == {"label"}
    parts = {f"label/part:{part}" for part in (*HANDS, "other")}
    logits = network.train()({"points": clips()})
    assert set(logits) == {"label", "label/aux1", "label/aux2", *parts}
    assert all(row.shape == (2, 4) for row in logits.values())


def test_hands_look_at_each_other_and_have_something_to_choose_among() -> None:
    network = model(**PARTS)
    answer_of = network({"points": clips()})["label"]
    answer_of.square().sum().backward()
    crossing = network.embed.crossing
    assert len(crossing) == 2
    for attention in crossing:
        assert attention.query.weight.grad.abs().max() > 1e-8
        assert attention.key_value.weight.grad[: attention.query.weight.shape[0]].abs().max() > 1e-8


def test_both_hands_look_at_what_the_other_was_before() -> None:
    """At once, not one after the other: swapping hands and weights swaps the outcome."""
    network = model(**PARTS)
    points = clips()
    swapped = points[:, :, [*range(5, 10), *range(5), *range(10, 14)]]
    embed = network.embed
    with torch.no_grad():
        for one, other in ((embed.parts[0], embed.parts[1]), (embed.crossing[0], embed.crossing[1])):
            other.load_state_dict(one.state_dict())
        before, after = (
            embed.vectors(embed.crossed(embed.apart(network.look(each)))) for each in (points, swapped)
        )
    torch.testing.assert_close(before[:, 0], after[:, 1], rtol=0, atol=1e-12)
    torch.testing.assert_close(before[:, 1], after[:, 0], rtol=0, atol=1e-12)


def test_a_part_that_is_not_seen_is_a_learnt_vector_whatever_lies_there() -> None:
    network = model(**PARTS)
    points = clips()
    points[:, 3, :5] = NAN
    with torch.no_grad():
        parts = network.embed.vectors(network.embed.apart(network.look(points)))
    torch.testing.assert_close(parts[[3, 3 + FRAMES], 0], network.embed.parts[0].missing.expand(2, -1))


def test_a_part_answers_before_it_saw_the_others() -> None:
    network = model(**PARTS, part_heads=True).train()
    points = clips()
    moved = points.clone()
    moved[:, :, 5:10] += 1
    with torch.no_grad():
        said, says = network({"points": points}), network({"points": moved})
    changed = {name for name in said if not torch.equal(said[name], says[name])}
    assert changed == {"label", "label/part:right_hand"}


def test_a_batch_is_cut_to_its_longest_clip() -> None:
    network = model()
    seen: list[int] = []
    network.blocks[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[1]))
    points = clips(frames=12)
    points[0, 5:], points[1, 9:] = NAN, NAN
    answer(network, points)
    answer(network, torch.full_like(points, NAN))
    assert seen == [9, 1]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {**PARTS, "attention": "sparse", "auxiliary": [1], "mlp": "swiglu"}])
def test_a_compiler_sees_the_whole_network(options: dict[str, Any]) -> None:
    network = model(**options, dropout=0.1, layer_drop=0.1)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    points = clips(unseen=0.3)
    torch.testing.assert_close(answer(compiled, points), answer(network, points), rtol=0, atol=1e-10)
    sum(logits.sum() for logits in compiled.train()({"points": points}).values()).backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_a_dropped_layer_still_has_gradients() -> None:
    network = model(layer_drop=0.9).train()
    network({"points": clips()})["label"].sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_a_series_is_read_as_points_on_a_line() -> None:
    network = model(shape=(FRAMES, 6))
    series = torch.randn(2, FRAMES, 6, dtype=torch.float64)
    with torch.no_grad():
        once = network({"series": series})["label"]
        longer = torch.cat([series, torch.full_like(series, NAN)], 1)
        again = network({"series": longer})["label"]
    torch.testing.assert_close(again, once, rtol=0, atol=1e-10)


def test_a_layout_fills_in_what_the_settings_ask_for() -> None:
    layout = find_layout("sign92")
    settings = parse(KeypointTransformerSettings, {"embedding": "parts"}, "test")
    filled = settings.with_layout(layout.parts, layout.bones)
    assert list(filled.parts or {}) == ["lips", "left_hand", "right_hand", "pose"]
    assert filled.bones is None
    assert filled.with_layout({}, ()) == filled
    assert settings.parts is None


def test_sizes_fill_in_what_is_not_said() -> None:
    tiny = parse(KeypointTransformerSettings, {"size": "tiny", "depth": 3}, "test")
    assert (tiny.width, tiny.depth, tiny.heads) == (96, 3, 4)
    again = parse(KeypointTransformerSettings, tiny.model_dump(mode="json"), "test")
    assert again == tiny


def test_the_system_for_signs_has_about_thirty_million_parameters() -> None:
    layout = find_layout("sign92")
    settings = parse(
        KeypointTransformerSettings,
        {
            "size": "large", "depth": 4, "local_depth": 4, "embedding": "parts", "kernels": [3, 5, 7],
            "norm": "rms", "mlp": "swiglu", "residual": "learned", "classifier": [512, 256, 128],
            "pooling": ["mean", "max", "attention", "multiscale"],
        },
        "test",
    )  # fmt: skip
    with torch.device("meta"):
        network = KeypointTransformer(
            settings.with_layout(layout.parts, layout.bones), {"points": (128, 92, 2)}, {"label": 1000}
        )
    assert 25e6 < count_parameters(network) < 35e6


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({**PARTS, "crossings": [["left_hand", "right_foot"]]}, "right_foot"),
        ({**PARTS, "patch": 8}, "one patch"),
        ({"parts": {"hand": [0, 99]}, "embedding": "parts"}, "99"),
        ({"parts": {"hand": [0, 1], "arm": [1, 2]}, "embedding": "parts"}, "twice"),
        ({"auxiliary": [2, 1]}, "model.auxiliary"),
        ({"auxiliary": [3]}, "model.auxiliary"),
        ({"part_heads": True}, "part_heads"),
        ({"kernels": [4]}, "model.kernels"),
        ({**PARTS, "part_width": 7}, "part_width"),
    ],
)
def test_senseless_hierarchies_are_told_in_one_line(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ModelError, match=word) as told:
        model(**settings)
    assert "\n" not in str(told.value)
