"""Runs side by side: the same clips, paired tests, a page; and what cannot be compared is refused in one line."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import binomtest
from torch import Tensor

from mudra.bundle import Bundle, fitted, read_bundle, write_bundle
from mudra.clips.preprocessing import Preprocessing
from mudra.errors import DataError, MudraError
from mudra.models import count_parameters, flops
from mudra.models.keypoint_transformer import KeypointTransformer
from mudra.predictions import PredictionTable, TaskScores, summarise, write, write_metrics
from mudra.predictions.alignment import aligned
from mudra.predictions.comparison import (
    class_recall,
    compare_pairs,
    disagreements,
    holm,
    mcnemar,
    right_answers,
)
from mudra.reports.compared import read_compared
from mudra.reports.comparing import comparison_table, verdict, write_comparison
from mudra.reports.costs import TURNS, Cost, costs
from mudra.sections import ClipSettings
from mudra.training.run_folder import RunFolder
from mudra.types import UNLABELLED, StreamInfo

CLASSES = ("wave", "push", "pull")


def table(
    answers: Sequence[int],
    truth: Sequence[int],
    groups: Sequence[str] | None = None,
    clips: Sequence[str] | None = None,
    sure: float = 3.0,
) -> PredictionTable:
    """A run's predictions: which class it answers for each clip."""
    logits = sure * np.eye(len(CLASSES))[np.asarray(answers, int)]
    logs = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    names = tuple(clips or [f"c{number:03d}" for number in range(len(answers))])
    scores = TaskScores(CLASSES, np.asarray(truth, np.int64), logs)
    return PredictionTable(names, tuple(groups or [""] * len(names)), {"label": scores})


TRUTH = [0, 1, 2, 0, 1, 2]


def test_rows_are_brought_together_by_their_clips() -> None:
    ours, theirs = table(TRUTH, TRUTH), table([0, 0, 2, 0, 1, 1], TRUTH)
    shuffled = theirs.take([5, 3, 0, 1, 4, 2])
    assert compare_pairs(aligned({"a": ours, "b": shuffled})) == compare_pairs(
        aligned({"a": ours, "b": theirs})
    )


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=30), st.randoms())
def test_swapping_two_runs_mirrors_their_difference(rows: list[tuple[int, int, int]], chance: object) -> None:
    truth, first, second = (list(column) for column in zip(*rows, strict=True))
    groups = [f"g{number % 4}" for number in range(len(rows))]
    a, b = table(first, truth, groups), table(second, truth, groups)
    (one,) = compare_pairs(aligned({"a": a, "b": b}), resamples=200)
    (two,) = compare_pairs(aligned({"b": b, "a": a}), resamples=200)
    assert (one.difference, one.only_first, one.only_second) == (
        -two.difference,
        two.only_second,
        two.only_first,
    )
    assert one.p == pytest.approx(two.p)
    if one.interval and two.interval:
        assert one.interval == pytest.approx((-two.interval[1], -two.interval[0]), abs=1e-12)
        assert one.interval[0] <= one.interval[1]


def test_a_run_does_not_differ_from_itself() -> None:
    (pair,) = compare_pairs(aligned({"a": table([0, 0, 2], [0, 1, 2]), "b": table([0, 0, 2], [0, 1, 2])}))
    assert (pair.difference, pair.p, pair.adjusted, pair.interval) == (0, 1, 1, (0, 0))


def test_the_exact_test_is_the_binomial_one() -> None:
    truth = [0] * 12
    (pair,) = compare_pairs(
        aligned({"a": table([0] * 10 + [1] * 2, truth), "b": table([1] * 9 + [0] * 3, truth)})
    )
    assert (pair.only_first, pair.only_second) == (9, 2)
    assert pair.p == pytest.approx(binomtest(9, 11, 0.5).pvalue)
    assert pair.difference == pytest.approx(7 / 12)
    assert mcnemar(9, 2) == mcnemar(2, 9)


