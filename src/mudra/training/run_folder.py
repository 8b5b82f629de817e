"""What a run holds, and where: the one place that knows the names in a run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mudra.bundle import read_json
from mudra.errors import BusyError, DataError, ModelError, UsageError
from mudra.files import replace_file, sweep, take_lock, told_as_output_error, write_json
from mudra.recipe import Recipe, read_yaml, resolve, write_yaml

LOCK = ".lock"
JOBS = "slurm"  # what jobs of a cluster print lies here before the run begins
STAGE = "stage-"
FOLD = "fold-"
# who starts a process again -> what a status calls the launch, and where its name is found
LAUNCHES = {
    "TORCHELASTIC": ("launch", "TORCHELASTIC_RUN_ID"),
    "SLURM": ("job", "SLURM_JOB_ID"),
}


@dataclass(frozen=True)
class RunFolder:
    """A folder that one training made."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def bundle(self) -> Path:
        return self.path / "bundle"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        return self.path / "log.csv"

    @property
    def scales(self) -> Path:
        """What was measured of the training clips' series."""
        return self.path / "scales.json"

    def predictions(self, split: str) -> Path:
        return self.path / "predictions" / f"{split}.parquet"

    def metrics(self, split: str) -> Path:
        return self.path / "metrics" / f"{split}.json"

    def start(self, recipe: Recipe, environment: dict[str, Any]) -> None:
        """Make the folder and write down what is about to be trained.

        Raises:
            UsageError: a run is there already.
        """
        if self.begun:
            raise UsageError(
                f"{self.path}: it is there already and not empty; choose another --out, or go on with --resume."
            )
        heading = f"# {recipe.name}, resolved. Repeat it: mudra train {self.recipe.name}\n"
        replace_file(self.recipe, (heading + write_yaml(recipe.tree())).encode())
        write_json(self.path / "environment.json", environment)

    @property
    def begun(self) -> bool:
        """Whether anything but a lock and what jobs print is at this path."""
        if not self.path.is_dir():
            return self.path.exists()
        return any(entry.name not in (LOCK, JOBS) for entry in self.path.iterdir())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the run to this process for a while, and clear away what killed ones left in it.

        Raises:
            BusyError: another process trains here.
            OutputError: the folder cannot be written.
        """
        with told_as_output_error(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise UsageError(
                    f"{self.path}: found a file; expected a folder for the run. Choose another --out."
                )
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not take_lock(handle, wait=False):
                raise BusyError(
                    f"{self.path}: another process trains into this run; wait for it, or choose another --out."
                )
            sweep(self.path)
            yield
        finally:
            os.close(handle)
            if not self.begun:  # refused before anything was begun: leave nothing behind
                with suppress(OSError):
                    (self.path / LOCK).unlink()
                    self.path.rmdir()

    def status(
        self,
        state: Literal["running", "stopped", "done", "failed", "pruned"],
        step: int,
        exit_code: int = 0,
        reason: str = "",
    ) -> None:
        """Tell jobs, sweeps and restarts how the run stands, and which launch of torchrun's or SLURM's it was."""
        status: dict[str, Any] = {"state": state, "step": step, "exit": exit_code}
        launches = {key: os.environ.get(name, "") for key, name in LAUNCHES.values()}
        more = {"reason": reason, **launches}
        write_json(self.path / "status.json", status | {name: text for name, text in more.items() if text})

    def list_unreadable(self, failures: Iterable[tuple[str, str]]) -> None:
        """Write down training clips that could not be read, with the reasons."""
        place = self.path / "unreadable.txt"
        with told_as_output_error(place), place.open("a", encoding="utf-8") as listed:
            listed.writelines(f"{clip}\t{reason}\n" for clip, reason in failures)

    @property
    def last_step(self) -> int:
        """The step of the last checkpoint that was written, in the last stage or fold where there are some."""
        below = [path for part in (STAGE, FOLD) for path in self.path.glob(f"{part}*")]
        if below:
            return RunFolder(max(below, key=lambda path: int(path.name.split("-")[1]))).last_step
        return int(self.read_status().get("step", 0))

    def stage(self, number: int) -> RunFolder:
        """The run of one stage, counted from 1."""
        return RunFolder(self.path / f"{STAGE}{number}")

    def fold(self, number: int) -> RunFolder:
        """The run of one fold, counted from 1."""
        return RunFolder(self.path / f"{FOLD}{number:02d}")

    def show(self, stage: RunFolder) -> None:
        """Put a stage's results at the top, where a run has them."""
        for part in ("log.csv", "unreadable.txt", "bundle", "predictions", "metrics"):
            source = stage.path / part
            for file in [source] if source.is_file() else sorted(source.rglob("*")):
                if file.is_file():
                    replace_file(self.path / file.relative_to(stage.path), file.read_bytes())

    def read_status(self) -> dict[str, Any]:
        """The status as last written; {} where there is none."""
        try:
            status = read_json(self.path / "status.json")
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except ValueError as problem:
            raise DataError(
                f"{self.path / 'status.json'}: not JSON ({problem}). Remove it and resume."
            ) from None
        if not isinstance(status, dict) or not isinstance(status.get("step", 0), int):
            raise DataError(
                f"{self.path / 'status.json'}: expected a state and a step, found other JSON. Remove it and resume."
            )
        return status

    def read_environment(self) -> dict[str, Any]:
        """Versions, hardware and where the data lay; {} where the file is missing."""
        try:
            environment = read_json(self.path / "environment.json")
        except (FileNotFoundError, ValueError):
            return {}
        return environment if isinstance(environment, dict) else {}

    def copy_to(self, out: Path) -> RunFolder:
        """Another folder that describes the same run, for judging it without touching the first."""
        target = RunFolder(out)
        for name in ("recipe.yaml", "environment.json", "log.csv", "bundle/config.json"):
            if (self.path / name).is_file():
                replace_file(out / name, (self.path / name).read_bytes())
        return target

    def read_recipe(self) -> Recipe:
        """The resolved recipe of this run.

        Raises:
            ModelError: there is no run here.
        """
        try:
            if not self.recipe.is_file():  # a pipe would keep us waiting
                raise FileNotFoundError(self.recipe)
            text = self.recipe.read_text("utf-8")
        except OSError:
            raise ModelError(
                f"{self.path}: expected a run, but it holds no recipe.yaml. Give --out of a training."
            ) from None
        except UnicodeDecodeError as problem:
            raise ModelError(f"{self.recipe}: not a text in UTF-8 ({problem}). Copy the run again.") from None
        title = text.partition("\n")[0].removeprefix("# ").partition(",")[0]
        return resolve(read_yaml(text, str(self.recipe)), str(self.recipe), name=title)

    def bundle_folder(self) -> Path:
        """The bundle, whether this is a run or already the bundle itself."""
        return self.path if (self.path / "config.json").is_file() else self.bundle
