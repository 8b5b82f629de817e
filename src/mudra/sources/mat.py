"""Streams that lie in MATLAB files (`.mat` up to version 7.2). Nothing in such a file is executed.

A file holds a stream under the name of its kind, as an `.npz` does, or under the name that a release gave it:
UTD-MHAD (Chen et al., ICIP 2015) has `d_skel` [20,3,T], `d_iner` [T,6] and `d_depth` [H,W,T].
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.arrays import ArraySource
from mudra.sources.limits import check_bytes, named, read_regular
from mudra.types import StreamKind

# Of UTD-MHAD's joints (head, shoulder centre, spine, hip centre, arms, legs), those of `kinect20` in its order.
_TO_KINECT20 = (3, 2, 1, 0, *range(4, 20))


@dataclass(frozen=True, slots=True)
class MatSource(ArraySource):
    """One stream of a `.mat` file; else as `ArraySource`."""

    @contextmanager
    def _arrays(self) -> Iterator[Mapping[str, NDArray[Any]]]:
        place = named(self.path)
        data = read_regular(self.path, self.limits.bytes)
        names = {self.kind: self.kind, "times": "times", "score": "score", **_RELEASED.get(self.kind, {})}
        try:
            from scipy.io import loadmat, whosmat  # heavy, and few need it

            sizes = {name: shape for name, shape, _ in whosmat(io.BytesIO(data))}
            wanted = [name for name in names if name in sizes]
            for name in wanted:
                check_bytes(int(np.prod(sizes[name], dtype=np.float64)) * 8, self.limits, place)
            found = loadmat(io.BytesIO(data), variable_names=wanted, struct_as_record=True)
        except DataError:
            raise
        except Exception as problem:  # a damaged file makes scipy fail in many ways
            why = " ".join(str(problem).split())[:200] or type(problem).__name__
            raise DataError(
                f"{place}: cannot be read as a MATLAB file ({why}); expected one of version 7.2 or older. Copy it "
                "again, or save it anew with -v7."
            ) from None
        arrays = {names[name]: _as_stream(name, found[name]) for name in wanted}
        if self.kind not in arrays and sizes:
            arrays |= {name: np.empty(0) for name in sizes}  # named in the error
        yield arrays


_RELEASED: Mapping[StreamKind, Mapping[str, str]] = {
    "points": {"d_skel": "points"},
    "series": {"d_iner": "series"},
    "depth": {"d_depth": "depth"},
}


def _as_stream(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """A variable with the axes of its kind: moments first."""
    if name in ("times", "score"):
        return values.ravel() if name == "times" else values
    if name == "d_skel" and values.ndim == 3 and values.shape[:2] == (20, 3):
        return np.ascontiguousarray(values.transpose(2, 0, 1)[:, _TO_KINECT20])
    if name == "d_depth" and values.ndim == 3:
        return values.transpose(2, 0, 1)
    return values
