"""Which column of a table holds the pictures, and what Hugging Face's metadata say of the others.

Their `datasets` library writes its features as JSON into the schema: an Image is stored as
{bytes, path}, a ClassLabel as an integer whose names stand in the JSON, -1 where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from domainjepa.data.formats.arrays.stream import MAGIC as NPY
from domainjepa.data.formats.images.plain import is_picture
from domainjepa.data.storage.layout import USUAL_NAMES, full_name, is_usual
from domainjepa.errors import DataError

if TYPE_CHECKING:
    from pyarrow import DataType, Schema

_IMAGES = ("image", "images", "img", "picture", "photo", "pixel_values", *USUAL_NAMES)
_MOST_JSON = 2**24


def pictures_in(schema: Schema, first: Callable[[str], bytes | None]) -> list[str]:
    """Names of the columns that hold encoded pictures, in the order of the schema.

    Args:
        first: column -> its first value that is not null, or None. Asked only where neither the
            metadata nor the type tell.
    """
    told = features_of(schema)
    found = []
    for field in schema:
        stored = stored_as(field.type)
        if stored is None:
            continue
        kind = told.get(field.name, {}).get("_type")
        like = kind is None and (stored == "struct" or _begins_like_one(first(field.name)))
        if kind == "Image" or like:
            found.append(field.name)
    return found


def pick(schema: Schema, candidates: list[str], chosen: str | None, where: str) -> str:
    """The column of pictures: the one that the user names, else the only one.

    Raises:
        DataError: none, or several; the choices are listed.
    """
    if chosen is not None:
        name = full_name(dict.fromkeys(schema.names), chosen, "images", where)
        if stored_as(schema.field(name).type) is None:
            raise DataError(
                f"data.images={chosen}: column {name!r} of {where} holds {schema.field(name).type}"
                ", no encoded pictures."
            )
        return name
    usual = [name for name in candidates if is_usual(name, _IMAGES)]
    if len(candidates) > 1 and len(usual) == 1:
        return usual[0]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DataError(
            f"{where} has several columns of pictures: {', '.join(candidates[:20])}. Pick one: "
            f"--set data.images={candidates[0]}"
        )
    raise DataError(
        f"{where} has no column of encoded pictures; its columns are "
        f"{', '.join(schema.names[:20])}. Pick one: --set data.images=NAME"
    )


def stored_as(kind: DataType) -> str | None:
    """ "struct" of {bytes, …}, "bytes", or None where a column can hold no pictures."""
    import pyarrow.types as kinds

    if kinds.is_binary(kind) or kinds.is_large_binary(kind):
        return "bytes"
    if kinds.is_struct(kind):
        place = kind.get_field_index("bytes")
        if place >= 0 and stored_as(kind.field(place).type) == "bytes":
            return "struct"
    return None


def features_of(schema: Schema) -> dict[str, dict[str, Any]]:
    """Column -> its feature, as Hugging Face's `datasets` tells it; empty where nothing does."""
    text = (schema.metadata or {}).get(b"huggingface", b"")
    if not 0 < len(text) <= _MOST_JSON:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: one for name, one in features.items() if isinstance(one, dict)}


def class_names(feature: dict[str, Any]) -> tuple[str, ...] | None:
    """The names of a ClassLabel, in the order of its numbers."""
    names = feature.get("names")
    if feature.get("_type") != "ClassLabel" or not isinstance(names, list):
        return None
    return tuple(map(str, names))


def _begins_like_one(content: bytes | None) -> bool:
    return content is not None and (is_picture(content[:4096]) or content.startswith(NPY))
