"""Layouts of one's own, checked when they are declared, and written down again as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mudra.clips.layouts.layout import PointLayout, Row, row_of
from mudra.errors import DataError


def declare(
    name: str,
    points: Sequence[str],
    *,
    bones: Iterable[Sequence[Row]] = (),
    parts: Mapping[str, Iterable[Row]] | None = None,
    pairs: Iterable[Sequence[Row]] = (),
    origin: Iterable[Row] = (),
    unit: Iterable[Sequence[Row]] = (),
    roots: Iterable[Row] = (),
) -> PointLayout:
    """A layout of one's own, checked. Rows may be given by number or by name.

    Raises:
        DataError: a name twice, an unknown row, a point in two pairs or two parts, or paired with itself.
    """
    if not name or not name.isprintable():
        raise DataError(
            f"layouts: found the name {name!r}; expected letters, such as mine. Rename the layout."
        )
    place = f"layout {name}"
    if not points:
        raise DataError(
            f"{place}: found no points; expected at least one name. List the points in their order."
        )
    numbers: dict[str, int] = {}
    for row, point in enumerate(points):
        if not isinstance(point, str) or not point:
            raise DataError(f"{place}, points: row {row} is {point!r}; expected a name. Name every point.")
        if point in numbers:
            raise DataError(
                f"{place}, points: {point!r} is row {numbers[point]} and row {row}; "
                "expected every name once. Rename one."
            )
        numbers[point] = row
    joined = tuple(_couple(bone, numbers, f"{place}, bones") for bone in bones)
    swapped = tuple(_couple(pair, numbers, f"{place}, pairs") for pair in pairs)
    _once((row for pair in swapped for row in pair), points, f"{place}, pairs")
    members = {
        part: tuple(row_of(point, numbers, f"{place}, part {part}") for point in rows)
        for part, rows in (parts or {}).items()
    }
    _once((row for rows in members.values() for row in rows), points, f"{place}, parts")
    middle = tuple(row_of(point, numbers, f"{place}, origin") for point in origin)
    measure = tuple(_couple(rows, numbers, f"{place}, unit") for rows in unit)
    held = tuple(row_of(point, numbers, f"{place}, roots") for point in roots)
    return PointLayout(name, tuple(points), joined, members, swapped, middle, measure, held)


def plain(layout: PointLayout) -> dict[str, Any]:
    """A layout as plain values that `declare` takes: rows by their names, what is empty left out.

    >>> plain(declare("pen", ["tip", "end"], bones=[(0, 1)]))
    {'points': ['tip', 'end'], 'bones': [['tip', 'end']]}
    """
    names = layout.points

    def couples(rows: Iterable[Sequence[int]]) -> list[list[str]]:
        return [[names[row] for row in couple] for couple in rows]

    values: dict[str, Any] = {
        "points": list(names),
        "bones": couples(layout.bones),
        "parts": {part: [names[row] for row in rows] for part, rows in layout.parts.items()},
        "pairs": couples(layout.pairs),
        "origin": [names[row] for row in layout.origin],
        "unit": couples(layout.unit),
        "roots": [names[row] for row in layout.roots],
    }
    return {key: value for key, value in values.items() if value}


def _couple(rows: Sequence[Row], numbers: Mapping[str, int], place: str) -> tuple[int, int]:
    if isinstance(rows, str) or len(rows) != 2:
        raise DataError(f"{place}: found {rows!r}; expected two points. Write each as [one, other].")
    one, other = (row_of(point, numbers, place) for point in rows)
    if one == other:
        raise DataError(f"{place}: found {rows!r}, a point with itself; expected two points. Remove it.")
    return one, other


def _once(rows: Iterable[int], points: Sequence[str], place: str) -> None:
    seen: set[int] = set()
    for row in rows:
        if row in seen:
            raise DataError(
                f"{place}: {points[row]!r} stands there twice; expected once at most. Remove one."
            )
        seen.add(row)
