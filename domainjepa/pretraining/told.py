"""What the online probe of a run is to tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domainjepa.config import PretrainConfig
from domainjepa.data.metadata.targets import Target, target_of
from domainjepa.data.source import Source
from domainjepa.errors import ConfigError


def probe_target(
    source: Source, rows: NDArray[np.int64], config: PretrainConfig
) -> tuple[Target | None, str]:
    """The target of the online probe, or None, and a phrase for the plan.

    Raises:
        ConfigError: `target.column` names numbers, which this probe does not tell.
        DataError: it names no column that can be told.
    """
    labelled = source.labels is not None and bool((source.labels[rows] >= 0).any())
    if config.target.column is None and not labelled:
        return None, "none" if source.labels is None else "none of the rows to learn from has one"
    if not config.log.probe:
        return None, "not used (log.probe is off)"
    target = target_of(source, config.target)
    if target.kind == "numbers":
        raise ConfigError(
            f"target.column={config.target.column} holds numbers; the online probe tells classes "
            "or labels. Leave it out: `evaluate --target` tells numbers."
        )
    if not target.known[rows].any():
        return None, f"none: {target.name} is not known of the rows to learn from"
    said = target.decision
    if target.kind == "classes" and not target.counts:
        said = f"{len(np.unique(target.values[target.known]))} classes"
    return target, f"{said}, used for monitoring only"
