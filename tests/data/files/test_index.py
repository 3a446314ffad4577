from __future__ import annotations

import os
from pathlib import Path

import pytest

from domainjepa.data.files import index
from domainjepa.errors import DataError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOMAINJEPA_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "files"
    root.mkdir()
    for number in range(index.MANY):
        (root / f"{number:04}.txt").write_text(str(number))
    return root


def test_a_fact_is_read_once_until_its_file_changes(folder: Path) -> None:
    read: list[str] = []

    def look(path: Path) -> int:
        read.append(path.name)
        return int(path.read_text())

    files = sorted(path.name for path in folder.iterdir())
    assert index.facts(folder, files, "number 1", look) == list(range(index.MANY))
    assert len(read) == index.MANY
    assert index.facts(folder, files, "number 1", look) == list(range(index.MANY))
    assert len(read) == index.MANY
    (folder / files[3]).write_text("333")
    assert index.facts(folder, files, "number 1", look)[3] == 333
    assert read[index.MANY :] == [files[3]]
    index.facts(folder, files, "number 2", look)
    assert len(read) == 2 * index.MANY + 1


def test_what_cannot_be_read_is_told_and_not_kept(folder: Path) -> None:
    files = sorted(path.name for path in folder.iterdir())
    (folder / files[7]).write_text("seven")
    found = index.facts(folder, files, "number 1", lambda path: int(path.read_text()))
    assert isinstance(found[7], DataError)
    assert files[7] in str(found[7])
    (folder / files[7]).write_text("7")
    assert index.facts(folder, files, "number 1", lambda path: int(path.read_text()))[7] == 7


def test_names_are_not_in_the_index(folder: Path, tmp_path: Path) -> None:
    (folder / "DOE_JANE.txt").write_text("1")
    files = sorted(path.name for path in folder.iterdir())
    index.facts(folder, files, "number 1", lambda path: int(path.read_text()))
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"JANE" in path.read_bytes() or "JANE" in path.name for path in kept)


def test_a_damaged_index_is_made_anew(folder: Path, tmp_path: Path) -> None:
    files = sorted(path.name for path in folder.iterdir())
    index.facts(folder, files, "number 1", lambda path: int(path.read_text()))
    for path in (tmp_path / "cache").rglob("*.json"):
        path.write_bytes(os.urandom(50))
    found = index.facts(folder, files, "number 1", lambda path: int(path.read_text()))
    assert found == list(range(index.MANY))
