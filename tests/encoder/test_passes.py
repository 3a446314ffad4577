"""Forward passes on the CPU: how many samples at once, in which layout, and the reading ahead."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from domainjepa import devices
from domainjepa.encoder import passes
from domainjepa.errors import DataError

CPU = torch.device("cpu")


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(16, 8, 3, stride=2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def test_the_largest_part_decides_how_many_images_are_computed_at_once() -> None:
    network = convolutions()
    side = 64
    # The first convolution, 3 maps in and 16 out. The ReLU's in and out are one.
    sample = 4 * (3 + 16) * side**2
    fitting = passes.ACTIVATIONS[devices.keep_memory()] / sample
    found = passes.at_once(network, network, (3, side, side), 10**6, CPU)
    assert found.bit_count() == 1
    assert fitting / 2**0.5 < found < fitting * 2**0.5
    assert passes.at_once(network, network, (3, side, side), 5, CPU) == 5
    assert passes.at_once(network, network, (3, 2000, 2000), 256, CPU) == 1
    assert passes.at_once(network, network, (3, side, side), 300, torch.device("meta")) == 300


@pytest.mark.parametrize("channels", [1, 3])
def test_features_do_not_depend_on_batches_nor_on_the_layout(channels: int) -> None:
    network = convolutions()
    if channels == 1:
        network[0] = nn.Conv2d(1, 16, 3, padding=1)
    images = torch.rand(13, channels, 32, 32)
    with torch.no_grad():
        expected = network.double()(images.double()).numpy()
    network.float()
    for size in (1, 4, 13):
        found = passes.features(network, network, torch.split(images, size), CPU)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_images_reach_convolutions_with_the_channels_last() -> None:
    network, seen = convolutions(), []
    network[2].register_forward_hook(
        lambda part, inputs, output: seen.append(
            inputs[0].is_contiguous(memory_format=torch.channels_last)
        )
    )
    passes.features(network, network, [torch.rand(2, 3, 32, 32)], CPU)
    assert seen == [True, True]  # of the measurement, and of the images


def test_a_network_that_takes_the_default_layout_alone_gets_it() -> None:
    class Views(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.view(len(images), -1)

    images = torch.rand(3, 2, 4, 4)
    found = passes.features(Views(), Views(), [images], CPU)
    np.testing.assert_array_equal(found, images.flatten(1))


def test_hooks_do_not_stay_and_errors_keep_their_type() -> None:
    class Fails(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise DataError("not these")

    network = nn.Sequential(Fails())
    with pytest.raises(DataError, match="not these"):
        passes.features(network, network, [torch.rand(1, 3, 4, 4)], CPU)
    assert not any(part._forward_hooks for part in network.modules())


def test_the_next_item_is_made_while_one_is_used_and_none_further() -> None:
    made, second = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    found = passes.ahead(items())
    assert next(found) == 0
    assert second.wait(10)
    time.sleep(0.05)
    assert made == [0, 1]
    assert list(found) == [1, 2, 3]


def test_what_goes_wrong_ahead_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise DataError("sample 1: damaged")

    found = passes.ahead(items())
    assert next(found) == 0
    with pytest.raises(DataError, match="sample 1: damaged"):
        next(found)


def test_reading_ahead_ends_with_its_reader() -> None:
    found = passes.ahead(iter(range(100)))
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name.startswith("ahead")]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_environment_says_of_memory_stands(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    devices.keep_memory.cache_clear()
    monkeypatch.setenv(name, "glibc.malloc.trim_threshold=128")
    assert not devices.keep_memory()
    devices.keep_memory.cache_clear()


@pytest.mark.skipif(not devices.keep_memory(), reason="not glibc")
def test_freed_memory_is_there_again_without_page_faults() -> None:
    program = """
import resource, torch
from domainjepa import devices

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.zeros(12 * 2**20).add_(1)  # 48 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, told = faults(), devices.keep_memory()
print(before, min(faults() for _ in range(5)), told)
"""
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    before, after, kept = told.stdout.split()
    assert kept == b"True"
    assert int(after) < int(before) / 10
