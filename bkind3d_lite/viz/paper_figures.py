"""Figures for papers: method overview, qualitative rows, training curves and errors per joint, at journal column widths.

Matplotlib, as SVG and PDF whose text stays text. `python -m bkind3d_lite figures --checkpoint ... --clip ... --out DIR`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from ..clips.clip import Batch, MultiViewClip, open_clip
from ..clips.survey import survey
from ..clips.tracks import Track
from ..evaluation import KeypointRegressor, aligned
from ..files import write_atomically
from ..model.discoverer import Discoverer
from ..model.edges import strongest_edges
from ..model.losses import lengths
from ..model.objective import Objective
from ..training.checkpoints import load
from ..training.tracking import track
from .interactive import flattened, heat
from .overlays import GREY, SAFE, boxed, cutouts, track_extent, keypoint_colours, loss_curves, pose
from .skeleton_edits import load_editing

SINGLE, DOUBLE = 89 / 25.4, 183 / 25.4  # journal columns, inches
PAPER_STYLE = {
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
    """Write `path`.svg and `path`.pdf, text as text (no outlines), and close the figure."""
    paths = [Path(f"{path}.{kind}") for kind in ("svg", "pdf")]
    with plt.rc_context(PAPER_STYLE):
        for each in paths:
            write_atomically(
                each, lambda temporary: figure.savefig(temporary, dpi=300, facecolor="white")
            )
    plt.close(figure)
    return paths


# ---- method overview ---------------------------------------------------------------------------------------------
@torch.no_grad()
def overview(
    model: Discoverer, objective: Objective, batch: Batch, views: int = 3, unit: str = "mm"
) -> Figure:
    """The method on a real batch (its first sample), left to right: frames, maps, volume, keypoints, drawing, reconstruction, target."""
    out = model(batch)
    maps = model.encoded(batch.now[:1])[1][0, :views].amax(1)
    seen = [
        (x[0, :views, :3].movedim(1, -1).clamp(0, 1) * 255).byte().numpy()
        for x in (batch.now, batch.later)
    ]
    size = out.recon.shape[-2:]
    flat = [
        (seen[0], "now", None),
        (seen[1], "later", None),
        (heat(maps - maps.amin((1, 2), keepdim=True), colours="viridis"), "heatmaps", "encoder"),
        (None, "volume", "unproject, fuse"),
        (None, "3D keypoints", "soft-argmax"),
        (heat(out.edges[0][-1][0, :views].amax(1), colours="inferno"), "edges", "project, draw"),
        (flattened(out.recon[0, :views]), "reconstruction", "decode"),
        (flattened(objective.target(batch, size)[0, :views]), "target", "compare"),
    ]
    flat = [
        column
        for column in flat
        if column[0] is not None
        or (out.now.world is not None and (column[1] != "volume" or model.lift.has_volume))
    ]
    widths = [1.6 if images is None else 1 for images, *_ in flat]
    with plt.rc_context(PAPER_STYLE):
        figure = plt.figure(figsize=(DOUBLE, 2.35))
        left, total, gap = 0.005, sum(widths), 0.030
        unit_width = (1 - 2 * left - gap * (len(widths) - 2) - 0.004) / total
        for n, ((images, title, verb), width) in enumerate(zip(flat, widths)):
            wide = unit_width * width
            if images is None:
                note = _inside(
                    figure.add_axes([left - 0.008, 0.06, wide + 0.016, 0.82], projection="3d"),
                    model,
                    batch,
                    out,
                    title == "volume",
                    unit,
                )
                figure.text(left + wide / 2, 0.985, title, ha="center", va="top")
                figure.text(left + wide / 2, 0.06, note, ha="center", va="bottom", fontsize=6)
            else:
                _stack(figure, images, left, wide, title)
            if verb:
                _arrow(figure, left - gap + 0.002, left - 0.002, verb)
            left += wide + (0.004 if n == 0 else gap)
    return figure


def _stack(figure: Figure, images: np.ndarray, left: float, width: float, title: str) -> None:
    """Views of one stage, one above the other, in square cells."""
    high = (
        width * figure.get_figwidth() / figure.get_figheight() * images.shape[1] / images.shape[2]
    )
    top = 0.46 + len(images) / 2 * (high + 0.015)
    for v, image in enumerate(images):
        ax = figure.add_axes([left, top - (v + 1) * high - v * 0.015, width, high])
        ax.imshow(image, interpolation="nearest"), ax.set_axis_off()
    figure.text(left + width / 2, 0.985, title, ha="center", va="top")


def _arrow(figure: Figure, left: float, right: float, verb: str) -> None:
    figure.add_artist(
        FancyArrowPatch(
            (left, 0.46),
            (right, 0.46),
            transform=figure.transFigure,
            arrowstyle="-|>",
            mutation_scale=6,
            linewidth=0.8,
            color="#33383f",
        )
    )
    figure.text(
        (left + right) / 2,
        0.50,
        verb,
        ha="center",
        va="bottom",
        fontsize=6,
        color="#33383f",
        rotation=90,
    )


def _inside(ax, model: Discoverer, batch: Batch, out, whole: bool, unit: str) -> str:
    """The keypoints' volumes (their likeliest cells), or the keypoints and the learned edges."""
    world = out.now.world[0]
    pairs, K = model.edges.pairs, len(world)
    colours = keypoint_colours([f"k{k}" for k in range(K)])
    middle, half = (
        (world.amax(0) + world.amin(0)) / 2,
        0.6 * float((world.amax(0) - world.amin(0)).max()),
    )
    if whole:
        points, ndc = model.lift.place(batch)
        chance = model.lift.volume(model.encoded(batch.now)[1], batch.now, ndc)[0].softmax(-1)
        for k in range(K):
            likely = chance[k] > 0.15 * chance[k].max()
            ax.scatter(
                *points[0][likely].T.numpy(),
                s=5,
                color=colours[k],
                alpha=(chance[k][likely] / chance[k].max()).clamp(0.1, 0.8).numpy(),
                linewidths=0,
                depthshade=False,
                rasterized=True,
            )
    else:
        edges = strongest_edges(
            pairs, model.edges.weights, K, length=lengths(world[None], pairs).mean(0)
        ).edges
        pose(ax, world, edges, colours, 1, 7)
    return _bare(ax, middle, half, unit)


