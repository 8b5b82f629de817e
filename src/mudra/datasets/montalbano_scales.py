"""Over which range the numbers of S4's pictures run, seen from the files themselves before they are imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mudra.clips.workers import Crew, Failure, still_working
from mudra.datasets.montalbano_clips import PICTURES, Scale, extents, read_raw, usual_scale
from mudra.errors import DataError
from mudra.progress import Say
from mudra.sources.tfrecord import records

LISTED = 20  # broken files that are told one by one

Range = tuple[float, float]


def find_scales(files: Sequence[Path], ranges: Mapping[str, Range], crew: Crew, say: Say) -> dict[str, Scale]:
    """The range of each kind of picture: what was said, a usual one that the first clips lie in, or what all have."""
    scales = {name: Scale(*ends) for name, ends in ranges.items()}
    first, broken = _widest(crew, "looking at first clips", _first_extents, files)
    if not first:  # where some can be read, the import itself tells of the others
        refuse_broken(broken, len(files), say)
    for name in PICTURES:
        usual = usual_scale(*first[name], name) if first else Scale(0.0, 1.0)
        if name not in scales and usual is not None:
            scales[name] = usual
    if unusual := [name for name in PICTURES if name not in scales]:
        whole, broken = _widest(crew, "looking at all clips", _all_extents, files)
        refuse_broken(broken, len(files), say)
        for name in unusual:
            low, high = whole[name]
            scales[name] = Scale(low, max(high, low + 1.0))
            say(
                f"{name}: numbers run from {low:g} to {high:g}, none of the usual ranges; stretched over that"
            )
    for name, scale in scales.items():
        say(f"{name}: {scale.low:g} becomes 0, {scale.high:g} the largest value")
    return scales


def _widest(
    crew: Crew, what: str, work: Callable[[Path], dict[str, Range]], files: Sequence[Path]
) -> tuple[dict[str, Range], dict[str, str]]:
    """The extremes over all files, by kind of picture, {} where they hold no record; and why files cannot be read."""
    ends: dict[str, Range] = {}
    broken: dict[str, str] = {}
    for number, result in crew.each(what, work, files):
        if isinstance(result, Failure):
            broken[files[number].name] = result.reason
            continue
        for name, (low, high) in result.items():
            before = ends.get(name, (low, high))
            ends[name] = (min(low, before[0]), max(high, before[1]))
    return ends, broken


def _first_extents(path: Path) -> dict[str, Range]:
    return next(_each_extents(path), {})


def _all_extents(path: Path) -> dict[str, Range]:
    ends: dict[str, Range] = {}
    for each in _each_extents(path):
        still_working()
        for name, (low, high) in each.items():
            before = ends.get(name, (low, high))
            ends[name] = (min(low, before[0]), max(high, before[1]))
    return ends


def _each_extents(path: Path) -> Iterator[dict[str, Range]]:
    for number, record in enumerate(records(path)):
        place = f"{path}, record {number}"
        yield extents(read_raw(record, place, labelled=False), place)


def refuse_broken(broken: Mapping[str, str], count: int, say: Say) -> None:
    """Raise where files cannot be read, naming the first of them; the others are said before."""
    if not broken:
        return
    for name in sorted(broken)[1:LISTED]:
        say(broken[name])
    raise DataError(
        f"{len(broken)} of {count} files cannot be imported, the first of them: {broken[min(broken)]} Mend or remove "
        "it and run the same command again, which keeps what is done."
    )
