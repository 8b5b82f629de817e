"""A study for a reader: its table on the terminal, and `sweep.html`, one file with the table and pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mudra.files import read_json, replace_file
from mudra.reports import charts, markup, page, sections, study_charts
from mudra.reports.wording import FIGURES, percent
from mudra.sweeps.standing import ORDER, Row, Standing

if TYPE_CHECKING:
    from rich.console import RenderableType

SHARES = {name for name, (_, _, share) in FIGURES.items() if share} | {"gap"}
STATES = {
    "done": "",
    "pruned": "dim",
    "failed": "red",
    "running": "cyan",
    "stopped": "yellow",
    "waiting": "dim",
}


def study_table(found: Standing) -> RenderableType:
    """A study as a table for the terminal, the best trial first."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("trial", justify="right", vertical="bottom", no_wrap=True)
    table.add_column("", no_wrap=True)
    shown = told_shortly(found.figures, found.plan.study.rank)
    for name in [*shown, *found.plan.columns]:
        table.add_column(in_lines(name), justify="right", vertical="bottom", no_wrap=True)
    for row in found.rows:
        cells = found.cells(row)
        best = row is found.best
        table.add_row(
            Text(str(row.number), style="bold" if best else ""),
            Text("best" if best else row.state, style="bold" if best else STATES[row.state]),
            *(Text(figure(name, cells[name]), style="bold" if best else "") for name in shown),
            *(Text(setting(row.settings.get(name))) for name in found.plan.columns),
        )
    reasons = [f"trial {row.number}: {row.reason}" for row in found.rows if row.state == "failed"]
    title = Text(f"{found.plan.name}: {counted(found)}", style="bold")
    below = Text("\n".join([f"ranked by {found.plan.study.rank} of validation", *reasons]), style="dim")
    return Group(title, table, below)


def told_shortly(figures: Sequence[str], rank: str) -> list[str]:
    """The figures that a terminal has room for: of several tasks each task's own, not those over all of them.

    >>> told_shortly(["action/top1", "top1", "loss", "verb/top1", "gap"], "action/top1")
    ['action/top1', 'verb/top1', 'gap']
    >>> told_shortly(["top1", "loss", "gap"], "top1")
    ['top1', 'loss', 'gap']
    """
    if not any("/" in name and name != rank for name in figures):
        return list(figures)
    return [name for name in figures if "/" in name or name in (rank, "gap")]


def in_lines(name: str) -> str:
    """A heading over narrow columns, broken where its parts are joined.

    >>> in_lines("loss.label_smoothing")
    'loss.\\nlabel_\\nsmoothing'
    """
    return re.sub(r"(?<=[./_])", "\n", name)


def write_study(found: Standing, out: Path) -> Path:
    """Write `OUT/sweep.html`: it opens offline and fetches nothing.

    Raises:
        OutputError: it could not be written.
    """
    with charts.drawing() as figure_class:
        body, entries = [_trials(found, out)], [("trials", "Trials")]
        for anchor, title, drawn, below in _pictures(found, figure_class):
            entries.append((anchor, title))
            body.append(
                f'<section id="{anchor}"><h2>{markup.text(title)}</h2>{drawn}<p class="sub">{below}</p></section>'
            )
    entries.append(("study", "Study"))
    body.append(_how(found))
    filled = page.fill(
        brand="mudra sweep",
        title=markup.text(found.plan.name),
        lead=_lead(found, out),
        facts=_facts(found),
        notes=_notes(found),
        nav=sections.contents_list(entries),
        body="\n".join(body),
        script="sorting.js",
    )
    path = out / "sweep.html"
    replace_file(path, filled.encode("utf-8", errors="replace"))
    return path


def counted(found: Standing) -> str:
    """How many trials stand how, in words."""
    told = [f"{found.count(state)} {state}" for state in ORDER if found.count(state)]
    return f"{len(found.rows)} trials, {', '.join(told)}"


def figure(name: str, value: Any) -> str:
    """A figure of a trial with its unit.

    >>> figure("verb/top1", 0.5), figure("loss", 0.25), figure("gap", 0.031), figure("loss", None)
    ('50.0 %', '0.250', '+3.1', '–')
    """
    if value is None:
        return "–"
    if name == "gap":
        return f"{100 * value:+.1f}"
    return percent(value) if name.rpartition("/")[2] in SHARES else f"{value:.3f}"


