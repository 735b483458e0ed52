"""Model: encoder, lift, edges and decoder in one breath."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cameras import CameraRig
from .clips import Batch, Survey
from .edges import EdgeBottleneck, PointBottleneck
from .frugal import on_the_spot, wide
from .lifts import Depth, Flat, Keypoints, Lift, Triangulated, Volumetric
from .losses import (
    EdgeLength,
    Perceptual,
    agreement,
    cover,
    dissimilarity,
    equivariance,
    reprojection,
    separation,
    steadiness,
)
from .motion import extent, region
from .networks import Decoder, Encoder, over_views
from .recipes import Recipe
from .volumes import overlap


@dataclass(frozen=True)
class Discovery:
    """What the model says of a batch."""

    now: Keypoints
    later: Keypoints
    edges: tuple[
        list[Tensor], list[Tensor]
    ]  # drawings of now and later, (B, V, 1, h, w) per scale; of points (B, V, K, h, w)
    recon: Tensor  # (B, V, 1, h, w) the change, or (B, V, 3, h, w) the later frame
    turned: list[Keypoints] | None = (
        None  # keypoints of the later images after 1, 2, 3 quarter turns, where a loss asks for them
    )
    explained: Tensor | None = (
        None  # the reconstruction loss, where it was taken one view at a time (then recon has no graph)
    )


class Discoverer(nn.Module):
    """images -> maps -> keypoints -> drawing -> reconstruction; the lift decides how maps become keypoints, `edges` what is drawn."""

    def __init__(
        self,
        encoder: Encoder,
        lift: Lift,
        edges: EdgeBottleneck | PointBottleneck,
        decoder: Decoder,
        rotate: bool = False,
    ):
        super().__init__()
        self.rotate = rotate  # look at the later images in quarter turns, too
        self.encoder, self.lift, self.edges, self.decoder = encoder, lift, edges, decoder

    def encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and maps of (B, V, C, H, W); the foreground channel is shown only to an encoder that was built for it."""
        return over_views(self.encoder, images[:, :, : self.encoder.channels])

    def keypoints(self, batch: Batch) -> Keypoints:
        """Keypoints of `batch.now` alone: all that inference needs."""
        return self.lift(self.encoded(batch.now)[1], batch.now, batch)

    def forward(
        self, batch: Batch, explain: Callable[[Tensor, int], Tensor] | None = None
    ) -> Discovery:
        """explain: loss of the i-th of the B V reconstructions (1, 1, h, w); then the decoder's fine half runs one view at a time."""
        B = len(batch.index)
        images = torch.cat([batch.now, batch.later])
        features, maps = self.encoded(images)
        both = self.lift(maps, images, _doubled(batch))
        drawings = [self.edges(both.ndc, size) for size in self.decoder.sizes(features.shape[-2:])]
        now, later = ([d[s] for d in drawings] for s in (slice(0, B), slice(B, None)))
        pairs = [torch.cat([a, b], 2).flatten(0, 1) for a, b in zip(now, later)]
        seen, explained = features[:B].flatten(0, 1), None
        if explain is None:
            recon = self.decoder(seen, pairs)
        else:
            coarse = self.decoder.begin(seen, pairs)
            explained, recon = on_the_spot(
                lambda i, x, *drawn: _with_loss(explain, i, self.decoder.finish(x, drawn)),
                [coarse, *pairs],
                self.decoder.second_half(),
            )
        recon = recon.unflatten(0, features[:B].shape[:2])
        turned = (
            [self.keypoints(replace(batch, now=batch.later.rot90(i, (-2, -1)))) for i in (1, 2, 3)]
            if self.rotate
            else None
        )
        return Discovery(
            _part(both, slice(0, B)),
            _part(both, slice(B, None)),
            (now, later),
            recon,
            turned,
            explained,
        )


def _with_loss(explain: Callable, i: int, recon: Tensor) -> tuple[Tensor, Tensor]:
    return explain(recon, i), recon


def _doubled(batch: Batch) -> Batch:
    """The same cameras and volume for now and later, stacked along the batch; each with its own turn."""
    twice = {
        k: torch.cat([x, x])
        for k in ("index", "centre", "turn")
        if (x := getattr(batch, k)) is not None
    }
    if batch.turn_later is not None:
        twice["turn"] = torch.cat([batch.turn, batch.turn_later])
    rig = replace(
        batch.rig,
        **{
            k: torch.cat([x, x])
            for k in ("K", "R", "t", "distortion")
            if (x := getattr(batch.rig, k)) is not None
        },
    )
    return replace(batch, rig=rig, **twice)


def _part(keypoints: Keypoints, part: slice) -> Keypoints:
    return Keypoints(
        **{
            f.name: None if (x := getattr(keypoints, f.name)) is None else x[part]
            for f in fields(Keypoints)
        }
    )


