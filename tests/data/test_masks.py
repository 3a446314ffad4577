from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import zarr

from domainjepa.data.checks.quarantine import lenient, strict
from domainjepa.data.masks.layouts import tell_apart
from domainjepa.data.opening import open_source
from domainjepa.data.parts.regions import in_regions
from domainjepa.errors import DataError

DRAW = np.random.default_rng(0)


def picture(path: Path, image: np.ndarray, mode: str | None = None) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = PIL.Image.fromarray(image)
    if mode == "P":
        made = PIL.Image.fromarray(image, mode="P")
        made.putpalette([*range(255, -1, -1)] * 3)
    made.save(path)
    return image


def scan(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> np.ndarray:
    """Values along x, y, z as they are stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return values


def grey(*shape: int) -> np.ndarray:
    return DRAW.integers(0, 255, shape or (16, 20), np.uint8)


def classes(*shape: int) -> np.ndarray:
    return DRAW.integers(0, 3, shape or (16, 20), np.uint8)


LAYOUTS = {
    "side by side": ("images/{}.png", "masks/{}.png"),
    "singular": ("image/{}.png", "label/{}.png"),
    "in each part": ("train/images/{}.png", "train/labels/{}.png"),
    "parts below": ("imgs/train/{}.png", "annotations/train/{}.png"),
    "joined words": ("train_images/{}.png", "train_masks/{}_mask.png"),
    "below the images": ("{}.png", "gt/{}.png"),
    "an ending": ("{}.png", "{}_mask.png"),
    "a beginning": ("img_{}.png", "seg_{}.png"),
    "a word by itself": ("case{}/image.png", "case{}/mask.png"),
    "a case's one image": ("case{}/ct.png", "case{}/seg.png"),
    "LiTS": ("volume-{}.png", "segmentation-{}.png"),
    "Synapse": ("imagesTr/img{:04}.png", "labelsTr/label{:04}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_masks_are_no_samples(tmp_path: Path, layout: tuple[str, str]) -> None:
    images, masks = {}, {}
    for number in range(3):
        images[number] = picture(tmp_path / layout[0].format(number), grey())
        masks[number] = picture(tmp_path / layout[1].format(number), classes())
    source = open_source(tmp_path)
    assert len(source) == 3
    assert source.masks is not None
    assert source.labels is None
    assert source.masks.known.all()
    for number in range(3):
        np.testing.assert_array_equal(source[number][..., 0], images[number])
        np.testing.assert_array_equal(source.masks[number], masks[number])
    assert any("3 files" in line and "data.masks=none" in line for line in source.warnings)
    together = open_source(tmp_path, masks="none")
    assert len(together) == 6
    assert together.masks is None


def test_folders_that_only_sound_like_masks_are_classes(tmp_path: Path) -> None:
    for folder in ("mask", "no_mask", "label"):
        for number in range(3):
            picture(tmp_path / folder / f"{number}.png", grey())
    source = open_source(tmp_path)
    assert source.classes == ("label", "mask", "no_mask")
    assert source.masks is None
    assert not any("masks" in line for line in source.warnings)


def test_a_folder_of_masks_alone_is_read(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}_mask.png", classes())
    assert len(open_source(tmp_path)) == 3


def test_the_users_pattern_goes_before_all(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.png", grey())
        tumours = picture(tmp_path / f"{number}_tumour.png", classes())
        picture(tmp_path / f"{number}_mask.png", classes())
    source = open_source(tmp_path, masks="*_tumour.png")
    assert len(source) == 3
    assert source.masks is not None
    np.testing.assert_array_equal(source.masks[2], tumours)
    alone = open_source(tmp_path, images="*_mask.png")
    assert (len(alone), alone.masks) == (3, None)
    some = open_source(tmp_path, images="[01].png")
    assert len(some) == 2
    assert some.masks is not None


def test_decathlon(tmp_path: Path) -> None:
    for number in range(3):
        scan(tmp_path / f"imagesTr/heart_{number}.nii.gz", grey(9, 8, 7).astype(np.int16))
        stored = scan(tmp_path / f"labelsTr/heart_{number}.nii.gz", classes(9, 8, 7))
    for number in (7, 8):
        scan(tmp_path / f"imagesTs/heart_{number}.nii.gz", grey(9, 8, 7).astype(np.int16))
    told = {"labels": {"0": "background", "1": "atrium"}}
    (tmp_path / "dataset.json").write_text(json.dumps(told))
    source = open_source(tmp_path, dimensions=3)
    assert source.split is not None
    assert source.split.tolist() == ["train"] * 3 + ["test"] * 2
    assert source.groups is not None
    assert source.groups.tolist() == [0, 1, 2, 3, 4]
    assert source.labels is None
    assert source.masks is not None
    assert source.masks.known.tolist() == [True] * 3 + [False] * 2
    assert source.masks.classes == {0: "background", 1: "atrium"}
    assert (
        "split: imagesTr is train, imagesTs is test, by the names of the folders" in source.warnings
    )
    # (x, y, z) to the right, anterior, superior -> (D, H, W) to superior, posterior, left
    expected = np.flip(stored.transpose(2, 1, 0), (1, 2))
    np.testing.assert_array_equal(source.masks[2], expected)
    with pytest.raises(DataError, match="sample 3 has no mask"):
        source.masks[3]


def test_a_mask_stored_another_way_round_lies_on_its_image(tmp_path: Path) -> None:
    inside = np.zeros((9, 8, 7), np.int16)
    inside[1:4, 2:5, 5:] = 400
    scan(tmp_path / "images/a.nii.gz", inside + 1)
    turned = np.diag([-1.0, 1, 1, 1])
    turned[0, 3] = 8
    scan(tmp_path / "labels/a.nii.gz", (inside[::-1] > 0).astype(np.float32), turned)
    source = open_source(tmp_path, dimensions=3)
    assert source.masks is not None
    assert source.masks[0].dtype.kind == "i"
    np.testing.assert_array_equal(source.masks[0] > 0, source[0][..., 0] > 1)


def test_nnunets_channels_are_channels(tmp_path: Path) -> None:
    images = {
        (case, channel): scan(
            tmp_path / f"imagesTr/c_{case}_000{channel}.nii.gz", grey(6, 6, 6).astype(np.int16)
        )
        for case in "ab"
        for channel in (0, 1)
    }
    for case in "ab":
        scan(tmp_path / f"labelsTr/c_{case}.nii.gz", classes(6, 6, 6))
    told = {"labels": {"background": 0, "whole": [1, 2], "core": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(told))
    source = open_source(tmp_path, dimensions=3)
    assert (len(source), source.shape) == (2, (6, 6, 6, 2))
    assert source.bands == ("0000", "0001")
    np.testing.assert_array_equal(
        source[1][..., 1], np.flip(images["b", 1].transpose(2, 1, 0), (1, 2))
    )
    assert source.masks is not None
    assert source.masks.classes == {0: "background", 2: "core"}
    assert source.masks[1].shape == (6, 6, 6)
    alone = open_source(tmp_path, dimensions=3, bands=("0001",))
    assert alone.shape == (6, 6, 6, 1)


def test_bids_derivatives() -> None:
    raw = [f"sub-0{one}/anat/sub-0{one}_T1w.nii.gz" for one in (1, 2)]
    below = "derivatives/tool/sub-0{0}/anat/sub-0{0}_"
    brains = [(below + "desc-brain_mask.nii.gz").format(one) for one in (1, 2)]
    other = [
        (below + ending).format(one)
        for ending in ("desc-preproc_T1w.nii.gz", "space-MNI152_desc-brain_mask.nii.gz")
        for one in (1, 2)
    ]
    found = tell_apart(sorted([*raw, *brains, *other]), (".nii.gz",), None)
    assert found.images == raw
    assert found.masks == {image: (mask,) for image, mask in zip(raw, brains, strict=True)}
    assert "left out: 2 files below derivatives/" in found.warnings[1]


def test_several_masks_of_one_image_are_laid_over_each_other(tmp_path: Path) -> None:
    """As of BUSI (x_mask, x_mask_1) and of the Data Science Bowl of 2018 (one for each nucleus)."""
    ends = np.zeros((2, 16, 20), np.uint8)
    ends[0, :4], ends[1, 12:] = 255, 255
    for case in "ab":
        picture(tmp_path / f"dsb/{case}/images/{case}.png", grey())
        picture(tmp_path / f"busi/{case} (1).png", grey())
        for number, end in enumerate(ends):
            picture(tmp_path / f"dsb/{case}/masks/{case}0f{number}.png", end)
            picture(tmp_path / f"busi/{case} (1)_mask{'_1' * number}.png", end)
    for folder in ("dsb", "busi"):
        source = open_source(tmp_path / folder)
        assert len(source) == 2
        assert source.masks is not None
        np.testing.assert_array_equal(source.masks[1], ends.max(axis=0))


def test_pictures_hold_numbers_of_classes(tmp_path: Path) -> None:
    told = classes()
    for number in range(4):
        picture(tmp_path / f"images/{number}.png", grey())
    picture(tmp_path / "masks/0.png", told, "P")
    picture(tmp_path / "masks/1.png", np.repeat(told[..., None], 3, axis=2))
    picture(tmp_path / "masks/2.png", grey(16, 20, 3))
    picture(tmp_path / "masks/3.png", classes(8, 8))
    source = open_source(tmp_path)
    assert source.masks is not None
    np.testing.assert_array_equal(source.masks[0], told)
    np.testing.assert_array_equal(source.masks[1], told)
    with pytest.raises(DataError, match="colours; a mask holds a number"):
        source.masks[2]
    with pytest.raises(DataError, match="is 8x8, and the image is 16x20"):
        source.masks[3]


def test_masks_stay_with_what_is_cut_and_wrapped(tmp_path: Path) -> None:
    for number in range(2):
        values = np.full((9, 8, 7), 5, np.int16)
        values[2:6, 1:5, 3:6] = grey(4, 4, 3)
        scan(tmp_path / f"images/{number}.nii", values)
        scan(tmp_path / f"masks/{number}.nii", values * (values != 5))
    volumes = open_source(tmp_path, dimensions=3)
    sources = [
        volumes,
        in_regions(volumes, 3),
        open_source(tmp_path, dimensions=3, tile=16),
        *(open_source(tmp_path, axis=axis) for axis in ("axial", "coronal", "sagittal")),
        open_source(tmp_path, tile=16),
        open_source(tmp_path, crop=5),
    ]
    sources += [strict(sources[4]), lenient(sources[4], np.arange(2), seed=0)]
    sources.append(pickle.loads(pickle.dumps(sources[4])))  # noqa: S301
    for source in sources:
        assert source.masks is not None
        assert len(source.masks) == len(source)
        for row in (0, len(source) - 1):
            image = source[row][..., 0]
            np.testing.assert_array_equal(source.masks[row], image * (image != 5))
    lost = strict(sources[4], lost=[1])
    assert lost.masks is not None
    assert not lost.masks.known[1]


def test_a_stand_in_brings_its_own_mask(tmp_path: Path) -> None:
    images = [picture(tmp_path / f"{number}.png", grey()) for number in range(3)]
    for number, image in enumerate(images):
        picture(tmp_path / f"{number}_mask.png", image // 100)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:120])
    source = lenient(open_source(tmp_path), np.arange(3), seed=0)
    assert source.masks is not None
    image = source[1][..., 0]
    np.testing.assert_array_equal(source.masks[1], image // 100)


def test_an_index_of_many_files_holds_plain_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domainjepa.data.files.index.MANY", 2)
    stored = [scan(tmp_path / f"{number}.nii", grey(5, 6, 7)) for number in range(3)]
    for _ in range(2):
        source = open_source(tmp_path, dimensions=3)
        for found, values in zip(source, stored, strict=True):
            expected = np.flip(values.transpose(2, 1, 0), (1, 2))
            np.testing.assert_array_equal(found[..., 0], expected)


def test_masks_of_fits(tmp_path: Path) -> None:
    from astropy.io import fits

    for number in range(3):
        fits.writeto(tmp_path / f"{number}.fits", np.full((9, 8), number, np.float32))
        fits.writeto(tmp_path / f"{number}_seg.fits", np.full((9, 8), number, np.int32))
    source = open_source(tmp_path)
    assert len(source) == 3
    assert source.masks is not None
    assert [int(source.masks[row].max()) for row in range(3)] == [0, 1, 2]
    assert replace(source).masks is source.masks


@pytest.mark.parametrize("kind", ["npz", "h5", "zarr"])
@pytest.mark.parametrize("names", [("images", "masks"), ("raw", "labels_seg"), ("ct", "label")])
def test_arrays_beside_the_images_are_masks(
    tmp_path: Path, kind: str, names: tuple[str, str]
) -> None:
    images, masks = grey(5, 16, 20), classes(5, 16, 20)
    path = tmp_path / f"set.{kind}"
    arrays = {names[0]: images, names[1]: masks, "patient": np.arange(5) // 2}
    if kind == "npz":
        np.savez(path, **arrays)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    else:
        group = zarr.create_group(path)
        for name, array in arrays.items():
            group.create_array(name, data=array)
    source = open_source(path)
    assert source.masks is not None
    assert source.groups is not None
    for row in range(5):
        np.testing.assert_array_equal(source[row][..., 0], images[row])
        np.testing.assert_array_equal(source.masks[row], masks[row])
    assert pickle.loads(pickle.dumps(source)).masks[4].shape == (16, 20)  # noqa: S301
    assert open_source(path, images=names[0], masks="none").masks is None
    cut = open_source(path, tile=8)
    assert cut.masks is not None
    np.testing.assert_array_equal(cut.masks[0], masks[0][:8, :8])


def test_an_array_that_is_named_and_is_no_masks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, images=grey(5, 16, 20), masks=classes(5, 8, 10), other=classes(5, 16, 20))
    assert open_source(path, images="images").masks is None
    with pytest.raises(DataError, match="5 masks of 8x10, and there are 5 images of 16x20"):
        open_source(path, images="images", masks="masks")
    named = open_source(path, images="images", masks="other")
    assert named.masks is not None
    assert named.masks[0].shape == (16, 20)
