"""What a recipe adds to cross-entropy: each term is its formula, and a step may be seen in any parts."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, rel_entr

from mudra.errors import DataError, RecipeError
from mudra.recipe import resolve
from mudra.sections import LossSettings
from mudra.settings import parse
from mudra.training import checkpoints
from mudra.training.loop import Trainer
from mudra.training.losses import Loss, build_loss, focus, one_hot
from mudra.training.terms import cross_entropy, disagreement, distillation, hinge
from mudra.types import UNLABELLED
from tests.headed import EVERYTHING, headed  # noqa: F401
from tests.test_training import log, weights
from tests.tiny import tiny_recipe, write_bars
from tests.tiny import train_tiny as run

patient = hypothesis.settings(deadline=None, max_examples=50)
seeds = st.integers(0, 2**31)
Floats = NDArray[np.float64]
gammas = st.floats(0, 5)

CLASSES = {"verb": 4, "noun": 3}
NAMES = {"verb": ("take", "put", "open", "close"), "noun": ("cup", "lid", "tap")}
TRAIN = {"verb": np.array([0, 1, 1, 2, 3, 3]), "noun": np.array([0, 0, 1, 2])}
HEADS = ("", "/aux1", "/aux2", "/part:hand", "/part:lips", "/part:pose")


def everything(**changed: Any) -> LossSettings:
    return parse(LossSettings, {**EVERYTHING, "task_weights": {"noun": 0.5}, **changed}, "loss")


def built(settings: LossSettings) -> Loss:
    return build_loss(settings, CLASSES, TRAIN, names=NAMES)


def step(
    seed: int, clips: int = 8, soft: bool = False
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Logits float64 of all heads and targets, some clips unlabelled; the first never is."""
    rng = np.random.default_rng(seed)
    logits, targets = {}, {}
    for task, count in CLASSES.items():
        for head in HEADS:
            drawn = 2 * rng.standard_normal((clips, count))
            logits[task + head] = torch.from_numpy(drawn).requires_grad_()
        target = torch.from_numpy(rng.integers(count, size=clips))
        target[1:][torch.from_numpy(rng.random(clips - 1) < 0.3)] = UNLABELLED
        targets[task] = target
        if soft:
            mixed = torch.from_numpy(rng.dirichlet(np.ones(2), clips)).to(torch.float32)
            partner = target.roll(1)
            rows = mixed[:, :1] * one_hot(target, count, task) + mixed[:, 1:] * one_hot(partner, count, task)
            rows[(target == UNLABELLED) | (partner == UNLABELLED)] = 0
            targets[task] = rows.double()
    return logits, targets


def told(
    settings: LossSettings,
    logits: Mapping[str, Floats],
    q: Floats,
    w: Floats,
    task: str,
    gamma: float,
) -> tuple[float, float]:
    """The loss of one clip and its weight, written out class by class."""
    count, known = len(q), q.sum()
    smooth = (1 - settings.label_smoothing) * q + settings.label_smoothing / count * known

    def focal(z: Floats) -> float:
        p = np.exp(log_softmax(z))
        return -sum(w[c] * smooth[c] * (1 - p[c]) ** gamma * math.log(p[c]) for c in range(count))

    def softened(z: Floats, temperature: float) -> Floats:
        return np.exp(log_softmax(z / temperature))

    weight = float((w * q).sum())
    own = logits[task]
    loss = focal(own)
    for share, name in zip(settings.auxiliary, ("aux1", "aux2"), strict=True):
        student = logits[f"{task}/{name}"]
        hot = settings.distil_temperature
        loss += share * focal(student)
        divergence = rel_entr(softened(own, hot), softened(student, hot)).sum()
        loss += settings.distil / 2 * weight * hot**2 * divergence
    parts = [logits[f"{task}/part:{name}"] for name in ("hand", "lips", "pose")]
    loss += settings.parts * sum(map(focal, parts)) / 3
    answers = [softened(z, 1) for z in parts]
    mean = sum(answers) / 3
    loss += settings.consistency * weight * sum(rel_entr(p, mean).sum() for p in answers) / 3
    strangers = [z for z, share in zip(own, q, strict=True) if share == 0]
    for c in range(count):
        if q[c] > 0 and strangers:
            missing = max(0.0, settings.margin - (own[c] - max(strangers)))
            loss += settings.margin_weight * w[c] * q[c] * missing
    return float(loss), weight


