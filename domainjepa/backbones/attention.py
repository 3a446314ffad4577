"""Which kernels may compute scaled dot-product attention.

cuDNN's is never among them: its backward pass in bfloat16 gives gradients that are NaN while the
loss is finite, and PyTorch would choose it first on recent GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch.nn.attention import SDPBackend, sdpa_kernel

from domainjepa.errors import ConfigError

Attention = Literal["auto", "flash", "math"]

_KERNELS: dict[Attention, list[SDPBackend]] = {
    "auto": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "flash": [SDPBackend.FLASH_ATTENTION],
    "math": [SDPBackend.MATH],
}


@contextmanager
def attention_by(kernels: Attention) -> Iterator[None]:
    """Inside, forward passes take these kernels alone, and backward passes those of the forward.

    Args:
        kernels: `auto`, for each call the fastest of the safe ones; `flash`, that one or an error;
            `math`, plain matrix products, slow and certain.

    Raises:
        ConfigError: none of them can do what the network asks for.
    """
    try:
        with sdpa_kernel(_KERNELS[kernels]):
            yield
    except RuntimeError as error:
        # On CUDA and on the CPU, in this order.
        if "No available kernel" in str(error) or "No viable backend" in str(error):
            raise ConfigError(
                f"attention = {kernels!r} cannot run this network here: flash attention needs "
                "bfloat16 on CUDA, and no mask. Set --set attention=auto."
            ) from error
        raise
