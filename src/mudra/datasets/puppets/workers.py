"""Several processes that write clips, each a share of them.

They are fresh interpreters that are told a folder and a share. Nothing is forked beside running threads,
and a caller's script is not run a second time, as it would be by `multiprocessing`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from mudra.datasets.puppets.files import write_clip
from mudra.datasets.puppets.settings import Puppets
from mudra.errors import OutputError
from mudra.progress import Progress

_DONE = "."
_PROGRAM = """
import json, sys
job = json.loads(sys.argv[1])
sys.path[:] = job["path"]
from mudra.datasets.puppets.workers import work
work(job)
"""


def write_clips(folder: Path, settings: Puppets, workers: int, progress: Progress | None) -> None:
    """Write all clips to `folder`, with several processes where `workers` is above 1.

    Raises:
        OutputError: a worker could not write, or ended early.
    """
    if workers > 1:
        _share_out(folder, settings, workers, progress)
        return
    for number in range(settings.clips):
        write_clip(folder, settings, number)
        if progress:
            progress("drawing", number + 1, settings.clips)


def _share_out(folder: Path, settings: Puppets, workers: int, progress: Progress | None) -> None:
    """Let each worker write every `workers`-th clip. They say on one shared pipe when a clip is done."""
    done, problem = 0, ""
    with _started(folder, settings, workers) as heard:
        for line in heard:
            if line.strip() != _DONE:
                problem = line.strip()
                break
            done += 1
            if progress:
                progress("drawing", done, settings.clips)
    if done < settings.clips:
        reason = problem or "a worker process ended early"
        raise OutputError(
            f"{folder}: {done} of {settings.clips} clips were written: {reason}. Mend that and run it again."
        )


@contextmanager
def _started(folder: Path, settings: Puppets, workers: int) -> Iterator[Iterator[str]]:
    """Start the workers; yields the lines they say. Those that still run at the end of the block are ended."""
    reading, writing = os.pipe()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with open(reading, encoding="utf-8", errors="replace") as heard:
            try:
                for worker in range(workers):
                    job = {"folder": str(folder), "first": worker, "step": workers, "path": sys.path}
                    job["settings"] = settings.model_dump(mode="json")
                    command = [sys.executable, "-P", "-c", _PROGRAM, json.dumps(job)]
                    processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writing))
            finally:
                os.close(writing)  # the workers hold it now: reading ends when the last of them has ended
            yield heard
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
            process.wait()


def work(job: dict[str, Any]) -> None:
    """What a worker process does: write its clips, and say a full stop for each, or why it could not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its workers
    settings = Puppets.model_validate_json(json.dumps(job["settings"]))
    for number in range(job["first"], settings.clips, job["step"]):
        try:
            write_clip(Path(job["folder"]), settings, number)
        except (OSError, av.FFmpegError) as problem:
            _say(str(problem).replace("\n", " ") or type(problem).__name__)
            raise SystemExit(OutputError.exit_code) from None
        _say(_DONE)


def _say(line: str) -> None:
    """One line to the parent in one write, which a pipe keeps whole among those of other workers."""
    try:
        os.write(1, f"{line[:400]}\n".encode())
    except BrokenPipeError:  # the parent is gone: nobody wants the rest
        raise SystemExit(OutputError.exit_code) from None
