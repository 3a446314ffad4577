from __future__ import annotations

import hashlib
import pickle
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from domainjepa import catalog
from domainjepa.data.metadata import cards
from domainjepa.data.opening import open_source
from domainjepa.errors import DataError


def write_cifar(root: Path, hundred: bool = False, each: int = 3) -> np.ndarray:
    """The real layout with few images; returns them as (N, 32, 32, 3)."""
    folder = root / ("cifar-100-binary" if hundred else "cifar-10-batches-bin")
    folder.mkdir(parents=True)
    parts = ["train", "test"] if hundred else [f"data_batch_{i}" for i in range(1, 6)]
    parts += [] if hundred else ["test_batch"]
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (each * len(parts), 32, 32, 3), dtype=np.uint8)
    for number, part in enumerate(parts):
        with (folder / f"{part}.bin").open("wb") as file:
            for row in range(number * each, (number + 1) * each):
                file.write(bytes([7, row]) if hundred else bytes([row % 10]))
                file.write(images[row].transpose(2, 0, 1).tobytes())  # all red, green, blue
    names = "\n".join(f"class_{i}" for i in range(100 if hundred else 10))
    listed = "fine_label_names.txt" if hundred else "batches.meta.txt"
    folder.joinpath(listed).write_text(names + "\n")
    return images


@pytest.mark.parametrize("hundred", [False, True])
def test_pixels_labels_and_split(tmp_path: Path, hundred: bool) -> None:
    images = write_cifar(tmp_path, hundred)
    source = open_source(next(tmp_path.iterdir()))
    assert np.array_equal(np.stack(source.__getitems__(range(len(source)))), images)
    assert source.name == ("cifar100" if hundred else "cifar10")
    assert source.labels is not None
    assert source.split is not None
    assert source.labels.tolist() == [row if hundred else row % 10 for row in range(len(source))]
    assert source.split.tolist() == ["train"] * (len(source) - 3) + ["test"] * 3
    assert source.classes is not None
    assert source.classes[3] == "class 3"
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert np.array_equal(copy[len(source) - 1], images[-1])


def test_arrays_that_the_user_names_are_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    with pytest.raises(DataError, match=r"data\.labels names an array"):
        open_source(tmp_path / "cifar-10-batches-bin", labels="coarse")


def test_half_a_record_is_told(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    file = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"data_batch_2\.bin .* no whole number of images"):
        open_source(tmp_path / "cifar-10-batches-bin")


def test_a_label_without_a_name_is_told(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "batches.meta.txt").write_text("cat dog")
    with pytest.raises(DataError, match="only 2 names"):
        open_source(tmp_path / "cifar-10-batches-bin")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of `tmp_path/elsewhere` on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path / "elsewhere"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_nothing_is_downloaded_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: str
) -> None:
    write_cifar(tmp_path / "elsewhere")
    archive = tmp_path / "elsewhere" / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "elsewhere" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    shipped = cards.load(catalog.find("datasets", "cifar10"))
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(cards, "named", lambda _: _from(shipped, f"{served}/cifar.tar.gz", md5))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"data\.download=true fetches it"):
        open_source("cifar10")
    assert not (tmp_path / "data").exists()
    assert len(open_source("cifar10", download=True)) == 18
    assert len(open_source("cifar10")) == 18


def test_a_download_of_other_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: str
) -> None:
    archive = tmp_path / "elsewhere" / "cifar.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(b"not what was promised")
    shipped = cards.load(catalog.find("datasets", "cifar10"))
    promised = _from(shipped, f"{served}/cifar.tar.gz", "0" * 32)
    monkeypatch.setattr(cards, "named", lambda _: promised)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="cannot be downloaded"):
        open_source("cifar10", download=True)


def _from(card: cards.Card, url: str, md5: str) -> cards.Card:
    return card.model_copy(update={"download": cards.Download(archive=url, md5=md5)})
