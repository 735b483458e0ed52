"""Precision: number format, compilation and memory habits. The mathematics does not know which device it runs on."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from ..model.discoverer import Discoverer
from ..model.objective import Objective
from ..recipes import Recipe

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


MAPPED_FROM = 4 << 20  # bytes from which a tensor is mapped by itself


def precision(recipe: Recipe, device: str | torch.device) -> torch.dtype:
    """The number format of the networks. `auto`: bfloat16 where the hardware computes in it (GPUs of compute capability 8 or more, CPUs
    with AVX512-BF16 or AMX: twice as fast, half the memory), else float16 on a GPU, where bfloat16 would be slower than float32, and
    float32 on a CPU."""
    if recipe.compute.precision in DTYPES:
        return DTYPES[recipe.compute.precision]
    if torch.device(device).type != "cuda":
        return (
            torch.bfloat16
            if torch.device(device).type == "cpu" and native_bfloat16()
            else torch.float32
        )
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16


def native_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; elsewhere it is emulated, slower than float32."""
    known = (
        getattr(torch.cpu, name, bool)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )  # PyTorch 2.6 has no public way
    return any(ask() for ask in known)


def equip(
    model: Discoverer, objective: Objective | None, recipe: Recipe, device: str | torch.device
) -> None:
    """Move model and objective to the device and let their networks compute there as `in_format` says.

    Without an objective the model is for tracking: its decoder stays where it is.
    """
    for part in (
        (model.encoder, model.lift, model.edges) if objective is None else (model, objective)
    ):
        part.to(device)
    in_format(model, objective, recipe, device)


def in_format(
    model: Discoverer, objective: Objective | None, recipe: Recipe, device: str | torch.device
) -> None:
    """Let the networks compute in the recipe's precision, compiled if it says so.

    Geometry, edge maps, soft-argmax and losses stay in float32: every network takes float32 and gives it, but for the perceptual one, whose
    features are only compared.
    """
    dtype = precision(recipe, device)
    networks = [(model.encoder, "forward")]
    networks += [(network, "forward") for network in model.lift.networks]
    if objective is not None:
        networks += [
            (model.decoder, "begin"),
            (model.decoder, "finish"),
            (objective.perceptual, "features"),
        ]
        if dtype == torch.float16 and recipe.compute.decode_per_view:
            raise ValueError(
                "precision = float16 needs a scaled loss, which decode_per_view takes too early; set decode_per_view = false"
            )
    for owner, name in networks:
        function = getattr(owner, name)
        if recipe.compute.compile:
            function = torch.compile(function)
        if dtype != torch.float32:
            function = _cast(function, torch.device(device).type, dtype, wide=name != "features")
        if function is not getattr(owner, name):
            setattr(owner, name, function)


def narrow(model: Discoverer, recipe: Recipe, device: str | torch.device) -> None:
    """For tracking alone: the weights of convolutions in the number format in which they are used, and no gradients."""
    for parameter in (p for part in (model.encoder, model.lift) for p in part.parameters()):
        parameter.requires_grad_(False)
        if parameter.ndim > 2:
            parameter.data = parameter.data.to(precision(recipe, device))


def _cast(function: Callable, device: str, dtype: torch.dtype, wide: bool) -> Callable:
    """The function under autocast, its results as float32 if `wide`."""

    def run(*inputs):
        with torch.autocast(device, dtype):
            return _floats(function(*inputs)) if wide else function(*inputs)

    return run


def _floats(x):
    return x.float() if isinstance(x, Tensor) else type(x)(_floats(part) for part in x)


def scaler(recipe: Recipe, device: str | torch.device) -> torch.amp.GradScaler:
    """Scales the loss where float16 would lose small gradients; does nothing elsewhere."""
    kind = torch.device(device).type
    return torch.amp.GradScaler(kind, enabled=precision(recipe, device) == torch.float16)


def settle(large: bool = False, tracking: bool = False) -> None:
    """Habits of a process that trains or tracks: no denormals (edge maps and softmaxes are full of them, 3 x slower on a CPU), and, for
    `large` networks on Linux, every large tensor is a mapping of its own, gone when it is freed: on the heap, holes between living
    tensors grow to a gigabyte. Smaller ones stay with the process: memory that was given back is slow to get again. tracking: from a quarter of
    that size on, for a tenth of a gigabyte less.
    """
    torch.set_flush_denormal(True)
    if large:
        _libc("mallopt", -3, MAPPED_FROM // 4 if tracking else MAPPED_FROM)  # M_MMAP_THRESHOLD
        _libc("mallopt", -1, 2**31 - 1)  # M_TRIM_THRESHOLD: never


def _libc(name: str, *values: int) -> None:
    """Call a function of glibc's allocator; elsewhere nothing happens."""
    if sys.platform == "linux" and (function := getattr(ctypes.CDLL(None), name, None)) is not None:
        function(*values)
