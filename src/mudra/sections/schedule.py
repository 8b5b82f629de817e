"""How the rate of learning goes along a training: one class a `kind`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mudra.settings import Above0, AtLeast0, Count, Settings, Share


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
