"""`report.html`: one file that says how good a run is, where it fails, and how to repeat it.

It opens offline and fetches nothing: pictures, styles and a few lines of script are inside, and its
content security policy forbids everything else. Whatever comes from the data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mudra.files import replace_file
from mudra.predictions import confusion
from mudra.reports import charts, curves, detail, ensembles, markup, page, sections, wording
from mudra.reports.contents import RunContents, read_run


def write_report(run: Path, *, thumbnails: detail.Thumbnails | None = None) -> Path:
    """Write `RUN/report.html`, `RUN/curves.png` and `RUN/confusion-<split>-<task>.png`.

    Args:
        run: a run's folder; whatever is missing in it, the report says.
        thumbnails: gives a small picture of a clip by its id, as HTML.
    Returns:
        the page's path.
    Raises:
        DataError: `run` is not a folder.
        OutputError: a file could not be written.
    """
    run = Path(run)
    contents = read_run(run)
    with charts.drawing() as figure_class:
        if contents.log is not None:
            curves.save_curves(figure_class, contents.log, run / "curves.png")
        heat_maps = _confusion_pictures(run, contents, figure_class)
        filled = _page(contents, heat_maps, figure_class, thumbnails)
    path = run / "report.html"
    replace_file(path, filled.encode("utf-8", errors="replace"))
    return path


def _detailed(contents: RunContents) -> list[str]:
    """The splits that are looked at class by class: all but train, or train where there is no other."""
    return [split for split in contents.tables if split != "train"] or list(contents.tables)


def _confusion_pictures(run: Path, contents: RunContents, figure_class: Any) -> dict[tuple[str, str], str]:
    """Write the confusion pictures; the same drawings as SVG, by split and task."""
    drawn = {}
    for split in _detailed(contents):
        for task, scores in contents.tables[split].tasks.items():
            counts = confusion(scores)
            right, total = int(counts.diagonal().sum()), int(counts.sum())
            if not total:
                continue
            figure = charts.confusion_figure(figure_class, counts, scores.classes)
            charts.save_png(figure, run / f"confusion-{split}-{wording.file_name(task)}.png")
            title = (
                f"Confusion matrix of {task}, {wording.split_name(split)}: {right} of {total} clips are right"
            )
            drawn[split, task] = charts.to_svg(figure, title)
    return drawn


def _page(
    contents: RunContents,
    heat_maps: Mapping[tuple[str, str], str],
    figure_class: Any,
    thumbnails: detail.Thumbnails | None,
) -> str:
    entries, body = [], []
    if contents.metrics:
        entries.append(("results", "Results"))
        body.append(sections.headline(contents))
    if contents.ensemble is not None:
        entries.append(("ensemble", "Ensemble"))
        body.append(ensembles.members(contents.ensemble))
    if contents.log is not None:
        entries.append(("training", "Training"))
        body.append(sections.training(contents, figure_class))
    for split in _detailed(contents):
        table = contents.tables[split]
        for task in table.tasks:
            figures = contents.metrics.get(split, {}).get("tasks", {}).get(task, {})
            words = f"{markup.name(task)}, {markup.text(wording.split_name(split))}"
            entries.append((markup.anchor(split, task), words))
            drawn = heat_maps.get((split, task))
            body.append(detail.task_detail(split, task, table, figures, drawn, figure_class, thumbnails))
    entries.append(("repeat", "How to repeat"))
    if contents.recipe is not None:
        entries.append(("recipe", "Recipe"))
    if contents.environment is not None:
        entries.append(("environment", "Environment"))
    body.append(sections.settings(contents))
    return page.fill(
        brand="mudra report",
        title=markup.text(contents.name),
        lead=sections.lead(contents),
        facts=sections.facts(contents),
        notes=sections.notes(contents),
        nav=sections.contents_list(entries),
        body="\n".join(body),
        script="sorting.js",
    )
