"""The artefact of a run, and the frozen encoder that is made of it."""

from domainjepa.encoder.frozen import FrozenEncoder

__all__ = ["FrozenEncoder"]
