"""The database of a study: Optuna's tables and one of ours, in SQLite or PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mudra.errors import OutputError, UsageError

T = TypeVar("T")
PATIENCE = 60  # seconds that SQLite waits while another process writes
TRIES = 5  # of what two processes that begin at once may both do
TABLE = (
    "CREATE TABLE IF NOT EXISTS mudra_claims (study VARCHAR(512) NOT NULL, number INTEGER NOT NULL, "
    "owner VARCHAR(512) NOT NULL, beats INTEGER NOT NULL, PRIMARY KEY (study, number))"
)


class Database:
    """Single statements, each a transaction of its own, on connections that are not kept: forked loader processes
    inherit none.

    Args:
        url: as SQLAlchemy takes it: `sqlite:////folder/study.db`, `postgresql+psycopg://user@host/name`.
    Raises:
        UsageError: the packages for it are not installed, or it is no such address.
        OutputError: it does not answer.
    """

    def __init__(self, url: str) -> None:
        needed()
        from sqlalchemy import create_engine
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        try:
            address = make_url(url)
            self.shown = address.render_as_string(hide_password=True)
            self.sqlite = address.get_backend_name() == "sqlite"
            self.options: dict[str, Any] = {"poolclass": NullPool}
            if self.sqlite:
                self.options["connect_args"] = {"timeout": PATIENCE}
            self.engine = create_engine(address, **self.options)
        except ImportError as problem:
            raise UsageError(
                f"--storage: its driver is not installed ({problem}). For PostgreSQL write "
                "postgresql+psycopg://USER@HOST/NAME and pip install 'mudra[sweeps]'."
            ) from None
        except (SQLAlchemyError, ValueError) as problem:
            raise UsageError(
                f"--storage: {' '.join(str(problem).split())[:200]}; expected an address such as "
                "postgresql+psycopg://USER@HOST/NAME or sqlite:////FOLDER/study.db."
            ) from None
        self.url = url
        with told(self):
            again(lambda: self.run(TABLE))

    def run(self, statement: str, **values: Any) -> int:
        """Run one statement; how many rows it changed."""
        from sqlalchemy import text

        with self.engine.begin() as connection:
            return int(connection.execute(text(statement), values).rowcount)

    def insert(self, statement: str, **values: Any) -> bool:
        """Insert a row; False where another has its key."""
        from sqlalchemy.exc import IntegrityError

        try:
            self.run(statement, **values)
        except IntegrityError:
            return False
        return True

    def read(self, statement: str, **values: Any) -> list[Any]:
        """The rows that a query finds."""
        from sqlalchemy import text

        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), values))


def needed() -> None:
    """Refuse what cannot be done without Optuna.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UsageError("mudra sweep: needs Optuna. Install it: pip install 'mudra[sweeps]'.") from None


def of_folder(folder: Path) -> str:
    """The address of a study's own SQLite file."""
    return f"sqlite:///{(folder / 'study.db').resolve()}"


def again(make: Callable[[], T]) -> T:
    """What `make` makes; where another process made the same at the same moment, it is tried again."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for left in reversed(range(TRIES)):
        try:
            return make()
        except (IntegrityError, OperationalError, ProgrammingError, StorageInternalError):
            if not left:
                raise
            time.sleep(0.2)
    raise AssertionError


@contextmanager
def told(database: Database) -> Iterator[None]:
    """Turn what a database complains of into one line."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as problem:
        cause = problem.__cause__ or problem
        reason = " ".join(str(getattr(cause, "orig", None) or cause).split())[:200]
        raise OutputError(
            f"{database.shown}: the study's database does not answer as it should: {reason}. Is it running, may this "
            "user write there, and is there room? Then run the same command again."
        ) from problem
