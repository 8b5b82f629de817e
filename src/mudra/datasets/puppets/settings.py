"""What can be set about the puppets, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from mudra.datasets.puppets.gestures import GESTURES
from mudra.datasets.puppets.things import NOUNS
from mudra.sections import DataSettings
from mudra.settings import Count, Positive, Share

if TYPE_CHECKING:
    from mudra.clips.manifest import Manifest

PuppetStream = Literal["video", "depth", "mask", "points"]


class Puppets(DataSettings):
    """Drawn persons who act out gestures: data with known answers, made on the spot.

    clips: how many, over all splits. groups: how many persons they are of.
    gestures: how many classes `label` has; they come in pairs that only the order of time tells apart.
    size: pixels of a side; even, as H.264 wants it. seconds: the mean length; clips differ by up to 15 %.
    streams: what is drawn. All are exactly aligned; each beyond `video` costs time and room.
    point_axes: 2 for x, y in shares of the picture; 3 adds depth in the same unit, the chest at 0.
    shares: of the persons, for train, val and test. A person stands in one split only.
    difficulty: how much persons, cameras and movements differ.
    noise: spread of the pixels' noise, as a share of 255; depth has it too, as a share of a metre.
    jitter: spread of the points' error, as a share of the picture.
    occlusion: share of the clips in which something stands in the way; points behind it are missing.
    missing: share of the moments at which a detector would lose a hand, the lips or the arms; they go
        for several frames on end and are NaN with score 0.
    leak: share of the clips that show their person's habitual gesture before their person's own wall.
        The wall then tells the label: a split that cuts through persons is fooled, one by persons is not.
    still: share of the clips in which nobody moves, so that the label cannot be seen.
    verb_noun: share of the clips whose thing is the one that goes with their verb; 0 draws all things alike.
    thing_scale: how large the things are; 1 is as in life. A camera on the forehead sees them larger than one across
        the room.
    """

    kind: Literal["puppets"] = "puppets"
    clips: Positive = 2000
    seed: Count = 0
    groups: Positive = 40
    gestures: Annotated[int, Field(ge=2, le=12, multiple_of=2)] = 8
    size: Annotated[int, Field(ge=32, le=1024, multiple_of=2)] = 96
    fps: Annotated[int, Field(ge=1, le=120)] = 12
    seconds: Annotated[float, Field(ge=0.25, le=600)] = 2.0
    streams: Annotated[tuple[PuppetStream, ...], Field(min_length=1)] = ("video",)
    point_axes: Literal[2, 3] = 2
    shares: tuple[Share, Share, Share] = (0.7, 0.15, 0.15)
    difficulty: Share = 0.3
    noise: Share = 0.0
    jitter: Share = 0.0
    occlusion: Share = 0.0
    missing: Share = 0.0
    leak: Share = 0.0
    still: Share = 0.0
    verb_noun: Share = 0.0
    thing_scale: Annotated[float, Field(ge=0.25, le=4)] = 1.0

    def class_counts(self) -> dict[str, int]:
        gestures = GESTURES[: self.gestures]
        known = {"label": len(gestures), "verb": len({each.verb for each in gestures}), "noun": len(NOUNS)}
        return {task: count for task, count in known.items() if self.tasks is None or task in self.tasks}

    def point_layouts(self) -> dict[str, str]:
        return {"points": "sign92"}

    @model_validator(mode="after")
    def _splits_have_persons(self) -> Self:
        if abs(sum(self.shares) - 1.0) > 1e-6:
            raise ValueError(f"shares sum to {sum(self.shares):g}; expected 1")
        used = sum(share > 0 for share in self.shares)
        persons = min(self.groups, self.clips)
        if persons < used:
            raise ValueError(
                f"{persons} persons cannot fill {used} splits; raise clips and groups, or set a share to 0"
            )
        if len(set(self.streams)) < len(self.streams):
            raise ValueError("a stream is named twice; expected each once")
        return self

    def read(self, folder: Path | None) -> Manifest:
        """The puppets in `folder`; without one, those in the user's cache, drawn there at the first call.

        Raises:
            DataError: what lies in `folder` is not a data set.
            OutputError: the cache cannot be written.
        """
        from mudra.clips.manifest import read_manifest
        from mudra.datasets.puppets.writing import cached

        return read_manifest(cached(self) if folder is None else folder)
