"""The typed recipe: which data, what is looked at, which model, how it is trained.

A recipe is YAML 1.2 (`no` stays a word, duplicate keys are errors). Its sections are read one by
one into typed settings; a section with a `kind` is looked up in one plain table, and its class is
imported only then. A recipe can name a kind, never code.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from mudra.errors import RecipeError, did_you_mean
from mudra.settings import Settings, parse

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # a dropout rate: 1 would drop everything
Above0 = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[float, Field(ge=0)]

DEPTH_LIMIT = 32  # of lists and sections within each other; recipes need four

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Holdout(Settings):
    """Validation clips carved out of train on purpose, whole groups at a time."""

    by: Literal["group", "clip"] = "group"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1


class DataSettings(Settings):
    """What every kind of data set has. A kind adds its own keys and `read(folder)`.

    tasks: which tasks are trained; None is all that the data has.
    """

    kind: str
    tasks: tuple[str, ...] | None = None
    holdout: Holdout | None = None

    def class_counts(self) -> dict[str, int]:
        """Classes by task where the kind fixes them; {} where only the files tell."""
        return {}

    def point_layouts(self) -> dict[str, str]:
        """Layout of each stream of points where the kind fixes it; {} where only the files tell."""
        return {}


class PointSettings(Settings):
    """How the points of a clip are prepared.

    dims: coordinates that the model takes: 3, or the first 2 of what the data has.
    short: a clip with fewer frames than `clip.frames` is interpolated to so many (`stretch`), or keeps its frames
        and is followed by empty ones (`pad`), which no model counts. A longer one is averaged down in either case.
    centre: what is put at 0: the body's centre over the whole `clip`, in each `frame`, or nothing (`none`).
    scale: `clip` divides by the body's unit of length over the clip; the layout says which.
    """

    dims: Literal[2, 3] = 3
    short: Literal["stretch", "pad"] = "stretch"
    centre: Literal["clip", "frame", "none"] = "clip"
    scale: Literal["clip", "none"] = "clip"


class ClipSettings(Settings):
    """What is looked at: which moments of a clip, at which size.

    sampling: `even` spreads the frames over the whole clip (after keeping every `stride`-th),
        `strided` takes a window of neighbours `stride` apart, `segments` takes one moment of each
        equal part of the clip (a random one in training), `paced` takes the last `frames` moments at `fps` a
        second: what a stream of that rate has seen when the clip ends.
    fps: looks a second, for `paced` alone.
    resize: `stretch` ignores the aspect ratio; `crop` brings the shorter side to `size` x
        `shorter_side` and looks at the centre.
    """

    streams: tuple[str, ...] = ("video",)
    frames: Positive = 16
    sampling: Literal["even", "strided", "segments", "paced"] = "even"
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    stride: Positive = 1
    size: Annotated[int, Field(ge=8, le=4096)] = 224
    resize: Literal["stretch", "crop"] = "crop"
    shorter_side: Annotated[float, Field(ge=1, le=4)] = 1.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Above0, Above0, Above0] = IMAGENET_STD
    points: PointSettings = PointSettings()


class PointAugment(Settings):
    """How the points of a training clip are altered; drawn once per clip. Lengths are in body units.

    crop: the share of the clip's duration that is kept, at least. speed: largest relative quickening, which leaves
        the clip shorter. warp: largest relative change of the speed along the clip, below 1.
    scale: largest relative change of size. stretch: of each axis by itself.
    turn, tilt: largest angle in degrees about the vertical axis and about the one that runs across, for points of
        three coordinates. `rotate` of the section turns points in the picture as well, and `flip` mirrors them.
    noise: deviation of what moves every point in every frame. drift: of what moves a point slowly.
    drop_points, drop_parts, drop_frames: share of points, of the layout's parts and of frames that are not seen.
    """

    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    speed: AtLeast0 = 0.0
    warp: Rate = 0.0
    scale: Rate = 0.0
    stretch: Rate = 0.0
    turn: Annotated[float, Field(ge=0, le=180)] = 0.0
    tilt: Annotated[float, Field(ge=0, le=180)] = 0.0
    noise: AtLeast0 = 0.0
    drift: AtLeast0 = 0.0
    drop_points: Rate = 0.0
    drop_parts: Rate = 0.0
    drop_frames: Rate = 0.0


class AugmentSettings(Settings):
    """How training clips are altered; drawn once per clip, the same for all its frames.

    crop: the share of the picture's area that a random resized crop keeps, from..to; None is off.
    flip: probability of a horizontal flip. Classes of the data's `mirror` table are swapped with it;
        without that table clips are not flipped unless `flip_is_harmless` says that no class has a side.
    brightness, contrast, saturation: largest relative change. hue: largest turn, in turns (0.5 is all).
    preceded: share of the clips whose first third shows the end of another clip, as in a recording that goes on:
        for models that stream, whose past is whatever came before.
    rotate: largest angle in degrees. shift_time: the sampled moments may start anywhere they fit.
    """

    crop: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] | None = None
    crop_ratio: tuple[Above0, Above0] = (3 / 4, 4 / 3)
    flip: Share = 0.0
    flip_is_harmless: bool = False
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    grey: Share = 0.0
    erase: Share = 0.0
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift_time: bool = True
    mixup: AtLeast0 = 0.0
    cutmix: AtLeast0 = 0.0
    mix_share: Share = 1.0
    preceded: Share = 0.0
    points: PointAugment = PointAugment()

    @property
    def mixes(self) -> bool:
        """Whether clips take something of each other."""
        return self.mixup > 0 or self.cutmix > 0 or self.preceded > 0


class LossSettings(Settings):
    """Cross-entropy, with what makes it gentler or fairer.

    class_weights: `balanced` weighs a class by the inverse of its share of train.
    task_weights: weight of each task in the sum; a task not named weighs 1.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    task_weights: dict[str, AtLeast0] = Field(default_factory=dict)


