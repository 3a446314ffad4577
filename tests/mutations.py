"""Files of ours, changed as accidents and attackers change them: the inputs of a fuzz.

Each mutation is keyed by its number, so that one that fails can be made again.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from domainjepa import settings
from domainjepa.data.metadata import cards
from domainjepa.encoder.artefact import EncoderCard, parse_encoder, read_encoder, seal
from domainjepa.errors import UserError
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.pretraining.checkpoint import load_checkpoint
from domainjepa.pretraining.progress import read_metrics

KINDS = ("recipe", "protocol", "card", "encoder", "metrics", "manifest")
ODD: list[Any] = [
    None, True, 0, -1, 2**63, 10**40, 1.5, float("nan"), float("inf"), "", "x", "../../etc", "a\nb",
    "\u202e", "9" * 5_000, [], {}, [[]], {"a": {}}, ["x"] * 50, {"__class__": 1}, "os:system",
]  # fmt: skip


def mutated(kind: str, good: bytes, number: int) -> bytes:
    """One mutation: of the bytes for odd numbers, of a value of what they say for even ones."""
    draw = np.random.default_rng([KINDS.index(kind), number])
    return _bytes(good, draw) if number % 2 else _value(kind, good, draw)


def _bytes(good: bytes, draw: np.random.Generator) -> bytes:
    """Bits flipped, a piece cut out, doubled, or replaced by one character many times."""
    changed = bytearray(good)
    begin = int(draw.integers(len(changed)))
    end = begin + int(draw.integers(1, 40))
    how = draw.integers(5)
    if how == 0:
        for place in draw.integers(len(changed), size=draw.integers(1, 5)):
            changed[place] ^= 1 << int(draw.integers(8))
    elif how == 1:
        del changed[begin:end]
    elif how == 2:
        changed[begin:begin] = changed[begin:end]
    elif how == 3:
        changed[begin:end] = bytes([draw.choice(list(b'[{"9=.\0\xff'))]) * int(draw.integers(3_000))
    else:
        del changed[begin:]
    return bytes(changed)


def _value(kind: str, good: bytes, draw: np.random.Generator) -> bytes:
    """Another value somewhere in what a file says; the file is still one of its format."""
    if kind == "encoder":
        (length,) = struct.unpack("<Q", good[:8])
        header = json.loads(good[8 : 8 + length])
        card = json.loads(header["__metadata__"]["domainjepa"])
        if draw.integers(3):
            header["__metadata__"]["domainjepa"] = json.dumps(_sealed(_other(card, draw), good))
        else:
            header = _other(header, draw)
        text = json.dumps(header, default=str).encode()
        return struct.pack("<Q", len(text)) + text + good[8 + length :]
    if kind == "metrics":
        lines = [json.loads(line) for line in good.decode().splitlines()]
        return "\n".join(json.dumps(one) for one in _other(lines, draw)).encode()
    if kind == "manifest":
        return json.dumps(_other(json.loads(good), draw)).encode()
    try:
        return tomli_w.dumps(_other(settings.parse_toml(good), draw)).encode()
    except (TypeError, ValueError):
        return _bytes(good, draw)  # TOML has no word for it


def _sealed(card: dict[str, Any], good: bytes) -> dict[str, Any]:
    """With the right sum, where it is a card at all: an attacker can compute it, too."""
    try:
        told = EncoderCard.model_validate_json(json.dumps(card))
        return card | {"sha256": seal(told, parse_encoder(good, "good")[1])}
    except Exception:
        return card


def _other(told: Any, draw: np.random.Generator) -> Any:
    changed = copy.deepcopy(told)
    here: Any = changed
    while True:
        places = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not places:
            return changed
        place = places[int(draw.integers(len(places)))]
        inside = here[place]
        if isinstance(inside, dict | list) and inside and draw.integers(4):
            here = inside
            continue
        if draw.integers(6) == 0:
            del here[place]
        elif draw.integers(8) == 0 and isinstance(here, dict):
            here[f"{place}x"] = inside
        else:
            here[place] = ODD[int(draw.integers(len(ODD)))]
        return changed


def readers(run: Path) -> dict[str, Callable[[Path], object]]:
    """What the commands do with a file of each kind, up to where the work would begin."""
    from domainjepa import selection
    from domainjepa.encoder.frozen import FrozenEncoder

    def encoder(path: Path) -> object:
        parse_encoder(read_encoder(path), path.name)
        frozen = FrozenEncoder(path, device="cpu")
        image = np.zeros((1, 32, 32, frozen.card.channels), frozen.card.dtype)
        return frozen.transform(image)

    def metrics(path: Path) -> object:
        folder = path.parent / "other"
        folder.mkdir(exist_ok=True)
        for name in ("encoder.safetensors", "config.toml"):
            (folder / name).write_bytes((run / name).read_bytes())
        (folder / "metrics.jsonl").write_bytes(path.read_bytes())
        read_metrics(folder / "metrics.jsonl")
        return selection.render(selection.select([folder, run], alpha=0.4))

    def manifest(path: Path) -> object:
        folder = path.parent / "checkpoints"
        folder.mkdir(exist_ok=True)
        for saved in (run / "checkpoints").glob("*.pt"):
            if not (folder / saved.name).exists():
                (folder / saved.name).write_bytes(saved.read_bytes())
        (folder / "latest.json").write_bytes(path.read_bytes())
        return load_checkpoint(folder)

    return {
        "recipe": lambda path: settings.to_toml(settings.resolve(settings.read_recipe(path))),
        "protocol": lambda path: read_protocol(str(path)),
        "card": cards.load,
        "encoder": encoder,
        "metrics": metrics,
        "manifest": manifest,
    }


def originals(run: Path) -> dict[str, bytes]:
    """A good file of each kind."""
    from domainjepa import catalog

    return {
        "recipe": (run / "config.toml").read_bytes(),
        "protocol": catalog.find("eval", "few-shot-finetune").read_bytes(),
        "card": catalog.find("datasets", "galaxy10-sdss").read_bytes(),
        "encoder": (run / "encoder.safetensors").read_bytes(),
        "metrics": (run / "metrics.jsonl").read_bytes(),
        "manifest": (run / "checkpoints" / "latest.json").read_bytes(),
    }


def outcomes(run: Path, folder: Path, numbers: range) -> Iterator[tuple[str, int, str]]:
    """(kind, number, what came of it): "read", "refused", or the error that nobody expected."""
    read = readers(run)
    for kind, good in originals(run).items():
        for number in numbers:
            path = folder / ("odd.toml" if kind in ("recipe", "protocol", "card") else "odd")
            path.write_bytes(mutated(kind, good, number))
            try:
                read[kind](path)
            except UserError as error:
                told = "refused" if len(str(error).splitlines()) == 1 else f"lines: {error}"
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
            else:
                told = "read"
            yield kind, number, told
