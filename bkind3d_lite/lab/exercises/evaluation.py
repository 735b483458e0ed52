"""09_evaluation: are unnamed points worth anything?"""

import math

import torch
from torch import Tensor

from ... import evaluation
from ...evaluation.body_bound import explained
from .entry import Dice, Exercise, Mistake

LESSON = "09_evaluation"


def _pose_error(found, truth):
    return evaluation.mpjpe(found[None], truth[None])[0]


def _align(found, truth):
    return evaluation.aligned(found[None], truth[None])[0]


def _best_scale(found, truth):
    return evaluation.best_scale(found[None], truth[None])[0]


def _regress(x, y):
    model = evaluation.KeypointRegressor(0.0).fit(x.unflatten(1, (-1, 3)), y.unflatten(1, (-1, 3)))
    return torch.from_numpy(model.coef_.T)


def _bootstrap(errors, picks):
    return evaluation.interval(errors, picks)


def _body_share(away, heading):
    power, _, body = explained(torch.complex(*away.double().unbind(-1)), heading)
    return float(body.sum() / power.sum())


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def _turned(
    found: Tensor, truth: Tensor, reflect: bool = False, back: bool = False, home: bool = True
) -> Tensor:
    U, _, Vh = torch.linalg.svd(_centred(found).T @ _centred(truth))
    D = torch.diag(torch.tensor([1.0, 1.0, 1.0 if reflect else float(torch.det(U @ Vh).sign())]))
    R = U @ D @ Vh
    return _centred(found) @ (R.T if back else R) + home * truth.mean(0)


def _poses(dice: Dice) -> tuple:
    truth = 100 * dice.normal(5, 3) + 50 * dice.normal(1, 3)
    return 0.6 * truth @ dice.rotation() + 15 * dice.normal(5, 3) + 80 * dice.normal(1, 3), truth


def _perhaps_mirrored(dice: Dice) -> tuple:
    found, truth = _poses(dice)
    return (found if dice.number(0, 1) < 0.5 else -found), truth


def _pairs(dice: Dice) -> tuple:
    x = dice.normal(40, 6) + 1
    return x, x @ dice.normal(6, 9) + 0.3 * dice.normal(40, 9) + 1


def _resamples(dice: Dice) -> tuple:
    errors = dice.uniform(5, 40, 12) ** 1.5
    return errors, torch.randint(12, (200, 12), generator=dice.generator)


def _walk(dice: Dice) -> tuple[Tensor, Tensor]:
    """As many frames in each of 12 directions, so that the package weighs all frames alike."""
    heading = math.pi * (torch.randperm(24, generator=dice.generator) + dice.uniform(0, 1, 24)) / 12
    body, room = 40 * dice.normal(5, 2), 25 * dice.normal(5, 2)
    away = _round(body.expand(24, -1, -1), heading) + room + 15 * dice.normal(24, 5, 2)
    return away - away.mean(1, keepdim=True), heading


def _round(away: Tensor, angle: Tensor) -> Tensor:
    """Flat offsets (T, K, 2), each frame turned by its angle (T)."""
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    x, y = away.unbind(-1)
    return torch.stack([c * x - s * y, s * x + c * y], -1)


def _explained(home: Tensor) -> Tensor:
    """Of each keypoint: square of the mean offset, (K)."""
    return home.mean(0).square().sum(-1)


def _power(away: Tensor) -> Tensor:
    """Of each keypoint: mean square of the offset, (K)."""
    return away.square().sum(-1).mean(0)


