"""Models: one family a file. Tensors in, logits per task out; no file knows about data or training.

A model is built as `Model(settings, inputs, classes)`, where `inputs` is the shape of one clip of each
stream and `classes` the number of classes of each task. It takes {stream: tensor [B, ...]} and returns
{task: logits [B, classes]}. Its `features(streams)` is what the classifiers read, [B, feature_width]: so a model
can be the trunk of another, or be looked at by a linear probe.
"""

from mudra.models.counting import count_parameters, flops

__all__ = ["count_parameters", "flops"]
