"""Values beyond float32: taken into range by a scale that is told, or refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from astropy.io import fits

from domainjepa.config import IntensityConfig
from domainjepa.data.opening import open_source
from domainjepa.data.storage.precision import as_float32
from domainjepa.domains.intensity import Linear
from domainjepa.domains.stretches import fit_asinh, fit_own_scale, fit_stretch
from domainjepa.errors import DataError
from domainjepa.evaluation.encoders.baselines import Pixels

MAPS = np.random.default_rng(0).lognormal(size=(16, 16, 16))


def save(folder: Path, form: str, values: np.ndarray) -> Path:
    path = folder / f"maps.{form}"
    if form == "npz":
        np.savez(path, images=values)
    elif form == "h5":
        with h5py.File(path, "w") as file:
            file["images"] = values
    else:
        fits.PrimaryHDU(values).writeto(path)
    return path


@pytest.mark.parametrize("form", ["npz", "h5", "fits"])
@pytest.mark.parametrize("unit", [1e42, 1e-42, 1e300])
@pytest.mark.parametrize("fit", [fit_asinh, fit_own_scale, "linear", "zscale", "percentile"])
def test_the_unit_makes_no_difference(tmp_path: Path, form: str, unit: float, fit: object) -> None:
    path = save(tmp_path, form, MAPS * unit)
    source = open_source(path, axis="samples") if form == "fits" else open_source(path)
    images = source.__getitems__(range(16))
    plain = [image[..., None] for image in MAPS]

    def fitted(of: list[np.ndarray]) -> object:
        if callable(fit):
            return fit(of)
        return fit_stretch(of, IntensityConfig(stretch=str(fit)), "linear")  # type: ignore[arg-type]

    scaled, usual = fitted(images), fitted(plain)
    for image, same in zip(images, plain, strict=True):
        np.testing.assert_allclose(scaled(image), usual(same), rtol=2e-4, atol=2e-5)  # type: ignore[operator]
    if fit != fit_own_scale:
        assert "double precision" in scaled.describe()  # type: ignore[attr-defined]
        assert "double precision" not in usual.describe()  # type: ignore[attr-defined]


def test_a_constant_map_beyond_float32_is_zero() -> None:
    image = np.full((8, 8, 1), 1e42)
    linear = fit_stretch([image], IntensityConfig(stretch="linear"), "linear")
    assert isinstance(linear, Linear)
    assert (linear(image) == 0).all()


def test_fits_scaled_beyond_float32(tmp_path: Path) -> None:
    hdu = fits.PrimaryHDU(np.arange(64, dtype=np.int16).reshape(8, 8))
    hdu.header["BSCALE"] = 1e40
    hdu.writeto(tmp_path / "a.fits")
    image = open_source(tmp_path / "a.fits")[0]
    np.testing.assert_allclose(image[..., 0], np.arange(64.0).reshape(8, 8) * 1e40)


@pytest.mark.parametrize("unit", [1e42, 1e-42])
def test_where_nothing_scales_it_is_refused(tmp_path: Path, unit: float) -> None:
    says = r"beyond the range of float32 .*store them in other units"
    with pytest.raises(DataError, match=says):
        Pixels().transform([MAPS[0][..., None] * unit])
    nib.save(nib.Nifti1Image(MAPS * unit, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=says):
        open_source(tmp_path / "a.nii", dimensions=3)[0]


def test_what_fits_is_cast() -> None:
    values = np.array([0.0, 1.5, -3e38, np.nan, np.inf])
    np.testing.assert_array_equal(as_float32(values), values.astype(np.float32))
    assert as_float32(np.zeros(3)).dtype == np.float32
