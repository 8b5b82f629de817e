"""TimeSformer: attention along time, then along space.

Source: Bertasius, Wang and Torresani, "Is space-time attention all you need for video understanding?",
ICML 2021, arXiv:2102.05095. Two published forms of its class token are here:

    per_clip   one class token per clip, which temporal attention leaves out; spatial attention sees it in
               every frame and its answers are averaged. The authors' weights, with `temporal_dense`.
    per_frame  one class token in each frame, treated as any token in both attentions; the frames' class
               tokens are averaged before the classifier.

In place of temporal attention there may be retention (`temporal: retention`), which takes over every other part.
A model with a class token per frame whose retention is causal can also be run frame by frame, `step`, at constant
cost and with the answers of the whole clip.

Departs from them: in the last layer only what the classifier reads (the class tokens) is computed; the
logits are the same. Stochastic depth skips the temporal branch after `temporal_dense`, not before it.

Axes: B clips, T frames, P patches of a frame, N = 1 + P tokens of a frame (class token first), D width,
L all tokens of a clip.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mudra.errors import ModelError
from mudra.models.layers import (
    MLP,
    AttentionMethod,
    DropPath,
    SelfAttention,
    TaskHeads,
    start_scaled,
    start_small,
)
from mudra.models.positions import resize_space, resize_time
from mudra.models.retention import Retention, RetentionSettings, RetentionState
from mudra.models.shapes import require_pictures
from mudra.models.stems import ConvolutionStem, LinearStem, with_differences
from mudra.settings import Positive, Rate, Settings

if TYPE_CHECKING:
    from mudra.models.timesformer_files import Published


class TimeSformerSettings(Settings):
    """What a recipe may say of a TimeSformer.

    attention: `divided` is time, then space; `joint` lets all tokens of the clip see each other;
        `space_only` looks at each frame alone and averages the frames.
    temporal: what looks along time where that is divided from space. retention: how retention does.
    time_positions: learned positions of the frames; a model that streams has none.
    class_token: see the top of this file.
    temporal_dense: a second linear layer after temporal attention, started at zero.
    mlp_ratio: hidden width of the MLP as a multiple of `width`.
    dropout: after the embedding, the projections and inside the MLP. attention_dropout: of attention
        weights; None is the same as `dropout`. head_dropout: before the classifier.
    drop_path: rate of stochastic depth in the last layer; it rises linearly from 0 in the first.
    stem: `linear` cuts patches; `conv` is a pyramid of convolutions, better when training from scratch.
    frame_differences: show the stem each frame's change since the one before as well; `alone` shows
        nothing else, so that a few clips' backgrounds cannot be learned by heart.
    pool: what the classifiers read of a frame: the class token, or the mean of all tokens (learns sooner from
        scratch). readout: of which frames: their `mean`, the `last` one, or a mean `decayed` by `readout_decay`
        a frame into the past; other than `mean` with a class token per frame only.
    init: `vit` is deviation 0.02 with positions and class token at 0, as large models start; `scaled` goes by
        each layer's width and starts the positions at random, without which small models hardly start.
    gradient_checkpointing: keep only the layers' inputs for the backward pass and compute the rest again.
    attention_method: how attention is computed, not what; `auto` goes by length and device.
    """

    kind: Literal["timesformer"] = "timesformer"
    width: Positive = 768
    depth: Annotated[int, Field(ge=1, le=1000)] = 12
    heads: Positive = 12
    patch: Positive = 16
    mlp_ratio: Annotated[float, Field(gt=0)] = 4.0
    attention: Literal["divided", "joint", "space_only"] = "divided"
    temporal: Literal["attention", "retention"] = "attention"
    retention: RetentionSettings = RetentionSettings()
    time_positions: bool = True
    class_token: Literal["per_frame", "per_clip"] = "per_frame"
    temporal_dense: bool = False
    qkv_bias: bool = True
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    dropout: Rate = 0.0
    attention_dropout: Rate | None = None
    head_dropout: Rate = 0.0
    drop_path: Rate = 0.0
    stem: Literal["linear", "conv"] = "linear"
    frame_differences: bool | Literal["alone"] = False
    pool: Literal["class_token", "mean"] = "class_token"
    readout: Literal["mean", "last", "decayed"] = "mean"
    readout_decay: Annotated[float, Field(gt=0, lt=1)] = 0.8
    init: Literal["vit", "scaled"] = "vit"
    gradient_checkpointing: bool = False
    attention_method: AttentionMethod = "auto"


def attention_layer(settings: TimeSformerSettings, second_projection: bool = False) -> SelfAttention:
    """Self-attention as the settings have it."""
    rate = settings.dropout if settings.attention_dropout is None else settings.attention_dropout
    return SelfAttention(
        settings.width,
        settings.heads,
        bias=settings.qkv_bias,
        dropout=settings.dropout,
        attention_dropout=rate,
        second_projection=second_projection,
        method=settings.attention_method,
    )


class TemporalBranch(nn.Module):
    """Each place looks along time: norm, then attention. [B, T, places, D] in, what is to be added out."""

    def __init__(self, settings: TimeSformerSettings) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.width, settings.norm_eps)
        self.attention = attention_layer(settings, second_projection=settings.temporal_dense)

    def start_closed(self) -> None:
        """Let the branch add nothing at first, as the authors do with their second linear layer."""
        if self.attention.dense is not None:
            nn.init.zeros_(self.attention.dense.weight)

    def forward(self, x_BTPD: Tensor) -> Tensor:
        return self.attention(self.norm(x_BTPD))


class RetentionBranch(nn.Module):
    """Each place looks along time by retention: norm, then retention. As TemporalBranch, and step by step."""

    def __init__(self, settings: TimeSformerSettings) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.width, settings.norm_eps)
        self.retention = Retention(settings.retention, settings.width, settings.heads, bias=settings.qkv_bias)
        self.closed = settings.retention.closed
        self.dropout = nn.Dropout(settings.dropout)

    def start_closed(self) -> None:
        """Let the branch add nothing at first, so that pretrained spatial layers see what they know."""
        if self.closed:
            for parameter in self.retention.projection.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x_BTPD: Tensor) -> Tensor:
        return self.dropout(self.retention(self.norm(x_BTPD)))

    def step(self, x_BPD: Tensor, state: RetentionState) -> Tensor:
        """What is to be added to the next frame's tokens; `state` is moved on in place."""
        return self.retention.step(self.norm(x_BPD), state)


