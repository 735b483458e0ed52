"""Cameras: where one point of the world lands in every view, and back.

Conventions, stated once and tested on a non-square image:
world -> camera `X_cam = R X_world + t` (camera axes x right, y down, z forward); OpenCV distortion
(k1, k2, p1, p2, k3); pixel (0, 0) is the *corner* of the image and the first pixel's centre is
(0.5, 0.5), so resizing is pure scaling and `ndc = 2 px / wh - 1` is what
`grid_sample(align_corners=False)` expects. OpenCV files put the first centre at (0, 0):
`calibrations.load_calibration` adds 0.5 to the principal point, `save_calibration` takes it off.
Lengths are in the rig's `unit`.
Maps are named by their ends, target first: `rig.ndc_from_px(rig.px_from_world(points))`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional as F

from .files import write_atomically
from .lenses import distort, undistort
from .shapes import shaped

# Pixel coordinate of a point at or behind a camera: far outside every image, finite so that
# gradients stay finite.
BEHIND = -1e6
TENSORS = ("K", "R", "t", "distortion")  # of a rig


@dataclass(frozen=True)
class CameraRig:
    """V calibrated cameras; batch axes may lead every tensor."""

    K: Tensor  # (..., V, 3, 3) intrinsics in pixels of the *current* image
    R: Tensor  # (..., V, 3, 3) world -> camera rotation
    t: Tensor  # (..., V, 3)    world -> camera translation
    distortion: Tensor  # (..., V, 5) OpenCV k1, k2, p1, p2, k3
    wh: tuple[int, int]  # width, height in pixels, shared by all views
    names: tuple[str, ...]
    unit: str = "mm"
    sizes: tuple[tuple[int, int], ...] = ()  # (W, H) each was calibrated at; (): all at `wh`
    notes: tuple[str, ...] = ()  # what their file says besides, and is not read
    calibrated: bool = True  # False: one picture, which knows no world (`image_plane`)

    @property
    def views(self) -> int:
        """How many cameras there are."""
        return self.K.shape[-3]

    @property
    def centres(self) -> Tensor:
        """Camera centres in the world, (..., V, 3): C = -R^T t."""
        return -(self.R.mT @ self.t[..., None])[..., 0]

    @property
    def P(self) -> Tensor:
        """Pinhole projection matrices K [R | t], (..., V, 3, 4), without the distortion."""
        return self.K @ torch.cat([self.R, self.t[..., None]], -1)

    # ---- maps ------------------------------------------------------------------------------------
    def cam_from_world(self, points: Tensor) -> Tensor:
        """World to camera coordinates.

        Args:
            points: (..., P, 3) world.

        Returns:
            (..., V, P, 3).
        """
        shaped(points, "... P 3", "points")
        return points[..., None, :, :] @ self.R.mT + self.t[..., None, :]

    def px_from_cam(self, points: Tensor) -> Tensor:
        """Camera coordinates to distorted pixels.

        Args:
            points: (..., V, P, 3) camera.

        Returns:
            (..., V, P, 2); at or behind a camera: `BEHIND`.
        """
        z = points[..., 2:]
        ahead = z > 1e-6
        flat = points[..., :2] / torch.where(ahead, z, torch.ones_like(z))
        px = self.px_from_flat(flat)
        return torch.where(ahead, px, torch.full_like(px, BEHIND))

    def px_from_flat(self, flat: Tensor) -> Tensor:
        """The plane z = 1 to distorted pixels.

        Args:
            flat: (..., V, P, 2) undistorted.

        Returns:
            (..., V, P, 2).
        """
        return distort(flat, self.distortion) @ self.K[..., :2, :2].mT + self.K[..., None, :2, 2]

    def flat_from_px(self, px: Tensor) -> Tensor:
        """Distorted pixels to the plane z = 1 (inverse of `px_from_flat`).

        Args:
            px: (..., V, P, 2).

        Returns:
            (..., V, P, 2) undistorted.
        """
        ideal = (px - self.K[..., None, :2, 2]) @ torch.linalg.inv(self.K[..., :2, :2]).mT
        return undistort(ideal, self.distortion)

    def px_from_world(self, points: Tensor) -> Tensor:
        """World to pixels, distortion included: *the* projection of this package.

        Args:
            points: (..., P, 3) world.

        Returns:
            (..., V, P, 2).
        """
        return self.px_from_cam(self.cam_from_world(points))

    def ndc_from_px(self, px: Tensor) -> Tensor:
        """Pixels to [-1, 1]: the image's corners go to -1 and 1, whatever its aspect.

        Args:
            px: (..., 2).

        Returns:
            (..., 2).
        """
        return 2 * px / px.new_tensor(self.wh) - 1

    def px_from_ndc(self, ndc: Tensor) -> Tensor:
        """[-1, 1] to pixels (inverse of `ndc_from_px`).

        Args:
            ndc: (..., 2).

        Returns:
            (..., 2).
        """
        return (ndc + 1) / 2 * ndc.new_tensor(self.wh)

    def ndc_from_world(self, points: Tensor) -> Tensor:
        """World to [-1, 1] inside each image.

        Args:
            points: (..., P, 3) world.

        Returns:
            (..., V, P, 2).
        """
        return self.ndc_from_px(self.px_from_world(points))

    def ray_from_px(self, px: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels to the rays on which their points lie.

        Args:
            px: (..., V, P, 2).

        Returns:
            Origins (..., V, 1, 3) and unit directions (..., V, P, 3) in the world.
        """
        rays = F.pad(self.flat_from_px(px), (0, 1), value=1.0) @ self.R
        return self.centres[..., None, :], rays / rays.norm(dim=-1, keepdim=True)

    def world_from_px(self, px: Tensor, depth: Tensor) -> Tensor:
        """Pixels and their depths to the world (inverse of `px_from_world`).

        Args:
            px: (..., V, P, 2).
            depth: (..., V, P) along each camera's z axis, world units.

        Returns:
            (..., V, P, 3).
        """
        cam = F.pad(self.flat_from_px(px), (0, 1), value=1.0) * depth[..., None]
        return (cam - self.t[..., None, :]) @ self.R

    # ---- changes make a new rig ------------------------------------------------------------------
    def resized(self, wh: tuple[int, int]) -> CameraRig:
        """The same cameras for resized images.

        Args:
            wh: (W, H) in pixels.

        Returns:
            A rig of that size.
        """
        scale = self.K.new_tensor([wh[0] / self.wh[0], wh[1] / self.wh[1], 1])
        return replace(self, K=self.K * scale[:, None], wh=(wh[0], wh[1]))

    def cropped(self, corner: Tensor, window: Tensor, wh: tuple[int, int]) -> CameraRig:
        """The cameras of images that are cropped, each view on its own, then resized.

        Args:
            corner: (..., V, 2) where each crop begins, pixels.
            window: (..., V, 2) its width and height, pixels.
            wh: (W, H) in pixels that all crops are resized to.

        Returns:
            A rig with the leading axes of `corner`.
        """
        scale = corner.new_tensor(wh) / window
        lead = corner.shape[:-2]
        move = torch.diag_embed(torch.cat([scale, torch.ones_like(scale[..., :1])], -1))
        move[..., :2, 2] = -corner * scale
        return replace(
            self,
            K=move @ self.K,
            R=self.R.expand(*lead, *self.R.shape[-3:]),
            t=self.t.expand(*lead, *self.t.shape[-2:]),
            distortion=self.distortion.expand(*lead, *self.distortion.shape[-2:]),
            wh=(wh[0], wh[1]),
        )

    def take(self, views: Sequence[int]) -> CameraRig:
        """The rig of some views.

        Args:
            views: their numbers, in the new order.

        Returns:
            A rig of so many views.
        """
        views = list(views)
        return replace(
            self,
            K=self.K[..., views, :, :],
            R=self.R[..., views, :, :],
            t=self.t[..., views, :],
            distortion=self.distortion[..., views, :],
            names=tuple(self.names[v] for v in views),
            sizes=tuple(self.sizes[v] for v in views if self.sizes),
        )

    def to(self, *args: Any, **kwargs: Any) -> CameraRig:
        """The rig on another device or of another dtype.

        Args:
            *args: as of `Tensor.to`.
            **kwargs: as of `Tensor.to`.

        Returns:
            A rig.
        """
        return replace(self, **{k: getattr(self, k).to(*args, **kwargs) for k in TENSORS})

    def batched(self, batch: int) -> CameraRig:
        """A rig without batch axes with one, of one size; nothing is copied.

        Args:
            batch: B.

        Returns:
            A rig whose tensors lead with B.
        """
        tensors = {key: getattr(self, key) for key in TENSORS}
        return replace(self, **{k: x.expand(batch, *x.shape) for k, x in tensors.items()})


