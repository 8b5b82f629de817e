"""A trained model with its preprocessing and class names sealed in: load it, predict a file.

The preprocessing is the very object that evaluation uses, so the accuracy that was measured is the
accuracy that runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mudra.bundle import Bundle, load_weights, read_bundle, read_weights
from mudra.clips.landmarks import rows_of
from mudra.clips.preprocessing import Preprocessing, Views
from mudra.clips.sampling import chooser
from mudra.clips.together import Recording
from mudra.errors import DataError, did_you_mean
from mudra.models.scoring import log_probabilities
from mudra.sources import holds_arrays, open_source
from mudra.sources.landmarks import LandmarkSource, mediapipe
from mudra.streaming import LiveStream
from mudra.types import TRACK_KINDS, Clip, Prediction, Source, Stream


class Recognizer:
    """Answers which gesture, sign or action a clip shows. Made by `load`."""

    def __init__(self, bundle: Bundle, model: nn.Module, device: torch.device) -> None:
        self.bundle = bundle
        self.model = model.to(device).eval()
        self.device = device

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Class names by task, in the order of the scores."""
        return dict(self.bundle.tasks)

    @property
    def rejects(self) -> bool:
        """Whether it may answer that a clip shows none of its classes: see `Prediction.rejected`."""
        return any(self.bundle.threshold(task) > 0 for task in self.bundle.tasks)

    def predict(
        self,
        source: str | Path | Mapping[str, str | Path] | Clip | NDArray[Any],
        *,
        fps: float | None = None,
        views: Views = Views(),  # noqa: B008
    ) -> Prediction:
        """Recognise one clip.

        Args:
            source: a video file, a folder of frames, a file of points or of a series, the file of each of several
                streams, a clip of a data set, frames uint8 RGB [T,H,W,3], points [T,K,C], or a series [T,C], NaN where
                nothing is known. One file alone is read for every stream. A recogniser of points finds them in a
                video as `mudra data landmarks` does.
            fps: frames per second of a folder or array; the training data's by default.
            views: looks at the clip, whose probabilities are averaged.
        Returns:
            every class of every task with its probability, the likeliest first, and the tasks that are rejected.
        Raises:
            DataError: the source cannot be read, or is a video in which points of this layout cannot be found.
            UsageError: points are to be found in a video, and MediaPipe is not installed.
        """
        looks = (
            self._array(source, fps, views)
            if isinstance(source, np.ndarray)
            else self._clip(source, fps, views)
        )
        streams = {name: torch.from_numpy(x)[None].to(self.device) for name, x in looks.items()}
        scores = log_probabilities(self.model, streams)
        return self.bundle.prediction({task: log_BC[0].numpy() for task, log_BC in scores.items()})

    def stream(self, hold: float = 1.0) -> LiveStream:
        """Recognise frames as they come, at constant cost and with the answers of the whole clip.

        Args:
            hold: seconds for which the last frame may stand in for missing ones; a longer gap begins anew.
        Raises:
            ModelError: the model looks at whole clips, or has no rate of its own.
        """
        return LiveStream(self.bundle, self.model, self.device, hold)

    def _clip(
        self, source: str | Path | Mapping[str, str | Path] | Clip, fps: float | None, views: Views
    ) -> dict[str, NDArray[np.float32]]:
        preprocessing = self.bundle.preprocessing
        if fps is not None:
            streams = {name: replace(info, fps=fps) for name, info in preprocessing.streams.items()}
            preprocessing = replace(preprocessing, streams=streams)
        if not isinstance(source, Clip):
            names = preprocessing.settings.streams
            files = dict(source) if isinstance(source, Mapping) else dict.fromkeys(names, source)
            paths = {name: Path(file) for name, file in files.items()}
            for name, path in paths.items():
                if name not in names:
                    raise DataError(
                        f"stream {name!r}: the recogniser takes {', '.join(names)}.{did_you_mean(name, names)}"
                    )
                if not path.exists():
                    raise DataError(f"{path}: there is no such file; give a clip that is there.")
            source = Clip(
                id=", ".join(dict.fromkeys(map(str, paths.values()))),
                streams=paths,
                opened=_found_in(paths, preprocessing),
            )
        return preprocessing.read(source, views)

    def _array(self, frames: NDArray[Any], fps: float | None, views: Views) -> dict[str, NDArray[np.float32]]:
        names = self.bundle.preprocessing.settings.streams
        name, kind = names[0], self.bundle.preprocessing.kind(names[0])
        if len(names) > 1 or kind in ("depth", "mask"):
            raise DataError(
                f"an array: the recogniser takes {', '.join(names)}; give the file of each by name."
            )
        if kind in TRACK_KINDS:
            return self._track(frames, name, fps, views)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
            raise DataError(
                f"frames: found {frames.dtype} {list(frames.shape)}; expected uint8 RGB [T,H,W,3], T >= 1."
            )
        preprocessing = self.bundle.preprocessing
        rate = fps or preprocessing.streams[name].fps or 25.0  # only ratios of times matter to a whole clip
        times = np.arange(len(frames)) / rate
        looks = [
            chooser(preprocessing.settings, clip=i, clips=views.clips)(times) for i in range(views.clips)
        ]
        return {name: preprocessing.video(frames[np.concatenate(looks)], views)}

    def _track(
        self, values: NDArray[Any], name: str, fps: float | None, views: Views
    ) -> dict[str, NDArray[np.float32]]:
        preprocessing = self.bundle.preprocessing
        kind = preprocessing.kind(name)
        axes, unknown = (
            ("[T,K,C]", "a point was not seen") if kind == "points" else ("[T,C]", "a value is not known")
        )
        right = values.dtype.kind == "f" and values.ndim == axes.count(",") + 1 and bool(values.size)
        if not right or np.isinf(values).any():
            raise DataError(
                f"{kind}: found {values.dtype} {list(values.shape)}; expected finite numbers {axes}, or NaN where "
                f"{unknown}."
            )
        times = np.arange(len(values)) / (fps or preprocessing.streams[name].fps or 25.0)
        stream = preprocessing.checked(Stream(kind, values.astype(np.float32), times), name, kind)
        return preprocessing.look(Recording(times, {name: stream}, {}), views)


def _found_in(paths: Mapping[str, Path], preprocessing: Preprocessing) -> dict[str, Source]:
    """The streams of points that a video does not hold, found in it when they are read."""
    found: dict[str, Source] = {}
    for name, path in paths.items():
        info = preprocessing.streams[name]
        if info.kind == "points" and not holds_arrays(path):
            rows = rows_of(preprocessing.layout(name))
            found[name] = LandmarkSource(open_source(path, "video", fps=info.fps), mediapipe(), rows)
    return found


def load(path: str | Path, device: Literal["auto", "cpu", "cuda"] = "auto") -> Recognizer:
    """Load a recogniser from a run or a bundle. Nothing in the folder is executed.

    Raises:
        ModelError: there is no whole bundle.
    """
    folder = Path(path)
    folder = folder if (folder / "config.json").is_file() else folder / "bundle"
    bundle = read_bundle(folder)
    model = bundle.build()
    weights = folder / "model.safetensors"
    load_weights(model, read_weights(weights), weights)
    chosen = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
    return Recognizer(bundle, model, torch.device(chosen))
