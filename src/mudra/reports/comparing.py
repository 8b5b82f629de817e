"""`mudra compare`: several runs side by side, as one offline page and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mudra.files import replace_file
from mudra.predictions.comparison import Pair, class_recall, disagreements
from mudra.recipe import read_yaml
from mudra.reports import charts, comparison_charts, markup, page, sections, wording
from mudra.reports.compared import Compared

if TYPE_CHECKING:
    from rich.console import RenderableType

CLIPS_SHOWN = 20
SURE = 0.05  # of what is told as more than luck


def write_comparison(compared: Compared, out: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        OutputError: it could not be written.
    """
    entries = [("results", "Results"), ("pairs", "Pairs")]
    with charts.drawing() as figure_class:
        body = [_results(compared), _pairs(compared)]
        for anchor, title, drawn in (
            ("cost", "Accuracy and cost", _cost(compared, figure_class)),
            ("training", "Training", _training(compared, figure_class)),
        ):
            if drawn:
                entries.append((anchor, title))
                body.append(f'<section id="{anchor}"><h2>{title}</h2>{drawn}</section>')
        for task in next(iter(compared.tables.values())).tasks:
            entries.append((markup.anchor("classes", task), f"{markup.name(task)}, by class"))
            body.append(_classes(compared, task))
    settings = _settings(compared)
    if settings:
        entries.append(("settings", "Settings"))
        body.append(settings)
    filled = page.fill(
        brand="mudra comparison",
        title=markup.text(f"{len(compared.runs)} runs"),
        lead=_lead(compared),
        notes=markup.notes(_caveats(compared), "What this page lacks"),
        nav=sections.contents_list(entries),
        body="\n".join(body),
        script="sorting.js",
    )
    replace_file(out, filled.encode("utf-8", errors="replace"))


def verdict(pair: Pair) -> str:
    """What two runs' difference comes to, in words; both tests must agree before it is called one."""
    if pair.only_first == pair.only_second == 0:
        return "right on the same clips"
    apart = pair.interval is not None and not pair.interval[0] <= 0 <= pair.interval[1]
    if pair.adjusted < SURE and apart:
        return f"{pair.first if pair.difference > 0 else pair.second} is better"
    if pair.adjusted < SURE or apart:
        return "the tests disagree"
    return "could be luck"


def _lead(compared: Compared) -> str:
    sentences = []
    for task in compared.tasks:
        best = compared.ranked(task)[0]
        top1 = compared.figures(best, task).get("top1")
        if top1 is None:
            continue
        beaten = [
            pair.second if pair.first == best else pair.first
            for pair in compared.pairs
            if pair.task == task
            and best in (pair.first, pair.second)
            and verdict(pair) == f"{best} is better"
        ]
        rest = len(compared.runs) - 1 - len(beaten)
        told = (
            "better than all others"
            if not rest
            else "its lead over every other could be luck"
            if not beaten
            else f"better than {', '.join(markup.name(name) for name in beaten)}, and not told apart from the others"
        )
        before = f"{markup.name(task)}: " if len(compared.tasks) > 1 else ""
        sentences.append(
            f"<p>{before}<strong>{markup.name(best)}</strong> has the most right answers, "
            f"<strong>{wording.percent(top1)}</strong>; {told}.</p>"
        )
    return "".join(sentences) or "<p>No class of these clips is known: nothing can be judged.</p>"


def _caveats(compared: Compared) -> list[str]:
    """What a reader must know of the costs before believing them."""
    without = [
        f"{name} has no model: size, cost and speed are unknown."
        for name in compared.runs
        if name not in compared.costs
    ]
    unsteady = [
        f"{name}: half of its timed passes took {' to '.join(map(wording.duration, cost.quartiles))}, the others less "
        "or more. The machine was busy; time it again where the time matters."
        for name, cost in compared.costs.items()
        if cost.quartiles is not None and cost.unsteady
    ]
    return [*without, *unsteady]


def _results(compared: Compared) -> str:
    """A table a task: accuracy on a ruler, the other figures, cost."""
    clips = len(next(iter(compared.tables.values())))
    where = f"{clips:,} {wording.split_name(compared.split)} clips"
    shown = f'<section id="results"><h2>Results <small>{markup.text(where)}</small></h2>'
    for task in compared.tasks:
        shown += f"<h3>{markup.name(task)}</h3>" if len(compared.tasks) > 1 else ""
        shown += _result_table(compared, task)
    over = wording.drawn_over(compared.figures(next(iter(compared.runs)), compared.tasks[0]))
    return (
        f'{shown}<p class="sub">{markup.text(over)}; the stroke marks the majority baseline. Gap: top-1 on training '
        "less validation clips, or the test clips of folds that have none for validation. Cost is of one clip: GFLOPs "
        "count a multiplication and an addition as two; memory holds the weights and all that is alive at once in a "
        "forward pass; time is the median of many turns on this machine's processor.</p></section>"
    )


