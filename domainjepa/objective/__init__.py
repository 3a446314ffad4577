"""The LeJEPA objective and SIGReg: torch and the reductions over ranks, nothing else."""

from __future__ import annotations

from domainjepa.objective.lejepa import LeJEPALoss
from domainjepa.objective.sigreg import SIGReg

__all__ = ["LeJEPALoss", "SIGReg"]
