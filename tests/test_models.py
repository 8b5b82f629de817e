"""The contract that every model of the catalogue keeps, each tried at a tiny size."""

import copy
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mudra.errors import ModelError
from mudra.models import count_parameters, flops
from mudra.models.counting import peak_memory
from mudra.models.freezing import moving_statistics
from mudra.recipe import KINDS, kind_class
from mudra.settings import parse


class Tiny(NamedTuple):
    """One model of the catalogue, small enough to be tried in milliseconds."""

    kind: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, tuple[int, ...]]


VIDEO = {"video": (4, 3, 16, 16)}
TIMESFORMER = {"width": 16, "depth": 2, "heads": 2, "patch": 8}
POINTS = {"points": (6, 5, 3)}
KEYPOINTS = {"width": 16, "depth": 2, "heads": 2}
PARTS = {
    **KEYPOINTS,
    "embedding": "parts",
    "parts": {"left_hand": [0, 1, 2, 3, 4], "right_hand": [5, 6, 7]},
    "patch": 2,
    "depth": 1,
    "local_depth": 1,
    "window": 3,
    "kernels": [3, 5],
    "attention": "sparse",
    "stride": 4,
    "norm": "rms",
    "mlp": "swiglu",
    "residual": "learned",
    "pooling": ["mean", "max", "attention", "multiscale"],
    "classifier": [12],
}
EVERYTHING = {
    **PARTS,
    "auxiliary": [1, 2],
    "part_heads": True,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "head_dropout": 0.1,
    "drop_path": 0.1,
    "layer_drop": 0.1,
}
C3D = {"channels": [[4], [6, 6], [8]], "width": 12}
R2PLUS1D = {
    "network": "r2plus1d_18",
    "frame_differences": True,
    "width_multiple": 0.125,
    "blocks": [1, 1, 1, 1],
}
FRAMES = {"backbone": "test_resnet", "width": 16, "heads": 2, "depth": 1}
C3D = {"kind": "c3d", "channels": [[4], [6]], "readout": "pool"}
BODY = {"kind": "keypoint_transformer", **KEYPOINTS, "depth": 1}
STREAMS = {"points": (7, 5, 3), "series": (7, 4)}
PICTURES = {"video": (6, 3, 16, 16), "depth": (6, 1, 16, 16), "mask": (6, 1, 16, 16), "points": (6, 5, 3)}
FUSION = {"trunks": {"points": BODY, "series": BODY}, "width": 8, "heads": 2}
CLASSES = {"verb": 5, "noun": 3}
CATALOGUE = {
    "timesformer, token per frame": Tiny("timesformer", TIMESFORMER, VIDEO),
    "timesformer, token per clip": Tiny(
        "timesformer", {**TIMESFORMER, "class_token": "per_clip", "temporal_dense": True}, VIDEO
    ),
    "timesformer, joint": Tiny("timesformer", {**TIMESFORMER, "attention": "joint"}, VIDEO),
    "timesformer, joint, token per clip": Tiny(
        "timesformer", {**TIMESFORMER, "attention": "joint", "class_token": "per_clip"}, VIDEO
    ),
    "timesformer, space only": Tiny("timesformer", {**TIMESFORMER, "attention": "space_only"}, VIDEO),
    "timesformer, mean of all tokens": Tiny(
        "timesformer", {**TIMESFORMER, "pool": "mean", "init": "scaled", "frame_differences": "alone"}, VIDEO
    ),
    "timesformer, convolutions": Tiny(
        "timesformer", {**TIMESFORMER, "stem": "conv", "frame_differences": True, "dropout": 0.1}, VIDEO
    ),
    "c3d": Tiny("c3d", C3D, VIDEO),
    "frames, mean": Tiny("frames", {"backbone": "test_resnet"}, VIDEO),
    "frames, depth": Tiny(
        "frames", {**FRAMES, "backbone": "test_efficientnet", "head_dropout": 0.2}, {"depth": (4, 1, 16, 16)}
    ),
    "frames, LSTM, frozen stages": Tiny(
        "frames",
        {
            **FRAMES,
            "temporal": "lstm",
            "depth": 2,
            "frozen_stages": 2,
            "dropout": 0.1,
            "frame_differences": True,
        },
        VIDEO,
    ),
    "frames, transformer, frozen": Tiny(
        "frames", {**FRAMES, "temporal": "transformer", "frozen_stages": 5, "drop_path": 0.1}, VIDEO
    ),
    "frames, a vision transformer, learned positions": Tiny(
        "frames",
        {**FRAMES, "backbone": "test_vit", "temporal": "transformer", "positions": "learned", "depth": 2},
        VIDEO,
    ),
    "frames, windows, branches": Tiny(
        "frames",
        {**FRAMES, "temporal": "multiscale", "windows": [2, 3, 8], "branches": "separate", "branch_depth": 2},
        VIDEO,
    ),
    "frames, tasks that look at each other": Tiny(
        "frames",
        {
            **FRAMES,
            "branches": "crossed",
            "branch_depth": 2,
            "attention_dropout": 0.1,
            "backbone_drop_path": 0.1,
        },
        VIDEO,
    ),
    "c3d, a trunk": Tiny("c3d", {**C3D, "readout": "pool", "dropout": 0.1}, {"depth": (4, 1, 16, 16)}),
    "video, R(2+1)D": Tiny("video", R2PLUS1D, VIDEO),
    "keypoint transformer": Tiny("keypoint_transformer", KEYPOINTS, POINTS),
    "keypoint transformer, a series": Tiny("keypoint_transformer", KEYPOINTS, {"series": (6, 5)}),
    "keypoint transformer, bones": Tiny(
        "keypoint_transformer",
        {**KEYPOINTS, "bone_features": "directions", "bones": [[0, 1], [1, 4]]},
        POINTS,
    ),
    "keypoint transformer, parts": Tiny("keypoint_transformer", PARTS, {"points": (12, 9, 2)}),
    "keypoint transformer, everything": Tiny("keypoint_transformer", EVERYTHING, {"points": (12, 9, 2)}),
    "keypoint transformer, a series in parts": Tiny(
        "keypoint_transformer", {**KEYPOINTS, "embedding": "parts", "patch": 2}, {"series": (6, 5)}
    ),
    "fusion, the whole clip": Tiny("fusion", {**FUSION, "window": None, "trunk_heads": True}, STREAMS),
    "fusion, windows both ways": Tiny(
        "fusion",
        {
            **FUSION,
            "window": 3,
            "temporal": "bilstm",
            "hidden": 6,
            "attention_window": 3,
            "widths": {"series": 4},
        },
        STREAMS,
    ),
    "fusion, streams that are weighed": Tiny(
        "fusion",
        {
            **FUSION,
            "window": 2,
            "fuse": "attention",
            "temporal": "transformer",
            "stream_dropout": 0.3,
            "dropout": 0.1,
        },
        STREAMS,
    ),
    "fusion, pictures": Tiny(
        "fusion",
        {
            "trunks": {"video": C3D, "depth": C3D, "skeleton": C3D},
            "looks": {
                "depth": {"times": "mask"},
                "skeleton": {"stream": "points", "drawn": 8, "bones": [[0, 1], [1, 4], [2, 3]]},
            },
            "window": 4,
            "width": 8,
            "temporal": "bilstm",
            "hidden": 6,
            "attention_window": 1,
        },
        PICTURES,
    ),
    "keypoint transformer, positions alone": Tiny(
        "keypoint_transformer",
        {**KEYPOINTS, "differences": 0, "kernel": 1},
        {"points": (6, 5, 2)},
    ),
}


