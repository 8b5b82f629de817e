"""Choosing the moments of a clip: pure arithmetic on times and numbers. Imports no torch.

Every function takes the times of a clip's frames (seconds, never falling) and returns frame
numbers, so clips of variable frame rate are sampled by time. Decoding is elsewhere.
"""

import numpy as np
from numpy.typing import NDArray

from mudra.sections import ClipSettings
from mudra.types import Choose

Times = NDArray[np.float64]
Indices = NDArray[np.int64]

TIE = 1e-9  # seconds: moments nearer than this are the same, so that rounding never decides


def strided(length: int, want: int, stride: int, start: int = 0) -> Indices:
    """Choose `want` frame numbers `stride` apart; past the end, repeat the last frame.

    Args:
        length: frames in the source, at least 1.
        stride: source frames per step. At 12 fps, 2 is a look every 1/6 s.
    Returns:
        int64 [want], never falling, each in [0, length).
    Raises:
        ValueError: a count below 1, or `start` outside the source.

    >>> strided(length=5, want=4, stride=2)
    array([0, 2, 4, 4])
    """
    if min(length, want, stride) < 1 or not 0 <= start < length:
        raise ValueError(f"{length=}, {want=}, {stride=} must be at least 1 and {start=} inside the source")
    return np.minimum(start + stride * np.arange(want, dtype=np.int64), length - 1)


def even(
    times: Times, want: int, stride: int = 1, phase: int = 0, shift: float | NDArray[np.float64] = 0.0
) -> Indices:
    """Choose `want` frames spread evenly in time from the first to the last; short clips repeat.

    Args:
        stride, phase: only the frames `phase`, `phase + stride`, ... can be chosen (Jester's recipe
            looks at every 2nd).
        shift: moves the moments, in steps between two of them: a number, or one for each moment.

    >>> even(np.arange(9) / 10, 5)
    array([0, 2, 4, 6, 8])
    >>> even(np.arange(3) / 10, 5)
    array([0, 0, 1, 1, 2])
    """
    candidates = times[phase::stride]
    moments = np.linspace(candidates[0], candidates[-1], want)
    step = (candidates[-1] - candidates[0]) / max(want - 1, 1)
    return np.sort(nearest(candidates, moments + shift * step)) * stride + phase


def segments(times: Times, want: int, place: float | NDArray[np.float64] = 0.5) -> Indices:
    """Choose one frame of each of `want` equal parts of the clip (Wang et al. 2016, TSN).

    Args:
        place: where in its part each moment lies, 0..1: a number, or one for each part.

    >>> segments(np.arange(8) / 10, 4)
    array([1, 3, 5, 7])
    """
    frame_time = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    edges = np.linspace(times[0], times[-1] + frame_time, want + 1)
    moments = edges[:-1] + place * np.diff(edges)
    # the frame on show at a moment is the last one that began before it
    shown = np.searchsorted(times, moments + TIE, side="right") - 1
    return np.clip(shown, 0, len(times) - 1).astype(np.int64)


def paced(times: Times, want: int, fps: float, end: float = 1.0, phase: float = 0.0) -> Indices:
    """Choose the last `want` looks at `fps` a second, the first at the clip's first frame; short clips repeat that.

    A look takes the first frame that is there at its moment, as a stream does which waits for frames.

    Args:
        end: where the window ends in the room that there is, 0..1; 1 is the clip's end.
        phase: moves the moments, in steps between two of them.

    >>> paced(np.arange(9) / 10, 3, fps=5)
    array([4, 6, 8])
    >>> paced(np.arange(3) / 10, 4, fps=5)
    array([0, 0, 0, 2])
    """
    ticks = int((times[-1] - times[0]) * fps + TIE * fps) + 1
    last = ticks - 1 - round((1 - end) * max(ticks - want, 0))
    looks = np.arange(last - want + 1, last + 1) + phase
    moments = times[0] + np.maximum(looks, 0) / fps
    return np.minimum(np.searchsorted(times, moments - TIE), len(times) - 1).astype(np.int64)


def thinned(times: Times, fps: float) -> Indices:
    """Choose at most `fps` frames a second: the first of each 1 / fps seconds, counted from the first frame.

    >>> thinned(np.arange(7) / 30, fps=15)
    array([0, 2, 4, 6])
    >>> thinned(np.array([0.0, 0.5, 9.0]), fps=15)
    array([0, 1, 2])
    """
    ticks = np.floor((times - times[0] + TIE) * fps)
    return np.flatnonzero(np.diff(ticks, prepend=-1.0) > 0).astype(np.int64)


def window_starts(length: int, want: int, stride: int, clips: int) -> Indices:
    """First frames of `clips` windows spread evenly over the source; one is the centre.

    >>> window_starts(length=100, want=10, stride=2, clips=3)
    array([ 0, 40, 81])
    """
    room = max(length - ((want - 1) * stride + 1), 0)
    if clips == 1:
        return np.array([room // 2], np.int64)
    return np.floor(np.linspace(0, room, clips)).astype(np.int64)


def chooser(
    settings: ClipSettings,
    *,
    rng: np.random.Generator | None = None,
    clip: int = 0,
    clips: int = 1,
) -> Choose:
    """The function that a source's `read` takes, for one look at a clip.

    Args:
        rng: draws the training look; None is evaluation, the same every time.
        clip, clips: which of several looks evaluation takes (multi-clip testing).
    """

    look = (clip + 0.5) / clips  # where this look lies among its fellows, 0..1

    def choose(times: Times) -> Indices:
        want, stride = settings.frames, settings.stride
        if settings.sampling == "segments":
            return segments(times, want, look if rng is None else rng.random(want))
        if settings.sampling == "paced":
            assert settings.fps is not None
            if rng is not None:
                return paced(times, want, settings.fps, rng.random(), rng.random() - 0.5)
            return paced(times, want, settings.fps, (clip + 1) / clips)
        if settings.sampling == "strided":
            room = max(len(times) - (want - 1) * stride, 1)
            starts = window_starts(len(times), want, stride, clips)
            return strided(len(times), want, stride, int(starts[clip] if rng is None else rng.integers(room)))
        phases = min(stride, len(times))
        if rng is not None:
            return even(times, want, stride, int(rng.integers(phases)), (rng.random(want) - 0.5) / 2)
        phase = int(look * phases) if clips > 1 else 0
        return even(times, want, stride, phase, (look - 0.5) / 2)

    return choose


def nearest(times: Times, moments: Times) -> Indices:
    """The frame nearest to each moment; of two equally near, the earlier.

    >>> nearest(np.array([0.0, 0.5, 1.0]), np.array([0.2, 0.25, 0.3, 7.0]))
    array([0, 0, 1, 2])
    """
    if len(times) == 1:
        return np.zeros(len(moments), np.int64)
    after = np.clip(np.searchsorted(times, moments), 1, len(times) - 1)
    before = after - 1
    nearer = moments - times[before] <= times[after] - moments + TIE
    return np.where(nearer, before, after).astype(np.int64)
