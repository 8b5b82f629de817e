"""Keypoint transformer: the points of a body, frame by frame, then attention along time.

Source: mudra. The parts are the field's: differences in time as input (Zhang et al. 2020, arXiv:1904.01189), rotary
phases (Su et al. 2021, arXiv:2104.09864), pre-norm blocks with stochastic depth, a mean and a learnt weighing of
the frames side by side as readout.

A point that was not seen is NaN. It is read as a learnt vector of its own, never as a coordinate, and it has no
velocity. A frame in which nothing was seen is not there: nothing looks at it and it has no part in the readout, so
that empty frames after a clip never change its answer. A clip without any point has an answer too.

Axes: B clips, T frames, K points, C coordinates, D width, H heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.errors import ModelError
from mudra.models.layers import MLP, DropPath, TaskHeads, require_heads_divide, start_scaled, turned
from mudra.settings import Settings

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]

THETA = 100.0  # slowest turn: clips have tens to hundreds of frames, not thousands of words
SPEED = 8.0  # per difference: what a body moves from frame to frame is about so much smaller than itself


class KeypointTransformerSettings(Settings):
    """What a recipe may say of a keypoint transformer.

    differences: how often the points' change in time is taken: 1 is velocity, 2 is acceleration as well.
    kernel: frames that the convolution before the first layer sees, an odd number; 1 is none.
    mlp_ratio: hidden width of the MLP as a multiple of `width`.
    dropout: after the embedding, the projections and inside the MLP. head_dropout: before the classifier.
    drop_path: rate of stochastic depth in the last layer; it rises linearly from 0 in the first.
    """

    kind: Literal["keypoint_transformer"] = "keypoint_transformer"
    width: Positive = 192
    depth: Annotated[int, Field(ge=1, le=1000)] = 4
    heads: Positive = 6
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    differences: Annotated[int, Field(ge=0, le=2)] = 2
    kernel: Positive = 7
    dropout: Rate = 0.0
    head_dropout: Rate = 0.0
    drop_path: Rate = 0.0


class PointEmbedding(nn.Module):
    """Each frame's points, and how they move, as one vector: [B, T, K, C] with NaN in, [B, T, D] out."""

    def __init__(self, points: int, dims: int, settings: KeypointTransformerSettings) -> None:
        super().__init__()
        self.differences = settings.differences
        self.linear = nn.Linear(points * dims * (1 + settings.differences), settings.width)
        self.absence = nn.Parameter(torch.zeros(points, settings.width))
        self.norm = nn.LayerNorm(settings.width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, points_BTKC: Tensor) -> Tensor:
        absent_BTK = points_BTKC.isnan().any(-1)
        looks = points_BTKC.masked_fill(absent_BTK[..., None], torch.nan)
        features = [looks]
        before = torch.full_like(looks[:, :1], torch.nan)
        for _ in range(self.differences):
            features.append(features[-1].diff(dim=1, prepend=before) * SPEED)
        known = torch.cat([feature.nan_to_num(0.0).flatten(2) for feature in features], -1)
        x_BTD = self.linear(known) + absent_BTK.to(known.dtype) @ self.absence
        return self.dropout(self.norm(x_BTD))


