"""Several runs' predictions of the same clips, brought into one order by the clips' ids, never by their rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mudra.errors import DataError
from mudra.predictions.scores import PredictionTable, hash_classes
from mudra.types import UNLABELLED


def aligned(tables: Mapping[str, PredictionTable]) -> dict[str, PredictionTable]:
    """The tables with their rows sorted by clip id: row by row the same clip in all.

    Args:
        tables: by the name that an error calls them by; two or more.
    Raises:
        DataError: the clips, the tasks, the classes, the truth or the groups of one are not those of the first.
    """
    by_id = in_one_order(tables)
    first, *others = by_id.items()
    for other in others:
        require_same_classes(first, other)
        require_same_truth(first, other)
    return by_id


def in_one_order(tables: Mapping[str, PredictionTable]) -> dict[str, PredictionTable]:
    """The tables with their rows sorted by clip id, whatever their tasks are.

    Raises:
        DataError: the clips of one are not those of the first.
    """
    by_id = {
        name: table.take(sorted(range(len(table)), key=table.clips.__getitem__))
        for name, table in tables.items()
    }
    first, *others = by_id.items()
    for other in others:
        require_same_clips(first, other)
    return by_id


Named = tuple[str, PredictionTable]


def require_same_clips(first: Named, other: Named) -> None:
    """Raise DataError where two tables, sorted by clip, are not about the same clips."""
    (name, table), (other_name, other_table) = first, other
    if table.clips == other_table.clips:
        return
    only, other_only = set(table.clips) - set(other_table.clips), set(other_table.clips) - set(table.clips)
    told = [
        f"{len(clips):,} clip{'s' * (len(clips) > 1)} of {owner} {'are' if len(clips) > 1 else 'is'} not in "
        f"{lacking}, such as {min(clips)!r}"
        for clips, owner, lacking in ((only, name, other_name), (other_only, other_name, name))
        if clips
    ]
    raise DataError(f"{'; '.join(told)}. Judge both on the same clips with `mudra evaluate --data`.")


def require_same_classes(first: Named, other: Named) -> None:
    """Raise DataError where two tables have not the same tasks with the same classes in the same order."""
    (name, table), (other_name, other_table) = first, other
    for task in dict.fromkeys([*table.tasks, *other_table.tasks]):
        if task not in table.tasks or task not in other_table.tasks:
            has, lacks = (name, other_name) if task in table.tasks else (other_name, name)
            raise DataError(f"task {task!r}: {has} has it and {lacks} has not; expected the same tasks.")
        ours, theirs = table.tasks[task].classes, other_table.tasks[task].classes
        if hash_classes(ours) != hash_classes(theirs):
            place = next(
                (at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
                min(len(ours), len(theirs)),
            )
            one, two = (repr(names[place]) if place < len(names) else "nothing" for names in (ours, theirs))
            raise DataError(
                f"task {task!r}: {name} has {len(ours)} classes and {other_name} {len(theirs)}; class {place + 1} is "
                f"{one} and {two}. Expected the same classes in the same order."
            )


def require_same_truth(first: Named, other: Named) -> None:
    """Raise DataError where two tables of the same clips and classes call a clip by different classes."""
    (name, table), (other_name, other_table) = first, other
    for task, scores in table.tasks.items():
        theirs = other_table.tasks[task].truth
        for row in np.flatnonzero(scores.truth != theirs).tolist():
            one, two = (
                "unlabelled" if number == UNLABELLED else repr(scores.classes[number])
                for number in (scores.truth[row], theirs[row])
            )
            raise DataError(
                f"clip {table.clips[row]!r}: its true {task} is {one} in {name} and {two} in {other_name}; expected "
                "the same labels."
            )
    for clip, ours, other_group in zip(table.clips, table.groups, other_table.groups, strict=True):
        if ours != other_group:
            raise DataError(
                f"clip {clip!r}: its group is {ours!r} in {name} and {other_group!r} in {other_name}; expected the "
                "same groups."
            )
