"""Small pictures of clips, for the report's hardest clips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.clips.preprocessing import open_stream
from mudra.clips.sampling import even
from mudra.datasets.opening import open_data
from mudra.errors import MudraError
from mudra.training.run_folder import RunFolder

MOMENTS = 6


def thumbnails_of(run: RunFolder, location: str | None) -> Callable[[str], list[NDArray[np.uint8]] | None]:
    """A function from a clip's id to a few frames of it, or None where it cannot be shown."""
    try:
        recipe, manifest = open_data(run.read_recipe(), location)
    except MudraError:
        return lambda _clip: None
    row_of: dict[str, int] = {clip: row for row, clip in enumerate(manifest.ids.to_pylist())}
    shown = next((name for name in recipe.clip.streams if manifest.streams[name].kind == "video"), None)

    def frames(clip: str) -> list[NDArray[Any]] | None:
        if clip not in row_of or shown is None:
            return None
        try:
            stream = open_stream(manifest[row_of[clip]], shown, manifest.streams[shown])
            return list(stream.read(lambda times: even(times, MOMENTS)).values)
        except MudraError:
            return None

    return frames
