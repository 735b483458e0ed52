"""Overlays: keypoints and edges drawn into images, exactly where they project."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..shapes import shaped
from .colours import palette, rgb

# |ndc| beyond which a projection is not drawn: behind the camera, or so far out that its edges
# would only cross the image
LOST = 8.0
Edges = Sequence[tuple[int, int]]


# ---- one image -----------------------------------------------------------------------------------
def stroke(
    image: Tensor,
    a: Tensor,
    b: Tensor,
    radius: float,
    colour: str,
    alpha: float = 1.0,
    *,
    hollow: float = 0.0,
) -> None:
    """Blend a capsule from `a` to `b` into an image, in place; a = b is a disc.

    Corner-origin pixels; a pixel's share of colour falls from 1 to 0 over the one pixel about the
    rim (antialiasing).

    Args:
        image: (H, W, 3) float, 0..255.
        a: (2) one end, in pixels.
        b: (2) the other end.
        radius: in pixels.
        colour: as #rrggbb.
        alpha: share of the colour, 0..1.
        hollow: thickness in pixels of the rim that is left of it; 0: filled.
    """
    H, W = image.shape[:2]
    (ax, ay), (bx, by), r = a.tolist(), b.tolist(), radius + 1
    left, right = max(0, math.floor(min(ax, bx) - r)), min(W, math.ceil(max(ax, bx) + r))
    top, bottom = max(0, math.floor(min(ay, by) - r)), min(H, math.ceil(max(ay, by) + r))
    if left >= right or top >= bottom:
        return
    # In numpy: a film has a hundred strokes a picture, and of so few pixels each call's own time
    # counts, of which torch takes two to three times as much.
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - ay)
    x = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - ax)
    dx, dy = bx - ax, by - ay
    along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    distance = np.hypot(x - along * dx, y - along * dy)
    cover = np.clip(radius + 0.5 - distance, 0, 1)
    if hollow:
        cover = cover - np.clip(radius - hollow + 0.5 - distance, 0, 1)
    patch = image[top:bottom, left:right].numpy()
    patch += alpha * cover[..., None] * (np.array(rgb(colour), dtype=np.float32) - patch)


def canvas_of(image: np.ndarray, scale: int) -> Tensor:
    """An image grown by `scale`, to draw on with crisp lines.

    Args:
        image: (H, W, 3) uint8.
        scale: a whole number.

    Returns:
        (scale H, scale W, 3) float, 0..255.
    """
    H, W = image.shape[:2]
    grown = Image.fromarray(image).resize((W * scale, H * scale), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(grown)).float()


def picture_of(canvas: Tensor) -> np.ndarray:
    """What was drawn on a canvas.

    Args:
        canvas: (H, W, 3) float, 0..255.

    Returns:
        (H, W, 3) uint8.
    """
    return canvas.round().clamp(0, 255).byte().numpy()


def _draw_skeleton(
    canvas: Tensor,
    ndc: Tensor,
    edges: Edges,
    colours: Sequence[str],
    confidence: Tensor,
    *,
    sure: float,
) -> None:
    """Edges, then keypoints: a disc with a dark rim, or where they are not `sure` a thin ring."""
    H, W = canvas.shape[:2]
    drawable, px = (ndc.abs() < LOST).all(-1), (ndc + 1) / 2 * torch.tensor([W, H])
    unit = _unit(canvas)
    for i, j in edges:
        if drawable[i] and drawable[j]:
            middle = (px[i] + px[j]) / 2
            alpha = 0.3 + 0.6 * float(torch.minimum(confidence[i], confidence[j]))
            stroke(canvas, px[i], middle, 1.1 * unit, colours[i], alpha=alpha)
            stroke(canvas, middle, px[j], 1.1 * unit, colours[j], alpha=alpha)
    for k, at in enumerate(px):
        if drawable[k] and confidence[k] >= sure:
            stroke(canvas, at, at, 3.0 * unit, "#000000", alpha=0.7)
            stroke(canvas, at, at, 2.4 * unit, colours[k])
        elif drawable[k]:
            stroke(canvas, at, at, 2.4 * unit, colours[k], alpha=0.75, hollow=0.9 * unit)


def _draw_truth(canvas: Tensor, px: Tensor, edges: Edges) -> None:
    drawable, unit = (px.abs() < LOST * max(canvas.shape[:2])).all(-1), _unit(canvas)
    for i, j in edges:
        if drawable[i] and drawable[j]:
            stroke(canvas, px[i], px[j], 0.7 * unit, "#ffffff", alpha=0.6)
    for k, at in enumerate(px):
        if drawable[k]:
            stroke(canvas, at, at, 1.3 * unit, "#ffffff", alpha=0.8)


def _unit(canvas: Tensor) -> float:
    """Width of a line in pixels: it follows the picture's size."""
    return max(1.0, min(canvas.shape[:2]) / 300)


