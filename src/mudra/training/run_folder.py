"""What a run holds, and where: the one place that knows the names in a run's folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mudra.errors import DataError, ModelError, UsageError
from mudra.files import replace_file, write_json
from mudra.recipe import Recipe, read_yaml, resolve, write_yaml


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

    def predictions(self, split: str) -> Path:
        return self.path / "predictions" / f"{split}.parquet"

    def metrics(self, split: str) -> Path:
        return self.path / "metrics" / f"{split}.json"

    def start(self, recipe: Recipe, environment: dict[str, Any]) -> None:
        """Make the folder and write down what is about to be trained.

        Raises:
            UsageError: a run is there already.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(
                f"{self.path}: it is there already and not empty; choose another --out, or go on with --resume."
            )
        heading = f"# {recipe.name}, resolved. Repeat it: mudra train {self.recipe.name}\n"
        replace_file(self.recipe, (heading + write_yaml(recipe.tree())).encode())
        write_json(self.path / "environment.json", environment)

    def status(
        self, state: Literal["running", "stopped", "done", "failed"], step: int, exit_code: int = 0
    ) -> None:
        """Tell jobs, sweeps and restarts how the run stands."""
        write_json(self.path / "status.json", {"state": state, "step": step, "exit": exit_code})

    def read_status(self) -> dict[str, Any]:
        """The status as last written; {} where there is none."""
        try:
            status: dict[str, Any] = json.loads((self.path / "status.json").read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as problem:
            raise DataError(
                f"{self.path / 'status.json'}: not JSON ({problem}). Remove it and resume."
            ) from None
        return status

    def read_environment(self) -> dict[str, Any]:
        """Versions, hardware and where the data lay; {} where the file is missing."""
        try:
            environment: dict[str, Any] = json.loads((self.path / "environment.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return environment

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
            text = self.recipe.read_text("utf-8")
        except OSError:
            raise ModelError(
                f"{self.path}: expected a run, but it holds no recipe.yaml. Give --out of a training."
            ) from None
        title = text.partition("\n")[0].removeprefix("# ").partition(",")[0]
        return resolve(read_yaml(text, str(self.recipe)), str(self.recipe), name=title)

    def bundle_folder(self) -> Path:
        """The bundle, whether this is a run or already the bundle itself."""
        return self.path if (self.path / "config.json").is_file() else self.bundle
