"""The base of all typed settings: strict, frozen, and told in one line when wrong.

Settings say what a user may write in a recipe. An unknown key is an error that names the nearest
known one; numbers are finite; nothing is coerced silently ("0.1" is not a number, True is not 1).
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mudra.errors import RecipeError, did_you_mean

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # a dropout rate: 1 would drop everything
Above0 = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[float, Field(ge=0)]


class Settings(BaseModel):
    """Typed settings of one part of mudra, read from one section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


class Within(ValueError):
    """A complaint about settings within settings: what follows their own place, as `parse` with place "" tells it."""


def parse(kind: type[S], values: Mapping[str, Any], place: str) -> S:
    """Build `kind` from what a user wrote.

    Args:
        place: where the values come from, to begin the error with ("recipe my.yaml, model").
    Raises:
        RecipeError: on the first thing that is wrong, in one line.
    """
    try:  # as JSON, because strict JSON lets a list be a tuple and a word a path, and nothing else
        return kind.model_validate_json(json.dumps(values, default=str))
    except ValidationError as problem:
        raise RecipeError(explain(problem, kind, place)) from None


def explain(problem: ValidationError, kind: type[BaseModel], place: str) -> str:
    """One line for the first of pydantic's complaints: place, found, expected, next step."""
    first = problem.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    key = key if key.isprintable() else ascii(key)
    where = f"{place}, {key}" if key else place
    if first["type"] == "extra_forbidden":
        known = _fields_at(kind, first["loc"][:-1])
        hint = did_you_mean(str(first["loc"][-1]), known)
        return f"{where}: unknown key.{hint} Known here: {', '.join(sorted(known))}."
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, Within):
        return f"{where}{inner}"
    if first["type"] == "missing":
        return f"{where}: this key is required and was not given."
    return f"{where}: found {first['input']!r}; {first['msg'][0].lower()}{first['msg'][1:]}."


def _fields_at(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The known keys of the section that `path` leads to, as far as the types tell."""
    here: Any = kind
    for part in path:
        field = (
            here.model_fields.get(str(part))
            if isinstance(here, type) and issubclass(here, BaseModel)
            else None
        )
        if field is None:
            return []
        here = _model_in(field.annotation)
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    """The settings class inside an annotation such as `Augment | None`."""
    if isinstance(annotation, type):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return None