class Block(nn.Module):
    """One layer with a class token in each frame: time (unless `temporal` is None), space, MLP.

    Joint attention is the same layer on a clip whose tokens all stand in one long frame.
    """

    def __init__(self, settings: TimeSformerSettings, temporal: nn.Module | None, drop_path: float) -> None:
        super().__init__()
        self.temporal = temporal
        self.norm_space = nn.LayerNorm(settings.width, settings.norm_eps)
        self.space = attention_layer(settings)
        self.norm_mlp = nn.LayerNorm(settings.width, settings.norm_eps)
        self.mlp = MLP(settings.width, round(settings.width * settings.mlp_ratio), settings.dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BLD: Tensor, frames: int, keep: int | None = None) -> Tensor:
        """[B, frames x N, D] in, the same out; with `keep`, the first `keep` tokens of each frame alone."""
        x_BTND = x_BLD.unflatten(1, (frames, -1))
        x_BTND = self.after_time(x_BTND)
        x_BTND = x_BTND[:, :, :keep] + self.drop_path(self.within_frames(x_BTND, keep))
        x_BTND = x_BTND + self.drop_path(self.mlp(self.norm_mlp(x_BTND)))
        return x_BTND.flatten(1, 2)

    def after_time(self, x_BTND: Tensor) -> Tensor:
        """The tokens after they have looked along time."""
        return x_BTND if self.temporal is None else x_BTND + self.drop_path(self.temporal(x_BTND))

    def step(self, x_BND: Tensor, state: RetentionState, keep: int | None = None) -> Tensor:
        """The next frame [B, N, D] of streams whose past is in `state`, which is moved on in place."""
        assert isinstance(self.temporal, RetentionBranch)
        x_B1ND = (x_BND + self.temporal.step(x_BND, state))[:, None]
        x_B1ND = x_B1ND[:, :, :keep] + self.within_frames(x_B1ND, keep)
        return (x_B1ND + self.mlp(self.norm_mlp(x_B1ND)))[:, 0]

    def within_frames(self, x_BTND: Tensor, keep: int | None) -> Tensor:
        """The spatial branch: the tokens of a frame see each other."""
        frames = self.norm_space(x_BTND).flatten(0, 1)
        return self.space(frames, keep).unflatten(0, x_BTND.shape[:2])


