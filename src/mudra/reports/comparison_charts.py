"""Pictures of several runs at once: accuracy against cost, and how they learnt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mudra.reports import curves, wording
from mudra.reports.compared import Compared
from mudra.reports.costs import Cost
from mudra.reports.palette import SERIES, light

COSTS: dict[str, tuple[str, Callable[[Cost], float | None]]] = {
    "Parameters": ("trainable parameters", lambda cost: cost.parameters),
    "Time": ("milliseconds for a clip, on this processor", lambda cost: cost.seconds and 1e3 * cost.seconds),
    "GFLOPs": ("GFLOPs for a clip", lambda cost: cost.flops / 1e9),
}
STROKES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))


def pareto(figure_class: Any, compared: Compared, task: str) -> dict[str, Any]:
    """Top-1 against each cost that is known, by title; runs that no other beats in both lie on the line."""
    return {
        f"{task} top-1 by {title.lower() if title != 'GFLOPs' else title}": figure
        for title, (axis, of) in COSTS.items()
        if (figure := _pareto(figure_class, compared, task, axis, of)) is not None
    }


def _pareto(
    figure_class: Any, compared: Compared, task: str, axis: str, of: Callable[[Cost], float | None]
) -> Any:
    found = []
    for number, name in enumerate(compared.runs):
        cost, figures = compared.costs.get(name), compared.figures(name, task)
        spent = of(cost) if cost is not None else None
        if spent and figures.get("top1") is not None:
            found.append((spent, 100 * figures["top1"], figures, name, number))
    if len({spent for spent, *_ in found}) < 2:  # they all cost the same: there is nothing to weigh
        return None
    from matplotlib.ticker import LogLocator, NullLocator

    figure = figure_class(figsize=(4.4, 3.3), layout="constrained")
    axes = figure.subplots()
    front = frontier([(spent, share) for spent, share, *_ in found])
    axes.plot(
        *zip(*front, strict=True), color=light("faint"), linewidth=1.3, zorder=1, drawstyle="steps-post"
    )
    for spent, share, figures, name, number in found:
        colour = light(SERIES[number % len(SERIES)])
        bounds = figures.get("intervals", {}).get("top1")
        if bounds is not None:
            axes.plot([spent, spent], [100 * end for end in bounds], color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(spent, share, "o", color=colour, markersize=7)
        axes.annotate(
            name, (spent, share), xytext=(7, 4), textcoords="offset points", fontsize=8, color=light("ink")
        )
    axes.set(xscale="log", xlabel=axis, ylabel="top-1, %")
    axes.margins(x=0.35)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda spent, _: wording.count(spent))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(length=0)
    axes.set_title(f"{task}: top-1")
    return figure


def frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those of (cost, accuracy) that nothing cheaper or as cheap reaches, by cost.

    >>> frontier([(1, 50), (3, 80), (2, 40), (4, 80)])
    [(1, 50), (3, 80)]
    """
    best, front = -np.inf, []
    for spent, share in sorted(points, key=lambda point: (point[0], -point[1])):
        if share > best:
            front.append((spent, share))
            best = share
    return front


def curves_of(figure_class: Any, compared: Compared) -> dict[str, Any]:
    """Validation loss and accuracy of every run by step, training loss where there is no validation."""
    drawn = {}
    logs = {name: contents.log for name, contents in compared.runs.items() if contents.log is not None}
    columns = [("val", "loss", "Validation loss"), ("train", "loss", "Training loss")]
    tasks = dict.fromkeys(task for log in logs.values() for task in log.tasks)
    columns += [("val", f"{task}/top1", f"Validation top-1 of {task}") for task in tasks]
    for split, column, title in columns:
        lines = {name: log.curve(split, column) for name, log in logs.items()}
        lines = {name: line for name, line in lines.items() if line[0].size > 1}
        if lines:
            drawn[title] = _overlaid(figure_class, compared, lines, title, share=column != "loss")
    return drawn


def _overlaid(figure_class: Any, compared: Compared, lines: dict[str, Any], title: str, share: bool) -> Any:
    figure = figure_class(figsize=(4.4, 3.3), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(compared.runs):
        if name not in lines:
            continue
        steps, values = lines[name]
        window = max(1, len(values) // 25)
        values = curves.moving_mean(values, window) if len(values) > 60 else values
        stroke = STROKES[number // len(SERIES) % len(STROKES)]
        axes.plot(steps, values, color=light(SERIES[number % len(SERIES)]), linestyle=stroke, label=name)
    if share:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.tick_params(length=0)
    axes.xaxis.get_major_locator().set_params(nbins=5, integer=True)
    axes.legend(fontsize=8)
    return figure
