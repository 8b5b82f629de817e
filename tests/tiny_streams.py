"""A model for any streams, and clips of several streams that tell the time: what tests of streams need."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mudra import recipe as recipes
from mudra.recipe import KINDS, Recipe
from mudra.settings import Settings

RATES = {"video": 15.0, "depth": 15.0, "mask": 30.0, "points": 30.0, "series": 50.0}


class AnyStreamsSettings(Settings):
    kind: Literal["any_streams"] = "any_streams"
    width: int = 16


class AnyStreams(nn.Module):
    """Each stream's mean and change over the frames in which anything is known, side by side."""

    Settings: ClassVar[type[AnyStreamsSettings]] = AnyStreamsSettings

    def __init__(
        self, settings: AnyStreamsSettings, inputs: Mapping[str, tuple[int, ...]], classes: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.trunks = nn.ModuleDict(
            {
                name.replace(":", "_"): nn.Linear(2 * int(np.prod(shape[1:])), settings.width)
                for name, shape in inputs.items()
            }
        )
        self.heads = nn.ModuleDict(
            {task: nn.Linear(settings.width * len(inputs), count) for task, count in classes.items()}
        )

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parts = []
        for name, x in streams.items():
            flat_BTF = x.flatten(2)
            known = flat_BTF.nan_to_num(0.0)
            there = (~flat_BTF.isnan()).to(known.dtype)
            mean = known.sum(1) / there.sum(1).clamp(min=1)
            change = (known[:, 1:] - known[:, :-1]).mean(1) if known.shape[1] > 1 else torch.zeros_like(mean)
            parts.append(self.trunks[name.replace(":", "_")](torch.cat([mean, 8 * change], -1)).relu())
        return {task: head(torch.cat(parts, -1)) for task, head in self.heads.items()}

    def layer_of(self, name: str) -> int:
        return int(name.startswith("heads"))

    def undecayed(self) -> set[str]:
        return set()


@contextmanager
def known_to_recipes() -> Iterator[None]:
    """Let recipes name the model above."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS["model"], "any_streams", "tests.tiny_streams:AnyStreams")  # type: ignore[arg-type]
        yield


def stream_recipe(**sections: Any) -> Recipe:
    """A recipe for clips of any streams; keys given by section replace the defaults."""
    tree: dict[str, Any] = {
        "clip": {"frames": 8, "size": 16, "resize": "stretch"},
        "model": {"kind": "any_streams"},
        "optim": {"lr": 1e-2},
        "train": {"epochs": 2, "batch": 8, "workers": 0, "device": "cpu", "log_every": 1},
    }
    for section, values in sections.items():
        tree[section] = {**tree.get(section, {}), **values}
    return recipes.resolve(tree, "tiny", name="tiny")


def write_series(
    root: Path, counts: dict[str, int], *, channels: int = 4, unknown: float = 0.05, offset: float = 100.0
) -> Path:
    """Clips of one channel that rises or falls among others that shake, far from 0 and of unlike sizes."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    rows = ["clip,split,group,label,series"]
    for split, count in counts.items():
        for number in range(count):
            label = ("falls", "rises")[number % 2]
            frames = int(rng.integers(1 if number == 4 else 20, 60))
            values = rng.normal(0, 0.3, (frames, channels))
            values[:, 0] += np.linspace(-1, 1, frames) * (1 if label == "rises" else -1)
            values = offset + values * np.logspace(-1, 2, channels)
            values[rng.random(values.shape) < unknown] = np.nan
            clip = f"{split}-{number:02d}"
            np.savez(root / f"{clip}.npz", series=values.astype(np.float32))
            rows.append(f"{clip},{split},{split}-{number % 3},{label},{clip}.npz")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (root / "dataset.json").write_text('{"streams": {"series": {"fps": 50}}}', "utf-8")
    return root


def write_clocks(
    root: Path, seconds: float = 2.0, clips: int = 4, rates: Mapping[str, float] = RATES, *, lacks: str = ""
) -> Path:
    """Clips whose streams, each at a rate of its own, hold the time itself: as grey level, millimetres, number.

    Grey levels and millimetres stand for hundredths of a second and milliseconds; a mask is on in the second half.

    Args:
        lacks: the stream that the first clip does not have.
    """
    root.mkdir(parents=True, exist_ok=True)
    rows = [",".join(["clip", "split", "label", *rates])]
    for number in range(clips):
        cells = []
        for name, fps in rates.items():
            kind = name.partition(":")[0]
            times = np.arange(round(seconds * fps) + 1) / fps
            path = root / f"{name.replace(':', '-')}-{number}"
            if name == lacks and number == 0:
                cells.append("")
                continue
            if kind in ("depth", "mask"):
                path.mkdir()
                for at, time in enumerate(times):
                    level = np.uint16(1000 * time + 1) if kind == "depth" else np.uint8(255 * (time >= 1))
                    Image.fromarray(np.full((12, 16), level)).save(path / f"{at:05d}.png")
                cells.append(path.name)
                continue
            if kind == "video":
                values = np.repeat(np.round(100 * times), 12 * 16 * 3).reshape(-1, 12, 16, 3).astype(np.uint8)
            elif kind == "points":
                values = np.repeat(times, 40).reshape(-1, 20, 2).astype(np.float32)
            else:
                values = np.stack([times, -times, np.ones(len(times))], 1).astype(np.float32)
            np.savez(path.with_suffix(".npz"), **{kind: values})
            cells.append(path.with_suffix(".npz").name)
        rows.append(
            ",".join([f"c{number}", "train" if number % 2 else "test", f"l{number // 2 % 2}", *cells])
        )
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    facts = {
        name: {"fps": fps, **({"layout": "kinect20"} if name.startswith("points") else {})}
        for name, fps in rates.items()
    }
    text = json.dumps({"streams": facts, "tasks": {"label": ["l0", "l1"]}})
    (root / "dataset.json").write_text(text, "utf-8")
    return root
