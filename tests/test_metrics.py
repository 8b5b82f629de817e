"""Figures of a table: scikit-learn's on any data, intervals that mean something, nothing by row order."""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.predictions import (
    PredictionTable,
    TaskScores,
    confused_pairs,
    confusion,
    hardest,
    overfitting_gap,
    per_class,
    read_metrics,
    reliability,
    summarise,
    worst_first,
    write_metrics,
)
from mudra.types import UNLABELLED


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def scores(logits: Sequence[Sequence[float]] | NDArray[np.floating], truth: Sequence[int]) -> TaskScores:
    values = np.asarray(logits, dtype=np.float64)
    names = tuple(f"class {number}" for number in range(values.shape[1]))
    return TaskScores(names, np.asarray(truth, dtype=np.int64), log_softmax(values))


def table(groups: Sequence[str] | None = None, **tasks: TaskScores) -> PredictionTable:
    count = len(next(iter(tasks.values())).truth)
    clips = tuple(f"clip {number:05}" for number in range(count))
    return PredictionTable(clips, tuple(groups or [""] * count), tasks)


@st.composite
def any_scores(draw: st.DrawFn) -> TaskScores:
    """Any number of clips and classes; some clips unlabelled, some classes without clips."""
    clips, classes = draw(st.integers(1, 40)), draw(st.integers(1, 9))
    truth = draw(st.lists(st.sampled_from([UNLABELLED, *range(classes)]), min_size=clips, max_size=clips))
    truth[0] = draw(st.integers(0, classes - 1))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return scores(rng.normal(size=(clips, classes)) * draw(st.sampled_from([0.1, 1.0, 5.0])), truth)


@settings(max_examples=150, deadline=None)
@given(any_scores())
def test_figures_are_those_of_scikit_learn(task: TaskScores) -> None:
    figures = summarise(table(label=task), "val", resamples=0)["tasks"]["label"]
    known = task.truth != UNLABELLED
    truth, logs = task.truth[known], task.log_probabilities[known]
    answer, classes = logs.argmax(axis=1), np.arange(len(task.classes))
    assert figures["clips"] == known.sum()
    assert figures["unlabelled"] == (~known).sum()
    assert figures["top1"] == pytest.approx(reference.accuracy_score(truth, answer))
    assert figures["macro_f1"] == pytest.approx(
        reference.f1_score(truth, answer, average="macro", zero_division=0)
    )
    recalls = reference.recall_score(truth, answer, labels=np.unique(truth), average=None, zero_division=0)
    assert figures["mean_class_accuracy"] == pytest.approx(recalls.mean())
    of_truth = logs[np.arange(len(truth)), truth]
    assert figures["loss"] == pytest.approx(-of_truth.mean(dtype=np.float64))
    if len(classes) > 2:
        best = min(5, len(classes))
        expected = (
            reference.top_k_accuracy_score(truth, logs, k=best, labels=classes) if best < len(classes) else 1
        )
        assert figures["top5"] == pytest.approx(expected)
        exact = np.exp(logs.astype(np.float64))
        assert figures["loss"] == pytest.approx(
            reference.log_loss(truth, exact / exact.sum(axis=1, keepdims=True), labels=classes), abs=1e-6
        )
    assert figures["baseline"] == pytest.approx(np.bincount(truth).max() / len(truth))
    if len(classes) > 1:  # of one class scikit-learn warns
        assert np.array_equal(confusion(task), reference.confusion_matrix(truth, answer, labels=classes))


@settings(max_examples=80, deadline=None)
@given(any_scores())
def test_class_figures_are_those_of_scikit_learn(task: TaskScores) -> None:
    known = task.truth != UNLABELLED
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        task.truth[known],
        task.log_probabilities[known].argmax(axis=1),
        labels=np.arange(len(task.classes)),
        zero_division=np.nan,
    )
    found = per_class(task)
    assert [one.name for one in found] == list(task.classes)
    assert [one.support for one in found] == support.tolist()
    np.testing.assert_allclose([one.precision for one in found], precision)
    np.testing.assert_allclose([one.recall for one in found], recall)
    np.testing.assert_allclose([one.f1 for one in found], f1)
    worst = [one.f1 for one in worst_first(found) if not math.isnan(one.f1)]
    assert worst == sorted(worst)