EXERCISES = (
    Exercise(
        name="pose_error",
        lesson=LESSON,
        task=(
            "pose_error(found (J, 3), truth (J, 3)) -> number: "
            "mean over joints of the distance, after the poses' mean shift is removed (MPJPE)"
        ),
        reference=_pose_error,
        make=_poses,
        mistakes=(
            Mistake(
                "the mean shift is still in: subtract the mean difference first",
                lambda f, t: (f - t).norm(dim=-1).mean(),
            ),
            Mistake(
                "average distances, not squared distances (no RMS)",
                lambda f, t: _centred(f - t).square().sum(-1).mean().sqrt(),
            ),
            Mistake(
                "distance first, over x, y and z; then the mean over the joints",
                lambda f, t: _centred(f - t).norm(),
            ),
            Mistake(
                "the distance is the root of the sum of squares, not of their mean",
                lambda f, t: _pose_error(f, t) / 3**0.5,
            ),
            Mistake(
                "the shift is one vector for the pose: average over joints, not over x, y, z",
                lambda f, t: ((f - t) - (f - t).mean(-1, keepdim=True)).norm(dim=-1).mean(),
            ),
            Mistake(
                "the shift is a vector, mean(0): a number for each of x, y and z, not one for all",
                lambda f, t: ((f - t) - (f - t).mean()).norm(dim=-1).mean(),
            ),
            Mistake(
                "summed instead of averaged over the joints",
                lambda f, t: _centred(f - t).norm(dim=-1).sum(),
            ),
        ),
        shows=evaluation.mpjpe,
    ),
    Exercise(
        name="align",
        lesson=LESSON,
        task=(
            "align(found (J, 3), truth (J, 3)) -> (J, 3): "
            "found, turned (never mirrored) and moved onto truth by least squares (Kabsch)"
        ),
        reference=_align,
        make=_perhaps_mirrored,
        mistakes=(
            Mistake(
                "this may be a reflection: if det(U Vh) < 0 flip the last singular direction",
                lambda f, t: _turned(f, t, reflect=True),
            ),
            Mistake(
                "the rotation goes the wrong way: transpose it",
                lambda f, t: _turned(f, t, back=True),
            ),
            Mistake(
                "forgot to move it to the truth's mean", lambda f, t: _turned(f, t, home=False)
            ),
            Mistake("moved, but not turned", lambda f, t: _centred(f) + t.mean(0)),
        ),
        shows=evaluation.aligned,
        tolerance=2e-3,
    ),
    Exercise(
        name="best_scale",
        lesson=LESSON,
        task=(
            "best_scale(found (J, 3), truth (J, 3)) -> number: "
            "the factor on found that fits truth best, both about their mean"
        ),
        reference=_best_scale,
        make=_poses,
        mistakes=(
            Mistake(
                "this is the factor from truth to found: divide by found . found",
                lambda f, t: (_centred(f) * _centred(t)).sum() / _centred(t).square().sum(),
            ),
            Mistake(
                "the ratio of sizes is not the best fit: it does not ask whether the joints agree",
                lambda f, t: _centred(t).norm() / _centred(f).norm(),
            ),
            Mistake(
                "the ratio of norms measures where the poses are and asks no joint whether it "
                "fits: remove the means, then divide the products",
                lambda f, t: t.norm() / f.norm(),
            ),
            Mistake("remove the means first", lambda f, t: (f * t).sum() / f.square().sum()),
            Mistake(
                "this shrinks both: divide by |found|^2, not by |found| |truth|",
                lambda f, t: (
                    (_centred(f) * _centred(t)).sum() / _centred(f).norm() / _centred(t).norm()
                ),
            ),
        ),
        shows=evaluation.best_scale,
    ),
    Exercise(
        name="regress",
        lesson=LESSON,
        task=(
            "regress(x (T, 3K), y (T, 3J)) -> (3K, 3J): "
            "the matrix W of the least-squares map x @ W = y, without bias"
        ),
        reference=_regress,
        make=_pairs,
        mistakes=(
            Mistake(
                "this has a bias inside: do not centre x and y",
                lambda x, y: torch.linalg.lstsq(_centred(x), _centred(y)).solution,
            ),
            Mistake(
                "W is transposed: rows of x stand to the left of W",
                lambda x, y: torch.linalg.lstsq(x, y).solution.T,
            ),
            Mistake(
                "a fit of x from y: predict y from x",
                lambda x, y: torch.linalg.lstsq(y, x).solution,
            ),
            Mistake("x.T @ y alone is no least squares: solve with x.T @ x", lambda x, y: x.T @ y),
        ),
        shows=evaluation.KeypointRegressor,
        tolerance=1e-3,
    ),
    Exercise(
        name="bootstrap",
        lesson=LESSON,
        task=(
            "bootstrap(errors (T), picks (R, T) of frame numbers) -> (2): "
            "2.5 % and 97.5 % quantiles of the resampled means"
        ),
        reference=_bootstrap,
        make=_resamples,
        mistakes=(
            Mistake(
                "quantiles of the resampled means, not of the errors",
                lambda e, p: torch.quantile(e[p], torch.tensor([0.025, 0.975])),
            ),
            Mistake(
                "95 % in the middle leave 2.5 % on either side, not 5 %",
                lambda e, p: torch.quantile(e[p].mean(1), torch.tensor([0.05, 0.95])),
            ),
            Mistake(
                "mean over the wrong axis: each row of picks is one resample",
                lambda e, p: torch.quantile(e[p].mean(0), torch.tensor([0.025, 0.975])),
            ),
            Mistake(
                "this assumes a bell curve; take the quantiles",
                lambda e, p: e.mean() + torch.tensor([-1.96, 1.96]) * e[p].mean(1).std(),
            ),
            Mistake(
                "the normal interval (1.96 standard errors) assumes a bell curve: take the "
                "quantiles of the resampled means",
                lambda e, p: e.mean() + torch.tensor([-1.96, 1.96]) * e.std() / len(e) ** 0.5,
            ),
            Mistake(
                "percent or share? torch.quantile wants 0.025 and 0.975",
                lambda e, p: torch.quantile(e[p].mean(1), torch.tensor([0.25, 0.975])),
            ),
        ),
        shows=evaluation.interval,
    ),
    Exercise(
        name="body_share",
        lesson=LESSON,
        task=(
            "body_share(away (T, K, 2), heading (T)) -> number: share of the flat offsets (their "
            "squares, summed over keypoints) that a place fixed in the body explains; frames alike"
        ),
        reference=_body_share,
        make=_walk,
        mistakes=(
            Mistake(
                "turned the wrong way: back into the body is by -heading",
                lambda a, h: _explained(_round(a, h)).sum() / _power(a).sum(),
            ),
            Mistake(
                "this is the share of the room: turn each frame back by its heading first",
                lambda a, h: _explained(a).sum() / _power(a).sum(),
            ),
            Mistake(
                "sum over the keypoints above and below, then divide; no mean of their shares",
                lambda a, h: (_explained(_round(a, -h)) / _power(a)).mean(),
            ),
            Mistake(
                "squares of lengths, not lengths",
                lambda a, h: _explained(_round(a, -h)).sqrt().sum() / a.norm(dim=-1).mean(0).sum(),
            ),
            Mistake(
                "this is what is left unexplained: 1 minus it",
                lambda a, h: 1 - _explained(_round(a, -h)).sum() / _power(a).sum(),
            ),
            Mistake(
                "mean over the frames first, square after; the other way round it is always 1",
                lambda a, h: _power(_round(a, -h)).sum() / _power(a).sum(),
            ),
        ),
        shows=explained,
        tolerance=1e-3,
    ),
)
