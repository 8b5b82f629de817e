"""The clips of a data set as columns: cheap at 100,000 rows, cheap to fork, handed out one by one.

Nothing here opens a clip. A column is one Arrow or NumPy buffer, so that loader processes share it
instead of copying it page by page as they would a list of Python objects.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mudra.clips import columns, splits
from mudra.clips.columns import NO_SPLIT, Place
from mudra.errors import DataError, did_you_mean
from mudra.types import SPLITS, SUBSET, UNLABELLED, Clip, StreamInfo

if TYPE_CHECKING:
    from mudra.sections import Holdout

SHARES = (0.70, 0.15, 0.15)
"""Train, val and test where a data set brings no split of its own."""


@dataclass(frozen=True)
class Rows:
    """What the files of a data set say of its clips: columns of text, "" where a cell is empty.

    Attributes:
        files: path relative to the data set's folder, by stream.
        labels: class name, by task.
        splits, groups, starts, stops, rates: None where the data set has no such column.
        place: says where a row was written, to begin an error with.
    """

    ids: Sequence[str]
    files: Mapping[str, Sequence[str]]
    labels: Mapping[str, Sequence[str]]
    place: Place
    splits: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    starts: Sequence[str] | None = None
    stops: Sequence[str] | None = None
    rates: Sequence[str] | None = None
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Manifest:
    """The clips of a data set, or some of them, with what is known of all.

    Attributes:
        root: the folder that `files` are relative to.
        ids, groups: text, one a clip; a group is "" where unknown.
        splits: the place in `SPLITS`, or -1 where none was given; int8 [N].
        labels: class number by task, `UNLABELLED` where unknown; int64 [N].
        files: path below root as bytes, by stream; empty where a clip lacks the stream.
        starts, stops: seconds, NaN for the file's own ends; float64 [N].
        rates: frames per second of a clip's own video, NaN where its stream's holds; float64 [N].
        tasks: class names by task, in the order of their numbers.
        mirror: by task, what each class is called in a mirror; a task is absent where nobody said.
        notes: what the user should be told.
        follow_links: whether a path may be a link that leads out of root.
    """

    name: str
    root: Path
    ids: Any
    splits: NDArray[np.int8]
    groups: Any
    labels: Mapping[str, NDArray[np.int64]]
    files: Mapping[str, Any]
    starts: NDArray[np.float64]
    stops: NDArray[np.float64]
    rates: NDArray[np.float64]
    metadata: Mapping[str, Any]
    tasks: Mapping[str, tuple[str, ...]]
    streams: Mapping[str, StreamInfo]
    mirror: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    follow_links: bool = False

    def __len__(self) -> int:
        return len(self.splits)

    def __getitem__(self, index: int) -> Clip:
        """One clip.

        Raises:
            IndexError: no such clip.
            DataError: a stream is a link that leads out of the data set's folder.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        index = int(index) % len(self)
        return Clip(
            id=self.ids[index].as_py(),
            split=_split_name(self.splits[index]),
            group=self.groups[index].as_py(),
            labels={
                task: self.tasks[task][numbers[index]]
                for task, numbers in self.labels.items()
                if numbers[index] != UNLABELLED
            },
            streams={stream: path for stream in self.files if (path := self.path(stream, index)) is not None},
            start=_seconds(self.starts[index]),
            stop=_seconds(self.stops[index]),
            fps=_seconds(self.rates[index]),
            metadata={name: column[index].as_py() for name, column in self.metadata.items()},
        )

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.root)

    def path(self, stream: str, index: int) -> Path | None:
        """The file or frame folder of one stream of a clip; None where the clip lacks the stream.

        Raises:
            DataError: it is a link that leads out of the data set's folder.
        """
        name = os.fsdecode(self.files[stream][index].as_py())
        if not name:
            return None
        path = self.root / name
        if not self.follow_links and _has_link(str(self.root), name):
            real = os.path.realpath(path)
            if not real.startswith(os.path.join(self._real_root, "")):
                raise DataError(
                    f"{self.root}, clip {self.ids[index].as_py()!r}: {name!r} is a link that leads out of "
                    f"the folder, to {real!r}; copy the file into it, or set data.follow_links=true if you "
                    "trust it."
                )
        return path

    def rate(self, stream: str, index: int) -> float | None:
        """As `Clip.rate`, without asking where the clip's files lie."""
        return Clip("", fps=_seconds(self.rates[index])).rate(self.streams[stream])

    # Parts and numbers

    @property
    def subsets(self) -> dict[str, NDArray[np.bool_]]:
        """Which clips stand in each subset that is reported apart: bool [N] by `NAME` or `NAME:TASK`."""
        return {
            key.removeprefix(SUBSET): np.array([said == "yes" for said in column.to_pylist()], bool)
            for key, column in self.metadata.items()
            if key.startswith(SUBSET)
        }

    def reading_order(self) -> NDArray[np.intp]:
        """Every clip once: segments of one file one after the other by time, else in the order of the rows.

        A long video is then decoded once, not from a key frame on for each of its segments (see `sources.shelf`).
        """
        column = next(iter(self.files.values()), None)
        files = range(len(self)) if column is None else column.to_pylist()
        first: dict[object, int] = {}
        file_of_N = np.array([first.setdefault(file, len(first)) for file in files], np.int64)
        return np.lexsort((np.nan_to_num(self.starts), file_of_N))

    def select(self, indices: ArrayLike) -> Manifest:
        """The clips at `indices`, in that order; class numbers stay what they are."""
        at = np.asarray(indices, np.int64).reshape(-1)
        return replace(
            self,
            ids=self.ids.take(at),
            splits=self.splits[at],
            groups=self.groups.take(at),
            labels={task: numbers[at] for task, numbers in self.labels.items()},
            files={stream: column.take(at) for stream, column in self.files.items()},
            starts=self.starts[at],
            stops=self.stops[at],
            rates=self.rates[at],
            metadata={name: column.take(at) for name, column in self.metadata.items()},
        )

    def split(self, name: str) -> Manifest:
        """The clips of one split, possibly none."""
        if name not in SPLITS:
            hint = did_you_mean(name, SPLITS)
            raise DataError(f"{self.name}: no split {name!r}; expected one of {', '.join(SPLITS)}.{hint}")
        return self.select(np.flatnonzero(self.splits == SPLITS.index(name)))

    def split_names(self) -> list[str]:
        """The split of each clip, "" where none was given."""
        return [_split_name(code) for code in self.splits.tolist()]

    @property
    def has_splits(self) -> bool:
        """Whether the clips were told apart into train, val and test."""
        return bool((self.splits != NO_SPLIT).any())

    def classes(self, task: str) -> tuple[str, ...]:
        """The class names of a task, in the order of their numbers."""
        if task not in self.tasks:
            known = ", ".join(self.tasks)
            hint = did_you_mean(task, self.tasks)
            raise DataError(f"{self.name}: no task {task!r}; it has {known}.{hint}")
        return self.tasks[task]

    def class_index(self, task: str, name: str) -> int:
        """The number of a class."""
        classes = self.classes(task)
        if name not in classes:
            hint = did_you_mean(name, classes)
            raise DataError(f"{self.name}: {task} {name!r} is not one of the {len(classes)} classes.{hint}")
        return classes.index(name)

    def targets(self, task: str) -> NDArray[np.int64]:
        """The class number of each clip, `UNLABELLED` where unknown: int64 [N]."""
        self.classes(task)
        return self.labels[task]

    def with_tasks(self, names: Sequence[str]) -> Manifest:
        """Only these tasks, in this order."""
        tasks = {name: self.classes(name) for name in names}
        return replace(
            self,
            tasks=tasks,
            labels={name: self.labels[name] for name in tasks},
            mirror={name: self.mirror[name] for name in tasks if name in self.mirror},
        )

    @cached_property
    def split_hash(self) -> str:
        """SHA-256 over the sorted pairs of clip id and split: equal where the split is equal."""
        pairs = sorted(zip(self.ids.to_pylist(), self.split_names(), strict=True))
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()

    # Making splits

    def units(self, by: str) -> list[str]:
        """The name of what must stay together: a clip's group, or the clip itself where it has none."""
        ids = [f"clip {name}" for name in self.ids.to_pylist()]
        if by == "clip":
            return ids
        return [
            f"group {group}" if group else own
            for group, own in zip(self.groups.to_pylist(), ids, strict=True)
        ]

    def with_split_codes(self, codes: NDArray[np.int8], note: str = "") -> Manifest:
        """The same clips, told apart anew."""
        return replace(self, splits=codes, notes=(*self.notes, note) if note else self.notes)

    def with_splits(self, seed: int = 0, shares: Sequence[float] = SHARES, by: str = "group") -> Manifest:
        """The manifest itself where it has splits; else with train, val and test made by group.

        Raises:
            DataError: fewer groups than splits.
        """
        return self if self.has_splits else self.resplit(seed, shares, by)

    def resplit(self, seed: int = 0, shares: Sequence[float] = SHARES, by: str = "group") -> Manifest:
        """Train, val and test of the given shares, whatever split was there before."""
        for task, numbers in self.labels.items():
            if (numbers == UNLABELLED).any():
                clip = self.ids[int(np.argmax(numbers == UNLABELLED))].as_py()
                raise DataError(
                    f"{self.name}: clip {clip!r} has no {task}, so it could not stand in train; leave "
                    "unlabelled clips out before making a split."
                )
        units = self.units(by)
        self._enough_units(units, sum(share > 0 for share in shares), by)
        codes = splits.assign(units, list(self.labels.values()), shares, seed).astype(np.int8)
        counts = " / ".join(str(int((codes == split).sum())) for split in range(len(SPLITS)))
        why = "split anew" if self.has_splits else "no split was given, so one was made"
        note = f"{self.name}: {why}: train / val / test of {counts} clips, {self._how(by)}, seed {seed}."
        return self.with_split_codes(codes, note)

    def holdout(self, settings: Holdout, seed: int = 0) -> Manifest:
        """Validation clips carved out of train, whole groups at a time; nothing where there is a val.

        Raises:
            DataError: train holds a single group, so that none can be spared.
        """
        if (self.splits == SPLITS.index("val")).any():
            note = f"{self.name}: it has validation clips of its own, so none were carved out of train."
            return replace(self, notes=(*self.notes, note))
        rows = np.flatnonzero(self.splits == SPLITS.index("train"))
        train = self.select(rows)
        units = train.units(settings.by)
        self._enough_units(units, 2, settings.by)
        part = splits.assign(units, list(train.labels.values()), (1 - settings.share, settings.share), seed)
        codes = self.splits.copy()
        codes[rows[part == 1]] = SPLITS.index("val")
        note = (
            f"{self.name}: {int((part == 1).sum())} of {len(rows)} training clips were held out for "
            f"validation, {train._how(settings.by)}, seed {seed}."
        )
        return self.with_split_codes(codes, note)

    def _how(self, by: str) -> str:
        named = len({group for group in self.groups.to_pylist() if group})
        return f"by group ({named} groups)" if by == "group" and named else "by clip"

    def _enough_units(self, units: Sequence[str], wanted: int, by: str) -> None:
        there = len(set(units))
        if there < wanted:
            raise DataError(
                f"{self.name}: {there} {by}{'' if there == 1 else 's'} cannot fill {wanted} splits; "
                f"give the splits in manifest.csv, or leave `group` empty to split by clip."
            )


