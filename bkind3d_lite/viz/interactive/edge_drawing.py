"""How can a drawing be a bottleneck?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image
from torch import Tensor

from ...model.edges import strongest
from ...shapes import shaped
from ..model_images import heat
from ..overlays import mosaic
from ..scenes import picture


def drawing(
    ndc: Tensor,
    pairs: Tensor,
    weights: Tensor,
    names: Sequence[str] = (),
    hw: tuple[int, int] = (64, 64),
    columns: int | None = None,
) -> Callable[..., go.Figure]:
    """How can a drawing be a bottleneck?

    Args:
        ndc: (V, K, 2) projected keypoints.
        pairs: (E, 2) which of them an edge joins.
        weights: (E,) of the edges.
        names: of the keypoints (default: their numbers).
        hw: height and width of a map.
        columns: of the grid of views (default: as `mosaic`).

    Returns:
        draw(sigma, keep, edge, weight): the edge map of every view, max over edges. sigma: width in
        half image widths; keep: so many of the strongest edges; edge and weight: give the edge of
        this rank (0: the strongest) another weight.
    """
    shaped(ndc, "V K 2", "ndc")
    order, most = weights.detach().argsort(descending=True), float(weights.detach().max())
    wh = (4 * hw[1], 4 * hw[0])

    def draw(
        sigma: float = 0.06, keep: int | None = None, edge: int | None = None, weight: float = 1.0
    ) -> go.Figure:
        own, note = weights.detach().clone(), ""
        if edge is not None:
            own[order[edge]] = weight
            i, j = (names[k] if names else k for k in pairs[order[edge]].tolist())
            note = f"; edge {i} - {j} at {weight:.2f}"
        drawn = order[: len(order) if keep is None else keep]
        maps = torch.zeros(len(ndc), *hw)
        if len(drawn):
            maps = strongest(ndc, pairs[drawn], own[drawn], hw, max(sigma, 2 / hw[1]))
        tiles = heat(maps, max(most, weight if edge is not None else 0.0), "inferno")
        sheet = mosaic([_resized(tile, wh) for tile in tiles], columns)
        return picture(sheet, f"{len(drawn)} of {len(order)} edges, sigma {sigma:.3f}{note}")

    return draw


def _resized(image: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(wh, Image.Resampling.BICUBIC))
