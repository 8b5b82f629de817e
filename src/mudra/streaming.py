"""A recogniser that runs live: frames in as they come, answers at the rate that the model was trained at.

Frames come at any rate. The model looks `fps` times a second: a frame that comes before the next look is
due is passed over; where looks were missed, the frame that was last on show stands in for them, up to
`hold` seconds; after a longer gap, or when time runs backwards, the stream begins anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from mudra.bundle import Bundle, read_weights
from mudra.errors import DataError, ModelError
from mudra.files import replace_file
from mudra.types import Prediction

if TYPE_CHECKING:
    from mudra.models.timesformer import StreamState

TIE = 1e-6  # seconds: looks nearer than this to a frame's time are due with it


@dataclass
class Pace:
    """When the model looks, given when frames come. Pure arithmetic on seconds.

    Args:
        fps: looks a second.
        hold: seconds for which the last frame may stand in for missing ones.
    """

    fps: float
    hold: float = 1.0
    started: float | None = None
    looks: int = 0
    latest: float = -math.inf

    def arrive(self, time: float) -> tuple[bool, int]:
        """A frame is there at `time`.

        Returns:
            whether the stream begins anew with it, and how many looks are due: 0 passes the frame over,
            n > 1 means that n - 1 looks were missed.
        Raises:
            DataError: a time that is no number.
        """
        if not math.isfinite(time):
            raise DataError(f"stream: found the time {time}; expected seconds that grow from frame to frame.")
        gap = time - self.latest
        self.latest = time
        if self.started is None or gap < -TIE or gap > self.hold:
            self.started, self.looks = time, 1
            return True, 1
        due = int((time - self.started + TIE) * self.fps) + 1 - self.looks
        self.looks += due
        return False, due


class LiveStream:
    """One source of frames, recognised as they come. Made by `Recognizer.stream`.

    Attributes:
        state_bytes: memory of the model's state, the same after a minute and after a day.
    """

    def __init__(self, bundle: Bundle, model: nn.Module, device: torch.device, hold: float = 1.0) -> None:
        settings = bundle.preprocessing.settings
        if not hasattr(model, "initial_state"):
            raise ModelError(
                f"{bundle.name}: its model looks at whole clips; a stream needs one with retention."
            )
        self._state: StreamState = model.initial_state()  # type: ignore[operator]
        if settings.fps is None:
            raise ModelError(
                f"{bundle.name}: it was trained with clip.sampling: {settings.sampling}, which has no rate of its "
                "own; a stream needs clip.sampling: paced and clip.fps."
            )
        self.bundle = bundle
        self.model = model
        self.device = device
        self.pace = Pace(settings.fps, hold)
        self._shown: NDArray[np.float32] | None = None

    @property
    def state_bytes(self) -> int:
        return self._state.bytes

    @property
    def seen(self) -> int:
        """Looks since the stream began."""
        return int(self._state.seen[0])

    def push(self, frame: NDArray[np.uint8], time: float | None = None) -> Prediction | None:
        """Take in a frame.

        Args:
            frame: uint8 RGB [H, W, 3].
            time: seconds, on any clock that does not jump; without it frames come at the model's own rate.
        Returns:
            the answer up to now, or None where the model does not look at this frame.
        Raises:
            DataError: it is no picture, or the time is no number.
        """
        if (
            not isinstance(frame, np.ndarray)
            or frame.dtype != np.uint8
            or frame.ndim != 3
            or frame.shape[2] != 3
        ):
            found = (
                f"{frame.dtype} {list(frame.shape)}"
                if isinstance(frame, np.ndarray)
                else type(frame).__name__
            )
            raise DataError(f"stream: found a frame {found}; expected uint8 RGB [H,W,3].")
        if time is None:
            time = 0.0 if self.pace.started is None else self.pace.started + self.pace.looks / self.pace.fps
        anew, due = self.pace.arrive(time)
        if anew:
            self._state.reset()
        if not due:
            return None
        look = self.bundle.preprocessing.video(frame[None])[0, 0]
        for _ in range(due - 1):
            self._step(look if self._shown is None else self._shown)
        self._shown = look
        logits = self._step(look)
        return self.bundle.prediction(
            {task: x_BC[0].float().log_softmax(-1).cpu().numpy() for task, x_BC in logits.items()}
        )

    def reset(self) -> None:
        """Begin anew with the next frame."""
        self.pace = Pace(self.pace.fps, self.pace.hold)
        self._state.reset()
        self._shown = None

    def save(self, path: str | Path) -> None:
        """Write down where the stream stands, as safetensors, to go on later or elsewhere.

        Raises:
            OutputError: the file cannot be written.
        """
        shown = {} if self._shown is None else {"shown": torch.from_numpy(self._shown)}
        where = [self.pace.started or 0.0, float(self.pace.looks), self.pace.latest]
        tensors = {**self._state.tensors(), **shown, "pace": torch.tensor(where, dtype=torch.float64)}
        replace_file(Path(path), save({name: x.detach().cpu().contiguous() for name, x in tensors.items()}))

    def restore(self, path: str | Path) -> None:
        """Go on where `save` was called; the next frame's time counts on from there.

        Raises:
            ModelError: the file is not the state of a stream of this model.
        """
        found = read_weights(Path(path))
        own = {**self._state.tensors(), "pace": torch.zeros(3, dtype=torch.float64)}
        for name, tensor in own.items():
            if name not in found or found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
                raise ModelError(
                    f"{path}: {name!r} is missing or of another shape; expected a stream of this model."
                )
        for name, tensor in self._state.tensors().items():
            tensor.copy_(found[name])
        started, looks, latest = found["pace"].tolist()
        fresh = looks == 0
        self.pace = Pace(self.pace.fps, self.pace.hold, None if fresh else started, int(looks), latest)
        self._shown = found["shown"].numpy() if "shown" in found else None

    def _step(self, look: NDArray[np.float32]) -> dict[str, torch.Tensor]:
        frame = torch.from_numpy(look)[None].to(self.device)
        answer: dict[str, torch.Tensor] = self.model.step(frame, self._state)  # type: ignore[operator]
        return answer
