"""Who reads which clip, so that a loader process that dies or hangs is told with the clip's name.

Every loader process writes what it is at into shared memory; the process that waits for it looks there.
"""

from __future__ import annotations

import os
import signal
import time
from multiprocessing import active_children
from multiprocessing.sharedctypes import RawArray
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

IDLE = -1.0
LOOK_AGAIN = 0.01  # seconds
PROCESS, CLIP, SINCE, CELLS = 0, 1, 2, 3  # what the cells of each loader process hold


class Watch:
    """What each loader process is at: its number, the clip, and since when."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._cells = RawArray("d", [IDLE] * (CELLS * max(workers, 1)))

    def starts(self, worker: int) -> None:
        """Called in a fresh loader process.

        Only its parent ends it: a signal to the whole group (Ctrl-C, a scheduler's warning) must let the
        training save first.
        """
        torch.set_num_threads(1)  # loader processes share the cores with training
        for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        self._cells[worker * CELLS + PROCESS] = os.getpid()

    def at(self, clip: int) -> None:
        """Write down what this process reads now; IDLE is nothing."""
        info = get_worker_info()
        if info is not None:
            self._cells[info.id * CELLS + SINCE] = time.monotonic()
            self._cells[info.id * CELLS + CLIP] = clip

    def hung(self, limit: float) -> int | None:
        """The clip that has been read for longer than `limit` seconds; None where there is none."""
        now = time.monotonic()
        for clip, since in self._rows():
            if clip != IDLE and now - since > limit:
                return int(clip)
        return None

    def dead(self, patience: float = 0.0) -> int | None:
        """The clip that a process died over; None where all live or none was at work.

        Args:
            patience: seconds to wait for it, where a process is at work: one that dies closes its files some time
                before its parent can see it dead.
        """
        end = time.monotonic() + patience
        while True:
            living = {child.pid for child in active_children()}
            at_work = [(worker, clip) for worker, (clip, _since) in enumerate(self._rows()) if clip != IDLE]
            for worker, clip in at_work:
                if self._cells[worker * CELLS + PROCESS] not in living:
                    return int(clip)
            if not at_work or time.monotonic() >= end:
                return None
            time.sleep(LOOK_AGAIN)

    def end(self) -> None:
        """Kill the processes that are still there; they hear nothing else."""
        ours = {int(self._cells[worker * CELLS + PROCESS]) for worker in range(self.workers)}
        for child in active_children():
            if child.pid in ours:
                child.kill()
                child.join()
        self._cells[:] = [IDLE] * len(self._cells)

    def _rows(self) -> list[tuple[float, float]]:
        cells = self._cells[:]
        return [(cells[w * CELLS + CLIP], cells[w * CELLS + SINCE]) for w in range(self.workers)]


class Watched(Dataset[Any]):
    """The samples of a data set, whose reading is written down in a watch."""

    def __init__(self, clips: Any, watch: Watch) -> None:
        self.clips = clips
        self.watch = watch

    def __getitem__(self, place: Any) -> Any:
        self.watch.at(place.clip)
        sample = self.clips[place]
        self.watch.at(int(IDLE))
        return sample
