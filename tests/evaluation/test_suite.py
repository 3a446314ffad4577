from __future__ import annotations

import itertools
import json
from dataclasses import fields

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from domainjepa.backbones.weights import Unavailable
from domainjepa.data.checks.quarantine import checked
from domainjepa.data.metadata.targets import target_of
from domainjepa.errors import ConfigError, DataError, UserError
from domainjepa.evaluation.encoders.features import features_of
from domainjepa.evaluation.probes import fitting, probes
from domainjepa.evaluation.probes.probes import logistic
from domainjepa.evaluation.protocol import Protocol, measuring, read_protocol
from domainjepa.evaluation.results.intervals import over_draws
from domainjepa.evaluation.splits import draw_shots, train_test, tuning_folds
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.toys import ArraySource, Table, make_source


def one_hot(labels, noise, rng, width=16):
    return np.eye(width)[labels] + noise * rng.normal(size=(len(labels), width))


def summary(results, encoder, shots, metric="accuracy", label=None):
    (row,) = [
        row
        for row in results.summary
        if (row["encoder"], row["shots"], row["metric"]) == (encoder, shots, metric)
        and row.get("label") == label
    ]
    return row


def test_features_that_hold_the_label_are_always_right(protocol, rng):
    labels = rng.integers(0, 4, 200)
    results = evaluate([Table("label", one_hot(labels, 0, rng))], make_source(labels), [protocol])
    right = {r["value"] for r in results.records if r["metric"] != "calibration_error"}
    assert right == {1.0}
    assert sum("label" not in record for record in results.records) == (4 + 4 + 1) * 5
    of_classes = [(r["label"], r["metric"]) for r in results.records if "label" in r]
    assert of_classes == list(itertools.product("0123", ("precision", "recall", "f1")))


@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_noise_is_at_chance(probe, rng):
    protocol = Protocol(name="noise", probe=probe, shots=(10, "all"), draws=10)
    labels = np.arange(2000) % 4
    noise = Table("noise", rng.normal(size=(2000, 8)))
    results = evaluate([noise], make_source(labels), [protocol])
    for shots in (10, "all"):
        row = summary(results, "noise", shots)
        assert row["low"] <= 0.25 <= row["high"]
        assert row["high"] - row["low"] < 0.1


@pytest.mark.parametrize("target", [None, "redshift"])
def test_samples_that_cannot_be_read_take_no_part(target, protocol, rng):
    lost = [7, 30, 31]
    labels = rng.integers(0, 2, 120)
    split = np.array(["train", "train", "test"] * 40)
    whole = with_columns(labels, redshift=rng.uniform(size=120))
    whole.split = split
    read = whole.__class__.__getitems__

    class Torn(type(whole)):
        def __getitems__(self, indices):
            if set(lost).intersection(indices):
                raise DataError("a sample is torn")
            return read(self, indices)

    whole.__class__ = Torn
    source = checked(whole, 0.05)
    results = evaluate([Table("a", rng.normal(size=(120, 5)))], source, [protocol], target=target)
    assert results.rows.tolist() == [r for r in range(2, 120, 3) if r not in lost]
    (run,) = results.settings["protocols"]
    assert run["train"] == sum(r not in lost for r in np.flatnonzero(split == "train"))
    assert any("3 of 120 samples cannot be read: rows 7, 30, 31" in w for w in results.warnings)
    assert not any("identical" in text for text in results.warnings)


def test_baselines_alone_are_no_evaluation(protocol, rng):
    class Absent(Table):
        def transform(self, images):
            raise Unavailable("no weights")

    labels = rng.integers(0, 2, 60)
    here, gone = Table("here", one_hot(labels, 1, rng)), Absent("gone", np.zeros((60, 1)))
    with pytest.raises(UserError, match=r"^no encoder could be evaluated\. gone .*no weights$"):
        evaluate([gone], make_source(labels), [protocol], baselines=[here])
    results = evaluate([here], make_source(labels), [protocol], baselines=[gone])
    assert results.encoders == ["here"]
    assert any("gone is left out" in text for text in results.warnings)
    table = Table("other", one_hot(labels, 1, rng))
    results = evaluate([gone, here], make_source(labels), [protocol], baselines=[table])
    assert results.encoders == ["here", "other"]


