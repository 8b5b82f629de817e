"""One training from recipe to run: read the data, build the model, train, judge, seal the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mudra import bundle as bundles
from mudra.bundle import Bundle, load_weights
from mudra.clips.layouts import fingerprint
from mudra.clips.loader import Clips, TrainingClips
from mudra.clips.manifest import Manifest
from mudra.clips.series import Scale
from mudra.datasets.opening import folds_of, open_data
from mudra.errors import (
    DataError,
    MudraError,
    NonFiniteError,
    OutputError,
    PrunedError,
    RecipeError,
    StoppedError,
)
from mudra.models import count_parameters
from mudra.models.hub import local_folder
from mudra.predictions import pooled, read
from mudra.progress import Progress, Say, silent
from mudra.recipe import Recipe
from mudra.training import checkpoints
from mudra.training.hardware import environment
from mudra.training.judging import evaluator_for, judge_splits, record
from mudra.training.loop import Hear, Trainer
from mudra.training.measuring import write_scales
from mudra.training.probing import Probing, freeze_all_but_classifiers, refuse_fresh_layers
from mudra.training.ranks import LostError, Team, join
from mudra.training.resuming import (
    ended,
    newest_checkpoint,
    refuse_other_recipe,
    restarted,
    with_precision,
    with_start,
)
from mudra.training.run_folder import RunFolder
from mudra.training.sealing import SPLIT, bundle_for
from mudra.training.starting import start_from
from mudra.training.stops import StopRequests
from mudra.types import UNLABELLED

NO_SCALES: Mapping[str, Scale] = {}

CARD = """\
# {name}

A recogniser made by mudra from the recipe `{name}`.

## Recognises

{tasks}

## Takes

{shapes}. {parameters:,} parameters, trained on {clips:,} clips; weights: {judged}.

## Use

