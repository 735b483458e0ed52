"""CPU residual blocks: computed in place, for a training step's memory and time.

A new map's pages cost a CPU more than its arithmetic, so normalizations, sums, ReLUs and their
gradients overwrite their arguments: 9 new maps a step instead of 17. What the two convolutions gave
is kept for the backward pass, or they are computed again. Values and gradients are those of the
plain block but for rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .cpu_kernels import moments, normalize, normalize_backward
from .pieces import channels_last
from .weight_gradients import convolution_backward, geometry


def overwritable(x: Tensor) -> bool:
    """Whether `overwriting` serves.

    Args:
        x: (n, c, ...) maps.

    Returns:
        True on a CPU, where channels come last and maps in half precision are no narrower than the
        kernels.
    """
    return channels_last(x) and (min(x.shape[2:]) >= 3 or not torch.is_autocast_enabled("cpu"))


def overwriting(
    x: Tensor,
    skip: Tensor | None,
    first: Tensor,
    norm1: nn.GroupNorm,
    second: Tensor,
    norm2: nn.GroupNorm,
    *,
    keep: bool = False,
) -> Tensor:
    """relu(norm2(second * relu(norm1(first * x))) + skip), `*` the convolution at stride 1.

    Args:
        x: (n, c, ...) maps that are `overwritable`.
        skip: (n, C, ...) maps; None is x itself.
        first: weights (C, c, ...) of the first convolution.
        norm1: what follows it.
        second: weights (C, C, ...) of the second convolution.
        norm2: what follows it.
        keep: what both convolutions gave, too, beside x and the output; else the backward pass
            computes them again.

    Returns:
        (n, C, ...).
    """
    if torch.is_autocast_enabled("cpu"):  # the backward pass does not know of it
        half = torch.get_autocast_dtype("cpu")
        x, first, second = x.to(half), first.to(half), second.to(half)
    one, two = (first, norm1.weight, norm1.bias), (second, norm2.weight, norm2.bias)
    return _Overwriting.apply(x, skip, *one, *two, norm1.num_groups, norm1.eps, keep)


class _Overwriting(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, skip, w1, a1, b1, w2, a2, b2, groups, eps, keep):
        before = _convolved(x, w1)
        stats1, inner = moments(before, groups, eps), _like(before, new=keep)
        normalize(before, stats1, a1, b1, inner, relu=True)
        before = before if keep else None
        last = _convolved(inner, w2)
        del inner
        stats2, out = moments(last, groups, eps), _like(last, new=keep)
        more = x if skip is None else skip
        normalize(last, stats2, a2, b2, out, skip=more, relu=True)
        ctx.stats, ctx.groups, ctx.itself = (stats1, stats2), groups, skip is None
        kept = (before, last) if keep else (None, None)
        again = skip is None and not keep  # the output can be had from x
        ctx.save_for_backward(x, None if again else out, *kept, w1, a1, b1, w2, a2, b2)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        x, out, before, last, w1, a1, b1, w2, a2, b2 = ctx.saved_tensors
        (stats1, stats2), groups, itself = ctx.stats, ctx.groups, ctx.itself
        before = _convolved(x, w1) if before is None else before
        inner = torch.empty_like(before)
        normalize(before, stats1, a1, b1, inner, relu=True)
        last = _convolved(inner, w2) if last is None else last
        if out is None:
            out = torch.empty_like(last)
            normalize(last, stats2, a2, b2, out, skip=x, relu=True)
        slope = torch.ops.aten.threshold_backward(slope, out, 0)
        slope = slope.movedim(1, -1).contiguous().movedim(-1, 1)
        del out
        g_a2, g_b2 = normalize_backward(slope, last, stats2, a2, groups)
        middle, g_w2 = convolution_backward(last, inner, w2)
        del last
        torch.ops.aten.threshold_backward.grad_input(middle, inner, 0, grad_input=middle)
        del inner
        g_a1, g_b1 = normalize_backward(middle, before, stats1, a1, groups)
        del middle
        g_x, g_w1 = convolution_backward(before, x, w1)
        if itself:
            g_x, slope = g_x.add_(slope), None
        return g_x, slope, g_w1, g_a1, g_b1, g_w2, g_a2, g_b2, None, None, None


def _like(x: Tensor, new: bool) -> Tensor:
    """Where to write a map of the same shape: memory of its own, or over `x`."""
    return torch.empty_like(x) if new else x


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    return torch.convolution(x, weight, None, *geometry(weight))
