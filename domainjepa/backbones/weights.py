"""Published weights: from the hub's cache, from the hub, or from a file; never unpickled."""

from __future__ import annotations

import hashlib
import pickle
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import Tensor, nn

from domainjepa.errors import UserError
from domainjepa.reading import regular

_unreachable: list[str] = []
"""What the hub could not be asked for: asking again for the next would take half a minute more."""


class Unavailable(UserError):
    """An encoder that cannot be had here; an evaluation goes on without it."""


def locate(model: str, path: Path | None) -> tuple[Path, str]:
    """The file of published weights, and where it came from: never a path.

    Args:
        model: its name in timm.
        path: a file of one's own; None takes the hub's.

    Returns:
        The file; the hub's name of it, or a local file's SHA-256.

    Raises:
        Unavailable: there is none.
    """
    if path is None:
        return _from_hub(model)
    try:
        digest = file_digest(path)
    except OSError as error:
        raise Unavailable(f"no weights at {path.name}: {error.strerror}") from error
    return path, f"local file, SHA-256 {digest}"


def published(model: str, path: Path | None) -> tuple[dict[str, Tensor], str]:
    """The weights of a published network, without its classifier, and the SHA-256 of their file.

    Args:
        model: its name in timm.
        path: a file of one's own; None takes the hub's.

    Raises:
        Unavailable: there are none, or they are none of this network.
    """
    found, _ = locate(model, path)
    net = timm.create_model(model, pretrained=False, num_classes=0)
    fill(net, model, found)
    return net.state_dict(), file_digest(found)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: absent, or no regular file; `strerror` says which.
    """
    with open(path, "rb", opener=regular) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(net: nn.Module, model: str, path: Path) -> None:
    """Put published weights into a timm network that was built without a classifier.

    Args:
        path: a `.safetensors`, or a `.pth` that holds tensors alone.

    Raises:
        Unavailable: they do not fit the network, or are no weights.
    """
    try:
        # Pickled objects other than tensors are refused.
        found = load_state_dict(str(path), device="cpu", weights_only=True)
        adapt = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
        found = adapt(found, net) if adapt else found
        _fill(net, {name: value for name, value in found.items() if isinstance(value, Tensor)})
    except (OSError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unavailable(f"{path.name} holds no weights for {model}: {reason}") from error
    except (KeyError, AttributeError, TypeError, EOFError) as error:
        raise Unavailable(f"{path.name} holds no weights for {model}") from error


def _fill(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Every tensor of the network, and none left over but the classifier's."""
    config: Any = net.pretrained_cfg
    heads = config.get("classifier") or "head"
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    kept = {n: v for n, v in weights.items() if not n.startswith(tuple(f"{h}." for h in heads))}
    absent, surplus = net.load_state_dict(kept, strict=False)
    absent = [name for name in absent if not name.endswith("num_batches_tracked")]
    for names, what in ((absent, "missing"), (surplus, "too many")):
        if names:
            raise ValueError(f"{len(names)} tensors {what}, first {names[0]}")


def _from_hub(model: str) -> tuple[Path, str]:
    """The file in the hub's cache, fetched where it is not there yet, and the hub's name of it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    config = timm.get_pretrained_cfg(model)
    name = config.hf_hub_id if config else None
    remedy = "Give them as a file: NAME=FILE.safetensors"
    if not name:
        raise Unavailable(f"the hub has no weights of {model} that are free of pickle. {remedy}")
    try:
        path = hf_hub_download(
            name, "model.safetensors", local_files_only=bool(_unreachable), etag_timeout=5
        )
    except LocalEntryNotFoundError as error:
        _unreachable.append(name)
        raise Unavailable(
            f"its weights ({name}) are not in the hub's cache, and the hub cannot be reached. "
            f"{remedy}"
        ) from error
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unavailable(f"{name} cannot be fetched: {reason}. {remedy}") from error
    return Path(path), f"hub, {name}"


def digest_of(net: nn.Module, *more: object) -> str:
    """SHA-256 over weights and whatever else features depend on."""
    digest = hashlib.sha256(repr(more).encode())
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
