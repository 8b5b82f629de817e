"""Pictures of a study: its trials by epoch, by setting, as lines through their settings, and what matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mudra.reports.charts import short
from mudra.reports.palette import light
from mudra.reports.wording import percent
from mudra.sweeps.standing import Row, Standing

EVEN_ABOVE = 20.0  # times the smallest: from here on numbers are spread over the magnitudes


def epochs_figure(figure_class: Any, found: Standing) -> Any:
    """What validation said by epoch, a line a trial; None where no epoch was judged."""
    lines = [row for row in found.rows if row.epochs]
    if not lines:
        return None
    figure = figure_class(figsize=(7.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for row in reversed(lines):  # the best on top
        epochs = sorted(row.epochs)
        values = [row.epochs[epoch] for epoch in epochs]
        best = row is found.best
        colour = light("first" if best else "faint")
        axes.plot(epochs, values, color=colour, alpha=1 if best else 0.55, linewidth=2.4 if best else 1.2,
                  marker="o" if len(epochs) == 1 else "",
                  label=f"trial {row.number}, the best" if best else None)  # fmt: skip
        if row.state in ("pruned", "failed"):
            axes.plot(epochs[-1:], values[-1:], "x", color=light("second"), markersize=5)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _values(axes.yaxis, _epoch_name(found))
    axes.set_ylabel(f"{_epoch_name(found)} of validation")
    axes.tick_params(length=0)
    if found.best is not None:
        axes.legend()
    return figure


def setting_figures(figure_class: Any, found: Standing) -> Iterator[tuple[str, Any]]:
    """A picture for each setting that differs: the ranking figure of the trials by its value."""
    done = [row for row in found.rows if row.value is not None]
    for name in found.plan.columns:
        scale = Scale.of(name, done)
        if scale is None:
            continue
        figure = figure_class(figsize=(3.5, 2.6), layout="constrained")
        axes = figure.subplots()
        places = [scale.at(row) for row in done]
        axes.scatter(places, [row.value for row in done], 34, color=light("first"), alpha=0.75, linewidth=0)
        best = found.best
        if best is not None:
            axes.scatter(
                [scale.at(best)], [best.value], 90, facecolors="none", edgecolors=light("second"), linewidth=2
            )
        axes.set_title(short(name))
        axes.set_xticks(scale.ticks, scale.labels)
        axes.set_xlim(-0.08, 1.08)
        _values(axes.yaxis, found.plan.study.rank)
        axes.tick_params(length=0)
        yield name, figure


def parallel_figure(figure_class: Any, found: Standing) -> Any:
    """Trials as lines through their settings, side by side, to the figure that ranks; None for one setting."""
    done = [row for row in found.rows if row.value is not None]
    scales = [scale for name in found.plan.columns if (scale := Scale.of(name, done)) is not None]
    values = [row.value for row in done if row.value is not None]
    if len(scales) < 2 or max(values) == min(values):
        return None
    figure = figure_class(figsize=(1.5 * len(scales) + 2.2, 3.6), layout="constrained")
    axes = figure.subplots()
    low, high = min(values), max(values)
    for place, row in reversed(list(enumerate(done))):
        assert row.value is not None
        heights = [*(scale.at(row) for scale in scales), (row.value - low) / (high - low)]
        strength = 1 - place / len(done)
        axes.plot(range(len(heights)), heights, color=light("first"), alpha=0.12 + 0.8 * strength**2,
                  linewidth=1 + 1.4 * strength)  # fmt: skip
    for place, scale in enumerate(scales):
        axes.axvline(place, color=light("line"), linewidth=1, zorder=0)
        for height, label in zip(scale.ticks, scale.labels, strict=True):
            axes.text(
                place - 0.04, height, label, ha="right", va="center", fontsize=7.5, color=light("muted")
            )
    axes.axvline(len(scales), color=light("line"), linewidth=1, zorder=0)
    for height, value in ((0, low), (1, high)):
        axes.text(len(scales) + 0.05, height, _value(found.plan.study.rank, value), va="center", fontsize=8)
    names = [short(scale.name, 22) for scale in scales]
    axes.set_xticks(range(len(scales) + 1), [*names, found.plan.study.rank])
    axes.set_xlim(-0.5, len(scales) + 0.5)
    axes.set_yticks([])
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def importance_figure(figure_class: Any, importances: Mapping[str, float]) -> Any:
    """How much of the differences each setting explains, as bars."""
    figure = figure_class(figsize=(5.2, 0.5 + 0.36 * len(importances)), layout="constrained")
    axes = figure.subplots()
    names = sorted(importances, key=lambda name: importances[name])
    shares = [importances[name] for name in names]
    axes.barh(range(len(names)), shares, 0.62, color=light("bar"))
    for place, share in enumerate(shares):
        axes.text(share + 0.01, place, percent(share), va="center", fontsize=8.5)
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_xlim(0, 1.1)
    axes.xaxis.set_visible(False)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


class Scale:
    """Where the values of a setting lie between 0 and 1.

    Attributes:
        ticks, labels: what is written along it.
    """

    def __init__(self, name: str, values: list[Any]) -> None:
        self.name = name
        distinct = list(dict.fromkeys(map(_text, values)))
        numbers = sorted({float(value) for value in values if _is_number(value)})
        self._numbers = len(distinct) == len(numbers) and all(map(_is_number, values))
        if self._numbers:
            self._log = numbers[0] > 0 and numbers[-1] / numbers[0] >= EVEN_ABOVE
            self._low, self._high = self._bent(numbers[0]), self._bent(numbers[-1])
            written = numbers if len(numbers) <= 4 else [numbers[0], numbers[-1]]
            self.ticks = [self._place(value) for value in written]
            self.labels = [f"{value:.3g}" for value in written]
        else:
            self._places = {text: place / (len(distinct) - 1) for place, text in enumerate(sorted(distinct))}
            self.ticks = list(self._places.values())
            self.labels = [short(text, 12) for text in self._places]

    @classmethod
    def of(cls, name: str, rows: list[Row]) -> Scale | None:
        """The scale of a setting; None where no two trials differ in it."""
        values = [row.settings.get(name) for row in rows]
        return cls(name, values) if len(set(map(_text, values))) > 1 else None

    def at(self, row: Row) -> float:
        """Where a trial lies."""
        value = row.settings.get(self.name)
        return self._place(float(value)) if self._numbers else self._places[_text(value)]  # type: ignore[arg-type]

    def _bent(self, value: float) -> float:
        return float(np.log(value)) if self._log else value

    def _place(self, value: float) -> float:
        return (self._bent(value) - self._low) / (self._high - self._low)


def _text(value: Any) -> str:
    return "–" if value is None else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _epoch_name(found: Standing) -> str:
    """What the epochs of a study are compared by: they have loss and top-1 of the tasks, and no other figure."""
    rank = found.plan.study.rank
    task = rank.rpartition("/")[0]
    return rank if rank == "loss" or (rank.endswith("/top1") and task != "action") else "top1"


def _value(name: str, value: float) -> str:
    return f"{value:.3f}" if name.rpartition("/")[2] == "loss" else percent(value)


def _values(axis: Any, name: str) -> None:
    axis.set_major_formatter(lambda value, _: _value(name, value).replace(".0 %", " %"))
