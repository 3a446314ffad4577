"""Test data from elsewhere: another hospital, scanner, survey. Nothing of it trains the probe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from domainjepa.config import TargetConfig
from domainjepa.data.checks.likeness import ALIKE, MOST_FOR_NEAR, THUMBNAIL, near_across, thumbnail
from domainjepa.data.metadata.targets import Target
from domainjepa.data.source import Source
from domainjepa.errors import DataError, UserError
from domainjepa.evaluation.cohorts.cohort import Cohort, cohort_of
from domainjepa.evaluation.cohorts.units import Units, Within
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.splits import Rows, Split, all_test, train_test

AT_ONCE = 256
"""Images that are read together."""


def cohort_elsewhere(
    home: Cohort,
    source: Source,
    protocols: Sequence[Protocol],
    target: str | TargetConfig | None = None,
    *,
    per: str | None = None,
    within: Within = "same",
    names: Mapping[str, str] | None = None,
    whole: bool = False,
) -> Cohort:
    """The test data as they are scored by probes of `home`.

    Their own test split, or a fifth held out, so that a probe fitted on the rest of them can be
    scored beside; all of them where there is nothing to fit one on, or where `whole` says so.

    Args:
        home: whose labels train the probes.
        source: the test data.
        target: the column to tell, of both.
        names: what a class or label of the test data is called at home, where names differ.
        whole: score all of them, fit nothing on them.

    Raises:
        DataError: other channels, or volumes and images; a target of another kind; no class in
            common; classes that are mere numbers and do not agree.
    """
    _check_images(home.source, source)

    def matched(found: Target) -> Target:
        return matched_target(found, home.target, names or {}, source.name)

    def divide(units: Units, found: Target, seed: int) -> Split:
        without_training = units.split is not None and not (units.split == "train").any()
        if whole or without_training:
            return all_test(units, found)
        try:
            return train_test(units, found, seed)
        except DataError as error:
            return all_test(units, found, f"no probe is fitted on it: {error}")

    there = cohort_of(
        source, protocols, target, per=per, within=within, matched=matched, divide=divide
    )
    return replace(there, warnings=(*there.warnings, *_sizes(home.source, source)))


def _check_images(home: Source, there: Source) -> None:
    if there.volumetric != home.volumetric:
        of = {True: "volumes", False: "images"}
        raise DataError(
            f"--test-data {there.name} holds {of[there.volumetric]}, {home.name} "
            f"{of[home.volumetric]}: open both alike, with --test-set data.dimensions=…"
        )
    if there.channels != home.channels:
        raise DataError(
            f"--test-data {there.name} has {there.channels} channels, {home.name} has "
            f"{home.channels}: choose the same with --test-set data.bands=…"
        )


def _sizes(home: Source, there: Source) -> list[str]:
    if there.shape == home.shape:
        return []
    one, other = ("x".join(map(str, of.shape[:-1])) for of in (home, there))
    return [
        f"samples of the test data are {other}, those that train the probe {one}: each is framed "
        "to an encoder's own size, so one thing may be larger in one than in the other"
    ]


def matched_target(found: Target, home: Target, names: Mapping[str, str], source: str) -> Target:
    """The target of test data with the classes of home, matched by their names.

    Samples of a class that home does not have are not known.
    """
    if found.kind != home.kind:
        raise DataError(
            f"the target of --test-data {source} is {found.kind}, at home it is {home.kind}: "
            "name the same kind of column with --target, or labels with --test-set data.labels=NAME"
        )
    if home.kind == "numbers":
        return found
    unknown = [name for name in names if name not in found.classes]
    if unknown:
        raise UserError(
            f"--match {unknown[0]}=…: {source} has no class {unknown[0]!r}; it has "
            f"{', '.join(found.classes)}"
        )
    called = [names.get(name, name) for name in found.classes]
    index = {name: number for number, name in enumerate(home.classes)}
    place = np.array([index.get(name, -1) for name in called], np.int64)
    if (place < 0).all():
        raise DataError(
            f"{source} and the data at home have no class in common: {', '.join(found.classes)} "
            f"and {', '.join(home.classes)}. Match them with --match THERE=HOME,…"
        )
    if len(set(place[place >= 0])) < (place >= 0).sum():
        raise UserError("--match: two classes of the test data are called alike at home")
    by_number = [n for n in found.classes if n not in names and n.isdecimal() and n in index]
    if by_number and (place < 0).any() | (len(found.classes) < len(home.classes)):
        raise DataError(
            f"classes of {source} are the numbers {', '.join(found.classes)}, at home they are "
            f"{', '.join(home.classes)}: what each number means cannot be known. Say it with "
            "--match THERE=HOME,… for each that both have"
        )
    if found.kind == "multi-label":
        return _matched_labels(found, home, place, source)
    labels = np.where(found.known, place[found.values], -1)
    decision, strangers = found.decision, int((found.known & (labels < 0)).sum())
    if strangers:
        missing = ", ".join(n for n, at in zip(called, place, strict=True) if at < 0)
        decision += f"; {strangers:,} samples are of classes unknown at home ({missing})"
    return replace(found, values=labels, known=labels >= 0, classes=home.classes, decision=decision)


def _matched_labels(found: Target, home: Target, place: NDArray[np.int64], source: str) -> Target:
    missing = [name for number, name in enumerate(home.classes) if number not in place]
    if missing:
        raise DataError(f"{source} has no label {', '.join(missing)}, which home has")
    order = np.argsort(np.where(place < 0, len(home.classes), place))[: len(home.classes)]
    counts = tuple(found.counts[one] for one in order) if found.counts else ()
    return replace(found, values=found.values[:, order], classes=home.classes, counts=counts)


def shared_with_training(home: Source, train: Rows, there: Source, test: Rows) -> list[str]:
    """Test images from elsewhere that are images that train the probe, to the last byte or nearly:
    archives publish the same images again, compressed anew or at another size."""
    if home.volumetric:
        return []
    near_wanted = max(len(train), len(test)) <= MOST_FOR_NEAR
    known, small = _digests(home, train, near_wanted)
    asked, others = _digests(there, test, near_wanted)
    same = np.isin(asked, known)
    said = []
    if same.any():
        said.append(
            f"{same.sum()} of {len(test)} images of the test data are identical to a training "
            "image: scores there are too good by up to as much"
        )
    near: list[int] = []
    skipped = f"more than {MOST_FOR_NEAR:,} samples"
    if near_wanted:
        near, skipped = near_across(home, train, small, there, test[~same], others[~same])
    if near:
        said.append(
            f"{len(near)} of {len(test)} images of the test data are nearly the same (correlation "
            f"above {ALIKE:g}) as a training image, first row {near[0]}: scores there are too "
            "good by up to as much"
        )
    if skipped:
        said.append(f"near duplicates of training images were not looked for: {skipped}")
    return said


def _digests(
    source: Source, rows: Rows, small: bool
) -> tuple[NDArray[np.bytes_], NDArray[np.float32]]:
    """(N,) hashes of images, and their (N, 64) thumbnails where these are wanted, else (N, 0)."""
    found, thumbnails = [], np.zeros((len(rows), THUMBNAIL**2 if small else 0), np.float32)
    for first in range(0, len(rows), AT_ONCE):
        images = source.__getitems__(rows[first : first + AT_ONCE].tolist())
        for place, image in enumerate(images, first):
            head = f"{image.shape} {image.dtype.str}".encode()
            found.append(hashlib.blake2b(head + np.ascontiguousarray(image).tobytes()).hexdigest())
            if small:
                thumbnails[place] = thumbnail(image)
    return np.array(found, "S128"), thumbnails
