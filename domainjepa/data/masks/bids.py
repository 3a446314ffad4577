"""Masks in BIDS, the Brain Imaging Data Structure: `*_mask`, `*_dseg`, and what is derived.

https://bids-specification.readthedocs.io, version 1.10, "Imaging derivatives".
"""

from __future__ import annotations

import re

_ENTITY = re.compile(r"(?:^|_)([A-Za-z]+)-([A-Za-z0-9+]+)")
_ENDING = re.compile(r"_(mask|dseg|probseg)$")
_OF_THE_MASK = {"desc", "label", "space", "res", "den", "hemi", "atlas", "seg"}
"""Entities that tell about a derivative, not about the image that it is of."""
_OWN_GRID = ("orig", "T1w", "T2w", "individual", "native")


def mask_kind(stem: str) -> str | None:
    """What a file's mask shows, such as desc-brain_mask; None where it is none."""
    ending = _ENDING.search(stem)
    told = entities(stem)
    if ending is None or "sub" not in told:
        return None
    shown = [f"{name}-{told[name]}" for name in ("desc", "label", "atlas", "seg") if name in told]
    return "_".join([*shown, ending[1]])


def entities(stem: str) -> dict[str, str]:
    """Entity -> value of a file's name."""
    return dict(_ENTITY.findall(stem))


def is_of(mask: dict[str, str], image: dict[str, str]) -> bool:
    """Whether a mask is of an image, on the image's own grid, by their entities."""
    if mask.get("space", "orig") not in _OWN_GRID or mask.get("ses") != image.get("ses"):
        return False
    told = {name: value for name, value in mask.items() if name not in _OF_THE_MASK}
    return all(image.get(name) == value for name, value in told.items())


def derived(name: str) -> bool:
    """Whether a file lies in a folder of derivatives."""
    return "derivatives" in name.split("/")[:-1]