def build(tiny: Tiny, seed: int = 0) -> nn.Module:
    """The model in evaluation, with every weight drawn at random: no zeros that would hide a path."""
    torch.manual_seed(seed)
    model: nn.Module = make(tiny).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model


def make(tiny: Tiny) -> Any:
    kind = kind_class("model", tiny.kind, "test")
    settings = parse(kind.Settings, {"kind": tiny.kind, **tiny.settings}, "test")
    return kind(settings, tiny.inputs, CLASSES)


def calm(tiny: Tiny) -> Tiny:
    """The same without anything random."""
    return tiny._replace(settings={key: value for key, value in tiny.settings.items() if "drop" not in key})


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def clips(tiny: Tiny, count: int = 3, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(count, *shape, generator=generator) for name, shape in tiny.inputs.items()}
    if "points" in drawn:  # each is unseen somewhere
        points = drawn["points"]
        for row in range(points.shape[2]):
            points[:, row, row] = torch.nan
        points[:, -1] = torch.nan
        if points.shape[2] > 5:  # whole parts of the body
            points[:, 3, :5], points[:, 4, 5:] = torch.nan, torch.nan
    if "series" in drawn:
        drawn["series"][:, 2, 1:3] = torch.nan
        if len(drawn) == 1:
            drawn["series"][-1] = torch.nan  # a recording of nothing
    if len(drawn) > 1:  # each stream is missing somewhere, and no clip lacks all
        for number, values in enumerate(drawn.values()):
            values[number % count] = torch.nan
    return drawn


