"""Lifts: roads from maps to keypoints.

Four roads, one signature, and nobody after them asks which one was taken. `Volumetric` is the
paper's method; `Flat`, `Triangulated` and `Depth` are its baselines (paper section 4.2). Only the
first has weights of its own; the others are mathematics and have none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cameras import CameraRig, triangulate
from ..clips.sampling import Batch
from ..recipes import PriorRecipe, V2VRecipe, VolumeRecipe
from ..shapes import cells
from ..volumes import Grid, fuse, hull, soft_argmax, unproject
from .compute import Compute
from .keypoints import Keypoints, told
from .memory_efficient import fused_volume
from .networks import V2V
from .pieces import in_pieces, on_cpu

PLAIN = PriorRecipe()  # the paper: none
SMALL = V2VRecipe()
SHAPE = 4  # channels that show the shape: the hull, and x, y, z in the cube


class Lift(nn.Module):
    """A road from maps, and the images that they come from, to keypoints.

    Attributes:
        has_volume: whether it votes in a volume that can be shown.
        compute: how its networks, if it has any, are called.

    Args:
        channels: maps that it asks of the encoder.
        priors: sharpness and visual hull, beyond the paper.
    """

    has_volume = False
    compute = Compute()

    def __init__(self, channels: int, priors: PriorRecipe = PLAIN):
        super().__init__()
        self.channels, self.priors = channels, priors

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        """Keypoints of one moment.

        Args:
            maps: (B, V, channels, h, w) of the encoder.
            images: (B, V, 3 or 4, H, W); the fourth channel is the foreground.
            batch: its cameras and the volume's place.

        Returns:
            The keypoints.

        Raises:
            TypeError: this is only what the lifts share.
        """
        raise TypeError(f"{type(self).__name__} is no road to keypoints; take one of its kinds")


class Volumetric(Lift):
    """maps -> voxels -> V2V -> 3D soft-argmax -> projected into every view (paper section 3.1).

    The cube `volume.cube` stands at `volume.centre`, or at the batch's own centre where the clip
    follows the animal.

    Args:
        volume: place and size of the cube, voxels per side.
        keypoints: K.
        channels: of the maps and of the volume.
        v2v: the 3D network.
        priors: beyond the paper. sharpness, a factor on the logits before the softmax (1: paper);
            hull, the weight of the visual hull (0: paper), taken from the images' fourth channel
            blurred by `hull_blur` px; shape, whether V2V sees it, too, and each voxel's place;
            twins, the share of keypoints that are pairs: the first `pairs` keypoints, and as many
            after them, their mirror images about the volume's plane y = 0.
        recompute: less memory: one moment's volume after the other, and again for the gradient.

    Raises:
        ValueError: the hourglass cannot halve so many voxels so often.
    """

    has_volume = True
    centre: Tensor

    def __init__(
        self,
        volume: VolumeRecipe,
        keypoints: int,
        channels: int,
        *,
        v2v: V2VRecipe = SMALL,
        priors: PriorRecipe = PLAIN,
        recompute: bool = False,
    ):
        super().__init__(channels, priors)
        if volume.voxels % 2**v2v.v2v_levels:
            raise ValueError(
                f"voxels = {volume.voxels}: expected a multiple of {2**v2v.v2v_levels} for a "
                f"hourglass of {v2v.v2v_levels} levels"
            )
        self.voxels, self.side = volume.voxels, cast(float, volume.cube)
        self.pairs = int(keypoints * priors.twins / 2 + 1e-6)
        asked = channels + SHAPE * priors.shape
        self.v2v = V2V(v2v, asked, keypoints - self.pairs, recompute=recompute)
        centre = volume.centre or (0.0, 0.0, 0.0)
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        # static cameras: projected once per rig
        self._still: tuple[tuple[CameraRig, Tensor], Tensor, Tensor] | None = None

    @property
    def layout(self) -> torch.memory_format:
        """The volume's memory layout is that of the weights."""
        weight, last = self._first_weight, torch.channels_last_3d
        plain = weight.is_contiguous() or not weight.is_contiguous(memory_format=last)
        return torch.contiguous_format if plain else last

    @property
    def _first_weight(self) -> Tensor:
        return next(self.v2v.front.parameters())

    def place(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Where the voxels are, in the world and in every view.

        Args:
            batch: its cameras, and the volume's centre and turn if it has its own.

        Returns:
            Voxel centres (B, P, 3) in world units, and ndc (B, V, P, 2).

        Raises:
            ValueError: no camera sees any part of the volume.
        """
        B, rig = len(batch.index), batch.rig
        if batch.centre is not None or batch.turn is not None:
            centre = self.centre.expand(B, 3) if batch.centre is None else batch.centre
            points = Grid(centre, self.side, self.voxels, turn=batch.turn).points.flatten(1, 3)
            return points, _projected(rig, points)
        if self._still is None or not self._stands(*self._still[0], rig):
            points = Grid(self.centre, self.side, self.voxels).points.flatten(0, 2)
            points = points[None].expand(B, -1, -1)
            ndc = _projected(rig, points)
            if not (ndc.abs() <= 1).all(-1).any():
                raise ValueError(
                    f"no camera sees any part of the volume (centre {self.centre.tolist()}, side "
                    f"{self.side}); check its centre, its side and the calibration's unit"
                )
            self._still = (rig, self.centre.clone()), points, ndc
        return self._still[1:]

    def _stands(self, before: CameraRig, centre: Tensor, rig: CameraRig) -> bool:
        return _same(before, rig) and torch.equal(centre, self.centre)

    def volume(self, maps: Tensor, images: Tensor, ndc: Tensor) -> Tensor:
        """The keypoints' volumes before the softmax.

        Args:
            maps: (B, V, C, h, w).
            images: (B, V, 3 or 4, H, W).
            ndc: (B, V, P, 2) places of the voxels in every view.

        Returns:
            Logits (B, K, P).
        """
        priors, occupied = self.priors, None
        if priors.hull or priors.shape:
            moving = _foreground(images)[:, :, None]
            occupied = hull(moving, ndc, blur=priors.hull_blur)[:, None]
        logits = self._votes(maps, ndc, self._shape(occupied)).flatten(2)
        if priors.sharpness != 1:
            logits = priors.sharpness * logits
        return logits if occupied is None else logits + priors.hull * occupied

    def _shape(self, occupied: Tensor | None) -> Tensor | None:
        """The hull and each voxel's place in the cube as channels (B, SHAPE, P), if wanted."""
        if occupied is None or not self.priors.shape:
            return None
        place = cells(*[self.voxels] * 3, like=occupied).flatten(0, 2).T
        return torch.cat([occupied.exp(), place.expand(len(occupied), -1, -1)], 1)

    def _votes(self, maps: Tensor, ndc: Tensor, shape: Tensor | None) -> Tensor:
        in_cache = on_cpu(maps) and self.layout == torch.channels_last_3d
        if not (self.v2v.recompute or in_cache):
            whole = maps.requires_grad or not on_cpu(maps)  # a CPU that tracks: in pieces, sooner
            votes = fuse(unproject(maps, ndc)) if whole else fused_volume(maps, ndc)
            return self._asked(self._cube(_with(votes, shape)))
        # large volumes: one moment after the other, half the memory in flight
        half = self._first_weight.dtype  # where tracking holds its weights in half precision
        moments = zip(maps, ndc.expand(len(maps), -1, -1, -1))
        fused = (
            _with(fused_volume(m[None], n[None], half), None if shape is None else shape[[i]])
            for i, (m, n) in enumerate(moments)
        )
        return torch.cat([self._asked([self._cube(volume)]) for volume in fused])

    def _asked(self, cube: Tensor | list[Tensor]) -> Tensor:
        """Logits (B, K, N, N, N) of every keypoint; a list hands its volume over, as to V2V.

        Twins: what V2V says of the mirrored volume, mirrored back, are the others of each pair; a
        keypoint without a twin is the mean of both, so that it changes no side.
        """
        n = self.pairs
        if not n:
            return self.compute(self.v2v, cube)
        cube = cube.pop() if isinstance(cube, list) else cube
        mirrored = cube.flip(-2)
        if self.priors.shape:
            mirrored[:, -2].neg_()  # y, a place: it stays where it was
        mirrored = mirrored.contiguous(memory_format=self.layout)
        one = self.compute(self.v2v, [cube])
        other = self.compute(self.v2v, [mirrored]).flip(-2)
        return torch.cat([one[:, :n], other[:, :n], (one[:, n:] + other[:, n:]) / 2], 1)

    def _cube(self, votes: Tensor) -> Tensor:
        N = self.voxels
        return votes.unflatten(-1, (N, N, N)).contiguous(memory_format=self.layout)

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        """Keypoints of one moment; arguments as of every `Lift`."""
        points, ndc = self.place(batch)
        logits = self.volume(maps, images, ndc)
        world, weight = soft_argmax(logits, points)
        return Keypoints(
            ndc=batch.rig.ndc_from_world(world),
            world=world,
            confidence=weight[:, None].expand(-1, maps.shape[1], -1),
            **told(logits, points),
        )


def _with(volume: Tensor, shape: Tensor | None) -> Tensor:
    """A volume (B, C, P), and what is known of the shape behind its channels."""
    return volume if shape is None else torch.cat([volume, shape.to(volume)], 1)


def _projected(rig: CameraRig, points: Tensor) -> Tensor:
    """`rig.ndc_from_world(points)`, a few points at a time."""
    return in_pieces(rig.ndc_from_world, points, each=16, dim=-2)


def _same(a: CameraRig, b: CameraRig) -> bool:
    if a.names != b.names or a.wh != b.wh or a.K.shape != b.K.shape or a.K.device != b.K.device:
        return False
    return all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("K", "R", "t", "distortion")
    )


