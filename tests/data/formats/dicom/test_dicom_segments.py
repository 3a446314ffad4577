"""Segmentation objects beside the series that they were drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import pack_bits
from pydicom.sequence import Sequence

from domainjepa.data.opening import open_source
from tests.data.formats.dicom.dicom_files import dataset, save, save_series, uid, volume

INSIDE = np.random.default_rng(0).integers(0, 2, (2, 5, 6, 4), dtype=np.uint8)
"""Of segment 1 and 2, in slices from the foot of the normal upwards."""
INSIDE[1, 3:] = 0  # planes that the object leaves out


def item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def segment(number: int, scheme: str, meaning: str) -> Dataset:
    code = item(CodeValue="1", CodingSchemeDesignator=scheme, CodeMeaning=meaning)
    return item(
        SegmentNumber=number,
        SegmentLabel="Meier's tumour",
        SegmentedPropertyTypeCodeSequence=Sequence([code]),
    )


def segmentation(
    folder: Path, images: list[Path], shift: float = 0.0, kind: str = "BINARY"
) -> Path:
    """Both segments, without the planes in which there is nothing of one."""
    groups, frames = [], []
    for number, inside in enumerate(INSIDE, 1):
        for path, drawn in zip(images, inside, strict=True):
            if not drawn.any():
                continue
            image = pydicom.dcmread(path)
            x, y, z = map(float, image.ImagePositionPatient)
            named = item(
                ReferencedSOPClassUID=image.SOPClassUID,
                ReferencedSOPInstanceUID=image.SOPInstanceUID,
            )
            group = item(
                DerivationImageSequence=Sequence([item(SourceImageSequence=Sequence([named]))]),
                SegmentIdentificationSequence=Sequence([item(ReferencedSegmentNumber=number)]),
                PlanePositionSequence=Sequence([item(ImagePositionPatient=[x, y, z + shift])]),
                PlaneOrientationSequence=Sequence(
                    [item(ImageOrientationPatient=list(image.ImageOrientationPatient))]
                ),
            )
            groups.append(group)
            frames.append(drawn)
    made = dataset(
        np.stack(frames),
        NumberOfFrames=len(frames),
        Modality="SEG",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4",
        SeriesInstanceUID=uid(),
        SegmentationType=kind,
        SegmentSequence=Sequence([segment(1, "SCT", "Liver"), segment(2, "99MEIER", "Meier")]),
        PerFrameFunctionalGroupsSequence=Sequence(groups),
    )
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = 0
    made.PixelData = pack_bits(np.stack(frames))
    return save(made, folder / "seg.dcm")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = save_series(tmp_path / "ct", volume(), Modality="CT")
    segmentation(tmp_path, images)
    save_series(tmp_path / "other", volume(), Modality="CT")
    return tmp_path


def test_masks_are_those_of_the_slices_that_frames_name(folder: Path) -> None:
    expected = np.maximum(INSIDE[0], 2 * INSIDE[1])
    for dimensions in (2, 3):
        source = open_source(folder, dimensions=dimensions)
        assert source.masks is not None
        assert (len(source), source.modality) == (10 if dimensions == 2 else 2, "CT")
        assert source.masks.classes == {0: "background", 1: "Liver", 2: "segment 2"}
        assert int(source.masks.known.sum()) == len(source) // 2
        rows = np.flatnonzero(source.masks.known).tolist()
        found = np.concatenate([np.reshape(source.masks[row], (-1, 6, 4)) for row in rows])
        shown = np.concatenate([np.reshape(source[row], (-1, 6, 4)) for row in rows])
        np.testing.assert_array_equal(shown, volume())
        np.testing.assert_array_equal(found, expected)
        assert any("1 SEG files of 2 segments" in line for line in source.warnings)
        assert "Meier" not in f"{source.decisions} {source.warnings} {source.masks.classes}"
    assert open_source(folder, masks="none").masks is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"shift": 1.0}, "image's own plane"), ({"kind": "FRACTIONAL"}, "no segments")],
)
def test_what_is_not_of_these_images_is_left_out_with_the_reason(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    images = save_series(tmp_path / "ct", volume(), Modality="CT")
    segmentation(tmp_path, images, **changed)
    source = open_source(tmp_path)
    assert (len(source), source.masks) == (5, None)
    assert any(said in line for line in source.warnings)
