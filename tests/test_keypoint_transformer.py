"""The keypoint transformer reads what was seen, and nothing else."""

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mudra.errors import ModelError
from mudra.models.keypoint_transformer import KeypointTransformer, KeypointTransformerSettings

patient = hypothesis.settings(deadline=None, max_examples=25)

FRAMES, POINTS, DIMS = 9, 5, 3
NAN = float("nan")


def model(**settings: object) -> KeypointTransformer:
    torch.manual_seed(0)
    tiny = KeypointTransformerSettings(**{"width": 16, "depth": 2, "heads": 2, **settings})
    made = KeypointTransformer(tiny, {"points": (FRAMES, POINTS, DIMS)}, {"label": 4}).double().eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made


def clips(count: int = 2, frames: int = FRAMES, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, frames, POINTS, DIMS, generator=generator, dtype=torch.float64)


@torch.no_grad()
def answer(points: Tensor, network: KeypointTransformer | None = None) -> Tensor:
    return (network or model())({"points": points})["label"]


def empty(like: Tensor, frames: int) -> Tensor:
    return torch.full_like(like[:, :1], NAN).expand(-1, frames, -1, -1)


@patient
@given(
    after=st.integers(0, 20),
    before=st.integers(0, 20),
    frames=st.integers(1, 12),
    unseen=st.integers(0, 2**16),
)
def test_empty_frames_around_a_clip_change_nothing(after: int, before: int, frames: int, unseen: int) -> None:
    points = clips(frames=frames)
    lost = torch.rand(points.shape[:3], generator=torch.Generator().manual_seed(unseen)) < 0.3
    points[lost] = NAN
    padded = torch.cat([empty(points, before), points, empty(points, after)], 1)
    if points.isnan().all():
        return
    torch.testing.assert_close(answer(padded), answer(points), rtol=0, atol=1e-9)


@pytest.mark.parametrize("frames", [1, 4, 30])
def test_a_clip_without_any_point_has_one_finite_answer_however_long(frames: int) -> None:
    nothing = torch.full((1, frames, POINTS, DIMS), NAN, dtype=torch.float64)
    found = answer(nothing)
    assert found.isfinite().all()
    torch.testing.assert_close(found, answer(nothing[:, :1]), rtol=0, atol=1e-10)


def test_a_clip_without_any_point_gives_finite_gradients() -> None:
    network = model().train()
    network({"points": torch.full((2, 3, POINTS, DIMS), NAN, dtype=torch.float64)})["label"].sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in network.parameters())


def test_an_absent_point_is_not_a_point_at_the_origin() -> None:
    points = clips()
    gone, zero = points.clone(), points.clone()
    gone[:, :, 2], zero[:, :, 2] = NAN, 0
    assert not torch.allclose(answer(gone), answer(zero), atol=1e-3)


def test_a_point_of_which_one_coordinate_is_missing_is_absent() -> None:
    points = clips()
    whole, part = points.clone(), points.clone()
    whole[:, 3, 1] = NAN
    part[:, 3, 1, 2] = NAN
    torch.testing.assert_close(answer(part), answer(whole), rtol=0, atol=1e-12)


@patient
@given(seed=st.integers(0, 2**16), share=st.floats(0, 1))
def test_absence_never_leaks_into_logits_or_gradients(seed: int, share: float) -> None:
    points = clips(seed=seed)
    points[torch.rand(points.shape, generator=torch.Generator().manual_seed(seed)) < share] = NAN
    network = model()
    logits = network({"points": points})["label"]
    logits.square().sum().backward()
    assert logits.isfinite().all()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


def test_the_order_of_time_matters() -> None:
    points = clips()
    network = model(differences=0)
    assert not torch.allclose(answer(points, network), answer(points.flip(1), network), atol=1e-3)


def test_a_model_takes_clips_of_another_length() -> None:
    assert answer(clips(frames=50)).shape == (2, 4)


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"width": 15}, "model.heads"), ({"width": 18, "heads": 6}, "even"), ({"kernel": 4}, "model.kernel")],
)
def test_senseless_settings_are_told_in_one_line(settings: dict[str, int], word: str) -> None:
    with pytest.raises(ModelError, match=word) as told:
        model(**settings)
    assert "\n" not in str(told.value)


def test_layers_have_an_order() -> None:
    network = model()
    depths = {name: network.layer_of(name) for name, _ in network.named_parameters()}
    assert depths["embed.linear.weight"] == 0
    assert depths["blocks.1.mlp.up.weight"] == 2
    assert depths["heads.heads.to_label.weight"] == 3
