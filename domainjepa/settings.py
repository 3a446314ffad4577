"""From a recipe, `--set` and flags to a `PretrainConfig`, and back to TOML.

Every setting has one dotted name, such as `objective.lam`; `config.py` owns them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

from domainjepa import catalog
from domainjepa.config import OF_THE_RUN_ALONE, PretrainConfig
from domainjepa.errors import ConfigError, brief, did_you_mean
from domainjepa.reading import parse_toml, read_file

_PERSONAL = re.compile(
    r"(?is)^([^=<>!]*(?:patient|subject|participant|person|name|birth|accession|mrn|eid|id|path|file)"
    r"[^=<>!]*)(!=|[=<>]=?).*"
)
"""A condition on a column that may tell persons or files."""


def defaults() -> dict[str, Any]:
    """Every setting with its default, as plain nested data."""
    return PretrainConfig().model_dump()


def setting_names(model: type[BaseModel] = PretrainConfig, prefix: str = "") -> list[str]:
    """All dotted setting names, such as `objective.lam`."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += setting_names(kind, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def parse_assignment(text: str) -> tuple[str, Any]:
    """`key=value` from `--set`; the value is read as TOML, else taken as a string.

    Quotes are a recipe's affair: where a setting is text, `1` is text, and where it is names,
    `brain` is one of them and `[g,r]` are two. `none` leaves a setting unset, unless it is one of
    its own values.

    Raises:
        ConfigError: there is no `=`, or no setting of that name.
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals:
        raise ConfigError(f"--set {text!r} has no '='. Write --set objective.lam=0.05")
    _check_name(key)
    kind = _type_of(key)
    read: Any
    try:
        read = parse_toml(f"value = {value}")["value"]
    except ValueError:
        read = None if value == "none" and not _has_none_as_value(kind) else value
    if kind in _TEXTS and not isinstance(read, str | None):
        read = value
    elif kind == tuple[str, ...]:
        read = _names(read, value)
    return key, read


def _type_of(key: str) -> Any:
    """What a setting holds, as `config.py` declares it."""
    kind: Any = PretrainConfig
    for part in key.split("."):
        kind = kind.model_fields[part].annotation
    return kind


_TEXTS = (str, str | None, Literal["none"] | str | None)


def _has_none_as_value(kind: Any) -> bool:
    """Whether a setting may be the word `none`, which then says something else than None."""
    return kind == "none" or any(_has_none_as_value(one) for one in get_args(kind))


def _names(read: Any, value: str) -> Any:
    """The names in `[g,r]`, `[1,2]` or `brain`; strings that TOML has read stay as they are."""
    if read is None:
        return []
    if isinstance(read, str) and read != value:
        return [read]
    if isinstance(read, list) and all(isinstance(one, str) for one in read):
        return read
    inside = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    return [word.strip().strip("\"'") for word in inside.split(",") if word.strip()]


def _check_name(key: str) -> None:
    names = setting_names()
    if key in names:
        return
    inside = [name for name in names if name.startswith(f"{key}.")]
    if inside:
        raise ConfigError(f"{key!r} is a group of settings: set one of {', '.join(inside)}.")
    # A bare `lamda` should find `objective.lam`, so leaf names are compared as well.
    leaves = {name.rpartition(".")[2]: name for name in names}
    hint = did_you_mean(key, names)
    if "Did you mean" not in hint:
        near = did_you_mean(key.rpartition(".")[2], leaves)
        for leaf in sorted(leaves, key=len, reverse=True):
            if f" {leaf}?" in near or f" {leaf} " in near:
                hint = f" Did you mean {leaves[leaf]}?"
                break
        else:
            hint = " `domainjepa pretrain --help` and docs/settings.md list them."
    raise ConfigError(f"unknown setting {key!r}.{hint}")


def overlay(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `layer` laid over it, group by group; both may hold some settings
    only.

    Raises:
        ConfigError: `layer` has a name that is no setting.
    """
    _refuse_unknown(layer, defaults())
    return _merged(base, layer)


