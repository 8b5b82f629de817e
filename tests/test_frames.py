"""Frame models: where windows lie, what is frozen, what published weights become, tasks that look at each other."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from mudra import recipe as recipes
from mudra.bundle import read_weights
from mudra.errors import ModelError
from mudra.models import count_parameters
from mudra.models.cross_task import BranchLayer, TaskBranches
from mudra.models.frames import Frames, FramesSettings
from mudra.models.freezing import moving_statistics
from mudra.models.temporal import LSTM, Transformer
from mudra.reports.catalogue import counts
from mudra.sections import OptimSettings
from mudra.training.optimisers import build_optimiser, lr_scales
from mudra.training.train import train
from tests.tiny import tiny_recipe, train_tiny, write_bars, write_two_tasks

INPUTS = {"video": (6, 3, 16, 16)}
CLASSES = {"verb": 4, "noun": 3}
SMALL = {"backbone": "test_resnet", "width": 16, "heads": 2, "depth": 1}
EPIC = [
    name
    for name in recipes.catalogue()
    if name.startswith("epic-") and recipes.load(name).model.kind == "frames"
]
TWINS = ["puppets-resnet-mean", "puppets-resnet-lstm", "puppets-resnet-transformer", "puppets-efficientnet-lstm",
         "puppets-efficientnet-transformer", "puppets-regularised", "puppets-cross-task"]  # fmt: skip


def network(inputs=None, classes=None, **settings):
    torch.manual_seed(0)
    return Frames(FramesSettings(**{**SMALL, **settings}), inputs or INPUTS, classes or CLASSES)


def clips(count=2, frames=6, channels=3, side=16, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, frames, channels, side, side, generator=generator)


# --- the backbone -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_a_frame_is_looked_at_as_timm_alone_looks_at_it(name):
    model = network(backbone=name, inputs={"video": (6, 3, 32, 32)}).eval()
    video = clips(side=32)
    alone = timm.create_model(name, num_classes=0, **({"img_size": 32} if name == "test_vit" else {})).eval()
    alone.load_state_dict(model.backbone.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(
            model.look(video).flatten(0, 1), alone(video.flatten(0, 1)), rtol=1e-4, atol=1e-5
        )


def test_frames_in_parts_are_looked_at_alike():
    whole, parts = network().eval(), network(frames_at_once=5).eval()
    with torch.no_grad():
        torch.testing.assert_close(parts.look(clips()), whole.look(clips()))
    assert parts.train()({"video": clips()})["verb"].requires_grad  # in training the whole batch is one


def test_computing_again_gives_the_same_gradients():
    plain, again = (network(backbone="test_vit", gradient_checkpointing=on).train() for on in (False, True))
    for model in (plain, again):
        sum(row.square().sum() for row in model({"video": clips()}).values()).backward()
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)


def test_computing_again_is_refused_where_batch_norm_would_count_twice():
    with pytest.raises(ModelError, match="batch norm that trains"):
        network(gradient_checkpointing=True)


@pytest.mark.parametrize(
    "name", ["resnet51", "hf_hub:someone/something", "local-dir:/tmp", "ResNet50", "a.b.c"]
)
def test_a_backbone_that_timm_does_not_have_is_told_in_one_line(name):
    with pytest.raises(ModelError, match=r"model\.backbone: timm has no network") as told:
        network(backbone=name)
    assert "\n" not in str(told.value)


def test_settings_that_a_backbone_does_not_have_are_told_in_one_line():
    with pytest.raises(ModelError, match="vgg11 cannot be built") as told:
        network(backbone="vgg11", backbone_drop_path=0.1)
    assert "\n" not in str(told.value)


# --- frozen stages ------------------------------------------------------------------------------------


def test_stages_are_frozen_from_the_stem_on():
    frozen = [
        name for name, weight in network(frozen_stages=2).named_parameters() if not weight.requires_grad
    ]
    assert {name.split(".")[1] for name in frozen} == {"conv1", "bn1", "layer1"}
    assert moving_statistics(network(frozen_stages=2))[0].startswith("backbone.layer2")
    assert moving_statistics(network(frozen_stages=5)) == []
    with pytest.raises(ModelError, match="frozen_stages: found 6, but test_resnet has 5 stages"):
        network(frozen_stages=6)


def test_a_frozen_backbone_is_one_function_in_training_too():
    model = network(frozen_stages=5, backbone_drop_path=0.5).train()
    before = {name: x.clone() for name, x in model.backbone.state_dict().items()}
    assert torch.equal(model.look(clips()), model.look(clips()))
    assert all(torch.equal(x, before[name]) for name, x in model.backbone.state_dict().items())


def test_layers_rise_from_the_stem_to_the_classifiers():
    model = network(temporal="transformer", branches="crossed")
    of = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    assert of["backbone.conv1.0.weight" if "backbone.conv1.0.weight" in of else "backbone.conv1.weight"] == 0
    assert of["backbone.layer1.0.conv1.weight"] < of["backbone.layer4.0.conv1.weight"] < of["project.weight"]
    assert (
        of["project.weight"]
        < of["branches.entries.0.weight"]
        == of["heads.to_verb.weight"]
        == max(of.values())
    )
    settings = OptimSettings(layer_decay=0.5)
    groups = build_optimiser(settings, model, lr_scales(settings, model)).param_groups
    assert len({group["lr_scale"] for group in groups}) == max(of.values()) + 1


# --- along time ---------------------------------------------------------------------------------------


def seen_by(model, frames, width=8):
    """Which frames each frame's answer depends on: bool [T, T]."""
    x = torch.randn(1, frames, width, requires_grad=True)
    answer = model(x)
    rows = [
        torch.autograd.grad(answer[0, t].square().sum(), x, retain_graph=True)[0][0] for t in range(frames)
    ]
    return torch.stack([row.abs().sum(-1) > 0 for row in rows])


