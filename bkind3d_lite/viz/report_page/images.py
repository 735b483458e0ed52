"""The report's pictures, and how they travel inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ...clips.clip import MultiViewClip
from ...clips.tracks import Skeleton, Track
from ..colours import GREY, skeleton_colours
from ..films import closeups
from ..plots import boxed, loss_curves, pose


def stills(
    track: Track,
    times: Sequence[int],
    truth: Tensor | None = None,
    skeleton: Skeleton | None = None,
) -> Figure:
    """A row of 3D poses in matplotlib, equal axes of one extent.

    Args:
        track: keypoints and edges.
        times: rows of the track, a pose each.
        truth: (T, J, 3) true joints, in grey.
        skeleton: bones of the truth.

    Returns:
        The figure.
    """
    size, space = (3.4 * len(times), 3.4), dict(projection="3d")
    figure, axes = plt.subplots(1, len(times), figsize=size, subplot_kw=space, squeeze=False)
    figure.subplots_adjust(0, 0.04, 0.97, 0.98, 0.06)
    boxes = [_box(track.world[t], None if truth is None else truth[t]) for t in times]
    half = 0.55 * max(extent for _, extent in boxes)
    colours, bones = skeleton_colours(track.skeleton), skeleton.edges if skeleton else ()
    seconds = track.clock["seconds"].tolist()
    for ax, t, (middle, _) in zip(axes[0], times, boxes):
        if truth is not None:
            pose(ax, truth[t], bones, [GREY] * len(truth[t]), 1.2, 6)
        pose(ax, track.world[t], track.skeleton.edges, colours, 2, 22)
        boxed(ax, middle, half, track.unit).set_title(f"{seconds[t]:.2f} s", y=0.97)
    return figure


def _box(points: Tensor, truth: Tensor | None) -> tuple[np.ndarray, float]:
    """Middle (3) and extent of the truth, where it is known, or of the keypoints."""
    cloud = np.asarray(points if truth is None or truth.isnan().all() else truth, np.float64)
    low, high = np.nanmin(cloud, 0), np.nanmax(cloud, 0)
    return (high + low) / 2, float(np.nanmax(high - low))


def pictures(
    clip: MultiViewClip,
    track: Track,
    rows: Sequence[Mapping] = (),
    times: Sequence[int] | None = None,
    views: Sequence[int] | None = None,
) -> dict[str, Figure | np.ndarray]:
    """The page's usual pictures with their captions: `figures` for `write_report`.

    Args:
        clip: what is shown.
        track: a row for each frame of the clip.
        rows: of losses.csv.
        times: frames to show (default: three, evenly spread over those with truth).
        views: cameras to show (default: the first four).

    Returns:
        Caption -> matplotlib figure or RGB image.
    """
    # where there is something to compare with
    frames = clip.labelled if len(clip.labelled) else range(len(clip))
    times = [int(frames[len(frames) * n // 6]) for n in (1, 3, 5)] if times is None else list(times)
    views = list(range(min(4, clip.rig.views))) if views is None else list(views)
    cut = (
        f"Held-out frames, {len(views)} of {clip.rig.views} views cut around the keypoints, "
        "which are projected into them. Rings and pale edges: low confidence."
    )
    grey = ", and the true one in grey," if clip.truth is not None else ""
    shown: dict[str, Figure | np.ndarray] = {
        cut: closeups(clip, track, times, views=views),
        f"The skeleton found, in colour{grey} at the same times.": stills(
            track, times, clip.truth, clip.skeleton
        ),
    }
    if rows:
        figure = loss_curves(rows).figure
        assert isinstance(figure, Figure)
        shown["Training: the weighted terms of the loss."] = figure
    return shown


def embedded(picture: Figure | np.ndarray, caption: str) -> str:
    """A picture inside the page, with its caption.

    Args:
        picture: a matplotlib figure, which becomes a PNG and is closed, or an RGB image
            (H, W, 3) uint8, which becomes a JPEG (photographs: a tenth of the size).
        caption: plain text.

    Returns:
        HTML.
    """
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format="png", dpi=130, facecolor="white")
        plt.close(picture)  # pyplot would keep it open for ever
        kind, style = "png", ' class="plot"'
    else:
        Image.fromarray(np.asarray(picture)).save(buffer, "JPEG", quality=86)
        kind, style = "jpeg", ""
    data, text = base64.b64encode(buffer.getvalue()).decode(), escape(caption)
    image = f'<img{style} alt="{text}" src="data:image/{kind};base64,{data}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