def _captioned(image: np.ndarray, text: str) -> np.ndarray:
    picture, size = Image.fromarray(image), max(11, image.shape[0] // 26)
    font, width = ImageFont.load_default(size), max(1, size // 8)
    ImageDraw.Draw(picture).text(
        (size // 2, size // 3), text, "white", font, stroke_width=width, stroke_fill="black"
    )
    return np.asarray(picture)


# ---- all views -----------------------------------------------------------------------------------
def overlay(
    images: Tensor,
    ndc: Tensor | None,
    edges: Edges = (),
    colours: Sequence[str] | None = None,
    *,
    frame: int | None = None,
    scale: int = 2,
    truth_px: Tensor | None = None,
    truth_edges: Edges = (),
    confidence: Tensor | None = None,
    names: Sequence[str] = (),
    columns: int | None = None,
    sure: float = 0.3,
) -> np.ndarray:
    """All views in a grid, keypoints and edges drawn in.

    Args:
        images: (V, H, W, 3) uint8.
        ndc: (V, K, 2) projected keypoints, or None.
        edges: pairs of keypoints that are joined.
        colours: of the keypoints (default: the `palette`).
        frame: number that is written into the first view.
        scale: the images grow by it, so lines are crisp.
        truth_px: (V, J, 2) true joints in pixels of `images`, drawn below in white.
        truth_edges: pairs of true joints that are joined.
        confidence: (V, K) or (K) in [0, 1]; pales edges.
        names: of the views, written into them.
        columns: of the grid (default: as `mosaic`).
        sure: confidence below which a keypoint is a ring.

    Returns:
        One RGB image, uint8.
    """
    V = len(shaped(torch.as_tensor(images), "V H W 3", "images"))
    K = 0 if ndc is None else shaped(ndc, "V K 2", "ndc").shape[1]
    colours = palette(K) if colours is None else colours
    confidence = _by_view(confidence, V, K)
    tiles = []
    for v, image in enumerate(np.asarray(images)):
        canvas = canvas_of(image, scale)
        if truth_px is not None:
            _draw_truth(canvas, truth_px[v] * scale, truth_edges)
        if ndc is not None and K:
            at = ndc[v].detach().cpu()
            _draw_skeleton(canvas, at, edges, colours, confidence[v], sure=sure)
        words = [names[v]] if len(names) else []
        words += [f"frame {frame}"] if frame is not None and v == 0 else []
        tiles.append(_captioned(picture_of(canvas), "  ".join(words)))
    return mosaic(tiles, columns)


def _by_view(confidence: Tensor | None, views: int, keypoints: int) -> Tensor:
    """Confidence of every keypoint in every view, (V, K); None: sure of all."""
    if confidence is None:
        return torch.ones(views, keypoints)
    return torch.as_tensor(confidence).detach().cpu().expand(views, keypoints)


def grid_shape(count: int, columns: int | None = None) -> tuple[int, int]:
    """Rows and columns for pictures: up to 3 side by side, 4 as 2 x 2, 6 as 3 x 2, 12 as 4 x 3.

    Args:
        count: how many pictures.
        columns: so many side by side, whatever their number.

    Returns:
        Rows, columns.
    """
    if columns is None:
        columns = count if count <= 3 else math.ceil(math.sqrt(count))
    return math.ceil(count / columns), columns


def mosaic(tiles: Sequence[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Equal pictures in rows, as `grid_shape` says; empty places are black.

    Args:
        tiles: pictures (H, W, 3) uint8.
        columns: so many side by side (default: by their number).

    Returns:
        One picture (rows H, columns W, 3) uint8.
    """
    rows, columns = grid_shape(len(tiles), columns)
    H, W, _ = tiles[0].shape
    sheet = np.zeros((rows * H, columns * W, 3), np.uint8)
    for n, tile in enumerate(tiles):
        y, x = divmod(n, columns)
        sheet[y * H : (y + 1) * H, x * W : (x + 1) * W] = tile
    return sheet


def jpeg(image: np.ndarray, quality: int = 78) -> bytes:
    """An image as a file's content.

    Args:
        image: (H, W, 3) uint8, RGB.
        quality: of the JPEG, to 95.

    Returns:
        The bytes.
    """
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def data_uri(image: np.ndarray, quality: int = 78) -> str:
    """An image inside an address: pages and Plotly figures carry it along.

    Args:
        image: (H, W, 3) uint8, RGB.
        quality: of the JPEG, to 95.

    Returns:
        `data:image/jpeg;base64,...`.
    """
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image, quality)).decode()
