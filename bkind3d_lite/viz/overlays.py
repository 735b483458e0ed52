"""Overlays: keypoints and edges drawn into images, exactly where they project; and small matplotlib helpers."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..cameras import CameraRig
from ..clips.clip import MultiViewClip
from ..clips.foreground import footprint
from ..clips.tracks import Track
from ..clips.videos import write_video
from ..shapes import segment_distance2, shaped

GREY = "#8c8c8c"  # the truth, and whatever must not compete with the keypoints
SAFE = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#882255",
)  # Okabe and Ito 2008; wine for their black
SIDES = {
    "left": ("#0072b2", "#56b4e9"),
    "right": ("#d55e00", "#e69f00"),
    "": ("#009e73", "#66c5ab"),
}
LOST = 8.0  # |ndc| beyond which a projection is not drawn: behind the camera, or so far out that its edges would only cross the image


def palette(count: int) -> list[str]:
    """`count` colours as #rrggbb. The first 8 are told apart by colour-blind eyes and on light and dark; then come their tints and shades."""
    mixes = [0.0, 0.5, -0.4, 0.25, -0.2, 0.7, -0.6]  # towards white, towards black
    colours = []
    for k in range(count):
        mix = mixes[k // len(SAFE) % len(mixes)]
        base, end = rgb(SAFE[k % len(SAFE)]), 255.0 if mix > 0 else 0.0
        colours.append("#" + "".join(f"{round(c + abs(mix) * (end - c)):02x}" for c in base))
    return colours


def side_of(name: str) -> str:
    """'left', 'right' or '': what a name says of its side, by its beginning or end (left_knee, LeftKnee, l_knee, knee.l)."""
    for side in ("left", "right"):
        if re.search(f"^{side}|{side}$|^{side[0]}[_. -]|[_. -]{side[0]}$", name, re.IGNORECASE):
            return side
    return ""


def keypoint_colours(names: Sequence[str], chosen: Sequence[str] = ()) -> list[str]:
    """A colour per point: the `chosen` ones; or, where names tell sides, blues left, oranges right and greens between; or the `palette`."""
    if chosen:
        return list(chosen)
    sides = [side_of(name) for name in names]
    if not any(sides):
        return palette(len(names))
    seen, colours = dict.fromkeys(SIDES, 0), []
    for side in sides:
        colours.append(SIDES[side][seen[side] % len(SIDES[side])])
        seen[side] += 1
    return colours


def rgb(colour: str) -> tuple[int, int, int]:
    """#rrggbb -> red, green, blue in 0..255."""
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


# ---- drawing -----------------------------------------------------------------------------------------------------
def stroke(
    image: Tensor,
    a: Tensor,
    b: Tensor,
    radius: float,
    colour: str,
    alpha: float = 1.0,
    hollow: float = 0.0,
) -> None:
    """Blend a capsule from `a` to `b` (2) into `image` (H, W, 3) float, in place; a = b is a disc, `hollow` > 0 a ring so thick.

    Corner-origin pixels; a pixel's share of colour falls from 1 to 0 over the one pixel about the rim (antialiasing).
    """
    H, W = image.shape[:2]
    (ax, ay), (bx, by), r = a.tolist(), b.tolist(), radius + 1
    left, right = max(0, math.floor(min(ax, bx) - r)), min(W, math.ceil(max(ax, bx) + r))
    top, bottom = max(0, math.floor(min(ay, by) - r)), min(H, math.ceil(max(ay, by) + r))
    if left >= right or top >= bottom:
        return
    y, x = torch.arange(top, bottom) + 0.5, torch.arange(left, right) + 0.5
    centres = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)
    distance = segment_distance2(centres, a, b).sqrt()
    cover = (radius + 0.5 - distance).clamp(0, 1)
    if hollow:
        cover = cover - (radius - hollow + 0.5 - distance).clamp(0, 1)
    patch = image[top:bottom, left:right]
    patch += alpha * cover[..., None] * (torch.tensor(rgb(colour)) - patch)


