"""Evaluate run: what a checkpoint is worth, beside its baselines."""

from __future__ import annotations

import logging
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..clips.clip import MultiViewClip, SurveyedClip
from ..clips.tracks import Track
from ..distributed import joined
from ..evaluation import (
    BodyBound,
    RigidTemplate,
    baselines,
    body_scores,
    mean_errors,
    on_body,
    scores,
)
from ..evaluation.body_bound import body_bound, usual_pace
from ..files import read_rows, refuse_unwritable
from ..model.builder import build
from ..model.discoverer import Discoverer
from ..recipes import Recipe
from ..training import tracking
from ..training.checkpoints import load
from ..training.orientation import oriented_part
from ..viz.report_page import pictures, write_report
from .track_run import checkpoint_in, open_surveyed

log = logging.getLogger(__name__)
NETWORKS = ("trained", "untrained", "checkpoint")
ROWS = ("trained", "untrained", "rigid_template", "centroid", "mean_pose", "checkpoint")
TURNS = {"r2_room": "room", "r2_body": "body", "turning": "turning"}  # scores of a `BodyBound`
Scores = Mapping[str, float | None]


def truth_at(clip: MultiViewClip, times: Tensor | None = None) -> Tensor:
    """The true joints at some times.

    Args:
        clip: with a truth.
        times: (n,) frames; None: those that are labelled.

    Returns:
        (n, J, 3) world units.

    Raises:
        ValueError: the clip has no truth.
    """
    if clip.truth is None:
        raise ValueError(f"{clip.name}: no truth; scores need known joints")
    return clip.truth[clip.labelled if times is None else times]


def score_parts(
    model: Discoverer, recipe: Recipe, parts: tuple[SurveyedClip, SurveyedClip]
) -> tuple[Track, dict[str, float | None]]:
    """Track both parts, fit the regressor on the first, score on the second.

    Args:
        model: trained or not.
        recipe: the model's, placed.
        parts: with a truth; the second one is held out. A model whose volume turns with the animal
            asks for their headings, where nobody did.

    Returns:
        The held-out track, and its scores: mpjpe, pmpjpe and bone_distance in mm, on_body as a
        share; these two are None for an animal of unknown length. mpjpe_in_body and
        pmpjpe_in_body as of `body_scores`, where both parts tell a heading. r2_room, r2_body and
        turning as of `BodyBound`; None where too little moves to tell.
    """
    first, second = (oriented_part(model, part) for part in parts)
    fitted_on, labelled = _pose_times(first.clip), second.clip.labelled
    fitted = tracking.track(model, recipe, first.clip, first.survey, fitted_on)
    track = tracking.track(model, recipe, second.clip, second.survey)
    world, truth = track.world[labelled], truth_at(second.clip)
    fit_on = fitted.world, truth_at(first.clip, fitted_on)
    score = scores(fit_on, (world, truth))
    if fitted.heading is not None and track.heading is not None:
        in_body = body_scores((*fit_on, fitted.heading), (world, truth, track.heading[labelled]))
        score |= {f"{key}_in_body": value for key, value in in_body.items()}
    near: Scores = {"share": None, "median": None}
    if second.clip.body_length and second.clip.skeleton is not None:
        near = on_body(world, truth, second.clip.skeleton, second.clip.body_length)
    bound = bound_of(track, second)
    turns = {key: _told(getattr(bound, name)) for key, name in TURNS.items()}
    return track, {**score, "on_body": near["share"], "bone_distance": near["median"], **turns}


def walking_pace(track: Track, part: SurveyedClip) -> float:
    """The speed of a track's centre above which it tells where the animal is heading.

    Args:
        track: of the whole part.
        part: the clip with its survey.

    Returns:
        World units per second: what counts as walking on this recording, if somebody asked its
        heading (`headed`), or `usual_pace` of the track.
    """
    clip, survey = part.clip, part.survey
    if survey is None or survey.heading is None:
        return usual_pace(track.world, clip.fps, clip.starts)
    return survey.heading.speed * survey.heading.length


def bound_of(track: Track, part: SurveyedClip) -> BodyBound:
    """Whether a track's figure turns with the animal, by the way that its own centre goes.

    Not by the heading that the volume follows, which would be its own judge.

    Args:
        track: of the whole part.
        part: the clip with its survey.

    Returns:
        Shares of room and body, and turning.
    """
    clip, pace = part.clip, walking_pace(track, part)
    return body_bound(track.world, clip.fps, pace, starts=clip.starts)


