"""Are unnamed points worth anything, and what shall they be called?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from ...clips.tracks import Skeleton, Track
from ...evaluation import KeypointRegressor, aligned_mpjpe
from ..colours import GREY, palette, skeleton_colours
from ..scenes import axis_ranges, first_look, scene
from ..skeleton_edits import Editing
from ..traces import bones, heading_arrow


# ---- how many ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Keeping:
    """What `keeping` returns: called with a number of keypoints and a time, it draws.

    Args:
        guesses: of 1, 2, ... keypoints: the joints (T, J, 3) they predict.
        errors: their PMPJPE, world units.
        truth: (T, J, 3) true joints.
        skeleton: names and bones of the joints.
        unit: of the world.
        ranges: (3, 2) of the axes.
    """

    guesses: Sequence[Tensor]
    errors: list[float]
    truth: Tensor
    skeleton: Skeleton
    unit: str
    ranges: list

    def __call__(self, keypoints: int | None = None, time: int = 0) -> go.Figure:
        """PMPJPE against the number of keypoints (None: all), and the joints that they predict."""
        most = len(self.guesses)
        k = most if keypoints is None else max(1, min(int(keypoints), most))
        edges, names = self.skeleton.edges, self.skeleton.names
        faint: dict[str, Any] = dict(colours=GREY, size=5, width=4)
        figure = scene(
            bones(self.guesses[k - 1][time], edges, names=names, name="predicted"),
            bones(self.truth[time], edges, names=names, name="truth", **faint),
            unit=self.unit,
            ranges=self.ranges,
            title=f"{k} keypoints kept: PMPJPE {self.errors[k - 1]:.1f} {self.unit}",
        )
        return self._with_curve(figure, k)

    def _with_curve(self, figure: go.Figure, k: int) -> go.Figure:
        """Errors against the number of keypoints, to the left of the scene; a dot at k."""
        figure.add_scatter(
            x=list(range(1, len(self.errors) + 1)),
            y=[round(e, 3) for e in self.errors],
            showlegend=False,
            mode="lines",
            line=dict(color=GREY),
            hovertemplate="%{x} keypoints: %{y:.1f}<extra></extra>",
        )
        dot: dict[str, Any] = dict(marker=dict(size=13, color=palette(6)[5]), hoverinfo="skip")
        figure.add_scatter(x=[k], y=[self.errors[k - 1]], mode="markers", showlegend=False, **dot)
        axis = dict(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
        return figure.update_layout(
            scene_domain_x=[0.38, 1],
            scene_camera=first_look(np.asarray(axis_ranges(figure)), 0.7),
            xaxis=axis | dict(domain=[0.06, 0.36], title="keypoints kept"),
            margin_b=50,
            yaxis=axis | dict(title=f"PMPJPE ({self.unit})", rangemode="tozero"),
        )


def keeping(
    train_track: Track,
    train_truth: Tensor,
    test_track: Track,
    test_truth: Tensor,
    skeleton: Skeleton,
) -> Keeping:
    """Are unnamed points worth anything?

    Keypoints are kept in order of their mean confidence on the training part. Expensive half: a
    regression per number.

    Args:
        train_track: keypoints (t, K, 3) on which the regressions are fitted.
        train_truth: (t, J, 3) true joints there.
        test_track: keypoints (T, K, 3) that predict.
        test_truth: (T, J, 3) true joints there.
        skeleton: names and bones of the joints.

    Returns:
        draw(keypoints, time): PMPJPE against the number kept, and the joints they predict;
        `draw.errors` are all of them.
    """
    order = train_track.confidence.mean(0).argsort(descending=True)
    # one penalty for all: only the keypoints differ
    alpha = KeypointRegressor().fit(train_track.world, train_truth).alpha_

    def predicted(some: Tensor) -> Tensor:
        regressor = KeypointRegressor(alpha).fit(train_track.world[:, some], train_truth)
        return regressor.predict(test_track.world[:, some])

    guesses = [predicted(order[:k]) for k in range(1, len(order) + 1)]
    return Keeping(
        guesses=guesses,
        errors=[float(aligned_mpjpe(guess, test_truth).nanmean()) for guess in guesses],
        truth=test_truth,
        skeleton=skeleton,
        unit=test_track.unit,
        ranges=axis_ranges(scene(bones(test_truth.flatten(0, 1), ()))),
    )


# ---- their names ---------------------------------------------------------------------------------
def edited(track: Track) -> Callable[..., go.Figure]:
    """What shall the keypoints be called?

    Args:
        track: as it came.

    Returns:
        draw(editing, time): the skeleton as an `Editing` makes it, names beside the points.
    """

    def draw(editing: Editing | None = None, time: int = 0) -> go.Figure:
        made = (editing or Editing()).applied(track)
        names, points = made.skeleton.names, made.world[time]
        colours, sure = skeleton_colours(made.skeleton), made.confidence[time]
        return scene(
            bones(points, made.skeleton.edges, sure, colours, names, "keypoints"),
            _labels(points, names),
            heading_arrow(made, time),
            unit=track.unit,
            title=f"{len(names)} keypoints, frame {time}",
        )

    return draw


def _labels(points: Tensor, names: Sequence[str]) -> go.Scatter3d:
    x, y, z = points.numpy().round(2).T
    return go.Scatter3d(
        **dict(x=x, y=y, z=z),
        mode="text",
        text=list(names),
        textposition="top center",
        textfont=dict(color="#808080", size=13),
        hoverinfo="skip",
        showlegend=False,
    )
