"""The artefact of a run: one `encoder.safetensors`.

The file holds the backbone's weights and, as JSON, all that is needed to use them: the network, the
image size, the intensity and the standardisation with their numbers. It holds no path, no file name
and no label, and one SHA-256 covers all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from domainjepa.backbones import Backbone
from domainjepa.config import MONAI_NETWORKS, BackboneConfig
from domainjepa.domains.intensity import load_intensity
from domainjepa.encoder.places import FILE_NAME, file_of
from domainjepa.errors import UserError
from domainjepa.reading import parse_json, regular
from domainjepa.writing import write_atomically

MAX_HEADER = 16 * 2**20
LARGE = 2**30
"""Bytes from which on a file is read only after its shapes were compared with its network's."""


class EncoderCard(BaseModel):
    """What must be known to use the weights.

    Attributes:
        backbone: as built: the stem's reduction is a number, never "auto".
        channels: of the stored images; the intensity may make several of one.
        size: pixels a side of the image that the backbone sees, voxels of a volume.
        spacing: millimetres from voxel to voxel of what the backbone sees; None for images.
        dtype: of the stored images, as numpy names it.
        domain: name of the domain.
        intensity: the domain's intensity with its numbers.
        mean, std: a number for each channel after the intensity, on the 0..1 scale.
        data: the dataset card's name if there was one, the number of samples, the fingerprint.
        step: optimiser steps of the run that the weights have seen.
        init: the weights that the run began with, by name and SHA-256, and what matched; None of
            random ones.
        config: the settings of the run.
        versions: of the packages that made it.
        sha256: of the weights and of this card; written and checked by the functions below.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    backbone: BackboneConfig
    channels: int = Field(ge=1, le=4096)
    size: int = Field(ge=8, le=8192)
    spacing: float | None = Field(default=None, gt=0)
    dtype: str
    domain: str
    intensity: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    data: dict[str, Any]
    step: int
    config: dict[str, Any]
    versions: dict[str, str]
    init: dict[str, Any] | None = None
    sha256: str = ""

    @property
    def dimensions(self) -> int:
        """2 for images, 3 for volumes."""
        return 2 if self.spacing is None else 3

    @model_validator(mode="after")
    def _fits_together(self) -> EncoderCard:
        if len(self.mean) != len(self.std) or len(self.mean) % self.channels:
            raise ValueError(f"mean and std need as many numbers as {self.channels} channels give")
        load_intensity(self.intensity)
        if np.dtype(self.dtype).kind not in "uif":  # a TypeError if it is none at all
            raise ValueError(f"dtype = {self.dtype!r} is none of images")
        return self


def package_versions(dimensions: int = 2) -> dict[str, str]:
    """Versions of what shapes the weights."""
    networks = ("timm", "albumentations" if dimensions == 2 else "monai")
    return {name: version(name) for name in ("domainjepa", "torch", *networks)}


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def seal(card: EncoderCard, weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the weights and everything that the card says."""
    said = card.model_dump(mode="json", exclude={"sha256"})
    for added in ("spacing", "init"):  # encoders keep the sum that they had without them
        if said[added] is None:
            del said[added]
    words = json.dumps(said, sort_keys=True)
    return hashlib.sha256(f"{weights_digest(weights)} {words}".encode()).hexdigest()


def save_encoder(path: Path, backbone: Backbone, card: EncoderCard) -> None:
    """Write the artefact, whole or not at all."""
    save_state(path, backbone.state_dict(), card)


def save_state(path: Path, state: Mapping[str, Tensor], card: EncoderCard) -> None:
    """Write the artefact of a backbone whose state dict this is."""
    # Copies: safetensors refuses tensors that share their memory, as tied weights do.
    weights = {name: value.to("cpu", copy=True).contiguous() for name, value in state.items()}
    # One key alone: safetensors writes several in a random order, and equal runs give equal bytes.
    signed = card.model_copy(update={"sha256": seal(card, weights)})
    data = safetensors.torch.save(weights, {"domainjepa": signed.model_dump_json()})
    write_atomically(path, lambda file: file.write(data))