class OptimSettings(Settings):
    """AdamW. Norms, biases, positions and tokens are never decayed.

    layer_decay: rate of a layer as a multiple of the rate of the layer above it; the classifiers have the full one.
        Below 1, a pretrained network's first layers change least.
    rates: factors of the rate by a part of the parameters' names, such as {temporal: 10, heads: 10}.
    """

    lr: Above0 = 1e-3
    weight_decay: AtLeast0 = 0.05
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    rates: dict[str, Above0] = Field(default_factory=dict)
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    eps: Above0 = 1e-8


class ConstantSchedule(Settings):
    """The same rate throughout, after a linear warm-up."""

    kind: Literal["constant"] = "constant"
    warmup_epochs: AtLeast0 = 0.0


class CosineSchedule(Settings):
    """Linear warm-up, then half a cosine down to `final` x the peak rate."""

    kind: Literal["cosine"] = "cosine"
    warmup_epochs: AtLeast0 = 0.0
    final: Share = 0.0


class OneCycleSchedule(Settings):
    """Half a cosine up from `start` x the peak rate over the share `rise` of the training, half a cosine down to
    `final` x the peak."""

    kind: Literal["one_cycle"] = "one_cycle"
    warmup_epochs: ClassVar[float] = 0.0
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3
    start: Annotated[float, Field(gt=0, le=1)] = 0.04
    final: Share = 0.0


class PlateauSchedule(Settings):
    """The rate times `factor` when the validation loss has not fallen for `patience` epochs."""

    kind: Literal["plateau"] = "plateau"
    warmup_epochs: AtLeast0 = 0.0
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Count = 5
    min_lr: AtLeast0 = 0.0


Schedule = ConstantSchedule | CosineSchedule | OneCycleSchedule | PlateauSchedule