class LocalMixing(nn.Module):
    """A depthwise convolution along time, added to what it looks at: [B, T, D] in, the same out."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)

    def forward(self, x_BTD: Tensor, there_BT1: Tensor) -> Tensor:
        shown_BDT = (x_BTD * there_BT1).transpose(1, 2)
        return x_BTD + F.gelu(self.convolution(shown_BDT)).transpose(1, 2)


class TimeAttention(nn.Module):
    """Multi-head attention along time with rotary phases, over the frames that are there."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, there_BT1: Tensor, phase_TE: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = self.qkv(x_BTD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        cos, sin = (part.to(q.dtype) for part in phase_TE)
        mask_B11T = there_BT1.bool().transpose(1, 2)[:, None]
        answer_BHTE = F.scaled_dot_product_attention(
            turned(q, cos, sin), turned(k, cos, sin), v, attn_mask=mask_B11T
        )
        return self.dropout(self.projection(answer_BHTE.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """One layer: attention along time, then the MLP; each is normalised before and added after."""

    def __init__(self, settings: KeypointTransformerSettings, drop_path: float) -> None:
        super().__init__()
        width = settings.width
        self.norm_time = nn.LayerNorm(width)
        self.time = TimeAttention(width, settings.heads, settings.dropout)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = MLP(width, round(width * settings.mlp_ratio), settings.dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BTD: Tensor, there_BT1: Tensor, phase_TE: tuple[Tensor, Tensor]) -> Tensor:
        x_BTD = x_BTD + self.drop_path(self.time(self.norm_time(x_BTD), there_BT1, phase_TE))
        return x_BTD + self.drop_path(self.mlp(self.norm_mlp(x_BTD)))


class Readout(nn.Module):
    """The mean over the frames that are there, beside one that each head weighs as it has learnt: [B, 2D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.weigh = nn.Linear(width, heads)

    def forward(self, x_BTD: Tensor, there_BT1: Tensor) -> Tensor:
        x_BTD = self.norm(x_BTD)
        mean_BD = (x_BTD * there_BT1).sum(1) / there_BT1.sum(1)
        score_BTH = self.weigh(x_BTD).masked_fill(there_BT1 == 0, -torch.inf)
        weight_BTH1 = score_BTH.softmax(1)[..., None]
        x_BTHE = x_BTD.unflatten(-1, (score_BTH.shape[-1], -1))
        return torch.cat([mean_BD, (x_BTHE * weight_BTH1).sum(1).flatten(1)], -1)


class KeypointTransformer(nn.Module):
    """The network: {"points": [B, T, K, C], NaN = not seen} -> {task: logits [B, classes]}.

    A clip may have another number of frames than the model was built for.

    Args:
        inputs: {"points": (T, K, C)}, what one clip looks like.
        classes: number of classes of each task.
    Raises:
        ModelError: settings that contradict each other or the inputs.
    """

    Settings: ClassVar[type[KeypointTransformerSettings]] = KeypointTransformerSettings

    def __init__(
        self,
        settings: KeypointTransformerSettings,
        inputs: Mapping[str, tuple[int, ...]],
        classes: Mapping[str, int],
    ) -> None:
        super().__init__()
        require_sense(settings)
        self.settings = settings
        self.stream, (_, points, dims) = point_stream(inputs)
        self.embed = PointEmbedding(points, dims, settings)
        self.local = LocalMixing(settings.width, settings.kernel) if settings.kernel > 1 else None
        steps = max(settings.depth - 1, 1)
        self.blocks = nn.ModuleList(
            Block(settings, settings.drop_path * index / steps) for index in range(settings.depth)
        )
        self.readout = Readout(settings.width, settings.heads)
        self.heads = TaskHeads(2 * settings.width, classes, settings.head_dropout)
        self.blocks.apply(start_scaled)
        nn.init.normal_(self.embed.absence, std=0.1)

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.heads(self.features(streams[self.stream]))

    def features(self, points_BTKC: Tensor) -> Tensor:
        """What the classifiers read: [B, T, K, C] -> [B, 2D]."""
        there_BT = ~points_BTKC.isnan().any(-1).all(-1)
        first_T = torch.arange(points_BTKC.shape[1], device=points_BTKC.device) == 0
        there_BT = there_BT | (first_T & ~there_BT.any(1, keepdim=True))  # a clip without any point
        x_BTD = self.embed(points_BTKC)
        there_BT1 = there_BT[..., None].to(x_BTD.dtype)
        if self.local is not None:
            x_BTD = self.local(x_BTD, there_BT1)
        phase_TE = phases(points_BTKC, self.settings.width // self.settings.heads)
        for block in self.blocks:
            x_BTD = block(x_BTD, there_BT1, phase_TE)
        return self.readout(x_BTD, there_BT1)

    def layer_of(self, name: str) -> int:
        """The depth of a parameter, for rates by layer: 0 is the embedding, the classifiers are last."""
        if name.startswith("blocks."):
            return 1 + int(name.split(".")[1])
        return self.settings.depth + 1 if name.startswith(("heads", "readout")) else 0

    def undecayed(self) -> set[str]:
        """Parameters that weight decay must leave alone, beside those with one axis."""
        return {"embed.absence"}


def phases(like: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine [T, E / 2] by which the pairs of each frame's queries and keys are turned."""
    place_T = torch.arange(like.shape[1], device=like.device, dtype=like.dtype)
    half = torch.arange(size // 2, device=like.device, dtype=like.dtype)
    angle_TE = place_T[:, None] * THETA ** (-2 * half / size)
    return angle_TE.cos(), angle_TE.sin()


def require_sense(settings: KeypointTransformerSettings) -> None:
    """Raise ModelError where settings contradict each other."""
    require_heads_divide(settings.width, settings.heads)
    if settings.width // settings.heads % 2:
        raise ModelError(
            f"model.width: found {settings.width}, which gives each of {settings.heads} heads an odd width; rotary "
            f"phases need an even one; take {settings.width + settings.heads}"
        )
    if settings.kernel % 2 == 0:
        raise ModelError(f"model.kernel: found {settings.kernel}; expected an odd number of frames.")


def point_stream(inputs: Mapping[str, tuple[int, ...]]) -> tuple[str, tuple[int, int, int]]:
    """The one stream of points and its shape (T, K, C)."""
    name = next(iter(inputs), "nothing")
    shape = inputs.get(name, ())
    if len(inputs) != 1 or len(shape) != 3:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in inputs.items()) or "nothing"
        raise ModelError(
            f"model keypoint_transformer: found the streams {found}; expected one stream of points [T, K, C]; "
            "set clip.streams=[points]"
        )
    frames, points, dims = shape
    return name, (frames, points, dims)
