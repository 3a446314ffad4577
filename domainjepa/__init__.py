"""domainjepa: pretrain your own image encoder on your own unlabelled data with LeJEPA.

The public names load on first use, so that `import domainjepa` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domainjepa.config import PretrainConfig
    from domainjepa.data.opening import open_source
    from domainjepa.encoder.frozen import FrozenEncoder
    from domainjepa.encoder.module import load_backbone
    from domainjepa.errors import UserError
    from domainjepa.evaluation.encoders.networks import Network
    from domainjepa.evaluation.suite import evaluate
    from domainjepa.objective import LeJEPALoss, SIGReg
    from domainjepa.pretraining.run import pretrain

__version__ = "0.1.0"

__all__ = [
    "FrozenEncoder",
    "LeJEPALoss",
    "Network",
    "PretrainConfig",
    "SIGReg",
    "UserError",
    "evaluate",
    "load_backbone",
    "open_source",
    "pretrain",
]

_HOMES = {
    "FrozenEncoder": "domainjepa.encoder.frozen",
    "LeJEPALoss": "domainjepa.objective",
    "Network": "domainjepa.evaluation.encoders.networks",
    "PretrainConfig": "domainjepa.config",
    "SIGReg": "domainjepa.objective",
    "UserError": "domainjepa.errors",
    "evaluate": "domainjepa.evaluation.suite",
    "load_backbone": "domainjepa.encoder.module",
    "open_source": "domainjepa.data.opening",
    "pretrain": "domainjepa.pretraining.run",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'domainjepa' has no attribute {name!r}")
    thing = getattr(importlib.import_module(home), name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return __all__
