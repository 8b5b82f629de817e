"""Small pictures of clips, for the report's hardest clips."""

from __future__ import annotations

from mudra.datasets.opening import open_data
from mudra.errors import MudraError
from mudra.reports.clip_page import strip_markup
from mudra.reports.clip_view import read_view
from mudra.reports.detail import Thumbnails
from mudra.reports.strips import Series, Strip, rows_of
from mudra.training.run_folder import RunFolder

FRAMES, FIGURES = 5, 4  # cells of a row, where there is a video and where there is none
ROWS = 2  # of one clip
SHAPE = 1.0  # of a figure's cell: the cards of a report are of one height


def thumbnails_of(run: RunFolder, location: str | None) -> Thumbnails:
    """A function from a clip's id to a small picture of what the model saw, as HTML; "" where there is none.

    Points are drawn over the video where the data has one, whether the model saw it or not.
    """
    try:
        recipe, manifest = open_data(run.read_recipe(), location)
    except MudraError:
        return lambda _clip: ""
    row_of: dict[str, int] = {clip: row for row, clip in enumerate(manifest.ids.to_pylist())}
    names = [name for name in recipe.clip.streams if name in manifest.streams]
    if any(manifest.streams[name].kind == "points" for name in names):
        names += [
            name for name, info in manifest.streams.items() if info.kind == "video" and name not in names
        ]
    streams = {name: manifest.streams[name] for name in names}
    cells = FRAMES if any(info.kind == "video" for info in streams.values()) else FIGURES

    def picture(clip: str) -> str:
        if clip not in row_of:
            return ""
        shown = manifest[row_of[clip]]
        if not any(name in shown.streams for name in streams):
            return ""
        rows = rows_of(read_view(shown, streams, cells), cells)[:ROWS]
        return "".join(strip_markup(row, f"{row.title} of clip {clip}", _shape(row)) for row in rows)

    return picture


def _shape(row: Strip | Series) -> float | None:
    return SHAPE if isinstance(row, Strip) and not row.over_picture else None
