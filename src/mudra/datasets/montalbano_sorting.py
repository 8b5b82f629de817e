"""Which of the records of S4's files are clips, and of which split: the files by which the source was trained held the
validation clips as well.

A clip counts as the most held back of the splits that it stands in: test before validation before training. It is
known again by its content, to the bit of every stream; or by its number, where the two are also alike to the eye (see
`mudra.clips.likeness`), as copies that were encoded anew are. A number alone tells nothing: some count each split anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mudra.errors import DataError

CLASSES = (
    "vattene", "vieniqui", "perfetto", "furbo", "cheduepalle", "chevuoi", "daccordo", "seipazzo", "combinato",
    "freganiente", "ok", "cosatifarei", "basta", "prendere", "noncenepiu", "fame", "tantotempo", "buonissimo",
    "messidaccordo", "sonostufo",
)  # fmt: skip
"""In the order of the challenge's numbers, 1 to 20."""
RELEASED = {"training": 5722, "validation": 1765, "test": 2174}
WORDS = ("test", "validation", "training")
"""What the files call the splits, the most held back first."""


@dataclass(frozen=True)
class Entry:
    """What is known of a record.

    Attributes:
        file, number: where it stands, counted from 0.
        split: "training", "validation" or "test", by its file.
        label: as the file has it; None where there is none.
        content: a hash of all that is in the clip.
    """

    file: str
    number: int
    split: str
    id: int
    label: int | None
    frames: int
    content: str

    @property
    def clip(self) -> str:
        """The id of the clip."""
        return f"{self.split}-{self.id}"

    @property
    def place(self) -> str:
        return f"{self.file}, record {self.number}"


@dataclass(frozen=True)
class Sorted:
    """What became of the records.

    Attributes:
        clips: the clips of the data set, each once, with their class or None.
        left_out: other records, and why.
        first_label: the number of the first class in the files.
        notes: what the user should be told.
    """

    clips: Sequence[tuple[Entry, str | None]]
    left_out: Sequence[tuple[Entry, str]]
    first_label: int
    notes: Sequence[str]


def sort_out(
    entries: Sequence[Entry], alike: Callable[[Entry, Entry], bool], first_label: int | None = None
) -> Sorted:
    """Sort the records.

    Args:
        alike: whether two clips of one number look the same.
        first_label: how the labels count, 0 or 1; None sees it from them.
    Raises:
        DataError: a label is missing or is no class's, or one number stands for two clips of a split.
    """
    first, notes = _first_label(entries, first_label)
    left_out, more = _held_back(entries, alike)
    notes += more
    gone = {entry for entry, _ in left_out}
    clips: dict[str, Entry] = {}
    for entry in entries:
        if entry in gone:
            continue
        before = clips.setdefault(entry.clip, entry)
        if before is entry:
            continue
        if before.content != entry.content:
            raise DataError(
                f"{entry.place}: id {entry.id} stands for another clip at {before.place}; expected each id of "
                f"{entry.split} once. Write the files anew, or leave one of them out."
            )
        left_out.append((entry, f"the same as {before.place}"))
    names, more = _names(list(clips.values()), first)
    return Sorted(list(zip(clips.values(), names, strict=True)), left_out, first, [*notes, *more])


def count_note(counts: Sequence[int], released: Sequence[int]) -> list[str]:
    """What to say where training, validation and test clips are not as many as were released."""
    if list(counts) == list(released):
        return []
    found, expected = (
        "{:,} training, {:,} validation and {:,} test".format(*each) for each in (counts, released)
    )
    return [f"montalbano: {found} clips; the release has {expected}."]


