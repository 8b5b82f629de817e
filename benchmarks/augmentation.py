"""What altering a training clip costs: 16 frames of 320 x 240 to 224 x 224, one thread, CPU time.

    python benchmarks/augmentation.py [--rounds 31] [--out benchmarks/results/augmentation.json]

Every pipeline is run once in each round, in a shuffled order, so that a busy machine is unfair to
none; medians are given, and ratios to ours in the same round. `beyond` is without the resize itself,
timed in the same round on the same crop. Rows of torchvision (transforms.v2) need it installed.
"""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch

from mudra.clips.augment import apply_video, draw
from mudra.clips.pixels import normalise, resize
from mudra.sections import IMAGENET_MEAN, IMAGENET_STD, AugmentSettings

FRAMES, HEIGHT, WIDTH, OUT = 16, 240, 320, 224
CROP: dict[str, object] = {"crop": (0.5, 1.0), "flip": 0.5}
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
SETTINGS = {
    "nothing": {},
    "crop, flip": CROP,
    "crop, flip, colour without hue": CROP | JITTER,
    "crop, flip, colour": CROP | JITTER | {"hue": 0.1},
    "crop, flip, colour, erase": CROP | JITTER | {"hue": 0.1, "erase": 0.25},
    "crop, flip, colour, rotate": CROP | JITTER | {"hue": 0.1, "rotate": 15},
}
Pipeline = Callable[[int], object]


def ours(frames: np.ndarray, keys: dict[str, object]) -> Pipeline:
    settings = AugmentSettings.model_validate(keys)

    def run(number: int) -> object:
        drawn = draw(settings, np.random.default_rng(number), HEIGHT, WIDTH, OUT, may_flip=True)
        return apply_video(frames, drawn, IMAGENET_MEAN, IMAGENET_STD)

    return run


def resize_alone(frames: np.ndarray) -> Pipeline:
    """The resize of the very crop that `ours` takes in the same round."""
    settings = AugmentSettings.model_validate(CROP)

    def run(number: int) -> object:
        box = draw(settings, np.random.default_rng(number), HEIGHT, WIDTH, OUT, may_flip=True).geometry.box
        return resize(frames, OUT, OUT, box)

    return run


def torchvision_pipelines(frames: np.ndarray) -> dict[str, Pipeline]:
    """The same settings with transforms.v2 on a uint8 video tensor, as its documentation advises."""
    from torchvision.transforms import v2

    video = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()
    first = [v2.RandomResizedCrop(OUT, scale=(0.5, 1.0), antialias=True), v2.RandomHorizontalFlip(0.5)]
    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    jitter = v2.ColorJitter(0.4, 0.4, 0.4)
    with_hue = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
    chains = {
        "crop, flip": [*first, *last],
        "crop, flip, colour without hue": [*first, jitter, *last],
        "crop, flip, colour": [*first, with_hue, *last],
        "crop, flip, colour, erase": [*first, with_hue, *last, v2.RandomErasing(0.25)],
        "crop, flip, colour, rotate": [
            v2.RandomRotation(15, v2.InterpolationMode.BILINEAR), *first, with_hue, *last
        ],
    }  # fmt: skip

    def pipeline(chain: v2.Compose) -> Pipeline:
        def run(number: int) -> object:
            torch.manual_seed(number)
            return chain(video)

        return run

    return {f"torchvision: {name}": pipeline(v2.Compose(chain)) for name, chain in chains.items()}


def measure(pipelines: dict[str, Pipeline], rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds of every pipeline in every round; one more round warms up and is thrown away."""
    times: dict[str, list[float]] = {name: [] for name in pipelines}
    order, shuffle = list(pipelines), random.Random(0)
    for number in range(rounds + 1):
        shuffle.shuffle(order)
        for name in order:
            began = time.process_time()
            pipelines[name](number)
            if number:
                times[name].append(1000 * (time.process_time() - began))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    small = frames[:, :OUT, :OUT].copy()
    pipelines: dict[str, Pipeline] = {
        "resize": resize_alone(frames),
        "normalise": lambda _: normalise(small, IMAGENET_MEAN, IMAGENET_STD),
        **{name: ours(frames, keys) for name, keys in SETTINGS.items()},
    }
    left_out = ""
    try:
        pipelines |= torchvision_pipelines(frames)
    except ImportError as problem:
        left_out = f"torchvision rows left out: {problem}"
    times = measure(pipelines, given.rounds)

    rows = []
    for name, taken in times.items():
        mine = times[name.removeprefix("torchvision: ")]
        beyond = [t - r for t, r in zip(taken, times["resize"], strict=True)]
        rows.append(
            {
                "pipeline": name,
                "cpu_ms": round(statistics.median(taken), 2),
                "beyond_resize_ms": None
                if name in ("resize", "normalise", "nothing")
                else round(statistics.median(beyond), 2),
                "ratio_to_ours": round(statistics.median(map(lambda a, b: a / b, taken, mine)), 2),
            }
        )
    print(f"{'CPU ms a clip':>52} {'beyond resize':>14} {'x ours':>7}")
    for row in rows:
        beyond = "" if row["beyond_resize_ms"] is None else f"{row['beyond_resize_ms']:.1f}"
        print(f"{row['pipeline']:<44} {row['cpu_ms']:>7.1f} {beyond:>14} {row['ratio_to_ours']:>7.2f}")
    if left_out:
        print(left_out)
    if given.out:
        versions = {"numpy": np.__version__, "pillow": PIL.__version__, "torch": torch.__version__}
        machine = {
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
        }
        result = {"rounds": given.rounds, "threads": 1, **machine, **versions, "rows": rows}
        given.out.write_text(json.dumps(result | ({"note": left_out} if left_out else {}), indent=1) + "\n")


if __name__ == "__main__":
    main()
