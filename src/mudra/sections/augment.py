"""How training clips are altered: their time, points, series and pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mudra.settings import Above0, AtLeast0, Count, Rate, Settings, Share


class TimeAugment(Settings):
    """How the time of a training clip is altered; drawn once per clip.

    crop: the share of the clip's duration that is kept, at least. speed: largest relative quickening, which leaves
        the clip shorter. slow: largest relative slowing, which takes more moments of a clip where it has fewer than
        the model takes. warp: largest relative change of the speed along the clip, below 1.
    """

    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    speed: AtLeast0 = 0.0
    slow: AtLeast0 = 0.0
    warp: Rate = 0.0


class PointAugment(TimeAugment):
    """How the points of a training clip are altered; drawn once per clip. Lengths are in body units.

    crop, speed, slow, warp: as `TimeAugment` has them.
    scale: largest relative change of size. stretch: of each axis by itself.
    turn, tilt: largest angle in degrees about the vertical axis and about the one that runs across, for points of
        three coordinates; points of two are foreshortened as by such a turn. `rotate` of the section turns points in
        the picture as well, and `flip` mirrors them.
    noise: deviation of what moves every point in every frame. drift: of what moves a point slowly.
    drop_points, drop_parts, drop_frames: share of points, of the layout's parts and of frames that are not seen.

    Bodies and cameras differ:
    bones: largest relative change of a bone's length, the same throughout a clip and on both sides of the body.
        What hangs from a bone moves with its end.
    part_scale, part_turn, part_shift: largest relative change of size, angle in degrees and shift of each part of the
        layout, about its own middle.
    distort: deviation of a smooth field that moves neighbours alike.
    shear: largest slant, across and down. perspective: largest change of size per body unit from the middle, as a
        near camera sees it. Both are for the first two coordinates.

    Detectors err:
    outliers: share of seen points, frame by frame, that jump by a heavy-tailed amount.
    burst: deviation of what moves the points of one part in every frame of one stretch of the clip.
    lose_parts: share of parts that are not seen for a stretch. swap_hands: share of clips in which left and right hand
        change their names for a stretch. Stretches last a quarter of the clip at most.
    drop_span: the share of the clip's frames, at most, that show nothing, one after the other.
    poor: share of clips that are tracked badly throughout: up to `poor_lost` of their points are not seen (in half of
        these clips never, in the others now and then), and all tremble by up to `poor_noise`. Beside another stream a
        model learns from them when to trust which.
    drop_axes: share of the axes along which nothing moves: every point stays at its mean over the clip. (A point
        without a coordinate would be a point that was not seen.) One axis always stays.
    """

    scale: Rate = 0.0
    stretch: Rate = 0.0
    turn: Annotated[float, Field(ge=0, le=180)] = 0.0
    tilt: Annotated[float, Field(ge=0, le=180)] = 0.0
    noise: AtLeast0 = 0.0
    drift: AtLeast0 = 0.0
    drop_points: Rate = 0.0
    drop_parts: Rate = 0.0
    drop_frames: Rate = 0.0
    bones: Rate = 0.0
    part_scale: Rate = 0.0
    part_turn: Annotated[float, Field(ge=0, le=180)] = 0.0
    part_shift: AtLeast0 = 0.0
    distort: AtLeast0 = 0.0
    shear: AtLeast0 = 0.0
    perspective: AtLeast0 = 0.0
    outliers: Rate = 0.0
    burst: AtLeast0 = 0.0
    lose_parts: Share = 0.0
    swap_hands: Share = 0.0
    drop_span: Rate = 0.0
    poor: Share = 0.0
    poor_lost: Rate = 0.6
    poor_noise: AtLeast0 = 0.15
    drop_axes: Share = 0.0


class SeriesAugment(TimeAugment):
    """How the series of a training clip are altered; drawn once per clip. Sizes are in deviations of a channel.

    crop, speed, slow, warp: as `TimeAugment` has them.
    triplets: channels that are x, y and z of one thing each, such as [[0, 1, 2], [3, 4, 5]] of acceleration and
        rotation. turn: largest angle in degrees by which all of them are turned together, about any axis: a sensor that
        is worn another way.
    scale: largest relative change of size. stretch: of each channel by itself.
    noise: deviation of what is added to every value. drift: of what a channel is off by for a while.
    drop_channels, drop_frames: share of channels and of frames that are not known.
    """

    triplets: tuple[tuple[Count, Count, Count], ...] = ()
    turn: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Rate = 0.0
    stretch: Rate = 0.0
    noise: AtLeast0 = 0.0
    drift: AtLeast0 = 0.0
    drop_channels: Rate = 0.0
    drop_frames: Rate = 0.0


class AugmentSettings(Settings):
    """How training clips are altered; drawn once per clip, the same for all its frames.

    crop: the share of the picture's area that a random resized crop keeps, from..to; None is off.
    flip: probability of a horizontal flip. Classes of the data's `mirror` table are swapped with it;
        without that table clips are not flipped unless `flip_is_harmless` says that no class has a side.
    brightness, contrast, saturation: largest relative change. hue: largest turn, in turns (0.5 is all).
    preceded: share of the clips whose first third shows the end of another clip, as in a recording that goes on:
        for models that stream, whose past is whatever came before.
    mixup_seen: of mixed points are those seen that `either` clip shows, the one at full strength where the other is
        over, or those that the `main` one shows, which has the larger share.
    rotate: largest angle in degrees. shift_time: the sampled moments may start anywhere they fit.
    """

    crop: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] | None = None
    crop_ratio: tuple[Above0, Above0] = (3 / 4, 4 / 3)
    flip: Share = 0.0
    flip_is_harmless: bool = False
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    grey: Share = 0.0
    erase: Share = 0.0
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift_time: bool = True
    mixup: AtLeast0 = 0.0
    cutmix: AtLeast0 = 0.0
    mix_share: Share = 1.0
    mixup_seen: Literal["either", "main"] = "either"
    preceded: Share = 0.0
    points: PointAugment = PointAugment()
    series: SeriesAugment = SeriesAugment()

    @property
    def mixes(self) -> bool:
        """Whether clips take something of each other."""
        return self.mixup > 0 or self.cutmix > 0 or self.preceded > 0
