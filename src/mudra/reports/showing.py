"""`mudra data show`: clips, or one clip of each class, as a picture or a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mudra.clips.manifest import Manifest
from mudra.errors import DataError, UsageError, did_you_mean
from mudra.files import replace_file
from mudra.progress import Progress, silent
from mudra.reports import clip_page, clip_sheet, wording
from mudra.reports.clip_view import ClipView, read_view

PICTURE, PAGE = ".png", ".html"
CELLS = 8  # moments in a row of a page
READ = 40  # pictures of a clip that are read: a page plays them, and a row is chosen from them
CARD_CELLS, CARD_READ = 5, 15  # of a class in an overview


def show_clips(
    manifest: Manifest,
    clips: Sequence[str],
    out: Path | None = None,
    moments: int | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Draw clips by their ids.

    Args:
        out: a file of all of them, .png or .html; or a folder that gets a picture of each. None is the folder
            one is in, where nothing is overwritten.
        moments: in a row; None takes as many as fill it well.
    Returns:
        what was written.
    Raises:
        DataError: there is no such clip, or it cannot be read.
        UsageError: another ending.
    """
    ending = _ending(out)
    views = _read(manifest, [_row(manifest, clip) for clip in clips], READ, moments, progress)
    if out is not None and ending == PAGE:
        page = clip_page.clips_page(views, moments or CELLS, manifest.name)
        return [_write(out, page.encode(errors="replace"))]
    if out is not None and ending == PICTURE:
        return [_write(out, clip_sheet.clips_png(views, moments))]
    return [_write_in(out, view.clip.id, clip_sheet.clips_png([view], moments)) for view in views]


def show_classes(
    manifest: Manifest,
    task: str | None = None,
    out: Path | None = None,
    most: int = 30,
    moments: int | None = None,
    progress: Progress = silent,
) -> Path:
    """Draw the first clip of each class.

    Args:
        task: whose classes; the data set's first by default.
        out: as in `show_clips`.
        most: classes that are shown; of more, the first.
    Raises:
        DataError: there is no such task, no clip has a class, or a clip cannot be read.
        UsageError: another ending.
    """
    ending = _ending(out)
    task = task or next(iter(manifest.tasks))
    targets, names = manifest.targets(task), manifest.classes(task)
    first = {
        label: int(np.argmax(targets == number)) for number, label in enumerate(names) if number in targets
    }
    if not first:
        raise DataError(f"{manifest.name}: no clip has a {task}; name the clips to be shown.")
    labels = list(first)[:most]
    note = f"{len(labels)} of {len(names)} classes are shown." if len(labels) < len(names) else ""
    found = _read(manifest, [first[label] for label in labels], CARD_READ, moments, progress)
    views = dict(zip(labels, found, strict=True))
    if out is not None and ending == PAGE:
        return _write(out, clip_page.overview_page(views, manifest.name, task, note).encode(errors="replace"))
    picture = clip_sheet.overview_png(views, moments or CARD_CELLS, manifest.name, task, note)
    return _write_in(out, manifest.name, picture) if ending != PICTURE else _write(out or Path(), picture)


def _read(
    manifest: Manifest, rows: Sequence[int], read: int, moments: int | None, progress: Progress
) -> list[ClipView]:
    views = []
    for done, row in enumerate(rows):
        progress("clips", done, len(rows))
        views.append(read_view(manifest[row], manifest.streams, max(read, moments or 0)))
    progress("clips", len(rows), len(rows))
    return views


def _row(manifest: Manifest, clip: str) -> int:
    row = manifest.ids.index(clip).as_py()
    if row < 0:
        hint = did_you_mean(clip, manifest.ids.to_pylist())
        raise DataError(
            f"{manifest.name}: no clip {clip!r} among its {len(manifest):,}; expected an id such as "
            f"{manifest.ids[0].as_py()!r}.{hint}"
        )
    return int(row)


def _ending(out: Path | None) -> str:
    """The ending of a file, "" for a folder."""
    ending = "" if out is None or out.is_dir() else out.suffix.lower()
    if ending not in ("", PICTURE, PAGE):
        raise UsageError(f"--out: found {out}; expected a name that ends in .png or .html, or a folder.")
    return ending


def _write(path: Path, content: bytes) -> Path:
    replace_file(path, content)
    return path


def _write_in(folder: Path | None, name: str, content: bytes) -> Path:
    """A picture in a folder; a file that is there and was not named is left alone, unless it is the same picture."""
    path = wanted = (folder or Path()) / f"{wording.file_name(name)}{PICTURE}"
    number = 1
    while path.exists() and (not path.is_file() or path.read_bytes() != content):
        number += 1
        path = wanted.with_stem(f"{wanted.stem}-{number}")
    return _write(path, content)
