"""What the data doctor found, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

SHOWN = 10  # findings of one kind that are printed; the JSON form has them all


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: what sort of thing, in few words, the same for all of its sort.
        place: the clip, class or stream.
        found: what is there.
        mend: what to do about it.
    """

    kind: str
    place: str
    found: str
    mend: str


@dataclass(slots=True)
class Report:
    """Everything that was found in a data set, with the facts of what is in it."""

    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended before training."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "ok": self.ok,
            "facts": self.facts,
            "problems": [asdict(finding) for finding in self.problems],
            "warnings": [asdict(finding) for finding in self.warnings],
        }


def to_json(report: Report) -> str:
    """The whole report as one JSON object."""
    return json.dumps(report.as_dict(), indent=2, ensure_ascii=False)


def render(report: Report) -> RenderableType:
    """The report as a terminal shows it: the facts, then problems, then warnings, kind by kind."""
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _rows(report.facts):
        facts.add_row(Text(name, style="dim"), Text(value))
    parts: list[RenderableType] = [facts]
    for title, style, findings in (
        ("to mend", "red", report.problems),
        ("to know", "yellow", report.warnings),
    ):
        if findings:
            parts += [Text(""), Text(f"{len(findings)} {title}", style=f"bold {style}")]
            parts += _by_kind(findings, style)
    if report.ok:
        parts += [Text(""), Text("Nothing has to be mended.", style="green")]
    return Group(*parts)


def _by_kind(findings: Iterable[Finding], style: str) -> list[RenderableType]:
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    lines: list[RenderableType] = []
    for kind, same in kinds.items():
        lines.append(Text(f"  {kind} ({len(same)})", style=style))
        lines += [Text(f"    {finding.place}: {finding.found}") for finding in same[:SHOWN]]
        if len(same) > SHOWN:
            lines.append(Text(f"    ... and {len(same) - SHOWN} more", style="dim"))
        lines += [
            Text(f"    -> {mend}", style="dim")
            for mend in dict.fromkeys(finding.mend for finding in same[:SHOWN])
        ]
    return lines


def _rows(facts: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """One line a fact; what is nested more than once goes on one line."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values()):
            rows += _rows(value, f"{above}{name} ")
        elif isinstance(value, Mapping):
            rows.append(
                (f"{above}{name}", ", ".join(f"{key} {_number(inner)}" for key, inner in value.items()))
            )
        else:
            rows.append((f"{above}{name}", _number(value)))
    return rows


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
