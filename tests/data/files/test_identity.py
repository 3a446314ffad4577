"""What tells whether data are the same: a copy and a touch change nothing, a flipped bit does."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domainjepa.data.files import identity
from domainjepa.data.files.identity import Identity, content_digest, files_digest
from domainjepa.data.opening import open_source
from tests.conftest import write_blobs


def pictures(root: Path, count: int = 24) -> Path:
    draw = np.random.default_rng(0)
    root.mkdir()
    for number in range(count):
        values = draw.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(values).save(root / f"{number:03}.png", compress_level=0)
    return root


def flip(path: Path) -> None:
    """One bit of a picture's last pixels; size and time stay."""
    content, status = bytearray(path.read_bytes()), path.stat()
    content[-100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_copy_and_a_touch_are_the_same_data(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "a")
    before = Identity.of(open_source(folder))
    assert len(before.files) == 24
    assert before.whole
    shutil.copytree(folder, tmp_path / "b", copy_function=shutil.copyfile)
    assert Identity.of(open_source(tmp_path / "b")).fingerprint == before.fingerprint
    (folder / "003.png").touch()
    assert not before.stands()
    after = Identity.of(open_source(folder))
    assert after.fingerprint == after.exact == before.exact
    assert after.stamp != before.stamp
    (folder / "003.png").unlink()
    with pytest.raises(OSError):
        before.stands()


@pytest.mark.parametrize("which", [0, 7, 23])
def test_one_bit_of_one_file_makes_other_data(which: int, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "a")
    before = open_source(folder).fingerprint()
    identity._hash_of_all.cache_clear()
    flip(folder / f"{which:03}.png")
    assert open_source(folder).fingerprint() != before


def test_what_is_kept_of_large_data_is_kept_by_their_times_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_blobs(tmp_path / "large.h5")
    monkeypatch.setattr(identity, "HASHED_WHOLE", 1_000)
    monkeypatch.setattr(identity, "HASHED_PART", 16_000)
    before = Identity.of(open_source(path))
    assert not before.whole
    path.touch()
    after = Identity.of(open_source(path))
    assert after.fingerprint == before.fingerprint
    assert after.exact != before.exact
    size = path.stat().st_size
    content = bytearray(path.read_bytes())
    digests = set()
    for place in (0, (size - 1_000) * 6 // 15 + 5, size - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        digests.add(content_digest(path))
    path.write_bytes(content)
    assert len(digests | {content_digest(path)}) == 4


def test_a_small_file_is_what_sha256_says(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"galaxies")
    assert content_digest(path) == hashlib.sha256(b"galaxies").hexdigest()


def test_many_files_are_told_by_names_sizes_and_content(tmp_path: Path) -> None:
    for name, content in {"a": b"1", "b": b"22", "c": b"1"}.items():
        (tmp_path / name).write_bytes(content)
    seen = [files_digest(tmp_path, names) for names in (["a", "b"], ["b", "a"], ["c", "b"])]
    assert len(set(seen)) == 3
    (tmp_path / "b").write_bytes(b"23")
    assert files_digest(tmp_path, ["a", "b"]) not in seen
