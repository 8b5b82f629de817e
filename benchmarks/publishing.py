"""Where the benchmarks put their tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def publish(lines: Sequence[str], name: str | None) -> None:
    """Print a table, and add it to a file of the results where one is named."""
    print("\n".join(lines), flush=True)
    if name:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / name).open("a") as file:
            file.write("\n".join(lines) + "\n")
