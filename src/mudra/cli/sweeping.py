"""The command that trains a study."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mudra.cli.common import DataOption, report_of, say, show
from mudra.cli.runs import SlurmOption
from mudra.errors import UsageError
from mudra.progress import Screen

if TYPE_CHECKING:
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
    from mudra.sweeps.worker import Sweep, work
    from mudra.training.stops import seconds

    needed()
    plan = studies.load(study)
    folder = out or Path("runs") / plan.name
    limit = None if time_limit is None else seconds(time_limit)
    if os.environ.keys() & {"RANK", "WORLD_SIZE"}:
        raise UsageError("a worker of a sweep trains in one process: start it without torchrun, with --workers.")
    with Screen() as screen:
        whole = Sweep(
            plan,
            data,
            folder,
            storage,
            say=screen.say,
            progress=screen.progress,
            finished=lambda run: report_of(run, data),
        )
        if worker:
            work(whole, limit)
            return
        if only_show and not folder.is_dir():
            raise UsageError(f"{folder}: there is no study; give the --out with which it was begun.")
        if slurm and not only_show:
            from mudra.slurm import read, submit_sweep

            for line in submit_sweep(whole, workers, limit, read(slurm)):
                say(line)
            return
        if not only_show:
            _train(whole, study, workers, time_limit, limit)
    _show(whole)


def _train(whole: Sweep, study: str, workers: int, time_limit: str | None, limit: float | None) -> None:
    """Train here, or in so many processes."""
    from mudra.sweeps.crew import crew
    from mudra.sweeps.standing import standing
    from mudra.sweeps.worker import work

    left = sum(row.state in ("waiting", "stopped") for row in standing(whole).rows)
    if not left:
        return
    if workers == 1:
        work(whole, limit)
        return
    words = ["sweep", study, "--out", str(whole.out)]
    for name, value in (("--data", whole.data), ("--storage", whole.storage), ("--time-limit", time_limit)):
        words += [name, value] if value else []
    crew(words, min(workers, left), whole.say)


def _show(whole: Sweep) -> None:
    """The table, table.csv and the page."""
    from mudra.reports.study_page import study_table, write_study
    from mudra.sweeps.standing import standing, write_table

    found = standing(whole)
    show(study_table(found))
    write_table(found, whole.out / "table.csv")
    say(f"table: {whole.out / 'table.csv'}; page: {write_study(found, whole.out)}")
