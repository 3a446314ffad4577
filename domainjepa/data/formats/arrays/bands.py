"""Names of channels in an archive: an entry `filters`, `bands` or `channels` beside the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from domainjepa.data.formats.arrays.members import Member, read_column
from domainjepa.data.metadata.columns import as_text

NAMES = ("filters", "bands", "channels", "filter_names", "band_names", "channel_names")
"""Lower case, the most telling first."""
MOST = 1_000


def band_names(members: Mapping[str, tuple[Member, ...]]) -> tuple[str, ...]:
    """What the channels are called; empty where no entry tells."""
    known = {name.lower(): parts for name, parts in members.items() if len(parts) == 1}
    for name in NAMES:
        (member,) = known.get(name, (None,))
        if member is None or member.dtype.kind not in "SU" or len(member.shape) != 1:
            continue
        if 2 <= member.shape[0] <= MOST:
            told = tuple(as_text(read_column((member,))).tolist())
            return told if len(set(told)) == len(told) else ()
    return ()


def with_samples(
    members: Mapping[str, tuple[Member, ...]], bands: int
) -> dict[str, tuple[Member, ...]]:
    """The same arrays, with an axis of one sample where the first or the last of three axes has a
    plane for each band."""
    made = dict(members)
    for name, parts in members.items():
        shape = parts[0].shape
        if len(parts) == 1 and len(shape) == 3 and bands in (shape[0], shape[-1]):
            made[name] = (replace(parts[0], shape=(1, *shape)),)
    return made
