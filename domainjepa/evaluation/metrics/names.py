"""Which metrics a kind of target has, and what people call them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from domainjepa.data.metadata.targets import Kind, Target
from domainjepa.evaluation.metrics import of_classes, of_labels, of_numbers, thresholds
from domainjepa.evaluation.metrics.metric import Metric

SENSITIVITY = "sensitivity_at_90_specificity"
HAUSDORFF = "hausdorff_95"
"""Stands for the one of both units that the data have."""
_SENSITIVITY = re.compile(r"sensitivity_at_(\d+(?:\.\d+)?)_specificity")
_AT = re.compile(r"(?:sensitivity|sens|recall|tpr)_?@_?(?:specificity|spec)?_?(\d*\.?\d+)%?")

ROC_AUC = Metric(ranked=thresholds.area_under_roc, of_one="roc_auc")
AVERAGE_PRECISION = Metric(ranked=thresholds.average_precision, of_one="average_precision")

METRICS: dict[Kind, dict[str, Metric]] = {
    "classes": {
        "accuracy": Metric(whole=of_classes.accuracy),
        "balanced_accuracy": Metric(each=of_classes.recall, of_one="recall"),
        "macro_f1": Metric(each=of_classes.f1, of_one="f1"),
        "macro_precision": Metric(each=of_classes.precision, of_one="precision"),
        "roc_auc": ROC_AUC,
        "average_precision": AVERAGE_PRECISION,
        "calibration_error": Metric(whole=of_classes.calibration_error, lower=True),
        "quadratic_kappa": Metric(whole=of_classes.quadratic_kappa, scale="plain", digits=".3f"),
    },
    "numbers": {
        "r2": Metric(whole=of_numbers.r2, scale="plain", digits=".3f"),
        "mae": Metric(whole=of_numbers.mae, scale="size", lower=True),
        "rmse": Metric(whole=of_numbers.rmse, scale="size", lower=True),
        "scatter": Metric(whole=of_numbers.scatter, scale="size", lower=True),
        "outliers": Metric(whole=of_numbers.outliers, lower=True),
        "bias": Metric(whole=of_numbers.bias, scale="plain"),
    },
    "multi-label": {
        "roc_auc": ROC_AUC,
        "average_precision": AVERAGE_PRECISION,
        "macro_f1": Metric(each=of_labels.f1, of_one="f1"),
        "macro_precision": Metric(each=of_labels.precision, of_one="precision"),
        "macro_recall": Metric(each=of_labels.recall, of_one="recall"),
        "accuracy": Metric(each=of_labels.accuracy, of_one="accuracy"),
    },
    "masks": {
        "dice": Metric(of_one="dice"),
        "iou": Metric(of_one="iou"),
        "hausdorff_95_mm": Metric(of_one="hausdorff_95_mm", scale="size", lower=True),
        "hausdorff_95_px": Metric(of_one="hausdorff_95_px", scale="size", lower=True),
    },
}
"""Kind of target -> the metrics it has; `sensitivity_at_…_specificity` besides, of any share. Those
of masks are means over images of what `of_masks` computes."""

FOR_REDSHIFTS = ("scatter", "outliers", "bias")
DEFAULTS: dict[str, tuple[str, ...]] = {
    "classes": ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "calibration_error"),
    "yes or no": (
        *("roc_auc", "average_precision", SENSITIVITY),
        *("accuracy", "balanced_accuracy", "macro_f1", "calibration_error"),
    ),
    "numbers": ("r2", "mae", "rmse"),
    "multi-label": ("roc_auc", "average_precision", "macro_f1"),
    "masks": ("dice", "iou", "hausdorff_95_mm", "hausdorff_95_px"),
}
"""What is measured unless something is named, the first one shown first."""

OF_EACH_CLASS = ("macro_precision", "balanced_accuracy", "macro_f1")
"""Measured of each class of the probe with the most labels."""

ALIASES = {
    "acc": "accuracy",
    "bacc": "balanced_accuracy",
    "balanced_acc": "balanced_accuracy",
    "recall": "macro_recall",
    "sensitivity": "macro_recall",
    "precision": "macro_precision",
    "f1": "macro_f1",
    "f1_score": "macro_f1",
    "f1_macro": "macro_f1",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "roc": "roc_auc",
    "roc_auc_score": "roc_auc",
    "rocauc": "roc_auc",
    "ap": "average_precision",
    "map": "average_precision",
    "auprc": "average_precision",
    "aupr": "average_precision",
    "pr_auc": "average_precision",
    "prauc": "average_precision",
    "ece": "calibration_error",
    "kappa": "quadratic_kappa",
    "qwk": "quadratic_kappa",
    "quadratic_weighted_kappa": "quadratic_kappa",
    "cohen_kappa": "quadratic_kappa",
    "r2_score": "r2",
    "r^2": "r2",
    "r²": "r2",
    "mean_absolute_error": "mae",
    "root_mean_squared_error": "rmse",
    "nmad": "scatter",
    "sigma_nmad": "scatter",
    "sigma_mad": "scatter",
    "mad": "scatter",
    "outlier_share": "outliers",
    "outlier_fraction": "outliers",
    "outlier_rate": "outliers",
    "eta": "outliers",
    "sensitivity_at_specificity": SENSITIVITY,
    "dsc": "dice",
    "dice_score": "dice",
    "jaccard": "iou",
    "hd95": "hausdorff_95",
    "hausdorff": "hausdorff_95",
}
"""What people write -> what it is called here."""


def canonical(text: str) -> str | None:
    """The name of a metric of any kind of target, or None; `sensitivity@0.95` is one."""
    name = text.strip().lower().replace("-", "_").replace(" ", "_")
    if found := _AT.fullmatch(name):
        value = float(found[1])
        name = f"sensitivity_at_{100 * value if value <= 1 else value:g}_specificity"
    name = ALIASES.get(name, name)
    if name == HAUSDORFF:
        return name
    if found := _SENSITIVITY.fullmatch(name):
        return name if 0 < float(found[1]) < 100 else None
    return name if name in known() else None


def known() -> list[str]:
    """All names, without the sensitivities."""
    names = [name for of in METRICS.values() for name in of]
    return list(dict.fromkeys([*names, "macro_recall", SENSITIVITY]))


def metrics_for(target: Target) -> tuple[str, ...]:
    """The metrics that make sense of a target."""
    names = list(METRICS[target.kind])
    if target.kind == "numbers" and not target.redshift:
        names = [name for name in names if name not in FOR_REDSHIFTS]
    if target.kind == "classes" and not target.graded:
        names.remove("quadratic_kappa")
    if target.kind == "masks":
        return tuple(name for name in names if not name.startswith(HAUSDORFF) or name == target.far)
    return tuple(names if target.kind == "numbers" else [*names, SENSITIVITY])


def usual_metrics(target: Target) -> tuple[str, ...]:
    """What is measured of a target unless metrics are named."""
    names = DEFAULTS["yes or no" if target.yes_no else target.kind]
    if target.kind == "masks":
        return metrics_for(target)
    if target.redshift:
        names += FOR_REDSHIFTS
    return ("quadratic_kappa", *names) if target.ordered else names


def metrics_of_each(target: Target, names: Sequence[str], chosen: bool) -> tuple[str, ...]:
    """What is measured of every class or label alone.

    Args:
        names: what is measured.
        chosen: whether the user chose it; of classes, precision, recall and F1 otherwise.
    """
    if target.kind == "classes" and not chosen:
        names = OF_EACH_CLASS
    found = [(name, metric_of(target.kind, name)) for name in names]
    # Of two classes the areas are those of the second one already.
    two = target.kind == "classes" and len(target.classes) == 2
    return tuple(name for name, one in found if one and one.of_one and not (two and one.ranked))


def named_metrics(target: Target, names: Sequence[str]) -> tuple[str, ...]:
    """Those of these canonical names that a target has, in their order."""
    possible = {*metrics_for(target), "macro_recall"}
    return tuple(
        name
        for name in (target.far if name == HAUSDORFF else name for name in names)
        if metric_of(target.kind, name) and (name in possible or _SENSITIVITY.fullmatch(name))
    )


def metric_of(kind: Kind, name: str) -> Metric | None:
    """The metric of this canonical name, where this kind of target has it."""
    if kind != "numbers" and (found := _SENSITIVITY.fullmatch(name)):
        return Metric(ranked=partial(thresholds.sensitivity_at, float(found[1]) / 100), of_one=name)
    if name == "macro_recall" and kind == "classes":
        name = "balanced_accuracy"
    return METRICS[kind].get(name)


def shown(name: str) -> Metric:
    """How any metric, also of one class or label, is to be shown."""
    kinds: tuple[Kind, ...] = ("classes", "multi-label", "numbers", "masks")
    found = (metric_of(kind, name) for kind in kinds)
    return next((one for one in found if one is not None), Metric())
