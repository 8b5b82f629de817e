"""A linear probe: a frozen network looks at each clip once, and what is learned from that is an ordinary run."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mudra
from mudra import recipe as recipes
from mudra.clips.altered import Alteration
from mudra.clips.loader import EvaluationClips
from mudra.errors import ModelError, RecipeError
from mudra.models.videos import VideoNetwork, VideoSettings
from mudra.predictions import read
from mudra.training.judging import evaluate
from mudra.training.loop import Trainer
from mudra.training.run_folder import RunFolder
from tests.teams import together
from tests.tiny import CLASSES, SIDE, cut_before, tiny_recipe, write_bars
from tests.tiny import train_tiny as run

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
NETWORK = {"kind": "video", "network": "r2plus1d_18", "width_multiple": 0.125, "blocks": [1, 1, 1, 1]}
COUNTS = {"train": 12, "val": 4, "test": 4}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"), COUNTS)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A publisher's file: torchvision's names, 400 classes."""
    torch.manual_seed(1)
    settings = VideoSettings(network="r2plus1d_18", width_multiple=0.125, blocks=(1, 1, 1, 1))
    network = VideoNetwork(settings, {"video": (4, 3, SIDE, SIDE)}, {"label": 400}).network
    state = {**network.state_dict(), "fc.weight": torch.randn(400, 64), "fc.bias": torch.randn(400)}
    place = tmp_path_factory.mktemp("published") / "r2plus1d_18.pth"
    torch.save(state, place)
    return place


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mudra" / "features"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each training clip was read as training sees it, and each other one as evaluation does."""
    counted: Counter[str] = Counter()
    altered, plain = Alteration.look, EvaluationClips.__getitem__

    def look(self: Any, clip: Any, generator: Any) -> Any:
        counted[clip.id] += 1
        return altered(self, clip, generator)

    def item(self: Any, place: Any) -> Any:
        counted[f"plain {self.manifest[place.clip].id}"] += 1
        return plain(self, place)

    monkeypatch.setattr(Alteration, "look", look)
    monkeypatch.setattr(EvaluationClips, "__getitem__", item)
    return counted


def probe(published: Path, **sections: Any) -> Any:
    train = {"epochs": 3, "batch": 4, "probe": 2, "init_from": str(published), **sections.pop("train", {})}
    return tiny_recipe(model=NETWORK, train=train, **sections)


def bits(folder: RunFolder) -> dict[str, bytes]:
    """All weights that a run ends with."""
    last = sorted(folder.checkpoints.glob("step-*"))[-1]
    files = [*last.glob("*.safetensors"), folder.bundle / "model.safetensors"]
    return {f"{f.name} {name}": x.numpy().tobytes() for f in files for name, x in load_file(f).items()}


def test_a_clip_is_looked_at_as_often_as_the_recipe_says_however_many_epochs(
    bars: Path, published: Path, tmp_path: Path, looks: Counter[str]
) -> None:
    run(probe(published), bars, tmp_path / "run")
    assert {looks[f"train-{n:03d}"] for n in range(12)} == {2}
    assert {looks[f"plain val-{n:03d}"] for n in range(4)} == {
        2
    }  # for all epochs together, and when the end is judged


def test_a_probe_trains_the_classifiers_alone(bars: Path, published: Path, tmp_path: Path) -> None:
    done = run(probe(published, train={"ema": 0.9}), bars, tmp_path / "run")
    weights, state = load_file(done.bundle / "model.safetensors"), torch.load(published, weights_only=True)
    trunk = {name for name in weights if not name.startswith("heads.")}
    assert {name.removeprefix("network.") for name in trunk} == {n for n in state if not n.startswith("fc.")}
    assert all(torch.equal(weights[name], state[name.removeprefix("network.")]) for name in trunk)
    first = load_file(sorted(done.checkpoints.glob("step-*"))[0] / "model.safetensors")
    assert not torch.equal(weights["heads.to_label.weight"], first["heads.to_label.weight"])


def test_a_probe_is_an_ordinary_run(bars: Path, published: Path, tmp_path: Path) -> None:
    """What is learned from features is right for clips: predict, evaluate, another training that starts from it."""
    done = run(probe(published), bars, tmp_path / "run")
    judged = read(done.predictions("val")).tasks["label"].log_probabilities
    again = evaluate(done, str(bars), "val", say=lambda _: None).tasks["label"].log_probabilities
    np.testing.assert_array_equal(judged, again)
    answer = mudra.load(done.path).predict(bars / "val-000.npy")
    assert answer.tasks["label"][0].probability == pytest.approx(float(np.exp(judged[0].max())), abs=1e-5)
    whole = probe(published, train={"probe": None, "epochs": 1, "init_from": str(done.path)})
    assert run(whole, bars, tmp_path / "whole").read_status()["state"] == "done"