@settings(max_examples=40, deadline=None)
@given(any_scores(), st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_rows_changes_nothing(task: TaskScores, random: object, grouped: bool) -> None:
    count = len(task.truth)
    straight = table([f"person {row % 3}" for row in range(count)] if grouped else None, verb=task, noun=task)
    order = np.random.default_rng(count).permutation(count)
    one = summarise(straight, "val", resamples=20)
    assert summarise(straight.take(order), "val", resamples=20) == one


def test_logits_become_probabilities_once() -> None:
    perfect = scores(np.eye(4) * 20, [0, 1, 2, 3])
    assert summarise(table(label=perfect), "val")["tasks"]["label"]["loss"] < 0.01
    undecided = scores(np.zeros((4, 4)), [0, 1, 2, 3])
    figures = summarise(table(label=undecided), "val")["tasks"]["label"]
    assert figures["loss"] == pytest.approx(math.log(4))
    assert figures["top1"] == 0.25  # equal scores go to the lowest class number, not to the truth


def test_top5_looks_at_five_classes() -> None:
    ranked = scores([[6, 5, 4, 3, 2, 1]] * 6, range(6))
    figures = summarise(table(label=ranked), "val")["tasks"]["label"]
    assert figures["top5"] == pytest.approx(5 / 6)
    assert figures["top1"] == pytest.approx(1 / 6)


def test_nothing_is_claimed_where_no_clip_is_labelled() -> None:
    unknown = scores(np.zeros((3, 2)), [UNLABELLED] * 3)
    known = scores(np.zeros((3, 2)), [0, 1, 0])
    summary = summarise(table(verb=unknown, noun=known), "test")
    for figures in (summary["tasks"]["verb"], summary["action"]):
        assert (figures["clips"], figures["unlabelled"]) == (0, 3)
        assert figures["top1"] is figures["loss"] is figures["baseline"] is None
        assert figures["intervals"] == {}
    assert summary["tasks"]["noun"]["top1"] is not None
    assert summary["clips"] == 3


def test_calibration_error_of_a_known_case() -> None:
    # Ten clips at confidence 0.75 of which 6 are right, ten at 0.62 of which 6 are right.
    logs = np.log([[0.75, 0.25]] * 10 + [[0.62, 0.38]] * 10)
    task = scores(logs, ([0] * 6 + [1] * 4) * 2)
    figures = summarise(table(label=task), "val")["tasks"]["label"]
    assert figures["ece"] == pytest.approx(0.5 * 0.15 + 0.5 * 0.02, abs=1e-6)
    clips, confidence, accuracy = reliability(task)
    assert clips[11] == 10  # (11/15, 12/15]
    assert confidence[11] == pytest.approx(0.75)
    assert accuracy[11] == pytest.approx(0.6)
    assert clips.sum() == 20
    assert np.isnan(accuracy[clips == 0]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 8), st.integers(0, 1000), st.booleans())
def test_an_action_is_a_verb_and_a_noun_and_its_top5_ranks_the_products(
    clips: int, verbs: int, nouns: int, seed: int, ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    logits = [rng.normal(size=(clips, count)) for count in (verbs, nouns)]
    if ties:
        logits = [np.round(one) for one in logits]
    verb = scores(logits[0], rng.integers(0, verbs, clips))
    noun = scores(logits[1], rng.integers(0, nouns, clips))
    action = summarise(table(verb=verb, noun=noun), "val", resamples=0)["action"]

    ranks = []
    for row in range(clips):
        pairs = sorted(
            itertools.product(range(verbs), range(nouns)),
            key=lambda pair, row=row: (
                -(float(verb.log_probabilities[row, pair[0]]) + float(noun.log_probabilities[row, pair[1]])),
                pair,
            ),
        )
        ranks.append(pairs.index((int(verb.truth[row]), int(noun.truth[row]))))
    assert action["top1"] == pytest.approx(np.mean(np.array(ranks) == 0))
    assert action["top5"] == pytest.approx(np.mean(np.array(ranks) < 5))
    both = (verb.log_probabilities.argmax(1) == verb.truth) & (noun.log_probabilities.argmax(1) == noun.truth)
    assert action["top1"] == pytest.approx(both.mean())
    tasks = summarise(table(verb=verb, noun=noun), "val", resamples=0)["tasks"]
    assert action["loss"] == pytest.approx(tasks["verb"]["loss"] + tasks["noun"]["loss"])


def test_a_clip_counts_as_an_action_only_where_verb_and_noun_are_known() -> None:
    verb = scores(np.eye(2) * 9, [0, UNLABELLED])
    noun = scores(np.eye(2) * 9, [0, 1])
    action = summarise(table(verb=verb, noun=noun), "val")["action"]
    assert (action["clips"], action["unlabelled"], action["top1"]) == (1, 1, 1.0)
    assert "action" not in summarise(table(verb=verb), "val")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6), st.booleans())
