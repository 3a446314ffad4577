"""Which files of a folder are samples and which are masks of them, by the usual layouts.

Medical Segmentation Decathlon and nnU-Net (imagesTr, labelsTr, imagesTs), images/ beside masks/ or
labels/, x.png beside x_mask.png, BIDS. Names only propose: what pairs up with no image stays a
sample.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from domainjepa.data.files.listing import fits
from domainjepa.data.masks import bids
from domainjepa.data.masks.pairing import NNUNET, Pairing
from domainjepa.data.masks.words import PARTS, without_word

PAIRED = 0.5
"""Share of the masks of a kind that must be of an image, else they are none."""
_OPENED = re.compile(r"images?(Tr|Ts|Val?)", re.IGNORECASE)
_AS_SAMPLES = "if they are samples: --set data.masks=none"


@dataclass
class Apart:
    """Files told apart.

    Attributes:
        images: the samples' files, in their order.
        masks: image -> the files of its mask.
        channels: what tells the channels of a case apart in nnU-Net's names; empty elsewhere.
        parts: whether imagesTr and imagesTs are parts of a split.
        warnings: what was taken for what.
    """

    images: list[str]
    masks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    parts: bool = False
    warnings: list[str] = field(default_factory=list)

    def telling(self, folders: str) -> str:
        """What of an image's folders may be a class or a part of the split."""
        if not self.warnings:
            return folders
        return "/".join(without_word(folders.split("/"), self.parts))


def tell_apart(files: Sequence[str], suffixes: tuple[str, ...], told: str | None) -> Apart:
    """The samples and the masks among these files.

    Args:
        files: names below a folder, with `/`.
        suffixes: of the format.
        told: `data.masks`: a pattern of masks, "none", or None for the usual layouts.
    """
    if told == "none":
        return Apart(list(files))
    pairing = Pairing(files, suffixes)
    derived = {file for file in files if bids.derived(file)}
    kinds = {file: kind for file in files if (kind := pairing.kind(file))}
    if told:
        kinds |= {file: told for file in files if fits(file, told)}
    for file in files:
        if file not in kinds and file not in derived:
            pairing.add(file)
    of = {
        mask: pairing.images_by(mask, told)
        if told and kind == told and not pairing.kind(mask)
        else pairing.images_of(mask)
        for mask, kind in kinds.items()
    }
    counts = Counter(kinds.values())
    paired = Counter(kinds[mask] for mask, images in of.items() if images)
    true = {kind for kind in counts if kind == told or paired[kind] >= PAIRED * counts[kind]}
    kinds = {mask: kind for mask, kind in kinds.items() if kind in true}
    images = [file for file in files if file not in kinds and file not in derived]
    if len(images) in (0, len(files)):
        return Apart(list(files))
    found = Apart(images)
    _offer(found, kinds, of, told)
    if left := len(derived - set(kinds)):
        found.warnings.append(
            f"left out: {left:,} files below derivatives/, which were made of others; to read "
            "them, give that folder as --data"
        )
    parts = sorted({part for image in images for part in _parts(pairing.folders[image])})
    found.parts = len(parts) > 1
    if found.parts:
        told = ", ".join(f"images{part.title()} is {PARTS[part]}" for part in parts)
        found.warnings.append(f"split: {told}, by the names of the folders")
    if any(map(_parts, pairing.folders.values())):
        found.channels = _channels(found, pairing)
    return found


def _parts(folders: list[str]) -> list[str]:
    """Decathlon's and nnU-Net's names of the parts of a split."""
    return [match[1].lower() for folder in folders if (match := _OPENED.fullmatch(folder))]


def _offer(
    found: Apart, kinds: Mapping[str, str], of: Mapping[str, Sequence[str]], told: str | None
) -> None:
    """Gives images their masks: those of the kind that the most images have, and says so."""
    if not kinds:
        return
    every: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for mask, kind in kinds.items():
        for image in of[mask]:
            every[kind][image].append(mask)
    listed = ", ".join(f"{kind} ({count:,})" for kind, count in Counter(kinds.values()).items())
    offered = told if told in every else max(every, key=lambda kind: len(every[kind]), default="")
    found.masks = {image: tuple(masks) for image, masks in every.get(offered, {}).items()}
    line = (
        f"masks: {len(kinds):,} files, {listed}, are taken for masks of the {len(found.images):,} "
        f"images and are no samples; {_AS_SAMPLES}"
    )
    if len(every) > 1:
        line += f". source.masks has {offered}; others: --set data.masks=PATTERN"
    without = len(found.images) - len(found.masks)
    if without:
        line += f". Images without a mask: {without:,}"
    joined = sum(len(masks) > 1 for masks in found.masks.values())
    if joined:
        line += (
            f". Images with several: {joined:,}; theirs are laid over each other, the greatest "
            "value counts"
        )
    found.warnings.append(line)


def _channels(found: Apart, pairing: Pairing) -> tuple[str, ...]:
    """What tells nnU-Net's channels apart, where all images are named so and masks are not."""
    told = {image: NNUNET.fullmatch(pairing.stems[image]) for image in found.images}
    cases = {image: match[1] for image, match in told.items() if match}
    masks = {pairing.stems[mask] for image in found.masks for mask in found.masks[image]}
    if len(cases) < len(told) or not masks & set(cases.values()):
        return ()
    return tuple(sorted({match[2] for match in told.values() if match}))
