"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mudra.errors import MudraError, UsageError
from mudra.progress import Screen

if TYPE_CHECKING:
    from mudra.training.run_folder import RunFolder

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
app.add_typer(checkpoint_app, name="checkpoint")
data_app = typer.Typer(help="Check, split, shrink and make data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

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


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the clips and the run are put.")] = Path("mudra-demo"),
) -> None:
    """See the whole path on built-in data: make clips, train, evaluate, report, predict one file."""
    from mudra.demo import run_demo

    with Screen() as screen:
        run_demo(out, screen.say, screen.progress)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show one recipe resolved, with exact counts.")] = None,
) -> None:
    """List the recipes, or show one with every default written out."""
    from mudra.reports.catalogue import catalogue_table, recipe_page

    show(catalogue_table() if name is None else recipe_page(name))


@app.command(context_settings={"ignore_unknown_options": False})
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
) -> None:
    """Train a recipe, judge it, and write a report. Under torchrun, on several GPUs or processes."""
    from mudra import recipe as recipes
    from mudra.training.stops import seconds
    from mudra.training.train import train as run_training

    if resume and out is None:
        raise UsageError("--resume: say which run with --out.")
    loaded = recipes.load(recipe, [*(overrides or ()), *_folds(folds)])
    if out is None and "RANK" in os.environ:
        raise UsageError("several processes: say into which run they train with --out.")
    folder = out or _new_folder(Path("runs") / loaded.name)
    with Screen() as screen:
        run = run_training(
            loaded,
            data,
            folder,
            resume=resume,
            init_from=init_from,
            time_limit=None if time_limit is None else seconds(time_limit),
            say=screen.say,
            progress=screen.progress,
        )
    if int(os.environ.get("RANK", "0")) == 0 and run.read_status().get("state") == "done":
        _report(run, data)


@app.command()
def evaluate(
    run: RunPath,
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    views: Annotated[str, typer.Option(help="Places in time x crops whose answers are averaged.")] = "1x1",
    checkpoint: Annotated[
        str | None, typer.Option(help="best, last or step-N; the bundle by default.")
    ] = None,
    submission: Annotated[
        str | None, typer.Option(help="Also write the file that a challenge's server takes: epic.")
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
    wanted = submission_of(folder, submission, sls)
    location = data or folder.read_environment().get("data")
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
    _report(target, location)
    if wanted is not None:
        written = wanted.write(read(target.predictions(split)), split, target.path / "submissions")
        say(f"submission: {written}")


@app.command()
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
            tasks = {
                task: [{"name": r.name, "probability": round(r.probability, 6)} for r in ranked[:top]]
                for task, ranked in answer.tasks.items()
            }
            typer.echo(json.dumps({"file": file, "tasks": tasks}, ensure_ascii=False))
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


@checkpoint_app.command("verify")
def checkpoint_verify(run: RunPath) -> None:
    """Check every checkpoint of a run against its hashes; exit code 3 when none is whole or one is damaged."""
    from mudra.training.run_folder import RunFolder
    from mudra.training.verifying import verify_run

    findings = verify_run(RunFolder(run))
    for finding in findings:
        typer.echo(finding.line)
    if not all(finding.whole for finding in findings):
        raise typer.Exit(3)


@data_app.command("check")
def data_check(
    data: Location,
    decode: Annotated[bool, typer.Option(help="Decode every file from end to end.")] = True,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable findings.")] = False,
) -> None:
    """The data doctor: exit code 3 when something must be mended."""
    from mudra.clips import check

    manifest = _manifest(data)
    with Screen() as screen:
        report = check.check(manifest, workers=workers, decode=decode, progress=screen.progress)
    if as_json:
        typer.echo(check.to_json(report))
    else:
        show(check.render(report))
    if report.problems:
        raise typer.Exit(3)


@data_app.command("split")
def data_split(
    data: Location,
    by: Annotated[str, typer.Option(help="group or clip: what must stay together.")] = "group",
    shares: Annotated[str, typer.Option(help="Percent of train,val,test.")] = "70,15,15",
    folds: Annotated[int | None, typer.Option(help="K folds instead.", min=2)] = None,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="A fold for each group instead.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a split that is there.")] = False,
) -> None:
    """Make leak-free splits, seeded and stratified, and write them down beside the clips."""
    from mudra.clips.folds import make_folds, write_folds, write_split

    if by not in ("group", "clip"):
        raise UsageError(f"--by: found {by!r}; expected group or clip.")
    manifest = _manifest(data)
    if folds is not None or leave_one_out:
        written = write_folds(make_folds(manifest, folds, by, seed), replace=replace)
        say(f"{len(written)} folds written; train on one with data.manifest={written[0].name}")
        return
    percent = _percent(shares)
    split = manifest.resplit(seed, percent, by)
    say(split.notes[-1])
    say(f"written: {write_split(split, replace=replace)}")


