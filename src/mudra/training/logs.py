"""What a training writes down while it runs: log.csv and TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from mudra.files import replace_file, told_as_output_error

COLUMNS = ("step", "epoch", "split", "loss", "objective", "lr", "grad_norm", "clips_per_second")


class Log:
    """log.csv and TensorBoard, a row at a time, each on the disk before the next.

    Args:
        objective: what is minimised is more than the cross-entropy that `loss` tells, and has a column of its own.
        from_step: rows after this step are dropped first: a resumed training writes them again.
        from_epoch: so are validations after this epoch.
        writes: another process may be the one that writes.
    """

    def __init__(
        self,
        path: Path,
        tasks: Sequence[str],
        tensorboard: Path,
        from_step: int = 0,
        from_epoch: int = 0,
        *,
        objective: bool = False,
        writes: bool = True,
    ) -> None:
        self.path = path
        columns = (name for name in COLUMNS if objective or name != "objective")
        self.columns = (*columns, *(f"{task}/top1" for task in tasks))
        self._file: TextIO | None = None
        self._board: Any = None
        if not writes:
            return
        with told_as_output_error(path):
            kept = _rows_until(path, from_step, from_epoch) if path.exists() else []
            replace_file(path, self._text(kept))
            self._file = path.open("a", newline="", encoding="utf-8")
            self._csv = csv.DictWriter(self._file, self.columns, restval="")
            self._board = _board(tensorboard, from_step)

    def _text(self, rows: list[dict[str, str]]) -> bytes:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
        return text.getvalue().encode()

    def row(self, **values: Any) -> None:
        """Write one row; keys are columns."""
        if self._file is None:
            return
        told = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()}
        with told_as_output_error(self.path):
            self._csv.writerow(told)
            self._file.flush()
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{name}/{values['split']}", value, values["step"])

    def close(self) -> None:
        """Flush and close both."""
        if self._file is not None:
            with told_as_output_error(self.path):
                self._file.close()
                self._board.close()


def _rows_until(path: Path, step: int, epoch: int) -> list[dict[str, str]]:
    """The rows of a log up to a step, its validations up to an epoch; a last line that was cut off goes."""
    kept = []
    for row in csv.DictReader(io.StringIO(path.read_text("utf-8"))):
        at, judged = row.get("step") or "", row.get("epoch") or ""
        if not (at.isdecimal() and judged.isdecimal() and int(at) <= step):
            continue
        if row["split"] == "train" or int(judged) <= epoch:
            kept.append(row)
    return kept


def _board(folder: Path, from_step: int) -> Any:
    """A TensorBoard writer that hides what an interrupted training wrote after `from_step`."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=from_step + 1)