class ClipTokenBlock(Block):
    """One layer with one class token per clip, the first of its 1 + T x P tokens: divided attention only."""

    def forward(self, x_BLD: Tensor, frames: int, keep: int | None = None) -> Tensor:
        """[B, 1 + frames x P, D] in, the same out; with `keep`, the class token alone."""
        token_B1D, x_BTPD = x_BLD[:, :1], x_BLD[:, 1:].unflatten(1, (frames, -1))
        x_BTPD = self.after_time(x_BTPD)
        x_BTND = torch.cat([token_B1D[:, None].expand(-1, frames, -1, -1), x_BTPD], dim=2)
        seen_BTND = self.drop_path(self.within_frames(x_BTND, keep))
        x_BLD = token_B1D + seen_BTND[:, :, 0].mean(1, keepdim=True)
        if keep is None:
            x_BLD = torch.cat([x_BLD, (x_BTPD + seen_BTND[:, :, 1:]).flatten(1, 2)], dim=1)
        return x_BLD + self.drop_path(self.mlp(self.norm_mlp(x_BLD)))


def make_block(settings: TimeSformerSettings, drop_path: float) -> Block:
    """One layer of the kind that the settings ask for."""
    if settings.attention != "divided":
        return Block(settings, None, drop_path)
    kind = ClipTokenBlock if settings.class_token == "per_clip" else Block
    branch = RetentionBranch if settings.temporal == "retention" else TemporalBranch
    return kind(settings, branch(settings), drop_path)


@dataclass
class StreamState:
    """What a TimeSformer remembers of some streams; of constant size, however long they last.

    Attributes:
        layers: the retention of each layer.
        frame: the last frame [B, C, H, W] where the stem looks at differences.
        total, weight: [B, D] and [B], what the readout has added up.
    """

    layers: list[RetentionState]
    frame: Tensor | None
    total: Tensor
    weight: Tensor

    @property
    def seen(self) -> Tensor:
        """Frames so far: int64 [B]."""
        return self.layers[0].seen

    @property
    def bytes(self) -> int:
        """Memory of the state."""
        return sum(x.numel() * x.element_size() for x in self.tensors().values())

    def reset(self, streams: Tensor | slice = slice(None)) -> None:
        """Forget the past of some streams, by default of all."""
        for layer in self.layers:
            layer.reset(streams)
        self.total[streams] = 0
        self.weight[streams] = 0

    def clone(self) -> StreamState:
        """A copy that other frames may follow."""
        return copy.deepcopy(self)

    def tensors(self) -> dict[str, Tensor]:
        """Everything in it by name: the very tensors, not copies."""
        named = {"total": self.total, "weight": self.weight}
        for number, layer in enumerate(self.layers):
            named |= {
                f"{number}.values": layer.values,
                f"{number}.keys": layer.keys,
                f"{number}.seen": layer.seen,
            }
        return named if self.frame is None else {**named, "frame": self.frame}


