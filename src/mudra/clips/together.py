"""The streams of one clip on one clock, so that all of them are looked at at the same moments. Imports no torch.

The first stream is the clock. Moments are chosen on it once for the whole clip; numbers are interpolated or averaged at
them, of pictures the nearest is taken.

Axes: T moments of a stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.clips.sampling import Times, nearest
from mudra.errors import DataError
from mudra.types import PICTURE_KINDS, Source, Stream, StreamKind

SLACK = 1e-6  # seconds: ends nearer than this are one, so that rounding never decides


@dataclass(frozen=True, slots=True)
class Hand:
    """Turns a stream's own seconds into the clock's: `at` + (time - `own`) x `rate`."""

    own: float = 0.0
    at: float = 0.0
    rate: float = 1.0

    def __call__(self, times: Times) -> Times:
        if self == Hand():
            return times  # to the bit
        return self.at + (times - self.own) * self.rate


@dataclass(frozen=True)
class Recording:
    """A clip whose streams are opened. Tracks are read already, pictures are when the moments are known.

    Attributes:
        clock: the first stream's frames within what all streams recorded; seconds [T], never falling, T >= 1.
        tracks: points and series, their times on the clock.
        pictures: video, depth and mask, each with its kind and what turns its seconds into the clock's.
    """

    clock: Times
    tracks: Mapping[str, Stream]
    pictures: Mapping[str, tuple[StreamKind, Source, Hand]]

    def frames(self, moments: Sequence[Times]) -> dict[str, list[NDArray[Any]]]:
        """Of each stream of pictures the frames nearest to some moments, each looked up in one pass over the file.

        Returns:
            by stream, for each of `moments`: video uint8 [N,H,W,3]; depth uint16 [N,H,W]; mask uint8 [N,H,W].
        """
        if not self.pictures:
            return {}
        whole = np.concatenate(moments)
        ends = np.cumsum([len(part) for part in moments])[:-1]
        found = {}
        for name, (_, source, hand) in self.pictures.items():
            stream = source.read(lambda times, hand=hand: nearest(hand(times), whole))  # type: ignore[misc]
            found[name] = np.split(stream.values, ends)
        return found


def open_together(
    streams: Mapping[str, tuple[StreamKind, Source | Stream]], align: str, place: str
) -> Recording:
    """Put the streams of a clip on one clock.

    Args:
        streams: in the recipe's order; tracks are read already.
        align: `clock`, seconds are the same in all; `ends`, they began and ended together.
        place: begins an error.
    Raises:
        DataError: a stream cannot be read, or nothing was recorded by all of them.
    """
    times = {
        name: stream.times if isinstance(stream, Stream) else stream.times()
        for name, (_, stream) in streams.items()
    }
    hands = hands_of(times, align)
    clock = common(times, hands, place)
    tracks, pictures = {}, {}
    for name, (kind, stream) in streams.items():
        if isinstance(stream, Stream):
            tracks[name] = replace(stream, times=hands[name](stream.times))
        else:
            assert kind in PICTURE_KINDS
            pictures[name] = (kind, stream, hands[name])
    return Recording(clock, tracks, pictures)


def hands_of(times: Mapping[str, Times], align: str) -> dict[str, Hand]:
    """What turns each stream's seconds into the first one's.

    >>> hands_of({"points": np.array([0.0, 2.0]), "series": np.array([1.0, 4.0])}, "ends")["series"](np.array([2.5]))
    array([1.])
    """
    clock = next(iter(times.values()))
    hands = {}
    for name, own in times.items():
        hands[name] = Hand()
        if align == "ends" and own is not clock:
            long = own[-1] - own[0]
            rate = (clock[-1] - clock[0]) / long if long > 0 else 1.0
            hands[name] = Hand(float(own[0]), float(clock[0]), float(rate))
    return hands


def common(times: Mapping[str, Times], hands: Mapping[str, Hand], place: str) -> Times:
    """The first stream's frames within the span that all streams recorded.

    A stream of a single moment shows that moment throughout and bounds nothing.

    Raises:
        DataError: none of them lies in it.
    """
    clock = next(iter(times.values()))
    if len(times) == 1:
        return clock
    ends = {name: hands[name](own)[[0, -1]].tolist() for name, own in times.items() if len(own) > 1}
    first = max((begin for begin, _ in ends.values()), default=-np.inf)
    last = min((end for _, end in ends.values()), default=np.inf)
    within = clock if len(clock) == 1 else clock[(clock >= first - SLACK) & (clock <= last + SLACK)]
    if len(within) and first <= last + SLACK:
        return within
    spans = ", ".join(f"{name} {begin:.2f} to {end:.2f} s" for name, (begin, end) in ends.items())
    raise DataError(
        f"{place}: its streams have no moment in common ({spans}). Mend their times, or set clip.align=ends if they "
        "began and ended together."
    )