def _skeleton(
    image: Tensor,
    px: Tensor,
    shown: Tensor,
    edges,
    colours: Sequence[str],
    confidence: Tensor,
    unit: float,
    sure: float,
) -> None:
    """Edges, then keypoints: a filled disc with a dark rim, or where the confidence is below `sure` a thin ring."""
    for i, j in edges:
        if shown[i] and shown[j]:
            middle = (px[i] + px[j]) / 2
            alpha = 0.3 + 0.6 * float(torch.minimum(confidence[i], confidence[j]))
            stroke(image, px[i], middle, 1.1 * unit, colours[i], alpha)
            stroke(image, middle, px[j], 1.1 * unit, colours[j], alpha)
    for k in range(len(px)):
        if shown[k] and confidence[k] >= sure:
            stroke(image, px[k], px[k], 3.0 * unit, "#000000", 0.7)
            stroke(image, px[k], px[k], 2.4 * unit, colours[k])
        elif shown[k]:
            stroke(image, px[k], px[k], 2.4 * unit, colours[k], 0.75, 0.9 * unit)


def _label(image: np.ndarray, text: str) -> np.ndarray:
    canvas = Image.fromarray(image)
    size = max(11, image.shape[0] // 26)
    edge = dict(stroke_width=max(1, size // 8), stroke_fill="black")
    ImageDraw.Draw(canvas).text(
        (size // 2, size // 3), text, "white", ImageFont.load_default(size), **edge
    )
    return np.asarray(canvas)


def overlay(
    images: Tensor,
    ndc: Tensor | None,
    edges: Sequence[tuple[int, int]] = (),
    colours: Sequence[str] | None = None,
    frame: int | None = None,
    scale: int = 2,
    truth_px: Tensor | None = None,
    truth_edges: Sequence[tuple[int, int]] = (),
    confidence: Tensor | None = None,
    names: Sequence[str] = (),
    columns: int | None = None,
    sure: float = 0.3,
) -> np.ndarray:
    """All views in a grid, keypoints `ndc` (V, K, 2) and edges drawn in: images (V, H, W, 3) uint8 -> one uint8 RGB image.

    The images grow by `scale`, so lines are crisp. truth_px (V, J, 2) in pixels of `images`, in white below. confidence (V, K) or (K) in
    [0, 1]: below `sure` a keypoint is a ring. Names and the frame number are written into the picture.
    """
    V, H, W, _ = shaped(torch.as_tensor(images), "V H W 3", "images").shape
    K = 0 if ndc is None else shaped(ndc, "V K 2", "ndc").shape[1]
    colours = palette(K) if colours is None else list(colours)
    ndc = torch.zeros(V, 0, 2) if ndc is None else ndc.detach().cpu()
    confidence = (
        torch.ones(V, K)
        if confidence is None
        else torch.as_tensor(confidence).detach().cpu().expand(V, K)
    )
    grown = torch.tensor([W * scale, H * scale])
    tiles = []
    for v, image in enumerate(np.asarray(images)):
        canvas = torch.from_numpy(
            np.array(
                Image.fromarray(image).resize((W * scale, H * scale), Image.Resampling.BICUBIC)
            )
        ).float()
        unit = max(1.0, min(H, W) * scale / 300)  # line widths follow the picture's size
        if truth_px is not None:
            _truth(canvas, truth_px[v] * scale, truth_edges, unit)
        shown = (ndc[v].abs() < LOST).all(-1)  # False for NaN, too
        _skeleton(
            canvas,
            (ndc[v] + 1) / 2 * grown,
            shown,
            edges if K else (),
            colours,
            confidence[v],
            unit,
            sure,
        )
        text = "  ".join(
            ([names[v]] if len(names) else [])
            + ([f"frame {frame}"] if frame is not None and v == 0 else [])
        )
        tiles.append(_label(canvas.round().clamp(0, 255).byte().numpy(), text))
    return mosaic(tiles, columns)


def _truth(image: Tensor, px: Tensor, edges, unit: float) -> None:
    shown = (px.abs() < LOST * max(image.shape[:2])).all(-1)
    for i, j in edges:
        if shown[i] and shown[j]:
            stroke(image, px[i], px[j], 0.7 * unit, "#ffffff", 0.6)
    for k in range(len(px)):
        if shown[k]:
            stroke(image, px[k], px[k], 1.3 * unit, "#ffffff", 0.8)


def mosaic(tiles: Sequence[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Equal pictures (H, W, 3) in rows: up to three side by side, 4 as 2 x 2, 6 as 3 x 2, 12 as 4 x 3; empty places are black."""
    columns = (
        (len(tiles) if len(tiles) <= 3 else math.ceil(math.sqrt(len(tiles))))
        if columns is None
        else columns
    )
    rows = math.ceil(len(tiles) / columns)
    H, W, _ = tiles[0].shape
    sheet = np.zeros((rows * H, columns * W, 3), np.uint8)
    for n, tile in enumerate(tiles):
        y, x = divmod(n, columns)
        sheet[y * H : (y + 1) * H, x * W : (x + 1) * W] = tile
    return sheet


def drawn_frames(
    clip: MultiViewClip,
    track: Track,
    times: Sequence[int] | None = None,
    truth: bool = False,
    **style,
) -> Iterator[np.ndarray]:
    """The clip's frames at `times` (default: all) with the track projected into them by the clip's own rig, distortion included.

    The track has a row for each frame of the clip, or for each of `times`. truth: draw the clip's truth below, in white.
    """
    style = dict(colours=keypoint_colours(track.skeleton.names, track.skeleton.colours)) | style
    for row, t in _rows(clip, track, times):
        known = clip.rig.px_from_world(clip.truth[t]) if truth and clip.truth is not None else None
        yield overlay(
            clip.frames[t],
            clip.rig.ndc_from_world(track.world[row]),
            track.skeleton.edges,
            frame=t,
            truth_px=known,
            truth_edges=clip.skeleton.edges if clip.skeleton else (),
            confidence=track.confidence[row],
            names=clip.rig.names,
            **style,
        )


def _rows(clip: MultiViewClip, track: Track, times: Sequence[int] | None) -> list[tuple[int, int]]:
    """Pairs (row of the track, frame of the clip)."""
    times = range(len(clip)) if times is None else [int(t) for t in times]
    if len(track.world) not in (len(clip), len(times)):
        raise ValueError(
            f"a track of {len(track.world)} frames fits neither the clip's {len(clip)} nor the {len(times)} asked for"
        )
    return [(t if len(track.world) == len(clip) else i, t) for i, t in enumerate(times)]


def cutouts(
    clip: MultiViewClip,
    track: Track,
    row: int,
    time: int,
    views: Sequence[int],
    side: float,
    pixels: int,
) -> tuple[Tensor, CameraRig]:
    """Views cut to the square that a ball of diameter `side` about the keypoints of `row` fills: images (V, pixels, pixels, 3) uint8, their rig (1, V)."""
    whole = clip.rig.take(list(views)).batched(1)
    middle = (track.world[row].amax(0) + track.world[row].amin(0))[None] / 2
    corner, window = footprint(whole, middle, side)
    boxes = torch.cat([corner, corner + window], -1)[0].tolist()
    cut = [
        Image.fromarray(np.asarray(clip.frames[time][v])).transform(
            (pixels, pixels), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC
        )
        for v, box in zip(views, boxes)
    ]
    return torch.from_numpy(np.stack(cut)), whole.cropped(corner, window, (pixels, pixels))


def track_extent(track: Track) -> float:
    """Diameter of a ball that usually holds all keypoints with some room, in world units."""
    return 1.2 * float((track.world.amax(1) - track.world.amin(1)).amax(-1).nanmedian())


def closeups(
    clip: MultiViewClip,
    track: Track,
    times: Sequence[int],
    side: float | None = None,
    views: Sequence[int] | None = None,
    pixels: int = 240,
) -> np.ndarray:
    """A row per time, a column per view, each cut to the square that a ball of diameter `side` about the keypoints fills.

    side: world units (default: `extent(track)`). `pixels`: width of each picture. One RGB image.
    """
    views = list(range(clip.rig.views)) if views is None else list(views)
    side, sheets = track_extent(track) if side is None else side, []
    for row, t in _rows(clip, track, times):
        cut, near = cutouts(clip, track, row, t, views, side, pixels)
        sheets.append(
            overlay(
                cut,
                near.ndc_from_world(track.world[row][None])[0],
                track.skeleton.edges,
                frame=t,
                scale=1,
                confidence=track.confidence[row],
                names=near.names,
                columns=len(views),
                colours=keypoint_colours(track.skeleton.names, track.skeleton.colours),
            )
        )
    return np.concatenate(sheets)


def data_uri(image: np.ndarray, quality: int = 78) -> str:
    """An RGB image (H, W, 3) uint8 as a JPEG inside an address: pages and Plotly figures carry it along."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def filmstrip(
    clip: MultiViewClip,
    track: Track,
    times: Sequence[int],
    views: Sequence[int],
    pixels: int = 112,
    total: int = 2_000_000,
) -> tuple[list[str], Tensor, tuple[int, int]]:
    """Small pictures of some views that stand still around all the places where the animal goes: for players in a page.

    Returns a JPEG address per time (the views as one mosaic), the keypoints in the mosaic's pixels (T, V, K, 2), NaN where they
    leave their view, and the mosaic's (rows, columns). Each view is cut to a square and is `pixels` wide.
    total: characters that all addresses may take together; the JPEG quality is the best that keeps to it.
    """
    rows = [row for row, _ in _rows(clip, track, times)]
    px = (
        clip.rig.take(list(views))
        .px_from_world(track.world[rows].flatten(0, 1))
        .unflatten(1, (len(rows), -1))
    )  # (V, T, K, 2)
    bounds = torch.tensor([0.02, 0.98])
    low, high = px.flatten(1, 2).nan_to_num().quantile(bounds, 1)
    side = (1.35 * (high - low).amax(-1, keepdim=True)).clamp(min=16)
    corner = (low + high - side) / 2
    boxes = torch.cat([corner, corner + side], -1).tolist()
    small = ((px - corner[:, None, None]) / side[:, None, None] * pixels).movedim(0, 1)
    small[((small < 0) | (small > pixels)).any(-1)] = torch.nan
    shape = mosaic([np.zeros((1, 1, 3), np.uint8)] * len(boxes)).shape[:2]
    small = (
        small
        + pixels * torch.tensor([[n % shape[1], n // shape[1]] for n in range(len(boxes))])[:, None]
    )

    def sheet(t: int) -> np.ndarray:
        cut = [
            Image.fromarray(np.asarray(clip.frames[int(t)][v])).transform(
                (pixels, pixels), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC
            )
            for v, box in zip(views, boxes)
        ]
        return mosaic([np.asarray(c) for c in cut])

    trial = [sheet(times[n]) for n in {0, len(times) // 2, len(times) - 1}]
    room = 0.95 * total / len(times)
    quality = next(
        (q for q in range(80, 5, -5) if max(len(data_uri(image, q)) for image in trial) <= room), 5
    )
    return [data_uri(sheet(t), quality) for t in times], small, shape


def overlay_video(
    clip: MultiViewClip,
    track: Track,
    path: str | Path,
    times: Sequence[int] | None = None,
    fps: float | None = None,
    **style,
) -> Path:
    """Write `drawn_frames` as an H.264 mp4; `fps` of the film (default: the clip's)."""
    return write_video(
        path, drawn_frames(clip, track, times, **style), clip.fps if fps is None else fps
    )


# ---- matplotlib --------------------------------------------------------------------------------------------------
def strip(
    images: Tensor,
    ndc: Tensor | None = None,
    edges: Sequence[tuple[int, int]] = (),
    ax: Axes | None = None,
    **style,
) -> Axes:
    """A row of views (V, H, W, 3) uint8 in one matplotlib axes, with keypoints `ndc` (V, K, 2); `style` as in `overlay`."""
    picture = overlay(images, ndc, edges, **dict(columns=len(images)) | style)
    ax = (
        plt.subplots(figsize=(12, 12 * picture.shape[0] / picture.shape[1]), layout="constrained")[
            1
        ]
        if ax is None
        else ax
    )
    ax.imshow(picture)
    ax.set_axis_off()
    return ax


def pose(
    ax: Axes,
    points,
    edges: Sequence[tuple[int, int]],
    colours: Sequence[str],
    width: float = 2,
    size: float = 22,
) -> None:
    """Keypoints (K, D) and bones in axes of D = 2 or 3 dimensions, each half of a bone in its end's colour; unknown points are left out."""
    points = np.asarray(points.detach().cpu() if isinstance(points, Tensor) else points, np.float64)
    for i, j in edges:
        middle = (points[i] + points[j]) / 2
        for a, b, colour in ((points[i], middle, colours[i]), (middle, points[j], colours[j])):
            ax.plot(*zip(a, b), color=colour, linewidth=width, solid_capstyle="round")
    depth = dict(depthshade=False) if points.shape[1] == 3 else dict(zorder=3)
    ax.scatter(*points.T, c=list(colours), s=size, linewidths=0, **depth)


def boxed(ax: Axes, middle, half: float, unit: str) -> Axes:
    """Equal 3D axes: a cube of `half` a side about `middle`, its unit in the labels, seen from above and aside."""
    for axis, c in zip("xyz", np.asarray(middle, np.float64)):
        ax.set(**{f"{axis}lim": (c - half, c + half)})
        ax.set(**{f"{axis}label": f"{axis} ({unit})"})
        getattr(ax, f"{axis}axis").set_major_locator(plt.MaxNLocator(4))
    ax.set_box_aspect((1, 1, 1), zoom=0.85)
    ax.view_init(25, -60)
    ax.tick_params(labelsize=7, pad=-1)
    return ax


def loss_curves(
    rows: Sequence[Mapping],
    ax: Axes | None = None,
    skip: Sequence[str] = ("step", "seconds", "rate"),
) -> Axes:
    """One curve a term from the rows of losses.csv (`step` and a column per term; text is read as numbers), smoothed over 2 % of the rows.

    A logarithmic axis where values are positive; terms that are still zero (a warm-up) begin where they begin.
    """
    ax = plt.subplots(figsize=(7, 3.6), layout="constrained")[1] if ax is None else ax
    terms = [
        key for key in dict.fromkeys(k for row in rows for k in row) if key not in skip
    ]  # some begin after a warm-up
    steps = np.array([float(row["step"]) for row in rows])
    for term, colour in zip(
        terms, (c for c in palette(len(terms) + 1) if c != SAFE[3])
    ):  # yellow is lost on white
        values = np.array(
            [float(row[term] or "nan") if row.get(term) is not None else np.nan for row in rows]
        )
        values[values <= 0] = np.nan
        ax.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        ax.plot(
            steps, _smooth(values, max(1, len(rows) // 50)), color=colour, linewidth=1.8, label=term
        )
    ax.set(xlabel="step", ylabel="loss (weighted)", yscale="log")
    ax.spines[["top", "right"]].set_visible(False)
    if terms:
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return ax


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over 2 `width` + 1 values, NaN left out and kept."""
    known = np.isfinite(values)
    kernel = np.ones(min(2 * width + 1, len(values)))
    total, count = (
        np.convolve(a, kernel, "same") for a in (np.where(known, values, 0.0), known.astype(float))
    )
    return np.where(known, total / np.maximum(count, 1), np.nan)
