"""Board: a training while it runs - losses, target, reconstruction, heatmaps, skeleton, health."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython import get_ipython
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from torch import Tensor

from ..training.loop import Run, Step
from .colours import palette
from .model_images import flattened, learned_edges
from .overlays import mosaic, overlay
from .plots import boxed, loss_curves, pose

Signals = Mapping[str, float | str]


class Board:
    """A live picture of a run; call `draw` at every step (or every few) of the notebook's own loop.

        board = Board(run)
        for step in train(run, batches(run, clip, survey)):
            board.draw(step)

    Every step's losses are kept in `rows`. At most every `seconds` the figure is drawn anew and, in
    a notebook, shown in place of the cell's last one; another cell gets a figure of its own.

    Args:
        run: the training.
        steps: at which it ends (default: the recipe's).
        seconds: from one figure to the next, at least.
        views: how many of them are shown.
        unit: of the world.
    """

    def __init__(
        self,
        run: Run,
        steps: int | None = None,
        seconds: float = 3.0,
        views: int = 4,
        unit: str = "mm",
    ):
        self.run, self.views, self.unit = run, views, unit
        self.steps, self.seconds = steps or run.recipe.optim.steps, seconds
        self.rows: list[dict[str, float]] = []
        self._begun: tuple[float, int] | None = None  # time and number of the first step noted
        self._drawn: float | None = None  # time of the last figure
        self._cell: int | None = None  # number of the notebook's cell that shows it
        self._handle: Any = None  # of what it shows

    def draw(self, step: Step, health: Signals | None = None, force: bool = False) -> Figure | None:
        """Take note of a step; if it is time, or the last step, draw.

        Args:
            step: the one just done.
            health: signals to print, by name ({"moving keypoints": 14, "warning": "..."}).
            force: draw whatever the time.

        Returns:
            The figure, or None when it was not yet time.
        """
        now = time.perf_counter()
        self._begun = self._begun or (now, step.index)
        self.rows.append({"step": step.index, **step.losses})
        due = self._drawn is None or now - self._drawn >= self.seconds or step.index >= self.steps
        if not (due or force):
            return None
        figure = self.figure(step, health)
        self._drawn = time.perf_counter()  # after drawing: a slow figure must not eat the training
        self._show(figure)
        return figure

    def figure(self, step: Step, health: Signals | None = None) -> Figure:
        """The board as a matplotlib figure, closed for pyplot: nothing is shown twice.

        Args:
            step: the one to show.
            health: signals to print, by name.

        Returns:
            The figure.
        """
        figure = plt.figure(figsize=(11, 6.6), layout="constrained")
        grid = figure.add_gridspec(2, 3, width_ratios=(1.25, 1, 1))
        self._curves(figure.add_subplot(grid[0, 0]))
        self._space(figure.add_subplot(grid[1, 0], projection="3d"), step)
        places = [grid[row, column] for row in (0, 1) for column in (1, 2)]
        for place, (title, image) in zip(places, self._images(step).items()):
            ax = figure.add_subplot(place)
            maps: dict[str, Any] = {} if image.ndim == 3 else dict(cmap="viridis", vmin=0)
            ax.imshow(image, interpolation="nearest", **maps)
            ax.set_title(title, fontsize=10)
            ax.set_axis_off()
        figure.suptitle(self._headline(step, health), fontsize=11, x=0.01, ha="left")
        plt.close(figure)
        return figure

    def left(self, step: Step) -> float | None:
        """Time to the last step at the pace so far.

        Args:
            step: the one just done.

        Returns:
            Seconds; None after the first step.
        """
        begun, first = self._begun or (0.0, step.index)
        done = step.index - first
        if done < 1:
            return None
        return (time.perf_counter() - begun) / done * max(0, self.steps - step.index)

    def _headline(self, step: Step, health: Signals | None) -> str:
        words = [f"step {step.index} of {self.steps}"]
        words.append(f"total loss {sum(step.losses.values()):.3f}")
        if (left := self.left(step)) is not None:
            words.append(f"about {_spoken(left)} left")
        signals = "   ".join(
            f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}"
            for name, value in (health or {}).items()
        )
        return "   ".join(words) + (f"\n{signals}" if signals else "")

    def _curves(self, ax: Axes) -> None:
        loss_curves(self.rows, ax)
        ax.set_title("losses by term", fontsize=10)
        if ax.get_legend():
            below: dict[str, Any] = dict(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4)
            ax.legend(frameon=False, fontsize=8, **below)

    def _images(self, step: Step) -> dict[str, np.ndarray]:
        """Keypoints on the frame; the encoder's maps; change to explain; its reconstruction."""
        out, batch, n = step.output, step.batch, self.views
        columns = 2 if n > 1 else 1
        with torch.no_grad():
            h, w = out.recon.shape[-2:]
            target = self.run.objective.target(batch, (h, w))[0, :n]
            maps = self.run.model.encoded(batch.now[:1])[1][0, 0].float().cpu()
        wanted, got = (
            mosaic(list(flattened(maps)), columns) for maps in (target, out.recon[0, :n])
        )
        tiles = _stretched(maps)
        return {
            "keypoints, now": self._keypoints(step, columns),
            "what is to be explained (target)": wanted,
            f"heatmaps of the first view ({len(tiles)} of {len(maps)})": mosaic(tiles)[..., 0],
            "what the drawing explains (reconstruction)": got,
        }

    def _keypoints(self, step: Step, columns: int) -> np.ndarray:
        n, now = self.views, step.output.now
        frames = step.batch.now[0, :n, :3].detach().cpu().movedim(1, -1)
        return overlay(
            (frames.clamp(0, 1) * 255).round().byte(),
            now.ndc[0, :n].detach().cpu(),
            learned_edges(self.run.model, now),
            confidence=now.confidence[0, :n].detach().cpu(),
            columns=columns,
        )

    def _space(self, ax: Axes3D, step: Step) -> None:
        now = step.output.now
        if now.world is None:
            ax.set_axis_off()
            return
        points = now.world[0].detach().cpu().numpy()
        pose(ax, points, learned_edges(self.run.model, now), palette(len(points)))
        half = 0.55 * max(1e-6, float(np.ptp(points, 0).max()))
        boxed(ax, (points.max(0) + points.min(0)) / 2, half, self.unit)
        ax.set_title("keypoints in space", fontsize=10)

    def _show(self, figure: Figure) -> None:
        """In place of the cell's last one, if there is a notebook to show it in."""
        if (shell := get_ipython()) is None:
            return
        if self._handle is None or self._cell != shell.execution_count:
            self._handle, self._cell = display(figure, display_id=True), shell.execution_count
        else:
            self._handle.update(figure)


def _stretched(maps: Tensor, most: int = 16) -> list[np.ndarray]:
    """The first of maps (C, h, w) as grey pictures (h, w, 3), each from its least to its most."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    tones = ((maps - low) / (high - low).clamp(min=1e-9) * 255).round().byte()
    return list(tones[:most, ..., None].expand(-1, -1, -1, 3).numpy())


def _spoken(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
