"""What a training that goes on finds: how the run stands, where it was, and that it is the same training."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from mudra.errors import RecipeError
from mudra.progress import Say
from mudra.recipe import Recipe
from mudra.training import checkpoints
from mudra.training.hardware import choose_precision
from mudra.training.ranks import Team
from mudra.training.run_folder import LAUNCHES, RunFolder

# what may differ when a run is resumed, because no result depends on it
FREE = {("train", key) for key in ("workers", "log_every", "save_every", "keep", "read_limit")}


def restarted(run: RunFolder) -> bool:
    """Whether torchrun or SLURM has started this process again for the launch that began the run: go on with it."""
    return _again("TORCHELASTIC", run) or _again("SLURM", run)


def ended(run: RunFolder) -> str:
    """Why there is nothing to go on with, or ""."""
    state = run.read_status().get("state")
    if state == "done":
        return f"{run.path}: the training is done; nothing to resume."
    if state == "stopped" and _again("TORCHELASTIC", run):  # SLURM stops a job in order to start it again
        return (
            f"{run.path}: this launch was stopped on request and is not started again; go on with --resume."
        )
    return ""


def _again(who: str, run: RunFolder) -> bool:
    count = os.environ.get(f"{who}_RESTART_COUNT", "0")
    again = count.isdecimal() and int(count) > 0
    key, name = LAUNCHES[who]
    return again and run.read_status().get(key) == os.environ.get(name)


def newest_checkpoint(run: RunFolder, say: Say) -> Path | None:
    """The checkpoint to go on from; None where the run was cut before its first one was whole."""
    checkpoints.recover(run.checkpoints)
    if not checkpoints.steps(run.checkpoints) and run.read_status().get("step", 0) == 0:
        say("no checkpoint was written yet: starting at the first step")
        return None
    path, broken = checkpoints.newest(run.checkpoints)
    for reason in broken:
        say(f"warning: {reason}")
    return path


def with_precision(recipe: Recipe, run: RunFolder, team: Team, resume: bool) -> Recipe:
    """Say once for the whole run what `auto` precision is here; a resumed run keeps what it began with."""
    wanted = recipe.train.precision
    if wanted == "auto" and resume:
        wanted = team.agree(run.read_recipe).train.precision
    precision = choose_precision(wanted, team.device)
    return replace(recipe, train=recipe.train.model_copy(update={"precision": precision}))


def with_start(
    recipe: Recipe, init_from: str | Path | None, run: RunFolder, team: Team, resume: bool
) -> Recipe:
    """Write down where the first weights come from; a resumed run keeps what it began with."""
    start = recipe.train.init_from if init_from is None else str(init_from)
    if resume:
        start = team.agree(run.read_recipe).train.init_from
    return replace(recipe, train=recipe.train.model_copy(update={"init_from": start}))


def refuse_other_recipe(run: RunFolder, recipe: Recipe) -> None:
    """Resuming must go on with the very recipe, or the result would be neither's."""
    before, now = run.read_recipe().tree(), recipe.tree()
    changed = []
    for section in sorted(before.keys() | now.keys()):
        old, new = before.get(section), now.get(section)
        if not (isinstance(old, dict) and isinstance(new, dict)):
            changed += [f"{section} was {old!r} and is now {new!r}"] if old != new else []
            continue
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key) and (section, key) not in FREE:
                changed.append(f"{section}.{key} was {old.get(key)!r} and is now {new.get(key)!r}")
    if changed:
        raise RecipeError(
            f"{run.path}: {'; '.join(changed)}. Resume with the recipe that began the run, or train into another "
            "folder."
        )
