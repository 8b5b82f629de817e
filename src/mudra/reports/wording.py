"""How figures are named and written, the same in the page and on the terminal."""

from collections.abc import Mapping
from typing import Any

from mudra.types import Clip

# figure -> (name, what it is, whether it is a share and so told in percent)
FIGURES: Mapping[str, tuple[str, str, bool]] = {
    "top1": ("Top-1", "share of clips whose likeliest class is the true one", True),
    "top5": ("Top-5", "share of clips whose true class is among the five likeliest", True),
    "macro_f1": ("Macro F1", "F1 of each class that occurs, averaged: small classes count as much", True),
    "mean_class_accuracy": ("Mean class accuracy", "accuracy within each true class, averaged", True),
    "loss": ("Loss", "mean negative log-likelihood of the true class, in nats", False),
    "ece": ("Calibration error", "mean distance of confidence from accuracy, in 15 bins", True),
}
SPLITS: Mapping[str, str] = {"train": "training", "val": "validation", "test": "test"}


def split_name(split: str) -> str:
    """A split as a reader calls it."""
    return SPLITS.get(split, split)


def value(figure: str, number: float | None) -> str:
    """A figure with its unit; a dash where there is none.

    >>> value("top1", 0.8731), value("loss", 0.5), value("top1", None)
    ('87.3 %', '0.500', '–')
    """
    if number is None:
        return "–"
    return percent(number) if FIGURES[figure][2] else f"{number:.3f}"


def interval(figure: str, figures: Mapping[str, Any]) -> str:
    """The 95 % interval of a figure, "" where there is none.

    >>> interval("top1", {"intervals": {"top1": [0.85, 0.9]}})
    '85.0 – 90.0 %'
    """
    bounds = figures.get("intervals", {}).get(figure)
    if bounds is None:
        return ""
    low, high = bounds
    return f"{100 * low:.1f} – {100 * high:.1f} %" if FIGURES[figure][2] else f"{low:.3f} – {high:.3f}"


def percent(share: float) -> str:
    """A share of 1 in percent."""
    return f"{100 * share:.1f} %"


def drawn_over(figures: Mapping[str, Any]) -> str:
    """What the intervals were drawn over, in words.

    >>> drawn_over({"interval_over": "groups", "groups": 12, "intervals": {"top1": [0, 1]}})
    '95 % bootstrap over 12 groups'
    """
    if not figures.get("intervals"):
        return "no intervals: too few clips to resample"
    if figures.get("interval_over") == "groups":
        return f"95 % bootstrap over {figures['groups']:,} groups"
    return "95 % bootstrap over clips, as if each failed alone: fewer than two groups are known"


def clip_facts(clip: Clip, seconds: float) -> str:
    """What is known of a clip, on one line.

    >>> clip_facts(Clip("a1", split="train", group="s1", labels={"label": "wave"}), 2.0)
    'wave · training · group s1 · 2.00 s'
    """
    labels = [name if task == "label" else f"{task} {name}" for task, name in clip.labels.items()]
    split = [split_name(clip.split)] if clip.split else []
    return " · ".join([*labels, *split, *([f"group {clip.group}"] if clip.group else []), f"{seconds:.2f} s"])


def file_name(words: str) -> str:
    """Any words as part of a file's name.

    >>> file_name("wave/clip 1")
    'wave_clip_1'
    """
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in words)


def count(number: float) -> str:
    """A large count, short.

    >>> count(950), count(19_321_371)
    ('950', '19.3 M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """A short time.

    >>> duration(0.00213), duration(1.5)
    ('2.13 ms', '1.5 s')
    """
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
