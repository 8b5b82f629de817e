"""Pieces of the page. Everything here takes plain text and escapes it."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL_HEIGHT = 112  # pixels
_JOINTS = re.compile(r"(?<=[./_])(?=\w)")


def text(raw: object) -> str:
    """Escaped for any place in the page."""
    escaped = html.escape(str(raw), quote=True).replace("\0", "\N{REPLACEMENT CHARACTER}")
    return without_addresses(escaped)


def without_addresses(markup: str) -> str:
    """Addresses written so that a reader sees them unchanged, but no search of the file finds one.

    The promise "no third-party address" can then be checked in the bytes.
    """
    return markup.replace("://", ":&#47;&#47;")


def name(raw: str) -> str:
    """A name from the data: kept apart from the direction of the text around it."""
    return f"<bdi>{text(raw)}</bdi>" if raw.strip() else "<bdi><i>(blank)</i></bdi>"


def anchor(*words: str) -> str:
    """An id made of any words; different words give different ids.

    >>> anchor("test", "hand shape")
    'test-hand_20_shape'
    """
    return "-".join(
        "".join(letter if letter.isascii() and letter.isalnum() else f"_{ord(letter):x}_" for letter in word)
        for word in words
    )


def meter(share: float, kind: str = "first") -> str:
    """A thin bar from 0 to 1; nothing for NaN."""
    if not np.isfinite(share):
        return ""
    return f'<span class="meter {kind}" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i></span>'


def ruler(value: float, interval: Sequence[float] | None, baseline: float | None, label: str) -> str:
    """A line from 0 to 100 % with the interval, the figure and the baseline marked."""
    parts = []
    if interval is not None:
        low, high = interval
        parts.append(f'<i class="range" style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>')
    if baseline is not None:
        parts.append(f'<i class="base" style="left:{100 * baseline:.2f}%"></i>')
    parts.append(f'<i class="dot" style="left:{100 * value:.2f}%"></i>')
    return f'<div class="ruler" role="img" aria-label="{text(label)}">{"".join(parts)}</div>'


def facts(told: Iterable[tuple[str, object]]) -> str:
    """What a page is about, in a few words each; "" of nothing."""
    items = "".join(f"<div><dt>{text(key)}</dt><dd>{text(what)}</dd></div>" for key, what in told)
    return f'<dl class="facts">{items}</dl>' if items else ""


def notes(lines: Iterable[str], label: str) -> str:
    """What a reader must not overlook; "" of nothing.

    Args:
        label: for screen readers.
    """
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f'<aside class="notes" aria-label="{text(label)}"><ul>{items}</ul></aside>' if items else ""


def figure(svg: str, caption: str = "", wide: bool = False) -> str:
    """A drawing with its caption; a wide one scrolls sideways on a small screen."""
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    style = ' class="wide"' if wide else ""
    return f'<figure{style}><div class="drawing">{svg}</div>{below}</figure>'


def table(
    headings: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[tuple[str, Any]]],
    *,
    caption: str,
    sortable: bool = False,
    tall: bool = False,
) -> str:
    """A table.

    Args:
        headings: (text, "text" | "number" | "bar") of each column; where there is little room they break at spaces
            and after the joints of a setting's name.
        rows: cells as (HTML, what to sort by; None is the HTML itself).
        caption: for screen readers.
        tall: scrolls within itself on a screen.
    """
    head = "".join(
        f'<th scope="col" class="{kind}">{_JOINTS.sub("<wbr>", text(words))}</th>' for words, kind in headings
    )
    body = []
    for row in rows:
        cells = []
        for (cell, key), (_, kind) in zip(row, headings, strict=True):
            sort_by = "" if key is None else f' data-key="{text(key)}"'
            cells.append(f'<td class="{kind}"{sort_by}>{cell}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    kind = ' class="sortable"' if sortable else ""
    inner = (
        f'<table{kind}><caption class="unseen">{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )
    frame = "scroll tall" if tall else "scroll"
    return f'<div class="{frame}" role="region" tabindex="0" aria-label="{text(caption)}">{inner}</div>'


def jpeg(frame: NDArray[np.uint8], height: int = THUMBNAIL_HEIGHT) -> str:
    """A picture [H, W, 3] as an address within the page, at most `height` pixels high."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(frame, dtype=np.uint8))
    height = min(height, picture.height)
    width = max(1, round(picture.width * height / picture.height))
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    return _address(small, "JPEG", quality=82, optimize=True)


def png(values: NDArray[np.uint8]) -> str:
    """A picture [H, W, 3 or 4] as an address within the page, as it is."""
    from PIL import Image

    return _address(Image.fromarray(np.ascontiguousarray(values, dtype=np.uint8)), "PNG")


def _address(picture: Image, form: str, **options: Any) -> str:
    sink = io.BytesIO()
    picture.save(sink, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(sink.getvalue()).decode()}"


def recipe(raw: str) -> str:
    """YAML, its keys and comments told apart by shade."""
    lines = []
    for line in raw.rstrip().splitlines():
        body, mark, comment = line.partition("#") if line.lstrip().startswith("#") else (line, "", "")
        key, colon, value = body.partition(":")
        if mark:
            lines.append(f'{text(body)}<span class="comment">{text(mark + comment)}</span>')
        elif colon and all(letter.isalnum() or letter in " _-./" for letter in key):
            lines.append(f'<span class="key">{text(key)}</span>{text(colon + value)}')
        else:
            lines.append(text(line))
    return f'<pre tabindex="0"><code>{chr(10).join(lines)}</code></pre>'
