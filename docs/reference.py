"""Reference pages that are made from the code: `python docs/reference.py` writes docs/settings.md.

The page of commands is made whenever the site is built. It is not kept in the repository, where
`domainjepa COMMAND --help` says the same.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from domainjepa.cli import app
from domainjepa.config import PretrainConfig

SETTINGS = Path(__file__).parent / "settings.md"

_SETTINGS_HEAD = """\
# Settings

Every setting by the name that `--set` takes, with its default and what it may be. A recipe groups
them as TOML tables. Defaults < recipe < `--set` < flags; unknown names are refused. `unset` means
that the program decides, by the data, the machine or other settings; `--set NAME=none` goes back to
it. This page is made from `domainjepa/config.py` by `make settings`.

## The run
"""

_COMMANDS_HEAD = """\
# Commands

What `domainjepa COMMAND --help` says, made from the code when this site was built. `domainjepa`
alone says where to begin, `domainjepa --version` which version this is, and
`domainjepa --install-completion` has the shell complete commands and options. Everywhere `--debug`
shows the traceback of an error.

Exit status: 0; 2 for wrong usage and bad input, with one line that says what to do; 1 for a fault
of the program; 75 where `--max-hours` ended a run in time, 130 after Ctrl-C and 143 after SIGTERM,
each with a checkpoint saved.
"""


def settings_page() -> str:
    """docs/settings.md: each setting, its default, its values and its docstring."""
    schema = PretrainConfig.model_json_schema()
    alone, groups = [], []
    for name, field in PretrainConfig.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            groups.append((name, kind))
        else:
            alone.append(name)
    lines = [_SETTINGS_HEAD, *_table(PretrainConfig, alone, schema["properties"])]
    for name, kind in groups:
        lines += ["", f"## {name}", ""]
        if said := _own_docstring(kind):
            lines += [_linked(said), ""]
        properties = schema["$defs"][kind.__name__]["properties"]
        lines += _table(kind, kind.model_fields, properties, f"{name}.")
    return "\n".join(lines) + "\n"


def _own_docstring(kind: type[BaseModel]) -> str:
    return inspect.cleandoc(kind.__dict__.get("__doc__") or "")


def _table(
    model: type[BaseModel], names: Any, properties: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    yield "| setting | default | values | |"
    yield "| --- | --- | --- | --- |"
    for name in names:
        field = model.model_fields[name]
        text = _linked(" ".join((field.description or "").split())).replace("|", r"\|")
        values = _values(properties[name])
        yield f"| `{prefix}{name}` | {_default(field.default)} | {values} | {text} |"


def _default(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f"`{value}`" if value else "unset"
    return f"`{json.dumps(value)}`"


def _values(schema: Mapping[str, Any]) -> str:
    """What a setting may be, in words, from its JSON schema."""
    parts = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    return " or ".join(dict.fromkeys(_one_value(part) for part in parts))


def _one_value(part: Mapping[str, Any]) -> str:
    if choices := part.get("enum"):
        return ", ".join(f"`{choice}`" for choice in choices)
    if "const" in part:
        return f"`{part['const']}`"
    kind = str(part.get("type"))
    if kind == "array":
        pair = part.get("prefixItems")
        return f"two numbers {_range(pair[0])}" if pair else "names"
    names = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "`true`, `false`",
    }
    return f"{names[kind]} {_range(part)}".strip()


def _range(part: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {part[key]:g}" for key, sign in signs.items() if key in part)


def _linked(text: str) -> str:
    """Names of other pages as links."""
    return re.sub(r"(?<![\w/(\[])([\w-]+\.md)", r"[\1](\1)", text)


def commands_page() -> str:
    """Each command: what it does, its arguments and options, its examples."""
    group: Any = typer.main.get_command(app)
    lines = [_COMMANDS_HEAD]
    for name, command in sorted(group.commands.items()):
        context = command.make_context(name, [], resilient_parsing=True)
        usage = re.sub(
            r"{(\w+)}", lambda one: one[1].upper(), " ".join(command.collect_usage_pieces(context))
        )
        lines += [f"## {name}", "", _text(command.help), ""]
        lines += ["```sh", f"domainjepa {name} {usage}", "```", ""]
        lines += ["| option | |", "| --- | --- |"]
        lines += [_parameter(one, context) for one in command.get_params(context)]
        lines += ["", "For example:", "", "```sh", *command.examples, "```", ""]
    return "\n".join(lines)


def _parameter(one: Any, context: Any) -> str:
    names, text = one.get_help_record(context)
    return f"| `{_cell(names.replace(' range>', '>'))}` | {_cell(_text(text))} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _text(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("\f", "")


if __name__ == "__main__":
    SETTINGS.write_text(settings_page())
