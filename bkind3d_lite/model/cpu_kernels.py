"""CPU kernels: what a CPU, oneDNN or PyTorch's CPU backend computes better our way than PyTorch's.

The networks are plain PyTorch. `fast()` is the one door to this file: within it a few of PyTorch's
functions are answered from `FASTER`, wherever a network calls them. Every answer looks at what it
is given and, where it has nothing better, is the plain function; so are the few functions that are
called by name. Values are the same but for rounding: tests/test_cpu_kernels.py compares each with
its plain twin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from . import pieces
from .pieces import HALVES, channels_last, rows, wide
from .weight_gradients import convolved, products_serve

STRIPS = 16  # the smallest batch that oneDNN takes from PyTorch on one thread


# ---- the door ------------------------------------------------------------------------------------
_inside: ContextVar[bool] = ContextVar("inside", default=False)


@contextmanager
def fast() -> Iterator[None]:
    """Within, networks compute by the kernels of this module where these serve; may be nested."""
    if _inside.get():
        yield
        return
    token = _inside.set(True)
    try:
        with _Answers():
            yield
    finally:
        _inside.reset(token)


class _Answers(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable,
        types: Iterable[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return FASTER.get(function, function)(*args, **(kwargs or {}))


# ---- convolutions --------------------------------------------------------------------------------
def _mixes(x: Tensor, weight: Tensor, stride: Any = 1, padding: Any = 0, *_: Any) -> bool:
    """Whether a convolution looks at one pixel or voxel at a time, all channels of every one."""
    whole = weight.shape[2:].numel() == 1 and weight.shape[1] == x.shape[1]
    return whole and _all(stride, 1) and _all(padding, 0)


def _all(lengths: Any, value: int) -> bool:
    return lengths == value or isinstance(lengths, tuple) and set(lengths) == {value}


def _learns(x: Tensor, weight: Tensor, stride: Any = 1, padding: Any = 0, *more: Any) -> bool:
    """Whether a convolution keeps its maps' size and has weights whose gradient we have faster."""
    learns = weight.requires_grad and torch.is_grad_enabled() and products_serve(x, weight)
    alone = all(_all(lengths, 1) for lengths in (stride, *more))
    return learns and alone and padding == tuple(k // 2 for k in weight.shape[2:])


def _mixed(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """A convolution of one pixel or voxel, as 16 strips; None where channels do not come last.

    On one CPU thread PyTorch leaves such a convolution to its BLAS, unless the batch is 16 or more:
    then oneDNN does it, 2 x faster.
    """
    count = x.shape[0] * x.shape[2:].numel()
    if count % STRIPS or not channels_last(x):
        return None
    last = x.movedim(1, -1)
    strips = last.view(STRIPS, 1, count // STRIPS, x.shape[1]).permute(0, 3, 1, 2)
    out = F.conv2d(strips, weight.flatten(1)[..., None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*last.shape[:-1], len(weight)).movedim(-1, 1)


def _conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *how: Any, **more: Any
) -> Tensor:
    """`F.conv2d`; of single pixels, and to more than an image's channels, by strips."""
    if not more and len(weight) > 3 and _mixes(x, weight, *how):
        out = _mixed(x, weight, bias)
        if out is not None:
            return out
    if not more and _learns(x, weight, *how):
        return convolved(x, weight, bias)
    return F.conv2d(x, weight, bias, *how, **more)


def _conv3d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *how: Any, **more: Any
) -> Tensor:
    """`F.conv3d`; of single voxels as the product of matrices that it is.

    That is many times faster where channels come last. Where a CPU's volume is narrower than the
    kernel, always in float32: there oneDNN 3's bfloat16 gradient of the weights takes in memory
    that nobody has written (seen with PyTorch 2.15).
    """
    if not more and _mixes(x, weight, *how):
        out = _mixed(x, weight, bias)
        if out is None:
            out = F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
        return out
    if not more and _learns(x, weight, *how):
        return convolved(x, weight, bias)
    if x.device.type != "cpu" or min(x.shape[2:]) >= weight.shape[2]:
        return F.conv3d(x, weight, bias, *how, **more)
    with torch.autocast("cpu", enabled=False):
        return F.conv3d(x.to(weight.dtype), weight, bias, *how, **more)


def beside(layer: nn.Conv2d, x: Tensor, drawing: Tensor) -> Tensor:
    """`layer(torch.cat([x, drawing], 1))`, as two convolutions where the maps outweigh the weights.

    Two channels more than a power of two are awkward: at 64 x 64 pixels and above, apart is a
    quarter faster.

    Args:
        layer: a convolution without bias, at stride 1.
        x: (n, c, h, w) maps.
        drawing: (n, d, h, w) maps to be read beside them.

    Returns:
        (n, C, h, w).
    """
    n, weight = x.shape[1], layer.weight
    if x.numel() < weight.numel():
        return layer(torch.cat([x, drawing], 1))
    last = weight.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    one, other = (
        F.conv2d(part, w.contiguous(memory_format=layout), None, 1, layer.padding)
        for part, w in ((x, weight[:, :n]), (drawing, weight[:, n:]))
    )
    return one.add_(other)


# ---- pooling -------------------------------------------------------------------------------------
def _max_pool3d(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`F.max_pool3d` in the volume's own format: a CPU's autocast would widen it to no purpose."""
    if x.device.type != "cpu":
        return F.max_pool3d(x, *args, **kwargs)
    with torch.autocast("cpu", enabled=False):
        return F.max_pool3d(x, *args, **kwargs)


# ---- normalization -------------------------------------------------------------------------------
def _group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`F.group_norm`; of large maps with channels last by float64 sums of short float32 sums.

    On a CPU PyTorch's own adds up the gradients of such a map voxel after voxel in float32: at 64^3
    voxels they are 0.4 % off, and it is slower.
    """
    large = x.shape[2:].numel() >= pieces.PIECE // 2
    if large and weight is not None and bias is not None and channels_last(x):
        return _Normalized.apply(x, weight, bias, groups, eps)
    return F.group_norm(x, groups, weight, bias, eps)


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale, shift, groups, eps):
        stats, out = moments(x, groups, eps), torch.empty_like(x)
        normalize(x, stats, scale, shift, out)
        ctx.save_for_backward(x, scale)
        ctx.stats, ctx.groups = stats, groups  # a few numbers a channel
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        x, scale = ctx.saved_tensors
        gradient, slope = x.clone(), slope.movedim(1, -1).contiguous().movedim(-1, 1)
        weights = normalize_backward(slope, gradient, ctx.stats, scale, ctx.groups)
        return gradient, *weights, None, None


Moments = list[tuple[Tensor, Tensor]]  # per sample: mean and 1 / deviation, (c) each


def moments(x: Tensor, groups: int, eps: float) -> Moments:
    """Mean and 1 / deviation of the groups of every sample, repeated for each of their channels.

    Args:
        x: (n, c, ...) maps, channels last in memory.
        groups: that the channels fall into.
        eps: added to the variance.

    Returns:
        For each sample a pair of (c).
    """
    stats, dtype = [], wide(x[:0]).dtype
    for sample in x:
        count = sample[0].numel()
        total = sum(wide(row).sum(0).double() for (row,) in rows(sample))
        mean = _shared(total / count, groups).to(dtype)
        square = sum((row - mean).square_().sum(0).double() for (row,) in rows(sample))
        var = _shared(square / count, groups)
        stats.append((mean, (var + eps).rsqrt().to(dtype)))
    return stats


def _shared(values: Tensor, groups: int) -> Tensor:
    """Every channel's value replaced by the mean of its group."""
    each = len(values) // groups
    return values.view(groups, -1).mean(1, keepdim=True).expand(groups, each).reshape(-1)


def normalize(
    x: Tensor,
    stats: Moments,
    scale: Tensor,
    shift: Tensor,
    out: Tensor,
    *,
    skip: Tensor | None = None,
    relu: bool = False,
) -> None:
    """Write norm(x) + skip, or what of it is above 0, into `out`.

    Args:
        x: (n, c, ...) maps, channels last in memory.
        stats: their moments.
        scale: (c) of the normalization.
        shift: (c) of the normalization.
        out: like `x`; may be `x` itself.
        skip: maps like `x`, or None.
        relu: cut off below 0.
    """
    for i, (mean, rate) in enumerate(stats):
        a = scale * rate
        for row, into, *more in rows(x[i], out[i], *([] if skip is None else [skip[i]])):
            y = torch.addcmul(shift - mean * a, row, a)
            for other in more:
                y += other
            into.copy_(y.clamp_min_(0.0) if relu else y)


def normalize_backward(
    slope: Tensor, x: Tensor, stats: Moments, scale: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """Overwrite `x` by its gradient, given the slope of norm(x).

    Args:
        slope: (n, c, ...), channels last in memory.
        x: what was normalized; becomes its gradient.
        stats: its moments.
        scale: (c) of the normalization.
        groups: that the channels fall into.

    Returns:
        Gradients (c) of scale and shift.
    """
    g_scale, g_shift = torch.zeros_like(scale), torch.zeros_like(scale)
    for i, (mean, rate) in enumerate(stats):
        total, product = torch.zeros_like(scale), torch.zeros_like(scale)
        for g, row in rows(slope[i], x[i]):
            g = wide(g)
            total += g.sum(0)
            product += (g * row).sum(0)
        product = (product - mean * total) * rate  # of the slope and the normalized map
        g_scale, g_shift = g_scale + product, g_shift + total
        count = x[i, 0].numel()
        lean = -rate.square() * _shared(scale * product, groups) / count
        rest = -rate * _shared(scale * total, groups) / count - mean * lean
        for g, row in rows(slope[i], x[i]):
            row.copy_(torch.addcmul(rest, row, lean).addcmul_(g, scale * rate))
    return g_scale, g_shift


# ---- distances between maps ----------------------------------------------------------------------
def mean_square(a: Tensor, b: Tensor) -> Tensor:
    """Mean of (a - b)^2, of half-precision numbers in float32.

    Args:
        a: any shape.
        b: the same shape; gets no gradient.

    Returns:
        A scalar.
    """
    dense = a.stride() == b.stride() and (a.is_contiguous() or a.movedim(1, -1).is_contiguous())
    if a.dtype in HALVES and a.device.type == "cpu" and dense:
        return _MeanSquare.apply(a, b)
    return F.mse_loss(wide(a), wide(b))


class _MeanSquare(torch.autograd.Function):
    """A piece at a time: no float32 map is made, and the gradient is one in the format of `a`."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        parts = zip(*(x.as_strided((x.numel(),), (1,)).split(pieces.PIECE) for x in (a, b)))
        return sum((x.float() - y).square_().sum() for x, y in parts) / a.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        a, b = ctx.saved_tensors
        return (a - b).mul_(2 / a.numel() * slope), None


FASTER: dict[Callable, Callable] = {
    F.conv2d: _conv2d,
    F.conv3d: _conv3d,
    F.max_pool3d: _max_pool3d,
    F.group_norm: _group_norm,
}
