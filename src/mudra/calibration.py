"""What makes a model's probabilities believable: a temperature, and a threshold under which it is none of these.

Guo et al., ICML 2017, arXiv:1706.04599: one number a task, fitted on validation, divides the logits. Here it divides
the log-probabilities of the whole clip, which for one view is the same, and for several comes after their mean.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mudra.settings import Settings


class Calibration(Settings):
    """What a bundle holds of a task.

    temperature: above 1 makes answers less sure. threshold: the probability that the likeliest class needs, at this
    temperature; None rejects nothing.
    """

    temperature: Annotated[float, Field(gt=0)] = 1.0
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None


def tempered(logs: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Log-probabilities [..., C] at a temperature: the same likeliest class, more or less sure of it.

    A temperature of 1 changes no bit.

    >>> [f"{share:.4f}" for share in np.exp(tempered(np.log(np.float32([0.8, 0.2])), 2.0))]
    ['0.6667', '0.3333']
    """
    if temperature == 1:
        return logs
    scaled = logs.astype(np.float64) / temperature
    scaled -= np.logaddexp.reduce(scaled, axis=-1, keepdims=True)
    found = scaled.astype(np.float32)
    # two classes a hair apart may have become equal, and the first of equals is the answer
    before, highest = logs.argmax(-1)[..., None], found.max(-1, keepdims=True)
    lost = found.argmax(-1)[..., None] != before
    raised = np.where(lost, np.nextafter(highest, np.float32(0)), np.take_along_axis(found, before, -1))
    np.put_along_axis(found, before, raised, -1)
    return found
