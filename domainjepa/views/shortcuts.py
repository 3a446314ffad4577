"""Shortcut alarm: does something simple tell samples apart across their views?

Whatever the views of a sample have in common and other samples have not is learned, and the easiest
of it first. Where that is a nuisance, such as the ratio of the bands, an encoder learns it and may
forget the shape. So simple nuisances are measured on views, before anything is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.domains.domain import Domain
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.views.views import ViewMaker

Image = NDArray[Any]
Values = NDArray[np.float64]

SAMPLES, VIEWS = 256, 4
NEAR = 0.02
"""Share of the other samples' views that may be nearer than the sample's own other view."""
BETWEEN, RETRIEVAL = 0.8, 0.15
"""From either on a nuisance identifies samples. On the simulated survey the astronomy domain leaves
at most 0.40 and 0.05; without its gains, colour has 0.56 and 0.36."""

FEWEST = 50  # with fewer, three lucky hits would be an alarm
_AT_ONCE = 32  # samples whose views are in memory together
_TINY = 1e-3  # on the 0..1 scale: what logarithms add, a quarter of a level of 8 bits


@dataclass(frozen=True)
class Nuisance:
    """How far one simple nuisance identifies a sample across its views.

    Attributes:
        name: brightness, contrast, colour, background, noise or blur.
        between: share of its variance over all views that lies between samples (the intraclass
            correlation), 0 to 1.
        retrieval: share of the samples whose second view is among the `NEAR` nearest to the first,
            by this nuisance alone.
        chance: what `retrieval` would be if it said nothing.
        alarm: whether it identifies samples.
        remedy: what would remove it, where there is an alarm; else empty.
        predicted: R^2 of a linear prediction from embeddings, where there are some.
    """

    name: str
    between: float
    retrieval: float
    chance: float
    alarm: bool
    remedy: str
    predicted: float | None = None


def shortcuts(
    maker: ViewMaker,
    source: Source,
    rows: NDArray[np.int64],
    seed: int,
    *,
    embed: Callable[[list[Image]], NDArray[Any]] | None = None,
    samples: int = SAMPLES,
) -> list[Nuisance]:
    """Measures every nuisance on four global views of a keyed selection of the rows: of siblings
    where views are of these.

    Args:
        maker: of the views.
        source: of images; volumes are not measured.
        rows: to choose from.
        seed: of the choice and of the views.
        embed: takes a list of (S, S, C) views, gives (N, K) embeddings of them.
        samples: how many rows, at most; never more than `SAMPLES`.

    Returns:
        One for each nuisance that the views can have; none of fewer than 50 samples.
    """
    if source.volumetric or min(len(rows), samples) < FEWEST:
        return []
    draw = np.random.default_rng(key(seed, "shortcuts"))
    chosen = np.sort(draw.permutation(rows)[: min(samples, SAMPLES)]).tolist()
    settings = maker.views.model_copy(update={"num_global": VIEWS, "num_local": 0})
    keyed = key(seed, "shortcuts", "views")
    maker = ViewMaker(maker.domain, maker.intensity, settings, keyed, maker.siblings)
    measured: list[dict[str, list[float]]] = []
    embedded: list[Values] = []
    for first in range(0, len(chosen), _AT_ONCE):
        draws = [(0, row) for row in chosen[first : first + _AT_ONCE]]
        views = [
            view
            for (_, row), seen in zip(draws, maker.read(source, draws), strict=True)
            for view in maker(seen[0], epoch=0, sample=row, siblings=seen[1:])
        ]
        measured += [measure(view) for view in views]
        if embed is not None:
            embedded.append(np.asarray(embed(views), np.float64))
    embeddings = np.concatenate(embedded) if embedded else None
    spec = ViewSpec(views[0].shape[0], settings.global_scale, views[0].shape[2], views[0].dtype)
    found = []
    for name in measured[0]:
        values = np.array([one[name] for one in measured]).reshape(len(chosen), VIEWS, -1)
        between, retrieval = between_samples(values), retrieved(values)
        alarm = between >= BETWEEN or retrieval >= RETRIEVAL
        found.append(
            Nuisance(
                name=name,
                between=between,
                retrieval=retrieval,
                chance=math.ceil(NEAR * len(chosen)) / len(chosen),
                alarm=alarm,
                remedy=_remedy(name, maker.domain, spec) if alarm else "",
                predicted=None if embeddings is None else predicted(embeddings, values),
            )
        )
    return found


def measure(view: Image) -> dict[str, list[float]]:
    """The nuisances of one view (S, S, C), each as a few numbers.

    Colour is the ratio of the bands' spreads, which a background does not change; noise is the
    median absolute Laplacian, which edges hardly change (Immerkaer 1996, with a median); blur is
    the ratio of the mean squared differences of pixels one and four apart.
    """
    image = view.astype(np.float32) / (255 if view.dtype == np.uint8 else 1)
    grey = image.mean(axis=2)
    middle = grey[1:-1, 1:-1]
    laplacian = 4 * middle - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    near, far = (
        np.square(grey[step:] - grey[:-step]).mean()
        + np.square(grey[:, step:] - grey[:, :-step]).mean()
        for step in (1, 4)
    )
    values: dict[str, Any] = {
        "brightness": [grey.mean()],
        "contrast": [np.log(grey.std() + _TINY)],
        "background": np.percentile(image, 20, axis=(0, 1)),
        "noise": [np.log(np.median(np.abs(laplacian - np.median(laplacian))) + _TINY)],
        "blur": [np.log((near + _TINY**2) / (far + _TINY**2))],
    }
    if image.shape[2] > 1:
        spread = np.log(image.std(axis=(0, 1)) + _TINY)
        values["colour"] = (spread - spread.mean())[:-1]
    return {name: [float(number) for number in numbers] for name, numbers in values.items()}


def between_samples(values: Values) -> float:
    """Intraclass correlation of (N, V, d) values, one-way (Shrout and Fleiss 1979, case 1), the
    mean over the d numbers; 0 where nothing varies."""
    views = values.shape[1]
    means = values.mean(axis=1)
    within = values.var(axis=1, ddof=1).mean(axis=0)
    between = np.maximum(means.var(axis=0, ddof=1) - within / views, 0)
    total = between + within
    return float(np.where(total > 1e-12, between / np.maximum(total, 1e-12), 0).mean())


def retrieved(values: Values) -> float:
    """Share of the samples whose second view is among the nearest of all second views to the first.

    Args:
        values: (N, V, d); distances are Euclidean, each number on its own scale. Of views equally
            far, half count as nearer.
    """
    scaled = values / np.maximum(values.std(axis=(0, 1)), 1e-12)
    gaps = np.square(scaled[:, None, 0] - scaled[None, :, 1]).sum(axis=2)
    own = np.diag(gaps)[:, None]
    nearer = (gaps < own).sum(axis=1) + ((gaps == own).sum(axis=1) - 1) / 2
    return float(np.mean(nearer < NEAR * len(values)))


def predicted(embeddings: NDArray[Any], values: Values) -> float:
    """R^2 of ridge predictions of (N, V, d) values from (N V, K) embeddings, cross-validated with
    whole samples left out; the mean over the d numbers, at least 0."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    samples, views = values.shape[:2]
    flat = values.reshape(samples * views, -1)
    flat = flat[:, flat.std(axis=0) > 1e-6]
    if not flat.shape[1]:
        return 0.0
    flat = (flat - flat.mean(axis=0)) / flat.std(axis=0)
    guess = cross_val_predict(
        make_pipeline(StandardScaler(), Ridge(alpha=10.0)),
        embeddings,
        flat,
        groups=np.repeat(np.arange(samples), views),
        cv=GroupKFold(4),
    )
    return float(max(0.0, 1 - np.square(flat - guess.reshape(flat.shape)).mean()))


