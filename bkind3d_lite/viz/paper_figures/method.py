"""The method on a real batch, from frames to reconstruction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from mpl_toolkits.mplot3d import Axes3D
from torch import Tensor

from ...clips.clip import Batch
from ...model.discoverer import Discoverer, Discovery
from ...model.lifts import Keypoints, Volumetric
from ...model.objective import Objective
from ..colours import palette
from ..model_images import flattened, heat, learned_edges
from ..plots import pose
from .style import DARK, DOUBLE, PAPER_STYLE, bare


@dataclass(frozen=True)
class _Stage:
    """One column: pictures (V, h, w, 3) of its views, or None for a look into space."""

    title: str
    images: np.ndarray | None
    verb: str = ""  # at the arrow that leads to it

    @property
    def width(self) -> float:
        return 1.6 if self.images is None else 1


@torch.no_grad()
def overview(
    model: Discoverer, objective: Objective, batch: Batch, views: int = 3, unit: str = "mm"
) -> Figure:
    """The method on a real batch (its first sample), left to right.

    Frames, maps, volume, keypoints, drawing, reconstruction, target.

    Args:
        model: trained.
        objective: it knows the target.
        batch: the sample to show.
        views: how many of them are shown.
        unit: of the world.

    Returns:
        The figure, two columns wide.
    """
    out = model(batch)
    stages = _stages(model, objective, batch, out, views)
    with plt.rc_context(PAPER_STYLE):
        figure = plt.figure(figsize=(DOUBLE, 2.35))
        left, gap = 0.005, 0.030
        free = 1 - 2 * left - gap * (len(stages) - 2) - 0.004
        unit_width = free / sum(stage.width for stage in stages)
        for n, stage in enumerate(stages):
            wide = unit_width * stage.width
            if stage.images is None:
                ax = figure.add_axes((left - 0.008, 0.06, wide + 0.016, 0.82), projection="3d")
                note = _look_inside(ax, model, batch, out.now, stage.title == "volume", unit)
                figure.text(left + wide / 2, 0.06, note, ha="center", va="bottom", fontsize=6)
            else:
                _stack(figure, stage.images, left, wide)
            figure.text(left + wide / 2, 0.985, stage.title, ha="center", va="top")
            if stage.verb:
                _arrow(figure, left - gap + 0.002, left - 0.002, stage.verb)
            left += wide + (0.004 if n == 0 else gap)
    return figure


def _stages(
    model: Discoverer, objective: Objective, batch: Batch, out: Discovery, views: int
) -> list[_Stage]:
    assert batch.later is not None, "a pair of moments"
    maps = model.encoded(batch.now[:1])[1][0, :views].amax(1)
    maps = maps - maps.amin((1, 2), keepdim=True)
    space = []
    if out.now.world is not None:
        space = [_Stage("3D keypoints", None, "soft-argmax")]
        if model.lift.has_volume:
            space.insert(0, _Stage("volume", None, "unproject, fuse"))
    drawn = heat(out.edges[0][-1][0, :views].amax(1), colours="inferno")
    h, w = out.recon.shape[-2:]
    target = objective.target(batch, (h, w))
    return [
        _Stage("now", _frames(batch.now[0, :views])),
        _Stage("later", _frames(batch.later[0, :views])),
        _Stage("heatmaps", heat(maps, colours="viridis"), "encoder"),
        *space,
        _Stage("edges", drawn, "project, draw"),
        _Stage("reconstruction", flattened(out.recon[0, :views]), "decode"),
        _Stage("target", flattened(target[0, :views]), "compare"),
    ]


def _frames(images: Tensor) -> np.ndarray:
    """Images (V, 3 or 4, H, W) of the network as pictures (V, H, W, 3)."""
    return (images[:, :3].movedim(1, -1).clamp(0, 1) * 255).byte().numpy()


def _stack(figure: Figure, images: np.ndarray, left: float, width: float) -> None:
    """Views of one stage, one above the other, in square cells."""
    proportion = figure.get_figwidth() / figure.get_figheight()
    high = width * proportion * images.shape[1] / images.shape[2]
    top = 0.46 + len(images) / 2 * (high + 0.015)
    for v, image in enumerate(images):
        ax = figure.add_axes((left, top - (v + 1) * high - v * 0.015, width, high))
        ax.imshow(image, interpolation="nearest")
        ax.set_axis_off()


def _arrow(figure: Figure, left: float, right: float, verb: str) -> None:
    style: dict[str, Any] = dict(arrowstyle="-|>", mutation_scale=6, linewidth=0.8, color=DARK)
    ends, whole = ((left, 0.46), (right, 0.46)), figure.transFigure
    figure.add_artist(FancyArrowPatch(*ends, transform=whole, **style))
    place: dict[str, Any] = dict(ha="center", va="bottom", rotation=90)
    figure.text((left + right) / 2, 0.50, verb, fontsize=6, color=DARK, **place)


def _look_inside(
    ax: Axes3D, model: Discoverer, batch: Batch, keypoints: Keypoints, whole: bool, unit: str
) -> str:
    """The keypoints' volumes, or the keypoints and the learned edges; the grid in words."""
    assert keypoints.world is not None, "no look into space without keypoints there"
    world = keypoints.world[0]
    middle, extent = (world.amax(0) + world.amin(0)) / 2, (world.amax(0) - world.amin(0)).max()
    colours = palette(len(world))
    if whole:
        _clouds(ax, model, batch, colours)
    else:
        sample = replace(keypoints, world=keypoints.world[:1])
        pose(ax, world, learned_edges(model, sample), colours, 1, 7)
    return bare(ax, middle, 0.6 * float(extent), unit)


def _clouds(ax: Axes3D, model: Discoverer, batch: Batch, colours: list[str]) -> None:
    """The likeliest cells of every keypoint."""
    assert isinstance(model.lift, Volumetric)
    points, ndc = model.lift.place(batch)
    logits = model.lift.volume(model.encoded(batch.now)[1], batch.now, ndc)
    for chance, colour in zip(logits[0].softmax(-1), colours):
        share = chance / chance.max()
        likely = chance > 0.15 * chance.max()
        ax.scatter(
            *points[0][likely].T.numpy(),
            s=5,
            color=colour,
            alpha=share[likely].clamp(0.1, 0.8).numpy(),
            linewidths=0,
            depthshade=False,
            rasterized=True,
        )
