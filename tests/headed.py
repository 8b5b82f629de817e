"""A tiny model with heads on its inner layers and on parts of what it sees, as a loss may weigh them."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from mudra.recipe import KINDS
from mudra.settings import Settings

EVERYTHING: dict[str, Any] = {  # every setting of a loss at once, for two auxiliary heads and two parts
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "focal": 2.0,
    "focal_rise": 0.7,
    "auxiliary": [0.05, 0.2],
    "parts": 0.1,
    "margin": 1.5,
    "margin_weight": 0.3,
    "distil": 0.4,
    "distil_temperature": 2.0,
    "consistency": 0.3,
}


class HeadedSettings(Settings):
    """How many heads on inner layers, and for how many parts."""

    kind: Literal["headed"] = "headed"
    auxiliary: int = 2
    parts: int = 2
    dropout: float = 0.0


class Headed(nn.Module):
    """Rows of the picture as layers of an MLP: {"video": [B, T, C, H, W]} -> {task: logits}, heads in training."""

    Settings: ClassVar[type[HeadedSettings]] = HeadedSettings

    def __init__(
        self,
        settings: HeadedSettings,
        inputs: Mapping[str, tuple[int, ...]],
        classes: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.classes = dict(classes)
        frames, _, _, width = inputs["video"]
        self.layers = nn.ModuleList(
            nn.Linear(frames * width if number == 0 else 8, 8) for number in range(max(settings.auxiliary, 1))
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.parts = nn.ModuleList(nn.Linear(frames * width, 8) for _ in range(settings.parts))
        self.heads = nn.ModuleDict({task: nn.Linear(8, count) for task, count in classes.items()})
        self.inner = nn.ModuleDict(
            {
                task: nn.ModuleList(nn.Linear(8, count) for _ in range(settings.auxiliary + settings.parts))
                for task, count in classes.items()
            }
        )
        self.settings = settings

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        x_BN = streams["video"].mean((2, 3)).flatten(1)  # [B, T, C, H, W] -> [B, T * W]
        looks = [torch.tanh(part(x_BN)) for part in self.parts]
        states, state = [], x_BN
        for layer in self.layers:
            state = self.dropout(torch.tanh(layer(state)))
            states.append(state)
        answers = {task: head(states[-1] + sum(looks)) for task, head in self.heads.items()}
        if self.training:
            for task, inner in self.inner.items():
                names = [f"aux{number + 1}" for number in range(self.settings.auxiliary)]
                names += [f"part:{number}" for number in range(self.settings.parts)]
                seen = [*states[: self.settings.auxiliary], *looks]
                for name, head, x in zip(names, inner, seen, strict=True):
                    answers[f"{task}/{name}"] = head(x)
        return answers


@pytest.fixture
def headed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes may say `model: {kind: headed}`."""
    monkeypatch.setitem(KINDS["model"], "headed", "tests.headed:Headed")  # type: ignore[arg-type]