def _told(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pose_times(clip: MultiViewClip) -> Tensor:
    """Labelled times, one every fifteenth of a second: neighbouring frames are nearly one pose."""
    stretch = clip.labelled // max(1, round(clip.fps / 15))
    return clip.labelled[torch.cat([torch.ones(1, dtype=torch.bool), stretch.diff() > 0])]


def references(parts: tuple[SurveyedClip, SurveyedClip]) -> dict[str, Scores]:
    """What needs no network, fitted on the first part and scored on the second.

    Args:
        parts: with a truth.

    Returns:
        Scores of `baselines`; and of `rigid_template`, the survey's centre, its heading and a mean
        offset for each joint, where a heading was found in both parts.
    """
    first, second = parts
    known: dict[str, Scores] = {**baselines(truth_at(first.clip), truth_at(second.clip))}
    fit_on, test_on = _led(first), _led(second)
    if fit_on is not None and test_on is not None:
        template = RigidTemplate.fit(fit_on[0], truth_at(first.clip), fit_on[1])
        known["rigid_template"] = mean_errors(template.predict(*test_on), truth_at(second.clip))
    return known


def _led(part: SurveyedClip) -> tuple[Tensor, Tensor] | None:
    """Centre (n, 3) and heading (n,) at the labelled times, where a heading was found."""
    survey, times = part.survey, part.clip.labelled
    if survey is None or survey.heading is None or not survey.heading.found:
        return None
    return survey.centre[times], survey.heading.angle[times]


def turning_facts(track: Track, part: SurveyedClip) -> dict[str, Any]:
    """What a report says of the heading and of each keypoint's turning with it.

    Args:
        track: of the whole part.
        part: the clip with its survey.

    Returns:
        `heading` in words, None where nobody asked; `body_bound`: how many frames were judged, in
        how many of 12 directions, faster than what; shares of each keypoint, None: not told.
    """
    bound, heading = bound_of(track, part), None if part.survey is None else part.survey.heading
    each = {"r2_room": bound.room_of, "r2_body": bound.body_of}
    judged = {
        "frames": bound.frames,
        "directions": bound.directions,
        "faster_than": round(walking_pace(track, part), 4),
        "unit": f"{track.unit}/s",
        "keypoints": {k: [_told(round(v, 3)) for v in x.tolist()] for k, x in each.items()},
    }
    words = None if heading is None else f"{'' if heading.found else 'not found: '}{heading}"
    return {"heading": words, "body_bound": judged}


def score_report(
    clip: str, recipe: Recipe, results: Mapping[str, Scores], device: str = "cpu", **facts: Any
) -> dict[str, Any]:
    """The dictionary of `report.json`.

    Args:
        clip: its name.
        recipe: of the trained model.
        results: scores of each row, `ROWS`; rows may be missing.
        device: on which it was scored.
        **facts: what else is to be said, such as seed and steps.

    Returns:
        The facts, then a column of each score for every row, None where there is none; then
        where it was computed.
    """
    where = f"cpu, {torch.get_num_threads()} threads"
    if device.startswith("cuda"):
        where = torch.cuda.get_device_name(device)

    def column(key: str, rows: tuple[str, ...]) -> dict[str, float | None]:
        values = {row: results.get(row, {}).get(key) for row in rows}
        return {row: None if v is None else round(v, 4) for row, v in values.items()}

    return {
        "clip": clip,
        **facts,
        "keypoints": recipe.keypoints,
        "mpjpe_mm": column("mpjpe", ROWS),
        "pmpjpe_mm": column("pmpjpe", ROWS),
        "pmpjpe_in_body_mm": column("pmpjpe_in_body", NETWORKS),
        "on_body": column("on_body", NETWORKS),
        "bone_distance_mm": column("bone_distance", NETWORKS),
        **{key: column(key, NETWORKS) for key in TURNS},
        "device": f"{where}, {platform.machine()}",
        "versions": {
            "bkind3d_lite": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def evaluate(
    checkpoint: str | Path,
    train: str | Path,
    test: str | Path,
    out: str | Path,
    device: str = "auto",
    **how: Any,
) -> dict[str, Any]:
    """Score a checkpoint beside its baselines: `report.json` and `report.html`.

    A linear map from keypoints to joints is fitted on one clip and scored on the other (paper
    section 4.1); both need a `truth.npz`.

    Args:
        checkpoint: a file, or a run's folder.
        train: clip folder to fit the regression on.
        test: clip folder to score on.
        out: folder for the report.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        **how: as for `open_clip`.

    Returns:
        The report.
    """
    path, out = checkpoint_in(checkpoint), refuse_unwritable(out)
    with joined(device) as device:
        model, recipe, header = load(path, device=device)
        how["budget"] = how.get("budget", 2 << 30) // 2  # two clips are open
        first, second = (open_surveyed(folder, recipe, header, **how) for folder in (train, test))
        _refuse_unlabelled({train: first.clip, test: second.clip})
        log.info("tracking both parts ...")
        parts = oriented_part(model, first), oriented_part(model, second)
        track, trained = score_parts(model, recipe, parts)
        fresh = build(recipe, header["seed"])[0].to(device)  # its look knows nothing; parts do
        untrained = score_parts(fresh, recipe, parts)[1]
        results: dict[str, Scores] = {"trained": trained, "untrained": untrained}
        results |= references(parts)
    facts = dict(checkpoint=str(path), seed=header["seed"], steps=header["step"])
    facts |= turning_facts(track, parts[1])
    report = score_report(str(test), recipe, results, device, **facts)
    rows = read_rows(path.parent / "losses.csv")
    write_report(out, report, pictures(second.clip, track, rows), recipe.flat())
    return report


def _refuse_unlabelled(clips: Mapping[str | Path, MultiViewClip]) -> None:
    """Raise a `ValueError` for the first folder whose clip cannot be scored."""
    for folder, clip in clips.items():
        if not len(clip.labelled):
            raise ValueError(
                f"{folder}: no truth.npz, or no labelled frame; scores need known joints "
                "(positions, names, edges, body_length) for both clips"
            )
