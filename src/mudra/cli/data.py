"""Commands that look after data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from mudra.cli.common import Location, manifest_at, say, show
from mudra.errors import UsageError
from mudra.progress import Screen

app = typer.Typer(help="Check, split, shrink and make data sets.", no_args_is_help=True)


@app.command("check")
def data_check(
    data: Location,
    decode: Annotated[bool, typer.Option(help="Decode every file from end to end.")] = True,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable findings.")] = False,
) -> None:
    """The data doctor: exit code 3 when something must be mended."""
    from mudra.clips.check import check, render, to_json

    manifest = manifest_at(data)
    with Screen() as screen:
        report = check(manifest, workers=workers, decode=decode, progress=screen.progress)
    if as_json:
        typer.echo(to_json(report))
    else:
        show(render(report))
    if report.problems:
        raise typer.Exit(3)


@app.command("split")
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
    manifest = manifest_at(data)
    if folds is not None or leave_one_out:
        written = write_folds(make_folds(manifest, folds, by, seed), replace=replace)
        say(f"{len(written)} folds written; train on one with data.manifest={written[0].name}")
        return
    percent = _percent(shares)
    split = manifest.resplit(seed, percent, by)
    say(split.notes[-1])
    say(f"written: {write_split(split, replace=replace)}")


@app.command("cache")
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
    manifest = manifest_at(data)
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


@app.command("landmarks")
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

    manifest = manifest_at(data)
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


@app.command("import-slovo-hands")
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


@app.command("import-tfrecord")
def data_import_tfrecord(
    folder: Annotated[Path, typer.Argument(help="With training-00-of-20 and so on.", metavar="FOLDER")],
    out: Annotated[Path, typer.Argument(help="A new folder, or one in which this was begun.", metavar="OUT")],
    rgb: Annotated[str | None, typer.Option(help="Numbers of black and white, such as 0,1.")] = None,
    depth: Annotated[str | None, typer.Option(help="The least and the largest depth, such as 0,1.")] = None,
    segmentation: Annotated[str | None, typer.Option(help="Numbers of ground and person.")] = None,
    first_label: Annotated[
        int | None,
        typer.Option(help="How labels count, from 0 or 1; seen from them by default.", min=0, max=1),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core by default.")] = None,
) -> None:
    """Make a data set of Montalbano's TFRecords, without TensorFlow; run it again to go on."""
    from mudra.datasets.montalbano_import import import_tfrecords

    said = {"rgb": rgb, "depth": depth, "segmentation": segmentation}
    with Screen() as screen:
        made = import_tfrecords(
            folder,
            out,
            say=screen.say,
            ranges={name: _range(name, text) for name, text in said.items() if text is not None},
            first_label=first_label,
            workers=workers,
            progress=screen.progress,
        )
    for note in made.notes:
        say(note)
    say(f"{out}: {len(made):,} clips written; train on it with --data montalbano:{out}")


@app.command("puppets")
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


@app.command("show")
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

    manifest = manifest_at(data)
    with Screen() as screen:
        if clips:
            written = show_clips(manifest, clips, out, moments, screen.progress)
        else:
            written = [show_classes(manifest, task, out, classes, moments, screen.progress)]
    for path in written:
        say(f"{path}: written")


def _range(name: str, text: str) -> tuple[float, float]:
    """`0,255` as two numbers."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"--{name}: found {text!r}; expected two numbers, the lower first, such as 0,255.")
    return low, high


def _percent(shares: str) -> tuple[float, ...]:
    """`70,15,15` as shares of 1."""
    try:
        parts = [float(part) for part in shares.split(",")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or abs(sum(parts) - 100) > 1e-6:
        raise UsageError(f"--shares: found {shares!r}; expected percent of train,val,test such as 70,15,15.")
    return tuple(part / 100 for part in parts)
