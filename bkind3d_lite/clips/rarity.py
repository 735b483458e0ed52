"""Rarity: how unusual the animal's shape is in every frame, without labels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cameras import CameraRig
from ..volumes import Grid, hull
from .extent import animal_length
from .foreground import Survey

BODY_ROOM = 1.24  # side of the cube in which shapes are compared, in animal lengths
BODY_CELLS = 16  # of it, per side
WATCHED = 1500  # moments that are looked at, evenly; the frames after one are taken to be like it
SELDOM = 0.1  # share of the time in which a place is full that still counts as rarer than another


def shape_rarity(survey: Survey, rig: CameraRig) -> Tensor:
    """How unusual the visual hull is, seen from the animal itself.

    In a cube that stands at the animal and turns with it, every voxel of the hull counts the more
    the more seldom it is full: 1 / (share of the frames + `SELDOM`). A person who walks with arms
    down is the usual shape, one who lifts an arm the unusual one.

    Args:
        survey: of a clip, with thumbs.
        rig: its cameras.

    Returns:
        (T,), 1 on average; all 1 where the heading was not found.
    """
    if survey.heading is None or not survey.heading.found:
        return torch.ones(len(survey.centre))
    side, full, T = BODY_ROOM * animal_length(survey, rig), [], len(survey.centre)
    every = -(-T // WATCHED)
    for some in torch.arange(0, T, every).split(24):
        place = Grid(survey.centre[some], side, BODY_CELLS, turn=survey.heading.angle[some])
        moving = survey.thumbs[some, :, None].float() / 255
        votes = hull(moving, rig.ndc_from_world(place.points.flatten(1, 3)))
        full.append((2 * votes.exp() - 1).clamp(min=0))
    occupied = torch.cat(full)
    rarity = (occupied / (occupied.mean(0) + SELDOM)).sum(1).repeat_interleave(every)[:T]
    return rarity / rarity.mean().clamp(min=1e-6)
