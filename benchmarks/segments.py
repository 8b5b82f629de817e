"""What 1,000 short segments of one long video cost, against decoding that video once. CPU time, one thread.

    python benchmarks/segments.py [--minutes 60] [--segments 1000] [--rounds 1] [--out benchmarks/results/segments.json]

A segment lasts 0.5 to 3 s, begins anywhere, and gives 16 RGB frames. (The validation videos of EPIC-KITCHENS-100 have
732 segments in an hour, 75 % of the footage together.) Videos are H.264, 456 x 256 at 50 frames per second, with a key
frame every 1, 5 or 10 s; one scene of 20 s is encoded and repeated. `decode` decodes every frame once and converts
none: the floor. `shuffled` reads the segments as training does, `in order` as evaluation does, `opened anew` shuffled
and without the shelf that keeps long videos open (mudra.sources.shelf); `ready` adds the resize to 224 x 224 of
evaluation to `shuffled`. All are given as multiples of `decode`. Memory is what the process holds after all.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import psutil

from mudra.clips.pixels import resize, view_box
from mudra.sources import VideoSource, video
from mudra.sources.shelf import Shelf
from reading import OUT, scene, spread, versions
from reading import decode as decode_once

WIDTH, HEIGHT, FPS, PIECE = 456, 256, 50, 20
GROUPS = (1, 5, 10)  # seconds between key frames
Segments = list[tuple[float, float]]


def write_piece(path: Path, group: int) -> Path:
    """The scene of 20 s."""
    with av.open(str(path), "w") as out:
        options = {"crf": "23", "g": str(group * FPS), "preset": "veryfast", "sc_threshold": "0"}
        stream = out.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in scene(WIDTH, HEIGHT, PIECE, FPS):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        out.mux(stream.encode())
    return path


def repeated(piece: Path, path: Path, times: int) -> Path:
    """The packets of a video written one time after the other, as one long video."""
    with av.open(str(piece)) as inside, av.open(str(path), "w") as out:
        source = inside.streams.video[0]
        stream = out.add_stream_from_template(source)
        packets = [packet for packet in inside.demux(source) if packet.size]
        copies = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in packets]
        span = round(PIECE / source.time_base)
        for number in range(times):
            for data, pts, dts, length, key in copies:
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, source.time_base
                packet.pts, packet.dts = pts + number * span, dts + number * span
                packet.duration, packet.is_keyframe = length, key
                out.mux(packet)
    return path


def drawn(count: int, seconds: float, seed: int = 0) -> Segments:
    """Segments of 0.5 to 3 s, in no order."""
    rng = random.Random(seed)
    lengths = [rng.uniform(0.5, 3) for _ in range(count)]
    starts = [rng.uniform(0, seconds - length) for length in lengths]
    return [(start, start + length) for start, length in zip(starts, lengths, strict=True)]


def read(path: Path, segments: Segments, shelf: Shelf, ready: bool = False) -> None:
    """16 frames of every segment."""
    video.SHELF = shelf
    for start, stop in segments:
        frames = VideoSource(path, start=start, stop=stop).read(spread).values
        if ready:
            resize(frames, OUT, OUT, view_box(*frames.shape[1:3], "crop"))
    shelf.close()


def seconds_of(job: Callable[[], object]) -> float:
    begin = time.process_time()
    job()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=60, help="of the video (60)")
    parser.add_argument("--segments", type=int, default=1000, help="how many are read (1000)")
    parser.add_argument("--rounds", type=int, default=1, help="each measures everything once (1)")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    arguments = parser.parse_args()
    pieces = max(1, arguments.minutes * 60 // PIECE)
    segments = drawn(arguments.segments, pieces * PIECE)
    share = sum(stop - start for start, stop in segments) / (pieces * PIECE)
    result: dict[str, object] = {
        "versions": versions(),
        **vars(arguments),
        "out": None,
        "share of footage": share,
    }
    print(
        f"{len(segments):,} segments of a video of {pieces * PIECE / 60:.0f} minutes: {share:.0%} of its footage"
    )
    heads = ("decode s", "shuffled", "in order", "opened anew", "ready", "MB held")
    print(f"{'key frame every':18}" + "".join(f"{head:>13}" for head in heads))
    with tempfile.TemporaryDirectory() as folder:
        for group in GROUPS:
            piece = write_piece(Path(folder) / "piece.mp4", group)
            path = repeated(piece, Path(folder) / f"{group}.mp4", pieces)
            jobs: dict[str, Callable[[], object]] = {
                "decode": lambda path=path: decode_once(path),
                "shuffled": lambda path=path: read(path, segments, Shelf()),
                "in order": lambda path=path: read(path, sorted(segments), Shelf()),
                "opened anew": lambda path=path: read(path, segments, Shelf(videos=0)),
                "ready": lambda path=path: read(path, segments, Shelf(), ready=True),
            }
            taken: dict[str, list[float]] = {name: [] for name in jobs}
            for round_ in range(arguments.rounds):
                for name in random.Random(round_).sample(list(jobs), len(jobs)):
                    taken[name].append(seconds_of(jobs[name]))
            row = {"decode s": statistics.median(taken["decode"])}
            for name in list(jobs)[1:]:
                row[name] = statistics.median(
                    mine / floor for mine, floor in zip(taken[name], taken["decode"], strict=True)
                )
            row["MB held"] = psutil.Process().memory_info().rss / 1e6
            result[f"key frame every {group} s"] = {name: round(value, 3) for name, value in row.items()}
            print(
                f"{f'{group} s':18}{row['decode s']:13.1f}"
                + "".join(f"{row[name]:13.2f}" for name in list(jobs)[1:])
                + f"{row['MB held']:13.0f}",
                flush=True,
            )
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
