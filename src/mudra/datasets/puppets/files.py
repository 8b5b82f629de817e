"""One clip as files: mp4 for the video, 16-bit and 8-bit PNG for depth and mask, npz for the points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mudra.datasets.puppets.clip import draw_clip
from mudra.datasets.puppets.settings import Puppets

ENDINGS = {"video": ".mp4", "points": ".npz", "depth": "", "mask": ""}
"""What stands after a clip's name, by stream; depth and mask are folders of pictures."""


def write_clip(folder: Path, settings: Puppets, number: int) -> None:
    """Draw clip `number` and write its streams to `folder/<stream>/<clip>...`."""
    clip = draw_clip(settings, number)
    paths = {stream: folder / stream / f"{clip.plan.clip}{ending}" for stream, ending in ENDINGS.items()}
    if clip.video is not None:
        write_mp4(paths["video"], clip.video, settings.fps)
    if clip.points is not None and clip.score is not None:
        np.savez_compressed(paths["points"], points=clip.points, score=clip.score, times=clip.times)
    if clip.depth is not None:
        _write_pictures(paths["depth"], clip.depth)
    if clip.mask is not None:
        _write_pictures(paths["mask"], clip.mask)


def codec() -> str:
    """H.264 where PyAV has its encoder, MPEG-4 elsewhere."""
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def write_mp4(path: Path, video: NDArray[np.uint8], fps: int) -> None:
    """Encode pictures; the same pictures give the same bytes under the same libraries.

    Args:
        video: uint8 [T, H, W, 3], H and W even.
    """
    # No B-frames: every picture is shown when it is decoded. A key frame a second keeps seeking cheap.
    quality = {"preset": "superfast", "crf": "18", "bf": "0"} if codec() == "libx264" else {"qscale": "2"}
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream(codec(), rate=fps, options={**quality, "g": str(fps)})
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"{codec()} is not a codec for video")
        stream.width, stream.height, stream.pix_fmt = video.shape[2], video.shape[1], "yuv420p"
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(video):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def _write_pictures(folder: Path, frames: NDArray[Any]) -> None:
    """One PNG a frame, numbered from 1."""
    folder.mkdir()
    for number, picture in enumerate(frames, start=1):
        Image.fromarray(picture).save(folder / f"{number:05d}.png", compress_level=4)
