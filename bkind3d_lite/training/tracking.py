"""Tracking: keypoints of a whole recording with a trained model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..cameras import CameraRig, triangulate
from ..clips.clip import Batch, MultiViewClip, Survey
from ..clips.heading import rotated, wrapped
from ..clips.survey import survey as survey_clip
from ..clips.tracks import Skeleton, Track
from ..image_plane import world_needed
from ..model.discoverer import Discoverer
from ..model.edges import strongest_edges
from ..model.keypoints import Keypoints
from ..model.losses import lengths
from ..recipes import Recipe, VolumeRecipe
from .orientation import oriented
from .precision import settle, tracks_alone
from .prefetch import prefetch


@torch.no_grad()
def track(
    model: Discoverer,
    recipe: Recipe,
    clip: MultiViewClip,
    survey: Survey | None = None,
    times: Sequence[int] | Tensor | None = None,
    *,
    batch: int | None = None,
    turns: int | None = None,
) -> Track:
    """Keypoints of every frame, with the strongest learned edges as skeleton, and the heading.

    Keypoints that know images alone (lift flat) are triangulated here, by confidence.

    Args:
        model: trained.
        recipe: that it was trained with, placed.
        clip: to track.
        survey: of the clip; None: made here if the recipe asks for one.
        times: (T,) frames; None: all.
        batch: frame sets at a time; None: 8, or of a large recipe on a CPU 1, where more would
            take memory and no less time.
        turns: average the keypoints over so many volumes, turned and shifted a little (a switch
            beyond the paper; 1: paper); None: the recipe's.

    Returns:
        A track of T rows: world (T, K, 3), confidence (T, K); heading and its confidence (T,)
        where the survey found one.
    """
    if survey is None and recipe.surveyed:
        survey = survey_clip(clip, recipe.volume.side, thumbs=False, uncover=recipe.data.uncover)
    survey = oriented(model, clip, survey)
    device = next(model.parameters()).device
    world_needed(clip.rig, "a track in space (`track_images` makes one in the image)")
    settle(recipe.compute.large, hold=recipe.compute.hold or tracks_alone(model))
    model.eval()
    batch = batch or (1 if recipe.compute.large and device.type == "cpu" else 8)
    times = torch.arange(len(clip)) if times is None else torch.as_tensor(times)
    recipe = recipe if turns is None else recipe.with_(turns=turns)
    parts = []
    for frames in _ahead(_sets(clip, recipe, survey, times.split(batch)), device):
        said = _over_turns(model, recipe.volume, frames.to(device))
        parts.append({name: value.cpu() for name, value in said.items()})
    told = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    about: dict[str, Any] = dict(fps=clip.fps, unit=clip.rig.unit) | faced_at(survey, times)
    about |= {name: value[times] for name, value in clip.clock.items()}
    return Track(skeleton=drawn_skeleton(model, told["world"]), **about | told)


def _sets(
    clip: MultiViewClip, recipe: Recipe, survey: Survey | None, parts: Sequence[Tensor]
) -> Iterator[Batch]:
    """Frame sets of some times after the other, the volume ahead of the animal if it is to be."""
    size, crop = recipe.data.image_wh, recipe.volume.crop
    for times in parts:
        turn = faced_at(survey, times).get("heading") if recipe.volume.by_heading else None
        yield clip.batch(times, None, size, survey, crop, turn=turn)


def _ahead(sets: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Decoded while a GPU computes; a CPU has no core to spare for that, nor the memory."""
    return prefetch(sets, device) if device.type == "cuda" else sets


def faced_at(survey: Survey | None, times: Tensor) -> dict[str, Any]:
    """Heading and its confidence at these times, as a `Track` names them.

    Args:
        survey: of the clip.
        times: (B,) frames.

    Returns:
        (B,) each, or {} where the heading was not found.
    """
    heading = None if survey is None else survey.heading
    if heading is None or not heading.found:
        return {}
    return dict(heading=heading.angle[times], heading_confidence=heading.confidence[times])


