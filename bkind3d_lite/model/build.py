"""Build: a recipe becomes a model and its objective."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import nn

from ..cameras import CameraRig
from ..clips.clip import Survey
from ..clips.survey import extent, region
from ..recipes import Recipe
from ..volumes import overlap
from .discoverer import Discoverer
from .edges import EdgeBottleneck, PointBottleneck
from .lifts import Depth, Flat, Lift, Triangulated, Volumetric
from .networks import Decoder, Encoder
from .objective import Objective


def placed(recipe: Recipe, rig: CameraRig, survey: Survey | None = None) -> Recipe:
    """The recipe with its volume placed, unless it names centre and side: where the animal goes, or, without a survey, where
    the views overlap. Never the world's origin, which calibrations put anywhere. `reach` becomes `follow`, which needs the survey.
    """
    middle, width = overlap(rig)
    if recipe.reach is not None and recipe.follow is None:
        if survey is None:
            raise ValueError(
                f"reach = {recipe.reach} asks for the animal's extent: place the recipe with a survey (placed(recipe, clip.rig, "
                "motion.survey(clip))), or give follow, the side of the cube in world units"
            )
        recipe = replace(recipe, follow=float(f"{recipe.reach * extent(survey, rig):.3g}"))
    if survey is not None and recipe.follow is None:
        middle, side = region(survey, rig)
        width = min(side, width)
    return replace(
        recipe, side=recipe.side or width, centre=recipe.centre or tuple(middle.tolist())
    )


def build(recipe: Recipe, seed: int = 0) -> tuple[Discoverer, Objective]:
    """The model and its objective, weights from `seed`; the recipe must be `placed`. Raises `ValueError` at a name it does not know."""
    with torch.random.fork_rng(devices=[]):
        model = build_model(recipe, seed)
        objective = Objective(recipe, len(model.edges.pairs), recipe.follow or recipe.side)
        return model, _channels_last(objective) if recipe.channels_last else objective


def build_model(recipe: Recipe, seed: int = 0, decoder: bool = True) -> Discoverer:
    """The model alone. decoder=False: its decoder has shapes and no contents, which tracking has no use for.

    Sets PyTorch's global seed, so that what is built next follows from it, too.
    """
    torch.manual_seed(seed)
    maps = {"volumetric": recipe.channels, "depth": 2 * recipe.keypoints}.get(
        recipe.lift, recipe.keypoints
    )
    encoder = Encoder(
        3 + recipe.background,
        maps,
        recipe.width,
        recipe.backbone,
        recipe.pretrained,
        recipe.pyramid,
        recipe.checkpointing,
    )
    lift, edges = _lift(recipe, recipe.follow or recipe.side), _bottleneck(recipe, seed)
    with nullcontext() if decoder else torch.device("meta"):
        decoder = Decoder(
            encoder.features,
            recipe.decoder_width,
            recipe.decoder_steps,
            2 * edges.drawings,
            3 if recipe.explain == "frame" else 1,
            recipe.decoder_widths or (),
        )
    model = Discoverer(encoder, lift, edges, decoder, recipe.rotate > 0)
    return _channels_last(model) if recipe.channels_last else model


def _lift(r: Recipe, side: float) -> Lift:
    if r.rotate and r.lift != "flat":
        raise ValueError(
            f"rotate = {r.rotate} turns images, which the cameras of lift {r.lift!r} do not follow: set rotate = 0 or lift = 'flat'"
        )
    if r.lift == "volumetric":
        return Volumetric(
            r.keypoints,
            r.channels,
            r.voxels,
            side,
            r.centre,
            r.v2v_width,
            r.v2v_levels,
            r.v2v_front,
            r.sharpness,
            r.hull,
            r.hull_blur,
            r.v2v_full,
            r.checkpointing,
        )
    if r.lift == "depth":
        return Depth(r.keypoints, side, r.centre, r.near, r.far, r.sharpness, r.hull)
    if r.lift not in ("triangulated", "flat"):
        raise ValueError(f"lift = {r.lift!r}; expected volumetric, triangulated, depth or flat")
    return (Flat if r.lift == "flat" else Triangulated)(r.keypoints, r.sharpness, r.hull)


def _bottleneck(r: Recipe, seed: int) -> EdgeBottleneck | PointBottleneck:
    if r.bottleneck not in ("edges", "points"):
        raise ValueError(f"bottleneck = {r.bottleneck!r}; expected edges or points")
    return (
        PointBottleneck(r.keypoints, r.sigma)
        if r.bottleneck == "points"
        else EdgeBottleneck(r.keypoints, r.sigma, r.active, seed=seed)
    )


def _channels_last(module: nn.Module) -> nn.Module:
    """Weights of 2D and 3D convolutions in the layout in which their maps then travel; the values stay."""
    for parameter in module.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = parameter.data.contiguous(
                memory_format=torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
            )
    return module
