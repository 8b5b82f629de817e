"""Commands that make runs and judge them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mudra.cli.common import DataOption, RecipeName, RunPath, report_of, say, show
from mudra.errors import UsageError
from mudra.progress import Screen

if TYPE_CHECKING:
    from mudra.recipe import Recipe

SlurmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        help="Submit to SLURM: time=12h,partition=gpu,gpus=4,nodes=2, or a YAML file of them; may be repeated.",
        metavar="KEY=VALUE,...",
    ),
]


def train(
    recipe: RecipeName,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes, such as optim.lr=3e-4 train.epochs=3.", metavar="[KEY=VALUE]..."),
    ] = None,
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/RECIPE by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")
    ] = False,
    init_from: Annotated[
        str | None,
        typer.Option(
            help="Start from the weights of this run, bundle or published model (a folder or hub id).",
            metavar="FOLDER",
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(help="Stop after this time with everything saved: 11h30m, 45m, 90s.", metavar="TIME"),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Cross-validate: `group` leaves out one group at a time, 5 makes five folds.",
            metavar="group|K",
        ),
    ] = None,
    slurm: SlurmOption = None,
) -> None:
    """Train a recipe, judge it, and write a report. Under torchrun or srun, on several GPUs or processes."""
    from mudra import recipe as recipes
    from mudra.training.ranks import started_by
    from mudra.training.stops import seconds

    if resume and out is None:
        raise UsageError("--resume: say which run with --out.")
    loaded = recipes.load(recipe, [*(overrides or ()), *_folds(folds)])
    if out is None and "RANK" in started_by():
        raise UsageError("several processes: say into which run they train with --out.")
    folder = out or _new_folder(Path("runs") / loaded.name)
    limit = None if time_limit is None else seconds(time_limit)
    wanted = Training(loaded, data, folder.resolve() if slurm else folder, resume, init_from, limit)
    if not slurm:
        wanted()
        return
    from mudra.slurm import read, submit, watching
    from mudra.training.run_folder import JOBS, RunFolder

    settings = read(slurm)
    if RunFolder(folder).begun and not resume:
        raise UsageError(f"{folder}: it is there already; choose another --out, or go on with --resume.")
    for line in watching(folder / JOBS, submit(wanted, settings, wanted.out / JOBS, loaded.name)):
        say(line)


@dataclass(frozen=True)
class Training:
    """What `mudra train` does, here or as a job: the recipe as it was read when the command was given."""

    recipe: Recipe
    data: str | None
    out: Path
    resume: bool
    init_from: str | None
    limit: float | None

    def __call__(self) -> None:
        """Train, and write the report."""
        from mudra.training.ranks import started_by
        from mudra.training.train import train as run_training

        with Screen() as screen:
            run = run_training(
                self.recipe,
                self.data,
                self.out,
                resume=self.resume,
                init_from=self.init_from,
                time_limit=self.limit,
                say=screen.say,
                progress=screen.progress,
            )
        if int(started_by().get("RANK", "0")) == 0 and run.read_status().get("state") == "done":
            report_of(run, self.data)

    def place(self) -> int:
        """The last step that is saved; -1 before there is a run."""
        from mudra.training.run_folder import RunFolder

        run = RunFolder(self.out)
        return run.last_step if run.begun else -1


def evaluate(
    run: RunPath,
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    views: Annotated[str, typer.Option(help="Places in time x crops whose answers are averaged.")] = "1x1",
    checkpoint: Annotated[
        str | None, typer.Option(help="best, last or step-N; the bundle by default.")
    ] = None,
    submission: Annotated[
        str | None,
        typer.Option(help="Also write the file that a challenge's server takes: epic or montalbano."),
    ] = None,
    sls: Annotated[
        str | None,
        typer.Option(
            help="EPIC's levels of supervision: pretraining, labels, data; 0,3,3 from scratch, else 2,3,3.",
            metavar="PT,TL,TD",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write here instead of into the run.")] = None,
) -> None:
    """Judge a trained run on a split: predictions, metrics with intervals, report."""
    from mudra.clips.preprocessing import Views
    from mudra.predictions import read
    from mudra.training.judging import evaluate as judge
    from mudra.training.run_folder import RunFolder
    from mudra.training.submitting import submission_of
    from mudra.types import SPLITS

    if split not in SPLITS:
        raise UsageError(f"--split: found {split!r}; expected one of {', '.join(SPLITS)}.")
    folder = RunFolder(run)
    location = data or folder.read_environment().get("data")
    wanted = submission_of(folder, submission, sls, location)
    target = folder if out is None else folder.copy_to(out)
    with Screen() as screen:
        judge(
            folder,
            location,
            split,
            views=Views.parse(views),
            checkpoint=checkpoint,
            out=target,
            say=screen.say,
            progress=screen.progress,
        )
    if target.metrics(split).is_file():
        from mudra.predictions import read_metrics
        from mudra.reports import summary

        show(summary(read_metrics(target.metrics(split))))
    report_of(target, location)
    if wanted is not None:
        written = wanted.write(read(target.predictions(split)), split, target.path / "submissions")
        say(f"submission: {written}")


def calibrate(
    run: RunPath,
    accept: Annotated[
        float | None,
        typer.Option(
            help="Accept this share of validation; the least sure rest is none of these.", metavar="SHARE"
        ),
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(help="Accept as many as can be while this share of them is right.", metavar="SHARE"),
    ] = None,
) -> None:
    """Make a run's probabilities believable: temperature and threshold, fitted on validation, kept in its bundle."""
    from mudra.training.calibrating import Wanted
    from mudra.training.calibrating import calibrate as fit
    from mudra.training.run_folder import RunFolder

    wanted: Wanted | None = None
    for option, value in (("--accept", accept), ("--accuracy", accuracy)):
        if value is None:
            continue
        if wanted is not None:
            raise UsageError(
                "--accept and --accuracy: each asks for a threshold of its own; give one of them."
            )
        if not 0 < value <= 1:
            raise UsageError(
                f"{option}: found {value}; expected a share above 0 and at most 1, such as 0.95."
            )
        wanted = ("share" if option == "--accept" else "accuracy", value)
    folder = RunFolder(run)
    fit(folder, wanted, say=say)
    report_of(folder, folder.read_environment().get("data"))


def checkpoint_verify(run: RunPath) -> None:
    """Check every checkpoint of a run against its hashes; exit code 3 when none is whole or one is damaged."""
    from mudra.training.run_folder import RunFolder
    from mudra.training.verifying import verify_run

    findings = verify_run(RunFolder(run))
    for finding in findings:
        typer.echo(finding.line)
    if not all(finding.whole for finding in findings):
        raise typer.Exit(3)


def _new_folder(wanted: Path) -> Path:
    """`wanted`, or the first of wanted-2, wanted-3, ... that is not there yet."""
    number, folder = 1, wanted
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def _folds(wanted: str | None) -> list[str]:
    """--folds as a change of the recipe."""
    if wanted is None:
        return []
    if wanted == "group":
        return ["data.folds={count: null}"]
    if not wanted.isdecimal() or int(wanted) < 2:
        raise UsageError(f"--folds: found {wanted!r}; expected `group` or a number of folds from 2.")
    return [f"data.folds={{count: {int(wanted)}}}"]
