"""Training without pretraining: an encoder's backbone from fresh weights, on the same labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from domainjepa.backbones import Backbone
from domainjepa.data.source import Image
from domainjepa.encoder import FrozenEncoder
from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.probes.finetune import trainable


class FromScratch:
    """The network of a pretrained encoder with fresh weights, trained anew for every draw.

    Under every protocol all of its weights are trained on the drawn labels, as fine-tuning does
    (`[finetune]` of the protocol): a part of them says when to stop. It has no frozen features.
    """

    anew = True

    def __init__(self, twin: FrozenEncoder) -> None:
        self.twin = twin

    @property
    def name(self) -> str:
        return f"{self.twin.name.removesuffix(' untrained')} supervised"

    @property
    def sha256(self) -> str:
        """Of the network and the weights that it starts from."""
        return self.twin.sha256

    def trainable(self) -> tuple[Backbone, Callable[[Sequence[Image]], Tensor]] | None:
        """A copy of the network, and what turns images into its input; None of volumes."""
        return trainable(self.twin)

    def transform(self, images: Any) -> Any:
        raise UserError(f"{self.name} has no features: it is trained on labels")


def supervised(encoders: Sequence[Encoder], weights: str | None = None) -> list[Encoder]:
    """The same networks trained from scratch on the same labels: what pretraining has to beat.

    Raises:
        UserError: no encoder under evaluation has a network of ours.
    """
    if weights is not None:
        raise UserError("the baseline supervised draws its own weights: write supervised alone")
    made: dict[str, Encoder] = {}
    for encoder in encoders:
        if isinstance(encoder, FrozenEncoder):
            found = FromScratch(encoder.untrained())
            made.setdefault(found.sha256, found)
    if not made:
        raise UserError(
            "the baseline supervised trains the backbone of a pretrained encoder from scratch, and "
            "no run or encoder.safetensors is evaluated"
        )
    return list(made.values())


def trained_anew(encoder: Encoder) -> bool:
    """Whether an encoder has no frozen features, and is trained on every draw of labels."""
    return bool(getattr(encoder, "anew", False))
