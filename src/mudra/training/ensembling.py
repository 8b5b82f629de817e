"""`mudra ensemble`: runs, and files of other programs, become one run. No model is loaded: predictions are enough.

Weights are fitted on validation and never see a test clip. Where the members are cross-validations, each fold's weights
are fitted on that fold's own validation clips, and a fold without any has none to fit on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from mudra.errors import DataError, UsageError
from mudra.files import write_json
from mudra.predictions import PredictionTable, pooled, read
from mudra.predictions.comparison import Pair, compare_pairs
from mudra.predictions.ensemble import (
    Mean,
    Weights,
    best_members,
    combined,
    equal_weights,
    fitted_weights,
    joined,
    only,
    tasks_of,
)
from mudra.predictions.softmax_files import ENDINGS, SoftmaxFile, read_softmax
from mudra.progress import Say
from mudra.training.hardware import environment
from mudra.training.judging import record
from mudra.training.run_folder import RunFolder
from mudra.types import SPLITS, UNLABELLED

SCHEMA = 1
ENSEMBLE = "the ensemble"
JUDGED = ("test", "val")  # what members are compared on, the first that is there
Tables = dict[str, PredictionTable]


@dataclass(frozen=True)
class Member:
    """One run, or one program's files.

    Attributes:
        tables: predictions by split.
        folds: the same of each fold, where the run is a cross-validation.
        files: softmax by split, of another program. task: the one it is about, None where the runs have but one.
    """

    name: str
    tables: Mapping[str, PredictionTable] = field(default_factory=dict)
    folds: Sequence[Mapping[str, PredictionTable]] = ()
    files: Mapping[str, SoftmaxFile] = field(default_factory=dict)
    task: str | None = None


@dataclass(frozen=True)
class Part:
    """One data split, of one fold or of all: every member's tables by split, joined by clip."""

    splits: Mapping[str, Tables]
    notes: tuple[str, ...] = ()


def ensemble(
    members: Sequence[str],
    out: Path,
    *,
    weights: Literal["mean", "fit"] = "mean",
    of: Mean = "probabilities",
    say: Say = print,
) -> RunFolder:
    """Join members' predictions and judge what they say together.

    Args:
        members: runs; or softmax files (CSV, Parquet: of test) and folders of such (`val.csv`, `test.csv`), with
            `TASK=` before them where the runs have several tasks.
        weights: `fit` fits them on validation clips.
    Returns:
        the new run, with predictions, metrics and `ensemble.json`.
    Raises:
        UsageError: fewer than two members, one given twice, or `out` is there.
        DataError: the members do not fit together, or have no validation to fit on.
    """
    if len(members) < 2:
        raise UsageError(f"ensemble: found {len(members)} member; expected two or more.")
    run = RunFolder(out)
    if run.begun:
        raise UsageError(f"{out}: it is there already and not empty; choose another --out.")
    opened = _named([_open(word) for word in members], members)
    parts = _parts(opened, weights)
    for note in dict.fromkeys(note for part in parts for note in part.notes):
        say(note)
    _tell_missing_tasks(parts[0], say)
    by_part = [_weights(part, weights, of) for part in parts]
    written = parts[0].splits if len(parts) == 1 else ("test",)  # a clip validates in several folds
    tables = {split: _pooled(parts, by_part, split, of) for split in written}
    best = best_members([part.splits["val"] for part in parts if "val" in part.splits])
    judged = next((split for split in JUDGED if split in tables and _labelled(tables[split])), None)
    pairs = [] if judged is None else _against_each(parts, tables[judged], judged)
    with run.locked():
        write_json(run.path / "environment.json", environment(0))
        write_json(
            run.path / "ensemble.json",
            {
                "schema": SCHEMA,
                "of": of,
                "weights": weights,
                "members": [{"name": m.name, "given": word} for m, word in zip(opened, members, strict=True)],
                "fitted_on": "val" if weights == "fit" else None,
                "by_part": [{task: dict(each) for task, each in found.items()} for found in by_part],
                "best_on_validation": best,
                "judged": judged,
                "pairs": [asdict(pair) for pair in pairs],
            },
        )
        for split in (name for name in reversed(JUDGED) if name in tables):
            record(run, split, tables[split], say)
        if "train" in tables:
            record(run, "train", tables["train"], say)
        run.status("done", 0)
    _tell(by_part, pairs, best, weights, judged, say)
    return run


# Members