@patient
@given(seeds, st.booleans(), st.floats(0, 1))
def test_everything_together_is_what_the_formulas_say(seed: int, soft: bool, progress: float) -> None:
    settings = everything()
    loss = built(settings)
    logits, targets = step(seed, soft=soft)
    plain = {name: x.detach().numpy() for name, x in logits.items()}
    expected = 0.0
    for task, count in CLASSES.items():
        q_BC = targets[task] if soft else one_hot(targets[task], count, task)
        gamma = settings.focal * min(progress / settings.focal_rise, 1)
        w = loss.class_weights[task].numpy()
        clips = [
            told(settings, {name: x[row] for name, x in plain.items()}, q, w, task, gamma)
            for row, q in enumerate(q_BC.double().numpy())
        ]
        weight = sum(weight for _, weight in clips)
        if weight:
            expected += loss.task_weights[task] * sum(cost for cost, _ in clips) / weight
    assert loss(logits, targets, progress).total().item() == pytest.approx(expected, rel=1e-9)


@patient
@given(seeds, st.booleans(), st.lists(st.integers(1, 7), max_size=4, unique=True), st.booleans())
def test_parts_of_a_step_add_up_to_the_whole_with_everything(
    seed: int, soft: bool, cuts: list[int], named: bool
) -> None:
    loss = built(everything(similar=[["open", "close"], ["cup", "tap"]] if named else []))
    logits, targets = step(seed, soft=soft)
    whole = loss(logits, targets, 0.3)
    whole.total().backward()
    expected = {name: x.grad.clone() for name, x in logits.items() if x.grad is not None}
    for x in logits.values():
        x.grad = None
    parts = [slice(a, b) for a, b in pairwise([0, *sorted(cuts), 8])]
    ahead = [loss.weights({task: y[part] for task, y in targets.items()}) for part in parts]
    weights = {task: sum((each[task] for each in ahead), torch.zeros(())) for task in targets}
    total = plain = 0.0
    for part in parts:
        some = {name: x[part] for name, x in logits.items()}
        terms = loss(some, {task: y[part] for task, y in targets.items()}, 0.3)
        terms.total(weights).backward()
        total += terms.total(weights).item()
        plain += terms.plain_total(weights).item()
    assert total == pytest.approx(whole.total().item(), rel=1e-12)
    assert plain == pytest.approx(whole.plain_total().item(), rel=1e-12)
    assert expected.keys() == logits.keys()
    for name, x in logits.items():
        torch.testing.assert_close(x.grad, expected[name], rtol=1e-12, atol=1e-14)


@patient
@given(seeds)
def test_unlabelled_clips_change_nothing_with_everything(seed: int) -> None:
    loss = built(everything())
    logits, targets = step(seed)
    known = targets["verb"] != UNLABELLED
    some = {name: x[known] for name, x in logits.items()}
    one = loss(logits, targets).means()["verb"]
    other = loss(some, {task: y[known] for task, y in targets.items()}).means()["verb"]
    assert one.item() == pytest.approx(other.item(), rel=1e-12)


CHANGES: dict[str, Any] = {
    "label_smoothing": 0.2,
    "class_weights": "none",
    "task_weights": {"noun": 0.6},
    "focal": 1.0,
    "focal_rise": 0.0,
    "auxiliary": [0.1, 0.2],
    "parts": 0.2,
    "windows": 0.3,
    "margin": 1.0,
    "margin_weight": 0.1,
    "similar": [["take", "put"]],
    "distil": 0.0,
    "distil_temperature": 3.0,
    "consistency": 0.0,
}


@pytest.mark.parametrize("field", LossSettings.model_fields)
def test_every_setting_changes_the_loss(field: str) -> None:
    logits, targets = step(5)
    logits |= {f"{task}/windows": torch.stack([logits[task], logits[f"{task}/aux1"]], 1) for task in CLASSES}
    one = built(everything())(logits, targets, 0.3).total()
    other = built(everything(**{field: CHANGES[field]}))(logits, targets, 0.3).total()
    assert abs(one.item() - other.item()) > 1e-3


def test_what_is_told_is_the_cross_entropy_of_the_models_own_answer() -> None:
    logits, targets = step(6)
    told_of = built(everything())(logits, targets).plain_total()
    names = {task: logits[task] for task in CLASSES}
    plain = built(everything(focal=0.0, auxiliary=[], parts=0.0, margin=0.0, distil=0.0, consistency=0.0))
    assert plain.settings.plain
    assert not everything().plain
    assert torch.equal(told_of, plain(names, targets).total())
    assert not told_of.requires_grad


# --- focal --------------------------------------------------------------------------------------


