"""Cameras: where one point of the world lands in every view, and back.

Conventions, stated once and tested on a non-square image:
world -> camera `X_cam = R X_world + t` (camera axes x right, y down, z forward); OpenCV distortion (k1, k2, p1, p2, k3);
pixel (0, 0) is the *corner* of the image and the first pixel's centre is (0.5, 0.5), so resizing is pure scaling and
`ndc = 2 px / wh - 1` is what `grid_sample(align_corners=False)` expects. OpenCV files put the first centre at (0, 0):
`calibrations.load_calibration` adds 0.5 to the principal point, `save_calibration` takes it off. Lengths are in the rig's `unit`.
Maps are named by their ends, target first: `rig.ndc_from_px(rig.px_from_world(points))`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from .files import write_atomically
from .shapes import shaped

BEHIND = -1e6  # pixel coordinate of a point at or behind a camera: far outside every image, finite so gradients stay finite


@dataclass(frozen=True)
class CameraRig:
    """V calibrated cameras. Batch axes may lead every tensor; `wh` is (width, height) in pixels, shared by all views."""

    K: Tensor  # (..., V, 3, 3) intrinsics in pixels of the *current* image
    R: Tensor  # (..., V, 3, 3) world -> camera rotation
    t: Tensor  # (..., V, 3)    world -> camera translation
    distortion: Tensor  # (..., V, 5) OpenCV k1, k2, p1, p2, k3
    wh: tuple[int, int]
    names: tuple[str, ...]
    unit: str = "mm"

    @property
    def views(self) -> int:
        return self.K.shape[-3]

    @property
    def centres(self) -> Tensor:
        """Camera centres in the world, (..., V, 3): C = -R^T t."""
        return -(self.R.mT @ self.t[..., None])[..., 0]

    @property
    def P(self) -> Tensor:
        """Pinhole projection matrices K [R | t], (..., V, 3, 4); distortion is not part of them."""
        return self.K @ torch.cat([self.R, self.t[..., None]], -1)

    # ---- maps ----------------------------------------------------------------------------------------------------
    def cam_from_world(self, points: Tensor) -> Tensor:
        """(..., P, 3) world -> (..., V, P, 3) camera coordinates."""
        shaped(points, "... P 3", "points")
        return points[..., None, :, :] @ self.R.mT + self.t[..., None, :]

    def px_from_cam(self, points: Tensor) -> Tensor:
        """(..., V, P, 3) camera -> (..., V, P, 2) distorted pixels; at or behind a camera: `BEHIND`."""
        z = points[..., 2:]
        ahead = z > 1e-6
        flat = points[..., :2] / torch.where(ahead, z, torch.ones_like(z))
        px = self.px_from_flat(flat)
        return torch.where(ahead, px, torch.full_like(px, BEHIND))

    def px_from_flat(self, flat: Tensor) -> Tensor:
        """(..., V, P, 2) on the plane z = 1 -> distorted pixels."""
        return distort(flat, self.distortion) @ self.K[..., :2, :2].mT + self.K[..., None, :2, 2]

    def flat_from_px(self, px: Tensor) -> Tensor:
        """(..., V, P, 2) distorted pixels -> undistorted points on the plane z = 1 (inverse of `px_from_flat`)."""
        ideal = (px - self.K[..., None, :2, 2]) @ torch.linalg.inv(self.K[..., :2, :2]).mT
        return undistort(ideal, self.distortion)

    def px_from_world(self, points: Tensor) -> Tensor:
        """(..., P, 3) world -> (..., V, P, 2) pixels, distortion included: *the* projection of this package."""
        return self.px_from_cam(self.cam_from_world(points))

    def ndc_from_px(self, px: Tensor) -> Tensor:
        """Pixels -> [-1, 1]: the image's corners go to -1 and 1, its centre to 0, whatever its aspect."""
        return 2 * px / px.new_tensor(self.wh) - 1

    def px_from_ndc(self, ndc: Tensor) -> Tensor:
        return (ndc + 1) / 2 * ndc.new_tensor(self.wh)

    def ndc_from_world(self, points: Tensor) -> Tensor:
        """(..., P, 3) world -> (..., V, P, 2) in [-1, 1] inside the image."""
        return self.ndc_from_px(self.px_from_world(points))

    def ray_from_px(self, px: Tensor) -> tuple[Tensor, Tensor]:
        """(..., V, P, 2) pixels -> origins (..., V, 1, 3) and unit directions (..., V, P, 3) in the world."""
        flat = self.flat_from_px(px)
        rays = torch.cat([flat, torch.ones_like(flat[..., :1])], -1) @ self.R
        return self.centres[..., None, :], rays / rays.norm(dim=-1, keepdim=True)

    def world_from_px(self, px: Tensor, depth: Tensor) -> Tensor:
        """(..., V, P, 2) pixels at `depth` (..., V, P) along each camera's z axis -> (..., V, P, 3) world (inverse of `px_from_world`)."""
        flat = self.flat_from_px(px)
        cam = torch.cat([flat, torch.ones_like(flat[..., :1])], -1) * depth[..., None]
        return (cam - self.t[..., None, :]) @ self.R

    # ---- changes make a new rig ----------------------------------------------------------------------------------
    def resized(self, wh: tuple[int, int]) -> CameraRig:
        """The same cameras for images resized to `wh` = (W, H)."""
        scale = self.K.new_tensor([wh[0] / self.wh[0], wh[1] / self.wh[1], 1])
        return replace(self, K=self.K * scale[:, None], wh=tuple(wh))

    def cropped(self, corner: Tensor, window: Tensor, wh: tuple[int, int]) -> CameraRig:
        """Crop each view at `corner` (..., V, 2) with extent `window` (..., V, 2) in pixels, then resize to `wh`."""
        scale = corner.new_tensor(wh) / window
        lead = corner.shape[:-2]
        move = torch.diag_embed(torch.cat([scale, torch.ones_like(scale[..., :1])], -1))
        move[..., :2, 2] = -corner * scale
        grown = {
            "R": self.R.expand(*lead, *self.R.shape[-3:]),
            "t": self.t.expand(*lead, *self.t.shape[-2:]),
            "distortion": self.distortion.expand(*lead, *self.distortion.shape[-2:]),
        }
        return replace(self, K=move @ self.K, wh=tuple(wh), **grown)

    def take(self, views: list[int]) -> CameraRig:
        """The rig of these views, in this order."""
        tensors = {k: getattr(self, k)[..., list(views), :, :] for k in ("K", "R")}
        tensors |= {k: getattr(self, k)[..., list(views), :] for k in ("t", "distortion")}
        return replace(self, names=tuple(self.names[v] for v in views), **tensors)

    def to(self, *args, **kwargs) -> CameraRig:
        return replace(
            self, **{k: getattr(self, k).to(*args, **kwargs) for k in ("K", "R", "t", "distortion")}
        )

    def batched(self, batch: int) -> CameraRig:
        """A leading batch axis of size `batch` (no copy), for a rig that has none."""
        return replace(
            self,
            **{
                k: getattr(self, k).expand(batch, *getattr(self, k).shape)
                for k in ("K", "R", "t", "distortion")
            },
        )


