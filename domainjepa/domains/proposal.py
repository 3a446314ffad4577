"""Which domain suits a data set, and why: proposed, printed, never guessed in silence."""

from __future__ import annotations

from domainjepa.data.source import Source
from domainjepa.registry import DOMAINS


def propose_domain(source: Source) -> tuple[str, str]:
    """The domain that suits the data best, and the reason, for the printed plan.

    Args:
        source: the card's word wins; else every known domain judges dtype, channels and names.
    """
    if source.card and source.card.get("domain"):
        return str(source.card["domain"]), f"the card {source.card.get('name', '')!r} says so"
    words = " ".join([source.name, *source.keys, *(source.classes or ())])
    judged = {
        name: domain.suits(source.dtype, source.channels, words)
        for name, domain in DOMAINS.load_all().items()
    }
    best = max(judged, key=lambda name: judged[name][0])
    return best, judged[best][1]
