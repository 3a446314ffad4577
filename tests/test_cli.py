from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from domainjepa import cli
from domainjepa.cli.learn import _run_folder
from domainjepa.evaluation.protocol import Protocol
from tests import programs
from tests.conftest import tiny

ROOT = Path(__file__).parent.parent


def domainjepa(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return programs.run("-m", "domainjepa", *arguments)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['domainjepa', '--help']\n"
        "from domainjepa.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'monai', 'astropy', 'cv2', 'sklearn', 'numpy', 'h5py'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pretrain" in done.stdout
    assert "LOADED []" in done.stdout


def test_the_version_is_the_package_s() -> None:
    done = CliRunner().invoke(cli.app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"{version('domainjepa')}\n")


COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_ends_with_examples(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert command.examples, f"@app.command(examples=[...]) of {name}: give one at least"
    said = CliRunner().invoke(cli.app, [name, "--help"]).output.splitlines()
    assert said[said.index(" Examples:") + 1 :] == [f"  {one}" for one in command.examples]
    for example in command.examples:
        program, called, *arguments = shlex.split(example)
        assert (program, called) == ("domainjepa", name)
        command.make_context(name, arguments)


def test_without_arguments_it_says_where_to_begin() -> None:
    done = CliRunner().invoke(cli.app, [])
    assert done.exit_code == 0
    named = re.findall(r"^  domainjepa (\w+)", done.output, flags=re.M)
    assert named[:2] == ["demo", "inspect"]
    assert set(named) <= set(COMMANDS)
    assert max(map(len, done.output.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["exp"], ["explore", "export"]),
        (["embed", "run", "--pat"], ["--patches"]),
        (["list", "da"], ["datasets"]),
    ],
)
def test_a_shell_completes_commands_options_and_lists(
    words: list[str], completed: list[str]
) -> None:
    done = CliRunner().invoke(
        cli.app,
        [],
        prog_name="domainjepa",
        env={
            "_DOMAINJEPA_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["domainjepa", *words]),
            "COMP_CWORD": str(len(words)),
        },
    )
    assert done.output.split() == completed


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """main() in this process: (status, stdout, stderr)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["domainjepa", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        except typer.Exit as end:
            status = end.exit_code
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_bad_input_is_one_message_and_status_2(call, blobs: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    text = tmp_path / "notes.h5"
    text.write_text("these are notes\n")
    all_test = tmp_path / "test.h5"
    all_test.write_bytes(blobs.read_bytes())
    with h5py.File(all_test, "r+") as file:
        file["split"][:] = b"test"
    for arguments, hint in [
        (["--data", tmp_path / "missing.h5"], "missing.h5"),
        (["--data", text], "notes.h5"),
        (["--data", blobs, "--backbone", "resnet334"], "Did you mean resnet34"),
        (["--data", blobs, "--set", "lamda=0.1"], "Did you mean objective.lam"),
        (["--data", blobs, "--recipe", "dmeo"], "Did you mean demo"),
        (["--data", blobs, "--domain", "astronmy"], "Did you mean astronomy"),
        (["--data", blobs, "--epochs", "1", "--steps", "1"], "one of them"),
        (["--data", blobs, "--set", "objective.statistic=median"], "epps-pulley"),
        (["--data", blobs, "--set", "objective.directions=north"], "gaussian"),
        (["--data", all_test], "--set data.include_test=true"),
        ([], "--data"),
        (["--resume", "--data", blobs], "nothing to resume"),
    ]:
        status, _, errors = call(
            "pretrain", "--batch-size", "16", "--out", tmp_path / "run", *arguments
        )
        assert status == 2, (arguments, errors)
        assert hint in errors, errors
        assert "Traceback" not in errors
        assert len(errors.strip().splitlines()) == 1, errors
        assert not (tmp_path / "run").exists()


def test_the_same_command_resumes(call, blobs: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "small.toml"
    recipe.write_text("[projector]\nhidden = 32\nout = 8\n[data]\nworkers = 0\n")
    command = [
        *("pretrain", "--data", blobs, "--backbone", "test_resnet", "--recipe", recipe),
        *("--batch-size", "16", "--epochs", "1", "--set", "views.num_local=0"),
    ]
    assert call(*command)[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("hdf5-")
    assert folder.name.endswith("-test_resnet")
    assert _run_folder(tiny(blobs)).name == folder.name  # of the seed 0
    assert _run_folder(tiny(blobs, seed=3)).name == f"{folder.name}-seed3"
    before = (folder / "encoder.safetensors").read_bytes()
    status, _, errors = call(*command)
    assert status == 2
    assert "--resume" in errors
    status, out, errors = call(*command, "--resume")
    assert status == 0, errors
    assert "after step 3 of 3" in out
    assert (folder / "encoder.safetensors").read_bytes() == before
    status, out, errors = call(*command, "--resume", "--set", "objective.lam=0.5")
    assert status == 2
    assert "objective.lam" in errors


def test_a_run_goes_on_by_its_folder_alone(call, run: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    splits = [
        f"{split}_{what}" for split in ("train", "val", "test") for what in ("images", "labels")
    ]
    shapes = [(n, 28, 28) if n > 1 else (40, 1) for n in (40, 1, 40, 1, 40, 1)]
    arrays = [draw.integers(0, 2, shape, np.uint8) for shape in shapes]
    np.savez("breastmnist.npz", **dict(zip(splits, arrays, strict=True)))
    begun = shutil.copytree(run, tmp_path / "begun")
    small = ["--set", "projector.hidden=32", "--set", "data.workers=0", "--batch-size", "16"]
    command = ["pretrain", "--data", "breastmnist", "--init", begun, *small, "--steps", "2"]
    status, _, errors = call(*command, "--max-hours", "1e-9")
    assert status == 75, errors
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == "breastmnist-test_resnet"
    shutil.rmtree(begun)
    status, _, errors = call(*command, "--resume")
    assert (status, errors.count("\n")) == (2, 1)
    assert "no encoder at" in errors
    assert "by --out which run to go on with" in errors
    # Data of a card have a name that the folder keeps; what the run began with lies in it.
    status, shown, errors = call("pretrain", "--resume", "--out", folder)
    assert status == 0, errors
    assert "going on after step 1 of 2" in shown
    status, _, errors = call("pretrain", "--resume", "--out", run)
    assert (status, errors.count("\n")) == (2, 1)
    assert "names no path of its data: give --data PATH" in errors


@pytest.mark.parametrize("labelled", [True, False])
def test_the_next_command_opens_the_same_data(  # type: ignore[no-untyped-def]
    call, blobs: Path, tmp_path: Path, labelled: bool
) -> None:
    path = tmp_path / "two sets.npz"
    with h5py.File(blobs) as file:
        images, labels = file["images"][:], file["ans"][:]
    more = {"kind": labels} if labelled else {}
    np.savez(path, first=images, second=images[::-1].copy(), **more)
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        "steps = 1\nbatch_size = 16\n[data]\nworkers = 0\nimages = 'second'\n"
        "[projector]\nhidden = 32\nout = 8\n[views]\nnum_local = 0\n"
    )
    asked = ["--set", "data.labels=kind"] if labelled else []
    status, out, errors = call(
        *("pretrain", "--data", path, "--loader", "arrays", "--backbone", "test_resnet"),
        *("--recipe", recipe, "--out", tmp_path / "my run", *asked),
    )
    assert status == 0, errors
    following = shlex.split(out.splitlines()[-1].removeprefix("next: "))
    assert following[:2] == ["domainjepa", "evaluate" if labelled else "embed"]
    assert "data.images=second" in following
    if labelled:
        following += ["--protocol", "knn", "--out", str(tmp_path / "report")]
    status, _, errors = call(*following[1:])
    assert status == 0, errors


def torn(blobs: Path, path: Path, rows: tuple[int, ...]) -> Path:
    """The blobs with checksums, and rows that do not fit theirs."""
    with h5py.File(blobs) as whole, h5py.File(path, "w") as file:
        file.create_dataset("images", data=whole["images"], chunks=(1, 32, 32, 3), fletcher32=True)
        file["ans"], file["split"] = whole["ans"][:], whole["split"][:]
        places = [file["images"].id.get_chunk_info(row).byte_offset for row in rows]
    content = bytearray(path.read_bytes())
    for place in places:
        content[place + 99] ^= 1
    path.write_bytes(content)
    return path


def test_unreadable_samples_are_listed_and_left_out_if_asked(  # type: ignore[no-untyped-def]
    call, run: Path, blobs: Path, tmp_path: Path
) -> None:
    lost = (0, 6, 63)  # the first and the last are among those of the fingerprint
    data = ("--data", torn(blobs, tmp_path / "torn.h5", lost))
    status, out, errors = call("inspect", *data, "--json", "--out", tmp_path / "look.png")
    assert status == 0, errors
    assert json.loads(out)["unreadable"] == list(lost)
    assert any("data.skip_unreadable=0.047" in line for line in json.loads(out)["warnings"])

    report = ("--protocol", "knn", "--baseline", "pixels", "--out", tmp_path / "report")
    for arguments in (("embed", run, "--out", tmp_path / "f.npz"), ("evaluate", run, *report)):
        status, _, errors = call(*arguments, *data)
        assert status == 2
        assert "--set data.skip_unreadable=0.01" in errors
        status, _, errors = call(*arguments, *data, "--set", "data.skip_unreadable=0.01")
        assert status == 2
        assert "3 of 64 samples cannot be read" in errors
        status, out, errors = call(*arguments, *data, "--set", "data.skip_unreadable=0.05")
        assert status == 0, errors
        assert "3 of 64 samples cannot be read and are left out: rows 0, 6, 63" in errors

    assert call("embed", run, "--data", blobs, "--out", tmp_path / "whole.npz")[0] == 0
    with np.load(tmp_path / "whole.npz") as whole, np.load(tmp_path / "f.npz") as rest:
        kept = np.setdiff1d(np.arange(64), lost)
        np.testing.assert_array_equal(rest["rows"], kept)
        assert "rows" not in whole
        np.testing.assert_array_equal(rest["labels"], whole["labels"][kept])
        np.testing.assert_allclose(rest["features"], whole["features"][kept], atol=1e-5)
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    (protocol,) = results["settings"]["protocols"]
    assert (protocol["train"], protocol["test"]) == (47, 14)
    assert any("rows 0, 6, 63" in line for line in results["warnings"])


def test_status_2_reaches_the_shell(tmp_path: Path) -> None:
    done = domainjepa("inspect", "--data", tmp_path / "none.h5")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_several_ranks_say_it_once_and_with_the_same_status(tmp_path: Path) -> None:
    done = domainjepa("pretrain", "--data", tmp_path / "none.h5", "--devices", "2")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")


def test_data_settings_reach_every_command(call, tmp_path: Path, run: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "odd.npz"
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (40, 32, 32, 3), np.uint8)
    np.savez(path, first=images, second=images[::-1].copy(), kind=np.arange(40) % 2)
    status, _, errors = call("inspect", "--data", path)
    assert status == 2
    assert "--set data.images=" in errors
    data = ["--data", path, "--set", "data.images=second", "--set", "data.labels=kind"]
    assert call("inspect", *data)[0] == 0
    assert call("embed", run, *data, "--out", tmp_path / "f.npz")[0] == 0
    with np.load(tmp_path / "f.npz") as packed:
        assert "labels" in packed
    status, _, errors = call(
        "evaluate", run, *data, "--protocol", "knn", "--out", tmp_path / "report"
    )
    assert status == 0, errors
    status, _, errors = call("inspect", *data, "--set", "objective.lam=0.1")
    assert status == 2
    assert "data.*" in errors


def test_a_file_that_cannot_be_written_is_one_message(call, run: Path, blobs: Path) -> None:  # type: ignore[no-untyped-def]
    status, _, errors = call("embed", run, "--data", blobs, "--out", "/proc/none/f.npz")
    assert status == 2
    assert len(errors.strip().splitlines()[-1:]) == 1
    assert "Traceback" not in errors


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = domainjepa("--debug", "inspect", "--data", tmp_path / "none.h5")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("what", cli.look.LISTS)
def test_lists(call, what: str) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = call("list", what, "--json")
    assert status == 0
    assert json.loads(out)


def test_domains_and_data_sets_are_listed_with_what_they_are(call) -> None:  # type: ignore[no-untyped-def]
    _, out, _ = call("list", "domains")
    assert any(line.split() == ["ultrasound", "B-mode", "ultrasound"] for line in out.splitlines())
    _, out, _ = call("list", "datasets", "--like", "breast")
    assert out.strip() == "breastmnist  BreastMNIST, breast ultrasound"


def test_unknown_list(call) -> None:  # type: ignore[no-untyped-def]
    status, _, errors = call("list", "backbone")
    assert status == 2
    assert "backbones" in errors


def test_inspect_views_embed_and_evaluate(  # type: ignore[no-untyped-def]
    call, run: Path, blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, _ = call("inspect", "--data", blobs, "--json", "--out", tmp_path / "look.png")
    assert status == 0
    found = json.loads(out)
    assert found["samples"] == 64
    assert found["channels"] == 3
    status, out, _ = call(
        "views", "--data", blobs, "--backbone", "test_resnet", "--out", tmp_path / "v.png"
    )
    assert status == 0
    for name in ("look.png", "v.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    for name in ("features.npz", "features.h5"):
        status, out, _ = call("embed", run, "--data", blobs, "--out", tmp_path / name)
        assert status == 0, out
    with np.load(tmp_path / "features.npz") as packed, h5py.File(tmp_path / "features.h5") as file:
        np.testing.assert_array_equal(packed["features"], file["features"][:])
        assert packed["labels"].shape == (64,)
    monkeypatch.setattr(Protocol, "draws_of", lambda protocol, shots: 1 if shots == "all" else 2)
    status, out, errors = call("evaluate", run, "--data", blobs, "--out", tmp_path / "report")
    assert status == 0, errors
    results = json.loads((tmp_path / "report/results.json").read_text())
    assert {r["encoder"] for r in results["records"]} == {"tiny", "tiny untrained", "pixels"}
    for name in ("report.html", "results.csv", "table.tex"):
        assert (tmp_path / "report" / name).stat().st_size > 0


def test_a_file_name_appears_in_no_artefact(call, blobs: Path, run: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    canary = tmp_path / "in" / "DOE_JANE_19700101.h5"
    canary.parent.mkdir()
    canary.write_bytes(blobs.read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    assert call("inspect", "--data", canary, "--out", out / "look.png")[0] == 0
    assert (
        call("views", "--data", canary, "--backbone", "test_resnet", "--out", out / "v.png")[0] == 0
    )
    assert call("embed", run, "--data", canary, "--out", out / "f.npz")[0] == 0
    assert (
        call("evaluate", run, "--data", canary, "--protocol", "knn", "--out", out / "report")[0]
        == 0
    )
    found = [path for path in out.rglob("*") if path.is_file()]
    assert len(found) > 8
    for path in found:
        assert b"DOE_JANE" not in path.read_bytes(), path.name
        assert "DOE_JANE" not in path.name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("evaluate", "run", "--data", "a.npz", "--data", "b.npz"), "--data is given 2 times"),
        (("pretrain", "--seed", "1", "--seed=2", "--seed", "3"), "--seed is given 3 times"),
        (("inspect", "--out", "a.png", "--data", "x", "--out", "b.png"), "--out is given 2 times"),
        (("select", "run", "--alpha", "1", "--alpha", "0"), "--alpha is given 2 times"),
        (("pretrain", "--set", "epochs=1", "--set", "epochs=2"), "--set epochs is given 2 times"),
    ],
)
def test_an_option_of_one_value_is_not_taken_twice(call, words, told) -> None:  # type: ignore[no-untyped-def]
    status, _, errors = call(*words)
    assert status == 2
    assert told in errors


def test_every_command_counts_its_options() -> None:
    group = typer.main.get_command(cli.app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert type(command).__name__ == "_Command", name


def test_options_of_many_values_and_flags_may_be_repeated(call, run: Path, blobs: Path) -> None:  # type: ignore[no-untyped-def]
    more = ("--protocol", "knn", "--protocol", "nothing", "--json", "--json")
    status, _, errors = call("evaluate", run, "--data", blobs, *more)
    assert status == 2
    assert "'nothing'" in errors


def test_a_console_of_another_code_page_shows_what_it_can(
    run: Path, blobs: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", run, "--data", blobs, "--protocol", "knn", "--out", tmp_path / "out"]
    console = {"PYTHONIOENCODING": "cp1252", "COLUMNS": "100"}
    done = programs.run("-m", "domainjepa", *arguments, env={**os.environ, **console})
    assert done.returncode == 0, done.stderr
    assert "tiny – untrained" in done.stdout
    assert "\\u" not in done.stdout  # nothing of the tables had to be escaped
    assert (tmp_path / "out" / "report.html").exists()


def test_encoders_are_called_as_the_user_says(call, run: Path, blobs: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", run, "--data", blobs, "--protocol", "knn", "--baseline", "untrained"]
    out = ["--out", tmp_path / "out", "--json"]
    status, shown, errors = call(*arguments, "--name", "ours", *out)  # type: ignore[operator]
    assert status == 0, errors
    found = json.loads(shown)
    assert {row["encoder"] for row in found["summary"]} == {"ours", "ours untrained"}
    status, _, errors = call(*arguments, "--name", "a", "--name", "b", *out)  # type: ignore[operator]
    assert status == 2
    assert "give one for each of the 1 encoders" in errors


def test_an_unknown_metric_is_told_before_anything_is_opened(call, run: Path) -> None:
    status, _, errors = call(  # type: ignore[operator]
        "evaluate", run, "--data", "nowhere.h5", "--metric", "auroc,aurok"
    )
    assert status == 2
    assert "unknown metric 'aurok'. Did you mean auroc" in errors


def test_another_ending_of_a_picture_is_told_first(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for command in ("inspect", "views"):
        status, _, error = call(command, "--data", tmp_path / "none.npz", "--out", "x.jpg")
        assert status == 2
        assert "name the file 'x.png'" in error
