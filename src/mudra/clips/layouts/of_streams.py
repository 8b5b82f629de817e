"""The layout of a stream: a built-in one by its name, or the one that its data set declares."""

from __future__ import annotations

import json
from collections.abc import Collection
from hashlib import sha256

from mudra.clips.layouts.builtin import LAYOUTS
from mudra.clips.layouts.declaring import declare
from mudra.clips.layouts.layout import PointLayout
from mudra.errors import DataError, did_you_mean
from mudra.types import StreamInfo


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


def fingerprint(info: StreamInfo) -> str:
    """The name of a stream's layout; of a declared one, with what tells it from others of the name."""
    if info.declared is None:
        return info.layout or ""
    return f"{info.layout} ({sha256(json.dumps(info.declared).encode()).hexdigest()[:12]})"