def build(
    rows: Rows,
    *,
    name: str,
    root: Path,
    streams: Mapping[str, StreamInfo],
    classes: Mapping[str, Sequence[str] | None],
    mirror: Mapping[str, Mapping[str, str]] | None = None,
    notes: Sequence[str] = (),
    follow_links: bool = False,
) -> Manifest:
    """Check the columns of a data set against each other and make its manifest.

    Args:
        classes: the class names of each task; None takes those seen in train.
        mirror: by task, one direction of each pair is enough; see `complete_mirror`.
    Raises:
        DataError: on the first thing that is wrong, with its row.
    """
    count, place = len(rows.ids), rows.place
    if not count:
        raise DataError(f"{root}: no clip; expected at least one.")
    empty = [""] * count
    codes = columns.split_codes(rows.splits or empty, place)
    ids = columns.unique_ids(rows.ids, codes, place)
    starts = columns.seconds(rows.starts or empty, "start", place)
    stops = columns.seconds(rows.stops or empty, "stop", place)
    columns.check_order(starts, stops, place)
    rates = columns.rates(rows.rates or empty, place)
    files = {stream: columns.inner_files(paths, stream, place) for stream, paths in rows.files.items()}
    columns.check_any_stream(files, place)
    groups = columns.texts(rows.groups or empty, "the group", place)
    columns.check_groups(groups, codes, place)
    columns.check_windows(files, codes, starts, stops, place)
    tasks = {
        task: columns.classes_seen(rows.labels[task], codes, task, place)
        if declared is None
        else tuple(declared)
        for task, declared in classes.items()
    }
    labels = {
        task: columns.class_numbers(rows.labels[task], names, codes, task, place)
        for task, names in tasks.items()
    }
    return Manifest(
        name=name,
        root=root,
        ids=ids,
        splits=codes,
        groups=groups,
        labels=labels,
        files=files,
        starts=starts,
        stops=stops,
        rates=rates,
        metadata={
            key: columns.subset(values, key, classes, place)
            if key.startswith(SUBSET)
            else columns.texts(values, key, place)
            for key, values in rows.metadata.items()
        },
        tasks=tasks,
        streams=dict(streams),
        mirror=complete_mirror(mirror or {}, tasks, str(root)),
        notes=tuple(notes),
        follow_links=follow_links,
    )


