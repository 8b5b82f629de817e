"""Errors that a user can act on, each with its exit code.

Every message is one line and says four things: the place (a file, a row, a recipe key),
what was found there, what was expected, and what to do next.
"""

import difflib
from collections.abc import Iterable


class MudraError(Exception):
    """Base of all errors that are told in one line and without a traceback.

    Attributes:
        told: another process of the same training tells it already.
    """

    exit_code = 1
    told = False


class UsageError(MudraError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe holds an unknown key, a bad value, or settings that contradict each other."""


class BusyError(UsageError):
    """Another process has what is asked for, and still lives."""


class DataError(MudraError):
    """A data set, a clip or a prediction file cannot be used as it is."""

    exit_code = 3


class ModelError(MudraError):
    """A model, bundle or checkpoint cannot be built, loaded or used in this way."""

    exit_code = 3


class NonFiniteError(MudraError):
    """Training met NaN or infinity; nothing was updated with it."""

    exit_code = 4


class OutputError(MudraError):
    """Reading or writing failed: disk full, folder read-only, file removed meanwhile."""

    exit_code = 5


class StoppedError(MudraError):
    """Training stopped on request, with everything saved.

    Attributes:
        reason: who asked: a signal's name, or the time limit.
    """

    exit_code = 75

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class PrunedError(MudraError):
    """Whoever judges a training's epochs gave it up; everything is saved."""

    exit_code = 0


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """A closing sentence naming the nearest known word, or "" where nothing is near.

    >>> did_you_mean("dephts", ["depth", "width"])
    " Did you mean 'depth'?"
    >>> did_you_mean("x", ["depth"])
    ''
    """
    words = list(known)
    near = difflib.get_close_matches(found, words, n=1, cutoff=0.6)
    if not near:  # 'swipe left' and 'Swipe Left' differ too much for the letters alone
        near = [word for word in words if word.casefold() == found.casefold()]
    return f" Did you mean {near[0]!r}?" if near else ""
