"""Clips as one picture: a title and a few facts, then rows of moments along time.

matplotlib draws it on one pair of axes that counts pixels, so that everything stands where it is put.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.reports import charts, wording
from mudra.reports.clip_view import ClipView
from mudra.reports.palette import light
from mudra.reports.strips import Cell, Series, Strip, aspect_of, rows_of
from mudra.reports.strokes import draw

WIDTH = 1200.0  # pixels; a file holds charts.DPI / 100 times as many
MARGIN, GAP = 44.0, 8.0
BETWEEN = 52.0  # of one clip and the next
CELL_HEIGHTS = (30.0, 300.0)  # lowest and highest cell
CELL_SIDE = 165.0  # of a square cell
CELLS = (5, 10)
GUTTER = 36.0  # between the columns of an overview
COLUMN = (WIDTH - 2 * MARGIN - GUTTER) / 2
CARD_HEIGHTS = (76.0, 170.0)
SEEN, LANE = 17.0, 26.0  # height of a line of "seen", and of a channel of a series

Box = tuple[float, float, float, float]
Draw = Callable[["Canvas", float], None]


def cells_for(aspect: float) -> int:
    """How many moments of a shape fill a row well."""
    return int(np.clip((WIDTH - 2 * MARGIN) / (CELL_SIDE * aspect**0.5 + GAP), *CELLS))


def clips_png(views: Sequence[ClipView], cells: int | None = None) -> bytes:
    """Clips, one below the other, as a PNG picture; the same clips give the same bytes.

    Args:
        cells: moments in a row; None takes as many as fill it well.
    """
    blocks: list[Block] = []
    for view in views:
        if blocks:
            blocks.append(Block(BETWEEN, lambda canvas, top: None))
        blocks += _clip_blocks(view, cells)
    return _drawn(blocks)


@dataclass
class Block:
    """Something on the sheet: how high it is, and what draws it from its upper edge on."""

    height: float
    draw: Draw


@dataclass
class Card:
    """As a block, in a column of its own: told its left edge too."""

    height: float
    draw: Callable[[Canvas, float, float], None]


@dataclass
class Canvas:
    """Axes that count pixels from the upper left corner."""

    axes: Any

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 12.0,
        colour: str = "ink",
        align: str = "left",
        **style: Any,
    ) -> Any:
        """Words on one line; y is where their letters stand."""
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
        return self.axes.text(
            x, y, line, fontsize=size * 0.72, color=light(colour), ha=align, va="baseline", **style
        )

    def panel(self, box: Box, colour: str = "void", radius: float = 5.0) -> Any:
        """A rectangle with round corners; also what a picture or figure is cut to."""
        from matplotlib.patches import FancyBboxPatch

        left, top, width, height = box
        patch = FancyBboxPatch(
            (left, top),
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={radius}",
            linewidth=0,
            color=light(colour),
        )
        self.axes.add_patch(patch)
        return patch

    def picture(self, values: NDArray[np.uint8], box: Box, clip: Any = None, smooth: bool = True) -> None:
        left, top, width, height = box
        image = self.axes.imshow(
            values,
            extent=(left, left + width, top + height, top),
            interpolation="lanczos" if smooth else "nearest",
            interpolation_stage="rgba",
            aspect="auto",
            zorder=1.5,
        )
        image.set_clip_path(clip)


def _drawn(blocks: Sequence[Block]) -> bytes:
    height = sum(block.height for block in blocks) + 2 * MARGIN
    with charts.drawing() as figure_class:
        figure = figure_class(figsize=(WIDTH / 100, height / 100), dpi=charts.DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(height, 0), autoscale_on=False)
        axes.set_axis_off()
        canvas, top = Canvas(axes), MARGIN
        for block in blocks:
            block.draw(canvas, top)
            top += block.height
        return charts.png_bytes(figure, tight=False)


def _clip_blocks(view: ClipView, cells: int | None) -> list[Block]:
    rows = rows_of(view, cells or cells_for(aspect_of(view)))
    blocks = [_title(view)]
    for row in rows:
        blocks += [_heading(row), _strip(row) if isinstance(row, Strip) else _series(row)]
        if isinstance(row, Strip) and row.gaps:
            blocks.append(_seen(row))
    return blocks


def overview_png(views: Mapping[str, ClipView], cells: int, name: str, task: str, note: str) -> bytes:
    """One clip of each class, in two columns.

    Args:
        views: by the name of the class.
        note: what is not shown.
    """

    def put(canvas: Canvas, top: float) -> None:
        canvas.text(MARGIN, top + 20, charts.short(name, 70), 24, weight="bold")
        canvas.text(MARGIN, top + 46, f"One clip of each {task}. {note}", 13.5, "muted")

    rows = {label: rows_of(view, cells)[0] for label, view in views.items()}
    shapes = [row.aspect for row in rows.values() if isinstance(row, Strip)]
    cell = (COLUMN + 4) / cells - 4
    height = float(np.clip(cell / np.median(shapes), *CARD_HEIGHTS)) if shapes else CARD_HEIGHTS[0]
    cards = [_card(label, views[label].clip.id, row, (cell, height)) for label, row in rows.items()]
    pairs = [cards[number : number + 2] for number in range(0, len(cards), 2)]
    return _drawn([Block(58, put), *(_side_by_side(pair) for pair in pairs)])


def _side_by_side(cards: Sequence[Card]) -> Block:
    height = max(card.height for card in cards)

    def put(canvas: Canvas, top: float) -> None:
        for number, card in enumerate(cards):
            card.draw(canvas, MARGIN + number * (COLUMN + GUTTER), top)

    return Block(height, put)


def _card(label: str, clip: str, row: Strip | Series, size: tuple[float, float]) -> Card:
    """The class, the clip, and the first of its rows in cells of one size."""
    width, height = size

    def put(canvas: Canvas, left: float, top: float) -> None:
        title = canvas.text(left, top + 26, charts.short(label, 42), 13.5, weight="bold")
        canvas.text(_right_edge(title) + 9, top + 26, charts.short(clip, 24), 11.5, "muted")
        if isinstance(row, Series):
            _lanes(canvas, row, (left, top + 36, COLUMN, height))
            return
        for number, each in enumerate(row.cells):
            _cell(canvas, row, each, (left + number * (width + 4), top + 36, width, height))

    return Card(height + 44, put)


def _title(view: ClipView) -> Block:
    def put(canvas: Canvas, top: float) -> None:
        canvas.text(MARGIN, top + 20, charts.short(view.clip.id, 70), 24, weight="bold")
        canvas.text(MARGIN, top + 46, wording.clip_facts(view.clip, view.seconds), 13.5, "muted")

    return Block(58, put)


def _heading(row: Strip | Series) -> Block:
    def put(canvas: Canvas, top: float) -> None:
        title = canvas.text(MARGIN, top + 31, row.title, 14, weight="bold")
        canvas.text(_right_edge(title) + 10, top + 31, row.detail, 12, "muted")
        right = WIDTH - MARGIN
        for colour, words in reversed(row.legend if isinstance(row, Strip) else ()):
            label = canvas.text(right, top + 31, words, 12, "muted", "right")
            right -= label.get_window_extent().width / label.figure.dpi * 100 + 9
            canvas.axes.plot(right, top + 27, "o", color=light(colour), markersize=6.4, markeredgewidth=0)
            right -= 18

    return Block(42, put)


def _right_edge(words: Any) -> float:
    return float(words.get_window_extent().x1 / words.figure.dpi * 100)


def _strip(row: Strip) -> Block:
    width = (WIDTH - 2 * MARGIN + GAP) / max(len(row.cells), CELLS[0]) - GAP
    height = float(np.clip(width / row.aspect, *CELL_HEIGHTS))

    def put(canvas: Canvas, top: float) -> None:
        for number, cell in enumerate(row.cells):
            left = MARGIN + number * (width + GAP)
            _cell(canvas, row, cell, (left, top, width, height))
            canvas.text(left + width / 2, top + height + 17, f"{cell.time:.2f} s", 11, "muted", "center")

    return Block(height + 24, put)


def _cell(canvas: Canvas, row: Strip, cell: Cell, box: Box) -> None:
    """A panel with the cell in its middle, in the cell's own shape."""
    left, top, width, height = box
    panel = canvas.panel(box)
    inner = min(height, width / row.aspect)
    own = (left + (width - inner * row.aspect) / 2, top + (height - inner) / 2, inner * row.aspect, inner)
    if cell.picture is not None:
        canvas.picture(cell.picture, own, panel)
    draw(canvas.axes, cell.strokes, own, panel, row.over_picture)
    if cell.note:
        canvas.text(left + width / 2, top + height / 2 + 4, cell.note, 11, "faint", "center")


