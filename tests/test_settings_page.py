from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from domainjepa import settings
from domainjepa.config import PretrainConfig

_spec = importlib.util.spec_from_file_location(
    "reference", Path(__file__).parent.parent / "docs" / "reference.py"
)
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)


def test_the_page_of_settings_is_what_the_code_says() -> None:
    assert reference.SETTINGS.read_text() == reference.settings_page(), "run `make settings`"


def test_every_setting_has_its_default_its_values_and_words() -> None:
    listed = {}
    for line in reference.settings_page().splitlines():
        if line.startswith("| `"):
            name, *cells = re.split(r" (?<!\\)\| ", line.removeprefix("| ").removesuffix(" |"))
            listed[name.strip("`")] = cells
    assert set(listed) == set(settings.setting_names())
    default = settings.flat(PretrainConfig())
    for name, (shown, values, words) in listed.items():
        assert words, f"{name} has no docstring in domainjepa/config.py"
        assert values, name
        assert (shown == "unset") == (default[name] in (None, "")), name
    assert listed["objective.lam"][:2] == ["`0.05`", "number ≥ 0, ≤ 1"]
    assert listed["attention"][1] == "`auto`, `flash`, `math`"
