"""The sections of the page, each from what it needs of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mudra.predictions import overfitting_gap, tasks_of
from mudra.reports import charts, curves, markup, wording
from mudra.reports.contents import RunContents


def lead(contents: RunContents) -> str:
    """The result of the most telling split in a sentence."""
    if not contents.metrics:
        return "<p>This run has no figures yet.</p>"
    split, metrics = next(iter(contents.metrics.items()))
    clips = f"{metrics.get('clips', 0):,} {markup.text(wording.split_name(split))} clips"
    judged = {task: each for task, each in tasks_of(metrics).items() if each.get("top1") is not None}
    if not judged:
        return f"<p>No class of the {clips} is known: nothing can be judged.</p>"
    where = f"Right answers on {clips}: "
    if len(judged) > 1:
        shares = [f"{markup.name(task)} {_strong(each['top1'])}" for task, each in judged.items()]
        return f"<p>{where}{', '.join(shares)}.</p>"
    (figures,) = judged.values()
    sentence = f"{where}{_strong(figures['top1'])}."
    if figures.get("baseline") is not None:
        sentence += (
            f" Always naming the most frequent class would reach {wording.percent(figures['baseline'])}."
        )
    return f"<p>{sentence}</p>"


def _strong(share: float) -> str:
    return f"<strong>{wording.percent(share)}</strong>"


def facts(contents: RunContents) -> str:
    """What the run is, in a few words each."""
    config, environment = contents.config or {}, contents.environment or {}
    model, clip = config.get("model"), config.get("clip")
    found: list[tuple[str, object]] = []
    if isinstance(config.get("name"), str):
        found.append(("recipe", config["name"]))
    if isinstance(model, dict) and "kind" in model:
        found.append(("model", model["kind"]))
    if isinstance(clip, dict) and isinstance(clip.get("streams"), list):
        found.append(("streams", ", ".join(map(str, clip["streams"]))))
    if isinstance(clip, dict) and "frames" in clip:
        found.append(("frames", clip["frames"]))
    tasks = config.get("tasks")
    for task, names in tasks.items() if isinstance(tasks, dict) else ():
        found += [(f"{task} classes", f"{len(names):,}")] if isinstance(names, list) else []
    if "seed" in environment:
        found.append(("seed", environment["seed"]))
    calibration = config.get("calibration")
    for task, own in calibration.items() if isinstance(calibration, dict) else ():
        for what, number in own.items() if isinstance(own, dict) else ():
            found += [(f"{task} {what}", f"{number:.3f}")] if isinstance(number, float | int) else []
    if config.get("split_hash"):
        found.append(("split", str(config["split_hash"])[:12]))
    return markup.facts(found)


def notes(contents: RunContents) -> str:
    """What is missing, told where it cannot be overlooked."""
    return markup.notes(contents.notes, "What this report lacks")


def headline(contents: RunContents) -> str:
    """Cards of the most telling split, then all figures of all splits."""
    if not contents.metrics:
        return ""
    split, metrics = next(iter(contents.metrics.items()))
    cards = "".join(_card(task, figures) for task, figures in tasks_of(metrics).items())
    return (
        f'<section id="results"><h2>Results <small>{markup.text(wording.split_name(split))}</small></h2>'
        f'<div class="cards">{cards}</div>{_subsets(contents.metrics)}{_all_figures(contents.metrics)}</section>'
    )


def _card(task: str, figures: Mapping[str, Any]) -> str:
    """One task: top-1 large, on a ruler with its interval and the baseline; the other figures small."""
    if figures.get("top1") is None:
        unknown = '<p class="sub">no clip has a known class</p>'
        return f'<article class="card"><h3>{markup.name(task)}</h3>{unknown}</article>'
    top1, baseline = figures["top1"], figures.get("baseline")
    bounds = figures.get("intervals", {}).get("top1")
    told = wording.interval("top1", figures)
    label = f"top-1 {wording.percent(top1)}"
    label += f", 95 % interval {told}" if told else ""
    label += f", majority baseline {wording.percent(baseline)}" if baseline is not None else ""
    small = "".join(
        f'<div title="{markup.text(what)}"><dt>{markup.text(title)}</dt><dd>{wording.value(figure, figures[figure])}'
        f"<small>{wording.interval(figure, figures)}</small></dd></div>"
        for figure, (title, what, _) in wording.FIGURES.items()
        if figure != "top1" and figure in figures
    )
    classes = f" <small>{figures['classes']:,} classes</small>" if "classes" in figures else ""
    action = " <small>verb and noun both right</small>" if task == "action" and not classes else ""
    majority = ""
    if baseline is not None:
        majority = f'<br><span class="key-base">majority baseline {wording.percent(baseline)}</span>'
    return (
        f'<article class="card"><h3>{markup.name(task)}{classes}{action}</h3>'
        f'<p class="big">{wording.percent(top1)}<span>top-1</span></p>'
        f"{markup.ruler(top1, bounds, baseline, label)}"
        f'<p class="sub">{f"<b>{told}</b>, " if told else ""}{markup.text(wording.drawn_over(figures))}'
        f'{majority}</p><dl class="figures">{small}</dl></article>'
    )


def _subsets(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Top-1 of the clips that are reported apart, beside that of all clips, of every split that has such."""
    shown = ""
    for split, whole in metrics.items():
        parts = whole.get("subsets")
        if not parts:
            continue
        tasks = list(tasks_of(whole))
        rows: list[list[tuple[str, Any]]] = []
        for name, part in {"all clips": whole, **parts}.items():
            of_task = [tasks_of(part).get(task, {}) for task in tasks]
            rows.append([(markup.name(name), None), *[(_apart(figures), None) for figures in of_task]])
        where = wording.split_name(split)
        headings = [("top-1", "text"), *[(task, "number") for task in tasks]]
        shown += f"<h3>Reported apart <small>{markup.text(where)}</small></h3>" + markup.table(
            headings, rows, caption=f"Top-1 of subsets of {where}"
        )
    note = '<p class="sub">Small print: 95 % bootstrap intervals and the number of clips that count for the task.</p>'
    return shown + note if shown else ""


