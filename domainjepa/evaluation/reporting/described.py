"""What was evaluated on what: the settings of results.json. No path is among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from domainjepa.data.metadata.targets import Target
from domainjepa.evaluation.cohorts.cohort import Cohort
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.protocol import Protocol

PACKAGES = ("domainjepa", "scikit-learn", "numpy", "torch", "timm")


def described(
    encoders: Sequence[Encoder], cohorts: Mapping[str, Cohort], protocols: Sequence[Protocol]
) -> dict[str, Any]:
    """Data, units, target, encoders, protocols and versions; the first cohort trains the probes."""
    (name, home), *others = cohorts.items()
    elsewhere = [
        _data(other, cohort)
        | {"split": {one.name: cohort.splits[one.name].decisions for one in protocols}}
        for other, cohort in others
    ]
    target = home.target
    return {
        "data": _data(name, home),
        **({"test_data": elsewhere} if elsewhere else {}),
        "target": _target(target),
        "encoders": [_encoder(one) for one in encoders],
        "protocols": [_protocol(one, home) for one in protocols],
        "versions": {package: version(package) for package in PACKAGES},
    }


def _target(target: Target) -> dict[str, Any]:
    told = {"name": target.name, "kind": target.kind, "found": target.decision}
    return {**told, "labels": [asdict(one) for one in target.counts]} if target.counts else told


def _data(name: str, cohort: Cohort) -> dict[str, Any]:
    source, units = cohort.source, cohort.units
    return {
        "name": name,
        "samples": len(source),
        "fingerprint": source.fingerprint(),
        "grouped": source.groups is not None,
        "units": {"one": units.one, "number": len(units), "samples": len(units.rows)},
    }


def _encoder(encoder: Encoder) -> dict[str, Any]:
    told = {
        "name": encoder.name,
        "sha256": getattr(encoder, "sha256", None),
        "weights": getattr(encoder, "origin", None),
        "input": getattr(encoder, "preprocessing", None),
    }
    return {name: value for name, value in told.items() if value is not None}


def _protocol(protocol: Protocol, cohort: Cohort) -> dict[str, Any]:
    split = cohort.splits[protocol.name]
    told = protocol.model_dump(mode="json", exclude={"pool"})
    if protocol.probe != "finetune":
        del told["finetune"]
    if not protocol.of_masks:
        del told["patches"]
    if not cohort.units.single:
        told["pool"] = protocol.pooling
    return told | {"split": split.decisions, "train": len(split.train), "test": len(split.test)}
