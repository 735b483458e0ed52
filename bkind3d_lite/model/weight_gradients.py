"""Weight gradients: of a convolution on a CPU without AVX-512, as products of matrices.

There oneDNN's own gradient of the weights runs at a fraction of the rate of its convolutions. With
channels last a map is a matrix of pixels by channels, and the map seen from any cell of the kernel
is the same matrix from a later row on, once its border is padded. So every cell of the kernel is
one product of two matrices that nobody has to copy.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .pieces import at_a_time, channels_last

FEW, SMALL = 32, 4096  # channels, and pixels or voxels, below which oneDNN is about as fast


@cache
def slow_here() -> bool:
    """Whether this CPU is one whose own weight gradients are slow.

    Returns:
        True with AVX2 and nothing wider; the same in every run on a machine.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def products_serve(x: Tensor, weight: Tensor) -> bool:
    """Whether products of matrices are the faster weight gradient.

    Args:
        x: (n, c, ...) maps.
        weight: (C, c, *kernel) of a convolution.

    Returns:
        True for large float32 maps of many channels, channels last, where `slow_here`.
    """
    large = min(weight.shape[:2]) >= FEW and len(x) * x.shape[2:].numel() >= SMALL
    whole = x.shape[1] == weight.shape[1] and all(k % 2 for k in weight.shape[2:])
    plain = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return large and whole and plain and slow_here() and channels_last(x)


def weight_gradient(x: Tensor, slope: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """The gradient of the weights of a convolution at stride 1 that keeps its maps' size.

    Args:
        x: (n, c, ...) maps, channels last in memory.
        slope: (n, C, ...) of what the convolution gave.
        kernel: odd lengths.

    Returns:
        (C, c, *kernel).
    """
    c, many = x.shape[1], slope.shape[1]
    around = [border for k in reversed(kernel) for border in (k // 2, k // 2)]
    behind = [border for k in reversed(kernel) for border in (0, k - 1)]
    total = x.new_zeros(math.prod(kernel[:-1]), kernel[-1], many, c)
    for one, its in zip(x, slope):
        maps = F.pad(one.movedim(0, -1), [0, 0, *around]).contiguous()
        slopes = F.pad(its.movedim(0, -1), [0, 0, *behind]).contiguous().view(-1, many)
        steps = [step // c for step in maps.stride()[:-1]]  # in rows, along each axis
        count = 1 + sum((side - 1) * step for side, step in zip(one.shape[1:], steps))
        for start in range(0, count, strip := at_a_time(count, max(c, many), x.device)):
            rows = min(strip, count - start)
            left = slopes[start : start + rows].T.expand(kernel[-1], many, rows)
            for into, cell in zip(total, product(*map(range, kernel[:-1]))):
                first = start + sum(i * step for i, step in zip(cell, steps))
                right = maps.as_strided((kernel[-1], rows, c), (c, c, 1), first * c)
                into.baddbmm_(left, right)
    return total.view(*kernel, many, c).movedim((-2, -1), (0, 1))


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution at stride 1 that keeps its maps' size, with that gradient.

    Args:
        x: (n, c, ...) maps, channels last in memory.
        weight: (C, c, *kernel), odd lengths.
        bias: (C), or None.

    Returns:
        (n, C, ...).
    """
    return _Convolved.apply(x, weight, bias)


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return torch.convolution(x, weight, bias, *geometry(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        g_x, g_weight = convolution_backward(slope, *ctx.saved_tensors, ctx.needs_input_grad[0])
        over = [0, *range(2, slope.ndim)]
        return g_x, g_weight, slope.sum(over) if ctx.needs_input_grad[2] else None


def convolution_backward(
    slope: Tensor, x: Tensor, weight: Tensor, inward: bool = True
) -> tuple[Tensor | None, Tensor]:
    """Gradients of a convolution at stride 1 that keeps its maps' size, the faster way.

    Args:
        slope: (n, C, ...) of what it gave.
        x: (n, c, ...) what it was given.
        weight: (C, c, *kernel).
        inward: whether that of `x` is wanted, too.

    Returns:
        Gradients of `x` (or None) and `weight`.
    """
    ours = products_serve(x, weight)
    backward, wanted = torch.ops.aten.convolution_backward, [inward, not ours, False]
    g_x, g_weight, _ = backward(slope, x, weight, None, *geometry(weight), wanted)
    return g_x, weight_gradient(x, slope, weight.shape[2:]) if ours else g_weight


def geometry(weight: Tensor) -> tuple:
    """What PyTorch calls such a convolution.

    Args:
        weight: (C, c, *kernel).

    Returns:
        Stride, padding, dilation, not transposed, output padding, groups.
    """
    one = [1] * (weight.ndim - 2)
    return one, [k // 2 for k in weight.shape[2:]], one, False, [0] * len(one), 1
