"""01_cameras: where one point lands in every view."""

import torch
from torch import Tensor

from ...cameras import CameraRig, triangulate
from ...lenses import distort
from .entry import Dice, Exercise, Mistake

LESSON = "01_cameras"
WH = (96, 64)


def one_camera(
    K: Tensor | None = None,
    R: Tensor | None = None,
    t: Tensor | None = None,
    wh: tuple[int, int] = WH,
) -> CameraRig:
    """A rig of pinhole cameras from the parts an exercise hands out, (3, 3) or (V, 3, 3).

    Missing parts are the identity.
    """
    eye = torch.eye(3)
    K, R = (eye[None] if a is None else a.reshape(-1, 3, 3) for a in (K, R))
    t = torch.zeros(1, 3) if t is None else t.reshape(-1, 3)
    V = max(len(K), len(R), len(t))
    return CameraRig(
        K=K.expand(V, 3, 3),
        R=R.expand(V, 3, 3),
        t=t.expand(V, 3),
        distortion=torch.zeros(V, 5),
        wh=wh,
        names=tuple(f"cam{v}" for v in range(V)),
    )


def intrinsics(dice: Dice) -> Tensor:
    """Focal lengths that differ along x and y, and a principal point off the middle."""
    fx = dice.number(70, 120)
    return torch.tensor(
        [
            [fx, 0, dice.number(40, 55)],
            [0, fx * dice.number(1.1, 1.3), dice.number(25, 38)],
            [0, 0, 1],
        ]
    )


def pose(dice: Dice) -> tuple[Tensor, Tensor]:
    """A random rotation and translation."""
    return dice.rotation(), dice.uniform(0.5, 2, 3)


def _ndc_from_px(px, wh):
    return one_camera(wh=wh).ndc_from_px(px)


def _cam_from_world(points, R, t):
    return one_camera(R=R, t=t).cam_from_world(points)[0]


def _px_from_cam(points, K):
    return one_camera(K).px_from_cam(points[None])[0]


def _distort_radial(flat, k1, k2):
    return distort(flat[None], torch.tensor([[k1, k2, 0, 0, 0]]))[0]


def _ray_direction(px, K, R):
    return one_camera(K, R).ray_from_px(px[None])[1][0]


def _camera_centre(R, t):
    return one_camera(R=R, t=t).centres[0]


def _ahead(dice: Dice) -> Tensor:
    return torch.cat([dice.normal(5, 2), dice.uniform(2, 6, 5, 1)], 1)


def _bent(dice: Dice) -> tuple[Tensor, float, float]:
    """Flat points and the two coefficients of a barrel's distortion."""
    return dice.uniform(-0.5, 0.5, 5, 2), dice.number(-0.3, -0.15), dice.number(0.03, 0.1)


def _radius(flat: Tensor) -> Tensor:
    return flat.norm(dim=-1, keepdim=True)


def _unit(rays: Tensor) -> Tensor:
    return rays / rays.norm(dim=-1, keepdim=True)


def _through(px: Tensor, K: Tensor) -> Tensor:
    return torch.cat([(px - K[:2, 2]) / K[[0, 1], [0, 1]], torch.ones(len(px), 1)], 1)


def _by_null_vector(P: Tensor, px: Tensor) -> Tensor:
    """The same four equations, solved for a homogeneous point of length 1 (DLT)."""
    A = (px[..., None] * P[:, 2:] - P[:, :2]).flatten(0, 1)
    x = torch.linalg.svd(A).Vh[-1]
    return x[:3] / x[3]


def _two_views(dice: Dice) -> tuple[Tensor, Tensor]:
    """Projection matrices (2, 3, 4) of two cameras and the pixels (2, 2) of one point.

    With noise: the rays just miss each other.
    """
    R = torch.stack([dice.rotation(), dice.rotation()])
    t = torch.cat([dice.uniform(-0.5, 0.5, 2, 2), dice.uniform(3, 6, 2, 1)], 1)
    rig = one_camera(None, R, t)
    px = rig.px_from_world(dice.uniform(-0.5, 0.5, 1, 3))[:, 0]
    return rig.P, px + 0.01 * dice.normal(2, 2)


