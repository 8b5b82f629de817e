"""Which challenge's file a run can be submitted as, asked before its clips are looked at."""

from __future__ import annotations

from mudra import bundle as bundles
from mudra.datasets.montalbano import numbering
from mudra.datasets.opening import parse_location
from mudra.errors import UsageError
from mudra.predictions.submissions import Epic, Montalbano, Submission, submission
from mudra.predictions.submissions.epic import Supervision
from mudra.recipe import Recipe
from mudra.training.run_folder import RunFolder

PRETRAINED = ("pretrained", "weights")
"""What models call the setting that names published weights."""


def submission_of(
    run: RunFolder, name: str | None, sls: str | None, location: str | None = None
) -> Submission | None:
    """The format that `--submission` and `--sls` ask for, once the run's classes are found to fit it.

    Args:
        location: the data that will be judged.
    Raises:
        UsageError: there is no such format, or it takes no levels of supervision.
        DataError: the run's classes or its data are not the challenge's.
    """
    if name is None:
        if sls is not None:
            raise UsageError("--sls: it belongs to --submission epic; add that, or leave it out.")
        return None
    wanted = submission(name)
    if isinstance(wanted, Epic):
        levels = Supervision.parse(sls) if sls is not None else supervision_of(run.read_recipe())
        wanted = Epic(levels)
    elif sls is not None:
        raise UsageError(f"--sls: only --submission epic takes levels of supervision, not {name}.")
    wanted.check_classes(bundles.read_bundle(run.bundle).tasks)
    if isinstance(wanted, Montalbano):
        if location is None:
            raise UsageError("--submission montalbano: say where the clips are with --data montalbano:DIR.")
        kind, folder = parse_location(location)
        recipe = run.read_recipe().with_data(kind or "folder")  # its settings say where an import lies
        wanted = Montalbano(*numbering(recipe.data.read(folder)))  # type: ignore[attr-defined]
    return wanted


def supervision_of(recipe: Recipe) -> Supervision:
    """A training from scratch says so; weights that it began with are taken for those of public images and videos."""
    model = recipe.model.model_dump()
    begun = [recipe.train.init_from, *(stage.get("train", {}).get("init_from") for stage in recipe.stages)]
    pretrained = any(begun) or any(model.get(setting) for setting in PRETRAINED)
    return Supervision(pretraining=2 if pretrained else 0)
