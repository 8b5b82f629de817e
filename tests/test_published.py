"""Published weights: what transformers' files say is what is built, computed, trained from and written back."""

import builtins
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mudra.bundle import Bundle
from mudra.clips.preprocessing import Preprocessing
from mudra.errors import ModelError, MudraError
from mudra.models import count_parameters, hub
from mudra.models.timesformer import (
    TimeSformer,
    TimeSformerSettings,
    from_transformers,
    to_transformers,
)
from mudra.models.timesformer_files import Config
from mudra.models.timesformer_weights import adapt_positions
from mudra.sections import ClipSettings
from mudra.settings import parse
from mudra.training import checkpoints
from mudra.training.run_folder import RunFolder
from mudra.training.starting import kind_of, start_from
from mudra.training.train import train
from mudra.types import StreamInfo
from tests.tiny import CLASSES, SIDE, tiny_recipe, write_bars

FORM: dict[str, Any] = {
    "image_size": SIDE, "patch_size": 8, "num_frames": 4, "hidden_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 3, "intermediate_size": 40, "num_labels": 5,
}  # fmt: skip
OURS = {
    "kind": "timesformer", "width": 24, "depth": 2, "heads": 3, "patch": 8, "mlp_ratio": 40 / 24, "norm_eps": 1e-6,
    "class_token": "per_clip", "temporal_dense": True, "stem": "linear", "frame_differences": False,
}  # fmt: skip
PIXELS: dict[str, Any] = {  # as published with facebook/timesformer-base-finetuned-k400, but for the size
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_center_crop": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
    "feature_extractor_type": "VideoMAEFeatureExtractor",
    "image_mean": [0.45, 0.45, 0.45], "image_std": [0.225, 0.225, 0.225],
    "resample": 2, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": SIDE},
}  # fmt: skip


@pytest.fixture(scope="module")
def transformers() -> Any:
    with warnings.catch_warnings():  # what a third party's import warns of is not ours to mend
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformers")


def publish(
    transformers: Any,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    shard: str | None = None,
    **changes: Any,
) -> Any:
    """A small model of theirs, every weight and bias random, saved by their own code."""
    torch.manual_seed(0)
    theirs = transformers.TimesformerForVideoClassification(
        transformers.TimesformerConfig(**{**FORM, **changes})
    )
    theirs = theirs.to(dtype).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    theirs.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS), "utf-8")
    return theirs


