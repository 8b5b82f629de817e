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
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from mudra.errors import RecipeError, did_you_mean
from mudra.sections import (
    AugmentSettings,
    ClipSettings,
    DataSettings,
    LossSettings,
    OptimSettings,
    Schedule,
    TrainSettings,
)
from mudra.settings import Settings, parse

DEPTH_LIMIT = 32  # of lists and sections within each other; recipes need four

# The one table from a recipe's `kind` to its class. A class is imported only when its kind is named.
KINDS: Mapping[str, Mapping[str, str]] = {
    "data": {
        "asl16": "mudra.datasets.asl16:Asl16",
        "epic100": "mudra.datasets.epic100:Epic100",
        "folder": "mudra.datasets.folder:Folder",
        "hmdb51": "mudra.datasets.hmdb51:HMDB51",
        "jester": "mudra.datasets.jester:Jester",
        "montalbano": "mudra.datasets.montalbano:Montalbano",
        "natops": "mudra.datasets.natops:Natops",
        "puppets": "mudra.datasets.puppets:Puppets",
        "slovo": "mudra.datasets.slovo:Slovo",
        "ucf101": "mudra.datasets.ucf101:UCF101",
        "utd_mhad": "mudra.datasets.utd_mhad:UtdMhad",
    },
    "model": {
        "keypoint_transformer": "mudra.models.keypoint_transformer:KeypointTransformer",
        "timesformer": "mudra.models.timesformer:TimeSformer",
    },
    "schedule": {
        "constant": "mudra.sections:ConstantSchedule",
        "cosine": "mudra.sections:CosineSchedule",
        "cosine_restarts": "mudra.sections:CosineRestartsSchedule",
        "cyclic": "mudra.sections:CyclicSchedule",
        "one_cycle": "mudra.sections:OneCycleSchedule",
        "plateau": "mudra.sections:PlateauSchedule",
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
        """The same recipe on a data set of another kind; what is held out stays as the recipe has it."""
        if self.data.kind == kind:
            return self
        kept = {"kind": kind} | {key: self.tree()["data"][key] for key in ("holdout", "folds")}
        return replace(self, data=parse(kind_class("data", kind, "data"), kept, "data"))


def load(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe by its name in the catalogue or by its file, with `section.key=value` changes.

    Raises:
        RecipeError: not found, not YAML, an unknown key or a bad value, in one line.
    """
    place, text = find(name)
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
    return shelf()


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


def shelf(folder: str = "recipes") -> list[str]:
    """Names of the YAML files that come with mudra."""
    place = files("mudra") / folder
    return sorted(Path(str(entry)).stem for entry in place.iterdir() if entry.name.endswith(".yaml"))


def find(name: str | Path, folder: str = "recipes", what: str = "recipe") -> tuple[str, str]:
    """Place and text of a recipe or another YAML file: a file if it looks like one, else one that comes with mudra.

    Raises:
        RecipeError: there is none of this name, or it cannot be read.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        try:
            if path.exists() and not path.is_file():  # a pipe would keep us waiting
                raise ValueError("not an ordinary file")
            return f"{what} {path}", path.read_text("utf-8")
        except (OSError, ValueError) as problem:
            raise RecipeError(
                f"{what} {path}: cannot be read ({problem}). Give a YAML file that exists."
            ) from None
    known = shelf(folder)
    if str(name) not in known:
        listed = "`mudra recipes` lists them" if what == "recipe" else f"There are {', '.join(known)}"
        raise RecipeError(
            f"{what} {str(name)!r}: there is none of this name.{did_you_mean(str(name), known)} "
            f"{listed}; a file of your own ends in .yaml."
        )
    return f"{what} {name}", (files("mudra") / folder / f"{name}.yaml").read_text("utf-8")


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
        base_place, text = find(base_name)
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
    loss = recipe.loss
    if loss.similar and not loss.margin:
        raise RecipeError(
            f"{place}, loss.similar: found {len(loss.similar)} pairs and a margin of 0, which asks nothing of them. "
            "Set loss.margin (1.0, say), or leave the pairs out."
        )
    if loss.distil and not loss.auxiliary:
        raise RecipeError(
            f"{place}, loss.distil: found {loss.distil:g} and no loss.auxiliary; the auxiliary heads are who learns. "
            "Give each of them a weight (0 is one), and the model such heads."
        )
