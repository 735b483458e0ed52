"""01_cameras: where one point lands in every view."""

import torch
from torch import Tensor

from ...cameras import CameraRig, distort, triangulate
from .entry import Dice, Exercise

LESSON = "01_cameras"
SIZE = (96, 64)


def one_camera(
    K: Tensor | None = None, R: Tensor | None = None, t: Tensor | None = None, size=SIZE
) -> CameraRig:
    """A rig of pinhole cameras from the parts an exercise hands out, (3, 3) or (V, 3, 3); missing parts are the identity."""
    eye = torch.eye(3)
    K, R = (eye[None] if a is None else a.reshape(-1, 3, 3) for a in (K, R))
    t = torch.zeros(1, 3) if t is None else t.reshape(-1, 3)
    V = max(len(K), len(R), len(t))
    return CameraRig(
        K.expand(V, 3, 3),
        R.expand(V, 3, 3),
        t.expand(V, 3),
        torch.zeros(V, 5),
        size,
        tuple(f"cam{v}" for v in range(V)),
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


def _ndc_from_px(px, size):
    return one_camera(size=size).ndc_from_px(px)


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


def _unit(rays: Tensor) -> Tensor:
    return rays / rays.norm(dim=-1, keepdim=True)


def _through(px: Tensor, K: Tensor) -> Tensor:
    return torch.cat([(px - K[:2, 2]) / K[[0, 1], [0, 1]], torch.ones(len(px), 1)], 1)


EXERCISES = (
    Exercise(
        "ndc_from_px",
        LESSON,
        "ndc_from_px(px (P, 2), size (W, H)) -> (P, 2): the image's corners (0, 0) and (W, H) become (-1, -1) and (1, 1)",
        _ndc_from_px,
        lambda dice: (dice.uniform(0, 64, 5, 2), (dice.integer(80, 120), dice.integer(40, 70))),
        {
            "swapped x and y: size is (W, H), px is (x, y)": lambda px, size: (
                2 * px / torch.tensor(size[::-1]) - 1
            ),
            "the range is [-1, 1], twice as wide as [0, 1]": lambda px, size: (
                px / torch.tensor(size)
            ),
            "missing factor 2": lambda px, size: px / torch.tensor(size) - 1,
            "missing the shift: 0 must become -1": lambda px, size: 2 * px / torch.tensor(size),
            "half a pixel off: (0, 0) is the image's corner, not the first pixel's centre": lambda px, size: (
                (2 * px + 1) / torch.tensor(size) - 1
            ),
            "divide by the size, not by size - 1: the last corner is (W, H)": lambda px, size: (
                2 * px / (torch.tensor(size) - 1) - 1
            ),
        },
        CameraRig.ndc_from_px,
    ),
    Exercise(
        "cam_from_world",
        LESSON,
        "cam_from_world(points (P, 3), R (3, 3), t (3)) -> (P, 3): X_cam = R X_world + t, for every row of points",
        _cam_from_world,
        lambda dice: (dice.normal(5, 3), *pose(dice)),
        {
            "R is transposed: with points as rows, R X is points @ R.T": lambda x, R, t: x @ R + t,
            "first turn, then shift: R X + t is not R (X + t)": lambda x, R, t: (x + t) @ R.T,
            "forgot the translation t": lambda x, R, t: x @ R.T,
            "t is added, not subtracted": lambda x, R, t: x @ R.T - t,
        },
        CameraRig.cam_from_world,
    ),
    Exercise(
        "px_from_cam",
        LESSON,
        "px_from_cam(points (P, 3), K (3, 3)) -> (P, 2): pinhole projection of camera coordinates to pixels",
        _px_from_cam,
        lambda dice: (_ahead(dice), intrinsics(dice)),
        {
            "forgot the division by depth": lambda x, K: (x @ K.T)[:, :2],
            "divide by the depth before the principal point is added": lambda x, K: (
                x[:, :2] * K[[0, 1], [0, 1]] / x[:, 2:] + K[:2, 2] / x[:, 2:]
            ),
            "forgot the principal point (K's last column)": lambda x, K: (
                x[:, :2] / x[:, 2:] * K[[0, 1], [0, 1]]
            ),
            "fx is not fy: use both": lambda x, K: x[:, :2] / x[:, 2:] * K[0, 0] + K[:2, 2],
            "swapped x and y": lambda x, K: _px_from_cam(x, K).flip(-1),
            "points are rows here: K X is points @ K.T": lambda x, K: (
                (x @ K)[:, :2] / (x @ K)[:, 2:]
            ),
        },
        CameraRig.px_from_cam,
    ),
    Exercise(
        "distort_radial",
        LESSON,
        "distort_radial(flat (P, 2), k1, k2) -> (P, 2): multiply each point by 1 + k1 r^2 + k2 r^4, r its distance from 0",
        _distort_radial,
        lambda dice: (
            dice.uniform(-0.5, 0.5, 5, 2),
            dice.number(-0.3, -0.15),
            dice.number(0.03, 0.1),
        ),
        {
            "r^2 is x^2 + y^2: here r was used instead": lambda f, a, b: (
                f * (1 + a * f.norm(dim=-1, keepdim=True) + b * f.norm(dim=-1, keepdim=True) ** 2)
            ),
            "r is one number per point: sum over x and y": lambda f, a, b: (
                f * (1 + a * f**2 + b * f**4)
            ),
            "forgot the k2 term": lambda f, a, b: _distort_radial(f, a, 0.0),
            "forgot the 1: without distortion a point stays where it is": lambda f, a, b: (
                _distort_radial(f, a, b) - f
            ),
            "k2 belongs to r^4, not to r^2": lambda f, a, b: _distort_radial(f, a + b, 0.0),
        },
        distort,
    ),
    Exercise(
        "ray_direction",
        LESSON,
        "ray_direction(px (P, 2), K (3, 3), R (3, 3)) -> (P, 3): unit vectors in the world from the camera through each pixel",
        _ray_direction,
        lambda dice: (dice.uniform(0, 60, 5, 2), intrinsics(dice), dice.rotation()),
        {
            "not of length 1": lambda px, K, R: _through(px, K) @ R,
            "R maps world to camera; rays go the other way, by its transpose: rows @ R": lambda px, K, R: (
                _unit(_through(px, K) @ R.T)
            ),
            "this is the direction in the camera; turn it into the world": lambda px, K, R: _unit(
                _through(px, K)
            ),
            "pixels must first be taken to the plane z = 1 by the inverse of K": lambda px, K, R: (
                _unit(torch.cat([px, torch.ones(len(px), 1)], 1) @ R)
            ),
        },
        CameraRig.ray_from_px,
    ),
    Exercise(
        "camera_centre",
        LESSON,
        "camera_centre(R (3, 3), t (3)) -> (3): the camera's place in the world, the point with R C + t = 0",
        _camera_centre,
        pose,
        {
            "t is the world's origin seen by the camera, not the camera's place": lambda R, t: t,
            "the camera's place must be turned back into the world": lambda R, t: -t,
            "R must be transposed (its inverse)": lambda R, t: -R @ t,
            "the sign: R C = -t": lambda R, t: R.T @ t,
        },
        CameraRig.centres.fget,
    ),
)


def _two_views(dice: Dice) -> tuple[Tensor, Tensor]:
    """Projection matrices (2, 3, 4) of two cameras and the pixels (2, 2) of one point, with noise: the rays just miss each other."""
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


EXERCISES += (
    Exercise(
        "triangulate_two",
        LESSON,
        "triangulate_two(P (2, 3, 4), px (2, 2)) -> (3): least squares on x P[2] - P[0] = 0, y P[2] - P[1] = 0 of both views",
        _triangulate_two,
        _two_views,
        {
            "swapped x and y in the equations": lambda P, px: _solved(P, px.flip(-1)),
            "the last column goes to the right-hand side with a minus": lambda P, px: (
                -_solved(P, px)
            ),
            "each view gives two equations: use y as well as x": lambda P, px: _solved(
                P, px, (0, 1, 2)
            ),
            "the views are mixed up: px[0] belongs to P[0]": lambda P, px: _solved(P, px.flip(0)),
        },
        triangulate,
        tolerance=3e-3,
    ),
)
