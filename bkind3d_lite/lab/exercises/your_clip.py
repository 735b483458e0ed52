"""11_your_clip: bring your own cameras."""

import torch
from torch import Tensor

from ... import evaluation
from ...cameras import CameraRig
from ...clips.tracks import Skeleton
from .cameras import intrinsics, one_camera
from .entry import Dice, Exercise, Mistake

LESSON = "11_your_clip"


def reprojection_error(P, points, px):
    """The package's projection, with P as K [R | t] where K is left in R and t."""
    rig = one_camera(None, P[:, :, :3], P[:, :, 3])
    return (rig.px_from_world(points) - px).norm(dim=-1).mean(-1)


def on_body_share(distance, body_length):
    """`evaluation.on_body` of points at these distances from a bone along the z axis."""
    points = torch.zeros(*distance.shape, 3)
    points[..., 0] = distance
    bone = torch.tensor([[0.0, 0, -1], [0, 0, 1]]).expand(len(distance), 2, 3)
    return evaluation.on_body(points, bone, Skeleton(("a", "b"), ((0, 1),)), body_length)["share"]


def mm_per_pixel(depth, focal):
    """Measured with the package's own rays: two pixels side by side, at this depth."""
    K = torch.tensor([[focal, 0, 40.0], [0, focal, 30.0], [0, 0, 1]])
    flat = one_camera(K).flat_from_px(torch.tensor([[[40.0, 30.0], [41.0, 30.0]]]))[0]
    return depth * float(flat[1, 0] - flat[0, 0])


def _marked(dice: Dice) -> tuple[Tensor, Tensor, Tensor]:
    views, count = 3, 5
    R = torch.stack([dice.rotation() for _ in range(views)])
    t = torch.cat([dice.uniform(-0.5, 0.5, views, 2), dice.uniform(4, 6, views, 1)], 1)
    rig = one_camera(torch.stack([intrinsics(dice) for _ in range(views)]), R, t)
    points = dice.uniform(-0.7, 0.7, count, 3)
    return rig.P, points, rig.px_from_world(points) + 3 * dice.normal(views, count, 2)


def _projected(P: Tensor, points: Tensor) -> Tensor:
    """Homogeneous pixels (V, N, 3)."""
    return torch.cat([points, torch.ones(len(points), 1)], 1) @ P.mT


def _off(P: Tensor, points: Tensor, px: Tensor) -> Tensor:
    x = _projected(P, points)
    return x[..., :2] / x[..., 2:] - px


def _undivided(P: Tensor, points: Tensor, px: Tensor) -> Tensor:
    return (_projected(P, points)[..., :2] - px).norm(dim=-1).mean(-1)


def _distances(dice: Dice) -> tuple[Tensor, float]:
    length = dice.number(120, 300)
    return length * dice.uniform(0, 0.3, dice.integer(6, 9), 5), length


EXERCISES = (
    Exercise(
        name="reprojection_error",
        lesson=LESSON,
        task=(
            "reprojection_error(P (V, 3, 4), points (N, 3), px (V, N, 2)) -> (V): "
            "mean distance in pixels between projected and marked points, per view"
        ),
        reference=reprojection_error,
        make=_marked,
        mistakes=(
            Mistake("forgot the division by depth", _undivided),
            Mistake(
                "distance first, over x and y; then the mean",
                lambda *a: _off(*a).abs().mean((1, 2)),
            ),
            Mistake(
                "averaged over the views: one number per view is asked for",
                lambda *a: _off(*a).norm(dim=-1).mean(0),
            ),
            Mistake(
                "average distances, not squared distances (no RMS)",
                lambda *a: _off(*a).square().sum(-1).mean(-1).sqrt(),
            ),
            Mistake(
                "summed instead of averaged over the points",
                lambda *a: _off(*a).norm(dim=-1).sum(-1),
            ),
            Mistake(
                "swapped x and y of the marked points",
                lambda P, x, px: _off(P, x, px.flip(-1)).norm(dim=-1).mean(-1),
            ),
        ),
        shows=CameraRig.px_from_world,
    ),
    Exercise(
        name="on_body_share",
        lesson=LESSON,
        spare=True,
        task=(
            "on_body_share(distance (T, K), body_length) -> number: "
            "share of all keypoints within 0.15 body lengths of a bone"
        ),
        reference=on_body_share,
        make=_distances,
        mistakes=(
            Mistake(
                "a share lies between 0 and 1, not 0 and 100",
                lambda d, n: 100 * (d <= 0.15 * n).float().mean(),
            ),
            Mistake(
                "0.15 body lengths, not 15 mm: divide by the body length",
                lambda d, n: (d <= 15).float().mean(),
            ),
            Mistake(
                "this is the share that is off the body", lambda d, n: (d > 0.15 * n).float().mean()
            ),
            Mistake(
                "every keypoint counts, not only frames in which all are on the body",
                lambda d, n: (d <= 0.15 * n).all(1).float().mean(),
            ),
            Mistake(
                "counted, not averaged: divide by the number of keypoints",
                lambda d, n: (d <= 0.15 * n).float().sum(),
            ),
        ),
        shows=evaluation.on_body,
    ),
    Exercise(
        name="mm_per_pixel",
        lesson=LESSON,
        task=(
            "mm_per_pixel(depth in mm, focal in px) -> number: "
            "how many mm of the scene one pixel covers at this depth"
        ),
        reference=mm_per_pixel,
        make=lambda dice: (dice.number(400, 3000), dice.number(300, 1500)),
        mistakes=(
            Mistake("upside down: further away one pixel covers more", lambda z, f: f / z),
            Mistake("a longer focal length magnifies: divide by it", lambda z, f: z * f),
            Mistake("one pixel, not two: no factor 2", lambda z, f: 2 * z / f),
        ),
        shows=CameraRig.flat_from_px,
        tolerance=1e-3,
    ),
)
