"""Model: encoder, lift, edges and decoder in one breath; recipes as values."""
from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cameras import CameraRig
from .clips import Batch
from .edges import EdgeBottleneck
from .lifts import Keypoints, Lift, Volumetric
from .losses import EdgeLength, Perceptual, cover, dissimilarity, separation, steadiness
from .networks import Decoder, Encoder, over_views
from .volumes import overlap


@dataclass(frozen=True)
class Recipe:
    """Every choice of a run. Frozen; `replace(QUICK, keypoints=8)` makes another; a typo is a `TypeError`."""

    name: str
    keypoints: int = 15
    size: tuple[int, int] = (256, 256)  # W, H of the network's images
    gaps: tuple[float, ...] = (0.4,)  # seconds between now and later
    # volume
    side: float | None = None  # world units; None: where the views overlap
    centre: tuple[float, float, float] | None = None  # None: where the views overlap
    voxels: int = 64
    # networks
    backbone: str = "small"
    pretrained: bool = False
    width: int = 32  # of the encoder
    channels: int = 32  # heatmaps, and channels of the volume
    v2v_width: int = 32
    v2v_levels: int = 2
    v2v_front: int = 3  # kernel of the first 3D convolution
    decoder_width: int = 32
    decoder_steps: int = 3
    # bottleneck
    sigma: float = 0.06  # width of an edge in half image widths
    active: str = "softplus"
    # losses
    perceptual: str = "random"
    structure_only: bool = False
    separate: float = 0.1
    separate_sigma: float = 0.05  # in units of the cube's side
    length: float = 1.0
    warmup: int = 200  # steps before the length and separation losses (the paper's curriculum)
    # optimization
    steps: int = 1000
    batch: int = 1
    optimizer: str = "adam"
    rate: float = 1e-3
    edge_rate: float = 1e-2
    decay: float = 1e-4
    clip: float = 10.0
    # beyond the paper, each a switch (off: the paper)
    background: bool = False  # foreground |frame - median frame| as a fourth input channel
    follow: float | None = None  # side of a cube that follows the visual hull, images cropped to it (None: one cube for the room)
    sharpness: float = 1.0  # factor on the volume logits before the softmax
    hull: float = 0.0  # weight of the visual hull as a prior on the volume
    hull_blur: int = 1  # pixels; more draws the prior to the middle of the body
    cover: float = 0.0  # weight of the squared distance of the foreground to its nearest keypoint (k-means on the silhouettes)
    steady: float = 0.0  # weight of the change of the keypoints' shape from now to later: who is who must not depend on the turn
    sure: float = 0.0  # weight of 1 - confidence: no keypoint may be the mean of several places
    mask: bool = False  # explain change on the foreground only: shadows on the floor are not the animal
    by_motion: bool = False  # draw pairs in proportion to how much moves in them
    turn: bool = False  # turn the volume about the vertical at random, differently for now and later
    jitter: float = 0.0  # random shift of the following cube, up to this share of its side
    views: int | None = None  # views drawn at each step (None: all)

    @property
    def surveyed(self) -> bool:
        return self.background or self.follow is not None or self.by_motion or self.hull > 0 or self.mask or self.cover > 0


QUICK_RAT = Recipe("quick-rat", keypoints=18, size=(96, 96), gaps=(0.1, 0.2, 0.4), voxels=24, width=24, channels=16, v2v_width=16,
                   decoder_width=24, warmup=50, length=20.0, steps=900, background=True, follow=460.0, sharpness=4.0, hull=9.0, hull_blur=3,
                   cover=20.0, steady=5.0, sure=0.1, mask=True, by_motion=True, turn=True, views=4)
QUICK_HUMAN = replace(QUICK_RAT, name="quick-human", keypoints=24, follow=2000.0, hull=4.0, hull_blur=1, cover=100.0, steady=4.0, views=None,
                      steps=2200)
RECIPES = {recipe.name: recipe for recipe in (QUICK_RAT, QUICK_HUMAN)}


@dataclass(frozen=True)
class Discovery:
    """What the model says of a batch."""

    now: Keypoints
    later: Keypoints
    edges: tuple[list[Tensor], list[Tensor]]  # drawings of now and later, (B, V, 1, h, w) per scale
    recon: Tensor  # (B, V, 1, h, w)


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

    def forward(self, batch: Batch) -> Discovery:
        B = len(batch.index)
        images = torch.cat([batch.now, batch.later])
        features, maps = self.encoded(images)
        both = self.lift(maps, images, _doubled(batch))
        drawings = [self.edges(both.ndc, size) for size in self.decoder.sizes(features.shape[-2:])]
        now, later = ([d[s] for d in drawings] for s in (slice(0, B), slice(B, None)))
        pairs = [torch.cat([a, b], 2).flatten(0, 1) for a, b in zip(now, later)]
        recon = self.decoder(features[:B].flatten(0, 1), pairs).unflatten(0, features[:B].shape[:2])
        return Discovery(_part(both, slice(0, B)), _part(both, slice(B, None)), (now, later), recon)


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
        self.perceptual = Perceptual(recipe.perceptual)
        self.length = EdgeLength(edges, side)

    def target(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """(B, V, 1, h, w): how the frame changed, at the reconstruction's size."""
        now, later = (x[:, :, :3].flatten(0, 1) for x in (batch.now, batch.later))
        change = dissimilarity(now, later, self.recipe.structure_only, smooth=1.0 if self.recipe.structure_only else 0.0)
        if self.recipe.mask:
            moving = torch.maximum(batch.now[:, :, 3:4], batch.later[:, :, 3:4]).flatten(0, 1)
            change = change * F.max_pool2d(moving, 5, 1, 2)
        return F.adaptive_avg_pool2d(change, size).unflatten(0, batch.now.shape[:2])

    def forward(self, batch: Batch, out: Discovery, bottleneck: EdgeBottleneck, step: int) -> dict[str, Tensor]:
        r = self.recipe
        with torch.no_grad():
            target = self.target(batch, out.recon.shape[-2:])
        losses = {"reconstruct": self.perceptual(out.recon.flatten(0, 1), target.flatten(0, 1))}
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
        encoder = Encoder(3 + recipe.background, recipe.channels, recipe.width, recipe.backbone, recipe.pretrained)
        lift = Volumetric(recipe.keypoints, recipe.channels, recipe.voxels, side, recipe.centre, recipe.v2v_width, recipe.v2v_levels,
                          recipe.v2v_front, recipe.sharpness, recipe.hull, recipe.hull_blur)
        edges = EdgeBottleneck(recipe.keypoints, recipe.sigma, recipe.active, seed=seed)
        decoder = Decoder(encoder.features, recipe.decoder_width, recipe.decoder_steps)
        return Discoverer(encoder, lift, edges, decoder), Objective(recipe, len(edges.pairs), side)
