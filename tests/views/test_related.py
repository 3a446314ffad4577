from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image
import pytest
from rich.console import Console
from scipy.stats import chisquare
from sklearn.metrics import roc_auc_score

from domainjepa.config import ViewsConfig
from domainjepa.data.checks.quarantine import lenient
from domainjepa.data.opening import open_source
from domainjepa.data.parts.slices import slices
from domainjepa.data.source import OpenOptions, Source
from domainjepa.domains.ct import CT
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Identity
from domainjepa.domains.natural import Natural
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.errors import ConfigError, DataError
from domainjepa.pretraining.monitor import siblings_told
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.run import pretrain
from domainjepa.pretraining.state import RunState
from domainjepa.views.dataset import ViewDataset
from domainjepa.views.drawing import draw_views
from domainjepa.views.related import (
    MOST,
    Siblings,
    find_siblings,
    nearer_than_strangers,
    related_warnings,
)
from domainjepa.views.views import ViewMaker
from tests.conftest import tiny
from tests.data.toys import Arrays, Lazy, toy

SIZES = ViewsConfig(num_global=2, num_local=4, global_size=16, local_size=8)


def scans(kind: type[Arrays] = Lazy, **fields: Any) -> Source:
    """Slices of three volumes, whose pixels are the number of the volume and the slice; some
    slices of the second volume are empty, and left out."""
    arrays, draw = [], np.random.default_rng(0)
    for volume, depth in enumerate((5, 9, 7)):
        values = (20 * volume + np.arange(depth) + 50).astype(np.uint8)
        arrays.append(np.tile(values[:, None, None, None], (1, 20, 20, 1)))
        arrays[-1][:, 10:] = draw.integers(0, 256, (depth, 10, 20, 1))  # a constant one is empty
    arrays[1][[2, 3]] = 0
    spacings = np.array([[5.0, 1, 1], [2.5, 1, 1], [4.0, 1, 1]])
    return slices(toy(kind, arrays, **{"spacings": spacings, **fields}), OpenOptions(axis="0"))


def flat(count: int = 60, **fields: Any) -> Arrays:
    """Images of one grey each, their row's."""
    return toy(Arrays, [np.full((20, 20, 1), row, np.uint8) for row in range(count)], **fields)


def of(siblings: Siblings, row: int) -> set[int]:
    found = siblings.order[siblings.first[row] : siblings.stop[row]].tolist()
    return set(found) - {row}


@pytest.mark.parametrize("relation", ["z:2", "z:±1", "z:5mm", "z:7.4mm", "z:100mm"])
def test_siblings_along_a_volume_are_the_slices_within_reach(relation: str) -> None:
    source = scans()
    assert len(source) == 5 + 7 + 7
    assert source.stack is not None
    rows = np.setdiff1d(np.arange(len(source)), [1, 8, 9])
    found = find_siblings(source, rows, relation)
    reach = float(relation.removeprefix("z:").lstrip("±").removesuffix("mm"))
    along = 2 if relation.endswith("mm") else 1
    for row in rows.tolist():
        wanted = {
            other
            for other in rows.tolist()
            if other != row
            and source.stack[other, 0] == source.stack[row, 0]
            and abs(source.stack[other, along] - source.stack[row, along]) <= reach + 1e-9
        }
        assert of(found, row) == wanted
        assert found.counts(rows)[rows.tolist().index(row)] == len(wanted)
    assert not found.counts(np.array([1, 8, 9])).any()


def test_distances_are_those_of_the_volume_however_they_are_rounded() -> None:
    source = scans(spacings=np.array([[0.1, 1, 1], [4e-6, 1, 1], [0.3, 1, 1]]))
    rows = source.rows()
    found = find_siblings(source, rows, "z:0.3mm")
    assert of(found, 0) == {1, 2, 3}  # 3 * 0.1 is more than 0.3 in binary
    assert of(found, 13) == {12, 14}
    found = find_siblings(source, rows, "z:0.000008mm")  # of electrons: nanometres
    assert of(found, 5) == {6}
    assert of(found, 9) == {7, 8, 10, 11}


