"""Memory-efficient: the same values and gradients for less memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..shapes import shaped
from .cpu_kernels import fast
from .cpu_residual import overwritable, overwriting
from .pieces import at_a_time


# ---- computing again -----------------------------------------------------------------------------
def recomputed(network: Callable, *inputs: Tensor, when: bool = True) -> Any:
    """`network(*inputs)`, computed again in the backward pass instead of being kept in memory.

    Same values and gradients; batch statistics are not counted twice. A network that is compiled
    keeps everything: the compiler itself decides what is computed again.

    Args:
        network: a module, a method of one, or a function without weights.
        *inputs: its arguments, which are kept.
        when: False: as it is, everything kept.

    Returns:
        What the network gives.
    """
    if not when or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return network(*inputs)
    owner = getattr(network, "__self__", network)
    return checkpoint(
        network,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (fast(), _again(owner)),
    )


@contextmanager
def _again(network: Callable) -> Iterator[None]:
    """By the same kernels; batch normalizations do not move their running averages once more."""
    modules = network.modules() if isinstance(network, nn.Module) else ()
    layers = [m for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(m.momentum, cast(Tensor, m.num_batches_tracked).clone()) for m in layers]
    for m in layers:
        m.momentum = 0.0
    try:
        with fast():
            yield
    finally:
        for m, (momentum, count) in zip(layers, before):
            m.momentum = momentum
            cast(Tensor, m.num_batches_tracked).copy_(count)


class Block(Protocol):
    """Two convolutions, `body`, and a `skip` around them."""

    body: nn.Sequential
    skip: nn.Module

    def plain(self, x: Tensor) -> Tensor:
        """(n, c, ...) -> (n, C, ...), everything kept.

        Args:
            x: maps.

        Returns:
            Maps.
        """


def residual(block: Block, x: Tensor, keep: bool = False) -> Tensor:
    """`block.plain(x)`, keeping nothing but input and output for the backward pass.

    Args:
        block: two convolutions and a skip.
        x: (n, c, ...) maps.
        keep: what the convolutions gave, too, so that none is computed again.

    Returns:
        (n, C, ...).
    """
    if torch.compiler.is_compiling() or not overwritable(x):
        return recomputed(block.plain, x, when=not keep)
    keep = keep and torch.is_grad_enabled()
    conv, second, norm2 = cast(tuple[nn.Sequential, nn.Conv3d, nn.GroupNorm], tuple(block.body))
    first, norm1 = cast(tuple[nn.Conv3d, nn.GroupNorm], tuple(conv)[:2])
    skip = None if isinstance(block.skip, nn.Identity) else recomputed(block.skip, x, when=not keep)
    return overwriting(x, skip, first.weight, norm1, second.weight, norm2, keep=keep)


def added(x: Tensor, y: Tensor, overwrite: bool = False) -> Tensor:
    """`x + y`, written into `x` where no gradient needs it.

    Args:
        x: any shape.
        y: the same shape.
        overwrite: nothing keeps `x` for a backward pass.

    Returns:
        The sum.
    """
    overwrite = overwrite and not torch.compiler.is_compiling()  # which keeps everything
    return x.add_(y) if overwrite or not torch.is_grad_enabled() else x + y


# ---- one part at a time --------------------------------------------------------------------------
def on_the_spot(
    function: Callable, inputs: list[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Sum of the losses of all parts, each part's gradient taken as soon as its loss is known.

    What one part keeps for its gradient is free before the next begins: the same sum and gradients,
    1 / n of the memory.

    Args:
        function: (i, *parts) -> (loss, another tensor), where parts are `x[i:i+1]` of the inputs.
        inputs: tensors of n parts each.
        weights: parameters that the function uses.

    Returns:
        The sum over i of the losses, and the other tensors in one (no graph).
    """
    if not torch.is_grad_enabled():
        done = [function(i, *(x[i : i + 1] for x in inputs)) for i in range(len(inputs[0]))]
        return sum(loss for loss, _ in done), torch.cat([other for _, other in done])
    return _OnTheSpot.apply(function, len(inputs), *inputs, *weights)


