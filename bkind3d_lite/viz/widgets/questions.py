"""Eight questions with sliders: what moves, where the volume stands, who votes, what is drawn..."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import ipywidgets as ipw
from torch import Tensor

from ...cameras import CameraRig
from ...clips.clip import Batch, MultiViewClip
from ...clips.tracks import Skeleton, Track
from ...files import text_of, write_atomically
from ...model.discoverer import Discoverer
from ...model.objective import Objective
from ...volumes import Grid, overlap
from .. import interactive
from .shell import WIDE, controls, integer, one_of, real, several


def gap_explorer(clip: MultiViewClip, gap: int = 6, views: Sequence[int] | None = None) -> ipw.VBox:
    """What moved between two frames? As `interactive.gaps` draws it.

    Args:
        clip: what is shown.
        gap: in frames, at first.
        views: numbers of the views (default: the first four).

    Returns:
        Sliders and figure.
    """
    T = len(clip)
    return controls(
        interactive.gaps(clip, views),
        time=integer("frame", T // 3, 0, T - 2),
        gap=integer("gap (frames)", gap, 1, min(60, T - 1)),
    )


def heading_explorer(track: Track) -> ipw.VBox:
    """Which way does it face? As `interactive.from_above` draws it.

    Args:
        track: T frames, with a heading.

    Returns:
        Slider and figure.
    """
    last = len(track.world) - 1
    return controls(interactive.from_above(track), time=integer("frame", 0, 0, last))


def volume_placer(rig: CameraRig, images: Tensor | None = None, voxels: int = 24) -> ipw.VBox:
    """Where should the volume stand? As `interactive.placing` draws it.

    Args:
        rig: V cameras.
        images: (V, H, W, 3) uint8, put on the frusta.
        voxels: per side, to tell the size of one.

    Returns:
        Sliders and figure; `.values()` gives x, y, z and side for a recipe's centre and side.
    """
    middle, side = overlap(rig)
    unit, step = rig.unit, side / 100
    sliders = {
        a: real(f"{a} ({unit})", round(c, 1), round(c - side, 1), round(c + side, 1), step)
        for a, c in zip("xyz", middle.tolist())
    }
    width = real(f"side ({unit})", round(side, 1), round(0.1 * side, 1), round(2 * side, 1), step)
    return controls(interactive.placing(rig, images, voxels), **sliders, side=width)


def views_on_off(rig: CameraRig, maps: Tensor, grid: Grid, point: Tensor | None = None) -> ipw.VBox:
    """How do flat pictures vote for a place? As `interactive.votes` draws it.

    Args:
        rig: V cameras.
        maps: (V, h, w), one heatmap per view.
        grid: N x N x N voxels.
        point: (3) the true place, if it is known.

    Returns:
        Sliders and figure.
    """
    return controls(
        interactive.votes(rig, maps, grid, point),
        views=several("views", rig.names),
        share=real("surface from", 0.5, 0.1, 0.95),
        how=one_of("fused by", ["mean", "product", "softmax", "max", "sum"]),
        planes=ipw.Checkbox(False, description="slices", **WIDE),
    )


def edge_explorer(
    ndc: Tensor,
    pairs: Tensor,
    weights: Tensor,
    names: Sequence[str] = (),
    hw: tuple[int, int] = (64, 64),
) -> ipw.VBox:
    """How can a drawing be a bottleneck? As `interactive.drawing` draws it.

    Args:
        ndc: (V, K, 2) projected keypoints.
        pairs: (E, 2) which of them an edge joins.
        weights: (E,) of the edges.
        names: of the keypoints (default: k0, k1, ...).
        hw: height and width of a map.

    Returns:
        Sliders and figure.
    """
    own = weights.detach()
    strongest = own.argsort(descending=True)[:12].tolist()
    ends = [[names[k] if names else f"k{k}" for k in pairs[e].tolist()] for e in strongest]
    texts = [f"{' - '.join(two)}  ({own[e]:.2f})" for e, two in zip(strongest, ends)]
    options = [("none", None), *((text, rank) for rank, text in enumerate(texts))]
    return controls(
        interactive.drawing(ndc, pairs, weights, names, hw),
        sigma=real("width sigma", 0.06, 0.02, 0.3),
        keep=integer("edges kept", len(own), 0, len(own)),
        edge=one_of("change edge", options),
        weight=real("its weight", 0.0, 0.0, 2 * float(own.max())),
    )


def losses_on_off(
    model: Discoverer, objective: Objective, batch: Batch, skeleton: Skeleton
) -> ipw.VBox:
    """What does each loss ask of the keypoints? As `interactive.pulls` draws it.

    Args:
        model: whose keypoints are shown.
        objective: its terms pull.
        batch: its first sample is shown.
        skeleton: names and edges of the keypoints.

    Returns:
        List of terms and figure.
    """
    draw = interactive.pulls(model, objective, batch, skeleton)
    return controls(draw, terms=several("terms", draw.terms))


def keypoints_kept(
    train_track: Track,
    train_truth: Tensor,
    test_track: Track,
    test_truth: Tensor,
    skeleton: Skeleton,
) -> ipw.VBox:
    """Are unnamed points worth anything? As `interactive.keeping` draws it.

    Args:
        train_track: keypoints (t, K, 3) on which the regressions are fitted.
        train_truth: (t, J, 3) true joints there.
        test_track: keypoints (T, K, 3) that predict.
        test_truth: (T, J, 3) true joints there.
        skeleton: names and bones of the joints.

    Returns:
        Sliders and figure.
    """
    T, K = test_track.world.shape[:2]
    return controls(
        interactive.keeping(train_track, train_truth, test_track, test_truth, skeleton),
        keypoints=integer("keypoints kept", K, 1, K),
        time=integer("frame", 0, 0, T - 1),
    )


def recording_chooser(example: str | Path, kept: str | Path) -> ipw.Combobox:
    """Which recording? The choice is kept: running all cells again does not take it back.

    Args:
        example: chosen where nobody has chosen yet, and where the choice is gone.
        kept: a file for the choice; the environment variable BKIND3D_CLIP goes before it.

    Returns:
        A line for a folder, which offers those below this one that hold a calibration.
    """
    kept = Path(kept)
    last = text_of(kept).strip() if kept.is_file() else ""
    wish = os.environ.get("BKIND3D_CLIP") or (last if Path(last).is_dir() else "")
    offered = sorted(str(path.parent) for path in Path().rglob("calibration.*"))
    box = ipw.Combobox(value=wish or str(example), options=offered, description="recording", **WIDE)

    def keep(change: Mapping[str, str]) -> None:
        write_atomically(kept, lambda file: file.write_text(change["new"], encoding="utf-8"))

    box.observe(keep, "value")
    return box
