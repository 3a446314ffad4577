"""Small DICOM files, made as a scanner would."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

NUMBERS = itertools.count(1)


def uid() -> str:
    """Another one each time."""
    return f"1.2.826.0.1.3680043.8.498.{next(NUMBERS)}"


def dataset(pixels: NDArray[Any] | None, **elements: Any) -> Dataset:
    """An image of one frame, (H, W) or (H, W, 3); more frames by NumberOfFrames.

    Args:
        pixels: stored values; None leaves the whole image out. Three dimensions are colour, unless
            NumberOfFrames says otherwise.
        elements: by keyword; None takes one away.
    """
    made = Dataset()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    made.SOPInstanceUID = uid()
    made.SeriesInstanceUID = "1.2.3.4.5"
    made.StudyInstanceUID = "1.2.3.4"
    made.PatientID = "p1"
    made.Modality = "MR"
    if pixels is not None:
        colour = pixels.ndim - ("NumberOfFrames" in elements) == 3
        made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
        made.SamplesPerPixel = 3 if colour else 1
        if colour:
            made.PlanarConfiguration = 0
        made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        made.BitsAllocated = made.BitsStored = 8 * pixels.dtype.itemsize
        made.HighBit = made.BitsStored - 1
        made.PixelRepresentation = int(pixels.dtype.kind == "i")
        made.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def save(made: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    dcmwrite(path, made, enforce_file_format=True)
    return path


def volume(depth: int = 5, rows: int = 6, columns: int = 4) -> NDArray[np.int16]:
    """Every voxel tells its own place: 100 * slice + 10 * row + column."""
    d, h, w = np.mgrid[:depth, :rows, :columns]
    return (100 * d + 10 * h + w).astype(np.int16)


OBLIQUE = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
"""Directions of rows and columns."""


def save_series(
    folder: Path,
    voxels: NDArray[Any],
    *,
    step: float = 2.5,
    first: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    plane: tuple[NDArray[Any], NDArray[Any]] = OBLIQUE,
    **elements: Any,
) -> list[Path]:
    """A file a slice; names and InstanceNumber run against the positions."""
    normal = np.cross(*plane)
    paths = []
    elements = {"SeriesInstanceUID": uid(), "PixelSpacing": [0.5, 0.75], **elements}
    for number, pixels in enumerate(voxels):
        made = dataset(
            pixels,
            ImageOrientationPatient=[*plane[0], *plane[1]],
            ImagePositionPatient=[f"{x:.6f}" for x in np.array(first) + number * step * normal],
            InstanceNumber=len(voxels) - number,
            **elements,
        )
        paths.append(save(made, folder / f"IM{len(voxels) - number:04}"))
    return paths


def quietly(made: Dataset, keyword: str, value: str | list[str]) -> None:
    """Sets an element to text that pydicom would refuse to write."""
    tag = Tag(keyword)
    text = "\\".join(value) if isinstance(value, list) else value
    raw = (text + " " * (len(text) % 2)).encode()
    made[tag] = RawDataElement(tag, dictionary_VR(tag), len(raw), raw, 0, False, True)