def told(answers: Mapping[str, Tensor]) -> list[Tensor]:
    """The logits of some answers; of those at every window, which are NaN where there is none, the ones that are."""
    return [row[~row.isnan().all(-1)] if name.endswith("/windows") else row for name, row in answers.items()]


@pytest.fixture(params=CATALOGUE.values(), ids=CATALOGUE.keys())
def tiny(request: pytest.FixtureRequest) -> Tiny:
    chosen: Tiny = request.param
    return chosen


def test_every_kind_of_model_is_tried_here() -> None:
    assert {tiny.kind for tiny in CATALOGUE.values()} == set(KINDS["model"])


def test_logits_have_one_row_per_clip_and_one_column_per_class(tiny: Tiny) -> None:
    logits = build(tiny)(clips(tiny))
    assert {task: tuple(row.shape) for task, row in logits.items()} == {"verb": (3, 5), "noun": (3, 3)}


def test_a_model_tells_what_its_classifiers_read(tiny: Tiny) -> None:
    """So it can be the trunk of another model: a vector a clip, as wide as it says."""
    model: Any = build(tiny)
    features_BD = model.features(clips(tiny))
    assert tuple(features_BD.shape) == (3, model.feature_width)
    assert all(torch.equal(row, model.heads(features_BD)[task]) for task, row in model(clips(tiny)).items())


def test_gradients_reach_every_parameter(tiny: Tiny) -> None:
    model = build(calm(tiny)).train()  # a model may have answers that it gives in training alone
    sum(logits.square().sum() for logits in told(model(clips(tiny)))).backward()
    silent = [
        name for name, weight in trainable(model).items() if weight.grad is None or not weight.grad.any()
    ]
    assert silent == []


def test_each_task_trains_its_own_head_alone(tiny: Tiny) -> None:
    model = build(tiny)
    model(clips(tiny))["verb"].sum().backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert any("verb" in name for name in trained)
    assert not any("noun" in name for name in trained)


def test_a_saved_model_answers_the_same_after_loading(tiny: Tiny, tmp_path: Any) -> None:
    model, other = build(tiny, seed=0), build(tiny, seed=7)
    before = other(clips(tiny))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    for task, logits in model(clips(tiny)).items():
        assert torch.equal(other(clips(tiny))[task], logits)
        assert not torch.equal(before[task], logits)


def test_the_same_seed_builds_the_same_model(tiny: Tiny) -> None:
    torch.manual_seed(3)
    first = make(tiny).state_dict()
    torch.manual_seed(3)
    second = make(tiny).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_evaluation_draws_no_random_numbers(tiny: Tiny) -> None:
    model = build(tiny)
    first, second = model(clips(tiny)), model(clips(tiny))
    assert all(torch.equal(first[task], second[task]) for task in first)


def test_a_clip_is_judged_without_its_batch_mates(tiny: Tiny) -> None:
    model = build(tiny).double()
    batch = {name: values.double() for name, values in clips(tiny).items()}
    alone = model({name: values[:1] for name, values in batch.items()})
    for values in batch.values():
        values[1:] *= 1e3
    together = model(batch)
    for task, logits in alone.items():
        torch.testing.assert_close(together[task][:1], logits, rtol=0, atol=1e-10)


def test_training_and_evaluation_see_one_network(tiny: Tiny) -> None:
    """Without anything random, train mode answers as evaluation does, but for the batch norms that train.

    Those are told by `moving_statistics`; nothing else may look at statistics of the batch.
    """
    model = build(calm(tiny))
    evaluated = model(clips(tiny))
    moving = moving_statistics(model)
    model.train()
    for name in moving:
        model.get_submodule(name).eval()
    trained = model(clips(tiny))
    for task, logits in evaluated.items():
        torch.testing.assert_close(trained[task], logits)


def test_what_a_model_says_in_training_alone_belongs_to_a_task(tiny: Tiny) -> None:
    """`task/aux1` and the like: as many classes as the task. `task/windows` has a row for each window."""
    said = build(tiny).train()({name: values[:2] for name, values in clips(tiny).items()})
    assert list(said)[: len(CLASSES)] == list(CLASSES)
    assert {name: (row.shape[0], row.shape[-1]) for name, row in said.items()} == {
        name: (2, CLASSES[name.partition("/")[0]]) for name in said
    }
    assert all(row.ndim == 2 + name.endswith("/windows") for name, row in said.items())


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e4])
def test_extreme_inputs_give_finite_logits_and_gradients(tiny: Tiny, scale: float) -> None:
    model = build(calm(tiny)).train()
    logits = told(model({name: values * scale for name, values in clips(tiny).items()}))
    sum(row.square().mean() for row in logits).backward()
    assert all(row.isfinite().all() for row in logits)
    assert all(
        weight.grad is not None and weight.grad.isfinite().all() for weight in trainable(model).values()
    )


