"""Telling clips apart into parts without a leak: pure, seeded functions on names and class numbers.

A unit is what must stay together: a person, a signer, a recording, or a clip of its own. A unit's
part depends on the names, labels and seed alone, never on the order of the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Orders of the units that are tried when there are few of them, so that the best may be kept.
_LOOKS, _MOST_TRIES = 4_000, 16


def assign(units: Sequence[str], labels: Sequence[Ints], shares: Sequence[float], seed: int) -> Ints:
    """A part for every clip, whole units at a time, each class spread as the shares ask.

    Units of one clip each are dealt out class by class and meet the shares to within a clip; larger
    units are placed greedily, the big ones first, where they bring the class counts nearest to what
    each part should have.

    Args:
        units: the name of each clip's unit [N].
        labels: class numbers [N] of each task; a number below 0 is no class.
        shares: what each part should have; scaled to sum to 1.
    Returns:
        int64 [N], the part of each clip. Every part with a share gets a unit where there are enough.
    Raises:
        ValueError: fewer units than parts, or shares that are not positive.

    >>> assign(["ann", "ann", "bob", "eve"], [np.array([0, 1, 0, 1])], (0.5, 0.5), seed=0).tolist()
    [0, 0, 1, 1]
    """
    wanted = np.asarray(shares, np.float64)
    if not len(units) or not np.isfinite(wanted).all() or (wanted < 0).any() or wanted.sum() <= 0:
        raise ValueError(f"cannot tell {len(units)} clips apart by shares {list(shares)}")
    parts = np.flatnonzero(wanted > 0)
    wanted = wanted[parts] / wanted.sum()
    names, unit_of = np.unique(np.asarray(units, dtype=object), return_inverse=True)
    if len(names) < len(parts):
        raise ValueError(f"{len(names)} units cannot fill {len(parts)} parts")
    order = _shuffled(names, seed)
    if len(names) == len(units):
        part_of_unit = _deal(order, [numbers[np.argsort(unit_of)] for numbers in labels], wanted)
    else:
        counts = _class_counts(unit_of, labels, len(names))
        tries = max(1, min(_MOST_TRIES, _LOOKS // len(names)))
        attempts = [
            _place(_shuffled(names, seed, look // 2), counts, wanted, relative=look % 2 == 0)
            for look in range(tries)
        ]
        part_of_unit = min(attempts, key=lambda attempt: _imbalance(attempt, counts, wanted))
    return parts[part_of_unit][unit_of]


def k_fold(units: Sequence[str], labels: Sequence[Ints], folds: int, seed: int) -> Ints:
    """The fold of each clip, 0 to folds - 1: whole units, of about equal size and class balance."""
    if folds < 2:
        raise ValueError(f"{folds} folds; expected 2 or more")
    return assign(units, labels, [1.0] * folds, seed)


def leave_one_out(units: Sequence[str]) -> tuple[Ints, list[str]]:
    """One fold a unit: the fold of each clip, and the units in the order of their folds.

    >>> leave_one_out(["eve", "ann", "eve"])
    (array([1, 0, 1]), ['ann', 'eve'])
    """
    names, fold = np.unique(np.asarray(units, dtype=object), return_inverse=True)
    return fold.astype(np.int64), names.tolist()


def _shuffled(names: NDArray[np.object_], seed: int, look: int = 0) -> Ints:
    """An order of the units that each name and the seed decide, whichever others there are."""
    keys = [hashlib.sha256(f"{seed} {look} {name}".encode(errors="surrogatepass")).digest() for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), np.int64)


def _deal(order: Ints, labels: Sequence[Ints], shares: NDArray[np.float64]) -> Ints:
    """Parts of units of one clip each: through the classes in turn, always to the part most behind.

    Where the shares differ, the largest part gets the first clip of each class of the first task, so
    that a rare class is learnt rather than only asked for.
    """
    keys = np.stack(labels) if labels else np.zeros((1, len(order)), np.int64)
    order = order[np.lexsort(keys[::-1, order])]
    largest = int(shares.argmax())
    favour = shares.max() > shares.min()
    part = np.empty(len(order), np.int64)
    owed = [0.0] * len(shares)
    grow = shares.tolist()
    before = None
    for unit, key in zip(order.tolist(), keys[0, order].tolist(), strict=True):
        owed = [debt + share for debt, share in zip(owed, grow, strict=True)]
        chosen = largest if favour and key != before else owed.index(max(owed))
        owed[chosen] -= 1
        part[unit] = chosen
        before = key
    return _fill_empty(part, order, len(shares))


def _class_counts(unit_of: Ints, labels: Sequence[Ints], units: int) -> NDArray[np.float64]:
    """Clips of each unit, in all (first column) and by class of every task: [units, 1 + classes]."""
    columns = [np.bincount(unit_of, minlength=units)[:, None]]
    for numbers in labels:
        known = numbers >= 0
        classes = int(numbers.max(initial=-1)) + 1
        table = np.zeros((units, classes), np.int64)
        np.add.at(table, (unit_of[known], numbers[known]), 1)
        columns.append(table[:, table.any(axis=0)])
    return np.concatenate(columns, axis=1).astype(np.float64)


def _place(order: Ints, counts: NDArray[np.float64], shares: NDArray[np.float64], relative: bool) -> Ints:
    """Greedy: units from big to small (those of like size in `order`), each where it mends most.

    Args:
        relative: count what is missing in a part against the part's size; neither way is always better.
    """
    size = np.floor(np.log2(counts[order, 0]) * 2)
    order = order[np.argsort(-size, kind="stable")]
    total = counts.sum(axis=0)
    target = shares[:, None] * total
    weight = _weights(counts) / total
    have = np.zeros_like(target)
    part = np.empty(len(order), np.int64)
    for unit in order:
        adds = counts[unit]
        # what the squared distance from the target changes by
        change = (adds * (2 * (have - target) + adds) * weight).sum(axis=1)
        chosen = int((change / shares if relative else change).argmin())
        have[chosen] += adds
        part[unit] = chosen
    return _fill_empty(part, order, len(shares))


def _weights(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The number of clips counts as much as all the classes together."""
    classes = counts.shape[1] - 1
    return np.concatenate([[1.0], np.full(classes, 1.0 / max(classes, 1))])


def _imbalance(part: Ints, counts: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """How far the parts are from their shares of each class, 0 at best."""
    have = np.stack([counts[part == number].sum(axis=0) for number in range(len(shares))])
    off = have / counts.sum(axis=0) - shares[:, None]
    return float((off**2 * _weights(counts) / shares[:, None]).sum())


def _fill_empty(part: Ints, order: Ints, parts: int) -> Ints:
    """Give each part that went without a unit the last one placed in the part with the most units."""
    for empty in np.setdiff1d(np.arange(parts), part):
        most = np.bincount(part, minlength=parts).argmax()
        part[order[part[order] == most][-1]] = empty
    return part
