"""Image tracking: keypoints of a whole recording in each camera's pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..cameras import CameraRig
from ..clips.clip import MultiViewClip, Survey
from ..clips.image_tracks import Track2D
from ..clips.survey import survey as survey_clip
from ..model.discoverer import Discoverer
from ..model.keypoints import Keypoints
from ..poses2d import Poses2D
from ..recipes import Recipe
from .orientation import oriented
from .precision import settle, tracks_alone
from .tracking import drawn_skeleton, faced_at


@torch.no_grad()
def track_images(
    model: Discoverer,
    recipe: Recipe,
    clip: MultiViewClip,
    survey: Survey | None = None,
    times: Sequence[int] | Tensor | None = None,
    *,
    batch: int = 8,
) -> list[Track2D]:
    """Keypoints of every frame in the pixels of every view; a calibration is not needed.

    Args:
        model: trained; of one that knows a world, its keypoints are projected.
        recipe: that it was trained with, placed.
        clip: to track.
        survey: of the clip; None: made here if the recipe asks for one.
        times: (T,) frames; None: all.
        batch: frame sets at a time.

    Returns:
        A track of T rows for each view; covariance and peak of its own heatmaps, not of a volume's.
    """
    if survey is None and recipe.surveyed:
        survey = survey_clip(clip, recipe.volume.side, thumbs=False)
    survey = oriented(model, clip, survey)
    device = next(model.parameters()).device
    settle(recipe.compute.large, hold=recipe.compute.hold or tracks_alone(model))
    model.eval()
    times = torch.arange(len(clip)) if times is None else torch.as_tensor(times)
    parts, size, crop = [], recipe.data.image_wh, recipe.volume.crop
    for some in times.split(batch):
        turn = faced_at(survey, some).get("heading") if recipe.volume.by_heading else None
        frames = clip.batch(some, None, size, survey, crop, turn=turn)
        keypoints = model.keypoints(frames.to(device))
        parts.append(_in_pixels(keypoints, frames.rig.to(device), clip.rig.to(device)))
    px, confidence, *more = (torch.cat(part).movedim(1, 0).cpu() for part in zip(*parts))
    spread = dict(zip(("covariance", "peak"), more))
    return [
        Track2D(
            px=px[v],
            confidence=confidence[v],
            skeleton=drawn_skeleton(model, px[v]),
            fps=clip.fps,
            wh=clip.rig.wh,
            camera=name,
            **{key: value[v] for key, value in spread.items()},
            **{key: value[times] for key, value in clip.clock.items()},
        )
        for v, name in enumerate(clip.rig.names)
    ]


def discovered_poses(
    model: Discoverer,
    recipe: Recipe,
    clip: MultiViewClip,
    times: Sequence[int] | Tensor | None = None,
) -> Poses2D:
    """Keypoints that nobody labelled as 2D poses: what detectors are for others.

    Weights are shared between views, so that the k-th keypoint is the same one in all of them.

    Args:
        model: trained; only a flat one (lift flat) knows nothing of the calibration.
        recipe: that it was trained with, placed.
        clip: to look at.
        times: (T,) frames; None: all.

    Returns:
        Poses of keypoints k0, k1, ..., weighted by their confidence.
    """
    times = torch.arange(len(clip)) if times is None else torch.as_tensor(times)
    tracks = track_images(model, recipe, clip, None, times)
    return Poses2D(
        px=torch.stack([track.px for track in tracks], 1),
        weight=torch.stack([track.confidence for track in tracks], 1),
        names=tuple(f"k{k}" for k in range(tracks[0].px.shape[1])),
        cameras=clip.rig.names,
        frames=times,
    )


def _in_pixels(keypoints: Keypoints, cut: CameraRig, whole: CameraRig) -> list[Tensor]:
    """Pixels (B, V, K, 2) of the whole images, confidence, and of images covariance and peak.

    The cut images' cameras (B, V) know where they were cut: through the plane z = 1 it is exact.
    """
    px = whole.px_from_flat(cut.flat_from_px(cut.px_from_ndc(keypoints.ndc)))
    found = [px, keypoints.confidence]
    if keypoints.covariance is None or keypoints.peak is None or keypoints.covariance.ndim != 5:
        return found
    half = keypoints.ndc.new_tensor(cut.wh) / 2  # pixels of the cut image in one ndc
    focal = torch.stack([whole.K[:, 0, 0] / cut.K[..., 0, 0], whole.K[:, 1, 1] / cut.K[..., 1, 1]])
    scale = focal.movedim(0, -1)[:, :, None] * half
    covariance = scale[..., :, None] * keypoints.covariance * scale[..., None, :]
    return [*found, covariance, keypoints.peak]
