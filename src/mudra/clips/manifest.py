"""Reading and writing `manifest.csv`, one row a clip; every cell is text ("NA" and "010" too).

    clip,split,group,label,video
    wave-001,train,ann,wave,videos/001.mp4

Rows of errors are lines as a text editor counts them. Class folders are read by `read_folder`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mudra.clips.cells import read_table
from mudra.clips.class_folders import read_folder
from mudra.clips.dataset_json import NAME as DATASET_JSON
from mudra.clips.dataset_json import Description, read_description, stream_kind, stream_names
from mudra.clips.table import Manifest, Rows, build
from mudra.errors import DataError, did_you_mean
from mudra.files import replace_file
from mudra.types import STREAM_KINDS

__all__ = ["MANIFEST_CSV", "Manifest", "read_folder", "read_manifest", "write_manifest"]

MANIFEST_CSV = "manifest.csv"
DEFAULT_TASKS = ("label", "verb", "noun")
FACTS = ("layout", "fps", "channels", "space")
OWN_COLUMNS = ("clip", "split", "group", "start", "stop", "fps")
_NEEDS_QUOTES = re.compile(r'[",\r\n]')


def read_manifest(root: Path, file: str = MANIFEST_CSV, *, follow_links: bool = False) -> Manifest:
    """Read `root/manifest.csv` and `root/dataset.json`. No clip is opened or looked for.

    Args:
        file: another manifest in the same folder, such as that of a fold.
        follow_links: let a path be a link that leads out of `root`.
    Raises:
        DataError: the first thing that is wrong, in one line with its file and row.
    """
    root = Path(root)
    table = read_table(root / file, "clip,split,label,video")
    description = read_description(root)
    streams = [name for name in table.names if stream_kind(name)]
    _check_columns(table.names, streams, description, file)
    tasks = description.tasks
    if tasks is None:
        tasks = {task: None for task in DEFAULT_TASKS if task in table.names}
    if not tasks:
        known = ", ".join(DEFAULT_TASKS)
        raise DataError(f"{file}: no task column; expected {known}, or a task that dataset.json names.")
    for task in tasks:
        if task not in table.names:
            hint = did_you_mean(task, table.names)
            raise DataError(f"{file}: no column {task!r}, which dataset.json names as a task.{hint}")
    other = [name for name in table.names if name not in (*OWN_COLUMNS, *streams, *tasks)]
    cells = dict(zip(table.names, table.columns, strict=True))
    used = [stream for stream in streams if any(cells[stream])]
    if not used:
        raise DataError(
            f"{file}: every cell of {', '.join(streams)} is empty; expected paths relative to {root}."
        )
    rows = Rows(
        ids=cells["clip"],
        files={stream: cells[stream] for stream in used},
        labels={task: cells[task] for task in tasks},
        place=table.place,
        splits=cells.get("split"),
        groups=cells.get("group"),
        starts=cells.get("start"),
        stops=cells.get("stop"),
        rates=cells.get("fps"),
        metadata={name: cells[name] for name in other},
    )
    return build(
        rows,
        name=root.resolve().name,
        root=root,
        streams={stream: description.stream_info(stream) for stream in used},
        classes=tasks,
        mirror=description.mirror,
        follow_links=follow_links,
    )


def _check_columns(names: Sequence[str], streams: Sequence[str], description: Description, file: str) -> None:
    if "clip" not in names:
        raise DataError(f"{file}: no column 'clip' (a unique id).{did_you_mean('clip', names)}")
    for name in names:
        kind, colon, _ = name.partition(":")
        if colon and kind in STREAM_KINDS and name not in streams:
            raise DataError(f"{file}: no stream can be named {name!r}; expected {stream_names()}.")
    if not streams:
        near = next((hint for name in names if (hint := did_you_mean(name, STREAM_KINDS))), "")
        raise DataError(f"{file}: no column holds a stream; expected {stream_names()}.{near}")
    for stream in description.streams:
        if stream not in streams:
            hint = did_you_mean(stream, streams)
            raise DataError(f"{DATASET_JSON}, streams: {stream!r} is not a column of {file}.{hint}")


def write_manifest(
    manifest: Manifest, root: Path, file: str = MANIFEST_CSV, *, describe: bool = True
) -> None:
    """Write the manifest and its `dataset.json` into `root`, each whole or not at all.

    Args:
        file: another name for the manifest, such as that of a fold.
        describe: also write `dataset.json`.
    Raises:
        DataError: the clips lie outside `root`, where a manifest's paths cannot lead.
        OutputError: the files cannot be written; what was there before is still there.
    """
    below = os.path.relpath(manifest.root.resolve(), Path(root).resolve())
    if below.split(os.sep)[0] == os.pardir:
        raise DataError(
            f"{root}: a manifest here cannot name the clips of {manifest.root}; write it there, or copy the "
            "clips."
        )
    prefix = "" if below == os.curdir else below + "/"
    if describe:
        replace_file(Path(root) / DATASET_JSON, description_text(manifest).encode(errors="surrogateescape"))
    replace_file(Path(root) / file, _csv_text(manifest, prefix).encode(errors="surrogateescape"))


def _csv_text(manifest: Manifest, prefix: str) -> str:
    columns: dict[str, list[str]] = {"clip": manifest.ids.to_pylist()}
    if manifest.has_splits:
        columns["split"] = manifest.split_names()
    groups = manifest.groups.to_pylist()
    if any(groups):
        columns["group"] = groups
    for name, values in (("start", manifest.starts), ("stop", manifest.stops), ("fps", manifest.rates)):
        if not np.isnan(values).all():
            columns[name] = ["" if np.isnan(value) else repr(value) for value in values.tolist()]
    for task, classes in manifest.tasks.items():
        columns[task] = [classes[number] if number >= 0 else "" for number in manifest.labels[task].tolist()]
    for stream, files in manifest.files.items():
        columns[stream] = [prefix + os.fsdecode(path) if path else "" for path in files.to_pylist()]
    columns |= {name: values.to_pylist() for name, values in manifest.metadata.items()}
    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)


def _quoted(cell: str) -> str:
    """A cell as CSV. Python's own writer leaves a lone carriage return bare, which then ends the row."""
    return '"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell


def description_text(manifest: Manifest) -> str:
    """The manifest's `dataset.json`: classes in order, what is known of streams and layouts, the mirror."""
    facts = {
        name: {key: value for key in FACTS if (value := getattr(info, key)) is not None}
        for name, info in manifest.streams.items()
    }
    mirror = {
        task: {one: other for one, other in pairs.items() if one < other}
        for task, pairs in manifest.mirror.items()
    }
    layouts = {info.layout: info.declared for info in manifest.streams.values() if info.declared}
    values: dict[str, Any] = {
        "tasks": manifest.tasks,
        "streams": {name: fact for name, fact in facts.items() if fact},
    }
    more = {"layouts": layouts, "mirror": mirror}
    values |= {key: value for key, value in more.items() if value}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
