from __future__ import annotations

import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from domainjepa.errors import DataError
from domainjepa.pretraining.batches import Batch, batch_loader, next_batch, suspects
from domainjepa.pretraining.plan import make_plan
from domainjepa.signals import StopSignal
from tests import programs
from tests.conftest import tiny

CPU = torch.device("cpu")

RANKS = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import torch
    from domainjepa.pretraining.batches import next_batch, suspects
    from domainjepa.distributed import process_group, rank
    from domainjepa.errors import DataError, UserError
    from domainjepa.pretraining.probe import probe_loss
    from domainjepa.pretraining.plan import make_plan
    from domainjepa.signals import StopSignal
    from domainjepa.pretraining.state import RunState
    from tests.conftest import tiny

    torch.set_num_threads(1)


    def feed(broken):
        if broken:
            raise DataError("sample 17 cannot be read: é")
        yield {"rows": torch.arange(2)}


    def told(broken, stop):
        try:
            return next_batch(feed(broken), stop, torch.device("cpu"))
        except UserError as error:
            return str(error)


    def row_by_row():
        rows = torch.arange(8)[4 * rank() : 4 * rank() + 4]
        views = torch.zeros(2, 4, 3, 5, 5)
        assert suspects({"rows": rows, "global": views}, torch.device("cpu")) == list(range(8))
        if rank() == 1:
            views[1, 2, 0, 0, 0] = torch.nan
        assert suspects({"rows": rows, "global": views}, torch.device("cpu")) == [6]
        plan = make_plan(tiny(Path(sys.argv[1])))
        plan.held_out[:8] = [False, False, False, True, False, True, True, True]
        state = RunState.start(plan)
        labels = torch.tensor([0, 1, 0, 1])
        logits = torch.nn.functional.one_hot(labels, 2).float().expand(2, 4, 2)
        probe_loss(logits, {"rows": rows, "labels": labels}, plan, state)
        assert state.probed.sums == {"rows": 4, "correct": 8, "counted": 8}, "of all ranks"


    with process_group("cpu"):
        stop = StopSignal()
        assert told(False, stop)["rows"].tolist() == [0, 1]
        assert told(rank() == 1, stop) == "sample 17 cannot be read: é"
        stop.late = rank() == 1
        assert told(False, stop) is None
        assert stop.stopped(1, 2).exit_status == 75, "one clock counts for all"
        stop.number = 15 if rank() == 0 else None
        assert told(rank() == 1, stop) is None
        assert stop.stopped(1, 2).exit_status == 143
        row_by_row()
    print("done")
    """
)


def test_the_servers_of_the_workers_are_started_before_them(
    blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(
        "domainjepa.pretraining.batches.start_servers_that_stay", lambda *_: started.append("now")
    )
    for workers in (0, 1):
        batch_loader(make_plan(tiny(blobs, data__workers=workers)), start=0)
        assert len(started) == workers


def test_ranks_decide_alike_and_count_together(blobs: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(RANKS)
    assert programs.ranks(2, script, blobs) == ["done\n"] * 2


def feed(failure: Exception | None = None) -> Iterator[Batch]:
    yield {"rows": torch.arange(2)}
    raise failure or AssertionError


def test_a_stop_waits_for_no_batch_and_hides_no_failure_of_the_data() -> None:
    stop = StopSignal()
    one = feed(DataError("torn"))
    assert next_batch(one, stop, CPU) is not None
    with pytest.raises(DataError, match="torn"):
        next_batch(one, stop, CPU)
    stop.number = signal.SIGTERM
    untouched = feed()
    assert next_batch(untouched, stop, CPU) is None
    assert next(untouched)["rows"].tolist() == [0, 1]


def test_the_rows_with_bad_views_are_named() -> None:
    views = torch.zeros(2, 4, 3, 5, 5)
    small = torch.zeros(3, 4, 3, 2, 2)
    batch = {"rows": torch.tensor([9, 8, 7, 6]), "global": views, "local": small}
    assert suspects(batch, CPU) == [9, 8, 7, 6]
    views[1, 1, 0, 0, 0] = torch.inf
    small[2, 3, 0, 0, 0] = torch.nan
    assert suspects(batch, CPU) == [8, 6]
    whole = {"rows": batch["rows"], "global": views.to(torch.uint8)}
    assert suspects(whole, CPU) == [9, 8, 7, 6]
