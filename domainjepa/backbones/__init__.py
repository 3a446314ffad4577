"""Name -> network: timm's for images, MONAI's (`monai:…`) and plain transformers (`vit3d_…`) for
volumes; any channels, any size."""

from domainjepa.backbones.backbone import Backbone, names, traits
from domainjepa.backbones.stem import Traits, stem_reduction

__all__ = ["Backbone", "Traits", "names", "stem_reduction", "traits"]
