"""One record of S4's TFRecords becomes the streams of a clip.

A record is a `tf.train.Example` (or a SequenceExample with a value for each frame) of float32 numbers as bytes:

    rgb [T,80,80,3]   depth [T,80,80]   segmentation [T,80,80]   skeleton [T,20,9]   skeleton_img [T,80,80,3]

and of the int64 `length` (frames; what comes after them is padding), `id`, and `label` except in test files. A joint
has x, y, z, a quaternion and a place in the picture. `skeleton_img` is drawn from the skeleton and is not kept.

Nobody wrote down how the pictures were scaled, so it is seen from the numbers: see `Scale`.
Axes: T frames, H = W = 80.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError
from mudra.sources.examples import numbers, read_example, whole_number
from mudra.sources.limits import DEFAULT_LIMITS
from mudra.sources.tfrecord import Record
from mudra.types import StreamInfo

FPS = 20.0
SIDE = 80
JOINTS, PER_JOINT = 20, 9
SHAPES = {
    "rgb": (SIDE, SIDE, 3),
    "depth": (SIDE, SIDE),
    "segmentation": (SIDE, SIDE),
    "skeleton": (JOINTS, PER_JOINT),
}
PICTURES = ("rgb", "depth", "segmentation")
STREAMS: Mapping[str, StreamInfo] = {
    "video": StreamInfo("video", fps=FPS),
    "depth": StreamInfo("depth", fps=FPS),
    "mask": StreamInfo("mask", fps=FPS),
    "points": StreamInfo("points", "kinect20", FPS),
    "points:pixels": StreamInfo("points", "kinect20", FPS),
    "series:orientations": StreamInfo("series", fps=FPS, channels=JOINTS * 4),
}
USUAL = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""Ranges that pictures are scaled to; depth may be millimetres as well."""
MILLIMETRES = (0.0, 65535.0)
SLACK = 1e-3  # of a range: what rounding may put outside of it

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Raw:
    """A record as it stands, without its padding.

    Attributes:
        label: None where there is none.
        arrays: float32, [T, *SHAPES[name]] by name; views of the record.
    """

    id: int
    label: int | None
    frames: int
    arrays: Mapping[str, Floats]


@dataclass(frozen=True)
class Scale:
    """The numbers that stand for black and white, or for the depths 0 and 65,535.

    Pictures are kept as whole numbers from 0: `low` becomes 0, `high` the largest there is.
    """

    low: float
    high: float

    def whole(self, values: Floats, most: int, place: str, name: str) -> NDArray[Any]:
        """Whole numbers from 0 to `most`, the nearest to each value.

        Raises:
            DataError: a value is not finite, or lies outside.
        """
        low, high = extent(values, place, name)
        slack = SLACK * (self.high - self.low)
        if low < self.low - slack or high > self.high + slack:
            raise DataError(
                f"{place}: {name} runs from {low:g} to {high:g}; expected {self.low:g} to {self.high:g}. Mend the "
                f"record, or begin anew and say the range of all with --{name}=LOW,HIGH."
            )
        kind = np.uint8 if most < 256 else np.uint16
        share = (np.clip(values, self.low, self.high) - np.float32(self.low)) / np.float32(
            self.high - self.low
        )
        return np.rint(share * np.float32(most)).astype(kind)


def extent(values: Floats, place: str, name: str) -> tuple[float, float]:
    """The least and the largest of some values.

    Raises:
        DataError: one is not finite.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{place}: {name} holds numbers that are not finite; write the record anew.")
    return low, high


def usual_scale(low: float, high: float, name: str) -> Scale | None:
    """The usual range that these extremes lie in; None where they lie in none."""
    for least, most in (*USUAL, MILLIMETRES) if name == "depth" else USUAL:
        if least <= low and high <= most:
            return Scale(least, most)
    return None


def read_raw(record: Record, place: str, labelled: bool) -> Raw:
    """Take a record apart.

    Args:
        labelled: whether it must have a label.
    Raises:
        DataError: a feature is missing, of another kind, or of another size.
    """
    features = read_example(record, place)
    frames = whole_number(features, "length", place)
    if not 1 <= frames <= DEFAULT_LIMITS.frames:
        raise DataError(f"{place}: length is {frames:,}; expected a number of frames, 1 or more.")
    arrays = {}
    for name, shape in SHAPES.items():
        values = numbers(features, name, place)
        size = int(np.prod(shape))
        if len(values) % size or len(values) < frames * size:
            raise DataError(
                f"{place}: {name} has {len(values):,} numbers; expected {size:,} for each of {frames} frames"
                f" ({' x '.join(map(str, shape))}), or more frames as padding. Write it anew."
            )
        arrays[name] = values[: frames * size].reshape(frames, *shape)
    label = whole_number(features, "label", place) if labelled or "label" in features else None
    return Raw(whole_number(features, "id", place), label, frames, arrays)


def streams_of(raw: Raw, scales: Mapping[str, Scale], place: str) -> dict[str, NDArray[Any]]:
    """The streams of a clip by name, as mudra keeps them; a joint whose nine numbers are all 0 was not seen.

    Raises:
        DataError: a number is not finite, or outside the range of its kind.
    """
    joints = raw.arrays["skeleton"]
    if not np.isfinite(joints).all():
        raise DataError(f"{place}: skeleton holds numbers that are not finite; write the record anew.")
    joints = np.where((joints == 0).all(axis=2, keepdims=True), np.float32(np.nan), joints)
    mask = scales["segmentation"].whole(raw.arrays["segmentation"], 255, place, "segmentation")
    return {
        "video": scales["rgb"].whole(raw.arrays["rgb"], 255, place, "rgb"),
        "depth": scales["depth"].whole(raw.arrays["depth"], 65535, place, "depth"),
        "mask": np.where(mask > 127, np.uint8(255), np.uint8(0)),
        "points": joints[:, :, :3],
        "points:pixels": joints[:, :, 7:],
        "series:orientations": joints[:, :, 3:7].reshape(raw.frames, JOINTS * 4),
    }


def content_hash(streams: Mapping[str, NDArray[Any]]) -> str:
    """What is in a clip, whatever its number, label and padding: equal where every stream is equal."""
    digest = sha256()
    for name in STREAMS:
        digest.update(np.ascontiguousarray(streams[name]).tobytes())
    return digest.hexdigest()


def extents(raw: Raw, place: str) -> dict[str, tuple[float, float]]:
    """The least and the largest number of each kind of picture."""
    return {name: extent(raw.arrays[name], place, name) for name in PICTURES}
