"""Losses: tensors in, one scalar out. What the drawing must explain, and what keeps it honest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import distributed
from ..shapes import cells, shaped
from .perceptual import moved


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


def cover(
    ndc: Tensor, moving: Tensor, hw: tuple[int, int] = (32, 32), sure: bool = False
) -> Tensor:
    """Squared distance of the foreground to its nearest keypoint (beyond the paper).

    K-means on the silhouettes. Without it all keypoints may gather on the part that moves most;
    with it a tail far from every keypoint draws one.

    Args:
        ndc: (B, V, K, 2).
        moving: (B, V, 1, H, W) foreground.
        hw: (h, w) to which it is reduced.
        sure: what is less than half foreground does not count: an animal's image in a shiny floor
            is as large as the animal, and goes along with it in every view.

    Returns:
        A scalar, in units of the image's width, squared.
    """
    shaped(ndc, "B V K 2", "ndc")
    counted = (2 * moving - 1).clamp(min=0) if sure else moving
    mass = F.adaptive_avg_pool2d(counted.flatten(0, 1), hw).flatten(1)
    square = ndc.new_tensor([0.5, 0.5 * moving.shape[-2] / moving.shape[-1]])
    pixels = (cells(*hw, like=ndc) * square).flatten(0, 1)
    d2 = (pixels[:, None] - (ndc * square).flatten(0, 1)[:, None]).square().sum(-1).amin(-1)
    return ((d2 * mass).sum(-1) / mass.sum(-1).clamp(min=1e-6)).mean()


class BodyCover(nn.Module):
    """Squared distance of the visual hull to its nearest keypoint, all places alike.

    Beyond the paper: `cover` in space, in the frame of the volume, which is the animal's. A voxel
    of the hull counts by 1 / (how often it is full + `floor`), or a trunk, which is always there,
    would outweigh an arm that is seldom raised. How often is a running average, saved with the
    model.

    Args:
        voxels: P, of the cube about the animal.
        decay: of the running average.
        floor: share of the time below which one place counts as seldom full as another.
    """

    usual: Tensor
    seen: Tensor

    def __init__(self, voxels: int, *, decay: float = 0.995, floor: float = 0.2):
        super().__init__()
        self.decay, self.floor = decay, floor
        self.register_buffer("usual", torch.zeros(voxels))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, world: Tensor, points: Tensor, full: Tensor) -> Tensor:
        """The loss.

        Args:
            world: (B, K, 3) keypoints, in any unit.
            points: (B, P, 3) centres of the voxels, in the same.
            full: (B, P) in [0, 1], which of them the animal fills.

        Returns:
            A scalar, in that unit squared.
        """
        if self.training:
            mean = distributed.mean(full.detach().mean(0))
            self.usual.lerp_(mean, 1 - self.decay)
            self.seen.lerp_(torch.ones_like(self.seen), 1 - self.decay)
        often = self.usual / self.seen.clamp(min=1e-6)
        mass = full / (often + self.floor)
        d2 = torch.cdist(points, world).square().amin(-1)
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
            self.average.copy_(moved(self.average, mean, self.decay))
        if self.printed:
            return ((now - self.average).abs() * (weights > 0)).sum(-1).mean()
        share = weights.detach() / weights.detach().sum().clamp(min=1e-9)
        return ((now - self.average).square() * share).sum(-1).mean()


# ---- from labels ---------------------------------------------------------------------------------
def taught_pose(said: Tensor, labels: Tensor, beta: float, axes: int = 3) -> Tensor:
    """Smooth L1 between a pose and its labels, each weighted as far as it is trusted.

    The mean is over all joints, labelled or not, so that ranks weigh their pictures alike.

    Args:
        said: (B, V, J, 3) ndc x, y, depth in half sides.
        labels: (B, V, J, 4), the same and the weight.
        beta: distance below which the loss is quadratic.
        axes: how many of the three count.

    Returns:
        A scalar.
    """
    off = F.smooth_l1_loss(said, labels[..., :3], reduction="none", beta=beta)
    return (off * labels[..., 3:])[..., :axes].mean()
