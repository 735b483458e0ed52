"""Single view: one camera of a calibrated clip, as if nobody had calibrated it; one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage
from torch import Tensor

from ..image_plane import image_plane
from .clip import MultiViewClip, Survey
from .survey import survey_views
from .videos import Frames


def one_view(clip: MultiViewClip, view: int) -> MultiViewClip:
    """What one camera of a calibrated clip sees, its calibration forgotten.

    The true joints stay as marks in its image, where scores of keypoints in the image read them.

    Args:
        clip: V calibrated views.
        view: number of one of them.

    Returns:
        A clip of one uncalibrated view.
    """
    frames, rig = clip.frames, clip.rig
    marks = None if clip.marks is None else clip.marks[:, [view]]
    if marks is None and clip.truth is not None:
        joints = clip.truth.flatten(0, 1)
        px = rig.take([view]).px_from_world(joints.nan_to_num())[0]
        px = px.masked_fill(~joints.isfinite().all(-1, keepdim=True), float("nan"))
        marks = px.unflatten(0, clip.truth.shape[:2])[:, None]
    if isinstance(frames, Frames):
        frames = Frames((frames.videos[view],), rig.wh, frames.budget)
    else:
        frames = frames[:, [view]]
    name = rig.names[view]
    return replace(
        clip,
        frames=frames,
        rig=image_plane(name, rig.wh),
        truth=None,
        trust=None,
        marks=marks,
        name=f"{clip.name} ({name})",
    )


def picture_clip(path: str | Path, box: Sequence[float] | None = None) -> MultiViewClip:
    """A single picture as a clip of one frame.

    Args:
        path: of the image.
        box: x, y, width, height of the body in pixels; None: all of the picture.

    Returns:
        A clip of one uncalibrated view that knows its box.

    Raises:
        ValueError: it is no image, or the box has no part in it.
        FileNotFoundError: nothing is there.
    """
    try:
        with Image.open(path) as file:
            image = torch.from_numpy(np.array(ImageOps.exif_transpose(file).convert("RGB")))
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not an image that can be read ({error})") from error
    H, W = image.shape[:2]
    x, y, w, h = (0.0, 0.0, float(W), float(H)) if box is None else box
    if w <= 0 or h <= 0 or x >= W or y >= H or x + w <= 0 or y + h <= 0:
        raise ValueError(
            f"{path}: the box {x:g} {y:g} {w:g} {h:g} has no part in a picture of {W} x {H} "
            "pixels; give x, y, width and height, from the upper left corner"
        )
    return MultiViewClip(
        frames=image[None, None],
        rig=image_plane(Path(path).stem, (W, H)),
        fps=1.0,
        boxes=torch.tensor([[x, y, w, h]]),
        name=str(path),
    )


def body_boxes(clip: MultiViewClip, survey: Survey | None = None) -> Tensor:
    """Where the body is in every picture: the clip's boxes, else the largest piece of foreground.

    Args:
        clip: of static cameras, if it has no boxes.
        survey: of it, with `thumbs`; None: made here.

    Returns:
        (T, V, 4) x, y, width, height in pixels; where nothing stands out, of the nearest frame in
        which something does.

    Raises:
        ValueError: nothing moves, and there are no boxes.
    """
    if clip.boxes is not None:
        return clip.boxes[:, None]
    try:
        thumbs = (survey or survey_views(clip)).thumbs
    except ValueError as error:
        raise ValueError(f"{error} (or say where the body is in boxes.csv)") from error
    scale = torch.tensor(clip.rig.wh) / torch.tensor(thumbs.shape[:-3:-1])
    boxes = torch.stack([torch.stack([_largest_box(x) for x in views]) for views in thumbs])
    for v in range(clip.rig.views):
        there = boxes[:, v, 2].nonzero()[:, 0]
        nearest = (torch.arange(len(boxes))[:, None] - there).abs().argmin(1)
        boxes[:, v] = boxes[there[nearest], v]
    return boxes * scale.repeat(2)


def _largest_box(thumb: Tensor) -> Tensor:
    """x, y, width, height of the largest piece of a foreground (h, w) uint8; none: zeros."""
    pieces, count = ndimage.label(thumb.numpy() > 127, np.ones((3, 3)))
    if not count:
        return torch.zeros(4)
    sizes = np.bincount(pieces.ravel())[1:]
    y, x = ndimage.find_objects(pieces)[int(sizes.argmax())]
    return torch.tensor([x.start, y.start, x.stop - x.start, y.stop - y.start]).float()
