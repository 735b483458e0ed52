"""Explore: questions a slider asks. Each function does the expensive half once and returns a plain function that draws the cheap half.

    draw = gaps(clip)
    draw(time=40, gap=6)          # a Plotly figure; no widget, no kernel magic

`widgets` puts sliders on the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..cameras import CameraRig
from ..clips.clip import Batch, MultiViewClip
from ..clips.tracks import Skeleton, Track
from ..evaluation import KeypointRegressor, aligned_mpjpe
from ..model.discoverer import Discoverer
from ..model.edges import strongest
from ..model.lifts import Keypoints
from ..model.losses import dissimilarity
from ..model.objective import Objective
from ..shapes import shaped
from ..volumes import Grid, fuse, unproject
from .overlays import GREY, keypoint_colours, mosaic, palette
from .scenes import picture, scene
from .skeleton_edits import Editing
from .traces import bones, cube, rays, rig_traces, slices, volume_trace

Draw = Callable[..., go.Figure]


def heat(values: Tensor, most: float | None = None, colours: str = "magma") -> np.ndarray:
    """Maps (..., h, w) as RGB (..., h, w, 3) uint8, from 0 to `most` (default: the maximum)."""
    values = values.detach().float().cpu()
    top = max(float(values.max()) if most is None else most, 1e-9)
    return (
        (colormaps[colours]((values / top).clamp(0, 1).numpy())[..., :3] * 255)
        .round()
        .astype(np.uint8)
    )


def flattened(maps: Tensor) -> np.ndarray:
    """What a model explains or draws, (V, C, h, w), as pictures (V, h, w, 3): three channels are colours, of others the largest counts."""
    if maps.shape[1] == 3:
        return (maps.detach().cpu().clamp(0, 1).movedim(1, -1) * 255).round().byte().numpy()
    return heat(maps.amax(1))


def _titled(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    return np.concatenate([mosaic(list(row), len(row)) for row in rows])


def _enlarged(image: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(hw, Image.Resampling.BICUBIC))


# ---- clips -------------------------------------------------------------------------------------------------------
def gaps(clip: MultiViewClip, views: Sequence[int] | None = None, width: int = 160) -> Draw:
    """What moved between two frames? -> draw(time, gap): rows now, later and 1 - SSIM, a column per view.

    Expensive half: every frame decoded and shrunk to `width` pixels.
    """
    views = list(range(min(4, clip.rig.views))) if views is None else list(views)
    W, H = clip.rig.wh
    hw = (max(11, round(width * H / W)), width)
    small = [
        F.interpolate(
            clip.frames[list(some)][:, views].movedim(-1, -3).flatten(0, 1).float(),
            hw,
            mode="area",
        ).unflatten(0, (-1, len(views)))
        for some in (range(t, min(t + 32, len(clip))) for t in range(0, len(clip), 32))
    ]
    frames = torch.cat([part.round().byte() for part in small])  # (T, V, 3, h, w)

    def draw(time: int = 0, gap: int = 6) -> go.Figure:
        later = min(time + gap, len(clip) - 1)
        now, then = (frames[t].float() / 255 for t in (time, later))
        change = dissimilarity(now, then)[:, 0]
        pictures = [(f.movedim(1, -1) * 255).byte().numpy() for f in (now, then)]
        title = f"frame {time}, frame {later} ({(later - time) / clip.fps:.2f} s later), and what changed: mean {float(change.mean()):.3f}"
        return picture(_titled([*pictures, heat(change, 1.0)]), title)

    return draw


# ---- volumes -----------------------------------------------------------------------------------------------------
def placing(rig: CameraRig, images: Tensor | None = None, voxels: int = 24) -> Draw:
    """Where should the volume stand? -> draw(x, y, z, side): the cube in the rig, and how many views see all of it.

    images (V, H, W, 3) uint8, put on the frusta. Expensive half: the rig's pictures.
    """
    still = rig_traces(rig, images=images)
    ranges = scene(still).layout.scene
    ranges = [ranges[f"{a}axis"].range for a in "xyz"]

    def draw(x: float = 0.0, y: float = 0.0, z: float = 0.0, side: float = 400.0) -> go.Figure:
        grid = Grid(torch.tensor([float(x), float(y), float(z)]), float(side), 6)
        seen = (
            (rig.ndc_from_world(grid.points.flatten(0, 2)).abs() <= 1).all(-1).float().mean(1)
        )  # (V,)
        low = ", ".join(f"{n} {s:.0%}" for n, s in zip(rig.names, seen.tolist()) if s < 1)
        title = f"{int((seen == 1).sum())} of {rig.views} views see all of it; a voxel of {voxels} is {side / voxels:.1f} {rig.unit}"
        return scene(
            cube(grid),
            still,
            unit=rig.unit,
            ranges=_both(ranges, grid),
            title=title + (f"<br><sup>cut off: {low}</sup>" if low else ""),
        )

    return draw


def _both(ranges, grid: Grid) -> np.ndarray:
    half = 0.55 * grid.side
    return np.array(
        [
            [min(low, float(c) - half), max(high, float(c) + half)]
            for (low, high), c in zip(ranges, grid.centre)
        ]
    )


def spots(rig: CameraRig, points: Tensor, hw: tuple[int, int], sigma: float = 0.08) -> Tensor:
    """Ideal heatmaps of world points (C, 3): Gaussians in every view, sigma in half image widths -> (V, C, h, w), hw = (h, w)."""
    ndc = rig.ndc_from_world(shaped(points, "C 3", "points"))
    own = torch.stack([torch.arange(len(points))] * 2, -1)
    return torch.stack(
        [strongest(ndc[:, [c]], own[:1] * 0, torch.ones(1), hw, sigma) for c in range(len(points))],
        1,
    )


def votes(rig: CameraRig, maps: Tensor, grid: Grid, point: Tensor | None = None) -> Draw:
    """How do flat pictures vote for a place? -> draw(views, how, share, planes): the fused volume of the views kept.

    maps (V, h, w) one heatmap per view; `point` (3) the true place, if known. Expensive half: every view's map carried along its rays.
    draw: views, names of those kept (None: all); how, `mean`, `softmax`, `max`, `sum` (as `volumes.fuse`) or `product`;
    share, of the maximum from which the surface begins; planes, three slices instead of the surface.
    """
    N, V = grid.voxels, rig.views
    seen = rig.ndc_from_world(grid.points.flatten(0, 2))
    volumes = unproject(shaped(maps, "V h w", "maps")[None, :, None], seen[None])  # (1, V, 1, P)
    target = None if point is None else torch.as_tensor(point).float().reshape(1, 3)
    sight = [] if target is None else rays(rig, rig.px_from_world(target))
    still = rig_traces(rig, images=heat_images(maps))
    outline = cube(grid, name="volume")

    def draw(
        views: Sequence[str] | None = None,
        how: str = "mean",
        share: float = 0.5,
        planes: bool = False,
    ) -> go.Figure:
        kept = [v for v in range(V) if views is None or rig.names[v] in views]
        if not kept:
            return scene(outline, still, unit=rig.unit, title="no view is left: nothing votes")
        some = volumes[:, kept]
        fused = some.clamp(min=1e-6).log().mean(1).exp() if how == "product" else fuse(some, how)
        cubic = fused.reshape(N, N, N)
        peak = grid.points.reshape(-1, 3)[int(fused.argmax())]
        off = (
            ""
            if target is None
            else f", {float((peak - target[0]).norm()):.0f} {rig.unit} from the true place"
        )
        shown = (
            slices(cubic, grid, None if target is None else target[0])
            if planes
            else [volume_trace(cubic, grid, share, "votes")]
        )
        return scene(
            shown,
            [sight[v] for v in kept] if sight else [],
            outline,
            still,
            unit=rig.unit,
            title=f"{len(kept)} of {V} views, {how}: peak at {_place(peak)}{off}",
        )

    return draw


def heat_images(maps: Tensor) -> Tensor:
    """Heatmaps (V, h, w) as images (V, h, w, 3) uint8 for `rig_traces`."""
    return torch.from_numpy(heat(maps))


def _place(point: Tensor) -> str:
    return "(" + ", ".join(f"{c:.0f}" for c in point.tolist()) + ")"


# ---- edges -------------------------------------------------------------------------------------------------------
def drawing(
    ndc: Tensor,
    pairs: Tensor,
    weights: Tensor,
    names: Sequence[str] = (),
    hw: tuple[int, int] = (64, 64),
    columns: int | None = None,
) -> Draw:
    """How can a drawing be a bottleneck? -> draw(sigma, keep, edge, weight): the edge map of every view, max over edges.

    ndc (V, K, 2), pairs (E, 2), weights (E,), hw (h, w). draw: sigma, width in half image widths; keep, so many of the strongest
    edges; edge and weight, give the edge of this rank (0: the strongest) another weight.
    """
    shaped(ndc, "V K 2", "ndc")
    order, most = weights.detach().argsort(descending=True), float(weights.detach().max())
    big = (4 * hw[1], 4 * hw[0])

    def draw(
        sigma: float = 0.06, keep: int | None = None, edge: int | None = None, weight: float = 1.0
    ) -> go.Figure:
        own = weights.detach().clone()
        note = ""
        if edge is not None:
            own[order[edge]] = weight
            i, j = pairs[order[edge]].tolist()
            note = f"; edge {names[i] if names else i} - {names[j] if names else j} at {weight:.2f}"
        kept = order[: len(order) if keep is None else keep]
        maps = (
            strongest(ndc, pairs[kept], own[kept], hw, max(sigma, 2 / hw[1]))
            if len(kept)
            else torch.zeros(len(ndc), *hw)
        )
        sheet = mosaic(
            [
                _enlarged(tile, big)
                for tile in heat(maps, max(most, weight if edge is not None else 0.0), "inferno")
            ],
            columns,
        )
        return picture(sheet, f"{len(kept)} of {len(order)} edges, sigma {sigma:.3f}{note}")

    return draw


# ---- losses ------------------------------------------------------------------------------------------------------
class _Held(nn.Module):
    """A lift whose keypoints are where gradients end: what each loss would do to them."""

    def __init__(self, lift: nn.Module):
        super().__init__()
        self.lift = lift

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        with torch.no_grad():
            found = self.lift(maps, images, batch)
        if found.world is None:
            raise ValueError(
                "this lift finds no keypoints in space, so nothing can pull at them there; take volumetric, triangulated or depth"
            )
        self.world = found.world.requires_grad_()
        return replace(found, ndc=batch.rig.ndc_from_world(self.world), world=self.world)


def pulls(
    model: Discoverer,
    objective: Objective,
    batch: Batch,
    skeleton: Skeleton,
    step: int = 10**9,
    reach: float = 60.0,
) -> Draw:
    """What does each loss ask of the keypoints? -> draw(terms): the skeleton, and where the sum of the kept terms pulls each point.

    The arrow of the strongest pull of all terms together is `reach` world units long. Expensive half: a gradient per term.
    """
    held = _Held(model.lift)
    model, objective = (
        Discoverer(model.encoder, held, model.edges, model.decoder).eval(),
        deepcopy(objective),
    )  # its averages stay the caller's
    out = model(batch)
    if (
        not objective.length.average.any()
    ):  # fresh: let it meet these edges first, or it would ask for length zero
        objective.train()(batch, out, model.edges, step)
    losses = objective.eval()(batch, out, model.edges, step)
    B, zero = len(batch.index), torch.zeros_like(held.world)
    slopes = {
        name: torch.autograd.grad(loss, held.world, retain_graph=True, allow_unused=True)[0]
        if loss.requires_grad
        else None
        for name, loss in losses.items()
    }
    slopes = {name: (zero if g is None else g)[:B][0] for name, g in slopes.items()}
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    world = held.world[0].detach()
    gain = reach / max(float(sum(slopes.values()).norm(dim=-1).max()), 1e-12)
    K = len(world)
    figure_ranges = scene(
        bones(world, skeleton.edges), _arrows(world, -gain * sum(slopes.values()))
    ).layout.scene
    ranges = [figure_ranges[f"{a}axis"].range for a in "xyz"]

    def draw(terms: Sequence[str] | None = None) -> go.Figure:
        kept = [name for name in slopes if terms is None or name in terms]
        step_ = -gain * sum((slopes[name] for name in kept), torch.zeros(K, 3))
        title = "pull of " + (" + ".join(f"{n} {values[n]:.3f}" for n in kept) or "nothing")
        return scene(
            bones(world, skeleton.edges, names=skeleton.names, name="keypoints"),
            _arrows(world, step_),
            unit="mm",
            ranges=ranges,
            title=title,
        )

    draw.terms = tuple(slopes)
    return draw


def _arrows(points: Tensor, steps: Tensor) -> list:
    """Where points (K, 3) are pulled: lines, and cones at their ends."""
    ends = torch.cat([points, points + steps])
    K = len(points)
    lines = bones(
        ends, [(k, K + k) for k in range(K)], colours="#d55e00", name="pull", size=0.01, width=4
    )
    x, y, z = (points + steps).T.numpy().round(2)
    u, v, w = (
        F.normalize(steps, dim=1)
        .where(steps.norm(dim=1, keepdim=True) > 1e-6, torch.zeros(()))
        .T.numpy()
        .round(3)
    )
    cones = go.Cone(
        x=x,
        y=y,
        z=z,
        u=u,
        v=v,
        w=w,
        sizemode="raw",
        sizeref=8,
        anchor="tip",
        colorscale=[[0, "#d55e00"], [1, "#d55e00"]],
        showscale=False,
        hoverinfo="skip",
        name="pull",
    )
    return [lines, cones]


# ---- evaluation and editing --------------------------------------------------------------------------------------
def keeping(
    known: Track, known_truth: Tensor, found: Track, truth: Tensor, skeleton: Skeleton
) -> Draw:
    """Are unnamed points worth anything? -> draw(keypoints, time): PMPJPE against the number kept, and the joints they predict.

    Keypoints are kept in order of their mean confidence on the training part (`known`). Expensive half: a regression per number.
    """
    order = known.confidence.mean(0).argsort(descending=True)
    alpha = (
        KeypointRegressor().fit(known.world, known_truth).alpha_
    )  # one penalty for all: only the keypoints differ
    guesses = [
        KeypointRegressor(alpha)
        .fit(known.world[:, order[:k]], known_truth)
        .predict(found.world[:, order[:k]])
        for k in range(1, len(order) + 1)
    ]
    errors = [float(aligned_mpjpe(guess, truth).nanmean()) for guess in guesses]
    cloud = scene(bones(truth.flatten(0, 1), ())).layout.scene
    ranges = [cloud[f"{a}axis"].range for a in "xyz"]

    def draw(keypoints: int = len(order), time: int = 0) -> go.Figure:
        k = max(1, min(int(keypoints), len(order)))
        figure = scene(
            bones(guesses[k - 1][time], skeleton.edges, names=skeleton.names, name="predicted"),
            bones(
                truth[time],
                skeleton.edges,
                colours=GREY,
                names=skeleton.names,
                name="truth",
                size=5,
                width=4,
            ),
            unit=found.unit,
            ranges=ranges,
            title=f"{k} keypoints kept: PMPJPE {errors[k - 1]:.1f} {found.unit}",
        )
        curve = dict(
            x=list(range(1, len(errors) + 1)), y=[round(e, 3) for e in errors], showlegend=False
        )
        figure.add_scatter(
            **curve,
            mode="lines",
            line=dict(color=GREY),
            hovertemplate="%{x} keypoints: %{y:.1f}<extra></extra>",
        )
        figure.add_scatter(
            x=[k],
            y=[errors[k - 1]],
            mode="markers",
            marker=dict(size=13, color=palette(6)[5]),
            showlegend=False,
            hoverinfo="skip",
        )
        axis = dict(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
        return figure.update_layout(
            scene_domain_x=[0.38, 1],
            xaxis=axis | dict(domain=[0.06, 0.36], title="keypoints kept"),
            margin_b=50,
            yaxis=axis | dict(title=f"PMPJPE ({found.unit})", rangemode="tozero"),
        )

    draw.errors = errors
    return draw


def edited(track: Track) -> Draw:
    """What shall the keypoints be called? -> draw(editing, time): the skeleton as an `Editing` makes it, in 3D, names beside the points."""

    def draw(editing: Editing = Editing(), time: int = 0) -> go.Figure:
        made = editing.applied(track)
        names, colours = (
            made.skeleton.names,
            keypoint_colours(made.skeleton.names, made.skeleton.colours),
        )
        points = made.world[time]
        x, y, z = points.numpy().round(2).T
        labels = go.Scatter3d(
            x=x,
            y=y,
            z=z,
            mode="text",
            text=list(names),
            textposition="top center",
            textfont=dict(color="#808080", size=13),
            hoverinfo="skip",
            showlegend=False,
        )
        return scene(
            bones(points, made.skeleton.edges, made.confidence[time], colours, names, "keypoints"),
            labels,
            unit=track.unit,
            title=f"{len(names)} keypoints, frame {time}",
        )

    return draw
