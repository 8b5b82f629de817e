"""A named set of points: which row is which, what is joined, what belongs together, what changes places in a mirror."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError, did_you_mean

Row = int | str
"""A point of a layout: its row number or its name."""


@dataclass(frozen=True)
class PointLayout:
    """A named set of K points.

    Attributes:
        name: as `dataset.json` and recipes write it.
        points: the name of every row, in order.
        bones: joined rows, for graphs and pictures.
        parts: rows by part, each row in at most one part, in the order in which they are stored.
        pairs: (left, right) rows that change places in a mirror; a row in no pair lies on the middle
            line. Empty: the layout has no mirror image of its own (one arm only, one hand only).
        origin: rows whose middle is the centre of the body.
        unit: joined rows whose distance, the mean of several, is the body's unit of length.
        roots: rows from which other bones hang, beside the origin: an elbow, where no shoulder is recorded.
    """

    name: str
    points: tuple[str, ...]
    bones: tuple[tuple[int, int], ...] = ()
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    pairs: tuple[tuple[int, int], ...] = ()
    origin: tuple[int, ...] = ()
    unit: tuple[tuple[int, int], ...] = ()
    roots: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.points)

    def row(self, point: Row, place: str = "") -> int:
        """The row of a point given by name or number.

        Raises:
            DataError: there is no such point.
        """
        return row_of(
            point, {name: row for row, name in enumerate(self.points)}, place or f"layout {self.name}"
        )

    def rows(self, points: Iterable[Row]) -> NDArray[np.int64]:
        """The rows of several points, to take them out of a stream: `values[:, layout.rows(names)]`."""
        return np.array([self.row(point) for point in points], dtype=np.int64)

    @property
    def mirror_order(self) -> NDArray[np.int64]:
        """int64 [K]: the row that stands at each place after mirroring. Taken twice it is the identity."""
        order = np.arange(len(self.points), dtype=np.int64)
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return order

    @cached_property
    def levels(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
        """The bones as trees, from the roots outwards: at each level the rows, and the row that each hangs from.

        The roots are the origin's rows and `roots`; of bones that reach none of them, the first row. A bone that
        would close a loop is left out.

        >>> from mudra.clips.layouts import declare
        >>> chain = declare("arm", ["hand", "elbow", "shoulder"], bones=[(0, 1), (1, 2)], origin=["shoulder"])
        >>> [(rows.tolist(), above.tolist()) for rows, above in chain.levels]
        [([1], [2]), ([0], [1])]
        """
        joined: dict[int, list[int]] = {row: [] for row in range(len(self.points))}
        for one, other in self.bones:
            joined[one].append(other)
            joined[other].append(one)
        levels: list[list[tuple[int, int]]] = []
        reached: set[int] = set()
        for begin in ((*self.origin, *self.roots), *((row,) for row in joined)):
            edge = [row for row in begin if row not in reached]
            reached |= set(edge)
            depth = 0
            while edge:
                bones: dict[int, int] = {}
                for above in edge:
                    bones |= {row: above for row in joined[above] if row not in reached and row not in bones}
                reached |= bones.keys()
                if bones:
                    levels += [[]] * (depth == len(levels))
                    levels[depth] = [*levels[depth], *bones.items()]
                edge, depth = list(bones), depth + 1
        tables = [np.array(sorted(level), dtype=np.int64).T for level in levels]
        return tuple((table[0], table[1]) for table in tables)


def mirror_points(points: NDArray[Any], layout: PointLayout, width: float = 1.0) -> NDArray[Any]:
    """Points as seen in a mirror: left and right rows change places, x becomes `width` - x.

    Doing it twice gives the points back (up to the rounding of `width` - x). NaN stays NaN, with its row.
    A stream's scores follow with `score[..., layout.mirror_order]`.

    Args:
        points: float [..., K, C], x first.
        width: 1 for coordinates that are shares of the picture, the picture's width for pixels,
            0 for coordinates around the body's own middle (metres, for instance).
    Returns:
        a new array of the same shape and type.
    Raises:
        DataError: the layout has no left/right pairs, or the array is not one of this layout.

    >>> from mudra.clips.layouts import declare
    >>> mirror_points(np.array([[[0.2, 0.5], [0.9, 0.5]]]), declare("eyes", ["left", "right"], pairs=[(0, 1)]))
    array([[[0.1, 0.5],
            [0.8, 0.5]]])
    """
    if not layout.pairs:
        hint = " sign92 has both arms." if layout.name == "sign87" else ""
        raise DataError(
            f"layout {layout.name}: it names no left/right pairs, so its mirror image is not known; expected pairs. "
            f"Turn flipping off, or use a layout that has them.{hint}"
        )
    if points.ndim < 2 or points.shape[-2] != len(layout) or points.shape[-1] < 1:
        raise DataError(
            f"layout {layout.name}: found an array of shape {list(points.shape)}; expected [..., {len(layout)}, C]. "
            "Name the layout that these points were recorded in."
        )
    mirrored = points[..., layout.mirror_order, :]  # indexing with an array copies
    mirrored[..., 0] = np.asarray(width, dtype=points.dtype) - mirrored[..., 0]
    return mirrored


def differences(one: PointLayout, other: PointLayout) -> list[str]:
    """In what two layouts differ, whatever they are called: "points", "parts" and so on; [] where in nothing.

    >>> from mudra.clips.layouts import declare
    >>> differences(declare("pen", ["tip", "end"]), declare("rod", ["tip", "end"], bones=[(0, 1)]))
    ['bones']
    """
    told = [each.name for each in fields(PointLayout) if each.name != "name"]
    values = [{**vars(layout), "parts": list(layout.parts.items())} for layout in (one, other)]
    return [key for key in told if values[0][key] != values[1][key]]


def row_of(point: Row, numbers: Mapping[str, int], place: str) -> int:
    """The row of a point given by name or number, among `numbers`: row by name.

    Raises:
        DataError: there is no such point.
    """
    if isinstance(point, str):
        if point not in numbers:
            raise DataError(
                f"{place}: found {point!r}; expected the name of a point.{did_you_mean(point, numbers)}"
            )
        return numbers[point]
    if isinstance(point, bool) or not isinstance(point, int | np.integer) or not 0 <= point < len(numbers):
        raise DataError(
            f"{place}: found {point!r}; expected a point's name or a row from 0 to {len(numbers) - 1}."
        )
    return int(point)
