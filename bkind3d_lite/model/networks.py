"""Networks: the learned parts. Normalized by groups, so that a batch of one frame set is as good as any."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .memory_efficient import PIECE, normalized, overwritable, overwriting, plainly, recomputed


def over_views(network: nn.Module, images: Tensor):
    """Apply `network` to (B, V, ...) as one batch of B V images and give the views their axis back, in every output."""
    out = network(images.flatten(0, 1))
    lead = images.shape[:2]
    return (
        tuple(x.unflatten(0, lead) for x in out)
        if isinstance(out, tuple)
        else out.unflatten(0, lead)
    )


class Norm(nn.GroupNorm):
    """Group normalization. On a CPU PyTorch's own adds up the gradients of a map with channels last voxel after voxel in float32: at 64^3
    voxels they are 0.4 % off, and it is slower."""

    def forward(self, x: Tensor) -> Tensor:
        return (
            normalized(x, self)
            if x[0, 0].numel() >= PIECE // 2 and overwritable(x)
            else super().forward(x)
        )


def _norm(channels: int, groups: int = 8) -> Norm:
    return Norm(next(g for g in range(min(groups, channels), 0, -1) if channels % g == 0), channels)


def _convolution(dims: int, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    if kernel == stride == 1:
        return (Pixelwise if dims == 2 else Pointwise)(c_in, c_out, 1, bias=False)
    return (nn.Conv2d if dims == 2 else Spatial)(
        c_in, c_out, kernel, stride, kernel // 2, bias=False
    )


def _conv(dims: int, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _convolution(dims, c_in, c_out, kernel, stride), _norm(c_out), nn.ReLU(inplace=True)
    )


def _mixed(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """A convolution of one pixel or voxel, (n, c, ...) -> (n, C, ...), as one of 16 strips; None where channels do not come last.

    On one CPU thread PyTorch leaves such a convolution to its BLAS, unless the batch is 16 or more: then oneDNN does it, 2 x faster.
    """
    rows = x.movedim(1, -1)
    count = x.shape[0] * x.shape[2:].numel()
    if x.device.type != "cpu" or count % 16 or not rows.is_contiguous():
        return None
    strips = rows.view(16, 1, count // 16, x.shape[1]).permute(0, 3, 1, 2)
    mixed = F.conv2d(strips, weight.flatten(1)[..., None, None], bias)
    return mixed.permute(0, 2, 3, 1).reshape(*rows.shape[:-1], len(weight)).movedim(-1, 1)


class Pixelwise(nn.Conv2d):
    """A 1 x 1 convolution without stride."""

    def forward(self, x: Tensor) -> Tensor:
        mixed = _mixed(x, self.weight, self.bias)
        return super().forward(x) if mixed is None else mixed


class Pointwise(nn.Conv3d):
    """A 1 x 1 x 1 convolution as the product of matrices that it is: many times faster where channels come last."""

    def forward(self, x: Tensor) -> Tensor:
        mixed = _mixed(x, self.weight, self.bias)
        return (
            F.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)
            if mixed is None
            else mixed
        )


class Spatial(nn.Conv3d):
    """A 3D convolution, always in float32 where a CPU's volume is narrower than the kernel.

    There oneDNN 3's bfloat16 gradient of the weights takes in memory that nobody has written (seen with PyTorch 2.15).
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or min(x.shape[2:]) >= self.kernel_size[0]:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype))


class Residual(nn.Module):
    """Two convolutions and a skip, in 2D or 3D."""

    def __init__(self, dims: int, c_in: int, c_out: int):
        super().__init__()
        self.body = nn.Sequential(
            _conv(dims, c_in, c_out), _convolution(dims, c_out, c_out), _norm(c_out)
        )
        self.skip = (
            nn.Identity()
            if c_in == c_out
            else nn.Sequential(_convolution(dims, c_in, c_out, 1), _norm(c_out))
        )

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        """recompute: keep nothing but input and output for the backward pass."""
        if recompute and overwritable(x):
            (first, norm, _), second, last = self.body
            skip = None if isinstance(self.skip, nn.Identity) else recomputed(self.skip, x)
            return overwriting(x, skip, first.weight, norm, second.weight, last)
        return recomputed(self._plain, x) if recompute else self._plain(x)

    def _plain(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.skip(x)).relu_()