def _triangulate_two(P, px):
    return triangulate(one_camera(None, P[:, :, :3], P[:, :, 3]), px[:, None])[0]


def _solved(P: Tensor, px: Tensor, rows: tuple[int, ...] = (0, 1, 2, 3)) -> Tensor:
    """Least squares on some of the four equations x Z - X = 0, y Z - Y = 0 of the two views."""
    A = (px[..., None] * P[:, 2:] - P[:, :2]).flatten(0, 1)[list(rows)]
    return torch.linalg.lstsq(A[:, :3], -A[:, 3:]).solution[:, 0]


EXERCISES = (
    Exercise(
        name="ndc_from_px",
        lesson=LESSON,
        task=(
            "ndc_from_px(px (P, 2), wh (W, H)) -> (P, 2): "
            "the image's corners (0, 0) and (W, H) become (-1, -1) and (1, 1)"
        ),
        reference=_ndc_from_px,
        make=lambda dice: (
            dice.uniform(0, 64, 5, 2),
            (dice.integer(80, 120), dice.integer(40, 70)),
        ),
        mistakes=(
            Mistake(
                "swapped x and y: wh is (W, H), px is (x, y)",
                lambda px, wh: 2 * px / torch.tensor(wh[::-1]) - 1,
            ),
            Mistake(
                "the range is [-1, 1], twice as wide as [0, 1]",
                lambda px, wh: px / torch.tensor(wh),
            ),
            Mistake("missing factor 2", lambda px, wh: px / torch.tensor(wh) - 1),
            Mistake(
                "missing the shift: 0 must become -1", lambda px, wh: 2 * px / torch.tensor(wh)
            ),
            Mistake(
                "half a pixel off: (0, 0) is the image's corner, not the first pixel's centre",
                lambda px, wh: (2 * px + 1) / torch.tensor(wh) - 1,
            ),
            Mistake(
                "divide by wh, not by wh - 1: the last corner is (W, H)",
                lambda px, wh: 2 * px / (torch.tensor(wh) - 1) - 1,
            ),
        ),
        shows=CameraRig.ndc_from_px,
    ),
    Exercise(
        name="cam_from_world",
        lesson=LESSON,
        spare=True,
        task=(
            "cam_from_world(points (P, 3), R (3, 3), t (3)) -> (P, 3): "
            "X_cam = R X_world + t, for every row of points"
        ),
        reference=_cam_from_world,
        make=lambda dice: (dice.normal(5, 3), *pose(dice)),
        mistakes=(
            Mistake(
                "R is transposed: with points as rows, R X is points @ R.T",
                lambda x, R, t: x @ R + t,
            ),
            Mistake(
                "first turn, then shift: R X + t is not R (X + t)", lambda x, R, t: (x + t) @ R.T
            ),
            Mistake("forgot the translation t", lambda x, R, t: x @ R.T),
            Mistake("t is added, not subtracted", lambda x, R, t: x @ R.T - t),
        ),
        shows=CameraRig.cam_from_world,
    ),
    Exercise(
        name="px_from_cam",
        lesson=LESSON,
        task=(
            "px_from_cam(points (P, 3), K (3, 3)) -> (P, 2): "
            "pinhole projection of camera coordinates to pixels"
        ),
        reference=_px_from_cam,
        make=lambda dice: (_ahead(dice), intrinsics(dice)),
        mistakes=(
            Mistake("forgot the division by depth", lambda x, K: (x @ K.T)[:, :2]),
            Mistake(
                "divide by the depth before the principal point is added",
                lambda x, K: x[:, :2] * K[[0, 1], [0, 1]] / x[:, 2:] + K[:2, 2] / x[:, 2:],
            ),
            Mistake(
                "forgot the principal point (K's last column)",
                lambda x, K: x[:, :2] / x[:, 2:] * K[[0, 1], [0, 1]],
            ),
            Mistake(
                "fx is not fy: use both", lambda x, K: x[:, :2] / x[:, 2:] * K[0, 0] + K[:2, 2]
            ),
            Mistake("swapped x and y", lambda x, K: _px_from_cam(x, K).flip(-1)),
            Mistake(
                "points are rows here: K X is points @ K.T",
                lambda x, K: (x @ K)[:, :2] / (x @ K)[:, 2:],
            ),
        ),
        shows=CameraRig.px_from_cam,
    ),
    Exercise(
        name="distort_radial",
        lesson=LESSON,
        spare=True,
        task=(
            "distort_radial(flat (P, 2), k1, k2) -> (P, 2): "
            "multiply each point by 1 + k1 r^2 + k2 r^4, r its distance from 0"
        ),
        reference=_distort_radial,
        make=_bent,
        mistakes=(
            Mistake(
                "r^2 is x^2 + y^2: here r was used instead",
                lambda f, a, b: f * (1 + a * _radius(f) + b * _radius(f) ** 2),
            ),
            Mistake(
                "r is one number per point: sum over x and y",
                lambda f, a, b: f * (1 + a * f**2 + b * f**4),
            ),
            Mistake("forgot the k2 term", lambda f, a, b: _distort_radial(f, a, 0.0)),
            Mistake(
                "forgot the 1: without distortion a point stays where it is",
                lambda f, a, b: _distort_radial(f, a, b) - f,
            ),
            Mistake(
                "k2 belongs to r^4, not to r^2", lambda f, a, b: _distort_radial(f, a + b, 0.0)
            ),
        ),
        shows=distort,
    ),
    Exercise(
        name="ray_direction",
        lesson=LESSON,
        spare=True,
        task=(
            "ray_direction(px (P, 2), K (3, 3), R (3, 3)) -> (P, 3): "
            "unit vectors in the world from the camera through each pixel"
        ),
        reference=_ray_direction,
        make=lambda dice: (dice.uniform(0, 60, 5, 2), intrinsics(dice), dice.rotation()),
        mistakes=(
            Mistake("not of length 1", lambda px, K, R: _through(px, K) @ R),
            Mistake(
                "R maps world to camera; rays go the other way, by its transpose: rows @ R",
                lambda px, K, R: _unit(_through(px, K) @ R.T),
            ),
            Mistake(
                "this is the direction in the camera; turn it into the world",
                lambda px, K, R: _unit(_through(px, K)),
            ),
            Mistake(
                "pixels must first be taken to the plane z = 1 by the inverse of K",
                lambda px, K, R: _unit(torch.cat([px, torch.ones(len(px), 1)], 1) @ R),
            ),
        ),
        shows=CameraRig.ray_from_px,
    ),
    Exercise(
        name="camera_centre",
        lesson=LESSON,
        spare=True,
        task=(
            "camera_centre(R (3, 3), t (3)) -> (3): "
            "the camera's place in the world, the point with R C + t = 0"
        ),
        reference=_camera_centre,
        make=pose,
        mistakes=(
            Mistake(
                "t is the world's origin seen by the camera, not the camera's place", lambda R, t: t
            ),
            Mistake("the camera's place must be turned back into the world", lambda R, t: -t),
            Mistake("R must be transposed (its inverse)", lambda R, t: -R @ t),
            Mistake("the sign: R C = -t", lambda R, t: R.T @ t),
        ),
        shows=CameraRig.centres,
    ),
    Exercise(
        name="triangulate_two",
        lesson=LESSON,
        task=(
            "triangulate_two(P (2, 3, 4), px (2, 2)) -> (3): "
            "least squares on x P[2] - P[0] = 0, y P[2] - P[1] = 0 of both views"
        ),
        reference=_triangulate_two,
        make=_two_views,
        mistakes=(
            Mistake("swapped x and y in the equations", lambda P, px: _solved(P, px.flip(-1))),
            Mistake(
                "the last column goes to the right-hand side with a minus",
                lambda P, px: -_solved(P, px),
            ),
            Mistake(
                "each view gives two equations: use y as well as x",
                lambda P, px: _solved(P, px, (0, 1, 2)),
            ),
            Mistake(
                "the views are mixed up: px[0] belongs to P[0]",
                lambda P, px: _solved(P, px.flip(0)),
            ),
        ),
        shows=triangulate,
        also=(_by_null_vector,),
        tolerance=3e-3,
    ),
)
