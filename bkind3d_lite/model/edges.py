"""Edges: the drawing that everything about the motion must pass through."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..clips.tracks import Skeleton
from ..shapes import cells, segment_distance2, shaped

PIECE = 1 << 17  # distances that are worked on at a time, to stay in a CPU's second cache


def edge_maps(ndc: Tensor, pairs: Tensor, hw: tuple[int, int], sigma: float) -> Tensor:
    """One map per edge, exp(-d^2 / sigma^2), d the distance to the segment (paper section 3.2; its printed sign is a slip).

    ndc (..., K, 2), pairs (E, 2), hw (h, w) -> (..., E, h, w). Distances are in half image widths, also on non-square images.
    """
    shaped(ndc, "... K 2", "ndc")
    h, w = hw
    square = ndc.new_tensor([1.0, h / w])
    a, b = ((ndc * square)[..., pairs[:, i], None, None, :] for i in (0, 1))
    return (-segment_distance2(cells(h, w, like=ndc) * square, a, b) / sigma**2).exp()


def all_pairs(keypoints: int) -> Tensor:
    """(E, 2): every pair i < j, row by row; E = K (K - 1) / 2."""
    return torch.tensor(list(combinations(range(keypoints), 2)))


class EdgeBottleneck(nn.Module):
    """Draws keypoints as a graph with one learned weight per pair, shared over views and times: E = max_e weight_e E_e.

    active: `relu` gives weight max(w, 0), an edge is active if w > 0 (the paper); `softplus` lets every edge draw a little,
    so that none is ever lost (the released code). sigma: width of a line in half image widths, at least one map cell.
    """

    drawings = 1  # per time

    def __init__(
        self,
        keypoints: int,
        sigma: float = 0.06,
        active: str = "softplus",
        start: float = 0.0,
        noise: float = 0.5,
        seed: int = 0,
    ):
        super().__init__()
        if active not in ("relu", "softplus"):
            raise ValueError(f"active = {active!r}; expected relu or softplus")
        pairs = all_pairs(keypoints)
        random = torch.randn(len(pairs), generator=torch.Generator().manual_seed(seed))
        self.w = nn.Parameter(start + noise * random)
        self.register_buffer("pairs", pairs, persistent=False)
        self.sigma, self.active = sigma, active

    @property
    def weights(self) -> Tensor:
        """(E,) non-negative drawing weights."""
        return F.relu(self.w) if self.active == "relu" else F.softplus(self.w)

    def forward(self, ndc: Tensor, hw: tuple[int, int]) -> Tensor:
        """(B, V, K, 2) -> (B, V, 1, h, w)."""
        shaped(ndc, "B V K 2", "ndc")
        return strongest(ndc, self.pairs, self.weights, hw, max(self.sigma, 2 / hw[1]))[:, :, None]


class PointBottleneck(nn.Module):
    """Draws every keypoint as a Gaussian dot on a page of its own, exp(-d^2 / sigma^2): no edges, nothing to learn.

    The bottleneck of 2D B-KinD and of the "point" row of the paper's Table 4. sigma as in `EdgeBottleneck`. Its `pairs` are all
    pairs and their `weights` zero: nothing joins two points, so no length is kept.
    """

    def __init__(self, keypoints: int, sigma: float = 0.06):
        super().__init__()
        self.drawings, self.sigma = keypoints, sigma
        self.register_buffer("pairs", all_pairs(keypoints), persistent=False)
        self.register_buffer("weights", torch.zeros(len(self.pairs)), persistent=False)

    def forward(self, ndc: Tensor, hw: tuple[int, int]) -> Tensor:
        """(B, V, K, 2) -> (B, V, K, h, w)."""
        shaped(ndc, "B V K 2", "ndc")
        return point_maps(ndc, hw, max(self.sigma, 2 / hw[1]))


def point_maps(ndc: Tensor, hw: tuple[int, int], sigma: float) -> Tensor:
    """One map per point, exp(-d^2 / sigma^2), (..., K, 2) -> (..., K, h, w); distances in half image widths."""
    h, w = hw
    square = ndc.new_tensor([1.0, h / w])
    return (
        -((cells(h, w, like=ndc) - ndc[..., None, None, :]) * square).square().sum(-1) / sigma**2
    ).exp()


def strongest(
    ndc: Tensor, pairs: Tensor, weights: Tensor, hw: tuple[int, int], sigma: float
) -> Tensor:
    """max over edges of weight_e exp(-d_e^2 / sigma^2), (..., K, 2) -> (..., h, w), as `(weights * edge_maps(...)).amax(-3)`.

    Only the strongest edge of a pixel has a gradient, so the search for it runs without a graph, in the log domain (no
    exponential per edge), and the graph holds one segment per pixel instead of all E.
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
    """Which edge is strongest at each pixel, (..., h, w). The distances are products of matrices and few passes, in place:
    with u = b - a and q = (p - a) . u,  d^2 = |p - a|^2 - s (2 q - s |u|^2),  s = clamp(q / |u|^2, 0, 1).
    """
    a = points[..., pairs[:, 0], :]
    u = points[..., pairs[:, 1], :] - a
    a2, along, u2 = (
        a.square().sum(-1, keepdim=True),
        (a * u).sum(-1, keepdim=True),
        u.square().sum(-1, keepdim=True).clamp(min=1e-12),
    )
    flat, found = pixels.flatten(0, 1), []
    for p in flat.split(max(1, PIECE // a2.numel()) if flat.device.type == "cpu" else len(flat)):
        q = u @ p.T - along  # (..., E, p)
        d2 = (a @ p.T).mul_(-2).add_(a2)  # + |p|^2, the same for every edge
        s = (q / u2).clamp_(0, 1)
        d2.sub_(q.mul_(2).sub_(s * u2).mul_(s))
        found.append(d2.div_(-(sigma**2)).add_(log_weight[:, None]).argmax(-2))
    return torch.cat(found, -1).unflatten(-1, pixels.shape[:2])


def strongest_edges(
    pairs: Tensor, weights: Tensor, keypoints: int, extra: float = 0.9, length: Tensor | None = None
) -> Skeleton:
    """The skeleton to draw: a maximum spanning tree of the learned weights, and edges above `extra` x the strongest.

    pairs (E, 2), weights (E,). Every keypoint is in it, so nothing is hidden. length (E,): mean length of each edge; then
    the tree prefers what is strong *and* short, weight / length, as a body's bones are; where no weight is left, what is short.
    """
    if length is not None:
        weights, extra = (
            weights.clamp(min=1e-9) / length.clamp(min=1e-6),
            2.0,
        )  # the tree alone: the very shortest pairs are no extra bones
    order = weights.argsort(descending=True).tolist()
    group = list(range(keypoints))
    kept: list[tuple[int, int]] = []
    for e in order:
        i, j = pairs[e].tolist()
        joins = group[i] != group[j]
        if joins:
            group = [group[i] if g == group[j] else g for g in group]
        if joins or weights[e] > extra * weights[order[0]]:
            kept.append((i, j))
    return Skeleton(tuple(f"k{i}" for i in range(keypoints)), tuple(sorted(kept)))
