"""Point layouts: which row of a points stream is which part of the body.

A layout names its rows, says which belong together (parts), which are joined (bones), and which
change places when the picture is mirrored (pairs). "Left" is always the person's own left, which
stands on the right of an unmirrored picture.

layout        what a layout is; points in a mirror
declaring     a layout of one's own, checked, and as plain values
builtin       the built-in ones, with the order of their points
of_streams    which layout a stream has
"""

from mudra.clips.layouts.builtin import HAND, HAND_BONES, LAYOUTS, LIPS
from mudra.clips.layouts.declaring import declare, plain
from mudra.clips.layouts.layout import PointLayout, Row, differences, mirror_points
from mudra.clips.layouts.of_streams import find_layout, fingerprint, layout_of

__all__ = [
    "HAND",
    "HAND_BONES",
    "LAYOUTS",
    "LIPS",
    "PointLayout",
    "Row",
    "declare",
    "differences",
    "find_layout",
    "fingerprint",
    "layout_of",
    "mirror_points",
    "plain",
]
