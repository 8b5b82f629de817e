"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

import codecs
import sys
from io import TextIOWrapper

import typer

from mudra.cli import comparing, data, ensembling, runs, sweeping, using
from mudra.errors import MudraError

app = typer.Typer(
    name="mudra",
    help="Recognise gestures, signs and actions: train on a folder of clips, evaluate, report, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
checkpoint_app = typer.Typer(help="Look after what a training saved.", no_args_is_help=True)
COMMANDS = (
    using.demo,
    using.recipes,
    runs.train,
    sweeping.sweep,
    runs.evaluate,
    runs.calibrate,
    comparing.compare,
    ensembling.ensemble,
    using.predict,
)
for command in COMMANDS:
    app.command()(command)
checkpoint_app.command("verify")(runs.checkpoint_verify)
app.add_typer(checkpoint_app, name="checkpoint")
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line; every error that a user can act on is one line and an exit code."""
    _speak_all_letters()
    arguments = sys.argv[1:]
    traceback = "--traceback" in arguments
    try:
        app(
            args=[word for word in arguments if word != "--traceback"],
            prog_name="mudra",
            standalone_mode=True,
        )
    except MudraError as problem:
        if traceback:
            raise
        if not problem.told:
            typer.echo(f"error: {' '.join(str(problem).split())}", err=True)
        sys.exit(problem.exit_code)
    except OSError as problem:
        if traceback:
            raise
        typer.echo(f"error: {problem.filename or 'input/output'}: {problem.strerror or problem}", err=True)
        sys.exit(5)


def _speak_all_letters() -> None:
    """Let no class name end a command: a letter that the output lacks becomes \\u0451, and plain ASCII UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            bare = codecs.lookup(stream.encoding).name == "ascii"
            errors = "backslashreplace" if stream.errors == "strict" else stream.errors
            stream.reconfigure(encoding="utf-8" if bare else None, errors=errors)