@torch.no_grad()
def test_autocast_to_bf16_stays_close(tiny: Tiny) -> None:
    model = build(tiny)
    exact = model(clips(tiny))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(clips(tiny))
    for task, logits in exact.items():
        spread = logits.abs().max()
        torch.testing.assert_close(rounded[task].float(), logits, rtol=0, atol=0.06 * float(spread))


def test_a_copy_is_a_model_of_its_own(tiny: Tiny) -> None:
    """What an average of weights over time starts from."""
    model = build(tiny)
    twin = copy.deepcopy(model)
    before = model(clips(tiny))
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert all(torch.equal(logits, before[task]) for task, logits in model(clips(tiny)).items())


def test_size_and_cost_are_known_without_weights(tiny: Tiny) -> None:
    with torch.device("meta"):
        ghost = make(tiny)
    assert all(weight.is_meta for weight in ghost.parameters())
    assert count_parameters(ghost) == sum(weight.numel() for weight in trainable(build(tiny)).values())
    assert flops(ghost, tiny.inputs) == flops(build(tiny), tiny.inputs) > 0


def test_counting_leaves_the_model_as_it_was(tiny: Tiny) -> None:
    model = build(tiny).train()
    flops(model, tiny.inputs)
    assert model.training
    assert not any(weight.is_meta for weight in model.parameters())


def test_memory_is_known_without_weights(tiny: Tiny) -> None:
    """At least the weights and the clip; the same wherever the model lies."""
    with torch.device("meta"):
        ghost = make(tiny)
    least = 4 * (count_parameters(ghost, trainable=False) + sum(math.prod(s) for s in tiny.inputs.values()))
    assert peak_memory(ghost, tiny.inputs) == peak_memory(build(tiny), tiny.inputs) > least


def test_memory_counts_what_is_alive_at_once() -> None:
    """Of a chain of ten layers two results at a time, not ten."""

    class Chain(nn.Sequential):
        def forward(self, streams: Mapping[str, Tensor]) -> Tensor:
            return super().forward(streams["x"])

    chain = Chain(*[nn.Linear(10, 10, bias=False) for _ in range(10)])
    assert peak_memory(chain, {"x": (1000, 10)}) == 4 * (10 * 100 + 10_000 + 2 * 10_000)


def test_frozen_parameters_are_not_counted_as_trainable(tiny: Tiny) -> None:
    model = build(tiny)
    everything = count_parameters(model)
    whole = count_parameters(model, trainable=False)
    frozen = next(iter(trainable(model).values())).requires_grad_(False).numel()
    assert count_parameters(model) == everything - frozen
    assert count_parameters(model, trainable=False) == whole >= everything


def test_what_is_not_decayed_are_parameters_of_the_model(tiny: Tiny) -> None:
    model: Any = make(tiny)
    assert model.undecayed() <= {name for name, _ in model.named_parameters()}


def test_an_unknown_stream_is_told_in_one_line(tiny: Tiny) -> None:
    kind = kind_class("model", tiny.kind, "test")
    settings = parse(kind.Settings, {"kind": tiny.kind, **tiny.settings}, "test")
    with pytest.raises(ModelError, match="smell") as told:
        kind(settings, {"smell": (4, 3)}, CLASSES)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("classes", "word"), [({}, "task"), ({"a.b": 3}, "a.b"), ({"a/b": 3}, "a/b"), ({"a": 0}, "0 classes")]
)
def test_impossible_tasks_are_told_in_one_line(tiny: Tiny, classes: dict[str, int], word: str) -> None:
    kind = kind_class("model", tiny.kind, "test")
    settings = parse(kind.Settings, {"kind": tiny.kind, **tiny.settings}, "test")
    with pytest.raises(ModelError, match=word) as told:
        kind(settings, tiny.inputs, classes)
    assert "\n" not in str(told.value)


def test_a_task_may_be_called_like_a_method_of_a_module(tiny: Tiny) -> None:
    kind = kind_class("model", tiny.kind, "test")
    settings = parse(kind.Settings, {"kind": tiny.kind, **tiny.settings}, "test")
    model = kind(settings, tiny.inputs, {"type": 2, "keys": 3, "half": 4}).eval()
    assert {task: row.shape[1] for task, row in model(clips(tiny)).items()} == {
        "type": 2,
        "keys": 3,
        "half": 4,
    }
