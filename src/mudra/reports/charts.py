"""Drawing: one style for all pictures, as files (PNG) and as parts of a page (SVG).

matplotlib is imported when something is drawn, never before, and without its global state (pyplot).
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from mudra.files import replace_file
from mudra.reports.markup import without_addresses
from mudra.reports.palette import COLOURS, light, rgb

# Beside matplotlib's own font, where installed: scripts that it lacks.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans Devanagari",
    "Noto Sans Arabic",
    "Hiragino Sans",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)
DPI = 160
LABELS_UP_TO = 40  # classes whose names fit along a heat map
COUNTS_UP_TO = 30  # classes whose cells can hold a number
LABEL_LENGTH = 30


@contextmanager
def drawing() -> Iterator[Any]:
    """Yields matplotlib's Figure class, with mudra's style in force."""
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    known = set(font_manager.get_font_names())
    style = {
        "font.family": [name for name in FONTS if name in known] or ["sans-serif"],
        "font.size": 9.0,
        "text.color": light("ink"),
        "text.parse_math": False,  # a class may be called "$5 & $6"
        "axes.edgecolor": light("line"),
        "axes.facecolor": "none",
        "axes.labelcolor": light("muted"),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.0,
        "axes.titleweight": "bold",
        "axes.titlepad": 10.0,
        "axes.unicode_minus": True,
        "grid.color": light("line"),
        "grid.linewidth": 0.8,
        "xtick.color": light("line"),
        "ytick.color": light("line"),
        "xtick.labelcolor": light("muted"),
        "ytick.labelcolor": light("muted"),
        "lines.linewidth": 1.9,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "legend.labelcolor": light("muted"),
        "figure.facecolor": "none",
        "svg.fonttype": "none",  # text stays text: searchable, and in the reader's own font
        "svg.hashsalt": "mudra",
    }
    with warnings.catch_warnings(), matplotlib.rc_context(style):
        # A picture with an empty box for a rare letter is better than no picture.
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield Figure


def save_png(figure: Any, path: Path) -> None:
    """Write a picture on light paper; the same drawing gives the same bytes.

    Raises:
        OutputError: the file could not be written.
    """
    replace_file(path, png_bytes(figure))


def png_bytes(figure: Any, tight: bool = True) -> bytes:
    """A picture on light paper, as a file's content.

    Args:
        tight: cut the margins to what is drawn.
    """
    sink = io.BytesIO()
    margins = {"bbox_inches": "tight", "pad_inches": 0.15} if tight else {}
    figure.savefig(
        sink, format="png", dpi=DPI, facecolor=light("paper"), metadata={"Software": None}, **margins
    )
    return sink.getvalue()


def to_svg(figure: Any, title: str, tight: bool = True) -> str:
    """A drawing as an element of a page: colours are the page's variables, fonts are the reader's.

    Args:
        title: what a screen reader says in place of the picture.
        tight: cut the margins to what is drawn; else drawings of one size stay of one size.
    """
    sink = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    margins = {"bbox_inches": "tight", "pad_inches": 0.04} if tight else {}
    figure.savefig(sink, format="svg", metadata=nothing, **margins)
    root = ElementTree.fromstring(sink.getvalue())
    _clean(root, prefix=f"s{zlib.crc32(title.encode(errors='replace')):x}")  # ids are unique in a page
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", title)
    width = float(root.attrib["viewBox"].split()[2])
    root.set("style", f"max-width: {width * 96 / 72 * 1.12:.0f}px")
    return without_addresses(ElementTree.tostring(root, encoding="unicode"))


def _clean(root: ElementTree.Element, prefix: str) -> None:
    """Strip what only a stand-alone SVG needs (name spaces, metadata, page-wide styles); rename ids."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    used = set(re.findall(r"#([A-Za-z][\w-]*)", ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        values = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if values.get("id") not in used:
            values.pop("id", None)
        element.attrib.clear()
        for key, value in values.items():
            element.set(key, _page_value(key, value, prefix))


def _page_value(key: str, value: str, prefix: str) -> str:
    """An attribute as it should stand in a page."""
    if key == "id":
        return prefix + value
    if key == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    if key == "clip-path":
        return value.replace("url(#", f"url(#{prefix}")
    if key == "style":
        value = re.sub(r"font-family:[^;]*;?", "", value)
        value = re.sub(r"font:\s*(?:\w+\s+)*?(bold|[67]00)?\s*([\d.]+px)[^;]*", _font, value)
        for name, pair in COLOURS.items():
            value = value.replace(pair[0], f"var(--{name})")
    return value