def test_identical_encoders_differ_by_exactly_zero(protocol, rng):
    labels = rng.integers(0, 3, 150)
    features = one_hot(labels, 1.0, rng)
    results = evaluate(
        [Table("a", features), Table("b", features)], make_source(labels), [protocol]
    )
    assert len(results.differences) == 3 * 5 + 3 * 3
    for row in results.differences:
        assert (row["mean"], row["low"], row["high"]) == (0.0, 0.0, 0.0)


def test_differences_are_paired_over_the_draws(protocol, rng):
    labels = rng.integers(0, 3, 150)
    tables = [Table("a", one_hot(labels, 0.7, rng)), Table("b", one_hot(labels, 1.5, rng))]
    results = evaluate(tables, make_source(labels), [protocol])
    values = {
        name: np.array(
            [
                record["value"]
                for record in results.records
                if (record["encoder"], record["shots"], record["metric"]) == (name, 5, "accuracy")
            ]
        )
        for name in "ab"
    }
    (row,) = [r for r in results.differences if (r["shots"], r["metric"]) == (5, "accuracy")]
    gaps = values["a"] - values["b"]
    one, two = (results.cells["toy", 5, name].resampled["accuracy"] for name in "ab")
    assert row["mean"] == pytest.approx(gaps.mean())
    assert (row["low"], row["high"]) == pytest.approx(over_draws(gaps, one - two))


def test_scores_are_those_of_the_steps_written_out(protocol, rng):
    labels = rng.integers(0, 3, 200)
    features = one_hot(labels, 1.0, rng).astype(np.float32)
    source = make_source(labels)
    results = evaluate([Table("a", features)], source, [protocol])
    split = train_test(source, target_of(source), protocol.seed)
    for draw in range(protocol.draws):
        chosen = split.train[draw_shots(labels[split.train], 5, seed=0, draw=draw)]
        probe = logistic(features[chosen], labels[chosen], tuning_folds(labels[chosen], seed=0))
        (value,) = [
            r["value"]
            for r in results.records
            if (r["shots"], r["draw"], r["metric"]) == (5, draw, "accuracy")
        ]
        assert value == (probe.predict(features[split.test]) == labels[split.test]).mean()


def test_test_labels_change_no_choice(protocol, rng, monkeypatch):
    labels = rng.integers(0, 3, 240)
    features = one_hot(labels, 1.0, rng)
    split = np.array(["train", "train", "test"] * 80)
    swapped = labels.copy()
    swapped[split == "test"] = rng.permutation(labels[split == "test"])
    choices = []

    def noting(protocol, target, features, labels, groups=None):
        probe, converged = fit_probe(protocol, target, features, labels, groups)
        choices.append((features.tobytes(), probe["predict"].C, probe["predict"].coef_.tobytes()))
        return probe, converged

    fit_probe = fitting.fit_probe
    monkeypatch.setattr(fitting, "fit_probe", noting)
    runs = [
        evaluate([Table("a", features)], make_source(of, split=split), [protocol])
        for of in (labels, swapped)
    ]
    assert len(choices) == 2 * 9
    assert choices[:9] == choices[9:]
    assert np.array_equal(*(run.answers["toy", "a"].guess for run in runs))
    assert summary(runs[0], "a", "all")["mean"] > summary(runs[1], "a", "all")["mean"]


def test_an_encoder_that_leaks_the_group_gains_nothing(rng):
    protocol = Protocol(name="groups", probe="knn", shots=("all",))
    groups = np.repeat(np.arange(100), 10)
    labels = rng.integers(0, 2, 100)[groups]  # the label is the group's own
    leak = Table("leak", rng.normal(size=(100, 32))[groups])
    loose = evaluate([leak], make_source(labels), [protocol])
    whole = evaluate([leak], make_source(labels, groups=groups), [protocol])
    assert summary(loose, "leak", "all")["mean"] > 0.95
    row = summary(whole, "leak", "all")
    assert row["low"] <= 0.5 <= row["high"]


