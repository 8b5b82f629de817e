"""What the list of clips alone tells: classes, splits, groups and names. No clip is opened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mudra.clips import columns
from mudra.clips.check.findings import Finding
from mudra.clips.manifest import Manifest
from mudra.errors import DataError
from mudra.types import SPLITS, UNLABELLED

FEW = 5  # training clips of a class, below which it is told
UNEVEN = 20  # times the smallest class that the largest may be before it is told
_SIDES = re.compile(r"(?:anti|counter)[-_ ]?clockwise|clockwise|left|right", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left", "clockwise": "anti", "anti": "clockwise"}


def problems(manifest: Manifest) -> Iterator[Finding]:
    """What makes a training or its figures wrong."""
    yield from _crossing(manifest)
    counts = {split: len(manifest.split(split)) for split in SPLITS}
    if counts["val"] and not counts["train"]:
        yield Finding("empty split", "train", "no clip", "give `train` clips, or mend the `split` column")
    for task, names in manifest.tasks.items():
        numbers = manifest.targets(task)
        absent = sorted(set(range(len(names))) - set(numbers.tolist()))
        if absent and not (numbers == UNLABELLED).any():
            yield Finding(
                "empty class",
                f"task {task}",
                f"no clip at all of {_some([names[number] for number in absent])}",
                "add clips, or take the class out of dataset.json",
            )


def warnings(manifest: Manifest) -> Iterator[Finding]:
    """What a user should know before trusting a figure."""
    for task, names in manifest.tasks.items():
        numbers = manifest.targets(task)
        by_split = {
            split: np.bincount(numbers[(manifest.splits == code) & (numbers >= 0)], minlength=len(names))
            for code, split in enumerate(SPLITS)
        }
        yield from _absent(task, names, by_split)
        yield from _uneven(task, names, by_split["train"])
        yield from _unmirrored(manifest, task)
    yield from _groups(manifest)


def _crossing(manifest: Manifest) -> Iterator[Finding]:
    """Ids, groups and windows again: a split may have been altered since the files were read."""
    ids = manifest.ids.to_pylist()

    def place(row: int) -> str:
        return f"clip {ids[row]!r}"

    checks = {
        "duplicate id": lambda: columns.unique_ids(ids, manifest.splits, place),
        "group in two splits": lambda: columns.check_groups(manifest.groups, manifest.splits, place),
        "same moments in two splits": lambda: columns.check_windows(
            manifest.files, manifest.splits, manifest.starts, manifest.stops, place
        ),
    }
    for kind, check in checks.items():
        try:
            check()
        except DataError as problem:
            where, _, found = str(problem).partition(": ")
            yield Finding(kind, where, found, "keep them on one side of the split")


def _absent(task: str, names: Sequence[str], by_split: dict[str, NDArray[np.int64]]) -> Iterator[Finding]:
    train = by_split["train"]
    for split in ("val", "test"):
        here = by_split[split]
        if train.any() and (unseen := np.flatnonzero((here > 0) & (train == 0))).size:
            yield Finding(
                "class never seen in train",
                f"task {task}, {split}",
                f"{int(here[unseen].sum())} clips of {_some(names[number] for number in unseen.tolist())}",
                "they cannot be recognised: add training clips, or read the figures knowing it",
            )
        if here.any() and (missing := np.flatnonzero((here == 0) & (train > 0))).size:
            yield Finding(
                "class not measured",
                f"task {task}, {split}",
                f"no clip of {_some(names[number] for number in missing.tolist())}",
                "the split says nothing of these classes",
            )


def _uneven(task: str, names: Sequence[str], train: NDArray[np.int64]) -> Iterator[Finding]:
    few = np.flatnonzero((train > 0) & (train < FEW))
    if few.size:
        yield Finding(
            "few clips",
            f"task {task}, train",
            f"fewer than {FEW} clips of {_some(f'{names[number]} ({train[number]})' for number in few.tolist())}",
            "record more, or expect little of these classes",
        )
    there = train[train > 0]
    if there.size and there.max() > UNEVEN * there.min():
        most, least = int(train.argmax()), int(np.where(train > 0, train, there.max() + 1).argmin())
        yield Finding(
            "uneven classes",
            f"task {task}, train",
            f"{train[most]:,} clips of {names[most]!r} and {train[least]:,} of {names[least]!r}",
            "consider train.sampling=balanced or loss.class_weights=balanced, and read macro F1",
        )


def _groups(manifest: Manifest) -> Iterator[Finding]:
    groups = manifest.groups.to_pylist()
    if not any(groups):
        yield Finding(
            "no groups",
            "column `group`",
            "nobody says which person or recording a clip is of",
            "where one person stands in two splits the figures flatter: fill `group`, then `mudra data split`",
        )
        return
    named = np.array([bool(group) for group in groups])
    codes = np.unique(np.array(groups, dtype=object)[named], return_inverse=True)[1]
    for task, names in manifest.tasks.items():
        pairs = {
            (group, number)
            for group, number in zip(codes, manifest.targets(task)[named], strict=True)
            if number >= 0
        }
        classes = {number for _, number in pairs}
        if len(pairs) == len({group for group, _ in pairs}) > 1 and len(classes) > 1:
            yield Finding(
                "class follows group",
                f"task {task}",
                f"every group has clips of one of the {len(names)} classes only",
                "a model may learn the group instead of the class: record each class with several groups",
            )


def _unmirrored(manifest: Manifest, task: str) -> Iterator[Finding]:
    table = manifest.mirror.get(task)
    pairs = {
        one: other
        for one, other in sided_pairs(manifest.tasks[task]).items()
        if table is None or table[one] != other
    }
    if pairs:
        mend = json.dumps({"mirror": {task: pairs}}, ensure_ascii=False)
        yield Finding(
            "sides without a mirror",
            f"task {task}",
            f"{_some(f'{one} / {other}' for one, other in pairs.items())} change places in a mirror",
            f"without a table clips are never flipped; to allow it, write {mend} into dataset.json",
        )


def sided_pairs(names: Iterable[str]) -> dict[str, str]:
    """Class names that differ only in their side.

    >>> sided_pairs(["swipe_left", "swipe_right", "stop", "Turn Clockwise", "Turn Counterclockwise"])
    {'swipe_left': 'swipe_right', 'Turn Clockwise': 'Turn Counterclockwise'}
    """
    plain = {_SIDES.sub(lambda found: f"<{_side(found[0])}>", name).casefold(): name for name in names}
    pairs: dict[str, str] = {}
    for key, name in plain.items():
        other = plain.get(re.sub(r"<(\w+)>", lambda found: f"<{_OTHER_SIDE[found[1]]}>", key))
        if other is not None and other != name and pairs.get(other) != name:
            pairs[name] = other
    return pairs


def _side(word: str) -> str:
    lower = word.lower()
    return lower if lower in _OTHER_SIDE else "anti"


def _some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more
