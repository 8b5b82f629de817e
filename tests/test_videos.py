"""torchvision's video networks: the published sizes and answers, their weights from files, other lengths and sizes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models
from torchvision.models.video import VideoResNet
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, R2Plus1dStem

from mudra.errors import ModelError
from mudra.models import count_parameters, flops
from mudra.models.videos import VideoNetwork, VideoSettings

# Parameters with 400 classes and GFLOPs (a multiplication with its addition as one), as torchvision states them.
PUBLISHED = {
    "r2plus1d_18": (31_505_325, 40.519, (16, 112)),
    "r3d_18": (33_371_472, 40.697, (16, 112)),
    "mc3_18": (11_695_440, 43.343, (16, 112)),
    "s3d": (8_320_048, 17.979, (16, 224)),
    "mvit_v1_b": (36_610_672, 70.599, (16, 224)),
    "mvit_v2_s": (34_537_744, 64.224, (16, 224)),
    "swin3d_t": (28_158_070, 43.882, (16, 224)),
    "swin3d_s": (49_816_678, 82.841, (16, 224)),
    "swin3d_b": (88_048_984, 140.667, (16, 224)),
}
NARROW = {"width_multiple": 0.125, "blocks": (1, 1, 1, 1)}
SMALL = (4, 3, 16, 16)


def build(shape: tuple[int, ...] = SMALL, stream: str = "video", **settings: Any) -> VideoNetwork:
    torch.manual_seed(0)
    return VideoNetwork(VideoSettings(**settings), {stream: shape}, {"label": 5}).eval()


def ghost(shape: tuple[int, ...], classes: int = 5, **settings: Any) -> VideoNetwork:
    """Built without memory."""
    with torch.device("meta"):
        return VideoNetwork(VideoSettings(**settings), {"video": shape}, {"label": classes})


def start(model: VideoNetwork, state: dict[str, Tensor]) -> None:
    found = model.from_published(state, "published")
    own = model.state_dict()
    missing = {name for name in own.keys() - found.keys() if not name.startswith("heads.")}
    assert not missing
    model.load_state_dict({**own, **{name: x for name, x in found.items() if name in own}})


@pytest.mark.parametrize("network", PUBLISHED)
def test_networks_have_their_published_size_and_cost(network: str) -> None:
    parameters, cost, (frames, size) = PUBLISHED[network]
    model = ghost((frames, 3, size, size), 400, network=network)
    assert count_parameters(model) == parameters
    assert flops(model, {"video": (frames, 3, size, size)}) / 2e9 == pytest.approx(cost, abs=1e-3)


@pytest.mark.parametrize("network", PUBLISHED)
def test_layers_are_numbered_upwards_to_the_classifiers(network: str) -> None:
    model = ghost((16, 3, 224, 224), network=network)
    layers = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    assert list(layers.values()) == sorted(layers.values())
    assert layers["heads.to_label.weight"] == len(model.blocks) + 1 >= 9


def test_published_weights_give_the_published_answers() -> None:
    """A residual network of torchvision's, of its full width and half its depth, with weights drawn at random."""
    torch.manual_seed(1)
    makers = [Conv2Plus1D] * 4
    published = VideoResNet(BasicBlock, makers, [1, 1, 1, 1], R2Plus1dStem, num_classes=7).eval()
    for module in published.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
    model = build(blocks=(1, 1, 1, 1))
    start(model, published.state_dict())
    clips = torch.randn(1, *SMALL)
    with torch.no_grad():
        answer = published.fc(model.features({"video": clips}))
        torch.testing.assert_close(answer, published(clips.transpose(1, 2)))


@pytest.mark.parametrize("network", PUBLISHED)
def test_every_published_name_has_a_place(network: str) -> None:
    size = 112 if network.endswith("_18") else 224
    with torch.device("meta"):
        state = torchvision_models.get_model(network, weights=None).state_dict()
    model = ghost((16, 3, size, size), network=network)
    found = model.from_published(state, "published")
    own = model.state_dict()
    assert {name for name in own if name not in found} == {"heads.to_label.weight", "heads.to_label.bias"}
    assert all(own[name].shape == x.shape for name, x in found.items() if name in own)
    assert {name.partition(".")[0] for name in found.keys() - own.keys()} <= {"fc", "head", "classifier"}