class TrainSettings(Settings):
    """The loop.

    batch: clips that the model sees at a time, over all processes; an optimiser step sees `accumulate`
        times as many. So neither the number of processes nor accumulating changes what is learnt.
    precision: `fp32`, or autocast to `bf16` / `fp16` (with a gradient scaler). `auto` is bf16 where the
        processor multiplies it by itself, else fp32; a run keeps what it began with.
    matmul: how float32 products are computed, as torch.set_float32_matmul_precision takes it. `medium` helps
        processors that multiply bfloat16 by themselves and doubles the time of those that do not.
    early_stop: epochs without a lower validation loss before the end; None trains them all.
    choose: which weights are the result: those of the epoch that was `best` on validation, or the `last`, which is
        wiser where validation is a handful of clips.
    ema: decay of an exponential moving average of the weights, which is then what is evaluated.
    sampling: `balanced` draws every class equally often.
    save_every: optimiser steps between checkpoints; None saves at the end of each epoch.
    workers: loader processes; 0 reads in the training process. The samples do not depend on it.
    read_limit: seconds that a loader process may take for one clip before it is given up.
    decode_failures: the share of training clips that may be undecodable before training stops.
    keep: how many of the latest checkpoints stay, besides the best.
    init_from: whose weights the training starts from: a run, a bundle, or published weights in transformers'
        form, as a folder or a name on the Hugging Face hub. `--init-from` says another.
    """

    epochs: Positive = 50
    batch: Positive = 16
    accumulate: Positive = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    matmul: Literal["highest", "high", "medium"] = "highest"
    compile: bool = False
    clip_norm: Above0 | None = None
    early_stop: Positive | None = None
    choose: Literal["best", "last"] = "best"
    ema: Rate | None = None
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    seed: Count = 0
    workers: Count = 2
    save_every: Positive | None = None
    log_every: Positive = 10
    read_limit: Above0 = 20.0
    decode_failures: Share = 0.01
    keep: Positive = 2
    device: Literal["auto", "cpu", "cuda"] = "auto"
    init_from: Annotated[str, Field(min_length=1)] | None = None


# The one table from a recipe's `kind` to its class. A class is imported only when its kind is named.
KINDS: Mapping[str, Mapping[str, str]] = {
    "data": {
        "folder": "mudra.datasets.folder:Folder",
        "hmdb51": "mudra.datasets.hmdb51:HMDB51",
        "jester": "mudra.datasets.jester:Jester",
        "natops": "mudra.datasets.natops:Natops",
        "puppets": "mudra.datasets.puppets:Puppets",
        "ucf101": "mudra.datasets.ucf101:UCF101",
        "utd_mhad": "mudra.datasets.utd_mhad:UtdMhad",
    },
    "model": {
        "keypoint_transformer": "mudra.models.keypoint_transformer:KeypointTransformer",
        "timesformer": "mudra.models.timesformer:TimeSformer",
    },
    "schedule": {
        "constant": "mudra.recipe:ConstantSchedule",
        "cosine": "mudra.recipe:CosineSchedule",
        "one_cycle": "mudra.recipe:OneCycleSchedule",
        "plateau": "mudra.recipe:PlateauSchedule",
    },
}


def kind_class(section: str, kind: Any, place: str) -> Any:
    """The class that a section's `kind` names.

    Raises:
        RecipeError: no such kind in the table.
    """
    table = KINDS[section]
    if not isinstance(kind, str) or kind not in table:
        hint = did_you_mean(str(kind), table)
        raise RecipeError(f"{place}, kind: found {kind!r}; expected one of {', '.join(table)}.{hint}")
    module, name = table[kind].split(":")
    return getattr(importlib.import_module(module), name)


SECTIONS: Mapping[str, type[Settings] | None] = {  # None: the section's `kind` says which
    "data": None,
    "clip": ClipSettings,
    "augment": AugmentSettings,
    "model": None,
    "loss": LossSettings,
    "optim": OptimSettings,
    "schedule": None,
    "train": TrainSettings,
}
DEFAULT_KINDS = {"data": "folder", "schedule": "constant"}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training, each section typed. Built by `load`.

    Attributes:
        stages: what each of several trainings changes; every one starts from the weights of the one before.
    """

    name: str
    data: DataSettings
    clip: ClipSettings
    augment: AugmentSettings
    model: Settings
    loss: LossSettings
    optim: OptimSettings
    schedule: Schedule
    train: TrainSettings
    stages: tuple[Mapping[str, Any], ...] = ()
    about: Mapping[str, str] = field(default_factory=dict, compare=False)

    def tree(self) -> dict[str, Any]:
        """The recipe as plain values, every default written out: enough to repeat it."""
        tree = {section: getattr(self, section).model_dump(mode="json") for section in SECTIONS}
        return tree | ({"stages": [dict(stage) for stage in self.stages]} if self.stages else {})

    def stage_recipes(self) -> list[Recipe]:
        """The recipe of each stage: this one with the stage's changes, and without stages of its own."""
        base = replace(self, stages=()).tree()
        later = _over(base, {"train": {"init_from": None}})  # they start from the stage before
        place = f"recipe {self.name}, stages"
        return [
            resolve(
                _over(later if number else base, stage),
                f"{place}[{number}]",
                name=self.name,
                about=self.about,
            )
            for number, stage in enumerate(self.stages)
        ]

    def with_data(self, kind: str) -> Recipe:
        """The same recipe on a data set of another kind; the held-out share stays as the recipe has it."""
        if self.data.kind == kind:
            return self
        kept = {"kind": kind, "holdout": self.tree()["data"]["holdout"]}
        return replace(self, data=parse(kind_class("data", kind, "data"), kept, "data"))


