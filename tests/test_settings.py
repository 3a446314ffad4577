from __future__ import annotations

import tomllib

import pytest

from domainjepa import settings
from domainjepa.config import PretrainConfig
from domainjepa.errors import ConfigError


def test_layers_lie_over_each_other_in_order() -> None:
    recipe = {"objective": {"lam": 0.1, "num_slices": 7}, "batch_size": 32}
    resolved = settings.resolve(recipe, ["objective.lam=0.2", "batch_size=64"], {"batch_size": 128})
    assert resolved.objective.num_slices == 7
    assert resolved.objective.lam == 0.2
    assert resolved.batch_size == 128
    assert resolved.objective.knots == 17


def test_the_later_word_of_epochs_and_steps_counts() -> None:
    recipe = {"steps": 100}
    assert settings.resolve(recipe, ["epochs=3"]).steps is None
    assert settings.resolve(recipe, (), {"epochs": 3}).steps is None
    assert settings.resolve(recipe, ["epochs=3", "steps=5"]).steps == 5


def test_flags_that_were_not_given_change_nothing() -> None:
    assert settings.resolve({"seed": 5}, (), {"seed": None}).seed == 5


def test_toml_round_trip_without_the_path() -> None:
    config = settings.resolve(
        None, ["views.global_scale=[0.5, 1.0]", "optimizer.lr=1e-3", "data.path=/a/patient.h5"]
    )
    text = settings.to_toml(config)
    assert "patient" not in text
    again = settings.resolve(tomllib.loads(text), ["data.path=/a/patient.h5"])
    assert again == config


def test_a_card_name_is_no_path_and_stays() -> None:
    text = settings.to_toml(settings.resolve(None, ["data.path=galaxy10-decals"]))
    assert "galaxy10-decals" in text


@pytest.mark.parametrize(
    ("assignment", "hint"),
    [
        ("lamda=0.1", "objective.lam"),
        ("objective.lamda=0.1", "objective.lam"),
        ("optimizer.learning_rate=1", "optimizer.lr"),
        ("nonsense=1", "settings.md"),
        ("objective=1", "group of settings"),
        ("objective.lam", "has no '='"),
        ("objective.lam=2", "less than or equal to 1"),
        ("objective.lam=high", "valid number"),
        ("views.num_global=two", "valid integer"),
        ("backbone.stem_reduction=3", "'auto', 1, 2 or 4"),
        ("batch_size=1.5", "valid integer"),
    ],
)
def test_wrong_settings_are_refused_with_a_hint(assignment: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.resolve(None, [assignment])
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("data.images=1", "1"),
        ('data.images="1"', "1"),
        ("data.images=*_g.fits[SCI]", "*_g.fits[SCI]"),
        ("data.axis=0", "0"),
        ("data.labels=2024-01-01", "2024-01-01"),
        ("data.labels=none", None),
        ("data.bands=[1,2]", ("1", "2")),
        ("data.bands=[g,r,i]", ("g", "r", "i")),
        ("data.bands=g,r", ("g", "r")),
        ('data.bands=["a,b", "c"]', ("a,b", "c")),
        ('data.bands="a,b"', ("a,b",)),
        ("data.bands=none", ()),
        ("views.without=[gain]", ("gain",)),
        ("intensity.windows=brain", ("brain",)),
        ("intensity.windows=40/80", ("40/80",)),
        ("backbone.stem_reduction=2", 2),
    ],
)
def test_text_and_names_need_no_quotes(assignment: str, value: object) -> None:
    assert settings.flat(settings.resolve(None, [assignment]))[assignment.split("=")[0]] == value


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"data": {"images": 1}}, "valid string"),
        ({"intensity": {"windows": "brain"}}, "list in square brackets"),
        ({"data": {"bands": [1, 2]}}, "valid string"),
    ],
)
def test_a_recipe_says_what_it_means(recipe: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        settings.resolve(recipe)


def test_unknown_keys_of_a_recipe_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"objective\.lam"):
        settings.resolve({"objective": {"lamda": 0.1}})


def test_one_view_alone_predicts_nothing() -> None:
    with pytest.raises(ConfigError, match="two views"):
        settings.resolve(None, ["views.num_global=1", "views.num_local=0"])


def test_a_scale_goes_from_low_to_high() -> None:
    with pytest.raises(ConfigError, match=r"from 0\.9 to 0\.1"):
        settings.resolve(None, ["views.local_scale=[0.9, 0.1]"])


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PretrainConfig().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("text", ["optimizer.lr=inf", "objective.t_max=inf", "objective.lam=nan"])
def test_settings_are_finite(text: str) -> None:
    with pytest.raises(ConfigError, match="finite number"):
        settings.resolve(None, [text])


def test_artefacts_hold_no_root_and_no_person_of_a_condition() -> None:
    config = settings.resolve(
        None,
        ['data.where=["patient_id=Smith", "source=vindr", "StudyID>=7"]', "data.root=/mnt/smith"],
    )
    data = settings.without_paths(config)["data"]
    assert data["where"] == ["patient_id=…", "source=vindr", "StudyID>=…"]
    assert "smith" not in settings.to_toml(config).lower()
