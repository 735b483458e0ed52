"""Doctor's page: the findings as one page, with pictures of what was looked at."""

from __future__ import annotations

import re
from html import escape
from itertools import count
from pathlib import Path

import numpy as np
import torch
from plotly import graph_objects as go
from torch import Tensor

from ..cameras import CameraRig, triangulate
from ..clips.calibration_faults import Sightings, silhouette_centres, silhouette_path
from ..clips.clip import MultiViewClip, Survey
from ..clips.rig_checks import FAIL
from ..clips.survey import animal_centres
from ..files import refuse_unwritable, write_atomically
from ..viz.notebook_figures import alone_html
from ..viz.overlays import mosaic, overlay, stroke
from ..viz.report_page import PAGE_HEAD, PAGE_STYLE, embedded
from ..viz.run_images import placement_sheet
from ..viz.scenes import scene
from ..viz.traces import cube, rig_traces, trail
from ..volumes import overlap
from .doctor import VERDICT, Diagnosis
from .recommend import Prescription

CENTRE = "#F0E442"  # the silhouette's centre
EXPECTED = "#56B4E9"  # where the other views say it is
EPIPOLAR = "#D55E00"  # the first view's ray
SCALE = 2  # of the sheet's tiles
CELLS = "td{white-space:normal!important;text-align:left!important;vertical-align:top}"


# ---- do the rays meet? ---------------------------------------------------------------------------
def rays_sheet(clip: MultiViewClip, survey: Survey, columns: int | None = None) -> np.ndarray:
    """All views at a usual moment, with what should meet if the calibration is right.

    The silhouette's centre (disc), where the other views say it is (ring), and the first view's
    ray through its centre (a line, bent by the lens).

    Args:
        clip: what is shown.
        survey: of the clip.
        columns: views side by side; None: by their number.

    Returns:
        One RGB image, uint8.
    """
    t, centres = usual_moment(clip, survey)
    rays = ray_px(clip.rig, centres.px[t, 0])
    tiles = []
    for v, image in enumerate(clip.frames[t]):
        named = overlay(image[None], None, names=clip.rig.names[v : v + 1], scale=SCALE)
        canvas = torch.from_numpy(np.array(named)).float()
        if v:
            _draw_ray(canvas, rays[v], 4 * max(clip.rig.wh))
        expected, centre = _expected(clip.rig, centres, t, v) * SCALE, centres.px[t, v] * SCALE
        if expected.isfinite().all():
            stroke(canvas, expected, expected, 9.0, EXPECTED, hollow=2.5)
        stroke(canvas, centre, centre, 4.0, CENTRE)
        tiles.append(canvas.round().clamp(0, 255).byte().numpy())
    return mosaic(tiles, columns)


def moments_sheet(clip: MultiViewClip, survey: Survey, count: int = 6) -> np.ndarray:
    """Moments of one camera's film, with the middle of what moves.

    Args:
        clip: of one uncalibrated camera.
        survey: of the clip, with thumbs.
        count: of moments, evenly over the film.

    Returns:
        One RGB image, uint8.
    """
    tiles = []
    for t in torch.linspace(0, len(clip) - 1, count).long().tolist():
        picture = overlay(clip.frames[t], None, frame=t, scale=SCALE)
        canvas = torch.from_numpy(np.array(picture)).float()
        centre = clip.rig.px_from_world(animal_centres(survey.thumbs[[t]], clip.rig))[0, 0] * SCALE
        stroke(canvas, centre, centre, 4.0, CENTRE)
        tiles.append(canvas.round().clamp(0, 255).byte().numpy())
    return mosaic(tiles)


def _draw_ray(canvas: Tensor, px: Tensor, far: float) -> None:
    """A line through pixels (P, 2), left out where they are too far away to be true."""
    for a, b in zip(px[:-1], px[1:]):
        if max(a.abs().max(), b.abs().max()) < far:
            stroke(canvas, a * SCALE, b * SCALE, 1.0, EPIPOLAR, alpha=0.9)


def _expected(rig: CameraRig, centres: Sightings, t: int, view: int) -> Tensor:
    """Where the other views say that the centre is in this one, (2) pixels; of two views, both."""
    weight = centres.valid[t].float()[:, None].clone()
    if rig.views > 2:
        weight[view] = 0
    point = triangulate(rig, centres.px[t][:, None], weight)
    return rig.px_from_world(point)[view, 0]


def usual_moment(clip: MultiViewClip, survey: Survey) -> tuple[int, Sightings]:
    """The time at which as much of the animal shows as in the median.

    Of those times at which most views see it, if there are any.

    Args:
        clip: what is shown.
        survey: of the clip.

    Returns:
        That time, and the silhouettes' centres at all times.
    """
    centres = silhouette_centres(survey, clip.rig)
    mass = centres.valid.float().sum(1)
    if centres.valid.all(1).any():
        mass = (survey.thumbs.float().flatten(2).mean(-1) * centres.valid).prod(1)
    median = mass[mass > 0].median() if (mass > 0).any() else mass.max()
    return int((mass - median).abs().argmin()), centres


def ray_px(rig: CameraRig, px: Tensor, points: int = 200) -> Tensor:
    """The ray through a pixel of the first view in every view: epipolar curves, lenses included.

    Args:
        rig: V cameras.
        px: (2) in the first view.
        points: of the curve, evenly spaced on the ray.

    Returns:
        (V, points, 2) pixels.
    """
    origin, direction = rig.take([0]).ray_from_px(px[None, None])
    far = 3 * float((rig.centres - rig.centres.mean(0)).norm(dim=-1).max())
    along = torch.linspace(0.05, 1, points)[:, None] * far
    return rig.px_from_world(origin[0] + along * direction[0, 0])