def _open(word: str) -> Member:
    """A member as the command line names it."""
    task, equals, rest = word.partition("=")
    if Path(word).exists() or not equals:
        task, rest = "", word
    place = Path(rest)
    if place.is_file():
        if place.suffix not in ENDINGS:
            raise DataError(f"{place}: found a file that is neither .csv nor .parquet; give a run's folder.")
        return Member(place.stem, files={"test": read_softmax(place)}, task=task or None)
    if not place.is_dir():
        raise DataError(f"{place}: there is no such run or file; expected a run's folder or a softmax file.")
    if (place / "predictions").is_dir():
        if task:
            raise UsageError(f"{word}: a run names its tasks itself; leave out {task!r}.")
        return _open_run(RunFolder(place))
    files = {
        split: read_softmax(file)
        for split in SPLITS
        for file in (place / f"{split}{ending}" for ending in ENDINGS)
        if file.is_file()
    }
    if not files:
        raise DataError(
            f"{place}: it holds neither a run's predictions nor test.csv; make them with `mudra evaluate`."
        )
    return Member(place.resolve().name, files=files, task=task or None)


def _open_run(run: RunFolder) -> Member:
    folds: list[Tables] = []
    while run.fold(len(folds) + 1).path.is_dir():
        folds.append(_tables(run.fold(len(folds) + 1)))
    tables = _tables(run)
    if not tables:
        raise DataError(f"{run.path}: it holds no predictions; make them with `mudra evaluate`.")
    return Member(run.path.resolve().name, tables=tables, folds=folds)


def _tables(run: RunFolder) -> Tables:
    return {split: read(run.predictions(split)) for split in SPLITS if run.predictions(split).is_file()}


def _named(members: Sequence[Member], given: Sequence[str]) -> list[Member]:
    """Members by their folders' names, by their whole paths where these are not all different."""
    names = [member.name for member in members]
    if len(set(names)) < len(names) or ENSEMBLE in names:
        members = [replace(member, name=word) for member, word in zip(members, given, strict=True)]
        twice = next((word for word in given if given.count(word) > 1), None)
        if twice is not None:
            raise UsageError(f"ensemble: {twice} is given twice; expected each member once.")
    if all(member.files for member in members):
        raise DataError("ensemble: no member is a run, so nobody knows the classes and the truth; add one.")
    return list(members)


# What belongs together


def _parts(members: list[Member], weights: str) -> list[Part]:
    """The folds, where all members have the same; else the whole as one."""
    counts = {len(member.folds) for member in members}
    if counts == {0}:
        return [_part({m.name: m.tables for m in members if not m.files}, members, weights)]
    if len(counts) == 1 and _same_folds(members):
        every = range(counts.pop())
        return [_part({m.name: m.folds[number] for m in members}, members, weights) for number in every]
    if weights == "fit":
        raise DataError(
            "--weights fit: the members are not cross-validations over the same folds, so no validation clips are "
            "unseen by all; use --weights mean."
        )
    return [_part({m.name: m.tables for m in members if not m.files}, members, weights)]


def _same_folds(members: list[Member]) -> bool:
    first, *others = members
    return all(
        "test" in ours and "test" in theirs and set(ours["test"].clips) == set(theirs["test"].clips)
        for other in others
        for ours, theirs in zip(first.folds, other.folds, strict=True)
    )


def _part(runs: Mapping[str, Mapping[str, PredictionTable]], members: list[Member], weights: str) -> Part:
    """Every split that all members have, joined. Of test all must have the same clips; of others, or it is left out."""
    notes = []
    splits: dict[str, Tables] = {}
    for split in reversed(SPLITS):
        given = {name: tables[split] for name, tables in runs.items() if split in tables}
        lacking = [m.name for m in members if split not in (m.files or runs.get(m.name, {}))]
        needed = split == "test" or (split == "val" and (weights == "fit" or "test" not in splits))
        if lacking:
            if len(lacking) < len(members) and split != "train":
                notes.append(f"{split}: left out (no predictions of it by {', '.join(lacking)}).")
            continue
        try:
            splits[split] = joined(_with_files(given, members, split))
        except DataError as problem:
            if needed:
                raise DataError(f"{split}: {problem}") from None
            notes.append(f"{split}: left out. {problem}")
    notes += _leave_out_test_clips(splits, weights)
    if not any(split in splits for split in JUDGED):
        raise DataError(
            "ensemble: no split is predicted by all members; judge each on the same one with `mudra evaluate`."
        )
    if weights == "fit" and "val" not in splits:
        raise DataError(
            "--weights fit: there are no predictions of validation clips by all members, and test is never fitted on; "
            "make them with `mudra evaluate RUN --split val`, or use --weights mean."
        )
    _refuse_seen_clips(runs, splits)
    return Part(splits, tuple(notes))


