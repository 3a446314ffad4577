"""Dataset cards: what is known of a data set that its file does not tell.

A card is a TOML file in `datasets/`: source, licence, citation, keys, classes, and the rules that
make groups and a split. It is applied to every file that it matches, whatever the file is called.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from domainjepa import catalog
from domainjepa.data.files.damage import reason
from domainjepa.data.metadata.columns import counts
from domainjepa.data.metadata.rules import grouped_stratified, sky_groups
from domainjepa.errors import DataError, UserError, did_you_mean
from domainjepa.reading import parse_toml, read_file
from domainjepa.registry import DOMAINS

if TYPE_CHECKING:
    from domainjepa.data.source import OpenOptions, Source

Names = Annotated[tuple[str, ...], Field(strict=False)]
Side = Annotated[int, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Read(_Part):
    """Names of the arrays, where they are not the usual ones."""

    images: str | None = None
    labels: str | None = None
    groups: str | None = None
    split: str | None = None


class Match(_Part):
    """What a file must be like; what is left out may be anything.

    Without the number of samples a file must also have one of the card's file names.
    """

    keys: Names
    shape: Annotated[tuple[Side, ...] | None, Field(strict=False)] = None
    samples: int | None = Field(default=None, gt=0)


class SkyGroups(_Part):
    """Samples closer on the sky than a radius, directly or through others, form a group."""

    ra: str
    dec: str
    """Names of the arrays, in degrees."""
    radius_arcsec: float = Field(gt=0, lt=3600 * 90)


class SplitRule(_Part):
    """A split that keeps groups whole and each class's share nearly the same in every part."""

    rule: Literal["grouped-stratified"]
    shares: dict[str, Annotated[float, Field(gt=0, lt=1)]]
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> SplitRule:
        if set(self.shares) - {"train", "val", "test"}:
            raise ValueError("the parts are called train, val, test")
        if abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError("the shares must add up to 1")
        return self


class Download(_Part):
    """Where `data.download` gets the files: exactly one of the three ways."""

    torchvision: str | None = None
    """A class of torchvision.datasets, which downloads and unpacks by itself."""
    archive: str | None = None
    """A URL of a .tar.gz or .zip, unpacked into the folder."""
    file: str | None = None
    """A URL of the file itself."""
    md5: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")
    """Of the archive or the file; what does not have it is thrown away."""

    @model_validator(mode="after")
    def _one_way(self) -> Download:
        if [self.torchvision, self.archive, self.file].count(None) != 2:
            raise ValueError("say one of torchvision, archive, file")
        return self


class Card(_Part):
    """One data set."""

    name: str
    title: str
    domain: str
    licence: str
    citation: str
    files: Names = ()
    """Usual file names; the card's name finds the first that exists."""
    url: str | None = None
    """Where a person downloads it."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    download: Download | None = None
    how: str | None = None
    """What makes the file, in an imperative, where there is nothing to download."""
    read: Read = Read()
    classes: Names = ()
    match: Match
    groups: SkyGroups | None = None
    split: SplitRule | None = None
    split_boxes: Names = ()
    """Train, val and test as boxes inside of its one volume, as in `data.split_boxes`."""

    @field_validator("domain")
    @classmethod
    def _known(cls, domain: str) -> str:
        # Looking for those of other packages takes longer than the rest of the card.
        own = all(domain.partition(":"))
        if not own and domain not in DOMAINS.builtin and domain not in DOMAINS.names():
            raise ValueError(f"unknown domain {domain!r}.{did_you_mean(domain, DOMAINS.names())}")
        return domain


def load(path: Path) -> Card:
    """A card from its file.

    Raises:
        UserError: no valid TOML, or not a card; names what is wrong.
    """
    try:
        return Card.model_validate(parse_toml(read_file(path)))
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        ]
        raise UserError(f"the dataset card {path.name}: {'; '.join(lines)}") from None
    except OSError as error:
        raise UserError(f"the dataset card {path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"the dataset card {path.name} cannot be read: {error}") from error


def named(name: str) -> Card:
    """The card of this name, or in this `.toml` file.

    Raises:
        DataError: there is none; a path that does not exist ends up here, too.
    """
    known = catalog.names("datasets")
    if name in known or (name.endswith(".toml") and Path(name).is_file()):
        return load(catalog.find("datasets", name))
    path = Path(name)
    if path.name != name or path.suffix:
        near = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, [one for one in near if not one.startswith(".")])
        raise DataError(
            f"no file or folder {path.name!r}.{hint if 'Did you mean' in hint else ''} "
            "--data takes a path or the name of a dataset card (`domainjepa list datasets`)."
        )
    raise DataError(
        f"{name!r} is neither a file, nor a folder, nor a dataset card.{did_you_mean(name, known)}"
    )


def locate(card: Card, download: bool = False) -> Path:
    """The path of a card's file, in the current folder, `./data`, or $DOMAINJEPA_DATA.

    Args:
        card: whose file.
        download: fetch it into ./data where it is missing.

    Raises:
        DataError: it is in none of them; says where to get it and where to put it.
    """
    told = os.environ.get("DOMAINJEPA_DATA")
    folders = [Path(), Path("data"), *([Path(told)] if told else [])]

    def found() -> Path | None:
        places = (folder / name for folder in folders for name in card.files)
        return next((place for place in places if place.exists()), None)

    if download and card.download and found() is None:
        _fetch(card, card.download, Path("data"))
    place = found()
    if place is not None:
        return place
    check = f" (SHA-256 {card.sha256})" if card.sha256 else ""
    get = f"Download it from {card.url}{check}, put it there" if card.url else card.how
    if card.download:
        get = f"--set data.download=true fetches it; or get it from {card.url}, put it there"
    raise DataError(
        f"{card.title}: no {' or '.join(card.files)} in the current folder, in ./data"
        f"{' or in $DOMAINJEPA_DATA' if told else ''}. {get}, or set DOMAINJEPA_DATA to its "
        f"folder, or give its path. Licence: {card.licence}"
    )


def _fetch(card: Card, download: Download, folder: Path) -> None:
    """Downloads a card's files with torchvision's own functions, which show a bar and check MD5."""
    import torchvision.datasets
    from torchvision.datasets.utils import download_and_extract_archive, download_url

    folder.mkdir(exist_ok=True)
    try:
        if download.torchvision:
            getattr(torchvision.datasets, download.torchvision)(folder, download=True)
        elif download.archive:
            download_and_extract_archive(
                download.archive, os.fspath(folder), md5=download.md5, remove_finished=True
            )
        else:
            assert download.file is not None
            download_url(download.file, os.fspath(folder), card.files[0], download.md5)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{card.title} cannot be downloaded: {reason(error)} "
            f"Get it from {card.url} and put it into ./data."
        ) from error


def reading(card: Card, options: OpenOptions) -> OpenOptions:
    """The options with the card's names where the user gives none."""
    told = card.read.model_dump(exclude_none=True)
    return replace(
        options, **{role: name for role, name in told.items() if getattr(options, role) is None}
    )