def test_scarce_classes_are_warned_about_and_needless_shots_left_out(rng):
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    protocol = Protocol(name="few", probe="knn", shots=(5, 20, 500, "all"), draws=2)
    source = make_source(labels, classes=("a", "b", "rare"))
    results = evaluate([Table("x", one_hot(labels, 1, rng))], source, [protocol])
    assert results.shots(protocol) == [5, 20, "all"]
    assert any("rare (8)" in text for text in results.warnings)
    assert any("500 labels a class: no class has more" in text for text in results.warnings)


def test_a_probe_that_does_not_converge_is_told(rng, monkeypatch):
    monkeypatch.setattr(
        probes,
        "LogisticRegression",
        lambda **settings: LogisticRegression(**settings | {"max_iter": 2}),
    )
    labels = rng.integers(0, 3, 120)
    protocol = Protocol(name="stop", probe="linear", shots=("all",))
    results = evaluate([Table("x", one_hot(labels, 1, rng))], make_source(labels), [protocol])
    assert "1 of 1 probes stopped before" in results.warnings[-1]


def test_two_protocols_share_the_features(protocol, rng):
    labels = rng.integers(0, 3, 100)
    table = Table("x", one_hot(labels, 1, rng))
    knn = Protocol(name="knn", probe="knn", shots=("all",))
    results = evaluate([table], make_source(labels), [protocol, knn])
    assert table.calls == 1
    assert {row["protocol"] for row in results.summary} == {"toy", "knn"}


def test_names_must_differ(protocol, rng):
    labels = rng.integers(0, 2, 40)
    table = Table("x", one_hot(labels, 1, rng))
    with pytest.raises(UserError, match="two encoders are named x"):
        evaluate([table, table], make_source(labels), [protocol])
    with pytest.raises(UserError, match="no encoders"):
        evaluate([], make_source(labels), [protocol])


class Counted(Table):
    sha256 = "0" * 64


def test_features_are_kept_by_content(tmp_path, rng):
    labels = rng.integers(0, 2, 30)
    source, rows = make_source(labels), np.arange(3, 30)
    encoder = Counted("x", rng.normal(size=(30, 4)))
    first = features_of(encoder, source, rows, cache=tmp_path)
    again = features_of(encoder, source, rows, cache=tmp_path)
    assert encoder.calls == 1
    assert np.array_equal(first, again)
    assert np.array_equal(first, encoder.features[rows])

    features_of(encoder, source, rows[1:], cache=tmp_path)
    features_of(encoder, make_source(1 - labels), rows, cache=tmp_path)
    encoder.sha256 = "1" * 64
    features_of(encoder, source, rows, cache=tmp_path)
    assert encoder.calls == 4


def test_volumes_reach_an_encoder_with_their_spacing(rng):
    volumes = rng.normal(size=(9, 4, 5, 6, 1)).astype(np.float32)
    source = ArraySource(
        name="toy", loader="memory", shape=(4, 5, 6, 1), dtype=volumes.dtype, images=volumes,
        spacings=np.arange(27.0).reshape(9, 3), modality="CT",
    )  # fmt: skip

    class Reader:
        name = "reader"

        def transform(self, given):
            assert (given.modality, given.volumetric) == ("CT", True)
            parts = [given.region(row, (1, 0, 0), (2, 3, 3)).sum() for row in range(len(given))]
            assert given[0].shape == (4, 5, 6, 1)
            return np.stack([parts, given.spacings[:, 2]], 1)

    rows = np.array([7, 2, 5])
    found = features_of(Reader(), source, rows)
    assert found[:, 1].tolist() == [23, 8, 17]
    assert found[:, 0] == pytest.approx(volumes[rows, 1:2, :3, :3].sum((1, 2, 3, 4)), rel=1e-4)


def test_damaged_caches_are_computed_anew(tmp_path, rng):
    source = make_source(rng.integers(0, 2, 30))
    encoder = Counted("x", rng.normal(size=(30, 4)))
    features_of(encoder, source, np.arange(30), cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:200], whole[:-30] + bytes(30)):
        path.write_bytes(damaged)
        found = features_of(encoder, source, np.arange(30), cache=tmp_path)
        assert np.array_equal(found, encoder.features)
    np.savez(path, features=np.array([{"an": "object"}] * 30, dtype=object))  # needs a pickle
    assert np.array_equal(
        features_of(encoder, source, np.arange(30), cache=tmp_path), encoder.features
    )
    assert encoder.calls == 5


