"""07_losses: what the drawing must explain."""

import torch
from piq.functional import gaussian_filter
from torch import Tensor

from ...model import losses
from .entry import Dice, Exercise, Mistake

LESSON = "07_losses"


def _window_change(x, y, g):
    return losses.dissimilarity(x[None, None], y[None, None])[0, 0, 5, 5]


def _separation(points, sigma):
    return losses.separation(points[None], sigma)


def length_loss(lengths, average, weights):
    """`losses.EdgeLength` on edges along the x axis, whose ends are known."""
    B, E = lengths.shape
    world = torch.zeros(B, 2 * E, 3)
    world[:, 1::2, 0] = lengths
    module = losses.EdgeLength(E, 1.0).eval()
    module.average.copy_(average)
    return module(world, torch.arange(2 * E).view(E, 2), weights)


def _ssim(
    x: Tensor,
    y: Tensor,
    g: Tensor,
    *,
    luminance: bool = True,
    centred: bool = True,
    c1: float = 0.01**2,
    c2: float = 0.03**2,
) -> Tensor:
    """Similarity of one window, or what is left of it when a part is forgotten."""

    def mean(a: Tensor) -> Tensor:
        return (g * a).sum()

    mx, my = (mean(x), mean(y)) if centred else (x.new_zeros(()), x.new_zeros(()))
    similar = (2 * (mean(x * y) - mx * my) + c2) / (mean(x * x) - mx**2 + mean(y * y) - my**2 + c2)
    if not luminance:
        return similar
    return similar * (2 * mean(x) * mean(y) + c1) / (mean(x) ** 2 + mean(y) ** 2 + c1)


def _windows(dice: Dice) -> tuple[Tensor, Tensor, Tensor]:
    x = dice.uniform(0, 1, 11, 11)
    y = (dice.number(0.3, 0.9) * x + 0.3 * dice.uniform(0, 1, 11, 11)).clamp(0, 1)
    return x, y, gaussian_filter(11, 1.5, dtype=torch.float32)[0]


def _near(points: Tensor, sigma: float) -> Tensor:
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    return (-apart.square() / (2 * sigma**2)).exp()


def _off(x: Tensor) -> Tensor:
    return x[~torch.eye(len(x), dtype=torch.bool)]


EXERCISES = (
    Exercise(
        name="window_change",
        lesson=LESSON,
        task=(
            "window_change(x, y, g (11, 11 each; g sums to 1)) -> number: "
            "1 - SSIM of one window, means weighted by g, c1 = 0.01^2, c2 = 0.03^2"
        ),
        reference=_window_change,
        make=_windows,
        mistakes=(
            Mistake("this is the similarity; the target is 1 - SSIM", _ssim),
            Mistake(
                "forgot the luminance term (2 mx my + c1) / (mx^2 + my^2 + c1)",
                lambda x, y, g: 1 - _ssim(x, y, g, luminance=False),
            ),
            Mistake(
                "all pixels count alike here: weight the means by g",
                lambda x, y, g: 1 - _ssim(x, y, torch.full_like(g, 1 / 121)),
            ),
            Mistake(
                "covariance is E[xy] - E[x] E[y]: subtract the means",
                lambda x, y, g: 1 - _ssim(x, y, g, centred=False),
            ),
            Mistake(
                "c1 and c2 are squared: 0.01^2 and 0.03^2",
                lambda x, y, g: 1 - _ssim(x, y, g, c1=0.01, c2=0.03),
            ),
            Mistake(
                "this is the squared difference; SSIM compares means, variances and covariance",
                lambda x, y, g: (g * (x - y) ** 2).sum(),
            ),
        ),
        shows=losses.dissimilarity,
    ),
    Exercise(
        name="separation",
        lesson=LESSON,
        task=(
            "separation(points (K, 3), sigma) -> number: "
            "mean over pairs i != j of exp(-|p_i - p_j|^2 / (2 sigma^2))"
        ),
        reference=_separation,
        make=lambda dice: (100 * dice.normal(dice.integer(4, 6), 3), dice.number(80, 200)),
        mistakes=(
            Mistake(
                "the diagonal is counted: a point is always near itself, leave out i = j",
                lambda p, s: _near(p, s).mean(),
            ),
            Mistake(
                "the sum leaves out i = j, and so must the count: K (K - 1) pairs",
                lambda p, s: _off(_near(p, s)).sum() / len(p) ** 2,
            ),
            Mistake(
                "missing factor 2 beside sigma^2", lambda p, s: _off(_near(p, s / 2**0.5)).mean()
            ),
            Mistake(
                "the distance is squared",
                lambda p, s: _off((-torch.cdist(p, p) / (2 * s**2)).exp()).mean(),
            ),
            Mistake(
                "summed instead of averaged over the pairs", lambda p, s: _off(_near(p, s)).sum()
            ),
            Mistake(
                "the sign: near points must cost more than far ones",
                lambda p, s: -_separation(p, s),
            ),
        ),
        shows=losses.separation,
    ),
    Exercise(
        name="length_loss",
        lesson=LESSON,
        task=(
            "length_loss(lengths (B, E), average (E), weights (E)) -> number: "
            "(length - average)^2, weighted mean over edges (divide by the weights' sum), "
            "mean over B"
        ),
        reference=length_loss,
        make=lambda dice: (
            dice.uniform(0.5, 2, 3, 5),
            dice.uniform(0.5, 2, 5),
            dice.uniform(0.1, 2, 5),
        ),
        mistakes=(
            Mistake(
                "divide by the sum of the weights, or the loss falls when the edges fade",
                lambda x, a, w: ((x - a) ** 2 * w).sum(-1).mean(),
            ),
            Mistake("the weights are not used", lambda x, a, w: ((x - a) ** 2).mean()),
            Mistake(
                "squared, not absolute, deviations",
                lambda x, a, w: ((x - a).abs() * w / w.sum()).sum(-1).mean(),
            ),
            Mistake(
                "summed over the batch instead of averaged",
                lambda x, a, w: ((x - a) ** 2 * w / w.sum()).sum(),
            ),
            Mistake(
                "divided by the number of edges instead of the sum of their weights",
                lambda x, a, w: ((x - a) ** 2 * w).mean(),
            ),
            Mistake(
                "each edge has an average of its own",
                lambda x, a, w: ((x - a.mean()) ** 2 * w / w.sum()).sum(-1).mean(),
            ),
        ),
        shows=losses.EdgeLength,
    ),
)
