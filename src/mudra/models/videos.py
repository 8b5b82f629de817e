"""Video networks of torchvision, by name: residual networks in space and time, S3D, MViT, Video Swin.

    r2plus1d_18, r3d_18, mc3_18   Tran et al., CVPR 2018, arXiv:1711.11248: 3-D convolutions split into space and time,
                                  whole, or whole in the first stage alone
    s3d                           Xie et al., "Rethinking spatiotemporal feature learning", ECCV 2018, arXiv:1712.04851
    mvit_v1_b, mvit_v2_s          Fan et al., ICCV 2021, arXiv:2104.11227; Li et al., CVPR 2022, arXiv:2112.01526
    swin3d_t, swin3d_s, swin3d_b  Liu et al., "Video Swin transformer", CVPR 2022, arXiv:2106.13230

The networks are torchvision's own, without their classifiers, so its published weights (Kinetics-400) fit: as the start
of a training from a file of its state_dict, or from its server. They were trained on clips prepared so:

    network             frames x size  shorter side  mean                      std                       top-1
    r2plus1d_18         16 x 112       128           0.43216 0.394666 0.37645  0.22803 0.22145 0.216989  67.5 %
    r3d_18, mc3_18      16 x 112       128           the same                  the same                  63.2 64.0
    s3d                 128 x 224      256           the same                  the same                  68.4
    mvit_v1_b, v2_s     16 x 224       256           0.45                      0.225                     78.5 80.8
    swin3d_t, _s, _b    32 x 224       256           0.485 0.456 0.406         0.229 0.224 0.225         77.7 79.5 79.4

Departs from torchvision: clips may be shorter and smaller (S3D's last average shrinks to what there is; an MViT has
positions for the clip's size, and published ones are interpolated) and have other channels than three, and the
residual networks may be narrower.

Axes: B clips, T frames, C channels, H height, W width, D width of what the classifiers read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models as torchvision_models
from torchvision.models.video import VideoResNet
from torchvision.models.video.mvit import PositionalEncoding
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, Conv3DNoTemporal, Conv3DSimple
from torchvision.models.video.s3d import S3D
from torchvision.ops import StochasticDepth

from mudra.errors import ModelError
from mudra.models.freezing import Freezing, require_stages
from mudra.models.layers import TaskHeads
from mudra.models.positions import resize_space, resize_time
from mudra.models.shapes import Shape, one_picture_stream, require_pictures, with_channels
from mudra.models.stems import with_differences
from mudra.settings import Positive, Rate, Settings

Network = Literal[
    "r2plus1d_18", "r3d_18", "mc3_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b"
]

# How the convolutions of the four stages are made, by the residual network.
CONVOLUTIONS: Mapping[str, tuple[Any, Any, Any, Any]] = {
    "r2plus1d_18": (Conv2Plus1D,) * 4,
    "r3d_18": (Conv3DSimple,) * 4,
    "mc3_18": (Conv3DSimple, Conv3DNoTemporal, Conv3DNoTemporal, Conv3DNoTemporal),
}
CLASSIFIERS = ("fc", "head", "classifier")  # torchvision's names of what answers for Kinetics' classes
BLOCK = re.compile(r"(?:features|blocks|layer\d)\.\d+(?:\.\d+(?=\.[a-z]\w*\.))?")
SMALLEST_S3D = (8, 32)  # frames and pixels that its pools leave something of


class VideoSettings(Settings):
    """What a recipe may say of a video network.

    network: torchvision's name of it.
    width_multiple, blocks: of the residual networks alone: channels of all layers as a multiple of the published 64
        to 512, and residual blocks of each of the four stages. Published weights fit 1 and [2, 2, 2, 2].
    frame_differences: show the network each frame's change since the one before as well; `alone` shows nothing else, so
        that a few clips' backgrounds cannot be learned by heart.
    frozen_stages: so many of the stages, from the first on, do not train; what takes in the pictures is a stage
        (S3D's first convolution, for one), and a further one begins wherever places are pooled. Batch norms are frozen
        with them. 5 of any network are all of it.
    dropout: before the classifiers. drop_path: rate of stochastic depth in the last block of an MViT or Swin; it
        rises linearly from 0 in the first.
    """

    kind: Literal["video"] = "video"
    network: Network = "r2plus1d_18"
    width_multiple: Annotated[float, Field(gt=0, le=4)] = 1.0
    blocks: tuple[Positive, Positive, Positive, Positive] = (2, 2, 2, 2)
    frame_differences: bool | Literal["alone"] = False
    frozen_stages: Annotated[int, Field(ge=0)] = 0
    dropout: Rate = 0.0
    drop_path: Rate = 0.0


class VideoNetwork(Freezing):
    """The network: {stream: [B, T, C, H, W]} -> {task: logits [B, classes]}.

    Args:
        inputs: {stream: (T, C, H, W)}, one stream of pictures of whatever name.
        classes: number of classes of each task.
    Raises:
        ModelError: inputs that are not one stream of pictures or too small for the network, or settings that the
            network does not have.
    """

    Settings: ClassVar[type[VideoSettings]] = VideoSettings

    def __init__(
        self, settings: VideoSettings, inputs: Mapping[str, tuple[int, ...]], classes: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.settings = settings
        self.stream, self.shape = one_picture_stream(inputs, settings.network)
        require_sense(settings)
        require_room(settings.network, self.shape)
        self.network, self.feature_width = trunk(settings, self.shape)
        blocks = [found[0] for name, _ in self.named_parameters() if (found := BLOCK.search(name))]
        self.blocks = list(dict.fromkeys(blocks))  # from the first to the last
        self.heads = TaskHeads(self.feature_width, classes, settings.dropout)
        self.stages = dict(zip(self.blocks, stages_of(self.network, self.blocks), strict=True))
        if settings.frozen_stages:
            require_stages(settings.frozen_stages, self.stages[self.blocks[-1]] + 1, settings.network)
            self.freeze(lambda name: self._stage_of(name) < settings.frozen_stages)

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.heads(self.features(streams))

    def features(self, streams: Mapping[str, Tensor]) -> Tensor:
        """What the classifiers read: {stream: [B, T, C, H, W]} -> [B, feature_width].

        Raises:
            ModelError: other channels; another length or size than an MViT was built for.
        """
        x_BTCHW = streams[self.stream]
        name = self.settings.network
        require_pictures(x_BTCHW, self.shape[1], f"{name}, {self.stream}")
        found = tuple(x_BTCHW.shape[1:])
        if name.startswith("mvit") and found != self.shape:
            raise ModelError(
                f"model {name}, {self.stream}: found a clip of shape {found}; expected {self.shape}, for which its "
                "positions were made; set clip.frames and clip.size when training"
            )
        if self.settings.frame_differences:
            x_BTCHW = with_differences(x_BTCHW, alone=self.settings.frame_differences == "alone")
        x_BD: Tensor = self.network(x_BTCHW.transpose(1, 2))
        return x_BD

    def layer_of(self, name: str) -> int:
        """How far up a parameter is: 0 for what takes in the pictures, then the blocks, then what reads them."""
        found = BLOCK.search(name)
        if found is not None:
            return 1 + self.blocks.index(found[0])
        return len(self.blocks) + 1 if name.startswith(("heads.", "network.norm.")) else 0

    def _stage_of(self, name: str) -> int:
        """The stage that a parameter is frozen with; the classifiers are beyond all."""
        found = BLOCK.search(name)
        if found is not None:
            return self.stages[found[0]]
        last = self.stages[self.blocks[-1]]
        return last + 1 if name.startswith("heads.") else last if name.startswith("network.norm.") else 0

    def undecayed(self) -> set[str]:
        """Parameters that weight decay must leave alone, beside those with one axis: positions."""
        words = (
            "spatial_pos",
            "temporal_pos",
            "rel_pos_h",
            "rel_pos_w",
            "rel_pos_t",
            "relative_position_bias_table",
        )
        return {name for name, _ in self.named_parameters() if name.endswith(words)}

    # --- published weights --------------------------------------------------------------------

    def from_published(self, state: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
        """Weights by torchvision's names under ours; positions of an MViT at our length and size.

        Its classifier keeps its name, which no model of ours has.

        Raises:
            ModelError: they are another network's.
        """
        own = self.network.state_dict()
        taken = {name: x for name, x in state.items() if name.partition(".")[0] not in CLASSIFIERS}
        if own.keys() != taken.keys():
            name = min(own.keys() ^ taken.keys())
            side = "lacks" if name in own else "has"
            raise ModelError(
                f"{place}: it {side} the weight {name!r}; expected those of torchvision's {self.settings.network}. "
                "Give its file, or set model.network and model.blocks."
            )
        first = next(name for name, x in own.items() if x.ndim == 5)
        ours = {name: x for name, x in state.items() if name not in taken}
        for name, x in taken.items():
            if name == first:
                x = with_channels(x, self.shape[1])
                if self.settings.frame_differences is True:  # at first they are not looked at
                    x = torch.cat([x, torch.zeros_like(x)], 1)
            elif name.endswith(("rel_pos_h", "rel_pos_w", "rel_pos_t", "temporal_pos")):
                x = resize_time(x, len(own[name]))
            elif name.endswith("spatial_pos") and x.shape != own[name].shape:
                x = resize_space(x, _square(len(x)), _square(len(own[name])))
            ours[f"network.{name}"] = x
        return ours

    def fetch_published(self, name: str) -> dict[str, Tensor]:
        """The weights that torchvision publishes under a name such as "KINETICS400_V1" or "DEFAULT", from its server
        or from the copy that torch keeps of an earlier download.

        Raises:
            ModelError: there are none of that name, or they cannot be fetched.
        """
        from torch.hub import load_state_dict_from_url

        network = self.settings.network
        known = torchvision_models.get_model_weights(network)
        names = [weights.name for weights in known]
        if name not in (*names, "DEFAULT"):
            raise ModelError(
                f"torchvision:{name}: there are no such weights of {network}; expected one of {', '.join(names)}."
            )
        url = known[name].url
        try:
            found = load_state_dict_from_url(
                url, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
        except (
            Exception
        ) as problem:  # offline, a broken download: urllib, sockets and torch have no common error
            reason = " ".join(str(problem).split())[:160]
            raise ModelError(
                f"torchvision:{name}: could not be fetched from {url} ({type(problem).__name__}: {reason}). Download "
                "it where there is a network and give the file."
            ) from None
        return dict(found)

    def published_clip(self) -> dict[str, Any]:
        """A recipe's section `clip`, as far as torchvision tells how its weights' clips were prepared."""
        how = torchvision_models.get_model_weights(self.settings.network)["DEFAULT"].transforms()
        size = how.crop_size[0]
        return {
            "resize": "crop",
            "shorter_side": how.resize_size[0] / size,
            "mean": tuple(how.mean),
            "std": tuple(how.std),
        }


# --- the networks -----------------------------------------------------------------------------------


def trunk(settings: VideoSettings, shape: Shape) -> tuple[nn.Module, int]:
    """torchvision's network without its classifier, [B, C, T, H, W] -> [B, D], and D."""
    name, (frames, channels, height, width) = settings.network, shape
    channels *= 2 if settings.frame_differences is True else 1
    if name in CONVOLUTIONS:
        network = ResidualNetwork(settings)
        network.fc, features = nn.Identity(), network.inplanes
    elif name == "s3d":
        network = torchvision_models.get_model(name, weights=None)
        network.avgpool, network.classifier, features = LastAverage(), nn.Identity(), 1024
    elif name.startswith("mvit"):
        network = torchvision_models.get_model(name, weights=None)
        network.head, features = nn.Identity(), network.head[-1].in_features
        set_size(network, frames, height, width)
    else:
        network = torchvision_models.get_model(name, weights=None)
        network.head, features = nn.Identity(), network.head.in_features
    set_drop_path(network, settings.drop_path)
    if channels != 3:
        take_in(network, channels)
    return network, features


class ResidualNetwork(VideoResNet):
    """torchvision's residual video network, of any width."""

    def __init__(self, settings: VideoSettings) -> None:
        self.multiple = settings.width_multiple
        makers = list(CONVOLUTIONS[settings.network])
        split = settings.network == "r2plus1d_18"
        super().__init__(BasicBlock, makers, list(settings.blocks), lambda: self._stem(split), num_classes=1)

    def _stem(self, split: bool) -> nn.Sequential:
        """The first convolution, 7 x 7 in space and 3 in time, in one or in two steps."""
        out = self.inplanes = self.scaled(64)
        if not split:
            return nn.Sequential(
                nn.Conv3d(3, out, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
                nn.BatchNorm3d(out),
                nn.ReLU(inplace=True),
            )
        middle = self.scaled(45)
        return nn.Sequential(
            nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            nn.Conv3d(middle, out, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(out),
            nn.ReLU(inplace=True),
        )

    def scaled(self, channels: int) -> int:
        """So many channels at the network's width."""
        return max(1, round(channels * self.multiple))

    def _make_layer(
        self, block: Any, conv_builder: Any, planes: int, blocks: int, stride: int = 1
    ) -> nn.Sequential:
        return super()._make_layer(block, conv_builder, self.scaled(planes), blocks, stride)


def stages_of(network: nn.Module, blocks: Sequence[str]) -> list[int]:
    """The stage of each block: what takes in the pictures is stage 0, and a stage begins where places are pooled."""
    stages, pools = [], 0
    for name in blocks:
        first, index = name.split(".")[:2]
        block: Any = network.get_submodule(name)
        if first.startswith("layer"):
            stages.append(int(first.removeprefix("layer")))
        elif first == "blocks":  # an MViT pools where its queries are fewer
            query = block.attn.pool_q
            pools += query is not None and max(query.pool.stride) > 1
            stages.append(1 + pools)
        elif isinstance(network, S3D):
            stages.append(sum(isinstance(part, nn.MaxPool3d) for part in network.features[: int(index)]))
        else:  # Swin: stages and what merges their patches take turns
            stages.append(1 + (int(index) + 1) // 2)
    return stages


class LastAverage(nn.Module):
    """S3D's average over windows of 2 frames and 7 x 7 places, or over fewer where a small clip has fewer."""

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        window = [min(most, there) for most, there in zip((2, 7, 7), x_BCTHW.shape[2:], strict=True)]
        return F.avg_pool3d(x_BCTHW, window, stride=1)


def set_size(network: nn.Module, frames: int, height: int, width: int) -> None:
    """Give an MViT, which torchvision builds for 16 frames of 224 x 224, positions for clips of another size.

    In the first layer a token is 2 frames and 4 x 4 pixels; later ones see 1, 1/2, 1/4 or 1/8 of those places.
    """
    old: Any = network.pos_encoding
    relative = old.spatial_pos is None
    place = PositionalEncoding(len(old.class_token), (height // 4, width // 4), frames // 2, relative)
    for parameter in place.parameters():
        nn.init.trunc_normal_(parameter, std=0.02)
    network.pos_encoding = place
    for name, table in list(network.named_parameters()):
        parent, _, kind = name.rpartition(".")
        if kind in ("rel_pos_h", "rel_pos_w", "rel_pos_t"):
            share = frames / 16 if kind == "rel_pos_t" else max(height, width) / 224
            rows = 2 * round((len(table) + 1) / 2 * share) - 1
            fresh = nn.Parameter(torch.zeros(rows, table.shape[1]))
            nn.init.trunc_normal_(fresh, std=0.02)
            setattr(network.get_submodule(parent), kind, fresh)


def set_drop_path(network: nn.Module, rate: float) -> None:
    """Stochastic depth of `rate` in the last block, rising linearly from 0 in the first."""
    layers = [module for module in network.modules() if isinstance(module, StochasticDepth)]
    for number, layer in enumerate(layers):
        layer.p = rate * number / max(len(layers) - 1, 1)


def take_in(network: nn.Module, channels: int) -> None:
    """Let a network take pictures of other channels: its first convolution is made anew."""
    name, first = next((name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv3d))
    same: dict[str, Any] = {key: getattr(first, key) for key in ("kernel_size", "stride", "padding")}
    fresh = nn.Conv3d(channels, first.out_channels, **same, bias=first.bias is not None)
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, fresh)


def require_sense(settings: VideoSettings) -> None:
    """Raise ModelError where settings ask for what a network does not have."""
    name, plain = settings.network, VideoSettings()
    residual, deep = name in CONVOLUTIONS, name.startswith(("mvit", "swin"))
    has: Mapping[str, bool] = {"width_multiple": residual, "blocks": residual, "drop_path": deep}
    for key, known in has.items():
        found = getattr(settings, key)
        if not known and found != getattr(plain, key):
            raise ModelError(f"model.{key}: found {found}, which {name} does not have; leave it out")


def require_room(network: str, shape: Shape) -> None:
    """Raise ModelError where a network cannot look at clips of such a shape."""
    frames, _, height, width = shape
    told = f"model {network}: found clips of {frames} frames of {height}x{width}; expected "
    if network == "s3d" and (frames < SMALLEST_S3D[0] or min(height, width) < SMALLEST_S3D[1]):
        raise ModelError(
            f"{told}at least {SMALLEST_S3D[0]} of {SMALLEST_S3D[1]}, because its pools leave nothing of less; change "
            "clip.frames and clip.size"
        )
    if network.startswith("mvit") and (frames % 2 or height % 32 or width % 32):
        raise ModelError(
            f"{told}an even number of frames and multiples of 32 pixels, which its pools halve evenly; change "
            "clip.frames and clip.size"
        )


def _square(places: int) -> tuple[int, int]:
    side = round(places**0.5)
    return side, side
