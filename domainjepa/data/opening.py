"""The way in: a path, a URL or a card's name -> a source.

Each loader says by the first bytes of a file, or by the names in a folder, whether it is its own
(`sniff`); cards, slices and tiles come on top.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from domainjepa.config import DataConfig
from domainjepa.data.channels.choice import chosen_bands
from domainjepa.data.chosen import chosen
from domainjepa.data.files.inner import inner
from domainjepa.data.files.listing import ends_in, walk
from domainjepa.data.masks.arrays import offer_masks
from domainjepa.data.metadata import cards
from domainjepa.data.metadata.user_rules import ROLES, hide_ids, is_rule, obey
from domainjepa.data.parts.boxes import BoxesSource, boxed
from domainjepa.data.parts.drawn import ALL, drawn_tiles
from domainjepa.data.remote.addresses import is_url
from domainjepa.data.remote.near import near
from domainjepa.data.remote.path import local
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.data.storage.turned import LAST
from domainjepa.errors import DataError, UserError, did_you_mean
from domainjepa.reading import what_it_is
from domainjepa.registry import LOADERS
from domainjepa.showing import is_text, shown

_WITHOUT_PLANES = {"hdf5", "arrays", "zarr", "cifar", "torchvision"}
"""Loaders to which data.axis says nothing; to those of FITS and TIFF it says what planes are."""
MAJORITY = 3
"""Times as many files as of any other format: then a mixed folder is of this one."""


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """The names and facts of 100,000 files stay: looking for garbage among them after every 700 new
    objects takes a third of the time. Not never: decoders leave cycles behind."""
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@_collecting_seldom()
def open_source(
    data: str | os.PathLike[str],
    *,
    loader: str | None = None,
    options: OpenOptions | None = None,
    **settings: Any,
) -> Source:
    """Opens a file, a folder, or a data set by the name of its card.

    Args:
        data: a path, a URL, or the name of a dataset card.
        loader: a loader's name or `module:attribute`; by default the content decides.
        options: where to find what is not found by itself.
        settings: single options, such as `labels="morphology"`.

    Raises:
        DataError: missing, of no known format, unreadable, ambiguous, or unsafe.
        UserError: no such loader or option.
    """
    unknown = set(settings) - set(OpenOptions.__dataclass_fields__)
    if unknown:
        name = min(unknown)
        raise UserError(
            f"unknown option {name!r}.{did_you_mean(name, OpenOptions.__dataclass_fields__)}"
        )
    options = replace(options or OpenOptions(), **settings)
    data, options, far = near(data, loader, options)
    rules = {role: told for role in ROLES if is_rule(told := getattr(options, role))}
    unruled: dict[str, Any] = dict.fromkeys(rules)
    plain = replace(options, **unruled)
    if _tells_volume(options):
        planes = options.axis in (ALL, "0", "1", "2")
        plain = replace(plain, dimensions=3, axis=None if planes else plain.axis)
    source = _opened(data, loader, plain)
    source.decisions[:0] = far
    _escape_names(source)
    beside = replace(plain, masks="none", labels=None, groups=None, ids=None, split=None)
    offer_masks(
        source, lambda name: _opened(data, loader, replace(beside, images=name)), plain.masks
    )
    if options.root and source.loader != "table" and not local(data).is_dir():
        raise DataError(
            "data.root is the folder of a table's images, or holds a folder of links; "
            f"{source.name} is neither: leave data.root out."
        )
    if options.where != source.conditions:
        source = chosen(source, options.where)
    obey(source, rules)
    if source.medical and options.ids:
        hide_ids(source)
    if options.bands and source.bands != options.bands:
        source = chosen_bands(source, options.bands)
    if options.axis == LAST and _is_turned(source):
        options = replace(options, axis=None)  # has been heeded
    boxes = options.split_boxes or tuple((source.card or {}).get("split_boxes", ()))
    source = boxed(source, boxes, options)
    if isinstance(source, BoxesSource) and source.large(0) and _in_tiles(source, options):
        return drawn_tiles(source, options)
    if source.volumetric and options.dimensions == 2:
        from domainjepa.data.parts.slices import slices

        source = slices(source, options)
    else:
        _refuse_slicing(source, options)
    if options.crop:
        from domainjepa.data.parts.crop import cropped

        source = cropped(source, options.crop)
    if options.tile:
        from domainjepa.data.parts.tiles import tiled

        source = tiled(source, options.tile)
    return source


def _tells_volume(options: OpenOptions) -> bool:
    """Whether an array of three axes is a volume by what is to be cut out of it."""
    return options.axis == ALL or any(one.count(",") == 2 for one in options.split_boxes)


def _in_tiles(source: Source, options: OpenOptions) -> bool:
    """Whether what is too large to be read whole becomes tiles: images, and volumes as slices."""
    return options.dimensions == 2 or not source.volumetric


def _escape_names(source: Source) -> None:
    """Names of classes, and ids that are no text, as all that follows may show and write them."""
    source.name = shown(source.name)
    if source.classes is not None:
        source.classes = tuple(map(shown, source.classes))
    if source.ids is not None and not is_text(source.ids):
        source.ids = np.array([shown(one) for one in source.ids.tolist()])


def _is_turned(source: Source) -> bool:
    """Whether its samples lie in MATLAB's order of axes."""
    return bool(getattr(getattr(source, "layout", source), "turned", False))


