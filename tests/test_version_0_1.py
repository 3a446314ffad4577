"""What version 0.1 wrote is read: encoders load, runs go on.

`version_0_1/` describes an encoder and a checkpoint that version 0.1 wrote: every name, shape and
dtype, the settings, the sums. The weights are filled in by a formula, so the files stay small.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from rich.console import Console

from domainjepa import FrozenEncoder, settings
from domainjepa.pretraining.run import pretrain
from tests.conftest import write_blobs

WRITTEN = Path(__file__).parent / "version_0_1"


def filled(name: str, shape: list[int], dtype: str) -> torch.Tensor:
    count = int(np.prod(shape))
    values = (np.arange(count) * 37 % 101 - 50) / 500
    if name.endswith(("running_var", "exp_avg_sq")):
        values = np.abs(values) + 1
    if dtype == "torch.int64":
        values = np.ones(count)
    kind: torch.dtype = getattr(torch, dtype.removeprefix("torch."))
    return torch.from_numpy(values.reshape(shape)).to(kind)


def tensors(described: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: filled(name, *kind) for name, kind in described.items()}


def test_an_encoder_loads_and_sees_what_it_saw(tmp_path: Path) -> None:
    written = json.loads((WRITTEN / "encoder.json").read_text())
    file = tmp_path / "encoder.safetensors"
    metadata = {"domainjepa": json.dumps(written["card"])}
    file.write_bytes(safetensors.torch.save(tensors(written["weights"]), metadata))
    image = (np.arange(32 * 32 * 3) % 251).astype(np.uint8).reshape(1, 32, 32, 3)
    features = FrozenEncoder(file).transform(image)  # it checks the SHA-256 of card and weights
    assert features[0, :8] == pytest.approx(written["features"], abs=2e-4)


def test_a_run_goes_on(tmp_path: Path) -> None:
    written = json.loads((WRITTEN / "checkpoint.json").read_text())
    moments = {int(row): tensors(kinds) for row, kinds in written.pop("moments").items()}
    groups = written.pop("param_groups")
    for group in groups:
        group["betas"] = tuple(group["betas"])
    written["network"] = tensors(written["network"])
    written["optimizer"] = {"state": moments, "param_groups": groups}
    packed = io.BytesIO()
    torch.save(written, packed)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.toml").write_bytes((WRITTEN / "config.toml").read_bytes())
    (run / "checkpoints" / "step-00000002.pt").write_bytes(packed.getvalue())
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    manifest = {"file": "step-00000002.pt", "step": 2, "sha256": digest}
    (run / "checkpoints" / "latest.json").write_text(json.dumps(manifest))
    data = write_blobs(tmp_path / "blobs.h5")

    recipe = settings.read_recipe(run / "config.toml")
    config = settings.resolve(recipe, (), {"data.path": str(data)})
    encoder = pretrain(config, run, resume=True, console=Console(quiet=True))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 4]
    assert np.isfinite(FrozenEncoder(encoder).transform(np.zeros((1, 32, 32, 3), np.uint8))).all()
