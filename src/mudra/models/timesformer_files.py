"""A TimeSformer in the files of transformers: read with all that its authors published, and written back.

    config.json                sizes, the form of attention, class names
    model.safetensors          weights, or shards of them listed in model.safetensors.index.json
    preprocessor_config.json   how pictures are scaled

No code is read from them, and none of theirs is run: the configuration is numbers and names, each checked.
Weights are safetensors and nothing else. A model is put together without memory first, so that a file
must hold every weight that its configuration speaks of.

Departs from transformers: `space_only` answers for the clip, with the mean of what theirs answers for its frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import ConfigDict, Field
from safetensors.torch import save
from torch import Tensor

from mudra.errors import ModelError, RecipeError
from mudra.files import read_json, read_weights, replace_file, write_json
from mudra.models.hub import local_folder
from mudra.models.timesformer import TimeSformer, TimeSformerSettings
from mudra.models.timesformer_weights import from_transformers_state, to_transformers_state
from mudra.settings import Above0, Rate, Settings, parse

ATTENTION: Mapping[str, Literal["divided", "joint", "space_only"]] = {
    "divided_space_time": "divided",
    "joint_space_time": "joint",
    "space_only": "space_only",
}
BILINEAR = 2  # Pillow's number of the filter with which mudra resizes
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Side = Annotated[int, Field(ge=1, le=4096)]


class Foreign(Settings):
    """Settings in a file of somebody else's: keys that say nothing to us are passed over."""

    model_config = ConfigDict(extra="ignore")


class Config(Foreign):
    """What config.json says, with the defaults of `TimesformerConfig`, which are left out of older files."""

    image_size: Side = 224
    patch_size: Side = 16
    num_channels: Annotated[int, Field(ge=1, le=64)] = 3
    num_frames: Annotated[int, Field(ge=1, le=4096)] = 8
    hidden_size: Annotated[int, Field(ge=1, le=2**14)] = 768
    num_hidden_layers: Annotated[int, Field(ge=1, le=256)] = 12
    num_attention_heads: Annotated[int, Field(ge=1, le=2**14)] = 12
    intermediate_size: Annotated[int, Field(ge=1, le=2**17)] = 3072
    hidden_act: Literal["gelu"] = "gelu"
    hidden_dropout_prob: Rate = 0.0
    attention_probs_dropout_prob: Rate = 0.0
    layer_norm_eps: Above0 = 1e-6
    qkv_bias: bool = True
    attention_type: Literal["divided_space_time", "joint_space_time", "space_only"] = "divided_space_time"
    drop_path_rate: Rate = 0.0
    num_labels: Annotated[int, Field(ge=1, le=2**20)] = 2
    id2label: dict[str, str] | None = None

    def settings(self) -> TimeSformerSettings:
        """Ours of the same model."""
        return TimeSformerSettings(
            width=self.hidden_size,
            depth=self.num_hidden_layers,
            heads=self.num_attention_heads,
            patch=self.patch_size,
            mlp_ratio=self.intermediate_size / self.hidden_size,
            attention=ATTENTION[self.attention_type],
            class_token=token_of(ATTENTION[self.attention_type]),
            temporal_dense=self.attention_type == "divided_space_time",
            qkv_bias=self.qkv_bias,
            norm_eps=self.layer_norm_eps,
            dropout=self.hidden_dropout_prob,
            attention_dropout=self.attention_probs_dropout_prob,
            drop_path=self.drop_path_rate,
        )

    def classes(self, place: Path) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        if self.id2label is None:
            return tuple(f"LABEL_{number}" for number in range(self.num_labels))
        names = tuple(self.id2label.get(str(number), "") for number in range(len(self.id2label)))
        if not names or not all(names) or len(set(names)) < len(names):
            raise ModelError(
                f"{place}, id2label: expected a name of its own for each class from 0 to {len(names) - 1}. Mend it."
            )
        return names


