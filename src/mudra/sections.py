"""What a recipe may say in each of its sections, typed: the data, what is looked at, how it is altered, the loss, the
optimiser, the schedule, the loop. A model's settings lie beside the model."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mudra.settings import Settings

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # a dropout rate: 1 would drop everything
Above0 = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[float, Field(ge=0)]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Holdout(Settings):
    """Validation clips carved out of train on purpose, whole groups at a time."""

    by: Literal["group", "clip"] = "group"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1


class Folds(Settings):
    """A cross-validation in place of the data's own split: every clip is tested once.

    count: how many folds; None leaves out one group at a time.
    by: what must stay together, groups or single clips. seed: deals the units out to the folds.
    test: the fold that is tested, counted from 1; None trains every fold in turn.
    """

    count: Annotated[int, Field(ge=2)] | None = None
    by: Literal["group", "clip"] = "group"
    seed: Count = 0
    test: Positive | None = None


class DataSettings(Settings):
    """What every kind of data set has. A kind adds its own keys and `read(folder)`.

    tasks: which tasks are trained; None is all that the data has.
    """

    kind: str
    tasks: tuple[str, ...] | None = None
    holdout: Holdout | None = None
    folds: Folds | None = None

    def class_counts(self) -> dict[str, int]:
        """Classes by task where the kind fixes them; {} where only the files tell."""
        return {}

    def point_layouts(self) -> dict[str, str]:
        """Layout of each stream of points where the kind fixes it; {} where only the files tell."""
        return {}

    def series_channels(self) -> dict[str, int]:
        """Channels of each series where the kind fixes them; {} where only the files tell."""
        return {}


class PointSettings(Settings):
    """How the points of a clip are prepared.

    dims: coordinates that the model takes: 3, or the first 2 of what the data has.
    short: a clip with fewer frames than `clip.frames` is interpolated to so many (`stretch`), or keeps its frames
        and is followed by empty ones (`pad`), which no model counts. A longer one is averaged down in either case.
    centre: what is put at 0: the body's centre over the whole `clip`, in each `frame`, or nothing (`none`).
    scale: `clip` divides by the body's unit of length over the clip; the layout says which.
    min_score: points of which the detector was less sure are not seen; files need a `score` then.
    drop_frames_without: parts of the layout, such as [left_hand, right_hand]. A frame that shows none of them is left
        out before the clip is brought to its length, and time closes up. Of a clip that never shows any of them, all
        frames stay.
    by: `body` gives a point's place on the body. `part` gives its place within its part of the layout, about the
        middle of what is seen of the part in each frame and, where `scale` is on, in the part's own size: a hand's
        shape, wherever it is. `both` gives the one after the other, twice the coordinates.
    standardise: `clip` takes off each coordinate's mean over the clip and divides by its deviation, last of all; one
        that does not change is 0.
    limit: what a detector puts farther away is an outlier and is held there, in body units, sizes of a part, or
        deviations.
    """

    dims: Literal[2, 3] = 3
    short: Literal["stretch", "pad"] = "stretch"
    centre: Literal["clip", "frame", "none"] = "clip"
    scale: Literal["clip", "none"] = "clip"
    min_score: AtLeast0 = 0.0
    drop_frames_without: tuple[str, ...] = ()
    by: Literal["body", "part", "both"] = "body"
    standardise: Literal["none", "clip"] = "none"
    limit: Above0 = 10.0

    @property
    def coordinates(self) -> int:
        """How many numbers of each point the model takes."""
        return self.dims * (2 if self.by == "both" else 1)


class SeriesSettings(Settings):
    """How the series of a clip are prepared.

    normalise: `train` takes off each channel's mean and divides by its deviation, both measured over the training
        clips when a training starts; `clip` measures them in each clip; `none` leaves the recorder's units.
    limit: deviations from the mean; what lies farther out is held there.
    absent: a number that the recorder writes where it knows nothing, such as 0; beside NaN, which always means that.
    short: as for points.
    """

    normalise: Literal["none", "clip", "train"] = "train"
    limit: Above0 = 10.0
    absent: float | None = None
    short: Literal["stretch", "pad"] = "stretch"


class DepthSettings(Settings):
    """How depth is scaled: 1 at `near` millimetres and before it, 0 from `far` on and where it is unknown. None takes
    the clip's own ends."""

    near: AtLeast0 | None = None
    far: Above0 | None = None

    @model_validator(mode="after")
    def _near_is_nearer(self) -> Self:
        if self.near is not None and self.far is not None and self.near >= self.far:
            raise ValueError(f"near {self.near:g} is not nearer than far {self.far:g}, both in millimetres")
        return self


