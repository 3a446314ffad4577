"""The folder that is shared: encoder, model card, settings, graph, example, sums."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tomli_w

from domainjepa.data.metadata import cards
from domainjepa.encoder.artefact import EncoderCard, read_encoder
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.places import FILE_NAME, run_of
from domainjepa.errors import UserError
from domainjepa.export import export
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.report import draw_curves
from domainjepa.sharing.cost import Power, cost_of
from domainjepa.sharing.evaluated import tables_of
from domainjepa.sharing.model_card import model_card

SUMS = "SHA256SUMS"


def share(
    encoder: str | Path,
    out: Path,
    *,
    evaluation: Path | None = None,
    licence: str | None = None,
    repository: str | None = None,
    power: Power | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> list[str]:
    """Write a folder that a colleague, or a hub, takes as it is.

    `README.md` is a model card with the front matter of the Hugging Face hub;
    `encoder.safetensors` the encoder, byte for byte; `config.json` what its card says and
    `config.toml` the settings, which `pretrain --recipe` takes; `encoder.onnx` the graph for raw
    images with its pages; `curves.png`; `usage.py` and `requirements.txt`; `SHA256SUMS` for
    `sha256sum -c`. It holds no path, no file name of data, no label and no image.

    Args:
        encoder: a run folder, RUN@STEP, or an `encoder.safetensors`.
        out: the folder, which must not exist.
        evaluation: what `evaluate --out` wrote, or its `results.json`; the tables go into the card.
        licence: of the weights, as the hub names it, such as cc-by-4.0.
        repository: OWNER/NAME where it will lie on a hub.
        power: what a device draws and what its electricity emits.
        tell: takes a line for a person on what is left out.

    Returns:
        The names of the files.

    Raises:
        UserError: the folder is there, there is no encoder, or the evaluation cannot be read.
    """
    if out.exists():
        raise UserError(f"{out.name} exists already: choose another --out, or remove it.")
    frozen = FrozenEncoder(encoder)
    card, run = frozen.card, run_of(Path(encoder))
    tables = tables_of(evaluation) if evaluation is not None else []
    metrics = read_metrics(run / "metrics.jsonl")
    metrics = [line for line in metrics if line["step"] <= card.step]
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as part:
        folder = Path(part) / out.name
        folder.mkdir()
        (folder / FILE_NAME).write_bytes(read_encoder(Path(encoder)))
        (folder / "config.json").write_text(card.model_dump_json(indent=2) + "\n")
        (folder / "config.toml").write_text(tomli_w.dumps(_without_none(card.config)))
        if metrics:
            (folder / "curves.png").write_bytes(draw_curves(metrics))
        graph = _graph(frozen, folder / "encoder.onnx", tell)
        (folder / "usage.py").write_text(usage(card, repository))
        (folder / "requirements.txt").write_text(_requirements(card))
        text = model_card(
            card,
            data=_data_card(card),
            tables=tables,
            cost=cost_of(run, metrics, card, power or Power()),
            licence=licence,
            repository=repository,
            graph=graph,
            curves=bool(metrics),
            width=len(frozen.get_feature_names_out()),
        )
        (folder / "README.md").write_text(text, encoding="utf-8")
        names = sorted(path.name for path in folder.iterdir())
        (folder / SUMS).write_text(_sums(folder, names))
        folder.rename(out)  # an interrupted one leaves no half of a folder
    return [*names, SUMS]


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Put a shared folder on the hub of `HF_ENDPOINT`, with the token of `hf auth login`.

    Args:
        folder: that `share` wrote.
        repository: OWNER/NAME; made where there is none.
        private: whether a new one is seen by its owner alone.

    Returns:
        Where it is.

    Raises:
        UserError: the hub refuses it or cannot be reached.
        MissingExtra: huggingface_hub is not installed.
    """
    from domainjepa.errors import MissingExtra

    try:
        from huggingface_hub import HfApi, errors
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hub", "share --push") from error
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="An encoder of domainjepa"
        )
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise UserError(
            f"{repository} was not pushed ({type(error).__name__}): is there a network, and a "
            f"token that may write (hf auth login)? The folder {folder.name} is whole."
        ) from error
    return f"hf://{repository}@{done.oid}"


def _graph(frozen: FrozenEncoder, out: Path, tell: Callable[[str], object]) -> bool:
    """Whether the network could be written as a graph; an exotic one is shared without."""
    try:
        export(frozen, "onnx", out)
    except UserError as error:
        tell(f"without {out.name}: {error}")
        return False
    except (
        Exception
    ) as error:  # the exporter raises what it likes of a network that it cannot trace
        tell(f"without {out.name}: the network cannot be traced ({type(error).__name__})")
        return False
    return True


def _data_card(card: EncoderCard) -> cards.Card | None:
    """The dataset card of the pretraining data, where it is one of those that come along."""
    from domainjepa import catalog

    name = card.data.get("card")
    if name not in catalog.names("datasets"):
        return None
    return cards.load(catalog.find("datasets", name))


def usage(card: EncoderCard, repository: str | None) -> str:
    """A script that runs where the folder lies, without a GPU and without data."""
    sides = (card.size,) * card.dimensions
    shape = (2, *sides, card.channels)
    where = f'"hf://{repository}"' if repository else "the address on a hub, hf://OWNER/NAME,"
    spacing = f", spacing=({card.spacing:g},) * 3" if card.dimensions == 3 else ""
    return f'''"""Features of images by the encoder beside this file."""

from pathlib import Path

import numpy as np

from domainjepa import FrozenEncoder

encoder = FrozenEncoder(Path(__file__).parent{spacing})  # or {where}
images = np.zeros({shape}, np.dtype("{card.dtype}"))  # yours: as they are stored, of any size
features = encoder.transform(images)
print(features.shape)
'''


def _requirements(card: EncoderCard) -> str:
    extra = "[volumes]" if card.dimensions == 3 else ""
    return f"domainjepa{extra}>={card.versions['domainjepa']}\n"


def _without_none(settings: dict[str, Any]) -> dict[str, Any]:
    """TOML has no word for nothing."""
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if value is not None
    }


def _sums(folder: Path, names: Sequence[str]) -> str:
    lines = (f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    return "".join(lines)