def _refuse_slicing(source: Source, options: OpenOptions) -> None:
    """An option that cuts slices out of volumes says something of other samples, too: a mistake."""
    held = "volumes are asked for" if source.volumetric else "its samples are no slices"
    if options.neighbours:
        raise DataError(
            f"data.neighbours joins slices of volumes, and of {source.name} {held}: leave "
            "data.neighbours out."
        )
    if options.axis and (source.volumetric or source.loader in _WITHOUT_PLANES):
        raise DataError(
            f"data.axis={options.axis} says along which axis slices follow each other, and of "
            f"{source.name} {held}: leave data.axis out."
        )


def _opened(data: str | os.PathLike[str], loader: str | None, options: OpenOptions) -> Source:
    """The source behind a path, completed by its card where there is one."""
    if is_url(str(data)):
        asked: Loader = LOADERS.load(loader or "zarr")()
        return asked.open_url(str(data), options)
    path, card = local(data), None
    if path.suffix == ".toml" or not path.exists():
        card = cards.named(os.fspath(data))
        path = cards.locate(card, options.download)
        options = cards.reading(card, options)
    special = what_it_is(path)
    if special:
        raise DataError(f"{path.resolve().name} is {special}; data are a file or a folder.")
    if loader:
        opener = _named_loader(loader)
    else:
        outer, path = path, _within(path)
        opener = sniff(path).open
    opened: Any = opener(path, options)
    if not isinstance(opened, Source):
        raise UserError(f"the loader {loader!r} gave a {type(opened).__name__}, no Source.")
    source = opened
    file_name = path.resolve().name
    if card is None and not source.card:
        card = cards.matching(source, file_name)
        if card is not None:
            options = cards.reading(card, options)
            source = opener(path, options)
    if card is not None:
        source = cards.apply(card, source, file_name, options)
    source.blank = options.blank
    if not loader and path != outer:
        source.decisions.insert(0, f"opened: what the folder {outer.resolve().name} holds alone")
    return source


def open_configured(data: DataConfig) -> Source:
    """Opens what the `data.*` settings say.

    Raises:
        DataError, UserError: as `open_source`.
    """
    if not data.path:
        raise UserError("no data: give --data PATH, or the name of a card.")
    options = data.model_dump(include=set(OpenOptions.__dataclass_fields__))
    options["dimensions"] = data.dimensions or 2
    return open_source(data.path, loader=data.loader, options=OpenOptions(**options))


def _named_loader(name: str) -> Callable[[Path, OpenOptions], Source]:
    """A loader's `open`; a plain function (path, options) -> Source is one, too."""
    thing = LOADERS.load(name)
    if isinstance(thing, type) and issubclass(thing, Loader):
        return thing().open
    if not callable(thing):
        raise UserError(f"the loader {name!r} is neither a Loader nor a function.")
    opener: Callable[[Path, OpenOptions], Source] = thing
    return opener


def _within(path: Path) -> Path:
    """The one container, or the known set, in a folder; else the path itself."""
    return inner(path, _loaders()) if path.is_dir() else path


def _loaders() -> list[Loader]:
    return [thing() for thing in LOADERS.load_all().values()]


def sniff(path: Path) -> Loader:
    """The loader that knows the content; a suffix alone only makes the message better."""
    name, head = path.resolve().name, b""
    if not path.is_dir():
        try:
            with path.open("rb") as file:
                head = file.read(4096)
        except OSError as error:
            raise DataError(f"{name} cannot be read: {error.strerror}.") from error
        if not head:
            raise DataError(f"{name} is empty (0 bytes). Copy or download it again.")
    loaders = _loaders()
    known = ", ".join(loader.title for loader in loaders)
    if path.is_dir():
        return _of_folder(path, loaders, known)
    for loader in loaders:
        if loader.sniff(path, head):
            return loader
    like = [loader.title for loader in loaders if path.suffix.lower() in loader.suffixes]
    if like:
        raise DataError(
            f"{name} is named like {like[0]} but does not begin like it{_what(head)}. "
            "Download it again, or rename it to what it is."
        )
    raise DataError(
        f"{name} is of no known format{_what(head)}. Known: {known}; or --loader module:name."
    )


def _of_folder(path: Path, loaders: list[Loader], known: str) -> Loader:
    """The loader of a folder: the one that claims it, or most of the files in it."""
    name, names = path.resolve().name, list(islice(walk(path), 1_000))
    claims = [loader for loader in loaders if loader.sniff_folder(path, names)]
    claims = [loader for loader in claims if loader.whole_folder] or claims
    if not claims:
        endings = Counter(Path(file).suffix.lower() for file in names)
        held = ", ".join(f"{count} {suffix}" for suffix, count in endings.most_common(3) if suffix)
        raise DataError(
            f"the folder {name} holds no images; it has {held or 'nothing'}. Known: {known}"
        )
    counts = {one: sum(ends_in(file, one.suffixes) for file in names) for one in claims}
    first, *others = sorted(claims, key=lambda one: -counts[one])
    if any(MAJORITY * counts[other] > counts[first] for other in others):
        choices = " or ".join(f"--loader {loader.name}" for loader in claims)
        raise DataError(
            f"the folder {name} holds files of several formats: say which to read by {choices}."
        )
    return first


def _what(head: bytes) -> str:
    """What a file that is no data looks like, as the end of a phrase."""
    start = head[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return ": it is a web page, so the download failed"
    if start.startswith(b"version https://git-lfs"):
        return ": it is a Git LFS pointer; `git lfs pull` fetches the data"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        return ": it is one image; give the folder of the images"
    if head and not set(head) & set(range(9)):
        return ": it is text"
    return ""