def _first_label(entries: Sequence[Entry], wanted: int | None) -> tuple[int, list[str]]:
    """How labels count, seen from those of training and validation, and what to say of it."""
    trained = [entry for entry in entries if entry.split != "test"]
    for entry in trained:
        if entry.label is None:
            raise DataError(f"{entry.place}: it has no label; expected one in {entry.split}. Write it anew.")
    labels = [entry.label for entry in trained if entry.label is not None]
    notes = []
    first = wanted
    if first is None:
        first = 1 if len(CLASSES) in labels and 0 not in labels else 0
        if labels and 0 not in labels and len(CLASSES) not in labels:
            notes = [
                f"montalbano: labels run from {min(labels)} to {max(labels)}, which does not tell whether they count "
                "from 0 or from 1; taken as from 0. Say --first-label 1 (data.first_label=1) if they do not."
            ]
    last = first + len(CLASSES) - 1
    for entry in trained:
        if entry.label is not None and not first <= entry.label <= last:
            raise DataError(
                f"{entry.place}: label {entry.label} is none of the {len(CLASSES)} classes; expected {first} to {last}."
                " Write it anew, or say how labels count with --first-label (data.first_label)."
            )
    return first, notes


def _names(clips: Sequence[Entry], first: int) -> tuple[list[str | None], list[str]]:
    """The class of each clip; of test clips where their labels are more than one number that fills the place."""
    test = [entry.label for entry in clips if entry.split == "test" and entry.label is not None]
    filler = len(test) > 1 and len(set(test)) == 1
    notes = []
    if filler:
        notes = [
            f"montalbano: all {len(test):,} test clips have the label {test[0]}, which fills a place; they are "
            "unlabelled."
        ]
    names: list[str | None] = []
    for entry in clips:
        number = -1 if entry.label is None or (filler and entry.split == "test") else entry.label - first
        names.append(CLASSES[number] if 0 <= number < len(CLASSES) else None)
    return names, notes


def _held_back(
    entries: Sequence[Entry], alike: Callable[[Entry, Entry], bool]
) -> tuple[list[tuple[Entry, str]], list[str]]:
    """Records that stand in a split which is held back more, and what to say of them."""
    left_out: list[tuple[Entry, str]] = []
    notes: list[str] = []
    for place, split in enumerate(WORDS[1:], 1):
        others = [entry for entry in entries if entry.split in WORDS[:place]]
        by_content = {entry.content: entry for entry in reversed(others)}
        by_id: dict[int, list[Entry]] = {}
        for entry in others:
            by_id.setdefault(entry.id, []).append(entry)
        found: list[tuple[Entry, Entry]] = []
        unalike = 0
        for entry in entries:
            if entry.split != split:
                continue
            twin = by_content.get(entry.content)
            if twin is None and entry.id in by_id:
                twin = next((other for other in by_id[entry.id] if alike(entry, other)), None)
                unalike += twin is None
            if twin is not None:
                found.append((entry, twin))
        left_out += [
            (entry, f"{_how(entry, twin)} {twin.split} clip {twin.clip} ({twin.place})")
            for entry, twin in found
        ]
        notes += _leak_notes(found, split, unalike)
    return left_out, notes


def _how(entry: Entry, twin: Entry) -> str:
    return "has the content of the" if entry.content == twin.content else "has the id of, and looks like, the"


def _leak_notes(found: Sequence[tuple[Entry, Entry]], split: str, unalike: int) -> list[str]:
    notes = []
    for held in WORDS[:2]:
        pairs = [(entry, twin) for entry, twin in found if twin.split == held]
        if pairs:
            same = sum(entry.content == twin.content for entry, twin in pairs)
            files = Counter(entry.file for entry, _ in pairs)
            where = ", ".join(f"{file} ({count:,})" for file, count in sorted(files.items()))
            notes.append(
                f"montalbano: the {split} files hold {len(pairs):,} {held} clips ({same:,} by content, "
                f"{len(pairs) - same:,} by id and looks), which are left out of {split}: {where}."
            )
    if unalike:
        notes.append(
            f"montalbano: {unalike:,} {split} ids also stand in another split, for other clips; they are taken as "
            "counted anew in each split."
        )
    return notes
