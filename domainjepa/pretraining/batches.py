"""Batches of views, made by worker processes ahead of time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from domainjepa import devices
from domainjepa.data.sampling import KeyedBatches
from domainjepa.distributed import any_over_ranks, gather_over_ranks, rank, world_size
from domainjepa.errors import DataError, UserError
from domainjepa.pretraining.plan import Plan
from domainjepa.signals import StopSignal, start_servers_that_stay, work_for_the_run
from domainjepa.views.dataset import ViewDataset, whole

Batch = dict[str, Tensor]


def batches(plan: Plan, start: int) -> Generator[Batch]:
    """This rank's part of every global batch from step `start` to the end of the run.

    Raises:
        DataError: a sample cannot be read.
        UserError: a worker process died.
    """
    loader = iter(batch_loader(plan, start))
    while True:
        try:
            yield next(loader)
        except StopIteration:
            return
        except DataError as error:
            # From a worker it comes with the worker's traceback; the message is its last line.
            last = str(error).strip().splitlines()[-1]
            raise DataError(last.partition("DataError: ")[2] or last) from None
        except (RuntimeError, ConnectionError, EOFError) as error:
            # Killed between batches it is a RuntimeError of the loader, while sending one of these.
            if isinstance(error, RuntimeError) and "DataLoader worker (pid" not in str(error):
                raise
            raise UserError(
                "a process that makes views died; often the machine ran out of memory. Try "
                "--set data.workers=1, and go on with --resume."
            ) from error


def next_batch(feed: Iterator[Batch], stop: StopSignal, device: torch.device) -> Batch | None:
    """The next batch of `batches`, or None once a rank was asked to stop: all ranks decide alike.
    Where a signal came to one of them, it is not the time that ended the run.

    Raises:
        DataError, UserError: one rank has no batch; every rank says so in its words.
    """
    batch, failure = None, None
    try:
        if not stop.asked:
            batch = next(feed)
    except UserError as error:
        failure = error
    if not any_over_ranks(batch is None):
        return batch
    # What broke while the run was being stopped may be of the signal's making.
    if any_over_ranks(stop.asked):
        stop.late = not any_over_ranks(stop.number is not None)
        return None
    words = torch.tensor(list(str(failure or "").encode()), dtype=torch.uint8, device=device)
    told = bytes(gather_over_ranks(words).tolist()).decode()
    raise failure or UserError(told)


def suspects(batch: Batch, device: torch.device) -> list[int]:
    """Rows of all ranks whose views hold what is no number; all of the batch where none does."""
    views = [batch[name].flatten(2) for name in ("global", "local") if name in batch]
    whole_rows = torch.stack([group.isfinite().all(2).all(0) for group in views]).all(0)
    found: list[int] = gather_over_ranks(batch["rows"][~whole_rows].to(device)).tolist()
    return found or gather_over_ranks(batch["rows"].to(device)).tolist()


def batch_loader(plan: Plan, start: int) -> DataLoader[Batch]:
    """The loader behind `batches`."""
    config = plan.config
    workers = config.data.workers or 0
    context = None
    if workers:
        # Forked copies of a process with threads and open files are unsafe; these are clean.
        context = multiprocessing.get_context("forkserver")
        start_servers_that_stay("domainjepa.views.dataset")
    return DataLoader(
        ViewDataset(plan.source, plan.maker(), plan.target.values if plan.target else None),
        batch_sampler=KeyedBatches(
            plan.rows,
            batch_size=config.batch_size,
            seed=config.seed,
            steps=range(plan.draw(start), plan.draw(plan.steps)),
            rank=rank(),
            world_size=world_size(),
        ),
        collate_fn=whole,  # type: ignore[arg-type]
        num_workers=workers,
        multiprocessing_context=context,
        worker_init_fn=work_for_the_run,
        pin_memory=devices.pins_memory(plan.device),
        prefetch_factor=2 if workers else None,
    )