def test_an_interval_holds_its_figure_and_stays_in_range(seed: int, classes: int, grouped: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, 200)
    logits = rng.normal(size=(200, classes)) + np.eye(classes)[truth]
    groups = [f"person {row % 12}" for row in range(200)] if grouped else None
    figures = summarise(table(groups, label=scores(logits, truth)), "val", resamples=300)["tasks"]["label"]
    assert set(figures["intervals"]) == {"top1", "top5", "macro_f1", "mean_class_accuracy", "loss"}
    assert figures["interval_over"] == ("groups" if grouped else "clips")
    assert figures["groups"] == (12 if grouped else 0)
    for name, (low, high) in figures["intervals"].items():
        assert low <= figures[name] <= high
        assert low >= 0
        assert name == "loss" or high <= 1


def test_an_interval_over_clips_is_the_binomial_one() -> None:
    truth = np.zeros(1000, dtype=int)
    logits = np.where(np.arange(1000)[:, None] < 700, [2.0, 0.0], [0.0, 2.0])
    low, high = summarise(table(label=scores(logits, truth)), "val")["tasks"]["label"]["intervals"]["top1"]
    half = 1.96 * math.sqrt(0.7 * 0.3 / 1000)
    assert low == pytest.approx(0.7 - half, abs=0.004)
    assert high == pytest.approx(0.7 + half, abs=0.004)