def _refuse_unknown(layer: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> None:
    for key, value in layer.items():
        group = known.get(key)
        if isinstance(group, Mapping) and isinstance(value, Mapping):
            _refuse_unknown(value, group, f"{prefix}{key}.")
        else:
            _check_name(f"{prefix}{key}")


def _merged(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in layer.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = _merged(below, value)
        merged[key] = value
    return merged


def resolve(
    recipe: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> PretrainConfig:
    """defaults < recipe < `--set` < flags.

    Args:
        recipe: settings of a recipe, nested.
        assignments: `key=value` texts in the order given.
        flags: dotted name -> value; None means that the flag was not given.

    Returns:
        The settings; `model_fields_set` of each group names those that were given.

    Raises:
        ConfigError: an unknown name, a name twice, or a value of the wrong type or out of range.
    """
    given = overlay({}, recipe or {})
    pairs = [parse_assignment(text) for text in assignments]
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise ConfigError(f"--set {name} is given {times} times and takes one value.")
    pairs += [(key, value) for key, value in (flags or {}).items() if value is not None]
    for key, value in pairs:
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        # The later word on the length counts: `steps` would else hide the others. The budget that a
        # run has written beside its steps is no new word.
        if key == "epochs" or (key == "budget" and given.get("budget") != value):
            given["steps"] = None
        if key in ("epochs", "steps"):
            given["budget"] = None
        given = overlay(given, nested)
    return validated(given)


def validated(settings: Mapping[str, Any]) -> PretrainConfig:
    """Settings from plain nested data.

    Raises:
        ConfigError: with every wrong value named.
    """
    try:
        return PretrainConfig.model_validate(settings)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"] if part in setting_words())
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "tuple_type":
                message = "Input should be a list in square brackets"
            lines.append(f"{where or 'settings'} = {brief(problem['input'])}: {message}")
        raise ConfigError("; ".join(dict.fromkeys(lines))) from None


def setting_words() -> set[str]:
    """Every word that occurs in a setting's dotted name."""
    return {word for name in setting_names() for word in name.split(".")}


def without_paths(config: PretrainConfig) -> dict[str, Any]:
    """The settings as plain data for an artefact: what is None is left out, and the paths of the
    data and of weights too, unless it is the bare name of a dataset card; of conditions on columns
    that tell persons the value."""
    plain = config.model_dump(mode="json", exclude_none=True)
    if config.data.path not in catalog.names("datasets"):
        del plain["data"]["path"]
    plain["data"].pop("root", None)
    plain["init"].pop("extend", None)
    if config.init.weights:
        published, _, _ = config.init.weights.partition("=")
        plain["init"]["weights"] = published
        if not published.startswith("timm:"):
            del plain["init"]["weights"]
    plain["data"]["where"] = [_PERSONAL.sub(r"\1\2…", condition) for condition in config.data.where]
    return plain


def learned_from(config: PretrainConfig) -> dict[str, Any]:
    """The settings that decide what an encoder learns, as plain data; no path, nothing None."""
    plain = without_paths(config)
    for name in setting_names():
        if name.startswith(OF_THE_RUN_ALONE):
            *groups, last = name.split(".")
            group = plain
            for part in groups:
                group = group[part]
            group.pop(last, None)
    return {name: value for name, value in plain.items() if value != {}}


def flat(config: PretrainConfig) -> dict[str, Any]:
    """Dotted name -> value."""
    values: dict[str, Any] = {}
    for name in setting_names():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = value
    return values


def to_toml(config: PretrainConfig) -> str:
    """The settings as TOML that `--recipe` takes back; it names no path."""
    return tomli_w.dumps(without_paths(config))


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe's settings.

    Raises:
        ConfigError: the file is missing or is no TOML.
    """
    try:
        return parse_toml(read_file(path))
    except OSError as error:
        raise ConfigError(f"the recipe {path.name!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"the recipe {path.name!r} is no valid TOML: {error}") from error