class _OnTheSpot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, count, *tensors):
        inputs, weights = tensors[:count], [w for w in tensors[count:] if w.requires_grad]
        total, others = 0.0, []
        slopes, sums = [[] for _ in inputs], [torch.zeros_like(w) for w in weights]
        for i in range(len(inputs[0])):
            with torch.enable_grad():
                parts = [x[i : i + 1].detach().requires_grad_() for x in inputs]
                loss, other = function(i, *parts)
                gradients = torch.autograd.grad(loss, [*parts, *weights], allow_unused=True)
            total, others = total + loss.detach(), [*others, other.detach()]
            for so_far, x, slope in zip(slopes, parts, gradients):
                so_far.append(torch.zeros_like(x) if slope is None else slope)
            for so_far, slope in zip(sums, gradients[len(parts) :]):
                if slope is not None:
                    so_far += slope
            del loss, other, parts, gradients
        ctx.slopes, ctx.sums = [torch.cat(s) for s in slopes], iter(sums)
        others = torch.cat(others)
        ctx.mark_non_differentiable(others)
        return total, others

    @staticmethod
    @once_differentiable
    def backward(ctx, slope, _):
        sums, wanted = ctx.sums, ctx.needs_input_grad[2 + len(ctx.slopes) :]
        inputs = (s * slope for s in ctx.slopes)
        weights = (next(sums).mul_(slope) if asked else None for asked in wanted)
        return None, None, *inputs, *weights


# ---- a volume without its views ------------------------------------------------------------------
def fused_volume(maps: Tensor, ndc: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`fuse(unproject(maps, ndc))`, so that no volume of every view is ever held.

    In training the views are sampled again in the backward pass: cheap beside the gigabyte that
    their volumes would take. On a CPU a few points at a time, which stay in its cache.

    Args:
        maps: (B, V, C, h, w) heatmaps.
        ndc: (B or 1, V, P, 2) projected points; get no gradient.
        dtype: number format of the volume; None: that of the maps.

    Returns:
        (B, C, P), channels last in memory.
    """
    shaped(maps, "B V C h w", "maps")
    ndc = ndc.expand(len(maps), -1, -1, -1).clamp(-1e4, 1e4)
    return _FusedVolume.apply(maps, ndc, dtype or maps.dtype)


class _FusedVolume(torch.autograd.Function):
    """`volumes.fuse` of `volumes.unproject`, and its slope, piece by piece."""

    @staticmethod
    def forward(ctx, maps, ndc, dtype):
        ctx.save_for_backward(maps, ndc)
        size = len(maps), ndc.shape[2], maps.shape[2]
        fused = maps.new_empty(size, dtype=dtype)  # channels last, as its network reads them
        for m, n, f in zip(maps, ndc, fused):
            for grid, into in _points(m, n, f):
                votes = F.grid_sample(m, grid, align_corners=False)[:, :, 0]
                into.T.copy_(votes.softmax(0).mul_(votes).sum(0))
        return fused.movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        maps, ndc = ctx.saved_tensors
        gradient = maps.new_zeros(maps.shape)  # plain in memory, as the sampler's own are
        for m, n, s, g in zip(maps, ndc, slope.movedim(1, -1), gradient):
            for grid, part in _points(m, n, s):
                votes = F.grid_sample(m, grid, align_corners=False)[:, :, 0]
                weights = votes.softmax(0)
                fused = (weights * votes).sum(0)
                votes.sub_(fused).add_(1).mul_(weights).mul_(part.T)
                g += torch.ops.aten.grid_sampler_2d_backward(
                    votes[:, :, None], m, grid, 0, 0, False, [True, False]
                )[0]
        return gradient, None, None


def _points(maps: Tensor, ndc: Tensor, volume: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The same few points of ndc (V, P, 2), as grids (V, 1, p, 2), and of a volume (P, C)."""
    few = at_a_time(len(volume), maps[:, :, 0, 0].numel(), maps.device, pieces=2)
    return zip(ndc[:, None].split(few, 2), volume.split(few))
