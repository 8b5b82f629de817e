"""Stops on request: a signal or a time limit ends a training at the next step, with everything saved."""

from __future__ import annotations

import re
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from mudra.errors import UsageError

SIGNALS = tuple(name for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


class StopRequests:
    """Listens for requests to stop while its `with` block runs. The work asks it between steps.

    Args:
        time_limit: seconds from now after which the work should stop; None never does.
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self._reason = ""
        self._limit = time_limit
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        self._before: dict[str, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():  # elsewhere signals never arrive
            for name in SIGNALS:
                self._before[name] = signal.signal(getattr(signal, name), self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, handler in self._before.items():
            signal.signal(getattr(signal, name), handler)
        self._before.clear()

    @property
    def reason(self) -> str:
        """Who asked for the stop; "" as long as nobody has."""
        if not self._reason and self._deadline is not None and time.monotonic() >= self._deadline:
            self._reason = f"the time limit of {self._limit:g} s"
        return self._reason

    @property
    def left(self) -> float | None:
        """Seconds until the time limit; None where there is none."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.001)

    def ask(self, reason: str) -> None:
        """Ask for the stop from within this process, from any thread."""
        self._reason = self._reason or reason

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if name == "SIGINT" and self._reason:  # asked twice at the keyboard: do not wait for the step
            raise KeyboardInterrupt
        self._reason = name


def seconds(text: str, option: str = "--time-limit") -> float:
    """A duration such as `11h30m`, `45m`, `90s` or `1d` in seconds.

    >>> seconds("11h30m"), seconds("8s")
    (41400.0, 8.0)

    Raises:
        UsageError: it is written in another way, or no time at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or total <= 0:
        raise UsageError(f"{option}: found {text!r}; expected a duration such as 11h30m, 45m or 90s.")
    return total
