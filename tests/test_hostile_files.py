"""Files that hang, bomb or confuse: one line and status 2, in seconds, with little memory."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import typer
from PIL import Image

from domainjepa import cli
from domainjepa.backbones.weights import locate
from domainjepa.encoder.artefact import EncoderCard, load_encoder, seal
from domainjepa.errors import UserError
from domainjepa.pretraining.checkpoint import load_checkpoint, save_checkpoint
from domainjepa.pretraining.plan import Plan, make_plan
from domainjepa.pretraining.same_data import same_as_before
from domainjepa.pretraining.state import RunState
from domainjepa.writing import write_atomically
from tests.conftest import tiny

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """main() in this process: (status, stdout, stderr); slow or long-winded answers fail."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["domainjepa", *map(str, words)])
        status, begun = 0, time.process_time()
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        except typer.Exit as end:
            status = end.exit_code
        out, err = capfd.readouterr()
        assert time.process_time() - begun < 10
        assert "Traceback" not in err
        return status, out, err

    return run


def refused(answer: tuple[int, str, str], *hints: str) -> None:
    status, _, err = answer
    assert status == 2, err
    assert len(err.strip().splitlines()) == 1, err
    assert len(err) < 2_000, len(err)
    for hint in hints:
        assert hint in err


@pytest.fixture(params=["fifo", "socket", "device"])
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """What is neither a file nor a folder."""
    path = tmp_path / "odd.toml"
    if request.param == "fifo":
        os.mkfifo(path)
        yield path
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            os.chdir(tmp_path)  # the name of a socket may have 108 bytes at most
            end.bind(path.name)
            yield path
    else:
        yield Path("/dev/zero")


COMMANDS: list[tuple[str, ...]] = [
    ("inspect", "--data", "ODD"),
    ("inspect", "--data", "ODD", "--loader", "table"),
    ("views", "--data", "ODD", "--out", "TMP/v.png"),
    ("prepare", "--data", "ODD", "--out", "TMP/p.h5"),
    ("pretrain", "--data", "ODD", "--out", "TMP/run"),
    ("pretrain", "--data", "BLOBS", "--recipe", "ODD", "--out", "TMP/run"),
    ("embed", "RUN", "--data", "ODD", "--out", "TMP/f.npz"),
    ("embed", "ODD", "--data", "BLOBS", "--out", "TMP/f.npz"),
    ("evaluate", "ODD", "--data", "BLOBS", "--out", "TMP/report"),
    ("evaluate", "RUN", "--data", "BLOBS", "--protocol", "ODD", "--out", "TMP/report"),
    ("export", "ODD", "--to", "onnx", "--out", "TMP/e.onnx"),
    ("select", "ODD"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_is_no_file_is_refused_and_never_waited_for(
    command: tuple[str, ...], special: Path, call: Call, run: Path, blobs: Path, tmp_path: Path
) -> None:
    places = {"ODD": special, "RUN": run, "BLOBS": blobs, "TMP": tmp_path}
    words = []
    for word in command:
        for name, place in places.items():
            word = word.replace(name, str(place))
        words.append(word)
    status, _, err = call(*words)
    assert status == 2, err
    assert len(err.strip().splitlines()) == 1, err


def test_a_folder_with_a_fifo_is_read_without_it(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    os.mkfifo(folder / "9.png")
    status, out, err = call("inspect", "--data", folder, "--json")
    assert status == 0, err
    assert json.loads(out)["samples"] == 4


def test_a_fifo_in_the_place_of_a_chunk(call: Call, tmp_path: Path) -> None:
    import zarr

    images = np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3), np.uint8)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("images", data=images, chunks=(1, 16, 16, 3), compressors=None)
    (chunk,) = (tmp_path / "a.zarr").rglob("3.0.0.0")
    chunk.unlink()
    os.mkfifo(chunk)
    status, _, err = call("embed", "timm:none", "--data", tmp_path / "a.zarr", "--out", "f.npz")
    assert status == 2, err


def test_weights_that_are_no_file(special: Path) -> None:
    with pytest.raises(UserError, match=r"it is a (fifo|device), no file|No such device"):
        locate("test_resnet", special)


def test_a_device_is_never_replaced() -> None:
    with pytest.raises(UserError, match="null is a device"):
        write_atomically(Path("/dev/null"), lambda file: file.write(b"no"))
    assert Path("/dev/null").is_char_device()


def encoder_file(path: Path, run: Path, **changes: Any) -> Path:
    """The encoder of a run with another card or other weights, rightly sealed."""
    card, weights = load_encoder(run)
    weights |= changes.pop("weights", {})
    told = EncoderCard.model_validate(card.model_dump() | changes | {"sha256": ""})
    signed = told.model_copy(update={"sha256": seal(told, weights)})
    path.write_bytes(safetensors.torch.save(weights, {"domainjepa": signed.model_dump_json()}))
    return path


def used_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


HUGE = 500 * 10**9


@pytest.mark.parametrize("what", ["longer than it says", "claims", "both"])
def test_an_encoder_of_500_gigabytes(
    what: str, call: Call, run: Path, blobs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "huge.safetensors"
    shutil.copyfile(run / "encoder.safetensors", path)
    if what != "longer than it says":
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        header["more"] = {"dtype": "U8", "shape": [HUGE], "data_offsets": [0, HUGE]}
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text)
    if what != "claims":
        size = HUGE + (path.stat().st_size if what == "both" else 0)
        os.truncate(path, size)
    before = used_memory()
    answer = call("embed", path, "--data", blobs, "--out", tmp_path / "f.npz")
    refused(answer, "fit" if what == "both" else "its header says")
    assert used_memory() - before < 2**29
    assert not (tmp_path / "f.npz").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": {"name": "vit_large_patch14_dinov2", "stem_reduction": 1}, "size": 224},
        {"backbone": {"name": "resnet18", "stem_reduction": 1}},
        {"backbone": {"name": "test_vit", "stem_reduction": 4}, "size": 8192},
        {"weights": {"more": torch.zeros(3)}},
    ],
    ids=["giant", "other", "tokens", "one more"],
)
def test_a_card_that_does_not_fit_its_weights(
    changes: dict[str, Any], call: Call, run: Path, blobs: Path, tmp_path: Path
) -> None:
    path = encoder_file(tmp_path / "odd.safetensors", run, **changes)
    before = used_memory()
    refused(call("embed", path, "--data", blobs, "--out", tmp_path / "f.npz"), "do not fit")
    assert used_memory() - before < 2**29  # of 1.2 gigabytes nothing was made


