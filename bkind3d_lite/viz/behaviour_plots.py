"""Behaviour plots: what a classifier found beside what was labelled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, precision_recall_curve

from ..tasks.behaviour_scores import OTHER
from .colours import palette


def class_colours(names: Sequence[str]) -> list[str]:
    """A colour for each class; `other`, when nothing of interest happens, is grey.

    Args:
        names: of the classes.

    Returns:
        They, as hexadecimal numbers.
    """
    bright = iter(palette(len(names)))
    return ["#bbbbbb" if name == OTHER else next(bright) for name in names]


def behaviour_figure(width: float = 8.0, height: float = 3.0) -> tuple[Figure, Axes]:
    """An empty figure with one set of axes, that needs no display.

    Args:
        width: inches.
        height: inches.

    Returns:
        Figure and axes.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def precision_recall(
    ax: Axes, labels: np.ndarray, shares: np.ndarray, names: Sequence[str]
) -> Axes:
    """Precision over recall of every class that is there.

    Args:
        ax: to draw on.
        labels: (n,) classes; -1: left out.
        shares: (n, C).
        names: of the C classes.

    Returns:
        `ax`.
    """
    known = labels >= 0
    for c, (name, colour) in enumerate(zip(names, class_colours(names))):
        if (labels[known] == c).any():
            precision, recall, _ = precision_recall_curve(labels[known] == c, shares[known, c])
            ax.plot(recall, precision, color=colour, label=name, drawstyle="steps-post")
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    ax.legend(fontsize=8, ncols=2)
    return ax


def ethogram(
    ax: Axes, rows: Sequence[tuple[str, np.ndarray]], names: Sequence[str], fps: float
) -> Axes:
    """Strips of classes over time, one below the other.

    Args:
        ax: to draw on.
        rows: title and labels (T,) of each strip; -1: nothing.
        names: of the classes.
        fps: frames a second.

    Returns:
        `ax`.
    """
    longest = max(len(labels) for _, labels in rows)
    picture = np.full((len(rows), longest), -1)
    for strip, (_, labels) in zip(picture, rows):
        strip[: len(labels)] = labels
    colours = ListedColormap(["#ffffff00", *class_colours(names)])
    extent = (0.0, longest / fps, len(rows) - 0.5, -0.5)
    style = dict(aspect="auto", interpolation="nearest", cmap=colours, extent=extent)
    ax.imshow(picture, vmin=-1.5, vmax=len(names) - 0.5, **style)  # type: ignore[arg-type]
    ax.set_yticks(range(len(rows)), [title for title, _ in rows])
    ax.set_xlabel("seconds")
    for name, colour in zip(names, class_colours(names)):
        ax.plot([], [], "s", color=colour, label=name)
    ax.legend(fontsize=8, ncols=min(6, len(names)), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def confusion(ax: Axes, labels: np.ndarray, found: np.ndarray, names: Sequence[str]) -> Axes:
    """Shares of each true class that were taken for each class, a row a true one.

    Args:
        ax: to draw on.
        labels: (n,) true classes; -1: left out.
        found: (n,) classes.
        names: of the classes.

    Returns:
        `ax`.
    """
    known, classes = labels >= 0, np.arange(len(names))
    counts = confusion_matrix(labels[known], found[known], labels=classes)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            ink = "white" if share > 0.6 else "black"
            ax.text(j, i, f"{share:.2f}", ha="center", va="center", fontsize=7, color=ink)
    ax.set_xticks(classes, names, rotation=45, ha="right", fontsize=8)
    ax.set_yticks(classes, names, fontsize=8)
    ax.set(xlabel="found", ylabel="true")
    return ax
