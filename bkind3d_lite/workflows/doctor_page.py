"""Consultation: the doctor's findings as one page, with pictures of what was looked at."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
import torch
from plotly import graph_objects as go

from ..cameras import CameraRig, triangulate
from ..clips.calibration_faults import Sightings, sightings
from ..clips.clip import MultiViewClip, Survey
from ..clips.recording_checks import FAIL
from ..files import write_atomically
from ..viz.overlays import mosaic, overlay, stroke
from ..viz.report_page import PAGE_STYLE, embedded
from ..viz.run_images import placement_sheet
from ..viz.scenes import scene
from ..viz.traces import cube, rig_traces, trail
from ..volumes import overlap
from .doctor import VERDICT, Diagnosis
from .recommend import Prescription

SEEN, SAID, LINE = (
    "#F0E442",
    "#56B4E9",
    "#D55E00",
)  # the silhouette's centre, where the other views say it is, the epipolar line


def rays_sheet(clip: MultiViewClip, seen: Survey, columns: int | None = None) -> np.ndarray:
    """All views at a usual moment, the median of how much is seen: the
    silhouette's centre (disc), where the other views say it is
    (ring), and the first view's ray through its centre (a line, bent by the lens). They meet if the calibration is right.
    """
    (t, found), tiles = usual(clip, seen), []
    ray = ray_px(clip.rig, found.px[t, 0])
    for v, image in enumerate(clip.frames[t]):
        canvas, scale = (
            torch.from_numpy(
                np.array(overlay(image[None], None, names=clip.rig.names[v : v + 1], scale=2))
            ).float(),
            2,
        )
        for a, b in zip(ray[v, :-1], ray[v, 1:]) if v else ():
            if max(a.abs().max(), b.abs().max()) < 4 * max(clip.rig.wh):
                stroke(canvas, a * scale, b * scale, 1.0, LINE, 0.9)
        weight = found.seen[t].float()[:, None].clone()
        weight[v] = 0 if clip.rig.views > 2 else weight[v]
        said = clip.rig.px_from_world(triangulate(clip.rig, found.px[t][:, None], weight))[v, 0]
        if said.isfinite().all():
            stroke(canvas, said * scale, said * scale, 9.0, SAID, 1.0, 2.5)
        stroke(canvas, found.px[t, v] * scale, found.px[t, v] * scale, 4.0, SEEN)
        tiles.append(canvas.round().clamp(0, 255).byte().numpy())
    return mosaic(tiles, columns)


def usual(clip: MultiViewClip, seen: Survey) -> tuple[int, Sightings]:
    """The time at which as much is seen as in the median, of those at which most views see the animal; and all sightings."""
    found = sightings(seen, clip.rig)
    mass = (
        (seen.thumbs.float().flatten(2).mean(-1) * found.seen).prod(1)
        if found.seen.all(1).any()
        else found.seen.float().sum(1)
    )
    median = mass[mass > 0].median() if (mass > 0).any() else mass.max()
    return int((mass - median).abs().argmin()), found


def ray_px(rig: CameraRig, px: torch.Tensor, points: int = 200) -> torch.Tensor:
    """The ray through pixel `px` (2) of the first view, in pixels of every view, (V, points, 2): epipolar curves, lenses included."""
    origin, way = rig.take([0]).ray_from_px(px[None, None])
    far = 3 * float((rig.centres - rig.centres.mean(0)).norm(dim=-1).max())
    along = torch.linspace(0.05, 1, points)[:, None] * far
    return rig.px_from_world(origin[0] + along * way[0, 0])


def placement_figure(clip: MultiViewClip, seen: Survey | None, plan: Prescription | None = None) -> go.Figure:
    """The ring of cameras with their first images, the volume in which the animal stays (without a plan: where the views overlap), and its path."""
    (centre, side), path = (
        overlap(clip.rig) if plan is None else (torch.tensor(plan.centre), plan.side),
        [],
    )
    if seen is not None:
        found = sightings(seen, clip.rig)
        points = triangulate(clip.rig, found.px[:, :, None], found.seen.float()[..., None])[:, 0]
        path = [trail(points[points.isfinite().all(-1)], "where the animal goes")]
    return scene(
        rig_traces(clip.rig, images=clip.frames[0]),
        cube(centre, side, name="where the animal stays" if plan else "where the views overlap"),
        path,
        unit=clip.rig.unit,
    )


def write_page(found: Diagnosis, path: str | Path) -> Path:
    """`doctor.html`: every check with its figure and remedy, the rays in the views, the cameras in 3D; needs no network."""
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Doctor: {escape(Path(found.folder).name)}</title><style>{PAGE_STYLE}td{{white-space:normal!important;text-align:left!important;vertical-align:top}}</style>"
        f'<body><main><h1>{escape(Path(found.folder).name)}</h1><p class="lead">{VERDICT[found.state]}</p>{found.table()}'
    ]
    if found.clip is not None and found.survey is not None:
        parts += [
            "<h2>Do the rays meet?</h2>",
            embedded(
                rays_sheet(found.clip, found.survey),
                "Yellow disc: the centre of what moves in this view. Blue ring: where the "
                f"other views say it is. Orange: the ray from {found.clip.rig.names[0]}. With a right calibration they meet.",
            ),
        ]
    if (plan := found.prescribed) is not None:
        cube_of = plan.recipe.with_(mode="room", centre=plan.centre, side=plan.side)
        parts += [
            "<h2>The volume</h2>",
            embedded(
                placement_sheet(found.clip, cube_of, None, usual(found.clip, found.survey)[0]),
                f"The cube of {plan.side:.4g} "
                f"{found.clip.rig.unit} in which the animal stays, seen by every camera: its corners should be where the arena's are.",
            ),
        ]
    if found.clip is not None and not any(
        c.name == "ring" and c.state == FAIL for c in found.checks
    ):
        parts += [
            "<h2>The cameras</h2>",
            placement_figure(found.clip, found.survey, found.prescribed).to_html(
                full_html=False, include_plotlyjs=True
            ),
        ]
    text = "".join([*parts, "</main></body></html>"])
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
