"""Precision: number format, compilation and memory habits of the device that a run is on."""

from __future__ import annotations

import ctypes
import sys

import torch

from ..model.compute import Compute
from ..model.discoverer import Discoverer
from ..model.objective import Objective
from ..recipes import Recipe

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MAPPED_FROM = 4 << 20  # bytes from which a tensor is mapped by itself
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
MAPPINGS = 1 << 16  # glibc's own limit


# ---- number format -------------------------------------------------------------------------------
def precision(recipe: Recipe, device: str | torch.device) -> torch.dtype:
    """The number format of the networks.

    `auto`: bfloat16 where the hardware computes in it (GPUs of compute capability 8 or more, CPUs
    with AVX512-BF16 or AMX: twice as fast, half the memory), else float16 on a GPU, where bfloat16
    would be slower than float32, and float32 on a CPU.

    Args:
        recipe: `compute.precision` decides, unless it is `auto`.
        device: where the networks run.

    Returns:
        Their dtype.
    """
    if recipe.compute.precision in DTYPES:
        return DTYPES[recipe.compute.precision]
    kind = torch.device(device).type
    if kind == "cuda":
        ampere = torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if ampere else torch.float16
    return torch.bfloat16 if kind == "cpu" and native_bfloat16() else torch.float32


def native_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; else it is emulated, slower than float32."""
    # PyTorch 2.6 has no public way
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


# ---- models --------------------------------------------------------------------------------------
def equip(
    model: Discoverer, objective: Objective | None, recipe: Recipe, device: str | torch.device
) -> None:
    """Move model and objective to the device and let their networks compute there.

    Args:
        model: to train, or to track with.
        objective: None: the model is for tracking, and its decoder stays where it is.
        recipe: how to compute, see `in_format`.
        device: where.
    """
    parts = (model.encoder, model.lift, model.edges) if objective is None else (model, objective)
    for part in parts:
        part.to(device)
    in_format(model, objective, recipe, device)


def in_format(
    model: Discoverer, objective: Objective | None, recipe: Recipe, device: str | torch.device
) -> None:
    """Let the networks compute in the recipe's precision, compiled if it says so.

    Geometry, edge maps, soft-argmax and losses stay in float32: every network takes float32 and
    gives it, but for the perceptual one, whose features are only compared.

    Args:
        model: its networks are called so from now on.
        objective: its network, too.
        recipe: precision and compilation.
        device: where the networks run.

    Raises:
        ValueError: float16, whose loss is scaled, and gradients that are taken before the scale.
    """
    dtype = precision(recipe, device)
    if objective is not None and dtype == torch.float16 and recipe.compute.decode_per_view:
        raise ValueError(
            "precision = float16 needs a scaled loss, which decode_per_view takes too early; set "
            "decode_per_view = false"
        )
    compute = Compute(torch.device(device).type, dtype, recipe.compute.compile)
    model.compute_by(compute)
    if objective is not None:
        objective.perceptual.compute = compute


def narrow(model: Discoverer, recipe: Recipe, device: str | torch.device) -> None:
    """Give a model for tracking alone no gradients, and convolutions weights as they are used.

    Args:
        model: its encoder and lift are changed.
        recipe: its precision is the number format of the weights.
        device: where the model runs.
    """
    for parameter in (p for part in (model.encoder, model.lift) for p in part.parameters()):
        parameter.requires_grad_(False)
        if parameter.ndim > 2:
            parameter.data = parameter.data.to(precision(recipe, device))


def tracks_alone(model: Discoverer) -> bool:
    """Whether a model was made `narrow`, in a process that trains nothing.

    Args:
        model: to track with.

    Returns:
        False for a model in training.
    """
    return not next(model.parameters()).requires_grad  # of its encoder


def scaler(recipe: Recipe, device: str | torch.device) -> torch.amp.GradScaler:
    """What scales the loss where float16 would lose small gradients; it does nothing elsewhere.

    Args:
        recipe: its precision.
        device: where the loss is.

    Returns:
        A fresh scaler.
    """
    kind = torch.device(device).type
    return torch.amp.GradScaler(kind, enabled=precision(recipe, device) == torch.float16)


# ---- the process ---------------------------------------------------------------------------------
def settle(large: bool = False, hold: bool = False) -> None:
    """Take on the habits of a process that trains or tracks.

    No denormals: edge maps and softmaxes are full of them, 3 x slower on a CPU. For large networks
    on Linux, every large tensor is a mapping of its own, gone when it is freed: on the heap, holes
    between living tensors grow to a gigabyte. Smaller ones stay with the process: memory that was
    given back is slow to get again, and where there is plenty, nothing is given back at all (a
    fifth off a large volume's time). On a GPU, cuDNN tries its algorithms at each new shape and
    keeps the fastest: a training has few shapes.

    Args:
        large: the networks are large.
        hold: map none, and keep for the process whatever it once had; a model that tracks takes a
            seventh of a gigabyte more by that, and a quarter less time.
    """
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = True
    if large:
        _libc("mallopt", M_MMAP_MAX, 0 if hold else MAPPINGS)
        _libc("mallopt", M_MMAP_THRESHOLD, MAPPED_FROM)
        _libc("mallopt", M_TRIM_THRESHOLD, -1)  # never, however large the heap


def _libc(name: str, *values: int) -> None:
    """Call a function of glibc's allocator; elsewhere nothing happens."""
    if sys.platform == "linux" and (function := getattr(ctypes.CDLL(None), name, None)) is not None:
        function(*values)
