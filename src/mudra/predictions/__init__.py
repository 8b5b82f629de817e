"""Everything after the model: saved scores, and what is computed from them alone."""

from mudra.predictions.breakdown import (
    ClassFigures,
    confused_pairs,
    confusion,
    hardest,
    per_class,
    reliability,
    worst_first,
)
from mudra.predictions.metrics import overfitting_gap, read_metrics, summarise, tasks_of, write_metrics
from mudra.predictions.pooling import pooled
from mudra.predictions.scores import PredictionTable, TaskScores
from mudra.predictions.table import read, write

__all__ = [
    "ClassFigures",
    "PredictionTable",
    "TaskScores",
    "confused_pairs",
    "confusion",
    "hardest",
    "overfitting_gap",
    "per_class",
    "pooled",
    "read",
    "read_metrics",
    "reliability",
    "summarise",
    "tasks_of",
    "worst_first",
    "write",
    "write_metrics",
]