def own_model(dtype: torch.dtype = torch.float32, classes: int = 5, **changes: Any) -> TimeSformer:
    """A model of the published form, every weight and bias random."""
    torch.manual_seed(3)
    settings = parse(TimeSformerSettings, {**OURS, **changes}, "test")
    model = TimeSformer(settings, {"video": (4, 3, SIDE, SIDE)}, {"label": classes}).to(dtype)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one published model, for those who only read it; ours, so that they need no transformers."""
    folder = tmp_path_factory.mktemp("published")
    to_transformers(own_model(), folder, [f"LABEL_{number}" for number in range(5)])
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS), "utf-8")
    return folder


@pytest.fixture
def published(saved: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return shutil.copytree(saved, tmp_path / "published")


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def answers(model: TimeSformer, video: Tensor) -> Tensor:
    with torch.no_grad():
        answer: Tensor = model.eval()({"video": video})["label"]
    return answer


def change(folder: Path, name: str = "config.json", **values: Any) -> None:
    place = folder / name
    place.write_text(json.dumps({**json.loads(place.read_text("utf-8")), **values}), "utf-8")


def told(folder: Path | str, *words: str) -> None:
    """What is refused is refused in one line that names the place."""
    with pytest.raises(ModelError) as problem:
        from_transformers(folder)
    line = str(problem.value)
    assert "\n" not in line
    for word in (str(folder), *words):
        assert word in line


# --- the same model through the files ----------------------------------------------------------------


@pytest.mark.parametrize("attention", ["divided_space_time", "joint_space_time", "space_only"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_file_s_model_gives_the_published_logits(
    transformers: Any, tmp_path: Path, attention: str, dtype: torch.dtype, error: float
) -> None:
    theirs = publish(transformers, tmp_path, dtype, attention_type=attention)
    ours = from_transformers(tmp_path).model
    video = draw(2, 4, 3, SIDE, SIDE, dtype=dtype)
    with torch.no_grad():
        expected = theirs(video).logits
    if attention == "space_only":  # theirs answers for each frame
        expected = expected.unflatten(0, (2, 4)).mean(1)
    found = answers(ours, video)
    assert found.dtype == dtype
    assert expected.abs().max() > 0.1
    print(f"{attention} {dtype}: {(found - expected).abs().max().item():.1e}")
    torch.testing.assert_close(found, expected, rtol=0, atol=error)


@pytest.mark.parametrize("attention", ["divided_space_time", "joint_space_time"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_what_is_written_back_is_read_by_transformers(
    transformers: Any, tmp_path: Path, attention: str, dtype: torch.dtype, error: float
) -> None:
    divided = attention == "divided_space_time"
    form = {"attention": "divided" if divided else "joint", "temporal_dense": divided, "drop_path": 0.1}
    model = own_model(dtype, classes=2, **form)
    to_transformers(model, tmp_path, CLASSES)
    theirs = transformers.TimesformerForVideoClassification.from_pretrained(tmp_path, dtype=dtype).eval()
    video = draw(2, 4, 3, SIDE, SIDE, dtype=dtype)
    with torch.no_grad():
        expected = theirs(video).logits
    print(f"back, {attention} {dtype}: {(answers(model, video) - expected).abs().max().item():.1e}")
    torch.testing.assert_close(answers(model, video), expected, rtol=0, atol=error)
    assert list(theirs.config.id2label.values()) == list(CLASSES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_reading_and_writing_back_is_exact(
    transformers: Any, tmp_path: Path, dtype: torch.dtype, bias: bool
) -> None:
    publish(transformers, tmp_path / "theirs", dtype, qkv_bias=bias)
    found = from_transformers(tmp_path / "theirs", task="sport")
    to_transformers(found.model, tmp_path / "ours", found.classes, found.clip)
    theirs, ours = (load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours"))
    assert theirs.keys() == ours.keys()
    for name, weight in theirs.items():
        assert weight.dtype == ours[name].dtype
        assert torch.equal(weight, ours[name]), name
    read = [json.loads((tmp_path / side / "config.json").read_text("utf-8")) for side in ("theirs", "ours")]
    for key in Config.model_fields.keys() & read[0].keys():
        assert read[0][key] == read[1][key], key
    pixels = json.loads((tmp_path / "ours" / "preprocessor_config.json").read_text("utf-8"))
    assert all(pixels[key] == value for key, value in PIXELS.items() if key != "feature_extractor_type")
    again = from_transformers(tmp_path / "ours")
    assert (again.classes, again.clip, again.notes) == (found.classes, found.clip, found.notes)


def test_weights_in_shards_are_those_in_one_file(transformers: Any, tmp_path: Path) -> None:
    publish(transformers, tmp_path / "whole")
    publish(transformers, tmp_path / "shards", shard="20KB")
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    whole, shards = (from_transformers(tmp_path / name).model.state_dict() for name in ("whole", "shards"))
    assert whole.keys() == shards.keys()
    assert all(torch.equal(weight, shards[name]) for name, weight in whole.items())


def test_the_base_configuration_has_the_published_size(transformers: Any) -> None:
    base = json.loads(transformers.TimesformerConfig().to_json_string())
    config = parse(Config, {**base, "num_labels": 400}, "test")
    with torch.device("meta"):
        model = TimeSformer(config.settings(), {"video": (8, 3, 224, 224)}, {"label": 400})
    assert count_parameters(model) - count_parameters(model.heads) == 121_258_752
    assert count_parameters(model) == 121_566_352


def test_a_model_from_files_is_whole_and_learns(saved: Path) -> None:
    model = from_transformers(saved).model
    assert not any(weight.is_meta for weight in [*model.parameters(), *model.buffers()])
    model({"video": draw(1, 4, 3, SIDE, SIDE)})["label"].sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_another_length_and_size_is_interpolated(saved: Path) -> None:
    model = from_transformers(saved).model
    other = TimeSformer(model.settings, {"video": (6, 3, 32, 32)}, {"label": 5})
    other.load_state_dict(adapt_positions(model.state_dict(), other))
    video = draw(2, 6, 3, 32, 32)
    torch.testing.assert_close(answers(other, video), answers(model, video))


# --- classes and pictures ----------------------------------------------------------------------------


def test_classes_are_named_in_the_order_of_the_logits(published: Path) -> None:
    change(published, id2label={"1": "one", "0": "zero", "4": "four", "2": "two", "3": "three"})
    assert from_transformers(published).classes == ("zero", "one", "two", "three", "four")


def test_what_is_said_of_pictures_is_a_recipe_s_section(saved: Path) -> None:
    found = from_transformers(saved)
    clip = parse(ClipSettings, found.clip, "test")
    assert (clip.frames, clip.size, clip.resize, clip.shorter_side) == (4, SIDE, "crop", 1.0)
    assert (clip.mean, clip.std) == ((0.45,) * 3, (0.225,) * 3)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("changes", "clip", "note"),
    [
        ({"size": {"shortest_edge": 20}}, {"size": 16, "resize": "crop", "shorter_side": 1.25}, ""),
        ({"size": 20, "crop_size": 16}, {"size": 16, "resize": "crop", "shorter_side": 1.25}, ""),
        (
            {"size": {"height": 24, "width": 24}, "do_center_crop": False},
            {"size": 24, "resize": "stretch"},
            "",
        ),
        ({"do_center_crop": False}, {"size": 16}, "cut to size"),
        ({"size": {"height": 24, "width": 24}}, {"size": 16}, "cut to size"),
        ({"size": {"shortest_edge": 8}}, {"size": 16}, "cut to size"),
        ({"do_normalize": False}, {"mean": [0, 0, 0], "std": [1, 1, 1]}, ""),
        ({"rescale_factor": 2 / 255}, {"mean": [0.225] * 3, "std": [0.1125] * 3}, ""),
        ({"resample": 3}, {"size": 16, "resize": "crop"}, "bilinearly"),
    ],
)
def test_every_way_of_scaling_pictures_is_understood_or_told(
    published: Path, changes: dict[str, Any], clip: dict[str, Any], note: str
) -> None:
    change(published, "preprocessor_config.json", **changes)
    found = from_transformers(published)
    for key, value in clip.items():
        assert found.clip[key] == pytest.approx(value) if key in ("mean", "std") else found.clip[key] == value
    assert ("resize" in found.clip) == (note != "cut to size")
    assert note in " ".join(found.notes)
    assert bool(found.notes) == bool(note)


def test_a_folder_without_a_preprocessor_says_so(published: Path) -> None:
    (published / "preprocessor_config.json").unlink()
    found = from_transformers(published)
    assert found.clip == {"frames": 4, "size": SIDE}
    assert "not known" in found.notes[0]


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "videomae"}, ["model_type", "videomae", "timesformer"]),
        ({"attention_type": "diagonal"}, ["attention_type", "diagonal", "divided_space_time"]),
        ({"hidden_act": "relu"}, ["hidden_act", "relu", "gelu"]),
        ({"hidden_size": -24}, ["hidden_size", "-24"]),
        ({"hidden_size": 10**30}, ["hidden_size"]),
        ({"hidden_size": "24"}, ["hidden_size"]),
        ({"hidden_size": True}, ["hidden_size"]),
        ({"hidden_size": 16384, "num_attention_heads": 1}, ["shape"]),
        ({"num_hidden_layers": 10**9}, ["num_hidden_layers"]),
        ({"num_hidden_layers": 3}, ["encoder.layer.2", "is missing"]),
        ({"num_hidden_layers": 1}, ["encoder.layer.1", "no place"]),
        ({"num_attention_heads": 5}, ["heads", "5"]),
        ({"num_frames": 0}, ["num_frames"]),
        ({"num_frames": 8}, ["time_embeddings", "[1, 4, 24]", "[1, 8, 24]"]),
        ({"patch_size": [8, 4]}, ["patch_size"]),
        ({"patch_size": 7}, ["patch"]),
        ({"image_size": 10**9}, ["image_size"]),
        ({"layer_norm_eps": 0}, ["layer_norm_eps"]),
        ({"hidden_dropout_prob": 1.5}, ["hidden_dropout_prob"]),
        ({"qkv_bias": False}, ["qkv.bias", "no place"]),
        ({"id2label": {}}, ["id2label"]),
        ({"id2label": {"0": "a", "2": "b"}}, ["id2label"]),
        ({"id2label": {"0": "a", "1": "a"}}, ["id2label"]),
        ({"id2label": {"0": "a", "1": 1}}, ["id2label"]),
        ({"id2label": {"0": "a", "1": "b"}}, ["classifier", "[5]", "[2]"]),
    ],
)
def test_an_odd_configuration_is_told_in_one_line(
    published: Path, values: dict[str, Any], words: list[str]
) -> None:
    change(published, **values)
    told(published, *words)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"[" * 10**6]
)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_garbled_file_is_told_in_one_line(published: Path, name: str, content: bytes) -> None:
    (published / name).write_bytes(content)
    told(published, name)


def test_code_that_a_configuration_names_is_never_looked_at(published: Path) -> None:
    (published / "modeling_evil.py").write_text("raise SystemExit('run')", "utf-8")
    change(published, auto_map={"AutoModel": "modeling_evil.Evil"}, hidden_act="gelu", trust_remote_code=True)
    assert count_parameters(from_transformers(published).model) > 0
    change(published, hidden_act={"__class__": "os.system"})
    told(published, "hidden_act")


@pytest.mark.parametrize(
    "values",
    [{"size": {"shortest_edge": -1}}, {"image_std": [0, 1, 1]}, {"image_mean": 0.5}, {"crop_size": "16"}],
)
def test_an_odd_preprocessor_is_told_in_one_line(published: Path, values: dict[str, Any]) -> None:
    change(published, "preprocessor_config.json", **values)
    told(published, "preprocessor_config.json", next(iter(values)))


def spoil(folder: Path, name: str, weight: Tensor | None) -> None:
    """Write the weights again with one of them changed, or left out."""
    place = folder / "model.safetensors"
    weights = load_file(place) | ({} if weight is None else {name: weight})
    save_file({key: value for key, value in weights.items() if weight is not None or key != name}, place)


def test_odd_weights_are_told_in_one_line(published: Path) -> None:
    name = "timesformer.layernorm.bias"
    cases: list[tuple[str, Tensor | None, str]] = [
        (name, torch.zeros(24).double(), "float64"),
        (name, torch.zeros(24, dtype=torch.int32), "int32"),
        (name, torch.full((24,), torch.nan), "NaN"),
        (name, torch.zeros(1, 24), "shape"),
        (name, torch.zeros(0), "shape"),
        (name, None, "missing"),
        ("evil.weight", torch.zeros(1), "no place"),
    ]
    whole = (published / "model.safetensors").read_bytes()
    for name, weight, word in cases:
        spoil(published, name, weight)
        told(published, "model.safetensors", name, word)
        (published / "model.safetensors").write_bytes(whole)
    (published / "model.safetensors").write_bytes(whole[:-9])
    told(published, "model.safetensors", "not a whole safetensors file")


def test_pickled_weights_are_refused_with_the_way_to_convert_them(published: Path) -> None:
    (published / "model.safetensors").unlink()
    told(published, "no weights", "model.safetensors")
    (published / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/run'\ntR.")
    told(published, "pytorch_model.bin", "safe_serialization=True", "save_pretrained")


@pytest.mark.parametrize(
    "file", ["../model.safetensors", "/etc/passwd", "model.bin", "..\\x.safetensors", 7, ""]
)
def test_a_list_of_shards_stays_in_its_folder(published: Path, file: Any) -> None:
    names = load_file(published / "model.safetensors").keys()
    (published / "model.safetensors").unlink()
    index = published / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, file)}), "utf-8")
    told(published, index.name)


def test_a_shard_that_holds_something_else_is_told(transformers: Any, tmp_path: Path) -> None:
    publish(transformers, tmp_path, shard="20KB")
    index = tmp_path / "model.safetensors.index.json"
    listed = json.loads(index.read_text("utf-8"))["weight_map"]
    first, last = min(listed.values()), max(listed.values())
    shutil.copy(tmp_path / first, tmp_path / last)
    told(tmp_path, "other weights")
    (tmp_path / last).unlink()
    told(tmp_path, last, "no such file")
    index.write_text('{"weight_map": []}', "utf-8")
    told(tmp_path, "weight_map")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"class_token": "per_frame"}, "class_token"),
        ({"temporal_dense": False}, "temporal_dense"),
        ({"temporal": "retention", "temporal_dense": False, "heads": 2}, "temporal"),
        ({"stem": "conv"}, "stem"),
        ({"frame_differences": True}, "frame_differences"),
        ({"pool": "mean"}, "pool"),
        ({"time_positions": False}, "time_positions"),
    ],
)
def test_only_models_of_the_published_form_are_written(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    settings = parse(TimeSformerSettings, {**OURS, **changes}, "test")
    model = TimeSformer(settings, {"video": (4, 3, SIDE, SIDE)}, {"label": 2})
    with pytest.raises(ModelError, match=f"model.{word}: found") as problem:
        to_transformers(model, tmp_path / "out", CLASSES)
    assert "\n" not in str(problem.value)
    assert not (tmp_path / "out").exists()


def test_tasks_grids_names_and_numbers_that_files_cannot_hold_are_refused(tmp_path: Path) -> None:
    settings = parse(TimeSformerSettings, OURS, "test")
    cases: list[tuple[tuple[int, int], dict[str, int], str]] = [
        ((16, 16), {"label": 2, "side": 2}, "tasks"),
        ((16, 24), {"label": 2}, "patches"),
        ((16, 16), {"label": 3}, "3 classes and 2 names"),
    ]
    for size, classes, word in cases:
        with pytest.raises(ModelError, match=word):
            to_transformers(
                TimeSformer(settings, {"video": (4, 3, *size)}, classes), tmp_path / "out", CLASSES
            )
    model = TimeSformer(settings, {"video": (4, 3, 16, 16)}, {"label": 2})
    model.norm.bias.data[3] = torch.inf
    with pytest.raises(ModelError, match="infinity"):
        to_transformers(model, tmp_path / "out", CLASSES)
    assert not (tmp_path / "out").exists()


# --- the hub -----------------------------------------------------------------------------------------

HUB_ID = "facebook/timesformer-base-finetuned-k400"


def test_a_hub_id_without_the_extra_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    told(HUB_ID, "pip install 'mudra[hf]'", "local folder")


def test_the_hub_is_asked_for_safetensors_and_json_alone(
    monkeypatch: pytest.MonkeyPatch, saved: Path
) -> None:
    hub_client = pytest.importorskip("huggingface_hub")
    asked: list[Any] = []

    def give(name: str, **more: Any) -> str:
        asked.append((name, more))
        return str(saved)

    monkeypatch.setattr(hub_client, "snapshot_download", give)
    assert from_transformers(HUB_ID).classes[0] == "LABEL_0"
    assert from_transformers(Path(HUB_ID)).classes[0] == "LABEL_0"
    assert asked == [(HUB_ID, {"allow_patterns": ["*.safetensors", "*.json"]})] * 2


def test_a_hub_that_does_not_answer_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    hub_client = pytest.importorskip("huggingface_hub")

    def fail(name: str, **_: Any) -> str:
        raise OSError("no route\nto host " + "x" * 1000)

    monkeypatch.setattr(hub_client, "snapshot_download", fail)
    told(HUB_ID, "no route to host", "local folder")


def test_a_place_here_is_never_looked_for_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved, tmp_path / "runs" / "mine")
    assert hub.local_folder("runs/mine") == Path("runs/mine")
    for name in ("runs/mistyped", "/a/b", "../x/y", "x", "a/b/c", "a/../b", "https://x/y"):
        assert hub.local_folder(name) == Path(name)
    told("runs/mistyped", "config.json", "no such file")


# --- a training that starts from them ----------------------------------------------------------------


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"), {"train": 8, "val": 4, "test": 4})


def recipe(clip: dict[str, Any] | None = None, **model: Any) -> Any:
    sections = {"clip": clip or {}, "train": {"epochs": 1}, "optim": {"lr": 1e-12, "weight_decay": 0.0}}
    return tiny_recipe(model={**OURS, **model}, **sections)


def begin(
    source: Path | str, model: dict[str, Any], classes: Any = CLASSES, **clip: Any
) -> tuple[TimeSformer, str]:
    """A model that starts from elsewhere, and what is said of it."""
    size = {"frames": 4, "size": SIDE, "mean": [0.45] * 3, "std": [0.225] * 3, **clip}
    bundle = Bundle(
        "test",
        parse(TimeSformerSettings, {**OURS, **model}, "test"),
        Preprocessing(parse(ClipSettings, size, "test"), {"video": StreamInfo("video")}),
        {"label": tuple(classes)},
    )
    said: list[str] = []
    built = bundle.build()
    assert isinstance(built, TimeSformer)
    start_from(built, source, bundle, said.append)
    return built, "\n".join(said)


def test_a_training_starts_from_published_weights(bars: Path, saved: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = train(recipe(), str(bars), tmp_path / "run", init_from=saved, say=said.append)
    line = next(line for line in said if line.startswith("starting from"))
    assert line == f"starting from {saved}; these start anew: heads.to_label.bias, heads.to_label.weight"
    trained = load_file(run.bundle / "model.safetensors")
    theirs = from_transformers(saved).model.state_dict()
    for name, weight in theirs.items():
        if "heads" not in name:  # a rate of next to nothing leaves them where they were
            torch.testing.assert_close(trained[name], weight, rtol=0, atol=1e-6)
    assert "the weights were trained with clip.mean [0.45, 0.45, 0.45]" in "\n".join(said)
    assert run.read_recipe().train.init_from == str(saved)


def test_a_recipe_says_whose_weights_it_starts_from(
    bars: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the recipe or on the command line; a hub id survives; resuming asks for nothing again."""
    hub_client = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub_client, "snapshot_download", lambda name, **_: str(saved))
    monkeypatch.chdir(tmp_path)
    stated = tiny_recipe(model=OURS, train={"epochs": 2, "init_from": HUB_ID})
    said: list[str] = []
    first = train(stated, str(bars), tmp_path / "stated", say=said.append)
    assert any(line.startswith(f"starting from {HUB_ID}") for line in said)
    plain = tiny_recipe(model=OURS, train={"epochs": 2})
    second = train(plain, str(bars), tmp_path / "given", init_from=HUB_ID, say=said.append)
    assert (first.path / "recipe.yaml").read_text("utf-8") == (second.path / "recipe.yaml").read_text("utf-8")
    weights = (first.bundle / "model.safetensors").read_bytes()
    assert weights == (second.bundle / "model.safetensors").read_bytes()

    monkeypatch.setattr(hub_client, "snapshot_download", None)
    shutil.rmtree(checkpoints.folder_of(second.checkpoints, 2))
    second.status("stopped", 1)
    said.clear()
    train(plain, str(bars), tmp_path / "given", resume=True, say=said.append)
    assert any(line.startswith("going on from step 1") for line in said)
    assert not any(line.startswith("starting from") for line in said)
    assert weights == (second.bundle / "model.safetensors").read_bytes()


