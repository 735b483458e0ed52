"""What all figures of a paper share: widths, type, and files whose text stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from numpy.typing import ArrayLike

from ...files import write_atomically
from ..plots import boxed

SINGLE, DOUBLE = 89 / 25.4, 183 / 25.4  # journal columns, inches
DARK = "#33383f"  # arrows and whiskers
PAPER_STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "axes.linewidth": 0.6,
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "DejaVu Sans"],
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.linewidth": 0.4,
}


def save_figure(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure, text as text (no outlines), and close it.

    Args:
        figure: a matplotlib figure.
        path: without suffix.

    Returns:
        Paths of `path`.svg and `path`.pdf.
    """
    paths = [Path(f"{path}.{kind}") for kind in ("svg", "pdf")]
    with plt.rc_context(PAPER_STYLE):
        for each in paths:
            write_atomically(
                each, lambda temporary: figure.savefig(temporary, dpi=300, facecolor="white")
            )
    plt.close(figure)
    return paths


def bare(ax: Axes3D, middle: ArrayLike, half: float, unit: str) -> str:
    """Equal 3D axes without numbers, which no column is wide enough for.

    Args:
        ax: axes of three dimensions.
        middle: (3) of the cube that they hold.
        half: of its side, world units.
        unit: of the world.

    Returns:
        The words for it: grid lines stand a round step apart.
    """
    step = max(s * 10.0**e for e in range(-4, 5) for s in (1, 2, 5) if s * 10.0**e <= 0.8 * half)
    boxed(ax, middle, half, unit)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_major_locator(plt.MultipleLocator(step))
        axis.set_ticklabels([])
        axis.set_tick_params(length=0)
    ax.set(xlabel="", ylabel="", zlabel="")
    ax.set_box_aspect((1, 1, 1), zoom=1.0)
    return f"grid {step:g} {unit}"
