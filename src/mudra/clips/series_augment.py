"""How the series of a training clip are altered: drawn once per clip, carried out before and after they are scaled.

`draw_series` makes the choice from a seed alone. `turn` acts on the recorder's own numbers, where the three axes of a
sensor have one unit; `alter` on channels that are on a common scale already. When the clip is looked at is drawn for
all its streams together (`point_augment`). numpy alone.

Axes: N moments, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mudra.clips.point_augment import shaking
from mudra.clips.series import Series
from mudra.errors import RecipeError
from mudra.sections import SeriesAugment


@dataclass(frozen=True, slots=True)
class SeriesDraw:
    """What was drawn for one series.

    Attributes:
        turn: float64 [3,3], by which every triplet is turned.
        factor: float64 [C], by which the channels are multiplied.
        noise, drift: deviation of this clip.
        seed: of everything that is drawn for single frames and channels.
    """

    turn: NDArray[np.float64]
    factor: NDArray[np.float64]
    noise: float
    drift: float
    seed: int


def draw_series(how: SeriesAugment, seed: tuple[int, ...], channels: int) -> SeriesDraw:
    """Draw how one series of a clip is altered. All numbers are drawn whatever the settings."""
    rng = np.random.default_rng(seed)
    noise, drift = rng.random(2)
    axis = rng.standard_normal(3)
    angle, size = rng.uniform(-1, 1, 2)
    inner = int(rng.integers(2**62))
    each = rng.uniform(-1, 1, channels)
    return SeriesDraw(
        turn=_about(axis / max(float(np.linalg.norm(axis)), 1e-12), np.radians(angle * how.turn)),
        factor=(1 + size * how.scale) * (1 + each * how.stretch),
        noise=noise * how.noise,
        drift=drift * how.drift,
        seed=inner,
    )


def turn(series_NC: Series, draw: SeriesDraw, how: SeriesAugment) -> Series:
    """Turn the triplets, all by the same: the sensor is worn another way. Of a triplet all or nothing is known."""
    if how.turn == 0 or not how.triplets:
        return series_NC
    turned = series_NC.copy()
    for triplet in how.triplets:
        turned[:, list(triplet)] = series_NC[:, list(triplet)] @ draw.turn.T
    return turned


def alter(series_NC: Series, draw: SeriesDraw, how: SeriesAugment) -> Series:
    """Stretch, shake and hide what is known; the rest stays unknown."""
    rng = np.random.default_rng(draw.seed)
    altered = series_NC
    if not (draw.factor == 1).all():
        altered = (altered * draw.factor).astype(np.float32)
    if draw.noise or draw.drift:
        altered = altered + shaking(rng, draw.noise, draw.drift, altered.shape)
    hidden = _hidden(np.random.default_rng((draw.seed, 1)), altered.shape, how)
    return np.where(hidden, np.float32(np.nan), altered) if hidden.any() else altered


def require_channels(how: SeriesAugment, name: str, channels: int) -> None:
    """Refuse triplets that are not of the data.

    Raises:
        RecipeError: a channel that is not there, or stands twice.
    """
    named = [channel for triplet in how.triplets for channel in triplet]
    for channel in named:
        if channel >= channels or named.count(channel) > 1:
            why = (
                "it stands there twice"
                if channel < channels
                else f"{name!r} has the channels 0 to {channels - 1}"
            )
            raise RecipeError(
                f"augment.series.triplets: found channel {channel}; {why}. Name each channel once."
            )
    if how.turn and not named:
        raise RecipeError(
            f"augment.series.turn: found {how.turn:g} without triplets; say which channels are x, y and z of one "
            "thing, as in augment.series.triplets=[[0,1,2]]."
        )


def _about(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """The rotation about an axis of length 1 (Rodrigues): [3,3]."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def _hidden(rng: np.random.Generator, shape: tuple[int, ...], how: SeriesAugment) -> NDArray[np.bool_]:
    """Which values are not shown, bool [N,C]; never all channels or all frames."""
    frames, channels = shape
    lost = np.zeros((frames, channels), bool)
    silent = rng.random(channels) < how.drop_channels
    gone = rng.random(frames) < how.drop_frames
    if not silent.all():
        lost[:, silent] = True
    if not gone.all():
        lost[gone] = True
    return lost
