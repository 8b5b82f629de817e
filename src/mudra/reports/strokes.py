"""Lines and dots: drawn once, shown in a page as SVG and in a picture by matplotlib.

A stroke lies in a cell that is 1 high and `aspect` wide, x to the right and y down. Its colour is a name of the
palette, so that in a page it follows the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.reports import markup
from mudra.reports.palette import COLOURS, light

Line = NDArray[np.float64]

HALO = "#0d1015"  # behind lines that lie over a picture, whatever it shows


@dataclass(frozen=True, slots=True, eq=False)
class Stroke:
    """Lines of one colour.

    Attributes:
        lines: each [n, 2] in the cell; every point of it is a dot where `dots`.
        width: of the lines, or across the dots, in hundredths of a cell 100 pixels high.
    """

    lines: tuple[Line, ...]
    colour: str
    width: float
    opacity: float = 1.0
    dots: bool = False


def pixels(width: float, height: float) -> float:
    """How wide a stroke is in a cell of some height: more in a large cell, but less than in proportion."""
    return float(width * (height / 100) ** 0.6)


def unbroken(line: Line) -> list[Line]:
    """The parts of a line between points that are not known.

    >>> [part.tolist() for part in unbroken(np.array([[0, 0], [1, 1], [np.nan, 0], [3, 3]]))]
    [[[0.0, 0.0], [1.0, 1.0]], [[3.0, 3.0]]]
    """
    known = ~np.isnan(line).any(1)
    edges = np.flatnonzero(np.diff(known.astype(np.int8), prepend=0, append=0))
    return [line[start:stop] for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def svg_paths(strokes: Iterable[Stroke], height: float, over_picture: bool = False) -> str:
    """Strokes as elements of an SVG whose cell is `height` high."""
    parts: list[str] = []
    for stroke in strokes:
        path = "".join((_dots if stroke.dots else line_path)(line * height) for line in stroke.lines)
        if not path:
            continue
        width = pixels(stroke.width, height)
        colour = COLOURS[stroke.colour][1] if over_picture else f"var(--{stroke.colour})"
        faint = f' stroke-opacity="{stroke.opacity:g}"' if stroke.opacity < 1 else ""
        if over_picture:
            parts.append(
                f'<path d="{path}" stroke="{HALO}" stroke-width="{width + 1.6:.1f}" stroke-opacity=".5"/>'
            )
        parts.append(f'<path d="{path}" stroke="{colour}" stroke-width="{width:.1f}"{faint}/>')
    return "".join(parts)


def line_path(line: Line) -> str:
    """An SVG path through points.

    >>> line_path(np.array([[0, 0.04], [10, 20.26]]))
    'M0 0L10 20.3'
    """
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in np.round(line, 1).tolist())


def _dots(line: Line) -> str:
    # a round cap makes a dot of a line without length
    return "".join(f"M{x:g} {y:g}h0" for x, y in np.round(line, 1).tolist())


def svg_cell(
    strokes: Iterable[Stroke], aspect: float, height: float, note: str = "", over_picture: bool = False
) -> str:
    """One cell as an SVG of its own; what leaves the cell is cut off.

    Args:
        note: words in the middle of a cell that shows nothing.
    """
    words = ""
    if note:
        words = (
            f'<text x="{aspect * height / 2:.0f}" y="{height / 2:.0f}" text-anchor="middle">'
            f"{markup.text(note)}</text>"
        )
    return (
        f'<svg viewBox="0 0 {aspect * height:.1f} {height:g}" aria-hidden="true">'
        f"{svg_paths(strokes, height, over_picture)}{words}</svg>"
    )


def draw(
    axes: Any,
    strokes: Sequence[Stroke],
    box: tuple[float, float, float, float],
    clip: Any,
    over_picture: bool = False,
) -> None:
    """Draw a cell into axes that count pixels.

    Args:
        box: left, top, width, height of the cell.
        clip: a patch that cuts off what leaves the cell.
    """
    left, top, _, height = box
    point = 0.72  # of a pixel, where an inch has 100 pixels and 72 points
    for stroke in strokes:
        lines = [line * height + (left, top) for line in stroke.lines if len(line)]
        if not lines:
            continue
        gap = np.full((1, 2), np.nan)
        path = np.concatenate([part for line in lines for part in (line, gap)])
        width = pixels(stroke.width, height) * point
        colour = COLOURS[stroke.colour][1] if over_picture else light(stroke.colour)
        layers = [(HALO, width + 1.6 * point, 0.5)] if over_picture else []
        for paint, wide, opacity in [*layers, (colour, width, stroke.opacity)]:
            style = (
                {"linestyle": "none", "marker": "o", "markersize": wide, "markeredgewidth": 0}
                if stroke.dots
                else {"linewidth": wide, "solid_capstyle": "round", "solid_joinstyle": "round"}
            )
            (drawn,) = axes.plot(path[:, 0], path[:, 1], color=paint, alpha=opacity, **style)
            drawn.set_clip_path(clip)
