"""Tracking: keypoints of a whole recording with a trained model."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..cameras import CameraRig, triangulate
from ..clips.clip import MultiViewClip, Survey
from ..clips.survey import survey as look
from ..clips.tracks import Track
from ..model.discoverer import Discoverer
from ..model.edges import strongest_edges
from ..model.lifts import Keypoints
from ..model.losses import lengths
from ..recipes import Recipe
from .precision import settle


# ---- tracking ----------------------------------------------------------------------------------------------------
@torch.no_grad()
def track(
    model: Discoverer,
    recipe: Recipe,
    clip: MultiViewClip,
    survey: Survey | None = None,
    times=None,
    batch: int | None = None,
    turns: int = 1,
) -> Track:
    """Keypoints of every frame (or of `times`): world (T, K, 3), confidence (T, K), the strongest learned edges as skeleton.

    Keypoints that know images alone (lift flat) are triangulated here, by confidence. turns: average the keypoints over so
    many turns of the volume about the vertical (a switch beyond the paper; 1: paper). batch: frame sets at a time (default: 8; of a
    large recipe on a CPU 1, where more would take memory and no less time).
    """
    survey = (
        look(clip, recipe.volume.side, thumbs=False)
        if survey is None and recipe.surveyed
        else survey
    )
    device = next(model.parameters()).device
    settle(large=recipe.compute.checkpointing, tracking=True)
    model.eval()
    batch = batch or (1 if recipe.compute.checkpointing and device.type == "cpu" else 8)
    times = torch.arange(len(clip)) if times is None else torch.as_tensor(times)
    world, weight = [], []
    for some in times.split(batch):
        seen = clip.batch(some, None, recipe.data.image_wh, survey, recipe.volume.crop).to(device)
        angles = [
            torch.full((len(some),), 2 * math.pi * i / turns, device=device) for i in range(turns)
        ]
        found = [model.keypoints(replace(seen, turn=a) if turns > 1 else seen) for a in angles]
        world.append(torch.stack([in_space(f, seen.rig) for f in found]).mean(0).cpu())
        weight.append(torch.stack([f.confidence.mean(1) for f in found]).mean(0).cpu())
    world = torch.cat(world)
    pairs, typical = model.edges.pairs.cpu(), world[:: max(1, len(world) // 100)]
    skeleton = strongest_edges(
        pairs,
        model.edges.weights.detach().cpu(),
        recipe.keypoints,
        length=lengths(typical, pairs).mean(0),
    )
    return Track(world, torch.cat(weight), skeleton, clip.fps, clip.rig.unit)


def in_space(found: Keypoints, rig: CameraRig) -> Tensor:
    """Keypoints (B, K, 3) in the world; where the lift gave none, triangulated from the views by confidence (NaN: fewer than 2 views)."""
    return (
        triangulate(rig, rig.px_from_ndc(found.ndc), found.confidence)
        if found.world is None
        else found.world
    )
