"""What every test may use."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mudra.sources import VideoSource

ROOT = Path(__file__).parents[1]


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Real recordings that lie beside the project; a test that needs them skips where they are absent."""
    home = Path(os.environ.get("MUDRA_SHARED_DATA", ROOT.parent / "shared" / "data"))

    def folder(name: str) -> Path:
        if not (home / name).exists():
            pytest.skip(f"real data {name!r} is not at {home}; set MUDRA_SHARED_DATA to its folder")
        return home / name

    return folder


@pytest.fixture
def by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test in which everything has to be decoded because the packets were not believed."""

    def refuse(*_: object) -> None:
        raise AssertionError("the packets were not believed")

    monkeypatch.setattr(VideoSource, "_read_surveyed", refuse)
