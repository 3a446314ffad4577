"""Tables of encoded pictures as Hugging Face's `datasets` writes them, for tests."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import ipc

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 16, 20, 3), dtype=np.uint8)
CLASSES = ["cat", "dog", "owl"]
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": CLASSES, "_type": "ClassLabel"},
    "mass": {"dtype": "float64", "_type": "Value"},
}
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def rows(start: int, stop: int) -> pa.Table:
    """Rows of PIXELS with the labels 0 1 2 -1 in turn, and features in the schema."""
    numbers = range(start, stop)
    schema = pa.schema(
        [("image", PICTURE), ("label", pa.int64()), ("mass", pa.float64())],
        metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
    )
    columns: list[Any] = [
        [{"bytes": encoded(PIXELS[row]), "path": f"{row}.png"} for row in numbers],
        [(row + 1) % 4 - 1 for row in numbers],
        [row / 2 for row in numbers],
    ]
    return pa.table(columns, schema=schema)


def save_arrow(
    path: Path, table: pa.Table, batch: int = 5, form: str = "stream", **how: Any
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = ipc.new_stream if form == "stream" else ipc.new_file
    with new(path, table.schema, options=ipc.IpcWriteOptions(**how)) as writer:
        writer.write_table(table, max_chunksize=batch)
    return path
