"""The rate is a pure function of the step, rises, falls and ends as told, and survives a resume."""

import json
import math
from itertools import pairwise

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudra.errors import ModelError, RecipeError
from mudra.sections import (
    ConstantSchedule,
    CosineRestartsSchedule,
    CosineSchedule,
    CyclicSchedule,
    OneCycleSchedule,
    PlateauSchedule,
)
from mudra.settings import Settings
from mudra.training.schedules import Plateau, Schedule, build_schedule

patient = hypothesis.settings(deadline=None)  # a busy machine is no failure

finals = st.floats(0, 1)


@st.composite
def cosines(draw: st.DrawFn) -> tuple[Schedule, int, int, float]:
    """A cosine schedule, its warm-up steps, all its steps and its final factor."""
    steps, epochs = draw(st.integers(1, 200)), draw(st.integers(1, 20))
    ramp = draw(st.integers(0, steps * epochs - 1))
    final = draw(finals)
    settings = CosineSchedule(warmup_epochs=ramp / steps, final=final)
    return build_schedule(settings, steps, epochs, lr=1e-3), ramp, steps * epochs, final


@patient
@given(cosines())
def test_a_cosine_stays_between_nothing_and_the_full_rate(made: tuple[Schedule, int, int, float]) -> None:
    schedule, _, steps, _ = made
    rates = [schedule.rate(step) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


@patient
@given(cosines())
def test_a_cosine_rises_then_falls_and_reaches_the_full_rate_once_warm(
    made: tuple[Schedule, int, int, float],
) -> None:
    schedule, ramp, steps, _ = made
    rates = [schedule.rate(step) for step in range(steps)]
    assert rates[ramp] == 1
    assert all(a < b for a, b in pairwise(rates[: ramp + 1]))
    assert all(a >= b for a, b in pairwise(rates[ramp:]))


@patient
@given(cosines())
def test_a_cosine_has_no_jump_and_ends_at_its_final_rate(made: tuple[Schedule, int, int, float]) -> None:
    schedule, ramp, steps, final = made
    rates = [schedule.rate(step) for step in range(steps + 1)]
    steepest = max(1 / (ramp + 1), math.pi / 2 * (1 - final) / (steps - ramp))
    assert all(abs(a - b) <= steepest + 1e-12 for a, b in pairwise(rates))
    assert rates[-1] == schedule.rate(steps + 1000) == pytest.approx(final, abs=1e-12)


def test_the_warm_up_starts_above_zero_and_is_counted_in_steps() -> None:
    schedule = build_schedule(ConstantSchedule(warmup_epochs=0.5), steps_per_epoch=6, epochs=2, lr=1.0)
    assert [schedule.rate(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_warm_up_the_first_step_learns_at_the_full_rate() -> None:
    for settings in (
        ConstantSchedule(), CosineSchedule(), PlateauSchedule(), CyclicSchedule(), CosineRestartsSchedule(),
    ):  # fmt: skip
        assert build_schedule(settings, 10, 3, lr=1.0).rate(0) == 1


def test_a_cosine_is_half_way_down_in_the_middle() -> None:
    schedule = build_schedule(CosineSchedule(warmup_epochs=1, final=0.2), 10, 11, lr=1.0)
    assert schedule.rate(10 + 50) == pytest.approx(0.6)
    assert schedule.rate(10 + 25) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)


@patient
@given(st.integers(0, 10), st.floats(0, 0.9))
def test_a_warm_up_as_long_as_the_training_is_refused(epochs: int, more: float) -> None:
    kinds = ConstantSchedule, CosineSchedule, PlateauSchedule, CyclicSchedule, CosineRestartsSchedule
    for kind in kinds:
        with pytest.raises(RecipeError, match=r"schedule\.warmup_epochs: found"):
            build_schedule(kind(warmup_epochs=epochs + 1 + more), 10, epochs + 1, lr=1.0)


def plateau(**keys: float) -> Plateau:
    schedule = build_schedule(PlateauSchedule.model_validate(keys), 10, 100, lr=1e-2)
    assert isinstance(schedule, Plateau)
    return schedule


def rates_after(schedule: Schedule, losses: list[float]) -> list[float]:
    rates = []
    for loss in losses:
        schedule.epoch_ended(loss)
        rates.append(schedule.rate(500))
    return rates


def test_a_plateau_lowers_the_rate_after_patience_and_one_more() -> None:
    rates = rates_after(plateau(patience=2, factor=0.5), [1.0, 1.0, 1.1, 1.0, 1.0, 1.0, 1.0])
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_a_fall_starts_the_patience_again() -> None:
    rates = rates_after(plateau(patience=1, factor=0.5), [1.0, 1.0, 0.9, 0.9, 0.8, 0.8, 0.8])
    assert rates == [1, 1, 1, 1, 1, 1, 0.5]


def test_a_loss_that_is_no_number_has_not_fallen() -> None:
    rates = rates_after(plateau(patience=1, factor=0.5), [math.nan, math.nan, 1.0, math.nan, 0.9, 0.95])
    assert rates == [1, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_a_plateau_agrees_with_torch_on_falls_that_matter() -> None:
    import torch

    losses = [1.0, 0.8, 0.9, 0.85, 0.81, 0.7, 0.7, 0.75, 0.72, 0.71, 0.6, 0.9, 0.9, 0.9, 0.9]
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.1, patience=2, min_lr=5e-5)
    ours = plateau(factor=0.1, patience=2, min_lr=5e-5)
    for loss in losses:
        theirs.step(loss)
        ours.epoch_ended(loss)
        assert 1e-2 * ours.rate(500) == pytest.approx(optimiser.param_groups[0]["lr"])
    assert ours.reductions > 1


@patient
@given(st.lists(st.floats(0, 10), max_size=60), st.floats(1e-6, 1e-2))
def test_a_plateau_never_goes_below_its_lowest_rate_nor_up(losses: list[float], lowest: float) -> None:
    rates = rates_after(plateau(patience=0, min_lr=lowest), losses)
    assert all(1e-2 * rate >= lowest * (1 - 1e-12) for rate in rates)
    assert rates == sorted(rates, reverse=True)


@patient
@given(st.lists(st.floats(0, 2), max_size=40), st.integers(0, 40), st.integers(0, 3))
def test_a_resumed_plateau_goes_on_as_if_never_stopped(losses: list[float], stop: int, patience: int) -> None:
    unbroken = rates_after(plateau(patience=patience), losses)
    first, second = plateau(patience=patience), plateau(patience=patience)
    before = rates_after(first, losses[:stop])
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert before + rates_after(second, losses[stop:]) == unbroken


def test_a_state_of_another_schedule_is_refused() -> None:
    constant = build_schedule(ConstantSchedule(), 10, 10, lr=1.0)
    constant.load_state_dict(constant.state_dict())
    with pytest.raises(ModelError, match="resume with the recipe that wrote it"):
        constant.load_state_dict(plateau().state_dict())
    with pytest.raises(ModelError, match="Plateau"):
        plateau().load_state_dict({})


def test_a_plateau_without_validation_or_with_its_floor_above_is_refused() -> None:
    with pytest.raises(ValueError, match="validation loss"):
        plateau().epoch_ended(None)
    build_schedule(CosineSchedule(), 10, 10, lr=1.0).epoch_ended(None)  # the others do not care
    with pytest.raises(RecipeError, match=r"schedule\.min_lr: found 0\.1"):
        build_schedule(PlateauSchedule(min_lr=0.1), 10, 10, lr=1e-2)


@patient
@given(st.integers(1, 50), st.integers(1, 20), st.floats(0.01, 0.99), st.floats(0.01, 1), finals)
def test_one_cycle_rises_to_the_full_rate_and_falls(
    steps: int, epochs: int, rise: float, start: float, final: float
) -> None:
    settings = OneCycleSchedule(rise=rise, start=start, final=final)
    schedule = build_schedule(settings, steps, epochs, lr=1e-3)
    rates = [schedule.rate(step) for step in range(steps * epochs)]
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(1)
    assert all(0 < rate <= 1 for rate in rates)
    assert all(one <= other for one, other in pairwise(rates[: top + 1]))
    assert all(one >= other for one, other in pairwise(rates[top:]))
    if top:
        assert rates[0] == pytest.approx(start)


def test_one_cycle_agrees_with_torch() -> None:
    import torch

    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        1.0,
        total_steps=101,
        pct_start=31 / 101,
        div_factor=25,
        cycle_momentum=False,
        final_div_factor=1e9,
    )
    ours = build_schedule(OneCycleSchedule(rise=0.3, start=0.04), 10, 10, lr=1.0)
    for step in range(100):
        assert ours.rate(step) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-6)
        optimiser.step()
        theirs.step()