def _seen(row: Strip) -> Block:
    """By part, a line along time that is filled where it was seen, and how often that was."""
    labels = 104.0

    def put(canvas: Canvas, top: float) -> None:
        left, width = MARGIN + labels, WIDTH - 2 * MARGIN - labels - 56
        for number, (part, flags) in enumerate(row.seen.items()):
            middle = top + 12 + number * SEEN
            canvas.text(MARGIN, middle + 4, charts.short(part.replace("_", " "), 17), 11, "muted")
            canvas.text(WIDTH - MARGIN, middle + 4, f"{100 * flags.mean():.0f} %", 11, "muted", "right")
            canvas.panel((left, middle - 2.5, width, 5), "track", 2.5)
            edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0)) / len(flags) * width
            for start, stop in zip(edges[::2], edges[1::2], strict=True):
                canvas.panel(
                    (left + start, middle - 2.5, stop - start, 5), "bar", min(2.5, (stop - start) / 2)
                )

    return Block(len(row.seen) * SEEN + 12, put)


def _series(row: Series) -> Block:
    height = LANE * len(row.lanes) if row.map is None else float(np.clip(4 * len(row.map), 90, 320))

    def put(canvas: Canvas, top: float) -> None:
        box = (MARGIN, top, WIDTH - 2 * MARGIN, height)
        left, width = MARGIN, WIDTH - 2 * MARGIN
        if row.map is None:
            left, width = left + 34, width - 34 - 132
            canvas.panel(box)
            for number, (low, high) in enumerate(row.bounds):
                middle = top + (number + 0.5) * LANE + 4
                canvas.text(MARGIN + 20, middle, f"{number + 1}", 11, "muted", "right")
                canvas.text(WIDTH - MARGIN - 10, middle, f"{low:.3g} to {high:.3g}", 11, "muted", "right")
        _lanes(canvas, row, (left, top, width, height))
        for place, align in ((0.0, "left"), (0.5, "center"), (1.0, "right")):
            words = f"{place * row.seconds:.2f} s"
            canvas.text(left + place * width, top + height + 17, words, 11, "muted", align)

    return Block(height + 24, put)


def _lanes(canvas: Canvas, row: Series, box: Box) -> None:
    left, top, width, height = box
    panel = canvas.panel(box)
    if row.map is not None:
        canvas.picture(row.map, box, panel, smooth=False)
    for lane in row.lanes:
        line = lane.lines[0] * (width, height) + (left, top)
        canvas.axes.plot(line[:, 0], line[:, 1], color=light(lane.colour), linewidth=1.2)
