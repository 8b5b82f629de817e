"""EPIC-KITCHENS-100 action recognition: a zip that holds `test.json`, version 0.2 of the challenge's format.

    {"version": "0.2", "challenge": "action_recognition", "sls_pt": 0, "sls_tl": 3, "sls_td": 3,
     "results": {"P01_101_0": {"verb": {"0": -4.31, ...}, "noun": {"0": -7.02, ...}}, ...}}

Source: the format as https://github.com/epic-kitchens/C1-Action-Recognition describes and writes it; no code was taken.
The scores are log-probabilities: the server takes a softmax of what it gets, and of those it gives the probabilities
back. It ranks actions by itself, by the product of verb and noun, so none are listed. The file must hold every segment
of the split once; whether it does, and whether the class numbers mean what the server takes them for, is known by
hashes of the official lists.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mudra.errors import DataError, UsageError
from mudra.files import replace_file
from mudra.predictions.scores import PredictionTable
from mudra.predictions.submissions.official import Names

TASKS = ("verb", "noun")
MEMBER = "test.json"  # whichever split it is
VERSION, CHALLENGE = "0.2", "action_recognition"
LEVELS = range(6)


@dataclass(frozen=True)
class Release:
    """What the challenge is about: the class names of each task in their order, the segments of each split sorted."""

    classes: Mapping[str, Names]
    segments: Mapping[str, Names]


OFFICIAL = Release(
    classes={
        "verb": Names(97, "c0bae746c296c4f3db2ac3830adef751f55b05f58ae687ca0beeaff08f8bc0e9"),
        "noun": Names(300, "ce37230ea2eeef8e9da8705d010cfdb8435ff27d71d9a064d7c804279e98112a"),
    },
    segments={
        "val": Names(9_668, "16c76f8aaf2b7f0b4af0a09aa0e3f41772e554463ade44f9b2659592307a44d1"),
        "test": Names(13_092, "4027d52df037e27f7605828bc2c62b538c6e3913d32ef12cb11b84106fe057ab"),
    },
)


@dataclass(frozen=True)
class Supervision:
    """What a model was given to learn from, in the challenge's own levels (https://github.com/epic-kitchens/sls).

    pretraining: 0 none, 1 public images, 2 public images and videos, 3 self-supervised on public data, 4 and on
        EPIC-KITCHENS, 5 private data.
    labels: 0 none, 1 of videos, 2 narration times, 3 start and stop of segments, 4 and places in the picture, 5 more.
    data: 0 none, 1 up to five clips a class, 2 up to a quarter of train, 3 train, 4 train and val, 5 more.
    """

    pretraining: int = 2
    labels: int = 3
    data: int = 3

    @classmethod
    def parse(cls, text: str) -> Supervision:
        """Read `2,3,3`: pretraining, labels, data.

        Raises:
            UsageError: not three levels from 0 to 5.
        """
        parts = text.split(",")
        if len(parts) != 3 or not all(part in map(str, LEVELS) for part in parts):
            raise UsageError(
                f"--sls: found {text!r}; expected the challenge's three levels of supervision, each 0 to 5: "
                "pretraining, labels and data, such as 2,3,3."
            )
        return cls(*map(int, parts))

    @property
    def header(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "challenge": CHALLENGE,
            "sls_pt": self.pretraining,
            "sls_tl": self.labels,
            "sls_td": self.data,
        }


@dataclass(frozen=True)
class Epic:
    """The challenge's format; see `submissions.Submission`."""

    supervision: Supervision = field(default_factory=Supervision)
    release: Release = field(default_factory=lambda: OFFICIAL)

    def check_classes(self, tasks: Mapping[str, Sequence[str]]) -> None:
        """Refuse a model whose verbs and nouns are not those of the release, in their order."""
        expected = (
            "of EPIC-KITCHENS-100 in their order. Submit a model that was trained on epic100 with both tasks."
        )
        for task in TASKS:
            self.release.classes[task].require(tasks, task, "epic", expected)

    def write(self, table: PredictionTable, split: str, folder: Path) -> Path:
        """Write `epic-<split>.zip`. Equal predictions give equal bytes."""
        self.check_classes({task: scores.classes for task, scores in table.tasks.items()})
        official = self.release.segments.get(split)
        if official is None:
            known = ", ".join(self.release.segments)
            raise DataError(f"submission epic: found the split {split!r}; the challenge has {known}.")
        if not official.are(sorted(table.clips)):
            raise DataError(
                f"submission epic: found {len(table):,} segments that are not the {official.count:,} of the {split} "
                "split; the server wants each of them once. Evaluate the whole split, without leaving any out."
            )
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=5) as archive:
            member = zipfile.ZipInfo(MEMBER)  # without the time of writing
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w") as file:
                for piece in _pieces(table, self.supervision):
                    file.write(piece.encode())
        path = Path(folder) / f"epic-{split}.zip"
        check_zip(buffer, table.clips, self.release, str(path))
        replace_file(path, buffer.getvalue())
        return path


