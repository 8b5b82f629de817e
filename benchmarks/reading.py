"""What reading a clip costs: 16 frames spread over it, one thread, CPU time. Makes its own inputs.

    python benchmarks/reading.py [--repeats 15] [--out benchmarks/results/reading.json]

Videos are H.264 with sensor-like noise. `decode` is the floor that a plain reader cannot get under:
PyAV decoding every frame and converting none. `read` is mudra.sources giving 16 RGB frames; `ready`
is that and the resize to 224 x 224 of evaluation (see mudra.clips.pixels). Each variant runs once in
each round, in a shuffled order, so that a busy machine is unfair to none; medians are given, and the
medians of the ratios to `decode` within a round. Files are in the page cache.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from mudra.clips.pixels import resize, view_box
from mudra.sources import open_source

FRAMES, OUT = 16, 224
VIDEOS = {  # width, height, seconds, frames between key frames
    "320x240, 3 s": (320, 240, 3, 30),
    "320x240, 3 s, one group": (320, 240, 3, 250),
    "320x240, 10 s, groups of 250": (320, 240, 10, 250),
    "1280x720, 5 s": (1280, 720, 5, 30),
    "1280x720, 5 s, one group": (1280, 720, 5, 250),
}
FOLDERS, PICTURES, PICTURE_SIZE = 60, 35, (176, 100)


def spread(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """16 frame numbers from the first to the last."""
    return np.linspace(0, len(times) - 1, FRAMES).round().astype(np.int64)


def scene(width: int, height: int, seconds: int, fps: int = 30) -> list[NDArray[np.uint8]]:
    """A textured background that pans, a body that moves before it, and noise like a sensor's."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(40, 220, (height // 12, (width + 120) // 12, 3), dtype=np.uint8))
    wide = np.asarray(coarse.resize((width + 120, height), Image.Resampling.BICUBIC), np.int16)
    body = np.asarray(coarse.resize((width // 4, height // 2), Image.Resampling.BICUBIC), np.int16)[:, ::-1]
    noise = [rng.normal(0, 2, (height, width, 3)).astype(np.int16) for _ in range(11)]
    frames = []
    for number in range(seconds * fps):
        frame = wide[:, number % 120 : number % 120 + width].copy()
        top = int(height / 4 + height / 5 * np.sin(number / 8))
        left = int(width / 3 + width / 4 * np.sin(number / 11))
        frame[top : top + height // 2, left : left + width // 4] = body
        frame += noise[number % len(noise)]
        frames.append(frame.clip(0, 255).astype(np.uint8))
    return frames


def write_video(path: Path, width: int, height: int, seconds: int, group: int) -> Path:
    """An H.264 file as common tools write it."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": "23", "g": str(group)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in scene(width, height, seconds):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        out.mux(stream.encode())
    return path


def write_folders(root: Path) -> list[Path]:
    """Clips as folders of JPEG files, of the size that the Jester data set has."""
    frames = [Image.fromarray(f).resize(PICTURE_SIZE) for f in scene(320, 240, 3)[:PICTURES]]
    for clip in range(FOLDERS):
        (root / f"{clip}").mkdir(parents=True)
        for number, frame in enumerate(frames):
            frame.save(root / f"{clip}" / f"{number + 1:05d}.jpg", quality=85)
    return [root / f"{clip}" for clip in range(FOLDERS)]


def decode(path: Path) -> None:
    """Decode every frame, convert none."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def read(path: Path) -> NDArray[np.uint8]:
    """16 RGB frames of a video."""
    return open_source(path, "video").read(spread).values


def ready(path: Path) -> NDArray[np.uint8]:
    """16 frames as evaluation takes them: the central square, 224 x 224."""
    frames = read(path)
    return resize(frames, OUT, OUT, view_box(*frames.shape[1:3], "crop"))


def read_folders(clips: list[Path]) -> None:
    """16 RGB frames of every frame folder."""
    for clip in clips:
        open_source(clip, "video", fps=12).read(spread)


def decode_jpegs(clips: list[Path]) -> None:
    """As many pictures of one folder, read once and decoded over and over: the floor of `read_folders`."""
    files = sorted(clips[0].iterdir())
    data = [files[number].read_bytes() for number in spread(np.arange(len(files), dtype=np.float64))]
    for _ in clips:
        for picture in data:
            simplejpeg.decode_jpeg(picture, "RGB")


def in_rounds(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """CPU milliseconds of every job in every round."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in range(repeats + 1):
        names = list(jobs)
        random.Random(round_).shuffle(names)
        for name in names:
            begin = time.process_time()
            jobs[name]()
            if round_:  # the first round only warms up
                taken[name].append(1e3 * (time.process_time() - begin))
    return taken


def ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def versions() -> dict[str, str]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = named[0].partition(":")[2].strip() if named else cpu
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "av": av.__version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "simplejpeg": simplejpeg.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15, help="rounds (15)")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    arguments = parser.parse_args()
    result: dict[str, object] = {"versions": versions(), "repeats": arguments.repeats}
    for name, version in versions().items():
        print(f"{name:12}{version}")
    with tempfile.TemporaryDirectory() as folder:
        heads = ("kbit/s", "decode ms", "read ms", "ratio", "ready ms", "ratio")
        print(f"\n{'16 frames of a video':30}" + "".join(f"{head:>11}" for head in heads))
        for number, (name, (width, height, seconds, group)) in enumerate(VIDEOS.items()):
            path = write_video(Path(folder) / f"{number}.mp4", width, height, seconds, group)
            jobs = {job.__name__: lambda job=job, path=path: job(path) for job in (decode, read, ready)}
            taken = in_rounds(jobs, arguments.repeats)
            row = {job: statistics.median(times) for job, times in taken.items()}
            row["kbit/s"] = path.stat().st_size * 8e-3 / seconds
            row["read/decode"] = ratio(taken["read"], taken["decode"])
            row["ready/decode"] = ratio(taken["ready"], taken["decode"])
            result[name] = {key: round(value, 3) for key, value in row.items()}
            print(
                f"{name:30}{row['kbit/s']:11.0f}{row['decode']:11.1f}{row['read']:11.1f}"
                f"{row['read/decode']:11.2f}{row['ready']:11.1f}{row['ready/decode']:11.2f}"
            )
        clips = write_folders(Path(folder) / "clips")
        taken = in_rounds(
            {"jpeg": lambda: decode_jpegs(clips), "ours": lambda: read_folders(clips)}, arguments.repeats
        )
        floor, speed = (FOLDERS / (1e-3 * statistics.median(taken[job])) for job in ("jpeg", "ours"))
        kilobytes = sum(file.stat().st_size for file in clips[0].iterdir()) / PICTURES / 1024
        result["frame folders, clips per CPU second"] = {
            "read": round(speed, 1),
            "simplejpeg": round(floor, 1),
        }
        print(
            f"\nframe folders: {speed:.0f} clips per CPU second"
            f" (16 of {PICTURES} JPEG files of {PICTURE_SIZE[0]}x{PICTURE_SIZE[1]}, {kilobytes:.1f} KiB each;"
            f" simplejpeg alone, from memory: {floor:.0f})"
        )
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