def load_encoder(path: Path) -> tuple[EncoderCard, dict[str, Tensor]]:
    """The card and the weights of a run folder, of RUN@STEP, or of a file.

    Raises:
        UserError: no such file, no encoder of this project, or bytes that are not those saved.
    """
    return parse_encoder(read_encoder(path), path.name)


def read_encoder(path: Path) -> bytes:
    """The bytes of the artefact in a run folder, at RUN@STEP, or in a file.

    Raises:
        UserError: there is none, or its header does not tell its size.
    """
    path = file_of(path)
    try:
        with open(path, "rb", opener=regular) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(8)
            if len(head) == 8:
                head += file.read(min(_length(head), MAX_HEADER))
            _refuse_other_size(head, size, path.name)
            return head + file.read(size - len(head))
    except OSError as error:
        raise UserError(
            f"no encoder at {Path(path.parent.name, path.name)}: {error.strerror}. Give a run "
            f"folder or an {FILE_NAME}."
        ) from error


def _refuse_other_size(head: bytes, size: int, name: str) -> None:
    """Nothing is read that the network of the card has no place for.

    Args:
        head: of a file: the length of the header, and the header.
        size: of the file, in bytes.
        name: what to call it in a message.
    """
    with _readable(name):
        header = _header(head)
        card = _card(header)
        shapes = {one: tensor["shape"] for one, tensor in header.items() if one != "__metadata__"}
        ends = [int(tensor["data_offsets"][1]) for one, tensor in header.items() if one in shapes]
        if size != 8 + _length(head) + max(ends, default=0):
            raise ValueError(f"it is {size:,} bytes long, which is not what its header says")
        if size > LARGE:
            refuse_misfit(card, shapes)


def parse_encoder(data: bytes, name: str) -> tuple[EncoderCard, dict[str, Tensor]]:
    """The card and the weights in the bytes of an artefact.

    Args:
        data: a whole file.
        name: what to call it in a message.

    Raises:
        UserError: no encoder of this project, or bytes that are not those saved.
    """
    with _readable(name):
        card = _card(_header(data))
        weights = safetensors.torch.load(data)
    if seal(card, weights) != card.sha256:
        raise UserError(
            f"{name} is damaged: its SHA-256 is not {card.sha256[:12]}…, with which it was "
            "saved. Copy it anew from where it was made."
        )
    return card, weights


def refuse_misfit(card: EncoderCard, shapes: Mapping[str, Sequence[int]]) -> None:
    """Compares the shapes of weights with those of the card's network, of which none is made.

    Raises:
        UserError: they do not fit.
    """
    try:
        with torch.device("meta"):
            skeleton = Backbone(card.backbone, len(card.mean), card.size)
    except UserError:
        raise
    except Exception:  # a network that cannot do without memory; it is compared once it is built
        return
    wanted = {name: tuple(one.shape) for name, one in skeleton.state_dict().items()}
    given = {name: tuple(shape) for name, shape in shapes.items()}
    if wanted != given or skeleton.dimensions != card.dimensions:
        library = "monai" if card.backbone.name.startswith(MONAI_NETWORKS) else "timm"
        raise UserError(
            f"the weights do not fit {card.backbone.name}: made with {library} "
            f"{card.versions.get(library)}. Install that version."
        )


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Inside, whatever a file of somebody's makes its readers raise is one message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = "its card is not valid" if isinstance(error, ValidationError) else str(error)
        raise UserError(
            f"{name} is no encoder of domainjepa, or a damaged one ({reason})."
        ) from error


def _length(head: bytes) -> int:
    (length,) = struct.unpack("<Q", head[:8])
    return int(length)


def _header(data: bytes) -> dict[str, Any]:
    """The header of a safetensors file: name -> dtype, shape and place."""
    length = _length(data)
    if length > MAX_HEADER:
        raise ValueError("the header is too long")
    return cast(dict[str, Any], parse_json(data[8 : 8 + length]))


def _card(header: Mapping[str, Any]) -> EncoderCard:
    return EncoderCard.model_validate_json(header["__metadata__"]["domainjepa"])
