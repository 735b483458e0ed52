"""Model images: what a network sees and draws, as pictures; and the edges that it relies on."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

from ..model.discoverer import Discoverer
from ..model.edges import strongest_edges
from ..model.lifts import Keypoints
from ..model.losses import lengths
from .overlays import mosaic


def heat(values: Tensor, most: float | None = None, colours: str = "magma") -> np.ndarray:
    """Maps as pictures, from 0 to `most`.

    Args:
        values: (..., h, w).
        most: value of the brightest colour (default: the maximum).
        colours: a matplotlib colour map.

    Returns:
        (..., h, w, 3) uint8, RGB.
    """
    values = values.detach().float().cpu()
    top = max(float(values.max()) if most is None else most, 1e-9)
    shades = colormaps[colours]((values / top).clamp(0, 1).numpy())[..., :3]
    return (shades * 255).round().astype(np.uint8)


def heat_images(maps: Tensor) -> Tensor:
    """Heatmaps as images for `rig_traces`.

    Args:
        maps: (V, h, w).

    Returns:
        (V, h, w, 3) uint8.
    """
    return torch.from_numpy(heat(maps))


def channel_sheet(maps: Tensor, columns: int = 8, width: int = 96) -> np.ndarray:
    """Channels side by side, each from its own least to its own most.

    Args:
        maps: (C, h, w).
        columns: of the sheet.
        width: of a channel in pixels, about; small maps keep their cells visible.

    Returns:
        One RGB image.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    grow = max(1, width // maps.shape[-1])
    tiles = heat((maps - low) / (high - low + 1e-6), 1.0)
    return mosaic([tile.repeat(grow, 0).repeat(grow, 1) for tile in tiles], columns)


def flattened(maps: Tensor) -> np.ndarray:
    """What a model explains or draws, as pictures.

    Args:
        maps: (V, C, h, w) in [0, 1]; three channels are colours, of others the largest counts.

    Returns:
        (V, h, w, 3) uint8, RGB.
    """
    if maps.shape[1] == 3:
        return (maps.detach().cpu().clamp(0, 1).movedim(1, -1) * 255).round().byte().numpy()
    return heat(maps.amax(1))


def learned_edges(model: Discoverer, keypoints: Keypoints) -> tuple[tuple[int, int], ...]:
    """The edges to draw: a tree over all keypoints, of edges that are strong and short.

    Args:
        model: whose edges' weights are learned.
        keypoints: what it says of a batch; lengths are means over it.

    Returns:
        Pairs of keypoints.
    """
    pairs, weights = model.edges.pairs.cpu(), model.edges.weights.detach().cpu()
    world = keypoints.world
    typical = None if world is None else lengths(world.detach().cpu(), pairs).mean(0)
    return strongest_edges(pairs, weights, keypoints.ndc.shape[2], length=typical).edges
