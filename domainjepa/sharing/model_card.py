"""The model card: Markdown below the front matter that the Hugging Face hub reads.

Its parts are those of Mitchell et al. 2019 (arXiv:1810.03993): what it is, what it is for, what it
was made of, what it is worth, what it cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from domainjepa.config import IntensityConfig
from domainjepa.data.metadata.cards import Card
from domainjepa.domains.domain import OF_PATIENTS, Domain
from domainjepa.domains.intensity import load_intensity
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.encoder.artefact import EncoderCard
from domainjepa.errors import UserError
from domainjepa.registry import DOMAINS
from domainjepa.sharing.cost import Cost

_PAGE = jinja2.Template(
    Path(__file__).with_name("model_card.md").read_text(encoding="utf-8"),
    keep_trailing_newline=True,
)


def model_card(
    card: EncoderCard,
    *,
    data: Card | None,
    tables: Sequence[str],
    cost: Cost | None,
    licence: str | None,
    repository: str | None,
    graph: bool,
    curves: bool,
    width: int,
) -> str:
    """The text of `README.md`.

    Args:
        card: of the encoder.
        data: the dataset card of what it was pretrained on, where there is one.
        tables: of an evaluation, in Markdown.
        cost: of the run.
        licence: of the weights, as the hub names it.
        repository: OWNER/NAME.
        graph, curves: whether `encoder.onnx` and `curves.png` lie beside.
        width: of the features.
    """
    title = data.title if data else f"{card.data['samples']:,} {card.domain} images"
    told = {
        "card": card,
        "title": f"{card.backbone.name} pretrained on {title}",
        "data": data,
        "intensity": load_intensity(card.intensity).describe(),
        "changes": _changes(card),
        "tables": tables,
        "cost": cost,
        "licence": licence,
        "address": f"hf://{repository}" if repository else "FOLDER",
        "repository": repository,
        "graph": graph,
        "curves": curves,
        "width": width,
        "patients": card.domain in OF_PATIENTS,
        "run": {name: card.config.get(name) for name in ("batch_size", "seed", "precision")},
        "objective": card.config.get("objective", {}),
    }
    return f"---\n{front_matter(card, cost, licence)}\n---\n{_PAGE.render(**told)}"


def front_matter(card: EncoderCard, cost: Cost | None, licence: str | None) -> str:
    """YAML as the hub reads it (https://huggingface.co/docs/hub/model-cards)."""
    from huggingface_hub import ModelCardData

    init = card.init or {}
    more: dict[str, Any] = {}
    if cost is not None:
        more["co2_eq_emissions"] = {
            "emissions": round(cost.kilograms * 1000, 1),  # in grams
            "source": "estimated from the time of training steps, see below",
            "training_type": "pre-training",
            "hardware_used": cost.devices,
        }
    if licence is None:
        more["license_name"] = "not-stated"
    begun = str(init.get("name", ""))
    tags = ["domainjepa", "lejepa", "self-supervised-learning", card.domain.replace(":", "-")]
    if card.domain in OF_PATIENTS:
        tags.append("medical")
    made = ModelCardData(
        license=licence or "other",
        library_name="domainjepa",
        pipeline_tag="image-feature-extraction",
        tags=[*tags, card.backbone.name.replace(":", "-")],
        base_model=f"timm/{begun.removeprefix('timm:')}" if begun.startswith("timm:") else None,
        **more,
    )
    return str(made.to_yaml())


def _changes(card: EncoderCard) -> list[tuple[str, str]]:
    """What views differ in, and why: name and nuisance; nothing of a domain that is not here."""
    views = card.config.get("views", {})
    try:
        kind = DOMAINS.load(card.domain)
        domain: Domain = kind(
            keep_colour=views.get("keep_colour", False),
            without=views.get("without", ()),
            settings=IntensityConfig(**card.config.get("intensity", {})),
        )
        channels = len(card.mean)
        dtype = np.dtype(np.uint8 if card.intensity["kind"] == "identity" else np.float32)
        scale = tuple(views.get("global_scale", (0.3, 1.0)))
        spec = ViewSpec(card.size, scale, channels, dtype)
        if card.dimensions == 3:
            return [(one.name, one.nuisance) for one in domain.kept_of_volumes(spec)]
        return [(one.name, one.nuisance) for one in domain.kept(spec)]
    except (UserError, TypeError, ValueError):
        return []