def complete_mirror(
    mirror: Mapping[str, Mapping[str, str]], tasks: Mapping[str, Sequence[str]], place: str
) -> dict[str, dict[str, str]]:
    """Both directions of every pair, and each class that is not named mapped to itself.

    Raises:
        DataError: an unknown task or class, or a class with two mirror images.

    >>> complete_mirror({"label": {"left": "right"}}, {"label": ["left", "right", "up"]}, "x")
    {'label': {'left': 'right', 'right': 'left', 'up': 'up'}}
    """
    complete: dict[str, dict[str, str]] = {}
    for task, table in mirror.items():
        if task not in tasks:
            known = ", ".join(tasks)
            raise DataError(f"{place}, mirror: no task {task!r}; it has {known}.{did_you_mean(task, tasks)}")
        pairs: dict[str, str] = {}
        for one, other in [*table.items(), *((other, one) for one, other in table.items())]:
            if one not in tasks[task]:
                hint = did_you_mean(one, tasks[task])
                raise DataError(f"{place}, mirror.{task}: {one!r} is not one of the classes.{hint}")
            if pairs.setdefault(one, other) != other:
                raise DataError(
                    f"{place}, mirror.{task}: {one!r} has two mirror images, {pairs[one]!r} and {other!r}; "
                    "a class and its image name each other."
                )
        complete[task] = {name: pairs.get(name, name) for name in tasks[task]}
    return complete


def _has_link(root: str, name: str) -> bool:
    """Whether any part of the path below root is a link (a file that is not there is none)."""
    ends = [place for place, letter in enumerate(name) if letter == "/"]
    return any(os.path.islink(f"{root}/{name[:end]}") for end in [*ends, len(name)])


def _split_name(code: int) -> str:
    return SPLITS[code] if code != NO_SPLIT else ""


def _seconds(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
