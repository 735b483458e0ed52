"""Weight gradients: of a convolution on a CPU without AVX-512, as products of matrices.

There oneDNN's own gradient of the weights runs at a fraction of the rate of its convolutions. With
channels last a map is a matrix of pixels by channels. What a row of the kernel sees is a few pixels
side by side; once these are copied beside each other, for a few lines that stay in the cache, every
row of the kernel is one product of two matrices, and the rows below it read the same copy further
on.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .pieces import at_a_time, channels_last

# (channels, pixels or voxels) below which oneDNN is about as fast; fewer channels at more places
FEW, SMALL = (16, 32), (100_000, 4096)


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
    channels, places = min(weight.shape[:2]), len(x) * x.shape[2:].numel()
    large = any(channels >= few and places >= small for few, small in zip(FEW, SMALL))
    whole = x.shape[1] == weight.shape[1] and all(k % 2 for k in weight.shape[2:])
    plain = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return large and whole and plain and slow_here() and channels_last(x)


def weight_gradient(x: Tensor, slope: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """The gradient of the weights of a convolution at stride 1 that keeps its maps' size.

    Args:
        x: (n, c, ...) maps, channels last in memory.
        slope: (n, C, ...) of what the convolution gave.
        kernel: 2 or 3 odd lengths.

    Returns:
        (C, c, *kernel).
    """
    deep, high, wide = ((1,) + kernel)[-3:]
    c, many, (height, width) = x.shape[1], slope.shape[1], x.shape[-2:]
    total = x.new_zeros(deep, high, many, wide * c)
    lines = at_a_time(height, width * wide * c, x.device, pieces=3)
    for maps, slopes in zip(_planes(x), _planes(slope)):
        for z, y in product(range(len(maps)), range(0, height, lines)):
            seen = _surroundings(maps[z], y, y + lines, high, wide)
            for i in range(max(0, z + deep // 2 + 1 - len(maps)), min(deep, z + deep // 2 + 1)):
                left = slopes[z - i + deep // 2, y : y + lines].reshape(-1, many)
                total[i].baddbmm_(left.T.expand(high, -1, -1), seen)
    return total.view(deep, high, many, wide, c).permute(2, 4, 0, 1, 3).reshape(many, c, *kernel)


def _planes(x: Tensor) -> Tensor:
    """Maps (n, c, ...) as (n, D, H, W, c); pictures have one plane."""
    return (x if x.ndim == 5 else x[:, :, None]).movedim(1, -1)


def _surroundings(plane: Tensor, top: int, end: int, high: int, wide: int) -> Tensor:
    """What a row of the kernel sees from every pixel of some lines, a matrix for every row.

    Args:
        plane: (H, W, c); 0 beyond its border.
        top: first of the lines.
        end: after their last, if there are so many.
        high: rows of the kernel.
        wide: their length.

    Returns:
        (high, pixels, wide c), all views of the same memory.
    """
    height, width, c = plane.shape
    above, below = top - high // 2, min(end, height) + high // 2
    border = [0, 0, wide // 2, wide // 2, max(0, -above), max(0, below - height)]
    lines = F.pad(plane[max(0, above) : below], border)
    each = lines.as_strided((len(lines), width, wide * c), (lines.stride(0), c, 1)).contiguous()
    step, count = each.stride(0), (len(lines) - high + 1) * width
    return each.as_strided((high, count, wide * c), (step, wide * c, 1))


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
