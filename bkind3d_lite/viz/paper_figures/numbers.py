"""Figures of numbers: training curves, and the error of every joint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ...evaluation import aligned
from ..colours import SAFE, keypoint_colours
from ..plots import loss_curves
from .style import DARK, PAPER_STYLE, SINGLE


def curves(rows: Sequence[Mapping]) -> Figure:
    """Training curves by term.

    Args:
        rows: of losses.csv.

    Returns:
        The figure, one column wide.
    """
    with plt.rc_context(PAPER_STYLE):
        figure, ax = plt.subplots(figsize=(SINGLE, 2.2), layout="constrained")
        loss_curves(rows, ax)
        for line in ax.get_lines():
            line.set_linewidth(0.4 if line.get_alpha() else 1.0)
        if ax.get_legend():
            above: dict[str, Any] = dict(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
            ax.legend(frameon=False, handlelength=1.2, columnspacing=1.0, **above)
    return figure


def joint_intervals(
    errors: Tensor, block: int, draws: int = 2000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """95 % interval of the mean error over time, by the block bootstrap.

    Blocks of neighbouring frames, which are alike, are drawn with replacement.

    Args:
        errors: (T, J).
        block: frames in a block.
        draws: of all blocks.
        seed: of the draws.

    Returns:
        Low and high end, (J) each.
    """
    blocks = torch.stack([part.nanmean(0) for part in errors.split(max(1, block))])
    random = torch.Generator().manual_seed(seed)
    means = blocks[torch.randint(len(blocks), (draws, len(blocks)), generator=random)].nanmean(1)
    return means.nanquantile(0.025, 0), means.nanquantile(0.975, 0)


def joint_error_figure(
    guess: Tensor, truth: Tensor, names: Sequence[str], fps: float, unit: str = "mm"
) -> Figure:
    """Mean error of each joint after rigid alignment, with 95 % intervals.

    The intervals are over blocks of one second.

    Args:
        guess: (T, J, 3) predicted joints.
        truth: (T, J, 3) true joints.
        names: of the joints.
        fps: of the clip.
        unit: of the world.

    Returns:
        The figure, one column wide.
    """
    errors = (aligned(guess, truth) - truth).norm(dim=-1)
    mean, whole = errors.nanmean(0), float(errors.nanmean())
    low, high = joint_intervals(errors, round(fps))
    place = np.arange(len(names))[::-1]
    with plt.rc_context(PAPER_STYLE):
        figure, ax = plt.subplots(figsize=(SINGLE, 0.5 + 0.135 * len(names)), layout="constrained")
        ax.barh(place, mean.numpy(), color=keypoint_colours(names), height=0.72)
        _whiskers(ax, place, mean.numpy(), low.numpy(), high.numpy())
        dashed: dict[str, Any] = dict(color=SAFE[7], linewidth=0.8, linestyle="--")
        ax.axvline(whole, label=f"mean {whole:.1f} {unit}", **dashed)
        ax.set(
            yticks=place,
            yticklabels=[n.replace("_", " ") for n in names],
            xlabel=f"error after rigid alignment ({unit})",
            ylim=(-0.7, len(names) - 0.3),
        )
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.1), handlelength=1.6)
    return figure


def _whiskers(
    ax: Axes, place: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    ends = np.maximum([mean - low, high - mean], 0)
    style: dict[str, Any] = dict(ecolor=DARK, elinewidth=0.7, capsize=1.5, capthick=0.7)
    ax.errorbar(mean, place, xerr=ends, fmt="none", **style)
