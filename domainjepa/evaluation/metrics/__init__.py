"""Metrics by the names that people use; each takes test sets drawn with replacement all at once."""

from domainjepa.evaluation.metrics.metric import Answer, Metric, Scale
from domainjepa.evaluation.metrics.names import (
    ALIASES,
    METRICS,
    canonical,
    known,
    metric_of,
    metrics_for,
    metrics_of_each,
    named_metrics,
    shown,
    usual_metrics,
)

__all__ = [
    "ALIASES",
    "METRICS",
    "Answer",
    "Metric",
    "Scale",
    "canonical",
    "known",
    "metric_of",
    "metrics_for",
    "metrics_of_each",
    "named_metrics",
    "shown",
    "usual_metrics",
]