def _pieces(table: PredictionTable, supervision: Supervision) -> Iterator[str]:
    """The JSON text, a segment at a time."""
    yield json.dumps(supervision.header)[:-1] + ', "results": {'
    for row, clip in enumerate(table.clips):
        scores = ", ".join(
            f'"{task}": {{{_scores(table.tasks[task].log_probabilities[row])}}}' for task in TASKS
        )
        yield f"{', ' if row else ''}\n{json.dumps(clip)}: {{{scores}}}"
    yield "}}\n"


def _scores(logs: NDArray[np.float32]) -> str:
    """Nine digits bring a float32 back to the last bit."""
    return ", ".join(f'"{number}": {value:.9g}' for number, value in enumerate(logs.tolist()))


def check_zip(file: io.BytesIO | Path, segments: Sequence[str], release: Release, place: str) -> None:
    """Hold a submission's zip against the challenge's schema.

    Args:
        segments: the narration ids that must be there, each once.
        place: what an error begins with.
    Raises:
        DataError: on the first thing that the server would refuse or misread.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.namelist() != [MEMBER]:
                raise DataError(f"{place}: holds {archive.namelist()}; expected {MEMBER} alone.")
            text = archive.read(MEMBER)
    except (zipfile.BadZipFile, OSError) as problem:
        raise DataError(f"{place}: not a readable zip ({problem}). Write it again.") from None
    check_json(text, segments, release, f"{place}, {MEMBER}")


class _Fault(Exception):
    """What is wrong with a JSON object that is just being read."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """Scores that were found to be finite numbers; they are not kept, for there are millions."""

    keys: frozenset[str]


def check_json(text: bytes | str, segments: Sequence[str], release: Release, place: str) -> None:
    """Hold the text of `test.json` against the challenge's schema; arguments and errors as for `check_zip`."""
    wanted = {
        task: frozenset(str(number) for number in range(names.count))
        for task, names in release.classes.items()
    }
    try:
        document = json.loads(
            text, object_pairs_hook=_reader(frozenset(wanted.values())), parse_constant=_refuse
        )
        _check_header(document)
        results = document["results"]
        if not isinstance(results, dict):
            raise _Fault(f"results is {_kind(results)}; expected an object with a key for every segment")
        lost, odd = sorted(set(segments) - results.keys()), sorted(results.keys() - set(segments))
        if lost or odd:
            which = f"{lost[0]!r} is missing" if lost else f"{odd[0]!r} is none of the split's"
            raise _Fault(
                f"results: {len(results):,} segments, and {which}; expected each of {len(segments):,} once"
            )
        for clip, answer in results.items():
            _check_answer(clip, answer, wanted)
    except (_Fault, ValueError, RecursionError) as problem:
        raise DataError(
            f"{place}: {problem}. Write it again with `mudra evaluate --submission epic`."
        ) from None


def _reader(wanted: frozenset[frozenset[str]]) -> Callable[[list[tuple[str, Any]]], Any]:
    """What turns the pairs of a JSON object into a dictionary, or into `_Checked` where they are scores."""

    def read(pairs: list[tuple[str, Any]]) -> Any:
        keys = frozenset(key for key, _ in pairs)
        if len(keys) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise _Fault(f"the key {twice!r} is there twice in one object")
        if keys in wanted:
            for key, value in pairs:
                if type(value) not in (int, float) or not math.isfinite(value):
                    raise _Fault(f"the score of class {key} is {str(value)[:40]}; expected a finite number")
            return _Checked(keys)
        return dict(pairs)

    return read


def _refuse(constant: str) -> None:
    raise _Fault(f"a number is {constant}; expected finite numbers")


def _check_header(document: Any) -> None:
    """Version, challenge, and levels of supervision; nothing missing, nothing added."""
    if not isinstance(document, dict):
        raise _Fault(f"found {_kind(document)}; expected an object")
    expected = {*Supervision().header, "results"}
    if document.keys() != expected:
        differ = sorted(document.keys() ^ expected)
        raise _Fault(f"the keys differ from those expected in {', '.join(differ)}")
    for key, value in (("version", VERSION), ("challenge", CHALLENGE)):
        if document[key] != value:
            raise _Fault(f"{key} is {document[key]!r}; expected {value!r}")
    for key in ("sls_pt", "sls_tl", "sls_td"):
        if type(document[key]) is not int or document[key] not in LEVELS:
            raise _Fault(f"{key} is {document[key]!r}; expected a whole number from 0 to 5")


def _check_answer(clip: str, answer: Any, wanted: Mapping[str, frozenset[str]]) -> None:
    """The scores of one segment: both tasks, every class."""
    if not isinstance(answer, dict) or answer.keys() != wanted.keys():
        raise _Fault(f"results, {clip}: expected the keys {' and '.join(wanted)}, and no other")
    for task, keys in wanted.items():
        if not isinstance(answer[task], _Checked) or answer[task].keys != keys:
            raise _Fault(
                f"results, {clip}, {task}: expected one score for each class, with the keys 0 to {len(keys) - 1}"
            )


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