def _font(found: re.Match[str]) -> str:
    """A font's size and weight, without its family."""
    return f"font-size: {found[2]}" + ("; font-weight: 600" if found[1] else "")


def short(name: str, length: int = LABEL_LENGTH) -> str:
    """A class name that fits beside an axis: one line, printable, not too long.

    >>> short("a  very\\nlong name", 8)
    'a very …'
    """
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    line = " ".join(printable.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def confusion_figure(figure_class: Any, counts: NDArray[np.int64], classes: Sequence[str]) -> Any:
    """A heat map [C, C]: right answers in one colour, wrong ones in another, so that errors stand out.

    The strength of a cell is its share of the clips of its true class. Names are written for up to
    40 classes, numbers for up to 30.
    """
    number = len(classes)
    side = float(np.clip(0.36 * number, 2.2, 8.0)) if number <= LABELS_UP_TO else 6.4
    figure = figure_class(figsize=(side, side))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(_heat(counts), interpolation="none", interpolation_stage="rgba")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.tick_params(length=0)
    size = 8.5 if number <= 20 else 7.0
    if number <= LABELS_UP_TO:
        names = [short(name) for name in classes]
        axes.set_xticks(range(number), names, rotation=90, fontsize=size, color=light("ink"))
        axes.set_yticks(range(number), names, fontsize=size, color=light("ink"))
        axes.set_xticks(np.arange(0.5, number - 1), minor=True)
        axes.set_yticks(np.arange(0.5, number - 1), minor=True)
        axes.grid(True, which="minor", linewidth=0.5)
        axes.tick_params(which="minor", length=0)
    axes.set_xlabel("answer" if number <= LABELS_UP_TO else "answer (class number)", fontsize=9)
    axes.set_ylabel("truth" if number <= LABELS_UP_TO else "truth (class number)", fontsize=9)
    if number <= COUNTS_UP_TO:
        _write_counts(axes, counts, size=9.0 if number <= 12 else 6.0)
    return figure


def _heat(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Colours of the cells, [C, C, 4] in 0..1; how opaque a cell is tells its share of the row."""
    number = len(counts)
    diagonal = np.eye(number, dtype=bool)
    heat = np.empty((number, number, 4))
    heat[..., :3] = np.where(diagonal[..., None], rgb("right") / 255, rgb("wrong") / 255)
    heat[..., 3] = _strength(counts)
    return heat


def _strength(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares of the rows, lifted so that a single error among many clips can still be seen."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.where(counts > 0, np.maximum(share**0.7, 0.10), 0.0)


def _write_counts(axes: Any, counts: NDArray[np.int64], size: float) -> None:
    strength = _strength(counts)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "#fefefe" if strength[row, column] > 0.6 else light("ink")
        axes.text(
            column,
            row,
            f"{counts[row, column]}",
            ha="center",
            va="center",
            fontsize=size,
            color=colour,
            in_layout=False,  # it lies within the cells: no need to measure it
        )


def reliability_figure(
    figure_class: Any,
    clips: NDArray[np.int64],
    confidence: NDArray[np.float64],
    accuracy: NDArray[np.float64],
) -> Any:
    """Calibration: how often answers of a confidence are right (bars), and how many clips have it."""
    figure = figure_class(figsize=(4.4, 3.9))
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3.2, 1], "hspace": 0.14})
    bins = len(clips)
    middle = (np.arange(bins) + 0.5) / bins
    filled = clips > 0
    upper.bar(middle[filled], accuracy[filled], 0.92 / bins, color=light("bar"))
    upper.plot([0, 1], [0, 1], color=light("faint"), linestyle=(0, (4, 3)), linewidth=1.3)
    area = 18 + 110 * clips[filled] / max(clips.max(), 1)  # a dot of few clips weighs little
    upper.scatter(confidence[filled], accuracy[filled], area, color=light("first"), zorder=3, linewidth=0)
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    lower.bar(middle, clips, 0.92 / bins, color=light("faint"))
    lower.set(xlabel="confidence of the answer", ylabel="clips")
    lower.yaxis.get_major_locator().set_params(nbins=3, integer=True)
    for axes in (upper, lower):
        axes.tick_params(length=0)
        axes.xaxis.grid(False)
        axes.xaxis.set_major_formatter(_percent)
    upper.yaxis.set_major_formatter(_percent)
    return figure


def _percent(share: float, _: Any = None) -> str:
    return f"{100 * share:.0f} %"
