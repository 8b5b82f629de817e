"""`make study`, with a stand-in for the program that trains: what an interrupted study does when it is made again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
TRAINS = """#!{python}
import sys
from pathlib import Path

with open("calls", "a") as calls:
    print(*sys.argv[1:], file=calls)
if sys.argv[1] == "train":
    run = Path(sys.argv[sys.argv.index("--out") + 1])
    cut = not run.exists() and "half" in run.name
    if run.exists() and "--resume" not in sys.argv:
        sys.exit(2)
    run.mkdir(exist_ok=True)
    (run / "recipe.yaml").touch()
    if cut:
        sys.exit(75)
    (run / "report.html").touch()
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_study_that_was_interrupted_goes_on_with_what_is_not_done(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "mudra"
    program.parent.mkdir()
    program.write_text(TRAINS.format(python=sys.executable))
    program.chmod(0o755)
    told = ["BIN=bin", "STUDY=study", "TWINS=done half half-too"]
    make = ["make", "-f", str(MAKEFILE), "-o", ".venv/.developer", "study", *told]

    def calls() -> list[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        made = subprocess.run(make, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=60)
        codes.append(made.returncode)
        lines = (tmp_path / "calls").read_text().splitlines()
        (tmp_path / "calls").unlink()
        return lines

    codes: list[int] = []
    twins = ["cross-task", "done", "half", "half-too"]
    assert sorted(calls()) == [f"train puppets-{name} --out study/{name}" for name in twins]
    trained, then = [], []
    for line in calls():
        (trained if line.startswith("train") else then).append(line)
    assert sorted(trained) == [f"train puppets-{name} --out study/{name} --resume" for name in twins[2:]]
    assert [line.split()[0] for line in then] == ["compare", "sweep"]
    assert [line.split()[0] for line in calls()] == ["compare", "sweep"]
    assert codes[0] != 0
    assert codes[1:] == [0, 0]
