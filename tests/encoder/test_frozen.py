from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks as checks
from torch import nn

from domainjepa import open_source
from domainjepa.encoder.artefact import load_encoder, save_encoder, seal
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.samples import as_stored, framed
from domainjepa.errors import DataError, UserError


@pytest.fixture(scope="module")
def images(blobs: Path) -> np.ndarray:
    source = open_source(blobs)
    return np.stack([source[i] for i in range(24)])


def test_what_is_computed_is_what_the_card_says(run: Path, images: np.ndarray) -> None:
    encoder = FrozenEncoder(run)
    card, weights = load_encoder(run)
    from domainjepa.backbones import Backbone

    backbone = Backbone(card.backbone, card.channels, card.size)
    backbone.load_state_dict(weights)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (card.mean, card.std)
    )
    with torch.no_grad():
        expected = backbone.eval().double()((pixels - mean) / std)
    np.testing.assert_allclose(encoder.transform(images), expected, rtol=1e-3, atol=1e-4)


def test_a_source_an_array_and_a_list_give_the_same(run: Path, blobs: Path) -> None:
    source = open_source(blobs)
    array = np.stack([source[i] for i in range(len(source))])
    encoder = FrozenEncoder(run)
    from_array = encoder.transform(array)
    assert from_array.dtype == np.float32
    assert from_array.shape == (len(source), len(encoder.get_feature_names_out()))
    np.testing.assert_array_equal(encoder.transform(source), from_array)
    np.testing.assert_array_equal(encoder.transform(list(array)), from_array)


def test_the_batch_size_changes_nothing(run: Path, images: np.ndarray) -> None:
    whole = FrozenEncoder(run).transform(images)
    np.testing.assert_allclose(
        FrozenEncoder(run, batch_size=5).transform(images), whole, rtol=1e-4, atol=1e-5
    )


def test_it_drops_into_a_pipeline(run: Path, blobs: Path, images: np.ndarray) -> None:
    labels = open_source(blobs).labels
    assert labels is not None
    pipeline = make_pipeline(FrozenEncoder(run), StandardScaler(), LogisticRegression())
    pipeline.fit(images, labels[:24])
    assert pipeline.score(images, labels[:24]) > 0.9
    assert clone(pipeline).fit(images, labels[:24]).predict(images).shape == (24,)


def test_clone_and_parameters(run: Path) -> None:
    encoder = FrozenEncoder(run, batch_size=7)
    copy = clone(encoder)
    assert copy.get_params() == encoder.get_params()
    assert copy.set_params(batch_size=3).batch_size == 3