def test_validation_on_features_is_validation_on_clips(bars: Path, published: Path, tmp_path: Path) -> None:
    said: list[str] = []
    done = (
        run(probe(published, train={"epochs": 1}), bars, tmp_path / "run", say=said.append) if False else None
    )
    recipe = probe(published, train={"epochs": 2, "choose": "last"})
    done = run(recipe, bars, tmp_path / "run")
    rows = [line.split(",") for line in done.log.read_text().splitlines()]
    place = rows[0].index("loss")
    logged = [float(row[place]) for row in rows[1:] if "val" in row][-1]
    judged = json.loads(done.metrics("val").read_text())["tasks"]["label"]["loss"]
    assert logged == pytest.approx(judged, abs=1e-5)


def test_what_was_looked_at_is_not_looked_at_again(
    bars: Path, published: Path, tmp_path: Path, looks: Counter[str]
) -> None:
    """Other classifiers on the same features: another rate, another head, more looks."""
    run(probe(published), bars, tmp_path / "one")
    looks.clear()
    run(probe(published, optim={"lr": 1e-4}, loss={"label_smoothing": 0.1}), bars, tmp_path / "two")
    assert not any(name.startswith("train") for name in looks)
    run(probe(published, train={"probe": 3}), bars, tmp_path / "three")
    assert {looks[f"train-{n:03d}"] for n in range(12)} == {1}


def test_folds_share_what_was_looked_at(
    bars: Path, published: Path, tmp_path: Path, looks: Counter[str]
) -> None:
    recipe = probe(published, data={"folds": {"count": 3}}, train={"epochs": 1, "probe": 1})
    run(recipe, bars, tmp_path / "run")
    assert {count for name, count in looks.items() if not name.startswith("plain")} == {1}


@pytest.mark.parametrize("change", ["weights", "augment", "clip", "seed", "file"])
def test_whatever_features_depend_on_makes_them_new(
    published: Path, tmp_path: Path, looks: Counter[str], change: str
) -> None:
    data = write_bars(tmp_path / "data", COUNTS)
    run(probe(published), data, tmp_path / "one")
    looks.clear()
    weights, sections = published, {}
    if change == "weights":
        state = torch.load(published, weights_only=True)
        state["layer4.0.conv2.1.running_mean"][0] += 1
        torch.save(state, weights := tmp_path / "other.pth")
    elif change == "augment":
        sections = {"augment": {"brightness": 0.3}}
    elif change == "clip":
        sections = {"clip": {"frames": 5}}
    elif change == "seed":
        sections = {"train": {"seed": 1}}
    else:
        os.utime(data / "train-003.npy", ns=(1, 1))
    run(probe(weights, **sections), data, tmp_path / "two")
    expected = {"train-003"} if change == "file" else {f"train-{n:03d}" for n in range(12)}
    assert {name for name in looks if name.startswith("train")} == expected


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a file of arrays"])
def test_a_broken_file_of_features_is_made_anew(
    bars: Path, published: Path, tmp_path: Path, cache: Path, looks: Counter[str], content: bytes
) -> None:
    whole = bits(run(probe(published), bars, tmp_path / "one"))
    for file in cache.rglob("*.npz"):
        file.write_bytes(content)
    looks.clear()
    assert bits(run(probe(published), bars, tmp_path / "two")) == whole
    assert {looks[f"train-{n:03d}"] for n in range(12)} == {2}


@pytest.mark.parametrize(("stop_after", "kept"), [(0, True), (4, False), (5, True)])
def test_a_probe_that_was_cut_goes_on_to_the_same_bits(
    bars: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int, kept: bool
) -> None:
    """With the cache and without: each look is the same whoever asks for it."""
    recipe = probe(published, train={"epochs": 3, "save_every": 2, "ema": 0.9})
    whole = bits(run(recipe, bars, tmp_path / "whole"))
    with cut_before(monkeypatch, stop_after):
        run(recipe, bars, tmp_path / "cut")
    if not kept:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert bits(run(recipe, bars, tmp_path / "cut", resume=True)) == whole