# --- cycles -------------------------------------------------------------------------------------


def torch_rates(make: type, steps: int, **keys: object) -> list[float]:
    """What a scheduler of torch gives a base rate of 1, step by step."""
    import torch

    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimiser, **keys)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def rates_of(settings: Settings, steps_per_epoch: int, epochs: int) -> list[float]:
    schedule = build_schedule(settings, steps_per_epoch, epochs, lr=1e-3)  # type: ignore[arg-type]
    return [schedule.rate(step) for step in range(steps_per_epoch * epochs)]


@pytest.mark.parametrize("growth", [1, 2, 3])
def test_restarts_agree_with_torch(growth: int) -> None:
    from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

    settings = CosineRestartsSchedule(period_epochs=1.5, growth=float(growth), final=0.1)
    theirs = torch_rates(CosineAnnealingWarmRestarts, 200, T_0=15, T_mult=growth, eta_min=0.1)
    assert rates_of(settings, 10, 20) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(("decay", "final"), [(0.8, 0.0), (1.0, 0.2)])
def test_triangles_agree_with_torch_from_a_peak_on(decay: float, final: float) -> None:
    from torch.optim.lr_scheduler import CyclicLR

    settings = CyclicSchedule(cycle_epochs=2, decay=decay, final=final, shape="triangle")
    theirs = torch_rates(
        CyclicLR,
        210,
        base_lr=final,
        max_lr=1.0,
        step_size_up=10,
        scale_fn=lambda cycle: decay ** (cycle - 1),
        cycle_momentum=False,
    )
    assert rates_of(settings, 10, 20) == pytest.approx(theirs[10:], abs=1e-9)