def test_siblings_of_a_group_and_of_a_column_are_rows_to_learn_from() -> None:
    source = flat(groups=np.arange(60) % 7)
    rows = np.arange(40)
    found = find_siblings(source, rows, "group")
    assert all(of(found, row) == set(range(row % 7, 40, 7)) - {row} for row in range(40))

    class Studies(Arrays):
        def read_column(self, name: str) -> np.ndarray:
            if name == "study":
                return np.array([f"s{row // 3}" if row >= 6 else "" for row in range(60)])
            return super().read_column(name)

    source = toy(Studies, source.arrays)
    found = find_siblings(source, rows, "column:study")
    assert not found.counts(np.arange(6)).any()  # a blank is no study
    assert of(found, 7) == {6, 8}
    assert of(found, 39) == set()  # its others are not learned from


def test_another_epoch_shows_others_and_nobody_sees_itself_instead() -> None:
    found = find_siblings(flat(groups=np.arange(60) // 10), np.arange(60), "group")
    drawn = [found.drawn(0, epoch, 23, 4) for epoch in range(600)]
    assert all(len(set(one)) == 4 for one in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=60)
    assert counts.nonzero()[0].tolist() == [20, 21, 22, 24, 25, 26, 27, 28, 29]
    assert chisquare(counts[counts > 0]).pvalue > 1e-3
    assert (
        chisquare(np.bincount([one[0] for one in drawn])[[20, 21, 22, *range(24, 30)]]).pvalue
        > 1e-3
    )
    assert drawn[5] == found.drawn(0, 5, 23, 4) != found.drawn(1, 5, 23, 4)
    assert find_siblings(flat(groups=np.arange(60) // 2), np.arange(60), "group").drawn(
        0, 0, 8
    ) == [9]


def plain(domain: type[Domain] = CT, channels: int = 1) -> Domain:
    """A domain that crops and does nothing else."""
    names = [
        step.name
        for local in (False, True)
        for step in domain().transforms(
            ViewSpec(16, (0.5, 1.0), channels, np.dtype(np.uint8), local)
        )[1:]
    ]
    return domain(without=tuple(dict.fromkeys(names)))


def test_the_first_view_is_of_the_sample_and_the_others_of_its_siblings_in_turn() -> None:
    source = flat(groups=np.arange(60) // 3)
    siblings = find_siblings(source, source.rows(), "group")
    dataset = ViewDataset(source, ViewMaker(plain(), Identity(), SIZES, 3, siblings))
    draws = [(epoch, row) for epoch in range(2) for row in range(60)]
    batch = dataset.__getitems__(draws)
    seen = np.concatenate(
        [
            batch[name].flatten(2).float().mean(2).round().int().numpy()
            for name in ("global", "local")
        ]
    ).T
    for (epoch, row), greys in zip(draws, seen.tolist(), strict=True):
        one, other = siblings.drawn(3, epoch, row)
        assert {one, other} == set(range(row // 3 * 3, row // 3 * 3 + 3)) - {row}
        assert greys == [row, one, other, one, other, one]
    # What else is in the batch, and how many, changes nothing.
    again = dataset.__getitems__(draws[50:57])
    for name in ("global", "local"):
        assert (again[name] == batch[name][:, 50:57]).all()


def test_a_batch_reads_each_of_its_images_once_and_no_other_rows() -> None:
    source = flat(groups=np.arange(60) // 6)
    siblings = find_siblings(source, np.arange(30), "group")
    maker = ViewMaker(plain(), Identity(), SIZES, 0, siblings)
    every = maker.read(source, [(0, row) for row in range(6)])
    assert sorted(source.reads) == list(range(6))
    assert [len(one) for one in every] == [1 + MOST] * 6
    for row in range(30, 60):
        assert len(maker.read(source, [(0, row)])[0]) == 1
    few = SIZES.model_copy(update={"num_local": 0})
    assert len(ViewMaker(plain(), Identity(), few, 0, siblings).read(source, [(0, 1)])[0]) == 2


def test_what_cannot_be_read_is_nobodys_sibling() -> None:
    whole = flat(groups=np.arange(60) // 2, broken=(11, 20))
    source = lenient(whole, np.arange(60), seed=0)
    siblings = find_siblings(source, np.arange(60), "group")
    maker = ViewMaker(plain(), Identity(), SIZES, 0, siblings)
    counts = [len(one) for one in maker.read(source, [(0, row) for row in (10, 11, 12, 20, 21)])]
    assert counts == [1, 1, 2, 1, 1]


@pytest.mark.parametrize("domain", [CT, Natural])
def test_crops_together_show_one_place_and_free_ones_their_own(domain: type[Domain]) -> None:
    y, x = np.mgrid[:40, :40]
    image = np.stack([6 * y, 6 * x, 3 * (x + y)], axis=2).astype(np.uint8)
    views = SIZES.model_copy(update={"related_crops": "together", "num_global": 3})
    made = {}
    for crops in ("together", "free"):
        views = views.model_copy(update={"related_crops": crops})
        make = ViewMaker(plain(domain, 3), Identity(), views, 0)
        made[crops] = [make(image, epoch=0, sample=row, siblings=[image]) for row in range(5)]
    for first, second, third, *local in made["together"]:
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)
        assert (local[0] != local[1]).any()
    for (first, second, *_), (other, *_) in zip(made["free"], made["together"], strict=True):
        np.testing.assert_array_equal(first, other)
        assert (first != second).any()


def test_crops_together_vary_in_all_else() -> None:
    image = np.random.default_rng(0).integers(40, 200, (40, 40, 1), dtype=np.uint8)
    views = SIZES.model_copy(update={"related_crops": "together", "num_local": 0})
    make = ViewMaker(CT(), Identity(), views, 0)
    pairs = [make(image, epoch=epoch, sample=0, siblings=[image]) for epoch in range(20)]
    assert sum(bool((first != second).any()) for first, second in pairs) >= 19


def test_a_sample_without_siblings_is_seen_as_without_the_relation() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 1), dtype=np.uint8)
    together = SIZES.model_copy(update={"related_crops": "together"})
    alone, plainly = (
        ViewMaker(CT(), Identity(), views, 0)(image, epoch=0, sample=3)
        for views in (together, SIZES)
    )
    for view, other in zip(alone, plainly, strict=True):
        np.testing.assert_array_equal(view, other)


@pytest.mark.parametrize("kind", [Arrays, Lazy])
def test_slices_that_lie_close_are_read_together(
    kind: type[Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = scans(kind)
    asked: list[tuple[int, int, int]] = []
    cut = type(source).cut

    def counted(self: Any, sample: int, start: Any, stop: Any, **more: Any) -> Any:
        asked.append((sample, start[0], stop[0]))
        return cut(self, sample, start, stop, **more)

    monkeypatch.setattr(type(source), "cut", counted)
    images = source.__getitems__([4, 0, 2, 12, 18, 3, 2])
    assert [int(image[1, 1, 0]) for image in images] == [54, 50, 52, 90, 96, 53, 52]
    assert asked == [(0, 0, 5), (2, 0, 1), (2, 6, 7)]


@pytest.mark.parametrize(
    ("relation", "message"),
    [
        ("z:1.5", "write z:12mm, z:2, group or column:NAME"),
        ("patient", "write z:12mm, z:2, group or column:NAME"),
        ("z:0", "none of the 60 samples to learn from has another one"),
        ("column:", "no column"),
        ("column:nothing", "no column 'nothing'"),
        ("column:tens", "none of the 60 samples"),
    ],
)
def test_a_relation_that_there_is_not_is_refused(relation: str, message: str) -> None:
    source = flat(stack=np.column_stack([np.zeros(60), np.arange(60), np.full(60, np.nan)]))
    with pytest.raises((ConfigError, DataError), match=message) as error:
        find_siblings(source, source.rows(), relation)
    assert "\n" not in str(error.value)


def test_data_that_do_not_have_the_relation_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--set views\.related=group or column:NAME"):
        find_siblings(flat(), np.arange(60), "z:2")
    with pytest.raises(ConfigError, match=r"--set data\.groups=NAME"):
        find_siblings(flat(), np.arange(60), "group")
    with pytest.raises(ConfigError, match=r"--set views\.related=z:2"):
        find_siblings(scans(spacings=None), np.arange(10), "z:12mm")
    volumes = toy(Arrays, [np.zeros((4, 8, 8, 1))] * 2)
    with pytest.raises(ConfigError, match=r"--set data\.dimensions=2"):
        find_siblings(volumes, np.arange(2), "group")
    with pytest.raises(ValueError, match="related_crops places the crops"):
        ViewsConfig(related_crops="free")


def test_a_doubtful_relation_is_told_before_anything_is_learned() -> None:
    rows, people = np.arange(60), np.arange(60) // 4

    def told(related: np.ndarray, **fields: Any) -> str:
        source = flat(groups=related)
        siblings = find_siblings(source, rows, "group")
        return " ".join(related_warnings(siblings, flat(**fields), rows, 0))

    assert told(people, groups=people, labels=people % 2) == ""
    mixed = np.random.default_rng(0).permutation(people)
    assert "% of the siblings are of another group" in told(mixed, groups=people)
    assert "learns from the labels" in told(rows % 3, labels=rows % 3)
    alone = np.where(rows < 10, 0, rows)
    assert "83 % of the samples have no sibling" in told(alone)


def test_nearer_than_strangers_is_the_area_under_the_curve() -> None:
    draw = np.random.default_rng(0)
    first = draw.normal(size=(30, 5))
    second = first + draw.normal(size=(30, 5))
    strangers = draw.random((30, 30)) < 0.7
    np.fill_diagonal(strangers, False)
    scale = np.concatenate([first, second]).std(axis=0)
    gaps = np.linalg.norm((first[:, None] - second[None]) / scale, axis=2)
    wanted = []
    for row in range(30):
        far = gaps[row, strangers[row]]
        wanted.append(roc_auc_score([1, *[0] * len(far)], [-gaps[row, row], *-far]))
    assert nearer_than_strangers(first, second, strangers) == pytest.approx(np.mean(wanted))
    assert abs(nearer_than_strangers(first, draw.normal(size=(30, 5)), strangers) - 0.5) < 0.15


def related_file(path: Path) -> Path:
    """100 images of ten fields, each field of a brightness of its own; `night` is any number."""
    draw = np.random.default_rng(0)
    fields = np.arange(100) % 10
    images = draw.normal(20 + 20 * fields[:, None, None, None], 5, (100, 32, 32, 1))
    with h5py.File(path, "w") as file:
        file["images"] = np.clip(images, 0, 255).astype(np.uint8)
        file["groups"] = fields
        file["night"] = draw.permutation(fields)
        file["split"] = np.where(np.arange(100) // 10 % 5 == 0, b"test", b"train")
    return path


def test_a_run_of_related_views_tells_siblings_and_whether_features_know_them(
    tmp_path: Path,
) -> None:
    data, out = related_file(tmp_path / "fields.h5"), tmp_path / "run"
    changes = {"views__related": "group", "domain": "microscopy"}
    pretrain(tiny(data, **changes), out, console=Console(quiet=True))
    report = (out / "report.html").read_text()
    assert "but the first are of others of its group: 7 (median; 7 to 7)" in report
    assert 'related_crops = "free"' in (out / "config.toml").read_text()
    with pytest.raises(ConfigError, match=r"views\.related"):
        pretrain(tiny(data, domain="microscopy"), out, resume=True)
    plan = make_plan(tiny(data, **changes))
    assert not set(plan.source.rows("test")) & set(plan.siblings.order)
    known = siblings_told(plan, RunState.start(plan).network)
    assert "WARNING" not in known
    nonsense = make_plan(tiny(data, **changes | {"views__related": "column:night"}))
    assert any("of another group" in line for line in nonsense.warnings)
    assert "WARNING: the features do not know" in siblings_told(
        nonsense, RunState.start(nonsense).network
    )


def test_views_of_siblings_are_drawn(tmp_path: Path) -> None:
    source = open_source(related_file(tmp_path / "fields.h5"))
    siblings = find_siblings(source, source.rows("train"), "group")
    widths = []
    for who in (siblings, None):
        maker = ViewMaker(CT(), Identity(), SIZES, 0, who)
        draw_views(source, [11, 12], maker, tmp_path / "views.png")
        with PIL.Image.open(tmp_path / "views.png") as picture:
            widths.append(picture.width)
    assert widths[0] > 1.2 * widths[1]  # four columns more than 6 transforms and 8 pictures
