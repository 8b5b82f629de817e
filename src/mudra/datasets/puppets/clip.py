"""One clip, drawn: from its plan to the arrays of every stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mudra.datasets.puppets.painting import SMOOTH, paint_depth, paint_video
from mudra.datasets.puppets.plan import Plan, branch, plan
from mudra.datasets.puppets.scenery import draw_scenery
from mudra.datasets.puppets.settings import Puppets
from mudra.datasets.puppets.staging import Scene, stage
from mudra.datasets.puppets.tracking import track

_NOISE, _DETECTOR = 5, 6


@dataclass(frozen=True)
class DrawnClip:
    """The streams of a clip: T frames; those not asked for are None.

    Attributes:
        times: float64 [T] seconds.
        video: uint8 [T, H, W, 3]. depth: uint16 [T, H, W] millimetres.
        mask: uint8 [T, H, W], 255 on the person, 0 elsewhere (also where a thing hides the person).
        points: float32 [T, 92, 2 or 3] in the layout `sign92`, NaN where not seen. score: float32 [T, 92].
    """

    plan: Plan
    times: NDArray[np.float64]
    video: NDArray[np.uint8] | None = None
    depth: NDArray[np.uint16] | None = None
    mask: NDArray[np.uint8] | None = None
    points: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None


def draw_clip(settings: Puppets, number: int, streams: Iterable[str] | None = None) -> DrawnClip:
    """Draw clip `number`. The streams do not depend on which others are drawn.

    Args:
        streams: those to draw; None draws those of the settings.
    """
    wanted = set(settings.streams if streams is None else streams)
    planned = plan(settings, number)
    scene = stage(planned, settings, deep=bool(wanted & {"depth", "mask"}))
    times = np.arange(planned.frames) / settings.fps
    video = depth = mask = points = score = None
    if "video" in wanted:
        video = _video(scene, planned, settings)
    if wanted & {"depth", "mask"}:
        depth, mask = _depth(scene, planned, settings)
    if "points" in wanted:
        points, score = track(scene, settings, branch(settings.seed, _DETECTOR, number))
    return DrawnClip(
        planned,
        times,
        video,
        depth if "depth" in wanted else None,
        mask if "mask" in wanted else None,
        points,
        score,
    )


def _video(scene: Scene, planned: Plan, settings: Puppets) -> NDArray[np.uint8]:
    backdrop = _backdrop(scene, planned, settings.size)
    video = paint_video(scene.shapes, backdrop, _light(planned, settings.size), planned.frames)
    if settings.noise > 0:
        rng = branch(settings.seed, _NOISE, planned.number)
        grain = rng.standard_normal(video.shape, dtype=np.float32) * np.float32(255 * settings.noise)
        video = np.clip(video + grain, 0, 255).astype(np.uint8)
    return video


def _backdrop(scene: Scene, planned: Plan, size: int) -> Image.Image:
    """The scenery with the soft shadow that the person throws on it."""
    image = draw_scenery(np.random.default_rng(planned.wall), max(96, size * SMOOTH * 3 // 4))
    small = max(48, image.width // 3)
    shadow = Image.new("L", (small, small), 0)
    draw = ImageDraw.Draw(shadow)
    head, chest = scene.performance.head_frame(scene.camera), scene.performance.trunk_frame(scene.camera)
    for frame, wide, high, down in (
        (head, 0.12, 0.15, 0.0),
        (chest, 0.27, 0.16, 0.10),
        (chest, 0.23, 0.6, 0.5),
    ):
        x, y = (frame.origin[0] + np.array([-0.055 * planned.lit, 0.02 + down * frame.scale[0]])) * small
        rx, ry = wide * frame.scale[0] * small, high * frame.scale[0] * small
        draw.ellipse([x - rx, y - ry, x + rx, y + ry], fill=80)
    shadow = shadow.filter(ImageFilter.GaussianBlur(small * 0.035)).resize(
        image.size, Image.Resampling.BILINEAR
    )
    image.paste((36, 22, 52), (0, 0), shadow)
    return image.resize((size * SMOOTH, size * SMOOTH), Image.Resampling.BILINEAR)


def _light(planned: Plan, size: int) -> NDArray[np.float64]:
    """Light that falls off across the picture, its corners a little darker, its colour warm or cold."""
    across = np.linspace(-1, 1, size)
    fall = 1.0 - (0.02 + 0.7 * planned.dim) * (1 - planned.lit * across[None, :]) / 2
    corners = 1.0 - 0.16 * np.clip((across[None, :] ** 2 + across[:, None] ** 2) / 2 - 0.25, 0, None)
    tint = 1.0 + planned.warmth * np.array([0.035, 0.0, -0.07])
    level = (
        (1.02 - 0.4 * planned.dim) * fall[..., None] * corners[..., None] * tint / max(1.0, float(tint.max()))
    )
    return np.minimum(level, 1.0)


def _depth(scene: Scene, planned: Plan, settings: Puppets) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    size = settings.size
    down = np.linspace(0, 1, size)[:, None] * np.ones((1, size))
    wall = scene.camera.distance + 1.1 + 0.25 * np.linspace(-1, 1, size)[None, :] * planned.lit - 0.1 * down
    depth, mask = paint_depth(scene.shapes, wall, planned.frames, size)
    if settings.noise > 0:
        rng = branch(settings.seed, _NOISE, planned.number, 1)
        error = rng.standard_normal(depth.shape, dtype=np.float32) * np.float32(1000 * settings.noise)
        depth = np.clip(depth + error, 1, 65535).astype(np.uint16)
    return depth, mask