class Trunk(nn.Module):
    """A small residual trunk: (n, c, H, W) -> maps at strides 4, 8, 16 with `width` x 1, 2, 4 channels."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.out = (width, 2 * width, 4 * width)
        self.stem = nn.Sequential(
            _conv(2, channels, width // 2, 3, 2), _conv(2, width // 2, width, 3, 2)
        )
        self.levels = nn.ModuleList(
            [
                Residual(2, width, width),
                nn.Sequential(_conv(2, width, 2 * width, 3, 2), Residual(2, 2 * width, 2 * width)),
                nn.Sequential(
                    _conv(2, 2 * width, 4 * width, 3, 2), Residual(2, 4 * width, 4 * width)
                ),
            ]
        )

    def forward(self, x: Tensor, recompute: bool = False) -> list[Tensor]:
        run, maps = recomputed if recompute else plainly, []
        x = run(self.stem, x)
        for level in self.levels:
            x = run(level, x)
            maps.append(x)
        return maps


class ResNetTrunk(nn.Module):
    """torchvision's ResNet (paper: ResNet-50, ImageNet weights) as maps at strides 4, 8, 16, 32.

    pretrained: download the ImageNet weights; if they cannot be had, warn and start from the seeded random ones: the
    paper's results then need far longer training, if they are reached at all. Extra input channels start at zero.
    """

    def __init__(self, channels: int, name: str = "resnet50", pretrained: bool = False):
        super().__init__()
        import torchvision

        net = getattr(torchvision.models, name)(weights=None)
        if pretrained:
            weights = torchvision.models.get_model_weights(name).DEFAULT
            try:
                net.load_state_dict(weights.get_state_dict(progress=True, check_hash=True))
            except OSError as error:
                warnings.warn(
                    f"ImageNet weights for {name} could not be loaded ({error}); starting from random weights, "
                    "which costs accuracy and many more steps",
                    stacklevel=2,
                )
        if channels > 3:
            first = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
            with torch.no_grad():
                first.weight.zero_()[:, :3] = net.conv1.weight
            net.conv1 = first
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == layer.stride == (1, 1):
                layer.__class__ = Pixelwise  # same weights, same names
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.levels = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.out = tuple(net.fc.in_features // 2 ** (3 - i) for i in range(4))

    forward = Trunk.forward


class Pyramid(nn.Module):
    """The geometry decoder of the paper: every level by 1 x 1 convolutions to 256 channels, added up from coarse to fine."""

    def __init__(self, channels: tuple[int, ...], maps: int, middle: int = 256):
        super().__init__()
        self.sides = nn.ModuleList([_conv(2, c, middle, 1) for c in channels])
        self.rise = nn.ModuleList(
            [
                nn.Sequential(Pixelwise(middle, middle, 1, bias=False), _norm(middle))
                for _ in channels[1:]
            ]
        )
        self.head = nn.Sequential(_conv(2, middle, middle, 1), Pixelwise(middle, maps, 1))

    def forward(self, *levels: Tensor) -> Tensor:
        x = self.sides[-1](levels[-1])
        for side, rise, level in zip(
            list(self.sides)[-2::-1], list(self.rise)[::-1], levels[-2::-1]
        ):
            x = rise(
                F.interpolate(x, level.shape[-2:], mode="bilinear", align_corners=False)
            ) + side(level)
        return self.head(x)


class Encoder(nn.Module):
    """Appearance Phi and geometry decoder Psi in one pass: images (n, c, H, W) -> features (n, F, H/s, W/s), maps (n, C, H/4, W/4).

    Features are the coarsest level (stride s = 16, ResNet 32); maps come from a top-down pathway at stride 4. pyramid: the
    paper's pathway (`Pyramid`), without it a shorter one. recompute: keep nothing but the levels for the backward pass.
    """

    def __init__(
        self,
        channels: int,
        maps: int,
        width: int = 32,
        backbone: str = "small",
        pretrained: bool = False,
        pyramid: bool = False,
        recompute: bool = False,
    ):
        super().__init__()
        self.channels, self.recompute = channels, recompute
        self.trunk = (
            Trunk(channels, width)
            if backbone == "small"
            else ResNetTrunk(channels, backbone, pretrained)
        )
        self.features = self.trunk.out[-1]
        middle = 2 * width if backbone == "small" else 256
        self.pyramid = Pyramid(self.trunk.out, maps, middle) if pyramid else None
        if not pyramid:
            self.sides = nn.ModuleList([Pixelwise(c, middle, 1) for c in self.trunk.out])
            self.head = nn.Sequential(_conv(2, middle, middle), Pixelwise(middle, maps, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        some = max(1, PIECE // images[0, :2].numel())
        if (
            self.recompute
            and not self.training
            and images.device.type == "cpu"
            and len(images) > some
            and not torch.is_grad_enabled()
        ):
            return tuple(
                torch.cat(parts) for parts in zip(*map(self.forward, images.split(some)))
            )  # less memory and no slower
        levels = self.trunk(images, self.recompute)
        if self.pyramid is not None:
            return levels[-1], (recomputed if self.recompute else plainly)(self.pyramid, *levels)
        x = self.sides[-1](levels[-1])
        for side, level in zip(list(self.sides)[-2::-1], levels[-2::-1]):
            x = F.interpolate(x, level.shape[-2:], mode="bilinear", align_corners=False) + side(
                level
            )
        return levels[-1], self.head(x)


def _halved(volume: Tensor) -> Tensor:
    """The largest of every 2 x 2 x 2 voxels, in the volume's own number format: autocast would widen it to no purpose."""
    kind = volume.device.type
    with (
        torch.autocast(kind, enabled=False)
        if torch.amp.is_autocast_available(kind)
        else nullcontext()
    ):
        return F.max_pool3d(volume, 2)


