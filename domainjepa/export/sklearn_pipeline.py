"""An encoder as a scikit-learn pipeline in a skops file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domainjepa.data.source import Source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import MissingExtra
from domainjepa.writing import write_atomically


def to_sklearn(encoder: FrozenEncoder, out: Path, source: Source | None) -> str:
    """A skops file with a pipeline: the encoder, and with labels LayerNorm and a classifier.

    skops loads no type that the reader does not name, so opening such a file runs no code of it.
    """
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtra("skops", "export", "export --to sklearn") from error
    from sklearn.pipeline import make_pipeline

    steps: list[Any] = [encoder]
    if source is not None:
        steps.append(_classifier(encoder, source))
    data = skops.io.dumps(make_pipeline(*steps))
    trusted = skops.io.get_untrusted_types(data=data)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, lambda file: file.write(data))
    return (
        f"pipeline = skops.io.load({out.name!r}, trusted={trusted})\n"
        f"pipeline.{'predict' if source is not None else 'transform'}(images)"
    )


def _classifier(encoder: FrozenEncoder, source: Source) -> Any:
    """The linear probe of the evaluation, fitted on the training labels."""
    from domainjepa.data.metadata.targets import target_of
    from domainjepa.evaluation.encoders.features import features_of
    from domainjepa.evaluation.probes.fitting import fit_probe
    from domainjepa.evaluation.protocol import read_protocol
    from domainjepa.evaluation.splits import train_test

    protocol, target = read_protocol("linear"), target_of(source)
    train = train_test(source, target, protocol.seed).train
    groups = None if source.groups is None else source.groups[train]
    features = features_of(encoder, source, train)
    probe, _ = fit_probe(protocol, target, features, target.values[train], groups)
    return probe
