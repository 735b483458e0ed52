"""Ranks: the processes of one run, started by PyTorch's own torchrun. Alone, every function here is the identity.

    torchrun --nproc-per-node 4 -m bkind3d_lite train --clip FOLDER --recipe NAME --out RUN

R ranks with a batch of b take the steps of one process with a batch of R b: each takes its own share of the same pairs,
DistributedDataParallel averages the gradients, and what is averaged over a batch besides (`mean`) is averaged over ranks, too.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def count() -> int:
    """How many ranks there are; 1 without torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mine() -> int:
    """Which of them this is; rank 0 writes."""
    return dist.get_rank() if count() > 1 else 0


def writes_here() -> bool:
    """Whether this is the rank that writes what all ranks of this machine share."""
    return count() == 1 or int(os.environ.get("LOCAL_RANK", 0)) == 0


def mean(values: Tensor) -> Tensor:
    """The mean of `values` over the ranks, the same on all of them; no gradient passes."""
    if count() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / count()


def anyone(yes: bool) -> bool:
    """Whether any rank says so: all of them stop at the same step."""
    if count() == 1:
        return yes
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return bool(mean(torch.tensor(float(yes), device=device)) > 0)


@contextmanager
def joined(device: str = "auto") -> Iterator[str]:
    """Join the ranks that torchrun started, if it did; yields this rank's device (`auto`: a GPU where there is one).

    A rank that is lost ends the others with a `ConnectionError`.
    """
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device = {device}: PyTorch finds no GPU here; use --device cpu, or install a CUDA build of PyTorch"
        )
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
        dist.barrier()  # nobody leaves while another still writes: threads of a rank that is gone take the others down
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            reason = str(error).splitlines()[0][:200]
            raise ConnectionError(
                f"another rank was lost ({reason}); start all of them again, with --resume"
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def spread(module: nn.Module) -> nn.Module:
    """The module over all ranks: DistributedDataParallel, batch statistics shared where the backend can (CUDA)."""
    if count() == 1:
        return module
    device = next(module.parameters()).device
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules()):
        if device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        else:
            warnings.warn(
                "batch normalization on CPU ranks uses each rank's own batch (PyTorch's SyncBatchNorm is for CUDA only): the "
                "steps differ from those of one process with the whole batch",
                stacklevel=2,
            )
    return DistributedDataParallel(module, [device] if device.type == "cuda" else None)
