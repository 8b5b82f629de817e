"""What every data set has: which tasks are trained, what is held out, the folds of a cross-validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mudra.settings import Count, Positive, Settings


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
