"""Moving light: a spot that goes with the animal brightens the floor, and is not the animal.

A shadow darkens; light that follows the animal, or that a shiny floor throws back, brightens. The
ratio of image and background tells them from the animal as Horn told illumination from paint
("Determining lightness from an image", 1974): light comes and goes smoothly over the image and
covers a patch, an animal begins at an edge, and a bright tail is narrow.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ..sliding import box_mean, largest, smallest

EDGE = 6.0  # change of log(image / background) over an image's longer side; a slower one is light
NARROW = 14  # a patch narrower than this share of the longer side is no light


def lit(shade: Tensor) -> Tensor:
    """Where brightening is light and not the animal, softly.

    Args:
        shade: (n, H, W) image / background, 1 where nothing changed.

    Returns:
        (n, H, W) in [0, 1].
    """
    k = max(shade.shape[-2:]) // NARROW // 2 * 2 + 1
    if k < 3:  # in so small an image nothing is broad
        return torch.zeros_like(shade)
    brighter = shade.clamp(0.2, 5.0).log()
    blurred = box_mean(brighter, 3)
    steep = _with_edges_alone(blurred)
    above = brighter.clamp(min=0)
    broad = largest(smallest(above, k), k)
    share = torch.minimum(broad, blurred - steep).clamp(min=0) / above.clamp(min=0.02)
    return ((share - 0.4) / 0.3).clamp(0, 1) * ((0.25 - steep) / 0.15).clamp(0, 1)


def _with_edges_alone(x: Tensor) -> Tensor:
    """(n, H, W) put together again from its steep changes: the Poisson equation, by cosines."""
    H, W = x.shape[-2:]
    least = EDGE / max(H, W)

    def steep(change: Tensor) -> Tensor:
        return change * ((change.abs() - least) / least).clamp(0, 1)

    across, down = steep(x.diff(dim=-1)), steep(x.diff(dim=-2))
    bend = F.pad(across, (1, 0)) - F.pad(across, (0, 1))
    bend = bend + F.pad(down, (0, 0, 1, 0)) - F.pad(down, (0, 0, 0, 1))
    (rows, slow), (columns, fast) = _cosines(H), _cosines(W)
    rows, columns = rows.to(x), columns.to(x)
    weight = (slow[:, None] + fast).to(x)
    weight[0, 0] = 1.0
    again = rows.T @ ((rows @ bend @ columns.T) / weight) @ columns
    return again - again.flatten(-2).quantile(0.25, -1)[:, None, None]  # the floor around it


@cache
def _cosines(n: int) -> tuple[Tensor, Tensor]:
    """Orthonormal DCT-II (n, n), and each row's eigenvalue under the second difference."""
    k = torch.arange(n)
    basis = torch.cos(math.pi * k[:, None] * (k + 0.5) / n) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis, 2 - 2 * torch.cos(math.pi * k / n)


def parting(values: Tensor) -> float:
    """The threshold that parts values into two groups best (Otsu, 1979).

    Args:
        values: (n,) in [0, 1].

    Returns:
        The threshold in the same unit.
    """
    count = torch.histc(values, 64, 0, 1)
    below, middle = count.cumsum(0), (torch.arange(64) + 0.5) / 64
    mass = (count * middle).cumsum(0)
    above = below[-1] - below
    apart = mass / below.clamp(min=1) - (mass[-1] - mass) / above.clamp(min=1)
    return float(middle[(below * above * apart.square()).argmax()])
