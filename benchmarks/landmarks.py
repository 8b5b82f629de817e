"""What finding body points in video costs: frames a second of one and of several processes, on your own clips.

    python benchmarks/landmarks.py DATA [--workers 1 2] [--clips 8]

Needs mudra[landmarks]. Each number of processes extracts the same clips anew, with all that `mudra data
landmarks` does: starting, decoding, MediaPipe, writing. CPU seconds are those of all processes together, so that
a busy machine does not change them; frames a CPU second is what one free core reaches.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from mudra.clips.landmarks import Extraction, extract
from mudra.clips.manifest import Manifest
from mudra.datasets.opening import read_location


def measured(manifest: Manifest, workers: int) -> tuple[Extraction, float, float]:
    """What was found, wall seconds, CPU seconds."""
    with tempfile.TemporaryDirectory() as home:
        before, begun = os.times(), time.perf_counter()
        found = extract(manifest, Path(home) / "points", say=print, workers=workers)
        after, ended = os.times(), time.perf_counter()
    spent = sum(after[:4]) - sum(before[:4])  # of this process and of those that it has ended
    return found, ended - begun, spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="a folder of clips, or name:folder")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clips", type=int, default=8, help="how many, spread over the data set")
    arguments = parser.parse_args()
    manifest = read_location(arguments.data)
    chosen = np.unique(np.linspace(0, len(manifest) - 1, arguments.clips).astype(int))
    print("processes  frames  frames/s  frames/CPU-s")
    for workers in arguments.workers:
        found, wall, cpu = measured(manifest.select(chosen), workers)
        frames = sum(clip.frames for clip in found.clips.values())
        print(f"{workers:9}  {frames:6}  {frames / wall:8.1f}  {frames / cpu:12.1f}", flush=True)
    print("\n".join(found.lines))


if __name__ == "__main__":
    main()
