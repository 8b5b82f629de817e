"""One image file becomes one array, checked by its header before anything is unpacked."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mudra.errors import DataError
from mudra.sources.limits import Limits, check_picture, check_same_size, named, read_regular
from mudra.types import StreamKind

# Only these two are opened, so that none of Pillow's rarer decoders is ever reached.
_FORMATS = ("JPEG", "PNG")
# The largest a picture can be, 16-bit RGBA stored uncompressed.
_MOST_BYTES_PER_PIXEL = 8
# Room for headers, colour profiles and the camera's notes.
_MOST_EXTRAS = 1024**2
_AGAIN = "extract the frames again, or leave this clip out."


def read_image(
    path: Path | str, kind: StreamKind, limits: Limits, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Read one picture.

    JPEG goes through libjpeg-turbo directly, with the same settings and the same pixels as Pillow but
    less to carry; whatever that does not know (CMYK) and all PNG go through Pillow. Orientation marks
    that cameras leave in photographs are not applied: frames are as they were extracted.

    Args:
        out: where to put the picture, if its size is known; filling it directly saves a copy.
    Returns:
        "video": uint8 RGB [H, W, 3]; "depth": uint16 [H, W]; "mask": uint8 [H, W], a palette picture
        as its palette numbers, a black-and-white one as 0 and 1.
    Raises:
        DataError: truncated, damaged, too large, of another size than `out`, or not what `kind` needs.
    """
    data = read_regular(path, limits.pixels * _MOST_BYTES_PER_PIXEL + _MOST_EXTRAS)
    if kind == "video" and data[:2] == b"\xff\xd8":
        picture = _jpeg(data, limits, path, out)
        if picture is not None:
            return picture
    picture = _pillow(data, kind, limits, path)
    if out is None:
        return picture
    check_same_size(picture.shape[:2], out.shape[:2], named(path))
    out[...] = picture
    return out


def _jpeg(
    data: bytes, limits: Limits, path: Path | str, out: NDArray[np.uint8] | None
) -> NDArray[np.uint8] | None:
    """A JPEG as RGB; None if it is of a sort that only Pillow may know."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colours not in ("YCbCr", "Gray", "RGB"):
        return None
    place = named(path)
    check_picture(width, height, limits, place)
    if out is not None:
        check_same_size((height, width), out.shape[:2], place)
    try:
        picture: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    except ValueError as problem:
        raise DataError(f"{place}: the JPEG is damaged or cut ({_short(problem)}); {_AGAIN}") from None
    return picture


def _pillow(data: bytes, kind: StreamKind, limits: Limits, path: Path | str) -> NDArray[Any]:
    """A picture by Pillow, in the type that `kind` needs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about oversized or odd pictures; the limit below decides
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                check_picture(*image.size, limits, named(path))
                return _converted(image, kind, named(path))
    except UnidentifiedImageError:
        raise DataError(f"{named(path)}: neither a JPEG nor a PNG picture; {_AGAIN}") from None
    except Image.DecompressionBombError:
        raise DataError(f"{named(path)}: the picture is far too large; shrink it first.") from None
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError) as problem:
        raise DataError(
            f"{named(path)}: the picture is damaged or cut ({_short(problem)}); {_AGAIN}"
        ) from None


def _converted(image: Image.Image, kind: StreamKind, place: str) -> NDArray[Any]:
    """The pixels of an opened image, in the type that `kind` needs."""
    if kind == "video":
        return np.asarray(image.convert("RGB"))
    if kind == "mask":
        if image.mode not in ("L", "P", "1"):
            raise DataError(f"{place}: a {image.mode} picture; a mask needs one channel of 8 bits or fewer.")
        return np.asarray(image).astype(np.uint8)
    if not (image.mode == "I" or image.mode.startswith("I;16")):
        raise DataError(f"{place}: a {image.mode} picture; depth needs 16-bit grey PNG, in millimetres.")
    values = np.asarray(image)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise DataError(f"{place}: depth beyond 0..65535; expected 16-bit grey PNG, in millimetres.")
    return values.astype(np.uint16)


def _short(problem: Exception) -> str:
    """A decoder's complaint on one line."""
    return " ".join(str(problem).split())[:120]
