"""One task of one split, class by class: what is confused, how sure it is, which clips are hardest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mudra.errors import MudraError
from mudra.predictions import (
    PredictionTable,
    TaskScores,
    confused_pairs,
    hardest,
    per_class,
    reliability,
    worst_first,
)
from mudra.reports import charts, markup, wording

Thumbnails = Callable[[str], str]
"""From a clip's id to a small picture of it as HTML, "" where there is none."""

PAIRS = 15
HARDEST = 12
TALL = 30  # rows from which a table scrolls within itself


def task_detail(
    split: str,
    task: str,
    table: PredictionTable,
    figures: Mapping[str, Any],
    heat_map: str | None,
    figure_class: Any,
    thumbnails: Thumbnails | None,
) -> str:
    """Confusion, classes, calibration and the hardest clips of one task of one split.

    Args:
        heat_map: the drawn confusion matrix; None where no clip has a known class.
    """
    scores = table.tasks[task]
    title = f"<h2>{markup.name(task)} <small>{markup.text(wording.split_name(split))}</small></h2>"
    opening = f'<section id="{markup.anchor(split, task)}">{title}'
    if heat_map is None:
        return f"{opening}<p>No clip of this split has a known class: nothing can be judged.</p></section>"
    where = f"{task}, {wording.split_name(split)}"
    clips, confidence, accuracy = reliability(scores)
    calibration = charts.to_svg(
        charts.reliability_figure(figure_class, clips, confidence, accuracy),
        f"Reliability diagram of {where}: accuracy by confidence",
    )
    error = figures.get("ece")
    return (
        f"{opening}{_confusion(heat_map, len(scores.classes))}"
        f'<div class="two"><div>{_pairs(scores, where)}</div><div><h3>Calibration</h3>'
        + markup.figure(
            calibration,
            "Dots on the dashed line: as sure as right; below it: too sure. The larger a dot, the more clips."
            + (f" Expected calibration error {wording.percent(error)}." if error is not None else ""),
        )
        + f"</div></div>{_classes(scores, where)}{_hardest(table, scores, thumbnails)}</section>"
    )


def _confusion(heat_map: str, classes: int) -> str:
    caption = (
        "Rows are the true classes, columns the answers; the stronger a cell, the larger its share of the row. "
        '<b class="right">Right</b> answers lie on the diagonal, <b class="wrong">wrong</b> ones beside it.'
    )
    return f"<h3>Confusion</h3>{markup.figure(heat_map, caption, wide=classes > 12)}"


def _pairs(scores: TaskScores, where: str) -> str:
    found = confused_pairs(scores, PAIRS)
    if not found:
        return "<h3>Most confused</h3><p>No clip was answered wrongly.</p>"
    rows = [
        [
            (markup.name(truth), truth),
            (markup.name(answered), answered),
            (f"{count:,}", count),
            (f"{markup.meter(count / support, 'second')}{wording.percent(count / support)}", count / support),
        ]
        for truth, answered, count, support in found
    ]
    headings = [("truth", "text"), ("taken for", "text"), ("clips", "number"), ("of the class", "bar")]
    return "<h3>Most confused</h3>" + markup.table(
        headings, rows, caption=f"Most confused classes of {where}", sortable=True
    )


def _classes(scores: TaskScores, where: str) -> str:
    rows = []
    for one in worst_first(per_class(scores)):
        cells: list[tuple[str, Any]] = [
            (markup.name(one.name), one.name),
            (f"{one.support:,}", one.support),
            (f"{one.predicted:,}", one.predicted),
        ]
        for share in (one.precision, one.recall, one.f1):
            known = np.isfinite(share)
            cells.append((wording.percent(share) if known else "–", share if known else -1))
        cells[-1] = (markup.meter(one.f1) + cells[-1][0], cells[-1][1])
        rows.append(cells)
    headings = [("class", "text"), ("clips", "number"), ("answered", "number")]
    if len(rows) > charts.LABELS_UP_TO:  # the heat map then shows numbers, not names
        headings.insert(0, ("no.", "number"))
        number = {name: place for place, name in enumerate(scores.classes)}
        rows = [[(f"{number[cells[0][1]]}", number[cells[0][1]]), *cells] for cells in rows]
    headings += [("precision", "number"), ("recall", "number"), ("F1", "bar")]
    shown = markup.table(
        headings, rows, caption=f"Classes of {where}, worst first", sortable=True, tall=len(rows) > TALL
    )
    return f"<h3>Classes <small>worst first</small></h3>{shown}"


def _hardest(table: PredictionTable, scores: TaskScores, thumbnails: Thumbnails | None) -> str:
    rows = hardest(scores, HARDEST)
    if not rows.size:
        return ""
    cards = "".join(_hard_clip(table, scores, row, thumbnails) for row in rows.tolist())
    return (
        "<h3>Hardest clips <small>wrong, and the least likely to be right</small></h3>"
        f'<ol class="hard">{cards}</ol>'
    )


def _hard_clip(table: PredictionTable, scores: TaskScores, row: int, thumbnails: Thumbnails | None) -> str:
    logs = scores.log_probabilities[row]
    answer, truth = int(logs.argmax()), int(scores.truth[row])
    clip = table.clips[row]
    part = ""
    if table.start is not None and table.stop is not None:
        part = f" <small>{table.start[row]:.2f} – {table.stop[row]:.2f} s</small>"
    return (
        f"<li>{_frames(clip, thumbnails)}"
        f'<p class="clip">{markup.name(clip)}{part}</p>'
        f'<p><span class="tag wrong">answer</span>{markup.name(scores.classes[answer])}'
        f"<b>{_probability(logs[answer])}</b></p>"
        f'<p><span class="tag right">truth</span>{markup.name(scores.classes[truth])}'
        f"<b>{_probability(logs[truth])}</b></p></li>"
    )


def _frames(clip: str, thumbnails: Thumbnails | None) -> str:
    if thumbnails is None:
        return ""
    try:
        return thumbnails(clip)
    except MudraError as problem:  # the clip may be gone by now; its row is still worth reading
        return f'<p class="sub">no picture: {markup.text(problem)}</p>'


def _probability(log: float) -> str:
    share = float(np.exp(min(float(log), 0.0)))
    return wording.percent(share) if share >= 0.0005 else "&lt; 0.1 %"
