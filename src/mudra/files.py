"""Files: written so that a reader finds the old content or the new, and read without trust.

Content goes to `.NAME.PID.tmp` beside its place first, is flushed to the disk, and is renamed over
what stood there; then the folder is flushed, so that the new name survives a power cut too. A writer
that is killed leaves such a file behind, and `sweep` takes away those whose writer is gone.

JSON and safetensors that a stranger may have made are read here: names or keys that stand twice, numbers
that are not finite, and headers without end, on which readers disagree or choke, are refused.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors

from mudra.errors import DataError, ModelError, OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 16 * 2**20  # bytes that one write call is given at most
JSON_LIMIT = 8 * 2**20  # bytes; the largest label sets need a few hundred kilobytes
TENSOR_LIMIT = 2**16  # of one file; a few thousand are many


def cache_folder() -> Path:
    """What mudra keeps to be quicker: `$XDG_CACHE_HOME/mudra`, else `~/.cache/mudra`. It may be removed at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mudra"


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`: beside it first, flushed to the disk, then renamed over it.

    Raises:
        OutputError: the disk is full, the folder is read-only, or the path cannot be written.
            What stood at `path` before is still there, and nothing is left beside it.
    """
    beside = _beside(path)
    with told_as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_flushed(beside, [content])
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        flush_folder(path.parent)


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write plain values as JSON, whole or not at all."""
    replace_file(path, json_bytes(tree))


def json_bytes(tree: Mapping[str, Any]) -> bytes:
    """Plain values as JSON text; NaN and infinity are refused."""
    return (json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears at `path` only when the block has ended well, with all its files flushed.

    Yields:
        an empty folder beside `path` to write into; it is removed when the block fails.
    Raises:
        OutputError: `path` is there already, or writing failed.
    """
    beside = _beside(path)
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


def write_flushed(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write pieces one after the other into a new file and flush it to the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for piece in pieces:
            rest = memoryview(piece).cast("B")
            while len(rest):
                rest = rest[os.write(handle, rest[:CHUNK]) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> list[Path]:
    """Remove what killed writers left in a folder and below; what a living process writes is left alone.

    Call it before this process writes there: a leftover of its own number is one of an earlier life.
    """
    removed = []
    for beside in sorted(folder.rglob(".*.tmp")):
        found = re.fullmatch(r"\..+\.(\d+)\.tmp", beside.name)
        if found is None or not beside.exists() or _writes(int(found[1])):
            continue
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        else:
            beside.unlink(missing_ok=True)
        removed.append(beside)
    return removed


def take_lock(handle: int, *, wait: bool) -> bool:
    """Keep an open file to this process until the handle is closed. The lock is the system's: it ends with the process,
    however that ends, and forked processes do not hold it. Where the system has none (Windows), nobody is kept out.

    Returns:
        whether it was taken; always with `wait`.
    """
    if fcntl is not None:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            return False
    return True


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


def names_in(folder: Path, expected: str, place: str = "") -> list[str]:
    """The names in a folder, sorted.

    Args:
        expected: what the folder should be, for the error.
        place: the folder as the error shows it; by default its path.
    Raises:
        DataError: it cannot be listed.
    """
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise DataError(
            f"{place or folder}: cannot be listed ({reason}); expected {expected}. Mend the path or its rights."
        ) from None


def read_json(path: Path) -> Any:
    """Read a JSON file that somebody else may have written: see `parse_json`.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is not an ordinary file, is too large, or not plain JSON.
    """
    if path.exists() and not path.is_file():  # a pipe would keep us waiting, a device never ends
        raise ValueError("not an ordinary file")
    with path.open("rb") as file:
        content = file.read(JSON_LIMIT + 1)
    if len(content) > JSON_LIMIT:
        raise ValueError(f"larger than {JSON_LIMIT >> 20} MiB")
    return parse_json(content)


def parse_json(content: bytes) -> Any:
    """Plain JSON: each key once, every number finite.

    Raises:
        ValueError: anything else.
    """
    try:
        return json.loads(content, object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("brackets in brackets without end") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        ModelError: missing, truncated or not safetensors, or a name stands in it twice.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; expected the weights here.")
    from safetensors.torch import load_file  # here, because readers of clips import this file and no torch

    try:
        _check_header(path)
        return load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as problem:
        reason = " ".join(str(problem).split())
        raise ModelError(f"{path}: not a whole safetensors file ({reason}). Copy it again.") from None


def _check_header(path: Path) -> None:
    """Refuse what the library lets through: names that stand twice, and more tensors than any model has."""
    with path.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if length > JSON_LIMIT:
            raise ValueError("header too large")
        header = content.read(length)
    with safetensors.safe_open(path, framework="pt") as file:  # which has looked at the header by now
        count = len(file.keys())
    if count > TENSOR_LIMIT:
        raise ValueError(f"{count} tensors; expected at most {TENSOR_LIMIT}")
    parse_json(header)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in pairs:
        if name in tree:
            raise ValueError(f"{name!r} stands twice")
        tree[name] = value
    return tree


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _writes(process: int) -> bool:
    """Whether another process of this number lives."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives and belongs to somebody else
        return True
    return True


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
