"""Reading class folders: `DIR/<class>/<clip>` or `DIR/<split>/<class>/<clip>`.

A clip is a file that FFmpeg reads, a folder of JPEG or PNG frames, or an array of points.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mudra.clips.columns import SPLIT_NAMES
from mudra.clips.dataset_json import Description, read_description, stream_kind
from mudra.clips.table import Manifest, Rows, build
from mudra.errors import DataError, did_you_mean
from mudra.files import names_in
from mudra.types import StreamKind

# fmt: off
VIDEO = frozenset({
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".h264", ".hevc", ".ivf", ".m2ts",
    ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})
# fmt: on
ARRAY = frozenset({".npy", ".npz"})
PICTURE = frozenset({".jpg", ".jpeg", ".png"})
ARRAY_KINDS: tuple[StreamKind, ...] = ("points", "series")
IGNORED = frozenset({"__MACOSX", "lost+found"})


def read_folder(root: Path, *, follow_links: bool = False) -> Manifest:
    """Read the clips of class folders and `root/dataset.json`. No clip is opened.

    A clip's id is its path without the extension. Files that are no clips are passed over, and
    the manifest's notes say so.

    Args:
        follow_links: let a clip be a link that leads out of `root`.
    Raises:
        DataError: no such layout, an empty class or split, a clip twice.
    """
    root = Path(root)
    description = read_description(root)
    task = _task(description, root)
    found: list[_Found] = []
    passed: list[str] = []
    for split, folder in _splits(root):
        for name in _folders(folder):
            found += _clips(folder / name, split, passed)
    arrays = next((name for name in description.streams if stream_kind(name) in ARRAY_KINDS), "points")
    streams = [arrays if clip.is_array else "video" for clip in found]
    used = list(dict.fromkeys(streams))
    _check_description(description, used, found, root)
    paths = [os.path.relpath(clip.path, root).replace(os.sep, "/") for clip in found]
    rows = Rows(
        ids=_ids(paths, found, root),
        files={
            name: [path if name == stream else "" for path, stream in zip(paths, streams, strict=True)]
            for name in used
        },
        labels={task: [_text(clip.path.parent.name) for clip in found]},
        place=lambda row: _shown(found[row].path),
        splits=[clip.split for clip in found],
    )
    return build(
        rows,
        name=root.resolve().name,
        root=root,
        streams={stream: description.stream_info(stream) for stream in used},
        classes={task: (description.tasks or {}).get(task)},
        mirror=description.mirror,
        notes=_notes(passed, root),
        follow_links=follow_links,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A clip: its file or frame folder, and the split whose folder it is in."""

    path: Path
    split: str
    is_folder: bool

    @property
    def is_array(self) -> bool:
        return not self.is_folder and self.path.suffix.lower() in ARRAY


def _splits(root: Path) -> Iterator[tuple[str, Path]]:
    """Each split with the folder that holds its classes; ("", root) where there are none."""
    tops = _folders(root)
    if not tops:
        loose = next((name for name in _entries(root) if _is_clip_file(name)), None)
        found = f"clips such as {loose!r} directly in it" if loose else "no folder"
        raise DataError(f"{_shown(root)}: found {found}; expected DIR/<class>/<clip>, or a manifest.csv.")
    named = {name: name.casefold() for name in tops if name.casefold() in SPLIT_NAMES}
    other = [name for name in tops if name not in named]
    if other and len(named) > 1:
        raise DataError(
            f"{_shown(root)}: found the splits {', '.join(named)} and also {other[0]!r}; expected only split "
            f"folders or only class folders, so move {other[0]!r} away."
        )
    if other or not named:
        yield "", root
        return
    for top, split in named.items():
        inside = _entries(root / top)
        loose = next((name for name in inside if _is_clip_file(name) or _is_picture(name)), None)
        classes = _folders(root / top)
        if loose is None and classes and all(_holds_pictures(root / top / name) for name in classes):
            loose = classes[0]
        if loose is not None:
            raise DataError(
                f"{_shown(root / top)}: found clips such as {loose!r} directly in the folder of a split; "
                f"expected {top}/<class>/<clip>. If {top!r} is a class, write a manifest.csv."
            )
        if not classes:
            raise DataError(
                f"{_shown(root / top)}: the split is empty; add {top}/<class>/<clip>, or remove it."
            )
        yield split, root / top


