"""Errors: how far poses are from the truth, frame by frame, and how sure their mean is."""

from __future__ import annotations

import torch
from torch import Tensor

from ..shapes import shaped


# ---- of poses ------------------------------------------------------------------------------------
def mpjpe(predicted: Tensor, truth: Tensor, centred: bool = True) -> Tensor:
    """Mean per-joint position error of each frame.

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3); joints that are NaN are left out.
        centred: after removing the mean shift of the pose, frame by frame (paper section 4.1).

    Returns:
        (T,) in the joints' unit.

    Raises:
        ValueError: the shapes do not fit.
    """
    shaped(predicted, "T J 3", "predicted")
    shaped(truth, "T J 3", "truth")
    if predicted.shape != truth.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)} and truth {tuple(truth.shape)} differ"
        )
    return _distances(predicted, truth, centred).nanmean(1)


def _distances(predicted: Tensor, truth: Tensor, centred: bool) -> Tensor:
    """Of each joint in each frame, (T, J)."""
    difference = predicted - truth
    if centred:
        difference = difference - difference.nanmean(1, keepdim=True)
    return difference.norm(dim=-1)


def joint_errors(predicted: Tensor, truth: Tensor, centred: bool = True) -> Tensor:
    """Mean error of each joint; `mpjpe` is the mean of the same distances over joints.

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3); frames in which a joint is NaN do not count for it.
        centred: after removing the mean shift of the pose, frame by frame.

    Returns:
        (J,) in the joints' unit.
    """
    shaped(predicted, "T J 3", "predicted")
    shaped(truth, "T J 3", "truth")
    return _distances(predicted, truth, centred).nanmean(0)


def aligned(predicted: Tensor, truth: Tensor, scale: bool = False) -> Tensor:
    """Poses moved onto the truth by the best rigid motion of each frame, never a reflection.

    Kabsch 1976; with the scale Umeyama 1991.

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3); joints that are NaN do not count.
        scale: also by the best scale.

    Returns:
        (T, J, 3).
    """
    predicted, truth = predicted.double(), truth.double()
    labelled = truth.isfinite().all(-1, keepdim=True)
    count = labelled.sum(1, keepdim=True).clamp(min=1)
    x, y = (torch.where(labelled, a, a.new_zeros(())) for a in (predicted, truth))
    mx, my = x.sum(1, keepdim=True) / count, y.sum(1, keepdim=True) / count
    x, y = (torch.where(labelled, a - m, a.new_zeros(())) for a, m in ((x, mx), (y, my)))
    U, S, Vh = torch.linalg.svd(x.mT @ y)
    sign = torch.ones_like(S)
    sign[:, -1] = torch.det(U @ Vh).sign()
    R = U @ (sign[..., None] * Vh)
    factor = x.new_ones(len(x))
    if scale:
        factor = (S * sign).sum(-1) / x.square().sum((1, 2)).clamp(min=1e-12)
    return (factor[:, None, None] * ((predicted - mx) @ R) + my).float()


def aligned_mpjpe(predicted: Tensor, truth: Tensor, scale: bool = False) -> Tensor:
    """PMPJPE of each frame: the error after the best rigid alignment (paper section 4.1).

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3); joints that are NaN are left out.
        scale: also after the best scale.

    Returns:
        (T,) in the joints' unit.
    """
    return mpjpe(aligned(predicted, truth, scale), truth, centred=False)


def best_scale(predicted: Tensor, truth: Tensor) -> Tensor:
    """The factor by which each pose must grow to fit the truth best, both about their own mean.

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3); joints that are NaN are left out.

    Returns:
        (T,).
    """
    labelled = truth.isfinite().all(-1, keepdim=True)
    x, y = (torch.where(labelled, a, a.new_full((), torch.nan)) for a in (predicted, truth))
    x, y = (torch.nan_to_num(a - a.nanmean(1, keepdim=True)) for a in (x, y))
    return (x * y).sum((1, 2)) / x.square().sum((1, 2)).clamp(min=1e-12)


def n_mpjpe(predicted: Tensor, truth: Tensor) -> Tensor:
    """N-MPJPE of each frame: after the best scale, not blind to rotation (Rhodin et al. 2018).

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3); joints that are NaN are left out.

    Returns:
        (T,) in the joints' unit.
    """
    return mpjpe(predicted * best_scale(predicted, truth)[:, None, None], truth)


# ---- of their mean -------------------------------------------------------------------------------
def interval(errors: Tensor, picks: Tensor, level: float = 0.95) -> Tensor:
    """Percentile bootstrap of a mean (Efron 1979).

    Args:
        errors: (T,).
        picks: (R, T') of times, one resample a row.
        level: share of the resamples that lie inside.

    Returns:
        (2,) the bounds.
    """
    means = errors[picks].mean(-1)
    return torch.quantile(means, means.new_tensor([(1 - level) / 2, (1 + level) / 2]))


def confidence_interval(
    errors: Tensor, block: int = 30, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bounds of a mean error by a bootstrap over blocks of consecutive frames (Kuensch 1989).

    Neighbouring frames are almost the same pose: drawn one by one they would promise far too
    narrow an interval.

    Args:
        errors: (T,); NaN frames are left out.
        block: frames; should be longer than the motion remembers itself (a second, say).
        resamples: R.
        level: share of the resamples that lie inside.
        seed: of the draws.

    Returns:
        The lower bound and the upper one.

    Raises:
        ValueError: fewer than two blocks.
    """
    errors = errors[errors.isfinite()]
    if len(errors) < 2 * block:
        raise ValueError(
            f"{len(errors)} known frames are fewer than 2 blocks of {block}; "
            "an interval needs more frames or a smaller block"
        )
    random = torch.Generator().manual_seed(seed)
    shape = resamples, round(len(errors) / block)
    starts = torch.randint(len(errors) - block + 1, shape, generator=random)
    low, high = interval(errors, (starts[..., None] + torch.arange(block)).flatten(1), level)
    return float(low), float(high)