class ClipSettings(Settings):
    """What is looked at: which moments of a clip, at which size.

    streams: what the model sees. Several are looked at at the same moments; the first of them is the clock: its frames
        are counted, and its pictures say where a crop lies.
    align: how the clocks of several streams meet. `clock`: their seconds are the same seconds, and what all of them
        recorded is looked at. `ends`: they began and ended together, whatever rates they claim.
    missing: what is done with a clip that lacks a stream: an `error`; or of several streams it is `allow`ed to, and the
        stream is all NaN; or it is `leave_out`, and the training says how many were.
    sampling: `even` spreads the frames over the whole clip (after keeping every `stride`-th),
        `strided` takes a window of neighbours `stride` apart, `segments` takes one moment of each
        equal part of the clip (a random one in training), `paced` takes the last `frames` moments at `fps` a
        second: what a stream of that rate has seen when the clip ends.
    fps: looks a second, for `paced` alone.
    resize: `stretch` ignores the aspect ratio; `crop` brings the shorter side to `size` x
        `shorter_side` and looks at the centre.
    """

    streams: tuple[str, ...] = ("video",)
    frames: Positive = 16
    sampling: Literal["even", "strided", "segments", "paced"] = "even"
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    stride: Positive = 1
    size: Annotated[int, Field(ge=8, le=4096)] = 224
    resize: Literal["stretch", "crop"] = "crop"
    shorter_side: Annotated[float, Field(ge=1, le=4)] = 1.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Above0, Above0, Above0] = IMAGENET_STD
    align: Literal["clock", "ends"] = "clock"
    missing: Literal["error", "allow", "leave_out"] = "error"
    points: PointSettings = PointSettings()
    series: SeriesSettings = SeriesSettings()
    depth: DepthSettings = DepthSettings()


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