@pytest.mark.parametrize("window", [1, 2, 4, 5, 8, 16, 99])
def test_windows_slide_over_the_whole_clip(window):
    torch.manual_seed(0)
    model = Transformer(
        8, 1, 2, mlp_ratio=1.0, dropout=0.0, attention_dropout=0.0, drop_path=0.0, window=window
    )
    seen = seen_by(model, 12)
    assert (seen.sum(1) == min(window, 12)).all()  # every window is full
    for place, row in enumerate(seen):
        inside = row.nonzero().flatten().tolist()
        assert place in inside
        assert inside == list(range(inside[0], inside[0] + len(inside)))  # neighbours
    assert seen[0, 0]
    assert seen[-1, -1]  # the last frames count as the first do
    assert seen.any(0).all()


@pytest.mark.parametrize("temporal", ["mean", "lstm", "transformer", "multiscale"])
def test_only_the_mean_does_not_mind_the_order(temporal):
    model = network(temporal=temporal).eval()
    forwards, backwards = model({"video": clips()})["verb"], model({"video": clips().flip(1)})["verb"]
    assert torch.allclose(forwards, backwards, atol=1e-6) == (temporal == "mean")


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("temporal", ["lstm", "transformer", "multiscale"])
def test_a_clip_may_have_another_length(temporal, positions):
    model = network(temporal=temporal, positions=positions, branches="crossed").eval()
    assert model({"video": clips(frames=9)})["noun"].isfinite().all()


def test_an_lstm_is_added_to_what_it_looks_at():
    model = LSTM(8, 2, 0.0)
    for weight in model.parameters():
        torch.nn.init.zeros_(weight)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(model(x), x)


@pytest.mark.parametrize("branches", ["separate", "crossed"])
def test_layers_start_quiet(branches):
    """At the start the layers below are heard through those above: each branch of a layer adds a tenth of its own."""
    model = network(temporal="transformer", branches=branches)
    lasts = {
        name: weight
        for name, weight in model.named_parameters()
        if name.endswith(("projection.weight", "mlp.down.weight")) and not name.startswith("backbone.")
    }
    assert len(lasts) == 2 + 2 * (2 + (branches == "crossed"))
    for name, weight in lasts.items():
        assert 0 < weight.std() < 0.3 / weight.shape[1] ** 0.5, name


@pytest.mark.parametrize("temporal", ["lstm", "transformer", "multiscale"])
def test_frames_are_heard_alike_however_loud_they_are(temporal):
    model = network(temporal=temporal).eval()
    answer = model({"video": clips()})["verb"]
    with torch.no_grad():
        model.project.weight.mul_(50)
        model.project.bias.mul_(50)
    torch.testing.assert_close(model({"video": clips()})["verb"], answer, rtol=0.05, atol=0.01)


