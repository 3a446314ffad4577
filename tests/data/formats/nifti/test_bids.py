from __future__ import annotations

import numpy as np

from domainjepa.data.formats.nifti.bids import read_names
from tests.data.toys import Arrays, toy


def named(files: list[str], file_of: list[int] | None = None) -> Arrays:
    numbers = np.array(file_of or range(len(files)))
    source = toy(Arrays, [np.zeros((4, 4, 4, 1))] * len(numbers))
    read_names(source, files, numbers)
    return source


def test_subjects_are_groups_and_no_classes() -> None:
    source = named(
        [f"sub-{name}/ses-{ses}/anat/sub-{name}_T1w.nii.gz" for name in "BAC" for ses in "12"]
    )
    assert source.groups is not None
    assert source.groups.tolist() == [1, 1, 0, 0, 2, 2]
    assert source.labels is None
    assert source.modality == "MR"
    assert not any("sub-A" in line for line in source.decisions + source.warnings)


def test_folders_above_the_subjects_are_classes_and_splits() -> None:
    source = named(
        [
            f"{part}/{kind}/sub-{part}{kind}{number}/anat/sub-{part}{kind}{number}_FLAIR.nii"
            for part in ("train", "test")
            for kind in ("control", "lesion")
            for number in range(3)
        ]
    )
    assert source.classes == ("control", "lesion")
    assert source.labels is not None
    assert source.labels.tolist() == ([0] * 3 + [1] * 3) * 2
    assert source.split is not None
    assert source.split.tolist() == ["train"] * 6 + ["test"] * 6


def test_a_folder_for_each_volume_is_no_class() -> None:
    source = named([f"{name}/t1.nii" for name in ("anna", "bert", "cora")])
    assert source.labels is None
    assert source.classes is None
    assert not any("anna" in line for line in source.decisions + source.warnings)


def test_folders_of_patients_are_groups_unless_they_are_said_to_be_classes() -> None:
    files = [f"{name}/{scan}.nii" for name in ("SMITH_JOHN", "DOE_JANE") for scan in ("t1", "t2")]
    source = named(files)
    assert source.labels is None
    assert source.classes is None
    assert source.groups is not None
    assert source.groups.tolist() == [1, 1, 0, 0]
    assert not any("SMITH" in line for line in source.decisions + source.warnings)
    told = toy(Arrays, [np.zeros((4, 4, 4, 1))] * 4)
    read_names(told, files, np.arange(4), classes=True)
    assert told.classes == ("DOE_JANE", "SMITH_JOHN")


def test_volumes_of_a_series_share_label_and_group() -> None:
    files = [f"{kind}/sub-{number}{kind}_bold.nii" for kind in "ab" for number in range(2)]
    source = named(files, [0, 0, 0, 1, 2, 3, 3])
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 0, 2, 1, 3, 3]


def test_mixed_kinds_are_told() -> None:
    source = named(["sub-1_T1w.nii", "sub-1_bold.nii", "sub-2_T1w.nii"])
    assert "T1w 2, bold 1" in source.warnings[-1]
    assert "data.images='*_T1w.nii*'" in source.warnings[-1]
    assert source.modality == "MR"


def test_other_names_tell_nothing() -> None:
    source = named(["a_1.nii", "b_2.nii", "sub-3_T1w.nii"])
    assert source.groups is None
    assert source.modality is None
    assert not source.warnings
