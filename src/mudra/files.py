"""Writing so that a reader finds the old content or the new, never a part of either."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mudra.errors import OutputError


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`: beside it first, flushed to the disk, then renamed over it.

    Raises:
        OutputError: the disk is full, the folder is read-only, or the path cannot be written.
            What stood at `path` before is still there, and nothing is left beside it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with told_as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        flush_folder(path.parent)


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write plain values as JSON, whole or not at all."""
    replace_file(path, (json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears at `path` only when the block has ended well, with all its files flushed.

    Yields:
        an empty folder beside `path` to write into; it is removed when the block fails.
    Raises:
        OutputError: `path` is there already, or writing failed.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with told_as_output_error(path):
        if path.exists():
            raise OutputError(
                f"{path}: it is there already; expected a new folder. Remove it or choose another name."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        try:
            yield beside
            for file in sorted(beside.rglob("*")):
                _flush(file)
            flush_folder(beside)
            os.replace(beside, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        flush_folder(path.parent)


@contextmanager
def told_as_output_error(path: Path) -> Iterator[None]:
    """Turn a failed write into one line that names the place."""
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise OutputError(
            f"{path}: could not be written: {reason}; expected a writable folder with free space. "
            "Make room or choose another folder."
        ) from problem


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut. Not every system opens folders (Windows does not)."""
    if os.name == "posix":
        _flush(folder)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
