"""What would flatter every encoder alike: images that training and test share, groups unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from domainjepa.data.checks.census import take_census
from domainjepa.data.checks.likeness import ALIKE
from domainjepa.data.files.identity import Identity
from domainjepa.data.source import Source
from domainjepa.domains.proposal import propose_domain
from domainjepa.errors import DataError
from domainjepa.evaluation.splits import Split
from domainjepa.reading import parse_json
from domainjepa.writing import write_atomically

Repeats = dict[str, Any]


UNITS = {
    "astronomy": "sky positions or objects",
    "radio": "sky positions or objects",
    "microscopy": "specimens or patients",
    "electron": "specimens or volumes",
    "aerial": "places or scenes",
}
"""Domain -> what must not be both in training and in test."""


def repeats_of(source: Source, cache: Path | None = None) -> Repeats:
    """Rows that are identical or nearly alike, from one pass over the source, kept by content.

    Returns:
        `identical`: lists of rows; `alike`: pairs of rows; `skipped`: why pairs were not looked
        for, or an empty string.
    """
    kept = cache / f"repeats-{Identity.of(source).exact[:32]}.json" if cache else None
    if kept is not None:
        try:
            found: Repeats = parse_json(kept.read_bytes())
            if set(found) == {"identical", "alike", "skipped"}:
                return found
        except (OSError, ValueError):
            pass  # absent or damaged: looked for anew
    census = take_census(source)
    pairs = [list(pair) for pair in census.near]
    found = {"identical": census.duplicates, "alike": pairs, "skipped": census.near_skipped}
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found).encode()
        write_atomically(kept, lambda file: file.write(text))
    return found


def shared_images(source: Source, split: Split, repeats: Repeats) -> list[str]:
    """Test samples whose image, or nearly, is among the training samples: a line for each kind."""
    said = []
    train, test = set(split.train.tolist()), set(split.test.tolist())
    for kind, what in (
        ("identical", "identical to"),
        ("alike", f"nearly the same (correlation above {ALIKE:g}) as"),
    ):
        leaked = {
            row
            for rows in repeats[kind]
            if train.intersection(rows)
            for row in test.intersection(rows)
        }
        if leaked:
            share = 100 * len(leaked) / len(test)
            said.append(
                f"{len(leaked)} test samples ({share:.2g} %) are {what} a training sample, first "
                f"row {min(leaked)} of {source.public_name}: scores are too good by up to as much. "
                "Give repeats one group, or drop them"
            )
    if repeats["skipped"]:
        said.append(f"near duplicates of test samples were not looked for: {repeats['skipped']}")
    return said


def _groups_known(source: Source) -> bool:
    """Whether groups are more than the parts of one sample, or the volumes of one file."""
    whole = getattr(source, "whole", None)  # of slices, tiles, rows
    if whole is not None:
        return _groups_known(whole)
    # The groups of a NIfTI series, unless names tell the subjects, are the files themselves.
    return source.groups is not None and source.groups is not getattr(source, "file_of", None)


def leaks(source: Source, splits: list[Split], cache: Path | None = None) -> list[str]:
    """Warnings on what training and test share, and on groups that are not known."""
    # What the source says of its labels, groups and split holds for every score on them.
    said = [text for text in source.warnings if text.startswith(("labels", "groups", "split"))]
    if not _groups_known(source):
        domain = propose_domain(source)[0]
        if source.medical or domain != "natural":
            unit = UNITS.get(domain, "patients")
            said.append(
                f"no groups are known in {domain} data: the same {unit} may be in training and "
                "test, and scores too good. Name them with --set data.groups=NAME"
            )
    if source.volumetric:
        return [*said, "repeated volumes in training and test were not looked for"]
    try:
        repeats = repeats_of(source, cache)
    except DataError:  # whose message may name a file
        return [*said, "repeated images were not looked for: a sample cannot be read"]
    for split in splits:
        said += [text for text in shared_images(source, split, repeats) if text not in said]
    return said
