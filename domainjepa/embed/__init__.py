"""A source through a frozen encoder: the features of every sample in one file."""

from domainjepa.embed.samples import beside_features, depends_on, embed, readable

__all__ = ["beside_features", "depends_on", "embed", "readable"]
