"""Films: a clip's frames with its track drawn in - whole, cut close, or small for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..cameras import CameraRig
from ..clips.clip import MultiViewClip
from ..clips.foreground import footprint
from ..clips.tracks import Track
from ..clips.videos import write_video
from .colours import skeleton_colours
from .overlays import data_uri, grid_shape, mosaic, overlay


def drawn_frames(
    clip: MultiViewClip,
    track: Track,
    times: Sequence[int] | None = None,
    truth: bool = False,
    **style: Any,
) -> Iterator[np.ndarray]:
    """The clip's frames with the track projected into them by the clip's own rig, lenses included.

    Args:
        clip: what is shown.
        track: a row for each frame of the clip, or for each of `times`.
        times: frames to draw (default: all).
        truth: draw the clip's truth below, in white.
        **style: as in `overlay`.

    Yields:
        One RGB image per time: all views in a grid.
    """
    style = {"colours": skeleton_colours(track.skeleton), **style}
    for row, t in _rows(clip, track, times):
        joints = clip.rig.px_from_world(clip.truth[t]) if truth and clip.truth is not None else None
        yield overlay(
            clip.frames[t],
            clip.rig.ndc_from_world(track.world[row]),
            track.skeleton.edges,
            frame=t,
            truth_px=joints,
            truth_edges=clip.skeleton.edges if clip.skeleton else (),
            confidence=track.confidence[row],
            names=clip.rig.names,
            **style,
        )


def _rows(clip: MultiViewClip, track: Track, times: Sequence[int] | None) -> list[tuple[int, int]]:
    """Pairs (row of the track, frame of the clip)."""
    times = range(len(clip)) if times is None else [int(t) for t in times]
    rows = len(track.world)
    if rows not in (len(clip), len(times)):
        raise ValueError(
            f"a track of {rows} frames fits neither the clip's {len(clip)} nor the {len(times)} "
            "asked for"
        )
    return [(t if rows == len(clip) else i, t) for i, t in enumerate(times)]


def overlay_video(
    clip: MultiViewClip,
    track: Track,
    path: str | Path,
    times: Sequence[int] | None = None,
    fps: float | None = None,
    **style: Any,
) -> Path:
    """Write `drawn_frames` as an H.264 mp4.

    Args:
        clip: what is shown.
        track: a row for each frame of the clip, or for each of `times`.
        path: of the film.
        times: frames to draw (default: all).
        fps: of the film (default: the clip's).
        **style: as in `drawn_frames`.

    Returns:
        The path.
    """
    frames = drawn_frames(clip, track, times, **style)
    return write_video(path, frames, clip.fps if fps is None else fps)


# ---- cut close -----------------------------------------------------------------------------------
def _cut(image: Tensor, box: Sequence[float], pixels: int) -> np.ndarray:
    """The part of an image in a box (left, top, right, bottom), as a square of so many pixels."""
    whole, square = Image.fromarray(np.asarray(image)), (pixels, pixels)
    cut = whole.transform(square, Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
    return np.asarray(cut)


def cutouts(
    clip: MultiViewClip,
    track: Track,
    row: int,
    time: int,
    *,
    views: Sequence[int],
    side: float,
    pixels: int,
) -> tuple[Tensor, CameraRig]:
    """Views cut to the square that a ball about the keypoints fills.

    Args:
        clip: what is shown.
        track: keypoints.
        row: of the track: whose keypoints.
        time: frame of the clip.
        views: numbers of the V views.
        side: diameter of the ball, world units.
        pixels: width of each picture.

    Returns:
        Images (V, pixels, pixels, 3) uint8 and their rig (1, V).
    """
    whole = clip.rig.take(list(views)).batched(1)
    middle = (track.world[row].amax(0) + track.world[row].amin(0))[None] / 2
    corner, extent = footprint(whole, middle, side)
    boxes = torch.cat([corner, corner + extent], -1)[0].tolist()
    cut = [_cut(clip.frames[time][v], box, pixels) for v, box in zip(views, boxes)]
    return torch.from_numpy(np.stack(cut)), whole.cropped(corner, extent, (pixels, pixels))


def track_extent(track: Track) -> float:
    """Diameter of a ball that usually holds all keypoints with some room.

    Args:
        track: keypoints.

    Returns:
        World units.
    """
    return 1.2 * float((track.world.amax(1) - track.world.amin(1)).amax(-1).nanmedian())


def closeups(
    clip: MultiViewClip,
    track: Track,
    times: Sequence[int],
    side: float | None = None,
    views: Sequence[int] | None = None,
    pixels: int = 240,
) -> np.ndarray:
    """A row per time, a column per view, each cut to the square that a ball about the animal fills.

    Args:
        clip: what is shown.
        track: a row for each frame of the clip, or for each of `times`.
        times: frames to show.
        side: diameter of the ball, world units (default: `track_extent`).
        views: numbers of the views (default: all).
        pixels: width of each picture.

    Returns:
        One RGB image.
    """
    views = list(range(clip.rig.views)) if views is None else list(views)
    side = track_extent(track) if side is None else side
    colours, sheets = skeleton_colours(track.skeleton), []
    for row, t in _rows(clip, track, times):
        images, near = cutouts(clip, track, row, t, views=views, side=side, pixels=pixels)
        sheets.append(
            overlay(
                images,
                near.ndc_from_world(track.world[row][None])[0],
                track.skeleton.edges,
                colours,
                frame=t,
                scale=1,
                confidence=track.confidence[row],
                names=near.names,
                columns=len(views),
            )
        )
    return np.concatenate(sheets)


def keypoint_crops(
    clip: MultiViewClip, track: Track, keypoint: int, count: int = 6, pixels: int = 140
) -> np.ndarray:
    """Who is this keypoint? Moments in which it is sure, each by another camera, about it.

    The clip's moments are parted into `count` stretches; of each the surest one is shown, in the
    next view that has the point in the picture.

    Args:
        clip: what is shown.
        track: a row for each frame of the clip.
        keypoint: its number.
        count: of the pictures.
        pixels: width of each.

    Returns:
        One row as an RGB image.
    """
    sure = track.confidence[:, keypoint] * track.world[:, keypoint].isfinite().all(-1)
    parts = torch.arange(len(sure)).tensor_split(min(count, len(sure)))
    times = [int(part[sure[part].argmax()]) for part in parts]
    one = replace(track, world=track.world[:, [keypoint]].nan_to_num())
    colour, side, tiles = skeleton_colours(track.skeleton)[keypoint], track_extent(track), []
    for n, t in enumerate(times):
        seen = (clip.rig.ndc_from_world(one.world[t]).abs() < 1).all(-1)[:, 0].nonzero()[:, 0]
        view = int(seen[n % len(seen)]) if len(seen) else n % clip.rig.views
        image, near = cutouts(clip, one, t, t, views=[view], side=side, pixels=pixels)
        ndc = near.ndc_from_world(one.world[t][None])[0]
        tiles.append(overlay(image, ndc, (), [colour], frame=t, names=near.names, scale=1))
    return np.concatenate(tiles, 1)


# ---- small, for a page ---------------------------------------------------------------------------
def filmstrip(
    clip: MultiViewClip,
    track: Track,
    times: Sequence[int],
    views: Sequence[int],
    pixels: int = 112,
    total: int = 2_000_000,
) -> tuple[list[str], Tensor, tuple[int, int]]:
    """Small pictures of some views, for players in a page.

    They stand still around all the places where the animal goes.

    Args:
        clip: what is shown.
        track: a row for each frame of the clip, or for each of `times`.
        times: T frames to show.
        views: numbers of the V views.
        pixels: width of each view, which is cut to a square.
        total: characters that all addresses may take together; the JPEG quality is the best that
            keeps to it.

    Returns:
        A JPEG address per time (the views as one mosaic); the keypoints in the mosaic's pixels,
        (T, V, K, 2), NaN where they leave their view; the mosaic's (rows, columns).
    """
    rows = [row for row, _ in _rows(clip, track, times)]
    px = clip.rig.take(list(views)).px_from_world(track.world[rows].flatten(0, 1))
    px = px.unflatten(1, (len(rows), -1))  # (V, T, K, 2)
    corner, side = _still_squares(px)
    boxes = torch.cat([corner, corner + side], -1).tolist()
    small = ((px - corner[:, None, None]) / side[:, None, None] * pixels).movedim(0, 1)
    small[((small < 0) | (small > pixels)).any(-1)] = torch.nan
    shape = grid_shape(len(boxes))
    places = torch.tensor([[n % shape[1], n // shape[1]] for n in range(len(boxes))])

    def sheet(t: int) -> np.ndarray:
        return mosaic([_cut(clip.frames[int(t)][v], box, pixels) for v, box in zip(views, boxes)])

    trial = [sheet(times[n]) for n in {0, len(times) // 2, len(times) - 1}]
    quality = _best_quality(trial, 0.95 * total / len(times))
    return [data_uri(sheet(t), quality) for t in times], small + pixels * places[:, None], shape


def _still_squares(px: Tensor) -> tuple[Tensor, Tensor]:
    """A square per view that holds nearly all of px (V, T, K, 2): corner (V, 2), side (V, 1)."""
    low, high = px.flatten(1, 2).nan_to_num().quantile(torch.tensor([0.02, 0.98]), 1)
    side = (1.35 * (high - low).amax(-1, keepdim=True)).clamp(min=16)
    return (low + high - side) / 2, side


def _best_quality(images: Sequence[np.ndarray], room: float) -> int:
    """The best JPEG quality at which none of the images takes more than `room` characters."""
    for quality in range(80, 5, -5):
        if max(len(data_uri(image, quality)) for image in images) <= room:
            return quality
    return 5