@pytest.mark.parametrize("network", ["mvit_v1_b", "mvit_v2_s"])
def test_positions_are_interpolated_to_another_length_and_size(network: str) -> None:
    with torch.device("meta"):
        state = torchvision_models.get_model(network, weights=None).state_dict()
    model = ghost((8, 3, 96, 96), network=network)
    found = model.from_published(state, "published")
    own = model.state_dict()
    assert all(own[name].shape == x.shape for name, x in found.items() if name in own)
    places = {
        name for name in found if "_pos" in name and tuple(found[name].shape) != tuple(state[name[8:]].shape)
    }
    assert len(places) >= (2 if network == "mvit_v1_b" else 3 * 16)
    assert places - {"network.pos_encoding.class_pos"} <= model.undecayed()


def drawn(network: Any, blocks: int) -> None:
    """The first blocks of an MViT alone, every number of them drawn at random."""
    network.blocks, network.norm = network.blocks[:blocks], nn.Identity()
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(0.2 * torch.randn(parameter.shape)))


def test_an_mvit_at_another_size_answers_as_torchvision_with_interpolated_positions() -> None:
    """torchvision interpolates its relative positions when it looks at them; here it is done once."""
    torch.manual_seed(1)
    with torch.device("meta"):
        published = torchvision_models.get_model("mvit_v2_s", weights=None).eval()
    model = ghost((4, 3, 32, 32), network="mvit_v2_s").eval()
    drawn(published, 4)
    drawn(model.network, 4)
    found = model.from_published(published.state_dict(), "published")
    model.network.load_state_dict({name[8:]: x for name, x in found.items() if name.startswith("network.")})
    published.pos_encoding.temporal_size, published.pos_encoding.spatial_size = 2, (8, 8)
    published.head = nn.Identity()
    clips = torch.randn(1, 4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.features({"video": clips}), published(clips.transpose(1, 2)))


@pytest.mark.parametrize(("network", "shape"), [("s3d", (8, 3, 32, 32)), ("swin3d_t", (3, 1, 20, 36))])
def test_small_clips_are_looked_at(network: str, shape: tuple[int, ...]) -> None:
    model = build(shape, "depth", network=network)
    with torch.no_grad():
        features = model.features({"depth": torch.randn(1, *shape)})
    assert tuple(features.shape) == (1, model.feature_width)
    assert features.isfinite().all()


def test_published_weights_do_not_look_at_differences_at_first() -> None:
    plain, both = build(**NARROW), build(**NARROW, frame_differences=True)
    both.load_state_dict(
        {**both.state_dict(), **both.from_published(plain.network.state_dict(), "published")}
    )
    clips = {"video": torch.randn(2, *SMALL)}
    torch.testing.assert_close(both.features(clips), plain.features(clips))


def test_differences_alone_do_not_show_what_stands_still() -> None:
    model = build(**NARROW, frame_differences="alone")
    still = torch.randn(1, 1, 3, 16, 16).expand(-1, 4, -1, -1, -1)
    assert torch.equal(model.features({"video": still}), model.features({"video": torch.zeros(1, *SMALL)}))


def test_s3d_averages_as_published_where_the_clip_is_large_enough() -> None:
    x = torch.randn(1, 3, 4, 8, 7)
    average = ghost((16, 3, 224, 224), network="s3d").network.avgpool
    torch.testing.assert_close(average(x), nn.AvgPool3d((2, 7, 7), stride=1)(x))


