"""10_epipolar: what two views of one point know about each other."""

import torch
from torch import Tensor

from ... import epipolar
from .cameras import intrinsics, one_camera
from .entry import Dice, Exercise, Mistake

LESSON = "10_epipolar"


def _fundamental(K, R, t):
    return epipolar.fundamental(one_camera(K, R, t), 0, 1)


def _epipolar_line(F, px):
    return epipolar.homogeneous(px) @ F.mT


def _two(dice: Dice) -> tuple:
    return (
        torch.stack([intrinsics(dice), intrinsics(dice)]),
        torch.stack([dice.rotation(), dice.rotation()]),
        dice.uniform(0.5, 2, 2, 3),
    )


def _F(dice: Dice) -> Tensor:
    F = _fundamental(*_two(dice))
    return F / F.norm()


def _essential(R: Tensor, t: Tensor) -> Tensor:
    return epipolar.essential(*epipolar.relative_pose(one_camera(None, R, t), 0, 1))


EXERCISES = (
    Exercise(
        name="skew",
        lesson=LESSON,
        task="skew(v (3)) -> (3, 3): the matrix with skew(v) @ w = the cross product v x w",
        reference=epipolar.skew,
        make=lambda dice: (dice.normal(3),),
        mistakes=(
            Mistake("the signs are turned: this gives w x v", lambda v: -epipolar.skew(v)),
            Mistake(
                "below the diagonal the signs are opposite: skew(v).T = -skew(v)",
                lambda v: (
                    epipolar.skew(v).abs()
                    * epipolar.skew(v).triu().sign().add(epipolar.skew(v).triu().sign().T)
                ),
            ),
            Mistake(
                "skew(v) @ v = 0: there is nothing on the diagonal",
                lambda v: epipolar.skew(v) + torch.diag(v),
            ),
        ),
        shows=epipolar.skew,
    ),
    Exercise(
        name="fundamental",
        lesson=LESSON,
        task=(
            "fundamental(K (2, 3, 3), R (2, 3, 3), t (2, 3)) -> (3, 3): "
            "F with x1^T F x0 = 0 for pixels of cameras 0 and 1, up to a factor"
        ),
        reference=_fundamental,
        make=_two,
        mistakes=(
            Mistake(
                "this maps camera 1 to camera 0: transpose it",
                lambda K, R, t: _fundamental(K, R, t).T,
            ),
            Mistake(
                "this is the essential matrix: pixels need the inverses of K on both sides",
                lambda K, R, t: _essential(R, t),
            ),
            Mistake(
                "K of camera 1 belongs to the left, K of camera 0 to the right",
                lambda K, R, t: (
                    torch.linalg.inv(K[0]).T @ _essential(R, t) @ torch.linalg.inv(K[1])
                ),
            ),
            Mistake(
                "K stands inverted on both sides", lambda K, R, t: K[1].T @ _essential(R, t) @ K[0]
            ),
            Mistake(
                "the translation from camera 0 to 1 is t1 - R1 R0^T t0",
                lambda K, R, t: (
                    torch.linalg.inv(K[1]).T
                    @ epipolar.essential(R[1] @ R[0].T, t[1] - t[0])
                    @ torch.linalg.inv(K[0])
                ),
            ),
            Mistake(
                "the rotation from camera 0 to 1 is R1 R0^T",
                lambda K, R, t: (
                    torch.linalg.inv(K[1]).T
                    @ epipolar.essential(R[0].T @ R[1], t[1] - R[0].T @ R[1] @ t[0])
                    @ torch.linalg.inv(K[0])
                ),
            ),
        ),
        shows=epipolar.fundamental,
        tolerance=2e-3,
        scaled=True,
    ),
    Exercise(
        name="epipolar_line",
        lesson=LESSON,
        task=(
            "epipolar_line(F (3, 3), px (P, 2)) -> (P, 3): "
            "a, b, c of the lines F (x, y, 1)^T, one per row"
        ),
        reference=_epipolar_line,
        make=lambda dice: (_F(dice), dice.uniform(5, 60, 5, 2)),
        mistakes=(
            Mistake(
                "F is transposed: with pixels as rows, F x is x @ F.T",
                lambda F, px: epipolar.homogeneous(px) @ F,
            ),
            Mistake("swapped x and y", lambda F, px: _epipolar_line(F, px.flip(-1))),
            Mistake("(x, y) needs a 1 behind", lambda F, px: px @ F[:, :2].T),
            Mistake(
                "these are the lines' lengths: return all of a, b, c",
                lambda F, px: _epipolar_line(F, px)[:, :2].norm(dim=-1),
            ),
        ),
        shows=epipolar.epipolar_lines,
    ),
    Exercise(
        name="line_distance",
        lesson=LESSON,
        task=(
            "line_distance(lines (P, 3), px (P, 2)) -> (P): "
            "distance in pixels of each pixel from its line a x + b y + c = 0"
        ),
        reference=epipolar.line_distance,
        make=lambda dice: (
            dice.normal(6, 3) * torch.tensor([1.0, 1, 30]),
            dice.uniform(0, 60, 6, 2),
        ),
        mistakes=(
            Mistake(
                "divide by sqrt(a^2 + b^2)",
                lambda x, px: (x * epipolar.homogeneous(px)).sum(-1).abs(),
            ),
            Mistake(
                "c does not belong into the length: sqrt(a^2 + b^2)",
                lambda x, px: (x * epipolar.homogeneous(px)).sum(-1).abs() / x.norm(dim=-1),
            ),
            Mistake(
                "a distance has no sign",
                lambda x, px: (x * epipolar.homogeneous(px)).sum(-1) / x[:, :2].norm(dim=-1),
            ),
            Mistake(
                "divide by sqrt(a^2 + b^2), not by its square",
                lambda x, px: (
                    (x * epipolar.homogeneous(px)).sum(-1).abs() / x[:, :2].square().sum(-1)
                ),
            ),
            Mistake("swapped x and y", lambda x, px: epipolar.line_distance(x, px.flip(-1))),
        ),
        shows=epipolar.line_distance,
    ),
)
