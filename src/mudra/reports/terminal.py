"""The figures of a split as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mudra.predictions import tasks_of
from mudra.reports.wording import FIGURES, drawn_over, interval, percent, split_name, value

if TYPE_CHECKING:
    from rich.console import RenderableType


def summary(metrics: Mapping[str, Any]) -> RenderableType:
    """A rich table of one split's metrics: figure, value, 95 % interval, majority baseline.

    Args:
        metrics: as `predictions.summarise` makes them and `metrics/<split>.json` holds them.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    table.add_column("")
    for heading in ("value", "95 % interval", "majority"):
        table.add_column(heading, justify="right")
    notes = []
    for task, figures in tasks_of(metrics).items():
        table.add_row(Text(task, style="bold cyan"))
        for figure, (name, _, _) in FIGURES.items():
            if figure not in figures:
                continue
            baseline = figures.get("baseline") if figure == "top1" else None
            table.add_row(
                Text(f"  {name}"),
                Text(value(figure, figures[figure]), style="bold" if figure == "top1" else ""),
                Text(interval(figure, figures), style="dim"),
                Text(percent(baseline) if baseline is not None else "", style="dim"),
            )
        unlabelled = figures.get("unlabelled", 0)
        left_out = f"; {unlabelled:,} of unknown class left out" if unlabelled else ""
        notes.append(f"{task}: {figures.get('clips', 0):,} clips{left_out}; {drawn_over(figures)}")
    for name, part in metrics.get("subsets", {}).items():
        table.add_row(Text(f"{name}, {part['clips']:,} clips apart", style="bold cyan"))
        for task, figures in tasks_of(part).items():
            words = Text(f"  {task} {FIGURES['top1'][0]}, {figures['clips']:,} clips")
            shown = value("top1", figures["top1"]), Text(interval("top1", figures), style="dim")
            table.add_row(words, *shown, "")
    title = Text(f"{split_name(metrics['split'])}, {metrics['clips']:,} clips", style="bold")
    return Group(title, table, Text("\n".join(notes), style="dim"))