# ---- triangulation -------------------------------------------------------------------------------
def triangulate(rig: CameraRig, px: Tensor, weight: Tensor | None = None) -> Tensor:
    """Confidence-weighted linear triangulation (DLT) of finite points.

    The homogeneous coordinate is fixed to 1, which makes it a 3 x 3 solve with well-behaved
    gradients. Hartley and Zisserman, Multiple View Geometry, 12.2.

    Args:
        rig: V cameras.
        px: (..., V, P, 2) pixels.
        weight: (..., V, P) >= 0, scales the two equations of each view (x Z - X = 0, y Z - Y = 0
            in undistorted camera coordinates); None: 1.

    Returns:
        (..., P, 3) world; NaN for points in fewer than two views of weight > 0, or only along
        parallel rays.
    """
    shaped(px, "... V P 2", "px")
    return triangulate_flat(rig, rig.flat_from_px(px), weight)


def triangulate_flat(rig: CameraRig, flat: Tensor, weight: Tensor | None = None) -> Tensor:
    """`triangulate` of points whose lens is already taken out.

    Args:
        rig: V cameras.
        flat: (..., V, P, 2) on the planes z = 1, undistorted.
        weight: (..., V, P) >= 0; None: 1.

    Returns:
        (..., P, 3) world, NaN as there.
    """
    weight = flat.new_ones(flat.shape[:-1]) if weight is None else weight
    flat = torch.where(weight[..., None] > 0, flat, flat.new_zeros(()))
    origin = rig.centres.mean(-2, keepdim=True)  # equations about it: well conditioned in any unit
    t = rig.t + (rig.R @ origin[..., None])[..., 0]
    left = flat[..., None] * rig.R[..., None, None, 2, :] - rig.R[..., None, :2, :]
    right = t[..., None, :2] - flat * t[..., None, 2:]  # (..., V, P, 2); left (..., V, P, 2, 3)
    w2 = weight.square()[..., None]  # expanded twice: gradients add up in the order they always did
    normal = torch.einsum("...vpij,...vpi,...vpik->...pjk", left, w2.expand_as(flat), left)
    moment = torch.einsum("...vpij,...vpi,...vpi->...pj", left, w2.expand_as(flat), right)
    enough = (weight > 0).sum(-2) >= 2
    normal = torch.where(enough[..., None, None], normal, torch.eye(3).to(normal))
    points, failed = torch.linalg.solve_ex(normal, moment[..., None])
    solved = (enough & (failed == 0))[..., None]
    return torch.where(solved, points[..., 0] + origin, points.new_full((), math.nan))


