"""Pieces by threads: in order, computed alike by any number, and no setting left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from domainjepa.objective import SIGReg
from domainjepa.objective.threads import by_threads

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_pieces_come_in_order_and_each_thread_computes_alone(number: int) -> None:
    torch.set_num_threads(number)

    def make(piece: int) -> tuple[int, int, bool]:
        return piece * piece, torch.get_num_threads(), torch.is_grad_enabled()

    found = by_threads(make, range(40), CPU)
    assert [square for square, _, _ in found] == [piece * piece for piece in range(40)]
    if number > 1:
        assert {tuple(rest) for _, *rest in found} == {(1, False)}
    assert torch.get_num_threads() == number
    fresh: list[int] = []
    one = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    one.start()
    one.join()
    assert fresh == [number]


def test_an_error_in_a_piece_is_raised() -> None:
    torch.set_num_threads(2)

    def fail(piece: int) -> None:
        raise ValueError(f"piece {piece}")

    with pytest.raises(ValueError, match="piece 0"):
        by_threads(fail, range(4), CPU)


def test_loss_and_gradient_are_the_same_to_the_bit_with_any_number_of_threads() -> None:
    z = torch.randn(3, 600, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for number in (1, 2, 4):
        torch.set_num_threads(number)
        # The projection is a product of matrices, which a library divides as it likes.
        s = z @ SIGReg(512).slices(z, 0) if not found else found[0][0]
        s = s.detach().requires_grad_()
        value = SIGReg(512).statistic_of(s).mean()
        value.backward()  # type: ignore[no-untyped-call]
        assert s.grad is not None
        found.append((s.detach(), value.detach(), s.grad))
    for _, value, gradient in found[1:]:
        torch.testing.assert_close(value, found[0][1], rtol=0, atol=0)
        torch.testing.assert_close(gradient, found[0][2], rtol=0, atol=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    program = """
import os, torch
from domainjepa.objective.threads import by_threads
torch.set_num_threads(2)
double = lambda piece: 2 * piece
assert by_threads(double, range(4), torch.device("cpu")) == [0, 2, 4, 6]
child = os.fork()
if child == 0:
    os._exit(by_threads(double, range(4), torch.device("cpu")) != [0, 2, 4, 6])
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert done.returncode == 0
