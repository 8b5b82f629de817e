"""`.npy` and `.npz` files, opened without trusting them.

Nothing is ever unpickled. The header is read first, and what it announces is held against the limit
and the size of the file before any memory is taken.

Sources: the NPY format (numpy.lib.format), the ZIP local file header (APPNOTE 4.3.7).
"""

from __future__ import annotations

import io
import lzma
import math
import mmap
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.limits import Limits, check_bytes, named, open_regular

# An honest header is some hundred bytes; more would only keep the parser busy.
_MOST_HEADER = 10_000
# Versions of the format that hold plain numbers, and the bytes in which each keeps its header's length.
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}
_ZIP_LOCAL_HEADER = 30


_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


@contextmanager
def arrays(path: Path, limits: Limits) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays of a file by name; of an `.npy` file under the name "".

    An array of an `.npz` is looked at when it is asked for, within the `with` block. Uncompressed
    arrays are mapped into memory, not read: only what is used of them is fetched.

    Raises:
        DataError: damaged, cut, over the limit, or holding Python objects.
    """
    with open_regular(path) as file:
        if path.suffix.lower() != ".npz":
            yield {"": _mapped(file, 0, limits, named(path))}
            return
        try:
            archive = zipfile.ZipFile(file)
        except (*_DAMAGED, ValueError) as problem:
            raise DataError(_damaged(named(path), problem)) from None
        with archive:
            yield _Members(archive, file, limits, named(path))


class _Members(Mapping[str, "NDArray[Any]"]):
    """The arrays of an open `.npz`."""

    def __init__(self, archive: zipfile.ZipFile, file: BinaryIO, limits: Limits, place: str) -> None:
        self._archive = archive
        self._file = file
        self._limits = limits
        self._place = place
        self._infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)

    def __contains__(self, name: object) -> bool:
        return name in self._infos  # without unpacking it, which a mapping's own way would do

    def __getitem__(self, name: str) -> NDArray[Any]:
        info = self._infos[name]
        place = f"{self._place}, {name!r}"
        try:
            if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
                return _mapped(self._file, self._data_offset(info), self._limits, place)
            return self._unpacked(info, place)
        except _DAMAGED as problem:
            raise DataError(_damaged(place, problem)) from None

    def _data_offset(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of a stored member begin: after its local header, whose extras vary in length."""
        self._file.seek(info.header_offset)
        head = self._file.read(_ZIP_LOCAL_HEADER)
        extras = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        return info.header_offset + _ZIP_LOCAL_HEADER + extras

    def _unpacked(self, info: zipfile.ZipInfo, place: str) -> NDArray[Any]:
        """A compressed member, no more of it than its header announces."""
        with self._archive.open(info) as member:
            shape, fortran, dtype = _header(member, self._limits, place)
            size = math.prod(shape) * dtype.itemsize
            if size > info.file_size:
                raise DataError(_short_of(place, info.file_size, size))
            data = member.read(size)
        if len(data) < size:
            raise DataError(_short_of(place, len(data), size))
        return np.ndarray(shape, dtype, data, order="F" if fortran else "C")


def _damaged(place: str, problem: Exception) -> str:
    why = " ".join(str(problem).split())[:120] or type(problem).__name__
    return f"{place}: the .npz is damaged or cut ({why}); write it again with numpy.savez."


def _short_of(place: str, found: int, announced: int) -> str:
    return f"{place}: holds {found:,} bytes of {announced:,} announced (it is cut); write it again."


def _mapped(file: BinaryIO, offset: int, limits: Limits, place: str) -> NDArray[Any]:
    """An array that begins at `offset`, mapped read-only."""
    file.seek(offset)
    shape, fortran, dtype = _header(file, limits, place)
    begin = file.tell()
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return np.empty(shape, dtype)
    end = file.seek(0, io.SEEK_END)
    if begin + size > end:
        raise DataError(
            f"{place}: holds {end - begin} bytes of {size} announced (it is cut); write it again."
        )
    whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.ndarray(shape, dtype, whole, begin, order="F" if fortran else "C")


def _header(file: IO[bytes], limits: Limits, place: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type that an array announces, checked.

    Raises:
        DataError: not an array, of Python objects, or above the limit.
    """
    try:
        version = npy_format.read_magic(file)
        if version not in _LENGTH_BYTES:
            raise ValueError(f"version {version}")
        length = file.read(_LENGTH_BYTES[version])
        if int.from_bytes(length, "little") > _MOST_HEADER:  # numpy would read it all before it complains
            raise ValueError("its header is too long")
        header = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(header, max_header_size=_MOST_HEADER)
    except (ValueError, EOFError, OSError, MemoryError, RecursionError, SyntaxError, TokenError) as problem:
        why = " ".join(str(problem).split())[:120]
        raise DataError(
            f"{place}: not a NumPy array ({why}); write it with numpy.save or numpy.savez."
        ) from None
    if dtype.hasobject:
        raise DataError(f"{place}: holds Python objects, which are never loaded; save plain numbers.")
    if any(length < 0 for length in shape):
        raise DataError(f"{place}: announces the shape {shape}; write it again.")
    check_bytes(math.prod(shape) * dtype.itemsize, limits, place)
    return shape, fortran, dtype
