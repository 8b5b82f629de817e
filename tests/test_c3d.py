"""C3D against the network that its authors published, and the weights of it under the names that are about."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mudra.errors import ModelError
from mudra.models import count_parameters
from mudra.models.c3d import C3D, C3DSettings
from mudra.models.published import read_published

TINY = {"channels": ((4,), (6,), (8, 8), (10, 10), (10, 10)), "width": 12}
CLIP = {"video": (16, 3, 32, 32)}
NAMES = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
LISTED = (0, 3, 6, 8, 11, 13, 16, 18)


def build(inputs: dict[str, tuple[int, ...]] = CLIP, **settings: Any) -> C3D:
    torch.manual_seed(0)
    return C3D(C3DSettings(**{**TINY, **settings}), inputs, {"label": 5}).eval()


def published_state(channels: int = 3, seed: int = 1) -> dict[str, Tensor]:
    """Weights of a narrow C3D under the names of the PyTorch file that everybody passes on."""
    torch.manual_seed(seed)
    state, before = {}, channels
    for name, out in zip(NAMES, (4, 6, 8, 8, 10, 10, 10, 10), strict=True):
        state |= {f"{name}.weight": torch.randn(out, before, 3, 3, 3) * 0.2, f"{name}.bias": torch.randn(out)}
        before = out
    for name, (out, before) in {"fc6": (12, 10), "fc7": (12, 12), "fc8": (487, 12)}.items():
        state |= {f"{name}.weight": torch.randn(out, before), f"{name}.bias": torch.randn(out)}
    return state


def published_answer(state: dict[str, Tensor], x_BTCHW: Tensor) -> Tensor:
    """What the published network has after fc7, written down layer by layer."""
    x = x_BTCHW.transpose(1, 2)
    for name in NAMES:
        x = F.relu(F.conv3d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))
        if name in ("conv1", "conv2", "conv3b", "conv4b", "conv5b"):
            x = F.max_pool3d(x, (1, 2, 2) if name == "conv1" else 2)
    for name in ("fc6", "fc7"):
        x = F.relu(F.linear(x.flatten(1), state[f"{name}.weight"], state[f"{name}.bias"]))
    return x


def start(model: C3D, state: dict[str, Tensor]) -> None:
    found = model.from_published(state, "published")
    own = model.state_dict()
    model.load_state_dict({**own, **{name: x for name, x in found.items() if name in own}})


def test_the_published_form_has_its_published_size() -> None:
    with torch.device("meta"):
        model = C3D(C3DSettings(), {"video": (16, 3, 112, 112)}, {"label": 487})
    assert count_parameters(model) == 79_991_015  # 27,655,936 of the convolutions, 52,335,079 of fc6 to fc8
    assert tuple(model.state_dict()["fc6.weight"].shape) == (4096, 8192)


def test_published_weights_give_the_published_answers() -> None:
    model, state = build(), published_state()
    start(model, state)
    clips = torch.randn(2, 16, 3, 32, 32)
    torch.testing.assert_close(model.features({"video": clips}), published_answer(state, clips))


@pytest.mark.parametrize("names", ["authors", "mmaction", "listed"])
def test_the_same_weights_under_other_names_are_the_same(names: str) -> None:
    state = published_state()
    renamed = {}
    for name, weight in state.items():
        module, kind = name.split(".")
        if names == "authors":
            other = {"conv1": "conv1a", "conv2": "conv2a", "fc6": "fc6-1", "fc7": "fc7-1"}.get(module, module)
        elif names == "mmaction":
            other = {"conv1": "conv1a.conv", "conv2": "conv2a.conv"}.get(
                module, f"{module}.conv" if "conv" in module else module
            )
        else:
            listed = {one: f"features.{number}" for one, number in zip(NAMES, LISTED, strict=True)}
            wide = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
            other = {**listed, **wide}[module]
        renamed[f"{other}.{kind}"] = weight
    model = build()
    ours, others = model.from_published(state, "one"), model.from_published(renamed, "other")
    assert ours.keys() == others.keys()
    assert all(torch.equal(ours[name], others[name]) for name in ours)


def test_weights_of_another_network_are_refused_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"layer1\.0\.conv1\.weight") as told:
        build().from_published({"layer1.0.conv1.weight": torch.zeros(1)}, "r3d.pth")
    assert "\n" not in str(told.value)


def test_one_channel_is_answered_like_a_grey_picture() -> None:
    state = published_state()
    colour, depth = build(), build({"depth": (16, 1, 32, 32)})
    start(colour, state)
    start(depth, state)
    clips = torch.randn(2, 16, 1, 32, 32)
    grey = colour.features({"video": clips.expand(-1, -1, 3, -1, -1)})
    torch.testing.assert_close(depth.features({"depth": clips}), grey, rtol=1e-4, atol=1e-4)


def test_with_batch_norm_published_weights_answer_as_published_in_evaluation() -> None:
    state = published_state()
    plain, normed = build(readout="pool", width=None), build(readout="pool", width=None, norm="batch")
    start(plain, state)
    start(normed, state)
    clips = {"video": torch.randn(2, 16, 3, 32, 32)}
    torch.testing.assert_close(normed.features(clips), plain.features(clips), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(16, 3, 80, 80), (8, 1, 48, 48), (1, 3, 8, 8), (5, 2, 9, 13)])
def test_pools_stop_where_nothing_is_left(shape: tuple[int, ...]) -> None:
    model = build({"depth": shape}, readout="pool", norm="batch", channels=((2,), (2,), (2, 2), (3, 3)))
    assert tuple(model.features({"depth": torch.randn(2, *shape)}).shape) == (2, 12)


@pytest.mark.parametrize("shape", [(16, 3, 40, 40), (7, 3, 33, 18)])
def test_the_wide_layers_fit_what_the_pools_leave(shape: tuple[int, ...]) -> None:
    assert tuple(build({"video": shape}).features({"video": torch.randn(2, *shape)}).shape) == (2, 12)


def test_a_window_over_the_edge_counts() -> None:
    """As in the authors' code, whose 7 x 7 places become 4 x 4: what is at the last row is still seen."""
    model = build({"video": (1, 3, 3, 3)}, channels=((4,),))
    clip = torch.zeros(1, 1, 3, 3, 3)
    before = model.features({"video": clip})
    clip[..., -1, -1] = 5
    assert not torch.equal(model.features({"video": clip}), before)