def test_the_interval_of_a_difference_draws_whole_groups() -> None:
    """Ten clips of two people: what one person's clips do alike is no proof, and the interval stays wide."""
    truth, ours, theirs = [0] * 10, [0] * 10, [1] * 5 + [0] * 5
    (apart,) = compare_pairs(aligned({"a": table(ours, truth), "b": table(theirs, truth)}))
    people = ["ann"] * 5 + ["ben"] * 5
    (grouped,) = compare_pairs(aligned({"a": table(ours, truth, people), "b": table(theirs, truth, people)}))
    assert (apart.over, grouped.over) == ("clips", "groups")
    assert apart.interval is not None
    assert grouped.interval == (0, 1)
    assert 0 < apart.interval[0] < apart.interval[1] < 1


def test_many_pairs_are_corrected_for() -> None:
    assert holm([0.01, 0.02, 0.9]) == pytest.approx([0.03, 0.04, 0.9])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    truth = [0] * 20
    tables = {
        name: table([0] * right + [1] * (20 - right), truth)
        for name, right in (("a", 20), ("b", 14), ("c", 13))
    }
    pairs = compare_pairs(aligned(tables))
    assert [pair.adjusted for pair in pairs] == pytest.approx(holm([pair.p for pair in pairs]))
    assert pairs[0].adjusted > pairs[0].p


def test_verb_and_noun_are_compared_together_as_action() -> None:
    verb = table([0, 1, 1], [0, 1, 2]).tasks["label"]
    noun = table([0, 0, 2], [0, 1, 2]).tasks["label"]
    both = PredictionTable(("a", "b", "c"), ("", "", ""), {"verb": verb, "noun": noun})
    assert {task: right.tolist() for task, (_, right) in right_answers(both).items()} == {
        "verb": [True, True, False],
        "noun": [True, False, True],
        "action": [True, False, False],
    }


def test_unlabelled_clips_count_for_nothing() -> None:
    truth = [0, UNLABELLED, 1]
    (pair,) = compare_pairs(aligned({"a": table([0, 0, 1], truth), "b": table([1, 1, 1], truth)}))
    assert (pair.clips, pair.only_first) == (2, 1)
    assert disagreements({"a": table([0, 0, 1], truth), "b": table([1, 1, 1], truth)}, "label", 5) == [0]


def test_recall_of_a_class_without_clips_is_not_a_number() -> None:
    support, recall = class_recall(table([0, 1], [0, 0]), "label")
    assert support.tolist() == [2, 0, 0]
    assert recall[0] == 0.5
    assert np.isnan(recall[1:]).all()


def test_the_surest_disagreement_is_shown_first() -> None:
    a = table([0, 0, 0], [0, 0, 0])
    unsure = np.log(np.array([[0.4, 0.5, 0.1], [0.9, 0.05, 0.05], [0.1, 0.8, 0.1]], np.float32))
    scores = TaskScores(CLASSES, a.tasks["label"].truth, unsure)
    b = PredictionTable(a.clips, a.groups, {"label": scores})
    assert disagreements({"a": a, "b": b}, "label", 5) == [2, 0]


def write_run(run: Path, answers: Sequence[int], truth: Sequence[int] = TRUTH, **more: object) -> Path:
    """A run of which only its predictions and its recipe are known."""
    write(table(answers, truth), run / "predictions" / "test.parquet")
    (run / "recipe.yaml").write_text("".join(f"{key}: {value}\n" for key, value in more.items()), "utf-8")
    return run


def test_runs_become_one_page_that_fetches_nothing(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "<b>one</b>", TRUTH, lr=0.1, same=1),
        write_run(tmp_path / "two", [0, 0, 0, 0, 0, 0], lr=0.2, same=1),
    ]
    compared = read_compared(runs)
    write_comparison(compared, tmp_path / "compare.html")
    told = (tmp_path / "compare.html").read_text("utf-8")
    assert "<b>one" not in told
    assert "://" not in told
    assert "has no model" in told
    assert "<code>lr</code>" in told
    assert "<code>same</code>" not in told
    assert "66.7" in told  # how far the runs are apart in top-1


