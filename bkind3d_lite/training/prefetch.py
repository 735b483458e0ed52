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
    over = threading.Event()
    pinned = torch.device(device).type == "cuda"
    begun, helpers = threading.Event(), torch.get_num_threads()

    def offer(item: tuple[Batch | None, BaseException | None]) -> bool:
        while not over.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        torch.set_flush_denormal(True)  # each thread has its own
        if not pinned and torch.get_num_threads() > 1:  # asked first: the first answer settles it
            torch.set_num_threads(1)
        begun.set()
        try:
            for batch in pairs:
                if not offer((batch.pinned() if pinned else batch, None)):
                    return
            offer((None, None))
        except BaseException as error:  # whatever it was, the consumer raises it
            offer((None, error))

    threading.Thread(target=work, name="batches ahead", daemon=True).start()
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