# ---- qualitative rows --------------------------------------------------------------------------------------------
def qualitative(
    clip: MultiViewClip,
    found: Track,
    times: Sequence[int] | None = None,
    views: Sequence[int] | None = None,
    pixels: int = 300,
) -> Figure:
    """A row per time: views with the projected keypoints (vector graphics on the pictures), then the skeleton in 3D; the truth, if known, in grey."""
    times = [len(clip) * n // 6 for n in (1, 3, 5)] if times is None else list(times)
    views = list(range(min(4, clip.rig.views))) if views is None else list(views)
    colours, side = keypoint_colours(found.skeleton.names, found.skeleton.colours), track_extent(found)
    known = clip.skeleton.edges if clip.skeleton else ()
    with plt.rc_context(PAPER_STYLE):
        tall = DOUBLE / (len(views) + 1.35)
        figure = plt.figure(figsize=(DOUBLE, tall * len(times) + 0.25))
        grid = figure.add_gridspec(
            len(times),
            len(views) + 1,
            width_ratios=[1] * len(views) + [1.3],
            left=0.03,
            right=0.985,
            top=1 - 0.22 / figure.get_figheight(),
            bottom=0.025,
            wspace=0.03,
            hspace=0.04,
        )
        for r, t in enumerate(times):
            images, near = cutouts(clip, found, t, t, views, side, pixels)
            shown = near.px_from_world(found.world[t][None])[0]
            joints = None if clip.truth is None else near.px_from_world(clip.truth[t][None])[0]
            for c, v in enumerate(views):
                ax = figure.add_subplot(grid[r, c])
                _on_image(
                    ax,
                    images[c],
                    shown[c],
                    found,
                    colours,
                    None if joints is None else joints[c],
                    known,
                )
                ax.set_title(clip.rig.names[v] if r == 0 else "", pad=3)
                if c == 0:
                    ax.text(
                        -0.04,
                        0.5,
                        f"{t / clip.fps:.2f} s",
                        transform=ax.transAxes,
                        rotation=90,
                        ha="right",
                        va="center",
                    )
            note = _in_space(
                figure.add_subplot(grid[r, -1], projection="3d"),
                found,
                t,
                None if clip.truth is None else clip.truth[t],
                known,
                colours,
                side / 2,
            )
        figure.text(
            0.875,
            1 - 0.055 / figure.get_figheight(),
            "3D, " + ("truth in grey, " if clip.truth is not None else "") + note,
            ha="center",
            va="top",
        )
    return figure


def _on_image(
    ax,
    image: Tensor,
    px: Tensor,
    found: Track,
    colours: Sequence[str],
    joints: Tensor | None,
    known,
) -> None:
    H, W, _ = image.shape
    ax.imshow(image.numpy(), extent=(0, W, H, 0))
    if joints is not None:
        pose(ax, joints, known, ["#ffffff"] * len(joints), 0.6, 0)
    pose(ax, px, found.skeleton.edges, colours, 0.9, 8)
    ax.set(xlim=(0, W), ylim=(H, 0))
    ax.set_axis_off()


def _in_space(
    ax, found: Track, t: int, truth: Tensor | None, known, colours: Sequence[str], half: float
) -> str:
    cloud = (found.world[t] if truth is None else truth).numpy()
    low, high = np.nanmin(cloud, 0), np.nanmax(cloud, 0)
    if truth is not None:
        pose(ax, truth, known, [GREY] * len(truth), 0.8, 2)
    pose(ax, found.world[t], found.skeleton.edges, colours, 1.1, 8)
    return _bare(ax, (low + high) / 2, half, found.unit)


def _bare(ax, middle, half: float, unit: str) -> str:
    """Equal axes without numbers, which no column is wide enough for: grid lines a round step apart. Returns the words for it."""
    step = max(s * 10.0**e for e in range(-4, 5) for s in (1, 2, 5) if s * 10.0**e <= 0.8 * half)
    boxed(ax, middle, half, unit)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_major_locator(plt.MultipleLocator(step))
        axis.set_ticklabels([])
        axis.set_tick_params(length=0)
    ax.set(xlabel="", ylabel="", zlabel="")
    ax.set_box_aspect((1, 1, 1), zoom=1.0)
    return f"grid {step:g} {unit}"


# ---- numbers -----------------------------------------------------------------------------------------------------
def curves(rows: Sequence[Mapping]) -> Figure:
    """Training curves by term from the rows of losses.csv, one column wide."""
    with plt.rc_context(PAPER_STYLE):
        figure, ax = plt.subplots(figsize=(SINGLE, 2.2), layout="constrained")
        loss_curves(rows, ax)
        for line in ax.get_lines():
            line.set_linewidth(0.4 if line.get_alpha() else 1.0)
        if ax.get_legend():
            ax.legend(
                loc="lower center",
                bbox_to_anchor=(0.5, 1.0),
                ncols=4,
                frameon=False,
                handlelength=1.2,
                columnspacing=1.0,
            )
    return figure


def joint_intervals(errors: Tensor, block: int, draws: int = 2000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """95 % interval of the mean over time of (T, J) errors: blocks of `block` frames drawn with replacement (neighbouring frames are alike)."""
    blocks = torch.stack([part.nanmean(0) for part in errors.split(max(1, block))])
    random = torch.Generator().manual_seed(seed)
    means = blocks[torch.randint(len(blocks), (draws, len(blocks)), generator=random)].nanmean(1)
    return means.nanquantile(0.025, 0), means.nanquantile(0.975, 0)


def joint_error_figure(
    guess: Tensor, truth: Tensor, names: Sequence[str], fps: float, unit: str = "mm"
) -> Figure:
    """Mean error of each joint after rigid alignment, with 95 % intervals over blocks of one second; guess, truth (T, J, 3)."""
    errors = (aligned(guess, truth) - truth).norm(dim=-1)
    mean, low, high = (x.numpy() for x in (errors.nanmean(0), *joint_intervals(errors, round(fps))))
    place = np.arange(len(names))[::-1]
    with plt.rc_context(PAPER_STYLE):
        figure, ax = plt.subplots(figsize=(SINGLE, 0.5 + 0.135 * len(names)), layout="constrained")
        ax.barh(place, mean, color=keypoint_colours(names), height=0.72)
        ax.errorbar(
            mean,
            place,
            xerr=np.maximum([mean - low, high - mean], 0),
            fmt="none",
            ecolor="#33383f",
            elinewidth=0.7,
            capsize=1.5,
            capthick=0.7,
        )
        ax.axvline(
            float(errors.nanmean()),
            color=SAFE[7],
            linewidth=0.8,
            linestyle="--",
            label=f"mean {float(errors.nanmean()):.1f} {unit}",
        )
        ax.set(
            yticks=place,
            yticklabels=[n.replace("_", " ") for n in names],
            xlabel=f"error after rigid alignment ({unit})",
            ylim=(-0.7, len(names) - 0.3),
        )
        ax.spines[["top", "right"]].set_visible(False), ax.tick_params(axis="y", length=0)
        ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.1), handlelength=1.6)
    return figure


