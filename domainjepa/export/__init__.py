"""An encoder for other software: a scikit-learn pipeline, an ONNX graph, a timm model."""

from domainjepa.export.targets import export

__all__ = ["export"]
