"""What is known of a study's trials, in Optuna's tables: settings, figures of each epoch, how each ended.

A trial carries its number of the study, counted from 1; Optuna counts in the order in which they begin. It is begun by
whoever has claimed it, so there is one of each, and whoever takes it over finds it and goes on with the same.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mudra.errors import RecipeError
from mudra.sweeps.database import Database, again, told
from mudra.sweeps.study import HyperbandPruner, MedianPruner, Plan, Range

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

NUMBER, REASON, FIGURES = "mudra:number", "mudra:reason", "mudra:figures"
STUDY = "mudra:study"


@dataclass(frozen=True)
class Known:
    """What the database knows of a trial."""

    number: int
    state: str  # running, done, pruned or failed
    settings: Mapping[str, Any]
    value: float | None
    epochs: Mapping[int, float]
    figures: Mapping[str, Any]
    reason: str

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.state != "running"


class Trials:
    """The trials of one plan.

    Args:
        name: of the study in the database; studies of several names share one.
        epochs: of the plan's recipe, for pruners that count them.
    Raises:
        RecipeError: another study has this name there.
        OutputError: the database does not answer.
    """

    def __init__(self, plan: Plan, database: Database, name: str, epochs: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan = plan
        self.epochs = epochs
        self._database = database
        with self._quietly():
            storage = again(lambda: optuna.storages.RDBStorage(database.url, engine_kwargs=database.options))
            self._study = again(
                lambda: optuna.create_study(
                    storage=storage, study_name=name, direction=plan.study.direction, load_if_exists=True
                )
            )
            self._refuse_another(name)
        self._study.pruner = self._pruner()

    def known(self) -> dict[int, Known]:
        """All trials that were begun, by number."""
        with self._quietly():
            return {int(trial.user_attrs[NUMBER]): self._told(trial) for trial in self._frozen()}

    def begin(self, number: int) -> optuna.Trial:
        """The trial of this number: a new one, or the one that was cut. Only its owner may ask."""
        import optuna

        with self._quietly():
            found = self._find(number)
            if found is None:
                self._study.add_trial(self._fresh(number))
                found = self._find(number)
                assert found is not None
            self._study.sampler = self._sampler(number)
            return optuna.trial.Trial(self._study, found._trial_id)

    def settings(self, number: int, trial: optuna.Trial) -> dict[str, Any]:
        """What the trial changes: what the plan says, or what the sampler draws now or drew before."""
        if self.plan.fixed:
            return dict(self.plan.fixed[number - 1])
        with self._quietly():
            return {name: self._drawn(trial, name) for name in self.plan.study.space}

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        """Write down an epoch's figure; whether the pruner gives the trial up. Told twice, it is written once."""
        with self._quietly():
            if epoch not in self._study._storage.get_trial(trial._trial_id).intermediate_values:
                trial.report(value, epoch)
            return self.plan.study.pruner is not None and bool(trial.should_prune())

    def end(
        self, trial: optuna.Trial, state: str, value: float | None, figures: Mapping[str, Any], reason: str
    ) -> None:
        """Write down how a trial ended, once and for all: done, pruned or failed."""
        from optuna.trial import TrialState

        states = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        with self._quietly():
            if figures:
                trial.set_user_attr(FIGURES, dict(figures))
            if reason:
                trial.set_user_attr(REASON, reason[:1000])
            self._study.tell(trial.number, value if state == "done" else None, states[state])

    def importances(self) -> dict[str, float]:
        """How much of the differences each setting of a space explains, in shares of 1; {} where too few have ended."""
        import optuna

        done = [row for row in self.known().values() if row.state == "done" and row.value is not None]
        if not self.plan.study.space or len({row.value for row in done}) < 4:
            return {}
        with self._quietly():
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            return dict(optuna.importance.get_param_importances(self._study, evaluator=evaluator))

    # --- Optuna's side of it ------------------------------------------------------------------

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Its complaints in one line, and no word about what of it is experimental."""
        from optuna.exceptions import ExperimentalWarning

        with told(self._database), warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield

    def _frozen(self) -> list[FrozenTrial]:
        return [trial for trial in self._study.get_trials(deepcopy=False) if NUMBER in trial.user_attrs]

    def _find(self, number: int) -> FrozenTrial | None:
        return next((trial for trial in self._frozen() if trial.user_attrs[NUMBER] == number), None)

    def _fresh(self, number: int) -> FrozenTrial:
        """A trial that runs, with its settings where the plan says them."""
        import optuna

        fixed = self.plan.fixed
        settings = fixed[number - 1] if fixed else {}
        kinds: dict[str, BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(
                list(dict.fromkeys(_plain(row[name]) for row in fixed if name in row))
            )
            for name in settings
        }
        return optuna.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params={name: _plain(value) for name, value in settings.items()},
            distributions=kinds,
            user_attrs={NUMBER: number},
        )

    def _drawn(self, trial: optuna.Trial, name: str) -> Any:
        part = self.plan.study.space[name]
        if not isinstance(part, Range):
            values = {json.dumps(_plain(value)): value for value in part.choices}
            return values[
                json.dumps(trial.suggest_categorical(name, [_plain(value) for value in part.choices]))
            ]
        if isinstance(part.low, int) and isinstance(part.high, int):
            return trial.suggest_int(name, part.low, part.high, log=part.log, step=int(part.step or 1))
        return trial.suggest_float(name, part.low, part.high, log=part.log, step=part.step)

    def _told(self, trial: FrozenTrial) -> Known:
        from optuna.trial import TrialState

        states = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        state = states.get(trial.state, "running")
        number = int(trial.user_attrs[NUMBER])
        fixed = self.plan.fixed
        return Known(
            number=number,
            state=state,
            settings=fixed[number - 1] if fixed else trial.params,
            value=trial.value if state == "done" else None,
            epochs=dict(trial.intermediate_values),
            figures=trial.user_attrs.get(FIGURES, {}),
            reason=str(trial.user_attrs.get(REASON, "")),
        )

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """One for each trial, so that workers that begin together do not draw the same."""
        import optuna

        seed = (self.plan.study.seed * 1_000_003 + number) % 2**32
        if self.plan.study.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)

    def _pruner(self) -> optuna.pruners.BasePruner:
        import optuna

        pruner = self.plan.study.pruner
        if isinstance(pruner, MedianPruner):
            return optuna.pruners.MedianPruner(pruner.startup_trials, pruner.warmup_epochs)
        if isinstance(pruner, HyperbandPruner):
            return optuna.pruners.HyperbandPruner(pruner.min_epochs, self.epochs, pruner.reduction)
        return optuna.pruners.NopPruner()

    def _refuse_another(self, name: str) -> None:
        """A study that goes on must be the one that began, or its trials could not be compared."""
        text = json.dumps(self.plan.tree(), sort_keys=True)
        before = self._study.user_attrs.get(STUDY)
        if before is None:
            self._study.set_user_attr(STUDY, text)
        elif before != text:
            old, new = json.loads(before), self.plan.tree()
            changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
            raise RecipeError(
                f"{self.plan.place}: {', '.join(changed)} differ from the study {name!r} that began in "
                f"{self._database.shown}. Go on with the file that began it, or give another --out."
            )


def _plain(value: Any) -> Any:
    """A value as Optuna keeps it: lists and sections as JSON."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)