def _over_turns(model: Discoverer, volume: VolumeRecipe, batch: Batch) -> dict[str, Tensor]:
    """World (B, K, 3), confidence (B, K), and of a volume the covariance (B, K, 3, 3).

    Averaged over the recipe's turns, if there is a volume. Where the keypoints made the heading
    finer, it is told, too: (B,).
    """
    maps = model.encoded(batch.now)[1]
    finer = realigned(model, volume, batch, maps)
    several = volume.turns > 1 and model.lift.has_volume
    asked = turned_volumes(finer, volume) if several else [finer]
    keypoints = [model.lift(maps, batch.now, frames) for frames in asked]
    world = torch.stack([in_space(k, batch.rig) for k in keypoints]).mean(0)
    told = {
        "world": world,
        "confidence": torch.stack([k.confidence.mean(1) for k in keypoints]).mean(0),
    }
    spread = [k.covariance for k in keypoints if k.covariance is not None]
    if spread and spread[0].ndim == 4:  # not (B, V, K, 2, 2) of images
        told["covariance"] = torch.stack(spread).mean(0)
    if finer.turn is not None and finer is not batch:
        told["heading"] = finer.turn
    return told


def realigned(model: Discoverer, volume: VolumeRecipe, batch: Batch, maps: Tensor) -> Batch:
    """The same moments, their volumes turned on to where the keypoints fit their mean figure.

    Args:
        model: with a mean figure that training taught; without one nothing changes.
        volume: the recipe's, whether to do so at all, and not farther than training swung it.
        batch: of some moments, turned by the heading; not turned, nothing changes.
        maps: that the model encodes of them.

    Returns:
        The batch, looked at once.
    """
    if not volume.realign or batch.turn is None:
        return batch
    if model.figure is None or not model.figure.mean.any():
        return batch
    first = model.lift(maps, batch.now, batch)
    if first.world is None:
        return batch
    off = model.figure.off(first.world, batch.turn, most=volume.swing)
    return replace(batch, turn=wrapped(batch.turn + off))


def turned_volumes(batch: Batch, volume: VolumeRecipe) -> list[Batch]:
    """The same moments in volumes that stand a little otherwise.

    Turned as in training: to either side of the heading, by at most two thirds of the swing, or of
    where it stands if the heading of this recording was not found: a figure that turns with its
    volume has no mean over half a turn. A volume that no heading led is turned all the way round. A
    cube that follows the animal is shifted by a quarter of a voxel, to and fro along each of its
    axes: where the voxels happen to lie is averaged out.

    Args:
        batch: of some moments.
        volume: the recipe's, with the number of `turns`.

    Returns:
        As many batches.
    """
    if volume.turns == 1:
        return [batch]
    cell = (volume.cube or 0.0) / volume.voxels
    zigzag = cell / 4 * batch.rig.K.new_tensor([1.0, -1.0, 1.0])
    led = batch.turn
    if led is None and volume.turn and volume.by_heading:
        led = batch.rig.K.new_zeros(len(batch.index))
    ways = []
    for i in range(volume.turns):
        turn, centre = led, batch.centre
        if turn is not None:
            turn = turn + volume.swing * (2 * i / (volume.turns - 1) - 1) * 2 / 3
        elif volume.turn:
            turn = batch.rig.K.new_full((len(batch.index),), 2 * math.pi * i / volume.turns)
        if centre is not None:
            shift = (-1) ** i * zigzag.expand(len(centre), 1, 3)
            centre = centre + (shift if turn is None else rotated(shift, turn))[:, 0]
        ways.append(replace(batch, turn=turn, centre=centre))
    return ways


def drawn_skeleton(model: Discoverer, world: Tensor) -> Skeleton:
    """What the model draws most strongly for its length; of points alone, what is short.

    Args:
        model: trained.
        world: (T, K, 2 or 3) keypoints, of which some hundred poses are measured.

    Returns:
        Names and edges.
    """
    return skeleton_among(model.edges.pairs.cpu(), model.edges.weights.detach().cpu(), world)


def skeleton_among(pairs: Tensor, weights: Tensor, world: Tensor) -> Skeleton:
    """As `drawn_skeleton`, where the model itself is not at hand.

    Args:
        pairs: (E, 2) keypoints.
        weights: (E,) how strongly each pair is drawn.
        world: (T, K, 2 or 3) keypoints.

    Returns:
        Names and edges.
    """
    length = lengths(world[:: max(1, len(world) // 100)], pairs).mean(0)
    return strongest_edges(pairs, weights, world.shape[1], length=length)


def in_space(keypoints: Keypoints, rig: CameraRig) -> Tensor:
    """Keypoints in the world; where the lift gave none, triangulated by confidence.

    Args:
        keypoints: (B, V, K) of a batch.
        rig: the batch's cameras.

    Returns:
        (B, K, 3) world units; NaN: triangulated from fewer than 2 views.
    """
    if keypoints.world is not None:
        return keypoints.world
    return triangulate(rig, rig.px_from_ndc(keypoints.ndc), keypoints.confidence)