def _result_table(compared: Compared, task: str) -> str:
    of_first = compared.figures(next(iter(compared.runs)), task)
    figures = [figure for figure in ("top1", "macro_f1", "loss") if figure in of_first]
    headings = [
        ("run", "text"), ("", "bar"), *[(wording.FIGURES[figure][0], "number") for figure in figures],
        ("gap", "number"), ("params", "number"), ("GFLOPs", "number"), ("memory", "number"), ("time", "number"),
    ]  # fmt: skip
    rows = []
    for name in compared.ranked(task):
        of_task = compared.figures(name, task)
        top1 = of_task.get("top1")
        line = ""
        if top1 is not None:
            label = f"top-1 {wording.percent(top1)}, {wording.interval('top1', of_task)}"
            line = markup.ruler(
                top1, of_task.get("intervals", {}).get("top1"), of_task.get("baseline"), label
            )
        rows.append(
            [
                (f"<b>{markup.name(name)}</b>", name),
                (line, top1 or 0.0),
                *[(_figure(figure, of_task), _key(of_task.get(figure))) for figure in figures],
                _gap_cell(compared.gaps[name].get(task)),
                *_cost_cells(compared, name),
            ]
        )
    return markup.table(headings, rows, caption=f"Figures of {task}", sortable=True)


def _figure(figure: str, of_task: Mapping[str, Any]) -> str:
    told = wording.interval(figure, of_task) if figure == "top1" else ""
    small = f"<small>{told}</small>" if told else ""
    return f"{small}<span>{wording.value(figure, of_task.get(figure))}</span>"


def _key(number: float | None) -> float:
    return -1.0 if number is None else number


def _gap_cell(gap: float | None) -> tuple[str, float]:
    return ("–" if gap is None else f"{100 * gap:+.1f}", _key(gap))


def _cost_cells(compared: Compared, name: str) -> list[tuple[str, float]]:
    cost = compared.costs.get(name)
    if cost is None:
        return [("–", -1.0)] * 4
    return [
        (wording.count(cost.parameters), cost.parameters),
        (f"{cost.flops / 1e9:,.3g}", cost.flops),
        (f"{cost.memory / 2**20:,.3g} MiB", cost.memory),
        ("–" if cost.seconds is None else wording.duration(cost.seconds), _key(cost.seconds)),
    ]


def _pairs(compared: Compared) -> str:
    of_task = len(compared.tasks) > 1
    headings = [
        *[("task", "text")] * of_task, ("first", "text"), ("second", "text"), ("difference", "number"),
        ("only first", "number"), ("only second", "number"), ("McNemar p", "number"),
        ("Holm p", "number"), ("", "text"),
    ]  # fmt: skip
    rows = []
    for pair in compared.pairs:
        small = f"<small>{_points(pair.interval)}</small>" if pair.interval else ""
        rows.append(
            [
                *[(markup.name(pair.task), pair.task)] * of_task,
                (markup.name(pair.first), pair.first),
                (markup.name(pair.second), pair.second),
                (f"{small}<span>{100 * pair.difference:+.1f}</span>", pair.difference),
                (f"{pair.only_first:,}", pair.only_first),
                (f"{pair.only_second:,}", pair.only_second),
                (markup.text(_p(pair.p)), pair.p),
                (markup.text(_p(pair.adjusted)), pair.adjusted),
                (markup.text(verdict(pair)), verdict(pair)),
            ]
        )
    over = "groups" if any(pair.over == "groups" for pair in compared.pairs) else "clips"
    return (
        '<section id="pairs"><h2>Pairs <small>the same clips, answered by both</small></h2>'
        + markup.table(headings, rows, caption="Every two runs", sortable=True)
        + f'<p class="sub">Difference in top-1 points with its 95 % bootstrap interval, drawn over {over}; clips '
        "that one alone has right. McNemar's exact test takes clips as independent, which those of one person are not; "
        "Holm's correction is for the number of pairs. A run is called better where both the corrected test and the "
        "interval say so.</p></section>"
    )


def _points(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:+.1f} – {100 * interval[1]:+.1f}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _cost(compared: Compared, figure_class: Any) -> str:
    if not compared.costs:
        return ""
    task = compared.tasks[-1]  # action where there is one
    drawn = [
        markup.figure(charts.to_svg(figure, title))
        for title, figure in comparison_charts.pareto(figure_class, compared, task).items()
    ]
    note = (
        '<p class="sub">A run on the line is beaten by no other in both: nothing cheaper is as accurate. Whiskers are '
        "95 % intervals.</p>"
    )
    return f'<div class="panels">{"".join(drawn)}</div>{note}' if drawn else ""


def _training(compared: Compared, figure_class: Any) -> str:
    drawn = "".join(
        markup.figure(charts.to_svg(figure, title))
        for title, figure in comparison_charts.curves_of(figure_class, compared).items()
    )
    return f'<div class="panels">{drawn}</div>' if drawn else ""


