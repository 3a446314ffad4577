"""What is proposed for labelling, and labels in doubt, on planted truths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domainjepa.discovery.label_files import known_labels, write_template
from domainjepa.discovery.labelling import (
    Known,
    cross_validated,
    fitted,
    suspects,
    typical,
    unsure,
)
from domainjepa.discovery.proposals import Labelling
from domainjepa.errors import UserError
from tests.discovery.toys import seen

DRAW = np.random.default_rng(3)
CENTRES = np.eye(8)[:4] * 4
TRUTH = np.repeat(np.arange(4), [90, 60, 40, 30])
VALUES = (CENTRES[TRUTH] + DRAW.normal(0, 0.5, (220, 8))).astype(np.float32)
UNIT = VALUES / np.linalg.norm(VALUES, axis=1, keepdims=True)


def test_the_first_labels_are_one_of_each_cluster_and_from_its_middle() -> None:
    found = typical(UNIT, np.zeros(0, np.int64), 4)
    assert TRUTH[found].tolist() == [0, 1, 2, 3]  # the largest first
    for position in found.tolist():
        mine = UNIT[TRUTH[position] == TRUTH]
        middle = mine.mean(axis=0)
        rank = (np.linalg.norm(mine - middle, axis=1)
                < np.linalg.norm(UNIT[position] - middle)).mean()  # fmt: skip
        assert rank < 0.25


def test_clusters_that_have_a_label_wait() -> None:
    labelled = np.array([0, 100])  # of the first and the second
    assert set(TRUTH[typical(UNIT, labelled, 2)].tolist()) == {2, 3}


def test_more_than_there_are_clusters_and_samples() -> None:
    found = typical(UNIT[:6], np.array([2]), 50)
    assert sorted(found.tolist()) == [0, 1, 3, 4, 5]


def test_a_probe_is_unsure_of_what_lies_between() -> None:
    between = (CENTRES[0] + CENTRES[1]) / 2
    values = np.concatenate([VALUES, between[None].astype(np.float32)])
    known = Known(np.append(np.where(np.arange(220) % 3 == 0, TRUTH, -1), -1), ("a", "b", "c", "d"))
    probe = fitted(values, known)
    free = np.flatnonzero(known.labels < 0)
    assert unsure(probe, values, free, 1).tolist() == [220]
    chance = probe.predict_proba(values[[220]])[0]
    assert set(np.argsort(chance)[-2:].tolist()) == {0, 1}


def test_flipped_labels_are_suspected() -> None:
    flipped = DRAW.permutation(220)[:11]
    given = TRUTH.copy()
    given[flipped] = (given[flipped] + 1) % 4
    known = Known(given, ("a", "b", "c", "d"))
    chance = cross_validated(VALUES, known)
    assert chance is not None
    np.testing.assert_allclose(chance.sum(axis=1), 1, atol=1e-6)
    found = suspects(chance, given)
    assert set(found.order[:11].tolist()) == set(flipped.tolist())
    np.testing.assert_array_equal(found.other[:11], TRUTH[found.order[:11]])
    assert 11 <= found.suspected <= 14
    assert (np.diff(found.doubt[: found.suspected]) <= 0).all()


def test_doubt_is_the_difference_of_two_chances() -> None:
    chance = np.array([[0.6, 0.4, 0], [0.7, 0.1, 0.2], [0.2, 0.7, 0.1], [0.05, 0.15, 0.8]])
    found = suspects(chance, np.array([0, 1, 1, 2]))
    # Of class 0 the mean chance is 0.6: the second is suspected, and no other.
    assert found.suspected == 1
    assert found.order.tolist() == [1, 0, 2, 3]
    np.testing.assert_allclose(found.doubt, [0.6, -0.2, -0.5, -0.65])
    assert found.other.tolist() == [0, 1, 0, 1]


def test_too_few_labels_are_not_cross_validated() -> None:
    labels = np.full(220, -1)
    labels[[0, 100, 101]] = [0, 1, 1]
    assert cross_validated(VALUES, Known(labels, ("a", "b"))) is None
    labels[1] = 0
    assert cross_validated(VALUES, Known(labels, ("a", "b"))) is not None
    together = np.zeros(220, np.int64)
    assert cross_validated(VALUES, Known(labels, ("a", "b"), together)) is None


def test_groups_are_not_parted() -> None:
    # Two samples of each group have the same noise and a label that is the group's alone.
    groups = np.repeat(np.arange(40), 2)
    values = np.repeat(DRAW.normal(size=(40, 300)), 2, axis=0).astype(np.float32)
    labels = np.repeat(DRAW.permutation(np.arange(40) % 2), 2)
    parted = cross_validated(values, Known(labels, ("a", "b")))
    kept = cross_validated(values, Known(labels, ("a", "b"), groups))
    assert parted is not None
    assert kept is not None
    assert (parted.argmax(axis=1) == labels).mean() > 0.8
    assert (kept.argmax(axis=1) == labels).mean() < 0.7


def test_a_filled_template_is_read_back(tmp_path: Path) -> None:
    ids = np.array([f"s {row}" for row in range(220)])
    of = seen(VALUES, ids=ids)
    path = tmp_path / "todo.csv"
    write_template(path, of.samples, np.array([5, 100]), {"proposed": ["a", "b"]})
    assert path.read_text() == "row,id,proposed,label\n5,s 5,a,\n100,s 100,b,\n"
    with pytest.raises(UserError, match="no line has a label"):
        known_labels(of.samples, [path])
    path.write_text('row,id,label\n5,s 5," disc, round "\n100,s 100,bar\n7,s 7,\n')
    known = known_labels(of.samples, [path])
    assert known.classes == ("bar", "disc, round")
    assert known.labels[[5, 100, 7]].tolist() == [1, 0, -1]
    later = tmp_path / "later.csv"
    later.write_text("row,label\n5,bar\n")
    assert known_labels(of.samples, [path, later]).labels[5] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("row,id,label\n5,s 6,bar\n", "of other data"),
        ("row,label\n220,bar\n", "row 220"),
        ("row,label\nx,bar\n", "numbers of samples"),
        ("row,class\n5,bar\n", "no column 'label'"),
    ],
)
def test_files_of_other_data_are_refused(tmp_path: Path, text: str, said: str) -> None:
    of = seen(VALUES, ids=np.array([f"s {row}" for row in range(220)]))
    (tmp_path / "todo.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        known_labels(of.samples, [tmp_path / "todo.csv"])


def test_from_nothing_to_a_probe(tmp_path: Path) -> None:
    of = seen(VALUES)
    work = Labelling.begin(of, [])
    assert work.told() == "0 of 220 samples have a label, of 0 classes"
    first = work.propose(4, "auto")
    assert first.words == {}
    assert sorted(TRUTH[first.order].tolist()) == [0, 1, 2, 3]
    with pytest.raises(UserError, match="two classes"):
        work.propose(4, "margin")
    with pytest.raises(UserError, match="two classes"):
        work.in_doubt(4)
    chosen = np.concatenate([np.flatnonzero(one == TRUTH)[:12] for one in range(4)])
    lines = "".join(f"{row},{'abcd'[TRUTH[row]]}\n" for row in chosen.tolist())
    (tmp_path / "filled.csv").write_text(f"row,label\n{lines}")
    work = Labelling.begin(of, [tmp_path / "filled.csv"])
    assert work.told().startswith("48 of 220 samples have a label, of 4 classes; a linear probe of")
    proposed = work.propose(5, "auto")
    assert set(proposed.words) == {"proposed", "chance"}
    assert not set(proposed.order.tolist()) & set(chosen.tolist())
    work.write_answers(tmp_path / "answers.csv")
    rows = (tmp_path / "answers.csv").read_text().splitlines()
    assert rows[0] == "row,label,answer,chance"
    right = [line.split(",")[2] == "abcd"[TRUTH[at]] for at, line in enumerate(rows[1:])]
    assert np.mean(right) > 0.98


def test_where_all_have_a_label_nothing_is_proposed() -> None:
    of = seen(VALUES, labels=TRUTH, classes=("a", "b", "c", "d"))
    with pytest.raises(UserError, match="--suspects"):
        Labelling.begin(of, []).propose(3, "auto")
