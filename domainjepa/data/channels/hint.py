"""Names that look like channels of one object, in a folder that is read as one sample a file."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from domainjepa.data.files.listing import without_suffix
from domainjepa.data.storage.layout import MOST_CHANNELS

USUAL = re.compile(
    "[ugrizyjhk]|ks|[bv]|[nf]uv|f[0-9]{3}[wmn]|"  # filters of telescopes
    "w[0-9]{1,2}|c[0-9]{1,2}|ch[0-9]{1,2}|channel[0-9]{1,2}|dapi|hoechst|[grycb]fp|fitc|tritc|cy[357]|"
    "er|rna|dna|agp|mito|actin|tubulin|bf|brightfield|phase|"  # microscopes
    "t1|t1w|t1c|t1ce|t1n|t1gd|t2|t2w|t2f|flair|pd|pdw|dwi|adc|swi|"  # magnetic resonance
    "red|green|blue|yellow|nir|swir[12]?|b[0-9]{1,2}a?|band[0-9]{1,2}|v[vh]|h[vh]",  # satellites
    re.IGNORECASE,
)
"""What channels are usually called."""
COVERED = 0.9
"""Share of the names that must be of an object with all of the channels."""
FEW = 3
"""Objects, at least, whose names end in the same words, where these are not usual ones."""
LOOKED_AT = 2_000


def hint(names: Sequence[str], suffixes: tuple[str, ...]) -> str | None:
    """A warning where names look like channels of one object, else None.

    Only usual words are told: others may name patients.

    Args:
        names: of the samples' files, below the folder, in their order.
        suffixes: of the format.
    """
    some = _some(names)
    stems = [without_suffix(name, suffixes) for name in some]
    variants: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for stem in stems:
        parts = list(re.finditer("[A-Za-z0-9]+", stem))
        for part in parts:
            key = f"{stem[: part.start()]}\0{stem[part.end() :]}"
            variants[key].append((part[0], part is parts[-1] and not part[0].isdigit()))
    sets = Counter(
        tuple(sorted(set(found))) for found in variants.values() if 2 <= len(found) <= MOST_CHANNELS
    )
    for found, count in sets.most_common(3):
        words = [word for word, _ in found]
        if count * len(words) < COVERED * len(some):
            continue
        if all(map(USUAL.fullmatch, words)):
            return (
                f"names look like {len(words)} channels of one object: {', '.join(words)}. To join "
                f"them into one sample: --set 'data.bands=[{','.join(words)}]'. If they are views "
                "of one object, no split should part them: give them groups"
            )
        if all(last for _, last in found) and count >= FEW:
            return (
                f"names differ in their last part alone, {len(words)} files for each object. If "
                "these are its channels, name them: --set 'data.bands=[…]'. If they are views of "
                "one object, no split should part them: give them groups"
            )
    return None


def _some(names: Sequence[str]) -> Sequence[str]:
    """Of many names the first, and those of the same files in other folders."""
    if len(names) <= LOOKED_AT:
        return names
    first = {name.rpartition("/")[2] for name in names[:LOOKED_AT]}
    last = set(names[LOOKED_AT - MOST_CHANNELS : LOOKED_AT])  # an object may be cut in two here
    return [name for name in names if name.rpartition("/")[2] in first and name not in last]
