"""Commands that look at several runs together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mudra.cli.common import say, show
from mudra.progress import Screen


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more runs.", metavar="RUN RUN...")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("compare.html"),
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    latency: Annotated[bool, typer.Option(help="Time the models, in turns.")] = True,
) -> None:
    """Hold runs against each other: accuracy, paired tests, size, cost, speed; one offline page."""
    from mudra.reports.compared import read_compared
    from mudra.reports.comparing import comparison_table, write_comparison

    with Screen() as screen:
        compared = read_compared(runs, split, latency=latency, progress=screen.progress)
        write_comparison(compared, out)
    show(comparison_table(compared))
    say(f"comparison: {out}")
