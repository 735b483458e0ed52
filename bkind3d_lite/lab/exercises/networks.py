"""04_networks: what a 3D hourglass sees that a slice cannot."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...model.blocks import Residual, norm
from ...model.networks import V2V, Trunk
from .entry import Dice, Exercise, Mistake

LESSON = "04_networks"


def _conv_size(size, kernel, stride, padding):
    return nn.Conv1d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, size)).shape[-1]


def _conv_parameters(c_in, c_out, kernel, dims):
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](c_in, c_out, kernel, bias=True)
    return sum(p.numel() for p in layer.parameters())


def receptive_field(kernels, strides):
    """Measured: how many inputs one output has a gradient to, through weights that are all 1."""
    x = torch.zeros(1, 1, 600, requires_grad=True)
    out = x
    for kernel, stride in zip(kernels, strides):
        out = F.conv1d(out, torch.ones(1, 1, kernel), stride=stride)
    out[0, 0, 0].backward()
    return int((x.grad != 0).sum())


def _group_norm(x, groups):
    return F.group_norm(x, groups)


def _normed(x: Tensor, axes: tuple[int, ...], unbiased: bool = False) -> Tensor:
    variance = x.var(axes, keepdim=True, unbiased=unbiased)
    return (x - x.mean(axes, keepdim=True)) / (variance + 1e-5).sqrt()


def _maps(dice: Dice) -> tuple[Tensor, int]:
    maps, spread = dice.normal(2, 4, 2, 3), dice.uniform(0.5, 3, 2, 4, 1, 1)
    return maps * spread + dice.uniform(-2, 2, 2, 4, 1, 1), 2


def _chain(dice: Dice) -> tuple[list[int], list[int]]:
    """Kernels and strides of two to four layers."""
    layers = dice.integer(2, 4)
    kernels = [(3, 5)[dice.integer(0, 1)] for _ in range(layers)]
    return kernels, [2] + [dice.integer(1, 2) for _ in range(layers - 1)]


def _sizes(dice: Dice) -> tuple[int, int, int, int]:
    return dice.integer(20, 97), 2 * dice.integer(1, 3) + 1, dice.integer(2, 3), dice.integer(1, 2)


EXERCISES = (
    Exercise(
        name="conv_size",
        lesson=LESSON,
        spare=True,
        task="conv_size(size, kernel, stride, padding) -> int: width of a convolution's output",
        reference=_conv_size,
        make=_sizes,
        mistakes=(
            Mistake(
                "round down: a window that does not fit any more is left out",
                lambda n, k, s, p: (n + 2 * p - k) / s + 1,
            ),
            Mistake(
                "one more: the first window needs no step", lambda n, k, s, p: (n + 2 * p - k) // s
            ),
            Mistake("padding is added on both sides", lambda n, k, s, p: (n + p - k) // s + 1),
            Mistake(
                "forgot the kernel: the last window must end inside",
                lambda n, k, s, p: (n + 2 * p) // s + 1,
            ),
            Mistake("forgot the stride", lambda n, k, s, p: n + 2 * p - k + 1),
        ),
        shows=Trunk,
    ),
    Exercise(
        name="conv_parameters",
        lesson=LESSON,
        task=(
            "conv_parameters(c_in, c_out, kernel, dims) -> int: "
            "learned numbers of a convolution with bias in `dims` dimensions"
        ),
        reference=_conv_parameters,
        make=lambda dice: (dice.integer(2, 9), dice.integer(10, 17), 3, dice.integer(2, 3)),
        mistakes=(
            Mistake(
                "forgot the bias, one number per output channel", lambda a, b, k, d: a * b * k**d
            ),
            Mistake(
                "the kernel has an extent along every dimension: kernel ** dims",
                lambda a, b, k, d: a * b * k + b,
            ),
            Mistake(
                "every output channel looks at every input channel", lambda a, b, k, d: b * k**d + b
            ),
            Mistake(
                "one bias per output channel, not per input channel",
                lambda a, b, k, d: a * b * k**d + a,
            ),
        ),
        shows=Residual,
    ),
    Exercise(
        name="receptive_field",
        lesson=LESSON,
        task=(
            "receptive_field(kernels, strides) -> int: "
            "input pixels, along one axis, that reach one output of a chain of convolutions"
        ),
        reference=receptive_field,
        make=_chain,
        mistakes=(
            Mistake(
                "strides count: after a stride of 2 one step is two pixels of the input",
                lambda k, s: 1 + sum(x - 1 for x in k),
            ),
            Mistake(
                "kernels overlap: each adds (kernel - 1) steps to the 1 of the pixel itself",
                lambda k, s: sum(k),
            ),
            Mistake("begin with 1, the pixel itself", lambda k, s: receptive_field(k, s) - 1),
            Mistake(
                "kernels do not multiply: each adds (kernel - 1) steps",
                lambda k, s: int(torch.tensor(k).prod()),
            ),
            Mistake(
                "a layer's own stride acts only from the next layer on",
                lambda k, s: (
                    1 + sum((x - 1) * int(torch.tensor(s[: i + 1]).prod()) for i, x in enumerate(k))
                ),
            ),
        ),
        shows=V2V,
    ),
    Exercise(
        name="group_norm",
        lesson=LESSON,
        task=(
            "group_norm(x (n, C, h, w), groups) -> same shape: mean 0 and variance 1 "
            "over each sample's groups of channels, eps 1e-5 beside the variance"
        ),
        reference=_group_norm,
        make=_maps,
        mistakes=(
            Mistake(
                "this is batch norm: the samples of a batch must not see each other",
                lambda x, g: _normed(x, (0, 2, 3)),
            ),
            Mistake(
                "normalised channel by channel: a group holds C / groups channels",
                lambda x, g: _normed(x, (2, 3)),
            ),
            Mistake(
                "one mean for all channels: every group has its own",
                lambda x, g: _normed(x, (1, 2, 3)),
            ),
            Mistake(
                "divide by the standard deviation with n, not n - 1 (unbiased=False)",
                lambda x, g: _normed(x.unflatten(1, (g, -1)), (2, 3, 4), True).flatten(1, 2),
            ),
            Mistake(
                "divide by the square root of the variance, not by the variance",
                lambda x, g: (
                    ((y := x.unflatten(1, (g, -1))) - y.mean((2, 3, 4), keepdim=True))
                    .div(y.var((2, 3, 4), keepdim=True, unbiased=False) + 1e-5)
                    .flatten(1, 2)
                ),
            ),
        ),
        shows=norm,
    ),
)
