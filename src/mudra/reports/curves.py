"""How a training went: log.csv read, and its loss, accuracy and learning rate drawn."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.reports.charts import save_png
from mudra.reports.palette import SERIES, light

NEEDED = ("step", "split", "loss")
POINTS = 400  # more would not be seen in a panel
Draw = Callable[[Any], None]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingLog:
    """The rows of log.csv by split ("train", "val"), as numbers: float64 columns, NaN where blank."""

    columns: Mapping[str, Mapping[str, NDArray[np.float64]]]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks whose accuracy was logged."""
        names = next(iter(self.columns.values()), {})
        return tuple(name.removesuffix("/top1") for name in names if name.endswith("/top1"))

    def curve(self, split: str, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Steps and values where the column is filled; both empty where it never is."""
        columns = self.columns.get(split, {})
        if column not in columns:
            return np.empty(0), np.empty(0)
        filled = np.isfinite(columns[column]) & np.isfinite(columns["step"])
        return columns["step"][filled], columns[column][filled]


def read_log(path: Path) -> TrainingLog:
    """Read log.csv; a last line that was cut off counts for what it holds.

    Raises:
        DataError: the file is missing, is not text, or lacks a needed column.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    except (OSError, ValueError, csv.Error) as problem:
        raise DataError(f"{path}: cannot be read as CSV ({problem}). Train again to make it.") from problem
    names = list(rows[0]) if rows else []
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise DataError(f"{path}: found no column or row of {missing[0]!r}; expected a log of `mudra train`.")
    numbers = [name for name in names if isinstance(name, str) and name != "split"]
    splits = dict.fromkeys(row["split"] or "" for row in rows)
    return TrainingLog(
        {
            split: {
                name: np.array([_number(row[name]) for row in rows if row["split"] == split])
                for name in numbers
            }
            for split in splits
        }
    )


def mean_of(logs: Sequence[TrainingLog]) -> TrainingLog:
    """The mean of several trainings of one recipe, row by row as far as all reach: the folds of a cross-validation.

    Folds have about as many steps; a row's step is their mean, too. A column counts where all logs have it.
    """
    first = logs[0]
    columns: dict[str, dict[str, NDArray[np.float64]]] = {}
    for split, of_split in first.columns.items():
        every = [log.columns.get(split, {}) for log in logs]
        shared = [name for name in of_split if all(name in each for each in every)]
        reach = min((len(each[name]) for each in every for name in shared), default=0)
        columns[split] = {
            name: np.mean([each[name][:reach] for each in every], axis=0) for name in shared if reach
        }
    return TrainingLog({split: found for split, found in columns.items() if found})


def last_gap(log: TrainingLog, column: str) -> float | None:
    """How much better train looks than validation in the last epoch: above 0 is overfitting. None where unknown.

    Args:
        column: `loss`, or a task's `<task>/top1`.
    """
    steps, seen = log.curve("train", column)
    at, unseen = log.curve("val", column)
    if not steps.size or not at.size:
        return None
    before = at[-2] if at.size > 1 else -np.inf
    last = seen[(steps > before) & (steps <= at[-1])]
    if not last.size:
        return None
    gap = last.mean() - unseen[-1]
    return float(-gap if column == "loss" else gap)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def panels(log: TrainingLog) -> dict[str, Draw]:
    """What can be drawn of a log, by title: loss, accuracy, learning rate, each where it was logged."""
    found: dict[str, Draw] = {}
    if any(log.curve(split, "loss")[0].size for split in ("train", "val")):
        found["Loss"] = lambda axes: _draw_loss(axes, log)
    if any(log.curve(split, f"{task}/top1")[0].size for split in ("train", "val") for task in log.tasks):
        found["Top-1 accuracy"] = lambda axes: _draw_accuracy(axes, log)
    if log.curve("train", "lr")[0].size:
        found["Learning rate"] = lambda axes: _draw_rate(axes, log)
    return found


def panel_figure(figure_class: Any, title: str, draw: Draw) -> Any:
    """One panel as a picture of its own."""
    figure = figure_class(figsize=(4.4, 3.0))
    axes = figure.add_axes((0.14, 0.135, 0.855, 0.765))  # a rate of 0.00125 has room beside the axis
    _finish(axes, title, draw)
    return figure


def save_curves(figure_class: Any, log: TrainingLog, path: Path) -> bool:
    """Write all panels side by side as a PNG; False where the log holds nothing to draw."""
    drawn = panels(log)
    if not drawn:
        return False
    figure = figure_class(figsize=(4.6 * len(drawn), 3.2), layout="constrained")
    for axes, (title, draw) in zip(np.atleast_1d(figure.subplots(1, len(drawn))), drawn.items(), strict=True):
        _finish(axes, title, draw)
    save_png(figure, path)
    return True


def _finish(axes: Any, title: str, draw: Draw) -> None:
    draw(axes)
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.tick_params(length=0)
    axes.xaxis.get_major_locator().set_params(nbins=5, integer=True)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.margins(x=0.02)


def _draw_loss(axes: Any, log: TrainingLog) -> None:
    _line(axes, log.curve("train", "loss"), light("faint"), "train")
    steps, losses = log.curve("val", "loss")
    _dots(axes, (steps, losses), light("first"), "validation")
    if losses.size > 1:
        best = int(losses.argmin())
        ring = {"markerfacecolor": light("paper"), "markeredgecolor": light("second"), "markeredgewidth": 2}
        axes.plot(
            steps[best],
            losses[best],
            "o",
            markersize=7,
            zorder=5,
            label=f"lowest, {losses[best]:.3f}",
            **ring,
        )
    axes.legend()


def _draw_accuracy(axes: Any, log: TrainingLog) -> None:
    several = len(log.tasks) > 1
    for number, task in enumerate(log.tasks):
        colour = light(SERIES[number % len(SERIES)])
        before = f"{task}, " if several else ""
        _line(axes, log.curve("train", f"{task}/top1"), light("faint"), f"{before}train", dashed=bool(number))
        _dots(axes, log.curve("val", f"{task}/top1"), colour, f"{before}validation")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.set_ylim(0, 1.02)
    axes.legend()


def _draw_rate(axes: Any, log: TrainingLog) -> None:
    steps, rates = log.curve("train", "lr")
    axes.plot(steps, rates, color=light("third"))
    axes.set_ylim(bottom=0)
    axes.yaxis.get_major_locator().set_params(nbins=5)
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:.3g}")


