"""What every data set that is made from another one shares: names of files, the manifest, clips that are broken."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa

from mudra.clips.manifest import Manifest
from mudra.errors import DataError
from mudra.types import StreamInfo

_PLAIN = re.compile(r"[\w-][\w. +()-]{0,100}(/[\w-][\w. +()-]{0,100}){0,4}", re.ASCII)


def plain(name: str) -> str:
    """A name that every file system takes, the same each time."""
    return name if _PLAIN.fullmatch(name) else _hashed(name)


def names_of(manifest: Manifest) -> list[str]:
    """A path for each clip's files, without a suffix; none lies inside another one."""
    ids = manifest.ids.to_pylist()
    folders = {name[:end] for name in ids for end, letter in enumerate(name) if letter == "/"}
    return [_hashed(name) if name in folders else plain(name) for name in ids]


def described(
    manifest: Manifest,
    root: Path,
    files: Mapping[int, Mapping[str, str]],
    streams: Mapping[str, StreamInfo],
) -> Manifest:
    """The manifest of copies that lie below `root`; each copy is the whole of its file.

    Args:
        files: paths below root, by row of `manifest` and by stream; other rows are left out.
        streams: the streams of the copies.
    """
    kept = manifest.select(list(files))
    columns = {
        stream: pa.array([os.fsencode(paths.get(stream, "")) for paths in files.values()], pa.binary())
        for stream in streams
    }
    nowhere = np.full(len(files), np.nan)
    return replace(
        kept,
        root=root,
        files=columns,
        streams=dict(streams),
        starts=nowhere,
        stops=nowhere.copy(),
        rates=nowhere.copy(),
        follow_links=False,
    )


def refuse_broken(manifest: Manifest, broken: Mapping[int, str], next_step: str) -> None:
    """Raise where clips cannot be read.

    Args:
        broken: the reason by row.
    Raises:
        DataError: naming the first of them.
    """
    if broken:
        first = min(broken)
        raise DataError(
            f"{len(broken)} of {len(manifest)} clips cannot be read, the first of them "
            f"{manifest.ids[first].as_py()!r}: {broken[first]} {next_step}"
        )


def check_outside(out: Path, manifest: Manifest) -> None:
    """Refuse a folder inside the data set, whose files would be taken for clips of it.

    Raises:
        DataError: it is one.
    """
    inside: Sequence[Path] = (out.resolve(), *out.resolve().parents)
    if manifest.root.resolve() in inside:
        raise DataError(f"{out}: lies inside the data set {manifest.root}; name a folder beside it.")


def _hashed(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:24]