def test_people_who_fail_together_widen_the_interval() -> None:
    truth = np.zeros(300, dtype=int)
    fails = (np.arange(300) // 30) % 2 == 0  # every other person is never understood
    task = scores(np.where(fails[:, None], [0.0, 3.0], [3.0, 0.0]), truth)
    people = [f"person {row // 30}" for row in range(300)]

    def width(groups: list[str] | None) -> float:
        low, high = summarise(table(groups, label=task), "val")["tasks"]["label"]["intervals"]["top1"]
        return high - low

    assert width(people) > 4 * width(None)
    assert width(["ann"] * 300) == width(None)  # one person alone cannot be resampled


def test_a_clip_of_unknown_person_is_a_person_of_its_own() -> None:
    task = scores(np.eye(2)[[0, 1] * 50] * 3, [0] * 100)
    some = ["ann"] * 10 + ["ben"] * 10 + [""] * 80
    figures = summarise(table(some, label=task), "val")["tasks"]["label"]
    together = ["ann"] * 10 + ["ben"] * 10 + ["?"] * 80
    other = summarise(table(together, label=task), "val")["tasks"]["label"]
    assert (figures["groups"], other["groups"]) == (2, 3)
    assert figures["intervals"]["top1"] != other["intervals"]["top1"]


def test_one_clip_has_no_interval() -> None:
    assert summarise(table(label=scores([[1.0, 0.0]], [0])), "val")["tasks"]["label"]["intervals"] == {}


def test_intervals_repeat_with_their_seed_and_only_with_it() -> None:
    rng = np.random.default_rng(0)
    task = table(label=scores(rng.normal(size=(50, 3)), rng.integers(0, 3, 50)))
    assert summarise(task, "val", seed=1) == summarise(task, "val", seed=1)
    assert summarise(task, "val", seed=1) != summarise(task, "val", seed=2)


def test_what_is_taken_for_what_comes_most_often_first() -> None:
    logits = np.eye(3)[[1, 1, 2, 0, 1, 2]] * 5
    task = scores(logits, [0, 0, 0, 1, 1, UNLABELLED])
    assert confused_pairs(task, 10) == [
        ("class 0", "class 1", 2, 3),
        ("class 0", "class 2", 1, 3),
        ("class 1", "class 0", 1, 2),
    ]
    assert len(confused_pairs(task, 1)) == 1


def test_the_hardest_clips_are_wrong_and_the_surest_first() -> None:
    logits = [[0, 9], [0, 2], [5, 0], [0, 4], [0, 30]]
    assert hardest(scores(logits, [0, 0, 0, 0, UNLABELLED]), 10).tolist() == [0, 3, 1]
    assert hardest(scores(logits, [0, 0, 0, 0, 0]), 2).tolist() == [4, 0]


def test_the_gap_between_train_and_val_is_above_zero_when_overfitted() -> None:
    good, bad = scores(np.eye(2) * 5, [0, 1]), scores(np.eye(2) * 5, [0, 0])
    train = summarise(table(label=good, extra=good), "train")
    val = summarise(table(label=bad), "val")
    gap = overfitting_gap(train, val)
    assert list(gap) == ["label"]
    assert gap["label"]["top1"] == pytest.approx(0.5)
    assert gap["label"]["loss"] > 1
    unknown = summarise(table(label=scores(np.eye(2), [UNLABELLED] * 2)), "val")
    assert overfitting_gap(train, unknown) == {}


def test_the_gap_is_told_of_actions_too() -> None:
    good, bad = scores(np.eye(2) * 5, [0, 1]), scores(np.eye(2) * 5, [0, 0])
    train, val = (summarise(table(verb=good, noun=noun), "x") for noun in (good, bad))
    gap = overfitting_gap(train, val)
    assert list(gap) == ["verb", "noun", "action"]
    assert [gap[task]["top1"] for task in gap] == pytest.approx([0, 0.5, 0.5])


def two_tasks(clips: int = 60, seed: int = 0) -> PredictionTable:
    """Verbs and nouns of 60 clips by 6 people; two people and some classes are reported apart."""
    rng = np.random.default_rng(seed)
    truth = {task: rng.integers(0, classes, clips) for task, classes in (("verb", 4), ("noun", 7))}
    tasks = {
        task: scores(rng.normal(size=(clips, classes)) + 2 * np.eye(classes)[truth[task]], truth[task])
        for task, classes in (("verb", 4), ("noun", 7))
    }
    people = rng.integers(0, 6, clips)
    tail = {"tail:verb": truth["verb"] == 3, "tail:noun": truth["noun"] >= 5}
    subsets = {"unseen": people < 2, **tail, "tail:action": tail["tail:verb"] | tail["tail:noun"]}
    whole = table([f"p{person}" for person in people], **tasks)
    return replace(whole, subsets=subsets)


def test_a_subset_has_the_figures_of_its_clips_alone() -> None:
    whole = two_tasks()
    plain = summarise(replace(whole, subsets={}), "val")
    found = summarise(whole, "val")
    assert {key: value for key, value in found.items() if key != "subsets"} == plain
    assert list(found["subsets"]) == ["unseen", "tail"]
    unseen = whole.take(np.flatnonzero(whole.subsets["unseen"]))
    alone = summarise(replace(unseen, subsets={}), "val")
    assert found["subsets"]["unseen"] == {key: alone[key] for key in ("clips", "tasks", "action")}


def test_the_tail_of_a_task_is_its_own_and_that_of_actions_is_either() -> None:
    whole = two_tasks()
    tail = summarise(whole, "val")["subsets"]["tail"]
    counts = {name: int(members.sum()) for name, members in whole.subsets.items()}
    for task in ("verb", "noun"):
        rows = np.flatnonzero(whole.subsets[f"tail:{task}"])
        right = whole.tasks[task].log_probabilities[rows].argmax(axis=1) == whole.tasks[task].truth[rows]
        assert tail["tasks"][task]["top1"] == pytest.approx(right.mean())
        assert tail["tasks"][task]["clips"] == counts[f"tail:{task}"]
    assert tail["clips"] == tail["action"]["clips"] == counts["tail:action"]
    assert counts["tail:action"] > max(counts["tail:verb"], counts["tail:noun"])


def test_a_subset_without_clips_is_not_reported_and_one_of_a_task_says_nothing_of_others() -> None:
    whole = two_tasks()
    none = np.zeros(len(whole), bool)
    assert "subsets" not in summarise(replace(whole, subsets={"unseen": none}), "val")
    some = summarise(replace(whole, subsets={"tail:verb": ~none}), "val")["subsets"]["tail"]
    assert list(some["tasks"]) == ["verb"]
    assert "action" not in some


def test_metrics_come_back_as_they_were_written(tmp_path: Path) -> None:
    summary = summarise(table(["ann", "ben"], label=scores(np.eye(2), [0, UNLABELLED])), "val")
    write_metrics(tmp_path / "metrics" / "val.json", summary)
    assert read_metrics(tmp_path / "metrics" / "val.json") == json.loads(json.dumps(summary))
    apart = json.loads(json.dumps(summarise(two_tasks(), "val")))
    write_metrics(tmp_path / "apart.json", apart)
    assert read_metrics(tmp_path / "apart.json") == apart
    apart["subsets"]["tail"]["tasks"]["verb"]["top1"] = "many"
    for content in ("", "[]", "{}", '{"tasks": 3}', "[" * 100_000, json.dumps(apart)):
        (tmp_path / "broken.json").write_text(content)
        with pytest.raises(DataError, match=r"broken\.json.*`mudra evaluate`"):
            read_metrics(tmp_path / "broken.json")
    with pytest.raises(DataError, match="absent"):
        read_metrics(tmp_path / "absent.json")
