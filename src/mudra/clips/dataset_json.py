"""`dataset.json`: what a user says of a data set as a whole. Every key is optional.

{"tasks": {"label": ["class a", ...]},
 "streams": {"points": {"layout": "kinect20", "fps": 30}},
 "layouts": {"mine": {"points": ["tip", "palm", "elbow"], "bones": [["tip", "palm"], ["palm", "elbow"]]}},
 "mirror": {"label": {"swipe left": "swipe right"}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from mudra.clips.layouts import LAYOUTS, PointLayout, Row, declare, find_layout, plain
from mudra.errors import DataError, did_you_mean
from mudra.settings import Above0, Positive, Settings, explain
from mudra.types import STREAM_KINDS, Space, StreamInfo, StreamKind

NAME = "dataset.json"
SEVERAL: tuple[StreamKind, ...] = ("points", "series")
"""Kinds a clip may have several of, written `points:left hand`."""


OWNED = {"layout": ("points", "a layout"), "space": ("points", "a space"), "channels": ("series", "channels")}
"""Facts of one kind of stream alone: whose, and what it is called."""


class StreamFacts(Settings):
    """One stream: its point layout, its rate in frames per second where the files hold no times, the channels of a
    series, and whether points lie in the picture (see `StreamInfo`)."""

    layout: str | None = None
    fps: Above0 | None = None
    channels: Positive | None = None
    space: Space | None = None


class LayoutFacts(Settings):
    """A point layout of one's own; a row is given by its name or its number. See `PointLayout`."""

    points: tuple[str, ...]
    bones: tuple[tuple[Row, ...], ...] = ()
    parts: dict[str, tuple[Row, ...]] = Field(default_factory=dict)
    pairs: tuple[tuple[Row, ...], ...] = ()
    origin: tuple[Row, ...] = ()
    unit: tuple[tuple[Row, ...], ...] = ()
    roots: tuple[Row, ...] = ()

    def layout(self, name: str) -> PointLayout:
        """The layout, checked.

        Raises:
            DataError: it contradicts itself, or has the name of a built-in one.
        """
        if name in LAYOUTS:
            raise DataError(
                f"layout {name}: there is a built-in layout of this name; expected another. Rename yours, or use the "
                "built-in one and declare none."
            )
        return declare(name, **{key: getattr(self, key) for key in LayoutFacts.model_fields})


class Description(Settings):
    """The keys of `dataset.json`. A task whose classes are null takes those seen in train."""

    tasks: dict[str, tuple[str, ...] | None] | None = None
    streams: dict[str, StreamFacts] = Field(default_factory=dict)
    layouts: dict[str, LayoutFacts] = Field(default_factory=dict)
    mirror: dict[str, dict[str, str]] = Field(default_factory=dict)

    def stream_info(self, stream: str) -> StreamInfo:
        """What is known of a stream that the data has."""
        kind = stream_kind(stream)
        if kind is None:
            raise ValueError(f"{stream!r} is not the name of a stream")
        facts = self.streams.get(stream, StreamFacts())
        own = self.layouts.get(facts.layout or "")
        declared = plain(own.layout(facts.layout or "")) if own else None
        return StreamInfo(kind, facts.layout, facts.fps, facts.channels, facts.space, declared)


def stream_kind(column: str) -> StreamKind | None:
    """The kind of stream that a column name stands for; None for any other column.

    >>> stream_kind("points:left hand"), stream_kind("video"), stream_kind("note")
    ('points', 'video', None)
    """
    kind, colon, name = column.partition(":")
    for known in STREAM_KINDS:
        if kind == known and (not colon or (name and known in SEVERAL)):
            return known
    return None


def read_description(root: Path) -> Description:
    """Read `root/dataset.json`; an absent file says nothing.

    Raises:
        DataError: not JSON, an unknown key, a value of the wrong type, an unknown stream or layout.
    """
    path = root / NAME
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Description()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({problem}).") from None
    try:
        values = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path}: not valid JSON: {str(problem)[:200]}.") from None
    if not isinstance(values, dict):
        raise DataError(
            f"{path}: found a {type(values).__name__}; expected an object with tasks, streams, layouts, mirror."
        )
    try:
        description = Description.model_validate_json(json.dumps(values))
    except ValidationError as problem:
        raise DataError(f"{explain(problem, Description, str(path))}{_as_text(problem)}") from None
    _check_tasks(description.tasks or {}, path)
    _check_layouts(description.layouts, path)
    _check_streams(description.streams, description.layouts, path)
    return description


def _check_tasks(tasks: Mapping[str, tuple[str, ...] | None], path: Path) -> None:
    for task, classes in tasks.items():
        if not task or stream_kind(task) or task in ("clip", "split", "group", "start", "stop"):
            raise DataError(
                f"{path}, tasks: {task!r} cannot be the name of a task; it is a column of its own."
            )
        if classes is None:
            continue
        if not classes:
            raise DataError(
                f"{path}, tasks.{task}: no class; list them, or write null to take those seen in train."
            )
        if "" in classes:
            raise DataError(f"{path}, tasks.{task}: a class has an empty name; every class needs one.")
        twice = next((name for name in classes if classes.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{path}, tasks.{task}: class {twice!r} is listed twice; list each class once.")


def _check_layouts(layouts: Mapping[str, LayoutFacts], path: Path) -> None:
    for name, facts in layouts.items():
        try:
            facts.layout(name)
        except DataError as problem:
            raise DataError(f"{path}, {problem}") from None


def _check_streams(
    streams: Mapping[str, StreamFacts], layouts: Mapping[str, LayoutFacts], path: Path
) -> None:
    for stream, facts in streams.items():
        kind = stream_kind(stream)
        if kind is None:
            hint = did_you_mean(stream, STREAM_KINDS)
            raise DataError(f"{path}, streams: unknown stream {stream!r}; expected {stream_names()}.{hint}")
        for fact, (owner, told) in OWNED.items():
            if getattr(facts, fact) is not None and kind != owner:
                raise DataError(f"{path}, streams.{stream}: only {owner} have {told}, not {kind}; remove it.")
        if facts.layout is not None and facts.layout not in layouts:
            find_layout(facts.layout, f"{path}, streams.{stream}.layout", list(layouts))


def stream_names() -> str:
    """The names that streams may have, for a message."""
    return f"one of {', '.join(STREAM_KINDS)}, {', '.join(f'{kind}:<name>' for kind in SEVERAL)}"


def _as_text(problem: ValidationError) -> str:
    """The next step where a class was written as a number or a truth value."""
    first = problem.errors(include_url=False)[0]
    if first["type"] != "string_type" or isinstance(first["input"], dict | list):
        return ""
    return f" Names are text: write {json.dumps(str(json.dumps(first['input'])))}."


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")
