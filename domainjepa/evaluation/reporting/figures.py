"""Pictures of an evaluation. Each function takes data and the path of the PNG that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

from domainjepa.data.metadata.targets import OF_EACH
from domainjepa.data.sampling import key
from domainjepa.evaluation.encoders.features import Features
from domainjepa.evaluation.metrics import shown
from domainjepa.evaluation.metrics.metric import Array
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.tables import unit
from domainjepa.evaluation.results.results import Results
from domainjepa.evaluation.results.scores import confusion
from domainjepa.evaluation.splits import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#882255", "#666666")
"""Okabe and Ito (2008), told apart by colour-blind readers; markers repeat what they say."""
MARKERS = "osD^vPX*"
POINT = 1e-7
"""Spread of unit vectors that are one point."""
IN_LEGEND = 24
"""Classes that a legend names."""
ACROSS = 3
"""Maps side by side."""
MAPPED = 1000
"""Samples in an embedding map: more take long and only fill it."""


def new_figure(width: float, height: float) -> Figure:
    """A white one, of inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def plain(text: str) -> str:
    """Text in which a dollar is a dollar, and no formula."""
    return text.replace("$", r"\$")


def save(figure: Figure, path: Path) -> None:
    """As a PNG."""
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})


def accuracy_against_shots(results: Results, protocol: Protocol, path: Path) -> None:
    """The first metric of a protocol against labels a class, with intervals, a line an encoder."""
    metric, shots = results.metrics(protocol)[0], results.shots(protocol)
    encoders, scale = results.encoders_of(protocol), 100 if shown(metric).scale == "share" else 1
    figure = new_figure(7, 4.2)
    axes = figure.add_subplot()
    spread = 0.06 * (np.arange(len(encoders)) - (len(encoders) - 1) / 2)
    for number, encoder in enumerate(encoders):
        cells = [results.cells[protocol.name, count, encoder] for count in shots]
        means = scale * np.array([cell.mean(metric) for cell in cells])
        bounds = scale * np.array([cell.interval(metric)[:2] for cell in cells])
        axes.errorbar(
            np.arange(len(shots)) + spread[number],
            means,
            yerr=np.maximum(np.abs(bounds.T - means), 0),
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            capsize=3,
            label=plain(results.names[encoder]),
        )
    if metric == "accuracy":
        truth = results.truth[protocol.name]
        largest = 100 * np.bincount(truth).max() / len(truth)
        axes.axhline(largest, color="#888888", linestyle=":", label="largest class alone")
    axes.set_xticks(range(len(shots)), [str(count) for count in shots])
    one = OF_EACH[results.target.kind]
    axes.set_xlabel("training cases" if protocol.of_masks else f"labels a {one}")
    axes.set_ylabel(f"{unit(metric)}, on the test set")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    save(figure, path)


def embed_in_plane(features: Features, seed: int) -> Array:
    """(N, D) -> (N, 2): at most 50 principal components, then t-SNE (van der Maaten 2008)."""
    unit = normalize(features.astype(np.float64))
    components = min(50, *unit.shape)
    centred = unit - unit.mean(axis=0)
    if np.square(centred).mean() < POINT**2:  # t-SNE divides by this spread, and crashes
        return np.zeros((len(unit), 2))
    reduced = PCA(components, random_state=seed % 2**32).fit_transform(unit)
    tsne = TSNE(perplexity=min(30, (len(unit) - 1) / 3), random_state=seed % 2**32)
    return np.asarray(tsne.fit_transform(reduced), dtype=np.float64)


def embedding_map(
    features: dict[str, Features], labels: Rows, classes: Sequence[str], path: Path, seed: int = 0
) -> None:
    """Test samples in the plane, a map an encoder, coloured by class.

    The labels only colour the points.
    """
    rng = np.random.default_rng(key(seed, "map"))
    shown = np.sort(rng.permutation(len(labels))[:MAPPED])
    found = np.unique(labels[shown])
    across = min(ACROSS, len(features))
    rows = -(-len(features) // across)
    figure = new_figure(4.2 * across, 4.2 * rows + 0.7)
    panels = figure.subplots(rows, across, squeeze=False).ravel()
    for axes in panels[len(features) :]:
        axes.set_visible(False)
    for axes, (name, of_all) in zip(panels, features.items(), strict=False):
        plane = embed_in_plane(of_all[shown], key(seed, "t-SNE"))
        for number, label in enumerate(found):
            points = plane[labels[shown] == label]
            axes.scatter(
                *points.T,
                s=9,
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number // len(COLOURS) % len(MARKERS)],
                alpha=0.75,
                linewidths=0,
                label=plain(classes[label]),
            )
        axes.set_title(plain(name), fontsize=11)
        axes.set(xticks=[], yticks=[])
    if len(found) <= IN_LEGEND:
        longest = max(len(classes[label]) for label in found)
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=max(1, min(len(found), 50 * across // (longest + 6))),
            frameon=False,
            fontsize=9,
            markerscale=2,
        )
    save(figure, path)


def confusion_matrix(
    labels: Rows, predictions: Rows, classes: Sequence[str], path: Path, title: str = ""
) -> None:
    """True classes as rows: the share of each that the probe gave to each class."""
    counts = confusion(labels, predictions, len(classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(3.2 + 0.45 * len(classes), 12.0)
    figure = new_figure(side + 0.6, side)
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= 20:
        for (row, column), value in np.ndenumerate(share):
            colour = "white" if value > 0.55 else "#222222"
            text = f"{100 * value:.0f}" if counts[row, column] else ""
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    ticks = range(len(classes)) if len(classes) <= 40 else []
    names = [plain(name) for name in classes]
    axes.set_xticks(ticks, [names[tick] for tick in ticks], rotation=45, ha="right")
    sizes = counts.sum(axis=1)
    axes.set_yticks(ticks, [f"{names[tick]} ({sizes[tick]:.0f})" for tick in ticks])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (test samples)")
    axes.set_title(plain(title) or "% of each true class", fontsize=11)
    save(figure, path)


def predicted_against_true(
    truth: NDArray[Any], guess: NDArray[Any], path: Path, title: str = ""
) -> None:
    """Numbers of the test samples as they are and as the probe tells them."""
    figure = new_figure(4.8, 4.6)
    axes = figure.add_subplot()
    axes.scatter(truth, guess, s=8, alpha=0.5, linewidths=0, color=COLOURS[0])
    ends = [min(truth.min(), guess.min()), max(truth.max(), guess.max())]
    axes.plot(ends, ends, color="#888888", linestyle=":")
    axes.set_xlabel("true (test samples)")
    axes.set_ylabel("predicted")
    axes.set_title(plain(title), fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
