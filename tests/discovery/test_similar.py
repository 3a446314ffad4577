"""`similar` and `outliers` as commands, and what may be asked for."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest

from domainjepa import cli
from domainjepa.data.metadata.pseudonym import pseudonym
from domainjepa.discovery.embedded import Embedded
from domainjepa.discovery.queries import features_of_queries, queries_of
from domainjepa.discovery.samples import samples_of
from domainjepa.discovery.similar import similar
from domainjepa.embed import formats
from domainjepa.embed.blocks import Blocks
from domainjepa.errors import UserError
from tests.data.toys import Arrays, toy
from tests.discovery.toys import Corner, seen

DIRECTIONS = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0.9, 0.2], [0, 0, 1]])


def test_rows_ids_and_their_hashes_are_queries() -> None:
    ids = np.array(["M 31", "a,b", "3", "M 51", "M 101"])
    of = seen(DIRECTIONS, ids=ids)
    for text, positions in {
        "0": [0], "4,1": [4, 1], "M 51": [3], "a,b": [1], "M 31, M 101": [0, 4],
        "3": [3], "id:3": [2],
    }.items():  # fmt: skip
        assert [query.position for query in queries_of(text, of)] == positions, text
    of = seen(DIRECTIONS, ids=ids, modality="US")
    assert [query.position for query in queries_of("M 51", of)] == [3]
    (query,) = queries_of(pseudonym("id", "M 51"), of)
    assert query.position == 3
    assert query.name == pseudonym("id", "M 51")


@pytest.mark.parametrize("text", ["5", "M 1", "", ",", "0,x"])
def test_what_is_none_of_these_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--query"):
        queries_of(text, seen(DIRECTIONS))


def test_a_number_is_a_row() -> None:
    of = seen(DIRECTIONS)
    assert [query.position for query in queries_of("3", of)] == [3]


def test_an_image_of_ones_own_is_a_query(tmp_path: Path) -> None:
    image = np.zeros((1, 16, 16), np.float32)
    image[0, 0, 2] = 2
    np.save(tmp_path / "mine.npy", image)
    of = seen(DIRECTIONS)
    queries = queries_of(str(tmp_path / "mine.npy"), of)
    assert [query.name for query in queries] == ["given image"]
    np.testing.assert_array_equal(features_of_queries(queries, of), [[0, 0, 2]])
    (found,) = similar(of, queries, 2)
    assert found.positions.tolist() == [4, 3]
    np.testing.assert_allclose(found.cosines, [1, 0.2 / np.hypot(0.9, 0.2)], rtol=1e-5)


def test_a_picture_is_one_query(tmp_path: Path) -> None:
    colours = [np.full((32, 32, 3), value, np.uint8) for value in ((9, 0, 0), (0, 9, 0), (0, 0, 9))]
    PIL.Image.fromarray(colours[1]).save(tmp_path / "mine.png")
    source = toy(Arrays, colours)
    features = np.stack([one[0, 0] for one in colours]).astype(np.float32)
    samples = samples_of(source, np.arange(3))
    of = Embedded(Corner(3), source, np.arange(3), Blocks(features), samples)
    (found,) = similar(of, queries_of(str(tmp_path / "mine.png"), of), 1)
    assert found.positions.tolist() == [1]


def test_groups_are_left_out_where_that_is_asked() -> None:
    groups = np.array([0, 0, 1, 1, 1])
    of = seen(DIRECTIONS, groups=groups)
    (found,) = similar(of, queries_of("0", of), 9, apart=True)
    assert sorted(found.positions.tolist()) == [2, 3, 4]
    (found,) = similar(of, queries_of("0", of), 9)
    assert found.positions[0] == 1
    assert 0 not in found.positions
    with pytest.raises(UserError, match="--apart"):
        similar(seen(DIRECTIONS), queries_of("0", seen(DIRECTIONS)), 9, apart=True)


def run_command(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["domainjepa", *words])
    status = 0
    try:
        cli.main()
    except SystemExit as end:
        status = int(end.code or 0)
    said = capfd.readouterr()
    return status, said.out, said.err


def test_the_commands(
    run: Path,
    blobs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def command(*words: str) -> tuple[int, str, str]:
        return run_command(list(words), monkeypatch, capfd)

    data, kept = ["--data", str(blobs)], str(tmp_path / "f.h5")
    assert command("embed", str(run), *data, "--out", kept)[0] == 0
    picture, table = tmp_path / "alike.png", tmp_path / "alike.csv"
    asked = ["similar", str(run), *data, "--query", "3,5", "--top", "4", "--json"]
    status, made, _ = command(*asked)
    assert status == 0
    status, read, _ = command(
        *asked, "--features", kept, "--out", str(picture), "--csv", str(table)
    )
    assert status == 0
    assert json.loads(read) == json.loads(made)
    with h5py.File(kept) as file:
        features = file["features"][()].astype(np.float64)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = unit @ unit[3]
    likeness[3] = -9
    first = json.loads(made)[0]
    assert first["row"] == 3
    np.testing.assert_allclose(
        [one["cosine"] for one in first["similar"]], np.sort(likeness)[::-1][:4], atol=1e-5
    )
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["row"]) for line in lines[:4]] == [one["row"] for one in first["similar"]]
    assert PIL.Image.open(picture).size[0] > 400
    status, said, _ = command("similar", str(run), *data, "--query", "3", "--space", "whitened")
    assert status == 0
    assert "like row 3" in said

    odd, every = tmp_path / "odd.png", tmp_path / "odd.csv"
    status, said, _ = command(
        "outliers", str(run), *data, "--features", kept, "--top", "5", "--json",
        "--out", str(odd), "--csv", str(every), "--neighbours", "7", "--space", "plain",
    )  # fmt: skip
    assert status == 0
    with every.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 64
    assert [int(line["row"]) for line in lines[:5]] == [one["row"] for one in json.loads(said)]
    cosines = unit @ unit.T
    seventh = 1 - np.sort(cosines - 9 * np.eye(64), axis=1)[:, -7]
    np.testing.assert_allclose(
        [float(line["score"]) for line in lines], np.sort(seventh)[::-1], atol=1e-5
    )
    assert odd.stat().st_size > 1000


def test_wrong_words_are_one_line(
    run: Path,
    blobs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, features=np.zeros((63, 4), np.float32))
    labels = tmp_path / "labels.npz"
    np.savez(labels, features=np.zeros((64, 4), np.float32), labels=np.zeros(64, np.int64))
    foreign = tmp_path / "foreign.h5"
    zeros = np.zeros((64, 4), np.float32)
    about = {"encoder_sha256": "f" * 64, "backbone": "resnet18"}
    formats.write(foreign, formats.Table((64, 4), [zeros], {}, about))
    for words, said in {
        ("similar", "--query", "1", "--features", str(foreign)): "another encoder, resnet18",
        ("similar", "--query", "99"): "rows 0 to 63",
        ("similar", "--query", "1", "--space", "white"): "--space",
        ("similar", "--query", "1", "--out", "x.jpg"): "x.png",
        ("similar", "--query", "1", "--csv", "x.txt"): "x.csv",
        ("similar", "--query", "1", "--features", str(other)): "63 samples",
        ("similar", "--query", "1", "--features", str(labels)): "other labels",
        ("outliers", "--by", "lof"): "--by",
    }.items():
        name, *rest = words
        status, _, error = run_command(
            [name, str(run), "--data", str(blobs), *rest], monkeypatch, capfd
        )
        assert status == 2, words
        assert said in error
        assert len(error.strip().splitlines()) == 1
