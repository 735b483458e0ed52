"""Frugal: the same values and gradients for less memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

HALVES = (torch.bfloat16, torch.float16)
PIECE = 1 << 17  # numbers that are worked on at a time, to stay in a core's second cache


def recomputed(network: Callable, *inputs: Tensor):
    """`network(*inputs)`; what happens inside is computed again in the backward pass instead of being kept in memory.

    network: a module, a method of one, or a function without weights. Same values and gradients; batch statistics are not
    counted twice.
    """
    if not torch.is_grad_enabled():
        return network(*inputs)
    owner = getattr(network, "__self__", network)
    return checkpoint(
        network,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), _still(owner)),
    )


def plainly(network: Callable, *inputs: Tensor):
    """`network(*inputs)`, everything kept."""
    return network(*inputs)


@contextmanager
def _still(network: Callable) -> Iterator[None]:
    """Batch normalizations compute as before but do not move their running averages."""
    modules = network.modules() if isinstance(network, nn.Module) else ()
    layers = [m for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(m.momentum, m.num_batches_tracked.clone()) for m in layers]
    for m in layers:
        m.momentum = 0.0
    try:
        yield
    finally:
        for m, (momentum, count) in zip(layers, before):
            m.momentum = momentum
            m.num_batches_tracked.copy_(count)


def on_the_spot(
    function: Callable, inputs: list[Tensor], weights: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Sum over i of the losses `function(i, *parts)[0]`, and the other results in one tensor (no graph); parts: `x[i:i+1]` of the inputs.

    The gradient of each part, with respect to the inputs and to the `weights` that the function uses, is taken as soon as its
    loss is known, so what one part keeps for it is free before the next begins: the same sum and gradients, 1 / n of the memory.
    """
    if not torch.is_grad_enabled():
        done = [function(i, *(x[i : i + 1] for x in inputs)) for i in range(len(inputs[0]))]
        return sum(loss for loss, _ in done), torch.cat([other for _, other in done])
    return _OnTheSpot.apply(function, len(inputs), *inputs, *weights)


class _OnTheSpot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, count, *tensors):
        inputs, weights = tensors[:count], [w for w in tensors[count:] if w.requires_grad]
        total, others, slopes, sums = (
            0.0,
            [],
            [[] for _ in inputs],
            [torch.zeros_like(w) for w in weights],
        )
        for i in range(len(inputs[0])):
            with torch.enable_grad():
                parts = [x[i : i + 1].detach().requires_grad_() for x in inputs]
                loss, other = function(i, *parts)
                found = torch.autograd.grad(loss, [*parts, *weights], allow_unused=True)
            total, others = total + loss.detach(), [*others, other.detach()]
            for kept, x, slope in zip(slopes, parts, found):
                kept.append(torch.zeros_like(x) if slope is None else slope)
            for kept, slope in zip(sums, found[len(parts) :]):
                if slope is not None:
                    kept += slope
            del loss, other, parts, found
        ctx.slopes, ctx.sums = [torch.cat(s) for s in slopes], iter(sums)
        others = torch.cat(others)
        ctx.mark_non_differentiable(others)
        return total, others

    @staticmethod
    def backward(ctx, slope, _):
        sums, given = ctx.sums, ctx.needs_input_grad[2 + len(ctx.slopes) :]
        return (
            None,
            None,
            *(s * slope for s in ctx.slopes),
            *(next(sums).mul_(slope) if g else None for g in given),
        )


def wide(x: Tensor) -> Tensor:
    """Sums of half-precision numbers need a wider format."""
    return x.float() if x.dtype in HALVES else x


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    """Mean of (a - b)^2, of half-precision numbers in float32; `b` gets no gradient."""
    dense = a.stride() == b.stride() and (a.is_contiguous() or a.movedim(1, -1).is_contiguous())
    if a.dtype in HALVES and a.device.type == "cpu" and dense:
        return _MeanSquare.apply(a, b)
    return F.mse_loss(wide(a), wide(b))


