"""Blocks: what the networks are built of, in 2D and in 3D.

Normalized by groups, so that a batch of one frame set is as good as any.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .memory_efficient import recomputed, residual


def norm(channels: int, groups: int = 8) -> nn.GroupNorm:
    """Group normalization by the most groups that the channels can be dealt to.

    Args:
        channels: of the maps.
        groups: at most.

    Returns:
        A layer.
    """
    most = min(groups, channels)
    return nn.GroupNorm(next(g for g in range(most, 0, -1) if channels % g == 0), channels)


def convolution(
    dims: int, c_in: int, c_out: int, kernel: int = 3, stride: int = 1
) -> nn.Conv2d | nn.Conv3d:
    """A convolution without bias that keeps the size, or divides it by the stride.

    Args:
        dims: 2 or 3.
        c_in: channels that it reads.
        c_out: channels that it gives.
        kernel: its width, odd.
        stride: the step.

    Returns:
        A layer.
    """
    layer = nn.Conv2d if dims == 2 else nn.Conv3d
    return layer(c_in, c_out, kernel, stride, kernel // 2, bias=False)


def conv(dims: int, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, normalization, ReLU.

    Args:
        dims: 2 or 3.
        c_in: channels that it reads.
        c_out: channels that it gives.
        kernel: width of the convolution, odd.
        stride: its step.

    Returns:
        The three layers.
    """
    first = convolution(dims, c_in, c_out, kernel, stride)
    return nn.Sequential(first, norm(c_out), nn.ReLU(inplace=True))


def resized(x: Tensor, hw: tuple[int, ...] | None = None) -> Tensor:
    """Maps at another size, bilinearly.

    Args:
        x: (n, c, h, w).
        hw: the size; None: twice theirs.

    Returns:
        Maps (n, c, h', w').
    """
    twice = 2.0 if hw is None else None
    return F.interpolate(x, hw, twice, mode="bilinear", align_corners=False)


class Residual(nn.Module):
    """Two convolutions and a skip, in 2D or 3D: (n, c, ...) -> (n, C, ...).

    Args:
        dims: 2 or 3.
        c_in: channels c.
        c_out: channels C.
        recompute: keep nothing but input and output for the backward pass; the convolutions are
            then computed again.
    """

    def __init__(self, dims: int, c_in: int, c_out: int, recompute: bool = False):
        super().__init__()
        self.body = nn.Sequential(
            conv(dims, c_in, c_out), convolution(dims, c_out, c_out), norm(c_out)
        )
        self.skip: nn.Module = nn.Identity()
        if c_in != c_out:
            self.skip = nn.Sequential(convolution(dims, c_in, c_out, 1), norm(c_out))
        self.recompute = recompute

    def plain(self, x: Tensor) -> Tensor:
        """The block itself, everything kept.

        Args:
            x: (n, c, ...).

        Returns:
            (n, C, ...).
        """
        return (self.body(x) + self.skip(x)).relu_()

    def forward(self, x: Tensor) -> Tensor:
        """The block, as `recompute` says.

        Args:
            x: (n, c, ...).

        Returns:
            (n, C, ...).
        """
        return residual(self, x, keep=not self.recompute)


class Stage(nn.Sequential):
    """A residual block and the layers after it.

    Args:
        block: the first; recomputes or not as it was made to.
        after: the layers; recomputed if the block is.
    """

    def __init__(self, block: Residual, after: list[nn.Module]):
        super().__init__(block, *after)
        self.recompute = block.recompute

    def forward(self, x: Tensor) -> Tensor:
        """One after the other.

        Args:
            x: (n, c, ...).

        Returns:
            What the last layer gives.
        """
        block, *after = self
        return recomputed(nn.Sequential(*after), block(x), when=self.recompute)
