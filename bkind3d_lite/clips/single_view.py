"""Single view: one camera of a calibrated clip, as if nobody had calibrated it."""

from __future__ import annotations

from dataclasses import replace

from ..image_plane import image_plane
from .clip import MultiViewClip
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
        marks=marks,
        name=f"{clip.name} ({name})",
    )
