"""Edges: the drawing that everything about the motion must pass through."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..clips.tracks import Skeleton
from ..shapes import cells, segment_distance2, shaped
from .pieces import at_a_time


def all_pairs(keypoints: int) -> Tensor:
    """Every pair i < j, row by row.

    Args:
        keypoints: K.

    Returns:
        (E, 2), E = K (K - 1) / 2.
    """
    return torch.tensor(list(combinations(range(keypoints), 2)))


# ---- maps ----------------------------------------------------------------------------------------
def edge_maps(ndc: Tensor, pairs: Tensor, hw: tuple[int, int], sigma: float) -> Tensor:
    """One map per edge, exp(-d^2 / sigma^2), d the distance to the segment.

    Paper section 3.2; its printed sign is a slip.

    Args:
        ndc: (..., K, 2) keypoints.
        pairs: (E, 2).
        hw: (h, w) of the maps.
        sigma: width of a line in half image widths, as d is, also on non-square images.

    Returns:
        (..., E, h, w).
    """
    shaped(ndc, "... K 2", "ndc")
    h, w = hw
    square = ndc.new_tensor([1.0, h / w])
    a, b = ((ndc * square)[..., pairs[:, i], None, None, :] for i in (0, 1))
    return (-segment_distance2(cells(h, w, like=ndc) * square, a, b) / sigma**2).exp()


def point_maps(ndc: Tensor, hw: tuple[int, int], sigma: float) -> Tensor:
    """One map per point, exp(-d^2 / sigma^2), d the distance to it.

    Args:
        ndc: (..., K, 2) keypoints.
        hw: (h, w) of the maps.
        sigma: width of a dot in half image widths, as d is.

    Returns:
        (..., K, h, w).
    """
    h, w = hw
    square = ndc.new_tensor([1.0, h / w])
    d2 = ((cells(h, w, like=ndc) - ndc[..., None, None, :]) * square).square().sum(-1)
    return (-d2 / sigma**2).exp()


def strongest(
    ndc: Tensor, pairs: Tensor, weights: Tensor, hw: tuple[int, int], sigma: float
) -> Tensor:
    """The strongest edge's map at every pixel, max_e weight_e exp(-d_e^2 / sigma^2).

    The same as `(weights[:, None, None] * edge_maps(...)).amax(-3)`. Only the strongest edge of a
    pixel has a gradient, so the search for it runs without a graph, in the log domain (no
    exponential per edge), and the graph holds one segment per pixel instead of all E.

    Args:
        ndc: (..., K, 2) keypoints.
        pairs: (E, 2).
        weights: (E,) >= 0.
        hw: (h, w) of the map.
        sigma: width of a line in half image widths.

    Returns:
        (..., h, w).
    """
    h, w = hw
    square = ndc.new_tensor([1.0, h / w])
    pixels, points = cells(h, w, like=ndc) * square, ndc * square
    log_weight = weights.clamp(min=1e-12).log()
    best = _strongest_index(points.detach(), pairs, log_weight.detach(), pixels, sigma)
    ends = [
        points.gather(-2, pairs[best, i].flatten(-2)[..., None].expand(*best.shape[:-2], h * w, 2))
        for i in (0, 1)
    ]
    d2 = segment_distance2(pixels.flatten(0, 1), *ends).unflatten(-1, (h, w))
    return (log_weight[best] - d2 / sigma**2).exp()


@torch.no_grad()
def _strongest_index(
    points: Tensor, pairs: Tensor, log_weight: Tensor, pixels: Tensor, sigma: float
) -> Tensor:
    """Which edge is strongest at each pixel, (..., h, w).

    The distances are products of matrices and few passes, in place: with u = b - a and
    q = (p - a) . u,  d^2 = |p - a|^2 - s (2 q - s |u|^2),  s = clamp(q / |u|^2, 0, 1).
    """
    a = points[..., pairs[:, 0], :]
    u = points[..., pairs[:, 1], :] - a
    a2, along = a.square().sum(-1, keepdim=True), (a * u).sum(-1, keepdim=True)
    u2 = u.square().sum(-1, keepdim=True).clamp(min=1e-12)
    flat, best = pixels.flatten(0, 1), []
    for p in flat.split(at_a_time(len(flat), a2.numel(), flat.device)):
        q = u @ p.T - along  # (..., E, p)
        d2 = (a @ p.T).mul_(-2).add_(a2)  # + |p|^2, the same for every edge
        s = (q / u2).clamp_(0, 1)
        d2.sub_(q.mul_(2).sub_(s * u2).mul_(s))
        best.append(d2.div_(-(sigma**2)).add_(log_weight[:, None]).argmax(-2))
    return torch.cat(best, -1).unflatten(-1, pixels.shape[:2])


# ---- bottlenecks ---------------------------------------------------------------------------------
class EdgeBottleneck(nn.Module):
    """Draws keypoints as a graph with one learned weight per pair: E = max_e weight_e E_e.

    The weights are shared over views and times.

    Attributes:
        drawings: maps per time.

    Args:
        keypoints: K.
        sigma: width of a line in half image widths, at least one map cell.
        activation: `relu` gives weight max(w, 0), an edge is active if w > 0 (the paper);
            `softplus` lets every edge draw a little, so that none is ever lost (the released code).
        start: mean of w at the start.
        noise: its deviation.
        seed: of its noise.

    Raises:
        ValueError: another activation.
    """

    pairs: Tensor
    drawings = 1

    def __init__(
        self,
        keypoints: int,
        sigma: float = 0.06,
        activation: str = "softplus",
        *,
        start: float = 0.0,
        noise: float = 0.5,
        seed: int = 0,
    ):
        super().__init__()
        if activation not in ("relu", "softplus"):
            raise ValueError(f"activation = {activation!r}; expected relu or softplus")
        pairs = all_pairs(keypoints)
        random = torch.randn(len(pairs), generator=torch.Generator().manual_seed(seed))
        self.w = nn.Parameter(start + noise * random)
        self.register_buffer("pairs", pairs, persistent=False)
        self.sigma, self.activation = sigma, activation

    @property
    def weights(self) -> Tensor:
        """(E,) non-negative drawing weights."""
        return F.relu(self.w) if self.activation == "relu" else F.softplus(self.w)

    def forward(self, ndc: Tensor, hw: tuple[int, int]) -> Tensor:
        """The drawing.

        Args:
            ndc: (B, V, K, 2).
            hw: (h, w) of the map.

        Returns:
            (B, V, 1, h, w).
        """
        shaped(ndc, "B V K 2", "ndc")
        return strongest(ndc, self.pairs, self.weights, hw, max(self.sigma, 2 / hw[1]))[:, :, None]


class PointBottleneck(nn.Module):
    """Draws every keypoint as a Gaussian dot on a page of its own: no edges, nothing to learn.

    The bottleneck of 2D B-KinD and of the "point" row of the paper's Table 4. Its `pairs` are all
    pairs and their `weights` zero: nothing joins two points, so no length is kept.

    Args:
        keypoints: K, and so many maps per time, `drawings`.
        sigma: width of a dot in half image widths, at least one map cell.
        sigmas: of each scale instead, from coarse to fine, the last one for all that are finer
            (2D B-KinD).
    """

    pairs: Tensor
    weights: Tensor

    def __init__(
        self, keypoints: int, sigma: float = 0.06, sigmas: tuple[float, ...] | None = None
    ):
        super().__init__()
        self.drawings, self.sigma, self.sigmas = keypoints, sigma, sigmas
        self.register_buffer("pairs", all_pairs(keypoints), persistent=False)
        self.register_buffer("weights", torch.zeros(len(self.pairs)), persistent=False)

    def forward(self, ndc: Tensor, hw: tuple[int, int]) -> Tensor:
        """The drawing.

        Args:
            ndc: (B, V, K, 2).
            hw: (h, w) of the maps.

        Returns:
            (B, V, K, h, w).
        """
        shaped(ndc, "B V K 2", "ndc")
        return point_maps(ndc, hw, max(self.sigma, 2 / hw[1]))


def drawn(
    bottleneck: EdgeBottleneck | PointBottleneck, ndc: Tensor, hws: list[tuple[int, int]]
) -> list[Tensor]:
    """The drawings of all scales.

    Args:
        bottleneck: draws them.
        ndc: (B, V, K, 2).
        hws: (h, w) of each scale, from coarse to fine.

    Returns:
        (B, V, 1, h, w) a scale; of points (B, V, K, h, w).
    """
    sigmas = getattr(bottleneck, "sigmas", None)
    if sigmas is None:
        return [bottleneck(ndc, hw) for hw in hws]
    widths = [*sigmas, *[sigmas[-1]] * len(hws)]
    return [point_maps(ndc, hw, max(width, 2 / hw[1])) for hw, width in zip(hws, widths)]


# ---- the skeleton to draw ------------------------------------------------------------------------
def strongest_edges(
    pairs: Tensor, weights: Tensor, keypoints: int, extra: float = 0.9, length: Tensor | None = None
) -> Skeleton:
    """A maximum spanning tree of the learned weights, and edges nearly as strong as the strongest.

    Every keypoint is in it, so nothing is hidden.

    Args:
        pairs: (E, 2).
        weights: (E,).
        keypoints: K.
        extra: edges above this share of the strongest are drawn beyond the tree.
        length: (E,) mean length of each edge; then the tree alone, of what is strong *and* short,
            weight / length, as a body's bones are; where no weight is left, what is short.

    Returns:
        The skeleton, of keypoints k0, k1, ...
    """
    if length is not None:
        # the tree alone: the very shortest pairs are no extra bones
        weights, extra = weights.clamp(min=1e-9) / length.clamp(min=1e-6), 2.0
    order = weights.argsort(descending=True).tolist()
    group = list(range(keypoints))
    edges: list[tuple[int, int]] = []
    for e in order:
        i, j = pairs[e].tolist()
        joins = group[i] != group[j]
        if joins:
            group = [group[i] if g == group[j] else g for g in group]
        if joins or weights[e] > extra * weights[order[0]]:
            edges.append((i, j))
    return Skeleton(tuple(f"k{i}" for i in range(keypoints)), tuple(sorted(edges)))
