"""Body points found in video by MediaPipe Holistic: the 543 rows of the layout `holistic543`.

Face mesh, left hand, pose and right hand of the most prominent person, "left" being that person's own
left. MediaPipe is an extra, imported when it is needed; its models lie in its package, so that no
network is. It follows a person from frame to frame, so every clip begins with a fresh state.

Source: Grishchenko and Bazarevsky 2020, "MediaPipe Holistic"; the Python solution of mediapipe 0.10.21
at model complexity 1, the only one whose models are in the package, with its other defaults.

Axes: T frames, K points (543), C coordinates (x, y, z).
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import UsageError
from mudra.sources.moments import picked
from mudra.sources.parts import every, in_parts
from mudra.types import Choose, Source, Stream

Detect = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""One frame, uint8 RGB [H,W,3] -> points [543,3] as shares of the picture (z of its width), NaN where not seen,
and the confidence in each [543], 0 where not seen. Called with the frames of one clip in their order."""

# As MediaPipe names them, in the order of the layout.
PARTS = {"face_landmarks": 468, "left_hand_landmarks": 21, "pose_landmarks": 33, "right_hand_landmarks": 21}
POINTS = sum(PARTS.values())
_NEWEST_PYTHON = (3, 12)  # for which mediapipe 0.10.21 was published


@dataclass(frozen=True, slots=True)
class Finder:
    """A detector of the 543 points.

    Attributes:
        name: tells it from others whose points differ.
        begin: starts it for one clip; ends with the `with` block. A fresh process can import it.
    """

    name: str
    begin: Callable[[], AbstractContextManager[Detect]]


@dataclass(frozen=True, slots=True)
class LandmarkSource:
    """Points that are found in a video when they are read.

    Attributes:
        rows: which of the 543 points are wanted, in which order; int64 [K].
    """

    video: Source
    finder: Finder
    rows: NDArray[np.int64]

    def times(self) -> NDArray[np.float64]:
        """Those of the video's frames."""
        return self.video.times()

    def read(self, choose: Choose) -> Stream:
        """Look at every frame, for the points of one lean on the frame before, and keep the chosen moments.

        Returns:
            points float32 [n,K,3] as `find` gives them.
        Raises:
            DataError: the video cannot be read.
        """
        whole = find(self.video, self.finder)
        numbers = picked(choose, whole.times)
        score = None if whole.score is None else whole.score[numbers][:, self.rows]
        return Stream("points", whole.values[numbers][:, self.rows], whole.times[numbers], score)


def find(
    video: Source, finder: Finder, choose: Choose = every, alive: Callable[[], None] = lambda: None
) -> Stream:
    """Find the points of one clip.

    x and y are in units of the picture's height, from its upper left corner, so that they mean the same
    whatever the picture's shape: y runs from 0 to 1, x from 0 to width / height, and points outside the
    picture lie beyond. z has the same unit, negative towards the camera, and begins anew in each part: at the
    middle of the head, the wrist, and the middle of the hips. A pose point that is hidden is guessed; its
    score, MediaPipe's visibility, says so. A part that was not found is NaN with score 0.

    Args:
        choose: the frames that are looked at, rising; all by default.
        alive: called after every frame.
    Returns:
        points float32 [T,543,3], score float32 [T,543], and the video's own times.
    Raises:
        DataError: the video cannot be read.
        UsageError: the detector cannot start.
    """
    points, scores, times = [], [], []
    with finder.begin() as detect:
        for part in in_parts(video, choose):
            height, width = part.values.shape[1:3]
            unit_C = np.array([width / height, 1, width / height], np.float32)
            for frame in part.values:
                found_KC, score_K = detect(frame)
                points.append(found_KC * unit_C)
                scores.append(score_K)
                alive()
            times.append(part.times)
    return Stream("points", np.stack(points), np.concatenate(times), np.stack(scores))


def mediapipe() -> Finder:
    """MediaPipe Holistic.

    Raises:
        UsageError: it is not installed.
    """
    try:
        version = metadata.version("mediapipe")  # without importing it
    except metadata.PackageNotFoundError:
        raise UsageError(
            _how_to_install("it is not installed, and finding body points in video needs it")
        ) from None
    return Finder(f"mediapipe {version} holistic", _holistic)


@contextmanager
def _holistic() -> Iterator[Detect]:
    """MediaPipe for the frames of one clip."""
    with _quiet(), _solution()(model_complexity=1) as graph:
        yield partial(_detect, graph)


def _detect(graph: Any, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    found = graph.process(np.ascontiguousarray(frame))
    points = np.full((POINTS, 3), np.nan, np.float32)
    score = np.zeros(POINTS, np.float32)
    begin = 0
    for name, count in PARTS.items():
        part = getattr(found, name)
        if part is not None:
            rows = slice(begin, begin + count)
            points[rows] = [(point.x, point.y, point.z) for point in part.landmark]
            score[rows] = [point.visibility for point in part.landmark] if name == "pose_landmarks" else 1.0
        begin += count
    return points, score


def _solution() -> Any:
    """MediaPipe's class.

    Raises:
        UsageError: MediaPipe cannot be imported, or is a later one, which no longer has it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own dependencies, which nobody here can mend
            from mediapipe.python.solutions.holistic import Holistic
    except Exception as problem:  # compiled code against another numpy, a missing library, ...
        reason = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        raise UsageError(_how_to_install(f"it cannot be used ({reason})")) from None
    return Holistic


def _how_to_install(problem: str) -> str:
    if sys.version_info[:2] <= _NEWEST_PYTHON:
        return f"mediapipe: {problem}; pip install 'mudra[landmarks]'."
    newest = ".".join(map(str, _NEWEST_PYTHON))
    return (
        f"mediapipe: {problem}; it exists for Python up to {newest}, and this is {sys.version_info[0]}."
        f"{sys.version_info[1]}. Make an environment of Python {newest} and pip install 'mudra[landmarks]' there."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Whatever is written straight to the process's stderr goes nowhere: MediaPipe's C++ logs a dozen lines for
    each clip, and none of its settings silences them."""
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)
