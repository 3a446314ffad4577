"""A run learns from one state of its data: that they stay what they were when it began.

Sizes and times of the files are asked for at each checkpoint, the content where they differ and at
the end. A `touch` changes nothing; another content is an error, and the last good checkpoint stays.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from domainjepa.distributed import any_over_ranks, gather_over_ranks, is_main
from domainjepa.errors import UserError
from domainjepa.pretraining.plan import Plan
from domainjepa.pretraining.run_folder import INTACT

GONE = "could not be read any more after the last step: whether they changed is not known"


def refuse_changed_data(plan: Plan, step: int) -> None:
    """Before anything is saved; the main rank looks for all of them.

    Args:
        plan: of the run.
        step: that is done; after the last one the content is compared, whatever the times say.

    Raises:
        UserError: the data are not what the run began with.
    """
    if any_over_ranks(is_main() and _changed(plan, thorough=step == plan.steps)):
        raise UserError(
            f"the data changed while the run read them: it was seen after step {step}, and nothing "
            f"is saved of it. {INTACT} Make the data what they were and go on with --resume, or "
            "begin a new run with another --out on a copy that nobody writes to."
        )


def refuse_others_elsewhere(plan: Plan) -> None:
    """Every rank reads its own part of a batch: from the same data, on whatever machine it is. And
    all begin with the same weights.

    Raises:
        UserError: another rank found others under the same path.
    """
    if _differs_over_ranks(plan.identity.fingerprint, plan.device):
        raise UserError(
            "not all ranks see the same data: their fingerprints differ. Copy the data to every "
            "machine, or put them on a file system that all share."
        )
    if _differs_over_ranks(plan.beginning.sha256 if plan.beginning else "", plan.device):
        raise UserError(
            "not all ranks begin with the same weights: their SHA-256 differ. Copy what --init or "
            "--extend names to every machine, or put it on a file system that all share."
        )


def _differs_over_ranks(text: str, device: torch.device) -> bool:
    digest = hashlib.blake2b(text.encode(), digest_size=7).digest()
    own = torch.tensor([int.from_bytes(digest, "little")], device=device)
    return len(set(gather_over_ranks(own).tolist())) > 1


def gone(plan: Plan) -> bool:
    """Whether the files of the data are no longer there, all or some."""
    try:
        plan.identity.stands()
    except OSError:
        return True
    return False


def _changed(plan: Plan, *, thorough: bool) -> bool:
    try:
        if not plan.identity.stands_far():
            return True
        if plan.identity.stands() and not thorough:
            return False
        return plan.source.fingerprint() != plan.identity.fingerprint
    except OSError:
        return False  # gone, not changed: the next batch needs them or none does


def same_as_before(packed: dict[str, Any], plan: Plan) -> list[str]:
    """Whether a checkpoint was made on these data; warnings where that cannot be told for certain.

    Raises:
        UserError: it was made on others.
    """
    identity = plan.identity
    if packed.get("fingerprint") == identity.fingerprint:
        if identity.whole or packed.get("stamp") == identity.stamp:
            return []
        return [
            "the files of the data were written anew since the run was saved; their names, sizes "
            "and the parts of them that were compared are what they were"
        ]
    if "stamp" not in packed and (len(identity.files) > 1 or not identity.whole):
        # Version 0.1 told many files, and large ones, by their times: it cannot be asked again.
        return [
            "this run was begun by version 0.1, which told such data by the times of their files: "
            "whether they are still the same is not known"
        ]
    raise UserError(
        "the data is not what this run began with: its fingerprint differs. Give the same "
        "--data, or start a new run with another --out."
    )
