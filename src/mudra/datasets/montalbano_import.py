"""`mudra data import-tfrecord`: S4's TFRecords become a data set in a folder of its own.

    OUT/import.json          the ranges of the files' numbers; written first
    OUT/clips/FILE/*.npz     its clips: video, depth, mask, points, series; and -pixels.npz, points in the picture
    OUT/clips/FILE.json      what is known of them; written when all of a file is there
    OUT/left-out.csv         records that are no clips of the data set, and why
    OUT/manifest.csv         with dataset.json
    OUT/montalbano.json      how labels count, and what the user should be told; written last

So the folder is a data set once all is done, and whatever stops the work before, the same command goes on with the
files that are not done or have changed. Packed files cannot be read from the middle, which training needs: hence the
import.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.clips import likeness
from mudra.clips.manifest import Manifest, read_manifest, write_manifest
from mudra.clips.table import Rows, build
from mudra.clips.workers import Crew, Failure, still_working
from mudra.datasets.folder_contents import IMPORT_BEGUN, IMPORT_DONE, refuse_unfinished, tfrecord_files
from mudra.datasets.montalbano_clips import FPS, PICTURES, STREAMS, Scale, content_hash, read_raw, streams_of
from mudra.datasets.montalbano_scales import Range, find_scales, refuse_broken
from mudra.datasets.montalbano_sorting import CLASSES, RELEASED, WORDS, Entry, Sorted, count_note, sort_out
from mudra.errors import DataError, StoppedError
from mudra.files import read_json, replace_file, sweep, take_lock, told_as_output_error, write_json
from mudra.progress import Progress, Say
from mudra.sources.limits import DEFAULT_LIMITS
from mudra.sources.npy import arrays
from mudra.sources.tfrecord import records

LEFT_OUT, CLIPS, LOCK = "left-out.csv", "clips", ".lock"
SCHEMA = 1
LIMIT = 600.0  # seconds without a record done, after which a process is given up
SPLITS = {"training": "train", "validation": "val", "test": "test"}


def import_tfrecords(
    folder: Path,
    out: Path,
    *,
    say: Say,
    ranges: Mapping[str, Range] | None = None,
    first_label: int | None = None,
    released: Mapping[str, int] = RELEASED,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write the data set, or go on with that; where it is complete already, read it.

    Args:
        folder: with `{training,validation,test}-NN-of-20`; not all need to be there.
        out: a new folder, or one in which the same import was begun.
        ranges: low and high of `rgb`, `depth` or `segmentation`, where they are none of the usual ones.
        first_label: 0 or 1, how labels count; None sees it from the labels.
        released: clips by split that there should be; a note tells where they are others.
        workers: processes, by default one a core; 0 works in this one, without a time limit.
    Raises:
        DataError: no such files, one is damaged, or a record is not as S4 has it; `out` holds something else.
        OutputError: the clips cannot be written.
        StoppedError: Ctrl-C; the files that are done stay.
    """
    folder, out = Path(folder), Path(out)
    files = tfrecord_files(folder)
    if not files:
        raise DataError(
            f"{folder}: no TFRecords in it; expected training-00-of-20, validation-00-of-20, test-00-of-20 and so on."
        )
    if folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise DataError(f"{out}: lies inside {folder}; name a folder beside it.")
    sources = {path.name: path.stat().st_size for path in files}
    if not ranges and _complete(out, sources, first_label):  # where it may be that nothing can be written
        return read_import(out)
    with _alone(out, say), Crew(workers, LIMIT, progress) as crew:
        if not ranges and _complete(out, sources, first_label):
            return read_import(out)
        try:
            scales = _begin(out, files, ranges or {}, crew, say)
            entries = _all_entries(files, out, scales, crew, say)
        except KeyboardInterrupt:
            raise StoppedError(f"{out}: stopped; run the same command again to go on.") from None
        result = sort_out(entries, _Alike(out), first_label)
        _write(result, out, sources, released)
    return read_import(out)


def facts_of(folder: Path) -> dict[str, Any]:
    """What an import found: `first_label` and `notes`.

    Raises:
        DataError: the folder is no import.
    """
    try:
        found = read_json(folder / IMPORT_DONE)
    except (OSError, ValueError) as problem:
        raise DataError(
            f"{folder / IMPORT_DONE}: cannot be read ({problem}); expected a folder that `mudra data import-tfrecord` "
            "made."
        ) from None
    if not isinstance(found, dict) or found.get("first_label") not in (0, 1):
        raise DataError(f"{folder / IMPORT_DONE}: says no first_label of 0 or 1; import the TFRecords again.")
    return found


