"""Prefetch: batches decoded by a thread while the step before them computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import torch

from ..clips.sampling import Batch


def prefetch(
    pairs: Iterator[Batch], device: str | torch.device = "cpu", depth: int = 2
) -> Iterator[Batch]:
    """The same batches in the same order, decoded and cropped while the step before computes.

    A thread makes them. On a CPU it computes alone: with helpers of its own there would be more
    threads than cores, OpenMP would let the step's helpers sleep between two loops, and a step of a
    small network would take half as long again, or twice as long. An error arrives where its batch
    would have.

    Args:
        pairs: batches, made as they are asked for.
        device: where they go; for a GPU they lie in pinned memory, from where they travel at full
            speed.
        depth: how many are ready at most.

    Yields:
        Batches.
    """
    ready: queue.Queue = queue.Queue(depth)
    over, begun = threading.Event(), threading.Event()
    helpers, pinned = torch.get_num_threads(), torch.device(device).type == "cuda"
    work = (pairs, ready, over, begun, pinned)
    threading.Thread(target=_make, args=work, name="batches ahead", daemon=True).start()
    begun.wait()
    torch.set_num_threads(helpers)  # of the thread that computes: MKL knows no other than all
    try:
        while True:
            batch, error = ready.get()
            if error is not None:
                raise error
            if batch is None:
                return
            yield batch
    finally:
        over.set()


def _make(
    pairs: Iterator[Batch],
    ready: queue.Queue,
    over: threading.Event,
    begun: threading.Event,
    pinned: bool,
) -> None:
    """What the thread does: put batches, each beside its error, until it is `over`."""
    torch.set_flush_denormal(True)  # each thread has its own
    if not pinned and torch.get_num_threads() > 1:  # asked first: the first answer settles it
        torch.set_num_threads(1)
    begun.set()

    def offer(batch: Batch | None, error: BaseException | None = None) -> bool:
        while not over.is_set():
            try:
                ready.put((batch, error), timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    try:
        for batch in pairs:
            if not offer(batch.pinned() if pinned else batch):
                return
        offer(None)
    except BaseException as error:  # whatever it was, the consumer raises it
        offer(None, error)
