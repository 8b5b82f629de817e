"""The mutants still fit the source: each changes one place, and the tests that shall notice are there."""

import re
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.promise)
def test_a_mutant_changes_one_place(mutant: Mutant) -> None:
    text = (ROOT / "src/mudra" / mutant.file).read_text("utf-8")
    assert text.count(mutant.before) == 1, (
        f"its text stands {text.count(mutant.before)} times in {mutant.file}"
    )
    assert mutant.after != mutant.before
    names = [name for file in mutant.tests.split() for name in names_in(ROOT / file)]
    wanted = re.findall(r"[\w\[\]-]+", re.sub(r"\b(or|and|not)\b", " ", mutant.only))
    missing = [word for word in wanted if not any(word in name for name in names)]
    assert not missing, f"no test in {mutant.tests} is called {', '.join(missing)}"


def names_in(file: Path) -> list[str]:
    """The file's name and the names of its tests: what `pytest -k` looks at."""
    text = file.read_text("utf-8")
    return [file.name, *re.findall(r"def (test_\w+)", text), *re.findall(r"""["']([\w -]+)["']""", text)]
