"""What an exported graph takes and gives, for programs (JSON) and for people (Markdown)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from domainjepa.domains.intensity import Identity, Intensity, OwnScale, Windows
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.export.raw_images import input_dtype


def input_page(
    encoder: FrozenEncoder, intensity: Intensity, shape: Sequence[int | str], graphs: Sequence[str]
) -> dict[str, Any]:
    """All that is needed to feed a graph.

    Args:
        encoder: that was exported.
        intensity: of its card.
        shape: of the input, a letter where any number goes.
        graphs: names of the files, the encoder's first.
    """
    card = encoder.card
    dense = encoder.output == "patches"
    layout = "NCHW" if card.dimensions == 2 else "NCDHW"
    dtype = str(input_dtype(intensity)).removeprefix("torch.")
    width = len(encoder.get_feature_names_out())
    positions = [*"hw"] if card.dimensions == 2 else [*"dhw"]
    sides = " x ".join(map(str, shape[2:]))
    return {
        "format": 1,
        "told": f"stored {dtype} pixels, {layout}, {shape[1]} x {sides}, in; {width} features out.",
        "graphs": [*graphs[1:], *graphs[:1]],
        "backbone": card.backbone.name,
        "domain": card.domain,
        "encoder_sha256": card.sha256,
        "input": {
            "name": "images",
            "layout": layout,
            "shape": [*shape],
            "dtype": dtype,
            "stored_as": card.dtype,
            "values": _values(intensity, graphs),
        },
        "intensity": card.intensity,
        "intensity_told": intensity.describe(),
        "size": card.size,
        "spacing_mm": card.spacing,
        "size_rule": _size_rule(encoder, isinstance(intensity, Identity)),
        "mean": list(card.mean),
        "std": list(card.std),
        "output": {
            "name": "patches" if dense else "features",
            "shape": ["N", width, *(positions if dense else [])],
            "dtype": "float32",
            "pixels_a_position": encoder.grid.stride if dense else None,
        },
    }


def _values(intensity: Intensity, graphs: Sequence[str]) -> str:
    """The unit, and what is missing, in words."""
    if isinstance(intensity, Identity):
        return "8-bit levels, 0 to 255, as the files hold them: not divided by 255"
    if isinstance(intensity, Windows):
        return "Hounsfield units (rescale slope and intercept applied); NaN where nothing is"
    if isinstance(intensity, OwnScale):
        return f"stored values in any unit, through {graphs[1]} first; NaN where nothing is"
    return "stored values, in the unit of the data that it was pretrained on; NaN where nothing is"


def _size_rule(encoder: FrozenEncoder, levels: bool) -> str:
    card, size = encoder.card, encoder.card.size
    if card.dimensions == 3:
        return (
            f"Exactly {size} x {size} x {size} voxels of {card.spacing:g} mm: resample linearly to "
            "that, cover larger volumes with such windows and average their features."
        )
    if encoder.output == "pooled":
        return (
            "Any height and width. In the graph, after the intensity, the centre square is brought "
            f"to {size} x {size} px: averaged over the area of a pixel when shrinking (OpenCV's "
            "INTER_AREA), bilinear between pixel centres when enlarging (INTER_LINEAR, half-pixel, "
            "edges repeated)" + ("; levels are rounded to whole ones." if levels else ".")
        )
    if encoder.grid.fixed:
        return f"Exactly {size} x {size} px, as they are: cut windows of that size."
    return (
        f"Any sides that are multiples of {max(encoder.grid.coarsest, encoder.grid.stride)} px; "
        "pixels are taken as they are, nothing is resized."
    )


_PAGE = jinja2.Template(
    Path(__file__).with_name("input_page.md").read_text(encoding="utf-8"),
    keep_trailing_newline=True,
)


def markdown(page: dict[str, Any]) -> str:
    """The page for people.

    Args:
        page: of `input_page`.
    """
    free = {"N": 1, "D": page["size"], "H": page["size"], "W": page["size"]}
    example = [free.get(side, side) for side in page["input"]["shape"]]
    return str(_PAGE.render(**page, example=example))