```python
import mudra

recognizer = mudra.load("FOLDER")
{example}
```
"""

EXAMPLE_OF_ONE = 'print(recognizer.predict("clip.mp4").label)'
EXAMPLE_OF_SEVERAL = """\
for task, ranked in recognizer.predict("clip.mp4").tasks.items():
    print(task, ranked[0].name, ranked[0].probability)"""


@dataclass(frozen=True)
class Session:
    """Who trains, until when, and who hears of it."""

    team: Team
    stops: StopRequests
    say: Say
    progress: Progress
    hear: Hear | None = None


def train(
    recipe: Recipe,
    data: str | None,
    out: Path,
    *,
    resume: bool = False,
    init_from: str | Path | None = None,
    time_limit: float | None = None,
    stops: StopRequests | None = None,
    hear: Hear | None = None,
    alone: bool = False,
    say: Say = print,
    progress: Progress = silent,
) -> RunFolder:
    """Train a recipe into a run folder and judge it on the splits that the data has.

    Under `torchrun` or `srun` every process calls it; they train together, and the first one writes and talks.

    Args:
        data: what `--data` takes; None reads the recipe's own data set.
        resume: go on from the newest whole checkpoint in `out`.
        init_from: in place of the recipe's `train.init_from`. A resumed run keeps what it began with.
        time_limit: seconds after which the training stops at a step, with everything saved.
        stops: who asks for stops, in place of signals and `time_limit`; the caller has entered it.
        hear: told of each epoch that validation judged; may raise PrunedError.
        alone: whatever processes were started together, this one trains by itself.
    Raises:
        PrunedError: `hear` gave the training up; everything is saved.
        StoppedError: a signal or the time limit asked for it; everything is saved.
        MudraError: with the exit code that the command ends with.
    """
    run = RunFolder(out)
    asked = StopRequests(time_limit) if stops is None else nullcontext(stops)
    with asked as stops, join(recipe.train.device, alone=alone) as team, ExitStack() as stack:
        team.agree(lambda: stack.enter_context(run.locked()))
        if not team.leads:
            say, progress = _unheard, silent
        session = Session(team, stops, say, progress, hear)
        resume = resume or team.agree(lambda: restarted(run))
        if resume and (reason := team.agree(lambda: ended(run))):
            say(reason)
            return run
        recipe = with_start(recipe, init_from, run, team, resume)
        try:
            _train_any(recipe, data, run, session, resume)
        except (StoppedError, NonFiniteError) as problem:
            problem.told = not team.leads  # they are everybody's, and one tells
            raise
    return run


def _train_any(recipe: Recipe, data: str | None, run: RunFolder, session: Session, resume: bool) -> None:
    """A training with all that the recipe repeats: folds, and the stages of each."""
    if recipe.data.folds is not None and recipe.data.folds.test is None:
        _train_folds(recipe, data, run, session, resume)
    elif recipe.stages:
        _train_stages(recipe, data, run, session, resume)
    else:
        _train_one(recipe, data, run, session, resume, recipe.train.init_from)


def _train_one(
    recipe: Recipe,
    data: str | None,
    run: RunFolder,
    session: Session,
    resume: bool,
    init_from: str | Path | None,
) -> None:
    """A training without stages, in its own folder. What is refused is refused before anything is written."""
    team, say = session.team, session.say
    torch.set_float32_matmul_precision(recipe.train.matmul)
    recipe = with_precision(recipe, run, team, resume)
    recipe, manifest = _open(recipe, data, team)
    for note in manifest.notes:
        say(note)
    if resume:
        team.agree(lambda: refuse_other_recipe(run, recipe))
    if recipe.train.probe and init_from is None and not resume:
        raise RecipeError(
            f"train.probe: found {recipe.train.probe} and no weights to start from; what fresh weights make of a clip "
            "means nothing. Set train.init_from."
        )
    bundle = bundle_for(recipe, manifest, run, team, session.progress, resume=resume)
    place = None
    if resume:
        place = team.agree(lambda: newest_checkpoint(run, say))
    trainer = build_trainer(recipe, manifest, bundle, run, session, None if place else init_from)
    if place is not None:
        trainer.restore(checkpoints.read(place))
        team.gather(None)  # all have read it before the first, which leads, may write its step anew
        say(f"going on from step {trainer.counters.step}")
    with _told_in_status(run, team):
        if not resume:
            team.agree(lambda: _start(run, recipe, data, bundle.preprocessing.scales))
        trainer.fit()
        finish(trainer, bundle, manifest)


def _train_stages(recipe: Recipe, data: str | None, run: RunFolder, session: Session, resume: bool) -> None:
    """Trainings that follow one another, each from the weights of the one before. The last is the result."""
    team, say = session.team, session.say
    init_from: Path | None = None
    if resume:
        team.agree(lambda: refuse_other_recipe(run, recipe))
    with _told_in_status(run, team):
        if not resume:
            team.agree(lambda: _start(run, recipe, data))
        for number, changed in enumerate(recipe.stage_recipes(), 1):
            stage = run.stage(number)
            state = team.agree(stage.read_status).get("state")
            if state != "done":
                say(f"stage {number} of {len(recipe.stages)}")
                begun = state is not None
                _train_one(changed, data, stage, session, begun, changed.train.init_from or init_from)
            init_from = stage.path
        if team.leads:
            run.show(stage)


def _train_folds(recipe: Recipe, data: str | None, run: RunFolder, session: Session, resume: bool) -> None:
    """One training a fold; their test predictions together are the result."""
    team, say = session.team, session.say
    folds: list[Recipe] = []
    team.agree(lambda: folds.extend(folds_of(recipe, data)))
    folds = folds or folds_of(recipe, data)
    if resume:
        team.agree(lambda: refuse_other_recipe(run, recipe))
    with _told_in_status(run, team):
        if not resume:
            team.agree(lambda: _start(run, recipe, data))
        for number, changed in enumerate(folds, 1):
            fold = run.fold(number)
            state = team.agree(fold.read_status).get("state")
            if state != "done":
                say(f"fold {number} of {len(folds)}")
                _train_any(changed, data, fold, session, state is not None)
        if team.leads:
            tables = [read(run.fold(number).predictions("test")) for number in range(1, len(folds) + 1)]
            say(f"{len(folds)} folds together, every clip once:")
            record(run, "test", pooled(tables), say)


@contextmanager
def _told_in_status(run: RunFolder, team: Team) -> Iterator[None]:
    """Write into the run how the work in this block ended."""
    try:
        yield
    except LostError as problem:  # the process that failed writes why, unless it could not
        if team.leads and run.read_status().get("state") == "running":
            run.status("failed", run.last_step, problem.exit_code, str(problem))
        raise
    except StoppedError as problem:
        if team.leads:
            run.status("stopped", run.last_step, problem.exit_code, str(problem))
        raise
    except PrunedError as problem:
        if team.leads:
            run.status("pruned", run.last_step, problem.exit_code, str(problem))
        raise
    except MudraError as problem:
        with suppress(OutputError):  # the full disk that ended the work may not take this either
            run.status("failed", run.last_step, problem.exit_code, str(problem))
        raise
    if team.leads:
        run.status("done", run.last_step)


def build_trainer(
    recipe: Recipe,
    manifest: Manifest,
    bundle: Bundle,
    run: RunFolder,
    session: Session,
    init_from: str | Path | None = None,
) -> Trainer:
    """The trainer of a recipe, before its first step."""
    clips = TrainingClips(manifest.split("train"), bundle.preprocessing, recipe.augment, recipe.train.seed)
    say, team = session.say, session.team
    if recipe.augment.flip > 0 and not clips.may_flip:
        why = (
            "the data does not say which classes a mirror swaps. State it as `mirror` in dataset.json, or set "
            "augment.flip_is_harmless=true where no class has a side."
            if bundle.preprocessing.has_mirror
            else "the layout of its points names no left and right."
        )
        say(f"horizontal flip is off: {why}")
    _refuse_unlabelled(clips.manifest)
    torch.manual_seed(recipe.train.seed)
    model = bundle.build()
    if init_from is not None:
        team.agree(lambda: local_folder(init_from))  # what has to be fetched is fetched once
        anew = start_from(model, init_from, bundle, say)
        if recipe.train.probe:
            refuse_fresh_layers(anew, init_from)
    validation = manifest.split("val")
    probing: Probing | None = None
    looked_at: Clips = clips
    seen: Clips | None = None
    if recipe.train.probe:
        freeze_all_but_classifiers(model)
        probing = Probing(recipe, model, bundle, team)
        looked_at = probing.training(clips)
        seen = probing.evaluation(validation) if len(validation) else None
    evaluator = None
    if len(validation):
        evaluator = evaluator_for(recipe, validation, bundle.preprocessing, team, looked_at=seen)
    where = team.device.type if team.size == 1 else f"{team.size} processes ({team.device.type})"
    say(
        f"{recipe.name}: {parameters_of(model)}, {len(clips.manifest)} training clips, "
        f"{', '.join(f'{len(names)} classes of {task}' for task, names in bundle.tasks.items())}, on {where}"
    )
    facts: dict[str, Any] = {
        SPLIT: manifest.split_hash,
        **{
            f"the layout of {name}": fingerprint(bundle.preprocessing.streams[name])
            for name in bundle.preprocessing.layouts
        },
        **{f"the classes of {task}": list(names) for task, names in bundle.tasks.items()},
    }
    return Trainer(
        recipe,
        model,
        looked_at,
        evaluator,
        run,
        team,
        session.stops,
        facts=facts,
        say=say,
        progress=session.progress,
        hear=session.hear,
        probing=probing,
    )


def parameters_of(model: nn.Module) -> str:
    """How many parameters a model has, and how many of them learn.

    >>> parameters_of(nn.Linear(3, 2))
    '8 parameters'
    """
    learning, whole = count_parameters(model), count_parameters(model, trainable=False)
    return f"{whole:,} parameters" + (f", of which {learning:,} learn" if learning < whole else "")


def finish(trainer: Trainer, bundle: Bundle, manifest: Manifest) -> None:
    """Seal the chosen weights and judge them on every split that has clips."""
    run, recipe, team = trainer.run, trainer.recipe, trainer.team
    saved = checkpoints.read(checkpoints.folder_of(run.checkpoints, trainer.chosen_step))
    load_weights(trainer.model, saved.weights, saved.path)
    if team.leads:
        bundles.write_bundle(run.bundle, bundle, saved.weights, card(recipe, bundle, trainer))
    judge_splits(
        run,
        recipe,
        trainer.model,
        manifest,
        bundle.preprocessing,
        team,
        say=trainer.say,
        progress=trainer.progress,
        check=trainer.stop_if_asked,
    )


def card(recipe: Recipe, bundle: Bundle, trainer: Trainer) -> str:
    """The bundle's README: what it recognises, how it was trained, how to use it."""
    tasks = "\n".join(f"- {task}: {', '.join(names)}" for task, names in bundle.tasks.items())
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in bundle.preprocessing.inputs.items())
    judged = (
        f"best of validation, {'mean ' if len(bundle.tasks) > 1 else ''}top-1 {trainer.counters.best_score:.1%}"
        if trainer.chosen_step == trainer.counters.best_step
        else "the last"
    )
    return CARD.format(
        name=recipe.name,
        tasks=tasks,
        shapes=shapes,
        parameters=count_parameters(trainer.model, trainable=False),
        clips=len(trainer.clips.manifest),
        judged=judged,
        example=EXAMPLE_OF_SEVERAL if len(bundle.tasks) > 1 else EXAMPLE_OF_ONE,
    )


