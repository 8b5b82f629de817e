"""What a study says: which recipe, which of its settings are tried, and what ranks them.

A study is YAML, read as a recipe is. Settings are named as on the command line of `mudra train`: `optim.lr`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from mudra import recipe as recipes
from mudra.errors import RecipeError
from mudra.recipe import Recipe
from mudra.settings import Count, Positive, Settings, parse

Values = Annotated[tuple[JsonValue, ...], Field(min_length=1)]
Number = int | float
FIGURES = {"top1": "maximize", "top5": "maximize", "macro_f1": "maximize", "mean_class_accuracy": "maximize",
           "loss": "minimize", "ece": "minimize"}  # fmt: skip
GRID_LIMIT = 10_000  # trials; a product of a few lists is soon more than anybody trains


class Range(Settings):
    """Numbers from `low` to `high`, both included: whole ones where both are. `log` spreads them evenly over the
    magnitudes; `step` takes only every so-many-th."""

    low: Number
    high: Number
    log: bool = False
    step: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low above 0 and takes no step")
        if self.whole and isinstance(self.step, float):
            raise ValueError("between whole numbers the step is a whole number")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class Choices(Settings):
    """One of several values."""

    choices: Annotated[tuple[JsonValue, ...], Field(min_length=2)]


class MedianPruner(Settings):
    """Ends a trial whose best epoch so far is worse than the median of the others at the same epoch.

    startup_trials: trials that must have ended before any is pruned. warmup_epochs: epochs that every trial has.
    """

    kind: Literal["median"] = "median"
    startup_trials: Count = 4
    warmup_epochs: Count = 5


class HyperbandPruner(Settings):
    """Ends all but the best of 1 in `reduction` at `min_epochs`, at `reduction` times as many, and so on, in brackets
    that differ in how early they begin (Li et al. 2018, arXiv:1603.06560)."""

    kind: Literal["hyperband"] = "hyperband"
    min_epochs: Positive = 1
    reduction: Annotated[int, Field(ge=2)] = 3


class Study(Settings):
    """A study. Exactly one of `configurations`, `grid` and `space` says what is tried.

    recipe: its name in the catalogue, or a YAML file. overrides: changes that all trials share.
    configurations: one set of settings a trial. grid: a list of values for each setting; all combinations are tried.
    space: a range or choices for each setting, of which the sampler draws `budget` trials.
    sampler: `tpe` learns from the trials that ended (Bergstra et al. 2011); `random` does not, and so draws the same
        trials however many workers there are. seed: of the sampler.
    rank: the validation figure that ranks: `top1` (mean over the tasks), `loss`, or a task's, such as `verb/top1` or
        `action/top1`. There is no way to rank by the test split.
    pruner: ends trials early by that figure after each epoch (by `top1` where epochs do not have it).
    """

    recipe: str
    overrides: dict[str, JsonValue] = Field(default_factory=dict)
    configurations: tuple[dict[str, JsonValue], ...] = ()
    grid: dict[str, Values] = Field(default_factory=dict)
    space: dict[str, Range | Choices] = Field(default_factory=dict)
    budget: Positive | None = None
    sampler: Literal["tpe", "random"] = "tpe"
    seed: Count = 0
    rank: str = "top1"
    pruner: Annotated[MedianPruner | HyperbandPruner, Field(discriminator="kind")] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        said = [name for name in ("configurations", "grid", "space") if getattr(self, name)]
        if len(said) != 1:
            raise ValueError(
                f"expected one of configurations, grid and space, found {', '.join(said) or 'none'}"
            )
        if bool(self.space) != (self.budget is not None):
            raise ValueError("a space needs a budget of trials, and nothing else takes one")
        task, slash, figure = self.rank.rpartition("/")
        if figure not in FIGURES or (slash and not task) or (not slash and figure not in ("top1", "loss")):
            raise ValueError(
                f"rank {self.rank!r} is neither top1 nor loss, nor TASK/ with one of {', '.join(FIGURES)}"
            )
        return self

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Whether the larger or the smaller figure is better."""
        return "minimize" if FIGURES[self.rank.rpartition("/")[2]] == "minimize" else "maximize"


