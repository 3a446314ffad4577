from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domainjepa.config import ViewsConfig
from domainjepa.data.opening import open_source
from domainjepa.data.simulated.survey import simulate_survey
from domainjepa.data.source import Source
from domainjepa.domains.astronomy import Astronomy
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Identity
from domainjepa.domains.natural import Natural
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.registry import DOMAINS
from domainjepa.views.shortcuts import (
    Nuisance,
    between_samples,
    measure,
    predicted,
    render,
    retrieved,
    shortcuts,
    warnings_of,
)
from domainjepa.views.views import ViewMaker

SIZES = ViewsConfig(num_global=2, num_local=2, global_size=32, local_size=16, global_scale=(0.5, 1))


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("data") / "survey.h5"
    simulate_survey(path, samples=200)
    return open_source(path)


def alarms(domain: Domain, survey: Source, **settings: Any) -> dict[str, Nuisance]:
    maker = ViewMaker(domain, Identity(), SIZES, 0)
    found = shortcuts(maker, survey, survey.rows(), 0, **settings)
    return {one.name: one for one in found}


def test_quiet_with_the_views_of_astronomy(survey: Source) -> None:
    found = alarms(Astronomy(), survey)
    assert set(found) == {"brightness", "contrast", "colour", "background", "noise", "blur"}
    assert not any(one.alarm for one in found.values())
    assert warnings_of(list(found.values())) == []


def test_without_gains_colour_identifies_a_galaxy_and_the_gain_is_named(survey: Source) -> None:
    found = alarms(Astronomy(without=("gain",)), survey)
    assert found["colour"].alarm
    assert found["colour"].retrieval > 5 * found["colour"].chance
    (warning,) = warnings_of([one for one in found.values() if one.name == "colour"])
    assert "take back gain, which views.without leaves out" in warning
    assert any("colour" in line and "ALARM" in line for line in render(list(found.values())))


def test_without_seeing_and_noise_the_blur_is_named(survey: Source) -> None:
    found = alarms(Astronomy(without=("seeing", "sky noise")), survey)
    assert [name for name, one in found.items() if one.alarm] == ["blur"]
    assert "seeing" in found["blur"].remedy


def test_colour_that_is_kept_on_purpose_says_so(survey: Source) -> None:
    colour = alarms(Astronomy(keep_colour=True), survey)["colour"]
    assert colour.alarm
    assert "keep_colour" in colour.remedy


def test_views_of_photographs_leave_the_colour_of_galaxies(survey: Source) -> None:
    colour = alarms(Natural(), survey)["colour"]
    assert colour.alarm
    assert "natural" in colour.remedy


def test_the_same_seed_measures_the_same(survey: Source) -> None:
    one = alarms(Astronomy(), survey, samples=40)
    assert one == alarms(Astronomy(), survey, samples=40)


def test_what_embeddings_know_of_a_nuisance(survey: Source) -> None:
    def embed(views: list[np.ndarray]) -> np.ndarray:
        noise = np.random.default_rng(0).normal(size=(len(views), 4))
        return np.column_stack([[view.mean() for view in views], noise])

    found = alarms(Astronomy(), survey, embed=embed, samples=60)
    known = {name: one.predicted for name, one in found.items()}
    assert known["brightness"] > 0.95
    assert known["noise"] < 0.3


def test_the_chance_is_that_of_so_few_samples(survey: Source) -> None:
    maker = ViewMaker(Astronomy(), Identity(), SIZES, 0)
    found = shortcuts(maker, survey, survey.rows()[:60], 0)
    assert {one.chance for one in found} == {2 / 60}
    draw = np.random.default_rng(0)
    by_luck = [retrieved(draw.normal(size=(60, 2, 1))) for _ in range(400)]
    assert np.mean(by_luck) == pytest.approx(2 / 60, abs=0.01)
    assert shortcuts(maker, survey, survey.rows()[:49], 0) == []


def test_few_samples_are_not_judged(survey: Source) -> None:
    maker = ViewMaker(Astronomy(), Identity(), SIZES, 0)
    assert shortcuts(maker, survey, survey.rows()[:8], 0) == []
    assert render([]) == []


def test_intraclass_correlation_is_the_share_between_samples() -> None:
    draw = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.9):
        samples = draw.normal(0, np.sqrt(share), (4000, 1, 2))
        values = samples + draw.normal(0, np.sqrt(1 - share), (4000, 4, 2))
        assert between_samples(values) == pytest.approx(share, abs=0.03)
    assert between_samples(np.ones((5, 4, 1))) == 0


def test_retrieval_is_chance_for_noise_and_1_for_an_identity() -> None:
    draw = np.random.default_rng(0)
    assert retrieved(draw.normal(size=(1000, 2, 1))) == pytest.approx(0.02, abs=0.015)
    identity = np.repeat(draw.normal(size=(500, 1, 2)), 2, axis=1)
    assert retrieved(identity) == 1
    # Where all are alike nothing is found.
    assert retrieved(np.zeros((500, 2, 1))) == 0


def test_prediction_leaves_whole_samples_out() -> None:
    """An embedding that only numbers the samples knows nothing of a new one's nuisance."""
    draw = np.random.default_rng(0)
    values = np.repeat(draw.normal(size=(60, 1, 1)), 4, axis=1)
    assert predicted(np.repeat(np.eye(60), 4, axis=0), values) < 0.05
    assert predicted(values.reshape(-1, 1), values) > 0.99
    assert predicted(values.reshape(-1, 1), np.ones((60, 4, 1))) == 0


def test_each_nuisance_answers_to_its_own_change() -> None:
    draw = np.random.default_rng(0)
    image = draw.uniform(0.2, 0.6, (32, 32, 3)).astype(np.float32)
    one = measure(image)
    assert measure(1.5 * image)["colour"] == pytest.approx(one["colour"], abs=0.01)
    assert measure(image + 0.2)["colour"] == pytest.approx(one["colour"], abs=1e-3)
    assert measure(image * [1, 1, 2])["colour"] != pytest.approx(one["colour"], abs=0.1)
    assert measure(image + 0.2)["background"] == pytest.approx(np.add(one["background"], 0.2))
    assert measure(image + 0.2)["brightness"] == pytest.approx(np.add(one["brightness"], 0.2))
    assert measure(image + 0.2)["noise"] == pytest.approx(one["noise"], abs=1e-3)
    smooth = (image[:-1] + image[1:]) / 2
    assert measure(smooth)["blur"] < one["blur"]
    assert measure(smooth)["noise"] < one["noise"]
    eight = np.rint(image * 255).astype(np.uint8)
    for name, values in measure(eight).items():
        assert values == pytest.approx(one[name], abs=0.02)
    assert "colour" not in measure(image[..., :1])


@pytest.mark.parametrize("name", DOMAINS.builtin)
def test_domains_say_which_nuisances_they_remove(name: str) -> None:
    known = set(measure(np.ones((16, 16, 3), np.float32)))
    for channels, dtype in ((1, np.uint8), (3, np.uint8), (5, np.float32)):
        steps = DOMAINS.load(name)().transforms(ViewSpec(32, (0.5, 1), channels, np.dtype(dtype)))
        removed = {nuisance for step in steps for nuisance in step.removes}
        assert removed <= known
        assert {"brightness", "blur", "noise"} <= removed