def test_a_pickle_works_where_the_file_is_not(
    run: Path, images: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "encoder.safetensors"
    path.write_bytes((run / "encoder.safetensors").read_bytes())
    encoder = FrozenEncoder(path)
    expected = encoder.transform(images)
    buffer = io.BytesIO()
    joblib.dump(encoder, buffer)
    path.unlink()
    buffer.seek(0)
    np.testing.assert_array_equal(joblib.load(buffer).transform(images), expected)


def test_set_output(run: Path, images: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    frame = FrozenEncoder(run).set_output(transform="pandas").fit_transform(images)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns)[:2] == ["test_resnet_0", "test_resnet_1"]


@pytest.mark.parametrize(
    "check",
    [
        # `check_estimator` as a whole skips estimators whose input is no table of numbers; these
        # are its checks that ask for no input.
        checks.check_no_attributes_set_in_init,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_mixin_order,
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learns_own_checks(run: Path, check: Callable[..., None]) -> None:
    check("FrozenEncoder", FrozenEncoder(run))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((0, 32, 32, 3), np.uint8), "0 samples"),
        (np.zeros((2, 32, 32, 4), np.uint8), "3 channels"),
        (np.zeros((32, 32, 3), np.uint8), "image[None]"),
        (np.zeros((5, 7)), "shape"),
        (np.array([["a"]]), "shape"),
        (None, "None"),
        (np.zeros((2, 0, 32, 3), np.uint8), "0 px"),
        ([np.zeros((32, 32, 3), np.uint8), np.zeros((5, 0, 3), np.uint8)], "0 px"),
    ],
)
def test_input_that_is_no_image_is_refused(run: Path, images: np.ndarray, words: str) -> None:
    with pytest.raises(DataError) as caught:
        FrozenEncoder(run).transform(images)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"batch_size": 0}, "batch_size=0"), ({"batch_size": -1}, "=-1"), ({"device": "foo"}, "foo")],
)
def test_parameters_that_cannot_be_used_are_refused(
    run: Path, images: np.ndarray, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        FrozenEncoder(run, **parameters).transform(images)


def test_tied_weights_are_saved_and_loaded(run: Path, tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

    saved, loaded = Tied(), Tied()
    save_encoder(tmp_path / "tied.safetensors", saved, load_encoder(run)[0])  # type: ignore[arg-type]
    loaded.load_state_dict(load_encoder(tmp_path / "tied.safetensors")[1])
    assert torch.equal(loaded.second.weight, saved.first.weight)
    assert loaded.second.weight is loaded.first.weight


@pytest.mark.parametrize("dtype", ["foo", "object", "datetime64[s]"])
def test_a_card_with_a_dtype_of_no_image_is_refused(run: Path, tmp_path: Path, dtype: str) -> None:
    card, weights = load_encoder(run)
    forged = card.model_copy(update={"dtype": dtype})
    forged = forged.model_copy(update={"sha256": seal(forged, weights)})
    path = tmp_path / "encoder.safetensors"
    save_file(weights, path, {"domainjepa": forged.model_dump_json()})
    with pytest.raises(UserError, match="no encoder of domainjepa"):
        load_encoder(path)


def test_a_flipped_bit_of_the_weights_is_found(run: Path, tmp_path: Path) -> None:
    data = bytearray((run / "encoder.safetensors").read_bytes())
    data[-5] ^= 1
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="SHA-256"):
        load_encoder(path)


def test_a_changed_number_of_the_card_is_found(run: Path, tmp_path: Path) -> None:
    data = (run / "encoder.safetensors").read_bytes()
    start = data.index(b"mean") + len(b'mean\\":[0.')
    changed = data[:start] + (b"7" if data[start : start + 1] != b"7" else b"3") + data[start + 1 :]
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(changed)
    with pytest.raises(UserError, match="SHA-256"):
        load_encoder(path)


def test_images_of_another_dtype_are_cast_exactly_or_refused(run: Path, images: np.ndarray) -> None:
    encoder = FrozenEncoder(run)
    expected = encoder.transform(images)
    for dtype in (np.float64, np.float32, np.int64):
        np.testing.assert_array_equal(encoder.transform(images.astype(dtype)), expected)
    for wrong in (images / 255, images.astype(np.float32) - 300, images * 1.5):
        with pytest.raises(DataError, match="pretrained on uint8"):
            encoder.transform(wrong)
    assert as_stored(images.astype(np.float64), np.dtype(np.float32)).dtype == np.float32


def test_names_keep_their_dots(run: Path, tmp_path: Path) -> None:
    for name in ("lam0.05", "lam0.1"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "encoder.safetensors").write_bytes((run / "encoder.safetensors").read_bytes())
        assert FrozenEncoder(folder).name == name
        assert FrozenEncoder(folder / "encoder.safetensors").name == name


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError, match="no encoder of domainjepa"):
        load_encoder(path)


def test_a_missing_file_is_a_readable_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run folder"):
        FrozenEncoder(tmp_path / "none").fit(np.zeros((1, 32, 32, 3)))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_framed_takes_the_centre_square(channels: int) -> None:
    image = np.zeros((20, 40, channels), np.uint8)
    image[:, 10:30] = 200
    small = framed(image, 10)
    assert small.shape == (10, 10, channels)
    assert (small == 200).all()
    # Shrinking averages: a checkerboard becomes its mean, not one of its colours.
    board = np.indices((16, 16)).sum(0) % 2 * 200
    board = np.repeat(board[..., None], channels, 2).astype(np.float32)
    np.testing.assert_allclose(framed(board, 8), 100)