@patient
@given(seeds, gammas)
def test_two_classes_are_the_focal_loss_of_a_sigmoid(seed: int, gamma: float) -> None:
    """Lin et al. 2017, their equation 5, with class weights for alpha."""
    rng = np.random.default_rng(seed)
    z, y, alpha = 3 * rng.standard_normal(6), rng.integers(2, size=6), rng.random(2)
    p = 1 / (1 + np.exp(-z))
    p_t = np.where(y == 1, p, 1 - p)
    expected = -(alpha[y] * (1 - p_t) ** gamma * np.log(p_t)).sum()
    logits = torch.from_numpy(np.stack([np.zeros(6), z], 1))
    rows = one_hot(torch.from_numpy(y), 2, "label").double()
    found = cross_entropy(logits, rows, torch.from_numpy(alpha), gamma)
    assert found.item() == pytest.approx(expected, rel=1e-9)


@patient
@given(st.floats(0.01, 3), st.floats(0, 200), st.sampled_from([torch.float32, torch.float64]))
def test_being_entirely_sure_costs_nothing_and_breaks_nothing(
    gamma: float, height: float, dtype: torch.dtype
) -> None:
    """x^gamma is infinitely steep at 0 where gamma is below 1, as it is while a curriculum begins."""
    for smoothing in (0.0, 0.1):
        logits = torch.tensor([[height, 0.0, -math.inf]], dtype=dtype, requires_grad=True)
        share = torch.tensor([[1 - smoothing, smoothing, 0.0]], dtype=dtype)
        cost = cross_entropy(logits, share, torch.ones(3, dtype=dtype), gamma)
        cost.backward()
        assert logits.grad is not None
        assert torch.isfinite(cost)
        assert torch.isfinite(logits.grad).all()
    certain = cross_entropy(torch.tensor([[200.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.ones(2), gamma)
    assert certain.item() == 0


def test_gamma_rises_with_the_training_and_stays() -> None:
    settings = LossSettings(focal=2.0, focal_rise=0.5)
    assert [focus(settings, share) for share in (0.0, 0.125, 0.25, 0.5, 0.8, 1.0)] == [0, 0.5, 1, 2, 2, 2]
    assert focus(LossSettings(focal=2.0), 0.0) == 2
    logits, targets = step(2)
    own = {task: logits[task] for task in CLASSES}
    rising = built(settings)
    first, last = rising(own, targets, 0.0), rising(own, targets, 1.0)
    assert torch.equal(first.total(), built(LossSettings())(own, targets).total())
    assert torch.equal(last.total(), built(LossSettings(focal=2.0))(own, targets).total())
    assert torch.equal(first.plain_total(), last.plain_total())


def test_the_slopes_are_those_of_the_value() -> None:
    loss = built(everything(distil=0.0))  # a teacher that is held fast has no slope of its own
    logits, targets = step(11, clips=3, soft=True)

    def value(*tensors: torch.Tensor) -> torch.Tensor:
        return loss(dict(zip(logits, tensors, strict=True)), targets, 0.5).total()

    assert torch.autograd.gradcheck(value, tuple(logits.values()))


# --- margin -------------------------------------------------------------------------------------

ONES = torch.ones(3, dtype=torch.float64)


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_a_class_that_stands_high_enough_costs_no_margin() -> None:
    assert hinge(row(3, 1, 0), row(1, 0, 0), ONES, margin=2).item() == 0
    assert hinge(row(3, 1, 0), row(1, 0, 0), ONES, margin=2.5).item() == pytest.approx(0.5)
    assert hinge(row(3, 1, 0), row(0, 0, 1), ONES, margin=2).item() == pytest.approx(5)


def test_the_classes_of_a_mixture_are_no_rivals_of_each_other() -> None:
    assert hinge(row(1, 5, 0), row(0.4, 0.6, 0), ONES, margin=2).item() == pytest.approx(0.4 * 1)
    assert hinge(row(1, 5, 0), row(0.4, 0.2, 0.4), ONES, margin=2).item() == 0
    pairs = torch.tensor([[0, 1], [1, 0]])
    assert hinge(row(1, 5, 0), row(0.4, 0.6, 0), ONES, 2, pairs).item() == 0
    assert hinge(row(1, 5, 0), row(0.4, 0, 0.6), ONES, 2, pairs).item() == pytest.approx(0.4 * 6)


def test_similar_classes_by_name_are_the_only_rivals() -> None:
    settings = LossSettings(margin=1.0, similar=(("open", "close"), ("open", "put"), ("close", "open")))
    loss = built(settings)
    logits = {"verb": torch.tensor([[9.0, 1.0, 2.0, 3.0]] * 3), "noun": torch.zeros(3, 3)}
    costs = []
    for verb in range(4):
        targets = {"verb": torch.full((3,), verb), "noun": torch.zeros(3, dtype=torch.int64)}
        terms = loss(logits, targets)
        costs.append((terms.sums["verb"] - terms.plain["verb"]).item() / 3)
        assert terms.sums["noun"] == terms.plain["noun"]  # no pair is of this task
    # take has no rival; put has open; open has close and put; close has open
    assert costs == pytest.approx([0, 1 - (1 - 2), (1 - (2 - 3)) + (1 - (2 - 1)), 1 - (3 - 2)])


def test_classes_that_are_not_there_are_no_rivals() -> None:
    for similar, match in (
        ([["open", "closee"]], r"loss\.similar: found \['open', 'closee'\].*Did you mean 'close'"),
        ([["open", "cup"]], "expected two classes of one task"),
        ([["open", "open"]], "expected two classes of one task"),
    ):
        with pytest.raises(RecipeError, match=match):
            built(parse(LossSettings, {"margin": 1.0, "similar": similar}, "loss"))
    with pytest.raises(RecipeError, match=r"loss\.similar: found 1 pairs and a margin of 0"):
        resolve({"model": {"kind": "timesformer"}, "loss": {"similar": [["a", "b"]]}}, "mine")


# --- heads --------------------------------------------------------------------------------------


def test_the_teacher_is_not_drawn_to_its_pupils() -> None:
    moved = []
    for distil in (0.0, 5.0):
        logits, targets = step(3)
        built(everything(distil=distil))(logits, targets).total().backward()
        moved.append([logits[name].grad for name in ("verb", "verb/aux1", "verb/part:hand")])
    assert torch.equal(moved[0][0], moved[1][0])
    assert not torch.equal(moved[0][1], moved[1][1])
    assert torch.equal(moved[0][2], moved[1][2])


@patient
@given(seeds, st.floats(0.5, 10))
def test_a_pupil_that_answers_as_its_teacher_has_learnt_all(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    teacher, student = (torch.from_numpy(2 * rng.standard_normal((5, 4))) for _ in range(2))
    weight = torch.from_numpy(rng.random(5))
    assert distillation(teacher + 3, teacher, weight, temperature).item() == pytest.approx(0, abs=1e-12)
    assert distillation(student, teacher, weight, temperature).item() > 0


@patient
@given(seeds, st.integers(2, 5))
def test_parts_that_agree_cost_nothing_and_others_at_most_a_logarithm(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    heads = [torch.from_numpy(20 * rng.standard_normal((5, 4))) for _ in range(count)]
    ones = torch.ones(5, dtype=torch.float64)
    found = disagreement(heads, ones).item()
    assert 0 < found <= 5 * math.log(count) + 1e-9
    assert disagreement(heads[::-1], ones).item() == pytest.approx(found)
    assert disagreement([heads[0] + shift for shift in range(count)], ones).item() == pytest.approx(
        0, abs=1e-9
    )
    p, q = (np.exp(log_softmax(head.numpy(), axis=1)) for head in heads[:2])
    expected = (jensenshannon(p, q, axis=1) ** 2).sum()
    assert disagreement(heads[:2], ones).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_classes_ruled_out_by_minus_infinity_are_no_nan_with_everything() -> None:
    logits, targets = step(4)
    targets["verb"] = torch.zeros(8, dtype=torch.int64)
    ruled = {}
    for name, x in logits.items():
        ruled[name] = x.detach().clone()
        if name.startswith("verb"):
            ruled[name][:, 3] = -math.inf
        ruled[name].requires_grad_()
    total = built(everything(label_smoothing=0.0))(ruled, targets).total()
    total.backward()
    assert torch.isfinite(total)
    for x in ruled.values():
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("head", HEADS)
def test_what_is_not_finite_in_any_head_reaches_the_loss(head: str, bad: float) -> None:
    logits, targets = step(7)
    broken = {name: x.detach().clone() for name, x in logits.items()}
    broken["verb" + head][0, 1] = bad
    assert not torch.isfinite(built(everything())(broken, targets).total())
    alone = everything(auxiliary=[0, 0], parts=0.0)  # the heads count by what they say of each other
    assert not torch.isfinite(built(alone)(broken, targets).total())


@pytest.mark.parametrize(
    ("changed", "heads", "match"),
    [
        ({}, HEADS[:1], r"loss\.auxiliary: found 2 weights, and 0 auxiliary heads of 'verb'"),
        ({}, ("", "/aux1", "/part:a", "/part:b"), "found 2 weights, and 1 auxiliary heads"),
        ({}, (*HEADS, "/aux3"), "found 2 weights, and 3 auxiliary heads"),
        ({"auxiliary": [], "distil": 0.0}, HEADS, "found 0 weights, and 2 auxiliary heads"),
        (
            {"parts": 0.0, "consistency": 0.0},
            HEADS,
            "3 part heads of 'verb' in the model, which nothing would train",
        ),
        ({}, HEADS[:3], r"loss\.parts: found 0\.1, and 0 part heads"),
        ({"parts": 0.0}, HEADS[:4], r"loss\.consistency: found 0\.3, and 1 part heads.*at least 2"),
    ],
)
def test_heads_and_weights_belong_together(
    changed: dict[str, Any], heads: tuple[str, ...], match: str
) -> None:
    loss = built(everything(**changed))
    logits = {task + head: torch.zeros(2, count) for task, count in CLASSES.items() for head in heads}
    with pytest.raises(RecipeError, match=match) as problem:
        loss(logits, {task: torch.tensor([0, 1]) for task in CLASSES})
    assert "\n" not in str(problem.value)


def test_a_head_of_other_classes_is_an_error() -> None:
    logits, targets = step(8)
    logits["verb/aux2"] = torch.zeros(8, 5, dtype=torch.float64)
    with pytest.raises(DataError, match=r"task 'verb/aux2': found logits \(8, 5\)"):
        built(everything())(logits, targets)


def test_nobody_learns_from_the_teacher_without_auxiliary_heads() -> None:
    with pytest.raises(RecipeError, match=r"loss\.distil: found 0\.5 and no loss\.auxiliary"):
        resolve({"model": {"kind": "timesformer"}, "loss": {"distil": 0.5}}, "mine")


# --- a training ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("bars"), {"train": 22, "val": 6, "test": 4})


def with_heads(**model: Any):
    return tiny_recipe(
        model={"kind": "headed", "dropout": 0.1, **model},
        augment={"mixup": 0.2},
        loss={**EVERYTHING, "similar": [["to the left", "to the right"]]},
        schedule={"kind": "cyclic", "warmup_epochs": 1, "cycle_epochs": 2},
        train={"save_every": 1, "accumulate": 2, "batch": 4, "epochs": 4},
    )


@pytest.mark.usefixtures("headed")
@pytest.mark.parametrize("stop_after", [1, 5, 10])
def test_a_curriculum_that_was_cut_goes_on_to_the_same_bits(bars, tmp_path, monkeypatch, stop_after):
    whole = run(with_heads(), bars, tmp_path / "whole")
    real = Trainer.step

    def cut(self, parts, rate):
        if self.counters.step == stop_after:
            raise InterruptedError
        return real(self, parts, rate)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", cut)
        with pytest.raises(InterruptedError):
            run(with_heads(), bars, tmp_path / "cut")
    resumed = run(with_heads(), bars, tmp_path / "cut", resume=True)
    assert weights(resumed) == weights(whole)
    one, two = (
        [{k: v for k, v in r.items() if k != "clips_per_second"} for r in log(f)] for f in (resumed, whole)
    )
    assert one == two
    last = checkpoints.newest(resumed.checkpoints)[0]
    assert last.name == "step-00000012"


@pytest.mark.usefixtures("headed")
def test_a_log_tells_the_cross_entropy_and_what_is_minimised(bars, tmp_path):
    rows = [row for row in log(run(with_heads(), bars, tmp_path / "run")) if row["split"] == "train"]
    assert len(rows) == 12
    assert all(0.3 < float(row["loss"]) < 1.5 for row in rows)  # two classes: about log 2
    assert all(row["objective"] != row["loss"] for row in rows)
    assert all(0 < float(row["objective"]) < 3 for row in rows)
    plain = log(run(tiny_recipe(train={"epochs": 1}), bars, tmp_path / "plain"))
    assert "objective" not in plain[0]


@pytest.mark.usefixtures("headed")
def test_gamma_follows_the_share_of_the_steps_that_is_done(bars, tmp_path, monkeypatch):
    seen = []
    real = Loss.__call__
    monkeypatch.setattr(
        Loss, "__call__", lambda self, x, y, progress: (seen.append(progress), real(self, x, y, progress))[1]
    )
    run(with_heads(), bars, tmp_path / "run")
    assert seen == [step / 12 for step in range(12) for _ in range(2)]


@pytest.mark.usefixtures("headed")
def test_heads_that_do_not_fit_are_told_before_anything_is_written(bars, tmp_path):
    with pytest.raises(RecipeError, match="found 2 weights, and 3 auxiliary heads of 'label'"):
        run(with_heads(auxiliary=3), bars, tmp_path / "run")
    with pytest.raises(RecipeError, match="which nothing would train"):
        run(tiny_recipe(model={"kind": "headed", "auxiliary": 0}), bars, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.yaml"))
