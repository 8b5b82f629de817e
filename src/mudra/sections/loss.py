"""What is minimised."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mudra.settings import Above0, AtLeast0, Settings, Share


class LossSettings(Settings):
    """Cross-entropy, with what makes it gentler or fairer, and what is learnt beside it. 0 is off.

    class_weights: `balanced` weighs a class by the inverse of its share of train.
    task_weights: weight of each task in the sum; a task not named weighs 1.
    focal: gamma of the focal loss: what is sure already counts less. 2 is usual.
    focal_rise: share of the training over which gamma rises linearly from 0; 0 begins with all of it.
    auxiliary: weight of the loss of each auxiliary head of the model, from the first layer on.
    parts: weight of the mean loss of the heads that see one part of the body each.
    windows: weight of the mean loss at every window, of models that answer at each; see `fusion`.
    margin: by how much a clip's class should stand above its rivals, in logits. margin_weight: weight of what is
        missing of it.
    similar: pairs of classes that are rivals of each other, by name. Without any, each clip has one rival: the
        strongest class that it does not show.
    distil: weight of what the auxiliary heads learn from the model's own answer (Zhang et al. 2019,
        arXiv:1905.08094, without its hints on features), softened by distil_temperature.
    consistency: weight of the divergence between what the heads of the parts answer (Jensen-Shannon).
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    task_weights: dict[str, AtLeast0] = Field(default_factory=dict)
    focal: AtLeast0 = 0.0
    focal_rise: Share = 0.0
    auxiliary: tuple[AtLeast0, ...] = ()
    parts: AtLeast0 = 0.0
    windows: AtLeast0 = 0.0
    margin: AtLeast0 = 0.0
    margin_weight: AtLeast0 = 1.0
    similar: tuple[tuple[str, str], ...] = ()
    distil: AtLeast0 = 0.0
    distil_temperature: Above0 = 3.0
    consistency: AtLeast0 = 0.0

    @property
    def plain(self) -> bool:
        """Whether nothing but cross-entropy is minimised."""
        return not (
            self.focal or self.auxiliary or self.parts or self.windows or self.margin or self.consistency
        )
