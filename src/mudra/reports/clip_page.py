"""Clips as a page: each plays, and below it stand its moments in rows, as in `clip_sheet`.

Pictures are JPEG within the page; figures are SVG and follow the reader's light or dark setting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.clips import points as body
from mudra.reports import markup, page, poses, wording
from mudra.reports.clip_view import ClipView
from mudra.reports.palette import COLOURS
from mudra.reports.strips import Cell, Series, Strip, figure_of, rows_of
from mudra.reports.strokes import line_path, svg_cell

FRAMES = 120  # moments of points that play
PLAYER, CARD, STRIP = 288, 160, 176  # heights of pictures, in pixels
CELL = 110.0  # height of a cell, in its own units
LANE = 22.0


def clips_page(views: Sequence[ClipView], cells: int, name: str) -> str:
    """The page of one or several clips.

    Args:
        cells: moments in a row.
        name: of the data set.
    """
    title = views[0].clip.id if len(views) == 1 else f"{len(views)} clips of {name}"
    links = [
        f'<a href="#{markup.anchor("clip", view.clip.id)}">{markup.name(view.clip.id)}</a>' for view in views
    ]
    return page.fill(
        brand=f"mudra clip{'s' if len(views) > 1 else ''}",
        title=markup.text(title),
        lead=f"<p>{markup.text(wording.clip_facts(views[0].clip, views[0].seconds))}</p>"
        if len(views) == 1
        else "",
        nav=f'<nav aria-label="Clips">{"".join(links)}</nav>' if len(views) > 1 else "",
        body="".join(_clip(view, cells, headed=len(views) > 1) for view in views),
        script="player.js",
    )


def overview_page(views: Mapping[str, ClipView], name: str, task: str, note: str) -> str:
    """One clip of each class, all of them playing.

    Args:
        views: by the name of the class.
        note: what is not shown.
    """
    films = {label: film_of(view, CARD) for label, view in views.items()}
    shapes = [film["aspect"] for film in films.values() if film]
    shape = float(np.clip(np.median(shapes), 0.8, 1.6)) if shapes else 1.0
    cards = "".join(
        f"<li>{_card_film(view, films[label], shape)}"
        f"<p>{markup.name(label)}<small>{markup.name(view.clip.id)}</small></p></li>"
        for label, view in views.items()
    )
    return page.fill(
        brand="mudra data",
        title=markup.text(name),
        lead=f"<p>One clip of each {markup.text(task)}. {markup.text(note)}</p>",
        body=f'<section><ul class="films">{cards}</ul></section>',
        script="player.js",
    )


def strip_markup(row: Strip | Series, label: str, shape: float | None = None) -> str:
    """A row without its words, small: for the report's hardest clips.

    Args:
        shape: width by height of its cells, where they should all be of one; else the row's own.
    """
    if isinstance(row, Series):
        return _lanes(row, label)
    cells = "".join(_cell(row, cell, markup.THUMBNAIL_HEIGHT, shape) for cell in row.cells)
    return f'<div class="strip" role="img" aria-label="{markup.text(label)}">{cells}</div>'


def _clip(view: ClipView, cells: int, headed: bool) -> str:
    rows = rows_of(view, cells)
    heading = ""
    if headed:
        facts = markup.text(wording.clip_facts(view.clip, view.seconds))
        heading = f"<h2>{markup.name(view.clip.id)} <small>{facts}</small></h2>"
    seen = "".join(_seen(row.seen) for row in rows if isinstance(row, Strip) and row.seen)
    beside = f"{_about(view)}{f'<h3>Seen</h3>{seen}' if seen else ''}"
    film = _watch(view)
    watch = f'<div class="watch">{film}<div>{beside}</div></div>' if film else beside
    return (
        f'<section class="clip" id="{markup.anchor("clip", view.clip.id)}">{heading}{watch}'
        f"{''.join(map(_row, rows))}</section>"
    )


def _about(view: ClipView) -> str:
    """What is known of a clip, a line each."""
    clip = view.clip
    known = [*clip.labels.items(), ("split", wording.split_name(clip.split)), ("group", clip.group)]
    known += [("lasts", f"{view.seconds:.2f} s")]
    if clip.start is not None or clip.stop is not None:
        stop = "its end" if clip.stop is None else f"{clip.stop:.2f} s"
        known.append(("part of its file", f"{clip.start or 0:.2f} s to {stop}"))
    known += [(each.name, clip.streams[each.name].name) for each in view.shown]
    known += clip.metadata.items()
    lines = "".join(f"<dt>{markup.name(key)}</dt><dd>{markup.name(what)}</dd>" for key, what in known if what)
    return f'<dl class="about">{lines}</dl>'


def _row(row: Strip | Series) -> str:
    legend = ""
    if isinstance(row, Strip) and row.legend:
        dots = (f'<i style="background:var(--{colour})"></i>{words}' for colour, words in row.legend)
        legend = f'<span class="legend">{"".join(dots)}</span>'
    heading = f"<h3>{markup.text(row.title)} <small>{markup.text(row.detail)}</small>{legend}</h3>"
    if isinstance(row, Series):
        middle = f"{row.seconds / 2:.2f} s"
        axis = f'<div class="axis"><span>0.00 s</span><span>{middle}</span><span>{row.seconds:.2f} s</span></div>'
        return f"{heading}{_lanes(row, row.title)}{axis}"
    cells = "".join(f"<li>{_cell(row, cell, STRIP)}{cell.time:.2f} s</li>" for cell in row.cells)
    return f'{heading}<ol class="moments">{cells}</ol>'


def _cell(row: Strip, cell: Cell, height: int, shape: float | None = None) -> str:
    picture = "" if cell.picture is None else f'<img alt="" src="{markup.jpeg(cell.picture, height)}">'
    drawn = ""
    if cell.strokes or cell.note:
        drawn = svg_cell(cell.strokes, row.aspect, CELL, cell.note, row.over_picture)
    return f'<div class="cell" style="aspect-ratio:{shape or row.aspect:.4g}">{picture}{drawn}</div>'


def _lanes(row: Series, label: str) -> str:
    if row.map is not None:
        inner = f'<img alt="" src="{markup.png(row.map)}">'
        height = float(np.clip(2 * len(row.map), 60, 240))
    else:
        height = max(LANE * len(row.lanes), 40)
        path = "".join(line_path(line * 1000) for lane in row.lanes for line in lane.lines)
        # the drawing is stretched to the room there is, its lines are not
        stroke = 'stroke="var(--fourth)" stroke-width="1.4" vector-effect="non-scaling-stroke"'
        inner = f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none"><path d="{path}" {stroke}/></svg>'
    style = f'style="height:{height:.0f}px"'
    return f'<div class="lanes" role="img" aria-label="{markup.text(label)}" {style}>{inner}</div>'


def _seen(seen: Mapping[str, NDArray[np.bool_]]) -> str:
    """By part, a line along the clip that is filled where it was seen, and how often that was."""
    lines = []
    for part, flags in seen.items():
        edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
        bars = "".join(
            f'<rect x="{start}" width="{stop - start}" height="1"/>'
            for start, stop in zip(edges[::2], edges[1::2], strict=True)
        )
        words = part.replace("_", " ")
        lines.append(
            f"<dt>{markup.text(words)}</dt>"
            f'<svg viewBox="0 0 {len(flags)} 1" preserveAspectRatio="none" aria-hidden="true">{bars}</svg>'
            f"<dd>{100 * flags.mean():.0f} %</dd>"
        )
    return f'<dl class="seen">{"".join(lines)}</dl>'


def _watch(view: ClipView) -> str:
    """The clip, playing, with controls."""
    film = film_of(view, PLAYER)
    if film is None:
        return ""
    controls = (
        ""
        if len(film["times"]) < 2
        else (
            '<div class="controls"><button type="button" aria-label="play">▶</button>'
            '<input type="range" min="0" value="0" aria-label="moment"><output></output></div>'
        )
    )
    width = min(25.0, 27 * film["aspect"])
    return f'<div class="film" style="width:{width:.4g}rem">{_player(view, film)}{controls}</div>'


def _card_film(view: ClipView, film: Mapping[str, Any] | None, shape: float) -> str:
    """A small film in a card of some shape; the first of the rows where nothing plays."""
    if film is None:
        inner = strip_markup(rows_of(view, 1)[0], f"Clip {view.clip.id}")
    else:
        inner = _player(view, film, width=min(1.0, film["aspect"] / shape))
    return f'<div class="film" style="aspect-ratio:{shape:.4g}">{inner}</div>'


def _player(view: ClipView, film: Mapping[str, Any], width: float = 1.0) -> str:
    """A canvas that the page's script draws on."""
    turns = any(figure["deep"] for figure in film["figures"])
    label = markup.text(f"Clip {view.clip.id}, playing" + ("; drag to turn the figure" if turns else ""))
    told = markup.text(json.dumps(film, separators=(",", ":")))
    shape = f"aspect-ratio:{film['aspect']};width:{100 * width:.4g}%"
    turning = ' class="turns"' if turns else ""
    return f'<canvas{turning} role="img" aria-label="{label}" style="{shape}" data-film="{told}"></canvas>'


