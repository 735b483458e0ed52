"""Losses: tensors in, one scalar out. What the drawing must explain, and what keeps it honest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import distributed
from ..shapes import cells, shaped
from .memory_efficient import mean_square, wide


def _blur(x: Tensor, window: int, sigma: float) -> Tensor:
    """Valid Gaussian filter of every channel of (n, c, h, w)."""
    from piq.functional import (
        gaussian_filter,
    )  # here, because it brings all of torchvision, which tracking does not need

    kernel = gaussian_filter(window, sigma, dtype=x.dtype).to(x)
    return F.conv2d(x, kernel.expand(x.shape[1], 1, window, window), groups=x.shape[1])


def dissimilarity(
    now: Tensor,
    later: Tensor,
    structure_only: bool = False,
    window: int = 11,
    sigma: float = 1.5,
    smooth: float = 0.0,
) -> Tensor:
    """How the frame changed: 1 - local SSIM, mean over colours. (n, 3, H, W) in [0, 1] -> (n, 1, H, W) in [0, 2].

    structure_only: the contrast-structure part alone, without luminance (the released code, which then blurs with
    `smooth` = 1.0). Wang et al. 2004, equation 13; paper section 3.2 (the target S).
    """
    shaped(now, "n c H W", "now")
    margin = window // 2 + (window // 2 if smooth else 0)
    if min(now.shape[-2:]) < window:
        raise ValueError(
            f"images of {tuple(now.shape[-2:])} pixels are smaller than the SSIM window of {window}"
        )
    x, y = (F.pad(i, [margin] * 4, mode="replicate") for i in (now, later))
    mx, my, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y], 1), window, sigma).chunk(5, 1)
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)
    if not structure_only:
        similar = similar * (2 * mx * my + c1) / (mx * mx + my * my + c1)
    change = 1 - similar.mean(1, keepdim=True)
    return _blur(change, window, smooth) if smooth else change


class Perceptual(nn.Module):
    """Mean squared differences in pixels and in the blocks of a frozen feature network (paper equation 1).

    network: `pixels` (none), `random` (seeded random convolutions, no download), or `vgg19` (ImageNet weights by torchvision,
    seeded random ones with a warning where they cannot be had). Each term is divided by a running average of the energy of
    its own target, a buffer that is saved with the model: a frame pair in which little moves cannot explode.
    printed: equation 1 to the letter, the sum over blocks of ||phi(S) - phi(S^)||_2, not squared, not normalized, mean over images.
    """

    def __init__(
        self,
        network: str = "random",
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
        """(n, 1 or 3, H, W) -> the maps themselves and the output of every block, in the number format that the blocks compute in."""
        x, out = maps.expand(-1, 3, -1, -1), [maps]
        for block in self.blocks:
            x = block(x)
            out.append(x)
        return out

    def scale(self, energy: list[Tensor]) -> Tensor:
        """What each term is divided by, given the energies of the targets' features; in training the averages move first."""
        energy = distributed.mean(torch.stack(energy))
        if self.training and not self.printed:
            self.energy.copy_(
                torch.where(
                    self.energy > 0, self.decay * self.energy + (1 - self.decay) * energy, energy
                )
            )
        return torch.where(self.energy > 0, self.energy, energy).clamp(min=1e-8)

    def distance(self, recon: Tensor, wanted: list[Tensor], scale: Tensor) -> Tensor:
        """The loss of reconstructions (n, 1, H, W) whose targets have the features `wanted`."""
        found = self.features(recon)
        if self.printed:
            return sum(
                (wide(g) - wide(w)).flatten(1).norm(dim=1).mean() for g, w in zip(found, wanted)
            )
        return torch.stack([mean_square(g, w) / s for g, w, s in zip(found, wanted, scale)]).mean()

    def forward(self, recon: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(target.detach())
            scale = self.scale([wide(w).square().mean() for w in wanted])
        return self.distance(recon, wanted, scale)


def _blocks(network: str, width: int) -> nn.ModuleList:
    if network == "pixels":
        return nn.ModuleList()
    if network == "random":
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
                nn.init.zeros_(layer.bias)
        return blocks
    if network not in ("vgg19", "vgg19-seeded"):
        raise ValueError(f"perceptual = {network!r}; expected pixels, random or vgg19")
    return _vgg19(network == "vgg19")


def _vgg19(known: bool) -> nn.ModuleList:
    """VGG-19 up to relu1_2, 2_2, 3_2, 4_2, 5_2: the last layer used is the last one kept. known: with ImageNet's weights, if they can be had."""
    import warnings

    import torchvision

    net = torchvision.models.vgg19(weights=None)
    try:
        if known:
            net.load_state_dict(
                torchvision.models.VGG19_Weights.DEFAULT.get_state_dict(
                    progress=True, check_hash=True
                )
            )
    except OSError as error:
        warnings.warn(
            f"ImageNet weights for VGG-19 could not be loaded ({error}); using random features, "
            "which make a weaker perceptual loss",
            stacklevel=2,
        )
    ends = [0, 4, 9, 14, 23, 32]
    return nn.ModuleList([nn.Sequential(*list(net.features[a:b])) for a, b in zip(ends, ends[1:])])


def steadiness(now: Tensor, later: Tensor, side: float) -> Tensor:
    """Mean squared change of the centred keypoints between two moments, in units of `side` (beyond the paper).

    (B, K, 3) each. An animal's shape changes little in a fraction of a second; keypoints that swap places change it a lot.
    With the volume turned differently at the two moments this asks that they are told apart by looks, not by compass.
    """
    shaped(now, "B K 3", "now"), shaped(later, "B K 3", "later")
    change = (later - later.mean(1, keepdim=True)) - (now - now.mean(1, keepdim=True))
    return (change / side).square().sum(-1).mean()


def reprojection(ndc: Tensor, votes: Tensor) -> Tensor:
    """Mean squared distance of what each view said alone, `votes`, to the point that all agreed on, `ndc`; (B, V, K, 2) each.

    The gradient moves the votes; the common point stands still (detached). The other way round, as the released history has
    it, little would move, and nothing where all cameras are equally far: triangulation has already put the common point where
    these distances are smallest. Points behind a camera have no place in its image and do not count.
    """
    shaped(ndc, "B V K 2", "ndc"), shaped(votes, "B V K 2", "votes")
    common = ndc.detach()
    ahead = (common.abs() < 100).all(-1)
    d2 = (votes - torch.where(ahead[..., None], common, votes.detach())).square().sum(-1)
    return d2.sum() / ahead.sum().clamp(min=1)


def equivariance(turned: list[Tensor], ndc: Tensor) -> Tensor:
    """Turn the image, and its keypoints turn with it (2D B-KinD): mean squared distance, the upright keypoints detached.

    turned: keypoints (B, V, K, 2) of the images after 1, 2, 3 quarter turns, as by `torch.rot90`; ndc: those of the images
    themselves. B-KinD compares Gaussian maps of the points instead, whose gradient ends where the two no longer touch.
    """
    wanted, total = ndc.detach(), ndc.new_zeros(())
    for found in turned:
        wanted = torch.stack(
            [wanted[..., 1], -wanted[..., 0]], -1
        )  # the image's right edge becomes its top
        total = total + (found - wanted).square().sum(-1).mean()
    return total / len(turned)


def agreement(votes: Tensor, side: float) -> Tensor:
    """Mean squared distance between two views' points for the same keypoint, in units of `side`; votes (B, V, K, 3), V >= 2.

    Over all pairs of views that is twice their unbiased variance.
    """
    shaped(votes, "B V K 3", "votes")
    if votes.shape[1] < 2:
        raise ValueError(
            "agreement: 1 view has nobody to agree with; give at least 2 views (views) or set agree = 0"
        )
    return 2 * (votes / side).var(1, unbiased=True).sum(-1).mean()


def separation(world: Tensor, sigma: float) -> Tensor:
    """Mean over pairs i != j of exp(-|U_i - U_j|^2 / (2 sigma^2)), paper equation 3. world (B, K, 2 or 3), sigma in the same unit."""
    shaped(world, "B K D", "world")
    K = world.shape[1]
    d2 = (world[:, :, None] - world[:, None]).square().sum(-1)
    near = (-d2 / (2 * sigma**2)).exp()
    return (near.sum((1, 2)) - K).mean() / (K * (K - 1))


def lengths(world: Tensor, pairs: Tensor) -> Tensor:
    """(B, K, 3), (E, 2) -> (B, E) distances; the gradient at zero length is zero."""
    return (world[:, pairs[:, 0]] - world[:, pairs[:, 1]]).square().sum(-1).clamp(min=1e-12).sqrt()


def cover(ndc: Tensor, moving: Tensor, hw: tuple[int, int] = (32, 32)) -> Tensor:
    """Squared distance of the foreground to its nearest keypoint: k-means on the silhouettes (beyond the paper).

    ndc (B, V, K, 2), moving (B, V, 1, H, W) -> scalar in units of the image's width, squared. Without it all keypoints may
    gather on the part that moves most; with it a tail far from every keypoint draws one.
    """
    shaped(ndc, "B V K 2", "ndc")
    mass = F.adaptive_avg_pool2d(moving.flatten(0, 1), hw).flatten(1)
    square = ndc.new_tensor([0.5, 0.5 * moving.shape[-2] / moving.shape[-1]])
    pixels = (cells(*hw, like=ndc) * square).flatten(0, 1)
    d2 = (pixels[:, None] - (ndc * square).flatten(0, 1)[:, None]).square().sum(-1).amin(-1)
    return ((d2 * mass).sum(-1) / mass.sum(-1).clamp(min=1e-6)).mean()


class EdgeLength(nn.Module):
    """Edges keep their length (paper equation 2): weighted mean of squared deviations from a running average per edge.

    The average is of the lengths of *all* edges, whatever their weight, in units of `side`, detached and saved with the model.
    printed: equation 2 to the letter, the sum over active edges of |l_avg - l|, not squared, every active edge alike.
    """

    def __init__(self, edges: int, side: float, decay: float = 0.99, printed: bool = False):
        super().__init__()
        self.side, self.decay, self.printed = side, decay, printed
        self.register_buffer("average", torch.zeros(edges))

    def forward(self, world: Tensor, pairs: Tensor, weights: Tensor) -> Tensor:
        """world (B, K, 3), pairs (E, 2), weights (E,) >= 0, not trained by this loss -> scalar, unit free; 0 if no edge is active."""
        now = lengths(world, pairs) / self.side
        if self.training:
            mean = distributed.mean(now.detach().mean(0))
            self.average.copy_(
                torch.where(
                    self.average > 0, self.decay * self.average + (1 - self.decay) * mean, mean
                )
            )
        if self.printed:
            return ((now - self.average).abs() * (weights > 0)).sum(-1).mean()
        share = weights.detach() / weights.detach().sum().clamp(min=1e-9)
        return ((now - self.average).square() * share).sum(-1).mean()
