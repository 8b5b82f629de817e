"""What reading TFRecords costs beside bare zlib, and whether its memory grows with the file.

    python benchmarks/tfrecords.py [--clips 16] [--repeats 5] [--out tfrecords-cpu.md]

The records are S4's clips (40 frames of 80x80, 8.2 MB each; one in four holds padding), drawn: a person-sized patch
over a room, with noise. How well the real ones pack is not known here, so there are two kinds: pictures of 256 levels,
and pictures that were resized after scaling, whose numbers are any. `records` is framing, unpacking and both
checksums; `examples` also takes the features apart and gives the arrays; `bare` is zlib alone on the whole file in
memory, or reading a plain file. The three are taken in turns. Speeds are megabytes of unpacked data for each second of
CPU time of one core: other work on the machine is not counted. The peak of memory (RSS) is that of a process which
reads a file of so many clips, and of one which reads a file of eight times as many, NumPy and all included.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import tfrecords as writer  # noqa: E402

from mudra.datasets.montalbano_clips import FPS, Scale, read_raw, streams_of  # noqa: E402
from mudra.datasets.montalbano_import import import_tfrecords  # noqa: E402
from mudra.sources.crc32c import crc32c  # noqa: E402
from mudra.sources.tfrecord import records  # noqa: E402
from mudra.training.hardware import processor_name  # noqa: E402

RESULTS = Path(__file__).parent / "results"
FRAMES = 40
LARGER = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", default=None, help="write the table to this file in benchmarks/results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        text = table(Path(home), arguments.clips, arguments.repeats)
    print(text)
    if arguments.out:
        (RESULTS / arguments.out).write_text(text, "utf-8")


def table(home: Path, clips: int, repeats: int) -> str:
    drawn = [record(number) for number in range(clips)]
    any_floats = [record(number, spread=0.5) for number in range(clips)]
    size = sum(len(data) + 16 for data in drawn) / 1e6
    lines = [
        f"## TFRecords of S4's clips: {clips} records, {size:.0f} MB unpacked",
        "",
        f"{repeats} rounds, medians; {processor_name()}; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"zlib {zlib.ZLIB_RUNTIME_VERSION}. MB/s of unpacked data for a second of CPU time of one core.",
        "",
        "| file | packed to | records | examples | bare | bare's share of the time | peak, MB | of 8 x as many, MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for packing, kind in (("zlib", drawn), ("zlib", any_floats), ("gzip", drawn), ("plain", drawn)):
        name = packing if kind is drawn else f"{packing}, any numbers"
        path, large = home / name, home / "large"
        write(path, kind, packing, 1)
        write(large, kind, packing, LARGER)
        ways: dict[str, Callable[[], object]] = {
            "records": lambda path=path: last(records(path)),
            "examples": lambda path=path: last(arrays_of(path)),
            "bare": lambda path=path, packing=packing: bare(path, packing),
        }
        speeds = {way: size / seconds for way, seconds in rounds(ways, repeats).items()}
        lines.append(
            f"| {name} | {path.stat().st_size / size / 1e4:.0f} % | {speeds['records']:.0f} | {speeds['examples']:.0f} "
            f"| {speeds['bare']:.0f} | {speeds['examples'] / speeds['bare']:.0%} | {measured(path):.0f} "
            f"| {measured(large):.0f} |"
        )
    lines += ["", "Beside it:", "", "|  | MB/s |", "| --- | --- |"]
    whole = np.frombuffer(b"".join(drawn), np.uint8)
    others: dict[str, Callable[[], object]] = {
        "CRC-32C alone": lambda: crc32c(whole),
        "numbers to streams (uint8, uint16, points), after reading": lambda: last(converted(home / "plain")),
        "writing a ZLIB file at level 6, CRC-32C included": lambda: write(home / "w", drawn, "zlib", 1),
        "`mudra data import-tfrecord` of a ZLIB file, writing and flushing included": lambda: imported(
            home, clips
        ),
    }
    for name, seconds in rounds(others, max(1, repeats // 2)).items():
        lines.append(f"| {name} | {size / seconds:.0f} |")
    return "\n".join(lines) + "\n"


def record(seed: int, spread: float = 0.0) -> bytes:
    """One clip; `spread` is how far a number may be from a whole grey level, in levels."""
    rng = np.random.default_rng(seed)
    padded = FRAMES // 5 if seed % 4 == 0 else 0
    room = np.repeat(np.repeat(rng.integers(20, 235, (10, 10, 3)), 8, 0), 8, 1).astype(float)
    rgb = room + rng.normal(0, 2, (FRAMES, 80, 80, 3))
    depth = room[:, :, 0] / 2 + 100 + rng.normal(0, 1, (FRAMES, 80, 80))
    mask = np.zeros((FRAMES, 80, 80))
    for frame in range(FRAMES):
        here = frame, slice(20, 78), slice(24 + frame // 4, 50 + frame // 4)
        rgb[here] = rng.normal(120, 4, (58, 26, 3))
        depth[here], mask[here] = rng.normal(60, 1, (58, 26)), 255
    pictures = {
        "rgb": rgb,
        "depth": depth,
        "segmentation": mask,
        "skeleton_img": np.where(mask[..., None], rgb, 0),
    }
    features = {}
    for name, values in pictures.items():
        levels = np.rint(np.clip(values, 1, 254))
        features[name] = np.where(values == 0, 0, levels + rng.uniform(-spread, spread, values.shape)) / 255
    features["skeleton"] = rng.normal(0, 1, (FRAMES, 180))
    numbers = {"length": FRAMES - padded, "label": seed % 20, "id": seed}
    return writer.example({**features, **numbers})


def write(path: Path, datas: list[bytes], packing: str, times: int) -> None:
    """A file of these records, so many times, without ever holding it."""
    packers = {"zlib": zlib.compressobj(6), "gzip": zlib.compressobj(6, zlib.DEFLATED, 31)}
    with path.open("wb") as file:
        for data in datas * times:
            framed = writer.framed(data, writer.fast)
            file.write(packers[packing].compress(framed) if packing in packers else framed)
        if packing in packers:
            file.write(packers[packing].flush())


def arrays_of(path: Path) -> Iterator[object]:
    return (read_raw(data, "a record", labelled=True) for data in records(path))


def converted(path: Path) -> Iterator[object]:
    scales = {name: Scale(0, 1) for name in ("rgb", "depth", "segmentation")}
    return (
        streams_of(read_raw(data, "a record", labelled=True), scales, "a record") for data in records(path)
    )


def imported(home: Path, clips: int) -> None:
    folder = Path(tempfile.mkdtemp(dir=home))
    os.link(home / "zlib", folder / "training-00-of-20")
    made = import_tfrecords(folder, home / f"{folder.name}-out", say=lambda _line: None, workers=0)
    assert len(made) == clips
    assert made.streams["video"].fps == FPS


def bare(path: Path, packing: str) -> int:
    content = path.read_bytes()
    if packing == "plain":
        return len(content)
    return len(zlib.decompress(content) if packing == "zlib" else gzip.decompress(content))


def last(values: Iterator[object]) -> object:
    for value in values:
        found = value
    return found


def rounds(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of CPU time of each, the median of the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            begun = time.process_time()
            way()
            if number or not repeats > 1:  # the first round makes tables and fetches the file
                taken[name].append(time.process_time() - begun)
    return {name: statistics.median(values) for name, values in taken.items()}


MEASURED = """
import re, sys
from mudra.datasets.montalbano_clips import read_raw
from mudra.sources.tfrecord import records
for data in records(sys.argv[1]):
    read_raw(data, "a record", labelled=True)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1.024e-3)
"""
"""`ru_maxrss` would be that of the process which starts it, where that has more."""


def measured(path: Path) -> float:
    """MB that a process which reads a file has at its peak."""
    command = [sys.executable, "-c", MEASURED, str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
