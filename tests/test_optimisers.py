"""Every trainable parameter learns in exactly one group, and only weights are decayed."""

import pytest
import torch
from torch import nn

from mudra.errors import ModelError
from mudra.models.keypoint_transformer import KeypointTransformer, KeypointTransformerSettings
from mudra.models.timesformer import TimeSformer, TimeSformerSettings
from mudra.sections import OneCycleSchedule, OptimSettings
from mudra.training.optimisers import build_optimiser, lr_scales, set_rate
from mudra.training.schedules import build_schedule


class Tiny(nn.Module):
    """One of everything that matters to decay: weights, biases, norms, positions, a token, a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 5)
        self.norm = nn.LayerNorm(5)
        self.positions = nn.Parameter(torch.ones(3, 5))
        self.token = nn.Parameter(torch.ones(1, 1, 5))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.head = nn.Linear(5, 4)

    def undecayed(self) -> set[str]:
        return {"positions", "token"}


def group_of(optimiser: torch.optim.Optimizer, wanted: nn.Parameter) -> dict:
    found = [group for group in optimiser.param_groups if any(p is wanted for p in group["params"])]
    assert len(found) == 1
    return found[0]


def test_every_trainable_parameter_is_in_exactly_one_group() -> None:
    model = Tiny()
    optimiser = build_optimiser(OptimSettings(), model)
    members = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in model.parameters())


def test_only_weights_are_decayed() -> None:
    model = Tiny()
    optimiser = build_optimiser(OptimSettings(weight_decay=0.3), model)
    decayed = {name for name, p in model.named_parameters() if group_of(optimiser, p)["weight_decay"] == 0.3}
    assert decayed == {"linear.weight", "head.weight"}
    assert group_of(optimiser, model.positions)["weight_decay"] == 0
    assert [group["name"] for group in optimiser.param_groups] == ["undecayed", "decayed"] or [
        group["name"] for group in optimiser.param_groups
    ] == ["decayed", "undecayed"]


def test_what_is_spared_does_not_shrink_and_what_is_decayed_does() -> None:
    model = Tiny()
    optimiser = build_optimiser(OptimSettings(lr=0.1, weight_decay=0.5), model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if name in {"linear.weight", "head.weight"} else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_frozen_parameters_are_in_no_group() -> None:
    model = Tiny()
    model.linear.requires_grad_(False)
    optimiser = build_optimiser(OptimSettings(), model)
    members = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert id(model.linear.weight) not in members
    assert members == {id(p) for p in model.parameters() if p.requires_grad}


def test_a_tied_parameter_is_spared_by_any_of_its_names() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4, bias=False)
            self.second = nn.Linear(4, 4, bias=False)
            self.second.weight = self.first.weight

        def undecayed(self) -> set[str]:
            return {"second.weight"}

    model = Tied()
    optimiser = build_optimiser(OptimSettings(), model)
    assert group_of(optimiser, model.first.weight)["name"] == "undecayed"


def test_names_of_no_parameter_are_refused() -> None:
    model = Tiny()
    model.undecayed = lambda: {"position"}  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"found 'position'.*Did you mean 'positions'"):
        build_optimiser(OptimSettings(), model)


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ModelError, match="Tiny: found no trainable parameter"):
        build_optimiser(OptimSettings(), Tiny().requires_grad_(False))


def test_a_model_that_names_nothing_is_taken_as_it_is() -> None:
    optimiser = build_optimiser(OptimSettings(weight_decay=0.1), nn.Linear(2, 2))
    assert sorted(group["weight_decay"] for group in optimiser.param_groups) == [0, 0.1]


def test_the_rate_is_set_from_base_scale_and_factor() -> None:
    model = Tiny()
    optimiser = build_optimiser(OptimSettings(lr=0.4), model, {"head.weight": 0.1, "head.bias": 0.1})
    set_rate(optimiser, 0.5)
    assert group_of(optimiser, model.head.weight)["lr"] == pytest.approx(0.02)
    assert group_of(optimiser, model.head.bias)["lr"] == pytest.approx(0.02)
    assert group_of(optimiser, model.linear.weight)["lr"] == pytest.approx(0.2)
    set_rate(optimiser, 1.0)  # a rate is of the base, never of the last rate
    assert group_of(optimiser, model.head.weight)["lr"] == pytest.approx(0.04)
    names = {group["name"] for group in optimiser.param_groups}
    assert names == {"decayed", "undecayed", "decayed x0.1", "undecayed x0.1"}


def test_settings_reach_adamw() -> None:
    optimiser = build_optimiser(OptimSettings(lr=0.2, betas=(0.8, 0.95), eps=1e-6), Tiny())
    for group in optimiser.param_groups:
        assert (group["lr"], group["base_lr"], group["betas"], group["eps"]) == (0.2, 0.2, (0.8, 0.95), 1e-6)


def steps(model: nn.Module, optimiser: torch.optim.Optimizer, first: int, last: int) -> None:
    for number in range(first, last):
        generator = torch.Generator().manual_seed(number)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        set_rate(optimiser, 1 / (number + 1))
        optimiser.step()


def test_a_resumed_optimiser_goes_on_to_the_same_bits() -> None:
    torch.manual_seed(0)
    unbroken = Tiny()
    broken, resumed = Tiny(), Tiny()
    broken.load_state_dict(unbroken.state_dict())
    optimiser = build_optimiser(OptimSettings(), unbroken)
    steps(unbroken, optimiser, 0, 6)
    half = build_optimiser(OptimSettings(), broken)
    steps(broken, half, 0, 3)
    resumed.load_state_dict(broken.state_dict())
    rest = build_optimiser(OptimSettings(), resumed)
    rest.load_state_dict(half.state_dict())
    steps(resumed, rest, 3, 6)
    for one, other in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_fused_kernel_computes_adamw_in_double_precision() -> None:
    torch.manual_seed(0)
    ours, plain = Tiny().double(), Tiny().double()
    plain.load_state_dict(ours.state_dict())
    steps(ours, build_optimiser(OptimSettings(weight_decay=0.2), ours), 0, 5)
    weights = [p for name, p in plain.named_parameters() if name in {"linear.weight", "head.weight"}]
    others = [p for p in plain.parameters() if all(p is not w for w in weights)]
    reference = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}], fused=False
    )
    for group in reference.param_groups:
        group |= {"base_lr": 1e-3, "lr_scale": 1.0}
    steps(plain, reference, 0, 5)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


def small_timesformer() -> nn.Module:
    settings = TimeSformerSettings(width=8, depth=2, heads=2, patch=8)
    return TimeSformer(settings, {"video": (2, 3, 8, 8)}, {"label": 3})


def test_rates_rise_from_layer_to_layer() -> None:
    scales = lr_scales(OptimSettings(layer_decay=0.5), small_timesformer())
    assert scales["class_token"] == scales["stem.convolution.weight"] == 0.125
    assert scales["blocks.0.mlp.up.weight"] == 0.25
    assert scales["blocks.1.temporal.attention.qkv.weight"] == 0.5
    assert scales["norm.weight"] == scales["heads.to_label.weight"] == 1


def test_parts_have_rates_of_their_own() -> None:
    scales = lr_scales(
        OptimSettings(layer_decay=0.5, rates={"temporal": 10, "heads": 4}), small_timesformer()
    )
    assert scales["blocks.1.temporal.norm.weight"] == 5
    assert scales["blocks.1.space.qkv.weight"] == 0.5
    assert scales["heads.to_label.bias"] == 4
    with pytest.raises(ModelError, match="Did you mean 'temporal'"):
        lr_scales(OptimSettings(rates={"temporl": 10}), small_timesformer())
    with pytest.raises(ModelError, match="no order"):
        lr_scales(OptimSettings(layer_decay=0.5), nn.Linear(2, 2))


def test_one_cycle_moves_every_layer_at_its_own_rate() -> None:
    """A keypoint transformer of two layers: embedding, layers and classifier, and a factor for the classifier."""
    settings = KeypointTransformerSettings(width=8, depth=2, heads=2, kernel=3)
    model = KeypointTransformer(settings, {"points": (4, 5, 2)}, {"label": 3})
    optim = OptimSettings(lr=0.01, layer_decay=0.5, rates={"heads": 10, "absence": 3})
    optimiser = build_optimiser(optim, model, lr_scales(optim, model))
    schedule = build_schedule(OneCycleSchedule(rise=0.3, start=0.1), 10, 10, lr=optim.lr)
    factors = {
        "embed.linear.weight": 0.125,
        "embed.absence": 3 * 0.125,
        "local.convolutions.0.bias": 0.125,
        "blocks.0.time.qkv.weight": 0.25,
        "blocks.1.mlp.up.bias": 0.5,
        "readout.weigh.weight": 1,
        "heads.heads.to_label.weight": 10,
    }
    for step, rate in ((0, 0.1), (30, 1.0), (65, 0.5)):
        set_rate(optimiser, schedule.rate(step))
        for name, factor in factors.items():
            found = group_of(optimiser, model.get_parameter(name))["lr"]
            assert found == pytest.approx(0.01 * rate * factor), (step, name)
    assert group_of(optimiser, model.embed.absence)["weight_decay"] == 0
    assert {id(p) for group in optimiser.param_groups for p in group["params"]} == {
        id(p) for p in model.parameters()
    }