@dataclass(frozen=True)
class Plan:
    """A study with its name: what each of its trials trains. Trials are counted from 1."""

    name: str
    study: Study
    place: str

    @property
    def fixed(self) -> Sequence[Mapping[str, Any]]:
        """The settings of each trial in turn; none where a sampler draws them."""
        if self.study.grid:
            names = list(self.study.grid)
            return [
                dict(zip(names, row, strict=True)) for row in itertools.product(*self.study.grid.values())
            ]
        return self.study.configurations

    @property
    def trials(self) -> int:
        """How many there are."""
        return self.study.budget or len(self.fixed)

    @property
    def columns(self) -> list[str]:
        """The settings that differ between trials, in the order in which the study names them."""
        rows = [self.study.space] if self.study.space else self.fixed
        return list(dict.fromkeys(name for row in rows for name in row))

    def recipe(self, settings: Mapping[str, Any]) -> Recipe:
        """The recipe with the study's changes and a trial's settings.

        Raises:
            RecipeError: a setting has no place in the recipe, or a value none in the setting.
        """
        changes = {**self.study.overrides, **settings}
        return recipes.load(
            self.study.recipe, [f"{name}={json.dumps(value)}" for name, value in changes.items()]
        )

    def check(self) -> None:
        """Read every trial's recipe before the first is trained: each corner of a space, too.

        Raises:
            RecipeError: in one line, with the trial that is wrong.
        """
        seen: dict[str, int] = {}
        for number, settings in enumerate(self.fixed, 1):
            where = f"{self.place}, trial {number}"
            recipe = self._told(where, settings)
            text = json.dumps(recipe.tree(), sort_keys=True)
            if text in seen:
                raise RecipeError(
                    f"{where}: it is trial {seen[text]} again. Let each differ from the others."
                )
            seen[text] = number
        for settings in _corners(self.study.space):
            self._told(f"{self.place}, space", settings)

    def _told(self, where: str, settings: Mapping[str, Any]) -> Recipe:
        try:
            recipe = self.recipe(settings)
        except RecipeError as problem:
            raise RecipeError(f"{where}: {problem}") from None
        if recipe.data.folds is not None and recipe.data.folds.test is None:
            raise RecipeError(
                f"{where}: data.folds tests every clip; a study ranks on validation. Set data.folds.test, or leave "
                "the folds out."
            )
        if recipe.stages and self.study.pruner:
            raise RecipeError(
                f"{where}: a pruner compares epochs, and this recipe has stages that begin again. Leave one out."
            )
        return recipe

    def tree(self) -> dict[str, Any]:
        """The study as plain values: enough to see whether it is another one."""
        return self.study.model_dump(mode="json")

    def said(self) -> dict[str, Any]:
        """The same without what it leaves out."""
        return {name: value for name, value in self.tree().items() if value not in (None, [], {})}


def load(name: str | Path) -> Plan:
    """Read a study by its name among those that come with mudra, or by its file; its trials are looked at, too.

    Raises:
        RecipeError: not found, not YAML, an unknown key, a bad value, or a trial that no recipe can be.
    """
    place, text = recipes.find(name, "studies", "study")
    study = parse(Study, recipes.read_yaml(text, place), place)
    size = 1
    for values in study.grid.values():
        size *= len(values)
    if size > GRID_LIMIT:
        raise RecipeError(
            f"{place}, grid: {size:,} trials; expected at most {GRID_LIMIT:,}. Name a space and a budget."
        )
    plan = Plan(Path(name).stem, study, place)
    plan.check()
    return plan


def catalogue() -> list[str]:
    """Names of the studies that come with mudra."""
    return recipes.shelf("studies")


def _corners(space: Mapping[str, Range | Choices]) -> Iterator[dict[str, Any]]:
    """Settings that touch every end of every range and every choice, one setting at a time."""
    first = {name: part.low if isinstance(part, Range) else part.choices[0] for name, part in space.items()}
    if first:
        yield first
    for name, part in space.items():
        for value in [part.high] if isinstance(part, Range) else part.choices[1:]:
            yield {**first, name: value}
