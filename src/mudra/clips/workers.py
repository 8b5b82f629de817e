"""Files read in other processes, each within a time limit: a reader that hangs or dies is an answer.

A decoder is C code that meets whatever bytes a stranger made. Where one file makes it hang or crash,
that file is reported, a fresh process takes the place of the lost one, and the rest goes on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, TypeVar

from mudra.errors import MudraError, OutputError, UsageError
from mudra.progress import Progress, silent

T = TypeVar("T")
R = TypeVar("R")


START_LIMIT = 120.0  # seconds that a process may take to import what it needs on a busy machine


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result: what the reader said, or what became of it, in one line."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Hopeless:
    """What would befall every other item too."""

    problem: MudraError


def cores() -> int:
    """How many processes this machine, or the part of it that we may use, works on at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Crew:
    """Processes that are started when there is work, and ended with the `with` block.

    Args:
        workers: how many, by default one a core; 0 works in this process, where nothing can be limited.
        limit: seconds that one item may take, or that may pass without `still_working`.
        progress: told about every item.
    """

    def __init__(
        self, workers: int | None = None, limit: float = 60.0, progress: Progress | None = None
    ) -> None:
        self._most = cores() if workers is None else workers
        self._limit = limit
        self._progress = progress or silent
        self._workers: list[_Worker] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.end()

    def each(
        self, what: str, work: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, R | Failure]]:
        """Do `work` for every item; the results come as they are done, each with its item's number.

        Args:
            what: a word for the progress.
            work: a function that a fresh process can import; a MudraError of it becomes a `Failure`.
        Raises:
            UsageError: the processes cannot start, or `work` raised it.
            OutputError: `work` raised it, for what cannot be written once cannot be written again.
        """
        results = self._in_others(work, items) if self._most else self._here(work, items)
        for done, (number, result) in enumerate(results, 1):
            if isinstance(result, _Hopeless):
                raise result.problem
            yield number, result
            self._progress(what, done, len(items))

    def _here(
        self, work: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, R | Failure | _Hopeless]]:
        return ((number, _attempt(work, item)) for number, item in enumerate(items))

    def _in_others(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, Any]]:
        while len(self._workers) < min(self._most, len(items)):
            self._workers.append(_Worker(self._limit))
        queue = iter(enumerate(items))
        while True:
            for worker in self._workers:
                if worker.number is None and (following := next(queue, None)) is not None:
                    worker.begin(work, *following)
            busy = [worker for worker in self._workers if worker.number is not None]
            if not busy:
                return
            soonest = min(worker.deadline for worker in busy)
            wait([worker.pipe for worker in busy], max(0.0, soonest - time.monotonic()))
            for worker in busy:
                at, result = worker.number, worker.answer()
                if result is not None:
                    yield at or 0, result[0]


def still_working() -> None:
    """Called by work that takes long: the item's time begins anew. In this process it does nothing."""
    if _pipe is not None:
        _pipe.send(None)


_pipe: Connection | None = None  # of the process that serves


def _attempt(work: Callable[[T], R], item: T) -> R | Failure | _Hopeless:
    try:
        return work(item)
    except (OutputError, UsageError) as problem:
        return _Hopeless(problem)
    except MudraError as problem:
        return Failure(str(problem))
    except Exception as problem:  # whatever a damaged file brings out of a decoder, the others go on
        first = (str(problem).splitlines() or [""])[0]
        return Failure(f"reading it failed with {type(problem).__name__}: {first}.")


class _Worker:
    """One process, the item that it works on, and until when it may."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")  # a fork would copy the locks of other threads as they happen to stand
        self.pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._ready = False
        self.number: int | None = None
        self.deadline = 0.0

    def begin(self, work: Callable[[T], R], number: int, item: T) -> None:
        """Hand over the next item."""
        self.number = number
        self.deadline = time.monotonic() + START_LIMIT
        with suppress(BrokenPipeError):  # it has just died; answer() tells
            self.pipe.send((work, item))

    def answer(self) -> tuple[Any] | None:
        """The result of the item under way, or None while it goes on."""
        try:
            if self.pipe.poll():
                message = self.pipe.recv()
                if message is not None:
                    self.number = None
                    return message
                self._ready = True  # everything is imported, and the item's time begins
                self.deadline = time.monotonic() + self._limit
        except (EOFError, ConnectionResetError):
            return self._lost()
        if time.monotonic() < self.deadline:
            return None
        return self._replace(
            f"reading it took more than {self._limit:g} s; leave the file out, or convert it."
        )

    def _lost(self) -> tuple[Failure]:
        if not self._ready:
            raise UsageError(
                "reading in other processes: they cannot start; a script that is run directly needs "
                '`if __name__ == "__main__":` around what it does, or take workers=0.'
            )
        self._process.join()
        code = self._process.exitcode or 0
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return self._replace(f"the reader crashed on it ({name}); leave the file out, or convert it.")

    def _replace(self, reason: str) -> tuple[Failure]:
        self.end()
        self._start()
        return (Failure(reason),)

    def end(self) -> None:
        """Stop the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self.pipe.close()


def _serve(pipe: Connection) -> None:
    """The life of a process: items in, results out, until the pipe closes."""
    global _pipe
    _pipe = pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is the one who is asked to stop
    with suppress(EOFError, BrokenPipeError):
        while True:
            work, item = pipe.recv()
            pipe.send(None)
            pipe.send((_attempt(work, item),))