class TimeSformer(nn.Module):
    """The network: {"video": [B, T, C, H, W]} -> {task: logits [B, classes]}.

    A clip may have another number of frames, or another size (a multiple of the patch), than the model
    was built for: its positions are then interpolated.

    Args:
        inputs: {"video": (T, C, H, W)}, what one clip looks like.
        classes: number of classes of each task.
    Raises:
        ModelError: settings that contradict each other or the inputs.
    """

    Settings: ClassVar[type[TimeSformerSettings]] = TimeSformerSettings

    def __init__(
        self, settings: TimeSformerSettings, inputs: Mapping[str, tuple[int, ...]], classes: Mapping[str, int]
    ) -> None:
        super().__init__()
        require_sense(settings)
        self.settings = settings
        self.frames, self.channels, self.grid = clip_shape(inputs, settings.patch)
        channels = self.channels * (2 if settings.frame_differences is True else 1)
        stem = ConvolutionStem if settings.stem == "conv" else LinearStem
        self.stem = stem(channels, settings.width, settings.patch)
        self.class_token = nn.Parameter(torch.zeros(settings.width))
        self.space_positions = nn.Parameter(torch.zeros(1 + self.grid[0] * self.grid[1], settings.width))
        self.time_positions: nn.Parameter | None = None
        if settings.attention != "space_only" and settings.time_positions:
            self.time_positions = nn.Parameter(torch.zeros(self.frames, settings.width))
        self.dropout = nn.Dropout(settings.dropout)
        steps = max(settings.depth - 1, 1)
        self.blocks = nn.ModuleList(
            make_block(settings, settings.drop_path * index / steps) for index in range(settings.depth)
        )
        self.norm = nn.LayerNorm(settings.width, settings.norm_eps)
        self.feature_width = settings.width
        self.heads = TaskHeads(settings.width, classes, settings.head_dropout)
        self.apply(start_small if settings.init == "vit" else start_scaled)
        if settings.init == "scaled":
            for positions in (self.class_token, self.space_positions, self.time_positions):
                if positions is not None:
                    nn.init.normal_(positions, std=0.3)
        for module in self.modules():
            if isinstance(module, TemporalBranch | RetentionBranch):
                module.start_closed()

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.heads(self.features(streams))

    def features(self, streams: Mapping[str, Tensor]) -> Tensor:
        """What the classifiers read: {"video": [B, T, C, H, W]} -> [B, feature_width]."""
        video_BTCHW = streams["video"]
        require_video(video_BTCHW, self.channels, self.settings.patch)
        frames, class_tokens = video_BTCHW.shape[1], 1
        x_BLD = self.embed(video_BTCHW)
        if self.settings.attention == "joint":  # the whole clip is one long frame, class tokens first
            frames, class_tokens = 1, 1 if self.settings.class_token == "per_clip" else frames
        for index, block in enumerate(self.blocks, start=1):
            last = index == len(self.blocks) and self.settings.pool == "class_token"
            keep = class_tokens if last else None
            if self.settings.gradient_checkpointing and torch.is_grad_enabled():
                x_BLD = checkpoint(block, x_BLD, frames, keep, use_reentrant=False)
            else:
                x_BLD = block(x_BLD, frames, keep)
        if self.settings.readout != "mean":
            return self.read(self.norm(x_BLD).unflatten(1, (frames, -1)).mean(2))
        if self.settings.class_token == "per_frame" or self.settings.pool == "mean":
            return self.norm(x_BLD).mean(1)
        return self.norm(x_BLD.mean(1))

    def read(self, features_BTD: Tensor) -> Tensor:
        """One vector [B, D] of those of all frames, the latest weighing most."""
        if self.settings.readout == "last":
            return features_BTD[:, -1]
        age = torch.arange(features_BTD.shape[1] - 1, -1, -1, device=features_BTD.device)
        weight_T = self.settings.readout_decay ** age.to(features_BTD.dtype)
        return (features_BTD * (weight_T / weight_T.sum())[:, None]).sum(1)

    # --- frame by frame -----------------------------------------------------------------------

    def initial_state(self, streams: int = 1) -> StreamState:
        """The state of streams before their first frame.

        Raises:
            ModelError: the model looks ahead, or at positions in the clip, and cannot stream.
        """
        require_streaming(self.settings)
        like = self.class_token.detach()
        height, width = (side * self.settings.patch for side in self.grid)
        tokens = like.new_zeros(streams, 1, 1 + self.grid[0] * self.grid[1], like.shape[0])
        blocks = [cast("RetentionBranch", block.temporal) for block in self.blocks]
        return StreamState(
            layers=[branch.retention.initial_state(tokens) for branch in blocks],
            frame=like.new_zeros(streams, self.channels, height, width)
            if self.settings.frame_differences
            else None,
            total=like.new_zeros(streams, like.shape[0]),
            weight=like.new_zeros(streams),
        )

    @torch.inference_mode()
    def step(self, frame_BCHW: Tensor, state: StreamState) -> dict[str, Tensor]:
        """Take in the next frame of each stream.

        The answers are those that the whole clip up to this frame would give. Evaluation mode only.

        Args:
            frame_BCHW: normalised frames of the size that the model was built for.
            state: from `initial_state`; it is moved on in place.
        Returns:
            {task: logits [B, classes]}.
        """
        require_video(frame_BCHW[:, None], self.channels, self.settings.patch)
        x_BCHW = frame_BCHW
        if state.frame is not None:
            fresh = (state.seen == 0)[:, None, None, None]
            change = frame_BCHW - torch.where(fresh, frame_BCHW, state.frame)
            alone = self.settings.frame_differences == "alone"
            x_BCHW = change if alone else torch.cat([frame_BCHW, change], 1)
            state.frame.copy_(frame_BCHW)
        x_BPD = self.stem(x_BCHW) + self.space_positions[1:]
        token_B1D = (self.class_token + self.space_positions[0]).expand(len(x_BPD), 1, -1)
        x_BND = torch.cat([token_B1D, x_BPD], 1)
        for block, layer in zip(self.blocks, state.layers, strict=True):
            last = block is self.blocks[-1] and self.settings.pool == "class_token"
            x_BND = cast("Block", block).step(x_BND, layer, 1 if last else None)
        feature_BD = self.norm(x_BND).mean(1)
        kept = {"mean": 1.0, "last": 0.0, "decayed": self.settings.readout_decay}[self.settings.readout]
        state.total.mul_(kept).add_(feature_BD)
        state.weight.mul_(kept).add_(1)
        return self.heads(state.total / state.weight[:, None])

    def embed(self, video_BTCHW: Tensor) -> Tensor:
        """The clip as tokens with their positions: [B, T x N, D], or [B, class tokens + T x P, D]."""
        frames, patch = video_BTCHW.shape[1], self.settings.patch
        grid = video_BTCHW.shape[3] // patch, video_BTCHW.shape[4] // patch
        if self.settings.frame_differences:
            video_BTCHW = with_differences(video_BTCHW, alone=self.settings.frame_differences == "alone")
        x_BTPD = self.stem(video_BTCHW.flatten(0, 1)).unflatten(0, (-1, frames))
        token_TD = (self.class_token + self.space_positions[0]).expand(frames, -1)
        positions_TPD = resize_space(self.space_positions[1:], self.grid, grid)[None]
        per_clip = self.settings.class_token == "per_clip" and self.settings.attention != "space_only"
        if self.time_positions is not None:
            time_TD = resize_time(self.time_positions, frames)
            positions_TPD = positions_TPD + time_TD[:, None]
            token_TD = token_TD[:1] if per_clip else token_TD + time_TD
        x_BTPD = x_BTPD + positions_TPD
        if per_clip or self.settings.attention == "joint":
            token_BTD = token_TD.expand(len(x_BTPD), -1, -1)
            return self.dropout(torch.cat([token_BTD, x_BTPD.flatten(1, 2)], dim=1))
        token_BT1D = token_TD[:, None].expand(len(x_BTPD), -1, -1, -1)
        return self.dropout(torch.cat([token_BT1D, x_BTPD], dim=2).flatten(1, 2))

    def layer_of(self, name: str) -> int:
        """How far up a parameter is: 0 for the embedding, then the blocks, then what reads them."""
        first, _, rest = name.partition(".")
        if first == "blocks":
            return 1 + int(rest.partition(".")[0])
        return len(self.blocks) + 1 if first in ("norm", "heads") else 0

    def undecayed(self) -> set[str]:
        """Parameters that weight decay must leave alone, beside those with one axis."""
        names = {"class_token", "space_positions", "time_positions"}
        return names & dict(self.named_parameters()).keys()


