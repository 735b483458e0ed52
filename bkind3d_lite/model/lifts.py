"""Lifts: roads from maps to keypoints. Four roads, one signature, and nobody after them asks which one was taken.

`Volumetric` is the paper's method; `Flat`, `Triangulated` and `Depth` are its baselines (paper section 4.2). Only the first has
weights of its own; the others are mathematics and have none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cameras import CameraRig, triangulate
from ..clips.clip import Batch
from ..recipes import PriorRecipe, V2VRecipe, VolumeRecipe
from ..shapes import cells
from ..volumes import PIECE, Grid, entropy, fuse, fused_volume, hull, soft_argmax, unproject
from .networks import V2V


@dataclass(frozen=True)
class Keypoints:
    ndc: Tensor  # (B, V, K, 2) in [-1, 1] inside the image
    world: Tensor | None  # (B, K, 3); None: the lift knows images alone
    confidence: Tensor  # (B, V, K) in [0, 1]
    votes: Tensor | None = (
        None  # what each view said alone: ndc (B, V, K, 2) of `Triangulated`, world (B, V, K, 3) of `Depth`
    )
    entropy: Tensor | None = (
        None  # of the heatmaps, (B, K) or (B, V, K), a share of an even map's in [0, 1]; in training, for `health`
    )


class Lift(nn.Module):
    """A road from maps (B, V, channels, h, w), and the images (B, V, 3 or 4, H, W) they come from, to keypoints.

    `channels` are the maps it asks of the encoder, `networks` its own networks that learn (none: it is mathematics),
    `has_volume` says whether it votes in a volume that can be shown.
    """

    has_volume = False

    def __init__(self, channels: int, priors: PriorRecipe = PriorRecipe()):
        super().__init__()
        self.channels, self.priors = channels, priors

    @property
    def networks(self) -> list[nn.Module]:
        return []

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        raise TypeError(f"{type(self).__name__} is no road to keypoints; take one of its kinds")


class Volumetric(Lift):
    """maps -> voxels -> V2V -> 3D soft-argmax -> projected into every view (paper section 3.1).

    maps (B, V, C, h, w). The cube `volume.cube` stands at `volume.centre`, or at the batch's own centre where the clip
    follows the animal. Priors, beyond the paper: sharpness, a factor on the logits before the softmax (1: paper); hull, the
    weight of the visual hull on the volume (0: paper), taken from the images' fourth channel blurred by `hull_blur` px.
    """

    has_volume = True

    def __init__(
        self,
        volume: VolumeRecipe,
        keypoints: int,
        channels: int,
        *,
        v2v: V2VRecipe = V2VRecipe(),
        priors: PriorRecipe = PriorRecipe(),
        recompute: bool = False,
    ):
        super().__init__(channels, priors)
        if volume.voxels % 2**v2v.v2v_levels:
            raise ValueError(
                f"voxels = {volume.voxels}: expected a multiple of {2**v2v.v2v_levels} for a hourglass of "
                f"{v2v.v2v_levels} levels"
            )
        self.voxels, self.side = volume.voxels, volume.cube
        self.v2v = V2V(
            channels,
            keypoints,
            v2v.v2v_width,
            v2v.v2v_levels,
            v2v.v2v_front,
            v2v.v2v_full,
            recompute,
        )
        centre = volume.centre or (0.0, 0.0, 0.0)
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        # static cameras: projected once per rig
        self._still: tuple[tuple[CameraRig, Tensor], Tensor, Tensor] | None = None

    @property
    def networks(self) -> list[nn.Module]:
        return [self.v2v]

    @property
    def layout(self) -> torch.memory_format:
        """The volume's memory layout is that of the weights."""
        weight = self.v2v.front[0][0].weight
        plain = weight.is_contiguous() or not weight.is_contiguous(
            memory_format=torch.channels_last_3d
        )
        return torch.contiguous_format if plain else torch.channels_last_3d

    def place(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Voxel centres (B, P, 3) and where they fall in each view, (B, V, P, 2) ndc."""
        rig = batch.rig
        if batch.centre is not None or batch.turn is not None:
            centre = (
                self.centre.expand(len(batch.index), 3) if batch.centre is None else batch.centre
            )
            points = Grid(centre, self.side, self.voxels, batch.turn).points.flatten(1, 3)
            return points, _projected(rig, points)
        if self._still is None or not (
            _same(self._still[0][0], rig) and torch.equal(self._still[0][1], self.centre)
        ):
            points = (
                Grid(self.centre, self.side, self.voxels)
                .points.flatten(0, 2)[None]
                .expand(len(batch.index), -1, -1)
            )
            ndc = _projected(rig, points)
            if not (ndc.abs() <= 1).all(-1).any():
                raise ValueError(
                    f"no camera sees any part of the volume (centre {self.centre.tolist()}, side {self.side}); "
                    "check its centre, its side and the calibration's unit"
                )
            self._still = (rig, self.centre.clone()), points, ndc
        return self._still[1:]

    def volume(self, maps: Tensor, images: Tensor, ndc: Tensor) -> Tensor:
        """Logits (B, K, P) of the J volumes before the softmax."""
        N = self.voxels
        if self.v2v.recompute:  # large volumes: one time after the other, half the memory in flight
            half = self.v2v.front[0][
                0
            ].weight.dtype  # where tracking holds its weights in half precision
            logits = torch.cat(
                [
                    self.v2v(
                        [
                            fused_volume(m[None], n[None], half)
                            .unflatten(-1, (N, N, N))
                            .contiguous(memory_format=self.layout)
                        ]
                    )
                    for m, n in zip(maps, ndc.expand(len(maps), -1, -1, -1))
                ]
            )
        else:
            logits = self.v2v(
                fuse(unproject(maps, ndc))
                .unflatten(-1, (N, N, N))
                .contiguous(memory_format=self.layout)
            )
        sharpness, weight = self.priors.sharpness, self.priors.hull
        logits = logits.flatten(2) if sharpness == 1 else sharpness * logits.flatten(2)
        if weight:
            if images.shape[2] < 4:
                raise ValueError(
                    "the hull prior needs the foreground channel: survey the clip (clips.survey) or set hull = 0"
                )
            logits = (
                logits + weight * hull(images[:, :, 3:4], ndc, blur=self.priors.hull_blur)[:, None]
            )
        return logits

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        points, ndc = self.place(batch)
        logits = self.volume(maps, images, ndc)
        world, weight = soft_argmax(logits, points)
        return Keypoints(
            batch.rig.ndc_from_world(world),
            world,
            weight[:, None].expand(-1, maps.shape[1], -1),
            entropy=_entropy(logits),
        )


def _projected(rig: CameraRig, points: Tensor) -> Tensor:
    """`rig.ndc_from_world(points)`; on a CPU a few points at a time, which stay in its cache."""
    some = PIECE // 32 if points.device.type == "cpu" else points.shape[-2]
    return torch.cat([rig.ndc_from_world(few) for few in points.split(some, -2)], -2)


def _same(a: CameraRig, b: CameraRig) -> bool:
    return (
        a.names == b.names
        and a.wh == b.wh
        and a.K.shape == b.K.shape
        and a.K.device == b.K.device
        and torch.equal(a.K, b.K)
        and torch.equal(a.R, b.R)
        and torch.equal(a.t, b.t)
        and torch.equal(a.distortion, b.distortion)
    )


def _entropy(logits: Tensor) -> Tensor | None:
    """In training alone: tracking has no use for it."""
    return entropy(logits) if torch.is_grad_enabled() else None


# ---- view by view --------------------------------------------------------------------------------------------------
def spatial_logits(maps: Tensor, images: Tensor, priors: PriorRecipe = PriorRecipe()) -> Tensor:
    """Heatmaps (B, V, K, h, w) -> logits (B, V, K, h w) of the softmax over each view's cells.

    The two priors beyond the paper are those of the volume, in an image: `sharpness`, a factor on the logits, and `hull`, the
    weight of log(foreground) as a prior, read from the images' fourth channel.
    """
    logits = priors.sharpness * maps.flatten(-2)
    if not priors.hull:
        return logits
    if images.shape[2] < 4:
        raise ValueError(
            "the hull prior needs the foreground channel: survey the clip (clips.survey) or set hull = 0"
        )
    moving = F.adaptive_avg_pool2d(images[:, :, 3], maps.shape[-2:])
    return logits + priors.hull * moving.clamp(min=0.02).log().flatten(-2)[:, :, None]


def _cells(maps: Tensor) -> Tensor:
    return cells(*maps.shape[-2:], like=maps).flatten(0, 1)


class Flat(Lift):
    """2D B-KinD (Sun et al., CVPR 2022): a soft-argmax in every view, and no world.

    maps (B, V, K, h, w). The views know nothing of each other; place and turn of a volume mean nothing here.
    """

    def __init__(self, keypoints: int, priors: PriorRecipe = PriorRecipe()):
        super().__init__(keypoints, priors)

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        logits = spatial_logits(maps, images, self.priors)
        ndc, confidence = soft_argmax(logits, _cells(maps))
        return Keypoints(ndc, None, confidence, entropy=_entropy(logits))


class Triangulated(Flat):
    """`Flat` keypoints, triangulated with their confidence as weight, and projected back, lens distortion included.

    maps (B, V, K, h, w), V >= 2. `ndc` are the reprojections, which all views agree on; `votes` what each view had said alone.
    """

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        alone = super().forward(maps, images, batch)
        world = triangulate(batch.rig, batch.rig.px_from_ndc(alone.ndc), alone.confidence)
        return replace(alone, ndc=batch.rig.ndc_from_world(world), world=world, votes=alone.ndc)


class Depth(Lift):
    """A heatmap and a depth map per keypoint and view; the views' points in space are averaged by confidence and projected back.

    maps (B, V, 2 K, h, w): K heatmaps, then K depth maps. The depth along a camera's z axis is the expectation of near +
    (far - near) sigmoid(map) under the heatmap's softmax. Each camera's near and far enclose the cube of the volume
    about its centre (or the batch's own centre), whichever way the cube is turned, unless they are given. `votes` are the
    views' own points in space.
    """

    def __init__(self, volume: VolumeRecipe, keypoints: int, priors: PriorRecipe = PriorRecipe()):
        super().__init__(2 * keypoints, priors)
        near, far = volume.near, volume.far
        if not 0 < (1e-9 if near is None else near) < (float("inf") if far is None else far):
            raise ValueError(
                f"near = {near}, far = {far}: expected 0 < near < far, in world units from the camera, or None"
            )
        self.volume = volume

    def limits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nearest and farthest depth each camera considers, (..., V, 1) each: half a diagonal of the cube before and behind its
        centre, but never nearer than a twentieth of the way."""
        near, far, t = self.volume.near, self.volume.far, batch.rig.t
        centre = t.new_tensor(self.volume.centre or (0.0, 0.0, 0.0))[None]
        centre = centre if batch.centre is None else batch.centre[:, None]
        middle = batch.rig.cam_from_world(centre)[..., 2]
        half = self.volume.cube * 3**0.5 / 2
        nearest = torch.maximum(middle - half, middle.abs() / 20)
        nearest = nearest if near is None else torch.full_like(middle, near)
        farthest = torch.maximum(middle + half, 2 * nearest)
        return nearest, farthest if far is None else torch.full_like(middle, far)

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        heat, depth = maps.split(self.channels // 2, 2)
        logits = spatial_logits(heat, images, self.priors)
        ndc, confidence = soft_argmax(logits, _cells(maps))
        near, far = self.limits(batch)
        z = near + (far - near) * (logits.softmax(-1) * depth.flatten(-2).sigmoid()).sum(-1)
        votes = batch.rig.world_from_px(batch.rig.px_from_ndc(ndc), z)
        world = (confidence[..., None] * votes).sum(1) / confidence.sum(1)[..., None]
        return Keypoints(
            batch.rig.ndc_from_world(world),
            world,
            confidence,
            votes=votes,
            entropy=_entropy(logits),
        )
