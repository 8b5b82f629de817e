"""A tiny network with batch norm that trains, and stages that may be frozen."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import pytest
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from mudra.models.freezing import Freezing, require_stages
from mudra.models.layers import DropPath, TaskHeads
from mudra.recipe import KINDS
from mudra.settings import Settings


class NormedSettings(Settings):
    """How many of the two stages are frozen."""

    kind: Literal["normed"] = "normed"
    frozen_stages: int = 0
    drop: float = 0.0


class Normed(Freezing):
    """Two stages of convolution, batch norm and activation on each frame: {"video": [B, T, C, H, W]} -> logits."""

    Settings: ClassVar[type[NormedSettings]] = NormedSettings

    def __init__(
        self,
        settings: NormedSettings,
        inputs: Mapping[str, tuple[int, ...]],
        classes: Mapping[str, int],
    ) -> None:
        super().__init__()
        stages = []
        for before, after in ((inputs["video"][1], 4), (4, 6)):
            convolution = nn.Conv2d(before, after, 3, stride=2, bias=False)
            # timm's carries its activation within
            stages.append(nn.Sequential(convolution, BatchNormAct2d(after), DropPath(settings.drop)))
        self.stages = nn.Sequential(*stages)
        self.heads = TaskHeads(6, classes)
        require_stages(settings.frozen_stages, 2, "this network")
        frozen = tuple(f"stages.{stage}." for stage in range(settings.frozen_stages))
        self.freeze(lambda name: name.startswith(frozen))

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        video_BTCHW = streams["video"]
        x_NCHW = self.stages(video_BTCHW.flatten(0, 1))
        return self.heads(x_NCHW.mean((2, 3)).unflatten(0, video_BTCHW.shape[:2]).mean(1))


@pytest.fixture
def normed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes may say `model: {kind: normed}`."""
    monkeypatch.setitem(KINDS["model"], "normed", "tests.normed:Normed")  # type: ignore[arg-type]
