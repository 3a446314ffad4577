"""How Sphinx builds the site; `make docs` does it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402  # beside this file: the pages that are made from the code

import domainjepa  # noqa: E402

project = "domainjepa"
author = "The domainjepa developers"
project_copyright = author
version = release = domainjepa.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "README.md"]

# Markdown as it is read in the repository, too: anchors of headings are GitHub's.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # the docstrings say it, and in words
default_role = "code"  # docstrings mark code by single backticks

html_theme = "furo"
html_title = f"domainjepa {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"


def as_markdown(
    _app: Any, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]
) -> None:
    """Docstrings are Markdown by their marks: stars, bars and a trailing _ are themselves."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [re.sub(r"([*|@]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def without_metadata_requests(
    _app: Any, _what: str, name: str, _thing: Any, skip: bool, _options: Any
) -> bool:
    """Leaves out what scikit-learn hangs on every transformer."""
    return skip or bool(re.fullmatch(r"set_\w+_request", name))


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_markdown, priority=400)  # before napoleon's 500
    app.connect("autodoc-skip-member", without_metadata_requests)


(HERE / "commands.md").write_text(reference.commands_page())
