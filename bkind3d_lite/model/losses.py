"""Losses: tensors in, one scalar out. What the drawing must explain, and what keeps it honest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import distributed
from ..shapes import cells, shaped
from .compute import Compute
from .cpu_kernels import mean_square, wide


def _blur(x: Tensor, window: int, sigma: float) -> Tensor:
    """Valid Gaussian filter of every channel of (n, c, h, w)."""
    # here, because it brings all of torchvision, which tracking does not need
    from piq.functional import gaussian_filter

    kernel = gaussian_filter(window, sigma, dtype=x.dtype).to(x)
    return F.conv2d(x, kernel.expand(x.shape[1], 1, window, window), groups=x.shape[1])


def dissimilarity(
    now: Tensor,
    later: Tensor,
    structure_only: bool = False,
    *,
    window: int = 11,
    sigma: float = 1.5,
    smooth: float = 0.0,
) -> Tensor:
    """How the frame changed: 1 - local SSIM, mean over colours.

    Wang et al. 2004, equation 13; paper section 3.2 (the target S).

    Args:
        now: (n, 3, H, W) in [0, 1].
        later: (n, 3, H, W) in [0, 1].
        structure_only: the contrast-structure part alone, without luminance (the released code,
            which then blurs with `smooth` = 1.0).
        window: width of the local window, pixels.
        sigma: of the Gaussian in it, pixels.
        smooth: sigma of a blur of the result, pixels; 0: none.

    Returns:
        (n, 1, H, W) in [0, 2].

    Raises:
        ValueError: images smaller than the window.
    """
    shaped(now, "n c H W", "now")
    margin = window // 2 + (window // 2 if smooth else 0)
    if min(now.shape[-2:]) < window:
        hw = tuple(now.shape[-2:])
        raise ValueError(f"images of {hw} pixels are smaller than the SSIM window of {window}")
    x, y = (F.pad(i, [margin] * 4, mode="replicate") for i in (now, later))
    mx, my, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y], 1), window, sigma).chunk(5, 1)
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)
    if not structure_only:
        similar = similar * (2 * mx * my + c1) / (mx * mx + my * my + c1)
    change = 1 - similar.mean(1, keepdim=True)
    return _blur(change, window, smooth) if smooth else change


def _moved(average: Tensor, new: Tensor, decay: float) -> Tensor:
    """A running average, which begins with the first value."""
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
            self.energy.copy_(_moved(self.energy, now, self.decay))
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
            nn.init.zeros_(layer.bias)
    return blocks


def _vgg19(known: bool) -> nn.ModuleList:
    """VGG-19 up to relu1_2, 2_2, 3_2, 4_2, 5_2: the last layer used is the last one kept.

    known: with ImageNet's weights, if they can be had.
    """
    import warnings

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


# ---- on keypoints --------------------------------------------------------------------------------
def steadiness(now: Tensor, later: Tensor, side: float) -> Tensor:
    """Mean squared change of the centred keypoints between two moments (beyond the paper).

    An animal's shape changes little in a fraction of a second; keypoints that swap places change it
    a lot. With the volume turned differently at the two moments this asks that they are told apart
    by looks, not by compass.

    Args:
        now: (B, K, 3).
        later: (B, K, 3).
        side: unit of the change, in world units.

    Returns:
        A scalar.
    """
    shaped(now, "B K 3", "now")
    shaped(later, "B K 3", "later")
    change = (later - later.mean(1, keepdim=True)) - (now - now.mean(1, keepdim=True))
    return (change / side).square().sum(-1).mean()


def reprojection(ndc: Tensor, votes: Tensor) -> Tensor:
    """Mean squared distance of what each view said alone to the point that all agreed on.

    The gradient moves the votes; the common point stands still (detached). The other way round, as
    the released history has it, little would move, and nothing where all cameras are equally far:
    triangulation has already put the common point where these distances are smallest. Points behind
    a camera have no place in its image and do not count.

    Args:
        ndc: (B, V, K, 2) the common points, projected.
        votes: (B, V, K, 2) of the views.

    Returns:
        A scalar.
    """
    shaped(ndc, "B V K 2", "ndc")
    shaped(votes, "B V K 2", "votes")
    common = ndc.detach()
    ahead = (common.abs() < 100).all(-1)
    d2 = (votes - torch.where(ahead[..., None], common, votes.detach())).square().sum(-1)
    return d2.sum() / ahead.sum().clamp(min=1)


def equivariance(turned: list[Tensor], ndc: Tensor) -> Tensor:
    """Turn the image, and its keypoints turn with it (2D B-KinD): mean squared distance.

    The upright keypoints are detached. B-KinD compares Gaussian maps of the points instead, whose
    gradient ends where the two no longer touch.

    Args:
        turned: keypoints (B, V, K, 2) of the images after 1, 2, 3 quarter turns, as by
            `torch.rot90`.
        ndc: (B, V, K, 2) those of the images themselves.

    Returns:
        A scalar.
    """
    wanted, total = ndc.detach(), ndc.new_zeros(())
    for ours in turned:
        wanted = torch.stack(
            [wanted[..., 1], -wanted[..., 0]], -1
        )  # the right edge becomes the top
        total = total + (ours - wanted).square().sum(-1).mean()
    return total / len(turned)


def agreement(votes: Tensor, side: float) -> Tensor:
    """Mean squared distance between two views' points for the same keypoint.

    Over all pairs of views that is twice their unbiased variance.

    Args:
        votes: (B, V, K, 3), V >= 2.
        side: unit of the distance, in world units.

    Returns:
        A scalar.

    Raises:
        ValueError: one view alone.
    """
    shaped(votes, "B V K 3", "votes")
    if votes.shape[1] < 2:
        raise ValueError(
            "agreement: 1 view has nobody to agree with; give at least 2 views (views) or set "
            "agree = 0"
        )
    return 2 * (votes / side).var(1, unbiased=True).sum(-1).mean()


def separation(world: Tensor, sigma: float) -> Tensor:
    """Mean over pairs i != j of exp(-|U_i - U_j|^2 / (2 sigma^2)), paper equation 3.

    Args:
        world: (B, K, 2 or 3).
        sigma: in the same unit.

    Returns:
        A scalar in [0, 1].
    """
    shaped(world, "B K D", "world")
    K = world.shape[1]
    d2 = (world[:, :, None] - world[:, None]).square().sum(-1)
    near = (-d2 / (2 * sigma**2)).exp()
    return (near.sum((1, 2)) - K).mean() / (K * (K - 1))


def cover(ndc: Tensor, moving: Tensor, hw: tuple[int, int] = (32, 32)) -> Tensor:
    """Squared distance of the foreground to its nearest keypoint (beyond the paper).

    K-means on the silhouettes. Without it all keypoints may gather on the part that moves most;
    with it a tail far from every keypoint draws one.

    Args:
        ndc: (B, V, K, 2).
        moving: (B, V, 1, H, W) foreground.
        hw: (h, w) to which it is reduced.

    Returns:
        A scalar, in units of the image's width, squared.
    """
    shaped(ndc, "B V K 2", "ndc")
    mass = F.adaptive_avg_pool2d(moving.flatten(0, 1), hw).flatten(1)
    square = ndc.new_tensor([0.5, 0.5 * moving.shape[-2] / moving.shape[-1]])
    pixels = (cells(*hw, like=ndc) * square).flatten(0, 1)
    d2 = (pixels[:, None] - (ndc * square).flatten(0, 1)[:, None]).square().sum(-1).amin(-1)
    return ((d2 * mass).sum(-1) / mass.sum(-1).clamp(min=1e-6)).mean()


# ---- on edges ------------------------------------------------------------------------------------
def lengths(world: Tensor, pairs: Tensor) -> Tensor:
    """Lengths of edges; the gradient at zero length is zero.

    Args:
        world: (B, K, 3).
        pairs: (E, 2).

    Returns:
        (B, E), in the unit of `world`.
    """
    return (world[:, pairs[:, 0]] - world[:, pairs[:, 1]]).square().sum(-1).clamp(min=1e-12).sqrt()


class EdgeLength(nn.Module):
    """Edges keep their length (paper equation 2): weighted mean squared deviation from averages.

    The running averages are of the lengths of *all* edges, whatever their weight, in units of
    `side`, detached and saved with the model.

    Args:
        edges: E.
        side: unit of lengths, in world units.
        decay: of the running averages.
        printed: equation 2 to the letter, the sum over active edges of |l_avg - l|, not squared,
            every active edge alike.
    """

    average: Tensor

    def __init__(self, edges: int, side: float, *, decay: float = 0.99, printed: bool = False):
        super().__init__()
        self.side, self.decay, self.printed = side, decay, printed
        self.register_buffer("average", torch.zeros(edges))

    def forward(self, world: Tensor, pairs: Tensor, weights: Tensor) -> Tensor:
        """The loss.

        Args:
            world: (B, K, 3).
            pairs: (E, 2).
            weights: (E,) >= 0, not trained by this loss.

        Returns:
            A scalar without unit; 0 if no edge is active.
        """
        now = lengths(world, pairs) / self.side
        if self.training:
            mean = distributed.mean(now.detach().mean(0))
            self.average.copy_(_moved(self.average, mean, self.decay))
        if self.printed:
            return ((now - self.average).abs() * (weights > 0)).sum(-1).mean()
        share = weights.detach() / weights.detach().sum().clamp(min=1e-9)
        return ((now - self.average).square() * share).sum(-1).mean()