def test_encoders_that_give_no_features_are_refused(rng):
    source = make_source(rng.integers(0, 2, 10))
    broken = np.ones((10, 3))
    broken[7, 1] = np.nan
    with pytest.raises(DataError, match="not finite for 1 of 10 images, first for sample 7"):
        features_of(Table("x", broken), source, np.arange(10))
    with pytest.raises(DataError, match=r"shape \(10, 2, 2\)"):
        features_of(Table("x", np.ones((10, 2, 2))), source, np.arange(10))


def test_shipped_protocols_are_valid():
    assert read_protocol("few-shot").shots == (1, 2, 5, 10, 100, 1000, "all")
    for name in ("few-shot", "few-shot-finetune"):
        protocol = read_protocol(name)
        assert [protocol.draws_of(k) for k in (1, 2, 5, 10)] == [20] * 4
        assert protocol.draws_of(1000) == protocol.draws_of(5000) < protocol.draws_of(100) < 20
        assert protocol.draws_of("all") == 1
    assert read_protocol("linear").shots == read_protocol("finetune").shots == ("all",)
    assert read_protocol("knn").probe == "knn"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("shot = [1]", "shot"),
        ("draws = 'ten'", "draws"),
        ("name = '../x'", "name"),
        ("shots = [0]", "numbers from 1"),
        ("shots = [5, 5]", "different numbers"),
        ("shots = []", "shots"),
        ("metrics = ['luck']", "metrics"),
        ("probe = 'svm'", "probe"),
        ("name = ", "no valid TOML"),
    ],
)
def test_what_is_no_protocol_is_refused(line, message, tmp_path):
    lines = {"name": "name = 'x'", "probe": "probe = 'knn'", "shots": "shots = ['all']"}
    lines[line.split(" =")[0]] = line
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(lines.values()))
    with pytest.raises(ConfigError, match=message):
        read_protocol(str(path))


def test_settings_tell_what_was_done_and_no_path(protocol, rng):
    labels = rng.integers(0, 3, 60)
    results = evaluate([Table("x", one_hot(labels, 1, rng))], make_source(labels), [protocol])
    text = json.dumps(results.settings)
    assert "held out" in text
    assert make_source(labels).fingerprint() in text
    assert not any(mark in text for mark in ("/home", "/tmp", ".py"))
    runs = set(
        itertools.chain.from_iterable(
            protocol["shots"] for protocol in results.settings["protocols"]
        )
    )
    assert runs == {1, 5, "all"}


class Columned(ArraySource):
    """A source with other columns than its labels."""

    columns: dict

    def column(self, name):
        return self.columns[name]


def with_columns(labels, **columns):
    plain = make_source(labels)
    source = Columned(**{f.name: getattr(plain, f.name) for f in fields(plain)})
    source.columns = columns
    return source


def test_numbers_are_told(protocol, rng):
    redshift = rng.uniform(0, 0.3, 200)
    source = with_columns(np.zeros(200), redshift=redshift)
    hot = np.stack([redshift, 0.3 - redshift, *rng.normal(size=(3, 200))], 1)
    tables = [Table("holds it", 100 * hot[:, :2]), Table("noise", rng.normal(size=(200, 5)))]
    results = evaluate(tables, source, [protocol], target="redshift")
    assert results.settings["target"] == {"name": "redshift", "kind": "numbers", "found": "numbers"}
    usual = {"r2", "mae", "rmse", "scatter", "outliers", "bias"}
    assert {row["metric"] for row in results.summary} == usual
    assert summary(results, "noise", "all", "r2")["mean"] < 0.1
    row = summary(results, "noise", "all", "mae")
    assert row["low"] < np.abs(redshift - redshift.mean()).mean() < row["high"]
    better = summary(results, "holds it", "all", "mae")
    assert better["high"] < row["low"]