class Objective(nn.Module):
    """discovery losses as a dictionary of named scalars (paper equation 4); holds the running averages.

    A term whose weight is 0 is not computed; one that the lift cannot serve is refused with a sentence.
    """

    def __init__(self, recipe: Recipe, edges: int, side: float):
        super().__init__()
        if recipe.explain not in ("change", "frame"):
            raise ValueError(f"explain = {recipe.explain!r}; expected change or frame")
        self.recipe, self.side = recipe, side
        self.perceptual = Perceptual(recipe.perceptual, printed=recipe.printed)
        self.length = EdgeLength(edges, side, printed=recipe.printed)

    def target(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """What is to be explained, at the reconstruction's size: (B, V, 1, h, w) how the frame changed, or (B, V, 3, h, w) the later frame."""
        now, later = (x[:, :, :3].flatten(0, 1) for x in (batch.now, batch.later))
        if self.recipe.explain == "frame":
            wanted = later
        else:
            wanted = dissimilarity(
                now,
                later,
                self.recipe.structure_only,
                smooth=1.0 if self.recipe.structure_only else 0.0,
            )
        if self.recipe.mask:
            moving = torch.maximum(batch.now[:, :, 3:4], batch.later[:, :, 3:4]).flatten(0, 1)
            wanted = wanted * F.max_pool2d(moving, 5, 1, 2)
        return F.adaptive_avg_pool2d(wanted, size).unflatten(0, batch.now.shape[:2])

    def explain(self, batch: Batch, recon: Tensor) -> Tensor:
        """The reconstruction loss of all views at once."""
        with torch.no_grad():
            target = self.target(batch, recon.shape[-2:])
        return self.perceptual(recon.flatten(0, 1), target.flatten(0, 1))

    def judge(self, batch: Batch) -> Callable[[Tensor, int], Tensor] | None:
        """The same for one view at a time, where the recipe wants that: the loss of a reconstruction (1, 1, h, w) and its place in
        B V; over all of them it sums up to `explain`."""
        known: list = []

        def one(recon: Tensor, i: int) -> Tensor:
            if not known:
                known.extend(self._wanted(batch, recon.shape[-2:]))
            each, scale = known
            return self.perceptual.distance(recon, each[i], scale) / len(each)

        return one if self.recipe.one_by_one else None

    @torch.no_grad()
    def _wanted(self, batch: Batch, size: tuple[int, int]) -> tuple[list[list[Tensor]], Tensor]:
        """Features of every view's target, and what each term is divided by."""
        each = [
            self.perceptual.features(target[None])
            for target in self.target(batch, size).flatten(0, 1)
        ]
        return each, self.perceptual.scale(
            [torch.stack([wide(f).square().mean() for f in level]).mean() for level in zip(*each)]
        )

    def forward(
        self, batch: Batch, out: Discovery, bottleneck: EdgeBottleneck | PointBottleneck, step: int
    ) -> dict[str, Tensor]:
        r, both = self.recipe, (out.now, out.later)
        views = out.recon.shape[1] if r.printed else 1  # equation 1 sums over views
        losses = {
            "reconstruct": views
            * (self.explain(batch, out.recon) if out.explained is None else out.explained)
        }
        if r.length:  # its averages are kept from the first step on
            stretch = self.length(
                torch.cat(_needed(both, "world", "length")), bottleneck.pairs, bottleneck.weights
            )
        if r.reproject:
            losses["reproject"] = r.reproject * reprojection(
                torch.cat([k.ndc for k in both]), torch.cat(_needed(both, "votes", "reproject"))
            )
        if r.agree:
            losses["agree"] = r.agree * agreement(
                torch.cat(_needed(both, "votes", "agree")), self.side
            )
        if r.cover:
            losses["cover"] = (
                r.cover
                / 2
                * sum(cover(k.ndc, x[:, :, 3:]) for k, x in zip(both, (batch.now, batch.later)))
            )
        if r.steady:
            losses["steady"] = r.steady * steadiness(*_needed(both, "world", "steady"), self.side)
        if r.sure:
            losses["sure"] = r.sure * (1 - (out.now.weight.mean() + out.later.weight.mean()) / 2)
        if step >= r.warmup:
            if r.rotate:
                losses["rotate"] = r.rotate * equivariance(
                    [k.ndc for k in out.turned], out.later.ndc
                )
            losses["separate"] = r.separate * self.apart(both, batch.rig.size)
            losses |= {"length": r.length * stretch} if r.length else {}
        return losses

    def apart(self, both: tuple[Keypoints, Keypoints], size: tuple[int, int]) -> Tensor:
        """Separation in space, in units of the cube's side; of keypoints without a world, in every image, in units of its width."""
        if both[0].world is not None:
            return separation(
                torch.cat([k.world for k in both]), self.recipe.separate_sigma * self.side
            )
        half = torch.cat([k.ndc for k in both]).flatten(0, 1) / 2
        return separation(
            half * half.new_tensor([1.0, size[1] / size[0]]), self.recipe.separate_sigma
        )


def _needed(both: tuple[Keypoints, Keypoints], field: str, term: str) -> list[Tensor]:
    """`field` of now and later, which the loss `term` cannot do without."""
    values = [getattr(k, field) for k in both]
    if values[0] is None:
        what = {"world": "keypoints in space", "votes": "what each view says alone"}[field]
        raise ValueError(
            f"the loss {term} needs {what}, which this recipe's lift does not give: set {term} = 0 or choose another lift"
        )
    return values


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
