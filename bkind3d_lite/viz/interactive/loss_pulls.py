"""What does each loss ask of the keypoints?"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from textwrap import wrap

import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.nn import functional as F

from ...clips.clip import Batch
from ...clips.tracks import Skeleton
from ...model.discoverer import Discoverer
from ...model.lifts import Keypoints, Lift
from ...model.objective import Objective
from ..scenes import axis_ranges, scene
from ..traces import bones

PULL = "#d55e00"


class _Held(Lift):
    """A lift whose keypoints are where gradients end: what each loss would do to them."""

    world: Tensor

    def __init__(self, lift: Lift):
        super().__init__(lift.channels, lift.priors)
        self.lift = lift

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        with torch.no_grad():
            points = self.lift(maps, images, batch)
        if points.world is None:
            raise ValueError(
                "this lift finds no keypoints in space, so nothing can pull at them there; "
                "take volumetric, triangulated or depth"
            )
        self.world = points.world.requires_grad_()
        return replace(points, ndc=batch.rig.ndc_from_world(self.world), world=self.world)


@dataclass(frozen=True)
class Pulls:
    """What `pulls` returns: called with the terms that shall pull, it draws.

    Args:
        world: (K, 3) keypoints.
        slopes: of each term, (K, 3).
        losses: of each term.
        gain: length of an arrow, world units, for a slope of 1.
        skeleton: names and edges of the keypoints.
        ranges: (3, 2) of the axes.
    """

    world: Tensor
    slopes: dict[str, Tensor]
    losses: dict[str, float]
    gain: float
    skeleton: Skeleton
    ranges: list

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of all terms."""
        return tuple(self.slopes)

    def __call__(self, terms: Sequence[str] | None = None) -> go.Figure:
        """The skeleton, and where the sum of some terms (None: of all) pulls each point."""
        chosen = [name for name in self.slopes if terms is None or name in terms]
        slope = sum((self.slopes[name] for name in chosen), torch.zeros_like(self.world))
        words = " + ".join(f"{name} {self.losses[name]:.3f}" for name in chosen) or "nothing"
        edges, names = self.skeleton.edges, self.skeleton.names
        return scene(
            bones(self.world, edges, names=names, name="keypoints"),
            _arrows(self.world, -self.gain * slope),
            unit="mm",
            ranges=self.ranges,
            title="<br>".join(wrap(f"pull of {words}", 64)),
        )


def pulls(
    model: Discoverer,
    objective: Objective,
    batch: Batch,
    skeleton: Skeleton,
    step: int = 10**9,
    reach: float = 60.0,
) -> Pulls:
    """What does each loss ask of the keypoints?

    Expensive half: a gradient per term. Model and objective stay as they are.

    Args:
        model: whose keypoints are shown.
        objective: its terms pull.
        batch: its first sample is shown.
        skeleton: names and edges of the keypoints.
        step: of the training (default: after every warm-up).
        reach: length of the strongest arrow of all terms together, world units.

    Returns:
        draw(terms): the skeleton, and where the sum of these terms pulls each point; `draw.terms`
        are all of them.

    Raises:
        ValueError: the lift finds no keypoints in space.
    """
    losses, world = _losses(model, objective, batch, step)
    slopes = {name: _slope(loss, world)[: len(batch.index)][0] for name, loss in losses.items()}
    at = world[0].detach()
    whole = sum(slopes.values(), torch.zeros_like(at))
    gain = reach / max(float(whole.norm(dim=-1).max()), 1e-12)
    box = scene(bones(at, skeleton.edges), _arrows(at, -gain * whole))
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    return Pulls(
        world=at,
        slopes=slopes,
        losses=values,
        gain=gain,
        skeleton=skeleton,
        ranges=axis_ranges(box),
    )


def _losses(
    model: Discoverer, objective: Objective, batch: Batch, step: int
) -> tuple[dict[str, Tensor], Tensor]:
    """The terms, and the keypoints (2 B, K, 3) at which their gradients end."""
    held = _Held(model.lift)
    model = Discoverer(model.encoder, held, edges=model.edges, decoder=model.decoder).eval()
    objective = deepcopy(objective)  # its averages stay the caller's
    out = model(batch)
    if not objective.length.average.any():
        # fresh: let it meet these edges first, or it would ask for length zero
        objective.train()(batch, out, model.edges, step)
    return objective.eval()(batch, out, model.edges, step), held.world


def _slope(loss: Tensor, world: Tensor) -> Tensor:
    """Gradient of one term, (2 B, K, 3); zero where it does not depend on the keypoints."""
    if not loss.requires_grad:
        return torch.zeros_like(world)
    slope = torch.autograd.grad(loss, world, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(world) if slope is None else slope


def _arrows(points: Tensor, steps: Tensor) -> list:
    """Where points (K, 3) are pulled: lines, and cones at their ends."""
    K, tips = len(points), points + steps
    pairs = [(k, K + k) for k in range(K)]
    lines = bones(torch.cat([points, tips]), pairs, colours=PULL, name="pull", size=0.01, width=4)
    x, y, z = tips.T.numpy().round(2)
    long = steps.norm(dim=1, keepdim=True) > 1e-6
    u, v, w = F.normalize(steps, dim=1).where(long, torch.zeros(())).T.numpy().round(3)
    cones = go.Cone(
        **dict(x=x, y=y, z=z, u=u, v=v, w=w),
        sizemode="raw",
        sizeref=8,
        anchor="tip",
        colorscale=[[0, PULL], [1, PULL]],
        showscale=False,
        hoverinfo="skip",
        name="pull",
    )
    return [lines, cones]