def test_an_odd_width_of_heads_is_refused_before_it_fails():
    with pytest.raises(ModelError, match="rotary phases turn pairs"):
        network(temporal="transformer", width=10)
    with pytest.raises(ModelError, match="3 heads cannot share"):
        network(temporal="transformer", heads=3)


# --- tasks that look at each other ----------------------------------------------------------------------


def crossing(model):
    return {name: weight for name, weight in model.named_parameters() if ".crossings." in name}


def test_attention_between_tasks_learns_what_to_look_at():
    """Queries and keys have slopes: with one key to choose from they would have none."""
    model = network(branches="crossed", branch_depth=2).train()
    model({"video": clips()})["verb"].square().sum().backward()
    layer = model.branches.layers[0].crossings
    for cross in layer:
        keys, _values = cross.key_value.weight.grad.chunk(2)
        assert cross.query.weight.grad.abs().max() > 1e-8
        assert keys.abs().max() > 1e-8
    assert count_parameters(model) - count_parameters(network(branches="separate", branch_depth=2)) == sum(
        weight.numel() for weight in crossing(model).values()
    )


def test_tasks_look_at_each_other_at_the_same_moment():
    """What a branch becomes depends on what the others were, not on what they became."""
    torch.manual_seed(0)
    layer = BranchLayer(
        3, 8, 2, crossed=True, mlp_ratio=1.0, dropout=0.0, attention_dropout=0.0, drop_path=0.0
    ).eval()
    before = [torch.randn(2, 5, 8) for _ in range(3)]
    after = layer(before, None)
    for order in ([1, 2, 0], [2, 1, 0]):  # the tasks in another order, each with its own weights
        turned = BranchLayer(
            3, 8, 2, crossed=True, mlp_ratio=1.0, dropout=0.0, attention_dropout=0.0, drop_path=0.0
        ).eval()
        for place, task in enumerate(order):
            turned.crossings[place].load_state_dict(layer.crossings[task].state_dict())
            turned.own[place].load_state_dict(layer.own[task].state_dict())
        for place, x in enumerate(turned([before[task] for task in order], None)):
            torch.testing.assert_close(x, after[order[place]])


@pytest.mark.parametrize("crossed", [True, False])
def test_a_task_knows_of_the_others_only_where_they_look_at_each_other(crossed):
    torch.manual_seed(0)
    branches = TaskBranches(
        2, 8, 2, depth=1, crossed=crossed, mlp_ratio=1.0, dropout=0.0, attention_dropout=0.0, drop_path=0.0
    )
    answer = branches(torch.randn(2, 5, 8))
    answer[:, :8].sum().backward()  # of the first task alone
    touched = {
        name for name, weight in branches.named_parameters() if weight.grad is not None and weight.grad.any()
    }
    assert ("entries.1.weight" in touched) == crossed
    assert "norms.1.weight" not in touched


def test_nothing_to_choose_among_is_refused():
    with pytest.raises(ModelError, match="at least two of each"):
        network(branches="crossed", classes={"verb": 3})
    with pytest.raises(ModelError, match="at least two of each"):
        network(branches="crossed", inputs={"video": (1, 3, 16, 16)})


# --- published weights ----------------------------------------------------------------------------------


def published(path, name="test_efficientnet", **options):
    torch.manual_seed(5)
    theirs = timm.create_model(name, num_classes=1000, **options)
    save_file(theirs.state_dict(), path)
    return theirs


def test_a_training_starts_from_a_file_of_timms_weights(tmp_path):
    theirs = published(tmp_path / "model.safetensors")
    bars = write_bars(tmp_path / "bars", {"train": 8, "test": 4})
    said = []
    recipe = tiny_recipe(
        model={"kind": "frames", "backbone": "test_efficientnet", "frozen_stages": 6},
        clip={"frames": 4, "size": 16, "resize": "stretch", "mean": [0.5, 0.5, 0.5]},
        train={"epochs": 1, "init_from": str(tmp_path / "model.safetensors")},
    )
    run = train(recipe, str(bars), tmp_path / "run", say=said.append)
    ours = read_weights(run.bundle / "model.safetensors")
    assert torch.equal(ours["backbone.blocks.1.0.conv_exp.weight"], theirs.blocks[1][0].conv_exp.weight)
    assert any("trained with clip.mean (0.485" in line for line in said)


