"""The one table of what a recipe may name by its `kind`: a recipe can name a kind, never code."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from mudra.errors import RecipeError, did_you_mean

# The one table from a recipe's `kind` to its class. A class is imported only when its kind is named.
KINDS: Mapping[str, Mapping[str, str]] = {
    "data": {
        "asl16": "mudra.datasets.asl16:Asl16",
        "epic100": "mudra.datasets.epic100:Epic100",
        "folder": "mudra.datasets.folder:Folder",
        "hmdb51": "mudra.datasets.hmdb51:HMDB51",
        "jester": "mudra.datasets.jester:Jester",
        "montalbano": "mudra.datasets.montalbano:Montalbano",
        "natops": "mudra.datasets.natops:Natops",
        "puppets": "mudra.datasets.puppets:Puppets",
        "slovo": "mudra.datasets.slovo:Slovo",
        "ucf101": "mudra.datasets.ucf101:UCF101",
        "utd_mhad": "mudra.datasets.utd_mhad:UtdMhad",
    },
    "model": {
        "c3d": "mudra.models.c3d:C3D",
        "frames": "mudra.models.frames:Frames",
        "fusion": "mudra.models.fusion:Fusion",
        "keypoint_transformer": "mudra.models.keypoint_transformer:KeypointTransformer",
        "timesformer": "mudra.models.timesformer:TimeSformer",
        "video": "mudra.models.videos:VideoNetwork",
    },
    "schedule": {
        "constant": "mudra.sections.schedule:ConstantSchedule",
        "cosine": "mudra.sections.schedule:CosineSchedule",
        "cosine_restarts": "mudra.sections.schedule:CosineRestartsSchedule",
        "cyclic": "mudra.sections.schedule:CyclicSchedule",
        "one_cycle": "mudra.sections.schedule:OneCycleSchedule",
        "plateau": "mudra.sections.schedule:PlateauSchedule",
    },
}


def kind_class(section: str, kind: Any, place: str) -> Any:
    """The class that a section's `kind` names.

    Raises:
        RecipeError: no such kind in the table.
    """
    table = KINDS[section]
    if not isinstance(kind, str) or kind not in table:
        hint = did_you_mean(str(kind), table)
        raise RecipeError(f"{place}, kind: found {kind!r}; expected one of {', '.join(table)}.{hint}")
    module, name = table[kind].split(":")
    return getattr(importlib.import_module(module), name)
