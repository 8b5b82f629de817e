"""Commands of whoever looks around and uses what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mudra.cli.common import RunPath, show
from mudra.progress import Screen


def demo(
    out: Annotated[Path, typer.Option(help="Where the clips and the run are put.")] = Path("mudra-demo"),
) -> None:
    """See the whole path on built-in data: make clips, train, evaluate, report, predict one file."""
    from mudra.demo import run_demo

    with Screen() as screen:
        run_demo(out, screen.say, screen.progress)


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show one recipe resolved, with exact counts.")] = None,
) -> None:
    """List the recipes, or show one with every default written out."""
    from mudra.reports.catalogue import catalogue_table, recipe_page

    show(catalogue_table() if name is None else recipe_page(name))


def predict(
    run: RunPath,
    files: Annotated[
        list[str],
        typer.Argument(
            help="Videos, folders of frames, arrays; of several streams: video=a.mp4,points=a.npz.",
            metavar="FILE...",
        ),
    ],
    top: Annotated[int, typer.Option(help="How many classes to show.", min=1)] = 5,
    fps: Annotated[float | None, typer.Option(help="Rate of a folder of frames.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a file.")] = False,
) -> None:
    """Recognise files."""
    import json

    from mudra.recognizer import load

    recognizer = load(run)
    for file in files:
        answer = recognizer.predict(streams_of(file), fps=fps)
        if as_json:
            tasks: dict[str, Any] = {
                task: [{"name": r.name, "probability": round(r.probability, 6)} for r in ranked[:top]]
                for task, ranked in answer.tasks.items()
            }
            told: dict[str, Any] = {"file": file, "tasks": tasks}
            if recognizer.rejects:
                told["rejected"] = sorted(answer.rejected)
            typer.echo(json.dumps(told, ensure_ascii=False))
            continue
        from mudra.reports.answers import prediction_table

        show(prediction_table(file, answer, top))


def streams_of(text: str) -> str | dict[str, str]:
    """One file for all streams, or the file of each, as a user writes them: `video=a.mp4,points=a.npz`.

    >>> streams_of("a=b.mp4"), streams_of("video=a.mp4,points:left=b.npz")
    ('a=b.mp4', {'video': 'a.mp4', 'points:left': 'b.npz'})
    """
    from mudra.types import STREAM_KINDS

    parts = [part.partition("=") for part in text.split(",")]
    named = all(equals and name.partition(":")[0] in STREAM_KINDS for name, equals, _ in parts)
    if not named or Path(text).exists():
        return text
    return {name: file for name, _, file in parts}