class _MeanSquare(torch.autograd.Function):
    """A piece at a time: float32 maps of neither of the two are made, and the gradient is one map in the format of `a`."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        parts = zip(*(x.as_strided((x.numel(),), (1,)).split(PIECE) for x in (a, b)))
        return sum((x.float() - y).square_().sum() for x, y in parts) / a.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        a, b = ctx.saved_tensors
        return (a - b).mul_(2 / a.numel() * slope), None


# ---- normalizations and residual blocks, piece by piece and in place ------------------------------------------------
def normalized(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """`norm(x)` of maps that are `overwritable`, with sums in float64 of float32 sums of few numbers each."""
    return _Normalized.apply(x, norm.weight, norm.bias, norm.num_groups, norm.eps)


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale, shift, groups, eps):
        known, out = _moments(x, groups, eps), torch.empty_like(x)
        _normalize(x, known, scale, shift, out, least=-math.inf)
        ctx.save_for_backward(x, scale)
        ctx.known, ctx.groups = known, groups  # a few numbers a channel
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        x, scale = ctx.saved_tensors
        found, slope = x.clone(), slope.movedim(1, -1).contiguous().movedim(-1, 1)
        return found, *_normalize_backward(slope, found, ctx.known, scale, ctx.groups), None, None


def overwritable(x: Tensor) -> bool:
    """Whether `overwriting` serves maps (n, c, ...): on a CPU, channels last in memory and, in half precision, no narrower than the kernels."""
    served = min(x.shape[2:]) >= 3 or not torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and x.movedim(1, -1).is_contiguous() and served


def overwriting(
    x: Tensor,
    skip: Tensor | None,
    first: Tensor,
    norm1: nn.GroupNorm,
    second: Tensor,
    norm2: nn.GroupNorm,
) -> Tensor:
    """relu(norm2(second * relu(norm1(first * x))) + skip), `*` the convolution with these weights at stride 1, as (n, c, ...).

    skip: None is x itself. Keeps x alone, or its output too: the backward pass computes the convolutions again. Normalizations, sums, ReLUs and their
    gradients overwrite their arguments: 9 new maps instead of 17, and a new map's pages cost more than its arithmetic.
    """
    if torch.is_autocast_enabled("cpu"):  # the backward pass does not know of it
        x, first, second = (
            tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (x, first, second)
        )
    return _Overwriting.apply(
        x,
        skip,
        first,
        norm1.weight,
        norm1.bias,
        second,
        norm2.weight,
        norm2.bias,
        norm1.num_groups,
        norm1.eps,
    )


class _Overwriting(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, skip, w1, a1, b1, w2, a2, b2, groups, eps):
        inner = _convolved(x, w1)
        _normalize(inner, _moments(inner, groups, eps), a1, b1, inner)
        out = _convolved(inner, w2)
        del inner
        _normalize(out, _moments(out, groups, eps), a2, b2, out, x if skip is None else skip)
        ctx.how = groups, eps
        ctx.save_for_backward(x, None if skip is None else out, w1, a1, b1, w2, a2, b2)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        x, out, w1, a1, b1, w2, a2, b2 = ctx.saved_tensors
        before = _convolved(x, w1)
        known, inner = _moments(before, *ctx.how), torch.empty_like(before)
        _normalize(before, known, a1, b1, inner)
        last = _convolved(inner, w2)
        found, itself = _moments(last, *ctx.how), out is None
        if itself:
            _normalize(last, found, a2, b2, out := torch.empty_like(last), x)
        slope = (
            torch.ops.aten.threshold_backward(slope, out, 0)
            .movedim(1, -1)
            .contiguous()
            .movedim(-1, 1)
        )
        del out
        g_a2, g_b2 = _normalize_backward(slope, last, found, a2, ctx.how[0])
        middle, g_w2 = _convolved_backward(last, inner, w2)
        del last
        torch.ops.aten.threshold_backward.grad_input(middle, inner, 0, grad_input=middle)
        del inner
        g_a1, g_b1 = _normalize_backward(middle, before, known, a1, ctx.how[0])
        del middle
        g_x, g_w1 = _convolved_backward(before, x, w1)
        if itself:
            g_x, slope = g_x.add_(slope), None
        return g_x, slope, g_w1, g_a1, g_b1, g_w2, g_a2, g_b2, None, None


def _geometry(weight: Tensor) -> tuple:
    one = [1] * (weight.ndim - 2)
    return (
        one,
        [k // 2 for k in weight.shape[2:]],
        one,
        False,
        [0] * len(one),
        1,
    )  # stride, padding, dilation, not transposed


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    return torch.convolution(x, weight, None, *_geometry(weight))


def _convolved_backward(slope: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ops.aten.convolution_backward(
        slope, x, weight, None, *_geometry(weight), [True, True, False]
    )[:2]


def _moments(x: Tensor, groups: int, eps: float) -> list[tuple[Tensor, Tensor]]:
    """Mean and 1 / deviation of the groups of every sample, repeated for each of their channels."""
    found, dtype = [], wide(x[:0]).dtype
    for sample in x:
        count = sample[0].numel()
        mean = _shared(
            sum(wide(row).sum(0).double() for (row,) in _pieces(sample)) / count, groups
        ).to(dtype)
        var = _shared(
            sum((row - mean).square_().sum(0).double() for (row,) in _pieces(sample)) / count,
            groups,
        )
        found.append((mean, (var + eps).rsqrt().to(dtype)))
    return found


def _shared(values: Tensor, groups: int) -> Tensor:
    """Every channel's value replaced by the mean of its group."""
    return (
        values.view(groups, -1)
        .mean(1, keepdim=True)
        .expand(groups, len(values) // groups)
        .reshape(-1)
    )


def _pieces(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few rows (p, c) of every map (c, ...), channels last; what is written there is written into the map."""
    c = len(maps[0])
    return zip(*(m.movedim(0, -1).view(-1, c).split(max(1, PIECE // c)) for m in maps))


def _normalize(
    x: Tensor,
    known: list,
    scale: Tensor,
    shift: Tensor,
    out: Tensor,
    skip: Tensor | None = None,
    least: float = 0.0,
) -> None:
    """out = max(least, norm(x) + skip); `out` may be `x` itself."""
    for i, (mean, rate) in enumerate(known):
        a = scale * rate
        for row, into, *more in _pieces(x[i], out[i], *([] if skip is None else [skip[i]])):
            y = torch.addcmul(shift - mean * a, row, a)
            for other in more:
                y += other
            into.copy_(y.clamp_min_(least))


def _normalize_backward(
    slope: Tensor, x: Tensor, known: list, scale: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """Overwrites `x` by its gradient, given the slope of norm(x); returns the gradients of scale and shift."""
    g_scale, g_shift = torch.zeros_like(scale), torch.zeros_like(scale)
    for i, (mean, rate) in enumerate(known):
        total, product = torch.zeros_like(scale), torch.zeros_like(scale)
        for g, row in _pieces(slope[i], x[i]):
            g = wide(g)
            total += g.sum(0)
            product += (g * row).sum(0)
        product = (product - mean * total) * rate  # of the slope and the normalized map
        g_scale, g_shift = g_scale + product, g_shift + total
        count = x[i, 0].numel()
        lean = -rate.square() * _shared(scale * product, groups) / count
        rest = -rate * _shared(scale * total, groups) / count - mean * lean
        for g, row in _pieces(slope[i], x[i]):
            row.copy_(torch.addcmul(rest, row, lean).addcmul_(g, scale * rate))
    return g_scale, g_shift
