"""Small videos to test with: a smooth picture in which a few spots move."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def footage(seed: int, frames: int = 16, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """uint8 [T,H,W,3]; another seed is another picture with other movements."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 200, (4, 5, 3), np.uint8))
    ground = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    clip = np.repeat(ground[None], frames, axis=0).copy()
    along = np.linspace(0, 1, frames)[:, None]
    for _ in range(3):
        begin, end = rng.uniform(0, 0.8, (2, 2))
        places = ((begin + (end - begin) * along) * (height, width)).astype(int)
        colour = rng.integers(0, 256, 3)
        for frame, (top, left) in zip(clip, places, strict=True):
            frame[top : top + height // 5, left : left + width // 5] = colour
    return clip


def write_video(
    path: Path, clip: NDArray[np.uint8], fps: int = 12, codec: str = "mpeg4", **options: str
) -> Path:
    """Encode a clip; B-frames are off, so that small files stay simple."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = options or {"qscale": "2", "bf": "0"}
        for frame in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
