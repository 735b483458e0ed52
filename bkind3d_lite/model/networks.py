"""Networks: the learned parts, in plain PyTorch.

What computes them faster on a CPU is behind `cpu_kernels.fast`, what computes them in less memory
in `memory_efficient`; the model calls them through `compute.Compute`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recipes import DecoderRecipe, EncoderRecipe, V2VRecipe
from .blocks import Residual, Stage, conv, convolution, norm, resized
from .cpu_kernels import beside
from .memory_efficient import added, recomputed
from .pieces import in_pieces


def over_views(network: Callable[[Tensor], Any], images: Tensor) -> Any:
    """Apply a network to all views as one batch and give them their axis back, in every output.

    Args:
        network: takes (n, ...), gives a tensor or a tuple of tensors.
        images: (B, V, ...).

    Returns:
        (B, V, ...), or a tuple of them.
    """
    out, lead = network(images.flatten(0, 1)), images.shape[:2]
    if isinstance(out, tuple):
        return tuple(x.unflatten(0, lead) for x in out)
    return out.unflatten(0, lead)


# ---- from images to maps -------------------------------------------------------------------------
class Levels(nn.Module):
    """A trunk: a stem, and levels whose maps are all wanted; `out` are their channels."""

    stem: nn.Module
    levels: nn.ModuleList
    out: tuple[int, ...]

    def forward(self, x: Tensor, recompute: bool = False) -> list[Tensor]:
        """Maps of every level, fine to coarse.

        Args:
            x: (n, c, H, W) images.
            recompute: keep nothing but the levels for the backward pass.

        Returns:
            (n, out[i], H / 2^(i+2), W / 2^(i+2)) for level i.
        """
        x, maps = recomputed(self.stem, x, when=recompute), []
        for level in self.levels:
            x = recomputed(level, x, when=recompute)
            maps.append(x)
        return maps


class Trunk(Levels):
    """A small residual trunk: (n, c, H, W) -> maps at strides 4, 8, 16.

    Args:
        channels: of the images.
        width: channels of the finest level; then 2 and 4 times as many.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.out = (width, 2 * width, 4 * width)
        self.stem = nn.Sequential(
            conv(2, channels, width // 2, 3, 2), conv(2, width // 2, width, 3, 2)
        )
        self.levels = nn.ModuleList([Residual(2, width, width)])
        for a, b in zip(self.out, self.out[1:]):
            self.levels.append(nn.Sequential(conv(2, a, b, 3, 2), Residual(2, b, b)))


class ResNetTrunk(Levels):
    """torchvision's ResNet (paper: ResNet-50, ImageNet weights) as maps at strides 4, 8, 16, 32.

    Args:
        channels: of the images; what is beyond 3 starts at zero.
        name: of the network.
        pretrained: download the ImageNet weights; if they cannot be had, warn and start from the
            seeded random ones: the paper's results then need far longer training, if they are
            reached at all.
    """

    def __init__(self, channels: int, name: str = "resnet50", pretrained: bool = False):
        super().__init__()
        import torchvision

        net = getattr(torchvision.models, name)(weights=None)
        if pretrained:
            _download(net, name)
        if channels > 3:
            first = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
            with torch.no_grad():
                first.weight.zero_()[:, :3] = net.conv1.weight
            net.conv1 = first
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.levels = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.out = tuple(net.fc.in_features // 2 ** (3 - i) for i in range(4))


def _download(net: nn.Module, name: str) -> None:
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        net.load_state_dict(weights.get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        warnings.warn(
            f"ImageNet weights for {name} could not be loaded ({error}); starting from random "
            "weights, which costs accuracy and many more steps",
            stacklevel=3,
        )


class Pyramid(nn.Module):
    """The paper's geometry decoder: 1 x 1 convolutions, added up from coarse to fine.

    Args:
        channels: of the levels.
        maps: channels of the result.
        middle: channels in between.
    """

    def __init__(self, channels: tuple[int, ...], maps: int, middle: int = 256):
        super().__init__()
        self.sides = nn.ModuleList([conv(2, c, middle, 1) for c in channels])
        self.rise = nn.ModuleList(
            [nn.Sequential(convolution(2, middle, middle, 1), norm(middle)) for _ in channels[1:]]
        )
        self.head = nn.Sequential(conv(2, middle, middle, 1), nn.Conv2d(middle, maps, 1))

    def forward(self, *levels: Tensor) -> Tensor:
        """(n, c_i, h / 2^i, w / 2^i) for every level i -> (n, maps, h, w).

        Args:
            *levels: fine to coarse.

        Returns:
            The maps.
        """
        x = self.sides[-1](levels[-1])
        finer = list(zip(self.sides, self.rise, levels))[::-1]
        for side, rise, level in finer:
            x = rise(resized(x, level.shape[-2:])) + side(level)
        return self.head(x)


class Encoder(nn.Module):
    """Appearance Phi and geometry decoder Psi in one pass.

    Features are the trunk's coarsest level (stride 16, ResNet 32); maps come from a top-down
    pathway at stride 4: the paper's (`Pyramid`), or a shorter one.

    Args:
        recipe: trunk and pathway.
        channels: of the images.
        maps: heatmaps to give.
        recompute: keep nothing but the levels for the backward pass.
    """

    def __init__(self, recipe: EncoderRecipe, channels: int, maps: int, recompute: bool = False):
        super().__init__()
        self.channels, self.recompute = channels, recompute
        small, width = recipe.backbone == "small", recipe.encoder_width
        self.trunk = (
            Trunk(channels, width)
            if small
            else ResNetTrunk(channels, recipe.backbone, recipe.pretrained)
        )
        out, middle = self.trunk.out, 2 * width if small else 256
        self.features = out[-1]
        self.pyramid = Pyramid(out, maps, middle) if recipe.pyramid else None
        if not recipe.pyramid:
            self.sides = nn.ModuleList([nn.Conv2d(c, middle, 1) for c in out])
            self.head = nn.Sequential(conv(2, middle, middle), nn.Conv2d(middle, maps, 1))
        self.temper = nn.BatchNorm2d(maps) if recipe.map_norm else nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and heatmaps.

        Args:
            images: (n, c, H, W).

        Returns:
            Features (n, F, H/s, W/s), s the stride, and maps (n, C, H/4, W/4).
        """
        if not (self.training or torch.is_grad_enabled()):
            each = 2 * images[0, 0].numel()  # less memory and no slower
            return in_pieces(self._together, images, each)
        return self._together(images)

    def _together(self, images: Tensor) -> tuple[Tensor, Tensor]:
        levels = self.trunk(images, self.recompute)
        if self.pyramid is not None:
            maps = recomputed(self.pyramid, *levels, when=self.recompute)
            return levels[-1], self.temper(maps)
        x = self.sides[-1](levels[-1])
        for side, level in list(zip(self.sides, levels[:-1]))[::-1]:
            x = resized(x, level.shape[-2:]) + side(level)
        return levels[-1], self.temper(self.head(x))


# ---- from a volume to keypoints ------------------------------------------------------------------
class V2V(nn.Module):
    """A 3D hourglass (Moon et al. 2018, as in the paper): votes -> logits of every keypoint.

    The paper's own (`v2v_full`, with width 32, 5 levels and a front of 7^3) has a first convolution
    of half the width, followed by three residual blocks; one more block at the bottom and before
    every step up; and two 1 x 1 convolutions before the logits.

    Args:
        recipe: widths and levels.
        channels: of the volume.
        keypoints: volumes to give.
        recompute: what happens inside the blocks of the two finest levels is computed again in the
            backward pass.
    """

    def __init__(self, recipe: V2VRecipe, channels: int, keypoints: int, recompute: bool = False):
        super().__init__()
        width, levels, full = recipe.v2v_width, recipe.v2v_levels, recipe.v2v_full
        widths = [min(width * 2**i, 128) for i in range(levels + 1)]
        steps = list(zip(widths, widths[1:]))
        self.again = [recompute and level < 2 for level in range(levels)]  # from fine to coarse
        self.full, self.recompute = full, recompute
        first = width // 2 if full else width
        blocks = [Residual(3, first, width, recompute=recompute)]
        blocks += [Residual(3, width, width, recompute=recompute) for _ in range(2 * full)]
        self.front = nn.Sequential(conv(3, channels, first, recipe.v2v_front), *blocks)
        self.down = nn.ModuleList(
            [Residual(3, a, b, recompute=r) for (a, b), r in zip(steps, self.again)]
        )
        self.skip = nn.ModuleList(
            [Residual(3, a, a, recompute=r) for (a, _), r in zip(steps, self.again)]
        )
        if full:
            self.middle = Residual(3, widths[-1], widths[-1])
        self.up = nn.ModuleList([self._step_up(b, a, r) for (a, b), r in zip(steps, self.again)])
        last = [conv(3, width, width, 1), conv(3, width, width, 1)] if full else []
        block = Residual(3, width, width, recompute=recompute)
        self.back = Stage(block, [*last, nn.Conv3d(width, keypoints, 1)])

    def _step_up(self, c_in: int, c_out: int, recompute: bool) -> nn.Module:
        if not self.full:
            return nn.ConvTranspose3d(c_in, c_out, 2, 2)
        block = Residual(3, c_in, c_in, recompute=recompute)
        grow = nn.ConvTranspose3d(c_in, c_out, 2, 2, bias=False)
        return Stage(block, [grow, norm(c_out), nn.ReLU(inplace=True)])

    def forward(self, volume: Tensor | list[Tensor]) -> Tensor:
        """Logits of every keypoint at every voxel.

        Args:
            volume: (B, C, N, N, N), N divisible by 2^levels. A list hands its only volume over: it
                is emptied, and the volume's memory is free as soon as it is read.

        Returns:
            (B, K, N, N, N).
        """
        x = self.front[0](volume.pop() if isinstance(volume, list) else volume)
        for block in list(self.front)[1:]:
            x = block(x)
        places = []  # where things were before shrinking
        for down, skip in zip(self.down, self.skip):
            places.append(skip(x))
            x = down(F.max_pool3d(x, 2))
        if self.full:
            x = self.middle(x)
        for up, recompute in list(zip(self.up, self.again))[::-1]:
            x = up(x) if self.full else up(x).relu_()
            x = added(places.pop(), x, overwrite=recompute)
        return self.back(x)


# ---- from drawings to a reconstruction -----------------------------------------------------------
class Decoder(nn.Module):
    """Features of now and the drawings of both times -> how the frame changed.

    As many doublings as the recipe says from the features' size; the drawing of matching size is
    read at every scale. The paper's decoder (`decoder_widths`) reads the drawing before each
    doubling and so none at the full size.

    Args:
        recipe: widths and doublings.
        features: channels of the features.
        drawings: maps that are drawn, of both times together.
        out: channels of the reconstruction.
    """

    def __init__(self, recipe: DecoderRecipe, features: int, drawings: int = 2, out: int = 1):
        super().__init__()
        width, steps = recipe.decoder_width, recipe.decoder_steps
        self.early = bool(recipe.decoder_widths)
        if recipe.decoder_widths:
            widths = [features, *recipe.decoder_widths]
        else:
            most = [min(128, width * 2 ** (steps - i)) for i in range(steps + 1)]
            widths = [max(width // 2, w) for w in most]
            self.enter = conv(2, features + drawings, widths[0])
        grow = [
            nn.Sequential(conv(2, a + drawings, b), conv(2, b, b))
            for a, b in zip(widths, widths[1:])
        ]
        self.grow = nn.ModuleList(grow)
        self.leave = nn.Conv2d(widths[-1], out, 1)

    def drawing_hw(self, hw: tuple[int, int]) -> list[tuple[int, int]]:
        """Sizes of the drawings it reads.

        Args:
            hw: (h, w) of the features.

        Returns:
            (h, w) of each scale, coarse to fine.
        """
        return [(hw[0] << i, hw[1] << i) for i in range(len(self.grow) + (not self.early))]

    def begin(self, features: Tensor, drawings: list[Tensor]) -> Tensor:
        """The first half of the doublings: many channels, few pixels.

        Args:
            features: (n, F, h, w).
            drawings: (n, d, 2^i h, 2^i w) of all scales i.

        Returns:
            What `finish` goes on with.
        """
        x = features if self.early else self.enter(torch.cat([features, drawings[0]], 1))
        return self._grown(x, drawings, range(len(self.grow) // 2))

    def finish(self, x: Tensor, drawings: list[Tensor]) -> Tensor:
        """The second half: few channels, many pixels.

        Args:
            x: what `begin` gave.
            drawings: as there.

        Returns:
            (n, out, 2^steps h, 2^steps w).
        """
        return self.leave(self._grown(x, drawings, range(len(self.grow) // 2, len(self.grow))))

    def second_half(self) -> list[nn.Parameter]:
        """The parameters that `finish` uses."""
        return [*self.grow[len(self.grow) // 2 :].parameters(), *self.leave.parameters()]

    def _grown(self, x: Tensor, drawings: list[Tensor], steps: range) -> Tensor:
        for i in steps:
            if self.early:
                x, drawing = resized(x), resized(drawings[i])
            else:
                drawing = drawings[i + 1]
                x = resized(x, drawing.shape[-2:])
            (read, *after), last = cast(Iterable[nn.Sequential], self.grow[i])
            x = beside(cast(nn.Conv2d, read), x, drawing)
            x = last(nn.Sequential(*after)(x))
        return x

    def forward(self, features: Tensor, drawings: list[Tensor]) -> Tensor:
        """Both halves: `finish` of `begin`.

        Args:
            features: (n, F, h, w).
            drawings: (n, d, 2^i h, 2^i w) of all scales i.

        Returns:
            (n, out, 2^steps h, 2^steps w).
        """
        return self.finish(self.begin(features, drawings), drawings)