def _clips(folder: Path, split: str, passed: list[str]) -> list[_Found]:
    """The clips of one class; files that are none are added to `passed`."""
    found: list[_Found] = []
    for name in _entries(folder):
        path = folder / name
        if _is_picture(name):
            raise DataError(
                f"{_shown(path)}: a picture directly in a class; expected a folder of frames for each clip."
            )
        if _is_clip_file(name):
            found.append(_Found(path, split, is_folder=False))
        elif not path.is_dir():
            passed.append(_shown(path))
        elif _holds_pictures(path):
            found.append(_Found(path, split, is_folder=True))
        else:
            inside = next((inner for inner in _entries(path) if _is_clip_file(inner)), None)
            what = f"found {inside!r}, a clip one folder too deep" if inside else "found no JPEG or PNG frame"
            tops = [name for name in _folders(folder.parent) if name.casefold() not in SPLIT_NAMES]
            hint = next((hint for name in tops if (hint := did_you_mean(name, SPLIT_NAMES))), "")
            raise DataError(
                f"{_shown(path)}: {what}; expected DIR/<class>/<clip> or DIR/<split>/<class>/<clip> with the "
                f"splits train, val, test.{hint}"
            )
    if not found:
        raise DataError(f"{_shown(folder)}: the class has no clip; add some, or remove the folder.")
    return found


def _task(description: Description, root: Path) -> str:
    tasks = list(description.tasks or {"label": None})
    if len(tasks) != 1:
        raise DataError(
            f"{root / 'dataset.json'}, tasks: found {', '.join(tasks)}; class folders tell one task. "
            "Write a manifest.csv for several."
        )
    return tasks[0]


def _check_description(
    description: Description, used: Sequence[str], found: Sequence[_Found], root: Path
) -> None:
    for stream in description.streams:
        if stream not in used:
            raise DataError(
                f"{root / 'dataset.json'}, streams: {stream!r} is in no class folder; found "
                f"{', '.join(used)}.{did_you_mean(stream, used)}"
            )
    frames = next((clip for clip in found if clip.is_folder), None)
    if frames is not None and description.stream_info("video").fps is None:
        raise DataError(
            f"{_shown(frames.path)}: a folder of frames tells no rate; write it in "
            f'{root / "dataset.json"}, such as {{"streams": {{"video": {{"fps": 12}}}}}}.'
        )


def _ids(paths: Sequence[str], found: Sequence[_Found], root: Path) -> list[str]:
    """Paths without the extension: they stay the same when a clip is made into points or re-encoded."""
    ids = [
        _text(path if clip.is_folder else os.path.splitext(path)[0])
        for path, clip in zip(paths, found, strict=True)
    ]
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        same = [_shown(clip.path.name) for clip, name in zip(found, ids, strict=True) if name == twice]
        raise DataError(
            f"{_shown(root / twice)}: found both {same[0]} and {same[1]}; keep one, or write a manifest.csv "
            "where they are streams of one clip."
        )
    return ids


def _notes(passed: Sequence[str], root: Path) -> tuple[str, ...]:
    if not passed:
        return ()
    one = len(passed) == 1
    what = "1 file that is no clip was" if one else f"{len(passed)} files that are no clips were"
    return (f"{_shown(root)}: {what} passed over, such as {passed[0]}.",)


def _entries(folder: Path) -> list[str]:
    """The names in a folder in a fixed order, hidden ones left out."""
    names = names_in(folder, "a folder of clips or of classes", _shown(folder))
    return [name for name in names if not name.startswith(".") and name not in IGNORED]


def _folders(folder: Path) -> list[str]:
    return [name for name in _entries(folder) if (folder / name).is_dir()]


def _is_clip_file(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO | ARRAY


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE


def _holds_pictures(folder: Path) -> bool:
    return any(_is_picture(name) for name in _entries(folder))


def _text(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 are written out."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _shown(path: Path | str) -> str:
    """A path on one line, whatever its name holds."""
    text = _text(str(path))
    return text if text.isprintable() else repr(text)
