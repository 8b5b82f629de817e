"""Weights of a TimeSformer from elsewhere: other names, other lengths and sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mudra.errors import ModelError
from mudra.models.positions import resize_space, resize_time
from mudra.models.timesformer import TimeSformer

# Published name -> ours, outside the layers; and inside layer N, after its prefix.
OUTSIDE = {
    "timesformer.embeddings.cls_token": "class_token",
    "timesformer.embeddings.position_embeddings": "space_positions",
    "timesformer.embeddings.time_embeddings": "time_positions",
    "timesformer.embeddings.patch_embeddings.projection": "stem.convolution",
    "timesformer.layernorm": "norm",
}
LAYER = "timesformer.encoder.layer."
INSIDE = {
    "temporal_layernorm": "temporal.norm",
    "temporal_attention.attention.qkv": "temporal.attention.qkv",
    "temporal_attention.output.dense": "temporal.attention.projection",
    "temporal_dense": "temporal.attention.dense",
    "layernorm_before": "norm_space",
    "attention.attention.qkv": "space.qkv",
    "attention.output.dense": "space.projection",
    "layernorm_after": "norm_mlp",
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
}


def from_transformers_state(
    state: Mapping[str, Tensor], heads: int, task: str = "label", prefix: str = "model weights"
) -> dict[str, Tensor]:
    """The weights of transformers' `TimesformerForVideoClassification` under our names.

    Our model must have `class_token: per_clip`, `temporal_dense: true` (where attention is divided) and
    `norm_eps: 1e-6`.

    Args:
        heads: attention heads of the model, by which the rows of its attention are ordered.
        task: whose classifier the published one becomes.
        prefix: where the weights come from, to begin an error with.
    Raises:
        ModelError: a name that such a model does not have.
    """
    ours = {}
    for name, weight in state.items():
        renamed = _renamed(name, task)
        if renamed is None:
            raise ModelError(
                f"{prefix}: found {name!r}; expected the names of TimesformerForVideoClassification; "
                "check that the weights are a TimeSformer's"
            )
        if ".qkv." in renamed:
            weight = rows_by_head(weight, heads)
        elif weight.ndim == 3:  # tokens and positions carry an axis for the batch
            weight = weight[0, 0] if renamed == "class_token" else weight[0]
        ours[renamed] = weight
    return ours


def to_transformers_state(state: Mapping[str, Tensor], heads: int, task: str = "label") -> dict[str, Tensor]:
    """The way back: our weights under the names of `TimesformerForVideoClassification`.

    Args:
        state: of a model of the published form; other names are refused with KeyError.
    """
    theirs = {}
    for name, weight in state.items():
        published = _published(name, task)
        if ".qkv." in name:
            weight = rows_by_kind(weight, heads)
        elif name in ("class_token", "space_positions", "time_positions"):
            weight = weight[None, None] if weight.ndim == 1 else weight[None]
        theirs[published] = weight
    return theirs


def rows_by_head(weight: Tensor, heads: int) -> Tensor:
    """Reorder the rows of an attention's first layer from (q/k/v, head, place) to (head, q/k/v, place)."""
    rows = weight.unflatten(0, (3, heads, -1))
    return rows.transpose(0, 1).flatten(0, 2).contiguous()


def rows_by_kind(weight: Tensor, heads: int) -> Tensor:
    """Reorder the rows back, from (head, q/k/v, place) to (q/k/v, head, place)."""
    rows = weight.unflatten(0, (heads, 3, -1))
    return rows.transpose(0, 1).flatten(0, 2).contiguous()


def _renamed(name: str, task: str) -> str | None:
    """Our name for a published one; None where there is none."""
    module, _, kind = name.rpartition(".")
    if module == "classifier":
        return f"heads.to_{task}.{kind}"
    if name in OUTSIDE:
        return OUTSIDE[name]
    if module in OUTSIDE:
        return f"{OUTSIDE[module]}.{kind}"
    number, _, inside = module.removeprefix(LAYER).partition(".")
    if module.startswith(LAYER) and number.isdecimal() and inside in INSIDE:
        return f"blocks.{number}.{INSIDE[inside]}.{kind}"
    return None


def _published(name: str, task: str) -> str:
    """The published name for one of ours."""
    outside, inside = ({ours: theirs for theirs, ours in table.items()} for table in (OUTSIDE, INSIDE))
    if name in outside:
        return outside[name]
    module, _, kind = name.rpartition(".")
    if module == f"heads.to_{task}":
        return f"classifier.{kind}"
    if module in outside:
        return f"{outside[module]}.{kind}"
    _, number, part = module.split(".", 2)
    return f"{LAYER}{number}.{inside[part]}.{kind}"


def adapt_positions(
    state: Mapping[str, Tensor], model: TimeSformer, grid: tuple[int, int] | None = None
) -> dict[str, Tensor]:
    """Weights of a TimeSformer trained at another length or size, made to fit `model`.

    Args:
        state: the weights; positions that fit already are passed on as they are.
        grid: rows and columns of patches that `state` was trained at; a square if not given.
    Raises:
        ModelError: the number of positions is not that of the grid.
    """
    adapted = dict(state)
    space_ND = adapted.get("space_positions")
    if space_ND is not None and space_ND.shape[0] != model.space_positions.shape[0]:
        patches = space_ND.shape[0] - 1
        grid = grid or (math.isqrt(patches), math.isqrt(patches))
        if grid[0] * grid[1] != patches:
            raise ModelError(
                f"weights, space_positions: found {patches} patches, not a grid of {grid}; expected "
                "the rows and columns that the weights were trained at; pass them as `grid`"
            )
        adapted["space_positions"] = torch.cat([space_ND[:1], resize_space(space_ND[1:], grid, model.grid)])
    time_TD = adapted.get("time_positions")
    if time_TD is not None and model.time_positions is not None:
        adapted["time_positions"] = resize_time(time_TD, model.time_positions.shape[0])
    return adapted
