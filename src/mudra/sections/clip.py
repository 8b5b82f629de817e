"""What is looked at of a clip: which moments, at which size, and how each kind of stream is prepared."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mudra.settings import Above0, AtLeast0, Positive, Settings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
