"""Keypoint transformer: the points of a body, frame by frame, then attention along time.

Source: mudra. The parts are the field's: differences in time as input (Zhang et al. 2020, arXiv:1904.01189), rotary
phases (Su et al. 2021, arXiv:2104.09864), pre-norm blocks with stochastic depth, SwiGLU (Shazeer 2020,
arXiv:2002.05202), RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467), weights on the residual branches (Bachlechner et
al. 2020, arXiv:2003.04887; here they start at 1), LayerDrop (Fan et al. 2019, arXiv:1909.11556), windows and strides of
attention (Child et al. 2019, arXiv:1904.10509), classifiers on inner layers (Lee et al. 2014, arXiv:1409.5185).

Three sizes, by `size`: tiny (width 96, depth 2), base (192, 4), large (512, 8). The hierarchy of sign language systems
is `embedding: parts` (each part of the body by itself, parts that look at each other), `local_depth` blocks with a
window, convolutions of several kernels, `depth` blocks that see the whole clip, and `pooling` at several scales.

A point that was not seen is NaN. It is read as a learnt vector of its own, never as a coordinate, and it has no
velocity. A frame in which nothing was seen is not there: nothing looks at it and it has no part in the readout, so
that empty frames after a clip never change its answer. A clip without any point has an answer too.

Axes: B clips, T frames, K points, C coordinates, D width, H heads, E width of a head or of a part, S spans of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.errors import ModelError, did_you_mean
from mudra.models.blocks import Block, normalisation
from mudra.models.layers import (
    Dropout,
    TaskHeads,
    eager_on_cpu,
    require_heads_divide,
    rotary_phases,
    start_scaled,
)
from mudra.models.part_embedding import FrameEmbedding, PartEmbedding, PointFeatures, parts_of
from mudra.settings import Count, Positive, Rate, Settings

Pooling = Literal["mean", "max", "attention", "multiscale"]

SIZES: Mapping[str, Mapping[str, int]] = {
    "tiny": {"width": 96, "depth": 2, "heads": 4},
    "base": {"width": 192, "depth": 4, "heads": 6},
    "large": {"width": 512, "depth": 8, "heads": 8},
}
SCALES = (1, 2, 4, 8)  # into so many spans multiscale pooling cuts what is there of a clip


class KeypointTransformerSettings(Settings):
    """What a recipe may say of a keypoint transformer.

    size: tiny, base or large: width, depth and heads where they are not given.
    embedding: `frame` reads all points of a frame as one vector, `parts` each part of the layout by itself, in patches
        of `patch` points, `part_width` wide (half of `width` by default). parts: rows of each part and bones: joined
        rows; the data's layout fills them in.
    crossings: parts that look at each other; by default both hands, and lips and pose, where the layout has them.
    bone_features: also read each of the layout's bones, its vector or its direction alone: what is small beside the
        body (where a thumb points) counts as well.
    differences: how often the points' change in time is taken: 1 is velocity, 2 is acceleration as well.
    kernel: frames that the convolution before the first layer sees, an odd number; 1 is none.
    local_depth: layers that see no further than `window` frames, before those of `depth`; kernels: sizes of the
        convolutions between the two.
    attention: what the layers of `depth` see: the whole clip, a window, or (`sparse`) a window and every `stride`-th
        frame from where they stand.
    norm, mlp: `layer` or `rms`; `gelu` or `swiglu`. residual: `learned` weighs each branch by a number of its own.
    mlp_ratio: hidden width of the MLP as a multiple of `width`.
    dropout: after the embedding, the projections and inside the MLP; attention_dropout: of attention weights;
        head_dropout: before the classifier.
    drop_path: rate of stochastic depth in the last layer; it rises linearly from 0 in the first. layer_drop: rate at
        which a layer is left out for all clips of a step.
    pooling: how the frames are read out, side by side. classifier: widths of layers before the classifiers.
    auxiliary: after which layers, counted from 1, a classifier learns as well. part_heads: one on each part, too.
    """

    kind: Literal["keypoint_transformer"] = "keypoint_transformer"
    size: Literal["tiny", "base", "large"] = "base"
    width: Positive = 192
    depth: Annotated[int, Field(ge=1, le=1000)] = 4
    heads: Positive = 6
    embedding: Literal["frame", "parts"] = "frame"
    parts: dict[str, tuple[Count, ...]] | None = None
    bones: tuple[tuple[Count, Count], ...] | None = None
    patch: Positive = 4
    part_width: Positive | None = None
    crossings: tuple[tuple[str, str], ...] | None = None
    bone_features: Literal["none", "vectors", "directions"] = "none"
    differences: Annotated[int, Field(ge=0, le=2)] = 2
    kernel: Positive = 7
    local_depth: Annotated[int, Field(ge=0, le=1000)] = 0
    window: Positive = 9
    kernels: tuple[Positive, ...] = ()
    attention: Literal["full", "local", "sparse"] = "full"
    stride: Positive = 8
    norm: Literal["layer", "rms"] = "layer"
    mlp: Literal["gelu", "swiglu"] = "gelu"
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    residual: Literal["plain", "learned"] = "plain"
    dropout: Rate = 0.0
    attention_dropout: Rate = 0.0
    head_dropout: Rate = 0.0
    drop_path: Rate = 0.0
    layer_drop: Rate = 0.0
    pooling: Annotated[tuple[Pooling, ...], Field(min_length=1)] = ("mean", "attention")
    classifier: tuple[Positive, ...] = ()
    auxiliary: tuple[Positive, ...] = ()
    part_heads: bool = False

    @model_validator(mode="after")
    def _sized(self) -> KeypointTransformerSettings:
        given = {key: value for key, value in SIZES[self.size].items() if key not in self.model_fields_set}
        self.__dict__.update(given)  # frozen for everybody else
        return self

    def with_layout(
        self, parts: Mapping[str, tuple[int, ...]], bones: tuple[tuple[int, int], ...]
    ) -> KeypointTransformerSettings:
        """The same settings, with what they ask of a layout filled in."""
        found: dict[str, Any] = {}
        if self.embedding == "parts" and self.parts is None:
            found["parts"] = dict(parts)
        if self.bone_features != "none" and self.bones is None:
            found["bones"] = bones
        return self.model_copy(update=found)


# --- along time -----------------------------------------------------------------------------------


class TemporalConvolution(nn.Module):
    """Depthwise convolutions along time, added to what they look at: [B, T, D] in, the same out."""

    def __init__(self, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width) for kernel in kernels
        )

    def forward(self, x_BTD: Tensor, there_BT1: Tensor) -> Tensor:
        shown_BDT = (x_BTD * there_BT1).transpose(1, 2)
        for convolution in self.convolutions:
            x_BTD = x_BTD + F.gelu(convolution(shown_BDT)).transpose(1, 2)
        return x_BTD


def make_block(settings: KeypointTransformerSettings, drop_path: float) -> Block:
    """One layer as the settings have it."""
    return Block(
        settings.width,
        settings.heads,
        mlp_ratio=settings.mlp_ratio,
        dropout=settings.dropout,
        attention_dropout=settings.attention_dropout,
        drop_path=drop_path,
        layer_drop=settings.layer_drop,
        norm=settings.norm,
        mlp=settings.mlp,
        learned=settings.residual == "learned",
    )


def sight(there_BT: Tensor, reach: str, window: int, stride: int) -> Tensor | None:
    """Which frames each frame sees, as what is added to its scores: [B, 1, T or 1, T], -inf where it does not look.

    Args:
        reach: `full`, `local` (no further than half a window) or `sparse` (that, and every `stride`-th frame before
            and after it, so that it does not matter when a clip begins).
    """
    seen_BQT = there_BT[:, None]
    if reach != "full":
        place_T = torch.arange(there_BT.shape[1], device=there_BT.device)
        away_TT = place_T[:, None] - place_T
        near_TT = away_TT.abs() <= window // 2
        if reach == "sparse":
            near_TT = near_TT | (away_TT % stride == 0)
        seen_BQT = (seen_BQT & near_TT) | (away_TT == 0)  # a frame that is not there must see something
    bias = torch.zeros(seen_BQT.shape, device=there_BT.device).masked_fill(~seen_BQT, -torch.inf)
    return bias[:, None]


# --- readout --------------------------------------------------------------------------------------


class Readout(nn.Module):
    """The frames that are there as one vector: poolings side by side.

    `mean` and `max` are over the frames, `attention` is a mean that each head weighs as it has learnt, `multiscale` are
    the means of 1, 2, 4 and 8 equal spans of what is there. Departs from S3, all of whose scales were the mean.
    """

    def __init__(self, settings: KeypointTransformerSettings) -> None:
        super().__init__()
        self.poolings = settings.pooling
        self.norm = normalisation(settings.width, settings.norm)
        self.weigh = nn.Linear(settings.width, settings.heads) if "attention" in self.poolings else None
        each = {"mean": 1, "max": 1, "attention": 1, "multiscale": sum(SCALES)}
        self.width = settings.width * sum(each[pooling] for pooling in self.poolings)

    def forward(self, x_BTD: Tensor, there_BT1: Tensor) -> Tensor:
        x_BTD = self.norm(x_BTD)
        return torch.cat([getattr(self, pooling)(x_BTD, there_BT1) for pooling in self.poolings], -1)

    def mean(self, x_BTD: Tensor, there_BT1: Tensor) -> Tensor:
        return (x_BTD * there_BT1).sum(1) / there_BT1.sum(1)

    def max(self, x_BTD: Tensor, there_BT1: Tensor) -> Tensor:
        return x_BTD.masked_fill(there_BT1 == 0, -torch.inf).amax(1)

    def attention(self, x_BTD: Tensor, there_BT1: Tensor) -> Tensor:
        assert self.weigh is not None
        score_BTH = self.weigh(x_BTD).masked_fill(there_BT1 == 0, -torch.inf)
        weight_BTH1 = score_BTH.softmax(1)[..., None]
        x_BTHE = x_BTD.unflatten(-1, (score_BTH.shape[-1], -1))
        return (x_BTHE * weight_BTH1).sum(1).flatten(1)

    def multiscale(self, x_BTD: Tensor, there_BT1: Tensor) -> Tensor:
        return torch.cat([(spans(there_BT1, scale) @ x_BTD).flatten(1) for scale in SCALES], -1)


def spans(there_BT1: Tensor, scale: int) -> Tensor:
    """What each frame weighs in the mean of each of `scale` equal spans of the frames that are there: [B, S, T].

    Spans overlap where the frames cannot be shared out evenly, as in torch's adaptive pooling: none is empty.
    """
    there_BT = there_BT1[..., 0].float()  # whole numbers, which half precision would round
    rank_B1T = (there_BT.cumsum(1) - 1)[:, None]
    count_B11 = there_BT.sum(1)[:, None, None]
    span_S1 = torch.arange(scale, device=there_BT.device, dtype=there_BT.dtype)[:, None]
    begin_BS1 = (span_S1 * count_B11 / scale + 1e-4).floor()
    end_BS1 = ((span_S1 + 1) * count_B11 / scale - 1e-4).ceil()
    inside_BST = (rank_B1T >= begin_BS1) & (rank_B1T < end_BS1) & (there_BT[:, None] > 0)
    weight_BST = inside_BST.to(there_BT1.dtype)
    return weight_BST / weight_BST.sum(-1, keepdim=True)


class Classifier(nn.Module):
    """Hidden layers, then one linear classifier a task: [B, D] -> {task: logits [B, classes]}."""

    def __init__(
        self, width: int, hidden: tuple[int, ...], classes: Mapping[str, int], dropout: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for out in hidden:
            layers += [Dropout(dropout), nn.Linear(width, out), nn.LayerNorm(out), nn.GELU()]
            width = out
        self.hidden = nn.Sequential(*layers)
        self.heads = TaskHeads(width, classes, dropout)

    def forward(self, x_BD: Tensor) -> dict[str, Tensor]:
        logits: dict[str, Tensor] = self.heads(self.hidden(x_BD))
        return logits


# --- the network ----------------------------------------------------------------------------------


class KeypointTransformer(nn.Module):
    """The network: {"points": [B, T, K, C], NaN = not seen} -> {task: logits [B, classes]}.

    A series [B, T, C] is read as C points of one coordinate. A clip may have another number of frames than the model
    was built for. While it trains, the answers of inner layers stand beside the tasks, as `task/aux1`, `task/aux2` and,
    of each part of the body, `task/part:NAME`.

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
        bones = () if settings.bone_features == "none" else settings.bones or ()
        require_rows(settings, points)
        self.look = PointFeatures(bones, settings.differences, settings.bone_features == "directions")
        parts = parts_of(points, settings.parts)
        self.embed = embedding(settings, parts, points, len(bones), dims)
        width, blocks = settings.width, settings.local_depth + settings.depth
        self.local = TemporalConvolution(width, (settings.kernel,)) if settings.kernel > 1 else None
        self.between = TemporalConvolution(width, settings.kernels) if settings.kernels else None
        steps = max(blocks - 1, 1)
        self.blocks = nn.ModuleList(
            make_block(settings, settings.drop_path * index / steps) for index in range(blocks)
        )
        self.readout = Readout(settings)
        self.feature_width = self.readout.width
        self.heads = Classifier(self.readout.width, settings.classifier, classes, settings.head_dropout)
        self.auxiliary = nn.ModuleList(TaskHeads(width, classes) for _ in settings.auxiliary)
        self.part_names = list(parts) if settings.part_heads else []
        part_width = settings.part_width or width // 2
        self.part_heads = nn.ModuleList(TaskHeads(part_width, classes) for _ in self.part_names)
        self.blocks.apply(start_scaled)
        for name, weight in self.embed.named_parameters():
            if name.rsplit(".")[-1] in ("absence", "position", "missing"):
                nn.init.normal_(weight, std=0.1)

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features_BD, inner = self.watch(streams[self.stream])
        return self.heads(features_BD) | inner

    def features(self, streams: Mapping[str, Tensor]) -> Tensor:
        """What the classifiers read: [B, feature_width]."""
        return self.watch(streams[self.stream])[0]

    def watch(self, points_BTKC: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the classifiers read [B, D], and in training the answers of inner layers."""
        if points_BTKC.ndim == 3:  # a series: each channel is a point on a line
            points_BTKC = points_BTKC[..., None]
        there_BT = ~points_BTKC.isnan().any(-1).all(-1)
        if eager_on_cpu(points_BTKC):  # elsewhere it would have to be waited for
            longest = int(there_BT.any(0).nonzero().amax()) + 1 if there_BT.any() else 1
            points_BTKC, there_BT = points_BTKC[:, :longest], there_BT[:, :longest]
        first_T = torch.arange(points_BTKC.shape[1], device=points_BTKC.device) == 0
        there_BT = there_BT | (first_T & ~there_BT.any(1, keepdim=True))  # a clip without any point
        looks = self.look(points_BTKC)
        inner: dict[str, Tensor] = {}
        if isinstance(self.embed, PartEmbedding):
            parts = self.embed.apart(looks)
            x_BTD = self.embed.together(parts).unflatten(0, there_BT.shape)
            there_BT1 = there_BT[..., None].to(x_BTD.dtype)
            if self.training and self.part_names:
                parts_BTNE = self.embed.vectors(parts).unflatten(0, there_BT.shape)
                inner |= self.answers_of_parts(parts_BTNE, there_BT1)
        else:
            x_BTD = self.embed(looks)
            there_BT1 = there_BT[..., None].to(x_BTD.dtype)
        if self.local is not None:
            x_BTD = self.local(x_BTD, there_BT1)
        x_BTD = self.along_time(x_BTD, there_BT, there_BT1, inner)
        return self.readout(x_BTD, there_BT1), inner

    def along_time(
        self, x_BTD: Tensor, there_BT: Tensor, there_BT1: Tensor, inner: dict[str, Tensor]
    ) -> Tensor:
        """The blocks, local ones first; `inner` takes the answers of the auxiliary classifiers."""
        settings = self.settings
        phases = rotary_phases(x_BTD.shape[1], settings.width // settings.heads, there_BT1)
        near = sight(there_BT, "local", settings.window, 1) if settings.local_depth else None
        far = sight(there_BT, settings.attention, settings.window, settings.stride)
        for index, block in enumerate(self.blocks):
            if index == settings.local_depth and self.between is not None:
                x_BTD = self.between(x_BTD, there_BT1)
            x_BTD = block(x_BTD, phases, near if index < settings.local_depth else far)
            if self.training and index + 1 in settings.auxiliary:
                number = settings.auxiliary.index(index + 1)
                mean_BD = (x_BTD * there_BT1).sum(1) / there_BT1.sum(1)
                answers = self.auxiliary[number](mean_BD)
                inner |= {f"{task}/aux{number + 1}": logits for task, logits in answers.items()}
        return x_BTD

    def answers_of_parts(self, parts_BTNE: Tensor, there_BT1: Tensor) -> dict[str, Tensor]:
        """What each part of the body says before it looked at others, by its mean over the frames that are there."""
        mean_BNE = (parts_BTNE * there_BT1[..., None]).sum(1) / there_BT1.sum(1)[..., None]
        return {
            f"{task}/part:{name}": logits
            for number, (name, head) in enumerate(zip(self.part_names, self.part_heads, strict=True))
            for task, logits in head(mean_BNE[:, number]).items()
        }

    def layer_of(self, name: str) -> int:
        """The depth of a parameter, for rates by layer: 0 is the embedding, the classifiers are last."""
        if name.startswith("blocks."):
            return 1 + int(name.split(".")[1])
        if name.startswith("between"):
            return 1 + self.settings.local_depth
        last = ("heads", "readout", "auxiliary", "part_heads")
        return len(self.blocks) + 1 if name.startswith(last) else 0

    def undecayed(self) -> set[str]:
        """Parameters that weight decay must leave alone, beside those with one axis."""
        return {
            f"embed.{name}"
            for name, _ in self.embed.named_parameters()
            if name.rsplit(".")[-1] in ("absence", "position")
        }


def embedding(
    settings: KeypointTransformerSettings, parts: Mapping[str, list[int]], points: int, bones: int, dims: int
) -> FrameEmbedding | PartEmbedding:
    """How a frame's points become one vector."""
    features = dims * (1 + settings.differences)
    if settings.embedding == "frame":
        return FrameEmbedding(points, bones, features, settings.width, settings.dropout)
    couples = settings.crossings
    if couples is None:
        usual = (("left_hand", "right_hand"), ("lips", "pose"))
        couples = tuple(couple for couple in usual if set(couple) <= parts.keys())
    for name in {name for couple in couples for name in couple} - parts.keys():
        raise ModelError(
            f"model.crossings: found {name!r}; expected parts of the layout: {', '.join(parts)}."
            f"{did_you_mean(name, parts)}"
        )
    for name in {name for couple in couples for name in couple}:
        if len(parts[name]) <= settings.patch:
            raise ModelError(
                f"model.crossings: {name} is one patch of {settings.patch} points, and attention with one to choose "
                "from learns nothing; take a smaller model.patch or leave the part out."
            )
    width = settings.part_width or settings.width // 2
    heads = max(1, settings.heads // 2)
    require_even(width, heads, "model.part_width")
    return PartEmbedding(
        parts, couples, settings.patch, features, width, heads, settings.width, settings.dropout
    )


def require_sense(settings: KeypointTransformerSettings) -> None:
    """Raise ModelError where settings contradict each other."""
    require_heads_divide(settings.width, settings.heads)
    require_even(settings.width, settings.heads, "model.width")
    for key, kernel in (("kernel", settings.kernel), *(("kernels", kernel) for kernel in settings.kernels)):
        if kernel % 2 == 0:
            raise ModelError(f"model.{key}: found {kernel}; expected an odd number of frames.")
    layers = settings.local_depth + settings.depth
    numbers = list(settings.auxiliary)
    if numbers != sorted(set(numbers)) or any(number > layers for number in numbers):
        raise ModelError(
            f"model.auxiliary: found {numbers}; expected rising numbers of the {layers} layers, counted from 1."
        )
    if settings.embedding == "frame" and settings.part_heads:
        raise ModelError(
            "model.part_heads: found true; parts have features of their own with embedding: parts alone."
        )
    if settings.embedding == "parts" and settings.bone_features != "none":
        raise ModelError(
            f"model.bone_features: found {settings.bone_features}; expected none with embedding: parts, whose patches "
            "are points."
        )


def require_even(width: int, heads: int, key: str) -> None:
    """Rotary phases turn pairs: each head needs an even width."""
    if width % heads or width // heads % 2:
        near = max(1, round(width / heads / 2)) * 2 * heads
        raise ModelError(
            f"{key}: found {width}, of which each of {heads} heads would have {width / heads:g}; rotary phases need an "
            f"even number; take {near}"
        )


def require_rows(settings: KeypointTransformerSettings, points: int) -> None:
    """Raise ModelError where parts or bones name rows that are not there, or a row is in two parts."""
    rows = [row for part in (settings.parts or {}).values() for row in part]
    ends = [row for bone in settings.bones or () for row in bone]
    wrong = [row for row in (*rows, *ends) if row >= points]
    if wrong or len(set(rows)) < len(rows) or any(not part for part in (settings.parts or {}).values()):
        raise ModelError(
            f"model.parts, model.bones: found {sorted(set(wrong)) or 'a row twice, or a part of none'}; expected rows "
            f"0 to {points - 1}, each in one part at most. Leave them out: the data's layout fills them in."
        )


def point_stream(inputs: Mapping[str, tuple[int, ...]]) -> tuple[str, tuple[int, int, int]]:
    """The one stream of points and its shape (T, K, C); a series (T, C) has C points of one coordinate."""
    name = next(iter(inputs), "nothing")
    shape = inputs.get(name, ())
    if len(inputs) != 1 or len(shape) != {"points": 3, "series": 2}.get(name.partition(":")[0]):
        found = ", ".join(f"{name} {list(shape)}" for name, shape in inputs.items()) or "nothing"
        raise ModelError(
            f"model keypoint_transformer: found the streams {found}; expected one stream of points [T, K, C] or one "
            "series [T, C]; set clip.streams=[points]"
        )
    frames, points, dims = shape if len(shape) == 3 else (*shape, 1)
    return name, (frames, points, dims)
