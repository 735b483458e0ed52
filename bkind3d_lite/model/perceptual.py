"""Perceptual: how far a reconstruction is from its target, in the eyes of a frozen network."""

from __future__ import annotations

import warnings
from typing import cast

import torch
from torch import Tensor, nn

from .. import distributed
from .compute import Compute
from .cpu_kernels import mean_square
from .pieces import wide


def moved(average: Tensor, new: Tensor, decay: float) -> Tensor:
    """A running average one step on; it begins with the first value.

    Args:
        average: any shape; 0: nothing yet.
        new: the same shape.
        decay: share of the old average.

    Returns:
        The same shape.
    """
    return torch.where(average > 0, decay * average + (1 - decay) * new, new)


class Perceptual(nn.Module):
    """Mean squared differences in pixels and in the blocks of a frozen network (paper equation 1).

    Each term is divided by a running average of the energy of its own target, a buffer that is
    saved with the model: a frame pair in which little moves cannot explode.

    Attributes:
        compute: how the network is called.

    Args:
        network: `pixels` (none), `random` (seeded random convolutions, no download), or `vgg19`
            (ImageNet weights by torchvision, seeded random ones with a warning where they cannot
            be had).
        width: of the random network.
        decay: of the running averages.
        seed: of random weights.
        printed: equation 1 to the letter, the sum over blocks of ||phi(S) - phi(S^)||_2, not
            squared, not normalized, mean over images.

    Raises:
        ValueError: another network.
    """

    compute = Compute()
    energy: Tensor

    def __init__(
        self,
        network: str = "random",
        *,
        width: int = 16,
        decay: float = 0.99,
        seed: int = 0,
        printed: bool = False,
    ):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.blocks = _blocks(network, width)
        self.blocks.requires_grad_(False).eval()
        self.decay, self.printed = decay, printed
        self.register_buffer("energy", torch.zeros(len(self.blocks) + 1))

    def features(self, maps: Tensor) -> list[Tensor]:
        """The maps themselves and the output of every block.

        Args:
            maps: (n, 1 or 3, H, W).

        Returns:
            Tensors in the number format that the blocks compute in: they are only compared.
        """
        return self.compute.as_it_comes(self._through, maps)

    def _through(self, maps: Tensor) -> list[Tensor]:
        x, out = maps.expand(-1, 3, -1, -1), [maps]
        for block in self.blocks:
            x = block(x)
            out.append(x)
        return out

    def scale(self, energy: list[Tensor]) -> Tensor:
        """What each term is divided by; in training the averages move first.

        Args:
            energy: of the targets' features, a scalar for each.

        Returns:
            (blocks + 1).
        """
        now = distributed.mean(torch.stack(energy))
        if self.training and not self.printed:
            self.energy.copy_(moved(self.energy, now, self.decay))
        return torch.where(self.energy > 0, self.energy, now).clamp(min=1e-8)

    def distance(self, recon: Tensor, wanted: list[Tensor], scale: Tensor) -> Tensor:
        """The loss of reconstructions whose targets' features are known.

        Args:
            recon: (n, 1 or 3, H, W).
            wanted: features of the targets.
            scale: what each term is divided by.

        Returns:
            A scalar.
        """
        ours = self.features(recon)
        if self.printed:
            norms = [(wide(g) - wide(w)).flatten(1).norm(dim=1) for g, w in zip(ours, wanted)]
            return sum((norm.mean() for norm in norms), recon.new_zeros(()))
        return torch.stack([mean_square(g, w) / s for g, w, s in zip(ours, wanted, scale)]).mean()

    def forward(self, recon: Tensor, target: Tensor) -> Tensor:
        """The loss.

        Args:
            recon: (n, 1 or 3, H, W).
            target: the same shape; gets no gradient.

        Returns:
            A scalar.
        """
        with torch.no_grad():
            wanted = self.features(target.detach())
            scale = self.scale([wide(w).square().mean() for w in wanted])
        return self.distance(recon, wanted, scale)


def _blocks(network: str, width: int) -> nn.ModuleList:
    if network == "pixels":
        return nn.ModuleList()
    if network == "random":
        return _random(width)
    if network not in ("vgg19", "vgg19-seeded"):
        raise ValueError(f"perceptual = {network!r}; expected pixels, random or vgg19")
    return _vgg19(network == "vgg19")


def _random(width: int) -> nn.ModuleList:
    sizes = [3, width, 2 * width, 2 * width]
    blocks = nn.ModuleList(
        [
            nn.Sequential(nn.Conv2d(a, b, 3, 1, 1), nn.ReLU(), nn.AvgPool2d(2))
            for a, b in zip(sizes, sizes[1:])
        ]
    )
    for layer in blocks.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight, 2**0.5)
            nn.init.zeros_(cast(Tensor, layer.bias))
    return blocks


def _vgg19(known: bool) -> nn.ModuleList:
    """VGG-19 up to relu1_2, 2_2, 3_2, 4_2, 5_2: the last layer used is the last one kept.

    known: with ImageNet's weights, if they can be had.
    """
    import torchvision

    net = torchvision.models.vgg19(weights=None)
    try:
        if known:
            weights = torchvision.models.VGG19_Weights.DEFAULT
            net.load_state_dict(weights.get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        warnings.warn(
            f"ImageNet weights for VGG-19 could not be loaded ({error}); using random features, "
            "which make a weaker perceptual loss",
            stacklevel=2,
        )
    ends = [0, 4, 9, 14, 23, 32]
    return nn.ModuleList([nn.Sequential(*list(net.features[a:b])) for a, b in zip(ends, ends[1:])])