def read_import(out: Path) -> Manifest:
    """The data set that an import made.

    Raises:
        DataError: it is not complete, or damaged.
    """
    refuse_unfinished(out)
    notes = facts_of(out).get("notes", [])
    return replace(read_manifest(out), name="montalbano", notes=tuple(str(note) for note in notes))


# --- beginning and ending -------------------------------------------------------------------------


@contextmanager
def _alone(out: Path, say: Say) -> Iterator[None]:
    """Only one process imports into a folder; others wait, and then find it done."""
    with told_as_output_error(out):
        if out.exists() and not (out.is_dir() and ((out / IMPORT_BEGUN).exists() or _empty(out))):
            raise DataError(f"{out}: is there already and holds no import; name a new folder.")
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not take_lock(handle, wait=False):
            say(f"{out}: another process imports into it; waiting for that")
            take_lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _empty(folder: Path) -> bool:
    """Whether it holds nothing but what an import that was stopped at once leaves: a lock, a file half written."""
    return all(name == LOCK or name.startswith(f".{IMPORT_BEGUN}.") for name in os.listdir(folder))


def _complete(out: Path, sources: Mapping[str, int], first_label: int | None) -> bool:
    """Whether all is there, made from these files."""
    if not (out / IMPORT_DONE).exists():
        return False
    facts = facts_of(out)
    return facts.get("sources") == sources and first_label in (None, facts["first_label"])


