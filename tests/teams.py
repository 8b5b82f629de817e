"""Several processes that train together, forked from the warm test process, so that torch is imported once."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mudra.errors import MudraError


@dataclass(frozen=True)
class Outcome:
    """How a process ended: its exit code (negative: the signal) and what its work returned or raised."""

    code: int
    value: Any = None


class Child:
    """A forked process that does `work()` and exits with 0, or with a MudraError's own code.

    Args:
        environment: set in the child before the work begins.
    """

    def __init__(self, work: Callable[[], Any], environment: dict[str, str] | None = None) -> None:
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - open in both processes until the end
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.environ.update(environment or {})
                code, value = _attempt(work)
                self._told.write(pickle.dumps(value))
                self._told.flush()
            finally:
                os._exit(code)
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it if it still runs, and let go of it."""
        self.send(signal.SIGKILL)
        while self.poll() is None:
            time.sleep(0.002)
        self._told.close()

    def wait(self, limit: float = 60.0) -> Outcome:
        """Wait for the end.

        Raises:
            TimeoutError: it did not come; the process is killed.
        """
        deadline = time.monotonic() + limit
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.end()
                raise TimeoutError(f"process {self.pid} did not end within {limit:g} s")
            time.sleep(0.002)
        assert self._code is not None
        self._told.seek(0)
        told = self._told.read()
        self._told.close()
        return Outcome(self._code, pickle.loads(told) if told else None)


def team(size: int, work: Callable[[], Any], **environment: str) -> list[Child]:
    """Start `size` processes as torchrun would, on the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        **environment,
    }
    return [Child(work, {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(size)]


def together(size: int, work: Callable[[], Any], limit: float = 60.0, **environment: str) -> list[Outcome]:
    """Do `work` in `size` processes that know each other; their outcomes by rank. One process is alone."""
    children = team(size, work, **environment) if size > 1 else [Child(work, environment)]
    try:
        return [child.wait(limit) for child in children]
    finally:
        for child in children:
            child.end()


def _attempt(work: Callable[[], Any]) -> tuple[int, Any]:
    try:
        return 0, work()
    except MudraError as problem:
        return problem.exit_code, str(problem)
    except BaseException:
        return 1, traceback.format_exc()