def test_published_weights_come_to_other_channels_and_sizes(tmp_path):
    state = published(tmp_path / "a.safetensors", "test_vit").state_dict()
    model = network(backbone="test_vit", inputs={"depth": (4, 1, 32, 32)})
    ours = model.from_published(state, "here")
    assert ours["backbone.patch_embed.proj.weight"].shape[1] == 1
    torch.testing.assert_close(
        ours["backbone.patch_embed.proj.weight"], state["patch_embed.proj.weight"].sum(1, keepdim=True)
    )
    assert ours.keys() == {f"backbone.{name}" for name in model.backbone.state_dict()}
    assert all(x.shape == model.state_dict()[name].shape for name, x in ours.items())


def test_differences_are_not_looked_at_at_first(tmp_path):
    state = published(tmp_path / "a.safetensors").state_dict()
    plain, twice = (
        network(backbone="test_efficientnet"),
        network(backbone="test_efficientnet", frame_differences=True),
    )
    for model in (plain, twice):
        model.load_state_dict({**model.state_dict(), **model.from_published(state, "here")})
    with torch.no_grad():
        torch.testing.assert_close(twice.eval().look(clips()), plain.eval().look(clips()))


@pytest.mark.parametrize("change", ["another network", "a hole"])
def test_weights_of_another_network_are_refused_in_one_line(tmp_path, change):
    state = dict(published(tmp_path / "a.safetensors").state_dict())
    model = network(backbone="test_resnet" if change == "another network" else "test_efficientnet")
    if change == "a hole":
        state.pop("blocks.1.0.conv_exp.weight")
    with pytest.raises(ModelError, match=r"expected the weights|not the weights") as told:
        model.from_published(state, "there.safetensors")
    assert "\n" not in str(told.value)


def test_what_the_hub_does_not_give_is_told_in_one_line(monkeypatch):
    def offline(*_, **__):
        raise OSError("Name or service\nnot known")

    model = network()
    with monkeypatch.context() as patched:
        patched.setattr(timm, "create_model", offline)
        with pytest.raises(
            ModelError, match=r"timm:test_resnet\.r160_in1k: could not be fetched .*give the file"
        ) as told:
            model.fetch_published("test_resnet.r160_in1k")
    assert "\n" not in str(told.value)
    for name in ("test_resnet.nothing", "resnet50.a1_in1k", "hf_hub:a/b"):
        with pytest.raises(ModelError, match="no such weights of test_resnet"):
            model.fetch_published(name)


# --- recipes ------------------------------------------------------------------------------------------------


def test_each_variant_of_the_study_is_a_network_of_its_own():
    shapes = {}
    for name in [*EPIC, *TWINS]:
        recipe = recipes.load(name)
        with torch.device("meta"):
            model = Frames(recipe.model, {"video": (16, 3, 64, 64)}, CLASSES)
        shapes[name] = tuple((key, tuple(x.shape), x.requires_grad) for key, x in model.named_parameters())
    alike = {"puppets-resnet-transformer", "puppets-regularised"}  # the same blocks, regularised
    distinct = {shape for name, shape in shapes.items() if name != "puppets-regularised"}
    assert len(EPIC) == 7
    assert len(distinct) == len(shapes) - 1
    assert recipes.load("puppets-regularised").model != recipes.load("puppets-resnet-transformer").model
    assert alike <= shapes.keys()


@pytest.mark.parametrize("name", EPIC)
def test_sizes_are_near_the_announced_ones(name):
    recipe = recipes.load(name)
    announced = float(recipe.about["Announced"].split()[0]) * 1e6
    assert abs(counts(recipe)[0] / announced - 1) <= 0.15


def test_a_clip_is_altered_as_the_study_says():
    augment = recipes.load("epic-regularised").augment
    assert (augment.rotate, augment.grey, augment.erase, augment.flip) == (15, 0.1, 0.15, 0.5)
    assert min(augment.brightness, augment.contrast, augment.saturation, augment.hue) > 0


@pytest.mark.parametrize("name", TWINS)
def test_the_small_twins_train(name, tmp_path):
    data = write_two_tasks(tmp_path / "data", {"train": 8, "val": 4, "test": 4})
    changes = ["train.epochs=2", "train.batch=4", "clip.size=32", "data.tasks=null", "train.device=cpu"]
    recipe = recipes.load(name, changes).with_data("folder")
    run = train_tiny(recipe, data, tmp_path / "run")
    assert run.predictions("test").is_file()