class Pixels(Foreign):
    """What preprocessor_config.json says of pictures."""

    do_resize: bool | None = True
    size: dict[str, Side] | Side | None = None
    do_center_crop: bool | None = True
    crop_size: dict[str, Side] | Side | None = None
    resample: int | None = BILINEAR
    do_rescale: bool | None = True
    rescale_factor: Above0 = 1 / 255
    do_normalize: bool | None = True
    image_mean: tuple[float, float, float]
    image_std: tuple[Above0, Above0, Above0]


@dataclass(frozen=True)
class Published:
    """A model as its authors published it.

    Attributes:
        classes: names in the order of the logits.
        clip: what the files say of a recipe's section `clip`, by its keys.
        notes: what they say of pictures and no recipe can, in sentences.
    """

    model: TimeSformer
    classes: tuple[str, ...]
    clip: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def token_of(attention: str) -> Literal["per_frame", "per_clip"]:
    """Where the published form has its class tokens."""
    return "per_frame" if attention == "space_only" else "per_clip"


def from_transformers(source: str | Path, task: str = "label") -> Published:
    """Read a published TimeSformer, in the precision of its file.

    Args:
        source: a folder, or the name of one on the Hugging Face hub.
        task: whose classifier the published one becomes.
    Raises:
        ModelError: missing, not a TimeSformer, garbled, or weights that are not safetensors.
    """
    folder = local_folder(source)
    place = folder / "config.json"
    config = _read(Config, place, _tree_of_timesformer(place))
    classes = config.classes(place)
    inputs = {"video": (config.num_frames, config.num_channels, config.image_size, config.image_size)}
    try:
        with torch.device("meta"):
            model = TimeSformer(config.settings(), inputs, {task: len(classes)})
    except ModelError as problem:
        raise ModelError(f"{place}: {problem}") from None
    published = _weights(folder, to_transformers_state(model.state_dict(), model.settings.heads, task))
    weights = from_transformers_state(published, model.settings.heads, task, str(folder))
    model.load_state_dict(weights, assign=True)
    clip, notes = _clip(folder / "preprocessor_config.json", config)
    return Published(model, classes, clip, notes)


def to_transformers(
    model: TimeSformer, folder: Path, classes: Sequence[str], clip: Mapping[str, Any] | None = None
) -> None:
    """Write a model so that transformers' `TimesformerForVideoClassification` gives the same logits.

    Args:
        classes: names in the order of the logits.
        clip: keys of a recipe's section `clip`; with `size`, `resize`, `mean` and `std` among them,
            preprocessor_config.json is written as well.
    Raises:
        ModelError: the published form cannot say this model, or a weight is not finite.
        OutputError: writing failed.
    """
    settings, task = model.settings, model.heads.tasks[0]
    _require_published_form(model, len(classes))
    weights = to_transformers_state(model.state_dict(), settings.heads, task)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{folder}: weight {name!r} holds NaN or infinity; such a model is not written.")
    attention_type = next(theirs for theirs, ours in ATTENTION.items() if ours == settings.attention)
    rate = settings.dropout if settings.attention_dropout is None else settings.attention_dropout
    config = {
        "architectures": ["TimesformerForVideoClassification"],
        "attention_probs_dropout_prob": rate,
        "attention_type": attention_type,
        "drop_path_rate": 0,  # theirs takes no fraction; it matters in training alone
        "dtype": str(model.class_token.dtype).removeprefix("torch."),
        "hidden_act": "gelu",
        "hidden_dropout_prob": settings.dropout,
        "hidden_size": settings.width,
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "image_size": model.grid[0] * settings.patch,
        "intermediate_size": round(settings.width * settings.mlp_ratio),
        "label2id": {name: number for number, name in enumerate(classes)},
        "layer_norm_eps": settings.norm_eps,
        "model_type": "timesformer",
        "num_attention_heads": settings.heads,
        "num_channels": model.channels,
        "num_frames": model.frames,
        "num_hidden_layers": settings.depth,
        "patch_size": settings.patch,
        "qkv_bias": settings.qkv_bias,
    }
    replace_file(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    write_json(folder / "config.json", config)
    if clip is not None and clip.keys() >= {"size", "resize", "mean", "std"}:
        write_json(folder / "preprocessor_config.json", _pixels(clip))


# --- reading ---------------------------------------------------------------------------------------

S = TypeVar("S", bound=Settings)


def _tree_of_timesformer(place: Path) -> dict[str, Any]:
    """config.json as plain values."""
    tree = _json(place, "a folder of transformers: config.json and model.safetensors")
    kind = tree.get("model_type")
    if kind != "timesformer":
        raise ModelError(
            f"{place}, model_type: found {kind!r}; expected 'timesformer'. Give the folder of a TimeSformer."
        )
    return tree


def _json(place: Path, expected: str) -> dict[str, Any]:
    try:
        tree = read_json(place)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            f"{place}: there is no such file; expected {expected}. Give such a folder."
        ) from None
    except (OSError, ValueError) as problem:
        raise ModelError(f"{place}: cannot be read as JSON ({problem}). Copy it again.") from None
    if not isinstance(tree, dict):
        raise ModelError(f"{place}: found {type(tree).__name__}; expected keys and values. Copy it again.")
    return tree


