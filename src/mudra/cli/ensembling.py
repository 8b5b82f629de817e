"""The command that joins several runs' predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from mudra.cli.common import report_of, say, show
from mudra.errors import UsageError


def ensemble(
    members: Annotated[
        list[str],
        typer.Argument(
            help="Runs; softmax files of other programs (CSV or Parquet), [TASK=]FILE or a folder with test.csv.",
            metavar="RUN...",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The new run's folder.")],
    weights: Annotated[
        str, typer.Option(help="mean: all alike; fit: fitted on validation.", metavar="mean|fit")
    ] = "mean",
    of: Annotated[
        str,
        typer.Option("--of", help="What the mean is taken of.", metavar="probabilities|logits"),
    ] = "probabilities",
) -> None:
    """Join runs by clip into one answer: predictions, metrics with intervals, report."""
    for option, found, known in (
        ("--weights", weights, ("mean", "fit")),
        ("--of", of, ("probabilities", "logits")),
    ):
        if found not in known:
            raise UsageError(f"{option}: found {found!r}; expected {' or '.join(known)}.")
    from mudra.predictions import read_metrics
    from mudra.reports import summary
    from mudra.training.ensembling import ensemble as join

    run = join(
        members,
        out,
        weights=cast(Literal["mean", "fit"], weights),
        of=cast(Literal["probabilities", "logits"], of),
        say=say,
    )
    judged = next((s for s in ("test", "val") if run.metrics(s).is_file()), None)
    if judged is not None:
        show(summary(read_metrics(run.metrics(judged))))
    report_of(run, None)
