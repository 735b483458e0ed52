"""Board: a training seen while it runs - losses by term, target against reconstruction, heatmaps, the skeleton as it forms, health, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from ..model.edges import strongest_edges
from ..model.losses import lengths
from ..training.loop import Run, Step
from .interactive import flattened
from .overlays import boxed, keypoint_colours, loss_curves, mosaic, overlay, pose


class Board:
    """A live picture of a run; call `draw` at every step (or every few) of the loop that the notebook owns.

        board = Board(run)
        for step in train(run, batches(run, clip, seen)):
            board.draw(step)

    Every step's losses are kept in `rows`. At most every `seconds` the figure is drawn anew and, in a notebook, shown in place of
    the last one. `views`: so many views are shown.
    """

    def __init__(
        self,
        run: Run,
        steps: int | None = None,
        seconds: float = 3.0,
        views: int = 4,
        unit: str = "mm",
    ):
        self.run, self.steps, self.seconds, self.views = (
            run,
            steps or run.recipe.optim.steps,
            seconds,
            views,
        )
        self.unit = unit
        self.rows: list[dict] = []
        self._begun = self._drawn = None
        self._handle = None

    def draw(
        self, step: Step, health: Mapping[str, float | str] | None = None, force: bool = False
    ) -> Figure | None:
        """Take note of a step; if it is time (or `force`, or the last step), draw. Returns the figure, or None when it was not yet time.

        health: signals to print, by name ({"moving keypoints": 14, "warning": "..."}).
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

    def figure(self, step: Step, health: Mapping[str, float | str] | None = None) -> Figure:
        """The board as a matplotlib figure, closed for pyplot: nothing is shown twice."""
        figure = plt.figure(figsize=(13, 7.4), layout="constrained")
        grid = figure.add_gridspec(2, 3, width_ratios=(1.25, 1, 1))
        self._curves(figure.add_subplot(grid[0, 0]))
        self._space(figure.add_subplot(grid[1, 0], projection="3d"), step)
        for place, (title, image, colours) in zip(
            (grid[0, 1], grid[0, 2], grid[1, 1], grid[1, 2]), self._images(step)
        ):
            ax = figure.add_subplot(place)
            ax.imshow(
                image,
                cmap=colours,
                interpolation="nearest",
                **({} if image.ndim == 3 else dict(vmin=0)),
            )
            ax.set_title(title, fontsize=10), ax.set_axis_off()
        figure.suptitle(self._headline(step, health), fontsize=11, x=0.01, ha="left")
        plt.close(figure)
        return figure

    def _headline(self, step: Step, health: Mapping | None) -> str:
        signals = "   ".join(
            f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}"
            for name, value in (health or {}).items()
        )
        left = self.left(step)
        return (
            f"step {step.index} of {self.steps}   total loss {sum(step.losses.values()):.3f}"
            + ("" if left is None else f"   about {_spoken(left)} left")
            + (f"\n{signals}" if signals else "")
        )

    def left(self, step: Step) -> float | None:
        """Seconds to the last step at the pace so far; None after the first step."""
        begun, first = self._begun or (0.0, step.index)
        done = step.index - first
        return (
            None
            if done < 1
            else (time.perf_counter() - begun) / done * max(0, self.steps - step.index)
        )

    def _curves(self, ax) -> None:
        loss_curves(self.rows, ax)
        ax.set_title("losses by term", fontsize=10)
        if ax.get_legend():
            ax.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, frameon=False, fontsize=8
            )

    def _images(self, step: Step) -> list[tuple[str, np.ndarray, str | None]]:
        """Keypoints on the frame; change to explain; its reconstruction; the encoder's maps."""
        out, batch, n = step.output, step.batch, self.views
        columns = 2 if n > 1 else 1
        seen = (batch.now[0, :n, :3].detach().cpu().movedim(1, -1).clamp(0, 1) * 255).round().byte()
        keypoints = overlay(
            seen,
            out.now.ndc[0, :n].detach().cpu(),
            self._edges(step),
            confidence=out.now.confidence[0, :n].detach().cpu(),
            columns=columns,
        )
        with torch.no_grad():
            target = self.run.objective.target(batch, out.recon.shape[-2:])[0, :n]
            maps = self.run.model.encoded(batch.now[:1])[1][0, 0].float().cpu()
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        scaled = (
            ((maps - low) / (high - low).clamp(min=1e-9) * 255)
            .round()
            .byte()[:16, ..., None]
            .expand(-1, -1, -1, 3)
            .numpy()
        )
        wanted, got = (
            mosaic(list(flattened(maps)), columns) for maps in (target, out.recon[0, :n])
        )
        return [
            ("keypoints, now", keypoints, None),
            ("what is to be explained (target)", wanted, None),
            (
                f"heatmaps of the first view ({len(scaled)} of {len(maps)})",
                mosaic(list(scaled))[..., 0],
                "viridis",
            ),
            ("what the drawing explains (reconstruction)", got, None),
        ]

    def _edges(self, step: Step) -> tuple:
        model, world = self.run.model, step.output.now.world
        pairs, weights = model.edges.pairs.cpu(), model.edges.weights.detach().cpu()
        length = None if world is None else lengths(world.detach().cpu(), pairs).mean(0)
        return strongest_edges(pairs, weights, step.output.now.ndc.shape[2], length=length).edges

    def _space(self, ax, step: Step) -> None:
        if step.output.now.world is None:
            return ax.set_axis_off()
        points = step.output.now.world[0].detach().cpu().numpy()
        pose(ax, points, self._edges(step), keypoint_colours([f"k{k}" for k in range(len(points))]))
        boxed(
            ax,
            (points.max(0) + points.min(0)) / 2,
            0.55 * max(1e-6, float(np.ptp(points, 0).max())),
            self.unit,
        )
        ax.set_title("keypoints in space", fontsize=10)

    def _show(self, figure: Figure) -> None:
        """In place of the last one, if there is a notebook to show it in."""
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ImportError:
            return
        if get_ipython() is None:
            return
        if self._handle is None:
            self._handle = display(figure, display_id=True)
        else:
            self._handle.update(figure)


def _spoken(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
