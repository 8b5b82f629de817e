"""The command that trains a study."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mudra.cli.common import DataOption, report_of, say, show
from mudra.cli.runs import SlurmOption
from mudra.errors import UsageError
from mudra.progress import Screen

if TYPE_CHECKING:
    from mudra.sweeps.study import Plan
    from mudra.sweeps.worker import Sweep


def sweep(
    study: Annotated[
        str, typer.Argument(help="A study's name, such as puppets-phase2, or a YAML file.", metavar="STUDY")
    ],
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="The study's folder; runs/STUDY by default.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that train on this machine.", min=1, max=256)] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            help="postgresql+psycopg://USER@HOST/NAME where several machines work; OUT/study.db by default.",
            metavar="URL",
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(help="Stop after this time with everything saved: 11h30m, 45m, 90s.", metavar="TIME"),
    ] = None,
    only_show: Annotated[
        bool, typer.Option("--show", help="Train nothing; show how the study stands.")
    ] = False,
    slurm: SlurmOption = None,
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
) -> None:
    """Train a recipe with many settings and rank them on validation; run it again to go on."""
    from mudra.sweeps import study as studies
    from mudra.sweeps.database import needed
    from mudra.training.stops import seconds

    needed()
    plan = studies.load(study)
    folder = out or Path("runs") / plan.name
    limit = None if time_limit is None else seconds(time_limit)
    if os.environ.keys() & {"RANK", "WORLD_SIZE"}:
        raise UsageError(
            "a worker of a sweep trains in one process: start it without torchrun, with --workers."
        )
    wanted = Sweeping(plan, data, folder, storage, limit)
    if worker:
        wanted.work()
        return
    if only_show:
        if not (folder / "study.yaml").is_file():
            raise UsageError(f"{folder}: there is no study; give the --out with which it was begun.")
    elif slurm:
        _submit(replace(wanted, out=folder.resolve()), workers, slurm)
        return
    else:
        wanted.train(study, workers, time_limit)
    wanted.show()


@dataclass(frozen=True)
class Sweeping:
    """What `mudra sweep` does, here or as a job: the study as it was read when the command was given."""

    plan: Plan
    data: str | None
    out: Path
    storage: str | None
    limit: float | None

    def __call__(self) -> None:
        """Work as one of several, and show the table."""
        self.work()
        self.show()

    def place(self) -> int:
        """Steps that all trials together have saved; -1 before there are any."""
        from mudra.training.run_folder import RunFolder

        return sum(RunFolder(path).last_step + 1 for path in self.out.glob("trial-*")) - 1

    def work(self) -> None:
        """Be one worker, in this process."""
        from mudra.sweeps.worker import work

        with Screen() as screen:
            work(self.sweep(screen), self.limit)

    def train(self, study: str, workers: int, time_limit: str | None) -> None:
        """Train what is left, here or in so many processes."""
        from mudra.sweeps.crew import crew
        from mudra.sweeps.standing import standing

        with Screen() as screen:
            left = sum(row.state in ("waiting", "stopped") for row in standing(self.sweep(screen)).rows)
            if left and workers > 1:
                words = ["sweep", study, "--out", str(self.out)]
                given = (("--data", self.data), ("--storage", self.storage), ("--time-limit", time_limit))
                words += [word for name, value in given if value for word in (name, value)]
                crew(words, min(workers, left), screen.say)
        if left and workers == 1:
            self.work()

    def show(self) -> None:
        """The table, table.csv and the page."""
        from mudra.reports.study_page import study_table, write_study
        from mudra.sweeps.standing import standing, write_table

        with Screen(bar=False) as screen:
            found = standing(self.sweep(screen))
        show(study_table(found))
        write_table(found, self.out / "table.csv")
        say(f"table: {self.out / 'table.csv'}; page: {write_study(found, self.out)}")

    def sweep(self, screen: Screen) -> Sweep:
        """The study with its data and folder, heard on this screen."""
        from mudra.sweeps.worker import Sweep

        return Sweep(
            self.plan,
            self.data,
            self.out,
            self.storage,
            say=screen.say,
            progress=screen.progress,
            finished=lambda run: report_of(run, self.data),
        )


def _submit(wanted: Sweeping, workers: int, words: list[str]) -> None:
    """Submit so many workers, each a job of its own."""
    from mudra.slurm import read, submit, watching
    from mudra.training.run_folder import JOBS

    settings = read(words)
    if settings.nodes * settings.processes > 1 or settings.gpus > 1:
        raise UsageError(
            f"--slurm: found {settings.nodes} nodes with {settings.processes} processes and {settings.gpus} GPUs each; "
            "a worker of a sweep is one process with one GPU at most. Say how many jobs with --workers."
        )
    if wanted.storage is None and workers > 1:
        say(
            "warning: several jobs share OUT/study.db, which not every network file system bears; "
            "--storage postgresql+psycopg://USER@HOST/NAME is made for it"
        )
    folder = wanted.out / JOBS
    for line in watching(folder, submit(wanted, settings, folder, wanted.plan.name, workers)):
        say(line)
    say(f"how it stands: mudra sweep {wanted.plan.name} --out {wanted.out} --show")
