"""One page to look at all samples with: the map, their pictures, what is told of them.

Nothing in the page asks for anything from elsewhere, which its Content-Security-Policy keeps: one
script, known by its hash, and pictures that it brings along. Ids and labels come from data and are
never markup: they travel as JSON and are shown as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from domainjepa.discovery.mapping import Plane
from domainjepa.discovery.neighbours import Near
from domainjepa.discovery.samples import Samples
from domainjepa.discovery.sprites import Sheets
from domainjepa.showing import shown

SCRIPTS = ("facts", "colours", "view", "sprites", "columns", "painting", "card", "legend", "chosen",
           "pointing", "main")  # fmt: skip
"""Parts of the one script, in the order in which they are joined."""
NEIGHBOURS = 12
"""On the card of a sample."""
MOST_CATEGORIES = 1000
"""Of a column of text that points can be coloured by."""
SHEETS = "pictures"
"""The folder of the sheets beside a page that does not hold them."""


def render(
    samples: Samples,
    plane: Plane,
    axes: str,
    near: Near,
    scores: Mapping[str, NDArray[np.float64]],
    sheets: Sheets,
    title: str,
    inside: bool = True,
) -> str:
    """The page as HTML.

    Args:
        samples: what may be told of them.
        plane: (N, 2) their places.
        axes: of the map, in words.
        near: neighbours of all, at least `NEIGHBOURS` where there are that many.
        scores: name -> (N,) numbers to colour by, beside the columns.
        sheets: their pictures.
        title: what the data are called.
        inside: whether the page holds the sheets; else it looks for them in `pictures/`.
    """
    folder = Path(__file__).parent / "page"
    script = "\n".join((folder / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    facts = facts_of(samples, plane, axes, near, scores, sheets, title, inside)
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("domainjepa.discovery", "page"), autoescape=True
    ).get_template("page.html")
    return page.render(
        title=title,
        count=len(samples),
        personal=samples.personal,
        left_out=samples.left_out,
        axes=axes,
        style=_raw((folder / "style.css").read_text("utf-8")),
        script=_raw(script),
        # A browser hashes what stands between the tags.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        images="blob:" if inside else "'self' file: blob:",
        facts=_raw(in_script(facts)),
        sheets=[base64.b64encode(file).decode() for file in sheets.files] if inside else [],
    )


def in_script(value: Any) -> str:
    """JSON that no browser takes for the end of a script, or for a comment in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.encode("utf-8", "replace").decode()  # halves of pairs are no UTF-8
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def facts_of(
    samples: Samples,
    plane: Plane,
    axes: str,
    near: Near,
    scores: Mapping[str, NDArray[np.float64]],
    sheets: Sheets,
    title: str,
    inside: bool,
) -> dict[str, Any]:
    """All that the page knows, as JSON; arrays are little-endian base64."""
    where, cosines = near[0][:, :NEIGHBOURS], near[1][:, :NEIGHBOURS]
    return {
        "title": title,
        "axes": axes,
        "count": len(samples),
        "personal": samples.personal,
        "rows": packed(samples.rows, "i4"),
        "ids": None if samples.ids is None else [shown(one) for one in samples.ids.tolist()],
        "x": packed(plane[:, 0], "f4"),
        "y": packed(plane[:, 1], "f4"),
        "neighbours": packed(where, "i4"),
        "cosines": packed(cosines, "f4"),
        "near": where.shape[1],
        "columns": _columns(samples, scores),
        "sheets": {
            "side": sheets.side,
            "across": sheets.across,
            "count": len(sheets.files),
            "place": packed(sheets.place, "i4"),
            "folder": None if inside else SHEETS,
        },
    }


def _columns(samples: Samples, scores: Mapping[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Class, scores, split, group and the columns of the data, those that one value tells."""
    found: dict[str, NDArray[Any]] = {}
    if samples.class_of is not None:
        found["class"] = np.array(samples.class_of)
    found |= scores
    if samples.split is not None:
        found["split"] = samples.split
    if samples.groups is not None:
        found["group"] = samples.groups
    taken = set(found)
    for name, values in samples.columns.items():
        if values.ndim == 1:
            found[f"{name} of the data" if name in taken else name] = values
    made = []
    for name, values in found.items():
        column = _column(values)
        if column["kind"] == "text" and name == "class":
            column = _categories(values)
        made.append({"name": shown(name), **column})
    return made


def _column(values: NDArray[Any]) -> dict[str, Any]:
    if values.dtype.kind == "b":
        return _categories(np.where(values, "yes", "no"))
    if values.dtype.kind in "uif":
        # Numbers of catalogues have more digits than float32 keeps.
        exact = values.astype(np.float32).astype(np.float64)
        kind = "f4" if np.array_equal(exact, values.astype(np.float64), equal_nan=True) else "f8"
        if values.dtype.kind != "f" and np.abs(values.astype(np.float64)).max(initial=0) >= 2**53:
            return _text(values.astype(str))
        return {"kind": "numbers", "type": kind, "values": packed(values, kind)}
    text = values.astype(str)
    distinct = len(np.unique(text))
    if distinct <= MOST_CATEGORIES and distinct <= max(len(text) // 2, 2):
        return _categories(text)
    return _text(text)


def _text(values: NDArray[Any]) -> dict[str, Any]:
    return {"kind": "text", "values": [shown(one) for one in values.tolist()]}


def _categories(values: NDArray[Any]) -> dict[str, Any]:
    names, codes = np.unique(values, return_inverse=True)
    return {"kind": "categories", "names": [shown(name) for name in names.tolist()],
            "codes": packed(codes, "i4")}  # fmt: skip


def packed(values: NDArray[Any], kind: str) -> str:
    """An array's bytes, row after row, little-endian, as base64."""
    return base64.b64encode(np.ascontiguousarray(values, f"<{kind}").tobytes()).decode()


def _raw(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)