@data_app.command("cache")
def data_cache(
    data: Location,
    out: Annotated[Path, typer.Argument(help="A new folder.", metavar="OUT")],
    size: Annotated[int, typer.Option(help="Pixels of the shorter side.", min=8)] = 256,
    resize: Annotated[str, typer.Option(help="keep, crop or stretch.")] = "keep",
    form: Annotated[str, typer.Option(help="npz: fastest; jpeg: a tenth of the room.")] = "jpeg",
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out clips that cannot be read.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core by default.")] = None,
) -> None:
    """Write a shrunk copy that is fast to read."""
    from mudra.clips import cache

    if resize not in ("keep", "crop", "stretch") or form not in ("npz", "jpeg"):
        raise UsageError(f"--resize {resize} --form {form}: expected keep, crop or stretch, and npz or jpeg.")
    manifest = _manifest(data)
    with Screen() as screen:
        copy = cache.cache(
            manifest,
            out,
            size=size,
            resize=resize,  # type: ignore[arg-type]
            form=form,  # type: ignore[arg-type]
            skip_broken=skip_broken,
            workers=workers,
            progress=screen.progress,
        )
    say(f"{out}: {len(copy)} clips written")


@data_app.command("landmarks")
def data_landmarks(
    data: Location,
    out: Annotated[Path, typer.Argument(help="A new folder, or one in which this was begun.", metavar="OUT")],
    layout: Annotated[
        str, typer.Option(help="The points to keep: holistic543, sign92 or sign87.")
    ] = "holistic543",
    fps: Annotated[
        float | None, typer.Option(help="Frames a second to look at; every frame by default.")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out clips that cannot be read.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core by default.")] = None,
) -> None:
    """Find the body points of every video (needs mudra\\[landmarks]); run it again to go on."""
    from mudra.clips.landmarks import extract

    manifest = _manifest(data)
    with Screen() as screen:
        made = extract(
            manifest,
            out,
            say=screen.say,
            layout=layout,
            fps=fps,
            skip_broken=skip_broken,
            workers=workers,
            progress=screen.progress,
        )
    for line in made.lines:
        typer.echo(line)
    say(f"{out}: {len(made.manifest)} clips written; each is in {out}/landmarks.csv")


@data_app.command("import-slovo-hands")
def data_import_slovo_hands(
    folder: Annotated[Path, typer.Argument(help="With Slovo's annotations.csv.", metavar="DIR")],
    source: Annotated[Path, typer.Argument(help="slovo_mediapipe.json.", metavar="JSON")],
    out: Annotated[Path, typer.Argument(help="A new folder.", metavar="OUT")],
) -> None:
    """Make a data set of the hands that Slovo's authors found, without its videos."""
    from mudra.datasets.slovo import Slovo
    from mudra.datasets.slovo_hands import import_hands

    with Screen() as screen:
        manifest = Slovo(absent="keep").read(folder)
        made = import_hands(manifest, source, out, screen.progress)
    say(f"{out}: {len(made):,} of {len(manifest):,} clips are in {source.name} and written")


@data_app.command("puppets")
def data_puppets(
    out: Annotated[Path, typer.Argument(help="A new folder.", metavar="OUT")],
    clips: Annotated[int, typer.Option(help="How many clips, all splits together.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Another seed, other clips.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 96,
    streams: Annotated[str, typer.Option(help="video,depth,mask,points")] = "video",
) -> None:
    """Write the built-in data as real files."""
    from mudra.datasets.puppets import Puppets, write
    from mudra.settings import parse

    values = {"kind": "puppets", "clips": clips, "seed": seed, "size": size, "streams": streams.split(",")}
    with Screen() as screen:
        write(out, parse(Puppets, values, "data puppets"), progress=screen.progress)
    say(f"{out}: {clips} clips written")


@data_app.command("show")
def data_show(
    data: Location,
    clips: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of clips; one clip of each class by default.", metavar="[CLIP]..."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A .png or .html of all that is shown, or a folder; CLIP.png by default.", metavar="FILE"
        ),
    ] = None,
    moments: Annotated[int | None, typer.Option(help="Moments in a row.", min=1, max=24)] = None,
    task: Annotated[
        str | None, typer.Option(help="Whose classes are shown; the first task by default.")
    ] = None,
    classes: Annotated[int, typer.Option(help="How many classes are shown at most.", min=1)] = 30,
) -> None:
    """Draw clips: frames with the points over them, figures, depth, masks, series."""
    from mudra.reports.showing import show_classes, show_clips

    manifest = _manifest(data)
    with Screen() as screen:
        if clips:
            written = show_clips(manifest, clips, out, moments, screen.progress)
        else:
            written = [show_classes(manifest, task, out, classes, moments, screen.progress)]
    for path in written:
        say(f"{path}: written")


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


def say(line: str) -> None:
    """One line of progress; stdout is left to results."""
    typer.echo(line, err=True)


def show(renderable: Any) -> None:
    """Print a table or page to stdout."""
    from rich.console import Console

    Console().print(renderable)


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


def _percent(shares: str) -> tuple[float, ...]:
    """`70,15,15` as shares of 1."""
    try:
        parts = [float(part) for part in shares.split(",")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or abs(sum(parts) - 100) > 1e-6:
        raise UsageError(f"--shares: found {shares!r}; expected percent of train,val,test such as 70,15,15.")
    return tuple(part / 100 for part in parts)


def _manifest(location: str) -> Any:
    """The clips of DATA, read as they stand: no recipe's tasks or held-out share applies."""
    from mudra.datasets.opening import read_location

    manifest = read_location(location)
    for note in manifest.notes:
        say(note)
    return manifest


def _report(run: RunFolder, location: str | None) -> None:
    """Write report.html with pictures of the hardest clips, and say where it is."""
    from mudra.reports.report import write_report
    from mudra.reports.thumbnails import thumbnails_of

    say(f"report: {write_report(run.path, thumbnails=thumbnails_of(run, location))}")
