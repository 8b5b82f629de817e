"""What an ensemble's page says of its members: their weights, and how much better all are than each alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mudra.reports import markup, wording

UNREADABLE = (
    '<section id="ensemble"><h2>Ensemble</h2><p>ensemble.json does not hold what it should.</p></section>'
)


def members(described: Mapping[str, Any]) -> str:
    """The section of `ensemble.json`; a file that somebody changed is said to be unreadable."""
    try:
        return _section(described)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return UNREADABLE


def _section(described: Mapping[str, Any]) -> str:
    names = [str(member["name"]) for member in described["members"]]
    parts: list[Mapping[str, Mapping[str, float]]] = described["by_part"]
    tasks = list(parts[0])
    fold = ", mean over the folds" if len(parts) > 1 else ""
    rows = []
    for name in names:
        shares = [[part[task][name] for part in parts if name in part[task]] for task in tasks]
        cells = [f"{sum(share) / len(share):.3f}" if share else "–" for share in shares]
        rows.append([(markup.name(name), None), *[(cell, None) for cell in cells]])
    weighed = markup.table(
        [("member", "text"), *[(f"weight, {task}", "number") for task in tasks]],
        rows,
        caption=f"Members and their weights{fold}",
    )
    how = "weights fitted on validation" if described["weights"] == "fit" else "equal weights"
    return (
        f'<section id="ensemble"><h2>Ensemble</h2><p>The mean of {markup.text(described["of"])}, {how}{fold}; '
        f"members are joined by clip.</p>{weighed}{_pairs(described)}</section>"
    )


def _pairs(described: Mapping[str, Any]) -> str:
    if not described["pairs"]:
        return ""
    best: Mapping[str, str] = described["best_on_validation"]
    rows: list[list[tuple[str, Any]]] = []
    for pair in described["pairs"]:
        bounds = pair["interval"]
        told = "–" if bounds is None else f"{100 * bounds[0]:+.1f} – {100 * bounds[1]:+.1f}"
        chosen = " <small>best on validation</small>" if best.get(pair["task"]) == pair["second"] else ""
        rows.append(
            [
                (markup.name(pair["task"]), None),
                (markup.name(pair["second"]) + chosen, None),
                (f"{100 * pair['difference']:+.1f}", None),
                (told, None),
                (f"{pair['only_first']:,}", None),
                (f"{pair['only_second']:,}", None),
                (f"{pair['p']:.3g}", None),
            ]
        )
    where = wording.split_name(str(described["judged"]))
    headings = [
        ("task", "text"), ("against", "text"), ("top-1, points", "number"), ("95 % interval", "number"),
        ("ensemble alone right", "number"), ("member alone right", "number"), ("p", "number"),
    ]  # fmt: skip
    note = (
        "Which member is the best was not chosen: there are no validation clips that all have predicted. "
        * (not best)
    )
    return (
        f"<h3>Against each member <small>{markup.text(where)}</small></h3>"
        + markup.table(headings, rows, caption=f"The ensemble against each member on {where}")
        + f'<p class="sub">{note}Paired by clip: bootstrap over {markup.text(described["pairs"][0]["over"])}, and '
        "McNemar's exact test.</p>"
    )