def _classes(compared: Compared, task: str) -> str:
    """Recall of every class by every run, those first on which the runs differ most; then the clips."""
    tables = compared.tables
    recalls = np.stack([class_recall(table, task)[1] for table in tables.values()])
    first = next(iter(tables.values()))
    support, _ = class_recall(first, task)
    spread = np.where(support > 0, np.ptp(np.nan_to_num(recalls), axis=0), -1.0)
    rows = []
    for number in np.argsort(-spread, kind="stable").tolist():
        if support[number]:
            cells: list[tuple[str, Any]] = [(_recall(share), share) for share in recalls[:, number].tolist()]
            rows.append(
                [
                    (markup.name(first.tasks[task].classes[number]), first.tasks[task].classes[number]),
                    (f"{support[number]:,}", int(support[number])),
                    *cells,
                    (f"{100 * spread[number]:.1f}", spread[number]),
                ]
            )
    headings = [
        ("class", "text"),
        ("clips", "number"),
        *[(name, "bar") for name in tables],
        ("apart", "number"),
    ]
    anchor = markup.anchor("classes", task)
    return (
        f'<section id="{anchor}"><h2>{markup.name(task)} <small>by class</small></h2>'
        + markup.table(headings, rows, caption=f"Recall of the classes of {task}", sortable=True, tall=True)
        + f'<p class="sub">Share of each class\'s clips that a run has right.</p>{_clips(compared, task)}</section>'
    )


def _recall(share: float) -> str:
    return f"{markup.meter(share)}{wording.percent(share)}"


def _clips(compared: Compared, task: str) -> str:
    """The clips on which the runs are furthest apart."""
    chosen = disagreements(compared.tables, task, CLIPS_SHOWN)
    if not chosen:
        return "<p>The runs are right and wrong on the same clips.</p>"
    first = next(iter(compared.tables.values()))
    classes = first.tasks[task].classes
    rows = []
    for row in chosen:
        truth = int(first.tasks[task].truth[row])
        cells: list[tuple[str, Any]] = [
            (markup.name(first.clips[row]), None),
            (markup.name(classes[truth]), None),
        ]
        for table in compared.tables.values():
            logs = table.tasks[task].log_probabilities[row]
            answer = int(logs.argmax())
            kind = "right" if answer == truth else "wrong"
            sure = wording.percent(float(np.exp(logs[answer])))
            cells.append(
                (f'<b class="{kind}">{markup.name(classes[answer])}</b> <small>{sure}</small>', None)
            )
        rows.append(cells)
    headings = [("clip", "text"), ("truth", "text"), *[(name, "text") for name in compared.tables]]
    return "<h3>Clips on which they disagree</h3>" + markup.table(
        headings, rows, caption=f"Clips that some runs have right and others wrong in {task}"
    )


def _settings(compared: Compared) -> str:
    """What differs between the recipes."""
    trees = {
        name: dict(sections.flat(read_yaml(contents.recipe, name)))
        for name, contents in compared.runs.items()
        if contents.recipe is not None
    }
    keys = dict.fromkeys(key for tree in trees.values() for key in tree)
    rows = []
    for key in keys:
        values = [tree.get(key, "–") for tree in trees.values()]
        if len(set(values)) > 1:
            rows.append(
                [(f"<code>{markup.text(key)}</code>", None), *[(markup.text(v), None) for v in values]]
            )
    if not rows:
        return ""
    headings = [("setting", "text"), *[(name, "text") for name in trees]]
    table = markup.table(headings, rows, caption="Settings that differ", tall=True)
    return f'<section id="settings"><h2>Settings <small>that differ</small></h2>{table}</section>'


def comparison_table(compared: Compared) -> RenderableType:
    """The same in short for the terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table_of(*headings: str, names: int = 1) -> Table:
        """A table whose first `names` columns break where it is narrow, and no other."""
        table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold", show_edge=False)
        for number, heading in enumerate(headings):
            is_name = number < names
            table.add_column(
                Text(heading),
                justify="left" if is_name else "right",
                no_wrap=not is_name,
                overflow="fold" if is_name else "ellipsis",
            )
        return table

    parts: list[RenderableType] = []
    for task in compared.tasks:
        table = table_of(task, "top-1", "95 %", "gap", "params", "GFLOPs", "memory", "time")
        for name in compared.ranked(task):
            of_task = compared.figures(name, task)
            table.add_row(
                Text(name),
                Text(wording.value("top1", of_task.get("top1")), style="bold"),
                Text(wording.interval("top1", of_task), style="dim"),
                _gap_cell(compared.gaps[name].get(task))[0],
                *[told for told, _ in _cost_cells(compared, name)],
            )
        pairs = table_of(task, "against", "points", "95 %", "p", "", names=2)
        for pair in compared.pairs:
            if pair.task == task:
                pairs.add_row(
                    Text(pair.first),
                    Text(pair.second),
                    f"{100 * pair.difference:+.1f}",
                    Text(_points(pair.interval) if pair.interval else "", style="dim"),
                    _p(pair.adjusted),
                    Text(verdict(pair)),
                )
        parts += [Text(), table, Text(), pairs]
    clips = len(next(iter(compared.tables.values())))
    title = Text(f"{wording.split_name(compared.split)}, {clips:,} clips", style="bold")
    return Group(title, *parts, Text(), Text("\n".join(_caveats(compared)), style="dim"))
