from __future__ import annotations

from pathlib import Path

import pytest

from domainjepa.data.packing.journal import Journal
from domainjepa.errors import UserError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_it_goes_on_with_the_same_thing_only(path: Path) -> None:
    with Journal(path, "a") as journal:
        assert journal.done == 0
        journal.note(5)
        journal.note(10)
    with Journal(path, "a") as journal:
        assert journal.done == 10
    with Journal(path, "b") as journal:
        assert journal.done == 0
    with Journal(path, "a") as journal:
        assert journal.done == 0


def test_a_line_that_was_cut_off_does_not_count(path: Path) -> None:
    with Journal(path, "a") as journal:
        journal.note(5)
    path.write_text(path.read_text() + "12")
    with Journal(path, "a") as journal:
        assert journal.done == 5
        journal.note(8)
    with Journal(path, "a") as journal:
        assert journal.done == 8


def test_one_at_a_time(path: Path) -> None:
    with Journal(path, "a"), pytest.raises(UserError, match="another process"):
        Journal(path, "a")
    with Journal(path, "a") as journal:
        journal.remove()
    assert not path.exists()
