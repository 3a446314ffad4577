"""Food101 and Flowers102 in the folders that torchvision makes of them.

torchvision knows their lists of files, labels and official splits, and downloads them when asked;
the images themselves are read as those of any folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from domainjepa.data.files.damage import reason
from domainjepa.data.files.folder import refuse_names
from domainjepa.data.formats.images.loader import ImagesLoader
from domainjepa.data.metadata.columns import counts
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.errors import DataError


class Set(NamedTuple):
    """How torchvision calls a set, and a file by which its folder is known."""

    name: str
    parts: tuple[str, ...]
    landmark: str


SETS = {
    "food-101": Set("Food101", ("train", "test"), "meta/train.json"),
    "flowers-102": Set("Flowers102", ("train", "val", "test"), "setid.mat"),
}
"""By the name of the folder, which torchvision prescribes."""


class TorchvisionLoader(Loader):
    """Opens `food-101` and `flowers-102`."""

    name = "torchvision"
    title = "Food101 or Flowers102 as torchvision keeps them"
    whole_folder = True

    def sniff(self, path: Path, head: bytes) -> bool:
        return False

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        known = SETS.get(path.resolve().name)
        return known is not None and path.joinpath(known.landmark).is_file()

    def open(self, path: Path, options: OpenOptions) -> Source:
        root = path.resolve()
        refuse_names(root, options)
        known = SETS.get(root.name)
        if known is None:
            raise DataError(f"torchvision calls its folders {' and '.join(SETS)}, not {root.name}.")
        parts = [_part(known, root, part) for part in known.parts]
        files = [Path(file) for part in parts for file in part._image_files]
        source = ImagesLoader().open_files(
            root, [file.relative_to(root).as_posix() for file in files], options
        )
        source.loader = self.name
        labels = np.concatenate([part._labels for part in parts])
        source.labels = labels.astype(np.int64)
        classes = getattr(parts[0], "classes", None) or range(int(labels.max()) + 1)
        source.classes = tuple(str(name).replace("_", " ") for name in classes)
        source.split = np.repeat(known.parts, [len(part) for part in parts])
        source.decisions.append(f"labels: torchvision's, {len(source.classes)} classes")
        source.decisions.append(f"split: the official one, {counts(source.split)}")
        return source


def _part(known: Set, root: Path, part: str) -> Any:
    """One part of a set, as torchvision lists it; it opens no image."""
    import torchvision.datasets

    try:
        return getattr(torchvision.datasets, known.name)(root.parent, split=part)
    except Exception as error:  # json, scipy and torchvision raise what comes to hand
        raise DataError(
            f"{root.name} cannot be read as {known.name}, part {part}: {reason(error)} "
            "Download it again: --set data.download=true"
        ) from error
