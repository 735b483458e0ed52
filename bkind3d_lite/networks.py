"""Networks: the learned parts. Normalized by groups, so that a batch of one frame set is as good as any."""
from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def over_views(network: nn.Module, images: Tensor):
    """Apply `network` to (B, V, ...) as one batch of B V images and give the views their axis back, in every output."""
    out = network(images.flatten(0, 1))
    lead = images.shape[:2]
    return tuple(x.unflatten(0, lead) for x in out) if isinstance(out, tuple) else out.unflatten(0, lead)


def _norm(channels: int, groups: int = 8) -> nn.GroupNorm:
    return nn.GroupNorm(next(g for g in range(min(groups, channels), 0, -1) if channels % g == 0), channels)


def _conv(dims: int, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    layer = (nn.Conv2d if dims == 2 else nn.Conv3d)(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, _norm(c_out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two convolutions and a skip, in 2D or 3D."""

    def __init__(self, dims: int, c_in: int, c_out: int):
        super().__init__()
        Conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.body = nn.Sequential(_conv(dims, c_in, c_out), Conv(c_out, c_out, 3, 1, 1, bias=False), _norm(c_out))
        self.skip = nn.Identity() if c_in == c_out else nn.Sequential(Conv(c_in, c_out, 1, bias=False), _norm(c_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


class Trunk(nn.Module):
    """A small residual trunk: (n, c, H, W) -> maps at strides 4, 8, 16 with `width` x 1, 2, 4 channels."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.out = (width, 2 * width, 4 * width)
        self.stem = nn.Sequential(_conv(2, channels, width // 2, 3, 2), _conv(2, width // 2, width, 3, 2))
        self.levels = nn.ModuleList([Residual(2, width, width),
                                     nn.Sequential(_conv(2, width, 2 * width, 3, 2), Residual(2, 2 * width, 2 * width)),
                                     nn.Sequential(_conv(2, 2 * width, 4 * width, 3, 2), Residual(2, 4 * width, 4 * width))])

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), []
        for level in self.levels:
            x = level(x)
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
                warnings.warn(f"ImageNet weights for {name} could not be loaded ({error}); starting from random weights, "
                              "which costs accuracy and many more steps", stacklevel=2)
        if channels > 3:
            first = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
            with torch.no_grad():
                first.weight.zero_()[:, :3] = net.conv1.weight
            net.conv1 = first
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.levels = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.out = tuple(net.fc.in_features // 2 ** (3 - i) for i in range(4))

    forward = Trunk.forward


class Encoder(nn.Module):
    """Appearance Phi and geometry decoder Psi in one pass: images (n, c, H, W) -> features (n, F, H/s, W/s), maps (n, C, H/4, W/4).

    Features are the coarsest level (stride s = 16, ResNet 32); maps come from a top-down pathway at stride 4.
    """

    def __init__(self, channels: int, maps: int, width: int = 32, backbone: str = "small", pretrained: bool = False):
        super().__init__()
        self.channels = channels
        self.trunk = Trunk(channels, width) if backbone == "small" else ResNetTrunk(channels, backbone, pretrained)
        self.features = self.trunk.out[-1]
        middle = 2 * width if backbone == "small" else 256
        self.sides = nn.ModuleList([nn.Conv2d(c, middle, 1) for c in self.trunk.out])
        self.head = nn.Sequential(_conv(2, middle, middle), nn.Conv2d(middle, maps, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        levels = self.trunk(images)
        x = self.sides[-1](levels[-1])
        for side, level in zip(list(self.sides)[-2::-1], levels[-2::-1]):
            x = F.interpolate(x, level.shape[-2:], mode="bilinear", align_corners=False) + side(level)
        return levels[-1], self.head(x)


class V2V(nn.Module):
    """A 3D hourglass (Moon et al. 2018, as in the paper): (B, C, N, N, N) -> (B, K, N, N, N) logits, N divisible by 2^levels."""

    def __init__(self, channels: int, keypoints: int, width: int = 16, levels: int = 2, front: int = 3):
        super().__init__()
        widths = [min(width * 2**i, 128) for i in range(levels + 1)]
        self.front = nn.Sequential(_conv(3, channels, width, front), Residual(3, width, width))
        self.down = nn.ModuleList([Residual(3, a, b) for a, b in zip(widths, widths[1:])])
        self.skip = nn.ModuleList([Residual(3, a, a) for a in widths[:-1]])
        self.up = nn.ModuleList([nn.ConvTranspose3d(b, a, 2, 2) for a, b in zip(widths, widths[1:])])
        self.back = nn.Sequential(Residual(3, width, width), nn.Conv3d(width, keypoints, 1))

    def forward(self, volume: Tensor) -> Tensor:
        x, kept = self.front(volume), []
        for down, skip in zip(self.down, self.skip):
            kept.append(skip(x))
            x = down(F.max_pool3d(x, 2))
        for up, skipped in zip(reversed(self.up), reversed(kept)):
            x = F.relu(up(x)) + skipped
        return self.back(x)


class Decoder(nn.Module):
    """Features of now and the two drawings -> how the frame changed: (n, F, h, w), drawings (n, 2, 2^i h, 2^i w) -> (n, out, ...).

    `steps` doublings from the features' size; the drawing of matching size is read at every scale.
    """

    def __init__(self, features: int, width: int = 32, steps: int = 3, drawings: int = 2, out: int = 1):
        super().__init__()
        widths = [max(width // 2, min(128, width * 2 ** (steps - i))) for i in range(steps + 1)]
        self.enter = _conv(2, features + drawings, widths[0])
        self.grow = nn.ModuleList([nn.Sequential(_conv(2, a + drawings, b), _conv(2, b, b)) for a, b in zip(widths, widths[1:])])
        self.leave = nn.Conv2d(widths[-1], out, 1)

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Sizes (h, w) of the drawings it reads, for features of `size`."""
        return [(size[0] << i, size[1] << i) for i in range(len(self.grow) + 1)]

    def forward(self, features: Tensor, drawings: list[Tensor]) -> Tensor:
        x = self.enter(torch.cat([features, drawings[0]], 1))
        for grow, drawing in zip(self.grow, drawings[1:]):
            x = F.interpolate(x, drawing.shape[-2:], mode="bilinear", align_corners=False)
            x = grow(torch.cat([x, drawing], 1))
        return self.leave(x)
