"""Jobs on a SLURM cluster, submitted by submitit: `--slurm`.

A job runs the command it was submitted with. Shortly before its time is over SLURM sends it a signal: it saves at the
next step and queues itself again. When it is preempted SLURM queues it again. Both ways it goes on from its last
checkpoint, in the same job, to the very bits of a training that nothing interrupted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from mudra.errors import MudraError, StoppedError, UsageError
from mudra.recipe import find, read_yaml
from mudra.settings import Count, Positive, Settings, parse
from mudra.training.ranks import started_by
from mudra.training.stops import seconds

WARNED = ("SIGUSR1", "SIGUSR2")  # what says that the job's time is nearly over
WHOLE = ("gpus", "nodes", "tasks", "cpus")
ANSWER = 60  # seconds that SLURM may take to answer


class SlurmSettings(Settings):
    """What a job asks for. Durations are written as 12h, 90m or 1d.

    time: the job's limit; longer trainings go on in the next turn. warn: how long before it the job is told to save.
    partition, account, qos, constraint, memory (of a node): as sbatch takes them.
    nodes: machines. gpus: of each. tasks: processes on each, one for a GPU by default. cpus: of each process.
    setup: lines of shell that run first, such as `module load cuda`.
    more: other options of sbatch by name, such as {mail-user: me, exclude: node7}; true for one without a value.
    """

    time: str
    warn: str = "2m"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    memory: str | None = None
    nodes: Positive = 1
    gpus: Count = 0
    tasks: Positive | None = None
    cpus: Positive | None = None
    setup: tuple[str, ...] = ()
    more: dict[str, str | int | bool] = Field(default_factory=dict)

    @property
    def processes(self) -> int:
        """On each machine."""
        return self.tasks or max(self.gpus, 1)

    def parameters(self, name: str) -> dict[str, Any]:
        """As submitit takes them."""
        named = {
            "job_name": name,
            "time": max(1, -(-int(seconds(self.time, "--slurm time")) // 60)),
            "signal_delay_s": int(seconds(self.warn, "--slurm warn")),
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "mem": self.memory,
            "nodes": self.nodes,
            "gpus_per_node": self.gpus or None,
            "ntasks_per_node": self.processes,
            "cpus_per_task": self.cpus,
            "setup": list(self.setup) or None,
            "stderr_to_stdout": True,
        }
        return {key: value for key, value in named.items() if value is not None} | {
            "additional_parameters": {"requeue": True, **self.more}
        }


class Work(Protocol):
    """What a job does. It is pickled, so it holds plain values."""

    def __call__(self) -> None:
        """Do it, or go on with it, in each of the job's processes."""

    def place(self) -> int:
        """How far it is; a job that gets nowhere in its time is not queued again."""


def read(words: Sequence[str]) -> SlurmSettings:
    """Settings from the command line: KEY=VALUE pairs with commas between, and YAML files; what comes later wins.

    Raises:
        UsageError: an unknown key, a bad value, or no time.
    """
    values: dict[str, Any] = {}
    for word in words:
        if word.endswith((".yaml", ".yml")) and "=" not in word:
            place, text = find(word, what="--slurm")
            values |= read_yaml(text, place)
            continue
        for pair in word.split(","):
            key, equals, value = pair.partition("=")
            if not equals or not key or not value:
                raise UsageError(
                    f"--slurm: found {pair!r}; expected KEY=VALUE,... such as time=12h,partition=gpu,gpus=4, or a "
                    "YAML file."
                )
            values[key] = int(value) if key in WHOLE and value.isdecimal() else value
    settings = parse(SlurmSettings, values, "--slurm")
    settings.parameters("")  # durations are looked at
    return settings


def submit(work: Work, settings: SlurmSettings, folder: Path, name: str, count: int = 1) -> list[str]:
    """Submit a job, or an array of several that do the same.

    Args:
        folder: what the jobs print, and how they were submitted, is written here; all machines must see it.
    Returns:
        the jobs' ids.
    Raises:
        UsageError: submitit or SLURM is not installed here, or SLURM refuses the job.
    """
    try:
        import submitit
    except ImportError:
        raise UsageError("--slurm: needs submitit. Install it: pip install 'mudra[slurm]'.") from None
    if shutil.which("sbatch") is None:
        raise UsageError("--slurm: there is no sbatch on this machine; submit where your cluster's SLURM is.")
    executor = submitit.SlurmExecutor(folder=folder)
    executor.update_parameters(**settings.parameters(name))
    try:
        if count == 1:
            return [str(executor.submit(Job(work)).job_id)]
        with executor.batch():
            jobs = [executor.submit(Job(work)) for _ in range(count)]
        return [str(job.job_id) for job in jobs]
    except (
        submitit.core.utils.FailedJobError,
        submitit.core.utils.FailedSubmissionError,
        OSError,
    ) as problem:
        told = " ".join(str(problem).split())[-300:]
        raise UsageError(f"--slurm: SLURM refuses the job: {told}") from None


def watching(folder: Path, jobs: Sequence[str]) -> list[str]:
    """What a user wants to know after submitting."""
    first = jobs[0]
    many = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    return [
        f"job {first}{many} submitted",
        f"follow it: tail -F {folder / f'{first}_0_log.out'}; leave it: scancel {first.partition('_')[0]}",
    ]


@dataclass(frozen=True)
class Job:
    """Work that queues itself again when its time is nearly over."""

    work: Work

    def __call__(self) -> None:
        """Run in each process of the job, as submitit starts it.

        Raises:
            SystemExit: with the command's exit code, where that is not 0.
        """
        before = self.work.place()
        try:
            self.work()
        except StoppedError as problem:
            if problem.reason not in WARNED:  # scancel, or a preemption, after which SLURM queues it again
                self._leave(problem)
            if self._leads:
                _say(str(problem))
                self._queue_again(before)
        except MudraError as problem:
            self._leave(problem)

    def checkpoint(self) -> Any:
        """What submitit queues when the signal comes before or after the work itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    __submitit_checkpoint__ = checkpoint

    @property
    def _leads(self) -> bool:
        return started_by().get("RANK", "0") == "0"

    def _queue_again(self, before: int) -> None:
        job = os.environ.get("SLURM_JOB_ID", "")
        if self.work.place() <= before:
            _say(
                "nothing was done in this job's time, so it is not queued again; give it more with --slurm time=."
            )
            raise SystemExit(StoppedError.exit_code)
        command = ["scontrol", "requeue", job]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False)
        if done.returncode:
            _say(f"{' '.join(command)}: {' '.join(done.stderr.split())}; go on with --resume.")
            raise SystemExit(StoppedError.exit_code)
        _say(f"job {job} is queued again")

    def _leave(self, problem: MudraError) -> None:
        if not problem.told and (self._leads or not isinstance(problem, StoppedError)):
            _say(f"error: {' '.join(str(problem).split())}")
        raise SystemExit(problem.exit_code) from None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
