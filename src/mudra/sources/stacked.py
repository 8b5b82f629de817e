"""Sequences of one length that lie stacked in one `.npz`, as a release in arrays for training has them.

The sequences are read as one long recording, one after the other, so that a clip is a part of it, told by start and
stop; `.ts` files are read in the same way. The file is unpacked once for as long as it does not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources import npy
from mudra.sources.limits import DEFAULT_LIMITS, check_bytes, named

RELEASED: Sequence[tuple[str, ...]] = (("X_Train", "X_Valid", "X_Test"),)
"""Names of the arrays [N,T,C] that a release stacked its sequences in, in the order in which they are read."""


def stack_in(names: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a file's stacked arrays; () where it is no such file."""
    return next((stack for stack in RELEASED if all(name in names for name in stack)), ())


def read_stack(path: Path) -> NDArray[np.float32]:
    """All sequences of a file, one after the other: float32 [N x T,C].

    Raises:
        DataError: they are not stacks of numbers of one length and as many channels.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as problem:
        raise DataError(f"{named(path)}: cannot be read ({problem}); expected an .npz file.") from None
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int, _size: int) -> NDArray[np.float32]:
    with npy.arrays(path, DEFAULT_LIMITS) as found:
        names = stack_in(found)
        parts = [found[name] for name in names]
        for name, part in zip(names, parts, strict=True):
            if part.ndim != 3 or part.dtype.kind not in "iuf" or part.shape[1:] != parts[0].shape[1:]:
                raise DataError(
                    f"{named(path)}, {name!r}: found {part.dtype} of shape {part.shape}; expected numbers [N,T,C] with "
                    f"T and C as in {names[0]!r}."
                )
        check_bytes(4 * sum(part.size for part in parts), DEFAULT_LIMITS, named(path))
        with np.errstate(over="ignore", invalid="ignore"):
            rows = [part.reshape(-1, part.shape[2]).astype(np.float32) for part in parts]
    whole = np.concatenate(rows)
    whole.flags.writeable = False
    return whole
