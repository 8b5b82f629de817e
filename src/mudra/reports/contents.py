"""What a run's folder holds for its report; what is missing or broken becomes a note, not an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mudra.errors import DataError
from mudra.predictions import PredictionTable, read, read_metrics, summarise
from mudra.reports.curves import TrainingLog, mean_of, read_log

ORDER = ("test", "val", "train")  # what a reader wants first


@dataclass(frozen=True, slots=True, eq=False)
class RunContents:
    """Everything a report is made of. Absent parts are None or empty, each with a note that says so.

    Attributes:
        config: what the bundle says of the model; of a cross-validation what its folds have in common.
        metrics, tables: by split, the most telling split first.
        folds: of a cross-validation the metrics of each fold, by split.
        notes: what is missing or cannot be read, one line each.
        ensemble: of a run that joins others: its members and weights. It has no recipe, log or bundle of its own.
    """

    name: str
    recipe: str | None
    environment: Mapping[str, Any] | None
    config: Mapping[str, Any] | None
    log: TrainingLog | None
    metrics: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, PredictionTable]
    notes: tuple[str, ...]
    ensemble: Mapping[str, Any] | None = None
    folds: tuple[Mapping[str, Mapping[str, Any]], ...] = ()


def read_run(run: Path) -> RunContents:
    """Read what there is.

    Raises:
        DataError: `run` is not a folder.
    """
    if not run.is_dir():
        raise DataError(f"{run}: no such run; expected a folder that `mudra train` made.")
    notes: list[str] = []
    ensemble = _json(run, "ensemble.json", notes) if (run / "ensemble.json").is_file() else None
    unsaid: list[str] = notes if ensemble is None else []  # what an ensemble does not have is not missing
    log = _log(run, notes, unsaid)
    tables = _tables(run / "predictions", notes)
    metrics = _metrics(run / "metrics", tables, notes)
    if not metrics:
        notes.append("There are no metrics and no predictions yet. Make them with `mudra evaluate`.")
    return RunContents(
        name=run.resolve().name,
        recipe=_text(run, "recipe.yaml", unsaid),
        environment=_json(run, "environment.json", notes),
        config=_config(run, unsaid),
        log=log,
        metrics=metrics,
        tables=tables,
        notes=tuple(notes),
        ensemble=ensemble,
        folds=tuple(_metrics(folder, {}, notes) for folder in sorted(run.glob("fold-*/metrics"))),
    )


def _log(run: Path, notes: list[str], unsaid: list[str]) -> TrainingLog | None:
    """How the training went; of a cross-validation the mean of its folds."""
    places = _places(run, "log.csv")
    logs = []
    for place in places:
        try:
            logs.append(read_log(place))
        except DataError as problem:
            notes.append(str(problem))
    if not places:
        unsaid.append("log.csv is missing: there are no curves.")
    return mean_of(logs) if logs else None


def _config(run: Path, notes: list[str]) -> dict[str, Any] | None:
    """What the bundle says of the model; of a cross-validation what the bundles of its folds agree on."""
    name = "bundle/config.json"
    names = [place.relative_to(run).as_posix() for place in _places(run, name)] or [name]
    configs = [config for name in names if (config := _json(run, name, notes)) is not None]
    if not configs:
        return None
    first, *others = configs
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }


def _places(run: Path, name: str) -> list[Path]:
    """A file of a run, or, where it is a cross-validation and has none of its own, that of each fold."""
    whole = run / name
    return [whole] if whole.is_file() else sorted(run.glob(f"fold-*/{name}"))


def _splits(folder: Path, ending: str) -> list[str]:
    names = {path.stem for path in folder.glob(f"*{ending}") if path.is_file()}
    return [split for split in ORDER if split in names] + sorted(names.difference(ORDER))


def _tables(folder: Path, notes: list[str]) -> dict[str, PredictionTable]:
    tables = {}
    for split in _splits(folder, ".parquet"):
        try:
            tables[split] = read(folder / f"{split}.parquet")
        except DataError as problem:
            notes.append(str(problem))
    return tables


def _metrics(
    folder: Path, tables: Mapping[str, PredictionTable], notes: list[str]
) -> dict[str, Mapping[str, Any]]:
    """The saved metrics; computed from the predictions where none were saved."""
    found: dict[str, Mapping[str, Any]] = {}
    for split in _splits(folder, ".json"):
        try:
            found[split] = read_metrics(folder / f"{split}.json")
        except DataError as problem:
            notes.append(str(problem))
    for split, table in tables.items():
        if split not in found:
            found[split] = summarise(table, split)
    known = [split for split in ORDER if split in found]
    return {split: found[split] for split in [*known, *sorted(set(found).difference(ORDER))]}


def _text(run: Path, name: str, notes: list[str]) -> str | None:
    try:
        return (run / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        notes.append(f"{name} is missing.")
        return None


def _json(run: Path, name: str, notes: list[str]) -> dict[str, Any] | None:
    text = _text(run, name, notes)
    if text is None:
        return None
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        notes.append(f"{name} holds no JSON object; it is left out.")
        return None
    return tree
