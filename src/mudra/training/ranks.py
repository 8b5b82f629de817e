"""The processes that train one model together, as `torchrun` or SLURM's `srun` starts them.

Alone, a `Team` has one member and every exchange gives back what went in; so the loop is written once.
Small things that decide where the training goes (is a stop asked for, how many clips are there) travel
over gloo on the CPU, which notices at once when another process is gone; gradients travel over NCCL
where there are GPUs.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mudra.errors import MudraError, RecipeError, UsageError
from mudra.training.hardware import choose_device

T = TypeVar("T")
NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(hours=1)  # one process may read a large data set while the others wait


class LostError(MudraError):
    """Another process of the training is gone; that one tells why."""


@dataclass(frozen=True)
class Team:
    """Which of how many processes this is. The first one, which leads, writes files and talks."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` things that lie in a row are this process's: neighbours, as even as can be."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def agree(self, make: Callable[[], T]) -> T:
        """What the leading process makes, for all; its error is everybody's.

        Raises:
            MudraError: what `make` raised in the leading process.
        """
        if self.size == 1:
            return make()
        answer: list[Any] = [None, None]
        if self.leads:
            try:
                answer[0] = make()
            except MudraError as problem:
                answer[1] = problem
        with lost_is_told():
            dist.broadcast_object_list(answer, src=0, device=torch.device("cpu"))
        if answer[1] is not None:
            answer[1].told = not self.leads
            raise answer[1]
        result: T = answer[0]
        return result

    def gather(self, thing: T) -> list[T]:
        """A small thing of every process, by rank."""
        if self.size == 1:
            return [thing]
        things: list[Any] = [None] * self.size
        with lost_is_told():
            dist.all_gather_object(things, thing)
        return things

    def add(self, numbers: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.size > 1:
            with lost_is_told():
                dist.all_reduce(numbers)
        return numbers

    def any(self, flag: bool) -> bool:
        """Whether it is true in at least one process."""
        return bool(flag) if self.size == 1 else bool(self.add(torch.tensor(float(flag))) > 0)

    def gather_rows(self, rows: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """The rows [n,...] of every process by rank, of which each has `counts[rank]`."""
        if self.size == 1:
            return [rows]
        most = max(counts)
        padded = rows.new_zeros((most, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        with lost_is_told():
            dist.all_gather(parts, padded)
        return [part[:count] for part, count in zip(parts, counts, strict=True)]

    def wrap(self, model: nn.Module, example: Mapping[str, Tensor]) -> nn.Module:
        """The model with gradients that are averaged over the processes.

        Args:
            example: one clip for the model. DDP arranges its messages in its first backward pass; that
                pass is made here, on this clip, so that the sums of a resumed training run in the very
                order of an unbroken one.
        """
        if self.size == 1:
            return model
        places = [self.device.index] if self.device.type == "cuda" else None
        together = DistributedDataParallel(model, device_ids=places)
        pose_as_training(model, together)
        for _ in range(2):  # the second forward pass is where DDP takes up the new arrangement
            logits = together(dict(example))
            (sum(part.float().sum() for part in logits.values()) * 0).backward()
        together.zero_grad(set_to_none=True)
        return together


def pose_as_training(model: nn.Module, whole: nn.Module | None = None) -> None:
    """Let a model give all that it gives in training, its heads on inner layers too, while its layers draw nothing
    and move no statistics.

    Args:
        whole: what the model is wrapped in.
    """
    (whole or model).eval()
    model.training = True  # of the model alone: what it is made of stays in evaluation mode


@contextmanager
def join(wanted: Literal["auto", "cpu", "cuda"], *, alone: bool = False) -> Iterator[Team]:
    """Join the processes that were started together, and part from them at the end.

    Args:
        wanted: the recipe's device.
        alone: this process trains by itself, whatever was started beside it.
    Raises:
        UsageError: the environment names only a part of what a process must know, or the port is taken.
    """
    environment = started_by()
    known = {name: environment[name] for name in NAMES if environment.get(name)}
    if alone or not known.keys() & {"RANK", "WORLD_SIZE"}:
        yield Team(choose_device(wanted))
        return
    missing = [name for name in NAMES if name not in known]
    if missing:
        raise UsageError(
            f"environment: found {', '.join(known)} but not {', '.join(missing)}; expected all of them, as torchrun "
            "sets them. Start with `torchrun --nproc-per-node N -m mudra train ...`, or unset them."
        )
    try:
        rank, size = int(known["RANK"]), int(known["WORLD_SIZE"])
        local = int(environment.get("LOCAL_RANK", rank))
        int(known["MASTER_PORT"])
    except ValueError:
        rank, size, local = -1, 0, 0
    if not 0 <= rank < size:
        raise UsageError(
            f"environment: found RANK={known['RANK']} and WORLD_SIZE={known['WORLD_SIZE']}, "
            f"MASTER_PORT={known['MASTER_PORT']}; expected numbers with RANK below WORLD_SIZE."
        )
    if size == 1:
        yield Team(choose_device(wanted))
        return
    device = choose_device(wanted)
    if device.type == "cuda":
        if local and torch.cuda.device_count() == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
            local = 0  # the cluster shows each process a GPU of its own
        if local >= torch.cuda.device_count():
            raise RecipeError(
                f"train.device: process {local} of this machine finds {torch.cuda.device_count()} GPUs; start as many "
                "processes as there are GPUs, or set train.device=cpu."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(
            backend, store=_store(known, rank, size), rank=rank, world_size=size, timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as problem:  # the port is taken, or nobody answers there
        reason = " ".join(str(problem).split())[:200]
        raise UsageError(
            f"environment: no connection at {known['MASTER_ADDR']}:{known['MASTER_PORT']}: {reason}. Choose a free "
            "MASTER_PORT (torchrun --master-port, or export it before srun) and see that all processes are started."
        ) from None
    try:
        yield Team(device, rank, size)
    finally:
        dist.destroy_process_group()


def started_by() -> Mapping[str, str]:
    """What this process knows of those started with it, under torchrun's names.

    A step of several tasks that `srun` began says the same under SLURM's own names. A batch script that counts its
    tasks and runs one process is no such step.
    """
    environment = os.environ
    if environment.keys() & {"RANK", "WORLD_SIZE"}:
        return environment
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if not tasks.isdecimal() or int(tasks) < 2 or "SLURM_PROCID" not in environment:
        return environment
    here = environment.get("SLURM_STEP_NUM_NODES") == "1"  # then no name has to be found
    step = f"{environment.get('SLURM_JOB_ID')}.{environment.get('SLURM_STEP_ID')}"
    return {
        "MASTER_ADDR": "127.0.0.1" if here else first_host(environment.get("SLURM_STEP_NODELIST", "")),
        "MASTER_PORT": str(20000 + zlib.crc32(step.encode()) % 10000),  # below those that systems give away
        **environment,
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
    }


def first_host(nodes: str) -> str:
    """The first machine of a list as SLURM writes it.

    >>> first_host("gpu[03-05,11],cpu1"), first_host("login"), first_host("rack2-n[7,9]-ib")
    ('gpu03', 'login', 'rack2-n7-ib')
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0]) if first else ""


def _store(known: Mapping[str, str], rank: int, size: int) -> Any:
    """Where the processes find each other. Each attempt has names of its own: after a restart torchrun's store
    still holds the addresses of the processes that are gone, and waiting for those would have no end."""
    address, port = known["MASTER_ADDR"], int(known["MASTER_PORT"])
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun keeps the store itself
    store = dist.TCPStore(  # type: ignore[attr-defined]
        address, port, size, is_master=rank == 0 and not served, timeout=PATIENCE
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt-{attempt}", store)  # type: ignore[attr-defined]


@contextmanager
def lost_is_told() -> Iterator[None]:
    """Turn a broken connection into one line; the process that failed tells the reason itself."""
    try:
        yield
    except RuntimeError as problem:
        reason = " ".join(str(problem).split())[:200]
        raise LostError(
            f"another process of this training is gone ({reason}); its own message tells why."
        ) from problem
