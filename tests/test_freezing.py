"""Frozen stages stay as they are; batch norm that trains, alone, averaged, resumed, and over several processes."""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mudra.bundle import build_model
from mudra.clips.loader import Batches, TrainingClips, epoch_order, training_batches
from mudra.clips.preprocessing import Preprocessing
from mudra.datasets.opening import open_data
from mudra.errors import ModelError
from mudra.models import count_parameters
from mudra.models.freezing import moving_statistics
from mudra.sections import OptimSettings
from mudra.training.batch_norm import SharedBatchNorm, share_batch_norm, uncounted
from mudra.training.optimisers import build_optimiser
from mudra.training.ranks import Team, join
from mudra.training.run_folder import RunFolder
from mudra.training.step import Stepper
from tests.normed import Normed, NormedSettings, normed  # noqa: F401
from tests.teams import together
from tests.tiny import tiny_recipe, train_tiny, write_bars

pytestmark = [
    pytest.mark.usefixtures("normed"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
INPUTS = {"video": (2, 3, 16, 16)}
SETTINGS = {"model": {"kind": "normed"}, "train": {"epochs": 3, "ema": 0.9, "save_every": 1}}


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("bars"), {"train": 29, "val": 9, "test": 11})


def network(frozen=0, drop=0.0):
    torch.manual_seed(0)
    return Normed(NormedSettings(frozen_stages=frozen, drop=drop), INPUTS, {"label": 2})


def test_what_is_frozen_neither_trains_nor_counts():
    model = network(frozen=1)
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen == {"stages.0.0.weight", "stages.0.1.weight", "stages.0.1.bias"}
    assert count_parameters(model) == count_parameters(network()) - 3 * 4 * 9 - 2 * 4
    optimiser = build_optimiser(OptimSettings(), model)
    held = {id(weight) for group in optimiser.param_groups for weight in group["params"]}
    assert held == {id(weight) for weight in model.parameters() if weight.requires_grad}


def test_frozen_layers_stay_in_evaluation_whatever_contains_them():
    whole = torch.nn.Sequential(network(frozen=1, drop=0.5)).train()
    assert [name for name, part in whole.named_modules() if name and not part.training] == [
        "0.stages.0", "0.stages.0.0", "0.stages.0.1", "0.stages.0.1.drop", "0.stages.0.1.act", "0.stages.0.2",
    ]  # fmt: skip
    assert all(part.training for part in copy.deepcopy(whole)[0].stages[1].modules())
    assert not copy.deepcopy(whole).eval().train()[0].stages[0][1].training
    assert moving_statistics(whole) == ["0.stages.1.1"]
    assert not any(part.training for part in whole.eval().modules())


def test_looking_for_moving_statistics_leaves_the_mode_alone():
    model = network(frozen=1).eval()
    assert moving_statistics(model) == ["stages.1.1"]
    assert not model.training


def test_more_stages_than_there_are_cannot_be_frozen():
    with pytest.raises(ModelError, match=r"frozen_stages: found 3, but this network has 2 stages"):
        network(frozen=3)


def test_a_training_leaves_what_is_frozen_to_the_last_bit(bars, tmp_path):
    frozen = {"model": {"kind": "normed", "frozen_stages": 1, "drop": 0.3}, "train": dict(SETTINGS["train"])}
    frozen["train"] |= {"keep": 99}
    run = train_tiny(tiny_recipe(**frozen), bars, tmp_path / "run")
    steps = sorted(run.checkpoints.glob("step-*"))
    for name in ("model", "ema"):
        first, last = (load_file(step / f"{name}.safetensors") for step in (steps[0], steps[-1]))
        same = {key for key in first if torch.equal(first[key], last[key])}
        assert same == {key for key in first if key.startswith("stages.0.")}
        assert last["stages.1.1.running_mean"].any()
    moments = load_file(steps[-1] / "optimiser.safetensors")
    assert not any("stages.0" in key for key in moments)


def test_the_average_holds_averaged_statistics(bars, tmp_path):
    run = train_tiny(tiny_recipe(**SETTINGS), bars, tmp_path / "run")
    last = sorted(run.checkpoints.glob("step-*"))[-1]
    own, averaged = load_file(last / "model.safetensors"), load_file(last / "ema.safetensors")
    for name in ("stages.0.1.running_mean", "stages.1.1.running_var"):
        assert own[name].isfinite().all()
        assert not torch.equal(own[name], averaged[name])
    assert own["stages.0.1.num_batches_tracked"] == averaged["stages.0.1.num_batches_tracked"] == 12


def steps_of_an_epoch(data, settings):
    """Gradients of every step at the first weights, and the statistics that are kept in the end."""
    recipe = tiny_recipe(**settings)
    with join("cpu") as here:
        recipe, manifest = open_data(recipe, str(data))
        preprocessing = Preprocessing(recipe.clip, manifest.streams)
        clips = TrainingClips(manifest.split("train"), preprocessing, recipe.augment, 0)
        torch.manual_seed(0)
        model = build_model(recipe.model, preprocessing.inputs, {"label": 2}).double()
        stepper = Stepper(recipe, model, clips, here)
        found = []
        stepper._update = lambda loss, clips, step: (
            found.append({name: p.grad.clone() for name, p in model.named_parameters()}),
            (0.0, False),
        )[1]
        order = epoch_order(clips.manifest, 0, 0)
        places = training_batches(order, 0, recipe.train.batch, 1, 0, here.share)
        for step, part in enumerate(Batches(clips, 0, tasks=("label",)).read(places)):
            part.streams = {name: x.double() for name, x in part.streams.items()}
            stepper.take([part], step, 1.0)
            model.zero_grad()
        found.append(dict(model.named_buffers()))
        return [{name: x.numpy().copy() for name, x in step.items()} for step in found]


@pytest.mark.parametrize(
    "batch", [8, 14]
)  # of 29 clips: the last step has 5, or 1, which all but one do not have
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_the_number_of_processes_changes_no_gradient_and_no_statistic(bars, batch, mixup):
    settings = {"model": {"kind": "normed"}, "train": {"batch": batch}, "augment": {"mixup": mixup}}
    alone = steps_of_an_epoch(bars, settings)
    for size in (2, 3):
        outcomes = together(size, lambda: steps_of_an_epoch(bars, settings))
        assert [outcome.code for outcome in outcomes] == [0] * size, outcomes
        for outcome in outcomes:
            for one, other in zip(alone, outcome.value, strict=True):
                assert one.keys() == other.keys()
                for name in one:
                    np.testing.assert_allclose(
                        other[name], one[name], rtol=0, atol=1e-12 * max(np.abs(one[name]).max(), 1e-9)
                    )


@pytest.mark.parametrize("size", [1, 2])
def test_a_training_with_batch_norm_goes_on_to_the_same_bits(bars, tmp_path, monkeypatch, size):
    recipe = tiny_recipe(**SETTINGS)

    def run(out, **options):
        outcomes = together(size, lambda: train_tiny(recipe, bars, out, **options).path)
        return [outcome.code for outcome in outcomes]

    assert run(tmp_path / "whole") == [0] * size
    assert run(tmp_path / "cut", time_limit=0.0) == [75] * size
    assert run(tmp_path / "cut", resume=True) == [0] * size
    ends = [sorted(RunFolder(tmp_path / name).checkpoints.glob("step-*"))[-1] for name in ("whole", "cut")]
    for name in ("model", "ema", "optimiser"):
        one, other = ((end / f"{name}.safetensors").read_bytes() for end in ends)
        assert one == other


def test_statistics_over_processes_have_the_activation_of_the_layer_they_stand_for():
    model = network().double()
    twin = copy.deepcopy(model)
    share_batch_norm(twin)
    assert isinstance(twin.stages[0][1], SharedBatchNorm)
    assert [name for name, _ in twin.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert twin.state_dict().keys() == model.state_dict().keys()
    video = torch.randn(3, *INPUTS["video"], dtype=torch.float64)
    assert torch.equal(twin.eval()({"video": video})["label"], model.eval()({"video": video})["label"])


def empty_micro_batch():
    """What is kept when no process has a clip of a micro-batch, or one alone."""
    with join("cpu") as here:
        assert isinstance(here, Team)
        model = network().double().train()
        share_batch_norm(model)
        before = {name: x.clone() for name, x in model.named_buffers()}
        stand_in = {"video": torch.zeros(1, *INPUTS["video"], dtype=torch.float64)}
        with uncounted(model):
            model(stand_in)
        return all(torch.equal(x, before[name]) for name, x in model.named_buffers())


def test_a_micro_batch_without_a_clip_moves_no_statistics():
    assert [outcome.value for outcome in together(2, empty_micro_batch)] == [True, True]
