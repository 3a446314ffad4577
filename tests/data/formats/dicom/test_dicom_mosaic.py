"""Siemens' mosaics, against nibabel's reading of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.dicom.dicom_files import dataset, save

nicom = pytest.importorskip("nibabel.nicom.dicomwrappers")
SLICES, ROWS, COLUMNS = 7, 6, 8  # nine tiles, two of them empty


def csa(**entries: list[str]) -> bytes:
    """A CSA2 header with these entries."""
    data = b"SV10\4\3\2\1" + struct.pack("<II", len(entries), 77)
    for name, items in entries.items():
        kind = b"FD" if "." in items[0] else b"IS"
        data += struct.pack("<64si4siii", name.encode(), len(items), kind, 6, len(items), 77)
        for item in items:
            text = item.encode() + b"\0"
            data += struct.pack("<4i", len(text), len(text), 77, len(text))
            data += text + b"\0" * (-len(text) % 4)
    return data


def volume() -> NDArray[np.uint16]:
    return np.arange(SLICES * ROWS * COLUMNS, dtype=np.uint16).reshape(SLICES, ROWS, COLUMNS)


def mosaic(where: str = "element", normal: float = 1.0, **elements: Any) -> Dataset:
    tiles = np.zeros((9, ROWS, COLUMNS), np.uint16)
    tiles[:SLICES] = volume()
    image = tiles.reshape(3, 3, ROWS, COLUMNS).swapaxes(1, 2).reshape(3 * ROWS, 3 * COLUMNS)
    made = dataset(
        image,
        ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"],
        ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6],
        ImagePositionPatient=[-30, 12.5, 7],
        PixelSpacing=[2.5, 2.0],
        SpacingBetweenSlices=3.5,
        **elements,
    )
    if where == "element":
        block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", SLICES)
    block = made.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    turned = normal * np.cross([1, 0, 0], [0, 0.8, 0.6])
    entries = {"SliceNormalVector": [f"{number:.8f}" for number in turned]}
    if where != "nowhere":
        entries["NumberOfImagesInMosaic"] = [str(SLICES)]
    block.add_new(0x10, "OB", csa(**entries))
    return made


@pytest.mark.parametrize("where", ["element", "header"])
@pytest.mark.parametrize("normal", [1.0, -1.0])
def test_a_mosaic_is_its_slices(tmp_path: Path, where: str, normal: float) -> None:
    made = mosaic(where, normal)
    path = save(made, tmp_path / "a.dcm")
    slices = open_source(path)
    assert len(slices) == SLICES
    assert slices.shape == (ROWS, COLUMNS, 1)
    whole = open_source(path, dimensions=3)
    assert whole.shape == (SLICES, ROWS, COLUMNS, 1)
    # Slices follow each other along the normal of rows and columns, wherever the first one lay.
    along = volume() if normal > 0 else volume()[::-1]
    np.testing.assert_array_equal(whole[0][..., 0], along)
    np.testing.assert_allclose(whole.spacings, [[3.5, 2.5, 2.0]])
    # nibabel's voxel is (row, column, slice).
    theirs = nicom.MosaicWrapper(made).affine
    for voxel in ((0, 0, 0), (SLICES - 1, 0, 0), (2, 3, 5)):
        depth = voxel[0] if normal > 0 else SLICES - 1 - voxel[0]
        mine = whole.affines[0] @ [depth, *voxel[1:], 1]
        np.testing.assert_allclose(mine, theirs @ [voxel[1], voxel[2], voxel[0], 1], atol=1e-6)


def test_each_file_of_a_series_of_mosaics_is_a_volume(tmp_path: Path) -> None:
    for time in range(3):
        save(mosaic(InstanceNumber=time + 1), tmp_path / f"{time}.dcm")
    assert len(open_source(tmp_path, dimensions=3)) == 3
    assert len(open_source(tmp_path)) == 3 * SLICES


def test_a_mosaic_of_nobody_knows_how_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not tell of how many"):
        open_source(save(mosaic("nowhere"), tmp_path / "a.dcm"))


def test_a_mosaic_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    made = mosaic()
    made[0x0019100A].value = 70
    with pytest.raises(DataError, match="mosaic of 70 slices, which its sides do not fit"):
        open_source(save(made, tmp_path / "a.dcm"))
