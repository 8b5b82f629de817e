"""Which process runs which trial. One runs each, however many workers and machines there are, and none is lost.

A claim is a row of the study's database: the trial, its owner, and a count that the owner raises while it lives.
A row is inserted once, and changes its owner only from a state that was seen, in one statement; of two that try, the
database lets one. Whose owner is gone may be taken over: a process of this machine that is no more, or a count that
stood still for `grace` seconds. So no two machines' clocks are compared.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mudra.sweeps.database import Database, told

GRACE = 60.0  # seconds without a sign of life after which an owner counts as gone
BEATS = 6  # signs of life within that time
GONE = "gone"


@dataclass(frozen=True)
class Owner:
    """A process: the machine it runs on, its number there, when it began, and a word of its own."""

    machine: str
    process: int
    began: str
    word: str

    @classmethod
    def me(cls) -> Owner:
        return cls(_machine(), os.getpid(), _began(os.getpid()), secrets.token_hex(4))

    @classmethod
    def read(cls, text: str) -> Owner:
        machine, process, began, word = text.rsplit(" ", 3)
        return cls(machine, int(process), began, word)

    def __str__(self) -> str:
        return f"{self.machine} {self.process} {self.began} {self.word}"

    @property
    def lives(self) -> bool | None:
        """Whether the process lives; None where this machine cannot tell."""
        if self.machine != _machine():
            return None
        began = _began(self.process)
        return None if began == "?" else began == self.began


class Claims:
    """The claims of one study, as one worker sees them.

    Args:
        grace: seconds without a sign of life after which another machine's owner counts as gone.
    """

    def __init__(self, database: Database, study: str, grace: float = GRACE) -> None:
        self.me = Owner.me()
        self.grace = grace
        self._database = database
        self._study = study
        self._seen: dict[int, tuple[str, int, float, bool]] = {}

    def take(self, number: int) -> bool:
        """Claim a trial that nobody runs; False where somebody does.

        Raises:
            OutputError: the database does not answer.
        """
        with told(self._database):
            row = self._row(number)
            if row is None:
                return self._insert(number)
            owner, beats = row
            if owner != GONE and self._alive(number, owner, beats) is not False:
                return False
            return self._change(number, owner, beats, str(self.me))

    def alive(self, number: int) -> bool | None:
        """Whether the trial's owner lives; None as long as that is not known, False where nobody has it."""
        with told(self._database):
            row = self._row(number)
        return False if row is None or row[0] == GONE else self._alive(number, *row)

    @contextmanager
    def kept(self, number: int, lost: Callable[[], None]) -> Iterator[None]:
        """Show signs of life for a claimed trial in this block, and give it back at the end.

        Args:
            lost: called, from another thread, when the claim is not ours any more, or when the database has been
                silent for so long that others take it for given up.
        """
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(number, over, lost), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.give_back(number)

    def give_back(self, number: int) -> None:
        """Let others have a trial of ours; where the database is silent, they see that we are gone."""
        with suppress(Exception):
            self._database.run(
                "UPDATE mudra_claims SET owner = :gone WHERE study = :study AND number = :number AND owner = :me",
                gone=GONE, study=self._study, number=number, me=str(self.me),
            )  # fmt: skip

    def _beat(self, number: int, over: threading.Event, lost: Callable[[], None]) -> None:
        heard = time.monotonic()
        while not over.wait(self.grace / BEATS):
            try:
                mine = self._database.run(
                    "UPDATE mudra_claims SET beats = beats + 1 "
                    "WHERE study = :study AND number = :number AND owner = :me",
                    study=self._study, number=number, me=str(self.me),
                )  # fmt: skip
                heard = time.monotonic()
            except Exception:  # the network may come back; others wait as long
                mine = time.monotonic() - heard < self.grace * (1 - 1 / BEATS)
            if not mine:
                lost()
                return

    def _row(self, number: int) -> tuple[str, int] | None:
        rows = self._database.read(
            "SELECT owner, beats FROM mudra_claims WHERE study = :study AND number = :number",
            study=self._study, number=number,
        )  # fmt: skip
        return (str(rows[0][0]), int(rows[0][1])) if rows else None

    def _insert(self, number: int) -> bool:
        return self._database.insert(
            "INSERT INTO mudra_claims (study, number, owner, beats) VALUES (:study, :number, :me, 0)",
            study=self._study, number=number, me=str(self.me),
        )  # fmt: skip

    def _change(self, number: int, owner: str, beats: int, to: str) -> bool:
        """Take over a claim that still is as it was seen."""
        return bool(self._database.run(
            "UPDATE mudra_claims SET owner = :to, beats = 0 "
            "WHERE study = :study AND number = :number AND owner = :owner AND beats = :beats",
            to=to, study=self._study, number=number, owner=owner, beats=beats,
        ))  # fmt: skip

    def _alive(self, number: int, owner: str, beats: int) -> bool | None:
        lives = Owner.read(owner).lives
        if lives is not None:
            return lives
        now = time.monotonic()
        before = self._seen.get(number)
        if before is None or before[:2] != (owner, beats):
            moved = before is not None and before[0] == owner
            self._seen[number] = (owner, beats, now, moved)
            return moved or None
        if now - before[2] >= self.grace:
            return False
        return before[3] or None


def _machine() -> str:
    """A name that no other machine has, nor another container on it, in which processes have other numbers."""
    parts: list[Any] = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return "/".join(parts)


def _began(process: int) -> str:
    """When a process of this machine began, in ticks since the machine did: "" where there is none of this number,
    "?" where the system does not tell."""
    if not Path("/proc/self/stat").exists():
        return "?"
    try:
        fields = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended; only its parent has not looked
