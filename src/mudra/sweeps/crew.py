"""Several workers on one machine: each is the one-worker command in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from mudra.errors import MudraError, StoppedError
from mudra.progress import Say
from mudra.training.hardware import visible_gpus
from mudra.training.stops import StopRequests

REPLACED = 3  # workers that are killed, after which their like are not started again


class CrewError(MudraError):
    """A worker failed; its own message tells why."""


def crew(words: Sequence[str], workers: int, say: Say) -> None:
    """Run so many workers and wait for them. One that is killed is replaced, up to three times.

    Args:
        words: of the command line that a worker runs, after `mudra`.
    Raises:
        StoppedError: a signal asked for it; the workers have saved what they did.
        CrewError: a worker failed, with its exit code.
    """
    listeners: list[threading.Thread] = []

    def start(number: int) -> subprocess.Popen[str]:
        process = _start(words, number, workers)
        listeners.append(threading.Thread(target=_repeat, args=(process.stderr, number, say), daemon=True))
        listeners[-1].start()
        return process

    with StopRequests() as stops:
        team = {number: start(number) for number in range(workers)}
        killed, codes, told = 0, [], False
        while team:
            if stops.reason and not told:
                told = True
                for process in team.values():
                    process.send_signal(signal.SIGTERM)
            for number, process in list(team.items()):
                code = process.poll()
                if code is None:
                    continue
                del team[number]
                if code < 0 and not told and killed < REPLACED:
                    killed += 1
                    say(f"worker {number + 1} was killed by signal {-code}; another takes its place")
                    team[number] = start(number)
                else:
                    codes.append(code)
            time.sleep(0.05)
        for listener in listeners:
            listener.join()
    if stops.reason:
        raise StoppedError(f"stopped by {stops.reason}; run the same command again to go on.", stops.reason)
    failed = [code for code in codes if code]
    if failed:
        problem = CrewError(
            "a worker failed; its message above tells why. Run the same command again to go on."
        )
        problem.exit_code = max(failed) if max(failed) > 0 else 1
        raise problem


def _start(words: Sequence[str], number: int, workers: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mudra", *words, "--worker"],
        env={**os.environ, **_share(number, workers)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
    )


def _share(number: int, workers: int) -> Mapping[str, str]:
    """A worker's share of the machine: GPUs in turn, and as many threads as there are cores for each."""
    share = {}
    if gpus := visible_gpus():
        share["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    if "OMP_NUM_THREADS" not in os.environ:
        share["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    return share


def _repeat(lines: IO[str], number: int, say: Say) -> None:
    with lines:
        for line in lines:
            say(f"[{number + 1}] {line.rstrip()}")
