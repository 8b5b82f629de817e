"""Point layouts: which row of a points stream is which part of the body.

A layout names its rows, says which belong together (parts), which are joined (bones), and which
change places when the picture is mirrored (pairs). "Left" is always the person's own left, which
stands on the right of an unmirrored picture.

Sources of the orders: MediaPipe Holistic (face mesh 468, hand 21, pose 33), Kinect for Windows SDK 1,
the NATOPS release in the UEA archive, COCO keypoints. The face mesh is exactly symmetric in its
canonical model; its left/right partners were taken from there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError, did_you_mean
from mudra.types import StreamInfo

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
        return _row(
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
        part: tuple(_row(point, numbers, f"{place}, part {part}") for point in rows)
        for part, rows in (parts or {}).items()
    }
    _once((row for rows in members.values() for row in rows), points, f"{place}, parts")
    middle = tuple(_row(point, numbers, f"{place}, origin") for point in origin)
    measure = tuple(_couple(rows, numbers, f"{place}, unit") for rows in unit)
    held = tuple(_row(point, numbers, f"{place}, roots") for point in roots)
    return PointLayout(name, tuple(points), joined, members, swapped, middle, measure, held)


def find_layout(name: str, place: str = "layout", own: Collection[str] = ()) -> PointLayout:
    """The built-in layout of that name.

    Args:
        own: names that would have done as well, for the error.
    Raises:
        DataError: there is none; the nearest name is suggested.
    """
    if name not in LAYOUTS:
        known = [*own, *LAYOUTS]
        raise DataError(
            f"{place}: found {name!r}; expected one of {', '.join(known)}.{did_you_mean(name, known)}"
            " Declare a layout of your own under layouts in dataset.json where none fits."
        )
    return LAYOUTS[name]


def layout_of(info: StreamInfo, place: str) -> PointLayout:
    """The layout of a stream of points: a built-in one, or the one that its data set declares.

    Raises:
        DataError: the stream names none, or one that is not known.
    """
    if info.layout is None:
        raise DataError(
            f"{place}: nobody says which point is which; name the layout in dataset.json, as in "
            '{"streams": {"points": {"layout": "kinect20", "fps": 30}}}.'
        )
    if info.declared is None:
        return find_layout(info.layout, f"{place}, layout")
    return declare(info.layout, **info.declared)


def differences(one: PointLayout, other: PointLayout) -> list[str]:
    """In what two layouts differ, whatever they are called: "points", "parts" and so on; [] where in nothing.

    >>> differences(declare("pen", ["tip", "end"]), declare("rod", ["tip", "end"], bones=[(0, 1)]))
    ['bones']
    """
    told = [each.name for each in fields(PointLayout) if each.name != "name"]
    values = [{**vars(layout), "parts": list(layout.parts.items())} for layout in (one, other)]
    return [key for key in told if values[0][key] != values[1][key]]


def fingerprint(info: StreamInfo) -> str:
    """The name of a stream's layout; of a declared one, with what tells it from others of the name."""
    if info.declared is None:
        return info.layout or ""
    return f"{info.layout} ({sha256(json.dumps(info.declared).encode()).hexdigest()[:12]})"


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


def _row(point: Row, numbers: Mapping[str, int], place: str) -> int:
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


def _couple(rows: Sequence[Row], numbers: Mapping[str, int], place: str) -> tuple[int, int]:
    if isinstance(rows, str) or len(rows) != 2:
        raise DataError(f"{place}: found {rows!r}; expected two points. Write each as [one, other].")
    one, other = (_row(point, numbers, place) for point in rows)
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


# --- the built-in layouts -------------------------------------------------------------------------

SIDES = ("left", "right")