def _leave_out_test_clips(splits: dict[str, Tables], weights: str) -> list[str]:
    """Nothing is fitted or chosen on validation clips that are test clips too; told where there are some."""
    val, test = (
        {clip for table in splits.get(split, {}).values() for clip in table.clips}
        for split in ("val", "test")
    )
    if not val & test:
        return []
    told = f"{len(val & test):,} of its clips are test clips too, such as {min(val & test)!r}"
    if weights == "fit":
        raise DataError(
            f"--weights fit: val: {told}, and test is never fitted on; expected other clips. Split the data with "
            "`mudra data split`, or use --weights mean."
        )
    del splits["val"]
    return [f"val: left out. {told}."]


def _with_files(given: Tables, members: list[Member], split: str) -> Tables:
    """All members' tables, in the order given; those of other programs with the clips and truth of the runs."""
    found: Tables = {}
    known = tasks_of(given)
    for member in members:
        if not member.files:
            found[member.name] = given[member.name]
            continue
        task = member.task or (known[0] if len(known) == 1 else None)
        if task not in known:
            asked = f"task {task!r} is none of" if task else "say which task it is about, as TASK=FILE:"
            raise DataError(f"{member.files[split].place}: {asked} {', '.join(known)}.")
        reference = next(table for table in given.values() if task in table.tasks)
        found[member.name] = member.files[split].table(reference, task)
    return found


def _refuse_seen_clips(
    runs: Mapping[str, Mapping[str, PredictionTable]], splits: Mapping[str, Tables]
) -> None:
    """Refuse a member that was trained on clips that the ensemble is judged or fitted on: its split is another one."""
    for split in JUDGED:
        judged = {clip for table in splits.get(split, {}).values() for clip in table.clips}
        for name, tables in runs.items():
            both = judged.intersection(tables["train"].clips) if "train" in tables else set()
            if both:
                raise DataError(
                    f"{name}: it was trained on {len(both):,} of the {split} clips, such as {min(both)!r}; expected "
                    "members trained on the same split."
                )


def _tell_missing_tasks(part: Part, say: Say) -> None:
    tables = next(iter(part.splits.values()))
    for task in tasks_of(tables):
        lacking = [name for name, table in tables.items() if task not in table.tasks]
        if lacking:
            say(f"{task}: joined without {', '.join(lacking)} (no such task).")


# Weighing and judging


def _weights(part: Part, weights: str, of: Mean) -> Weights:
    every = equal_weights(next(iter(part.splits.values())))
    return every if weights == "mean" else fitted_weights(part.splits["val"], of)


def _pooled(parts: Sequence[Part], weights: Sequence[Weights], split: str, of: Mean) -> PredictionTable:
    return pooled([combined(part.splits[split], own, of) for part, own in zip(parts, weights, strict=True)])


def _labelled(table: PredictionTable) -> bool:
    return any((scores.truth != UNLABELLED).any() for scores in table.tasks.values())


def _against_each(parts: Sequence[Part], table: PredictionTable, split: str) -> list[Pair]:
    """The ensemble against every member on the tasks that both have, paired by clip."""
    found = []
    for name in parts[0].splits[split]:
        own = pooled([part.splits[split][name] for part in parts])
        found += compare_pairs({ENSEMBLE: only(table, list(own.tasks)), name: own})
    return found


def _tell(
    by_part: Sequence[Weights],
    pairs: Sequence[Pair],
    best: Mapping[str, str],
    weights: str,
    judged: str | None,
    say: Say,
) -> None:
    if weights == "fit":
        for number, found in enumerate(by_part, 1):
            fold = f" of fold {number}" if len(by_part) > 1 else ""
            for task, each in found.items():
                say(
                    f"weights{fold}, {task}: {', '.join(f'{name} {share:.3f}' for name, share in each.items())}"
                )
        if judged == "val":
            say("val: the weights were fitted on these very clips; the figures are not those of new ones.")
    if not best:
        say("no validation clips that all members predicted: which member is the best is not chosen.")
    for pair in pairs:
        bounds = pair.interval
        interval = "" if bounds is None else f" [{100 * bounds[0]:+.1f}, {100 * bounds[1]:+.1f}]"
        chosen = ", the best on validation" if best.get(pair.task) == pair.second else ""
        say(
            f"{judged} {pair.task}, against {pair.second}{chosen}: {100 * pair.difference:+.1f} points{interval}, "
            f"p {pair.p:.3g}"
        )
