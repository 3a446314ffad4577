"""Curves of an evaluation: ROC, precision and recall, and how well probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.targets import Kind
from domainjepa.evaluation.metrics import Answer
from domainjepa.evaluation.metrics.thresholds import (
    Ranked,
    area_under_roc,
    average_precision,
    precision_recall_curve,
    roc_curve,
)
from domainjepa.evaluation.reporting.figures import COLOURS, new_figure, plain, save
from domainjepa.evaluation.results.scores import ranked

GRID = np.linspace(0, 1, 201)
MOST_PANELS = 20
"""Classes or labels with curves of their own."""
BINS = 10
DASHES = ("-", "--", "-.", ":")

Array = NDArray[np.float64]


def rankings(kind: Kind, truth: NDArray[Any], answer: Answer) -> dict[int, Ranked]:
    """Place of a class or label -> its ranking; of those with positives and negatives alone."""
    found = {one: ranked(kind, truth, answer, one) for one in range(answer.chance.shape[1])}
    return {
        one: ranking
        for one, ranking in found.items()
        if ranking is not None and ranking.negatives[0] > 0
    }


def mean_roc(of_each: Sequence[Ranked]) -> Array:
    """(201,) sensitivity at each false positive rate of `GRID`, the mean over classes or labels."""
    return np.asarray(np.mean([np.interp(GRID, *roc_curve(one)) for one in of_each], axis=0))


def mean_precision(of_each: Sequence[Ranked]) -> Array:
    """(201,) precision at each recall of `GRID`, the mean over classes or labels.

    The precision at a recall is the best one at that recall or beyond, as in PASCAL VOC.
    """
    curves = []
    for one in of_each:
        recall, precision = precision_recall_curve(one)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        curves.append(best[np.searchsorted(recall, GRID - 1e-12)])
    return np.asarray(np.mean(curves, axis=0))


def _style(number: int) -> dict[str, Any]:
    """Of the line of an encoder."""
    dash = DASHES[number // len(COLOURS) % len(DASHES)]
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": dash}


def threshold_curves(
    kind: Kind,
    truth: NDArray[Any],
    answers: Mapping[str, Answer],
    path: Path,
) -> bool:
    """ROC beside precision and recall, a line an encoder: the mean over classes or labels.

    Returns:
        False, and draws nothing, where no class has positives and negatives.
    """
    of_all = {name: rankings(kind, truth, answer) for name, answer in answers.items()}
    if not any(of_all.values()):
        return False
    figure = new_figure(9.4, 4.6)
    roc, precision = figure.subplots(1, 2)
    share = 0.0
    for number, (name, of_each) in enumerate(of_all.items()):
        rows = list(of_each.values())
        style = _style(number)
        area = np.mean([area_under_roc(one)[0] for one in rows])
        under = np.mean([average_precision(one)[0] for one in rows])
        roc.plot(GRID, mean_roc(rows), label=f"{plain(name)} ({100 * area:.1f} %)", **style)
        label = f"{plain(name)} ({100 * under:.1f} %)"
        precision.plot(GRID, mean_precision(rows), label=label, **style)
        share = float(np.mean([r.positives[0] / (r.positives[0] + r.negatives[0]) for r in rows]))
    roc.plot([0, 1], [0, 1], color="#888888", linestyle=":", label="chance")
    precision.axhline(share, color="#888888", linestyle=":", label="chance")
    roc.set(xlabel="false positive rate", ylabel="sensitivity", title="ROC")
    precision.set(xlabel="recall", ylabel="precision", title="precision and recall")
    for axes in (roc, precision):
        axes.set(xlim=(0, 1), ylim=(0, 1.01))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="lower right" if axes is roc else "best")
    save(figure, path)
    return True


def roc_of_each(
    kind: Kind,
    truth: NDArray[Any],
    answers: Mapping[str, Answer],
    classes: Sequence[str],
    path: Path,
) -> bool:
    """A small ROC curve for each class or label, a line an encoder.

    Returns:
        False, and draws nothing, for one or two classes, whose curve is drawn already, or many.
    """
    of_all = {name: rankings(kind, truth, answer) for name, answer in answers.items()}
    places = sorted({place for of_each in of_all.values() for place in of_each})
    if not 1 < len(places) <= MOST_PANELS:
        return False
    columns = min(5, len(places))
    rows = -(-len(places) // columns)
    figure = new_figure(2.0 * columns + 0.4, 2.2 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in panels[len(places) :]:
        axes.set_visible(False)
    for axes, place in zip(panels, places, strict=False):
        for number, (name, of_each) in enumerate(of_all.items()):
            colour = COLOURS[number % len(COLOURS)]
            dash = DASHES[number // len(COLOURS) % len(DASHES)]
            if place in of_each:
                axes.plot(
                    *roc_curve(of_each[place]), color=colour, linestyle=dash, label=plain(name)
                )
        axes.plot([0, 1], [0, 1], color="#888888", linestyle=":")
        one = next(of[place] for of in of_all.values() if place in of)
        counted = f"{one.positives[0]:.0f} of {one.positives[0] + one.negatives[0]:.0f}"
        axes.set_title(f"{classes[place]}\n{counted}", fontsize=8, parse_math=False)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save(figure, path)
    return True


def calibration(
    kind: Kind, truth: NDArray[Any], answer: Answer
) -> tuple[Array, Array, NDArray[np.int64]]:
    """What is said, what is so, and how often, in ten equal bins; empty ones are left out.

    Of classes: the confidence, and the share that is right (Guo et al. 2017). Of labels, all
    together where they are known: the probability, and the share that has the label.
    """
    if kind == "classes":
        said, right = answer.chance.max(axis=1), answer.guess == truth
    else:
        known = truth >= 0
        said, right = answer.chance[known], truth[known] == 1
    bins = np.clip((said * BINS).astype(np.int64), 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    there = counts > 0
    sums = [np.bincount(bins, of, BINS)[there] / counts[there] for of in (said, right)]
    return sums[0], sums[1], counts[there]


def reliability(kind: Kind, truth: NDArray[Any], answers: Mapping[str, Answer], path: Path) -> None:
    """The reliability diagram: a dot a bin, as large as it is full, a line an encoder."""
    figure = new_figure(5.2, 4.8)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#888888", linestyle=":", label="calibrated")
    for number, (name, answer) in enumerate(answers.items()):
        said, so, counts = calibration(kind, truth, answer)
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(said, so, color=colour, linewidth=1, label=plain(name))
        axes.scatter(said, so, s=10 + 90 * counts / counts.sum(), color=colour)
    axes.set_xlabel("confidence" if kind == "classes" else "probability")
    axes.set_ylabel("share that is right" if kind == "classes" else "share that has the label")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)