def require_sense(settings: TimeSformerSettings) -> None:
    """Raise ModelError where settings contradict each other."""
    if settings.temporal == "retention" and (settings.attention != "divided" or settings.temporal_dense):
        found = "temporal_dense: true" if settings.temporal_dense else f"attention: {settings.attention}"
        raise ModelError(
            f"model.temporal: found retention with {found}; expected attention: divided and no temporal_dense, because "
            "retention has a projection of its own; choose them, or temporal: attention"
        )
    if settings.readout != "mean" and (settings.class_token == "per_clip" or settings.attention == "joint"):
        raise ModelError(
            f"model.readout: found {settings.readout!r} where a clip is one whole; expected class_token: per_frame "
            "and attention: divided or space_only; choose them, or readout: mean"
        )
    if settings.temporal_dense and settings.attention != "divided":
        raise ModelError(
            f"model.temporal_dense: found true with attention: {settings.attention}, which has no temporal "
            "branch; expected attention: divided; choose it or leave temporal_dense out"
        )


def require_streaming(settings: TimeSformerSettings) -> None:
    """Raise ModelError where a model cannot be run frame by frame."""
    needed = {
        "temporal": (settings.temporal, "retention"),
        "retention.causal": (settings.retention.causal, True),
        "class_token": (settings.class_token, "per_frame"),
        "time_positions": (settings.time_positions, False),
    }
    for name, (found, expected) in needed.items():
        if found != expected:
            raise ModelError(
                f"model.{name}: found {found!r}; a model that streams, frame by frame, has {expected!r}; train such a "
                "one (see the recipe puppets-retnet), or predict whole clips"
            )