DEEP = {
    "arrays": "x = " + "[" * 3_000 + "]" * 3_000,
    "tables": "x = " + "{a=" * 3_000 + "1" + "}" * 3_000,
    "digits": f"steps = {'9' * 5_000}",
    "latin": b"x = '\xff'",
    "table": "[" + ".".join("a" * 3_000) + "]",
    "long": f"steps = '{'9' * 100_000}'",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("kind", ["recipe", "protocol", "card", "set"])
def test_toml_that_is_nested_deep_or_has_long_numbers(
    kind: str, text: str | bytes, call: Call, run: Path, blobs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "odd.toml"
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(content)
    commands: dict[str, tuple[str | Path, ...]] = {
        "recipe": ("pretrain", "--data", blobs, "--recipe", path, "--out", tmp_path / "run"),
        "protocol": ("evaluate", run, "--data", blobs, "--protocol", path),
        "card": ("inspect", "--data", path),
        "set": ("inspect", "--data", blobs, "--set", "data.tile=" + content[4:].decode("latin-1")),
    }
    refused(call(*commands[kind]))


@pytest.mark.parametrize(
    "line",
    ['{"step": "one"}', "[1]", '{"step": 1, "loss": "low"}', "[" * 3_000, '{"step": true}', "7",
     '{"step": 1, "loss": ' + "9" * 5_000 + "}", '{"step": 1, "loss": {"a": 1}}'],
    ids=range(8),
)  # fmt: skip
def test_metrics_of_other_types(line: str, call: Call, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "metrics.jsonl").write_text(line + "\n")
    refused(call("select", copy, run), "metrics.jsonl")


def other_types(state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Checkpoints that are plain data and none of a run."""
    for name in state.keys() - {"averaged", "stamp"}:  # this run asks for neither
        for other in (None, "text", [], {"a": 1}, torch.zeros(2), -1):
            right = {"unreadable": [], "meter": {"a": 1}, "probed": {"a": 1}}.get(name)
            if type(other) is not type(right) or other != right:
                yield state | {name: other}
        if name != "probed":  # version 0.1 had none
            yield {one: state[one] for one in state if one != name}
    moments = state["optimizer"]["state"]
    torn = {key: {name: torch.zeros(7) for name in kept} for key, kept in moments.items()}
    yield state | {"optimizer": state["optimizer"] | {"state": torn}}


def test_checkpoints_with_fields_of_other_types(
    call: Call, run: Path, blobs: Path, tmp_path: Path
) -> None:
    def resumed(packed: dict[str, Any], plan: Plan) -> None:
        same_as_before(packed, plan)
        RunState.start(plan).load(packed)

    state = load_checkpoint(run / "checkpoints")
    plan = make_plan(tiny(blobs))
    tried = 0
    for packed in other_types(state):
        with pytest.raises(UserError):
            resumed(packed, plan)
        tried += 1
    assert tried > 30
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    save_checkpoint(copy / "checkpoints", state | {"meter": []}, 8, 2)
    recipe = copy / "config.toml"
    refused(
        call("pretrain", "--data", blobs, "--recipe", recipe, "--out", copy, "--resume"), "meter"
    )


@pytest.mark.parametrize(
    "text", ["[]", "7", '{"file": 3}', '{"file": "a", "size": "x"}', "{" * 3_000]
)
def test_manifests_of_other_types(text: str, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "checkpoints" / "latest.json").write_text(text)
    with pytest.raises(UserError, match=r"latest\.json cannot be used"):
        load_checkpoint(copy / "checkpoints")


def test_what_is_no_error_of_the_user_is_one_line_and_status_1(
    call: Call, blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise IndexError("/home/jane/DOE_JANE.h5")

    monkeypatch.setattr("domainjepa.data.opening.open_configured", broken)
    status, _, err = call("inspect", "--data", blobs)
    assert status == 1
    assert "IndexError in test_hostile_files.py, line " in err
    assert "a fault of ours" in err
    assert "--debug" in err
    assert "JANE" not in err
    with pytest.raises(IndexError):
        call("inspect", "--data", blobs, "--debug")