def _open(recipe: Recipe, data: str | None, team: Team) -> tuple[Recipe, Manifest]:
    """The data, for the leading process first: what is made on first use is made once."""
    opened: list[tuple[Recipe, Manifest]] = []
    team.agree(lambda: opened.append(open_data(recipe, data)))
    return opened[0] if opened else open_data(recipe, data)


def _start(run: RunFolder, recipe: Recipe, data: str | None, scales: Mapping[str, Scale] = NO_SCALES) -> None:
    """Begin a run: what is trained, on what machine, from which data, and what was measured of that."""
    place = str(Path(data).resolve()) if data and Path(data).exists() else data
    run.start(recipe, {**environment(recipe.train.seed), "data": place})
    write_scales(run, scales)
    run.status("running", 0)


def _refuse_unlabelled(train: Manifest) -> None:
    for task in train.tasks:
        if (train.targets(task) == UNLABELLED).all():
            raise DataError(
                f"{train.name}: no training clip has a {task}; label them or leave it out of data.tasks."
            )
        if len(train.tasks[task]) < 2:
            raise DataError(
                f"{train.name}: {task} has one class, {train.tasks[task][0]!r}; a recogniser needs at least two."
            )


def _unheard(_line: str) -> None:
    """What all processes would say is said by one."""
