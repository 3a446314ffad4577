"""The Triton kernels against the plain path: through Triton's interpreter, and on CUDA if any."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import domainjepa
from domainjepa.objective import LeJEPALoss, SIGReg
from domainjepa.objective.epps_pulley import epps_pulley

# The variable must be set before Triton is imported, so the kernels run in a process of their own.
INTERPRETED = textwrap.dedent(
    """
    import torch
    from domainjepa.objective import epps_pulley, epps_pulley_triton


    def close(a, b, what):
        error = (a.double() - b.double()).norm() / b.double().norm()
        assert error < 1e-6, (what, float(error))


    # Samples and slices that fill tiles, leave rests, and are fewer than one tile.
    for shape in [(1, 128, 32), (2, 130, 33), (3, 2, 1), (1, 300, 40)]:
        for terms, dt in [(16, 5 / 16), (1, 0.25)]:
            s = torch.randn(shape, generator=torch.Generator().manual_seed(shape[1]))
            weight = torch.randn(shape[0], 2, terms, shape[2])
            plain = s.double().requires_grad_()
            fused = s.clone().requires_grad_()
            expected = epps_pulley.characteristic_sums(plain, dt, terms)
            sums = epps_pulley_triton.Sums.apply(fused, dt, terms)
            close(sums, expected, (shape, terms, "sums"))
            (expected * weight).sum().backward()
            (sums * weight).sum().backward()
            close(fused.grad, plain.grad, (shape, terms, "gradient"))

    s = torch.randn(1, 5, 3)
    s[0, 2, 1] = float("nan")
    assert epps_pulley_triton.Sums.apply(s, 0.3, 4).isnan().any((0, 1, 2)).tolist() == [0, 1, 0]
    far = (1e6 * torch.randn(1, 5, 3)).requires_grad_()
    epps_pulley_triton.Sums.apply(far, 0.3, 4).sum().backward()
    assert far.grad.isfinite().all()
    for shape in [(2, 0, 3), (2, 3, 0), (0, 2, 3)]:
        s = torch.zeros(shape, requires_grad=True)
        sums = epps_pulley_triton.Sums.apply(s, 0.3, 4)
        sums.sum().backward()
        assert sums.shape == (shape[0], 2, 4, shape[2]) and sums.sum() == 0
        assert s.grad.shape == shape
    print("done")
    """
)


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="Triton is not installed")
def test_kernels_through_the_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "interpreted.py"
    script.write_text(INTERPRETED)
    root = str(Path(domainjepa.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert "done" in result.stdout


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("shape", [(1, 32768, 512), (10, 128, 1024), (2, 130, 33)])
def test_cuda_is_the_cpu(shape: tuple[int, int, int]) -> None:
    s = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    on_cpu, on_cuda = s.double().requires_grad_(), s.cuda().requires_grad_()
    expected, value = epps_pulley(on_cpu), epps_pulley(on_cuda)
    expected.sum().backward()
    value.sum().backward()
    assert on_cpu.grad is not None
    assert on_cuda.grad is not None
    assert (value.cpu() - expected).norm() < 1e-5 * expected.norm()
    assert (on_cuda.grad.cpu() - on_cpu.grad).norm() < 1e-5 * on_cpu.grad.norm()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_no_synchronisation_on_cuda() -> None:
    loss = LeJEPALoss(sigreg=SIGReg(64))
    z = torch.randn(2, 64, 16, device="cuda", requires_grad=True)
    loss(z, step=0).loss.backward()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(z, step=1).loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
