from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError

zarr = pytest.importorskip("zarr")


def write(group: Any, axes: str, *levels: NDArray[Any]) -> Any:
    """An OME-Zarr 0.4 image with these resolutions."""
    for number, pixels in enumerate(levels):
        group.create_array(str(number), data=pixels, chunks=pixels.shape)
    kinds = {"t": "time", "c": "channel"}
    told = [{"name": one, "type": kinds.get(one, "space")} for one in axes]
    datasets = [{"path": str(number)} for number in range(len(levels))]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": told, "datasets": datasets}]
    return group


def store(path: Path, axes: str, *levels: NDArray[Any], **labels: tuple[str, Any]) -> None:
    """An image with label images: name -> (axes, resolutions)."""
    image = write(zarr.open_group(path, mode="w", zarr_format=2), axes, *levels)
    if labels:
        beside = image.create_group("labels")
        beside.attrs["labels"] = list(labels)
        for name, (own, pixels) in labels.items():
            write(beside.create_group(name), own, *pixels)


def image(*shape: int) -> NDArray[np.uint16]:
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape) + 1


def objects(*shape: int) -> NDArray[np.uint32]:
    """Two objects, 7 above and 9 below, and a border without one."""
    made = np.zeros(shape, np.uint32)
    half = shape[-2] // 2
    made[..., 1:half, 1:-1], made[..., half:-1, 1:-1] = 7, 9
    return made


def test_objects_of_a_label_image_are_of_one_class(tmp_path: Path) -> None:
    store(tmp_path / "a.zarr", "cyx", image(2, 12, 10), nuclei=("yx", [objects(12, 10)]))
    store(tmp_path / "b.zarr", "cyx", image(2, 12, 10))
    source = open_source(tmp_path)
    assert source.masks is not None
    assert source.masks.classes == {1: "nuclei"}
    assert source.masks.known.tolist() == [True, False]
    np.testing.assert_array_equal(source.masks[0], objects(12, 10) > 0)
    with pytest.raises(DataError, match="has no mask"):
        source.masks[1]


def test_label_images_are_classes_and_later_names_lie_on_top(tmp_path: Path) -> None:
    cell, core = objects(12, 10), np.zeros((12, 10), np.uint8)
    core[4:6, 3:5] = 3
    store(tmp_path / "a.zarr", "yx", image(12, 10), nucleus=("yx", [core]), cell=("yx", [cell]))
    source = open_source(tmp_path / "a.zarr")
    assert source.masks is not None
    assert source.masks.classes == {1: "cell", 2: "nucleus"}
    expected = np.where(core > 0, 2, cell > 0)
    np.testing.assert_array_equal(source.masks[0], expected)


def test_one_that_is_named_holds_classes_itself(tmp_path: Path) -> None:
    store(tmp_path / "a.zarr", "yx", image(12, 10), tissue=("yx", [objects(12, 10)]))
    source = open_source(tmp_path / "a.zarr", masks="tissue")
    assert source.masks is not None
    assert source.masks.classes is None
    np.testing.assert_array_equal(source.masks[0], objects(12, 10))
    assert open_source(tmp_path / "a.zarr", masks="none").masks is None
    with pytest.raises(DataError, match=r"no label image of that name\. Did you mean tissue"):
        open_source(tmp_path / "a.zarr", masks="tisue")


def test_each_time_and_depth_has_its_own(tmp_path: Path) -> None:
    labels = np.stack([objects(3, 12, 10), 2 * (objects(3, 12, 10) == 9)])
    store(
        tmp_path / "a.zarr",
        "tczyx",
        image(2, 1, 3, 12, 10),
        nuclei=("tzyx", [labels]),
    )
    source = open_source(tmp_path / "a.zarr", dimensions=3)
    assert source.masks is not None
    for row in range(2):
        np.testing.assert_array_equal(source.masks[row], labels[row] > 0)


def test_the_resolution_of_the_image_is_taken(tmp_path: Path) -> None:
    fine, coarse = objects(12, 10), objects(6, 5)
    levels = image(12, 10), image(6, 5)
    store(tmp_path / "a.zarr", "yx", *levels, nuclei=("yx", [fine, coarse]))
    store(tmp_path / "b.zarr", "yx", *levels, nuclei=("yx", [coarse]))
    source = open_source(tmp_path, images="1")
    assert source.masks is not None
    np.testing.assert_array_equal(source.masks[0], coarse > 0)
    np.testing.assert_array_equal(source.masks[1], coarse > 0)
    fine_ones = open_source(tmp_path).masks
    assert fine_ones is not None
    assert fine_ones.known.tolist() == [True, False]


def test_labels_that_the_metadata_name_and_that_are_gone(tmp_path: Path) -> None:
    store(tmp_path / "a.zarr", "yx", image(12, 10), nuclei=("yx", [objects(12, 10)]))
    zarr.open_group(tmp_path / "a.zarr" / "labels").attrs["labels"] = ["lost"]
    with pytest.raises(DataError, match=r"labels/lost.*data.masks=none"):
        open_source(tmp_path / "a.zarr")
    assert len(open_source(tmp_path / "a.zarr", masks="none")) == 1
