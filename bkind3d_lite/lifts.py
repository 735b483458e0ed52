"""Lifts: roads from maps to keypoints. A lift is the only thing in which the methods of this package differ."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from .cameras import CameraRig
from .clips import Batch
from .networks import V2V
from .volumes import Grid, fuse, fused_volume, hull, soft_argmax, unproject


@dataclass(frozen=True)
class Keypoints:
    ndc: Tensor  # (B, V, K, 2) in [-1, 1] inside the image
    world: Tensor | None  # (B, K, 3)
    weight: Tensor  # (B, V, K) confidence in [0, 1]


class Lift(Protocol):
    channels: int  # maps it asks of the encoder

    def __call__(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints: ...


class Volumetric(nn.Module):
    """maps -> voxels -> V2V -> 3D soft-argmax -> projected into every view (paper section 3.1).

    maps (B, V, C, h, w). The cube of `side` world units stands at `centre` (world), or at the batch's own centre where the
    clip follows the animal. Switches that go beyond the paper: sharpness, a factor on the logits before the softmax
    (1: paper); hull, the weight of the visual hull as a prior on the volume (0: paper), taken from the images' fourth channel blurred by `blur` px.
    """

    def __init__(self, keypoints: int, channels: int, voxels: int, side: float, centre=(0.0, 0.0, 0.0), width: int = 16,
                 levels: int = 2, front: int = 3, sharpness: float = 1.0, hull: float = 0.0, blur: int = 1, full: bool = False,
                 recompute: bool = False):
        super().__init__()
        if voxels % 2**levels:
            raise ValueError(f"voxels = {voxels}: expected a multiple of {2**levels} for a hourglass of {levels} levels")
        self.channels, self.voxels, self.side = channels, voxels, side
        self.sharpness, self.hull, self.blur = sharpness, hull, blur
        self.v2v = V2V(channels, keypoints, width, levels, front, full, recompute)
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        self._still: tuple[tuple[CameraRig, Tensor], Tensor, Tensor] | None = None  # static cameras: projected once per rig

    @property
    def layout(self) -> torch.memory_format:
        """The volume's memory layout is that of the weights."""
        weight = self.v2v.front[0][0].weight
        plain = weight.is_contiguous() or not weight.is_contiguous(memory_format=torch.channels_last_3d)
        return torch.contiguous_format if plain else torch.channels_last_3d

    def place(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Voxel centres (B, P, 3) and where they fall in each view, (B, V, P, 2) ndc."""
        rig = batch.rig
        if batch.centre is not None or batch.turn is not None:
            centre = self.centre.expand(len(batch.index), 3) if batch.centre is None else batch.centre
            points = Grid(centre, self.side, self.voxels, batch.turn).points.flatten(1, 3)
            return points, rig.ndc_from_world(points)
        if self._still is None or not (_same(self._still[0][0], rig) and torch.equal(self._still[0][1], self.centre)):
            points = Grid(self.centre, self.side, self.voxels).points.flatten(0, 2)[None].expand(len(batch.index), -1, -1)
            ndc = rig.ndc_from_world(points)
            if not (ndc.abs() <= 1).all(-1).any():
                raise ValueError(f"no camera sees any part of the volume (centre {self.centre.tolist()}, side {self.side}); "
                                 "check its centre, its side and the calibration's unit")
            self._still = (rig, self.centre.clone()), points, ndc
        return self._still[1:]

    def volume(self, maps: Tensor, images: Tensor, ndc: Tensor) -> Tensor:
        """Logits (B, K, P) of the J volumes before the softmax."""
        N = self.voxels
        if self.v2v.recompute:  # large volumes: one time after the other, half the memory in flight
            fused = (fused_volume(m[None], n[None]).unflatten(-1, (N, N, N)) for m, n in zip(maps, ndc.expand(len(maps), -1, -1, -1)))
            logits = torch.cat([self.v2v(volume.contiguous(memory_format=self.layout)) for volume in fused])
        else:
            logits = self.v2v(fuse(unproject(maps, ndc)).unflatten(-1, (N, N, N)).contiguous(memory_format=self.layout))
        logits = self.sharpness * logits.flatten(2)
        if self.hull:
            if images.shape[2] < 4:
                raise ValueError("the hull prior needs the foreground channel: survey the clip (motion.survey) or set hull = 0")
            logits = logits + self.hull * hull(images[:, :, 3:4], ndc, blur=self.blur)[:, None]
        return logits

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        points, ndc = self.place(batch)
        world, weight = soft_argmax(self.volume(maps, images, ndc), points)
        return Keypoints(batch.rig.ndc_from_world(world), world, weight[:, None].expand(-1, maps.shape[1], -1))


def _same(a: CameraRig, b: CameraRig) -> bool:
    return a.names == b.names and a.size == b.size and a.K.shape == b.K.shape and a.K.device == b.K.device and torch.equal(a.K, b.K) \
        and torch.equal(a.R, b.R) and torch.equal(a.t, b.t) and torch.equal(a.distortion, b.distortion)