def test_two_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / folder / "run", TRUTH) for folder in ("a", "b")]
    assert list(read_compared(runs).runs) == ["a/run", "b/run"]


def test_the_gap_of_a_cross_validation_is_the_mean_of_its_folds(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, TRUTH) for name in ("folds", "cut", "plain")]
    right, half = table(TRUTH, TRUTH), table([0, 1, 2, 1, 2, 0], TRUTH)
    for run, fold, train, test in ((0, 1, right, half), (0, 2, right, right), (1, 1, right, half)):
        home = RunFolder(runs[run]).fold(fold)
        write_metrics(home.metrics("train"), summarise(train, "train"))
        write_metrics(home.metrics("test"), summarise(test, "test"))
    write_metrics(RunFolder(runs[1]).fold(2).metrics("train"), summarise(right, "train"))  # not judged yet
    assert read_compared(runs).gaps == {"folds": {"label": pytest.approx(0.25)}, "cut": {}, "plain": {}}


def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", TRUTH)
    (tmp_path / "empty").mkdir()
    for runs, words in (
        ([one], "expected two or more"),
        ([one, tmp_path / "." / "one"], "named twice"),
        ([one, tmp_path / "empty"], "mudra evaluate"),
        ([one, tmp_path / "nowhere"], "no such run"),
    ):
        with pytest.raises(MudraError, match=words) as told:
            read_compared(runs)
        assert "\n" not in str(told.value)


def test_a_difference_is_called_one_when_both_tests_say_so(tmp_path: Path) -> None:
    truth, wrong = [0] * 40, [1] * 20 + [0] * 20
    good, bad = write_run(tmp_path / "good", truth, truth), write_run(tmp_path / "bad", wrong, truth)
    assert [verdict(pair) for pair in read_compared([bad, good]).pairs] == ["good is better"]
    even = write_run(tmp_path / "even", [1, *truth[1:]], truth)
    assert [verdict(pair) for pair in read_compared([good, even]).pairs] == ["could be luck"]


def other_classes() -> PredictionTable:
    scores = table(TRUTH, TRUTH).tasks["label"]
    swapped = TaskScores(("push", "wave", "pull"), scores.truth, scores.log_probabilities)
    return PredictionTable(table(TRUTH, TRUTH).clips, ("",) * 6, {"label": swapped})


def another_task() -> PredictionTable:
    whole = table(TRUTH, TRUTH)
    return PredictionTable(whole.clips, whole.groups, {"sign": whole.tasks["label"]})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (table(TRUTH[:5], TRUTH[:5]), "1 clip of one is not in two, such as 'c005'"),
        (table(TRUTH, TRUTH, clips=["x", "y", "z", "u", "v", "w"]), "6 clips of two are not in one, such as 'u'"),
        (other_classes(), "class 1 is 'wave' and 'push'"),
        (table(TRUTH, [1, *TRUTH[1:]]), "clip 'c000': its true label is 'wave' in one and 'push' in two"),
        (table(TRUTH, [UNLABELLED, *TRUTH[1:]]), "is 'wave' in one and unlabelled in two"),
        (table(TRUTH, TRUTH, groups=["ann"] * 6), "its group is '' in one and 'ann' in two"),
        (another_task(), "task 'label': one has it and two has not"),
    ],
)  # fmt: skip
def test_what_is_not_about_the_same_clips_is_refused(other: PredictionTable, words: str) -> None:
    with pytest.raises(DataError, match=words) as told:
        aligned({"one": table(TRUTH, TRUTH), "two": other})
    assert "\n" not in str(told.value)


# What runs cost, and how it is told


def write_model(run: Path, width: int, fold: int | None = None) -> Path:
    """A run with a model of random weights, in a fold of its own where one is named."""
    settings = ClipSettings(streams=("points",), frames=8, sampling="even")
    preprocessing = Preprocessing(settings, {"points": StreamInfo("points", "hand21", 10.0)})
    model = KeypointTransformer.Settings(width=width, depth=1, heads=2)
    whole = Bundle("tiny", fitted(model, preprocessing), preprocessing, {"label": CLASSES})
    home = RunFolder(run) if fold is None else RunFolder(run).fold(fold)
    write_bundle(home.bundle, whole, whole.build().state_dict(), "a card")
    return run


