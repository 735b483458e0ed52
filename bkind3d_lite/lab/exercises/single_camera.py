"""12_one_camera: keypoints without a calibration."""

import torch

from ...clips.foreground import footprint
from ...image_plane import image_plane, plane_boxes
from ...model.losses import equivariance
from ...shapes import cells
from ...volumes import covariance_and_peak
from .entry import Dice, Exercise, Mistake

LESSON = "12_one_camera"


def heatmap_covariance(share, points):
    """The package's, of logits whose softmax is `share`."""
    return covariance_and_peak(share.log()[None, None], points)[0][0, 0]


def quarter_turned(ndc):
    """Where `losses.equivariance` wants the keypoints: the place at which it vanishes."""
    wanted = torch.stack([ndc[..., 1], -ndc[..., 0]], -1)
    assert float(equivariance([wanted[None, None]], ndc[None, None])) == 0
    return wanted


def window_of_box(box, wh):
    """The package's cut: the corner and the side of the square about a box."""
    rig = image_plane("camera", wh)
    length = float(box[2:].max()) / wh[0]
    window = footprint(rig.batched(1), plane_boxes(box[None], rig, length), length)
    return torch.cat([window.corner[0, 0], window.extent[0, 0, :1]])


def _heatmap(dice: Dice):
    h, w = dice.integer(5, 8), dice.integer(9, 12)
    return dice.normal(h * w).mul(2).softmax(0), cells(h, w).flatten(0, 1)


def _mean(share, points):
    return share @ points


def _spread(share, points, about):
    away = points - about
    return torch.einsum("p,pi,pj->ij", share, away, away)


def _boxed(dice: Dice):
    wh = (dice.integer(300, 400), dice.integer(150, 250))
    corner, size = dice.uniform(20, 90, 2), dice.uniform(20, 60, 2)
    return torch.cat([corner, size]), wh


EXERCISES = (
    Exercise(
        name="heatmap_covariance",
        lesson=LESSON,
        task=(
            "heatmap_covariance(share (P,), points (P, 2)) -> (2, 2): covariance of the points "
            "under a heatmap whose shares sum to 1"
        ),
        reference=heatmap_covariance,
        make=_heatmap,
        mistakes=(
            Mistake(
                "from the heatmap's mean, not from the image's middle",
                lambda s, p: _spread(s, p, 0.0),
            ),
            Mistake(
                "from the mean under the heatmap: the plain mean of the cells is another point",
                lambda s, p: _spread(s, p, p.mean(0) + 0.1),
            ),
            Mistake(
                "weigh each point by its share: the cells are not all alike",
                lambda s, p: _spread(torch.full_like(s, 1 / len(s)), p, _mean(s, p)),
            ),
            Mistake(
                "the released code's slip: 1 is added to every number",
                lambda s, p: _spread(s, p, _mean(s, p)) + 1,
            ),
            Mistake(
                "a matrix is asked for, with the covariance of x and y beside the variances",
                lambda s, p: torch.diag(_spread(s, p, _mean(s, p)).diag()),
            ),
        ),
        shows=covariance_and_peak,
    ),
    Exercise(
        name="quarter_turned",
        lesson=LESSON,
        task=(
            "quarter_turned(ndc (K, 2)) -> (K, 2): the keypoints of an image turned by "
            "torch.rot90 once; ndc x to the right, y down"
        ),
        reference=quarter_turned,
        make=lambda dice: (dice.uniform(-1, 1, dice.integer(3, 6), 2),),
        mistakes=(
            Mistake(
                "that is three quarter turns, the other way round: the right edge becomes the top",
                lambda x: torch.stack([-x[..., 1], x[..., 0]], -1),
            ),
            Mistake("swapped, but not turned: this mirrors the image", lambda x: x.flip(-1)),
            Mistake("that is half a turn: two quarters", lambda x: -x),
            Mistake(
                "x -> -x mirrors the image left to right",
                lambda x: x * torch.tensor([-1.0, 1.0]),
            ),
        ),
        shows=equivariance,
    ),
    Exercise(
        name="window_of_box",
        lesson=LESSON,
        task=(
            "window_of_box(box (4,) x y w h, wh) -> (3,): corner x, y and side of the square about "
            "the box's middle, as wide as its longer side"
        ),
        reference=window_of_box,
        make=_boxed,
        mistakes=(
            Mistake(
                "about the box's middle, not from its corner",
                lambda b, wh: torch.stack([b[0], b[1], b[2:].max()]),
            ),
            Mistake(
                "as wide as the longer side: else a part of the animal is cut off",
                lambda b, wh: torch.cat([b[:2] + (b[2:] - b[2:].min()) / 2, b[2:].min()[None]]),
            ),
            Mistake(
                "its middle, where its upper left corner is asked for",
                lambda b, wh: torch.cat([b[:2] + b[2:] / 2, b[2:].max()[None]]),
            ),
        ),
        shows=footprint,
        tolerance=1e-3,
    ),
)