def _remedy(name: str, domain: Domain, spec: ViewSpec) -> str:
    """What would remove the nuisance, for a warning."""
    removing = [step.name for step in domain.transforms(spec) if name in step.removes]
    left_out = [step for step in removing if step in domain.without]
    if left_out:
        return f"take back {_listed(left_out)}, which views.without leaves out"
    if name == "colour" and domain.keep_colour:
        return "views.keep_colour leaves it in: unset it, unless colour is the science"
    if removing:
        return (
            f"{_listed(removing)} of the domain {domain.name} should remove it and does not on "
            "this data: look at the views, and choose another domain or write your own"
        )
    return f"no transform of the domain {domain.name} varies it: choose another or write your own"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def warnings_of(nuisances: Sequence[Nuisance]) -> list[str]:
    """One warning for each alarm."""
    return [
        f"{one.name} tells samples apart across their views ({100 * one.between:.0f} % of its "
        f"variance lies between samples; it finds {100 * one.retrieval:.0f} % of the second views, "
        f"chance {100 * one.chance:.0f} %), so it may be learned instead of shape: {one.remedy}."
        for one in nuisances
        if one.alarm
    ]


def render(nuisances: Sequence[Nuisance]) -> list[str]:
    """Lines of a table for a terminal."""
    if not nuisances:
        return []
    lines = ["nuisance      between samples   finds its view   chance   from embeddings"]
    for one in nuisances:
        known = "–" if one.predicted is None else f"{one.predicted:.2f}"
        mark = "  ALARM" if one.alarm else ""
        lines.append(
            f"{one.name:<14}{one.between:>11.2f}{100 * one.retrieval:>17.0f} %"
            f"{100 * one.chance:>8.0f} %{known:>14}{mark}"
        )
    return lines