def _line(
    axes: Any,
    curve: tuple[NDArray[np.float64], NDArray[np.float64]],
    colour: str,
    label: str,
    dashed: bool = False,
) -> None:
    """A curve of many noisy points: as it is, faint, and its moving mean."""
    steps, values = _thinned(*curve)
    if not steps.size:
        return
    window = max(1, steps.size // 25)
    style = (0, (3, 2)) if dashed else "-"
    if window > 1:
        axes.plot(steps, values, color=colour, alpha=0.35, linewidth=0.9)
        values = moving_mean(values, window)
    axes.plot(steps, values, color=colour, linestyle=style, linewidth=1.6, label=label)


def _dots(axes: Any, curve: tuple[NDArray[np.float64], NDArray[np.float64]], colour: str, label: str) -> None:
    """A curve of few points, each of which counts."""
    steps, values = curve
    if steps.size:
        marker = "o" if steps.size <= 40 else ""
        axes.plot(steps, values, color=colour, marker=marker, markersize=3.5, label=label)


def moving_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Each value's mean with those up to `window` before and after it; fewer at the ends.

    >>> moving_mean(np.array([0.0, 3.0, 6.0, 3.0]), 1)
    array([1.5, 3. , 4. , 4.5])
    """
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    low, high = np.maximum(place - window, 0), np.minimum(place + window + 1, len(values))
    return np.asarray((total[high] - total[low]) / (high - low))


def _thinned(
    steps: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most POINTS points: means of neighbours."""
    if steps.size <= POINTS:
        return steps, values
    starts = np.linspace(0, steps.size, POINTS, endpoint=False).astype(np.int64)
    sizes = np.diff(np.append(starts, steps.size))
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes
