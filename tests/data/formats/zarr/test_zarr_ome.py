from __future__ import annotations

from typing import Any

import pytest

from domainjepa.data.formats.zarr import ome
from domainjepa.errors import DataError


def image(axes: list[Any], *scales: list[float], whole: list[float] | None = None) -> Any:
    """The attributes of an image; one resolution for each scale."""
    datasets = [
        {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for number, scale in enumerate(scales)
    ]
    told: dict[str, Any] = {"axes": axes, "datasets": datasets}
    if whole:
        told["coordinateTransformations"] = [{"type": "scale", "scale": whole}]
    return {"multiscales": [told]}


def space(name: str, unit: str = "micrometer") -> dict[str, str]:
    return {"name": name, "type": "space", "unit": unit}


@pytest.mark.parametrize("nested", [False, True])
def test_scales_become_millimetres(nested: bool) -> None:
    axes = [{"name": "c", "type": "channel"}, space("z", "nanometer"), space("y"), space("x")]
    told = image(axes, [1, 500, 0.5, 0.25], [1, 500, 1.0, 0.5], whole=[1, 2, 1, 1])
    found = ome.level({"ome": told} if nested else told, "1", "it")
    assert found is not None
    assert (found.path, found.axes, found.levels) == ("1", "czyx", 2)
    assert found.spacing == pytest.approx((1e-3, 1e-3, 5e-4))


@pytest.mark.parametrize(
    "axes",
    [
        [space("y", ""), space("x", "")],
        [space("y", "parsec"), space("x")],
        [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}],
        ["y", "x"],
    ],
)
def test_no_unit_no_spacing(axes: list[Any]) -> None:
    found = ome.level(image(axes, [0.5, 0.5]), None, "it")
    assert found is not None
    assert (found.axes, found.spacing) == ("yx", None)


def test_axes_by_type_whatever_they_are_called() -> None:
    axes = [
        {"name": "frame", "type": "time"},
        {"name": "dye", "type": "channel"},
        space("depth"),
        space("row"),
        space("column"),
    ]
    found = ome.level(image(axes, [1, 1, 1, 1, 1]), None, "it")
    assert found is not None
    assert found.axes == "tczyx"


@pytest.mark.parametrize(
    "axes",
    [
        [space("x")],
        [{"name": "wavelength"}, space("y"), space("x")],
        [{"name": "t", "type": "time"}, {"name": "t2", "type": "time"}, space("y"), space("x")],
        [space("a"), space("b"), space("c"), space("d")],
    ],
)
def test_other_axes_are_refused(axes: list[Any]) -> None:
    with pytest.raises(DataError, match=r"the axes of it are .*; t, c, z, y, x are read"):
        ome.level(image(axes, [1.0] * len(axes)), None, "it")


def test_the_first_versions_had_five_axes() -> None:
    told = {"multiscales": [{"datasets": [{"path": "0"}]}]}
    assert ome.level(told, None, "it") == ome.Level("0", "tczyx", None, 1)


def test_plates_and_series() -> None:
    assert ome.wells({"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}) == ["A/1", "B/2"]
    assert ome.wells({"multiscales": []}) is None
    assert ome.fields({"ome": {"well": {"images": [{"path": "0"}, {"path": "1"}]}}}) == ["0", "1"]
    assert ome.is_series({"bioformats2raw.layout": 3})
    assert ome.level({}, None, "it") is None
