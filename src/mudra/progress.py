"""What long work tells while it runs: lines for everybody, and a bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

Say = Callable[[str], None]
"""Takes one line that a user should read."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def silent(_what: str, _done: int, _total: int) -> None:
    """Tells nobody."""


QUIET = 60.0  # seconds without a line, after which one says how far the work is, where there is no bar


class Screen:
    """The terminal: lines stay, one bar moves below them. Elsewhere there are only lines, on stderr.

    Use it in a `with` block and hand `screen.say` and `screen.progress` to the work.
    """

    def __init__(self, bar: bool | None = None) -> None:
        self._wanted = sys.stderr.isatty() if bar is None else bar
        self._bar: Any = None
        self._task: Any = None
        self._told = time.monotonic()

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def say(self, line: str) -> None:
        """Print one line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201
        self._told = time.monotonic()

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar; it goes when the work is done. Where there is none, break a long silence."""
        if not self._wanted:
            if time.monotonic() - self._told >= QUIET:
                self.say(f"{what}: {done:,} of {total:,}")
            return
        if self._bar is None:
            self._start()
        if done >= total:
            self._stop()
        else:
            self._bar.update(self._task, description=what, completed=done, total=total)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("")
        self._bar.start()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