class LossSettings(Settings):
    """Cross-entropy, with what makes it gentler or fairer, and what is learnt beside it. 0 is off.

    class_weights: `balanced` weighs a class by the inverse of its share of train.
    task_weights: weight of each task in the sum; a task not named weighs 1.
    focal: gamma of the focal loss: what is sure already counts less. 2 is usual.
    focal_rise: share of the training over which gamma rises linearly from 0; 0 begins with all of it.
    auxiliary: weight of the loss of each auxiliary head of the model, from the first layer on.
    parts: weight of the mean loss of the heads that see one part of the body each.
    windows: weight of the mean loss at every window, of models that answer at each; see `fusion`.
    margin: by how much a clip's class should stand above its rivals, in logits. margin_weight: weight of what is
        missing of it.
    similar: pairs of classes that are rivals of each other, by name. Without any, each clip has one rival: the
        strongest class that it does not show.
    distil: weight of what the auxiliary heads learn from the model's own answer (Zhang et al. 2019,
        arXiv:1905.08094, without its hints on features), softened by distil_temperature.
    consistency: weight of the divergence between what the heads of the parts answer (Jensen-Shannon).
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    task_weights: dict[str, AtLeast0] = Field(default_factory=dict)
    focal: AtLeast0 = 0.0
    focal_rise: Share = 0.0
    auxiliary: tuple[AtLeast0, ...] = ()
    parts: AtLeast0 = 0.0
    windows: AtLeast0 = 0.0
    margin: AtLeast0 = 0.0
    margin_weight: AtLeast0 = 1.0
    similar: tuple[tuple[str, str], ...] = ()
    distil: AtLeast0 = 0.0
    distil_temperature: Above0 = 3.0
    consistency: AtLeast0 = 0.0

    @property
    def plain(self) -> bool:
        """Whether nothing but cross-entropy is minimised."""
        return not (
            self.focal or self.auxiliary or self.parts or self.windows or self.margin or self.consistency
        )


class OptimSettings(Settings):
    """AdamW. Norms, biases, positions and tokens are never decayed.

    layer_decay: rate of a layer as a multiple of the rate of the layer above it; the classifiers have the full one.
        Below 1, a pretrained network's first layers change least.
    rates: factors of the rate by a part of the parameters' names, such as {temporal: 10, heads: 10}.
    """

    lr: Above0 = 1e-3
    weight_decay: AtLeast0 = 0.05
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    rates: dict[str, Above0] = Field(default_factory=dict)
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    eps: Above0 = 1e-8


class ConstantSchedule(Settings):
    """The same rate throughout, after a linear warm-up."""

    kind: Literal["constant"] = "constant"
    warmup_epochs: AtLeast0 = 0.0


class CosineSchedule(Settings):
    """Linear warm-up, then half a cosine down to `final` x the peak rate."""

    kind: Literal["cosine"] = "cosine"
    warmup_epochs: AtLeast0 = 0.0
    final: Share = 0.0


class CyclicSchedule(Settings):
    """Linear warm-up from `start` x the peak rate, then cycles of `cycle_epochs`, each from a peak that is `decay` x
    the one before, down to `final` x the first.

    shape: `cosine` falls by half a cosine and jumps up to the next peak; `triangle` falls linearly during the first
        half of a cycle and rises to the next peak during the second.
    """

    kind: Literal["cyclic"] = "cyclic"
    warmup_epochs: AtLeast0 = 0.0
    start: Share = 0.0
    cycle_epochs: Above0 = 20.0
    decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    final: Share = 0.0
    shape: Literal["cosine", "triangle"] = "cosine"


class CosineRestartsSchedule(Settings):
    """Linear warm-up from `start` x the peak rate, then half a cosine down to `final` x the peak, again and again.

    period_epochs: length of the first fall. growth: length of a fall as a multiple of the one before.
    decay: peak of a fall as a multiple of the one before.
    """

    kind: Literal["cosine_restarts"] = "cosine_restarts"
    warmup_epochs: AtLeast0 = 0.0
    start: Share = 0.0
    period_epochs: Above0 = 10.0
    growth: Annotated[float, Field(ge=1, le=100)] = 2.0
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    final: Share = 0.0


class OneCycleSchedule(Settings):
    """Half a cosine up from `start` x the peak rate over the share `rise` of the training, half a cosine down to
    `final` x the peak."""

    kind: Literal["one_cycle"] = "one_cycle"
    warmup_epochs: ClassVar[float] = 0.0
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3
    start: Annotated[float, Field(gt=0, le=1)] = 0.04
    final: Share = 0.0


class PlateauSchedule(Settings):
    """The rate times `factor` when the validation loss has not fallen for `patience` epochs."""

    kind: Literal["plateau"] = "plateau"
    warmup_epochs: AtLeast0 = 0.0
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Count = 5
    min_lr: AtLeast0 = 0.0


Schedule = (
    ConstantSchedule
    | CosineSchedule
    | CyclicSchedule
    | CosineRestartsSchedule
    | OneCycleSchedule
    | PlateauSchedule
)


class TrainSettings(Settings):
    """The loop.

    batch: clips that the model sees at a time, over all processes; an optimiser step sees `accumulate`
        times as many. So neither the number of processes nor accumulating changes what is learnt.
    precision: `fp32`, or autocast to `bf16` / `fp16` (with a gradient scaler). `auto` is bf16 where the
        processor multiplies it by itself, else fp32; a run keeps what it began with.
    matmul: how float32 products are computed, as torch.set_float32_matmul_precision takes it. `medium` helps
        processors that multiply bfloat16 by themselves and doubles the time of those that do not.
    early_stop: epochs without a lower validation loss before the end; None trains them all.
    choose: which weights are the result: those of the epoch that was `best` on validation, or the `last`, which is
        wiser where validation is a handful of clips.
    ema: decay of an exponential moving average of the weights, which is then what is evaluated.
    sampling: `balanced` draws every class equally often.
    save_every: optimiser steps between checkpoints; None saves at the end of each epoch.
    workers: loader processes; 0 reads in the training process. The samples do not depend on it.
    read_limit: seconds that a loader process may take for one clip before it is given up.
    decode_failures: the share of training clips that may be undecodable before training stops.
    keep: how many of the latest checkpoints stay, besides the best.
    probe: train the classifiers alone, on what the rest of the model makes of so many looks at each clip, each altered
        as `augment` says. They are computed once and kept in the user's cache, so that an epoch costs next to nothing;
        epoch e takes look e, and begins again with the first. None trains the whole model.
    init_from: whose weights the training starts from: a run, a bundle, or published weights: in transformers' form, as
        a folder or a name on the Hugging Face hub; a file of a state_dict (.pth, .safetensors); or torchvision:NAME or
        timm:NAME, such as torchvision:KINETICS400_V1 or timm:resnet50.a1_in1k, fetched from where they publish it.
        `--init-from` says another.
    """

    epochs: Positive = 50
    batch: Positive = 16
    accumulate: Positive = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    matmul: Literal["highest", "high", "medium"] = "highest"
    compile: bool = False
    clip_norm: Above0 | None = None
    early_stop: Positive | None = None
    choose: Literal["best", "last"] = "best"
    ema: Rate | None = None
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    seed: Count = 0
    workers: Count = 2
    save_every: Positive | None = None
    log_every: Positive = 10
    read_limit: Above0 = 20.0
    decode_failures: Share = 0.01
    keep: Positive = 2
    device: Literal["auto", "cpu", "cuda"] = "auto"
    probe: Positive | None = None
    init_from: Annotated[str, Field(min_length=1)] | None = None
