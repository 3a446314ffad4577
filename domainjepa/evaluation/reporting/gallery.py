"""The pictures of a report: which there are, their files, and what is said below them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
import PIL.Image

from domainjepa.data.source import Image, Source
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting import curves, figures, montages, segmentations
from domainjepa.evaluation.reporting.maps import Maps
from domainjepa.evaluation.reporting.tables import heading, words
from domainjepa.evaluation.results.results import Results
from domainjepa.evaluation.results.scores import confusion
from domainjepa.evaluation.splits import Rows

SIDE_BY_SIDE = 3
"""Encoders in one picture of maps."""
CONFUSED = 5
"""Pairs of classes that are named below a matrix."""


class Picture(TypedDict):
    """A picture of the HTML report."""

    title: str
    text: str
    webp: str


@dataclass(frozen=True)
class Seen:
    """Images that are looked at closely, and what encoders see in them.

    Attributes:
        images: (H, W, C) each.
        maps: encoder -> maps of these images; those whose networks show none are left out.
    """

    images: Sequence[Image]
    maps: Mapping[str, Maps]


@dataclass
class Gallery:
    """Pictures of one evaluation, as PNG files in a folder and ready for HTML."""

    results: Results
    source: Source
    folder: Path
    pictures: list[Picture] = field(default_factory=list)

    def draw(self, seen: Seen | None) -> list[Picture]:
        """All of them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.results.target.kind == "masks":
            for protocol in self.results.used:
                self._shots(protocol)
                self._examples(protocol)
            return self.pictures
        for protocol in self.results.used:
            self._shots(protocol)
            if self.results.target.kind != "numbers":
                self._curves(protocol)
        self._map()
        self._neighbours()
        for protocol in self.results.used:
            for number, encoder in enumerate(self.results.encoders_of(protocol)):
                self._answers(protocol, encoder, number)
        if seen is not None:
            self._seen(seen)
        return self.pictures

    def _add(self, name: str, title: str, text: str) -> None:
        # A montage of galaxies is a tenth of its size as WebP.
        buffer = io.BytesIO()
        PIL.Image.open(self.folder / name).convert("RGB").save(buffer, "WEBP", quality=88)
        webp = base64.b64encode(buffer.getvalue()).decode()
        self.pictures.append({"title": title, "text": text, "webp": webp})

    def _images(self, positions: Rows) -> Sequence[Image]:
        return self.source.__getitems__(self.results.rows[positions].tolist())

    def _ids(self, positions: Rows) -> list[str]:
        """Ids of test samples, their last part alone; rows where ids may name patients."""
        rows = self.results.rows[positions]
        if self.source.ids is None or self.source.medical:
            return [f"row {row}" for row in rows]
        return [str(one).replace("\\", "/").rpartition("/")[2] for one in self.source.ids[rows]]

    def _with(self, protocol: Protocol) -> str:
        last = self.results.shots(protocol)[-1]
        return f"Probe with {heading(last, self.results.target.kind)}."

    def _shots(self, protocol: Protocol) -> None:
        if len(self.results.shots(protocol)) < 2:
            return
        trained_on = "training cases" if protocol.of_masks else "labels"
        name = f"{protocol.name}-shots.png"
        figures.accuracy_against_shots(self.results, protocol, self.folder / name)
        self._add(
            name,
            f"{protocol.name}: {words(self.results.metrics(protocol)[0])} against {trained_on}",
            f"Bars are 95 % intervals: over draws of the {trained_on} and over test samples; for "
            f"all {trained_on} over test samples alone.",
        )

    def _examples(self, protocol: Protocol) -> None:
        """What is so and what is said, where the first encoder is best, median and worst."""
        found = self.results.examples.get(protocol.name)
        if not found:
            return
        encoders = self.results.encoders_of(protocol)
        for first in range(0, len(encoders), SIDE_BY_SIDE):
            some = {self.results.names[one]: one for one in encoders[first : first + SIDE_BY_SIDE]}
            name = f"{protocol.name}-masks-{first // SIDE_BY_SIDE}.png"
            segmentations.side_by_side(found, some, self.folder / name)
            self._add(
                name,
                f"{protocol.name}: truth and answers, {', '.join(some)}",
                "Test cases on which the first encoder is best, median and worst, of volumes the "
                "slice with most of the structures. "
                f"Structures: {segmentations.legend(self.results.parts)}. Errors: yellow is "
                "marked and should not be, cyan is missed, magenta is taken for another structure. "
                f"{self._with(protocol)}",
            )

    def _curves(self, protocol: Protocol) -> None:
        results, kind = self.results, self.results.target.kind
        truth = results.truth[protocol.name]
        answers = {
            results.names[encoder]: results.answers[protocol.name, encoder]
            for encoder in results.encoders_of(protocol)
        }
        mean = "the mean over labels" if kind == "multi-label" else "the mean over classes"
        two = kind == "classes" and len(results.target.classes) == 2
        what = f"of {results.classes[1]}" if two else mean
        name = f"{protocol.name}-curves.png"
        if curves.threshold_curves(kind, truth, answers, self.folder / name):
            title = f"{protocol.name}: ROC, precision and recall"
            areas = "In brackets the areas under the curves."
            self._add(name, title, f"Every threshold, {what}. {areas} {self._with(protocol)}")
        name = f"{protocol.name}-roc-of-each.png"
        if curves.roc_of_each(kind, truth, answers, results.parts, self.folder / name):
            one = "label" if kind == "multi-label" else "class"
            text = (
                f"Below each name: how many of the test samples are of it. {self._with(protocol)}"
            )
            self._add(name, f"{protocol.name}: ROC of each {one}", text)
        name = f"{protocol.name}-reliability.png"
        curves.reliability(kind, truth, answers, self.folder / name)
        self._add(
            name,
            f"{protocol.name}: reliability",
            "Above the dotted line a probe is right more often than it says, below it less often; "
            f"large dots are many samples. {self._with(protocol)}",
        )

    def _map(self) -> None:
        results = self.results
        shown = {results.names[one]: features for one, features in results.features.items()}
        labels = results.labels
        path = self.folder / "map.png"
        figures.embedding_map(shown, labels, results.classes, path)
        text = (
            "t-SNE of frozen features of test samples. The labels only colour the points; "
            "distances between groups mean little."
        )
        if len(np.unique(labels)) > figures.IN_LEGEND:
            text += f" {len(np.unique(labels))} colours and marks are too many for a legend."
        self._add("map.png", "Embedding map", text)

    def _neighbours(self) -> None:
        results = self.results
        for number, (encoder, features) in enumerate(results.features.items()):
            name = f"neighbours-{number}.png"
            purity = montages.neighbour_purity(features, results.labels)
            montages.neighbour_montage(
                features,
                results.labels,
                results.classes,
                self._images,
                self.folder / name,
                ids=self._ids,
            )
            self._add(
                name,
                f"Nearest neighbours: {results.names[encoder]}",
                "By cosine among the test samples; a frame marks another class. Over all of them, "
                f"{100 * purity:.1f} % of the 7 nearest are of the same class.",
            )

    def _answers(self, protocol: Protocol, encoder: str, number: int) -> None:
        """Where the probe of an encoder is wrong, and how numbers are told."""
        results, kind = self.results, self.results.target.kind
        answer, truth = results.answers[protocol.name, encoder], results.truth[protocol.name]
        shown = results.names[encoder]
        if kind == "numbers":
            name = f"{protocol.name}-numbers-{number}.png"
            figures.predicted_against_true(truth, answer.guess, self.folder / name, shown)
            self._add(name, f"{protocol.name}: told and true, {shown}", self._with(protocol))
        if kind != "classes":
            return
        name = f"{protocol.name}-confusion-{number}.png"
        figures.confusion_matrix(truth, answer.guess, results.parts, self.folder / name, shown)
        text = f"Percent of each true class. {self._with(protocol)}"
        if pairs := _confused(truth, answer.guess, results.parts):
            text += f" Taken for another most often: {pairs}."
        self._add(name, f"{protocol.name}: confusion of {shown}", text)
        # Only the first protocol's test samples are known by their rows.
        if protocol is not results.protocols[0] or number:
            return
        name = f"{protocol.name}-errors.png"
        path = self.folder / name
        count = montages.worst_errors(truth, answer.chance, results.parts, self._images, path)
        if count:
            self._add(
                name,
                f"{protocol.name}: errors of {shown}",
                f"{count:,} of {len(truth):,} test samples; a row for each pair of classes, the "
                f"surest errors first. {self._with(protocol)}",
            )

    def _seen(self, seen: Seen) -> None:
        names = list(seen.maps)
        for first in range(0, len(names), SIDE_BY_SIDE):
            some = names[first : first + SIDE_BY_SIDE]
            name = f"maps-{first // SIDE_BY_SIDE}.png" if first else "maps.png"
            shown = {self.results.names[one]: seen.maps[one] for one in some}
            montages.encoder_maps(seen.images, shown, self.folder / name)
            self._add(
                name,
                f"What the encoders see: {', '.join(shown)}",
                "Features: the first three principal components of dense features over these "
                "images, as red, green and blue; one colour is one thing to the encoder. "
                "Attention: of the class token to the patches in the last block; likeness: of each "
                "position to the pooled feature. Dark is little.",
            )


def _confused(truth: Rows, guess: Rows, classes: Sequence[str]) -> str:
    """The pairs of classes that are confused most often, in words."""
    counts = confusion(truth, guess, len(classes))
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSED]
    pairs = [np.unravel_index(place, counts.shape) for place in order]
    return "; ".join(
        f"{classes[true]} for {classes[taken]} ({counts[true, taken]:.0f})"
        for true, taken in pairs
        if counts[true, taken] > 0
    )