def _apart(figures: Mapping[str, Any]) -> str:
    if figures.get("top1") is None:
        return "–"
    told = wording.interval("top1", figures)
    small = f"{told}, " if told else ""
    return f"<small>{small}{figures.get('clips', 0):,}</small><span>{wording.percent(figures['top1'])}</span>"


def _all_figures(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Every figure of every split with its interval, where there is more than the cards show."""
    if len(metrics) < 2:
        return ""
    splits = [tasks_of(split) for split in metrics.values()]
    rows: list[list[tuple[str, Any]]] = []
    for task in dict.fromkeys(task for split in splits for task in split):
        of_task = [split.get(task, {}) for split in splits]
        rows.append([(f"<b>{markup.name(task)}</b>", None), *[("", None) for _ in splits]])
        for figure, (title, _, _) in wording.FIGURES.items():
            if any(figure in figures for figures in of_task):
                rows.append(
                    [(title, None), *[(_with_interval(figure, figures), None) for figures in of_task]]
                )
        baselines = [wording.value("top1", figures.get("baseline")) for figures in of_task]
        rows.append([("Majority baseline", None), *[(told, None) for told in baselines]])
    headings = [("", "text"), *[(wording.split_name(split), "number") for split in metrics]]
    clips = ", ".join(
        f"{wording.split_name(split)} {each.get('clips', 0):,}" for split, each in metrics.items()
    )
    return (
        f"<h3>All splits</h3>{markup.table(headings, rows, caption='All figures of all splits')}"
        f'<p class="sub">Clips: {markup.text(clips)}. Small print: 95 % bootstrap intervals. Calibration error has '
        "none, since resampling alone raises it.</p>"
    )


def _with_interval(figure: str, figures: Mapping[str, Any]) -> str:
    told = wording.interval(figure, figures)
    small = f"<small>{told}</small>" if told else ""
    return f"{small}<span>{wording.value(figure, figures.get(figure))}</span>"


def training(contents: RunContents, figure_class: Any) -> str:
    """Curves, and how far training and validation are apart."""
    if contents.log is None:
        return ""
    drawn = "".join(
        markup.figure(
            charts.to_svg(
                curves.panel_figure(figure_class, title, draw), f"{title} by training step", tight=False
            )
        )
        for title, draw in curves.panels(contents.log).items()
    )
    if not drawn:
        return '<section id="training"><h2>Training</h2><p>The log holds no numbers yet.</p></section>'
    return (
        f'<section id="training"><h2>Training</h2><div class="panels">{drawn}</div>{_gap(contents)}</section>'
    )


def _gap(contents: RunContents) -> str:
    """The overfitting gap: from saved figures of train and val, else from the end of the log."""
    if "train" in contents.metrics and "val" in contents.metrics:
        gaps = overfitting_gap(contents.metrics["train"], contents.metrics["val"])
        items = [
            f"<li><b>{markup.name(task)}</b>: top-1 {100 * gap['top1']:+.1f} points, loss {gap['loss']:+.3f}</li>"
            for task, gap in gaps.items()
        ]
        source = "Training less validation in top-1, validation less training in loss, with the same weights."
    elif contents.log is not None:
        items = _gap_in_log(contents.log)
        source = (
            "From the last epoch of the log. Training figures are taken on augmented clips, with dropout, while the "
            "weights still move: they look worse than the model is."
        )
    else:
        return ""
    if not items:
        return ""
    return (
        f'<h3>Overfitting gap</h3><ul class="plain">{"".join(items)}</ul>'
        f'<p class="sub">Above zero, the model knows its training clips better than new ones. {source}</p>'
    )


def _gap_in_log(log: curves.TrainingLog) -> list[str]:
    items = []
    for column, title in [("loss", "loss")] + [(f"{task}/top1", f"{task} top-1") for task in log.tasks]:
        apart = curves.last_gap(log, column)
        if apart is not None:
            told = f"{apart:+.3f}" if column == "loss" else f"{100 * apart:+.1f} points"
            items.append(f"<li><b>{markup.text(title)}</b>: {told}</li>")
    return items


def settings(contents: RunContents) -> str:
    """The recipe, where it ran, and how to repeat it."""
    parts = []
    command = (contents.environment or {}).get("command")
    again = ["# again, with the same settings", "mudra train recipe.yaml --out again"]
    note = (
        "<code>recipe.yaml</code> lies in the run's folder; add <code>--data</code> where the data lies elsewhere. The "
        "same seed, versions and machine give the same numbers."
    )
    if contents.ensemble is not None:
        again, note = [], "The members' predictions are all that it needs."
    if isinstance(command, str) and command:
        again = ["# the command that made this run", command, *([""] if again else []), *again]
    parts.append(
        '<section id="repeat"><h2>How to repeat</h2>'
        + markup.recipe("\n".join(again))
        + f'<p class="sub">{note}</p></section>'
    )
    if contents.recipe is not None:
        parts.append(f'<section id="recipe"><h2>Recipe</h2>{markup.recipe(contents.recipe)}</section>')
    if contents.environment is not None:
        rows = [
            [(markup.text(key), None), (markup.text(what), None)] for key, what in flat(contents.environment)
        ]
        shown = markup.table(
            [("what", "text"), ("value", "text")], rows, caption="Environment of the training"
        )
        parts.append(f'<section id="environment"><h2>Environment</h2>{shown}</section>')
    return "".join(parts)


def flat(tree: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested values as dotted keys, empty ones left out."""
    found: list[tuple[str, str]] = []
    for key, what in tree.items():
        if isinstance(what, Mapping):
            found += flat(what, f"{before}{key}.")
        elif isinstance(what, list):
            found += [(before + key, ", ".join(map(str, what)))] if what else []
        elif what not in (None, ""):
            found.append((before + key, str(what)))
    return found


def contents_list(entries: Sequence[tuple[str, str]]) -> str:
    """Links to the sections: (anchor, HTML)."""
    links = "".join(f'<a href="#{where}">{words}</a>' for where, words in entries)
    return f'<nav aria-label="Sections">{links}</nav>'