def _begin(
    out: Path, files: Sequence[Path], ranges: Mapping[str, Range], crew: Crew, say: Say
) -> dict[str, Scale]:
    """The scale of each kind of picture, written down; what an earlier process wrote down stays.

    Raises:
        DataError: it began with other ranges than are asked for.
    """
    path = out / IMPORT_BEGUN
    if not path.exists():
        scales = find_scales(files, ranges, crew, say)
        write_json(
            path, {"schema": SCHEMA, **{name: [scale.low, scale.high] for name, scale in scales.items()}}
        )
        return scales
    sweep(out)
    try:
        there = read_json(path)
        scales = {name: Scale(*map(float, there[name])) for name in PICTURES}
        schema = there["schema"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise DataError(f"{path}: cannot be read ({problem}); remove {out}, or name a new folder.") from None
    wanted = {name: Scale(*ends) for name, ends in ranges.items()}
    other = next((name for name, scale in wanted.items() if scales[name] != scale), None)
    if schema != SCHEMA or other is not None:
        what = f"range of {other}" if other else "version of mudra"
        raise DataError(f"{out}: was begun with another {what}; remove it, or name a new folder.")
    return scales


# --- one file -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """A file, where its clips go, and how its numbers are kept."""

    path: Path
    out: Path
    scales: Mapping[str, Scale]

    @property
    def done(self) -> Path:
        return self.out / CLIPS / f"{self.path.name}.json"


def _all_entries(
    files: Sequence[Path], out: Path, scales: Mapping[str, Scale], crew: Crew, say: Say
) -> list[Entry]:
    """What is known of all records, in the order of the files, once all clips are written."""
    jobs = [_Job(path, out, scales) for path in files]
    there = {number: entries for number, job in enumerate(jobs) if (entries := _done(job)) is not None}
    if there:
        say(f"{out}: {len(there)} of {len(jobs)} files are done already")
    todo = [number for number in range(len(jobs)) if number not in there]
    broken: dict[str, str] = {}
    for place, result in crew.each("importing files", _work, [jobs[number] for number in todo]):
        if isinstance(result, Failure):
            broken[files[todo[place]].name] = result.reason
        else:
            there[todo[place]] = result
    refuse_broken(broken, len(files), say)
    return [entry for _, entries in sorted(there.items()) for entry in entries]


def _done(job: _Job) -> list[Entry] | None:
    """The records of a file that is done already; None where it has changed since, or not all of it is there."""
    try:
        tree = read_json(job.done)
        entries = [Entry(**values) for values in tree["records"]]
        size = tree["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = all((job.out / path).is_file() for entry in entries for path in _paths(entry).values())
    return entries if there and size == job.path.stat().st_size else None


def _work(job: _Job) -> list[Entry]:
    """Write the clips of one file."""
    name, split = job.path.name, job.path.name.partition("-")[0]
    entries = []
    for number, record in enumerate(records(job.path)):
        place = f"{job.path}, record {number}"
        raw = read_raw(record, place, labelled=split != "test")
        streams = streams_of(raw, job.scales, place)
        content = content_hash(streams)
        entry = Entry(name, number, split, raw.id, raw.label, raw.frames, content)
        entries.append(entry)
        for path, parts in _npz_files(entry, streams).items():
            target = BytesIO()
            np.savez(target, **parts)
            replace_file(job.out / path, target.getvalue())
        still_working()
    size = job.path.stat().st_size
    write_json(job.done, {"bytes": size, "records": [asdict(entry) for entry in entries]})
    return entries


def _paths(entry: Entry) -> dict[str, str]:
    """Where the streams of a record lie below the data set."""
    stem = f"{CLIPS}/{entry.file}/{entry.number:05d}"
    return {name: f"{stem}-pixels.npz" if name == "points:pixels" else f"{stem}.npz" for name in STREAMS}


def _npz_files(entry: Entry, streams: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """What each file of a clip holds: in an `.npz` a stream has the name of its kind."""
    files: dict[str, dict[str, Any]] = {}
    for name, path in _paths(entry).items():
        files.setdefault(path, {})[STREAMS[name].kind] = streams[name]
    return files


@dataclass(frozen=True)
class _Alike:
    """Whether two clips look the same, as `mudra data check` would find."""

    out: Path

    def __call__(self, one: Entry, other: Entry) -> bool:
        return any(True for _ in likeness.alike([self._look(one), self._look(other)], [0, 1]))

    def _look(self, entry: Entry) -> likeness.Look:
        chosen = likeness.moments(np.arange(entry.frames) / FPS)
        with arrays(self.out / _paths(entry)["video"], DEFAULT_LIMITS) as found:
            return likeness.look(np.array(found["video"][chosen]), entry.frames / FPS)


# --- the data set ---------------------------------------------------------------------------------


def _write(result: Sorted, out: Path, sources: Mapping[str, int], released: Mapping[str, int]) -> None:
    """The manifest, and what else is said of the clips."""
    clips = sorted(result.clips, key=lambda clip: (WORDS[::-1].index(clip[0].split), clip[0].id))
    if not clips:
        raise DataError(f"{', '.join(sources)}: no record in them; expected clips. Copy the files again.")
    entries = [entry for entry, _ in clips]
    paths = [_paths(entry) for entry in entries]
    rows = Rows(
        ids=[entry.clip for entry in entries],
        files={name: [below[name] for below in paths] for name in STREAMS},
        labels={"label": [name or "" for _, name in clips]},
        splits=[SPLITS[entry.split] for entry in entries],
        metadata={
            "record": [f"{entry.file}:{entry.number}" for entry in entries],
            "frames": [str(entry.frames) for entry in entries],
        },
        place=lambda row: entries[row].place,
    )
    counts = [sum(entry.split == split for entry in entries) for split in RELEASED]
    notes = [*result.notes, *count_note(counts, [released[split] for split in RELEASED])]
    if result.left_out:
        notes.append(f"montalbano: {len(result.left_out):,} records left out are listed in {LEFT_OUT}.")
    manifest = build(
        rows,
        name="montalbano",
        root=out,
        streams=STREAMS,
        classes={"label": CLASSES},
        mirror={"label": {}},  # either hand makes each of them
    )
    replace_file(out / LEFT_OUT, _table(result.left_out).encode())
    write_manifest(manifest, out)
    write_json(out / IMPORT_DONE, {"first_label": result.first_label, "sources": sources, "notes": notes})
    for entry, _ in result.left_out:
        for path in set(_paths(entry).values()):
            (out / path).unlink(missing_ok=True)


def _table(left_out: Sequence[tuple[Entry, str]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "record", "id", "label", "frames", "why"))
    for entry, why in left_out:
        label = "" if entry.label is None else entry.label
        writer.writerow((entry.file, entry.number, entry.id, label, entry.frames, why))
    return text.getvalue()
