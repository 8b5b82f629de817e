"""What a streaming recogniser loses, or does not, against clips: puppets it has never seen, cut and joined.

    mudra train puppets-retnet --out runs/retnet
    mudra train puppets-timesformer --out runs/timesformer
    python benchmarks/puppets_streaming.py runs/retnet runs/timesformer [--clips 1200] [--minutes 10]

New puppets of another seed, all of them people that training never saw, are judged

    as clips            by `predict`, each run
    as streams          frame by frame from each clip's beginning; the answer at its last frame
    as one recording    clips joined for `minutes` without a cut or a reset; the answer at each gesture's end,
                        minute by minute, so that a drift would show

The last two only for runs that can stream. Intervals are bootstrapped over people.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import mudra
from mudra.clips.manifest import Manifest
from mudra.datasets.puppets import Puppets, write
from mudra.errors import ModelError
from mudra.recognizer import Recognizer
from mudra.settings import parse
from mudra.sources import open_source
from mudra.types import Clip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--clips", type=int, default=1200)
    parser.add_argument("--difficulty", type=float, default=0.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        values = {
            "kind": "puppets", "clips": arguments.clips, "seed": arguments.seed, "shares": [0.0, 0.0, 1.0],
            "difficulty": arguments.difficulty, "tasks": ["label"],
        }  # fmt: skip
        settings = parse(Puppets, values, "puppets")
        write(Path(home) / "clips", settings)
        clips = settings.read(Path(home) / "clips")
        for run in arguments.runs:
            judge(run, clips, arguments.minutes)


def judge(run: Path, clips: Manifest, minutes: float) -> None:
    recognizer = mudra.load(run)
    print(f"{run}: {recognizer.bundle.name}")
    tell("as clips", clips, [recognizer.predict(clip).label == clip.labels["label"] for clip in clips])
    try:
        recognizer.stream()
    except ModelError as problem:
        print(f"  not as a stream: {problem}")
        return
    tell("as streams", clips, [streamed(recognizer, clip) == clip.labels["label"] for clip in clips])
    recording(recognizer, clips, minutes)


def frames_of(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    stream = open_source(clip.streams["video"], "video").read(lambda times: np.arange(len(times)))
    return stream.values, stream.times


def streamed(recognizer: Recognizer, clip: Clip) -> str:
    """The answer at the last look at a clip."""
    live, label = recognizer.stream(), ""
    for frame, time in zip(*frames_of(clip), strict=True):
        answer = live.push(frame, float(time))
        label = label if answer is None else answer.label
    return label


def recording(recognizer: Recognizer, clips: Manifest, minutes: float) -> None:
    """Clips in a seeded order, one after the other, through one stream that is never reset."""
    live, now, label = recognizer.stream(), 0.0, ""
    right: list[list[bool]] = []
    order = np.random.default_rng(0).permutation(len(clips))
    for number in order:
        clip = clips[int(number)]
        frames, times = frames_of(clip)
        period = float(np.median(np.diff(times)))
        for frame, time in zip(frames, times, strict=True):
            answer = live.push(frame, now + float(time))
            label = label if answer is None else answer.label
        minute = int(now // 60)
        if minute >= minutes:
            break
        while len(right) <= minute:
            right.append([])
        right[minute].append(label == clip.labels["label"])
        now += float(times[-1]) + period
    flat = [hit for part in right for hit in part]
    shares = "  ".join(f"{np.mean(part):.0%}" for part in right)
    print(
        f"  as one recording of {now / 60:.1f} minutes, never reset: {np.mean(flat):.1%} of {len(flat)} gestures"
    )
    print(f"    minute by minute: {shares}")


def tell(how: str, clips: Manifest, right: list[bool]) -> None:
    """The share that is right, with a 95 % interval over people."""
    hits = np.asarray(right, float)
    _, person = np.unique(np.asarray(clips.groups.to_pylist(), dtype=object), return_inverse=True)
    rng, shares = np.random.default_rng(0), []
    sums, counts = np.bincount(person, hits), np.bincount(person)
    for _ in range(2000):
        drawn = rng.integers(0, len(counts), len(counts))
        shares.append(sums[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(shares, [0.025, 0.975])
    print(
        f"  {how}: {hits.mean():.1%} [{low:.1%}, {high:.1%}] of {len(hits)} clips, {len(counts)} people",
        flush=True,
    )


if __name__ == "__main__":
    main()
