"""Ensembles: joined by clip, exact on known numbers, fitted without a look at test; the rest is refused in one line."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mudra.errors import DataError, UsageError
from mudra.predictions import PredictionTable, TaskScores, read, read_metrics, write
from mudra.predictions.ensemble import (
    Mean,
    best_members,
    blend,
    combined,
    equal_weights,
    fitted_weights,
    joined,
)
from mudra.reports.report import write_report
from mudra.training.ensembling import ensemble
from mudra.training.run_folder import RunFolder
from mudra.types import UNLABELLED
from tests.command import mudra

CLASSES = ("wave", "push", "pull")
MEANS: tuple[Mean, Mean] = ("probabilities", "logits")


def unheard(_line: str) -> None:
    pass


def scores(share_NC: NDArray[np.float64] | Sequence[Sequence[float]], truth: Sequence[int]) -> TaskScores:
    share = np.asarray(share_NC, np.float64)
    logs = np.log(share / share.sum(axis=1, keepdims=True)).astype(np.float32)
    return TaskScores(CLASSES[: share.shape[1]], np.asarray(truth, np.int64), logs)


def random_table(
    seed: int,
    count: int = 12,
    skill: float = 1.0,
    truth_seed: int = 0,
    prefix: str = "c",
    task: str = "label",
) -> PredictionTable:
    """A member that gives the true class `skill` more in logits than chance does."""
    truth = np.random.default_rng(truth_seed).integers(0, 3, count)
    logits = np.random.default_rng(1000 + seed).normal(size=(count, 3)) + skill * np.eye(3)[truth]
    names = tuple(f"{prefix}{number:03d}" for number in range(count))
    groups = tuple(f"g{number % 4}" for number in range(count))
    return PredictionTable(names, groups, {task: scores(np.exp(logits), truth.tolist())})


def write_run(folder: Path, **splits: PredictionTable) -> str:
    for split, table in splits.items():
        write(table, RunFolder(folder).predictions(split))
    return str(folder)


def same_scores(one: PredictionTable, other: PredictionTable) -> bool:
    return one.clips == other.clips and all(
        np.array_equal(scores.log_probabilities, other.tasks[task].log_probabilities)
        for task, scores in one.tasks.items()
    )


def runs(home: Path, count: int = 2, **skills: float) -> list[str]:
    """Members a, b, ... with validation and test."""
    return [
        write_run(
            home / "abcdef"[number],
            val=random_table(number, 40, skill=1 + number, prefix="v", truth_seed=1),
            test=random_table(10 + number, 30, skill=1 + number, truth_seed=2),
        )
        for number in range(count)
    ]


# Known numbers


def test_the_mean_of_probabilities_is_exact() -> None:
    ours, theirs = scores([[0.2, 0.8], [0.5, 0.5]], [0, 1]), scores([[0.6, 0.4], [0.9, 0.1]], [0, 1])
    logs = [ours.log_probabilities, theirs.log_probabilities]
    np.testing.assert_allclose(
        np.exp(blend(logs, [0.5, 0.5], "probabilities")), [[0.4, 0.6], [0.7, 0.3]], atol=1e-7
    )
    np.testing.assert_allclose(
        np.exp(blend(logs, [0.25, 0.75], "probabilities")), [[0.5, 0.5], [0.8, 0.2]], atol=1e-7
    )


def test_the_mean_of_logits_is_the_normalised_geometric_mean() -> None:
    ours, theirs = scores([[0.2, 0.8]], [0]), scores([[0.6, 0.4]], [0])
    mixed = np.exp(blend([ours.log_probabilities, theirs.log_probabilities], [0.5, 0.5], "logits"))
    product = np.sqrt([0.2 * 0.6, 0.8 * 0.4])
    np.testing.assert_allclose(mixed[0], product / product.sum(), atol=1e-7)


@pytest.mark.parametrize("of", MEANS)
def test_a_member_with_itself_or_alone_in_weight_is_itself(of: Mean) -> None:
    logs = random_table(1).tasks["label"].log_probabilities
    other = random_table(2).tasks["label"].log_probabilities
    np.testing.assert_allclose(blend([logs, logs], [0.5, 0.5], of), logs, atol=1e-6)
    np.testing.assert_allclose(blend([logs, other], [1.0, 0.0], of), logs, atol=1e-6)


# Joined by clip


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(12)), st.sampled_from([0, 1, 2]), st.sampled_from(MEANS), st.booleans())
def test_permuting_one_members_rows_changes_nothing(
    order: list[int], which: int, of: Mean, fit: bool
) -> None:
    tables = {f"m{seed}": random_table(seed) for seed in range(3)}
    turned = {
        name: table.take(order) if number == which else table
        for number, (name, table) in enumerate(tables.items())
    }
    found = []
    for given_tables in (tables, turned):
        together = joined(given_tables)
        weights = fitted_weights(together, of) if fit else equal_weights(together)
        found.append(combined(together, weights, of))
    assert same_scores(*found)
    assert found[0].groups == found[1].groups


def test_a_run_with_shuffled_rows_gives_the_same_files(tmp_path: Path) -> None:
    first, second = runs(tmp_path)
    one = ensemble([first, second], tmp_path / "one", weights="fit", say=unheard)
    for split in ("val", "test"):
        place = RunFolder(Path(second)).predictions(split)
        table = read(place)
        write(table.take(np.random.default_rng(0).permutation(len(table))), place)
    two = ensemble([first, second], tmp_path / "two", weights="fit", say=unheard)
    for split in ("val", "test"):
        assert one.predictions(split).read_bytes() == two.predictions(split).read_bytes()
        assert one.metrics(split).read_bytes() == two.metrics(split).read_bytes()


# Weights


@pytest.mark.parametrize("of", MEANS)
def test_fitted_weights_are_those_of_a_fine_search(of: Mean) -> None:
    tables = joined({f"m{seed}": random_table(seed, 200, skill=0.5 + seed) for seed in range(2)})
    truth = tables["m0"].tasks["label"].truth
    logs = [table.tasks["label"].log_probabilities for table in tables.values()]

    def loss(share: float) -> float:
        return -float(blend(logs, [share, 1 - share], of)[np.arange(200), truth].mean())

    found = fitted_weights(tables, of)["label"]
    assert sum(found.values()) == pytest.approx(1)
    best = min(np.linspace(0, 1, 1001), key=loss)
    assert found["m0"] == pytest.approx(best, abs=2e-3)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6), st.integers(1, 30), st.floats(0.1, 60), st.sampled_from(MEANS), st.integers(0, 99))
def test_weights_are_shares_and_never_worse_than_equal_ones(
    members: int, count: int, scale: float, of: Mean, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, count)
    tables = {}
    for number in range(members):
        logits = scale * rng.normal(size=(count, 3))
        logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        one = TaskScores(CLASSES, truth, logs.astype(np.float32))
        names = tuple(f"c{row:02d}" for row in range(count))
        tables[f"m{number}"] = PredictionTable(names, ("",) * count, {"label": one})
    found = fitted_weights(tables, of)["label"]
    assert all(0 <= share <= 1 for share in found.values())
    assert sum(found.values()) == pytest.approx(1)
    losses = [
        -table.tasks["label"].log_probabilities[np.arange(count), truth].astype(float).mean()
        for table in (combined(tables, {"label": found}, of), combined(tables, equal_weights(tables), of))
    ]
    assert losses[0] <= losses[1] + 1e-5 * (1 + losses[1])


def test_fitted_weights_never_see_the_test(tmp_path: Path) -> None:
    first, second = runs(tmp_path)
    before = ensemble([first, second], tmp_path / "before", weights="fit", say=unheard)
    for place in (first, second):  # every label planted, the same in both members
        test = RunFolder(Path(place)).predictions("test")
        table = read(test)
        planted = replace(table.tasks["label"], truth=np.zeros(len(table), np.int64))
        write(replace(table, tasks={"label": planted}), test)
    after = ensemble([first, second], tmp_path / "after", weights="fit", say=unheard)
    described = [json.loads((run.path / "ensemble.json").read_text()) for run in (before, after)]
    assert described[0]["by_part"] == described[1]["by_part"]
    assert described[0]["best_on_validation"] == described[1]["best_on_validation"]
    assert same_scores(read(before.predictions("test")), read(after.predictions("test")))
    assert described[0]["pairs"] != described[1]["pairs"]


def test_the_best_member_is_chosen_on_validation(tmp_path: Path) -> None:
    good_val, good_test = (
        write_run(
            tmp_path / name,
            val=random_table(1, 60, skill=val),
            test=random_table(2, 60, skill=test, prefix="t"),
        )
        for name, val, test in (("good_val", 4.0, 0.0), ("good_test", 0.0, 4.0))
    )
    run = ensemble([good_val, good_test], tmp_path / "out", say=unheard)
    described = json.loads((run.path / "ensemble.json").read_text())
    assert described["best_on_validation"] == {"label": "good_val"}
    assert {pair["second"]: pair["interval"] is not None for pair in described["pairs"]} == {
        "good_val": True,
        "good_test": True,
    }


def test_without_validation_fit_is_refused_and_no_best_is_chosen(tmp_path: Path) -> None:
    places = [write_run(tmp_path / name, test=random_table(seed)) for seed, name in enumerate("ab")]
    with pytest.raises(DataError, match="test is never fitted on"):
        ensemble(places, tmp_path / "fit", weights="fit", say=unheard)
    assert not (tmp_path / "fit").exists()
    told: list[str] = []
    run = ensemble(places, tmp_path / "mean", say=told.append)
    assert any("which member is the best is not chosen" in line for line in told)
    assert json.loads((run.path / "ensemble.json").read_text())["best_on_validation"] == {}


# Tasks, streams and folds


def two_tasks(seed: int, tasks: Sequence[str]) -> PredictionTable:
    made = {
        task: random_table(seed + 10 * place, task=task, truth_seed=place) for place, task in enumerate(tasks)
    }
    return replace(next(iter(made.values())), tasks={task: table.tasks[task] for task, table in made.items()})


def test_a_member_that_lacks_a_task_is_told_and_the_others_answer(tmp_path: Path) -> None:
    both, one = two_tasks(1, ["verb", "noun"]), two_tasks(2, ["verb"])
    places = [write_run(tmp_path / "both", test=both), write_run(tmp_path / "one", test=one)]
    told: list[str] = []
    run = ensemble(places, tmp_path / "out", say=told.append)
    assert "noun: joined without one (no such task)." in told
    table = read(run.predictions("test"))
    np.testing.assert_allclose(
        table.tasks["noun"].log_probabilities, both.tasks["noun"].log_probabilities, atol=1e-6
    )
    verbs = [each.tasks["verb"].log_probabilities for each in (both, one)]
    expected = blend(verbs, [0.5, 0.5], "probabilities")
    np.testing.assert_array_equal(table.tasks["verb"].log_probabilities, expected)
    assert {"verb", "noun", "action"} <= read_metrics(run.metrics("test")).get("tasks", {}).keys() | {
        "action"
    }


def folded(home: Path, seed: int, *, val: bool, count: int = 2) -> str:
    """A cross-validation: two folds of 12 clips, each with validation clips from the other one."""
    run = RunFolder(home)
    tables = [
        random_table(seed + 50 * number, skill=1 + seed, prefix=f"f{number}-", truth_seed=number)
        for number in range(count)
    ]
    for number, table in enumerate(tables, 1):
        more = {"val": random_table(seed, 20, prefix="v", skill=seed * number, truth_seed=9)} if val else {}
        write_run(run.fold(number).path, test=table, **more)
    from mudra.predictions import pooled

    return write_run(home, test=pooled(tables))


def test_cross_validations_are_fitted_fold_by_fold(tmp_path: Path) -> None:
    places = [folded(tmp_path / name, seed, val=True) for seed, name in enumerate("ab")]
    run = ensemble(places, tmp_path / "out", weights="fit", say=unheard)
    described = json.loads((run.path / "ensemble.json").read_text())
    assert len(described["by_part"]) == 2
    assert described["by_part"][0] != described["by_part"][1]
    assert not run.predictions("val").exists()
    table = read(run.predictions("test"))
    assert len(table) == 24
    second = [read(RunFolder(Path(place)).fold(2).predictions("test")) for place in places]
    weights = list(described["by_part"][1]["label"].values())
    expected = blend([each.tasks["label"].log_probabilities for each in second], weights, "probabilities")
    rows = [table.clips.index(clip) for clip in second[0].clips]
    np.testing.assert_array_equal(table.tasks["label"].log_probabilities[rows], expected)


def test_folds_without_validation_are_averaged_and_not_fitted(tmp_path: Path) -> None:
    places = [folded(tmp_path / name, seed, val=False) for seed, name in enumerate("ab")]
    with pytest.raises(DataError, match="test is never fitted on"):
        ensemble(places, tmp_path / "fit", weights="fit", say=unheard)
    assert len(read(ensemble(places, tmp_path / "mean", say=unheard).predictions("test"))) == 24


def test_an_ordinary_run_joins_a_cross_validation_but_is_not_fitted_with_it(tmp_path: Path) -> None:
    first = folded(tmp_path / "a", 0, val=True)
    second = write_run(tmp_path / "b", test=read(RunFolder(Path(first)).predictions("test")))
    with pytest.raises(DataError, match="not cross-validations over the same folds"):
        ensemble([first, second], tmp_path / "fit", weights="fit", say=unheard)
    assert len(read(ensemble([first, second], tmp_path / "mean", say=unheard).predictions("test"))) == 24


def test_an_ensemble_is_a_run_that_can_be_a_member(tmp_path: Path) -> None:
    first, second, third = runs(tmp_path, 3)
    inner = ensemble([first, second], tmp_path / "inner", say=unheard)
    outer = ensemble([str(inner.path), third], tmp_path / "outer", weights="fit", say=unheard)
    assert outer.read_status()["state"] == "done"
    assert read_metrics(outer.metrics("test"))["tasks"]["label"]["intervals"]


# Refusals


Change = Callable[[PredictionTable], PredictionTable]


def other_classes(table: PredictionTable) -> PredictionTable:
    return replace(table, tasks={"label": replace(table.tasks["label"], classes=("wave", "pull", "push"))})


def other_truth(table: PredictionTable) -> PredictionTable:
    truth = table.tasks["label"].truth.copy()
    truth[3] = UNLABELLED
    return replace(table, tasks={"label": replace(table.tasks["label"], truth=truth)})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (other_classes, "class 2 is 'push' and 'pull'"),
        (other_truth, "clip 'c003': its true label is"),
        (lambda table: table.take(range(11)), "'c011'"),
        (lambda table: replace(table, clips=("z", *table.clips[1:])), "'z'"),
        (lambda table: replace(table, groups=("nobody", *table.groups[1:])), "group"),
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_members_that_do_not_fit_are_refused(tmp_path: Path, change: Change, told: str, which: int) -> None:
    tables = [random_table(0), random_table(1)]
    tables[which] = change(tables[which])
    places = [write_run(tmp_path / name, test=table) for name, table in zip("ab", tables, strict=True)]
    with pytest.raises(DataError) as caught:
        ensemble(places, tmp_path / "out", say=unheard)
    assert told in str(caught.value) or "'push'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_clips_that_stand_twice_are_refused(tmp_path: Path) -> None:
    first, second = runs(tmp_path)
    place = RunFolder(Path(second)).predictions("test")
    columns = pq.read_table(place)
    pq.write_table(pa.concat_tables([columns, columns.slice(0, 1)]), place)
    with pytest.raises(DataError, match="clip 'c000' stands in two rows"):
        ensemble([first, second], tmp_path / "out", say=unheard)


def test_a_member_trained_on_the_judged_clips_is_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", test=random_table(0))
    second = write_run(tmp_path / "b", test=random_table(1), train=random_table(1).take([4, 5]))
    with pytest.raises(DataError, match=r"b: it was trained on 2 of the test clips, such as 'c004'"):
        ensemble([first, second], tmp_path / "out", say=unheard)


def test_other_validation_clips_are_left_out_of_a_mean_and_refuse_a_fit(tmp_path: Path) -> None:
    places = [
        write_run(tmp_path / name, test=random_table(seed), val=random_table(seed, prefix=name))
        for seed, name in enumerate("ab")
    ]
    told: list[str] = []
    run = ensemble(places, tmp_path / "mean", say=told.append)
    assert not run.predictions("val").exists()
    assert any(line.startswith("val: left out.") for line in told)
    with pytest.raises(DataError, match="val: 12 clips of a are not in b"):
        ensemble(places, tmp_path / "fit", weights="fit", say=unheard)


def test_unlabelled_validation_cannot_be_fitted_on(tmp_path: Path) -> None:
    def bare(table: PredictionTable) -> PredictionTable:
        truth = np.full(len(table), UNLABELLED)
        return replace(table, tasks={"label": replace(table.tasks["label"], truth=truth)})

    places = [
        write_run(tmp_path / name, test=random_table(seed), val=bare(random_table(seed, prefix="v")))
        for seed, name in enumerate("ab")
    ]
    with pytest.raises(DataError, match="no clip is labelled"):
        ensemble(places, tmp_path / "out", weights="fit", say=unheard)


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    first, second = runs(tmp_path)
    for words, code in (
        ((first,), 2),
        ((first, first), 2),
        ((first, second, "--weights", "best"), 2),
        ((first, second, "--of", "votes"), 2),
        ((first, tmp_path / "nothing"), 3),
    ):
        found = mudra("ensemble", *words, "--out", tmp_path / "out")
        assert found.returncode == code, found.stderr
        assert found.stderr.startswith("error: ")
        assert len(found.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()
    found = mudra("ensemble", first, second, "--out", first)
    assert found.returncode == 2
    assert "already" in found.stderr


def test_the_command_makes_a_run_with_a_report(tmp_path: Path) -> None:
    first, second = runs(tmp_path)
    out = tmp_path / "out"
    found = mudra("ensemble", first, second, "--out", out, "--weights", "fit", "--of", "logits")
    assert found.returncode == 0, found.stderr
    assert "the best on validation" in found.stderr
    page = (out / "report.html").read_text()
    for words in ("Ensemble", "weight", "mean of logits"):
        assert words in page
    assert "is missing" not in page
    described = json.loads((out / "ensemble.json").read_text())
    for garbled in (
        {},
        {**described, "by_part": []},
        {**described, "pairs": [{}]},
        {**described, "members": 3},
    ):
        (out / "ensemble.json").write_text(json.dumps(garbled))
        assert "does not hold what it should" in write_report(out).read_text()


# Softmax files


def softmax_of(table: PredictionTable, order: Sequence[int] = (2, 0, 1)) -> Mapping[str, list[object]]:
    share = np.exp(table.tasks["label"].log_probabilities.astype(np.float64))
    columns: dict[str, list[object]] = {"clip": list(table.clips)}
    return columns | {CLASSES[number]: share[:, number].tolist() for number in order}


def write_softmax(path: Path, columns: Mapping[str, list[object]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table(dict(columns)), path)
    else:
        rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(rows) + "\n", "utf-8")
    return str(path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_softmax_file_is_a_member_by_its_clips_and_classes(tmp_path: Path, ending: str) -> None:
    ours, theirs = random_table(0), random_table(1)
    first, second = (write_run(tmp_path / n, test=table) for n, table in (("a", ours), ("b", theirs)))
    file = write_softmax(tmp_path / f"other.{ending}", softmax_of(theirs.take(range(11, -1, -1))))
    one = ensemble([first, second], tmp_path / "one", say=unheard)
    two = ensemble([file, first], tmp_path / "two", say=unheard)
    np.testing.assert_allclose(
        read(one.predictions("test")).tasks["label"].log_probabilities,
        read(two.predictions("test")).tasks["label"].log_probabilities,
        atol=1e-5,
    )


def test_a_folder_of_softmax_files_can_be_fitted(tmp_path: Path) -> None:
    first, second = runs(tmp_path)
    for split in ("val", "test"):
        write_softmax(
            tmp_path / "other" / f"{split}.csv", softmax_of(read(RunFolder(Path(second)).predictions(split)))
        )
    one = ensemble([first, second], tmp_path / "one", weights="fit", say=unheard)
    two = ensemble([first, f"label={tmp_path / 'other'}"], tmp_path / "two", weights="fit", say=unheard)
    found = [
        json.loads((run.path / "ensemble.json").read_text())["by_part"][0]["label"]["a"] for run in (one, two)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def broken(change: Callable[[dict[str, list[object]]], object]) -> dict[str, list[object]]:
    columns = dict(softmax_of(random_table(1)))
    change(columns)
    return columns


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (broken(lambda c: c.pop("pull")), "column 'pull' is missing"),
        (broken(lambda c: c.pop("clip")), "column 'clip' is missing"),
        (
            broken(lambda c: c.update(pulll=c["pull"])),
            "column 'pulll' is no class of label. Did you mean 'pull'?",
        ),
        (broken(lambda c: c["clip"].__setitem__(1, "c000")), "clip 'c000' stands in two rows"),
        (broken(lambda c: c["clip"].__setitem__(1, "z")), "lacks 1 of the clips, such as 'c001'"),
        (
            broken(lambda c: c["pull"].__setitem__(1, -0.1)),
            "row 2: clip 'c001' has a probability that is negative",
        ),
        (broken(lambda c: c["pull"].__setitem__(1, float("nan"))), "row 2: clip 'c001' has a probability"),
        (broken(lambda c: c["pull"].__setitem__(1, float("inf"))), "row 2: clip 'c001' has a probability"),
        (broken(lambda c: c["pull"].__setitem__(1, 3.0)), "the probabilities of clip 'c001' sum to"),
        (broken(lambda c: c.update(pull=["x"] * 12)), "column 'pull': a value is not a number"),
        (broken(lambda c: c.update(truth=["jump"] * 12)), "expected the same truth"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_softmax_file_that_does_not_fit_is_refused(
    tmp_path: Path, columns: dict[str, list[object]], told: str, ending: str
) -> None:
    run = write_run(tmp_path / "a", test=random_table(0))
    file = write_softmax(tmp_path / f"other.{ending}", columns)
    with pytest.raises(DataError) as caught:
        ensemble([run, file], tmp_path / "out", say=unheard)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_softmax_files_need_a_run_and_a_task(tmp_path: Path) -> None:
    files = [write_softmax(tmp_path / f"{name}.csv", softmax_of(random_table(1))) for name in "ab"]
    run = write_run(tmp_path / "run", test=two_tasks(1, ["verb", "noun"]))
    for members, told in (
        (files, "no member is a run"),
        ([run, files[0]], "say which task it is about, as TASK=FILE"),
        ([run, f"nown={files[0]}"], "task 'nown' is none of verb, noun"),
    ):
        with pytest.raises(DataError, match=told):
            ensemble(members, tmp_path / "out", say=unheard)
    joint = read(ensemble([run, f"noun={files[0]}"], tmp_path / "named", say=unheard).predictions("test"))
    verb, alone = joint.tasks["verb"], read(RunFolder(Path(run)).predictions("test")).tasks["verb"]
    assert np.array_equal(verb.log_probabilities, alone.log_probabilities)
    with pytest.raises(UsageError, match="names its tasks itself"):
        ensemble([run, f"noun={run}"], tmp_path / "out3", say=unheard)


def test_best_members_of_nothing_are_none() -> None:
    assert best_members([]) == {}


def test_validation_clips_that_are_test_clips_fit_and_choose_nothing(tmp_path: Path) -> None:
    places = [
        write_run(tmp_path / name, test=random_table(seed), val=random_table(seed).take(range(5)))
        for seed, name in enumerate("ab")
    ]
    with pytest.raises(DataError, match=r"5 of its clips are test clips too, such as 'c000'") as caught:
        ensemble(places, tmp_path / "fit", weights="fit", say=unheard)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "fit").exists()
    told: list[str] = []
    run = ensemble(places, tmp_path / "mean", say=told.append)
    assert "val: left out. 5 of its clips are test clips too, such as 'c000'." in told
    assert json.loads((run.path / "ensemble.json").read_text())["best_on_validation"] == {}
