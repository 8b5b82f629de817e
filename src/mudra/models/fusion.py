"""Fusion: a trunk for each stream, brought together late, then along the windows of the clip.

Source: S4 of the systems that mudra re-makes (three C3D trunks, their answers side by side, an LSTM both ways with an
attention window, a loss at every window), in a general form: any model of the catalogue is a trunk, any stream may be
missing.

A clip is cut into windows. Each trunk looks at its stream's windows one by one; what its classifiers would read is
brought to a width and joined with the others'. Where a window shows nothing of a stream, a learnt vector stands for it.
In training whole streams are left out at random, so that the network knows what to do without them.

Departs from S4: no window of nothing at the end; windows that are not there are seen by nothing and the answer is the
mean of those that are, each by its share of frames, so it depends on no padding and on no other clip; the mask's
absence leaves depth as it is; raw coordinates have a trunk of their own.

Axes: B clips, T frames, W windows, L frames of a window, N = B x W, S streams, P width of a stream, D width of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, PlainValidator, SerializeAsAny
from torch import Tensor, nn

from mudra.errors import ModelError, RecipeError, did_you_mean
from mudra.kinds import kind_class
from mudra.models.along_windows import BothWays, OverStreams, WindowTransformer, require_reach
from mudra.models.layers import Dropout, TaskHeads
from mudra.models.trunk_looks import Look, Looking, cut, seen
from mudra.settings import Positive, Rate, Settings, Within, parse

Layout = tuple[Mapping[str, tuple[int, ...]], tuple[tuple[int, int], ...]]  # parts and bones

NAME = re.compile(r"[A-Za-z][\w:-]*", re.ASCII)


def trunk_settings(values: Any) -> Settings:
    """A trunk's settings, from what a recipe says of it.

    Raises:
        Within: the complaint, to be told with its place.
    """
    if isinstance(values, Settings):
        return values
    if not isinstance(values, Mapping):
        raise Within(f": found {values!r}; expected a model, such as {{kind: c3d}}.")
    try:
        model = kind_class("model", values.get("kind"), "")
        settings: Settings = parse(model.Settings, values, "")
    except RecipeError as problem:
        raise Within(str(problem)) from None
    if isinstance(settings, FusionSettings):
        raise Within(", kind: found 'fusion'; a trunk has no trunks of its own. Name them side by side.")
    return settings


class FusionSettings(Settings):
    """What a recipe may say of a fusion model.

    trunks: a model for each stream, by the stream's name, or by any other where `looks` says what it looks at.
    looks: what a trunk looks at, where that is not just the stream of its name.
    window: frames of a window; null is the whole clip, whatever its length.
    width: to which each trunk's features are brought; widths: of single trunks.
    fuse: `concat` puts the streams side by side; `attention` lets them look at each other and weighs them, for which
        they must be of one width.
    temporal: what looks along the windows. hidden: of a `bilstm`, in each direction; attention_window: how many windows
        its attention sees, 1 is none. depth: layers of a `transformer`. heads: of attention, all of them.
    stream_dropout: rate at which a whole stream of a clip is left out in training, never all of them.
    trunk_heads: in training, a classifier on each trunk's features too, as `task/part:TRUNK`; loss.parts weighs them.
    dropout: of what the streams are brought to, and of attention; head_dropout: before the classifiers.
    """

    kind: Literal["fusion"] = "fusion"
    trunks: Annotated[
        dict[str, Annotated[SerializeAsAny[Settings], PlainValidator(trunk_settings)]], Field(min_length=1)
    ]
    looks: dict[str, Look] = Field(default_factory=dict)
    window: Positive | None = 16
    width: Positive = 128
    widths: dict[str, Positive] = Field(default_factory=dict)
    fuse: Literal["concat", "attention"] = "concat"
    temporal: Literal["none", "bilstm", "transformer"] = "none"
    hidden: Positive = 256
    attention_window: Positive = 5
    depth: Positive = 2
    heads: Positive = 4
    stream_dropout: Rate = 0.0
    trunk_heads: bool = False
    dropout: Rate = 0.0
    head_dropout: Rate = 0.0

    def with_layouts(self, layouts: Mapping[str, Layout]) -> FusionSettings:
        """The same settings, with what trunks and looks ask of the layouts of the points filled in.

        Args:
            layouts: parts and bones of each stream of points.
        """
        trunks, looks = dict(self.trunks), dict(self.looks)
        for name, settings in self.trunks.items():
            look = self.looks.get(name, Look())
            layout = layouts.get(look.stream or name)
            if layout is None:
                continue
            if look.drawn is not None and look.bones is None:
                looks[name] = look.model_copy(update={"bones": layout[1]})
            elif look.drawn is None and hasattr(settings, "with_layout"):
                trunks[name] = settings.with_layout(*layout)
        return self.model_copy(update={"trunks": trunks, "looks": looks})


class StreamDropout(nn.Module):
    """In training, whole streams of a clip are not there: {stream: [B, ...]} in, the same with NaN out.

    Args:
        carriers: streams of which one at least stays in every clip that has one.
    """

    def __init__(self, rate: float, carriers: list[str]) -> None:
        super().__init__()
        self.rate = rate
        self.carriers = carriers

    def forward(self, streams: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self.training or self.rate == 0:
            return streams
        like = next(iter(streams.values()))
        left_SB = torch.rand(len(streams), len(like), device=like.device) < self.rate
        left = dict(zip(streams, left_SB, strict=True))
        stays_SB = torch.stack([seen(streams[name]).any(1) & ~left[name] for name in self.carriers])
        some_B = stays_SB.any(0)
        return {
            name: x.masked_fill((left[name] & some_B).view(-1, *[1] * (x.ndim - 1)), torch.nan)
            for name, x in streams.items()
        }


class Fusion(nn.Module):
    """The network: {stream: [B, T, ...], NaN = not there} -> {task: logits [B, classes]}.

    A clip may have another number of frames than the model was built for. While it trains, the answers at every window
    stand beside the tasks, as `task/windows` [B, W, classes], NaN where there is no window; and those of the trunks
    where the settings ask for them.

    Args:
        inputs: the shape of one clip of each stream.
        classes: number of classes of each task.
    Raises:
        ModelError: settings that contradict each other or the inputs.
    """

    Settings: ClassVar[type[FusionSettings]] = FusionSettings

    def __init__(
        self, settings: FusionSettings, inputs: Mapping[str, tuple[int, ...]], classes: Mapping[str, int]
    ) -> None:
        super().__init__()
        require_sense(settings)
        self.settings = settings
        self.names = list(settings.trunks)
        self.looks: dict[str, Looking] = {}
        self.trunks = nn.ModuleDict()
        self.bring = nn.ModuleDict()
        self.absence = nn.ParameterDict()
        widths = [settings.widths.get(name, settings.width) for name in self.names]
        for (name, trunk), width in zip(settings.trunks.items(), widths, strict=True):
            look = Looking(name, settings.looks.get(name, Look()), inputs, settings.window)
            self.looks[name] = look
            self.trunks[name] = headless(name, trunk, {look.form: look.shape}, classes)
            self.bring[name] = nn.Sequential(
                nn.Linear(self.trunk(name).feature_width, width), nn.LayerNorm(width), nn.GELU()
            )
            self.absence[name] = nn.Parameter(0.1 * torch.randn(width))
        idle = [name for name in inputs if name not in self.streams]
        if idle:
            raise ModelError(
                f"model.trunks: found the streams {', '.join(inputs)}; no trunk looks at {', '.join(idle)}. Give each "
                "a trunk, or leave it out of clip.streams."
            )
        self.leave_out = StreamDropout(settings.stream_dropout, [look.stream for look in self.looks.values()])
        self.dropout = Dropout(settings.dropout)
        self.over = (
            OverStreams(widths[0], settings.heads, settings.dropout) if settings.fuse == "attention" else None
        )
        together = widths[0] if self.over is not None else sum(widths)
        self.along = along(settings, together)
        self.feature_width = together if self.along is None else self.along.width
        self.heads = TaskHeads(self.feature_width, classes, settings.head_dropout)
        self.trunk_heads = nn.ModuleDict(
            {name: TaskHeads(width, classes) for name, width in zip(self.names, widths, strict=True)}
            if settings.trunk_heads
            else {}
        )

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        x_BWD, weight_BW, parts = self.watch(streams)
        answers: dict[str, Tensor] = self.heads(pooled(x_BWD, weight_BW))
        if not self.training:
            return answers
        inner: dict[str, Tensor] = {}
        if self.settings.window is not None:
            for task, logits_BWC in self.heads(x_BWD).items():
                inner[f"{task}/windows"] = logits_BWC.masked_fill(weight_BW[..., None] == 0, torch.nan)
        for name, heads in self.trunk_heads.items():
            for task, logits in heads(pooled(*parts[name])).items():
                inner[f"{task}/part:{name}"] = logits
        return answers | inner

    def features(self, streams: Mapping[str, Tensor]) -> Tensor:
        """What the classifiers read: the mean of the windows that are there, [B, feature_width]."""
        x_BWD, weight_BW, _ = self.watch(streams)
        return pooled(x_BWD, weight_BW)

    def watch(self, streams: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """What is said at every window [B, W, D], what each weighs in the answer [B, W], and both of every trunk."""
        streams = self.leave_out({name: streams[name] for name in self.streams})
        window = self.settings.window or next(iter(streams.values())).shape[1]
        seen_BT = torch.stack([seen(streams[look.stream]) for look in self.looks.values()]).any(0)
        weight_BW = weights(cut(seen_BT, window), self.absence[self.names[0]])
        there_BW = weight_BW > 0
        parts: dict[str, tuple[Tensor, Tensor]] = {}
        seen_SN = []
        for name, look in self.looks.items():
            x_NLX, seen_BWL = look(streams, window)
            seen_BW = seen_BWL.any(-1)
            seen_SN.append(seen_BW.flatten())
            x_NP = self.through(name, look.form, x_NLX, seen_SN[-1])
            parts[name] = x_NP.unflatten(0, seen_BW.shape), weights(seen_BWL, x_NP)
        shown_BWSP = [self.dropout(x_BWP) for x_BWP, _ in parts.values()]
        if self.over is None:
            x_BWD = torch.cat(shown_BWSP, -1)
        else:
            x_ND = self.over(torch.stack(shown_BWSP, 2).flatten(0, 1), torch.stack(seen_SN, 1))
            x_BWD = x_ND.unflatten(0, there_BW.shape)
        return (x_BWD if self.along is None else self.along(x_BWD, there_BW)), weight_BW, parts

    def through(self, name: str, form: str, x_NLX: Tensor, seen_N: Tensor) -> Tensor:
        """What a trunk says of windows, [N, P], and the vector that stands for it where it has nothing to look at."""
        absence_NP = self.absence[name].expand(len(x_NLX), -1)
        if x_NLX.device.type == "meta" or torch.compiler.is_compiling():
            brought_NP = self.bring[name](self.trunk(name).features({form: x_NLX}))
            return torch.where(seen_N[:, None], brought_NP, absence_NP.to(brought_NP.dtype))
        # windows that are not there cost nothing, and batch norm does not count them
        rows = seen_N.nonzero()[:, 0] if bool(seen_N.any()) else seen_N.new_zeros(1, dtype=torch.int64)
        brought_NP = self.bring[name](self.trunk(name).features({form: x_NLX[rows]}))
        brought_NP = torch.where(seen_N[rows, None], brought_NP, absence_NP[rows].to(brought_NP.dtype))
        return absence_NP.to(brought_NP.dtype).index_copy(0, rows, brought_NP)

    @property
    def streams(self) -> list[str]:
        """What the trunks look at."""
        return list(dict.fromkeys(name for look in self.looks.values() for name in look.streams))

    def trunk(self, name: str) -> Any:
        """One of the trunks, a model without its classifiers."""
        return self.trunks[name]

    @cached_property
    def tops(self) -> dict[str, int]:
        """The depth of each trunk's last layer."""
        return {
            trunk: max(
                int(self.trunk(trunk).layer_of(own)) for own, _ in self.trunk(trunk).named_parameters()
            )
            for trunk in self.names
        }

    def layer_of(self, name: str) -> int:
        """The depth of a parameter: the last layers of all trunks are equally deep, all that is new comes after."""
        tops = self.tops
        top = max(tops.values())
        part, _, rest = name.partition(".")
        if part != "trunks":
            return top + 1
        trunk, _, own = rest.partition(".")
        return top - tops[trunk] + int(self.trunk(trunk).layer_of(own))

    def undecayed(self) -> set[str]:
        """Parameters that weight decay must leave alone, beside those with one axis."""
        known = {name for name, _ in self.named_parameters()}
        spared = {f"trunks.{trunk}.{name}" for trunk in self.names for name in self.trunk(trunk).undecayed()}
        return spared & known

    def from_published(self, state: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
        """A publisher's weights for every trunk that knows them.

        Raises:
            ModelError: no trunk does.
        """
        found: dict[str, Tensor] = {}
        refused: list[str] = []
        for trunk in self.names:
            model = self.trunk(trunk)
            if not hasattr(model, "from_published"):
                continue
            try:
                weights = model.from_published(state, place)
            except ModelError as problem:
                refused.append(str(problem))
                continue
            found |= {f"trunks.{trunk}.{name}": weight for name, weight in weights.items()}
        if not found:
            raise ModelError(
                refused[0] if refused else f"{place}: no trunk of the model starts from such weights."
            )
        return found


def headless(
    name: str, settings: Settings, inputs: Mapping[str, tuple[int, ...]], classes: Mapping[str, int]
) -> nn.Module:
    """A model of the catalogue without what it would answer with."""
    try:
        model: nn.Module = kind_class("model", getattr(settings, "kind", ""), "model")(
            settings, inputs, classes
        )
    except ModelError as problem:
        raise ModelError(f"trunk {name}: {problem}") from None
    del model.heads
    left = [key for key, module in model.named_modules() if isinstance(module, TaskHeads)]
    if left:
        raise ModelError(
            f"model.trunks.{name}: found classifiers of its own ({left[0]}), which nothing would train; leave "
            "auxiliary and part_heads out, and set model.trunk_heads where every trunk should learn to answer."
        )
    return model


def along(settings: FusionSettings, width: int) -> BothWays | WindowTransformer | None:
    """What looks along the windows."""
    if settings.temporal == "bilstm":
        return BothWays(width, settings.hidden, settings.heads, settings.attention_window, settings.dropout)
    if settings.temporal == "transformer":
        return WindowTransformer(width, settings.depth, settings.heads, settings.dropout)
    return None


def weights(seen_BWL: Tensor, like: Tensor) -> Tensor:
    """What each window weighs: its share of the frames that are there, [B, W]. Of a clip of nothing, the first."""
    count_BW = seen_BWL.sum(-1)
    first_W = torch.arange(count_BW.shape[1], device=count_BW.device) == 0
    count_BW = torch.where(count_BW.any(1, keepdim=True), count_BW, first_W.to(count_BW))
    return count_BW.to(like.dtype) / count_BW.sum(1, keepdim=True).to(like.dtype)


def pooled(x_BWD: Tensor, weight_BW: Tensor) -> Tensor:
    """The windows' weighed mean: [B, D]."""
    return (x_BWD * weight_BW[..., None]).sum(1)


def require_sense(settings: FusionSettings) -> None:
    """Raise ModelError where settings contradict each other."""
    require_reach(settings.attention_window)
    for name in settings.trunks:
        if not NAME.fullmatch(name) or hasattr(nn.ModuleDict, name):
            raise ModelError(
                f"model.trunks: found the name {name!r}; expected a word, such as points or series:left."
            )
    for key, named in (("looks", settings.looks), ("widths", settings.widths)):
        for name in named:
            if name not in settings.trunks:
                raise ModelError(
                    f"model.{key}: found {name!r}; expected trunks: {', '.join(settings.trunks)}."
                    f"{did_you_mean(name, settings.trunks)}"
                )
    widths = {settings.widths.get(name, settings.width) for name in settings.trunks}
    if settings.fuse == "attention" and len(widths) > 1:
        raise ModelError(
            f"model.widths: found {sorted(widths)} with fuse: attention; expected one width of all. Leave it out."
        )