def test_another_length_is_refused_by_the_wide_layers_alone() -> None:
    longer = {"video": torch.randn(1, 32, 3, 32, 32)}
    with pytest.raises(ModelError, match=r"model\.readout: pool") as told:
        build()(longer)
    assert "\n" not in str(told.value)
    assert build(readout="pool")(longer)["label"].shape == (1, 5)


def test_layers_are_numbered_upwards() -> None:
    model = build()
    layers = [model.layer_of(name) for name, _ in model.named_parameters()]
    assert layers == sorted(layers)
    assert layers[0] == 0
    assert layers[-1] == 10


# --- files of weights ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c3d.pth", "c3d.safetensors", "c3d.pickle", "wrapped.tar"])
def test_a_file_of_weights_is_read_whatever_it_is_wrapped_in(tmp_path: Path, name: str) -> None:
    state, place = published_state(), tmp_path / name
    if name.endswith(".safetensors"):
        save_file(state, place)
    elif name.startswith("wrapped"):
        torch.save({"epoch": 3, "state_dict": {f"module.{key}": x for key, x in state.items()}}, place)
    else:
        torch.save(state, place)
    found = read_published(place)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("bomb"),))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Bomb()}, "evil.pth")
    with pytest.raises(ModelError, match=r"evil\.pth") as told:
        read_published(Path("evil.pth"))
    assert "\n" not in str(told.value)
    assert not Path("bomb").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04" + bytes(40), b"\x80\x02."])
def test_a_broken_file_of_weights_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c3d.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"c3d\.pth") as told:
        read_published(tmp_path / "c3d.pth")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("tree", [[], {}, {"a": 1}, {"state_dict": {"epoch": 3}}, torch.zeros(3)])
def test_a_file_without_named_tensors_is_told_in_one_line(tmp_path: Path, tree: Any) -> None:
    torch.save(tree, tmp_path / "c3d.pth")
    with pytest.raises(ModelError, match="state_dict"):
        read_published(tmp_path / "c3d.pth")


def test_stages_of_a_c3d_are_frozen_from_the_first_on() -> None:
    for frozen, learning in ((2, {"stages.2", "stages.3", "stages.4"}), (5, set())):
        model = build(frozen_stages=frozen)
        learns = {name for name, x in model.named_parameters() if x.requires_grad}
        assert {name[:8] for name in learns if name.startswith("stages")} == learning
        assert any(name.startswith("fc6") for name in learns)
    assert all(
        name.startswith("heads") for name, x in build(frozen_stages=6).named_parameters() if x.requires_grad
    )
    with pytest.raises(ModelError, match=r"model\.frozen_stages"):
        build(frozen_stages=7)


def test_no_norm_is_left_out_of_a_normed_network() -> None:
    normed = [m for m in build(norm="batch", readout="pool").modules() if isinstance(m, nn.BatchNorm3d)]
    assert len(normed) == 8