def test_a_warm_up_from_a_rate_of_its_own_agrees_with_torch() -> None:
    from torch.optim.lr_scheduler import LinearLR

    theirs = torch_rates(LinearLR, 52, start_factor=1 / 30, total_iters=51)
    for settings in (CyclicSchedule, CosineRestartsSchedule):
        ours = rates_of(settings(warmup_epochs=5, start=1 / 30), 10, 20)
        assert ours[:51] == pytest.approx(theirs[1:], abs=1e-9)
        assert ours[50] == 1


def test_the_cycles_of_the_sign_system() -> None:
    """5 epochs from 1e-5 to 3e-4, then 20 epochs each, from peaks that are 0.8 x the one before."""
    settings = CyclicSchedule(warmup_epochs=5, start=1 / 30, cycle_epochs=20, decay=0.8, final=1 / 30)
    rates = [3e-4 * rate for rate in rates_of(settings, 235, 169)]
    assert 1e-5 < rates[0] < 1.03e-5
    peaks = [rates[235 * epoch] for epoch in range(5, 169, 20)]
    assert peaks == pytest.approx([3e-4 * 0.8**number for number in range(9)])
    assert [rates[235 * epoch - 1] for epoch in range(25, 169, 20)] == pytest.approx([1e-5] * 8, rel=1e-3)
    assert rates[235 * 15] == pytest.approx((3e-4 + 1e-5) / 2)


@st.composite
def cyclics(draw: st.DrawFn) -> tuple[CyclicSchedule | CosineRestartsSchedule, int, int]:
    """A schedule of cycles, the steps of an epoch, and epochs."""
    keys = {
        "warmup_epochs": draw(st.floats(0, 2)),
        "start": draw(st.floats(0, 1)),
        "decay": draw(st.floats(0.1, 1)),
        "final": draw(finals),
    }
    length = draw(st.floats(0.2, 4))
    settings: CyclicSchedule | CosineRestartsSchedule
    if draw(st.booleans()):
        shape = draw(st.sampled_from(["cosine", "triangle"]))
        settings = CyclicSchedule(cycle_epochs=length, shape=shape, **keys)
    else:
        settings = CosineRestartsSchedule(period_epochs=length, growth=draw(st.floats(1, 3)), **keys)
    return settings, draw(st.integers(10, 40)), draw(st.integers(3, 12))


@patient
@given(cyclics())
def test_cycles_stay_between_the_lowest_and_the_highest_rate_and_know_the_step_alone(
    made: tuple[CyclicSchedule | CosineRestartsSchedule, int, int],
) -> None:
    settings, steps, epochs = made
    rates = rates_of(settings, steps, epochs)
    ramp = round(settings.warmup_epochs * steps)
    assert all(settings.final - 1e-12 <= rate <= 1 for rate in rates[ramp:])
    assert all(settings.start <= rate <= 1 for rate in rates[:ramp])
    assert all(a <= b for a, b in pairwise(rates[: ramp + 1]))
    assert rates[ramp] == pytest.approx(1)
    again = build_schedule(settings, steps, epochs, lr=1e-3)
    assert [again.rate(step) for step in reversed(range(steps * epochs))] == rates[::-1]
    assert again.state_dict() == {}


@patient
@given(cyclics())
def test_each_peak_is_lower_and_each_fall_longer_by_its_factor(
    made: tuple[CyclicSchedule | CosineRestartsSchedule, int, int],
) -> None:
    settings, steps, epochs = made
    rates = rates_of(settings, steps, epochs)
    growth, epochs_each = (
        (1.0, settings.cycle_epochs)
        if isinstance(settings, CyclicSchedule)
        else (settings.growth, settings.period_epochs)
    )
    begin, number = round(settings.warmup_epochs * steps), 0
    first = round(epochs_each * steps)
    while begin < len(rates):
        peak = max(settings.decay**number, settings.final)
        assert rates[begin] == pytest.approx(peak)
        length = round(first * growth**number)
        end = begin + (length // 2 if getattr(settings, "shape", "") == "triangle" else length)
        assert all(a >= b - 1e-12 for a, b in pairwise(rates[begin:end]))
        begin, number = begin + length, number + 1


def test_a_cycle_of_a_single_step_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"schedule\.cycle_epochs: found 0\.1 epochs \(1 steps of 10"):
        build_schedule(CyclicSchedule(cycle_epochs=0.1), 10, 10, lr=1.0)
    with pytest.raises(RecipeError, match=r"schedule\.period_epochs"):
        build_schedule(CosineRestartsSchedule(period_epochs=0.1), 10, 10, lr=1.0)