class V2V(nn.Module):
    """A 3D hourglass (Moon et al. 2018, as in the paper): (B, C, N, N, N) -> (B, K, N, N, N) logits, N divisible by 2^levels.

    full: the paper's own (with width 32, 5 levels and a front of 7^3): the first convolution has half the width, three residual
    blocks follow; one more block at the bottom and before every step up; two 1 x 1 convolutions before the logits.
    recompute: what happens inside the blocks of the two finest levels is computed again in the backward pass.
    """

    def __init__(
        self,
        channels: int,
        keypoints: int,
        width: int = 16,
        levels: int = 2,
        front: int = 3,
        full: bool = False,
        recompute: bool = False,
    ):
        super().__init__()
        widths = [min(width * 2**i, 128) for i in range(levels + 1)]
        self.full, self.recompute = full, recompute
        first = width // 2 if full else width
        blocks = [Residual(3, first, width)] + [Residual(3, width, width) for _ in range(2 * full)]
        self.front = nn.Sequential(_conv(3, channels, first, front), *blocks)
        self.down = nn.ModuleList([Residual(3, a, b) for a, b in zip(widths, widths[1:])])
        self.skip = nn.ModuleList([Residual(3, a, a) for a in widths[:-1]])
        if full:
            self.middle = Residual(3, widths[-1], widths[-1])
        self.up = nn.ModuleList([self._step_up(a, b) for a, b in zip(widths, widths[1:])])
        last = [_conv(3, width, width, 1), _conv(3, width, width, 1)] if full else []
        self.back = nn.Sequential(Residual(3, width, width), *last, Pointwise(width, keypoints, 1))

    def _step_up(self, a: int, b: int) -> nn.Module:
        if not self.full:
            return nn.ConvTranspose3d(b, a, 2, 2)
        return nn.Sequential(
            Residual(3, b, b),
            nn.ConvTranspose3d(b, a, 2, 2, bias=False),
            _norm(a),
            nn.ReLU(inplace=True),
        )

    def forward(self, volume: Tensor | list[Tensor]) -> Tensor:
        """A list hands its only volume over: it is emptied, and the volume's memory is free as soon as it is read."""
        again = [
            self.recompute and level < 2 for level in range(len(self.up))
        ]  # from fine to coarse
        x, kept = self.front[0](volume.pop() if isinstance(volume, list) else volume), []
        for block in self.front[1:]:
            x = block(x, again[0])
        for recompute, down, skip in zip(again, self.down, self.skip):
            kept.append(skip(x, recompute))
            x = down(_halved(x))
        if self.full:
            x = self.middle(x)
        for recompute, up in zip(again[::-1], self.up[::-1]):
            if self.full:
                x = (recomputed if recompute else plainly)(up[1:], up[0](x, recompute))
                x = (
                    kept.pop().add_(x)
                    if recompute or not torch.is_grad_enabled()
                    else x + kept.pop()
                )
            else:
                x = (recomputed if recompute else plainly)(up, x).relu_() + kept.pop()
        x = self.back[0](x, again[0])
        return (recomputed if again[0] else plainly)(self.back[1:], x)


