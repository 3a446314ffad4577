"""Out of memory: what to do about it."""

from __future__ import annotations

import torch

from domainjepa.distributed import world_size
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
        f"{views.local_size} px. {_advice(plan)} After them, fewer views (--set "
        "views.num_local=4) or smaller change least; a smaller --batch-size changes what SIGReg "
        "measures. More --devices share it."
    ) from error


def _advice(plan: Plan) -> str:
    """What leaves the batch and the views as they are; `--resume` takes both."""
    config = plan.config
    share = -(-config.batch_size // world_size())
    smaller = max(1, min(share, config.micro_batch or share) // 4)
    exact = "the same gradient" if not plan.backbone.batch_statistics else "the same but BatchNorm"
    parts = [f"--set micro_batch={smaller} ({exact}, a third slower)"]
    if not config.activation_checkpointing:
        parts.append("--set activation_checkpointing=true (the same gradient, a third slower)")
    if world_size() > 1 and config.shard == "none":
        parts.append("--set shard=full (weights and moments divided over the ranks)")
    return f"First try {' or '.join(parts)}; all can be given with --resume."