def _foreground(images: Tensor) -> Tensor:
    """The images' fourth channel, (B, V, H, W)."""
    if images.shape[2] < 4:
        raise ValueError(
            "the hull prior needs the foreground channel: survey the clip (clips.survey) or set "
            "hull = 0"
        )
    return images[:, :, 3]


# ---- view by view --------------------------------------------------------------------------------
def spatial_logits(maps: Tensor, images: Tensor, priors: PriorRecipe = PLAIN) -> Tensor:
    """Heatmaps as logits of the softmax over each view's cells.

    The two priors beyond the paper are those of the volume, in an image: `sharpness`, a factor on
    the logits, and `hull`, the weight of log(foreground) as a prior.

    Args:
        maps: (B, V, K, h, w).
        images: (B, V, 3 or 4, H, W); the fourth channel is the foreground, which `hull` needs.
        priors: beyond the paper.

    Returns:
        (B, V, K, h w).
    """
    logits = priors.sharpness * maps.flatten(-2)
    if not priors.hull:
        return logits
    h, w = maps.shape[-2:]
    moving = F.adaptive_avg_pool2d(_foreground(images), (h, w))
    return logits + priors.hull * moving.clamp(min=0.02).log().flatten(-2)[:, :, None]


def _cells(maps: Tensor) -> Tensor:
    return cells(*maps.shape[-2:], like=maps).flatten(0, 1)


