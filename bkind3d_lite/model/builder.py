"""Build: a recipe becomes a model and its objective."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TypeVar, cast

import torch
from torch import nn

from ..cameras import CameraRig
from ..clips.extent import animal_length, region
from ..clips.foreground import Survey
from ..clips.look import Look
from ..image_plane import world_needed
from ..recipes import Recipe
from ..volumes import overlap
from .discoverer import Discoverer
from .edges import EdgeBottleneck, PointBottleneck
from .figure import MeanFigure
from .integral import Integral
from .lifts import Depth, Flat, Lift, Triangulated, Volumetric
from .networks import Decoder, Encoder
from .objective import Objective


def placed(recipe: Recipe, rig: CameraRig, survey: Survey | None = None) -> Recipe:
    """The recipe with its volume placed, unless it names centre and side itself.

    The place is where the animal goes, or, without a survey, where the views overlap; never the
    world's origin, which calibrations put anywhere. A cube that follows the animal gets its side.

    Args:
        recipe: with or without a place.
        rig: the cameras.
        survey: of the clip; needed where `animal_side` is to be measured.

    Returns:
        A recipe with centre and side, in world units.

    Raises:
        ValueError: the animal's length is asked for without a survey, or keypoints in space of a
            camera that is not calibrated.
    """
    if recipe.lift == "integral":
        return recipe  # its box is about each picture's root (`lessons.fitted_to_labels`)
    if recipe.lift != "flat":
        world_needed(rig, f"lift = {recipe.lift!r}")
    middle, width = overlap(rig)
    volume = recipe.volume
    if volume.follows and volume.animal_side is None:
        if survey is None:
            raise ValueError(
                f"animal_lengths = {volume.animal_lengths} asks for the animal's length: place the "
                "recipe with a survey (placed(recipe, clip.rig, survey(clip))), or give "
                "animal_side, the side of the cube in world units"
            )
        side = volume.animal_lengths * animal_length(survey, rig)
        recipe = recipe.with_(animal_side=float(f"{side:.3g}"))
    if survey is not None and not volume.follows:
        middle, side = region(survey, rig)
        width = min(side, width)
    return recipe.with_(side=volume.side or width, centre=volume.centre or tuple(middle.tolist()))


def build(recipe: Recipe, seed: int = 0) -> tuple[Discoverer, Objective]:
    """The model and its objective.

    Args:
        recipe: must be `placed`.
        seed: of the weights.

    Returns:
        Both, on the CPU and in float32.
    """
    with torch.random.fork_rng(devices=[]):
        model = build_model(recipe, seed)
        side = cast(float, recipe.volume.cube)
        objective = Objective(recipe, len(model.edges.pairs), side)
        return model, _channels_last(objective) if recipe.compute.channels_last else objective


def build_model(recipe: Recipe, seed: int = 0, decoder: bool = True) -> Discoverer:
    """The model alone.

    Sets PyTorch's global seed, so that what is built next follows from it, too.

    Args:
        recipe: must be `placed`.
        seed: of the weights.
        decoder: False: its decoder has shapes and no contents, which tracking has no use for.

    Returns:
        The model, on the CPU and in float32.
    """
    torch.manual_seed(seed)
    keypoints, channels = recipe.keypoints, recipe.encoder.channels
    own = {"volumetric": channels, "depth": 2 * keypoints}
    own["integral"] = keypoints * recipe.lesson.depth_cells
    maps = own.get(recipe.lift, keypoints)
    again = bool(recipe.compute.checkpointing)
    encoder = Encoder(recipe.encoder, 3 + recipe.data.background, maps, recompute=again)
    lift, edges = build_lift(recipe), build_bottleneck(recipe, seed)
    out, drawings = 3 if recipe.losses.explain == "frame" else 1, 2 * edges.drawings
    decoding = None
    with nullcontext() if decoder else torch.device("meta"):
        if recipe.losses.explain != "labels":
            decoding = Decoder(recipe.decoder, encoder.features, drawings=drawings, out=out)
    turns = recipe.losses.rotate > 0
    look = Look() if recipe.volume.by_heading else None
    figure = MeanFigure(keypoints) if recipe.volume.realign else None
    model = Discoverer(
        encoder, lift, edges=edges, decoder=decoding, rotate=turns, look=look, figure=figure
    )
    return _channels_last(model) if recipe.compute.channels_last else model


def build_lift(recipe: Recipe) -> Lift:
    """The road from maps to keypoints that a recipe names.

    Args:
        recipe: must be `placed`.

    Returns:
        One of the five lifts.

    Raises:
        ValueError: a loss turns images, which this lift's cameras do not follow.
    """
    keypoints, volume, priors = recipe.keypoints, recipe.volume, recipe.priors
    if recipe.losses.rotate and recipe.lift != "flat":
        raise ValueError(
            f"rotate = {recipe.losses.rotate} turns images, which the cameras of lift "
            f"{recipe.lift!r} do not follow: set rotate = 0 or lift = 'flat'"
        )
    if recipe.lift == "volumetric":
        return Volumetric(
            volume,
            keypoints,
            channels=recipe.encoder.channels,
            v2v=recipe.v2v,
            priors=priors,
            recompute=recipe.compute.checkpointing is True,
        )
    if recipe.lift == "depth":
        return Depth(volume, keypoints, priors)
    if recipe.lift == "integral":
        return Integral(keypoints, recipe.lesson.depth_cells, priors)
    return (Flat if recipe.lift == "flat" else Triangulated)(keypoints, priors)


def build_bottleneck(recipe: Recipe, seed: int = 0) -> EdgeBottleneck | PointBottleneck:
    """What draws the keypoints.

    Args:
        recipe: how.
        seed: of the edges' weights.

    Returns:
        Edges, or points, which have no weights.
    """
    chosen = recipe.bottleneck
    if chosen.draw == "points":
        return PointBottleneck(recipe.keypoints, chosen.sigma, chosen.sigmas)
    return EdgeBottleneck(recipe.keypoints, chosen.sigma, chosen.activation, seed=seed)


LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
Part = TypeVar("Part", bound=nn.Module)


def _channels_last(module: Part) -> Part:
    """Weights of convolutions in the layout in which their maps then travel; the values stay."""
    for parameter in module.parameters():
        if layout := LAYOUTS.get(parameter.ndim):
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return module
