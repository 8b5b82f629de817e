"""C3D: 3x3x3 convolutions, five pools and two wide layers.

Source: Tran et al., "Learning spatiotemporal features with 3D convolutional networks", ICCV 2015,
arXiv:1412.0767, and the network file that the authors published with the weights. Two forms of it:

    published   as it stands: no norm, `fc6` and `fc7` of 4,096 each (`readout: fc`). 78 M parameters at 16 x 112 px.
    as a trunk  with batch norm, without the wide layers, which only look at clips of one size: the mean over time
                and space, brought to `width` (`readout: pool`). Small clips, and one channel, are welcome.

The first pool halves the picture alone, the others time as well. A pool's window that hangs over the edge counts,
as in the authors' code (its PyTorch conversions shift the last pool's windows by half a step instead); so what has
shrunk to one place stays one.

Departs from it: convolutions start as He et al. 2015 (arXiv:1502.01852) do, not at a deviation of 0.01 with biases of
1, from which the form without norm hardly starts.

Axes: B clips, T frames, C channels, H height, W width, D width of what the classifiers read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.errors import ModelError
from mudra.models.freezing import Freezing, require_stages
from mudra.models.layers import TaskHeads
from mudra.models.shapes import Shape, one_picture_stream, require_pictures, with_channels
from mudra.settings import Positive, Rate, Settings

Stage = Annotated[tuple[Positive, ...], Field(min_length=1)]

WIDE = 4096  # of fc6 and fc7
# Convolutions in the order of the network, by the authors' names; by others, after them.
CONVOLUTIONS = ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b")
NUMBERED = (0, 3, 6, 8, 11, 13, 16, 18)  # places in a list that counts activations and pools too


class C3DSettings(Settings):
    """What a recipe may say of a C3D.

    channels: of the convolutions of each stage; a pool follows each stage.
    width_multiple: of all `channels`, for smaller twins.
    norm: `batch` puts a batch norm after each convolution.
    readout: what becomes of the last stage: `fc` two wide layers, `pool` its mean over time and space.
    width: of the wide layers, or of the layer that follows the mean. None is 4,096, or no such layer.
    frozen_stages: so many of the stages, from the first on, do not train, their batch norms included; the wide layers
        are the last stage.
    dropout: after each wide layer, or before the classifier; 0.5 in the source.
    """

    kind: Literal["c3d"] = "c3d"
    channels: Annotated[tuple[Stage, ...], Field(min_length=1)] = (
        (64,),
        (128,),
        (256, 256),
        (512, 512),
        (512, 512),
    )
    width_multiple: Annotated[float, Field(gt=0, le=16)] = 1.0
    norm: Literal["none", "batch"] = "none"
    readout: Literal["fc", "pool"] = "fc"
    width: Positive | None = None
    frozen_stages: Annotated[int, Field(ge=0)] = 0
    dropout: Rate = 0.0


class Convolution(nn.Module):
    """3x3x3, a norm where there is one, ReLU: [B, C, T, H, W] in, other channels out."""

    def __init__(self, channels: int, out: int, *, norm: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(channels, out, 3, padding=1, bias=not norm)
        self.norm = nn.BatchNorm3d(out) if norm else nn.Identity()

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolution(x_BCTHW)))


class C3D(Freezing):
    """The network: {stream: [B, T, C, H, W]} -> {task: logits [B, classes]}.

    Args:
        inputs: {stream: (T, C, H, W)}, one stream of pictures of whatever name.
        classes: number of classes of each task.
    Raises:
        ModelError: inputs that are not one stream of pictures.
    """

    Settings: ClassVar[type[C3DSettings]] = C3DSettings

    def __init__(
        self, settings: C3DSettings, inputs: Mapping[str, tuple[int, ...]], classes: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.settings = settings
        self.stream, self.shape = one_picture_stream(inputs, "c3d")
        self.stages = nn.ModuleList()
        channels = self.shape[1]
        for stage in settings.channels:
            convolutions = nn.Sequential()
            for wanted in stage:
                out = max(1, round(wanted * settings.width_multiple))
                convolutions.append(Convolution(channels, out, norm=settings.norm == "batch"))
                channels = out
            self.stages.append(convolutions)
        self.fc6: nn.Linear | None = None
        self.fc7: nn.Linear | None = None
        self.projection: nn.Linear | None = None
        self.dropout = nn.Dropout(settings.dropout)
        self.feature_width = settings.width or (WIDE if settings.readout == "fc" else channels)
        if settings.readout == "fc":
            self.fc6 = nn.Linear(channels * places_left(self.shape, len(self.stages)), self.feature_width)
            self.fc7 = nn.Linear(self.feature_width, self.feature_width)
        elif settings.width is not None:
            self.projection = nn.Linear(channels, settings.width)
        self.heads = TaskHeads(self.feature_width, classes, settings.dropout)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv3d | nn.Linear) and not name.startswith("heads"):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if settings.frozen_stages:
            require_stages(settings.frozen_stages, len(self.stages) + (self.fc6 is not None), "this C3D")
            self.freeze(lambda name: self._stage_of(name) < settings.frozen_stages)

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.heads(self.features(streams))

    def features(self, streams: Mapping[str, Tensor]) -> Tensor:
        """What the classifiers read: {stream: [B, T, C, H, W]} -> [B, feature_width].

        Raises:
            ModelError: other channels, or with the wide layers another length or size than it was built for.
        """
        x_BTCHW = streams[self.stream]
        require_pictures(x_BTCHW, self.shape[1], f"c3d, {self.stream}")
        x_BCTHW = x_BTCHW.transpose(1, 2)
        for number, stage in enumerate(self.stages):
            pool = (1, 2, 2) if number == 0 else (2, 2, 2)
            x_BCTHW = F.max_pool3d(stage(x_BCTHW), pool, ceil_mode=True)
        if self.fc6 is None or self.fc7 is None:
            mean_BC = x_BCTHW.mean((2, 3, 4))
            return mean_BC if self.projection is None else F.relu(self.projection(mean_BC))
        x_BD = x_BCTHW.flatten(1)
        if x_BD.shape[1] != self.fc6.in_features:
            raise ModelError(
                f"model c3d, {self.stream}: found a clip of shape {tuple(x_BTCHW.shape[1:])}; expected {self.shape}, "
                "because the wide layers look at every place by itself; give such clips, or train with model.readout: "
                "pool"
            )
        x_BD = self.dropout(F.relu(self.fc6(x_BD)))
        return F.relu(self.fc7(x_BD))

    def layer_of(self, name: str) -> int:
        """How far up a parameter is: the convolutions from 0 on, then the layers after them, then the classifiers."""
        first, *rest = name.split(".")
        counts = [len(stage) for stage in self.settings.channels]
        if first == "stages":
            return sum(counts[: int(rest[0])]) + int(rest[1])
        return sum(counts) + {"fc6": 0, "projection": 0, "fc7": 1, "heads": 2}[first]

    def _stage_of(self, name: str) -> int:
        """The stage that a parameter is frozen with; what is new in a model is beyond all."""
        first, *rest = name.split(".")
        if first == "stages":
            return int(rest[0])
        return len(self.stages) + (first not in ("fc6", "fc7"))

    def undecayed(self) -> set[str]:
        """Parameters that weight decay must leave alone, beside those with one axis: none."""
        return set()

    def from_published(self, state: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
        """Published weights under the names of this model: see `from_published`."""
        counts = [len(stage) for stage in self.settings.channels]
        return from_published(state, counts, self.shape[1], place, norm=self.settings.norm == "batch")


def places_left(shape: Shape, pools: int) -> int:
    """Places in time and space that are left after the pools: 1 x 4 x 4 of the published 16 x 112 x 112.

    >>> places_left((16, 3, 112, 112), 5)
    16
    """
    frames, _, height, width = shape
    for _ in range(pools - 1):
        frames = -(-frames // 2)
    for _ in range(pools):
        height, width = -(-height // 2), -(-width // 2)
    return frames * height * width


def from_published(
    state: Mapping[str, Tensor], stages: list[int], channels: int, place: str, *, norm: bool
) -> dict[str, Tensor]:
    """Published weights of a C3D under our names.

    Three sets of names are known: the authors' (conv1a or conv1, conv2a, conv3a ... fc6, fc7, fc8), the same with
    ".conv" (MMAction), and those of a list of layers (features.0 ... features.18, classifier.0, classifier.3).
    The published classifier keeps its name, which no model of ours has.

    Args:
        stages: convolutions in each stage of our model; those that it does not have are passed on by their own names.
        channels: of our clips. Where there is one, the first weights are added up over the published three, which
            answers as if the picture were grey; other numbers repeat them.
        norm: our convolutions are followed by batch norm. Their biases become the norms': in evaluation the network
            is then the published one.
    Raises:
        ModelError: a name that no C3D has.
    """
    ours_by_number = [
        f"stages.{stage}.{index}" for stage, count in enumerate(stages) for index in range(count)
    ]
    ours: dict[str, Tensor] = {}
    for name, weight in state.items():
        module, _, kind = name.rpartition(".")
        number = _convolution(module)
        if number is not None and number < len(ours_by_number):
            if number == 0 and kind == "weight" and weight.ndim == 5:
                weight = with_channels(weight, channels)
            place_of = ours_by_number[number]
            if norm and kind == "bias":
                ours |= {f"{place_of}.norm.{key}": x for key, x in _norm_that_adds(weight).items()}
            else:
                ours[f"{place_of}.convolution.{kind}"] = weight
        elif number is not None or re.fullmatch(r"fc[678](-1)?|classifier\.[036]", module):
            wide = {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}
            ours[f"{wide.get(module, module.removesuffix('-1'))}.{kind}"] = weight
        else:
            raise ModelError(
                f"{place}: found {name!r}; expected the names of a C3D (conv1, conv2, conv3a ... fc6, fc7); check that "
                "the weights are a C3D's"
            )
    return ours


def _norm_that_adds(bias: Tensor) -> dict[str, Tensor]:
    """A batch norm that, in evaluation, does nothing but add."""
    one, zero = torch.ones_like(bias), torch.zeros_like(bias)
    kept = {
        "running_mean": zero,
        "running_var": one,
        "num_batches_tracked": torch.zeros((), dtype=torch.int64),
    }
    return {"weight": one.clone(), "bias": bias, **kept}


def _convolution(module: str) -> int | None:
    """Which convolution of the network a published module is, from 0 on; None where it is none."""
    listed = re.fullmatch(r"features\.(\d+)", module)
    if listed and int(listed[1]) in NUMBERED:
        return NUMBERED.index(int(listed[1]))
    named = re.fullmatch(r"conv(\d[ab]?)(\.conv)?", module)
    if named is None:
        return None
    label = named[1] if named[1] in CONVOLUTIONS else named[1].removesuffix("a")
    return CONVOLUTIONS.index(label) if label in CONVOLUTIONS else None
