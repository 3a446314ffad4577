from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from domainjepa.backbones import Backbone
from domainjepa.backbones.attention import Attention, attention_by
from domainjepa.config import BackboneConfig
from domainjepa.errors import ConfigError
from domainjepa.pretraining.batches import batches
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.state import RunState
from domainjepa.pretraining.step import Step
from tests.conftest import tiny

FLASH, MATH = "_scaled_dot_product_flash_attention", "_scaled_dot_product_attention_math"


def kernels(act: object) -> str:
    """The names of all operations inside a call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        act()  # type: ignore[operator]
    return " ".join(event.key for event in seen.key_averages())


@pytest.mark.parametrize(("chosen", "taken"), [("auto", FLASH), ("flash", FLASH), ("math", MATH)])
def test_the_kernel_is_the_one_that_was_asked_for(
    chosen: Attention, taken: str, blobs: Path
) -> None:
    config = tiny(blobs, attention=chosen, backbone__name="test_vit", backbone__stem_reduction=4)
    plan = make_plan(config)
    step = Step(plan, RunState.start(plan))
    batch = next(batches(plan, start=0))
    names = kernels(lambda: step(batch))
    assert taken in names
    assert ({FLASH, MATH} - {taken}).pop() not in names


@pytest.mark.parametrize("chosen", ["auto", "flash", "math"])
def test_cudnn_is_never_among_them_and_the_old_choice_comes_back(chosen: Attention) -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    with attention_by(chosen):
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled() == before


def test_flash_that_cannot_run_says_so() -> None:
    tokens = torch.zeros(1, 1, 4, 8)
    with (
        pytest.raises(ConfigError, match=r"attention = 'flash'.*attention=auto"),
        attention_by("flash"),
    ):
        functional.scaled_dot_product_attention(tokens, tokens, tokens, dropout_p=0.5)
    with pytest.raises(RuntimeError, match="a bug"), attention_by("flash"):
        raise RuntimeError("a bug")


def test_all_kernels_give_the_same_features() -> None:
    backbone = Backbone(BackboneConfig(name="test_vit"), 3, 32).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        with attention_by("math"):
            plain = backbone(images)
        with attention_by("flash"):
            fast = backbone(images)
    torch.testing.assert_close(plain, fast)
