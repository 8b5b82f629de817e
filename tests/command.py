"""The command line, run within a test."""

import io
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from mudra.cli import main
from mudra.errors import MudraError


@dataclass
class Ended:
    returncode: int
    stdout: str
    stderr: str


def mudra(*words):
    """Run the command line in this process, which has already imported what is slow to import."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, ["mudra", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    except MudraError:
        traceback.print_exc(file=err)
        code = 1
    finally:
        sys.argv = before
    return Ended(code, out.getvalue(), err.getvalue())
