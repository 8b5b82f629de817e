"""What a recipe may say in each of its sections, typed: a file a section. A model's settings lie beside the model.

data        what every data set has, validation held out, folds
clip        which moments are looked at, at which size; how points, series and depth are prepared
augment     how training clips are altered
loss, optim, schedule    what is minimised, and how
train       the loop
"""

from mudra.sections.augment import AugmentSettings, PointAugment, SeriesAugment, TimeAugment
from mudra.sections.clip import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClipSettings,
    DepthSettings,
    PointSettings,
    SeriesSettings,
)
from mudra.sections.data import DataSettings, Folds, Holdout
from mudra.sections.loss import LossSettings
from mudra.sections.optim import OptimSettings
from mudra.sections.schedule import (
    ConstantSchedule,
    CosineRestartsSchedule,
    CosineSchedule,
    CyclicSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    Schedule,
)
from mudra.sections.train import TrainSettings

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AugmentSettings",
    "ClipSettings",
    "ConstantSchedule",
    "CosineRestartsSchedule",
    "CosineSchedule",
    "CyclicSchedule",
    "DataSettings",
    "DepthSettings",
    "Folds",
    "Holdout",
    "LossSettings",
    "OneCycleSchedule",
    "OptimSettings",
    "PlateauSchedule",
    "PointAugment",
    "PointSettings",
    "Schedule",
    "SeriesAugment",
    "SeriesSettings",
    "TimeAugment",
    "TrainSettings",
]