def load(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe by its name in the catalogue or by its file, with `section.key=value` changes.

    Raises:
        RecipeError: not found, not YAML, an unknown key or a bad value, in one line.
    """
    place, text = _find(name)
    tree = _with_bases(read_yaml(text, place), place, seen=(str(name),))
    for change in overrides:
        _override(tree, change)
    return resolve(tree, place, name=Path(name).stem, about=header(text))


def resolve(
    tree: Mapping[str, Any], place: str, *, name: str = "", about: Mapping[str, str] | None = None
) -> Recipe:
    """Turn plain values into a recipe; `place` begins every error."""
    for key in tree:
        if key not in SECTIONS and key != "stages":
            raise RecipeError(
                f"{place}: unknown section {key!r}.{did_you_mean(key, SECTIONS)} Sections: {', '.join(SECTIONS)}."
            )
    sections: dict[str, Any] = {}
    for section, settings in SECTIONS.items():
        values = dict(_section(tree, section, place))
        where = f"{place}, {section}"
        if settings is None:
            kind = values.setdefault("kind", DEFAULT_KINDS.get(section))
            settings = _settings_of(kind_class(section, kind, where))
        sections[section] = parse(settings, values, where)
    recipe = Recipe(name=name, about=about or {}, stages=_stages(tree, place), **sections)
    _refuse_contradictions(recipe, place)
    recipe.stage_recipes()  # what is wrong in a later stage is told before the first begins
    return recipe


def catalogue() -> list[str]:
    """Names of the recipes that come with mudra."""
    return sorted(Path(str(entry)).stem for entry in _shelf().iterdir() if entry.name.endswith(".yaml"))


def header(text: str) -> dict[str, str]:
    """What the comments at the top of a recipe state: its title, Run, Source, Reported, Ours.

    >>> header("# Jester, from scratch.\\n# Run: mudra train x\\ndata: {}")
    {'Title': 'Jester, from scratch.', 'Run': 'mudra train x'}
    """
    stated: dict[str, str] = {}
    key = "Title"
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        found = re.match(r"#\s{0,3}(\w+):\s+(.*)", line)
        if found:
            key = found[1]
            stated[key] = found[2].strip()
        else:
            stated[key] = f"{stated.get(key, '')} {line.lstrip('# ').strip()}".strip()
    return stated


def read_yaml(text: str, place: str) -> dict[str, Any]:
    """YAML 1.2 of plain values: no tags, no aliases, no duplicate keys.

    Raises:
        RecipeError: with the line where reading stopped.
    """
    try:
        _refuse_what_expands(text, place)
        tree = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as problem:
        raise RecipeError(f"{place}: not YAML: {' '.join(str(problem).split())[:300]}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise RecipeError(
            f"{place}: expected sections such as `model:` at the top, found {type(tree).__name__}."
        )
    if not _plain(tree):
        raise RecipeError(
            f"{place}: a key is no text, or a number is beyond 64 bits; recipes are plain values."
        )
    return tree


def _refuse_what_expands(text: str, place: str) -> None:
    """Look at what YAML's parser sees before anything is made of it: a few lines of aliases fill the memory."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(StringIO(text)):
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise RecipeError(
                f"{place}, line {line}: found a YAML tag, anchor or alias; recipes are plain values. Write it out."
            )
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEPTH_LIMIT:
            raise RecipeError(
                f"{place}, line {line}: lists or sections within each other, more than {DEPTH_LIMIT} deep."
            )


def _plain(value: Any) -> bool:
    """Whether a value is what JSON could say, with numbers that a machine holds."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(below) for key, below in value.items())
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def write_yaml(tree: Mapping[str, Any]) -> str:
    """Plain values as YAML, sections in their order."""
    out = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(dict(tree), out)
    return out.getvalue()


def _shelf() -> Any:
    return files("mudra") / "recipes"


def _find(name: str | Path) -> tuple[str, str]:
    """Place and text of a recipe: a file if it looks like one, else the catalogue."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        try:
            if path.exists() and not path.is_file():  # a pipe would keep us waiting
                raise ValueError("not an ordinary file")
            return f"recipe {path}", path.read_text("utf-8")
        except (OSError, ValueError) as problem:
            raise RecipeError(
                f"recipe {path}: cannot be read ({problem}). Give a YAML file that exists."
            ) from None
    known = catalogue()
    if str(name) not in known:
        raise RecipeError(
            f"recipe {str(name)!r}: there is none of this name.{did_you_mean(str(name), known)} "
            "`mudra recipes` lists them; a file of your own ends in .yaml."
        )
    return f"recipe {name}", (_shelf() / f"{name}.yaml").read_text("utf-8")


def _with_bases(tree: dict[str, Any], place: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """Lay a recipe over the one that it `extends`."""
    base_name = tree.pop("extends", None)
    if base_name is None:
        return tree
    if not isinstance(base_name, str) or not base_name.isprintable() or base_name in seen:
        raise RecipeError(
            f"{place}, extends: found {base_name!r}; expected another recipe's name, without a circle."
        )
    try:
        base_place, text = _find(base_name)
    except RecipeError as problem:
        raise RecipeError(f"{place}, extends: {problem}") from None
    return _over(_with_bases(read_yaml(text, base_place), base_place, (*seen, base_name)), tree)


def _over(base: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree laid over another, key by key within each section."""
    whole = dict(base)
    for section, values in tree.items():
        below = base.get(section)
        if isinstance(below, Mapping) and isinstance(values, Mapping) and _same_kind(below, values):
            whole[section] = {**below, **values}
        else:  # another kind has other keys: nothing of the base's applies
            whole[section] = values
    return whole


def _stages(tree: Mapping[str, Any], place: str) -> tuple[Mapping[str, Any], ...]:
    stages = tree.get("stages") or []
    if not isinstance(stages, list) or not all(isinstance(stage, Mapping) for stage in stages):
        raise RecipeError(f"{place}, stages: expected a list of changes such as `- optim: {{lr: 1.0e-4}}`.")
    for stage in stages:
        if "stages" in stage:
            raise RecipeError(
                f"{place}, stages: a stage has no stages of its own. Write them one after the other."
            )
    return tuple(stages)


def _same_kind(below: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return "kind" not in values or values["kind"] == below.get("kind")


def _override(tree: dict[str, Any], change: str) -> None:
    """Apply one `section.key=value`; the value is read as YAML. A new `kind` empties its section."""
    path, equals, text = change.partition("=")
    *parents, key = path.split(".")
    if not equals or not parents or not key:
        raise RecipeError(f"override {change!r}: expected section.key=value, for example optim.lr=3e-4.")
    here = tree
    for part in parents:
        here = here.setdefault(part, {})
        if not isinstance(here, dict):
            raise RecipeError(f"override {change!r}: {part!r} holds a value, not keys.")
    value = read_yaml(f"value: {text}", f"override {change!r}").get("value")
    if key == "kind" and here.get("kind") != value:
        here.clear()
    here[key] = value


def _section(tree: Mapping[str, Any], section: str, place: str) -> Mapping[str, Any]:
    values = tree.get(section)
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise RecipeError(f"{place}, {section}: expected keys and values, found {values!r}.")
    return values


def _settings_of(found: Any) -> type[Settings]:
    """The settings class of a kind: the class itself, or what a model names as its `Settings`."""
    settings: type[Settings] = getattr(found, "Settings", found)
    return settings


def _refuse_contradictions(recipe: Recipe, place: str) -> None:
    """Settings that are fine alone and senseless together."""
    crop = recipe.augment.crop
    if crop is not None and crop[0] > crop[1]:
        raise RecipeError(f"{place}, augment.crop: found {list(crop)}; expected the smaller share first.")
    if (recipe.clip.sampling == "paced") != (recipe.clip.fps is not None):
        raise RecipeError(
            f"{place}, clip.fps: found {recipe.clip.fps} with sampling: {recipe.clip.sampling}; `paced` needs a rate, "
            "and nothing else takes one."
        )
    if recipe.schedule.warmup_epochs > recipe.train.epochs:
        raise RecipeError(
            f"{place}, schedule.warmup_epochs: found {recipe.schedule.warmup_epochs}, more than the "
            f"{recipe.train.epochs} epochs of the training. Shorten the warm-up or train longer."
        )
