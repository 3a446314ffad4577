"""Reductions and the objective on several gloo ranks against one process on the joined batch."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from domainjepa import distributed
from tests import programs

# Each rank compares with the joined batch itself, in float64, so that 1e-6 leaves no room for a
# reduction that is dropped or weighted by ranks instead of by samples.
WORKER = textwrap.dedent(
    """
    import sys
    import torch
    from domainjepa import distributed as d
    from domainjepa.objective import LeJEPALoss, SIGReg
    from domainjepa.objective.statistics import STATISTICS

    torch.set_num_threads(1)


    def close(a, b, what):
        error = (a - b).norm() / b.norm()
        assert error <= 1e-6, f"rank {d.rank()}: {what}: {float(error):.1e}"


    def batch(counts):
        generator = torch.Generator().manual_seed(5)
        x = torch.randn(3, sum(counts), 6, generator=generator, dtype=torch.double)
        weight = torch.randn(6, 4, generator=generator, dtype=torch.double)
        center = torch.randn(sum(counts), 4, generator=generator, dtype=torch.double)
        return x, weight, center


    def losses():
        for name in ["epps-pulley", *STATISTICS]:
            yield name, LeJEPALoss(0.3, SIGReg(7, statistic=name)), {}
        yield "debias", LeJEPALoss(0.3, SIGReg(7, debias=True)), {}
        yield "sobol", LeJEPALoss(0.3, SIGReg(7, directions="sobol")), {}
        yield "center", LeJEPALoss(0.3, SIGReg(7)), {"center": True}
        yield "predicted", LeJEPALoss(0.3, SIGReg(7)), {"predicted": True}
        yield "only SIGReg", LeJEPALoss(1.0, SIGReg(7)), {}
        yield "only prediction", LeJEPALoss(0.0, SIGReg(7)), {}


    def run(loss, options, counts, rows):
        x, weight, center = batch(counts)
        weight.requires_grad_()
        z = x[:, rows] @ weight
        extra = {}
        if "center" in options:
            extra["center"] = center[rows]
        if "predicted" in options:
            extra["predicted"] = z.tanh()
        terms = loss(z, num_global=2, step=3, **extra)
        terms.loss.backward()
        return torch.stack([t.detach() for t in terms]), weight.grad


    def parallel_gradient(counts, rows):
        x, weight, _ = batch(counts)
        linear = torch.nn.Linear(6, 4, bias=False, dtype=torch.double)
        linear.weight.data = weight.T.contiguous()
        parallel = torch.nn.parallel.DistributedDataParallel(linear)
        LeJEPALoss(0.3, SIGReg(7))(parallel(x[:, rows]), step=3).loss.backward()
        return linear.weight.grad.T


    def truths(counts):
        return {name: run(loss, opt, counts, slice(None)) for name, loss, opt in losses()}


    cases = [[int(c) for c in case.split(",")] for case in sys.argv[1:]]
    alone = [truths(counts) for counts in cases]
    assert not d.in_group()
    with d.process_group():
        for counts, truth in zip(cases, alone, strict=True):
            assert d.world_size() == len(counts)
            start = sum(counts[: d.rank()])
            rows = slice(start, start + counts[d.rank()])
            for name, loss, options in losses():
                terms, gradient = run(loss, options, counts, rows)
                torch.distributed.all_reduce(gradient)
                close(terms, truth[name][0], f"{name} {counts} loss")
                close(gradient / d.world_size(), truth[name][1], f"{name} {counts} gradient")

            close(parallel_gradient(counts, rows), truth["epps-pulley"][1], f"DDP {counts}")

        # The reductions alone, with a loss that differs between ranks.
        x = torch.full((2, d.rank() + 1), float(d.rank()), requires_grad=True)
        joined = d.gather_over_ranks(x, dim=1)
        expected = [float(r) for r in range(d.world_size()) for _ in range(r + 1)]
        assert joined.tolist() == [expected] * 2
        (joined.sum() * (d.rank() + 1)).backward()
        everyone = sum(range(1, d.world_size() + 1))
        assert x.grad.tolist() == [[everyone] * (d.rank() + 1)] * 2

        y = torch.tensor(2.0, requires_grad=True)
        (d.sum_over_ranks(y) * (d.rank() + 1)).backward()
        assert y.grad == everyone
        assert d.sum_over_ranks(y) == 2 * d.world_size()
        assert y == 2
        assert d.any_over_ranks(d.rank() == 1)
        assert not d.any_over_ranks(False)
        assert d.is_main() == (d.rank() == 0)
    assert not d.in_group()
    print("done")
    """
)


@pytest.mark.parametrize("cases", [["6,6", "9,3"], ["3,3,3,3", "5,1,6,0"]])
def test_ranks_are_one_process_on_the_joined_batch(cases: list[str], tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    ranks = len(cases[0].split(","))
    if ranks > 2:
        assert programs.ranks(ranks, script, *cases) == ["done\n"] * ranks
        return
    # Two are started as users start them; torchrun sets more than the ranks.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={ranks}", str(script), *cases]
    root = str(Path(distributed.__file__).parents[1])
    result = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[:6000]
    assert result.stdout.count("done") == ranks


def test_single_process_is_the_identity() -> None:
    x = torch.ones(3)
    assert distributed.sum_over_ranks(x) is x
    assert distributed.gather_over_ranks(x) is x
    assert distributed.any_over_ranks(True)
    assert not distributed.any_over_ranks(False)
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)


def test_process_group_without_torchrun_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with distributed.process_group():
        assert not distributed.in_group()
