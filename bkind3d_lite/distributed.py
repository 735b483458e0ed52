"""Ranks: the processes of one run, started by PyTorch's own torchrun.

    torchrun --nproc-per-node 4 -m bkind3d_lite train --clip FOLDER --recipe NAME --out RUN

Alone, every function here is the identity. R ranks with a batch of b take the steps of one process
with a batch of R b: each takes its own share of the same pairs, DistributedDataParallel averages
the gradients, and what is averaged over a batch besides (`mean`) is averaged over ranks, too.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def world_size() -> int:
    """How many ranks there are; 1 without torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; rank 0 writes."""
    return dist.get_rank() if world_size() > 1 else 0


def writes_here() -> bool:
    """Whether this is the rank that writes what all ranks of this machine share."""
    return world_size() == 1 or int(os.environ.get("LOCAL_RANK", 0)) == 0


def mean(values: Tensor) -> Tensor:
    """The mean over the ranks, the same on all of them; no gradient passes.

    Args:
        values: (...) of this rank, on its device.

    Returns:
        (...).
    """
    if world_size() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def any_rank(yes: bool) -> bool:
    """Whether any rank says so: all of them stop at the same step.

    Args:
        yes: what this rank says.

    Returns:
        The same on all ranks.
    """
    if world_size() == 1:
        return yes
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return bool(mean(torch.tensor(float(yes), device=device)) > 0)


@contextmanager
def joined(device: str = "auto") -> Iterator[str]:
    """Join the ranks that torchrun started, if it did.

    Args:
        device: `auto` is a GPU where there is one; `cuda` is this rank's own.

    Yields:
        The device of this rank.

    Raises:
        ValueError: there is no such device.
        ConnectionError: another rank was lost; it ends this one.
    """
    device = _device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
        # Nobody leaves while another still writes: threads of a rank that is gone take the others
        # down.
        dist.barrier()
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            reason = str(error).splitlines()[0][:200]
            raise ConnectionError(
                f"another rank was lost ({reason}); start all of them again, with --resume"
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def _device(device: str) -> str:
    """The device that `auto` means; a GPU that is not there is a `ValueError`."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device = {device}: expected auto, cpu, cuda or cuda:1")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device = {device}: PyTorch finds no GPU here; use --device cpu, "
            "or install a CUDA build of PyTorch"
        )
    number = int(device.partition(":")[2] or 0)
    if device.startswith("cuda") and number >= (count := torch.cuda.device_count()):
        raise ValueError(f"device = {device}: there are {count} GPUs here, counted from 0")
    return device


def distributed_model(model: nn.Module) -> nn.Module:
    """A model over all ranks, or, alone, the model itself.

    Args:
        model: on this rank's device.

    Returns:
        What to call instead.
    """
    return model if world_size() == 1 else over_ranks(model)


def over_ranks(model: nn.Module) -> nn.Module:
    """A model over all ranks, be it one, by DistributedDataParallel.

    Args:
        model: on this rank's device.

    Returns:
        What to call instead; batch statistics are shared where the backend can (CUDA).
    """
    device = next(model.parameters()).device
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        if device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        else:
            warnings.warn(
                "batch normalization on CPU ranks uses each rank's own batch (PyTorch's "
                "SyncBatchNorm is for CUDA only): the steps differ from those of one process with "
                "the whole batch",
                stacklevel=2,
            )
    return DistributedDataParallel(model, [device] if device.type == "cuda" else None)