class Flat(Lift):
    """2D B-KinD (Sun et al., CVPR 2022): a soft-argmax in every view, and no world.

    It asks for K maps. The views know nothing of each other; place and turn of a volume mean
    nothing here.

    Args:
        keypoints: K.
        priors: beyond the paper.
    """

    def __init__(self, keypoints: int, priors: PriorRecipe = PLAIN):
        super().__init__(keypoints, priors)

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        """Keypoints of one moment; arguments as of every `Lift`."""
        logits = spatial_logits(maps, images, self.priors)
        ndc, confidence = soft_argmax(logits, _cells(maps))
        return Keypoints(ndc=ndc, world=None, confidence=confidence, **told(logits, _cells(maps)))


class Triangulated(Flat):
    """`Flat` keypoints, triangulated by confidence, and projected back, lens distortion included.

    It asks for K maps of 2 views or more. `ndc` are the reprojections, which all views agree on;
    `votes` what each view had said alone.

    Args:
        keypoints: K.
        priors: beyond the paper.
    """

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        """Keypoints of one moment; arguments as of every `Lift`."""
        alone = super().forward(maps, images, batch)
        world = triangulate(batch.rig, batch.rig.px_from_ndc(alone.ndc), alone.confidence)
        return replace(alone, ndc=batch.rig.ndc_from_world(world), world=world, votes=alone.ndc)


class Depth(Lift):
    """A heatmap and a depth map per keypoint and view; the views' points in space are averaged.

    It asks for 2 K maps: K heatmaps, then K depth maps. The depth along a camera's z axis is the
    expectation of near + (far - near) sigmoid(map) under the heatmap's softmax. Points are averaged
    by confidence and projected back; `votes` are the views' own points in space.

    Args:
        volume: its cube about its centre (or the batch's own centre), whichever way it is turned,
            lies between each camera's near and far, unless these are given.
        keypoints: K.
        priors: beyond the paper.

    Raises:
        ValueError: near and far are no depths before a camera.
    """

    def __init__(self, volume: VolumeRecipe, keypoints: int, priors: PriorRecipe = PLAIN):
        super().__init__(2 * keypoints, priors)
        near, far = volume.near, volume.far
        least = 1e-9 if near is None else near
        if not 0 < least < (float("inf") if far is None else far):
            raise ValueError(
                f"near = {near}, far = {far}: expected 0 < near < far, in world units from the "
                "camera, or None"
            )
        self.recipe = volume

    def limits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nearest and farthest depth that each camera considers.

        Half a diagonal of the cube before and behind its centre, but never nearer than a twentieth
        of the way.

        Args:
            batch: its cameras, and the volume's centre if it has its own.

        Returns:
            (..., V, 1) each, in world units.
        """
        near, far, t = self.recipe.near, self.recipe.far, batch.rig.t
        centre = t.new_tensor(self.recipe.centre or (0.0, 0.0, 0.0))[None]
        if batch.centre is not None:
            centre = batch.centre[:, None]
        middle = batch.rig.cam_from_world(centre)[..., 2]
        half = cast(float, self.recipe.cube) * 3**0.5 / 2
        nearest = torch.maximum(middle - half, middle.abs() / 20)
        if near is not None:
            nearest = torch.full_like(middle, near)
        farthest = torch.maximum(middle + half, 2 * nearest)
        return nearest, farthest if far is None else torch.full_like(middle, far)

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        """Keypoints of one moment; arguments as of every `Lift`."""
        heat, depth = maps.split(self.channels // 2, 2)
        logits = spatial_logits(heat, images, self.priors)
        ndc, confidence = soft_argmax(logits, _cells(maps))
        near, far = self.limits(batch)
        z = near + (far - near) * (logits.softmax(-1) * depth.flatten(-2).sigmoid()).sum(-1)
        votes = batch.rig.world_from_px(batch.rig.px_from_ndc(ndc), z)
        world = (confidence[..., None] * votes).sum(1) / confidence.sum(1)[..., None]
        return Keypoints(
            ndc=batch.rig.ndc_from_world(world),
            world=world,
            confidence=confidence,
            votes=votes,
            **told(logits, _cells(maps)),
        )