def test_a_training_that_is_cut_while_it_looks_goes_on_with_what_was_seen(
    bars: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: Counter[str]
) -> None:
    whole = bits(run(probe(published), bars, tmp_path / "whole"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    look = Alteration.look

    def cut(self: Any, clip: Any, generator: Any) -> Any:
        if clip.id == "train-005":
            raise KeyboardInterrupt
        return look(self, clip, generator)

    monkeypatch.setattr(Alteration, "look", cut)
    with pytest.raises(KeyboardInterrupt):
        run(probe(published), bars, tmp_path / "cut")
    monkeypatch.setattr(Alteration, "look", look)
    looks.clear()
    assert bits(run(probe(published), bars, tmp_path / "cut", resume=True)) == whole
    assert {n for n in range(12) if looks[f"train-{n:03d}"]} == set(range(5, 12))


def test_two_processes_probe_what_one_does(bars: Path, published: Path, tmp_path: Path) -> None:
    one = bits(run(probe(published), bars, tmp_path / "one"))
    work = lambda: run(probe(published), bars, tmp_path / "two").path  # noqa: E731
    outcomes = together(2, work, XDG_CACHE_HOME=str(tmp_path / "elsewhere"))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    two = bits(RunFolder(tmp_path / "two"))
    head = "model.safetensors heads.to_label.weight"
    np.testing.assert_allclose(
        np.frombuffer(two[head], np.float32), np.frombuffer(one[head], np.float32), atol=1e-5
    )


def test_a_flipped_look_has_the_mirrored_class(published: Path, tmp_path: Path) -> None:
    """What is learned from mirrored clips alone is what their mirrored classes look like."""
    data = write_bars(tmp_path / "data", COUNTS)
    facts = {"streams": {"video": {"fps": 10}}, "mirror": {"label": {CLASSES[0]: CLASSES[1]}}}
    (data / "dataset.json").write_text(json.dumps(facts))
    still = {"crop": None, "brightness": 0.0, "shift_time": False}
    seen = []
    for flip in (0.0, 1.0):
        recipe = probe(published, augment={**still, "flip": flip}, train={"probe": 1, "epochs": 1})
        features = {}
        real = Trainer.step

        def step(self: Any, parts: Any, rate: float, features: Any = features, real: Any = real) -> Any:
            for part in parts:
                features |= dict(zip(part.ids, part.targets["label"].tolist(), strict=True))
            return real(self, parts, rate)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Trainer, "step", step)
            run(recipe, data, tmp_path / f"run-{flip}")
        seen.append(features)
    assert len(seen[0]) == 12
    assert all(seen[1][clip] == 1 - label for clip, label in seen[0].items())


def test_every_epoch_takes_the_next_look(bars: Path, published: Path, tmp_path: Path) -> None:
    taken: list[tuple[str, bytes]] = []
    real = Trainer.step

    def step(self: Any, parts: Any, rate: float) -> Any:
        for part in parts:
            taken.extend(zip(part.ids, [x.numpy().tobytes() for x in part.streams["features"]], strict=True))
        return real(self, parts, rate)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trainer, "step", step)
        run(probe(published, train={"epochs": 4}), bars, tmp_path / "run")
    epochs = [dict(taken[start : start + 12]) for start in range(0, 48, 12)]
    assert epochs[0] == epochs[2]
    assert epochs[1] == epochs[3]
    assert all(epochs[0][clip] != epochs[1][clip] for clip in epochs[0])


def test_a_clip_that_cannot_be_read_is_counted_and_listed(published: Path, tmp_path: Path) -> None:
    data = write_bars(tmp_path / "data", COUNTS)
    (data / "train-002.npy").write_bytes(b"broken")
    done = run(probe(published, train={"decode_failures": 0.5}), data, tmp_path / "run")
    assert "train-002" in next(done.path.glob("unreadable*")).read_text()


def test_clips_that_are_mixed_cannot_be_probed(published: Path) -> None:
    with pytest.raises(RecipeError, match=r"augment\.mixup"):
        probe(published, augment={"mixup": 0.2})


def test_fresh_weights_are_not_probed(bars: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"train\.init_from"):
        run(tiny_recipe(model=NETWORK, train={"probe": 1}), bars, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fresh_layers_before_the_classifiers_are_not_probed(bars: Path, tmp_path: Path) -> None:
    first = run(tiny_recipe(model={"pool": "mean"}, train={"epochs": 1}), bars, tmp_path / "first")
    deeper = tiny_recipe(model={"pool": "mean", "depth": 2}, train={"probe": 1, "init_from": str(first.path)})
    with pytest.raises(ModelError, match=r"blocks\.1\.") as told:
        run(deeper, bars, tmp_path / "run")
    assert "\n" not in str(told.value)


def test_any_model_that_has_features_can_be_probed(bars: Path, tmp_path: Path) -> None:
    """Here a TimeSformer that has learned something."""
    first = run(tiny_recipe(train={"epochs": 1}), bars, tmp_path / "first")
    done = run(
        tiny_recipe(train={"epochs": 2, "probe": 1, "init_from": str(first.path)}), bars, tmp_path / "run"
    )
    was, now = (load_file(each.bundle / "model.safetensors") for each in (first, done))
    assert {name for name in now if not torch.equal(was[name], now[name])} == {
        "heads.to_label.weight",
        "heads.to_label.bias",
    }


def test_a_probe_may_be_the_first_of_two_stages(bars: Path, published: Path, tmp_path: Path) -> None:
    """First the classifiers, then all, so that fresh classifiers do not spoil what the network knows."""
    stages = [{"train": {"probe": 2}}, {"train": {"probe": None, "epochs": 1}}]
    recipe = probe(published)
    tree = {**recipe.tree(), "stages": stages}
    done = run(recipes.resolve(tree, "two stages", name="two stages"), bars, tmp_path / "run")
    probed = load_file(done.stage(1).bundle / "model.safetensors")
    whole = load_file(sorted(done.stage(2).checkpoints.glob("step-*"))[0] / "model.safetensors")
    assert all(torch.equal(probed[name], whole[name]) for name in probed)
