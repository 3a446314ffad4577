from __future__ import annotations

from pathlib import Path

from domainjepa import settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def test_the_page_lists_every_setting_and_no_other() -> None:
    listed = {
        line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")
    }
    assert listed == set(settings.setting_names())
