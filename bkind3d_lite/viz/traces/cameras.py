"""Cameras in space: frusta, the pictures on them, and lines of sight."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.nn import functional as F

from ...cameras import CameraRig
from ...shapes import shaped
from ..colours import GREY, palette
from .points import moving, outline

# apex, then the image's corners around it
FRUSTUM = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))


def rig_traces(
    rig: CameraRig,
    depth: float | None = None,
    images: Tensor | None = None,
    colour: str = GREY,
    name: str = "cameras",
) -> list:
    """Frusta of the cameras, with their names.

    Args:
        rig: V cameras.
        depth: of a frustum, world units (default: 12 % of the rig's radius, 28 % with images).
        images: (V, H, W, 3) uint8, put on the far side of each frustum, coarsely.
        colour: as #rrggbb.
        name: in the legend.

    Returns:
        Traces: all frusta, all names, and a picture per image.
    """
    if depth is None:
        depth = (0.12 if images is None else 0.28) * rig_radius(rig) or 1.0
    centres = rig.centres
    corners = _at_depth(rig, torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]), depth)
    points = torch.cat([centres[:, None], corners], 1).flatten(0, 1)
    edges = [(5 * v + i, 5 * v + j) for v in range(rig.views) for i, j in FRUSTUM]
    frusta = outline(points, edges, name, colour, legendgroup=name)
    labels = go.Scatter3d(
        **moving(centres, range(rig.views)),
        mode="text",
        text=list(rig.names),
        textposition="top center",
        textfont=dict(color=colour),
        hoverinfo="text",
        name=f"names of {name}",
        legendgroup=name,
        showlegend=False,
    )
    shown = [] if images is None else list(images)
    return [frusta, labels, *(_picture(rig, v, image, depth) for v, image in enumerate(shown))]


def rig_radius(rig: CameraRig) -> float:
    """Mean distance of the cameras from their middle.

    Args:
        rig: the cameras.

    Returns:
        World units.
    """
    return float((rig.centres - rig.centres.mean(0)).norm(dim=-1).mean())


def _at_depth(rig: CameraRig, ndc: Tensor, depth: float) -> Tensor:
    """World points (V, P, 3) seen at `ndc` (P, 2) in every view, `depth` in front of the camera."""
    flat = rig.flat_from_px(rig.px_from_ndc(ndc.expand(rig.views, -1, -1)))
    ahead = torch.cat([flat, torch.ones_like(flat[..., :1])], -1)
    return depth * ahead @ rig.R + rig.centres[:, None]


def _picture(rig: CameraRig, view: int, image: Tensor, depth: float, across: int = 48) -> go.Mesh3d:
    h, w = max(2, round(across * rig.wh[1] / rig.wh[0])), across
    # up to the image's rim
    at = torch.cartesian_prod(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w)).flip(-1)
    x, y, z = _at_depth(rig, at, 0.998 * depth)[view].T.numpy().round(4)
    i, j, k = _triangles(h, w)
    return go.Mesh3d(
        **dict(x=x, y=y, z=z, i=i, j=j, k=k),
        vertexcolor=_coarse_colours(image, (h, w)),
        hoverinfo="skip",
        lighting=dict(ambient=1, diffuse=0, specular=0),
        name=rig.names[view],
        legendgroup="cameras",
        showlegend=False,
    )


def _coarse_colours(image: Tensor, hw: tuple[int, int]) -> list[str]:
    """An image (H, W, 3) averaged down to h w colours, row by row."""
    small = F.interpolate(torch.as_tensor(image).movedim(-1, 0)[None].float(), hw, mode="area")[0]
    return ["#" + bytes(c).hex() for c in small.flatten(1).T.round().byte().numpy()]


def _triangles(h: int, w: int) -> np.ndarray:
    """Two triangles for each cell of h x w points: (3, 2 (h - 1) (w - 1)) numbers of points."""
    first = (torch.arange(h - 1)[:, None] * w + torch.arange(w - 1)).flatten()
    upper = torch.stack([first, first + 1, first + w])
    lower = torch.stack([first + 1, first + w + 1, first + w])
    return torch.cat([upper, lower], 1).int().numpy()


def rays(rig: CameraRig, px: Tensor, length: float | None = None) -> list[go.Scatter3d]:
    """Lines of sight of pixels, a colour per camera.

    Args:
        rig: V cameras.
        px: (V, P, 2) pixels.
        length: of a line, world units (default: past the rig's middle by 30 %).

    Returns:
        A trace per camera.
    """
    origin, along = rig.ray_from_px(shaped(px, "V P 2", "px"))
    length = 1.3 * rig_radius(rig) if length is None else length
    ends = torch.stack([origin.expand_as(along), origin + length * along], 2)  # (V, P, 2, 3)
    pairs = [(2 * p, 2 * p + 1) for p in range(px.shape[1])]
    return [
        outline(e, pairs, "lines of sight", colour, legendgroup="rays", showlegend=v == 0)
        for v, (e, colour) in enumerate(zip(ends.flatten(1, 2), palette(rig.views)))
    ]
