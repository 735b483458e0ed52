"""Run images: a run under way - where the volume stands, and what the network sees and draws."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image
from torch import Tensor

from ..clips.clip import Batch, MultiViewClip, Survey
from ..files import write_atomically
from ..model.discoverer import Discoverer, Discovery
from ..model.keypoints import Keypoints
from ..poses2d import person_bones
from ..recipes import Recipe
from ..volumes import Grid
from .model_images import learned_edges
from .overlays import LOST, mosaic, overlay, picture_of, stroke
from .scenes import scene
from .traces import CUBE, cube, cube_corners, rig_traces, trail

VOLUME = "#e69f00"  # bright on dark ground and on pale


# ---- where the volume stands ---------------------------------------------------------------------
def volume_place(recipe: Recipe, survey: Survey | None = None) -> tuple[Tensor, float]:
    """Where a recipe's volume stands; one that follows the animal, at its usual place.

    Args:
        recipe: placed.
        survey: of the clip, which knows where the animal is.

    Returns:
        Centre (3) and side, world units.

    Raises:
        ValueError: the recipe is not placed.
    """
    volume = recipe.volume
    if volume.crop is not None and survey is not None:
        return survey.centre.median(0).values, volume.crop
    side = volume.crop or volume.side
    if volume.centre is None or side is None:
        raise ValueError("the volume stands nowhere yet; `placed(recipe, rig, survey)` places it")
    return torch.tensor(volume.centre, dtype=torch.float32), float(side)


def volume_grid(recipe: Recipe, survey: Survey | None = None, time: int | None = None) -> Grid:
    """The volume as it stands at a time, turned with the animal where the recipe asks for that.

    Args:
        recipe: placed.
        survey: of the clip, which knows where the animal is and, perhaps, which way it faces.
        time: frame of the clip; None: the volume at its usual place, turned as in the frame in
            which the animal is nearest to it.

    Returns:
        Its voxels.

    Raises:
        ValueError: the recipe is not placed.
    """
    centre, side = volume_place(recipe, survey)
    if survey is not None:
        usual = int((survey.centre - centre).norm(dim=-1).argmin()) if time is None else time
        if time is not None and recipe.volume.crop is not None:
            centre = survey.centre[time]
        if (heading := survey.heading) is not None and _turns(recipe, survey):
            return Grid(centre, side, recipe.volume.voxels, turn=heading.angle[usual : usual + 1])
    return Grid(centre, side, recipe.volume.voxels)


def _turns(recipe: Recipe, survey: Survey | None) -> bool:
    """Whether the volume turns with the animal on this recording."""
    heading = None if survey is None else survey.heading
    return recipe.volume.by_heading and heading is not None and heading.found


def placement(clip: MultiViewClip, recipe: Recipe, survey: Survey | None = None) -> go.Figure:
    """The volume in 3D with the rig, its frusta and first images, and where the animal goes.

    Args:
        clip: what is shown.
        recipe: placed.
        survey: of the clip, which knows where the animal is.

    Returns:
        The figure.
    """
    grid = volume_grid(recipe, survey)
    follows = ", follows the animal" if recipe.volume.crop else ""
    follows += ", turns with it" if _turns(recipe, survey) else ""
    return scene(
        rig_traces(clip.rig, images=clip.frames[0]),
        cube(grid),
        [] if survey is None else trail(survey.centre, "where the animal goes"),
        unit=clip.rig.unit,
        title=f"volume: side {grid.side:.4g} {clip.rig.unit}{follows}",
    )


def placement_sheet(
    clip: MultiViewClip, recipe: Recipe, survey: Survey | None = None, time: int = 0
) -> np.ndarray:
    """Every view with the volume's edges drawn in and its centre as a dot.

    Args:
        clip: what is shown.
        recipe: placed.
        survey: of the clip, which knows where the animal is.
        time: frame of the clip; a volume that follows the animal stands where it is then, turned
            as the animal where the recipe asks for that.

    Returns:
        One RGB image.
    """
    grid = volume_grid(recipe, survey, time)
    px = clip.rig.px_from_world(_cube_lines(grid).flatten(0, 1))
    middle, tiles = clip.rig.px_from_world(grid.centre[None])[:, 0], []
    for v, image in enumerate(clip.frames[time].float()):
        unit = max(1.0, min(image.shape[:2]) / 300)
        _draw_lines(image, px[v].unflatten(0, (len(CUBE), -1)), unit)
        stroke(image, middle[v], middle[v], 3 * unit, VOLUME)
        named = overlay(image.round().byte()[None], None, names=clip.rig.names[v : v + 1], scale=1)
        tiles.append(named)
    return mosaic(tiles)


def _cube_lines(grid: Grid) -> Tensor:
    """Points along the edges of a cube, (12, 17, 3): lenses bend them, so many short strokes."""
    corners, along = cube_corners(grid), torch.linspace(0, 1, 17)[:, None]
    return torch.stack([corners[i] + along * (corners[j] - corners[i]) for i, j in CUBE])


def _draw_lines(image: Tensor, px: Tensor, width: float) -> None:
    """Lines through pixels (L, P, 2) of one view, where they are near enough to be true."""
    far = LOST * max(image.shape[:2])
    for a, b in zip(px[:, :-1].flatten(0, 1), px[:, 1:].flatten(0, 1)):
        if a.abs().max() < far and b.abs().max() < far:
            stroke(image, a, b, width, VOLUME)


# ---- what the network sees and draws -------------------------------------------------------------
def contact_sheet(
    batch: Batch, out: Discovery, model: Discoverer, target: Tensor, width: int = 192, item: int = 0
) -> np.ndarray:
    """One row a view: frame with keypoints and strongest edges, target, reconstruction, drawing.

    Target and reconstruction share one grey scale, so that a flat reconstruction looks flat.

    Args:
        batch: what the model was shown.
        out: what it says of that.
        model: whose edges are drawn.
        target: (B, V, C, h, w), as `out.recon`.
        width: of each picture in pixels.
        item: sample of the batch.

    Returns:
        One RGB image.
    """
    H, W = batch.now.shape[-2:]
    wh = (width, round(width * H / W))
    edges = learned_edges(model, out.now)
    most = float(target[item].quantile(0.995).clamp(min=1e-6))
    columns = [
        _grey(target[item], most, wh),
        _grey(out.recon[item], most, wh),
        _grey(out.edges[0][-1][item], None, wh),
    ]
    tiles = []
    for v, frame in enumerate(picture_of(255 * batch.now[item, :, :3].movedim(1, -1).cpu())):
        drawn = overlay(
            torch.from_numpy(_resized(frame, wh, Image.Resampling.BICUBIC))[None],
            out.now.ndc[item, v : v + 1],
            edges,
            confidence=out.now.confidence[item, v : v + 1].detach(),
            names=batch.rig.names[v : v + 1],
            scale=1,
        )
        tiles += [drawn, *(column[v] for column in columns)]
    return mosaic(tiles, 1 + len(columns))


def lesson_sheet(batch: Batch, said: Keypoints, recipe: Recipe, most: int = 8) -> np.ndarray:
    """Pictures of a step with what the student says of them; the labels below, in white.

    Args:
        batch: labelled pictures, (B, 1) of them.
        said: of these.
        recipe: names the joints.
        most: pictures shown.

    Returns:
        One RGB image.
    """
    edges, tiles = person_bones(recipe.lesson.joints or ()), []
    labels = cast(Tensor, batch.labels).cpu()
    half = torch.tensor(batch.now.shape[:-3:-1]) / 2
    images = picture_of(255 * batch.now[:most, 0].movedim(1, -1).cpu())
    for i, image in enumerate(images):
        ndc, weight = labels[i, :, :, :2], labels[i, 0, :, 3]
        truth = torch.where(weight[:, None] > 0, (ndc + 1) * half, torch.inf)
        confidence = said.confidence[i].detach()
        words: dict = dict(truth_px=truth, truth_edges=edges, confidence=confidence)
        tiles.append(overlay(image[None], said.ndc[i], edges, **words))
    return mosaic(tiles)


def _grey(maps: Tensor, most: float | None, wh: tuple[int, int]) -> list[np.ndarray]:
    """(V, C, h, w) -> V pictures of `wh` = (W, H); colours stay colours.

    0 is black, `most` (None: the largest value) white.
    """
    maps = maps.detach().float().cpu()
    maps = maps if maps.shape[1] == 3 else maps.amax(1, keepdim=True).expand(-1, 3, -1, -1)
    most = float(maps.amax().clamp(min=1e-6)) if most is None else most
    tiles = (255 * (maps / most).clamp(0, 1)).round().byte().movedim(1, -1).numpy()
    return [_resized(tile, wh, Image.Resampling.BILINEAR) for tile in tiles]


def _resized(image: np.ndarray, wh: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize(wh, how))


def save_sheet(sheet: np.ndarray, path: str | Path) -> Path:
    """Write an image, whole or not at all.

    Args:
        sheet: (H, W, 3) uint8, RGB.
        path: `.jpg` or `.png`.

    Returns:
        The path.
    """
    return write_atomically(path, lambda file: Image.fromarray(sheet).save(file, quality=88))
