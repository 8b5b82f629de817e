"""A clip as rows of pictures along time: what stands in each cell, whatever it is drawn on.

One row for the video with the points that lie in it, one for each other stream of points, one for depth, one for the
mask; and the series as lines. `clip_sheet` draws rows into a picture, `clip_page` writes them into a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mudra.clips import points as body
from mudra.clips.layouts import PointLayout
from mudra.reports import palette, poses
from mudra.reports.clip_view import PICTURES, ClipView, Shown
from mudra.reports.strokes import Stroke

Picture = NDArray[np.uint8]

LANES = 16  # channels of a series up to which each is a line of its own
COLUMNS = 240  # moments of a series that is shown as a map


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One moment of a row.

    Attributes:
        time: seconds from the clip's first frame.
        picture: uint8 RGB or RGBA [H, W, C], or None where strokes stand alone.
        note: words in place of what there is not to see.
    """

    time: float
    picture: Picture | None = None
    strokes: Sequence[Stroke] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """One row of cells.

    Attributes:
        title, detail: what it is, and a few facts.
        aspect: width by height of a cell.
        legend: (colour of the palette, words).
        seen: by part of the body, whether it was seen at each moment of the clip.
    """

    title: str
    detail: str
    aspect: float
    cells: Sequence[Cell]
    legend: Sequence[tuple[str, str]] = ()
    seen: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def over_picture(self) -> bool:
        return any(cell.picture is not None for cell in self.cells)

    @property
    def gaps(self) -> bool:
        """Whether some part was not always seen."""
        return not all(flags.all() for flags in self.seen.values())


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The channels of a series, each along time.

    Attributes:
        lanes: one line a channel, in a box that is 1 high and 1 wide from the clip's begin to its end; () where the
            channels are too many for that.
        bounds: lowest and highest value of each channel.
        map: instead of lanes, uint8 RGBA [C, columns]: blue below the channel's mean, orange above.
    """

    title: str
    detail: str
    seconds: float
    lanes: Sequence[Stroke] = ()
    bounds: Sequence[tuple[float, float]] = ()
    map: Picture | None = None


def rows_of(view: ClipView, cells: int) -> list[Strip | Series]:
    """Everything that is shown of a clip, with that many cells in a row: fewer where it has fewer frames."""
    longest = max((each.frames for each in view.shown if each.kind != "series"), default=1)
    chosen = _middles(len(view.moments), min(cells, longest))
    rows: list[Strip | Series] = []
    videos, masks = view.of_kind("video"), view.of_kind("mask")
    over = [points for points in view.of_kind("points") if view.picture_size(points)]
    rows += [_video(view, video, over, chosen) for video in videos]
    rows += [_points(view, points, chosen) for points in view.of_kind("points") if points not in over]
    rows += [_depth(view, depth, chosen) for depth in view.of_kind("depth")]
    rows += [_mask(view, mask, videos, chosen) for mask in masks]
    return rows + [_series(series) for series in view.of_kind("series")]


def aspect_of(view: ClipView) -> float:
    """Width by height of the cells that come first."""
    for each in view.shown:
        if each.kind in PICTURES and (each.kind == "video" or not view.of_kind("points")):
            return float(each.stream.values.shape[2] / each.stream.values.shape[1])
    points = next(iter(view.of_kind("points")), None)
    return figure_of(view, points, False).view.aspect if points else 1.0


def _middles(moments: int, cells: int) -> NDArray[np.int64]:
    """Which of the moments stand in the middle of each cell."""
    return ((np.arange(cells) + 0.5) / cells * moments).astype(np.int64)


def figure_of(view: ClipView, points: Shown, over_video: bool) -> poses.Figure:
    """How the points of a clip are drawn: over its video, or in a cell that they fill."""
    values = points.stream.values
    assert points.layout is not None  # what is of kind points has one
    size = view.picture_size(points)
    height, width = next((each.stream.values.shape[1:3] for each in view.of_kind("video")), (1, 1))
    if over_video and size:
        place = poses.View.of_picture(width / height, size)
    else:
        stretch = width / height if size == (1.0, 1.0) else 1.0
        place = poses.View.around(values, poses.points_up(values, points.layout), stretch)
    return poses.Figure(values, points.layout, place)


def _video(view: ClipView, video: Shown, over: Sequence[Shown], chosen: NDArray[np.int64]) -> Strip:
    frames = video.stream.values
    drawn = [(figure_of(view, points, True), points.nearest(view.moments[chosen])) for points in over]
    cells = []
    for cell, number in enumerate(chosen.tolist()):
        strokes = [stroke for figure, numbers in drawn for stroke in figure.pose(int(numbers[cell]))]
        cells.append(Cell(float(view.moments[number]), frames[number], strokes))
    height, width = frames.shape[1:3]
    detail = f"{_rate(video)}, {width} × {height}" + "".join(f"; {_points_detail(points)}" for points in over)
    title = " with ".join([video.name, *(points.name for points in over)])
    legend = _legends(over)
    return Strip(title, detail, width / height, cells, legend, _seen(over))


def _points(view: ClipView, points: Shown, chosen: NDArray[np.int64]) -> Strip:
    figure = figure_of(view, points, False)
    detail = f"{_rate(points)}, {_points_detail(points)}"
    numbers = points.nearest(view.moments[chosen])
    any_T = np.asarray(body.seen(points.stream.values).any(1))
    cells = []
    for number, since in zip(numbers.tolist(), [0, *numbers[:-1].tolist()], strict=True):
        strokes = [*figure.trail(since, number), *figure.pose(number)]
        note = "" if any_T[number] else "not seen" if any_T.any() else "no point was seen"
        cells.append(Cell(float(points.stream.times[number]), None, strokes, note))
    return Strip(points.name, detail, figure.view.aspect, cells, _legends([points]), _seen([points]))


def _depth(view: ClipView, depth: Shown, chosen: NDArray[np.int64]) -> Strip:
    frames = depth.stream.values[chosen]
    known = frames[frames > 0]
    near, far = np.percentile(known, (1, 99)).tolist() if known.size else (0.0, 1.0)
    share = np.clip((frames - near) / max(far - near, 1.0), 0, 1)[..., None]
    colours = palette.mixed("near", "far", share)
    pictures = np.where((frames > 0)[..., None], colours, palette.rgb("void")).astype(np.uint8)
    cells = [Cell(float(view.moments[n]), picture) for n, picture in zip(chosen, pictures, strict=True)]
    height, width = frames.shape[1:]
    detail = f"{_rate(depth)}, {width} × {height}"
    detail += (
        f"; dark is {near / 1000:.2f} m away, light {far / 1000:.2f} m"
        if known.size
        else "; nothing was measured"
    )
    return Strip(depth.name, detail, width / height, cells)


def _mask(view: ClipView, mask: Shown, videos: Sequence[Shown], chosen: NDArray[np.int64]) -> Strip:
    """The mask in colour over a pale copy of the video, where the two are of one size."""
    inside = mask.stream.values[chosen] > 0
    height, width = inside.shape[1:]
    ground = np.broadcast_to(palette.rgb("void"), (*inside.shape, 3)).astype(float)
    if videos and videos[0].stream.values.shape[1:3] == (height, width):
        ground = videos[0].stream.values[chosen].astype(float)
        ground = ground.mean(-1, keepdims=True) * 0.5 + 110
    colour = palette.rgb("third")
    strength = 0.72 if videos else 1.0
    pictures = np.where(inside[..., None], (1 - strength) * ground + strength * colour, ground).astype(
        np.uint8
    )
    cells = [Cell(float(view.moments[n]), picture) for n, picture in zip(chosen, pictures, strict=True)]
    detail = f"{_rate(mask)}, {width} × {height}; {100 * inside.mean():.0f} % of the picture"
    return Strip(mask.name, detail, width / height, cells)


def _series(series: Shown) -> Series:
    values_TC = series.stream.values.astype(np.float64)
    channels = values_TC.shape[1]
    detail = f"{_rate(series)}, {channels} channel{'s' if channels > 1 else ''}"
    low, high = values_TC.min(0), values_TC.max(0)
    if channels > LANES:
        detail += "; each below its mean blue, above it orange"
        return Series(series.name, detail, series.seconds, map=_map(values_TC))
    x_T = series.stream.times / (series.stream.times[-1] or 1.0)
    flat = high <= low
    share_TC = np.where(flat, 0.5, (values_TC - low) / np.where(flat, 1, high - low))
    y_TC = (np.arange(channels) + 0.9 - 0.8 * share_TC) / channels
    lanes = [Stroke((np.stack([x_T, y_TC[:, lane]], 1),), "fourth", 1.5) for lane in range(channels)]
    return Series(
        series.name, detail, series.seconds, lanes, list(zip(low.tolist(), high.tolist(), strict=True))
    )


def _map(values_TC: NDArray[np.float64]) -> Picture:
    columns = np.linspace(0, len(values_TC) - 1, min(len(values_TC), COLUMNS)).astype(int)
    spread = values_TC.std(0)
    score = np.clip((values_TC - values_TC.mean(0)) / np.where(spread > 0, spread, 1) / 2.5, -1, 1)[columns].T
    colour = np.where((score < 0)[..., None], palette.rgb("first"), palette.rgb("second"))
    return np.concatenate([colour, np.abs(score)[..., None] * 255], -1).astype(np.uint8)


def _rate(shown: Shown) -> str:
    frames = f"{shown.frames:,} frame{'s' if shown.frames != 1 else ''}"
    return f"{frames}, {shown.fps:.4g} fps" if shown.frames > 1 and shown.fps else frames


def _points_detail(points: Shown) -> str:
    count, axes = points.stream.values.shape[1:]
    layout = f"{points.layout.name}, " if points.layout else ""
    always = "; every part was always seen" if all(flags.all() for flags in points.seen.values()) else ""
    return f"{layout}{count} points in {axes}-D{always}"


def _seen(points: Sequence[Shown]) -> dict[str, NDArray[np.bool_]]:
    several = len(points) > 1
    return {
        f"{each.name} {part}" if several else part: flags
        for each in points
        for part, flags in each.seen.items()
    }


def _legends(points: Sequence[Shown]) -> list[tuple[str, str]]:
    """What the colours say, of those that occur."""
    used = {colour for each in points if each.layout for colour in _colours(each.layout)}
    words = ((poses.LEFT, "person's left"), (poses.RIGHT, "person's right"), (poses.FACE, "face"))
    return [(colour, word) for colour, word in words if colour in used]


def _colours(layout: PointLayout) -> set[str]:
    figure = poses.Figure(np.zeros((1, len(layout), 2), np.float32), layout, poses.View((1, 1), (0, 0), 1))
    return {colour for colour, _, _ in [*figure.chains, *figure.dots]}