# ---- making, writing -----------------------------------------------------------------------------
def look_at(centre: Tensor, target: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Poses of cameras that look at a point.

    Args:
        centre: (..., 3) of each camera, world.
        target: (..., 3) world.
        up: (3) direction to which the images' top points, world.

    Returns:
        Rotation (..., 3, 3) and translation (..., 3), world to camera.
    """
    z = F.normalize(target - centre, dim=-1)
    x = F.normalize(torch.linalg.cross(z, up.expand_as(z)), dim=-1)
    R = torch.stack([x, torch.linalg.cross(z, x), z], -2)
    return R, -(R @ centre[..., None])[..., 0]


def ring(
    views: int = 4,
    radius: float = 1000.0,
    height: float = 600.0,
    target: Sequence[float] = (0.0, 0.0, 0.0),
    wh: tuple[int, int] = (96, 64),
    field: float = 50.0,
    *,
    distortion: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0),
    unit: str = "mm",
) -> CameraRig:
    """Cameras evenly on a circle, looking at one point.

    Args:
        views: V.
        radius: of the circle about the target, world units.
        height: of the circle over z = 0, world units.
        target: (3) world.
        wh: (W, H) in pixels.
        field: horizontal field of view, degrees.
        distortion: (5), the same for all.
        unit: name of the world's unit.

    Returns:
        A rig with cameras cam0, cam1, ...
    """
    angle = 2 * math.pi * torch.arange(views) / views + 0.3
    point = torch.tensor(target)
    circle = [radius * angle.cos(), radius * angle.sin(), torch.full_like(angle, height)]
    centre = torch.stack(circle, -1) + point * torch.tensor([1.0, 1, 0])
    R, t = look_at(centre, point, torch.tensor([0.0, 0, 1]))
    focal = wh[0] / 2 / math.tan(math.radians(field) / 2)
    K = torch.tensor([[focal, 0, wh[0] / 2], [0, focal, wh[1] / 2], [0, 0, 1]])
    return CameraRig(
        K=K.expand(views, 3, 3),
        R=R,
        t=t,
        distortion=torch.tensor(distortion).expand(views, 5),
        wh=(wh[0], wh[1]),
        names=tuple(f"cam{v}" for v in range(views)),
        unit=unit,
    )


def save_calibration(rig: CameraRig, path: str | Path) -> None:
    """Write an Anipose `calibration.toml`; `calibrations.load_calibration` reads the rig back.

    Args:
        rig: without batch axes.
        path: the file.
    """
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
