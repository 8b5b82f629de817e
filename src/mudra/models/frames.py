"""Frame models: timm's image networks look at each frame, something looks along time, a classifier for each task.

    mean         the mean of the frames
    lstm         long short-term memory
    transformer  every frame looks at every other
    multiscale   transformers whose windows of several lengths slide over the clip

The tasks may also have branches of their own (`branches`), which may look at each other: see `cross_task`.

Source: an EPIC-KITCHENS study of such networks; the backbones are timm's own (Wightman 2019), by name, so its
published weights fit: `train.init_from: timm:resnet50.a1_in1k`, or a file of them. They were trained on pictures
normalised in timm's way: ImageNet's mean and deviation (clip.mean and clip.std as they are by default) for the residual
and efficient networks, 0.5 and 0.5 for many vision transformers; where a recipe departs from it, it is said.

Axes: B clips, T frames, C channels, H height, W width, F width of a frame's features, D width along time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import timm
import torch
from pydantic import Field
from timm.models import group_parameters
from torch import Tensor, nn

from mudra.errors import ModelError, did_you_mean
from mudra.models.cross_task import BranchHeads, TaskBranches
from mudra.models.freezing import Freezing, moving_statistics, require_stages
from mudra.models.layers import Dropout, TaskHeads, require_heads_divide, rotary_phases
from mudra.models.shapes import Shape, one_picture_stream, require_pictures
from mudra.models.stems import with_differences
from mudra.models.temporal import LSTM, MultiScale, Positions, Transformer
from mudra.settings import Count, Positive, Rate, Settings

NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?", re.ASCII)  # no address of a hub: a recipe names no code


class FramesSettings(Settings):
    """What a recipe may say of a frame model.

    backbone: timm's name of an image network, such as resnet50 or efficientnet_b3.
    frozen_stages: so many of its stages, from the first on, do not train; the stem is a stage. Their batch norms keep
        their statistics, too.
    temporal: see the top of this file. width, depth, heads: of what looks along time; a linear layer and a norm bring
        a frame's features to the width. The mean of the frames takes them as they are.
    windows: lengths in frames for `multiscale`; `depth` layers each. A window longer than the clip is the clip.
    positions: how transformers and branches know the order of the frames: `rotary` phases, or `learned` positions.
    mlp_ratio: hidden width of the MLPs as a multiple of `width`.
    branches: `shared` is one vector for all tasks; `separate` gives each task `branch_depth` layers of its own;
        `crossed` lets them look at each other, layer by layer.
    dropout: of the frames' features, after projections, in MLPs and LSTMs. attention_dropout: of attention weights.
        head_dropout: before the classifiers.
    drop_path: rate of stochastic depth along time, in the last layer; it rises linearly from 0 in the first.
        backbone_drop_path: the same within the backbone, a frame at a time, where timm's network has it.
    frame_differences: show the backbone each frame's change since the one before as well; `alone` shows nothing else.
    frames_at_once: frames that the backbone looks at in one go where nothing is trained, to bound memory; None is all.
    gradient_checkpointing: the backbone keeps less for the backward pass and computes it again.
    """

    kind: Literal["frames"] = "frames"
    backbone: str = "resnet50"
    frozen_stages: Count = 0
    temporal: Literal["mean", "lstm", "transformer", "multiscale"] = "mean"
    width: Positive = 512
    depth: Annotated[int, Field(ge=1, le=100)] = 2
    heads: Positive = 8
    windows: Annotated[tuple[Positive, ...], Field(min_length=1)] = (4, 8, 16)
    positions: Literal["rotary", "learned"] = "rotary"
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    branches: Literal["shared", "separate", "crossed"] = "shared"
    branch_depth: Annotated[int, Field(ge=1, le=100)] = 1
    dropout: Rate = 0.0
    attention_dropout: Rate = 0.0
    head_dropout: Rate = 0.0
    drop_path: Rate = 0.0
    backbone_drop_path: Rate = 0.0
    frame_differences: bool | Literal["alone"] = False
    frames_at_once: Positive | None = None
    gradient_checkpointing: bool = False

    @property
    def orders(self) -> bool:
        """Whether something in it asks where in the clip a frame stands."""
        return self.temporal in ("transformer", "multiscale") or self.branches != "shared"


class Frames(Freezing):
    """The network: {stream: [B, T, C, H, W]} -> {task: logits [B, classes]}.

    A clip may have another number of frames than the model was built for.

    Args:
        inputs: {stream: (T, C, H, W)}, one stream of pictures of whatever name.
        classes: number of classes of each task.
    Raises:
        ModelError: no such backbone, inputs that are not one stream of pictures, or settings that contradict each
            other.
    """

    Settings: ClassVar[type[FramesSettings]] = FramesSettings
    publisher = "timm"

    def __init__(
        self, settings: FramesSettings, inputs: Mapping[str, tuple[int, ...]], classes: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.settings = settings
        self.stream, self.shape = one_picture_stream(inputs, "frames")
        self.backbone = make_backbone(settings, self.shape)
        features: int = self.backbone.head_hidden_size or self.backbone.num_features
        width, shared = settings.width, settings.branches == "shared"
        plain = settings.temporal == "mean" and shared
        self.dropout = Dropout(settings.dropout)
        self.project = None if plain else nn.Linear(features, width)
        # however small or large a backbone's features are, what looks along time hears them
        self.norm_frames = None if plain else nn.LayerNorm(width)
        self.place: nn.Module | None = None
        if settings.orders and settings.positions == "learned":
            self.place = Positions(self.shape[0], width)
        self.along = along_time(settings)
        self.norm = (
            nn.LayerNorm(width) if isinstance(self.along, Transformer | MultiScale) and shared else None
        )
        self.feature_width = features if plain else width if shared else width * len(classes)
        heads = TaskHeads if shared else BranchHeads
        self.heads = heads(features if plain else width, classes, settings.head_dropout)
        self.branches = None if shared else task_branches(settings, self.shape[0], classes)
        self.layers: dict[str, int] = {}
        self._freeze_stages()
        if settings.gradient_checkpointing:
            require_still(self, settings.backbone)
            self.backbone.set_grad_checkpointing(True)

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.heads(self.features(streams))

    def features(self, streams: Mapping[str, Tensor]) -> Tensor:
        """What the classifiers read: {stream: [B, T, C, H, W]} -> [B, feature_width].

        Raises:
            ModelError: not clips of pictures, or other channels than the model was built for.
        """
        video_BTCHW = streams[self.stream]
        require_pictures(video_BTCHW, self.shape[1], f"frames, {self.stream}")
        x_BTF = self.dropout(self.look(video_BTCHW))
        if self.project is None or self.norm_frames is None:
            return x_BTF.mean(1)
        x_BTD = self.norm_frames(self.project(x_BTF))
        phases = None
        if self.place is not None:
            x_BTD = self.place(x_BTD)
        elif self.settings.orders:
            phases = rotary_phases(x_BTD.shape[1], self.settings.width // self.settings.heads, x_BTD)
        if isinstance(self.along, LSTM):
            x_BTD = self.along(x_BTD)
        elif self.along is not None:
            x_BTD = self.along(x_BTD, phases)
        if self.branches is not None:
            x_BF: Tensor = self.branches(x_BTD, phases)
            return x_BF
        return (x_BTD if self.norm is None else self.norm(x_BTD)).mean(1)

    def look(self, video_BTCHW: Tensor) -> Tensor:
        """What the backbone makes of each frame: [B, T, F]."""
        if self.settings.frame_differences:
            video_BTCHW = with_differences(video_BTCHW, alone=self.settings.frame_differences == "alone")
        # timm's networks are faster so, on CPUs and on GPUs; the weights stay as they are
        x_NCHW = video_BTCHW.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        most = self.settings.frames_at_once
        if most is None or torch.is_grad_enabled():
            x_NF = self.backbone(x_NCHW)
        else:
            x_NF = torch.cat([self.backbone(part) for part in x_NCHW.split(most)])
        return x_NF.unflatten(0, video_BTCHW.shape[:2])

    # --- layers and stages ----------------------------------------------------------------------

    def layer_of(self, name: str) -> int:
        """How far up a parameter is: the backbone's layers as timm numbers them, what looks along time, the rest."""
        if not self.layers:
            self.layers = numbered(self.backbone, coarse=False)
        first, _, rest = name.partition(".")
        if first == "backbone":
            return self.layers[rest]
        top = max(self.layers.values())
        return top + (2 if first in ("branches", "norm", "heads") else 1)

    def _freeze_stages(self) -> None:
        if not self.settings.frozen_stages:
            return
        stages = numbered(self.backbone, coarse=True)
        require_stages(self.settings.frozen_stages, max(stages.values()) + 1, self.settings.backbone)
        frozen = {name for name, stage in stages.items() if stage < self.settings.frozen_stages}
        self.freeze(lambda name: name.removeprefix("backbone.") in frozen)

    def undecayed(self) -> set[str]:
        """Parameters that weight decay must leave alone, beside those with one axis: positions, tokens."""
        spared: set[str] = getattr(self.backbone, "no_weight_decay", set)()
        names = {f"backbone.{name}" for name in spared} | {"place.positions"}
        return names & dict(self.named_parameters()).keys()

    # --- published weights --------------------------------------------------------------------

    def from_published(self, state: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
        """Weights by timm's names under ours, brought to our channels and size as timm does; without its classifier.

        Raises:
            ModelError: they are another network's.
        """
        twice = self.settings.frame_differences is True
        # what a file lacks timm leaves as it was drawn: put NaN into all that the file has, and see what stays a number
        unknown = {name: torch.full_like(x, torch.nan) for name, x in state.items() if x.is_floating_point()}
        found, shown = (self._loaded({**state, **part}, place, twice) for part in ({}, unknown))
        missing = [name for name, x in shown.items() if x.is_floating_point() and not x.isnan().any()]
        if missing:
            raise ModelError(
                f"{place}: it lacks what {self.settings.backbone} calls {missing[0]!r}; expected the weights of that "
                "network of timm's. Give its file, or set model.backbone."
            )
        return {f"backbone.{name}": x for name, x in found.items()}

    def _loaded(self, state: dict[str, Tensor], place: str, twice: bool) -> dict[str, Tensor]:
        """What timm makes of a state for a network of our channels and size."""
        plain = self.settings.model_copy(update={"frame_differences": False, "backbone_drop_path": 0.0})
        try:
            network = make_backbone(plain, self.shape, pretrained_cfg_overlay={"state_dict": dict(state)})
        except (RuntimeError, KeyError, ValueError, AttributeError) as problem:
            reason = " ".join(str(problem).split())[:200]
            raise ModelError(
                f"{place}: not the weights of timm's {self.settings.backbone} ({reason}). Give its file, or set "
                "model.backbone."
            ) from None
        weights: dict[str, Tensor] = network.state_dict()
        own = self.backbone.state_dict()
        if twice:  # at first the differences are not looked at
            for name, x in weights.items():
                if own[name].shape != x.shape:
                    weights[name] = torch.cat([x, torch.zeros_like(x)], 1)
        return weights

    def fetch_published(self, name: str) -> dict[str, Tensor]:
        """The weights that timm publishes under a name such as "resnet50.a1_in1k", from the Hugging Face hub or the
        copy that is kept of an earlier download.

        Raises:
            ModelError: they are of another network, or cannot be fetched.
        """
        network = self.settings.backbone.partition(".")[0]
        if (
            name.partition(".")[0] != network
            or not NAME.fullmatch(name)
            or not timm.is_model_pretrained(name)
        ):
            known = timm.list_pretrained(f"{network}.*") or ["none: timm publishes no weights of it"]
            raise ModelError(
                f"timm:{name}: there are no such weights of {network}; expected one of {', '.join(known)}."
            )
        try:
            found = timm.create_model(name, pretrained=True)
        except Exception as problem:  # offline, a broken download: the hub's clients have no common error
            reason = " ".join(str(problem).split())[:160]
            raise ModelError(
                f"timm:{name}: could not be fetched from the Hugging Face hub ({type(problem).__name__}: {reason}). "
                "Download its model.safetensors where there is a network and give the file."
            ) from None
        weights: dict[str, Tensor] = found.state_dict()
        return weights

    def published_clip(self) -> dict[str, Any]:
        """A recipe's section `clip`, as far as timm tells how its weights' pictures were prepared."""
        how = timm.get_pretrained_cfg(self.settings.backbone)
        return {} if how is None else {"mean": tuple(how.mean), "std": tuple(how.std)}


# --- its parts --------------------------------------------------------------------------------------


def make_backbone(settings: FramesSettings, shape: Shape, **more: Any) -> Any:
    """timm's network without its classifier: [N, C, H, W] -> [N, F].

    Args:
        more: what timm needs to load weights.
    Raises:
        ModelError: timm has none of this name, or not for such pictures or settings.
    """
    name, (_, channels, height, width) = settings.backbone, shape
    if not NAME.fullmatch(name) or not timm.is_model(name):
        raise ModelError(
            f"model.backbone: timm has no network {name!r}.{did_you_mean(name, timm.list_models())} timm.list_models() "
            "gives all names."
        )
    if settings.frame_differences is True:
        channels *= 2
    options: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
    known = timm.get_pretrained_cfg(name)
    if known is not None and known.fixed_input_size:
        options["img_size"] = (height, width)
    if settings.backbone_drop_path:
        options["drop_path_rate"] = settings.backbone_drop_path
    if more:
        return timm.create_model(name, pretrained=True, **options, **more)
    try:
        return timm.create_model(name, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ModelError(
            f"model.backbone: timm's {name} cannot be built for frames of {height}x{width} in {channels} channels with "
            f"these settings ({reason}); change clip.size, model.backbone_drop_path or model.backbone"
        ) from None


def along_time(settings: FramesSettings) -> LSTM | Transformer | MultiScale | None:
    """What looks along time; None where the frames are only averaged."""
    if settings.temporal == "lstm":
        return LSTM(settings.width, settings.depth, settings.dropout)
    if settings.orders:
        require_heads_divide(settings.width, settings.heads)
        if settings.width // settings.heads % 2 and settings.positions == "rotary":
            raise ModelError(
                f"model.width: found {settings.width} for {settings.heads} heads of an odd width; rotary phases turn "
                f"pairs; take {2 * settings.width}, or positions: learned"
            )
    windows = {"transformer": (None,), "multiscale": settings.windows}.get(settings.temporal, ())
    stacks = [
        Transformer(
            settings.width,
            settings.depth,
            settings.heads,
            mlp_ratio=settings.mlp_ratio,
            dropout=settings.dropout,
            attention_dropout=settings.attention_dropout,
            drop_path=settings.drop_path,
            window=window,
        )
        for window in windows
    ]
    if settings.temporal == "multiscale":
        return MultiScale(stacks, settings.width)
    return stacks[0] if stacks else None


def task_branches(settings: FramesSettings, frames: int, classes: Mapping[str, int]) -> TaskBranches:
    """A branch for each task, which look at each other where the settings say so.

    Raises:
        ModelError: one task, or one frame, leaves nothing to look at.
    """
    crossed = settings.branches == "crossed"
    if crossed and (len(classes) < 2 or frames < 2):
        raise ModelError(
            f"model.branches: found crossed for {len(classes)} task and {frames} frames; expected at least two of "
            "each, or attention has nothing to choose among; take shared, or see data.tasks and clip.frames"
        )
    return TaskBranches(
        len(classes),
        settings.width,
        settings.heads,
        depth=settings.branch_depth,
        crossed=crossed,
        mlp_ratio=settings.mlp_ratio,
        dropout=settings.dropout,
        attention_dropout=settings.attention_dropout,
        drop_path=settings.drop_path,
    )


def numbered(backbone: Any, coarse: bool) -> dict[str, int]:
    """The stage (or, not `coarse`, the layer) of each parameter of one of timm's networks, counted from 0."""
    stages: dict[str, int] = group_parameters(backbone, backbone.group_matcher(coarse=coarse), reverse=True)
    return stages


def require_still(model: nn.Module, name: str) -> None:
    """Raise ModelError where computing again would move statistics of batches a second time."""
    moving = moving_statistics(model)
    if moving:
        raise ModelError(
            f"model.gradient_checkpointing: {name} has batch norm that trains ({moving[0]}), whose statistics would "
            "be moved twice; leave it out, or take a backbone without batch norm"
        )
