"""Where the randomness of a view comes from: its key, and nothing else."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from domainjepa.data.sampling import key

if TYPE_CHECKING:
    import albumentations as A


def view_key(seed: int, epoch: int, sample: int, view: int) -> int:
    """The key of one view: of images and of volumes alike, on any rank and in any worker.

    Args:
        seed: of the run.
        epoch: every epoch has other views.
        sample: the row in the source.
        view: its number, global views first.
    """
    return key(seed, "views", epoch, sample, view)


class OneStream(random.Random):
    """Python's and numpy's random numbers from one generator, which a key sets anew.

    A state that is written into a generator takes a tenth of the time of a new generator and of
    Python's own seeding together, which is a third of a small view.
    """

    def __init__(self) -> None:
        self.generator = np.random.Generator(np.random.PCG64(0))
        super().__init__()

    def start(self, draw_key: int) -> None:
        """From here on, the numbers are those of this key."""
        words = hashlib.blake2b(draw_key.to_bytes(8, "little"), digest_size=32).digest()
        state = {
            "state": int.from_bytes(words[:16], "little"),
            "inc": int.from_bytes(words[16:], "little") | 1,  # PCG64 wants it odd
        }
        self.generator.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": state,
            "has_uint32": 0,
            "uinteger": 0,
        }
        self.gauss_next = None  # Python draws normal numbers in pairs, and keeps the second

    def random(self) -> float:
        return self.generator.random()

    def getrandbits(self, k: int, /) -> int:
        return int.from_bytes(self.generator.bytes(-(-k // 8)), "little") >> -k % 8

    def __reduce__(self) -> tuple[type[OneStream], tuple[()]]:
        return OneStream, ()  # its state is written before each use


def seed_randomness(chain: A.Compose | A.BasicTransform, draw_key: int) -> None:
    """Make the next call a pure function of the key.

    One stream runs through the whole chain. `set_random_seed` would start every transform on the
    same numbers, and "noise" would be drawn exactly when "blur" is.
    """
    stream = chain.py_random
    # A copy of a chain has a copy of the generator, which is not the one of its copied stream.
    if not isinstance(stream, OneStream) or chain.random_generator is not stream.generator:
        stream = OneStream()
        chain.set_random_state(stream.generator, stream)
    stream.start(draw_key)


class ApartCrop:
    """A chain whose crop, its first transform, has a key of its own: two images are shown at one
    place, and vary by themselves."""

    def __init__(self, chain: A.Compose) -> None:
        import albumentations as A

        self.crop, self.rest = (
            A.Compose(steps, is_check_shapes=False)
            for steps in (chain.transforms[:1], chain.transforms[1:])
        )

    def seed(self, place: int, own: int) -> None:
        """Make the next call a pure function of these keys.

        Args:
            place: of the crop.
            own: of all other changes.
        """
        seed_randomness(self.crop, place)
        seed_randomness(self.rest, own)

    def __call__(self, **seen: Any) -> dict[str, Any]:
        changed: dict[str, Any] = self.rest(**self.crop(**seen))
        return changed