def test_several_labels_are_told(protocol, rng):
    bar, ring = rng.integers(0, 2, (2, 200))
    source = with_columns(np.zeros(200), bar=bar, ring=ring)
    tables = [Table("holds them", np.stack([bar, ring, 1 - bar, rng.normal(size=200)], 1))]
    results = evaluate(tables, source, [protocol], target="bar,ring")
    row = summary(results, "holds them", "all", "roc_auc")
    assert (row["mean"], row["high"]) == (1.0, 1.0)
    assert 0.85 < row["low"] < 1  # of 40 samples no score is certain
    assert summary(results, "holds them", "all", "roc_auc", "ring")["mean"] == 1.0
    assert summary(results, "holds them", "all", "average_precision")["mean"] == 1.0


@pytest.mark.parametrize("target", ["redshift", "bar,ring"])
@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_other_targets_are_not_read_in_the_test_set_either(target, probe, rng):
    redshift, marks = rng.uniform(size=240), rng.integers(0, 2, (2, 240))
    split = np.array(["train", "train", "test"] * 80)
    test = np.flatnonzero(split == "test")
    features = rng.normal(size=(240, 6)) + redshift[:, None]
    given = []
    for order in (test, test[::-1]):
        columns = {"redshift": redshift.copy(), "bar": marks[0].copy(), "ring": marks[1].copy()}
        for column in columns.values():
            column[test] = column[order]
        source = with_columns(np.zeros(240), **columns)
        source.split = split
        run = Protocol(name="x", probe=probe, shots=(2, "all"), draws=2)
        results = evaluate([Table("a", features)], source, [run], target=target)
        metric = {"redshift": "r2", "bar,ring": "average_precision"}[target]
        mean = summary(results, "a", "all", metric)["mean"]
        given.append((results.answers["x", "a"].guess, mean))
    assert np.array_equal(given[0][0], given[1][0])
    assert given[0][1] != given[1][1]


def test_reports_of_other_targets_are_whole(tmp_path, rng):
    numbers, marks = rng.uniform(size=120), rng.integers(0, 2, (2, 120))
    source = with_columns(np.zeros(120), redshift=numbers, bar=marks[0], ring=marks[1])
    tables = [Table(name, rng.normal(size=(120, 5))) for name in "ab"]
    run = Protocol(name="x", probe="linear", shots=(2, "all"), draws=2)
    for target, heading in (("redshift", "2 a fifth"), ("bar,ring", "2 a label")):
        evaluate(tables, source, [run], tmp_path / target, target=target)
        html = (tmp_path / target / "report.html").read_text()
        assert heading in html
        assert "nan" not in (tmp_path / target / "results.json").read_text().lower()


def test_metrics_are_those_of_the_protocol_that_the_target_has(rng):
    labels = rng.integers(0, 2, 60)
    run = Protocol(name="x", probe="knn", shots=("all",), metrics=("roc_auc", "r2", "accuracy"))
    results = evaluate([Table("a", one_hot(labels, 1, rng))], make_source(labels), [run])
    assert [row["metric"] for row in results.summary] == ["roc_auc", "accuracy"]
    of_numbers = Protocol(name="x", probe="knn", shots=("all",), metrics=("r2",))
    with pytest.raises(UserError, match="no metric for a target of classes: choose from accuracy"):
        evaluate([Table("a", one_hot(labels, 1, rng))], make_source(labels), [of_numbers])
    assert measuring(run, None) is run
    assert measuring(run, ["accuracy"]).metrics == ("accuracy",)
    with pytest.raises(UserError, match=r"unknown metric 'acuracy'\. Did you mean"):
        measuring(run, ["acuracy"])


def test_every_encoder_sees_the_same_draws(protocol, rng, monkeypatch):
    labels = rng.integers(0, 3, 150)
    rows = np.arange(150)[:, None] + np.zeros(4)  # features that tell the row
    seen = []

    def noting(protocol, target, features, labels, groups=None):
        seen.append((features % 1000)[:, 0].tolist())
        return fit_probe(protocol, target, features, labels, groups)

    fit_probe = fitting.fit_probe
    monkeypatch.setattr(fitting, "fit_probe", noting)
    tables = [
        Table(name, rows + np.array(more)) for name, more in (("a", 0), ("b", [1000, 9, 8, 7]))
    ]
    evaluate(tables, make_source(labels), [protocol])
    assert len(seen) == 2 * 9
    assert seen[:9] == seen[9:]
    assert len({tuple(one) for one in seen[:9]}) == 9
