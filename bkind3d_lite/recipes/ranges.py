"""Ranges: which numbers make sense in a recipe, said before anything is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENDLESS = 1e12


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, both included unless `above` leaves out the first."""

    least: float
    most: float = ENDLESS
    above: bool = False
    odd: bool = False

    def __contains__(self, value: float) -> bool:
        inside = self.least < value if self.above else self.least <= value
        return inside and value <= self.most and not (self.odd and value % 2 == 0)

    def __str__(self) -> str:
        odd = "an odd number " if self.odd else ""
        if self.most >= ENDLESS:
            return f"{odd}above {self.least:g}" if self.above else f"{odd}at least {self.least:g}"
        if self.above:
            return f"{odd}above {self.least:g}, at most {self.most:g}"
        return f"{odd}from {self.least:g} to {self.most:g}"


POSITIVE = Range(0, above=True)
WEIGHT = Range(0)
WIDTH = Range(1, 4096)
# Of every number in a recipe; of several, each.
RANGES: dict[str, Range] = {
    "keypoints": Range(2, 500),
    "image_wh": Range(16, 8192),
    "gaps": Range(0, 3600, above=True),
    "batch": Range(1, 4096),
    "views_per_step": Range(1, 64),
    "voxels": Range(4, 512),
    "side": POSITIVE,
    "centre": Range(-ENDLESS, ENDLESS),
    "animal_side": POSITIVE,
    "animal_lengths": Range(0, 100, above=True),
    "jitter": Range(0, 0.5),
    "swing": Range(0, math.pi),
    "look_steps": Range(0, 1e6),
    "turns": Range(1, 360),
    "near": POSITIVE,
    "far": POSITIVE,
    "encoder_width": Range(2, 4096),
    "channels": WIDTH,
    "v2v_width": WIDTH,
    "v2v_levels": Range(0, 8),
    "v2v_front": Range(1, 15, odd=True),
    "decoder_width": WIDTH,
    "decoder_steps": Range(0, 8),
    "decoder_widths": WIDTH,
    "sigma": Range(0, 10, above=True),
    "sigmas": Range(0, 10, above=True),
    "warmup": WEIGHT,
    "separate": WEIGHT,
    "separate_sigma": POSITIVE,
    "length": WEIGHT,
    "reproject": WEIGHT,
    "rotate": WEIGHT,
    "agree": WEIGHT,
    "cover": WEIGHT,
    "cover_body": WEIGHT,
    "steady": WEIGHT,
    "sure": WEIGHT,
    "steps": Range(1),
    "learning_rate": Range(0, 100, above=True),
    "edge_learning_rate": Range(0, 100),
    "weight_decay": Range(0, 100),
    "grad_clip": POSITIVE,
    "sharpness": POSITIVE,
    "hull": WEIGHT,
    "hull_blur": Range(1, 99, odd=True),
    "twins": Range(0, 1),
    "memory": Range(0.1, 1e6),
    "depth_cells": Range(1, 512),
    "margin": Range(0, 100, above=True),
    "beta": Range(0, 10, above=True),
    "tilt": Range(0, 180),
    "zoom": Range(0, 0.9),
    "nudge": Range(0, 1),
    "tint": Range(0, 1),
    "occlude_share": Range(0, 1),
}


# Of arguments beside the recipe.
ARGUMENTS = {
    "seed": Range(0),
    "checkpoint_every": Range(1),
    "pictures_every": Range(0),
    "most_frames": Range(2),
}


def refuse_outside(values: Mapping[str, Any]) -> None:
    """Refuse numbers that make no sense.

    Args:
        values: leaves and arguments by name; None and words are not looked at.

    Raises:
        ValueError: one is outside its range; names it, its value and the range.
    """
    ranges = RANGES | ARGUMENTS
    for name, value in values.items():
        if name not in ranges or value is None or isinstance(value, str):
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if number not in ranges[name]:
                each = ", each" if isinstance(value, tuple) else ""
                shown = list(value) if isinstance(value, tuple) else value
                raise ValueError(f"{name} = {shown}; expected {ranges[name]}{each}")


def refuse_unfit(
    *,
    lift: str,
    explain: str,
    voxels: int,
    v2v_levels: int,
    near: float | None,
    far: float | None,
) -> None:
    """Refuse numbers that do not fit together.

    Args:
        lift: from maps to keypoints.
        explain: what is learned from.
        voxels: per side.
        v2v_levels: halvings of the volume.
        near: the nearest depth that is considered; None: the volume's.
        far: the farthest.

    Raises:
        ValueError: the volume cannot be halved so often, no depth is left, or labels are to teach
            what discovers, or the other way round.
    """
    if (lift == "integral") != (explain == "labels"):
        raise ValueError(
            f"lift = {lift!r}, explain = {explain!r}; poses from one image (integral) are learned "
            "from labels, and nothing else is: take the recipe student as it is"
        )
    if lift == "volumetric" and voxels % (1 << v2v_levels):
        raise ValueError(
            f"voxels = {voxels}; expected a multiple of {1 << v2v_levels}, which can be halved "
            f"v2v_levels = {v2v_levels} times"
        )
    if near is not None and far is not None and near >= far:
        raise ValueError(f"near = {near}; expected less than far = {far}")
