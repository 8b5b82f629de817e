"""A new frame in a stream: one recurrent step, beside running the window of the last W frames again.

    python benchmarks/streaming.py [--size 112] [--windows 8 16 32] [--rounds 7] [--out streaming-cpu.md]
    python benchmarks/streaming.py --end-to-end 160            # frames a second from a video file: decode to answer
    python benchmarks/streaming.py --device cuda --out streaming-cuda.md

The network is a small TimeSformer with causal retention (width 384, depth 8, heads 6 unless said otherwise), random
weights. Windows and steps take turns; the table shows medians (CPU time on a CPU, one thread) and ratios. `frames
1 to 10,000` shows that the cost and the memory of a step do not grow.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mudra.bundle import Bundle
from mudra.clips.preprocessing import Preprocessing
from mudra.models import count_parameters
from mudra.models.retention import RetentionSettings
from mudra.models.timesformer import TimeSformer, TimeSformerSettings
from mudra.sections import ClipSettings
from mudra.streaming import LiveStream
from mudra.training.hardware import processor_name
from mudra.types import StreamInfo

RESULTS = Path(__file__).parent / "results"
CLASSES = 27


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--key-width", type=int, default=None)
    parser.add_argument("--windows", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, default=10_000, help="of the long stream; 0 leaves it out")
    parser.add_argument(
        "--end-to-end", type=int, default=0, metavar="PIXELS", help="decode, preprocess, step; all cores"
    )
    parser.add_argument("--out", default=None, help="append the table to this file in benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = end_to_end(arguments) if arguments.end_to_end else against_windows(arguments)
    text = "\n".join(lines) + "\n\n"
    print(text)
    if arguments.out:
        with (RESULTS / arguments.out).open("a", encoding="utf-8") as file:
            file.write(text)


def network(arguments: argparse.Namespace, size: int) -> TimeSformer:
    torch.manual_seed(0)
    settings = TimeSformerSettings(
        width=arguments.width,
        depth=arguments.depth,
        heads=arguments.heads,
        temporal="retention",
        time_positions=False,
        readout="decayed",
        retention=RetentionSettings(closed=False, normaliser="joint", key_width=arguments.key_width),
    )
    model = TimeSformer(settings, {"video": (16, 3, size, size)}, {"label": CLASSES})
    return model.to(arguments.device).eval()


def measured(work, device: str) -> float:  # type: ignore[no-untyped-def]
    """Seconds: of CPU time, or on a GPU of wall time until it is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    clock = time.process_time if device == "cpu" else time.perf_counter
    begun = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - begun


@torch.inference_mode()
def against_windows(arguments: argparse.Namespace) -> list[str]:
    model = network(arguments, arguments.size)
    most = max(arguments.windows)
    video = torch.randn(1, most, 3, arguments.size, arguments.size, device=arguments.device)
    state = model.initial_state()
    for at in range(4):
        model.step(video[:, at], state)
    size = state.bytes

    def step() -> None:
        for at in range(8):
            model.step(video[:, at], state)

    times: dict[str, list[float]] = {name: [] for name in ("step", *map(str, arguments.windows))}
    for number in range(arguments.rounds + 1):
        taken = {"step": measured(step, arguments.device) / 8}
        for window in arguments.windows:
            part = video[:, :window]
            taken[str(window)] = measured(lambda part=part: model({"video": part}), arguments.device)
        if number:
            for name, seconds in taken.items():
                times[name].append(seconds)
    one = statistics.median(times["step"])
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else processor_name()
    lines = [
        f"## {arguments.size} px, width {arguments.width}, depth {arguments.depth}, heads {arguments.heads}, "
        f"key width {arguments.key_width or arguments.width // arguments.heads}, {arguments.device}",
        "",
        f"{count_parameters(model):,} parameters; state {size / 1e6:.1f} MB. {arguments.rounds} rounds, "
        f"{arguments.threads} threads; {where}; torch {torch.__version__}, Python {platform.python_version()}.",
        "",
        "| for a new frame | ms, median | x the step |",
        "| --- | --- | --- |",
        f"| one step | {one * 1e3:.1f} | 1.0 |",
    ]
    for window in arguments.windows:
        again = statistics.median(times[str(window)])
        lines.append(f"| the last {window} frames again | {again * 1e3:.0f} | {again / one:.1f} |")
    return lines + (long_stream(model, video, arguments) if arguments.frames else [])


def long_stream(model: TimeSformer, video: torch.Tensor, arguments: argparse.Namespace) -> list[str]:
    """Cost and memory of the first and the last tenth of a long stream."""
    state = model.initial_state()
    tenth = arguments.frames // 10
    costs, memory = [], []
    for _part in range(10):
        costs.append(
            measured(
                lambda: [model.step(video[:, at % video.shape[1]], state) for at in range(tenth)],
                arguments.device,
            )
            / tenth
        )
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return [
        "",
        f"Frames 1 to {arguments.frames:,}: {costs[0] * 1e3:.1f} ms a step in the first tenth, then "
        f"{costs[-1] * 1e3:.1f} ms in the last; peak memory {memory[0]:.0f} MiB after the first tenth, "
        f"{memory[-1]:.0f} MiB after the last.",
    ]


def end_to_end(arguments: argparse.Namespace) -> list[str]:
    """Frames a second from a file on the disk to the answer."""
    import av

    size = arguments.end_to_end
    torch.set_num_threads(max(arguments.threads, 2))
    model = network(arguments, size)
    clip = ClipSettings(frames=16, sampling="paced", fps=12, size=size)
    bundle = Bundle(
        "benchmark",
        model.settings,
        Preprocessing(clip, {"video": StreamInfo("video")}),
        {"label": tuple(map(str, range(CLASSES)))},
    )
    frames = 120
    with tempfile.TemporaryDirectory() as home:
        path = write_video(Path(home) / "video.mp4", frames)
        rates = []
        for number in range(arguments.rounds + 1):
            live = LiveStream(bundle, model, torch.device(arguments.device))
            begun, answers = time.perf_counter(), 0
            with av.open(str(path)) as container:
                for frame in container.decode(video=0):
                    answers += live.push(frame.to_ndarray(format="rgb24"), frame.time) is not None
            if number:
                rates.append(answers / (time.perf_counter() - begun))
    return [
        f"## End to end at {size} px, width {arguments.width}, depth {arguments.depth}, {arguments.device}",
        "",
        f"Decoding 320x240 H.264, preprocessing, step: {statistics.median(rates):.1f} frames/s (median of "
        f"{arguments.rounds} rounds, {min(rates):.1f} to {max(rates):.1f}; wall time, {torch.get_num_threads()} "
        f"threads; {processor_name()}; torch {torch.__version__}).",
    ]


def write_video(path: Path, frames: int) -> Path:
    """Moving noise at 12 frames a second, so that the model looks at every frame."""
    import av

    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (240, 640, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for at in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(ground[:, at : at + 320]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


if __name__ == "__main__":
    main()
