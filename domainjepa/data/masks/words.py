"""Words in the names of folders and files that tell images from their masks."""

from __future__ import annotations

import re
from collections.abc import Iterator

IMAGE = "images?|imgs?|jpegimages|scans?|volumes?|vol|inputs?"
MASK = (
    "masks?|msks?|labels?|labelmaps?|seg|segs|segm|segmentations?|segmentationclass|annotations?|"
    "anno|gt|ground[ _-]?truths?|truths?|manual|dseg|probseg"
)
PARTS = {"tr": "train", "ts": "test", "va": "val", "val": "val"}
"""What ends imagesTr and the like -> the part of the split."""


def _folder(words: str) -> re.Pattern[str]:
    """masks, train_masks, masks-2, and labelsTr; not unmasked."""
    return re.compile(
        rf"(?P<before>(?:.*[^A-Za-z])?)(?P<word>{words})(?P<after>(?:Tr|Ts|Val?|[^A-Za-z].*)?)",
        re.IGNORECASE,
    )


def _ends(words: str) -> re.Pattern[str]:
    """x_mask, x_mask_1, x.seg, mask_x, mask01 and mask by itself."""
    between = r"[ _.-]+"
    return re.compile(
        rf"(?P<rest>.*?){between}(?P<last>{words})(?:[ _.-]?\d{{1,3}})?"
        rf"|(?P<first>{words})(?:{between}|(?=\d))(?P<tail>.+)|(?P<whole>{words})",
        re.IGNORECASE,
    )


FOLDERS = {"image": _folder(IMAGE), "mask": _folder(MASK)}
NAMES = {"image": _ends(IMAGE), "mask": _ends(MASK)}


def word_in(stem: str, kind: str) -> tuple[str, str] | None:
    """The word at an end of a file's name and what is left without it; None where there is none.

    Args:
        stem: the name without its folders and its suffix.
        kind: "image" or "mask".
    """
    match = NAMES[kind].fullmatch(stem)
    if match is None:
        return None
    word = match["last"] or match["first"] or match["whole"]
    return word.lower(), (match["rest"] or match["tail"] or "").lower()


def starred(folders: list[str], kind: str) -> Iterator[tuple[str, str]]:
    """A folder's path with a star for each word of a kind in turn, in lower case, and the word:
    train/imagesTr and train/labelsTr are train/*tr both."""
    for place, folder in enumerate(folders):
        match = FOLDERS[kind].fullmatch(folder)
        if match:
            star = f"{match['before']}*{match['after']}"
            told = [*folders[:place], star, *folders[place + 1 :]]
            yield "/".join(told).lower(), match["word"].lower()


def with_star(folders: list[str]) -> Iterator[str]:
    """A folder's path with a star at each place: where a folder of masks would lie beside it."""
    for place in range(len(folders) + 1):
        yield "/".join([*folders[:place], "*", *folders[place:]]).lower()


def without_word(folders: list[str], parts: bool) -> list[str]:
    """Folders that may be classes or parts of the split: images/ goes, train_images is train.

    Args:
        parts: imagesTr is the training part; else the ending is dropped, too.
    """
    left = []
    for folder in folders:
        match = FOLDERS["image"].fullmatch(folder)
        if match:
            after = match["after"].strip(" _.-")
            told = PARTS.get(after.lower())
            rest = f"{match['before']}{'' if told else after}".strip(" _.-")
            left += [told] if told and parts else [rest] if rest else []
        else:
            left.append(folder)
    return left
