"""Points become a figure of lines: left and right told apart by colour, points that were not seen left out.

Which way is up: the points themselves say it where a layout names parts of a body one above the other (head,
shoulders, hips, knees, feet; or the lips): what belongs above is drawn above. Where they say nothing, y points up for
the layouts whose recorders have it so (`Y_UP`), and down for all others, as in a picture. x is drawn to the right as
it was recorded, so a figure stands as it does in the recorder's own picture. Of 3-D points x and y are drawn.

Axes: T moments, K points, C coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mudra.clips import points as body
from mudra.clips.layouts import PointLayout
from mudra.reports.strokes import Line, Stroke, unbroken

Points = NDArray[np.float32]

LEFT, RIGHT, MIDDLE = "first", "second", "muted"  # colours of the palette
FACE = "third"
ALONE = "fourth"  # of a layout that has no sides, such as one hand
THICK, THIN = 2.2, 1.2  # as strokes count widths
SHORT = 0.055  # bones shorter than this share of the cell are drawn thin
FEW = 40  # points up to which the joints are marked
Y_UP = frozenset({"kinect20", "natops8"})
SHAPES = (0.55, 1.8)  # narrowest and broadest cell, as width by height

# From the top of a body to its bottom.
_LEVELS = (
    frozenset({"head", "nose", "eye", "ear", "mouth", "face", "lip", "lips"}),
    frozenset({"neck", "shoulder"}),
    frozenset({"hip", "pelvis", "waist"}),
    frozenset({"knee"}),
    frozenset({"ankle", "foot", "heel", "toe"}),
)
_LIPS = ("face_0", "face_17")  # the face mesh's middle of the upper and of the lower lip
_TIPS = ("hand", "hand_tip", "index_tip", "wrist")  # what a trail follows: the first of these on each side


def side_of(layout: PointLayout) -> NDArray[np.int8]:
    """Which side of the body each point belongs to: 1 left, -1 right, 0 neither; int8 [K].

    The names say it; where no name holds the word, the layout's pairs do.
    """
    words = [name.lower().split("_") for name in layout.points]
    sides = np.array([("left" in word) - ("right" in word) for word in words], np.int8)
    if not sides.any():
        for left, right in layout.pairs:
            sides[left], sides[right] = 1, -1
    return sides


def points_up(points_TKC: Points, layout: PointLayout) -> bool:
    """Whether y grows upwards (see the head of this file)."""
    heights = [
        np.nanmedian(values)
        for words in _LEVELS
        if (rows := [row for row, name in enumerate(layout.points) if words & set(name.split("_"))])
        and not np.isnan(values := points_TKC[:, rows, 1]).all()
    ]
    if len(heights) < 2 and set(_LIPS) <= set(layout.points):
        lips = points_TKC[:, layout.rows(_LIPS), 1]
        if not np.isnan(lips).all(0).any():
            heights = np.nanmedian(lips, axis=0).tolist()
    if len(heights) > 1 and heights[0] != heights[-1]:
        return bool(heights[0] > heights[-1])
    return layout.name in Y_UP


@dataclass(frozen=True)
class View:
    """Where a point stands in a cell: the same for all moments of a clip, so that motion is seen.

    Attributes:
        scale: cell units of one unit of x and of y; that of y is negative where y points up.
        shift: added after scaling.
        aspect: width of the cell by its height.
    """

    scale: tuple[float, float]
    shift: tuple[float, float]
    aspect: float

    def place(self, points: Points) -> NDArray[np.float64]:
        """x and y in the cell: [..., C] to [..., 2], NaN where a point was not seen."""
        flat: NDArray[np.float64] = points[..., :2].astype(np.float64) * self.scale + self.shift
        flat[~body.seen(points)] = np.nan
        return flat

    @classmethod
    def of_picture(cls, aspect: float, size: tuple[float, float] = (1.0, 1.0)) -> View:
        """The whole picture; points are shares of it, or pixels of a picture of that size (width, height)."""
        return cls((aspect / size[0], 1 / size[1]), (0.0, 0.0), aspect)

    @classmethod
    def around(cls, points_TKC: Points, up: bool, stretch: float = 1.0) -> View:
        """The room that a clip's points take, with a margin. What a detector threw far away is left out.

        Args:
            stretch: how much longer a unit of x is than one of y (points that are shares of a broad picture).
        """
        seen = body.seen(points_TKC)
        signs = np.array([stretch, -1.0 if up else 1.0])
        flat = np.where(seen[..., None], points_TKC[..., :2] * signs, np.nan)[:, seen.any(0)]
        if not flat.size:
            return cls((1.0, 1.0), (0.0, 0.0), 1.0)
        ends = np.nanpercentile(flat, (3, 97), axis=0)
        low, high = ends[0].min(0), ends[1].max(0)
        size = np.maximum(high - low, 1e-6 * max(1.0, float(np.abs(ends).max())))
        size = size + 0.16 * size.max()
        aspect = float(np.clip(size[0] / size[1], *SHAPES))
        height = max(size[1], size[0] / aspect)
        shift = np.array([aspect, 1.0]) / 2 - (low + high) / 2 / height
        scale = signs / height
        return cls((float(scale[0]), float(scale[1])), (float(shift[0]), float(shift[1])), aspect)


@dataclass(frozen=True, eq=False)
class Figure:
    """How the points of one clip are drawn.

    Attributes:
        points_TKC: all of the clip.
    """

    points_TKC: Points
    layout: PointLayout
    view: View

    @cached_property
    def places_TK2(self) -> NDArray[np.float64]:
        """Where the points stand in the cell."""
        return self.view.place(self.points_TKC)

    def deep_places(self, moments: NDArray[np.int64]) -> NDArray[np.float64]:
        """x, y and depth at some moments, [N,K,3]: depth in the cell's units about the figure's middle, 0 in 2-D."""
        flat = self.places_TK2[moments]
        deep: NDArray[np.float64] = np.zeros(flat.shape[:-1])
        if self.points_TKC.shape[2] > 2 and not np.isnan(self.points_TKC[..., 2]).all():
            middle = np.nanmedian(self.points_TKC[..., 2])
            deep = (self.points_TKC[moments, :, 2].astype(np.float64) - middle) * abs(self.view.scale[1])
        return np.concatenate([flat, deep[..., None]], -1)

    @cached_property
    def chains(self) -> list[tuple[str, float, list[tuple[int, ...]]]]:
        """Bones of one colour and width, those that follow one another as one line: (colour, width, rows)."""
        sides, found = side_of(self.layout), dict[tuple[str, float], list[list[int]]]()
        for bone, short in zip(self.layout.bones, self._short, strict=True):
            style = (_colour(self.layout, sides, bone), THIN if short else THICK)
            lines = found.setdefault(style, [])
            if lines and lines[-1][-1] == bone[0]:
                lines[-1].append(bone[1])
            else:
                lines.append(list(bone))
        middle_first = sorted(found, key=lambda style: (style[0] != MIDDLE, style[0], -style[1]))
        return [(*style, [tuple(rows) for rows in found[style]]) for style in middle_first]

    @cached_property
    def dots(self) -> list[tuple[str, float, tuple[int, ...]]]:
        """Points that are marked: joints of a figure of few points, and all that no bone reaches."""
        sides, found = side_of(self.layout), dict[tuple[str, float], list[int]]()
        joined = {row for bone in self.layout.bones for row in bone}
        for row, name in enumerate(self.layout.points):
            colour = _colour(self.layout, sides, (row, row))
            if name == "head":
                found.setdefault((colour, 9.0), []).append(row)
            elif row not in joined:
                found.setdefault((colour, 3.4 if len(self.layout) <= FEW else 0.9), []).append(row)
            elif len(self.layout) <= FEW:
                found.setdefault((colour, 3.4), []).append(row)
        return [(*style, tuple(rows)) for style, rows in found.items()]

    @property
    def _short(self) -> list[bool]:
        """Which bones are short, by their median length in the clip."""
        if not self.layout.bones:
            return []
        one, other = np.array(self.layout.bones).T
        lengths_TB = np.linalg.norm(self.places_TK2[:, one] - self.places_TK2[:, other], axis=-1)
        short = np.zeros(len(one), bool)
        seen = ~np.isnan(lengths_TB).all(0)
        short[seen] = np.nanmedian(lengths_TB[:, seen], axis=0) < SHORT
        return short.tolist()

    @cached_property
    def tips(self) -> list[tuple[str, int]]:
        """What a trail follows on each side, with its colour."""
        sides = side_of(self.layout)
        found: list[tuple[str, int]] = []
        for side, colour in ((1, LEFT), (-1, RIGHT), (0, MIDDLE)):
            names = {name: row for row, name in enumerate(self.layout.points) if sides[row] == side}
            near = [row for tip in _TIPS for name, row in names.items() if f"_{name}".endswith(f"_{tip}")]
            if near and (side or not found):
                found.append((colour if sides.any() else ALONE, near[0]))
        return found

    def pose(self, moment: int) -> list[Stroke]:
        """The figure of one moment; nothing of what was not seen."""
        place_K2 = self.places_TK2[moment]
        strokes = [
            Stroke(tuple(_seen_lines(place_K2, lines)), colour, width) for colour, width, lines in self.chains
        ]
        for colour, width, rows in self.dots:
            here = place_K2[list(rows)]
            strokes.append(Stroke((here[~np.isnan(here).any(1)],), colour, width, dots=True))
        return [stroke for stroke in strokes if sum(map(len, stroke.lines))]

    def trail(self, since: int, moment: int) -> list[Stroke]:
        """Where the hands went between two moments, faintly."""
        return [
            Stroke(tuple(lines), colour, THICK, opacity=0.28)
            for colour, row in self.tips
            if (
                lines := [
                    line for line in unbroken(self.places_TK2[since : moment + 1, row]) if len(line) > 1
                ]
            )
        ]


def _seen_lines(place_K2: Line, lines: Sequence[Sequence[int]]) -> Iterator[Line]:
    for rows in lines:
        yield from (part for part in unbroken(place_K2[list(rows)]) if len(part) > 1)


def _colour(layout: PointLayout, sides: NDArray[np.int8], rows: tuple[int, int]) -> str:
    """The colour of a bone (or of a point, taken twice): its side's, the face's, or the middle's."""
    side = int(sides[rows[0]]) + int(sides[rows[1]])
    named = all(layout.points[row].startswith(("face_", "lip")) for row in rows)
    if named:
        return FACE
    if abs(side) == 2:
        return LEFT if side > 0 else RIGHT
    return MIDDLE if sides.any() else ALONE