def test_the_first_of_several_stages_starts_from_them(bars: Path, saved: Path, tmp_path: Path) -> None:
    stages = [{}, {"optim": {"lr": 1e-4}}]
    said: list[str] = []
    staged = tiny_recipe(model=OURS, train={"epochs": 1, "init_from": str(saved)}, stages=stages)
    run = train(staged, str(bars), tmp_path / "run", say=said.append)
    begun = [line.partition(";")[0] for line in said if line.startswith("starting from")]
    assert begun == [f"starting from {saved}", f"starting from {run.stage(1).path}"]
    assert [run.stage(number).read_recipe().train.init_from for number in (1, 2)] == [str(saved), None]


def test_a_run_is_still_a_start(bars: Path, tmp_path: Path) -> None:
    first = train(recipe(), str(bars), tmp_path / "first", say=[].append)
    for source in (first.path, first.bundle):
        assert kind_of(source) == "ours"
        model, said = begin(source, {})
        assert "anew" not in said
        assert torch.equal(model.norm.bias, load_file(first.bundle / "model.safetensors")["norm.bias"])
    with pytest.raises(MudraError, match=r"model\.safetensors: there is no such file"):
        begin(tmp_path / "nothing", {})


def test_the_head_stays_where_classes_are_the_same(published: Path) -> None:
    names = ["a", "b", "c", "d", "e"]
    change(published, id2label=dict(zip("01234", names, strict=True)))
    model, said = begin(published, {}, names)
    assert "anew" not in said
    assert torch.equal(
        model.heads.to_label.weight, load_file(published / "model.safetensors")["classifier.weight"]
    )
    _, said = begin(published, {}, names[::-1])  # as many, but not the same
    assert "these start anew: heads.to_label.bias, heads.to_label.weight" in said


