"""Out of memory: what to do about it."""

from __future__ import annotations

import torch

from domainjepa.errors import UserError
from domainjepa.pretraining.plan import Plan


def explain_memory(error: Exception, plan: Plan) -> None:
    """Out of memory: advice, and never a smaller batch behind the user's back.

    Raises:
        UserError: the error was one of memory; else nothing is raised.
    """
    words = str(error).lower()
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not (
        "memory" in words and "alloc" in words
    ):
        return
    config = plan.config
    views = config.views
    raise UserError(
        f"out of memory on {plan.device.type} with a batch of {config.batch_size}, "
        f"{views.num_global} global views of {views.global_size} px and {views.num_local} local of "
        f"{views.local_size} px. Fewer views (--set views.num_local=4) or smaller change "
        "least; a smaller --batch-size changes what SIGReg measures. More --devices share it."
    ) from error
