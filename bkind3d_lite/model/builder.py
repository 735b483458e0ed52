"""Build: a recipe becomes a model and its objective."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import nn

from ..cameras import CameraRig
from ..clips.clip import Survey
from ..clips.survey import animal_length, region
from ..recipes import Recipe
from ..volumes import overlap
from .discoverer import Discoverer
from .edges import EdgeBottleneck, PointBottleneck
from .lifts import Depth, Flat, Lift, Triangulated, Volumetric
from .networks import Decoder, Encoder
from .objective import Objective


def placed(recipe: Recipe, rig: CameraRig, survey: Survey | None = None) -> Recipe:
    """The recipe with its volume placed, unless it names centre and side: where the animal goes, or, without a survey, where
    the views overlap. Never the world's origin, which calibrations put anywhere. A cube that follows the animal gets its side.

    Args:
        recipe: with or without a place.
        rig: the cameras.
        survey: of the clip; needed where `animal_side` is to be measured.

    Raises:
        ValueError: the animal's length is asked for without a survey.
    """
    middle, width = overlap(rig)
    volume = recipe.volume
    if volume.follows and volume.animal_side is None:
        if survey is None:
            raise ValueError(
                f"animal_lengths = {volume.animal_lengths} asks for the animal's length: place the recipe with a survey "
                "(placed(recipe, clip.rig, survey(clip))), or give animal_side, the side of the cube in world units"
            )
        side = volume.animal_lengths * animal_length(survey, rig)
        recipe = recipe.with_(animal_side=float(f"{side:.3g}"))
    if survey is not None and not volume.follows:
        middle, side = region(survey, rig)
        width = min(side, width)
    return recipe.with_(side=volume.side or width, centre=volume.centre or tuple(middle.tolist()))


def build(recipe: Recipe, seed: int = 0) -> tuple[Discoverer, Objective]:
    """The model and its objective, weights from `seed`; the recipe must be `placed`."""
    with torch.random.fork_rng(devices=[]):
        model = build_model(recipe, seed)
        objective = Objective(recipe, len(model.edges.pairs), recipe.volume.cube)
        return model, _channels_last(objective) if recipe.compute.channels_last else objective


def build_model(recipe: Recipe, seed: int = 0, decoder: bool = True) -> Discoverer:
    """The model alone. decoder=False: its decoder has shapes and no contents, which tracking has no use for.

    Sets PyTorch's global seed, so that what is built next follows from it, too.
    """
    torch.manual_seed(seed)
    maps = {"volumetric": recipe.encoder.channels, "depth": 2 * recipe.keypoints}.get(
        recipe.lift, recipe.keypoints
    )
    encoder = Encoder(
        3 + recipe.data.background,
        maps,
        recipe.encoder.encoder_width,
        recipe.encoder.backbone,
        recipe.encoder.pretrained,
        recipe.encoder.pyramid,
        recipe.compute.checkpointing,
    )
    lift, edges = build_lift(recipe), build_bottleneck(recipe, seed)
    with nullcontext() if decoder else torch.device("meta"):
        decoding = Decoder(
            encoder.features,
            recipe.decoder.decoder_width,
            recipe.decoder.decoder_steps,
            2 * edges.drawings,
            3 if recipe.losses.explain == "frame" else 1,
            recipe.decoder.decoder_widths or (),
        )
    model = Discoverer(encoder, lift, edges, decoding, recipe.losses.rotate > 0)
    return _channels_last(model) if recipe.compute.channels_last else model


def build_lift(recipe: Recipe) -> Lift:
    """The road from maps to keypoints that a placed recipe names.

    Raises:
        ValueError: a loss turns images, which this lift's cameras do not follow.
    """
    keypoints, volume, priors = recipe.keypoints, recipe.volume, recipe.priors
    if recipe.losses.rotate and recipe.lift != "flat":
        raise ValueError(
            f"rotate = {recipe.losses.rotate} turns images, which the cameras of lift {recipe.lift!r} do not follow: "
            "set rotate = 0 or lift = 'flat'"
        )
    if recipe.lift == "volumetric":
        return Volumetric(
            volume,
            keypoints,
            recipe.encoder.channels,
            v2v=recipe.v2v,
            priors=priors,
            recompute=recipe.compute.checkpointing,
        )
    if recipe.lift == "depth":
        return Depth(volume, keypoints, priors)
    return (Flat if recipe.lift == "flat" else Triangulated)(keypoints, priors)


def build_bottleneck(recipe: Recipe, seed: int = 0) -> EdgeBottleneck | PointBottleneck:
    """What draws the keypoints; edge weights from `seed`."""
    sigma = recipe.bottleneck.sigma
    if recipe.bottleneck.draw == "points":
        return PointBottleneck(recipe.keypoints, sigma)
    return EdgeBottleneck(recipe.keypoints, sigma, recipe.bottleneck.activation, seed=seed)


def _channels_last(module: nn.Module) -> nn.Module:
    """Weights of 2D and 3D convolutions in the layout in which their maps then travel; the values stay."""
    for parameter in module.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = parameter.data.contiguous(
                memory_format=torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
            )
    return module