def test_positions_follow_the_recipe_and_that_is_said(saved: Path) -> None:
    model, said = begin(saved, {}, frames=6, size=32)
    assert "positions of 4 frames are interpolated to 6" in said
    assert "positions of 2x2 patches are interpolated to 4x4" in said
    assert "positions" not in said.partition("\n")[0]
    theirs = from_transformers(saved).model
    video = draw(2, 6, 3, 32, 32)
    torch.testing.assert_close(
        model.eval().features({"video": video}), theirs.eval().features({"video": video})
    )


def test_temporal_parts_that_a_model_does_not_have_are_left_out_and_said(saved: Path) -> None:
    hybrid = {"temporal": "retention", "temporal_dense": False, "class_token": "per_frame"}
    model, said = begin(saved, {**hybrid, "time_positions": False})
    line = said.partition("\n")[0]
    anew, _, out = line.partition("left out: ")
    assert "blocks.*.temporal.retention.inputs.weight" in anew
    assert "blocks.*.temporal.attention.qkv.weight" in out
    assert "blocks.*.temporal.attention.dense.bias" in out
    assert "time_positions" in out
    assert "the weights were trained with model.class_token per_clip; the recipe has per_frame" in said
    theirs = from_transformers(saved).model.state_dict()
    assert torch.equal(model.state_dict()["blocks.1.space.qkv.weight"], theirs["blocks.1.space.qkv.weight"])
    video = draw(1, 4, 3, SIDE, SIDE)
    without = {**OURS, "attention": "space_only", "temporal_dense": False, "class_token": "per_frame"}
    settings = parse(TimeSformerSettings, without, "test")
    blind = TimeSformer(settings, {"video": (4, 3, SIDE, SIDE)}, {"label": 2})
    blind.load_state_dict({name: x for name, x in model.state_dict().items() if "temporal" not in name})
    # retention starts closed: at first the hybrid sees what the published spatial layers see
    torch.testing.assert_close(
        model.eval().features({"video": video}), blind.eval().features({"video": video})
    )