# ---- distortion --------------------------------------------------------------------------------------------------
def _radial(r2: Tensor, k1: Tensor, k2: Tensor, k3: Tensor) -> Tensor:
    return 1 + r2 * (k1 + r2 * (k2 + r2 * k3))


def largest_radius2(distortion: Tensor) -> Tensor:
    """Squared radius up to which r -> r (1 + k1 r^2 + k2 r^4 + k3 r^6) grows, (..., 1, 1); infinity if it always does.

    Past it the polynomial folds back, and a point far outside the field of view would land inside the image.
    """
    r2 = torch.linspace(0, 16, 1601, device=distortion.device, dtype=distortion.dtype)
    k1, k2, _, _, k3 = (c[..., None] for c in distortion.unbind(-1))
    falls = 1 + 3 * k1 * r2 + 5 * k2 * r2**2 + 7 * k3 * r2**3 <= 0
    first = torch.where(falls, r2, torch.full_like(r2, math.inf).expand(falls.shape)).amin(-1)
    return first[..., None, None]


def distort(flat: Tensor, distortion: Tensor) -> Tensor:
    """OpenCV's model on (..., V, P, 2) points of the plane z = 1; `distortion` (..., V, 5).

    Beyond the radius where the polynomial stops growing its value there is kept, so that points outside the field of
    view stay outside (OpenCV lets them fold back into the image).
    """
    k1, k2, p1, p2, k3 = (c[..., None, None] for c in distortion.unbind(-1))
    r2 = flat.square().sum(-1, keepdim=True)
    limit = largest_radius2(distortion)
    kept = torch.minimum(r2, limit)
    far = r2 > limit
    near = (
        flat
        * torch.where(
            far, kept / torch.where(far, r2, torch.ones_like(r2)), torch.ones_like(r2)
        ).sqrt()
    )
    x, y = near.split(1, -1)
    tangential = torch.cat(
        [2 * p1 * x * y + p2 * (kept + 2 * x * x), p1 * (kept + 2 * y * y) + 2 * p2 * x * y], -1
    )
    return flat * _radial(kept, k1, k2, k3) + tangential


def undistort(ideal: Tensor, distortion: Tensor, steps: int = 12) -> Tensor:
    """Inverse of `distort` by Newton's method on both coordinates, (..., V, P, 2) -> (..., V, P, 2)."""
    k1, k2, p1, p2, k3 = (c[..., None] for c in distortion.unbind(-1))
    flat = ideal
    for _ in range(steps):
        x, y = flat.unbind(-1)
        r2 = x * x + y * y
        radial, slope = _radial(r2, k1, k2, k3), k1 + r2 * (2 * k2 + 3 * k3 * r2)
        a, d = (
            radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x,
            radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x,
        )
        b = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        error = distort(flat, distortion) - ideal
        u, v = error.unbind(-1)
        flat = flat - torch.stack([d * u - b * v, a * v - b * u], -1) / (a * d - b * b)[..., None]
    return flat


