"""Model: encoder, lift, edges and decoder in one breath."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cameras import CameraRig
from .clips import Batch
from .edges import EdgeBottleneck
from .lifts import Keypoints, Lift, Volumetric
from .losses import EdgeLength, Perceptual, cover, dissimilarity, separation, steadiness
from .networks import Decoder, Encoder, on_the_spot, over_views
from .recipes import Recipe
from .volumes import overlap


@dataclass(frozen=True)
class Discovery:
    """What the model says of a batch."""

    now: Keypoints
    later: Keypoints
    edges: tuple[list[Tensor], list[Tensor]]  # drawings of now and later, (B, V, 1, h, w) per scale
    recon: Tensor  # (B, V, 1, h, w)
    explained: Tensor | None = None  # the reconstruction loss, where it was taken one view at a time (then recon has no graph)


class Discoverer(nn.Module):
    """images -> maps -> keypoints -> drawing -> reconstruction of the change; the lift decides how maps become keypoints."""

    def __init__(self, encoder: Encoder, lift: Lift, edges: EdgeBottleneck, decoder: Decoder):
        super().__init__()
        self.encoder, self.lift, self.edges, self.decoder = encoder, lift, edges, decoder

    def encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and maps of (B, V, C, H, W); the foreground channel is shown only to an encoder that was built for it."""
        return over_views(self.encoder, images[:, :, : self.encoder.channels])

    def keypoints(self, batch: Batch) -> Keypoints:
        """Keypoints of `batch.now` alone: all that inference needs."""
        return self.lift(self.encoded(batch.now)[1], batch.now, batch)

    def forward(self, batch: Batch, explain: Callable[[Tensor, int], Tensor] | None = None) -> Discovery:
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
            explained, recon = on_the_spot(lambda i, x, *drawn: _with_loss(explain, i, self.decoder.finish(x, drawn)),
                                           [coarse, *pairs], self.decoder.second_half())
        recon = recon.unflatten(0, features[:B].shape[:2])
        return Discovery(_part(both, slice(0, B)), _part(both, slice(B, None)), (now, later), recon, explained)


def _with_loss(explain: Callable, i: int, recon: Tensor) -> tuple[Tensor, Tensor]:
    return explain(recon, i), recon


def _doubled(batch: Batch) -> Batch:
    """The same cameras and volume for now and later, stacked along the batch; each with its own turn."""
    twice = {k: torch.cat([x, x]) for k in ("index", "centre", "turn") if (x := getattr(batch, k)) is not None}
    if batch.turn_later is not None:
        twice["turn"] = torch.cat([batch.turn, batch.turn_later])
    rig = replace(batch.rig, **{k: torch.cat([x, x]) for k in ("K", "R", "t", "distortion") if (x := getattr(batch.rig, k)) is not None})
    return replace(batch, rig=rig, **twice)


def _part(keypoints: Keypoints, part: slice) -> Keypoints:
    world = None if keypoints.world is None else keypoints.world[part]
    return Keypoints(keypoints.ndc[part], world, keypoints.weight[part])


class Objective(nn.Module):
    """discovery losses as a dictionary of named scalars (paper equation 4); holds the running averages."""

    def __init__(self, recipe: Recipe, edges: int, side: float):
        super().__init__()
        self.recipe, self.side = recipe, side
        self.perceptual = Perceptual(recipe.perceptual, printed=recipe.printed)
        self.length = EdgeLength(edges, side, printed=recipe.printed)

    def target(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """(B, V, 1, h, w): how the frame changed, at the reconstruction's size."""
        now, later = (x[:, :, :3].flatten(0, 1) for x in (batch.now, batch.later))
        change = dissimilarity(now, later, self.recipe.structure_only, smooth=1.0 if self.recipe.structure_only else 0.0)
        if self.recipe.mask:
            moving = torch.maximum(batch.now[:, :, 3:4], batch.later[:, :, 3:4]).flatten(0, 1)
            change = change * F.max_pool2d(moving, 5, 1, 2)
        return F.adaptive_avg_pool2d(change, size).unflatten(0, batch.now.shape[:2])

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
        each = [self.perceptual.features(target[None]) for target in self.target(batch, size).flatten(0, 1)]
        return each, self.perceptual.scale([torch.stack([f.square().mean() for f in level]).mean() for level in zip(*each)])

    def forward(self, batch: Batch, out: Discovery, bottleneck: EdgeBottleneck, step: int) -> dict[str, Tensor]:
        r = self.recipe
        views = out.recon.shape[1] if r.printed else 1  # equation 1 sums over views
        losses = {"reconstruct": views * (self.explain(batch, out.recon) if out.explained is None else out.explained)}
        world = torch.cat([out.now.world, out.later.world])
        stretch = self.length(world, bottleneck.pairs, bottleneck.weights)  # the average is kept from the first step on
        if r.cover:
            losses["cover"] = r.cover / 2 * sum(cover(k.ndc, x[:, :, 3:]) for k, x in ((out.now, batch.now), (out.later, batch.later)))
        if r.steady:
            losses["steady"] = r.steady * steadiness(out.now.world, out.later.world, self.side)
        if r.sure:
            losses["sure"] = r.sure * (1 - (out.now.weight.mean() + out.later.weight.mean()) / 2)
        if step >= r.warmup:
            losses["separate"] = r.separate * separation(world, r.separate_sigma * self.side)
            losses["length"] = r.length * stretch
        return losses


def placed(recipe: Recipe, rig: CameraRig) -> Recipe:
    """The recipe with its volume placed: centre and side where the views overlap, unless it names them."""
    middle, width = overlap(rig)
    return replace(recipe, side=recipe.side or width, centre=recipe.centre or tuple(middle.tolist()))


def build(recipe: Recipe, seed: int = 0) -> tuple[Discoverer, Objective]:
    """The model and its objective, weights from `seed`; the recipe must be `placed`."""
    side = recipe.follow or recipe.side
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(3 + recipe.background, recipe.channels, recipe.width, recipe.backbone, recipe.pretrained, recipe.pyramid,
                          recipe.checkpointing)
        lift = Volumetric(recipe.keypoints, recipe.channels, recipe.voxels, side, recipe.centre, recipe.v2v_width, recipe.v2v_levels,
                          recipe.v2v_front, recipe.sharpness, recipe.hull, recipe.hull_blur, recipe.v2v_full, recipe.checkpointing)
        edges = EdgeBottleneck(recipe.keypoints, recipe.sigma, recipe.active, seed=seed)
        decoder = Decoder(encoder.features, recipe.decoder_width, recipe.decoder_steps, widths=recipe.decoder_widths)
        model, objective = Discoverer(encoder, lift, edges, decoder), Objective(recipe, len(edges.pairs), side)
        return (_channels_last(model), _channels_last(objective)) if recipe.channels_last else (model, objective)


def _channels_last(module: nn.Module) -> nn.Module:
    """Weights of 2D and 3D convolutions in the layout in which their maps then travel; the values stay."""
    for parameter in module.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d)
    return module
