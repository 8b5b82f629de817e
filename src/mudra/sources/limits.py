"""What a file may cost before it is refused, and how a file is opened without surprises."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mudra.errors import DataError

# A FIFO must not make us wait for its writer; the flags do not exist on every system.
_OPEN_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds that are checked before the cost arises.

    Attributes:
        pixels: area of one picture. 4096 x 4096 lets 4K video through and stops an 8192 x 8192 bomb.
        frames: moments of one clip; 200,000 is nearly two hours at 30 frames a second.
        bytes: what one `read` may return, and what one array file may unpack to.
    """

    pixels: int = 4096 * 4096
    frames: int = 200_000
    bytes: int = 4 * 1024**3


DEFAULT_LIMITS = Limits()


def named(path: Path | str) -> str:
    """A path as an error message shows it: always one line, whatever bytes the name holds.

    >>> named(Path("clips/a.mp4"))
    'clips/a.mp4'
    >>> print(named(Path("two" + chr(10) + "lines")))
    'two\\nlines'
    """
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)


def open_regular(path: Path) -> BinaryIO:
    """Open an ordinary file for reading, unbuffered.

    Opening first and asking afterwards leaves no moment in which the name could be given to another
    file, and taking the name from Python means that no part of it has a meaning ("-", "%d", "http:").

    Raises:
        DataError: it does not exist, cannot be read, or is a folder, pipe, device or socket.
    """
    handle, _ = _regular_handle(path)
    return os.fdopen(handle, "rb", buffering=0)


def read_regular(path: Path | str, most: int) -> bytes:
    """All bytes of an ordinary file.

    Raises:
        DataError: as `open_regular`; or it is larger than `most` bytes.
    """
    handle, size = _regular_handle(path)
    try:
        if size > most:
            raise DataError(f"{named(path)}: {size:,} bytes are too many; expected at most {most:,}.")
        data = os.read(handle, size)
        while len(data) < size and (more := os.read(handle, size - len(data))):
            data += more
    except OSError as problem:
        raise DataError(f"{named(path)}: cannot be read: {problem.strerror}; copy it again.") from None
    finally:
        os.close(handle)
    return data


def _regular_handle(path: Path | str) -> tuple[int, int]:
    """An open handle on an ordinary file, and its size in bytes."""
    try:
        handle = os.open(path, _OPEN_FLAGS)
    except FileNotFoundError:
        raise DataError(f"{named(path)}: no such file; check the path, or mend the manifest.") from None
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise DataError(f"{named(path)}: cannot be opened: {why}; expected a readable file.") from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise DataError(f"{named(path)}: not an ordinary file (a folder, pipe or device); name a file.")
    return handle, status.st_size


def check_picture(width: int, height: int, limits: Limits, place: str) -> None:
    """Refuse a picture that is empty or larger than the limit, by what its header says.

    Raises:
        DataError: naming the size and the limit.
    """
    if width < 1 or height < 1:
        raise DataError(f"{place}: the picture measures {width}x{height}; expected at least 1x1.")
    if width * height > limits.pixels:
        raise DataError(
            f"{place}: the picture measures {width}x{height}, more than the {limits.pixels:,} pixels allowed;"
            " shrink it first."
        )


def check_same_size(found: tuple[int, ...], first: tuple[int, ...], place: str) -> None:
    """Refuse a clip whose pictures change their size.

    Raises:
        DataError: naming both sizes, as width x height.
    """
    if found != first:
        raise DataError(
            f"{place}: the picture changes from {first[1]}x{first[0]} to {found[1]}x{found[0]} within the clip;"
            " convert it to one size."
        )


def check_bytes(count: int, limits: Limits, place: str) -> None:
    """Refuse to unpack more than the limit.

    Raises:
        DataError: naming the size and the limit.
    """
    if count > limits.bytes:
        raise DataError(
            f"{place}: this would take {count / 1e9:,.1f} GB of memory, more than the"
            f" {limits.bytes / 1e9:,.1f} GB allowed; look at fewer or smaller frames, or cut the clip."
        )