# ---- triangulation -----------------------------------------------------------------------------------------------
def triangulate(rig: CameraRig, px: Tensor, weight: Tensor | None = None) -> Tensor:
    """Confidence-weighted linear triangulation (DLT) of finite points, (..., V, P, 2) pixels -> (..., P, 3) world.

    `weight` (..., V, P) >= 0 scales the two equations of each view (x Z - X = 0, y Z - Y = 0 in undistorted camera
    coordinates). The homogeneous coordinate is fixed to 1, which makes it a 3 x 3 solve with well-behaved gradients.
    Points seen (weight > 0) by fewer than two views, or only along parallel rays, are NaN. Hartley and Zisserman, Multiple View Geometry, 12.2.
    """
    shaped(px, "... V P 2", "px")
    weight = px.new_ones(px.shape[:-1]) if weight is None else weight
    flat = torch.where(weight[..., None] > 0, rig.flat_from_px(px), px.new_zeros(()))
    origin = rig.centres.mean(
        -2, keepdim=True
    )  # equations about the rig's middle: well conditioned in any unit
    t = rig.t + (rig.R @ origin[..., None])[..., 0]
    rows = (
        flat[..., None] * rig.R[..., None, None, 2, :] - rig.R[..., None, :2, :]
    )  # (..., V, P, 2, 3)
    right = t[..., None, :2] - flat * t[..., None, 2:]  # (..., V, P, 2)
    w2 = weight.square()[..., None]
    normal = torch.einsum("...vpij,...vpi,...vpik->...pjk", rows, w2.expand_as(flat), rows)
    moment = torch.einsum("...vpij,...vpi,...vpi->...pj", rows, w2.expand_as(flat), right)
    enough = (weight > 0).sum(-2) >= 2
    eye = torch.eye(3, device=px.device, dtype=px.dtype)
    normal = torch.where(enough[..., None, None], normal, eye)
    points, failed = torch.linalg.solve_ex(normal, moment[..., None])
    return torch.where(
        (enough & (failed == 0))[..., None], points[..., 0] + origin, points.new_full((), math.nan)
    )


# ---- making, writing ---------------------------------------------------------------------------------------------
def look_at(centre: Tensor, target: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation (..., 3, 3) and translation (..., 3) of cameras at `centre` that look at `target`, image top towards `up`."""
    z = torch.nn.functional.normalize(target - centre, dim=-1)
    x = torch.nn.functional.normalize(torch.linalg.cross(z, up.expand_as(z)), dim=-1)
    R = torch.stack([x, torch.linalg.cross(z, x), z], -2)
    return R, -(R @ centre[..., None])[..., 0]


def ring(
    views: int = 4,
    radius: float = 1000.0,
    height: float = 600.0,
    target=(0.0, 0.0, 0.0),
    wh: tuple[int, int] = (96, 64),
    field: float = 50.0,
    distortion=(0.0, 0.0, 0.0, 0.0, 0.0),
    unit: str = "mm",
) -> CameraRig:
    """`views` cameras evenly on a circle at `height`, looking at `target`; `field` is the horizontal field of view in degrees."""
    angle = 2 * math.pi * torch.arange(views) / views + 0.3
    target = torch.tensor(target)
    centre = torch.stack(
        [radius * angle.cos(), radius * angle.sin(), torch.full_like(angle, height)], -1
    ) + target * torch.tensor([1.0, 1, 0])
    R, t = look_at(centre, target, torch.tensor([0.0, 0, 1]))
    focal = wh[0] / 2 / math.tan(math.radians(field) / 2)
    K = torch.tensor([[focal, 0, wh[0] / 2], [0, focal, wh[1] / 2], [0, 0, 1]]).expand(views, 3, 3)
    return CameraRig(
        K,
        R,
        t,
        torch.tensor(distortion).expand(views, 5),
        tuple(wh),
        tuple(f"cam{v}" for v in range(views)),
        unit,
    )


def save_calibration(rig: CameraRig, path: str | Path) -> None:
    """Write an Anipose `calibration.toml`; `calibrations.load_calibration` reads the same rig back."""
    tables = {}
    for v, name in enumerate(rig.names):
        K = rig.K[v].double().clone()
        K[:2, 2] -= 0.5
        tables[f"cam_{v}"] = dict(
            name=name,
            size=list(rig.wh),
            matrix=K.tolist(),
            distortions=rig.distortion[v].double().tolist(),
            rotation=Rotation.from_matrix(rig.R[v].double().numpy()).as_rotvec().tolist(),
            translation=rig.t[v].double().tolist(),
        )
    text = tomli_w.dumps(tables | {"metadata": {"unit": rig.unit, "adjusted": False}})
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
