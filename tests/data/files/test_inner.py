from __future__ import annotations

import io
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.parquet.picture_tables import encoded, rows
from tests.data.formats.test_torchvision_sets import write_flowers, write_food

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)


def made(folder: Path, form: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if form == "h5":
        with h5py.File(folder / "set.h5", "w") as file:
            file["images"] = IMAGES
    elif form == "npz":
        np.savez(folder / "set.npz", images=IMAGES)
    elif form == "parquet":
        pq.write_table(rows(0, 6), folder / "set.parquet")
    else:
        with tarfile.open(folder / "set.tar", "w") as archive:
            for row, image in enumerate(IMAGES):
                info = tarfile.TarInfo(f"{row}.png")
                info.size = len(encoded(image))
                archive.addfile(info, io.BytesIO(encoded(image)))


@pytest.mark.parametrize("form", ["h5", "npz", "parquet", "tar"])
@pytest.mark.parametrize("below", ["", "data", "a/b"])
def test_one_container_beside_a_readme(tmp_path: Path, form: str, below: str) -> None:
    made(tmp_path / below, form)
    for name in ("README.md", "LICENSE", "dataset_infos.json", ".gitattributes"):
        (tmp_path / name).write_text("x")
    source = open_source(tmp_path)
    assert len(source) == 6
    assert any("holds alone" in line for line in source.decisions)


def test_the_folder_above_a_known_set_opens_the_set(tmp_path: Path) -> None:
    folder = write_food(tmp_path)
    (tmp_path / "food-101.tar.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "notes.txt").write_text("x")
    above, itself = open_source(tmp_path), open_source(folder)
    assert above.loader == itself.loader == "torchvision"
    assert above.card is not None
    assert above.card["name"] == "food101"
    assert above.labels is not None
    assert itself.labels is not None
    assert above.labels.tolist() == itself.labels.tolist()
    assert above.fingerprint() == itself.fingerprint()


def test_two_known_sets_are_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_food(tmp_path)
    write_flowers(tmp_path, monkeypatch)
    with pytest.raises(DataError, match="holds flowers-102 and food-101: give one of them"):
        open_source(tmp_path)


def test_a_known_set_beside_other_pictures_is_a_question(tmp_path: Path) -> None:
    write_food(tmp_path)
    (tmp_path / "mine").mkdir()
    Image.fromarray(IMAGES[0]).save(tmp_path / "mine" / "a.png")
    with pytest.raises(DataError, match=r"food-101, a known set, beside mine.*--loader"):
        open_source(tmp_path)
    assert len(open_source(tmp_path, loader="images")) == 9