def test_weights_that_mean_something_else_are_refused(saved: Path, published: Path) -> None:
    for change_, words in (
        ({"heads": 2}, "model.heads=3"),
        ({"width": 30}, "none of its weights fits"),
    ):
        with pytest.raises(ModelError, match=words) as problem:
            begin(saved, change_)
        assert "\n" not in str(problem.value)
    change(published, model_type="videomae")
    with pytest.raises(ModelError, match="videomae"):
        begin(published, {})
    (published / "config.json").write_text("{", "utf-8")
    with pytest.raises(ModelError, match=r"config\.json"):
        begin(published, {})


def test_wide_numbers_that_a_model_cannot_hold_are_refused(tmp_path: Path) -> None:
    to_transformers(own_model(torch.float64, classes=2), tmp_path, CLASSES[::-1])
    begin(tmp_path, {})
    spoil(tmp_path, "timesformer.layernorm.bias", torch.full((24,), 1e300, dtype=torch.float64))
    with pytest.raises(ModelError, match=r"norm\.bias.*infinity"):
        begin(tmp_path, {})


def test_the_command_takes_a_hub_id(bars: Path, tmp_path: Path) -> None:
    """As text: a name of the hub is no path, and offline it is told in one line."""
    lines = [
        "model: " + json.dumps(OURS),
        "clip: {frames: 4, size: 16, resize: stretch}",
        "train: {device: cpu}",
    ]
    (tmp_path / "own.yaml").write_text("\n".join(lines), "utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mudra",
            *f"train own.yaml --data {bars} --out run --init-from {HUB_ID}".split(),
        ],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert HUB_ID in done.stderr
    assert not RunFolder(tmp_path / "run").begun
