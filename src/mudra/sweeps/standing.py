"""How a study stands: a row a trial, the best first, for the terminal, table.csv and the page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mudra.files import replace_file
from mudra.sweeps.claims import Claims
from mudra.sweeps.database import Database
from mudra.sweeps.study import Plan
from mudra.sweeps.worker import Sweep

ORDER = ("done", "pruned", "failed", "running", "stopped", "waiting")


@dataclass(frozen=True)
class Row:
    """A trial: its settings, how it stands, and its figures of validation.

    Attributes:
        state: done, pruned, failed, running, stopped (whoever ran it is gone), or waiting.
        value: the figure that ranks; None where it is not done.
        epochs: what the pruner compares, by epoch.
    """

    number: int
    state: str
    settings: Mapping[str, Any]
    value: float | None
    epochs: Mapping[int, float]
    figures: Mapping[str, float]
    reason: str


@dataclass(frozen=True)
class Standing:
    """A study and its rows, the best first.

    Attributes:
        importances: how much of the differences each setting explains, in shares of 1; {} where that is not known.
    """

    plan: Plan
    rows: tuple[Row, ...]
    importances: Mapping[str, float]

    @property
    def finished(self) -> bool:
        """Whether every trial has ended."""
        return all(row.state in ("done", "pruned", "failed") for row in self.rows)

    @property
    def best(self) -> Row | None:
        """The trial that ranks first."""
        return next((row for row in self.rows if row.value is not None), None)

    @property
    def figures(self) -> list[str]:
        """Names of the figures that the trials have, the ranking one first."""
        named = [name for row in self.rows for name in row.figures]
        known = list(dict.fromkeys([self.plan.study.rank, *named]))
        one_task = len([name for name in known if name.endswith("/top1")]) == 1 and "top1" in known
        return [
            name
            for name in known
            if not (one_task and name.endswith("/top1") and name != self.plan.study.rank)
        ]

    def count(self, state: str) -> int:
        """How many trials stand so."""
        return sum(row.state == state for row in self.rows)

    def cells(self, row: Row) -> dict[str, Any]:
        """A trial as plain values, by column of the table."""
        figures = {name: row.figures.get(name) for name in self.figures} | {self.plan.study.rank: row.value}
        return {"trial": row.number, "state": row.state, **figures, **{
            name: row.settings.get(name) for name in self.plan.columns
        }, "epochs": max(row.epochs, default=0), "reason": row.reason}  # fmt: skip


def standing(sweep: Sweep) -> Standing:
    """How a study stands now, from its database alone."""
    database, trials = sweep.open()
    known = trials.known()
    owned = _owned(database, sweep)
    rows = []
    for number in range(1, sweep.plan.trials + 1):
        trial = known.get(number)
        if trial is None:
            fixed = sweep.plan.fixed
            rows.append(Row(number, "waiting", fixed[number - 1] if fixed else {}, None, {}, {}, ""))
            continue
        state = trial.state if trial.ended or number in owned else "stopped"
        rows.append(
            Row(number, state, trial.settings, trial.value, trial.epochs, trial.figures, trial.reason)
        )
    sign = -1 if sweep.plan.study.direction == "maximize" else 1

    def place(row: Row) -> tuple[int, float, float, int]:  # of equals the one of lower loss
        value = 0.0 if row.value is None else sign * row.value
        return ORDER.index(row.state), value, row.figures.get("loss", 0.0), row.number

    rows.sort(key=place)
    return Standing(sweep.plan, tuple(rows), trials.importances())


def write_table(found: Standing, path: Path) -> None:
    """Write the rows as CSV; lists and sections as JSON would say them.

    Raises:
        OutputError: it could not be written.
    """
    rows = [found.cells(row) for row in found.rows]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    replace_file(path, text.getvalue().encode())


def _owned(database: Database, sweep: Sweep) -> set[int]:
    """Trials that somebody has, as far as one look can tell."""
    claims = Claims(database, sweep.name)
    return {number for number in range(1, sweep.plan.trials + 1) if claims.alive(number) is not False}
