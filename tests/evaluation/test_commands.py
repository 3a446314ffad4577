"""The commands that use an encoder, with what `tests/test_cli.py` does not reach."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import timm
import torch
import typer
from pyarrow import parquet

from domainjepa import cli
from domainjepa.errors import MissingExtra


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


def test_masks_are_told_by_patch_features(call, run, tmp_path):
    draw = np.random.default_rng(0)
    for number in range(6):
        image = draw.integers(0, 255, (32, 32, 3), np.uint8)
        for kind, one in (("images", image), ("masks", 1 * (image[..., 0] > 128))):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            picture = PIL.Image.fromarray(one.astype(np.uint8))
            picture.save(tmp_path / "data" / kind / f"{number}.png")
    out, few = tmp_path / "report", tmp_path / "few.toml"
    few.write_text(
        'name = "few"\nfeatures = "patches"\nprobe = "linear"\nshots = [1, 2, "all"]\ndraws = 2\n'
    )
    status, shown, errors = call(
        "evaluate", run, "--data", tmp_path / "data", "--protocol", few,
        "--metric", "dice,hd95", "--out", out, "--json",
    )  # fmt: skip
    assert status == 0, errors
    found = json.loads(shown)
    assert {row["encoder"] for row in found["summary"]} == {"tiny", "tiny untrained", "intensity"}
    assert {row["metric"] for row in found["records"]} == {"dice", "hausdorff_95_px"}
    assert {row.get("label") for row in found["records"]} == {None, "foreground"}
    assert {row["shots"] for row in found["records"]} == {1, 2, "all"}
    assert (out / "pictures" / "few-masks-0.png").exists()
    status, _, errors = call(
        "evaluate", run, "--data", tmp_path / "data" / "images", "--protocol", "segmentation",
        "--out", out,
    )  # fmt: skip
    assert status == 2
    assert "has no masks to score an encoder on" in errors
    assert "data.masks=PATTERN" in errors


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
            assert {*table.column_names, "domainjepa"} == set(packed.files)  # what wrote it
            features = np.stack(table["features"].to_numpy())
            assert features.dtype == np.float32
            assert np.array_equal(features, packed["features"])
            assert width in (None, features.shape[1])
            assert table["labels"].to_pylist() == packed["labels"].tolist()
            assert table["split"].to_pylist() == packed["split"].tolist()


@pytest.fixture
def hospitals(blobs, tmp_path):
    """The blobs with patients, scanners and ages; and as another hospital's."""
    paths = [tmp_path / name for name in ("ours.h5", "theirs.h5")]
    for path in paths:
        path.write_bytes(blobs.read_bytes())
        with h5py.File(path, "a") as file:
            split = np.repeat([b"train", b"train", b"train", b"test"], 16)
            del file["split"]
            file["split"] = split
            file["visit"] = [f"v{row // 4 * 2 + row % 2}" for row in range(64)]
            file["scanner"] = ([b"old"] * 4 + [b"new"] * 4) * 8
            file["mixed"] = np.arange(64) // 2 % 2
    with h5py.File(paths[1], "a") as file:
        file["images"][...] = 255 - file["images"][...]
    return paths


def test_units_elsewhere_and_apart_in_one_command(call, run, hospitals, tmp_path):
    ours, theirs = hospitals
    out = tmp_path / "report"
    status, shown, errors = call(
        "evaluate", run, "--data", ours, "--test-data", theirs, "--per", "visit", "--pool", "mean",
        "--pool", "scores-max", "--by", "scanner", "--protocol", "linear", "--baseline", "pixels",
        "--out", out,
    )  # fmt: skip
    assert status == 0, errors
    found = json.loads((out / "results.json").read_text())
    assert {row["protocol"] for row in found["records"]} == {"linear mean", "linear scores-max"}
    places = {(r["data"], r.get("fitted_on"), r.get("part")) for r in found["records"]}
    home, there = found["settings"]["data"]["name"], found["settings"]["test_data"][0]["name"]
    assert home != there
    scanners = (None, "scanner = new", "scanner = old")
    wanted = {(there, of, part) for of in (home, there) for part in scanners}
    wanted |= {(home, None, None), *((home, home, part) for part in scanners[1:])}
    assert places == wanted
    assert found["settings"]["data"]["units"]["number"] == 32
    assert {one["encoder"] for one in found["readable"]} == {None, "tiny", "pixels"}
    words = " ".join(shown.split())
    assert "there, fitted there" in words
    assert "scanner alone tells the target" in words
    page = (out / "report.html").read_text()
    assert "Where it holds" in page
    assert "there − fitted there" in page
    rows = (out / "results.csv").read_text().splitlines()
    assert "fitted_on" in rows[0]
    assert len(rows) == 1 + len(found["summary"])


def test_a_missing_extra_of_test_data_is_one_line(call, run, hospitals, tmp_path, monkeypatch):
    really = cli.evaluate.opened

    def opened(data, *rest):
        if data == "theirs.zarr":
            raise MissingExtra("zarr", "zarr", "reading Zarr")
        return really(data, *rest)

    monkeypatch.setattr(cli.evaluate, "opened", opened)
    given = ("--data", hospitals[0], "--set", "data.workers=0", "--test-data", "theirs.zarr")
    status, _, errors = call("evaluate", run, *given, "--out", tmp_path / "r")
    assert status == 2
    assert "pip install 'domainjepa[zarr]'" in " ".join(errors.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--per", "mixed"), "labels differ within 2 of 2 units"),
        (("--pool", "max"), "--pool says how --per is taken"),
        (("--match", "0=1"), "--test-data"),
        (("--test-all",), "--test-data"),
        (("--test-set", "data.labels=ans"), "there are none"),
        (("--set", "data.workers=0", "--test-data", "nowhere.h5"), "--test-set KEY=VALUE"),
        (("--per", "visit", "--within", "most"), "Known: same, majority"),
        (("--test-data", "THEIRS", "--match", "0"), "write THERE=HERE"),
        (("--test-data", "THEIRS", "--match", "7=1"), "no class '7'"),
        (("--by", "nothing"), "nothing"),
        (("--per", "visit", "--pool", "attention", "--protocol", "knn"), "linear head"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, run, hospitals, tmp_path, words, told):
    ours, theirs = hospitals
    given = [theirs if word == "THEIRS" else word for word in words]
    status, _, errors = call("evaluate", run, "--data", ours, "--out", tmp_path / "r", *given)
    assert status == 2
    assert told in errors
