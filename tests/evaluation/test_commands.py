"""The commands that use an encoder, with what `tests/test_cli.py` does not reach."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import typer
from pyarrow import parquet

from domainjepa import cli


@pytest.fixture
def call(monkeypatch, capsys):
    """main() in this process: (status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["domainjepa", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except (SystemExit, typer.Exit) as end:
            code = getattr(end, "code", None) or getattr(end, "exit_code", 0)
            status = code if isinstance(code, int) else 0
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "published.safetensors"
    safetensors.torch.save_file(timm.create_model("test_vit").state_dict(), path)
    return path


def test_encoders_of_timm_are_evaluated_and_absent_ones_left_out(
    call, run, blobs, published, tmp_path
):
    out = tmp_path / "report"
    status, shown, errors = call(
        "evaluate", run, f"timm:test_vit={published}", "timm:test_resnet=absent.safetensors",
        "--data", blobs, "--baseline", "histograms", "--baseline", f"timm:test_vit@96={published}",
        "--protocol", "knn", "--protocol", "linear", "--metric", "accuracy", "--metric", "roc_auc",
        "--cache", tmp_path / "cache", "--out", out, "--json",
    )  # fmt: skip
    assert status == 0, errors
    found = json.loads(shown)
    assert found == json.loads((out / "results.json").read_text())
    names = {row["encoder"] for row in found["summary"]}
    assert names == {"tiny", "timm:test_vit", "timm:test_vit@96", "histograms"}
    assert {row["protocol"] for row in found["summary"]} == {"knn", "linear"}
    assert {row["metric"] for row in found["summary"]} == {"accuracy", "roc_auc"}
    assert any("is left out" in text for text in found["warnings"])
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 4
    assert str(tmp_path) not in shown


def test_an_evaluation_without_what_was_asked_for_is_an_error(call, blobs, tmp_path):
    status, _, errors = call(
        "evaluate", "timm:test_resnet=absent.safetensors", "--data", blobs,
        "--protocol", "knn", "--out", tmp_path / "report",
    )  # fmt: skip
    assert status == 2
    assert "no weights at absent.safetensors" in errors
    assert not (tmp_path / "report" / "report.html").exists()


def test_a_column_is_the_target(call, run, blobs, tmp_path):
    data = tmp_path / "columns.h5"
    data.write_bytes(blobs.read_bytes())
    with h5py.File(data, "a") as file:
        file["redshift"] = np.linspace(0, 0.3, 64)
    out = tmp_path / "report"
    arguments = ("evaluate", run, "--data", data, "--protocol", "knn", "--out", out)
    status, shown, errors = call(*arguments, "--target", "redshift")
    assert status == 0, errors
    assert "R2" in shown
    assert "fifth" not in shown  # that no fifth has 100 labels is no surprise that one asked for
    found = json.loads((out / "results.json").read_text())
    assert {row["metric"] for row in found["records"]} == {
        "r2",
        "mae",
        "rmse",
        "scatter",
        "outliers",
        "bias",
    }
    status, _, errors = call(*arguments, "--target", "redshif")
    assert status == 2
    assert "redshif" in errors
    status, _, errors = call(*arguments, "--metric", "r2")
    assert status == 2
    assert "no metric for a target of classes" in errors


def test_features_become_a_table(call, run, blobs, published, tmp_path):
    for encoder, width in ((run, None), (f"timm:test_vit={published}", 128)):
        paths = [tmp_path / f"f.{kind}" for kind in ("parquet", "npz")]
        for path in paths:
            status, _, errors = call("embed", encoder, "--data", blobs, "--out", path)
            assert status == 0, errors
        table = parquet.read_table(paths[0])
        with np.load(paths[1]) as packed:
            assert table.num_rows == 64
            assert set(table.column_names) == set(packed.files)
            features = np.stack(table["features"].to_numpy())
            assert features.dtype == np.float32
            assert np.array_equal(features, packed["features"])
            assert width in (None, features.shape[1])
            assert table["labels"].to_pylist() == packed["labels"].tolist()
            assert table["split"].to_pylist() == packed["split"].tolist()
