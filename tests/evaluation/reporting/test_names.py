from __future__ import annotations

from domainjepa.evaluation.reporting.names import all_short, encoder_names, short


def test_long_names_are_cut_in_the_middle_and_stay_apart():
    assert short("a name\nof two lines", 40) == "a name of two lines"
    cut = short("x" * 3000 + "end", 40)
    assert (len(cut), cut[-3:]) == (40, "end")
    found = all_short(["a" * 3000, "a" * 2999, "b"], 28)
    assert len(set(found)) == 3
    assert all(len(name) <= 28 for name in found)
    assert found[2] == "b"


def test_the_one_untrained_twin_is_just_that():
    run = "galaxy10-decals-resnet34"
    names = encoder_names([run, f"{run} untrained", "pixels"])
    assert list(names.values()) == [run, "untrained", "pixels"]
    two = ["a", "b", "a untrained", "b untrained"]
    assert list(encoder_names(two).values()) == two