def clip_shape(inputs: Mapping[str, tuple[int, ...]], patch: int) -> tuple[int, int, tuple[int, int]]:
    """Frames, channels and patch grid of a clip.

    Raises:
        ModelError: no video, not four numbers, or frames that patches do not fill.
    """
    shape = inputs.get("video")
    if shape is None or len(inputs) > 1:
        found = ", ".join(inputs) or "nothing"
        raise ModelError(
            f"model timesformer: found the streams {found}; expected video alone; set `clip.streams: [video]`"
        )
    if len(shape) != 4 or min(shape) < 1:
        raise ModelError(
            f"model timesformer, video: found a clip of shape {tuple(shape)}; expected (frames, channels, "
            "height, width), each at least 1; see `clip.frames` and `clip.size`"
        )
    frames, channels, height, width = shape
    require_patches_fill(height, width, patch)
    return frames, channels, (height // patch, width // patch)


def require_video(video_BTCHW: Tensor, channels: int, patch: int) -> None:
    """Raise ModelError where a batch is not [B, T, channels, H, W] of whole patches."""
    require_pictures(video_BTCHW, channels, "timesformer, video")
    require_patches_fill(video_BTCHW.shape[3], video_BTCHW.shape[4], patch)


def require_patches_fill(height: int, width: int, patch: int) -> None:
    """Raise ModelError where a frame is not made of whole patches."""
    if height % patch or width % patch:
        raise ModelError(
            f"model timesformer, video: found frames of {height}x{width}; expected multiples of model.patch, "
            f"{patch}; change `clip.size` or `model.patch`"
        )


def from_transformers(source: str | Path, task: str = "label") -> Published:
    """A published TimeSformer, from a folder of transformers or its hub id: see `timesformer_files`."""
    from mudra.models import timesformer_files

    return timesformer_files.from_transformers(source, task)


def to_transformers(
    model: TimeSformer, folder: Path, classes: Sequence[str], clip: Mapping[str, Any] | None = None
) -> None:
    """Write a model of the published form for transformers: see `timesformer_files`."""
    from mudra.models import timesformer_files

    timesformer_files.to_transformers(model, folder, classes, clip)