# ---- the verb ----------------------------------------------------------------------------------------------------
def _parts(folder: Path) -> tuple[MultiViewClip | None, MultiViewClip]:
    """(clip to fit the regression on, clip to show): `train` and `test` in a folder that has both, else the folder's own clip."""
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        return open_clip(folder / "train"), open_clip(folder / "test")
    return None, open_clip(folder)


def make_figures(
    checkpoint: str | Path,
    clip: str | Path,
    out: str | Path,
    losses: str | Path | None = None,
    edits: str | Path | None = None,
) -> list[Path]:
    """All the figures that there is data for, written into `out`; returns the paths.

    clip: a folder that holds `train` and `test` clips, or is one itself. losses: a losses.csv, for the curves (default: the one beside the
    checkpoint). edits: an `Editing`'s file for the qualitative rows. The errors per joint need a train part, and truth in both parts.
    """
    first, shown = _parts(Path(clip))
    model, recipe, header = load(checkpoint)
    seen = survey(shown, recipe.volume.side) if recipe.surveyed else None
    found = track(model, recipe, shown, seen)
    gap = max(1, round(recipe.data.gaps[-1] * shown.fps))
    middle = (len(shown) - gap) // 2
    batch = shown.batch([middle], gap, recipe.data.image_wh, seen, recipe.volume.crop)
    objective = Objective(recipe, len(model.edges.pairs), recipe.volume.crop or recipe.volume.side)
    made = {"overview": overview(model, objective, batch, unit=shown.rig.unit)}
    made["qualitative"] = qualitative(shown, load_editing(edits).applied(found) if edits else found)
    losses = Path(losses) if losses else Path(checkpoint).with_name("losses.csv")
    if losses.is_file():
        with open(losses, newline="") as file:
            made["curves"] = curves(list(csv.DictReader(file)))
    if first is not None and first.truth is not None and shown.truth is not None:
        half = torch.arange(0, len(first), 2)  # neighbouring frames are nearly the same pose
        known = track(model, recipe, first, times=half)
        guess = KeypointRegressor().fit(known.world, first.truth[half]).predict(found.world)
        made["joints"] = joint_error_figure(
            guess, shown.truth, shown.skeleton.names, shown.fps, found.unit
        )
    return [path for name, figure in made.items() for path in save_figure(figure, Path(out) / name)]
