"""Which image a mask is of, by the names of both."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from domainjepa.data.files.listing import without_suffix
from domainjepa.data.masks import bids
from domainjepa.data.masks.words import starred, with_star, word_in

MOST_OF_ONE = 16
"""Images that one mask is of, at most: the channels of an object."""
NNUNET = re.compile(r"(.+)_(\d{4})")
"""A case and its channel (nnU-Net's dataset format, 2.x)."""


class Pairing:
    """Names of files, in the forms that the name of a mask may have been made from."""

    def __init__(self, files: Sequence[str], suffixes: tuple[str, ...]) -> None:
        self.suffixes = suffixes
        self.stems = {file: without_suffix(file, suffixes).rpartition("/")[2] for file in files}
        self.folders = {file: file.split("/")[:-1] for file in files}
        self._by_name: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._by_start: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._by_star: dict[str, list[str]] = defaultdict(list)
        self._by_subject: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)

    def add(self, image: str) -> None:
        """Makes an image known."""
        folders, stem = self.folders[image], self.stems[image].lower()
        place, forms = "/".join(folders).lower(), _forms(stem)
        stars = [star for star, _ in starred(folders, "image")] or list(with_star(folders))
        for star in stars:
            self._by_star[star].append(image)
        for form in forms:
            self._by_stem[form].append(image)
            for one in (place, *stars):
                self._by_name[one, form].append(image)
        for separator in re.finditer(r"(?<=.)[ _.-]", stem):
            self._by_start[place, stem[: separator.start()]].append(image)
        self._by_start[place, ""].append(image)
        if subject := bids.entities(self.stems[image]).get("sub"):
            self._by_subject[subject].append(image)

    def kind(self, file: str) -> str | None:
        """What kind of mask a name claims to be, such as labels/ or *_seg; None where of none.

        A folder's word counts before a name's: labels/x_seg.png is of the labels.
        """
        if kind := bids.mask_kind(self.stems[file]):
            return kind
        for _, folder in starred(self.folders[file], "mask"):
            return f"{folder}/"
        named = word_in(self.stems[file], "mask")
        return f"*{named[0]}*" if named else None

    def images_of(self, mask: str) -> list[str]:
        """The images that a mask is of by the usual layouts: one, or the channels of one object."""
        stem, folders = self.stems[mask], self.folders[mask]
        if bids.mask_kind(stem):
            own = bids.entities(stem)
            near = self._by_subject.get(own["sub"], [])
            return [one for one in near if bids.is_of(own, bids.entities(self.stems[one]))]
        named = word_in(stem, "mask")
        forms = [stem.lower(), *([named[1]] if named else [])]
        stars = [star for star, _ in starred(folders, "mask")]
        for star in stars:
            for form in forms:
                if form and (star, form) in self._by_name:
                    return self._few(self._by_name[star, form])
            if len(self._by_star.get(star, ())) == 1:  # one image, and a mask of each object in it
                return self._by_star[star]
        if not named or stars:
            return []
        beside = ("/".join(folders).lower(), named[1])
        return self._few(self._by_name.get(beside) or self._by_start.get(beside, []))

    def images_by(self, mask: str, pattern: str) -> list[str]:
        """The images whose name is what the stars stand for in the pattern that fits a mask.

        Of several, those that share the most folders with it.
        """
        last = re.escape(pattern.rpartition("/")[2]).replace(r"\*", "(.*)")
        match = re.fullmatch(last, mask.rpartition("/")[2])
        stars = match.groups() if match else ()
        form = without_suffix(max(stars, key=len, default=""), self.suffixes).lower()
        own = set(self.folders[mask])
        found = self._by_stem.get(form, [])
        most = max((len(own & set(self.folders[one])) for one in found), default=0)
        return self._few([one for one in found if len(own & set(self.folders[one])) == most])

    @staticmethod
    def _few(images: list[str]) -> list[str]:
        return images if len(images) <= MOST_OF_ONE else []


def _forms(stem: str) -> set[str]:
    """A name in lower case, the same without a word for images, and without nnU-Net's channel."""
    forms = {stem}
    if told := word_in(stem, "image"):
        forms.add(told[1])
    if channel := NNUNET.fullmatch(stem):
        forms.add(channel[1])
    return forms