_FINGERS = ("index", "middle", "ring", "pinky")
HAND = (
    "wrist",
    *(f"thumb_{joint}" for joint in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{joint}" for finger in _FINGERS for joint in ("mcp", "pip", "dip", "tip")),
)
"""The 21 points of a hand: the wrist, then four of each finger from the palm to the tip."""

HAND_BONES = (
    *((0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (0, 17), (5, 9), (9, 13), (13, 17)),
    *((knuckle + step, knuckle + step + 1) for knuckle in (5, 9, 13, 17) for step in range(3)),
)

_LIMBS = (
    "shoulder",
    "elbow",
    "wrist",
    "pinky",
    "index",
    "thumb",
    "hip",
    "knee",
    "ankle",
    "heel",
    "foot_index",
)
POSE = (
    "nose",
    *(f"{side}_{point}" for side in SIDES for point in ("eye_inner", "eye", "eye_outer")),
    *("left_ear", "right_ear", "mouth_left", "mouth_right"),
    *(f"{side}_{point}" for point in _LIMBS for side in SIDES),
)
"""The 33 points of the whole body."""

ARM = ("elbow", "wrist", "pinky", "index", "thumb")
_ARM_BONES = "elbow-wrist wrist-pinky wrist-index wrist-thumb pinky-index"
_BODY_BONES = (
    "eye_inner-eye eye-eye_outer eye_outer-ear shoulder-elbow shoulder-hip hip-knee knee-ankle "
    "ankle-heel ankle-foot_index heel-foot_index"
)
_ACROSS = ("nose-left_eye_inner", "nose-right_eye_inner", "mouth_left-mouth_right")
_SHOULDERS_AND_HIPS = ("left_shoulder-right_shoulder", "left_hip-right_hip")

# Rows of the face mesh that outline the lips: outer upper from the right corner to the left one,
# outer lower without the corners, inner upper without its left corner, inner lower with it.
LIPS = (
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    *(146, 91, 181, 84, 17, 314, 405, 321, 375),
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
_OUTER = (*LIPS[:11], *reversed(LIPS[11:20]))  # once around
_INNER = (LIPS[20], *LIPS[21:30], *reversed(LIPS[30:]))

# The rows of the face mesh on the middle line. All other rows below 248 lie on the person's right, and
# their partners on the left are 248 to 467 in the same order.
_FACE_MIDDLE = (*(0, 1, 2, 4, 5, 6), *range(8, 20), *(94, 151, 152, 164, 168, 175, 195, 197, 199, 200))
_FACE_RIGHT = [row for row in range(248) if row not in _FACE_MIDDLE]
_FACE_LEFT = dict(zip(_FACE_RIGHT, range(248, 468), strict=True))

Names = list[tuple[str, str]]


def _bones(text: str, prefix: str = "") -> Names:
    """Bones written as "elbow-wrist wrist-thumb"."""
    couples = (bone.split("-") for bone in text.split())
    return [(prefix + one, prefix + other) for one, other in couples]


def _both(text: str, prefix: str = "") -> Names:
    """The same bones on both sides of the body."""
    return [bone for side in SIDES for bone in _bones(text, f"{prefix}{side}_")]


def _ring(rows: Sequence[int]) -> Names:
    return [(f"face_{one}", f"face_{other}") for one, other in zip(rows, (*rows[1:], rows[0]), strict=True)]


def _swaps(names: Sequence[str]) -> Names:
    """(left, right) among names that differ only in the side they name."""
    return [(name, name.replace("left", "right")) for name in names if "left" in name]


def _face_swaps(rows: Iterable[int]) -> Names:
    return [(f"face_{_FACE_LEFT[row]}", f"face_{row}") for row in rows if row in _FACE_LEFT]


def _hand(side: str) -> list[str]:
    return [f"{side}_hand_{point}" for point in HAND]


def _hand_bones(side: str) -> Names:
    names = _hand(side)
    return [(names[one], names[other]) for one, other in HAND_BONES]


def _mediapipe_bones(arms: Sequence[str]) -> Names:
    """Lips, both hands, and the arms whose rows are there, each joined to its hand."""
    bones = [*_ring(_OUTER), *_ring(_INNER), *_hand_bones("left"), *_hand_bones("right")]
    for side in arms:
        bones += [*_bones(_ARM_BONES, f"pose_{side}_"), (f"pose_{side}_wrist", f"{side}_hand_wrist")]
    return bones


def _holistic() -> PointLayout:
    face, pose = [f"face_{row}" for row in range(468)], [f"pose_{point}" for point in POSE]
    parts = {"face": face, "left_hand": _hand("left"), "pose": pose, "right_hand": _hand("right")}
    names = [name for part in parts.values() for name in part]
    body = [*_both(_BODY_BONES, "pose_"), *_bones(" ".join((*_ACROSS, *_SHOULDERS_AND_HIPS)), "pose_")]
    swaps = [*_face_swaps(range(468)), *_swaps(names[468:])]
    shoulders = ["pose_left_shoulder", "pose_right_shoulder"]
    return declare(
        "holistic543",
        names,
        bones=[*_mediapipe_bones(SIDES), *body],
        parts=parts,
        pairs=swaps,
        origin=shoulders,
        unit=[shoulders],
    )


def _sign(name: str, arms: Sequence[str]) -> PointLayout:
    """Lips 40, both hands 21 each, and 5 of each arm: a selection of holistic543 with its names."""
    lips, pose = [f"face_{row}" for row in LIPS], [f"pose_{side}_{point}" for side in arms for point in ARM]
    parts = {"lips": lips, "left_hand": _hand("left"), "right_hand": _hand("right"), "pose": pose}
    names = [name for part in parts.values() for name in part]
    # The mirror image of one arm is the other arm, which sign87 does not hold: it has no pairs.
    swaps = [*_face_swaps(LIPS), *_swaps(names[40:])] if len(arms) == 2 else []
    elbows = [f"pose_{side}_elbow" for side in arms]
    return declare(
        name, names, bones=_mediapipe_bones(arms), parts=parts, pairs=swaps, origin=lips, roots=elbows
    )


def _kinect() -> PointLayout:
    parts = {"spine": ["hip_centre", "spine", "shoulder_centre", "head"]}
    for limb, joints in (("arm", "shoulder elbow wrist hand"), ("leg", "hip knee ankle foot")):
        parts |= {f"{side}_{limb}": [f"{side}_{joint}" for joint in joints.split()] for side in SIDES}
    names = [name for part in parts.values() for name in part]
    bones = [
        *_bones("hip_centre-spine spine-shoulder_centre shoulder_centre-head"),
        *(("shoulder_centre", f"{side}_shoulder") for side in SIDES),
        *(("hip_centre", f"{side}_hip") for side in SIDES),
        *_both("shoulder-elbow elbow-wrist wrist-hand hip-knee knee-ankle ankle-foot"),
    ]
    torso = _bones("hip_centre-shoulder_centre")
    return declare(
        "kinect20", names, bones=bones, parts=parts, pairs=_swaps(names), origin=["hip_centre"], unit=torso
    )


def _natops() -> PointLayout:
    names = [f"{side}_{point}" for point in ("hand_tip", "elbow", "wrist", "thumb") for side in SIDES]
    parts = {f"{side}_arm": [name for name in names if name.startswith(side)] for side in SIDES}
    bones = _both("elbow-wrist wrist-hand_tip wrist-thumb")
    elbows = ["left_elbow", "right_elbow"]
    return declare("natops8", names, bones=bones, parts=parts, pairs=_swaps(names), origin=elbows)


def _coco() -> PointLayout:
    joints = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    names = ["nose", *(f"{side}_{joint}" for joint in joints for side in SIDES)]
    parts = {"head": names[:5]}
    for limb, chain in (("arm", joints[2:5]), ("leg", joints[5:])):
        parts |= {f"{side}_{limb}": [f"{side}_{joint}" for joint in chain] for side in SIDES}
    bones = [
        *_bones(" ".join(("nose-left_eye nose-right_eye", *_SHOULDERS_AND_HIPS))),
        *_both("eye-ear ear-shoulder shoulder-elbow elbow-wrist shoulder-hip hip-knee knee-ankle"),
    ]
    shoulders = ["left_shoulder", "right_shoulder"]
    torso = _both("shoulder-hip")
    return declare(
        "coco17", names, bones=bones, parts=parts, pairs=_swaps(names), origin=shoulders, unit=torso
    )


LAYOUTS: Mapping[str, PointLayout] = {
    layout.name: layout
    for layout in (
        _holistic(),
        _sign("sign87", ("left",)),
        _sign("sign92", SIDES),
        declare(
            "hand21",
            HAND,
            bones=HAND_BONES,
            parts={"hand": HAND},
            origin=["wrist"],
            unit=[("wrist", "middle_mcp")],
        ),
        _kinect(),
        _natops(),
        _coco(),
    )
}
"""Every built-in layout by name."""