def film_of(view: ClipView, height: int) -> dict[str, Any] | None:
    """The plain values of a film; None where there is nothing but series, or no point was seen."""
    points, pictures = view.of_kind("points"), _ground(view)
    if pictures:
        drawn = [each for each in points if view.picture_size(each)]
        times, aspect = view.moments, pictures[0].shape[1] / pictures[0].shape[0]
    elif points and body.seen(points[0].stream.values).any():
        drawn = points[:1]
        times = points[0].stream.times
        times = times[np.linspace(0, len(times) - 1, min(len(times), FRAMES)).astype(int)]
        aspect = figure_of(view, points[0], False).view.aspect
    else:
        return None
    over = bool(pictures)
    return {
        "aspect": round(aspect, 4),
        "times": [round(time, 3) for time in (times - times[0]).tolist()],
        "pictures": [markup.jpeg(picture, height) for picture in pictures],
        "figures": [_figure(figure_of(view, each, over), each.nearest(times), over) for each in drawn],
    }


def _ground(view: ClipView) -> list[NDArray[np.uint8]]:
    """The pictures of a film: the video's; where there are no points either, those of depth or mask."""
    videos = view.of_kind("video")
    if videos:
        return list(videos[0].stream.values)
    if view.of_kind("points"):
        return []
    strips = [row for row in rows_of(view, len(view.moments)) if isinstance(row, Strip)]
    return [cell.picture for cell in strips[0].cells if cell.picture is not None] if strips else []


def _figure(figure: poses.Figure, numbers: NDArray[np.int64], over_picture: bool) -> dict[str, Any]:
    """A figure's lines, dots, and where its points are: x, y and z in thousandths of the cell's height."""
    place_TKC = figure.deep_places(numbers)
    places = np.round(np.clip(place_TKC, -9, 9) * 1000).reshape(-1).tolist()
    paint = (lambda name: COLOURS[name][1]) if over_picture else str
    return {
        "rows": len(figure.layout),
        "deep": not over_picture and figure.points_TKC.shape[2] > 2,
        "lines": [[paint(c), w, rows] for c, w, chains in figure.chains for rows in chains],
        "dots": [[paint(c), w, rows] for c, w, rows in figure.dots],
        "xyz": [None if np.isnan(place) else int(place) for place in places],
    }