def test_what_a_model_costs_is_that_of_its_bundle(tmp_path: Path) -> None:
    runs = {
        "small": write_model(tmp_path / "small", 16),
        "large": write_model(tmp_path / "large", 32, fold=1),
        "none": tmp_path,
    }
    found = costs(runs, latency=False)
    assert found.keys() == {"small", "large"}
    for name, folder in (
        ("small", runs["small"] / "bundle"),
        ("large", runs["large"] / "fold-01" / "bundle"),
    ):
        bundle = read_bundle(folder)
        assert found[name].parameters == count_parameters(bundle.build())
        assert found[name].flops == flops(bundle.build(), bundle.preprocessing.inputs)
        assert found[name].seconds is None
    assert found["small"].memory < found["large"].memory


def test_models_are_timed_in_turns_for_as_long_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that each look moves on: ten milliseconds for one model, twenty for the other, once an hour."""
    runs = {"a": write_model(tmp_path / "a", 16), "b": write_model(tmp_path / "b", 32)}
    looks: list[int] = []
    clock = {"now": 0.0}
    plain = KeypointTransformer.forward

    def slow(model: KeypointTransformer, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        looks.append(model.settings.width)
        clock["now"] += 3600.0 if len(looks) == 11 else 0.01 if model.settings.width == 16 else 0.02
        return plain(model, streams)

    monkeypatch.setattr(KeypointTransformer, "forward", slow)
    monkeypatch.setattr("mudra.reports.costs.time.perf_counter", lambda: clock["now"])
    monkeypatch.setattr("mudra.reports.costs.flops", lambda *_: 1)
    monkeypatch.setattr("mudra.reports.costs.peak_memory", lambda *_: 1)
    found = costs(runs)
    assert {name: round(cost.seconds or 0, 6) for name, cost in found.items()} == {"a": 0.01, "b": 0.02}
    assert looks == [16, 32] * (1 + TURNS)
    assert not any(cost.unsteady for cost in found.values())
    looks.clear()
    clock["now"] = 0.0
    monkeypatch.setattr("mudra.reports.costs.ENOUGH", 1.0)
    looks.extend([0] * 11)  # past the long one
    costs(runs)
    assert len(looks) - 11 == 2 * (1 + 34)  # 34 turns of 30 ms are the first that fill a second


def test_times_that_jump_about_are_told_as_such(tmp_path: Path) -> None:
    compared = read_compared([write_run(tmp_path / name, TRUTH) for name in ("one", "two")])
    steady, busy = Cost(1, 1, 1, 0.002, (0.0019, 0.0022)), Cost(1, 1, 1, 0.02, (0.002, 0.04))
    write_comparison(replace(compared, costs={"one": steady, "two": busy}), tmp_path / "compare.html")
    told = (tmp_path / "compare.html").read_text("utf-8")
    assert "two: half of its timed passes took 2 ms to 40 ms" in told
    assert "one: half" not in told


def test_the_terminal_tells_every_name_whole_and_no_p_of_zero(tmp_path: Path) -> None:
    truth = [0] * 40
    names = ("keypoints-and-hands", "rgb-resnet50-transformer")
    runs = [
        write_run(tmp_path / name, answers, truth)
        for name, answers in zip(names, (truth, [1] * 30 + [0] * 10), strict=True)
    ]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(comparison_table(read_compared(runs)))
    told = console.export_text()
    assert "…" not in told
    assert "< 0.001" in told
    assert "0.000" not in told
    for name in names:
        assert all(name[at : at + 4] in told for at in range(0, len(name) - 4, 4))


def test_runs_that_are_right_on_the_same_clips_are_not_called_lucky(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, TRUTH) for name in ("one", "two")]
    assert [verdict(pair) for pair in read_compared(runs).pairs] == ["right on the same clips"]