def setting(value: Any) -> str:
    """A setting's value as a recipe has it, numbers shortly.

    >>> setting(5e-5), setting(0.1), setting("cosine"), setting([0.9, 0.999]), setting(None)
    ('5e-05', '0.1', 'cosine', '[0.9, 0.999]', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _lead(found: Standing, out: Path) -> str:
    best = found.best
    if best is None:
        return "<p>No trial has ended well yet.</p>"
    rank = found.plan.study.rank
    settings = ", ".join(
        f"{markup.name(name)} {markup.text(setting(value))}" for name, value in best.settings.items()
    )
    told = (
        f"<p>Trial {best.number} is best: {markup.text(rank)} <strong>{figure(rank, best.value)}</strong> on "
        f"validation, with {settings}.</p>"
    )
    tested = _tested(out / f"trial-{best.number:03d}" / "metrics" / "test.json")
    return told + (f"<p>On test, which chose nothing, its top-1 is {tested}.</p>" if tested else "")


def _tested(path: Path) -> str:
    """Top-1 of each task on test, "" where the run is not here or its data has no test."""
    try:
        tasks = read_json(path)["tasks"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    shown = {task: figures.get("top1") for task, figures in tasks.items()}
    return ", ".join(
        f"{markup.name(task)} {percent(top1)}" for task, top1 in shown.items() if top1 is not None
    )


def _facts(found: Standing) -> str:
    study = found.plan.study
    told = {"recipe": study.recipe, "trials": counted(found), "ranked by": f"{study.rank} of validation"}
    if study.space:
        told["sampler"] = f"{study.sampler}, seed {study.seed}"
    if study.pruner:
        told["pruner"] = study.pruner.kind
    return markup.facts(told.items())


def _notes(found: Standing) -> str:
    lines = [f"Trial {row.number} failed: {row.reason}" for row in found.rows if row.state == "failed"]
    if not found.finished:
        lines.append("The study is not finished; the same command goes on with it.")
    return markup.notes(lines, "What this study lacks")


def _trials(found: Standing, out: Path) -> str:
    headings = [("trial", "number"), ("", "text")]
    headings += [(name, "number") for name in [*found.figures, *found.plan.columns, "epochs"]]
    rows = [_cells(found, row, out) for row in found.rows]
    table = markup.table(headings, rows, caption="Trials and their figures of validation", sortable=True)
    gap = (
        " <b>gap</b> is top-1 of training less that of validation, in points."
        if "gap" in found.figures
        else ""
    )
    return (
        f'<section id="trials"><h2>Trials</h2>{table}<p class="sub">Figures of validation.{gap}</p></section>'
    )


def _cells(found: Standing, row: Row, out: Path) -> list[tuple[str, Any]]:
    cells = found.cells(row)
    report = f"trial-{row.number:03d}/report.html"
    number = f'<a href="{report}">{row.number}</a>' if (out / report).is_file() else str(row.number)
    state = "<b>best</b>" if row is found.best else markup.text(row.state)
    shown = [(markup.text(figure(name, cells[name])), _key(cells[name])) for name in found.figures]
    values = {name: row.settings.get(name) for name in found.plan.columns}
    settings = [(markup.text(setting(value)), _key(value)) for value in values.values()]
    epochs = cells["epochs"]
    return [(number, row.number), (state, ORDER.index(row.state)), *shown, *settings, (str(epochs), epochs)]


def _key(value: Any) -> Any:
    return "" if value is None else value if isinstance(value, (int, float)) else setting(value)


def _pictures(found: Standing, figure_class: Any) -> list[tuple[str, str, str, str]]:
    """(anchor, title, HTML, what it shows) of each picture that there is something for."""
    drawn = []
    by_epoch = study_charts.epochs_figure(figure_class, found)
    if by_epoch is not None:
        shown = markup.figure(charts.to_svg(by_epoch, "Validation by epoch, a line a trial"), wide=True)
        below = "A line a trial, the best one in colour. Trials that were pruned or failed end with a cross."
        drawn.append(("curves", "Learning curves", shown, below))
    if sum(row.value is not None for row in found.rows) > 1:
        panels = "".join(
            markup.figure(charts.to_svg(picture, f"The ranking figure by {name}"))
            for name, picture in study_charts.setting_figures(figure_class, found)
        )
        if panels:
            below = (
                "A dot a trial. Other settings differ as well, so a dot's height is not one setting's doing."
            )
            drawn.append(("settings", "By setting", f'<div class="panels">{panels}</div>', below))
        parallel = study_charts.parallel_figure(figure_class, found)
        if parallel is not None:
            shown = markup.figure(
                charts.to_svg(parallel, "Trials as lines through their settings"), wide=True
            )
            below = "A line a trial; the stronger the colour, the better it ranks."
            drawn.append(("parallel", "Trials through their settings", shown, below))
    if found.importances:
        bars = study_charts.importance_figure(figure_class, found.importances)
        shown = markup.figure(charts.to_svg(bars, "Importance of each setting"))
        below = (
            "The share of the differences between trials that each setting explains (fANOVA: Hutter et al. 2014). "
            "Few trials give a rough guess."
        )
        drawn.append(("importance", "Importance", shown, below))
    return drawn


def _how(found: Standing) -> str:
    from mudra.recipe import write_yaml

    return f'<section id="study"><h2>Study</h2>{markup.recipe(write_yaml(found.plan.said()))}</section>'
