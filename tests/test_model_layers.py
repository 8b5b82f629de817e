"""Layers that model families share: dropout and phases as they are done on a CPU, norms, the choice of attention."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.models import layers
from mudra.models.layers import (
    MLP,
    Dropout,
    RMSNorm,
    SelfAttention,
    SwiGLU,
    attend,
    rotary_phases,
    turned,
)

HALF = (torch.bfloat16, torch.float16)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- dropout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    kept = Dropout(rate)(torch.ones(501, 801))  # no multiple of four
    assert abs(float((kept == 0).float().mean()) - rate) < 0.005
    assert abs(float(kept.mean()) - 1) < 0.02
    assert len(kept.unique()) == 2


def test_dropout_draws_anew_each_time_and_the_same_from_the_same_seed() -> None:
    dropout, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert not torch.equal(first, second)
    assert torch.equal(dropout(x), first)


def test_neighbours_are_dropped_independently() -> None:
    """Four elements share a drawn number's bits."""
    torch.manual_seed(0)
    gone = (Dropout(0.5)(torch.ones(40_000, 4)) == 0).float()
    torch.testing.assert_close(torch.corrcoef(gone.T), torch.eye(4), rtol=0, atol=0.02)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_dropout_rests_in_evaluation_and_at_rate_0(rate: float) -> None:
    x = draw(7, 5)
    assert Dropout(rate).train(rate == 0)(x) is x


@pytest.mark.parametrize("kind", [MLP, SwiGLU])
def test_dropout_inside_an_mlp_is_dropout_after_its_activation(kind: type[MLP] | type[SwiGLU]) -> None:
    torch.manual_seed(0)
    mlp, x = kind(6, 16, 0.3).double().train(), draw(2, 5, 6).requires_grad_()
    weights = [x, *mlp.parameters()]
    torch.manual_seed(1)
    found = mlp(x)
    gradients = torch.autograd.grad(found.square().sum(), weights)

    torch.manual_seed(1)
    up = mlp.up(x)
    hidden = F.gelu(up) if kind is MLP else F.silu(up[..., :16]) * up[..., 16:]
    gone = layers._drawn(hidden, 0.3)
    assert 0 < gone.sum() < gone.numel()
    expected = mlp.dropout(mlp.down(hidden * ~gone / (1 - round(0.3 * 2**16) / 2**16)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(expected.square().sum(), weights), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
@pytest.mark.parametrize("activation", [F.gelu, F.silu])
def test_what_is_silenced_says_nothing_and_learns_nothing(
    activation: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    x = torch.full((3,), layers.SILENT, dtype=dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(activation(x).sum(), x)
    assert not activation(x).any()
    assert not slope.any()


# --- phases ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_phases_turn_pairs_of_neighbours(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    """One operation at a time, and as a compiler sees it."""
    monkeypatch.setattr(layers, "eager_on_cpu", lambda _x: not whole)
    x, (cos, sin) = draw(3, 7, 8).requires_grad_(), rotary_phases(7, 8, draw(1))
    one, two = x[..., 0::2], x[..., 1::2]
    by_hand = torch.stack([one * cos - two * sin, one * sin + two * cos], -1).flatten(-2)
    found = turned(x, cos, sin)
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-14)
    gradients = [torch.autograd.grad((y * draw(3, 7, 8, seed=1)).sum(), x)[0] for y in (found, by_hand)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", HALF)
def test_phases_keep_the_precision_that_comes_in(dtype: torch.dtype) -> None:
    x, phases = draw(3, 7, 8), rotary_phases(7, 8, draw(1))
    found = turned(x.to(dtype), *phases)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), turned(x, *phases), rtol=0, atol=0.05)


def test_turned_scores_depend_on_the_distance_alone() -> None:
    phases = rotary_phases(9, 8, draw(1))
    q, k = (turned(draw(8, seed=seed).expand(9, 8), *phases) for seed in (0, 1))
    scores = q @ k.mT
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], rtol=0, atol=1e-12)


# --- norm and attention --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.0, 1e-20, 1.0, 1e4])
def test_the_root_mean_square_norm_is_torchs(size: float) -> None:
    ours, theirs = RMSNorm(6, eps=1e-5).double(), nn.RMSNorm(6, eps=1e-5).double()
    with torch.no_grad():
        ours.weight.copy_(draw(6, seed=1))
    theirs.load_state_dict(ours.state_dict())
    x = (draw(4, 6) * size).requires_grad_()
    torch.testing.assert_close(ours(x), theirs(x))
    slopes = [
        torch.autograd.grad((norm(x) * draw(4, 6, seed=2)).sum(), [x, norm.weight]) for norm in (ours, theirs)
    ]
    torch.testing.assert_close(*slopes)


def test_every_method_of_attention_takes_a_bias() -> None:
    q, k, v = (draw(2, 3, 20, 4, seed=seed) for seed in range(3))
    bias = torch.zeros(2, 1, 20, 20, dtype=torch.float64).masked_fill(draw(2, 1, 20, 20) > 1, -torch.inf)
    by_hand = ((q @ k.mT) / 2 + bias).softmax(-1) @ v
    for method in ("plain", "fused"):
        torch.testing.assert_close(attend(q, k, v, method=method, bias=bias), by_hand)


def test_attention_turns_queries_and_keys_and_never_values() -> None:
    torch.manual_seed(0)
    layer, x = SelfAttention(8, 2).double(), draw(2, 5, 8)
    cos, sin = rotary_phases(5, 4, x)
    q, k, v = layer.qkv(x).view(2, 5, 2, 3, 4).permute(3, 0, 2, 1, 4)
    answer = F.scaled_dot_product_attention(turned(q, cos, sin), turned(k, cos, sin), v)
    by_hand = layer.projection(answer.transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, phases=(cos, sin)), by_hand)


def test_the_fused_kernel_is_left_where_it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = (torch.zeros(1, 1, length, 4) for length in (64, 2000))
    assert [layers._fastest(k, 0.0) for k in (short, long)] == ["fused", "fused"]
    assert [layers._fastest(k.bfloat16(), 0.0) for k in (short, long)] == ["plain", "fused"]
    assert layers._fastest(long, 0.1) == "plain"
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    assert [layers._fastest(k, 0.0) for k in (short, long)] == ["plain", "fused"]