def _read(kind: type[S], place: Path, tree: Mapping[str, Any]) -> S:
    try:
        return parse(kind, tree, str(place))
    except RecipeError as problem:
        raise ModelError(str(problem)) from None


def _weights(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a folder, which are those expected: names, shapes, one precision, finite."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists() or not index.exists():
        if not whole.exists():
            _refuse_pickles(folder)
        found, place = read_weights(whole), whole
    else:
        found, place = _shards(index), index
    for name in sorted(expected.keys() ^ found.keys()):
        side = "is missing" if name in expected else "has no place in such a model"
        raise ModelError(
            f"{place}: weight {name!r} {side}; config.json describes another model. Copy both again."
        )
    kind = found["timesformer.embeddings.cls_token"].dtype
    for name, tensor in sorted(found.items()):
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{place}: weight {name!r} has shape {list(tensor.shape)}, config.json makes it "
                f"{list(expected[name].shape)}. Copy both again."
            )
        if tensor.dtype != kind or kind not in FLOATS:
            raise ModelError(
                f"{place}: weight {name!r} is of type {tensor.dtype}, others of {kind}; expected one type of floating "
                "point numbers. Save it again in one precision."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{place}: weight {name!r} holds NaN or infinity; such a model is not used.")
    return found


def _shards(index: Path) -> dict[str, Tensor]:
    """Weights in several files beside their list."""
    listed = _json(index, "the list of the shards").get("weight_map")
    if (
        not isinstance(listed, dict)
        or not listed
        or not all(isinstance(file, str) for file in listed.values())
    ):
        raise ModelError(f"{index}: expected the file of each weight under weight_map. Copy it again.")
    found: dict[str, Tensor] = {}
    for file in sorted(set(listed.values())):
        if Path(file).name != file or "\\" in file or not file.endswith(".safetensors"):
            raise ModelError(
                f"{index}: it names the file {file!r}; expected safetensors beside it. Do not use it."
            )
        shard = read_weights(index.with_name(file))
        if shard.keys() != {name for name, where in listed.items() if where == file}:
            raise ModelError(
                f"{index.with_name(file)}: it holds other weights than {index.name} says. Copy both again."
            )
        found |= shard
    return found


def _refuse_pickles(folder: Path) -> None:
    """Say how to turn weights in Python's own format, which can run code, into safetensors."""
    pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin*"))
    found = pickled[0] if pickled else "no weights"
    raise ModelError(
        f"{folder}: found {found}; expected model.safetensors, because other formats can run code. Convert it where "
        'you trust it: python -c "from transformers import TimesformerForVideoClassification as M; '
        "M.from_pretrained('HERE').save_pretrained('THERE', safe_serialization=True)\"."
    )


# --- pictures --------------------------------------------------------------------------------------


def _clip(place: Path, config: Config) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A recipe's section `clip`, as far as the files tell, and what it cannot say."""
    clip: dict[str, Any] = {"frames": config.num_frames, "size": config.image_size}
    if not place.exists():
        return clip, (f"there is no {place.name}: how pictures were scaled is not known",)
    pixels = _read(Pixels, place, _json(place, "the scaling of pictures"))
    notes = []
    if pixels.do_resize and pixels.resample not in (None, BILINEAR):
        notes.append(f"pictures were resized by Pillow's filter {pixels.resample}; mudra resizes bilinearly")
    shorter, square = _shorter(pixels.size), _square(pixels.size)
    crop = pixels.crop_size if isinstance(pixels.crop_size, int) else _square(pixels.crop_size)
    if pixels.do_resize and pixels.do_center_crop and shorter and crop and 1 <= shorter / crop <= 4:
        clip |= {"size": crop, "resize": "crop", "shorter_side": shorter / crop}
    elif pixels.do_resize and square and (crop == square or not pixels.do_center_crop):
        clip |= {"size": square, "resize": "stretch"}
    else:
        notes.append("pictures were cut to size in a way that no recipe can say")
    scale = 255 * pixels.rescale_factor if pixels.do_rescale else 255.0
    scale = 1.0 if math.isclose(scale, 1) else scale
    mean = [value / scale for value in (pixels.image_mean if pixels.do_normalize else (0.0, 0.0, 0.0))]
    std = [value / scale for value in (pixels.image_std if pixels.do_normalize else (1.0, 1.0, 1.0))]
    return clip | {"mean": mean, "std": std}, tuple(notes)


def _shorter(size: Mapping[str, int] | int | None) -> int | None:
    """The shorter side that pictures are brought to; once it was a bare number."""
    return size if isinstance(size, int) or size is None else size.get("shortest_edge")


def _square(size: Mapping[str, int] | int | None) -> int | None:
    """The side of a square, where it is one."""
    sides = {} if isinstance(size, int) or size is None else size
    return sides.get("height") if sides.get("height") == sides.get("width") else None


def _pixels(clip: Mapping[str, Any]) -> dict[str, Any]:
    """What preprocessor_config.json says of a recipe's section `clip`."""
    side, cropped = clip["size"], clip["resize"] == "crop"
    square = {"height": side, "width": side}
    return {
        "crop_size": square,
        "do_center_crop": cropped,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(clip["mean"]),
        "image_processor_type": "VideoMAEImageProcessor",
        "image_std": list(clip["std"]),
        "resample": BILINEAR,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": round(side * clip.get("shorter_side", 1.0))} if cropped else square,
    }


# --- writing ---------------------------------------------------------------------------------------


def _require_published_form(model: TimeSformer, classes: int) -> None:
    """Refuse what the published form cannot say."""
    settings = model.settings
    found = {
        "temporal": (settings.temporal, "attention"),
        "time_positions": (settings.time_positions, True),
        "class_token": (settings.class_token, token_of(settings.attention)),
        "temporal_dense": (settings.temporal_dense, settings.attention == "divided"),
        "stem": (settings.stem, "linear"),
        "frame_differences": (settings.frame_differences, False),
        "pool": (settings.pool, "class_token"),
        "readout": (settings.readout, "mean"),
        "number of tasks": (len(model.heads.tasks), 1),
        "rows of patches": (model.grid[0], model.grid[1]),
    }
    for name, (ours, theirs) in found.items():
        if ours != theirs:
            raise ModelError(
                f"model.{name}: found {ours!r}; the files of transformers say {theirs!r} alone. Train such a model, or "
                "share its bundle."
            )
    counted = len(model.state_dict()[f"heads.to_{model.heads.tasks[0]}.bias"])
    if classes != counted:
        raise ModelError(
            f"model: found {counted} classes and {classes} names; expected a name for each class."
        )