def matches(card: Card, source: Source, file_name: str) -> bool:
    """Whether a source is the card's data set."""
    match = card.match
    return (
        set(match.keys) <= set(source.keys)
        and match.shape in (None, source.shape)
        and match.samples in (None, len(source))
        and (match.samples is not None or file_name in card.files)
    )


@cache
def _shipped() -> tuple[Card, ...]:
    """Read once: twenty cards take longer than opening a file."""
    return tuple(load(catalog.find("datasets", name)) for name in catalog.names("datasets"))


def matching(source: Source, file_name: str) -> Card | None:
    """The shipped card whose data set this is, if any."""
    return next((card for card in _shipped() if matches(card, source, file_name)), None)


def apply(card: Card, source: Source, file_name: str, options: OpenOptions) -> Source:
    """Completes a source in place by its card: its name, class names, groups, a split.

    Args:
        card: that the user named, or that matches.
        source: freshly opened with the card's names.
        file_name: of the data, without folders.
        options: that it was opened with; what the user names goes before the card.

    Raises:
        DataError: the file is not what the card describes.
    """
    if not matches(card, source, file_name):
        shape = "x".join(map(str, source.shape))
        raise DataError(
            f"{file_name} is not {card.title}: it has {len(source):,} samples of {shape} and the "
            f"keys {', '.join(source.keys)}. Give its path to open it without the card."
        )
    source.decisions.append(f"dataset card: {card.name} ({card.title}), by its keys and shape")
    source.card = card.model_dump(mode="json", exclude_none=True)
    source.name = card.name
    own_labels = options.labels in (None, card.read.labels)
    if card.classes and source.labels is not None and own_labels:
        known = source.labels >= 0  # the others are blank
        source.labels[known] = _as_stored(source.labels[known], source.classes)
        for label in (source.labels[known].min(), source.labels[known].max()):
            if not 0 <= label < len(card.classes):
                raise DataError(
                    f"{file_name} has the label {label}; {card.title} has only "
                    f"{len(card.classes)} classes."
                )
        source.classes = card.classes
    if card.groups and source.groups is None:
        rule = card.groups
        source.groups = sky_groups(
            source.column(rule.ra), source.column(rule.dec), rule.radius_arcsec
        )
        sizes = np.bincount(source.groups)
        source.decisions.append(
            f"groups: {len(sizes):,}, {int((sizes > 1).sum()):,} of them of samples within "
            f"{rule.radius_arcsec:g} arcsec of each other"
        )
    if card.split and source.split is None:
        source.split = grouped_stratified(
            source.labels, source.groups, len(source), card.split.shares, card.split.seed
        )
        source.decisions.append(
            f"split: by the card's rule {card.split.rule}, {counts(source.split)}"
        )
    return source


def _as_stored(labels: NDArray[np.int64], classes: tuple[str, ...] | None) -> NDArray[np.int64]:
    """Undoes the renumbering of labels of which some are missing."""
    if classes is None or not all(name.removeprefix("-").isdigit() for name in classes):
        return labels
    return np.array([int(name) for name in classes], dtype=np.int64)[labels]
