"""What the commands share: their common arguments, and how they speak."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mudra.training.run_folder import RunFolder

RecipeName = Annotated[
    str, typer.Argument(help="A recipe's name (see `mudra recipes`) or a YAML file.", metavar="RECIPE")
]
RunPath = Annotated[Path, typer.Argument(help="A folder that `mudra train` made.", metavar="RUN")]
Location = Annotated[
    str, typer.Argument(help="A folder of clips, or name:folder such as jester:/data.", metavar="DATA")
]
DataOption = Annotated[
    str | None, typer.Option("--data", help="A folder of clips, or name:folder such as jester:/data/jester.")
]


def say(line: str) -> None:
    """One line of progress; stdout is left to results."""
    typer.echo(line, err=True)


def show(renderable: Any) -> None:
    """Print a table or page to stdout."""
    from rich.console import Console

    Console().print(renderable)


def manifest_at(location: str) -> Any:
    """The clips of DATA, read as they stand: no recipe's tasks or held-out share applies."""
    from mudra.datasets.opening import read_location

    manifest = read_location(location)
    for note in manifest.notes:
        say(note)
    return manifest


def report_of(run: RunFolder, location: str | None) -> None:
    """Write report.html with pictures of the hardest clips, and say where it is."""
    from mudra.reports.report import write_report
    from mudra.reports.thumbnails import thumbnails_of

    say(f"report: {write_report(run.path, thumbnails=thumbnails_of(run, location))}")