def _beside(layer: nn.Conv2d, x: Tensor, drawing: Tensor) -> Tensor:
    """`layer` of the channels of both, as the sum of two convolutions where the maps outweigh the weights.

    Two channels more than a power of two are awkward: at 64 x 64 pixels and above, apart is a quarter faster.
    """
    n, weight = x.shape[1], layer.weight
    if x.numel() < weight.numel():
        return layer(torch.cat([x, drawing], 1))
    last = (
        torch.channels_last
        if weight.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    parts = (
        F.conv2d(part, w.contiguous(memory_format=last), None, 1, layer.padding)
        for part, w in ((x, weight[:, :n]), (drawing, weight[:, n:]))
    )
    return next(parts).add_(next(parts))


class Decoder(nn.Module):
    """Features of now and the two drawings -> how the frame changed: (n, F, h, w), drawings (n, 2, 2^i h, 2^i w) -> (n, out, ...).

    `steps` doublings from the features' size; the drawing of matching size is read at every scale. widths: the paper's decoder,
    channels after each doubling; it reads the drawing before each doubling and so none at the full size.
    """

    def __init__(
        self,
        features: int,
        width: int = 32,
        steps: int = 3,
        drawings: int = 2,
        out: int = 1,
        widths: tuple[int, ...] | None = None,
    ):
        super().__init__()
        self.early = bool(widths)
        widths = (
            (features, *widths)
            if widths
            else [max(width // 2, min(128, width * 2 ** (steps - i))) for i in range(steps + 1)]
        )
        if not self.early:
            self.enter = _conv(2, features + drawings, widths[0])
        self.grow = nn.ModuleList(
            [
                nn.Sequential(_conv(2, a + drawings, b), _conv(2, b, b))
                for a, b in zip(widths, widths[1:])
            ]
        )
        self.leave = nn.Conv2d(widths[-1], out, 1)

    def drawing_hw(self, hw: tuple[int, int]) -> list[tuple[int, int]]:
        """Sizes (h, w) of the drawings it reads, for features of `hw`."""
        return [(hw[0] << i, hw[1] << i) for i in range(len(self.grow) + (not self.early))]

    def begin(self, features: Tensor, drawings: list[Tensor]) -> Tensor:
        """The first half of the doublings: many channels, few pixels. `drawings` of all scales."""
        x = features if self.early else self.enter(torch.cat([features, drawings[0]], 1))
        return self._grown(x, drawings, range(len(self.grow) // 2))

    def finish(self, x: Tensor, drawings: list[Tensor]) -> Tensor:
        """The second half: few channels, many pixels."""
        return self.leave(self._grown(x, drawings, range(len(self.grow) // 2, len(self.grow))))

    def second_half(self) -> list[nn.Parameter]:
        """The parameters that `finish` uses."""
        return [*self.grow[len(self.grow) // 2 :].parameters(), *self.leave.parameters()]

    def _grown(self, x: Tensor, drawings: list[Tensor], steps: range) -> Tensor:
        for i in steps:
            if self.early:
                x, drawing = (
                    F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
                    for y in (x, drawings[i])
                )
            else:
                drawing = drawings[i + 1]
                x = F.interpolate(x, drawing.shape[-2:], mode="bilinear", align_corners=False)
            (first, *rest), last = self.grow[i]
            x = last(nn.Sequential(*rest)(_beside(first, x, drawing)))
        return x

    def forward(self, features: Tensor, drawings: list[Tensor]) -> Tensor:
        return self.finish(self.begin(features, drawings), drawings)
