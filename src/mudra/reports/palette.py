"""The colours of every picture and page, in one place: each has a light and a dark form.

Pictures are drawn in the light colours. In a page they become CSS variables of the same names, so that
a drawing follows the reader's light or dark setting (`charts.to_svg`).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# name -> (light, dark). Text on paper keeps a contrast of 4.5 or more in both (WCAG AA).
COLOURS: Mapping[str, tuple[str, str]] = {
    "ground": ("#f4f5f8", "#0d1015"),  # behind everything
    "paper": ("#ffffff", "#161a21"),  # cards
    "ink": ("#1a1f29", "#e9ecf1"),
    "muted": ("#596273", "#a0aaba"),
    "line": ("#dde1e8", "#2b323e"),
    "track": ("#e9ecf2", "#252c38"),  # what a bar runs in
    "first": ("#3a4bd0", "#97a6ff"),
    "second": ("#b04d06", "#f2a65a"),
    "third": ("#0b7a6b", "#4fd0bb"),
    "fourth": ("#97348a", "#e48fd6"),
    "faint": ("#8f99aa", "#6d7788"),  # lines that stay behind others
    "bar": ("#c4cbf5", "#3b4689"),  # broad areas behind text
    "right": ("#4758dc", "#5365e8"),  # a heat map's full cell; white text on it is readable
    "wrong": ("#bf5509", "#c25a0e"),
    "near": (
        "#26326f",
        "#26326f",
    ),  # of depth, the same on light and dark paper: a picture has its own ground
    "far": ("#d9def5", "#d9def5"),
    "void": ("#f1f2f6", "#f1f2f6"),  # where nothing was measured
}
SERIES = ("first", "second", "third", "fourth")


def light(name: str) -> str:
    """The light form of a colour."""
    return COLOURS[name][0]


def css_variables(dark: bool) -> str:
    """Declarations of all colours: `--ink: #1a1f29; ...`."""
    return " ".join(f"--{name}: {pair[dark]};" for name, pair in COLOURS.items())


def rgb(name: str) -> NDArray[np.float64]:
    """The light form of a colour, 0..255 [3]."""
    code = light(name)
    return np.array([float(int(code[start : start + 2], 16)) for start in (1, 3, 5)])


def mixed(one: str, other: str, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours between two: 0..255 [..., 3] for shares [..., 1], 0 being the first."""
    return rgb(one) * (1 - share) + rgb(other) * share
