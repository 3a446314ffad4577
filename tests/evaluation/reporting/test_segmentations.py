"""Colours of masks in pictures."""

from __future__ import annotations

import numpy as np

from domainjepa.evaluation.reporting import segmentations
from domainjepa.evaluation.reporting.figures import COLOURS
from domainjepa.evaluation.reporting.segmentations import ANOTHER, MISSED, TOO_MUCH


def test_errors_have_three_colours_and_what_is_right_or_unknown_none() -> None:
    grey = np.full((2, 3, 3), 200, np.uint8)
    truth = np.array([[0, 1, 1], [-1, 2, 0]])
    guess = np.array([[1, 0, 2], [-1, 2, 0]])
    shown = segmentations.errors(grey, truth, guess)
    assert [tuple(one) for one in shown[0]] == [TOO_MUCH, MISSED, ANOTHER]
    assert (shown[1] == shown[1, 0, 0]).all()


def test_no_error_looks_like_a_structure_and_every_structure_has_a_word() -> None:
    of_structures = np.array([segmentations._rgb(colour) for colour in COLOURS])
    for error in (TOO_MUCH, MISSED, ANOTHER):
        assert np.abs(of_structures - error).sum(axis=1).min() > 100
    assert len(segmentations.WORDS) == len(COLOURS)
    assert segmentations.legend(["anterior", "posterior"]) == (
        "blue is anterior, orange is posterior"
    )