@pytest.mark.parametrize("network", PUBLISHED)
def test_five_stages_are_a_whole_network(network: str) -> None:
    """Each stage freezes more than the one before, the last all but the classifiers."""
    counts = [count_parameters(ghost((16, 3, 224, 224), network=network, frozen_stages=n)) for n in range(6)]
    assert counts == sorted(set(counts), reverse=True)
    assert counts[5] == 5 * ghost((16, 3, 224, 224), network=network).feature_width + 5
    with pytest.raises(ModelError, match="at most 5"):
        ghost((16, 3, 224, 224), network=network, frozen_stages=6)


def test_what_is_frozen_keeps_its_statistics() -> None:
    model = build(**NARROW, frozen_stages=3).train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    model({"video": torch.randn(2, *SMALL)})["label"].sum().backward()
    moved = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
    learns = {name for name, x in model.named_parameters() if x.grad is not None}
    assert {name.split(".")[1] for name in moved} == {"layer3", "layer4"}
    assert {name.split(".")[1] for name in learns} == {"layer3", "layer4", "to_label"}


def test_narrow_networks_keep_the_form() -> None:
    wide, narrow = ghost(SMALL), ghost(SMALL, width_multiple=0.25)
    assert wide.state_dict().keys() == narrow.state_dict().keys()
    assert narrow.feature_width == 128
    assert count_parameters(narrow) < count_parameters(wide) / 14


def test_drop_path_rises_from_the_first_block_to_the_last() -> None:
    model = ghost((4, 3, 32, 32), network="mvit_v2_s", drop_path=0.3)
    rates = [module.p for module in model.modules() if type(module).__name__ == "StochasticDepth"]
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == (0, pytest.approx(0.3))


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((4, 3, 32, 32), {"network": "s3d"}, "clip.frames"),
        ((16, 3, 100, 100), {"network": "mvit_v2_s"}, "multiples of 32"),
        ((5, 3, 32, 32), {"network": "mvit_v1_b"}, "even number of frames"),
        ((16, 3, 64, 64), {"network": "s3d", "width_multiple": 0.5}, "model.width_multiple"),
        ((16, 3, 64, 64), {"network": "swin3d_t", "blocks": (1, 1, 1, 1)}, "model.blocks"),
        ((16, 3, 64, 64), {"network": "r3d_18", "drop_path": 0.1}, "model.drop_path"),
    ],
)
def test_what_a_network_cannot_do_is_told_in_one_line(
    shape: tuple[int, ...], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError, match=words.replace(".", r"\.")) as told:
        ghost(shape, **settings)
    assert "\n" not in str(told.value)


def test_an_mvit_refuses_another_length_than_it_was_built_for() -> None:
    model = ghost((4, 3, 32, 32), network="mvit_v2_s")
    with pytest.raises(ModelError, match=r"clip\.frames"):
        model({"video": torch.empty(1, 8, 3, 32, 32, device="meta")})


def test_weights_of_another_network_are_refused_in_one_line() -> None:
    with torch.device("meta"):
        state = torchvision_models.get_model("r3d_18", weights=None).state_dict()
    with pytest.raises(ModelError, match="r2plus1d_18") as told:
        ghost(SMALL).from_published(state, "r3d_18.pth")
    assert "\n" not in str(told.value)


def test_weights_that_nobody_publishes_are_told_with_those_there_are() -> None:
    with pytest.raises(ModelError, match="KINETICS400_V1"):
        ghost(SMALL).fetch_published("IMAGENET")


def test_offline_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise OSError("Network is unreachable\nat all")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(ModelError, match=r"give the file") as told:
        ghost(SMALL).fetch_published("DEFAULT")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("network", PUBLISHED)
def test_the_published_preparation_is_that_of_the_table(network: str) -> None:
    """What the top of videos.py states, by torchvision's own account."""
    clip = ghost((16, 3, 224, 224), network=network).published_clip()
    assert clip["shorter_side"] == pytest.approx(8 / 7)
    first = {"s": 0.43216, "m": 0.45, "r": 0.43216}[network[0]]
    assert clip["mean"][0] == (
        0.485 if network.startswith("swin") else 0.43216 if network == "mc3_18" else first
    )