# ---- the cameras ---------------------------------------------------------------------------------
def placement_figure(
    clip: MultiViewClip, survey: Survey | None, plan: Prescription | None = None
) -> go.Figure:
    """The cameras with their first images, the volume in which the animal stays, and its path.

    Args:
        clip: what is shown.
        survey: of the clip, for the path.
        plan: says the volume; None: where the views overlap.

    Returns:
        The figure.
    """
    if plan is None:
        volume = cube(*overlap(clip.rig), name="where the views overlap")
    else:
        volume = cube(torch.tensor(plan.centre), plan.side, name="where the animal stays")
    path = []
    if survey is not None:
        points = silhouette_path(survey, clip.rig)
        path = [trail(points[points.isfinite().all(-1)], "where the animal goes")]
    cameras = rig_traces(clip.rig, images=clip.frames[0])
    return scene(cameras, volume, path, unit=clip.rig.unit)


# ---- the page ------------------------------------------------------------------------------------
def page_place(folder: str | Path, out: str | Path | None = None) -> Path:
    """Where the page of a recording goes: never over that of another one.

    Args:
        folder: the recording.
        out: an HTML file, or a folder such as a run's, which gets doctor.html; None: a file here,
            called after the recording.

    Returns:
        The HTML file.

    Raises:
        ValueError: it cannot be written, or another page is there.
    """
    if out is not None:
        path = Path(out)
        path = path if path.suffix and not path.is_dir() else path / "doctor.html"
        refuse_unwritable(path, folder=False)
        if not _of_recording(path, folder):
            raise ValueError(
                f"{path}: is there already and not the page of {folder}; choose another --out"
            )
        return path
    name = re.sub(r"[^\w.-]+", "_", Path(folder).resolve().name) or "recording"
    names = (f"doctor_{name}{'' if n == 1 else f'_{n}'}.html" for n in count(1))
    path = next(path for path in map(Path, names) if _of_recording(path, folder))
    return refuse_unwritable(path, folder=False)


def _of_recording(path: Path, folder: str | Path) -> bool:
    """Whether the file is free, or holds an earlier page of this recording."""
    if not path.is_file():
        return not path.exists()
    return _mark(folder) in path.read_text(encoding="utf-8", errors="replace")[:4000]


def _mark(folder: str | Path) -> str:
    """What a page says, unseen, of the recording that it is of."""
    return f'<meta name="recording" content="{escape(str(Path(folder).resolve()))}">'


def write_page(diagnosis: Diagnosis, path: str | Path) -> Path:
    """Write every check with its remedy, the rays in the views, the cameras in 3D.

    Args:
        diagnosis: of `doctor.examine`.
        path: the HTML file, which needs no network.

    Returns:
        The path.
    """
    parts = [_head(diagnosis), _rays(diagnosis), _volume(diagnosis), _cameras(diagnosis)]
    text = "".join([*parts, "</main></body></html>"])
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _head(diagnosis: Diagnosis) -> str:
    name = escape(Path(diagnosis.folder).name)
    return (
        f"{PAGE_HEAD}{_mark(diagnosis.folder)}<title>Doctor: {name}</title>"
        f"<style>{PAGE_STYLE}{CELLS}</style>"
        f'<body><main><h1>{name}</h1><p class="lead">{VERDICT[diagnosis.state]}</p>'
        f"{diagnosis.table()}"
    )


def _rays(diagnosis: Diagnosis) -> str:
    clip, survey = diagnosis.clip, diagnosis.survey
    if clip is None or survey is None:
        return ""
    if not clip.rig.calibrated:
        caption = "Moments of the film. Yellow disc: the middle of what moves."
        return "<h2>Where is the animal?</h2>" + embedded(moments_sheet(clip, survey), caption)
    caption = (
        "Yellow disc: the centre of what moves in this view. Blue ring: where the other views say "
        f"it is. Orange: the ray from {clip.rig.names[0]}. With a right calibration they meet."
    )
    return "<h2>Do the rays meet?</h2>" + embedded(rays_sheet(clip, survey), caption)


def _volume(diagnosis: Diagnosis) -> str:
    clip, survey, plan = diagnosis.clip, diagnosis.survey, diagnosis.prescribed
    if clip is None or survey is None or plan is None or not clip.rig.calibrated:
        return ""
    recipe = plan.recipe.with_(mode="room", centre=plan.centre, side=plan.side)
    sheet = placement_sheet(clip, recipe, None, usual_moment(clip, survey)[0])
    caption = (
        f"The cube of {plan.side:.4g} {clip.rig.unit} in which the animal stays, seen by every "
        "camera: its corners should be where the arena's are."
    )
    return "<h2>The volume</h2>" + embedded(sheet, caption)


def _cameras(diagnosis: Diagnosis) -> str:
    broken = any(check.name == "ring" and check.state == FAIL for check in diagnosis.checks)
    if diagnosis.clip is None or broken or not diagnosis.clip.rig.calibrated:
        return ""
    figure = placement_figure(diagnosis.clip, diagnosis.survey, diagnosis.prescribed)
    return "<h2>The cameras</h2>" + alone_html(figure)
