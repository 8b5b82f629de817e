"""How weights are changed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mudra.settings import Above0, AtLeast0, Rate, Settings


class OptimSettings(Settings):
    """AdamW. Norms, biases, positions and tokens are never decayed.

    layer_decay: rate of a layer as a multiple of the rate of the layer above it; the classifiers have the full one.
        Below 1, a pretrained network's first layers change least.
    rates: factors of the rate by a part of the parameters' names, such as {temporal: 10, heads: 10}.
    """

    lr: Above0 = 1e-3
    weight_decay: AtLeast0 = 0.05
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    rates: dict[str, Above0] = Field(default_factory=dict)
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    eps: Above0 = 1e-8
