"""Sheets: pictures of a run under way - where the volume stands before the first step, and what the network sees and draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image
from torch import Tensor

from ..clips.clip import Batch, MultiViewClip, Survey
from ..files import write_atomically
from ..model.discoverer import Discoverer, Discovery
from ..model.edges import strongest_edges
from ..model.losses import lengths
from ..recipes import Recipe
from ..volumes import Grid
from .overlays import LOST, mosaic, overlay, stroke
from .scenes import scene
from .traces import CUBE, cube, rig_traces, trail

VOLUME = "#e69f00"  # bright on dark ground and on pale


def volume_place(recipe: Recipe, survey: Survey | None = None) -> tuple[Tensor, float]:
    """Centre (3) and side of a placed recipe's volume; of one that follows the animal, at its usual place."""
    if recipe.volume.crop is not None and survey is not None:
        return survey.centre.median(0).values, recipe.volume.crop
    return torch.tensor(recipe.volume.centre, dtype=torch.float32), float(
        recipe.volume.crop or recipe.volume.side
    )


def placement(clip: MultiViewClip, recipe: Recipe, survey: Survey | None = None) -> go.Figure:
    """The volume in 3D with the rig, its frusta and first images, and where the animal goes."""
    centre, side = volume_place(recipe, survey)
    path = [] if survey is None else [trail(survey.centre, "where the animal goes")]
    title = f"volume: side {side:.4g} {clip.rig.unit}" + (
        ", follows the animal" if recipe.volume.crop else ""
    )
    return scene(
        rig_traces(clip.rig, images=clip.frames[0]),
        cube(centre, side),
        path,
        unit=clip.rig.unit,
        title=title,
    )


def placement_sheet(
    clip: MultiViewClip, recipe: Recipe, survey: Survey | None = None, time: int = 0
) -> np.ndarray:
    """Every view at `time` with the volume's edges drawn in and its centre as a dot, one RGB image."""
    centre, side = volume_place(recipe, survey)
    centre = (
        survey.centre[time] if recipe.volume.crop is not None and survey is not None else centre
    )
    corners = Grid(centre, 2 * side, 2).points.reshape(
        -1, 3
    )  # cell centres of a grid twice as wide: the cube's own corners
    along = torch.linspace(0, 1, 17)[:, None]
    lines = torch.stack(
        [corners[i] + along * (corners[j] - corners[i]) for i, j in CUBE]
    )  # lenses bend them: many short strokes
    px = clip.rig.px_from_world(lines.flatten(0, 1)).unflatten(1, lines.shape[:2])  # (V, 12, 17, 2)
    middle, tiles = clip.rig.px_from_world(centre[None])[:, 0], []
    for v, image in enumerate(clip.frames[time].float()):
        unit, far = max(1.0, min(image.shape[:2]) / 300), LOST * max(image.shape[:2])
        for a, b in zip(px[v, :, :-1].flatten(0, 1), px[v, :, 1:].flatten(0, 1)):
            if a.abs().max() < far and b.abs().max() < far:
                stroke(image, a, b, unit, VOLUME)
        stroke(image, middle[v], middle[v], 3 * unit, VOLUME)
        tiles.append(
            overlay(image.round().byte()[None], None, names=clip.rig.names[v : v + 1], scale=1)
        )
    return mosaic(tiles)


def contact_sheet(
    batch: Batch, out: Discovery, model: Discoverer, target: Tensor, width: int = 192, item: int = 0
) -> np.ndarray:
    """One row a view: the frame with keypoints and strongest edges, the target, its reconstruction, the drawing; one RGB image.

    target and `out.recon` (B, V, C, h, w) share one grey scale, so that a flat reconstruction looks flat; `width` of each picture.
    """
    H, W = batch.now.shape[-2:]
    wh = (width, round(width * H / W))
    frames = (255 * batch.now[item, :, :3]).movedim(1, -1).round().clamp(0, 255).byte().cpu()
    frames = torch.from_numpy(
        np.stack(
            [
                np.asarray(Image.fromarray(f.numpy()).resize(wh, Image.Resampling.BICUBIC))
                for f in frames
            ]
        )
    )
    pairs, weights, found = (
        model.edges.pairs.cpu(),
        model.edges.weights.detach().cpu(),
        out.now.world,
    )
    typical = None if found is None else lengths(found.detach().cpu(), pairs).mean(0)
    edges = strongest_edges(pairs, weights, out.now.ndc.shape[2], length=typical).edges
    most = float(target[item].quantile(0.995).clamp(min=1e-6))
    columns = [
        _grey(target[item], most, wh),
        _grey(out.recon[item], most, wh),
        _grey(out.edges[0][-1][item], None, wh),
    ]
    rows = []
    for v, frame in enumerate(frames):
        confidence = out.now.confidence[item, v : v + 1].detach()
        drawn = overlay(
            frame[None],
            out.now.ndc[item, v : v + 1],
            edges,
            confidence=confidence,
            names=batch.rig.names[v : v + 1],
            scale=1,
        )
        rows += [drawn, *(column[v] for column in columns)]
    return mosaic(rows, 1 + len(columns))


def _grey(maps: Tensor, most: float | None, wh: tuple[int, int]) -> list[np.ndarray]:
    """(V, C, h, w) -> V pictures of `wh` = (W, H): 0 is black, `most` (None: the largest value) white; colours stay colours."""
    maps = maps.detach().float().cpu()
    maps = maps if maps.shape[1] == 3 else maps.amax(1, keepdim=True).expand(-1, 3, -1, -1)
    most = float(maps.amax().clamp(min=1e-6)) if most is None else most
    pictures = (255 * (maps / most).clamp(0, 1)).round().byte().movedim(1, -1).numpy()
    return [
        np.asarray(Image.fromarray(np.ascontiguousarray(p)).resize(wh, Image.Resampling.BILINEAR))
        for p in pictures
    ]


def save_sheet(sheet: np.ndarray, path: str | Path) -> Path:
    """Write an RGB image as the suffix says, `.jpg` or `.png`, whole or not at all."""
    return write_atomically(
        path, lambda temporary: Image.fromarray(sheet).save(temporary, quality=88)
    )
