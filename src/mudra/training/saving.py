"""Checkpoints written while the training goes on.

Saving costs the loop one copy of the tensors in memory; serialising, hashing, writing and flushing
happen in a thread. One checkpoint is under way at a time: a second waits for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mudra.training import checkpoints


class Saver:
    """Writes checkpoints into a folder, in the background.

    Args:
        done: called in the thread with the step of every checkpoint that has become whole.
    """

    def __init__(self, root: Path, done: Callable[[int], None]) -> None:
        self.root = root
        self._done = done
        self._thread: Thread | None = None
        self._failure: BaseException | None = None
        self._copies: dict[tuple[str, str], Tensor] = {}  # kept: fresh memory costs more than the copy

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        keep: Callable[[list[int]], set[int]],
    ) -> None:
        """Take a copy of everything now and write it meanwhile.

        Args:
            keep: given the steps on the disk, those that stay; the others are removed afterwards.
        Raises:
            OutputError: the checkpoint before this one could not be written.
        """
        self.wait()
        copied = {
            file: {name: self._copy(file, name, tensor) for name, tensor in named.items()}
            for file, named in tensors.items()
        }
        if any(tensor.is_cuda for named in tensors.values() for tensor in named.values()):
            torch.cuda.synchronize()  # the copies from the GPU run on their own until here

        def write() -> None:
            try:
                checkpoints.save(self.root, step, copied, state)
                self._done(step)
                checkpoints.keep_only(self.root, keep(checkpoints.steps(self.root)))
            except BaseException as problem:  # told by `check` or `wait`, in the loop's own thread
                self._failure = problem

        self._thread = Thread(target=write, name=f"checkpoint {step}")
        self._thread.start()

    def check(self) -> None:
        """Raise what went wrong in the background, if anything did.

        Raises:
            OutputError: a checkpoint could not be written.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def wait(self) -> None:
        """Return when nothing is under way any more.

        Raises:
            OutputError: the checkpoint under way could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def close(self) -> None:
        """Return when nothing is under way any more, whatever became of it."""
        if self._thread is not None:
            self._thread.join()

    def _copy(self, file: str, name: str, tensor: Tensor) -> Tensor:
        own = self._copies.get((file, name))
        if own is None or own.shape != tensor.shape or own.dtype != tensor.dtype:
            own = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._copies[file, name] = own
        if tensor.is_cuda:
            return own.copy_(tensor.detach(), non_blocking=True)
        # one plain copy: torch's threads wait for each other, which costs more where the cores are busy
        np.copyto(_bytes(own), _bytes(tensor))
        return own


def _bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """A tensor's memory, or that of a copy in one piece where it lies scattered."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
